"""Control frames between tunrouters: HELLO, PING, PONG, DRAIN, ADVICE, LANE and more (PROTOCOL.md).

Knows: the layout of a control frame and of each message, but of SETTINGS and UNREACHED only the type.
Refuses to know: when to send one, and what a capability changes (session_sender, forward).

     0      1      2      3
    +------+------+-------------------------------------+
    | 0xF0 | type | fields: TYPE (1) | LEN (2) | DATA … |
    +------+------+-------------------------------------+

The first nibble, 15, is neither an IP version nor the beginning of a virtio-net header. So control frames can
stand between packets. Unknown types and unknown fields are skipped, which leaves room for later versions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

from lib import push_settings, wire_fields, wire_unreached
from lib.errors import ProtocolError
from lib.prefixes import Prefix
from lib.push_settings import Pushed
from lib.wire_unreached import Unreached

MARK = 0xF0
INSTANCE_SIZE = 16
TOKEN_SIZE = 8
LANE_TOKEN_SIZE = 16
CLUSTER_SIZE = 16
INDEX_SIZE, KEY_SIZE, SALT_SIZE = 3, 32, 8
MAX_PREFIXES = 8
MAX_NAME = 255
"""Bytes of a host name, as in GOST's handshake."""
MAX_SOFTWARE = 64
"""Bytes of the software field, each a printable character of ASCII; what is beyond is cut off on receipt."""


class Type(IntEnum):
    """Types of control frames."""

    HELLO = 1
    PING = 2
    PONG = 3
    DRAIN = 4
    ADVICE = 5
    LANE = 6
    DATAGRAMS = 7
    SETTINGS = 8
    SWITCH = 9
    WINDOW = 10
    UNREACHED = 11


class Cipher(IntEnum):
    """Values of HELLO's CIPHER: how its sender encrypts datagrams."""

    AES_GCM = 1
    CHACHA20_POLY1305 = 2


class AdviceField(IntEnum):
    """Fields of ADVICE."""

    TROUBLES = 1
    NAME = 2


class Field(IntEnum):
    """Fields of HELLO."""

    INSTANCE = 1
    OFFLOADS = 2
    MTU = 3
    SOFTWARE = 4
    FEATURES = 5
    PREFIXES = 6
    LANE = 7
    CIPHER = 8
    CLUSTER = 9


class DrainField(IntEnum):
    """Fields of DRAIN."""

    HOLD = 1


class DatagramsField(IntEnum):
    """Fields of DATAGRAMS."""

    INDEX = 1
    KEY = 2
    SALT = 3
    WHERE = 4


TOKEN = 1
"""The type of the only field of PING and PONG, and of that of LANE."""
UPTO = 1
"""The type of WINDOW's only field."""


class Feature(IntFlag):
    """Bits of HELLO's FEATURES: what a peer understands beside HELLO."""

    KEEPALIVE = 1
    """The peer replies to PING with PONG."""
    DRAIN = 2
    """The peer knows DRAIN: a hub asks it to open another session, and a client replies that it has left."""
    DUMMY_SOURCE = 4
    """ICMP errors from a dummy address reach the client's host: no reverse path filter drops them."""
    ADVICE = 8
    """The peer, a client, reads ADVICE and shows it."""
    LANES = 16
    """Sessions may have a second lane; a hub has a token for it in HELLO, and one more for each LANE."""
    SETTINGS = 64
    """Of a client: it wants SETTINGS. Of a hub: it sends them to a client that does."""
    DATAGRAMS = 32
    """Sessions may have a datagram channel; HELLO says the cipher."""
    SWITCH = 128
    """Of a client: it waits for SWITCH after a DRAIN that says so, and replies. Of a hub: it sends SWITCH."""
    WINDOW = 256
    """Of a hub, on a link: it sends no more than WINDOW says."""
    UNREACHED = 512
    """Of a client with sessions at several hubs: it reads UNREACHED."""


ALL_FEATURES = int(Feature.KEEPALIVE | Feature.DRAIN | Feature.ADVICE | Feature.SWITCH)
"""The features that every tunrouter of this version has."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A request for a PONG with the same token (8 bytes)."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The reply to a PING, with its token."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Drain:
    """A hub's request to open another session, or a client's notice that it has one, or cannot have one."""

    hold: bool = False
    """Whether the client goes on sending by this session until SWITCH: the hub asks all of its clients."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A hub's word that all clients have other sessions; a client's, that it sends by that one now."""


class Trouble(IntFlag):
    """Bits of ADVICE: what a hub finds wrong with a client's host name or namespace."""

    NO_GATEWAY = 1
    """No route leads to the host, so no packet will."""
    UNKNOWN_NAMESPACE = 2
    """No router of the hub has the client's router.id for its name."""
    NAME_TWICE = 4
    """Another machine is connected under the same host name."""


