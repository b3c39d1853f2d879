"""The relay handshake: what a real GOST sent and answered, byte for byte, and what strangers may send."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import ids, wire_relay
from lib.auth_admission import admit
from lib.errors import ProtocolError
from lib.ids import NO_NAMESPACE, parse_uuid
from lib.ingress import Ingress
from lib.wire_relay import Request, Response, Status
from tests.support import texts

DATA = Path(__file__).parent.parent / "data"
REFUSED_TEXTS = ("no_host", "router_id_not_uuid")


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


CLIENT_REQUESTS = recorded("client_requests")
HUB_ANSWERS = recorded("hub_answers")
AUTH_ANSWERS = recorded("auth_answers")
INGRESS_ANSWERS = recorded("ingress_answers")

SENT = [c for c in CLIENT_REQUESTS if "request" in c]
CLOSED_SILENTLY = [c for c in HUB_ANSWERS if c["closed"] and not c["response"]]
UNDERSTOOD = [c for c in HUB_ANSWERS if c not in CLOSED_SILENTLY]
ANSWERED = [c for c in UNDERSTOOD + INGRESS_ANSWERS["cases"] + AUTH_ANSWERS if c["response"]]

# Features of a made-up request, to be put together wrong.
NETWORK = bytes.fromhex("04 0002 0002")
SOURCE = bytes.fromhex("02 0007 01 7f000001 0000")
HOST = bytes.fromhex("02 000a 03 06") + b"host-1" + bytes(2)


def named(cases: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[c["name"] for c in cases])


def raw(case: dict[str, Any], key: str = "request") -> bytes:
    return bytes.fromhex(case[key])


def request_of(*features: bytes, version: int = 1, command: int = 3) -> bytes:
    body = b"".join(features)
    return struct.pack("!BBH", version, command, len(body)) + body


def feature(kind: int, body: bytes) -> bytes:
    return struct.pack("!BH", kind, len(body)) + body


# --- what a GOST client sends ------------------------------------------------------------------------


def asked_for(case: dict[str, Any]) -> Request:
    """What the command line of a recorded client says, read without lib."""
    listen, forward = urlsplit(case["listen"]), urlsplit(case["forward"])
    query = {key: values[0] for key, values in parse_qs(forward.query).items()}
    login = None
    if forward.username is not None:
        login = (unquote(forward.username), unquote(forward.password or ""))
    if "auth" in query:
        name, _, password = base64.b64decode(query["auth"]).decode().partition(":")
        login = (name, password)
    return Request(
        host=listen.path[1:],
        source=parse_qs(listen.query)["net"][0].split("/")[0],
        namespace=parse_uuid(query["router.id"]) if "router.id" in query else NO_NAMESPACE,
        login=login,
    )


def test_every_recorded_client_is_a_case_here() -> None:
    assert len(SENT) == 15
    assert {c["name"] for c in CLIENT_REQUESTS} - {c["name"] for c in SENT} == set(REFUSED_TEXTS)


@named(SENT)
def test_a_gost_clients_request_says_what_its_command_line_says(case: dict[str, Any]) -> None:
    assert wire_relay.decode_request(raw(case)) == (asked_for(case), len(raw(case)))


@named(SENT)
def test_our_request_is_a_gost_clients_byte_for_byte(case: dict[str, Any]) -> None:
    assert wire_relay.encode_request(asked_for(case)) == raw(case)


@named([c for c in CLIENT_REQUESTS if c["name"] == "router_id_not_uuid"])
def test_no_connection_with_a_router_id_that_is_no_uuid(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tenant-a"):
        asked_for(case)


@named([c for c in CLIENT_REQUESTS if c["name"] == "no_host"])
def test_no_host_leaves_nothing_to_ask_for(case: dict[str, Any]) -> None:
    assert asked_for(case).host == ""  # the configuration refuses it before a connection: test_meaning


@named([c for c in SENT if "response" in c])
def test_the_answer_a_gost_client_was_content_with(case: dict[str, Any]) -> None:
    answer = Response(Status.OK, bytes(range(1, 17)) + bytes(4))
    assert wire_relay.encode_response(answer) == raw(case, "response")
    assert wire_relay.decode_response(raw(case, "response")) == (answer, len(raw(case, "response")))


# --- what a GOST hub answers -------------------------------------------------------------------------


class _Rules:
    """An ingress as the hub asks it: with the service that wants to know."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    def admits(self, host: str, namespace: bytes, *_: object) -> bool:
        return self._ingress.admits(host, namespace)


