"""The handshake over real TCP: however it is cut, whatever is sent instead, and its deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from lib import session_handshake, wire_relay
from lib.errors import ProtocolError
from lib.stream_tcp import Stream
from lib.wire_relay import MAX_FEATURES, Request, Response, Status
from tests.support.streams import SECONDS, read_until, stream_pair

NAMESPACE = bytes(range(16))
REQUEST = Request("host-1", "192.168.123.1", NAMESPACE, ("user", "secret"))
RESPONSE = Response(Status.OK, bytes(range(20)))
REST = b"\x00\x01\x45\x00\x02"


@pytest.fixture
def ends() -> Iterator[tuple[Stream, Any]]:
    with stream_pair() as made:
        yield made


def receive(stream: Stream, seconds: float = SECONDS) -> tuple[Request, bytes]:
    with gevent.Timeout(SECONDS * 2):
        return session_handshake.receive_request(stream, seconds)


def dribble(far: Any, data: bytes, pause: float = 0) -> None:
    for at in range(len(data)):
        far.sendall(data[at : at + 1])
        gevent.sleep(pause)


# --- a hub receives --------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [b"", REST], ids=["alone", "with frames right behind"])
def test_a_request_in_one_piece(ends: tuple[Stream, Any], rest: bytes) -> None:
    stream, far = ends
    far.sendall(wire_relay.encode_request(REQUEST) + rest)
    assert receive(stream) == (REQUEST, rest)


def test_a_request_byte_by_byte(ends: tuple[Stream, Any]) -> None:
    stream, far = ends
    gevent.spawn(dribble, far, wire_relay.encode_request(REQUEST))
    assert receive(stream) == (REQUEST, b"")


def test_a_request_longer_than_one_receive(ends: tuple[Stream, Any]) -> None:
    stream, far = ends
    padding = b"\x77" + (9000).to_bytes(2) + bytes(9000)  # a feature nobody knows
    whole = wire_relay.encode_request(REQUEST)
    size = len(whole) - 4 + len(padding)
    far.sendall(whole[:2] + size.to_bytes(2) + padding + whole[4:] + REST)
    request, rest = receive(stream)
    assert request == REQUEST
    assert REST.startswith(rest), "what has come of it; the rest is still to be received"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "closed at once", id="nothing"),
        pytest.param(b"\x01", "closed in the middle", id="one byte"),
        pytest.param(wire_relay.encode_request(REQUEST)[:-1], "closed in the middle", id="all but one byte"),
    ],
)
def test_a_client_that_closes_early(ends: tuple[Stream, Any], data: bytes, why: str) -> None:
    stream, far = ends
    far.sendall(data)
    far.close()
    with pytest.raises(ProtocolError, match=why):
        receive(stream)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="TLS"),
        pytest.param(b"\x05\x01\x00", id="SOCKS"),
        pytest.param(b"\x02", id="another version, one byte"),
        pytest.param(
            b"\x01\x03" + (MAX_FEATURES + 1).to_bytes(2), id="a feature list too long, not even sent"
        ),
        pytest.param(b"\x01\x03\x00\x03\x02\x00\x09", id="a feature past the end"),
        pytest.param(b"\x01\x03\x00\x05\x03\x00\x02ab", id="a tunnel id cut off"),
    ],
)
def test_what_is_no_request_is_refused_without_waiting(ends: tuple[Stream, Any], data: bytes) -> None:
    stream, far = ends
    far.sendall(data)
    began = time.monotonic()
    with pytest.raises(ProtocolError):
        receive(stream)
    assert time.monotonic() - began < SECONDS / 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"\x01\x03", id="stops in the header"),
        pytest.param(wire_relay.encode_request(REQUEST)[:-1], id="stops before the last byte"),
    ],
)
def test_a_client_that_stops_meets_the_deadline(ends: tuple[Stream, Any], data: bytes) -> None:
    stream, far = ends
    far.sendall(data)
    with pytest.raises(ProtocolError, match=r"no handshake within 0\.05 s"):
        receive(stream, 0.05)


def test_the_deadline_is_for_the_whole_handshake(ends: tuple[Stream, Any]) -> None:
    stream, far = ends
    dribbler = gevent.spawn(dribble, far, wire_relay.encode_request(REQUEST), 0.02)
    with pytest.raises(ProtocolError, match="no handshake within"):
        receive(stream, 0.1)
    dribbler.kill()


def test_a_deadline_met_is_over(ends: tuple[Stream, Any]) -> None:
    stream, far = ends
    far.sendall(wire_relay.encode_request(REQUEST))
    receive(stream, 0.5)
    gevent.sleep(0.6)  # a timer left running would strike here


def test_a_connection_that_breaks_is_an_os_error(ends: tuple[Stream, Any]) -> None:
    stream, far = ends
    far.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: a reset instead of an end
    far.close()
    with pytest.raises(ConnectionResetError):
        receive(stream)


# --- a client asks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "response", [RESPONSE, Response(Status.HOST_UNREACHABLE)], ids=["admitted", "refused"]
)
def test_a_client_sends_its_request_and_reads_the_answer(
    ends: tuple[Stream, Any], response: Response
) -> None:
    stream, far = ends
    asking = gevent.spawn(session_handshake.ask, stream, REQUEST)
    wire = wire_relay.encode_request(REQUEST)
    assert read_until(far, len(wire)) == wire
    far.sendall(wire_relay.encode_response(response) + REST)
    assert asking.get(timeout=SECONDS) == (response, REST)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a relay handshake", id="a web server"),
        pytest.param(None, "closed at once", id="closed"),
    ],
)
def test_a_hub_that_is_none(ends: tuple[Stream, Any], answer: bytes | None, why: str) -> None:
    stream, far = ends
    asking = gevent.spawn(session_handshake.ask, stream, REQUEST)
    read_until(far, len(wire_relay.encode_request(REQUEST)))
    if answer is None:
        far.close()
    else:
        far.sendall(answer)
    with pytest.raises(ProtocolError, match=why):
        asking.get(timeout=SECONDS)


def test_a_name_too_long_for_the_wire_is_refused_before_anything_is_sent(ends: tuple[Stream, Any]) -> None:
    stream, far = ends
    with pytest.raises(ValueError, match="255"):
        session_handshake.ask(stream, Request("h" * 256))
    stream.shutdown()
    assert read_until(far, 1) == b""