@dataclass(frozen=True, slots=True)
class Advice:
    """All that a hub finds wrong with a client now; without troubles nothing, any more."""

    troubles: int = 0
    """Bits of Trouble."""
    name: str = ""
    """The host name that was perhaps meant, for people; empty where none is near."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Without a token a client's request for one; with one (16 bytes) a hub's reply."""

    token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Datagrams:
    """A key for what its sender is to be sent by datagrams; without one it takes none any more."""

    index: bytes = b""
    """What the datagrams bear, 3 bytes."""
    key: bytes = field(default=b"", repr=False)
    """32 bytes; empty for none."""
    salt: bytes = field(default=b"", repr=False)
    """8 bytes."""
    port: int = 0
    """Of a hub: the UDP port where it takes them; 0 where it does not say."""
    host: str = ""
    """Likewise the address or name; empty for the far end of the stream."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What one tunrouter tells the other about itself, once, right after the handshake."""

    instance: bytes = bytes(INSTANCE_SIZE)
    """16 bytes: 15 random ones that a service draws at its start, and the number of the session (ids). A new
    session of the same instance and host replaces the old one."""
    offloads: int = 0
    """Offload bits (packet_offload) of what the sender can receive; 0 for single complete packets only."""
    mtu: int = 0
    """Largest single packet that the sender's device takes, in bytes; 0 when it has no device."""
    software: str = ""
    """Name and version of the sender's program, for people."""
    features: int = 0
    """Bits of Feature."""
    prefixes: tuple[Prefix, ...] = ()
    """Of a hub: prefixes for which the receiver is a gateway, so that it can tell whether it forwards."""
    lane: bytes = field(default=b"", repr=False)
    """Of a hub: the token by which a lane may join the session, 16 bytes; empty where none may."""
    cipher: int = 0
    """The Cipher of the datagrams that its sender will send; 0 for none."""
    cluster: bytes = b""
    """Of a hub: 16 bytes that are the same for all hubs of its cluster; empty where it is in none."""


@dataclass(frozen=True, slots=True)
class Window:
    """How far the receiver may go: bytes of its stream since that began, with all that TLS adds."""

    upto: int = 0
    """0 for any number."""


Message = Hello | Ping | Pong | Drain | Advice | Lane | Datagrams | Pushed | Switch | Window | Unreached


def encode_hello(hello: Hello) -> bytes:
    """A HELLO as the content of a frame."""
    body = (
        (Field.INSTANCE, hello.instance),
        (Field.OFFLOADS, struct.pack("!I", hello.offloads)),
        (Field.MTU, struct.pack("!I", hello.mtu)),
        (Field.SOFTWARE, _software(hello.software.encode()).encode()),
        (Field.FEATURES, struct.pack("!I", hello.features)),
        *(
            [(Field.PREFIXES, wire_fields.encode_prefixes(hello.prefixes, MAX_PREFIXES))]
            if hello.prefixes
            else ()
        ),
        *([(Field.LANE, hello.lane)] if hello.lane else ()),
        *([(Field.CIPHER, bytes([hello.cipher]))] if hello.cipher else ()),
        *([(Field.CLUSTER, hello.cluster)] if hello.cluster else ()),
    )
    return bytes([MARK, Type.HELLO]) + wire_fields.encode(body)


def encode_ping(token: bytes) -> bytes:
    """A PING as the content of a frame; the token is any 8 bytes."""
    return bytes([MARK, Type.PING]) + wire_fields.encode([(TOKEN, token)])


def encode_pong(token: bytes) -> bytes:
    """A PONG as the content of a frame."""
    return bytes([MARK, Type.PONG]) + wire_fields.encode([(TOKEN, token)])


def encode_drain(hold: bool = False) -> bytes:
    """A DRAIN as the content of a frame."""
    return bytes([MARK, Type.DRAIN]) + wire_fields.encode([(DrainField.HOLD, b"\1")] if hold else [])


def encode_switch() -> bytes:
    """A SWITCH as the content of a frame."""
    return bytes([MARK, Type.SWITCH])


def encode_advice(advice: Advice) -> bytes:
    """An ADVICE as the content of a frame."""
    name = advice.name.encode("utf-8", "surrogateescape")[:MAX_NAME]
    body = ((AdviceField.TROUBLES, struct.pack("!I", advice.troubles)), (AdviceField.NAME, name))
    return bytes([MARK, Type.ADVICE]) + wire_fields.encode(body)


def encode_lane(lane: Lane) -> bytes:
    """A LANE as the content of a frame."""
    return bytes([MARK, Type.LANE]) + wire_fields.encode([(TOKEN, lane.token)] if lane.token else ())


def encode_window(window: Window) -> bytes:
    """A WINDOW as the content of a frame."""
    return bytes([MARK, Type.WINDOW]) + wire_fields.encode([(UPTO, struct.pack("!Q", window.upto))])


