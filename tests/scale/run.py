"""A cluster of simulated hubs: what its registry costs, and how soon all is right after a fault (SCALING.md).

    .venv/bin/python -m tests.scale.run                                   # short: 60 hubs, as in .ci/run
    .venv/bin/python -m tests.scale.run --hubs 1000 --namespaces 10000 --hosts 100 --routes 10 --json build/scale.json

The steps follow each other in one world: nothing wrong, a hub dies, Redis is killed and comes back empty, a tenth of
the hubs does not reach Redis for a while. Hosts move and packets are sent all the time. The exit status is 1 where a
packet came to another host than its own, or where something was not right again in time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lib.cluster_registry import LEASE_SECONDS
from tests.bench.quiet import resident_mb
from tests.scale.world import Size, World, simulated

Row = dict[str, Any]
STEP = 0.1
"""Seconds between two looks whether all is right."""
MOVED_A_HOUR = 0.01
"""Share of all hosts that move in an hour."""
PROBES = 200.0
"""Packets a second."""
BACK_SECONDS = 2.0
"""By when all is right again once Redis is back."""


class Steps:
    """The steps, with what each has cost."""

    def __init__(self, world: World) -> None:
        self.world, self.found = world, {}
        self.failed: list[str] = []
        self.found = dict[str, Row]()
        self.moves = max(2.0, MOVED_A_HOUR * len(world.at) / 3600)

    def step(self, name: str, act: Callable[[], Row]) -> None:
        """Do one step, and note what it has cost."""
        world, server = self.world, self.world.server
        before = sum(server.commands.values()), server.delivered, server.bytes_out, world.clock.now
        world.outcomes.clear()
        world.took.clear()
        began = time.monotonic()
        row = act()
        seconds = world.clock.now - before[3]
        row |= {
            "seconds": round(seconds, 1),
            "commands_per_s": round((sum(server.commands.values()) - before[0]) / seconds, 1),
            "delivered_per_s": round((server.delivered - before[1]) / seconds),
            "out_mb_per_s": round((server.bytes_out - before[2]) / seconds / 1e6, 2),
            "packets": dict(world.outcomes),
            "moves": len(world.took),
            "move_p50_s": _quantile(world.took, 0.5),
            "move_p99_s": _quantile(world.took, 0.99),
            "took_s": round(time.monotonic() - began, 1),
        }
        self.found[name] = row
        print(name, json.dumps(row), file=sys.stderr, flush=True)

    def check(self, is_right: bool, what: str) -> None:
        """Note what is not as it has to be."""
        if not is_right:
            self.failed.append(what)

    def right_again(self, most: float) -> float:
        """Seconds until every hub knows all hosts of its namespaces, up to `most`; hosts stay where they are."""
        world, began = self.world, self.world.clock.now
        while world.unknown() and world.clock.now - began < most:
            world.run(STEP)
        self.check(
            not world.unknown(), f"after {most:g} s {world.unknown()} hosts are not known where they are"
        )
        return round(world.clock.now - began, 2)

    # --- the steps

    def steady(self) -> Row:
        """Nothing is wrong."""
        world = self.world
        world.run(3.0, self.moves, PROBES)
        world.run(0.5)
        lost = world.settle()
        right = self.right_again(1.0)
        self.check(not lost or world.took != [], "packets are lost")
        return {"lost": lost, "right_s": right}

    def death(self) -> Row:
        """A hub dies and says nothing; its hosts come to others after 0.5 to 1.5 s."""
        world = self.world
        hub = world.hubs[1 + len(world.hubs) // 2]
        hub.kill()
        places = [place for place, number in world.at.items() if number == int(hub.name[4:])]
        died = world.clock.now
        for place in places:
            world.clock.at(died + world.random.uniform(0.5, 1.5), partial(world.move, place))
        world.run(LEASE_SECONDS + 2.5, self.moves, PROBES)
        gone = [other for other in world.hubs if other.is_alive and other.registry.hubs[hub.name].live]
        self.check(not gone, f"{len(gone)} hubs think that the dead one lives")
        lost = world.settle()
        return {"hosts": len(places), "lost": lost, "right_s": self.right_again(3.0)}

    def restart(self) -> Row:
        """Redis is killed, and is there again 3 s later, empty."""
        world = self.world
        world.server.die()
        world.run(3.0, self.moves, PROBES)
        lost = world.settle()
        world.server.is_away = False
        peak, began, right, read = 0, world.clock.now, 0.0, world.server.commands["HGETALL"]
        while world.clock.now - began < 2 * BACK_SECONDS:
            before = sum(world.server.commands.values())
            world.run(STEP)
            peak = max(peak, sum(world.server.commands.values()) - before)
            if world.unknown():
                right = world.clock.now - began
            elif world.clock.now - began > BACK_SECONDS:
                break
        self.check(right <= BACK_SECONDS, f"Redis is back, and it took {right:.1f} s until all was right")
        alive = sum(hub.is_alive for hub in world.hubs)
        read = world.server.commands["HGETALL"] - read
        self.check(read <= alive, f"Redis is back, and its {alive} hubs have read {read} lists")
        peak_row = {"peak_commands_per_s": round(peak / STEP), "lists_read": read}
        return {"lost_meanwhile": lost, "right_s": round(right, 2), **peak_row}

    def partition(self) -> Row:
        """A tenth of the hubs, and the one with all tables, do not reach Redis for 7 s; they reach each other."""
        world = self.world
        alive = [hub.name for hub in world.hubs[1:] if hub.is_alive]
        world.server.cut = {world.hubs[0].name, *alive[: max(1, len(alive) // 10)]}
        world.run(LEASE_SECONDS + 2.0, self.moves, PROBES)
        world.settle()
        behind = world.unknown()
        cut, world.server.cut = world.server.cut, set()
        began, right = world.clock.now, 0.0
        while world.clock.now - began < 3 * BACK_SECONDS:
            world.run(3 * STEP)
            if world.unknown():
                right = world.clock.now - began
            elif world.clock.now - began > BACK_SECONDS:
                break
        self.check(not world.unknown(), f"not right again {3 * BACK_SECONDS:g} s after a partition")
        return {"hubs": len(cut), "unknown_before": behind, "right_s": round(right, 2)}


def _quantile(values: list[float], share: float) -> float | None:
    return round(sorted(values)[int(share * (len(values) - 1))], 3) if values else None


def main() -> int:
    """Simulate, and print; returns the exit status."""
    parser = argparse.ArgumentParser(description="a cluster of simulated hubs")
    parser.add_argument("--hubs", type=int, default=60)
    parser.add_argument("--namespaces", type=int, default=200)
    parser.add_argument("--hosts", type=int, default=30, help="of each namespace")
    parser.add_argument("--routes", type=int, default=10, help="of each host")
    parser.add_argument("--sampled", type=int, default=20, help="namespaces in which packets are sent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="a file for all figures")
    arguments = parser.parse_args()
    size = Size(
        arguments.hubs,
        arguments.namespaces,
        arguments.hosts,
        arguments.routes,
        min(arguments.sampled, arguments.namespaces),
    )
    began = time.monotonic()
    with simulated(size, arguments.seed) as world:
        world.populate()
        for hub in world.hubs:
            hub.start()
        world.run(3.0)
        steps = Steps(world)
        print(f"made in {time.monotonic() - began:.0f} s, {resident_mb(os.getpid()):.0f} MB", file=sys.stderr)
        for act in (steps.steady, steps.death, steps.restart, steps.partition):
            steps.step(act.__name__, act)
        steps.failed += world.wrong
    found = {
        "size": asdict(size) | {"seed": arguments.seed, "all_hosts": len(world.at)},
        "steps": steps.found,
        "log": dict(world.logged),
        "failed": steps.failed,
        "took_s": round(time.monotonic() - began, 1),
        "resident_mb": round(resident_mb(os.getpid())),
    }
    if arguments.json:
        Path(arguments.json).parent.mkdir(exist_ok=True)
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    for what in steps.failed:
        print(f"FAILED: {what}", file=sys.stderr)
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(main())
