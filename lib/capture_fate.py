"""What became of a packet, and what it was, in words: for captures, traces and the log.

Knows: the three fates (forwarded, answered with ICMP, dropped), how a packet is told in one line.
Refuses to know: who decides (forward_decide), who looks (capture_taps), which packets are wanted
(capture_filter).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from lib import packet as ip
from lib import packet_offload
from lib.addresses import join_host_port
from lib.forward_drop_reasons import Reason
from lib.packet import Buffer, Packet
from lib.packet_text import ICMP, PROTOCOLS

FORWARDED, ANSWERED, DROPPED = "forwarded", "answered", "dropped"

_NO_NAMESPACE = bytes(16).hex()
_FLAGS = (
    (0x02, "S"),
    (0x01, "F"),
    (0x04, "R"),
    (0x08, "P"),
    (0x20, "U"),
    (0x40, "E"),
    (0x80, "W"),
    (0x10, "."),
)


class Fate(NamedTuple):
    """Where packets came from and what became of them: all that is known beside their bytes."""

    what: str
    namespace: str
    """32 hex digits."""
    host: str = ""
    """Who sent it; empty where only the receiver is known (by a hub's client, by a queue)."""
    to: str = ""
    """Who gets it, or would have; empty where it never came to that."""
    way: str = ""
    """`session 10.77.2.2:41234`, `device tun0`."""
    reason: str = ""
    """The name of a drops.Reason; empty where it was forwarded."""

    def encode(self) -> bytes:
        """As the label of a record."""
        return _encode(self)

    def words(self) -> str:
        """`to host-2, session 10.77.2.2:41234`, `dropped: no-route, no table has …`."""
        end = ", ".join(filter(None, (self.to, self.way)))
        if self.what == FORWARDED:
            return f"to {end}"
        answered = ", its sender was told (ICMP)" if self.what == ANSWERED else ""
        place = f" on its way to {end}" if end else ""
        return f"dropped{place}: {self.reason}{_doc(self.reason)}{answered}"

    def sentence(self) -> str:
        """The same with who sent it, and the namespace where it is not that of those who name none."""
        sender = f"from {self.host}" if self.host else ""
        inside = f"namespace {self.namespace}" if self.namespace != _NO_NAMESPACE else ""
        return ", ".join(filter(None, (sender, self.words(), inside)))


@lru_cache(maxsize=1024)
def _encode(fate: Fate) -> bytes:
    """Remembered: the packets of a session share few fates."""
    return "\0".join(fate).encode("utf-8", "surrogateescape")


def decode(label: bytes) -> Fate:
    """The fate that a label tells. Raises ValueError."""
    fields = label.decode("utf-8", "surrogateescape").split("\0")
    if len(fields) != len(Fate._fields):
        raise ValueError("not a label")
    return Fate(*fields)


def _doc(reason: str) -> str:
    return next((f", {known.doc}" for known in Reason if known.value == reason), "")


def packet_of(content: Buffer, start: int, end: int) -> tuple[int, Packet | None]:
    """Where the packet in a frame's content begins, and its header; None where it is no packet."""
    if end - start > packet_offload.HEADER_SIZE and content[start] >> 4 == 0:
        start += packet_offload.HEADER_SIZE
    packet = ip.parse(content, start, end) if end > start else None
    return start, packet if isinstance(packet, Packet) else None


def segments(content: Buffer, start: int, end: int) -> tuple[int, int]:
    """How many packets a frame's content stands for, and the payload of each; (1, 0) for a single one."""
    if end - start <= packet_offload.HEADER_SIZE or content[start] >> 4:
        return 1, 0
    headers = int.from_bytes(content[start + 2 : start + 4], "little")
    gso_size = int.from_bytes(content[start + 4 : start + 6], "little")
    if not content[start + 1] or not gso_size:
        return 1, 0
    return max(1, -(-(end - start - packet_offload.HEADER_SIZE - headers) // gso_size)), gso_size


def summary(content: Buffer, start: int, end: int) -> str:
    """`tcp 192.168.1.5:1234 > 10.0.0.9:22 [S] 60 B`; a superpacket says how many packets it stands for."""
    begin, packet = packet_of(content, start, end)
    if packet is None:
        return (
            f"no packet: {bytes(content[start : min(end, start + 12)]).hex(' ') or 'empty'}, {end - start} B"
        )
    count, _ = segments(content, start, end)
    many = f" in {count} packets" if count > 1 else ""
    return f"{headline(packet)}{_details(content, packet, end)} {end - begin} B{many}"


def headline(packet: Packet) -> str:
    """`tcp 192.168.1.5:1234 > 10.0.0.9:22`."""
    protocol = PROTOCOLS.get(packet.protocol, f"protocol {packet.protocol}")
    source, destination = _ends(packet)
    return f"{protocol}{' fragment' if packet.fragment else ''} {source} > {destination}"


def _ends(packet: Packet) -> tuple[str, str]:
    source, destination = str(ip_address(packet.source)), str(ip_address(packet.destination))
    ports = ports_of(packet)
    if ports is None:
        return source, destination
    return join_host_port(source, ports[0]), join_host_port(destination, ports[1])


def ports_of(packet: Packet) -> tuple[int, int] | None:
    """Source and destination port; None where there are none to be seen."""
    tail = packet.flow[len(packet.source) * 2 :]
    return (int.from_bytes(tail[:2], "big"), int.from_bytes(tail[2:], "big")) if len(tail) == 4 else None


def _details(content: Buffer, packet: Packet, end: int) -> str:
    if packet.fragment or packet.transport >= end:
        return ""
    if packet.protocol == ip.TCP and packet.transport + 14 <= end:
        flags = content[packet.transport + 13]
        return f" [{''.join(letter for bit, letter in _FLAGS if flags & bit) or 'none'}]"
    name = ICMP.get((packet.protocol, content[packet.transport]), "")
    return f" {name}" if name else ""
