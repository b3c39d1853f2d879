"""One-line summaries of packets, as in tcpdump, from a packet's first 80 bytes.

Knows: how many bytes must be kept for a summary, how to write one whatever the bytes are.
Refuses to know: whether the packet is valid (packet), who reads the summary.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from lib.addresses import join_host_port
from lib.packet import Buffer
from lib.packet_offload import HEADER_SIZE

HEAD = 80
"""Bytes of a packet that are kept: room for a virtio-net header, an IPv6 header and ports."""

PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp6", 132: "sctp"}
"""Protocol number -> its name in tcpdump, and in our filters (capture_filter)."""
_PORTED = (6, 17, 132)
ICMP = {
    (1, 0): "echo reply",
    (1, 3): "unreachable",
    (1, 8): "echo",
    (1, 11): "time exceeded",
    (58, 1): "unreachable",
    (58, 2): "too big",
    (58, 3): "time exceeded",
    (58, 128): "echo",
    (58, 129): "echo reply",
}
"""(protocol, ICMP type) -> the name of the message."""
_FRAGMENT_HEADER = 44


def head(buf: Buffer, start: int, end: int) -> bytes:
    """A copy of the first HEAD bytes of the packet in buf[start:end]."""
    return bytes(buf[start : min(end, start + HEAD)])


def head_of_frame(frames: Buffer) -> bytes:
    """A copy of the first HEAD bytes of the packet in the first of some frames (each with its length)."""
    return head(frames, 2, 2 + int.from_bytes(frames[:2], "big"))


def summary(data: bytes) -> str:
    """A packet's summary: `tcp 192.168.1.5:1234 > 10.0.0.9:22`. Bytes that are not IP are shown in hex."""
    packet = data[HEADER_SIZE:] if data[:1] < b"\x10" and len(data) > HEADER_SIZE else data
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        fragment = bool(struct.unpack_from("!H", packet, 6)[0] & 0x1FFF)
        size = (packet[0] & 15) * 4
        return _words(packet[9], packet[12:16], packet[16:20], b"" if fragment else packet[size:], fragment)
    if version == 6 and len(packet) >= 40:
        fragment = packet[6] == _FRAGMENT_HEADER and len(packet) > 40
        protocol = packet[40] if fragment else packet[6]
        return _words(protocol, packet[8:24], packet[24:40], b"" if fragment else packet[40:], fragment)
    return f"no packet: {data[:16].hex(' ')}" if data else "nothing"


def _words(protocol: int, source: bytes, destination: bytes, rest: bytes, fragment: bool) -> str:
    what = PROTOCOLS.get(protocol, f"protocol {protocol}") + (" fragment" if fragment else "")
    if protocol in _PORTED and len(rest) >= 4:
        from_port, to_port = struct.unpack_from("!HH", rest)
        return f"{what} {_end(source, from_port)} > {_end(destination, to_port)}"
    if rest and (protocol, rest[0]) in ICMP:
        what += f" {ICMP[protocol, rest[0]]}"
    return f"{what} {ip_address(source)} > {ip_address(destination)}"


def _end(address: bytes, port: int) -> str:
    return join_host_port(str(ip_address(address)), port)
