"""Streams over streams: TLS, WebSocket and both, byte by byte, under load, and broken."""

from __future__ import annotations

import fcntl
import hmac
import random
import socket
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import service_turn, stream_options, stream_tls
from lib.errors import ProtocolError
from lib.limits import MIN_SLICE, Bucket, Meter
from lib.service_scheduling import Share
from lib.session_budget import Budget
from lib.session_cost import FIRST, Cost
from lib.settings_transport import TlsSettings
from lib.stream_layer import AnyStream, Layered
from lib.stream_tcp import LITTLE_UNREAD, Stream
from lib.stream_tls import TlsCodec
from lib.stream_websocket import MAX_REQUEST, WebSocketCodec
from tests.hostile import streams
from tests.support.streams import SECONDS, stream_pair
from tests.support.tls import Authority

KINDS = ["tls", "ws", "wss"]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """(client's, server's)."""
    directory: Path = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    own = authority.issue("hub.test")
    server = stream_tls.context(TlsSettings(), server=True)
    stream_tls.load_certificate(server, own.cert, own.key)
    return stream_tls.context(TlsSettings(ca_file=authority.ca.cert), server=False), server


def codecs(kind: str, client: bool, contexts: tuple[Any, Any]) -> list[Any]:
    layers: list[Any] = []
    if kind in ("tls", "wss"):
        layers.append(TlsCodec(contexts[not client], not client, "hub.test" if client else ""))
    if kind in ("ws", "wss"):
        layers.append(WebSocketCodec("/ws", (), "hub.test" if client else ""))
    return layers


def over(stream: AnyStream, layers: list[Any]) -> AnyStream:
    for codec in layers:
        stream = Layered(stream, codec)
        stream.open()
    return stream


@contextmanager
def ends(kind: str, contexts: tuple[Any, Any], buffer: int = 0) -> Iterator[tuple[AnyStream, AnyStream]]:
    with stream_pair(buffer) as (ours, far):
        below = Stream(far, "near")
        server = gevent.spawn(over, below, codecs(kind, False, contexts))
        client = over(ours, codecs(kind, True, contexts))
        yield client, server.get(timeout=SECONDS)
        below.close()


def read(stream: AnyStream, size: int, chunk: int = 1 << 18) -> bytes:
    view, data = memoryview(bytearray(chunk)), b""
    with gevent.Timeout(SECONDS):
        while len(data) < size and (got := stream.receive_into(view)):
            data += view[:got]
    return data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 100, 1 << 18])
def test_both_ways(kind: str, chunk: int, contexts: tuple[Any, Any]) -> None:
    with ends(kind, contexts) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            data = random.Random(chunk).randbytes(5000)
            assert sender.try_send([data[:10], memoryview(data)[10:4000], data[4000:]]) == 5000
            assert read(receiver, 5000, chunk) == data


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_kernel_takes_is_pending_and_goes_out_later(
    kind: str, contexts: tuple[Any, Any]
) -> None:
    data = random.Random(1).randbytes(1 << 20)
    with ends(kind, contexts, buffer=4096) as (client, server):
        assert client.try_send([data]) == len(data)
        assert client.pending > 1 << 19
        assert client.try_send([b"more"]) == 0

        def finish() -> None:
            while client.pending:
                client.wait_writable()
                client.try_send(())

        finishing = gevent.spawn(finish)
        assert read(server, len(data)) == data
        finishing.get(timeout=SECONDS)
        assert client.try_send([b"more"]) == 4
        assert read(server, 4) == b"more"


@pytest.mark.parametrize("kind", KINDS)
def test_the_far_end_closes(kind: str, contexts: tuple[Any, Any]) -> None:
    with ends(kind, contexts) as (client, server):
        server.shutdown()
        assert read(client, 1) == b""


def test_bytes_changed_on_the_way_end_a_tls_session(contexts: tuple[Any, Any]) -> None:
    with stream_pair() as (ours, far):
        server = gevent.spawn(over, Stream(far, "near"), codecs("tls", False, contexts))
        client = over(ours, codecs("tls", True, contexts))
        top = server.get(timeout=SECONDS)
        ours.try_send([b"\x17\x03\x03\x00\x20" + bytes(32)])
        with pytest.raises(OSError, match="TLS: "):
            read(top, 1)
        assert client.pending == 0
        top.close()


def take(codec: WebSocketCodec, *pieces: bytes) -> None:
    for piece in pieces:
        codec.feed(memoryview(piece))
        assert not codec.handshake()


