"""Hundreds of strangers with every kind of bad bytes, beside a ping that loses nothing.

A stranger is a plain socket of host-1. What it costs: its session, or its packet, and a count with
a reason; never anybody else's packet.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from lib import framing, hub_log, packet_offload, wire_control, wire_relay
from lib.log_dedup import FLOOD
from lib.packet import checksum
from lib.wire_relay import Request
from tests.support.load import udp
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, in_namespace
from tests.support.program import (
    OVERLAY_1,
    OVERLAY_2,
    drops,
    example,
    host,
    pings,
    reach,
    start_client,
    start_hub,
    total,
    unlimited,
)

pytestmark = pytest.mark.usefixtures("no_traceback")

Write = Callable[[str, str], str]
STRANGER = "192.168.99.9"
ROUNDS = 25


def ipv4(source: str, destination: str, payload: bytes, protocol: int = 17, total_length: int = 0) -> bytes:
    """An IPv4 packet; total_length other than 0 is a lie."""
    length = total_length or 20 + len(payload)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, length, 7, 0, 64, protocol, 0, *map(socket.inet_aton, (source, destination))
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp_datagram(payload: bytes, port: int = 9) -> bytes:
    return struct.pack("!HHHH", 9, port, 8 + len(payload), 0) + payload


def virtio(
    flags: int, gso_type: int, hdr_len: int, gso_size: int, start: int, offset: int, packet: bytes
) -> bytes:
    return struct.pack("<BBHHHH", flags, gso_type, hdr_len, gso_size, start, offset) + packet


GOOD = ipv4(STRANGER, OVERLAY_2, udp_datagram(bytes(400)))
KNOCK = wire_relay.encode_request(Request("stranger", STRANGER))
TCP_SEGMENT = struct.pack("!HHIIBBHHH", 9, 9, 1, 1, 0x50, 0x10, 100, 0, 0) + bytes(3000)


@dataclass(frozen=True)
class Stranger:
    """What one of them says, and what the hub is to make of it."""

    name: str
    says: bytes
    logged: str = ""
    """What ends its session, in the log."""
    counted: str = ""
    """The reason its packets are dropped for."""
    greets: bytes = b""
    """Its handshake, where it is to say HELLO first and hear one."""
    leaves: bool = False
    """It hangs up at once, where others wait to be shown the door."""


def frames(*contents: bytes) -> bytes:
    """The handshake and frames of these contents, a length of 0 included."""
    return KNOCK + b"".join(struct.pack("!H", len(content)) + content for content in contents)


HANDSHAKES = [
    Stranger("another version", b"\2\3\0", "not a relay handshake: version 0x02"),
    Stranger("SOCKS", b"\5\1\0", "SOCKS on a tcp port"),
    Stranger("a browser", b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", "HTTP on a tcp port: "),
    Stranger("TLS", bytes.fromhex("16030100a5010000a10303"), "the client speaks TLS to a tcp port: "),
    Stranger("an oversized feature list", b"\1\3\xff\xff" + bytes(65535), "feature list of 65535 bytes"),
    Stranger("a feature past the end", b"\1\3\0\5\2\0\xff\0\0", "feature 0x02 runs past the end"),
    Stranger("an unknown address type", b"\1\3\0\6\2\0\3\7\0\0", "unknown address type 7"),
    Stranger("a tunnel id cut off", b"\1\3\0\5\3\0\2ab", "tunnel id of 2 bytes"),
    Stranger("a login cut off", b"\1\3\0\5\1\0\2\xffa", "user feature cut off"),
    Stranger("half a handshake", KNOCK[:-3], "closed in the middle of the handshake", leaves=True),
    Stranger("nothing, and gone", b"", "closed at once", leaves=True),
    Stranger("nothing at all", b"", "no handshake within 2 s"),
    Stranger("half, and nothing more", KNOCK[:9], "no handshake within 2 s"),
    Stranger("another command", wire_relay.encode_request(Request("x", command=1)), "unknown command 1"),
    Stranger("a name with a line break", wire_relay.encode_request(Request("a\nb")), "control characters"),
]
"""Strangers whom the hub shows the door."""

GUESTS = [
    Stranger("a frame of length 0", frames(b""), counted="empty-frame"),
    Stranger("a frame that is no packet", frames(b"\x99 hello there, this is no packet"), counted="not-ip"),
    Stranger("a packet shorter than its header", frames(GOOD[:15]), counted="truncated"),
    Stranger(
        "a packet that says it is longer",
        frames(ipv4(STRANGER, OVERLAY_2, udp_datagram(b"x"), total_length=1000)),
        counted="truncated",
    ),
    Stranger(
        "a packet that says it is shorter",
        frames(ipv4(STRANGER, OVERLAY_2, udp_datagram(b"x"), total_length=28)),
        counted="length-lies",
    ),
    Stranger("a virtio header without HELLO", frames(bytes(10) + GOOD), counted="not-ip"),
    Stranger("a control frame cut off", frames(b"\xf0\1\1\0\x10short"), counted="bad-control"),
    Stranger("an address that is not its own", frames(GOOD), counted="wrong-source"),
    Stranger(
        "somebody else's address",
        frames(ipv4(OVERLAY_1, OVERLAY_2, udp_datagram(b"x"))),
        counted="wrong-source",
    ),
    Stranger(
        "a multicast packet", frames(ipv4(STRANGER, "224.0.0.1", udp_datagram(b"x"))), counted="multicast"
    ),
    Stranger(
        "a link-local packet", frames(ipv4(STRANGER, "169.254.0.1", udp_datagram(b"x"))), counted="link-local"
    ),
    Stranger("half a frame, and gone", KNOCK + b"\x05\x00abc", counted="cut-off", leaves=True),
]
FORGERS = [
    Stranger(
        f"a virtio header with {name}",
        struct.pack("!H", len(content)) + content,
        counted="bad-offload",
        greets=KNOCK,
    )
    for name, content in {
        "a TCP type on UDP": virtio(1, 1, 28, 100, 20, 6, GOOD),
        "an unknown type": virtio(1, 77, 28, 100, 20, 6, GOOD),
        "a gso_size of 1": virtio(1, 1, 40, 1, 20, 16, ipv4(STRANGER, OVERLAY_2, TCP_SEGMENT, 6)),
        "segments but no checksum": virtio(0, 1, 40, 1000, 20, 16, ipv4(STRANGER, OVERLAY_2, TCP_SEGMENT, 6)),
        "too many segments": virtio(1, 5, 28, 1, 20, 6, GOOD),
        "no room for TCP": virtio(1, 1, 40, 100, 20, 16, ipv4(STRANGER, OVERLAY_2, b"short", 6)),
    }.items()
]
EVERYBODY = [*HANDSHAKES, *GUESTS, *FORGERS]


def hub_config() -> str:
    old = "router: router-0\n"
    text = example("server.yml")
    assert text.count(old) == 1
    return unlimited(text.replace(old, f"{old}        handshakeTimeout: 2s\n"))


def hello() -> bytes:
    """HELLO of a process that nobody has met: another one of the same would replace the first."""
    greeting = wire_control.Hello(
        os.urandom(wire_control.INSTANCE_SIZE), packet_offload.ALL, 1420, "stranger"
    )
    return framing.encode(wire_control.encode_hello(greeting))


def knock(namespace: Namespace, stranger: Stranger) -> socket.socket:
    """Connect, say it, perhaps leave."""
    with in_namespace(namespace.name):
        made = socket.create_connection((HUB_TO_HOST_1, 8443), timeout=10)
    if stranger.greets:
        made.sendall(stranger.greets + hello())
        await_hello(made)
    with suppress(ConnectionError):  # shown the door while still talking
        made.sendall(stranger.says)
    if stranger.leaves:
        made.close()
    return made


def await_hello(made: socket.socket) -> None:
    """Wait for the hub's answers to a handshake and to HELLO."""
    data = b""
    while (message := wire_relay.decode_response(data)) is None or not framing.split(data[message[1] :]):
        data += made.recv(4096)
    assert message[0].status == wire_relay.Status.OK


