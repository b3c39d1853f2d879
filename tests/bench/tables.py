"""Benchmark of big tables: a million routes loaded, changed and used to forward; 100,000 ingress rules.

    .venv/bin/python tests/bench/tables.py [--count N] [--pairs N] [--json]      as root

Seconds of CPU and pauses are taken in this process, pings and transfers from real programs in namespaces.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.ids import parse_uuid
from lib.ingress import Ingress
from lib.route_loader import RouteLoader
from lib.route_table import RouteTable
from lib.settings import Hop, RouteEntry
from tests.bench.forwarding import Case, Hub, compare
from tests.support.load import iperf3
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import NAMESPACE_1, OVERLAY_1, OVERLAY_2, host, start_client, start_hub

COUNT = 1_000_000
CHANGED = 0.01
LENGTHS = [24] * 60 + [23, 22, 22, 21, 20, 20, 19, 18, 17, 16, 25, 32]
"""About as in a full BGP table."""
CASES = (
    Case("one", 1, lambda n: 5, lambda n: 1024),
    Case("turn", 5, lambda n: n % 10_000 * 13, lambda n: 1024, 0.2),
)
"""One destination; 10,000 in turn, more than a session remembers."""


def rows(count: int) -> list[str]:
    """Distinct random prefixes to a hundred hosts, none of them where the bench's own packets go."""
    dice = random.Random(1)
    seen: set[tuple[int, int]] = set()
    while len(seen) < count:
        length = dice.choice(LENGTHS)
        number = dice.getrandbits(length) << (32 - length)
        if number >> 24 not in (0, 10, 127, 192) and number >> 24 < 224:
            seen.add((number, length))
    return [
        f"{n >> 24}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}/{length} host-{i % 100}"
        for i, (n, length) in enumerate(seen)
    ]


def change(lines: list[str], name: str) -> None:
    """Give one in a hundred another gateway."""
    for number in random.Random(name).sample(range(len(lines)), int(len(lines) * CHANGED)):
        lines[number] = f"{lines[number].partition(' ')[0]} {name}"


def timed(steps: Generator[None, None, Any]) -> tuple[float, float]:
    """(seconds for all of it, milliseconds of the longest step)."""
    began = last = time.perf_counter()
    longest = 0.0
    for _ in steps:
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    now = time.perf_counter()
    return now - began, max(longest, now - last) * 1e3


def loading(lines: list[str]) -> dict[str, float]:
    """A first load, and one by the difference."""
    loader = RouteLoader(RouteTable())
    gc.disable()
    load, step = timed(loader.source(1, "\n".join(lines).encode(), "bench"))
    change(lines, "other")
    again, step_again = timed(loader.source(1, "\n".join(lines).encode(), "bench"))
    gc.enable()
    return {
        "load_s": load,
        "load_step_ms": step,
        "reload_s": again,
        "reload_step_ms": step_again,
        "reload_ratio": again / load,
    }


def forwarding(lines: list[str], pairs: int) -> dict[str, float]:
    """CPU of the forwarding code with all these routes besides, paired with a table of ten."""
    hubs = {"few": Hub(0), "control": Hub(0), "many": Hub(0)}
    table = hubs["many"].source.namespace.table
    assert isinstance(table, RouteTable)
    for line in lines:
        prefix, _, gateway = line.partition(" ")
        address, _, length = prefix.partition("/")
        packed = bytes(map(int, address.split(".")))
        table.add_row(table.tries, RouteEntry(packed, int(length), Hop(gateway)), 0)
    gc.collect()
    gc.freeze()
    gc.disable()
    figures: dict[str, float] = {}
    for case in CASES:
        figures |= compare(case, hubs, pairs)
    gc.enable()
    gc.unfreeze()
    return figures