def answer_to(data: bytes, connector: bytes, ingress: Ingress | None = None) -> tuple[bytes, bool]:
    """(what a hub of ours answers, whether it closes), with superpackets off: nothing but GOST's bytes."""
    try:
        message = wire_relay.decode_request(data)
    except ProtocolError:
        return b"", True
    assert message is not None, "still waiting"
    status, why = admit(message[0], "service-0", "192.0.2.1:1", (), _Rules(ingress) if ingress else None)
    assert bool(why) == (status != Status.OK)
    tunnel_id = connector + bytes(4) if status == Status.OK else b""
    return wire_relay.encode_response(Response(status, tunnel_id)), status != Status.OK


def connector_in(case: dict[str, Any]) -> bytes:
    """The random part of a recorded answer."""
    return raw(case, "response")[7:23]


@named(HUB_ANSWERS)
def test_our_answer_is_a_gost_hubs_byte_for_byte(case: dict[str, Any]) -> None:
    assert answer_to(raw(case), connector_in(case)) == (raw(case, "response"), case["closed"])


@named([c for c in HUB_ANSWERS if not c["closed"]])
def test_differs_on_purpose_only_in_the_last_four_bytes_a_gost_client_ignores(case: dict[str, Any]) -> None:
    shown = wire_relay.encode_response(Response(Status.OK, ids.hub_tunnel_id(connector_in(case))))
    assert shown[:-4] == raw(case, "response")[:-4]
    assert (shown[-4:], raw(case, "response")[-4:]) == (b"TUN\x01", bytes(4))


@pytest.fixture(scope="module")
def gost_rules() -> Ingress:
    return Ingress((rule["hostname"], rule["endpoint"]) for rule in INGRESS_ANSWERS["rules"])


@named([c for c in INGRESS_ANSWERS["cases"] if c["host"]])
def test_under_an_ingress_our_answer_is_a_gost_hubs(case: dict[str, Any], gost_rules: Ingress) -> None:
    expected = raw(case, "response"), case["closed"]
    assert answer_to(raw(case), connector_in(case), gost_rules) == expected


@named([c for c in INGRESS_ANSWERS["cases"] if not c["host"]])
def test_differs_on_purpose_an_empty_host_is_refused_under_an_ingress(
    case: dict[str, Any], gost_rules: Ingress
) -> None:
    assert raw(case, "response")[1] == Status.OK, "GOST skips the check"
    assert answer_to(raw(case), b"", gost_rules) == (bytes.fromhex("01060000"), True)


@named(AUTH_ANSWERS)
def test_the_login_is_read(case: dict[str, Any]) -> None:
    """The login alone: whether it is good is not the hub's to say yet (an auther is refused as config)."""
    message = wire_relay.decode_request(raw(case))
    assert message is not None
    assert message[0].login == (tuple(case["auth"]) if case["auth"] is not None else None)


@named(ANSWERED)
def test_a_gost_hubs_answer_is_read_and_written_again(case: dict[str, Any]) -> None:
    response, size = wire_relay.decode_response(raw(case, "response")) or (None, 0)
    assert response is not None
    assert size == len(raw(case, "response"))
    assert (response.status == Status.OK) == (not case["closed"])
    assert len(response.tunnel_id) == (20 if response.status == Status.OK else 0)
    assert ids.hub_version(response.tunnel_id) == 0
    assert wire_relay.encode_response(response) == raw(case, "response")