def shown_the_door(made: socket.socket) -> bool:
    """Whether the hub closes the connection."""
    with made, suppress(ConnectionError):
        while made.recv(4096):
            pass
    return True


def bring_up(topology: Topology, write: Write) -> Process:
    hub = start_hub(topology.hub, "-C", write("server.yml", hub_config()))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    return hub


@pytest.mark.alone
def test_hundreds_of_strangers_beside_a_ping(topology: Topology, write: Write) -> None:
    hub = bring_up(topology, write)
    ping = topology.host_1.popen("ping", "-i", "0.05", "-w", "60", OVERLAY_2)
    ping.wait_line("icmp_seq=1 ")
    with ExitStack() as guests:
        refused = []
        for _ in range(ROUNDS):
            refused += [knock(topology.host_1, stranger) for stranger in HANDSHAKES]
            for stranger in GUESTS + FORGERS:
                guests.enter_context(knock(topology.host_1, stranger))
        for made in refused:
            assert made.fileno() < 0 or shown_the_door(made)
        expected = Counter(stranger.counted for stranger in EVERYBODY * ROUNDS if stranger.counted)
        drops(hub, lambda counts: {reason: total(counts, reason) for _, _, reason in counts} == expected)
    counted = {why: int(count) for count, why in re.findall(r" refused (\d+) (\S+) service=", hub.text())}
    assert sum(counted.values()) == ROUNDS * len(HANDSHAKES)
    sequence = ping.line_count()
    ping.wait_line("icmp_seq=", after=sequence)  # it goes on
    ping.stop(signal.SIGINT)
    (sent,) = ping.wait_line(r"(\d+) packets transmitted").groups()
    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+) ", ping.text())]
    assert answered == list(range(1, len(answered) + 1))
    assert 20 < int(sent) <= len(answered) + 1  # the last one may have gone out just before the signal
    words = {stranger.logged for stranger in HANDSHAKES}  # not folded by them: strangers have a say in them
    said = sum(len(re.findall(re.escape(one), hub.text())) for one in words)
    assert said >= FLOOD.in_full + len(counted) - 1  # each reason, and of the one with many texts so many
    assert hub.returncode is None


