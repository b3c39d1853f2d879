"""Superpackets beside the kernel's own: what it makes of them, and what it hands to us.

    lib.packet_offload -> expected packets            written to `left`, with a virtio-net header
                        |                             |
                        = packet by packet =   [left]-+- forwarding -[right]   offloads off: the kernel
                                                       one namespace           segments and completes

Forwarding takes one from the TTL, so what is written has 64 and what is expected 63.
"""

from __future__ import annotations

import os
import random
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from lib import packet as ip
from lib import packet_ecn, packet_offload
from lib.packet import Packet
from lib.packet_offload import CSUM, TSO4, TSO6, USO4, USO6
from lib.tun import TunDevice
from tests.support import packets as p
from tests.support.devices import READ_SIZE, device, readable, settings
from tests.support.netns import Namespace, Topology, in_namespace

A, B = "10.88.0.2", "10.99.0.2"
A6, B6 = "fd88::2", "fd99::2"
TIMESTAMPS = bytes.fromhex("0101080a 00000001 00000002")
ECN, CWR = 0x80, 0x80
pytestmark = pytest.mark.needs_root

UDP_SEGMENT = 103  # linux/udp.h
FORWARDING = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"


def payload(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# --- the kernel's segmentation beside ours -----------------------------------------------------------


@pytest.fixture(scope="module")
def forwarding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TunDevice, TunDevice]]:
    """Two devices between which a namespace forwards, both without offloads."""
    with (
        Namespace("forwards", tmp_path_factory.mktemp("forwarding")) as namespace,
        device(namespace, settings("10.88.0.1/24", "fd88::1/64")) as left,
        device(namespace, settings("10.99.0.1/24", "fd99::1/64")) as right,
    ):
        namespace.run("sh", "-c", FORWARDING)
        yield left, right


def read_packets(tun: TunDevice, count: int) -> list[bytes]:
    """The next packets of a device without offloads, and what lies behind them; fewer if they do not come.

    What the namespace says as a router of its own (to multicast addresses) is passed over.
    """
    packets: list[bytes] = []
    while readable(tun, 0 if len(packets) >= count else 5):
        content = os.read(tun.fd, READ_SIZE)
        assert content[:10] == packet_offload.NO_OFFLOAD
        if not p.ends_of(content[10:])[1].startswith("ff"):
            packets.append(content[10:])
    return packets


def forwarded(packet: bytes) -> bytes:
    """A packet as written with its TTL (and its IPv4 header checksum) as after forwarding."""
    changed = bytearray(packet)
    if packet[0] >> 4 == 6:
        changed[7] -= 1
        return bytes(changed)
    changed[8] -= 1
    changed[10:12] = bytes(2)
    struct.pack_into("!H", changed, 10, 0xFFFF - p.ones_sum(bytes(changed[: p.transport_at(packet)])))
    return bytes(changed)


def rebuilt(content: bytes) -> tuple[int, int, int, bytes]:
    """What rebuild says of a content it must accept, and the content with its new header."""
    buf = bytearray(content)
    packet = ip.parse(buf, packet_offload.HEADER_SIZE, len(buf))
    assert isinstance(packet, Packet), packet
    claim = packet_offload.rebuild(buf, 0, packet, len(buf))
    assert isinstance(claim, tuple), claim
    return *claim, bytes(buf)


def with_options(packet: bytes) -> bytes:
    """An IPv4 packet with two no-operation options and an end of list."""
    return p.ip(A, B, packet[9], packet[20:], options=b"\x01\x01\x00\x00")


def with_destination_options(content: bytes) -> bytes:
    """An IPv6 superpacket with a destination options header (PadN) before its transport header."""
    flags, kind, headers, gso_size, start, offset = struct.unpack_from("<BBHHHH", content)
    packet = content[10:]
    options = bytes([packet[6], 0, 1, 4, 0, 0, 0, 0])
    length = struct.pack("!HB", len(packet) - 40 + 8, 60)
    header = p.virtio(flags, kind, headers + 8, gso_size, start + 8, offset)
    return header + packet[:4] + length + packet[7:40] + options + packet[40:]


def with_ecn(content: bytes) -> bytes:
    return content[:1] + bytes([content[1] | ECN]) + content[2:]


def checksum_zero(build: Any, at: int, more: bytes) -> bytes:
    """A packet whose first 1,000 bytes of payload sum up to a checksum of 0 in the segment they make."""
    missing = build(A, B, bytes(1000), ttl=63)[at : at + 2]
    return build(A, B, missing + bytes(998) + more, partial=True)  # type: ignore[no-any-return]


def tcp(size: int, **rest: Any) -> bytes:
    return p.tcp(A, B, payload(size), partial=True, **rest)


def udp(size: int, **rest: Any) -> bytes:
    return p.udp(A, B, payload(size), partial=True, **rest)