@pytest.mark.parametrize(
    ("host", "command", "status"),
    [
        ("host-1", 3, Status.OK),
        ("", 3, Status.OK),
        ("a\nb", 3, Status.BAD_REQUEST),
        ("host-1", 1, Status.BAD_REQUEST),
    ],
)
def test_admission_without_an_ingress(host: str, command: int, status: Status) -> None:
    assert admit(Request(host, command=command), "service-0", "192.0.2.1:1")[0] == status


# --- a stream comes in pieces ------------------------------------------------------------------------


@named(SENT + UNDERSTOOD)
def test_a_request_byte_by_byte(case: dict[str, Any]) -> None:
    data = raw(case)
    assert [wire_relay.decode_request(data[:size]) for size in range(len(data))] == [None] * len(data)
    whole = wire_relay.decode_request(data)
    assert whole is not None
    assert whole[1] == len(data)
    assert wire_relay.decode_request(data + b"\0\x14GOST and more") == whole


@named(CLOSED_SILENTLY)
def test_a_bad_request_byte_by_byte(case: dict[str, Any]) -> None:
    data = raw(case)
    for size in range(len(data)):
        try:
            assert wire_relay.decode_request(data[:size]) is None
        except ProtocolError:
            break  # as soon as it is known
    with pytest.raises(ProtocolError):
        wire_relay.decode_request(data)


@named(ANSWERED)
def test_a_response_byte_by_byte(case: dict[str, Any]) -> None:
    data = raw(case, "response")
    assert [wire_relay.decode_response(data[:size]) for size in range(len(data))] == [None] * len(data)
    whole = wire_relay.decode_response(data)
    assert whole is not None
    assert whole == wire_relay.decode_response(data + b"\0\x1cE")


# --- what strangers send -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"G", "version 0x47", id="the first byte tells"),
        pytest.param(request_of(HOST, version=0), "version 0x00", id="version 0"),
        pytest.param(b"\x01\x03\xff\xff", "65535 bytes, 16384 at most", id="a list too long, at once"),
        pytest.param(b"\x01\x03\x40\x01", "16385 bytes", id="a byte too long"),
        pytest.param(request_of(b"\x02"), "header cut off", id="one byte of a feature"),
        pytest.param(request_of(NETWORK, b"\x02\x00"), "header cut off", id="two bytes of a feature"),
        pytest.param(request_of(b"\x02\x00\x01"), "feature 0x02 runs past", id="no body"),
        pytest.param(request_of(feature(1, b"")), "user feature cut off", id="empty login"),
        pytest.param(request_of(feature(1, b"\x04user")), "user feature cut off", id="no password"),
        pytest.param(request_of(feature(1, b"\x04user\x02p")), "user feature cut off", id="half a password"),
        pytest.param(request_of(feature(2, b"")), "unknown address type 0", id="empty address"),
        pytest.param(request_of(feature(2, b"\x02" + bytes(20))), "unknown address type 2", id="type 2"),
        pytest.param(request_of(feature(2, b"\x01" + bytes(5))), "address feature cut off", id="short IPv4"),
        pytest.param(request_of(feature(2, b"\x04" + bytes(17))), "address feature cut off", id="short IPv6"),
        pytest.param(request_of(feature(2, b"\x03")), "address feature cut off", id="no name length"),
        pytest.param(request_of(feature(2, b"\x03\x02ab\0")), "address feature cut off", id="half a port"),
        pytest.param(request_of(feature(3, bytes(19))), "tunnel id of 19 bytes", id="short tunnel id"),
        pytest.param(request_of(feature(4, b"\0")), "network feature cut off", id="short network"),
    ],
)
def test_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        wire_relay.decode_request(data)


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        pytest.param(request_of(), Request(), id="nothing at all"),
        pytest.param(request_of(SOURCE), Request("", "127.0.0.1"), id="one address is the source"),
        pytest.param(request_of(SOURCE, HOST), Request("host-1", "127.0.0.1"), id="the second the host"),
        pytest.param(request_of(SOURCE, SOURCE, HOST), Request("host-1", "127.0.0.1"), id="or the last"),
        pytest.param(request_of(HOST, command=0xF3), Request("", "host-1"), id="flags beside the command"),
        pytest.param(
            request_of(feature(5, b"{}"), SOURCE, feature(0, b""), HOST, feature(255, bytes(99))),
            Request("host-1", "127.0.0.1"),
            id="unknown types are skipped",
        ),
        pytest.param(
            request_of(feature(3, bytes(range(24)))), Request(namespace=bytes(range(16))), id="a longer id"
        ),
        pytest.param(request_of(feature(1, b"\0\0rest")), Request(login=("", "")), id="more after a login"),
        pytest.param(
            request_of(SOURCE, feature(2, b"\x03\x02\xff\xfe\0\0")),
            Request("\udcff\udcfe", "127.0.0.1"),
            id="a name outside UTF-8 stays itself",
        ),
    ],
)
def test_unusual_but_right(data: bytes, request_: Request) -> None:
    assert wire_relay.decode_request(data) == (request_, len(data))