def test_each_reason_is_logged_once_a_session(topology: Topology, write: Write) -> None:
    """However many packets of a session are dropped for it."""
    hub = bring_up(topology, write)
    guests = [stranger for stranger in GUESTS + FORGERS if not stranger.leaves]
    expected = Counter(stranger.counted for stranger in guests)
    with ExitStack() as stack:
        for stranger in guests:
            made = stack.enter_context(knock(topology.host_1, stranger))
            for _ in range(4):
                made.sendall(stranger.says.removeprefix(KNOCK))
        drops(hub, lambda counts: all(total(counts, reason) == 5 * expected[reason] for reason in expected))
    lines = [line for line in hub.text().splitlines() if " dropped " not in line]
    told = {reason: sum(reason in line for line in lines) for reason in expected}
    # What every host sends by itself (a GOST client's device looks for IPv6 routers) is no warning.
    harmless = {reason.value for reason in hub_log.HARMLESS}
    assert told == {
        reason: 0 if reason in harmless else min(count, FLOOD.in_full) for reason, count in expected.items()
    }


def test_hub_lets_the_silent_go_at_its_deadline_only(topology: Topology, write: Write) -> None:
    """A client that was let in may be silent for as long as it likes."""
    hub = bring_up(topology, write)
    with (
        knock(topology.host_1, Stranger("silent", b"")) as silent,
        knock(topology.host_1, Stranger("in", KNOCK)) as guest,
    ):
        assert silent.recv(1) == b""
        hub.wait_line("no handshake within 2 s")
        guest.settimeout(0.5)
        assert wire_relay.decode_response(guest.recv(4096)) is not None
        with pytest.raises(TimeoutError):
            guest.recv(1)


def test_handshake_and_frames_in_any_pieces(topology: Topology, write: Write) -> None:
    """A guest that sends byte by byte is served like any other."""
    hub = bring_up(topology, write)
    with in_namespace(topology.host_1.name):
        made = socket.create_connection((HUB_TO_HOST_1, 8443), timeout=5)
    with made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frames(GOOD, b"", GOOD):
            made.sendall(bytes([byte]))
        drops(hub, lambda counts: (total(counts, "wrong-source"), total(counts, "empty-frame")) == (2, 1))


def test_forged_superpacket_does_not_reach_a_device(topology: Topology, write: Write) -> None:
    """A csum_offset that would rewrite the destination port: the hub writes the header anew."""
    hub = bring_up(topology, write)
    packet = ipv4("192.168.100.5", OVERLAY_2, udp_datagram(b"payload", 7000))
    forged = virtio(1, 0, 0, 0, 20, 2, packet)  # offset 2: the destination port
    with in_namespace(topology.host_2.name):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((OVERLAY_2, 7000))
    receiver.settimeout(5)
    # as host-1, whose route 192.168.100.0/24 makes the source right
    greeting = wire_relay.encode_request(Request("host-1", OVERLAY_1))
    forger = Stranger("forger", struct.pack("!H", len(forged)) + forged, greets=greeting)
    with receiver, knock(topology.host_1, forger):
        assert receiver.recv(100) == b"payload"
    drops(hub, lambda counts: not counts)


@pytest.mark.alone
def test_a_guest_that_never_reads_holds_up_nobody(topology: Topology, write: Write) -> None:
    text = example("server.yml") + "      - {dst: 192.168.123.9, gateway: host-9}\n"
    hub = start_hub(topology.hub, "-C", write("server.yml", text))
    start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_1, OVERLAY_2)
    deaf = Stranger("deaf", wire_relay.encode_request(Request("host-9", "192.168.123.9")))

    def full(counts: dict[tuple[str, str, str], int]) -> bool:
        for _ in range(400):  # less than a TUN device holds
            out.sendto(bytes(1300), ("192.168.123.9", 7000))
        return total(counts, "queue-full") + total(counts, "queue-time") > 0

    with knock(topology.host_1, deaf), udp(topology.host_1, OVERLAY_1) as out:
        hub.wait_line("host host-9 ")
        drops(hub, full, seconds=15)
        assert pings(topology.host_1, OVERLAY_2, 10) == 10
        assert pings(topology.host_2, OVERLAY_1, 10) == 10
