"""GOST's relay handshake: requests and responses, encoded and decoded (PROTOCOL.md; go-gost/relay).

Knows: how a request and its response are written and read, in both roles.
Refuses to know: who is admitted, and where the bytes come from.

    request    VER=1 (1) | COMMAND (1) | FEALEN (2) | features
    response   VER=1 (1) | STATUS  (1) | FEALEN (2) | features
    feature    TYPE (1)  | LEN (2)     | DATA (LEN)

A decoder takes all bytes received so far. It returns (message, bytes it takes up), or None where more bytes
are needed, or raises ProtocolError. A feature list of more than MAX_FEATURES bytes is an error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from lib import wire_fields
from lib.errors import ProtocolError
from lib.ids import NO_NAMESPACE, TUNNEL_ID_SIZE

VERSION = 1
ASSOCIATE = 3
JOIN = 4
"""Of tunrouters: a connection that joins a session as a lane. To every other hub it is an unknown command."""
ENROL = 5
"""Of tunrouters: a host shows an invitation (wire_enrol). To every other hub it is an unknown command."""
COMMAND_MASK = 0x0F
MAX_FEATURES = 16384
"""Longest feature list that is accepted, in bytes. A GOST client needs under 1,100; FEALEN allows 65,535."""

NETWORK_IP = 2
"""The value of the network feature for IP packets (a TUN device)."""

_HEADER = struct.Struct("!BBH")


class Status(IntEnum):
    """The second byte of a response."""

    OK = 0x00
    BAD_REQUEST = 0x01
    UNAUTHORIZED = 0x02
    FORBIDDEN = 0x03
    TIMEOUT = 0x04
    SERVICE_UNAVAILABLE = 0x05
    HOST_UNREACHABLE = 0x06
    NETWORK_UNREACHABLE = 0x07
    INTERNAL_ERROR = 0x08


class FeatureType(IntEnum):
    """The types of features that this program reads; decoders skip all others."""

    USER_AUTH = 0x01
    ADDRESS = 0x02
    TUNNEL_ID = 0x03
    NETWORK = 0x04
    LANE = 0xF0
    """Of tunrouters, with the command JOIN: the token of the session that a lane joins."""
    ENROL = 0xF1
    """Of tunrouters, with the command ENROL: the invitation; in a response the answer to it (wire_enrol)."""


class AddressType(IntEnum):
    """The type of an address in an address feature (ATYP, as in SOCKS 5)."""

    IPV4 = 1
    DOMAIN = 3
    IPV6 = 4


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request to join `namespace` (16 bytes) under the host name `host`."""

    host: str = ""
    source: str = ""
    """The client's first address in the tunnel; "" when it sent none. GOST hubs ignore it."""
    namespace: bytes = NO_NAMESPACE
    login: tuple[str, str] | None = None
    """(user name, password), None when the client sent none."""
    command: int = ASSOCIATE
    token: bytes = field(default=b"", repr=False)
    """With JOIN: the token of the session (wire_control.Hello.lane); else empty."""
    enrol: bytes = field(default=b"", repr=False)
    """With ENROL: the invitation that is shown, as wire_enrol has it; else empty."""


@dataclass(frozen=True, slots=True)
class Response:
    """A hub's response. `tunnel_id` has 20 bytes with the status OK, else it is empty."""

    status: int
    tunnel_id: bytes = b""
    enrol: bytes = b""
    """The answer to the command ENROL, as wire_enrol has it; else empty."""


def encode_request(request: Request) -> bytes:
    """Encode a request with the features in a GOST client's order: login, network, source, host, tunnel id.

    A lane's token, or an invitation, comes last.

    Raises ValueError where a name is longer than 255 bytes.
    """
    features = []
    if request.login is not None:
        features.append((FeatureType.USER_AUTH, b"".join(map(_short_text, request.login))))
    features.append((FeatureType.NETWORK, struct.pack("!H", NETWORK_IP)))
    features.append((FeatureType.ADDRESS, _encode_address(request.source or "0.0.0.0")))
    features.append((FeatureType.ADDRESS, _encode_address(request.host)))
    if request.namespace != NO_NAMESPACE:
        features.append((FeatureType.TUNNEL_ID, request.namespace.ljust(TUNNEL_ID_SIZE, b"\0")))
    if request.token:
        features.append((FeatureType.LANE, request.token))
    if request.enrol:
        features.append((FeatureType.ENROL, request.enrol))
    return _encode(request.command, features)