def encode_unreached(unreached: Unreached) -> bytes:
    """An UNREACHED as the content of a frame."""
    return bytes([MARK, Type.UNREACHED]) + wire_unreached.encode(unreached)


def encode_settings(fields: bytes) -> bytes:
    """A SETTINGS as the content of a frame; `fields` are those of push_settings."""
    return bytes([MARK, Type.SETTINGS]) + fields


def encode_datagrams(given: Datagrams) -> bytes:
    """A DATAGRAMS as the content of a frame."""
    names = DatagramsField
    host = given.host.encode("utf-8", "surrogateescape")[:MAX_NAME]
    body = [(names.INDEX, given.index), (names.KEY, given.key), (names.SALT, given.salt)]
    if given.port:
        body.append((names.WHERE, struct.pack("!H", given.port) + host))
    return bytes([MARK, Type.DATAGRAMS]) + wire_fields.encode(body if given.key else ())


def decode(content: bytes) -> Message | None:
    """Decode the content of a control frame; None for a type that this version does not know.

    Raises ProtocolError for a malformed frame.
    """
    if len(content) < 2 or content[0] != MARK:
        raise ProtocolError("control frame without a type")
    read = _DECODERS.get(content[1])
    return read(dict(wire_fields.decode(content[2:], "control field"))) if read else None


def _decode_token(found: dict[int, bytes]) -> bytes:
    token = found.get(TOKEN, b"")
    if len(token) != TOKEN_SIZE:
        raise ProtocolError("PING or PONG without a token")
    return token


def _decode_advice(found: dict[int, bytes]) -> Advice:
    troubles = int.from_bytes(found.get(AdviceField.TROUBLES, b"")[:4], "big")
    name = found.get(AdviceField.NAME, b"")[:MAX_NAME].decode("utf-8", "replace")
    return Advice(troubles, name)


def _decode_lane(found: dict[int, bytes]) -> Lane:
    token = found.get(TOKEN, b"")
    if len(token) not in (0, LANE_TOKEN_SIZE):
        raise ProtocolError("LANE with a token of another size")
    return Lane(token)


def _decode_datagrams(found: dict[int, bytes]) -> Datagrams:
    names = DatagramsField
    index, key, salt, where = (found.get(name, b"") for name in names)
    if not key:
        return Datagrams()
    if (len(index), len(key), len(salt)) != (INDEX_SIZE, KEY_SIZE, SALT_SIZE):
        raise ProtocolError("DATAGRAMS with an index, key or salt of another size")
    host = where[2 : 2 + MAX_NAME].decode("utf-8", "replace")
    return Datagrams(index, key, salt, int.from_bytes(where[:2], "big") if len(where) >= 2 else 0, host)


def _decode_hello(found: dict[int, bytes]) -> Hello:
    instance = found.get(Field.INSTANCE, b"")
    if len(instance) != INSTANCE_SIZE:
        raise ProtocolError("HELLO without an instance id")
    return Hello(
        instance,
        int.from_bytes(found.get(Field.OFFLOADS, b"")[:4], "big"),
        int.from_bytes(found.get(Field.MTU, b"")[:4], "big"),
        _software(found.get(Field.SOFTWARE, b"")),
        int.from_bytes(found.get(Field.FEATURES, b"")[:4], "big"),
        tuple(wire_fields.decode_prefixes(found.get(Field.PREFIXES, b""), MAX_PREFIXES)),
        _sized(found.get(Field.LANE, b""), LANE_TOKEN_SIZE),
        int.from_bytes(found.get(Field.CIPHER, b"")[:1], "big"),
        _sized(found.get(Field.CLUSTER, b""), CLUSTER_SIZE),
    )


def _sized(data: bytes, size: int) -> bytes:
    """A field's bytes; none where they are not as many as they should be."""
    return data if len(data) == size else b""


def _software(data: bytes) -> str:
    """What a peer says it is, as it may be shown: a byte that is no printable ASCII becomes `?`."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in data[:MAX_SOFTWARE])


_DECODERS: dict[int, Callable[[dict[int, bytes]], Message]] = {
    Type.HELLO: _decode_hello,
    Type.PING: lambda found: Ping(_decode_token(found)),
    Type.PONG: lambda found: Pong(_decode_token(found)),
    Type.DRAIN: lambda found: Drain(any(found.get(DrainField.HOLD, b""))),
    Type.SWITCH: lambda found: Switch(),
    Type.WINDOW: lambda found: Window(int.from_bytes(found.get(UPTO, b"")[:8], "big")),
    Type.ADVICE: _decode_advice,
    Type.LANE: _decode_lane,
    Type.SETTINGS: push_settings.decode,
    Type.DATAGRAMS: _decode_datagrams,
    Type.UNREACHED: wire_unreached.decode,
}
