"""Benchmark of a cluster's registry: how fast a host that moves is followed, and how many commands Redis gets.

    .venv/bin/python tests/bench/registry.py [--hubs 10] [--moves 500] [--pace 5]

Hubs of one process with the real registry, namespace and link code, and a real Redis beside it. A session of
host-1 at the first hub sends a packet to host-2 each millisecond; host-2 begins sessions at the other hubs in
turn. A move lasts from the beginning of a session until the first packet reaches it, by TLS links. All hubs
share one core with the sender, so many hubs make moves slower here than on machines of their own.

Commands are those that Redis itself has counted (INFO, total_commands_processed), those in transactions too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from statistics import quantiles

import gevent

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.settings_sources import RedisSource
from lib.source_redis import redis_connection
from lib.stream_bounded import Bounds
from tests.support import packets as p
from tests.support.redis_local import free_port, serving
from tests.support.registry_nodes import Node, Session, wait_for
from tests.support.routes import table

ROUTES = table(("10.0.0.1/32", "host-1"), ("10.0.0.2/32", "host-2"))


def commands(address: str) -> int:
    """Commands that Redis has processed so far."""
    connection = redis_connection(RedisSource(address), Bounds(10, 1 << 20))
    try:
        connection.send_command("INFO", "stats")
        lines = connection.read_response().decode().splitlines()
        return int(next(line for line in lines if line.startswith("total_commands")).partition(":")[2])
    finally:
        connection.disconnect()


def moves(hubs: list[Node], count: int, pace: float) -> list[float]:
    """Let host-2 move so often, `pace` moves a second; returns how long each took, in seconds."""
    sender = hubs[0].join("host-1")
    packet = p.udp("10.0.0.1", "10.0.0.2")
    going = True

    def send() -> None:
        while going:
            hubs[0].send(sender, packet)
            gevent.sleep(0.001)

    sending = gevent.spawn(send)
    took, before = [], None
    for _, hub in zip(range(count + len(hubs)), cycle(hubs[1:]), strict=False):
        began = time.monotonic()
        now = hub.join("host-2")
        session = now.sender
        assert isinstance(session, Session)
        wait_for(lambda session=session: session.came)  # type: ignore[misc]
        took.append(session.came[0][0] - began)
        if before is not None:
            before[0].domain.leave(before[1])
        before = hub, now
        gevent.sleep(max(0.0, 1 / pace - took[-1]))
    going = False
    sending.join()
    return took[len(hubs) :]  # at the first move to each hub its link is made


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hubs", type=int, default=10)
    parser.add_argument("--moves", type=int, default=500)
    parser.add_argument("--pace", type=float, default=5.0, help="moves a second")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        address = f"127.0.0.1:{port}"
        with serving(Path(directory), "--port", str(port)):
            hubs = [Node(f"hub-{number}", address, ROUTES) for number in range(wanted.hubs)]
            for hub in hubs:
                hub.start()
            wait_for(
                lambda: all(
                    sum(one.live for one in hub.cluster.registry.hubs.values()) == len(hubs) - 1
                    for hub in hubs
                )
            )
            before, began = commands(address), time.monotonic()
            gevent.sleep(10)
            idle = (commands(address) - before) / (time.monotonic() - began)
            before, began = commands(address), time.monotonic()
            took = sorted(moves(hubs, wanted.moves, wanted.pace))
            seconds = time.monotonic() - began
            moving = (commands(address) - before) / seconds - idle
            for hub in hubs:
                hub.stop()
    cut = quantiles(took, n=100)
    found = {
        "hubs": wanted.hubs,
        "moves": len(took),
        "move_p50_ms": round(cut[49] * 1000, 1),
        "move_p99_ms": round(cut[98] * 1000, 1),
        "move_longest_ms": round(took[-1] * 1000, 1),
        "commands_a_hub_and_second": round(idle / wanted.hubs, 2),
        "commands_a_move": round(moving * seconds / (wanted.moves + wanted.hubs), 2),
    }
    print(
        json.dumps(found) if wanted.json else "\n".join(f"{name:28} {value}" for name, value in found.items())
    )


if __name__ == "__main__":
    main()