def test_the_longest_list_is_taken() -> None:
    data = request_of(feature(9, bytes(wire_relay.MAX_FEATURES - 3 - len(HOST))), HOST)
    assert len(data) == 4 + wire_relay.MAX_FEATURES
    assert wire_relay.decode_request(data) == (Request("", "host-1"), len(data))


@pytest.mark.parametrize(
    "data", [b"\x05", b"\x01\0\xff\xff", b"\x01\0\0\x01\x03", b"\x01\0\0\x04\x03\0\x01\0"], ids=bytes.hex
)
def test_a_bad_response_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire_relay.decode_response(data)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(Request("h" * 256), id="host"),
        pytest.param(Request("ö" * 128), id="host in bytes"),
        pytest.param(Request("h", login=("u" * 256, "")), id="user"),
        pytest.param(Request("h", login=("u", "p" * 256)), id="password"),
    ],
)
def test_what_does_not_fit_its_length_byte_is_not_sent(request_: Request) -> None:
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        wire_relay.encode_request(request_)


def test_the_longest_names_are_sent() -> None:
    request = Request("h" * 255, "fd00::1", bytes(range(16)), ("u" * 255, "p" * 255))
    assert wire_relay.decode_request(wire_relay.encode_request(request)) == (
        request,
        4 + 515 + 5 + 22 + 262 + 23,
    )


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("10.1.2.3", "01 0a010203 0000"),
        ("fd00::1", "04 fd000000000000000000000000000001 0000"),
        ("10.1.2", "03 06 31302e312e32 0000"),
        ("", "03 00 0000"),
    ],
)
def test_a_host_written_as_an_ip_goes_as_that_ip(host: str, written: str) -> None:
    body = bytes.fromhex(written)
    data = wire_relay.encode_request(Request(host, "10.0.0.1"))
    assert data.endswith(feature(2, body))
    assert wire_relay.decode_request(data) == (Request(host, "10.0.0.1"), len(data))


def test_without_an_address_of_its_own_a_client_sends_zeros() -> None:
    message = wire_relay.decode_request(wire_relay.encode_request(Request("host-1")))
    assert message is not None
    assert (message[0].source, message[0].host) == ("0.0.0.0", "host-1")


# --- anything ----------------------------------------------------------------------------------------