def tcp6(size: int, **rest: Any) -> bytes:
    return p.tcp(A6, B6, payload(size), partial=True, **rest)


def udp6(size: int, **rest: Any) -> bytes:
    return p.udp(A6, B6, payload(size), partial=True, **rest)


TCP_CASES = [
    pytest.param(p.superpacket(tcp(4000), 1000), 4, id="TCP over IPv4"),
    pytest.param(p.superpacket(tcp(3001), 1000), 4, id="a last segment of one byte"),
    pytest.param(p.superpacket(tcp(3003), 999), 4, id="odd segments"),
    pytest.param(p.superpacket(tcp(64000, options=TIMESTAMPS), 1368), 47, id="a long one with options"),
    pytest.param(p.superpacket(tcp(2800, options=b"\x01" * 40), 28), 100, id="the smallest segments"),
    pytest.param(p.superpacket(tcp(3000, flags=0xFF), 1000), 3, id="every flag"),
    pytest.param(with_ecn(p.superpacket(tcp(3000, flags=p.ACK | CWR), 1000)), 3, id="ECN"),
    pytest.param(p.superpacket(tcp(3000, flags=p.ACK | p.FIN | p.PSH), 1000), 3, id="FIN and PSH"),
    pytest.param(p.superpacket(tcp(3000, sequence=0xFFFFFFFF - 1500), 1000), 3, id="sequence wraps"),
    pytest.param(p.superpacket(tcp(3000, identity=65534), 1000), 3, id="IP id wraps"),
    pytest.param(
        p.superpacket(tcp(3000, fragment=p.DONT_FRAGMENT, identity=0), 1000), 3, id="don't fragment"
    ),
    pytest.param(p.superpacket(with_options(tcp(3000)), 1000), 3, id="IPv4 options"),
    pytest.param(p.superpacket(checksum_zero(p.tcp, 36, b"more"), 1000), 2, id="a checksum of 0 in TCP"),
    pytest.param(p.superpacket(tcp6(4000), 1000), 4, id="TCP over IPv6"),
    pytest.param(with_ecn(p.superpacket(tcp6(64001, flags=0xFF), 1360)), 48, id="IPv6, long, every flag"),
    pytest.param(with_destination_options(p.superpacket(tcp6(3000), 1000)), 3, id="IPv6 options"),
]
SINGLE_CASES = [
    pytest.param(p.partial(tcp(1000)), 1, id="TCP"),
    pytest.param(p.partial(udp(1001)), 1, id="UDP"),
    pytest.param(p.partial(udp(0)), 1, id="UDP without payload"),
    pytest.param(p.partial(with_options(udp(10))), 1, id="IPv4 options"),
    pytest.param(p.partial(tcp6(1001)), 1, id="TCP over IPv6"),
    pytest.param(p.partial(udp6(1000)), 1, id="UDP over IPv6"),
    pytest.param(p.partial(checksum_zero(p.tcp, 36, b"")), 1, id="a checksum of 0 in TCP"),
    pytest.param(p.partial(checksum_zero(p.udp, 26, b"")), 1, id="a checksum of 0 in UDP"),
    pytest.param(p.headed(p.icmp(A, B)), 1, id="nothing to do"),
]
USO_CASES = [
    pytest.param(p.superpacket(udp(4000), 1000), 4, id="UDP over IPv4"),
    pytest.param(p.superpacket(udp(3001), 1000), 4, id="a last segment of one byte"),
    pytest.param(p.superpacket(udp(128 * 64), 64), 128, id="128 segments"),
    pytest.param(p.superpacket(udp(3000, identity=65534), 1000), 3, id="IP id wraps"),
    pytest.param(p.superpacket(checksum_zero(p.udp, 26, b"more"), 1000), 2, id="a checksum of 0"),
    pytest.param(p.superpacket(udp6(4001), 1000), 5, id="UDP over IPv6"),
    pytest.param(with_destination_options(p.superpacket(udp6(3000), 1000)), 3, id="IPv6 options"),
]


def compare(left: TunDevice, right: TunDevice, content: bytes, count: int) -> None:
    """One content through the kernel and through us."""
    assert os.write(left.fd, content) == len(content)
    made = read_packets(right, count)
    expected = packet_offload.packets(rebuilt(content[:10] + forwarded(content[10:]))[3])
    assert len(expected) == count
    assert [packet.hex() for packet in made] == [packet.hex() for packet in expected]


@pytest.mark.parametrize(("content", "count"), TCP_CASES + SINGLE_CASES)
def test_the_kernel_makes_the_same_packets(
    forwarding: tuple[TunDevice, TunDevice], content: bytes, count: int
) -> None:
    compare(*forwarding, content, count)