def ingress(count: int = 100_000) -> dict[str, float]:
    """Microseconds a look-up, of hosts with a rule of their own and of ones under a wildcard."""
    endpoints = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1000)]
    rules = Ingress((f"host-{n}.site" if n % 2 else f".net-{n}", endpoints[n % 1000]) for n in range(count))
    dice = random.Random(1)
    numbers = [dice.randrange(count) for _ in range(200_000)]
    hosts = [f"host-{n}.site" if n % 2 else f"a.net-{n}" for n in numbers]
    namespaces = [parse_uuid(endpoints[n % 1000]) for n in numbers]
    began = time.perf_counter()
    for name, namespace in zip(hosts, namespaces, strict=True):
        assert rules.admits(name, namespace)
    return {"ingress_us": (time.perf_counter() - began) / len(hosts) * 1e6}


HUB = f"""\
services:
  - name: service-0
    addr: :8443
    handler: {{type: router, metadata: {{router: router-0}}}}
    listener: {{type: tcp}}
routers:
  - name: {NAMESPACE_1}
    routes:
      - {{dst: {OVERLAY_1}, gateway: host-1}}
      - {{dst: {OVERLAY_2}, gateway: host-2}}
  - name: router-0
"""


def programs(lines: list[str], work: Path) -> dict[str, float]:
    """Pings through another namespace while a hub loads the file, and loads it again."""
    path = work / "routes.txt"
    path.write_text("\n".join(lines))
    config = work / "hub.yml"
    config.write_text(f"{HUB}    file: {{path: {path}}}\n")
    with Topology(work) as topology:
        began = time.monotonic()
        hub = start_hub(topology.hub, "-C", str(config), "--control", "none")
        for namespace, number, address in (
            (topology.host_1, 1, HUB_TO_HOST_1),
            (topology.host_2, 2, HUB_TO_HOST_2),
        ):
            start_client(namespace, *host(number, address, NAMESPACE_1))
        pinging = topology.host_1.popen("ping", "-i0.05", OVERLAY_2)
        pinging.wait_line("icmp_seq=3 ")
        hub.wait_line(f"{len(lines)} routes", timeout=120)
        live = time.monotonic() - began
        worst = _worst(pinging)
        change(lines, "third")
        (work / "routes~").write_text("\n".join(lines))
        pinging = topology.host_1.popen("ping", "-i0.05", OVERLAY_2)
        pinging.wait_line("icmp_seq=3 ")
        before = hub.line_count()
        os.replace(work / "routes~", path)
        found = hub.wait_line(r"routes \(\+0 .*in ([0-9.]+) s", timeout=120, after=before)
        figures = {"live_s": live, "ping_ms": worst, "live_reload_s": float(found[1])}
        figures["ping_reload_ms"] = _worst(pinging)
        speeds = [_speed(topology.host_1, topology.host_2) for _ in range(3)]
        hub.stop()
    with Topology(work) as topology:
        config.write_text(HUB)
        start_hub(topology.hub, "-C", str(config), "--control", "none")
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1, NAMESPACE_1))
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2, NAMESPACE_1))
        few = [_speed(topology.host_1, topology.host_2) for _ in range(3)]
    return figures | {"tcp_ratio": max(speeds) / max(few)}


def _worst(pinging: Process) -> float:
    """The longest of its round-trip times, ms; nothing may have been lost."""
    pinging.send(2)
    pinging.wait()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", pinging.text())
    assert found, pinging.text()
    assert int(found[2]) >= int(found[1]) - 2, found[0]  # the last ones may be on their way
    return max(map(float, re.findall(r"time=([0-9.]+) ms", pinging.text())))


def _speed(sender: Namespace, receiver: Namespace) -> float:
    return float(iperf3(sender, receiver, OVERLAY_2, "-t", "1"))


def measure(work: Path, count: int = COUNT, pairs: int = 60) -> dict[str, float]:
    """All of it."""
    lines = rows(count)
    figures = loading(lines)
    figures |= programs(lines, work)
    figures |= forwarding(lines, pairs)
    return figures | ingress()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as work:
        figures = measure(Path(work), arguments.count, arguments.pairs)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:18} {value:12.3f}")


if __name__ == "__main__":
    main()
