"""Builders of hostile streams: frames that cost a hub more than their sender.

Knows: how each kind of frame looks, WebSocket frames and HTTP around them, addresses of the arena.
Refuses to know: connections (peer), who sends what for how long (attacks).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator

from lib import cluster_frames, packet_offload, push_settings, wire_control
from lib.ids import NO_NAMESPACE
from tests.support import packets as p

BLOB = 1 << 20
"""Bytes of a stream that is sent again and again."""
INNOCENT = "192.168.123.2"
SINK, SINK_6 = "192.168.125.1", "fd00:125::1"
"""An accomplice's overlay addresses: it has never said HELLO, so it takes single packets only."""
NAMED_HUB, DOMAIN = "192.168.127.254", "hostile.example"
"""The address and the domain of a hub that answers for names."""
NOWHERE = "10.99"
"""The first half of addresses that no route holds."""
FLOWS = 1 << 18
"""More flows than a namespace remembers (65,536 connections), so that those of a repeated stream are new."""


def address_of(number: int) -> str:
    """The overlay address that attacker `number` may send from."""
    return f"192.168.124.{number + 1}"


def address_6_of(number: int) -> str:
    """The same in IPv6."""
    return f"fd00:124::{number + 1:x}"


def deaf_address_of(number: int) -> str:
    """The overlay address of attacker `number`'s accomplice, who does not read."""
    return f"192.168.126.{number + 1}"


