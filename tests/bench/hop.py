"""CPU per frame of the forwarding code of a hub with an address of its own, beside one without.

    .venv/bin/python tests/bench/hop.py [--pairs 200] [--json]

As forwarding.py: lib.forward.scan over a buffer of frames of known flows, without sockets, both hubs in turns in
slices of some milliseconds. With an address a hop is taken from each packet, and each SYN is looked at.

    small          64 bytes of UDP to one host, as a flood sends them: the run is changed at once
    mixed          UDP of 20 lengths in turn: each packet is changed by itself
    alternating    64 bytes of UDP to two hosts in turn: runs of one frame
    few            the same, four frames a receive: a hub that has little to do
    segments       TCP of 1,420 bytes, as a GOST client sends them
    superpackets   TCP of 64 KB, as a tunrouter sends them
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from statistics import median
from time import thread_time_ns

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib import packet_offload
from lib.forward import scan
from lib.forward_frame import Output
from lib.framing import RECEIVE, SLACK, encode
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable, hub_addresses
from tests.support import packets as p
from tests.support.routes import entry

SLICE_NS = 4_000_000
SOURCE, FIRST, SECOND = "10.88.0.2", "10.88.0.3", "10.88.0.4"
RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Case:
    """What a receive buffer is full of, by the number of the frame."""

    name: str
    content: Callable[[int], bytes]
    most: int = 1 << 16
    """Frames of a receive."""


def _udp(number: int, size: int, to: str = FIRST) -> bytes:
    return p.udp(SOURCE, to, bytes(size), ports=(1024 + number % 4, 9), identity=number % 65536, ttl=255)


def _tcp(number: int) -> bytes:
    return p.tcp(SOURCE, FIRST, bytes(1380), ports=(1024 + number % 4, 9), identity=number % 65536, ttl=255)


def _super(number: int) -> bytes:
    data = p.tcp(SOURCE, FIRST, bytes(64000), ports=(1024 + number % 4, 9), partial=True, ttl=255)
    return p.superpacket(data, 1380)


CASES = (
    Case("small", lambda number: _udp(number, 36)),
    Case("mixed", lambda number: _udp(number, 36 + number % 20)),
    Case("alternating", lambda number: _udp(number, 36, (FIRST, SECOND)[number % 2])),
    Case("few", lambda number: _udp(number, 36), 4),
    Case("segments", _tcp),
    Case("superpackets", _super),
)


class Hub:
    """Three hosts behind one table."""

    def __init__(self, own: str = "") -> None:
        hosts = {SOURCE: "host-a", FIRST: "host-b", SECOND: "host-c"}
        table = RouteTable(entry(f"{address}/32", host) for address, host in hosts.items())
        table.own = hub_addresses([ip_interface(own)] if own else [])
        namespace = Namespace(bytes(16), table, RouteTable(()))
        self.out = Output()
        attachments = [Attachment(namespace, host, "-") for host in hosts.values()]
        for attachment in attachments:
            attachment.is_tunrouter, attachment.offloads, attachment.mtu = True, packet_offload.ALL, 1420
            namespace.join(attachment, 0.0)
        self.source = attachments[0]

    def forward(self, received: bytearray, view: memoryview, end: int) -> None:
        """Forward what lies in a buffer."""
        scan(self.source, received, view, 0, end, 1.0, self.out)
        self.out.runs.clear()


def _full(case: Case) -> tuple[bytes, int]:
    """A full receive buffer of frames, and their number."""
    frames: list[bytes] = []
    size = 0
    while size < RECEIVE // 2 and len(frames) < case.most:
        frames.append(encode(case.content(len(frames))))
        size += len(frames[-1])
    return b"".join(frames), len(frames)


def _spend(hub: Hub, frames: bytes, buffer: bytearray, view: memoryview, repeats: int) -> int:
    """CPU nanoseconds of forwarding so often; each time the frames are as they came."""
    spent = 0
    for _ in range(repeats):
        buffer[: len(frames)] = frames
        began = thread_time_ns()
        hub.forward(buffer, view, len(frames))
        spent += thread_time_ns() - began
    return spent


def compare(case: Case, pairs: int) -> dict[str, float]:
    """Nanoseconds a frame without and with an address, and the median of the ratios of neighbouring slices."""
    hubs = {"without": Hub(), "with": Hub("10.88.0.1/24")}
    frames, count = _full(case)
    buffer = bytearray(frames + bytes(SLACK))
    view = memoryview(buffer)
    for hub in hubs.values():
        once = _spend(hub, frames, buffer, view, 1)
        assert not hub.source.traffic.drops, f"{case.name}: dropped {hub.source.traffic.drops}"
    repeats = max(1, SLICE_NS // max(1, once))
    taken: dict[str, list[float]] = {name: [] for name in hubs}
    names = list(hubs)
    for _ in range(pairs):
        for name in names:
            taken[name].append(_spend(hubs[name], frames, buffer, view, repeats) / (repeats * count))
        names.reverse()  # nobody always comes first
    ratio = median(a / b for a, b in zip(taken["with"], taken["without"], strict=True))
    return {name: median(times) for name, times in taken.items()} | {RATIO: ratio}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="CPU per frame of a hub that is a hop")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    gc.disable()
    figures = {case.name: compare(case, arguments.pairs) for case in CASES}
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    for name, found in figures.items():
        print(
            f"{name:14} {found['without']:7.0f} ns without, {found['with']:7.0f} with, x {found[RATIO]:.2f}"
        )


if __name__ == "__main__":
    main()
