"""Fate of a packet (forwarded, dropped, dropped with an ICMP error), and one-line summaries of packets.

Knows: the three fates, their form as the label of a record, how a packet is described in one line.
Refuses to know: who decides (forward_decide), who captures (capture_taps), which packets are wanted
(capture_filter).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from lib import ids, packet_offload
from lib import packet as ip
from lib.addresses import join_host_port
from lib.forward_drop_reasons import Reason
from lib.namespace_titles import title_of, title_of_hex
from lib.packet import Buffer, Packet
from lib.packet_text import ICMP, PROTOCOLS

FORWARDED, ANSWERED, DROPPED = "forwarded", "answered", "dropped"
"""The three fates; "answered" is dropped, and its sender got an ICMP error (PROTOCOL.md has the words)."""

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
    """The sender of a packet, its receiver, and what became of it."""

    what: str
    """FORWARDED, ANSWERED or DROPPED."""
    namespace: str
    """32 hex digits."""
    host: str = ""
    """The host that sent it; empty where only the receiver is known (a client's downlink, a queue)."""
    to: str = ""
    """The host that gets it or would have got it; empty where no receiver was chosen."""
    way: str = ""
    """How it leaves this process: `session 10.77.2.2:41234`, that and `by datagrams`, `device tun0`, or
    `hub 10.77.3.2:8420, entrypoint`."""
    reason: str = ""
    """The value of a forward_drop_reasons.Reason; empty where the packet was forwarded."""
    title: str = ""
    """The namespace's title, of a fate that was decoded: whoever reads it knows no titles."""

    def encode(self) -> bytes:
        """The fate as the label of a record: its fields in UTF-8, separated by zero bytes."""
        return _encode(self, title_of_hex(self.namespace))

    def words(self) -> str:
        """The fate in words: `to host-2, session 10.77.2.2:41234` or `dropped: no-route, no table has …`."""
        end = ", ".join(filter(None, (self.to, self.way)))
        if self.what == FORWARDED:
            return f"to {end}"
        answered = ", its sender was told (ICMP)" if self.what == ANSWERED else ""
        place = f" on its way to {end}" if end else ""
        return f"dropped{place}: {self.reason}{_doc(self.reason)}{answered}"

    def sender(self) -> str:
        """The host that sent it, and its namespace unless it is the default one; "" where not known."""
        inside = _tenant(self.namespace)
        return f"{self.host}{inside and ' in '}{inside}" if self.host else f"in {inside}" if inside else ""

    def sentence(self) -> str:
        """The fate in words with the sending host, and with the namespace unless it is the default one."""
        sender = f"from {self.host}" if self.host else ""
        return ", ".join(filter(None, (sender, self.words(), self._inside())))

    def _inside(self) -> str:
        try:
            uuid = ids.format_uuid(bytes.fromhex(self.namespace))
        except ValueError:
            return f"namespace {self.namespace}"  # of a process that is no tunrouter
        if self.title:
            return f"namespace {self.title} ({uuid})"
        return f"namespace {uuid}" if self.namespace != _NO_NAMESPACE else ""


_KNOWN = len(Fate._fields) - 1
"""The fields of a fate that who saw it knows."""


def _tenant(namespace: str) -> str:
    """What a line says of a namespace (hex): its title, else its UUID; "" for a default one without title."""
    key = bytes.fromhex(namespace)
    return title_of(key) or (ids.format_uuid(key) if namespace != _NO_NAMESPACE else "")


@lru_cache(maxsize=1024)
def _encode(fate: Fate, title: str) -> bytes:
    """Cached, because the packets of a session share few fates."""
    return "\0".join((*fate[:_KNOWN], title)).encode("utf-8", "surrogateescape")


def decode(label: bytes) -> Fate:
    """The fate of an encoded label. Raises ValueError."""
    fields = label.decode("utf-8", "surrogateescape").split("\0")
    if len(fields) not in (
        _KNOWN,
        _KNOWN + 1,
    ):  # without a title: a process that was started by an older program
        raise ValueError("not a label")
    return Fate(*fields)


def _doc(reason: str) -> str:
    return next((f", {known.doc}" for known in Reason if known.value == reason), "")


def packet_of(content: Buffer, start: int, end: int) -> tuple[int, Packet | None]:
    """(offset of the IP packet, its parsed header) of the frame content in content[start:end].

    The header is None where the content is no IP packet.
    """
    if end - start > packet_offload.HEADER_SIZE and content[start] >> 4 == 0:
        start += packet_offload.HEADER_SIZE
    packet = ip.parse(content, start, end) if end > start else None
    return start, packet if isinstance(packet, Packet) else None


def segments(content: Buffer, start: int, end: int) -> tuple[int, int]:
    """(number of packets, payload bytes of each) of a frame content; (1, 0) for a single packet.

    Both come from the virtio-net header, which is not checked here: this is for display.
    """
    if end - start <= packet_offload.HEADER_SIZE or content[start] >> 4:
        return 1, 0
    headers = int.from_bytes(content[start + 2 : start + 4], "little")
    gso_size = int.from_bytes(content[start + 4 : start + 6], "little")
    if not content[start + 1] or not gso_size:
        return 1, 0
    return max(1, -(-(end - start - packet_offload.HEADER_SIZE - headers) // gso_size)), gso_size


def summary(content: Buffer, start: int, end: int) -> str:
    """One line about a frame content: `tcp 192.168.1.5:1234 > 10.0.0.9:22 [S] 60 B`.

    For a superpacket `in 45 packets` follows.
    """
    begin, packet = packet_of(content, start, end)
    if packet is None:
        return (
            f"no packet: {bytes(content[start : min(end, start + 12)]).hex(' ') or 'empty'}, {end - start} B"
        )
    count, _ = segments(content, start, end)
    many = f" in {count} packets" if count > 1 else ""
    return f"{headline(packet)}{_details(content, packet, end)} {end - begin} B{many}"


def headline(packet: Packet) -> str:
    """Protocol and ends of a packet: `tcp 192.168.1.5:1234 > 10.0.0.9:22`."""
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
    """(source port, destination port); None for a protocol without ports and for fragments."""
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