def repeated(*contents: bytes, size: int = BLOB) -> bytes:
    """Frames of these contents, as often as they fit into `size` bytes."""
    once = p.stream(contents)
    return once * max(1, size // len(once))


# --- frames that are no packets -------------------------------------------------------------------


def junk(number: int) -> bytes:
    """Frames of one byte that is no packet."""
    return repeated(b"\xee")


def empty(number: int) -> bytes:
    """Frames of length 0."""
    return repeated(b"")


def pings(number: int) -> bytes:
    """Control frames that ask for a reply each."""
    return repeated(wire_control.encode_ping(b"hostile!"))


def hello(number: int) -> bytes:
    """A HELLO, as its frame's content."""
    greeting = wire_control.Hello(bytes(15) + bytes([number]), packet_offload.ALL, 1420, "hostile", 3)
    return wire_control.encode_hello(greeting)


def hellos(number: int) -> bytes:
    """HELLO again and again."""
    return repeated(hello(number))


def settings(number: int) -> bytes:
    """SETTINGS of as many routes as a frame has room for, and of as many as there may be."""
    many, most = (
        bytes([wire_control.MARK, 8]) + struct.pack("!BH", 3, size) + bytes(size) for size in (65_000, 2048)
    )
    return repeated(many, *[most] * 32)


def settings_replies(number: int) -> bytes:
    """Replies to SETTINGS, which are short: a turn brings thousands."""
    return repeated(wire_control.encode_settings(push_settings.numbered(number)))


def bad_control(number: int) -> bytes:
    """Control frames whose field runs past their end."""
    return repeated(b"\xf0\1\1\0\x10short")


# --- packets --------------------------------------------------------------------------------------


def flows(source: str, target: str, count: int = FLOWS, first: int = 0) -> bytes:
    """Frames of UDP packets of one byte, each of another flow."""
    whole = p.frame(p.udp(source, target, b"x"))
    head, tail = whole[:22], struct.pack("!HH", 9, 0) + b"x"  # without a checksum, as IPv4 allows
    ports = struct.Struct("!HH").pack
    return b"".join(
        [head + ports(1 + n % 65535, 1 + n // 65535 % 65535) + tail for n in range(first, first + count)]
    )


def denied_flows(number: int) -> bytes:
    """New flows that the access list of the arena denies, for it allows others only to reach the sink."""
    return flows(address_of(number), INNOCENT)


def denied_flow(number: int) -> bytes:
    """Tiny packets of one flow that it denies."""
    return repeated(p.udp(address_of(number), INNOCENT, b"x", ports=(9, 9)))


def allowed_flows(number: int) -> bytes:
    """New flows that the access list of the arena lets through."""
    return flows(address_of(number), SINK)


def of_nobody_by_a_link(number: int) -> bytes:
    """Envelopes of a link between hubs, each with a packet whose source is no host of that hub."""
    frames = (
        p.frame(p.udp(f"{NOWHERE}.{n >> 8 & 255}.{n & 255}", address_of(number), b"x", ports=(9, 9)))
        for n in range(1 << 13)
    )
    return b"".join(
        cluster_frames.head(NO_NAMESPACE, n, len(frame)) + frame for n, frame in enumerate(frames)
    )


def nowhere(number: int) -> bytes:
    """New flows to addresses that no route holds."""
    return b"".join(
        p.frame(p.udp(address_of(number), f"{NOWHERE}.{n >> 8 & 255}.{n & 255}", b"x", ports=(9, 9)))
        for n in range(1 << 15)
    )


def questions(number: int, count: int = 1 << 13, new: bool = False) -> bytes:
    """Questions to the hub about names of hosts, or of none, each a `new` one."""
    asked = (f"none-{number}-{n}" if new else f"attacker-{n % 16}" for n in range(count))
    return b"".join(
        p.frame(p.udp(address_of(number), NAMED_HUB, _question(name, n), ports=(4000, 53)))
        for n, name in enumerate(asked)
    )


def _question(name: str, number: int) -> bytes:
    """A question about the IPv4 address of a name below the domain (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(one)]) + one.encode() for one in f"{name}.{DOMAIN}".split("."))
    return struct.pack("!6H", number & 0xFFFF, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def long_messages(number: int, count: int = 42) -> bytes:
    """Messages of many questions each, all but the first a pointer to that one's name of 120 labels."""
    asked = b"\1a" * 120 + b"\0\0\1\0\1" + b"\xc0\x0c\0\1\0\1" * (count - 1)
    return b"".join(
        p.frame(p.udp(address_of(number), NAMED_HUB, struct.pack("!6H", n, 0x100, count, 0, 0, 0) + asked, ports=(4000, 53)))
        for n in range(1 << 10)
    )  # fmt: skip


def too_big(number: int) -> bytes:
    """Packets that are longer than their receiver's device takes, and must not be cut."""
    packet = p.udp(address_of(number), INNOCENT, bytes(1480), fragment=p.DONT_FRAGMENT)
    return repeated(packet)


def wrong_source(number: int) -> bytes:
    """Packets of a source that does not route back to their sender, each of another flow."""
    return flows("192.168.99.9", INNOCENT, 1 << 15)


def fragments(number: int, target: str = SINK) -> bytes:
    """First and later fragments, each of another packet."""
    source, found = address_of(number), []
    for n in range(1 << 13):
        first = p.udp(source, target, bytes(16), ports=(1 + n, 9), identity=n, fragment=p.MORE_FRAGMENTS)
        found += [first, p.ip(source, target, p.UDP, bytes(8), identity=n, fragment=3)]
    return p.stream(found)


def echoes(number: int) -> bytes:
    """Echo requests to the sink: packets without ports, so no two of them are a flow."""
    source = address_of(number)
    return b"".join(p.frame(p.icmp(source, SINK, payload=b"x", identifier=n)) for n in range(1 << 15))


def tiny_to_the_deaf(number: int) -> bytes:
    """The smallest UDP packets, to the accomplice who does not read."""
    return flows(address_of(number), deaf_address_of(number), 1 << 15)


def large_to_the_deaf(number: int) -> bytes:
    """UDP packets of a usual size to the accomplice who does not read."""
    return repeated(p.udp(address_of(number), deaf_address_of(number), bytes(1300)))


# --- superpackets ---------------------------------------------------------------------------------


def small_segments(number: int) -> bytes:
    """UDP superpackets of 128 segments of one byte, for a peer that takes none."""
    packet = p.udp(address_of(number), SINK, bytes(128), partial=True)
    return repeated(p.superpacket(packet, 1))


LONGEST_OPTIONS = 2048
"""Bytes of one IPv6 options header at most (RFC 8200, 4.2)."""


def destination_options(size: int) -> bytes:
    """IPv6 destination-options headers before TCP, `size` bytes (a multiple of 8, 16 at least) in all."""
    found = b""
    while size:
        own = min(size, LONGEST_OPTIONS)
        size -= own
        header = bytearray([60 if size else p.TCP, own // 8 - 1])
        while (left := own - len(header)) > 1:
            take = min(left - 2, 255)
            header += bytes([0x1E, take]) + bytes(take)  # an option to be skipped by who does not know it
        found += bytes(header) + bytes(left)
    return found


def long_headers(number: int) -> bytes:
    """TCP superpackets of 65 KB whose headers are far longer than their segments: each becomes 28 MB."""
    return repeated(extended_superpacket(number, 7 * LONGEST_OPTIONS + 1952, 28))


def extended_superpacket(number: int, extensions: int, gso_size: int) -> bytes:
    """One of them, as its frame's content; `extensions` bytes of options."""
    source = address_6_of(number)
    options = destination_options(extensions)
    body = p.tcp(source, SINK_6, bytes(65000 - extensions), partial=True)[40:]
    packet = p.ip(source, SINK_6, 60 if options else p.TCP, options + body)
    at = 40 + len(options)
    return p.virtio(p.NEEDS_CSUM, p.GSO_TCPV6, at + 20, gso_size, at, 16) + packet


# --- WebSocket and HTTP ---------------------------------------------------------------------------

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BINARY, CONTINUATION, PING, PONG = 2, 0, 9, 10


def ws_frame(data: bytes, opcode: int = BINARY, final: bool = True) -> bytes:
    """A client's WebSocket frame, masked with zeros (RFC 6455, 5.2)."""
    first = (0x80 if final else 0) | opcode
    if len(data) < 126:
        head = bytes([first, 0x80 | len(data)])
    elif len(data) < 65536:
        head = struct.pack("!BBH", first, 0xFE, len(data))
    else:
        head = struct.pack("!BBQ", first, 0xFF, len(data))
    return head + b"\0\0\0\0" + data


def ws_messages(data: bytes, size: int = 1 << 16) -> bytes:
    """A stream as binary messages of `size` bytes."""
    return b"".join(ws_frame(data[at : at + size]) for at in range(0, len(data), size))


def ws_empty(count: int = BLOB // 6) -> bytes:
    """Empty binary messages."""
    return ws_frame(b"") * count


def ws_pings(payload: int = 125) -> bytes:
    """WebSocket pings with as much payload as they may have."""
    frame = ws_frame(bytes(payload), PING)
    return frame * (BLOB // len(frame))


HEADERS = b"GET /ws HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(6000))
"""The beginning of an upgrade that never ends."""


# --- a stream of one's own ------------------------------------------------------------------------


def shuffled(contents: Iterable[bytes], dice: random.Random, size: int = BLOB) -> bytes:
    """Frames drawn from these contents until there are `size` bytes."""
    pool = list(contents)

    def draw() -> Iterator[bytes]:
        left = size
        while left > 0:
            content = dice.choice(pool)
            left -= 2 + len(content)
            yield content

    return p.stream(draw())
