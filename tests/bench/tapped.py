"""Benchmark of captures and traces: CPU per frame of the hub's scan without any, and with each kind.

    .venv/bin/python tests/bench/tapped.py [--pairs 200] [--parent CHECKOUT] [--json]

As forwarding.py: no socket, one process, all take turns in slices of some milliseconds, so whatever the
machine does meanwhile it does to all. `control` is the same code once more: its distance from 1 is what
cannot be told. `parent` is lib/ of another checkout, such as the commit before a change: the bar is 1.00
within the control's distance.

    small        64-byte UDP packets of 64 flows, all to one host
    alternating  the same, but every other frame goes to another host: a run is one frame
    headed       single packets under a virtio-net header, as a tunrouter's device gives them: UDP and TCP
    super        TCP superpackets of 64 KB
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from random import shuffle
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.capture_filter import parse
from lib.capture_taps import Capture, Choice, Recorder, Taps
from tests.bench.forwarding import FRAMES, SLICE_SECONDS, SOURCE, frame
from tests.support import packets as p

HERE = Path(__file__).resolve().parents[2]
SUPERS = 4
"""As many as a full receive buffer holds."""
Case = tuple[bytearray, memoryview, int, int]


@contextmanager
def library(checkout: Path) -> Iterator[None]:
    """lib/ of another checkout, imported anew beside ours; of our own, as it is."""
    if checkout == HERE:
        yield
        return
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "lib"}
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        for name in [name for name in sys.modules if name.partition(".")[0] == "lib"]:
            del sys.modules[name]
        sys.modules.update(ours)


class Side:
    """A hub's scan out of one checkout, perhaps watched."""

    def __init__(self, checkout: Path, taps: Taps | None = None) -> None:
        with library(checkout):
            forward, namespaces, routes, settings = (
                importlib.import_module(f"lib.{name}")
                for name in ("forward", "namespace", "route_table", "settings")
            )
            self.out = forward.Output()
            self.scan = forward.scan
        entries = [
            settings.RouteEntry(IPv4Address(net).packed, length, settings.Hop(gateway))
            for net, length, gateway in (
                (str(SOURCE), 32, "host-a"),
                ("10.96.0.0", 13, "host-b"),
                ("10.99.0.0", 16, "host-c"),
            )
        ]
        namespace = namespaces.Namespace(bytes(16), routes.RouteTable(entries), routes.RouteTable(()))
        self.source = namespaces.Attachment(namespace, "host-a", "-")
        for attachment in (
            self.source,
            *(namespaces.Attachment(namespace, name, "-") for name in ("host-b", "host-c")),
        ):
            attachment.mtu, attachment.is_tunrouter, attachment.offloads = 65000, True, 0x6F
            namespace.join(attachment, 0.0)
        self.taps = taps
        if taps is not None:
            from lib import capture_watch

            self.watched = capture_watch.scan

    def forward(self, case: Case) -> None:
        data, view, end, _ = case
        if self.taps is not None:
            self.watched(self.source, data, view, 0, end, 1.0, self.out, self.taps)
        else:
            self.scan(self.source, data, view, 0, end, 1.0, self.out)
        self.out.runs.clear()

    def spend(self, case: Case, repeats: int) -> float:
        """CPU nanoseconds a frame."""
        began = time.thread_time_ns()
        for _ in range(repeats):
            self.forward(case)
        return (time.thread_time_ns() - began) / (repeats * case[3])


def case(frames: list[bytes]) -> Case:
    joined = b"".join(frames)
    data = bytearray(joined + bytes(64))
    return data, memoryview(data), len(joined), len(frames)


def single(number: int) -> bytes:
    to = f"10.96.0.{number % 64}"
    whole = p.headed(p.udp(str(SOURCE), to, bytes(64)))
    content = p.partial(p.tcp(str(SOURCE), to, bytes(64), partial=True)) if number % 2 else whole
    return struct.pack("!H", len(content)) + content


def superpacket(number: int) -> bytes:
    packet = p.tcp(str(SOURCE), f"10.96.0.{number}", bytes(64000), partial=True)
    content = p.superpacket(packet, 1380)
    return struct.pack("!H", len(content)) + content


def cases() -> dict[str, Case]:
    return {
        "small": case([frame(n % 64, 1024 + n % 64) for n in range(FRAMES)]),
        "alternating": case([frame((3 << 16) * (n % 2) + n % 64, 1024 + n % 64) for n in range(FRAMES)]),
        "headed": case([single(n) for n in range(FRAMES)]),
        "super": case([superpacket(n + 1) for n in range(SUPERS)]),
    }


def sides(parent: Path | None) -> dict[str, Side]:
    """Who takes turns; the first is what the others are compared with."""
    made = {"now": Side(HERE), "control": Side(HERE)}
    if parent is not None:
        made["parent"] = Side(parent)
    for name, tap in (
        ("recorder", Recorder(16 << 20)),
        ("capture", Capture(Choice(), int, 64 << 10)),
        ("filter", Capture(Choice(test=parse("tcp port 9999")), int)),
    ):
        taps = Taps(time.time_ns)
        taps.add(tap)
        made[name] = Side(HERE, taps)
    return made


def measure(pairs: int, parent: Path | None = None) -> dict[str, dict[str, float]]:
    """By case: nanoseconds a frame now, and the median of each other one's ratio to it in neighbouring slices."""
    found = {}
    for title, received in cases().items():
        taking = sides(parent)
        gc.collect()
        gc.freeze()
        gc.disable()
        for side in taking.values():
            side.forward(received)
            assert not side.source.traffic.drops, side.source.traffic.drops
        repeats = max(1, round(SLICE_SECONDS / (taking["now"].spend(received, 3) * received[3] / 1e9)))
        taken: dict[str, list[float]] = {name: [] for name in taking}
        names = list(taking)
        for _ in range(pairs):
            for name in names:
                taken[name].append(taking[name].spend(received, repeats))
            shuffle(names)  # nobody always comes after the same one, and finds the cache as that one left it
        gc.enable()
        gc.unfreeze()
        ratios = {
            name: median(a / b for a, b in zip(taken[name], taken["now"], strict=True))
            for name in taking
            if name != "now"
        }
        found[title] = {"now": median(taken["now"]), **ratios}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--parent", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.pairs, arguments.parent)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for title, figures in found.items():
        others = "  ".join(f"{name} {value:.3f}" for name, value in figures.items() if name != "now")
        print(f"{title:12} {figures['now']:6.0f} ns a frame;  {others}")


if __name__ == "__main__":
    main()