def decode_request(data: bytes) -> tuple[Request, int] | None:
    """Decode a request; returns (request, bytes it takes up), None where more are needed.

    Raises ProtocolError.
    """
    message = _decode(data)
    if message is None:
        return None
    command, features, size = message
    addresses: list[str] = []
    login, namespace, token, enrol = None, NO_NAMESPACE, b"", b""
    for kind, body in wire_fields.decode(features, "feature"):
        if kind == FeatureType.USER_AUTH:
            login = _decode_login(body)
        elif kind == FeatureType.ADDRESS:
            addresses.append(_decode_address(body))
        elif kind == FeatureType.TUNNEL_ID:
            namespace = _decode_tunnel_id(body)[:16]
        elif kind == FeatureType.LANE:
            token = body
        elif kind == FeatureType.ENROL:
            enrol = body
        elif kind == FeatureType.NETWORK and len(body) < 2:
            raise ProtocolError("network feature cut off")
    source = addresses[0] if addresses else ""
    host = addresses[-1] if len(addresses) > 1 else ""
    return Request(host, source, namespace, login, command & COMMAND_MASK, token, enrol), size


def encode_gateway(namespace: bytes, host: str) -> bytes:
    """The request before a packet that goes to another hub: it is for a host (`source` of what is decoded).

    Raises ValueError where the name is longer than 255 bytes.
    """
    tunnel_id = namespace.ljust(TUNNEL_ID_SIZE, b"\0")
    return _encode(
        ASSOCIATE, [(FeatureType.TUNNEL_ID, tunnel_id), (FeatureType.ADDRESS, _encode_address(host))]
    )


def encode_response(response: Response) -> bytes:
    """Encode a response as a GOST hub does; the answer to an enrolment comes last."""
    features = [(FeatureType.TUNNEL_ID, response.tunnel_id)] if response.tunnel_id else []
    features += [(FeatureType.ENROL, response.enrol)] if response.enrol else []
    return _encode(response.status, features)


def decode_response(data: bytes) -> tuple[Response, int] | None:
    """Decode a response; returns (response, bytes it takes up), None where more are needed.

    Raises ProtocolError.
    """
    message = _decode(data)
    if message is None:
        return None
    status, features, size = message
    tunnel_id = enrol = b""
    for kind, body in wire_fields.decode(features, "feature"):
        if kind == FeatureType.TUNNEL_ID:
            tunnel_id = _decode_tunnel_id(body)
        elif kind == FeatureType.ENROL:
            enrol = body
    return Response(status, tunnel_id, enrol), size


def _encode(second: int, features: list[tuple[FeatureType, bytes]]) -> bytes:
    body = wire_fields.encode(features)
    return _HEADER.pack(VERSION, second, len(body)) + body


def _decode(data: bytes) -> tuple[int, bytes, int] | None:
    """(second byte, feature list, size) of a message; None where more bytes are needed."""
    if data and data[0] != VERSION:
        raise ProtocolError(f"not a relay handshake: version {data[0]:#04x}")
    if len(data) < 4:
        return None
    _, second, length = _HEADER.unpack_from(data)
    if length > MAX_FEATURES:
        raise ProtocolError(f"feature list of {length} bytes, {MAX_FEATURES} at most")
    if len(data) < 4 + length:
        return None
    return second, data[4 : 4 + length], 4 + length


def _short_text(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) > 255:
        raise ValueError(f"longer than 255 bytes: {text[:20]!r}…")
    return bytes([len(raw)]) + raw


def _decode_login(body: bytes) -> tuple[str, str]:
    name_end = 1 + body[0] if body else 0
    if not body or len(body) <= name_end or len(body) < name_end + 1 + body[name_end]:
        raise ProtocolError("user feature cut off")
    name, password = body[1:name_end], body[name_end + 1 : name_end + 1 + body[name_end]]
    return _text(name), _text(password)


def _encode_address(host: str) -> bytes:
    """A host as ATYP, address and port 0. A host name that is an IP address is sent as that address."""
    try:
        address = ip_address(host)
    except ValueError:
        return bytes([AddressType.DOMAIN]) + _short_text(host) + b"\0\0"
    kind = AddressType.IPV4 if address.version == 4 else AddressType.IPV6
    return bytes([kind]) + address.packed + b"\0\0"


def _decode_address(body: bytes) -> str:
    kind = body[0] if body else 0
    if kind == AddressType.IPV4 and len(body) >= 7:
        return str(IPv4Address(body[1:5]))
    if kind == AddressType.IPV6 and len(body) >= 19:
        return str(IPv6Address(body[1:17]))
    if kind == AddressType.DOMAIN and len(body) >= 2 and len(body) >= 4 + body[1]:
        return _text(body[2 : 2 + body[1]])
    known = kind in AddressType.__members__.values()
    raise ProtocolError("address feature cut off" if known else f"unknown address type {kind}")


def _decode_tunnel_id(body: bytes) -> bytes:
    if len(body) < TUNNEL_ID_SIZE:
        raise ProtocolError(f"tunnel id of {len(body)} bytes, {TUNNEL_ID_SIZE} needed")
    return body[:TUNNEL_ID_SIZE]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
