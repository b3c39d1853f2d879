"""Memory of one hub that holds everything: the hosts of all others, and every route; and the time to read lists.

.venv/bin/python -m tests.scale.memory                       # 200,000 hosts, 1,000,000 routes
.venv/bin/python -m tests.scale.memory --hosts 1000000 --routes 10000000
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time

from lib import cluster_places, framing
from lib.cluster_claims import Claims, Clocks
from lib.cluster_places import OtherHub
from lib.cluster_registry import Registry
from lib.cluster_seal import SharedSeal
from lib.route_table import RouteTable
from lib.settings import Hop, RouteEntry
from tests.bench.quiet import resident_mb

SEAL = SharedSeal(b"k" * 32, "gost")
NOW = Clocks(0, 0)
HOSTS, ROUTES = 100, 1000
"""Of each namespace."""
READ = 20_000
"""Entries of lists that are read, to see how long one takes."""


def registry(hosts: int, hubs: int) -> Registry:
    """A registry that knows so many hosts, at so many hubs."""
    made = Registry("hub-0", 1, SEAL)
    for number in range(hubs):
        hub = made.hubs[f"hub-{number}"] = OtherHub(f"hub-{number}", 1)
        hub.live = True
        for host in range(number * hosts // hubs, (number + 1) * hosts // hubs):
            place = (host // HOSTS).to_bytes(16, "big"), f"host-{host % HOSTS}"
            made.places.add(hub, place, 1_800_000_000_000 + host, host.to_bytes(16, "big"))
    made.places.take_changed(hosts)
    return made


def tables(routes: int) -> list[RouteTable]:
    """The tables of so many routes."""
    return [
        RouteTable(
            RouteEntry(
                bytes((10, route // HOSTS, number >> 8, route % HOSTS)), 32, Hop(f"host-{route % HOSTS}")
            )
            for route in range(ROUTES)
        )
        for number in range(routes // ROUTES)
    ]


def read_us() -> float:
    """Microseconds of CPU time to take one entry of a list."""
    claims = Claims("hub-1", "a:1", 1, SEAL.sign)
    for number in range(READ):
        claims.join((bytes(16), f"host-{number}"), 1, bytes(16))
    while claims.is_pending:
        claims.next_batch(NOW)
    hearer = Registry("hub-2", 1, SEAL)
    hearer.hear(framing.encode(claims.header(NOW)), 0.0, 0)
    fields = list(claims.whole())
    began = time.thread_time()
    snapshot = hearer.begin("hub-1", claims.header(NOW))
    assert snapshot is not None
    for _, entry in fields:
        snapshot.add(entry)
    assert hearer.use(snapshot)
    return (time.thread_time() - began) / READ * 1e6


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="memory of a hub that holds everything")
    parser.add_argument("--hosts", type=int, default=200_000)
    parser.add_argument("--hubs", type=int, default=1000)
    parser.add_argument("--routes", type=int, default=1_000_000)
    arguments = parser.parse_args()
    cluster_places.MAX_CLAIMS = 1 << 30
    figures: dict[str, float] = {"read_us_an_entry": round(read_us(), 1)}
    gc.collect()
    before = resident_mb(os.getpid())
    known = registry(arguments.hosts, arguments.hubs)
    figures["hosts_mb"] = round(resident_mb(os.getpid()) - before, 1)
    figures["hosts_bytes_each"] = round(figures["hosts_mb"] * 1e6 / arguments.hosts)
    before = resident_mb(os.getpid())
    made = tables(arguments.routes)
    figures["routes_mb"] = round(resident_mb(os.getpid()) - before, 1)
    figures["routes_bytes_each"] = round(figures["routes_mb"] * 1e6 / arguments.routes)
    assert known.size == arguments.hosts
    assert sum(map(len, made)) == len(made) * ROUTES
    print(
        json.dumps({"hosts": arguments.hosts, "hubs": arguments.hubs, "routes": arguments.routes, **figures})
    )


if __name__ == "__main__":
    main()
