"""CPU per frame of the forwarding code with 100,000 routes in the table, beside 10.

    .venv/bin/python tests/bench/forwarding.py [--pairs 200] [--json]

lib.forward.scan over a buffer of 64-byte UDP frames between attachments in one process, without sockets. Both
tables take turns in slices of some milliseconds, so whatever the machine does meanwhile, it does to both. A
third table, with 10 routes again, is the control: how far its ratio is from 1 is the error of measurement.

    flows          64 flows to 10 routes: what a hub mostly sees. The bar: within 3 %
    destination    all frames to one address. The same bar
    scattered      10,000 addresses in turn, more than an attachment remembers: for information
"""

from __future__ import annotations

import argparse
import gc
import json
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.forward import scan
from lib.forward_frame import Output
from lib.framing import GOST_CLIENT_MAX, SLACK, encode
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable
from tests.support.routes import entry

MANY = 100_000
FRAMES = 2000
"""Frames a scan, as many as a full receive buffer holds."""
SLICE_SECONDS = 0.004
SOURCE = IPv4Address("10.88.0.2")
NET = IPv4Network("10.96.0.0/13")
"""Holds the destinations: 8 of the 10 routes, /16 each, lead there."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a buffer of frames holds, by the number of the frame."""

    name: str
    buffers: int
    destination: Callable[[int], int]
    port: Callable[[int], int]
    share: float = 1.0
    """Of the slices: one of many buffers takes long."""


CASES = (
    Case("flows", 1, lambda n: (n * 7919 % 8 << 16) + n % 64, lambda n: 1024 + n % 64),
    Case("destination", 1, lambda n: 1, lambda n: 1024),
    Case("scattered", 5, lambda n: (n % 8 << 16) + n // 8, lambda n: 1024, 0.1),
)


class Hub:
    """Two hosts behind one table: everything from host-a goes to host-b."""

    def __init__(self, other_routes: int) -> None:
        routes = [(f"{SOURCE}/32", "host-a"), ("10.88.0.3/32", "host-b")]
        routes += [(str(net), "host-b") for net in NET.subnets(new_prefix=16)]
        others = IPv4Network("100.0.0.0/6").subnets(new_prefix=24)
        routes += [(str(next(others)), f"host-{n % 100}") for n in range(other_routes)]
        table = RouteTable(entry(prefix, gateway) for prefix, gateway in routes)
        namespace = Namespace(bytes(16), table, RouteTable(()))
        self.out = Output()
        self.source = Attachment(namespace, "host-a", "-")
        for port in (self.source, Attachment(namespace, "host-b", "-")):
            port.mtu = GOST_CLIENT_MAX
            namespace.join(port, 0.0)

    def forward(self, frames: bytearray, view: memoryview, end: int) -> None:
        scan(self.source, frames, view, 0, end, 1.0, self.out)
        self.out.runs.clear()


def frame(destination: int, port: int) -> bytes:
    """A frame of 64 bytes of UDP from host-a."""
    to = IPv4Address(int(NET.network_address) + destination)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 92, 0, 0, 64, 17, 0, SOURCE.packed, to.packed)
    return encode(header + struct.pack("!HHHH", port, 9, 72, 0) + bytes(64))


def buffers(case: Case) -> list[tuple[bytearray, memoryview, int]]:
    """What the hub receives, one receive after the other, again and again."""
    made = []
    for number in range(case.buffers):
        numbers = range(number * FRAMES, (number + 1) * FRAMES)
        frames = b"".join(frame(case.destination(n), case.port(n)) for n in numbers)
        data = bytearray(frames + bytes(SLACK))
        made.append((data, memoryview(data), len(frames)))
    return made


def spend(hub: Hub, received: list[tuple[bytearray, memoryview, int]], repeats: int) -> float:
    """CPU nanoseconds a frame."""
    began = time.thread_time_ns()
    for _ in range(repeats):
        for frames, view, end in received:
            hub.forward(frames, view, end)
    return (time.thread_time_ns() - began) / (repeats * len(received) * FRAMES)


def compare(case: Case, hubs: dict[str, Hub], pairs: int) -> dict[str, float]:
    """Nanoseconds a frame for each table, and the median of the ratios of neighbouring slices."""
    received = buffers(case)
    for hub in hubs.values():  # flows known, caches warm; and nothing may be dropped
        spend(hub, received, 1)
        assert not hub.source.traffic.drops, f"{case.name}: dropped {hub.source.traffic.drops}"
    once = spend(hubs["few"], received, 1) * FRAMES * len(received) / 1e9
    repeats = max(1, round(SLICE_SECONDS / once))
    taken: dict[str, list[float]] = {name: [] for name in hubs}
    names = list(hubs)
    for _ in range(max(1, int(pairs * case.share))):
        for name in names:
            taken[name].append(spend(hubs[name], received, repeats))
        names = names[1:] + names[:1]  # nobody always comes first

    def ratio(name: str) -> float:
        return median(a / b for a, b in zip(taken[name], taken["few"], strict=True))

    return {
        f"{case.name}_ns": median(taken["few"]),
        f"{case.name}_100k_ns": median(taken["many"]),
        f"{case.name}_ratio": ratio("many"),
        f"{case.name}_control": ratio("control"),
    }


def measure(pairs: int = 200) -> dict[str, float]:
    """All cases; ratios are of CPU per frame, 100,000 routes to 10."""
    hubs = {"few": Hub(0), "control": Hub(0), "many": Hub(MANY)}
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        figures: dict[str, float] = {}
        for case in CASES:
            figures |= compare(case, hubs, pairs)
        return figures
    finally:
        gc.enable()
        gc.unfreeze()


def show(figures: dict[str, float]) -> None:
    print(f"CPU ns per frame {'10 routes':>12}{'100,000':>10}{'ratio':>8}{'control':>9}   bar")
    for case in CASES:
        few, many, ratio, control = (
            figures[f"{case.name}_{key}"] for key in ("ns", "100k_ns", "ratio", "control")
        )
        bar = "" if case.name == "scattered" else "<= 1.03"
        print(f"{case.name:16} {few:12.0f}{many:10.0f}{ratio:8.3f}{control:9.3f}   {bar}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.pairs)
    print(json.dumps(figures, indent=1)) if arguments.json else show(figures)


if __name__ == "__main__":
    main()