# --- WebSocket -----------------------------------------------------------------------------------


def shake() -> tuple[WebSocketCodec, WebSocketCodec]:
    client, server = WebSocketCodec("/ws", (("X-A", "b"),), "hub.test"), WebSocketCodec("/ws")
    server.feed(memoryview(client.output()))
    assert server.handshake()
    client.feed(memoryview(server.output()))
    assert client.handshake()
    return client, server


def test_pings_are_answered_and_pongs_counted() -> None:
    client, server = shake()
    assert client.ping()
    server.feed(memoryview(client.output()))
    assert server.read_into(memoryview(bytearray(10))) is None
    assert server.output() == b"", "a pong goes out once nothing else waits"
    server.reply()
    client.feed(memoryview(server.output()))
    assert client.read_into(memoryview(bytearray(10))) is None
    assert client.pongs == 1


def test_of_many_pings_the_last_one_is_answered() -> None:
    client, server = shake()
    for _ in range(1000):
        assert client.ping()
    server.feed(memoryview(client.output()))
    while server.read_into(memoryview(bytearray(10))) is None and server.more:
        pass
    server.reply()
    assert len(server.output()) == 2 + len(b"tunrouter")
    server.reply()
    assert server.output() == b""


@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_pings_of_a_peer_that_does_not_read_hold_nothing(kind: str, contexts: tuple[Any, Any]) -> None:
    """What the far end asks for waits as one pong; what waits is counted, and not after the end."""
    budget = Budget(1 << 30)
    with ends(kind, contexts, buffer=4096) as (client, server):
        bottom: Any = server
        while isinstance(bottom, Layered):
            bottom = bottom._below
        bottom.count(Cost(), "peer", budget)
        bottom._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server.try_send([bytes(400_000)])
        waits = server.pending
        assert budget.used == waits > 100_000
        reader = gevent.spawn(server.receive_into, memoryview(bytearray(100)))
        for _ in range(2000):
            client.ping()
        with gevent.Timeout(SECONDS):
            client.send_all(b"x")
            assert reader.get() == 1, "what it sends is still read"
        assert server.pending <= waits + 1000
        assert budget.used == server.pending
        server.shutdown()
        server.close()
        assert budget.used == 0


