"""The flows of a host that carry most now, from a short look at its packets.

Knows: how many packets are looked at, how flows are told apart.
Refuses to know: how long it looks (api_x_hosts), what became of the packets (capture_watch).

It is a tap (capture_taps) that counts MAX_FRAMES frames at most: to look costs no more on a busy hub.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain
from typing import Any

from lib import capture_fate as fates
from lib.capture_fate import FORWARDED, Fate
from lib.capture_taps import frames
from lib.packet import Buffer
from lib.packet_text import PROTOCOLS

MAX_FRAMES = 2000
"""Frames that are parsed: some 20 ms of work in all."""
SHOWN = 10
Key = tuple[str, int, bytes, bytes, tuple[int, int] | None]
"""(direction, protocol, source, destination, ports)."""


@dataclass(slots=True, eq=False)
class Flows:
    """Bytes by flow of one host, of what was forwarded while this tap was on."""

    host: str
    namespace: str
    """32 hex digits."""
    passed_on: str = ""
    """Ends the way of packets that another process sees as well, and counts; empty for none."""
    bytes_of: dict[Key, int] = field(default_factory=dict)
    seen: int = 0
    began: int = 0
    """Nanoseconds since 1970, of the first and of the last frame that was counted."""
    ended: int = 0

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Count the frames of a run where they are of this host (capture_taps.Tap)."""
        if self.seen >= MAX_FRAMES or fate.namespace != self.namespace or fate.what != FORWARDED:
            return
        if self.host not in (fate.host, fate.to) or (self.passed_on and fate.way.endswith(self.passed_on)):
            return
        self.began = self.began or when
        self.ended = when
        way = "in" if fate.host == self.host else "out"
        for start, stop in frames(view, begin, end):
            self.seen += 1
            if self.seen > MAX_FRAMES:
                return
            packet = fates.packet_of(view, start, stop)[1]
            if packet is not None:
                key = way, packet.protocol, packet.source, packet.destination, fates.ports_of(packet)
                self.bytes_of[key] = self.bytes_of.get(key, 0) + stop - start

    def rows(self, seconds: float) -> list[dict[str, Any]]:
        """The flows that carry most, as JSON values; it looked for so many seconds."""
        if self.seen >= MAX_FRAMES:  # it had seen enough before
            seconds = max(1e-3, (self.ended - self.began) / 1e9)
        most = sorted(self.bytes_of.items(), key=lambda item: -item[1])[:SHOWN]
        return [_row(*key, bytes_s=round(count / max(seconds, 1e-3))) for key, count in most]


def merged(some: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of several looks at one host, of which none has counted what another one has."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in chain.from_iterable(some):
        key = tuple(value for name, value in row.items() if name != "bytes_s")
        before = found.get(key)
        found[key] = {**row, "bytes_s": row["bytes_s"] + before["bytes_s"]} if before else row
    return sorted(found.values(), key=lambda row: -row["bytes_s"])[:SHOWN]


def _row(
    way: str, protocol: int, source: bytes, destination: bytes, ports: tuple[int, int] | None, bytes_s: int
) -> dict[str, Any]:
    return {
        "src": str(ip_address(source)),
        "dst": str(ip_address(destination)),
        "proto": PROTOCOLS.get(protocol, f"protocol {protocol}"),
        "sport": ports[0] if ports else 0,
        "dport": ports[1] if ports else 0,
        "bytes_s": bytes_s,
        "dir": way,
    }