@pytest.mark.parametrize(("content", "count"), USO_CASES)
def test_the_kernel_makes_the_same_datagrams(
    forwarding: tuple[TunDevice, TunDevice], content: bytes, count: int
) -> None:
    if not forwarding[0].capabilities & USO4:
        pytest.skip("no USO before Linux 6.2")
    compare(*forwarding, content, count)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(p.superpacket(p.with_tos(tcp(4001, identity=65534), 2), 1000), id="TCP over IPv4"),
        pytest.param(with_ecn(p.superpacket(p.with_tos(tcp(4001, flags=0xFF), 1), 1000)), id="every flag"),
        pytest.param(p.superpacket(p.with_tos(tcp6(4001, flags=p.ACK | p.PSH), 2), 1000), id="TCP over IPv6"),
    ],
)
def test_the_kernel_makes_the_same_of_what_a_queue_has_marked_and_cut(
    forwarding: tuple[TunDevice, TunDevice], content: bytes
) -> None:
    marked = packet_ecn.mark(content, 0, len(content))
    assert marked is not None
    for segments in (1, 2, 4):
        parts = packet_offload.cut(marked, segments)
        assert parts is not None
        for part, count in zip(parts, (segments, 5 - segments), strict=True):
            compare(*forwarding, part, count)


# --- the kernel's superpackets -----------------------------------------------------------------------


def assert_a_true_superpacket(content: bytes, bits: int, gso_size: int) -> None:
    """A content from the kernel: accepted, its header right but for hdr_len, and complete when cut up."""
    needed, size, segments, again = rebuilt(content)
    assert (needed, size) == (bits, gso_size)
    assert (again[:2], again[4:]) == (content[:2], content[4:])
    packets = packet_offload.packets(again)
    assert len(packets) == segments > 1
    for packet in packets:
        p.assert_right(packet)
    assert b"".join(map(p.payload_of, packets)) == p.payload_of(content[10:])


@pytest.mark.parametrize(
    ("to", "bits"), [("10.88.0.3", CSUM | USO4), ("fd88::3", CSUM | USO6)], ids=["IPv4", "IPv6"]
)
def test_a_udp_superpacket_of_the_kernel_is_accepted(namespace: Namespace, to: str, bits: int) -> None:
    data = payload(20_000)
    with device(namespace, settings("10.88.0.2/24", "fd88::2/64")) as tun:
        if tun.set_offload(tun.capabilities) & bits != bits:
            pytest.skip("no USO before Linux 6.2")
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with in_namespace(namespace.name):
            sender = socket.socket(family, socket.SOCK_DGRAM)
        with sender:
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1300)
            sender.sendto(data, (to, 7000))
        assert readable(tun, 5)
        content = os.read(tun.fd, READ_SIZE)
    assert p.payload_of(content[10:]) == data
    assert_a_true_superpacket(content, bits, 1300)


def carry(left: TunDevice, right: TunDevice, client: socket.socket, data: bytes) -> Iterator[bytes]:
    """Send data and carry packets both ways; gives what comes from the left, for as long as any comes."""
    poll = select.poll()
    for fd in (left.fd, right.fd):
        poll.register(fd, select.POLLIN)
    poll.register(client, select.POLLOUT)
    while ready := dict(poll.poll(5000)):
        if client.fileno() in ready:
            data = data[client.send(data) :]
            poll.unregister(client)
        for source, sink in ((left, right), (right, left)):
            if source.fd in ready:
                content = os.read(source.fd, READ_SIZE)
                os.write(sink.fd, content)
                if source is left:
                    yield content


@pytest.mark.parametrize(
    ("to", "bits"), [("10.88.0.3", CSUM | TSO4), ("fd88::3", CSUM | TSO6)], ids=["IPv4", "IPv6"]
)
def test_a_tcp_superpacket_of_the_kernel_is_accepted(topology: Topology, to: str, bits: int) -> None:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    near, far = settings("10.88.0.2/24", "fd88::2/64"), settings("10.88.0.3/24", "fd88::3/64")
    with device(topology.host_1, near) as left, device(topology.host_2, far) as right:
        left.set_offload(left.capabilities)
        with in_namespace(topology.host_2.name):
            server = socket.create_server((to, 7000), family=family)
        with in_namespace(topology.host_1.name):
            client = socket.socket(family)
        client.setblocking(False)
        client.connect_ex((to, 7000))
        with server, client:
            seen = []
            for content in carry(left, right, client, payload(20_000)):
                seen.append(content)
                if content[1]:
                    break
    gso_size = int(struct.unpack_from("<H", seen[-1], 4)[0])
    assert 1300 < gso_size < 1420
    assert_a_true_superpacket(seen[-1], bits, gso_size)
    for content in seen[:-1]:  # the handshake: checksums left partial
        needed, size, segments, again = rebuilt(content)
        assert (needed, size, segments, again) == (CSUM, 0, 1, content)
        p.assert_right(packet_offload.complete(again))