@pytest.mark.parametrize("kind", ["tcp", *KINDS])
def test_every_turn_before_a_login_is_taken_from_the_share(
    kind: str, contexts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all layers: the handshakes, and what is read until a login is known. Afterwards only what costs much is."""
    entered = []

    class Counted(Share):
        def enter(self, key: object) -> None:
            entered.append(key)
            super().enter(key)

    monkeypatch.setattr(service_turn, "SHARE", Counted())
    with stream_pair() as (ours, far):
        below, cost = Stream(far, "near"), Cost()
        below.count(cost, "peer", Budget(1 << 30))
        opening = gevent.spawn(over, below, codecs(kind, False, contexts))
        client = over(ours, codecs(kind, True, contexts))
        server = opening.get(timeout=SECONDS)
        assert set(entered) == (set() if kind == "tcp" else {"peer"})
        handshakes = len(entered)
        client.send_all(b"a login")
        assert read(server, 7) == b"a login"
        before = len(entered)
        assert before > handshakes
        cost.admit(kind)
        cost.debt = 0.0
        client.send_all(b"a packet")
        assert read(server, 8) == b"a packet"
        assert len(entered) == before
        below.close()


@pytest.mark.parametrize("kind", ["tcp", *KINDS])
def test_limits_count_what_is_on_the_wire(kind: str, contexts: tuple[Any, Any]) -> None:
    """Not what the layers make of it: a byte a TLS record, and messages with nothing in them, cost too."""
    with ends(kind, contexts) as (client, server):
        buckets = Bucket(1e-3, 1e9), Bucket(1e-3, 1e9)
        meters = [Meter([bucket], []) for bucket in buckets]
        bottom = server
        while isinstance(bottom, Layered):
            bottom = bottom._below
        bottom.count(Cost(admitted=True), "peer")
        server.limit(*meters)
        for _ in range(100):
            if kind == "ws":
                client._below.send_all(streams.ws_empty(10))  # type: ignore[union-attr]
            client.send_all(b"a")
        assert read(server, 100) == b"a" * 100
        on_the_wire = {"tcp": 100, "tls": 100 * (1 + 5 + 17), "ws": 100 * (7 + 60), "wss": 100 * (7 + 5 + 17)}
        into, out = (1e9 - bucket.tokens for bucket in buckets)
        assert (round(into), out) == (on_the_wire[kind], 0)
        assert server.try_send([bytes(1000)]) == 1000
        assert 1000 <= 1e9 - buckets[1].tokens < 1100


def test_little_lies_unread_of_a_peer_while_it_is_expensive() -> None:
    """Nothing is lost meanwhile, and afterwards it may send as much as ever."""
    with stream_pair() as (ours, far):
        below, cost = Stream(far, "near"), Cost(admitted=True)
        below.count(cost, "peer")
        sent, got, cycle = 0, bytearray(), bytes(range(251)) * 270

        def turn(debt: float) -> int:
            """Bytes that lie unread after a turn, when the peer has sent what it may."""
            nonlocal sent
            while taken := ours.try_send([cycle[sent % 251 :]]):
                sent += taken
            cost.debt, cost.size = debt, 1 << (16 if debt == 1 else 18)
            got.extend(read(below, 1))
            below.end_turn()
            return int.from_bytes(fcntl.ioctl(below._sock, termios.FIONREAD, bytes(4)), sys.byteorder)

        many = max(turn(1e-6) for _ in range(100))
        segment = below._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        most = max(LITTLE_UNREAD, 4 * segment) + (1 << 17)  # the kernel takes what has come to less than that
        assert most < many
        assert any(turn(1.0) <= most for _ in range(1000)), (
            "what lay there before is read first, in many turns"
        )
        assert max(turn(1.0) for _ in range(50)) < (most + many) / 2
        shrunk = below._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        turn(1e-6)
        assert below._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > shrunk
        assert not below._sock.getsockopt(socket.SOL_SOCKET, stream_options._SO_BUF_LOCK), (
            "the kernel lets it grow"
        )
        rest = gevent.spawn(read, below, sent - len(got))
        assert got + rest.get(timeout=SECONDS) == (cycle * (sent // len(cycle) + 1))[:sent]
        below.close()


def test_who_is_over_the_limit_is_not_read_however_little_its_bytes_become() -> None:
    """Empty WebSocket messages: without limits this would go on for as long as there are any."""
    with stream_pair() as (ours, far):
        below = Stream(far, "near")
        opening = gevent.spawn(over, below, [WebSocketCodec("/ws", (), "")])
        over(ours, [WebSocketCodec("/ws", (), "hub.test")])
        server = opening.get(timeout=SECONDS)
        below.count(Cost(admitted=True), "peer")
        bucket = Bucket(1000.0, 1000.0)
        server.limit(Meter([bucket], []), None)
        ours.send_all(streams.ws_empty(20_000))
        reading = gevent.spawn(server.receive_into, memoryview(bytearray(100)))
        reading.join(0.1)
        assert not reading.ready()
        assert -MIN_SLICE <= bucket.tokens <= 0, "one receive too many, and no more"
        reading.kill()
        below.close()


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 40))
def test_websocket_byte_by_byte(data: bytes, step: int, room: int) -> None:
    client, server = shake()
    client.encode([data[:7], data[7:]])
    wire, view, got = client.output(), memoryview(bytearray(room)), b""
    for at in range(0, len(wire), step):
        server.feed(memoryview(wire)[at : at + step])
        while size := server.read_into(view):
            got += view[:size]
    assert got == data


@pytest.mark.parametrize(
    ("request_bytes", "why", "answer"),
    [
        ((b"GET /other HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n"),
         "path '/other' is not /ws", b"404"),
        (b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", "Upgrade", b"400"),
        (b"POST /ws HTTP/1.1\r\nHost: h\r\n\r\n", "must be GET", b"400"),
        (b"\x01\x03\x00\x00 no http\r\n\r\n", "Bad HTTP", b"400"),
        (b"GET /ws HTTP/1.1\r\nHost: \xff\xfe\r\nConnection: Upgrade\r\n\r\n", "WebSocket", b""),
    ],
)  # fmt: skip
def test_no_proper_upgrade(request_bytes: bytes, why: str, answer: bytes) -> None:
    server = WebSocketCodec("/ws")
    with pytest.raises(ProtocolError, match=why):
        take(server, request_bytes)
    assert answer in server.output()


def test_an_endless_upgrade_is_cut_off() -> None:
    server = WebSocketCodec("/ws")
    with pytest.raises(ProtocolError):
        take(server, *[b"GET /ws HTTP/1.1\r\nX: " + b"a" * 100] * (MAX_REQUEST // 100 + 2))


@given(st.binary(max_size=200))
def test_junk_after_the_upgrade_ends_the_session_and_nothing_else(junk: bytes) -> None:
    _, server = shake()
    view = memoryview(bytearray(500))
    try:
        server.feed(memoryview(junk))
        while server.read_into(view):
            pass
    except (OSError, ProtocolError):
        pass


@given(st.binary(max_size=200))
def test_junk_instead_of_an_upgrade(junk: bytes) -> None:
    makers: list[Callable[[], WebSocketCodec]] = [
        lambda: WebSocketCodec("/ws"),
        lambda: WebSocketCodec("/ws", (), "hub.test"),
    ]
    for make in makers:
        codec = make()
        try:
            take(codec, junk)
        except ProtocolError:
            pass


def test_a_pin_is_compared_in_constant_time(
    contexts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hmac.compare_digest, and by it alone: where that says yes, another pin is the right one."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return True

    with stream_pair() as (ours, far):
        server = gevent.spawn(over, Stream(far, "near"), codecs("tls", False, contexts))
        monkeypatch.setattr(hmac, "compare_digest", compare)
        over(ours, [TlsCodec(contexts[0], False, "hub.test", bytes(32))])
        server.get(timeout=SECONDS)
    ((pin, fingerprint),) = compared
    assert pin == bytes(32) != fingerprint


def test_a_stream_that_we_have_closed_ourselves_has_closed() -> None:
    """A session ends while a check of its login still waits: whoever asks then gets an answer, no error."""
    with stream_pair() as (_, far):
        stream = Stream(far, "near")
        assert not stream.has_closed()
        stream.close()
        assert stream.has_closed()


@pytest.mark.parametrize("kind", ["tls", "ws"])
def test_who_has_given_up_before_its_handshake_costs_none_of_tls(
    kind: str, contexts: tuple[Any, Any]
) -> None:
    """Of clients that all come at once some give up while they wait. An upgrade costs little, and is answered."""
    with stream_pair() as (ours, far):
        below, (codec,) = Stream(far, "near"), codecs(kind, False, contexts)
        (client,) = codecs(kind, True, contexts)
        client.handshake()
        ours.send_all(client.output())
        far_end = ours._sock
        far_end.shutdown(socket.SHUT_WR)
        with gevent.Timeout(SECONDS):
            while not below.has_closed():
                gevent.sleep(0.001)
            if kind == "tls":
                with pytest.raises(ProtocolError, match="closed before its TLS handshake"):
                    Layered(below, codec).open()
            else:
                Layered(below, codec).open()
        below.close()
        said = far_end.recv(4096)
        assert said.startswith(b"HTTP/1.1 101") if kind == "ws" else not said


@pytest.mark.parametrize(("seconds", "whole"), [(60.0, True), (0.0, False)], ids=["in time", "too much"])
def test_what_a_peer_sent_before_it_closed_is_read_for_a_moment(
    seconds: float, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may hold megabytes of it, and sixteen such peers end at once."""
    monkeypatch.setattr("lib.stream_tcp.REST_SECONDS", seconds)
    with stream_pair() as (ours, far):
        read_by, cost = Stream(far, "near"), Cost()
        cost.admit("tcp")
        read_by.count(cost, "key")
        sent = 20 * FIRST
        ours.send_all(bytes(sent))
        ours.close()
        got, view = 0, memoryview(bytearray(FIRST))
        with gevent.Timeout(SECONDS):
            while not read_by.has_closed():
                gevent.sleep(0.001)
            while size := read_by.receive_into(view):
                got += size
        assert got == (sent if whole else 2 * FIRST)


@pytest.mark.parametrize("expensive", [True, False])
def test_what_an_expensive_session_sent_before_it_closed_is_not_read(
    expensive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cost, "expensive", property(lambda self: expensive, lambda self, value: None))
    with stream_pair() as (ours, far):
        read_by, cost = Stream(far, "near"), Cost()
        cost.admit("tcp")
        read_by.count(cost, "key")
        ours.send_all(bytes(5000))
        ours.close()
        with gevent.Timeout(SECONDS):
            while not read_by.has_closed():
                gevent.sleep(0.001)
            got = read_by.receive_into(memoryview(bytearray(1 << 16)))
        assert (got == 0) is expensive