names = texts.from_bytes(60, without=".:%")  # no IP among them
addresses = st.ip_addresses().map(str)
requests = st.builds(
    Request,
    host=names | st.ip_addresses(v=4).map(str),
    source=addresses,
    namespace=st.just(NO_NAMESPACE) | st.binary(min_size=16, max_size=16),
    login=st.none() | st.tuples(names, names),
    command=st.integers(0, 15),
)
bodies = st.binary(max_size=30) | st.tuples(st.sampled_from(b"\x01\x03\x04"), st.binary(max_size=20)).map(
    lambda pair: bytes([pair[0]]) + pair[1]
)
feature_lists = st.lists(st.builds(feature, st.integers(0, 6), bodies)).map(lambda fs: request_of(*fs))


@given(requests, st.binary(max_size=20))
def test_any_request_comes_back(request_: Request, after: bytes) -> None:
    data = wire_relay.encode_request(request_)
    assert wire_relay.decode_request(data + after) == (request_, len(data))
    assert wire_relay.encode_request(request_) == data


@given(st.integers(0, 255), st.just(b"") | st.binary(min_size=20, max_size=20), st.binary(max_size=20))
def test_any_response_comes_back(status: int, tunnel_id: bytes, after: bytes) -> None:
    data = wire_relay.encode_response(Response(status, tunnel_id))
    assert wire_relay.decode_response(data + after) == (Response(status, tunnel_id), len(data))


@given(st.binary() | st.binary().map(lambda rest: b"\x01\x03" + rest) | feature_lists)
def test_any_bytes_are_a_message_or_not_yet_or_the_peers_fault(data: bytes) -> None:
    for decode in (wire_relay.decode_request, wire_relay.decode_response):
        try:
            message = decode(data)
        except ProtocolError:
            continue
        if message is None:
            assert len(data) < 4 or len(data) < 4 + int.from_bytes(data[2:4], "big")
        else:
            assert message[1] == 4 + int.from_bytes(data[2:4], "big")


@given(feature_lists)
def test_whatever_was_understood_can_be_admitted_and_said_again(data: bytes) -> None:
    try:
        message = wire_relay.decode_request(data)
    except ProtocolError:
        return
    assert message is not None
    status, _ = admit(message[0], "service-0", "192.0.2.1:1", (), _Rules(Ingress([])))
    assert status in (Status.OK, Status.BAD_REQUEST, Status.HOST_UNREACHABLE)
    again = wire_relay.encode_request(message[0])  # nothing understood is too long to say
    assert wire_relay.decode_request(again) is not None


# --- hub to hub (not built yet; its datagrams start with a request of the same form) -----------------


@pytest.mark.parametrize("name", ["hub_to_hub", "from_another_hub"])
def test_the_request_in_an_entrypoint_datagram_is_read(name: str) -> None:
    case = recorded("entrypoint")
    datagram = bytes.fromhex(case[name]["datagram"])
    message = wire_relay.decode_request(datagram)
    assert message is not None
    request, size = message
    assert request.namespace == parse_uuid(case["hub_to_hub"]["namespace"])
    if name == "hub_to_hub":
        assert request.source == case[name]["gateway"], "its only address"
        assert datagram[size:].hex() == case[name]["packet"]
    else:
        assert datagram[size:].hex() == case[name]["received_by_host_1"][4:]


def test_a_lane_s_request_is_that_of_its_session_with_a_token() -> None:
    """Everything a hub checks stands where it always does; the command is one that no other hub knows."""
    session = Request("host-1", "192.168.123.1", bytes(range(1, 17)), ("u", "p"))
    lane = Request(
        "host-1", "192.168.123.1", bytes(range(1, 17)), ("u", "p"), wire_relay.JOIN, bytes(range(16))
    )
    one, other = wire_relay.encode_request(session), wire_relay.encode_request(lane)
    assert other[1] == wire_relay.JOIN == 4
    assert other[4:] == one[4:] + b"\xf0\x00\x10" + bytes(range(16))
    assert wire_relay.decode_request(other) == (lane, len(other))
    assert bytes(range(16)).hex() not in repr(lane)
