"""What waiting frames really cost: `.venv/bin/python tests/bench/held.py`

Prints bytes of memory beside the frames' own, for a chunk in a flow, for a flow, and for a frame that waits for a
plugin, as resident memory grows: the constants of lib/session_queue.py and lib/session_budget.py. Each is measured
with many of them, in a process of its own.

Knows: how to fill queues. Refuses to know: sockets.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib import session_budget, session_queue
from lib.counters import Traffic
from lib.session_chunks import BUCKETS
from lib.session_queue import SendQueue
from tests.bench.quiet import resident_mb
from tests.support import packets as p

A, B = "10.0.0.1", "10.0.0.2"


def chunks(size: int, count: int = 40_000) -> tuple[SendQueue, int]:
    """A queue with one flow of chunks that came too far apart to be merged, and how many."""
    queue, traffic = SendQueue(1 << 40, 1e9), Traffic()
    for number in range(count):
        queue.push(p.frame(p.udp(A, B, bytes(size - 30))), number * 1.0, traffic)
    return queue, count


def flows(count: int = 40_000) -> tuple[list[SendQueue], int]:
    """Queues, each with all the flows it can have and a chunk in each."""
    queues, made = [], 0
    while made < count:
        queue = SendQueue(1 << 40, 1e9)
        for number in range(4 * BUCKETS):
            queue.push(p.frame(p.udp(A, B, bytes(970), ports=(1 + number, 9))), made * 1.0, Traffic())
        made += len(queue._turns.flows)
        queues.append(queue)
    return queues, made


def hosts(count: int = 40_000) -> tuple[list[SendQueue], int]:
    """The same, each flow of a host of its own."""
    queues, made = [], 0
    while made < count:
        queue = SendQueue(1 << 40, 1e9)
        for number in range(4 * BUCKETS):
            source = f"10.1.{number >> 8}.{number & 255}"
            queue.push(p.frame(p.udp(source, B, bytes(970))), made * 1.0, Traffic())
        made += len(queue._turns.hosts)
        queues.append(queue)
    return queues, made


def parked(count: int = 40_000) -> tuple[list[tuple[object, bytes]], int]:
    """Frames as route_plugin_cache holds them."""
    return [(None, bytes(1000)) for _ in range(count)], count


def grown(make: Callable[[], tuple[object, int]]) -> tuple[float, int, int]:
    """(bytes that resident memory grows by, how many things, bytes that its budget counts)."""
    gc.collect()
    before = resident_mb(os.getpid())
    made, count = make()
    size = (resident_mb(os.getpid()) - before) * 1e6
    queues = made if isinstance(made, list) else [made]
    return size, count, sum(getattr(queue, "held", 0) for queue in queues)


def _apart(make: Callable[[], tuple[object, int]]) -> tuple[float, int, int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(grown, (make,))


def small() -> tuple[SendQueue, int]:
    return chunks(30)


def usual() -> tuple[SendQueue, int]:
    return chunks(1400)


def large() -> tuple[SendQueue, int]:
    return chunks(60_000, 4000)


def main() -> int:
    print(
        f"counted: chunk {session_queue.CHUNK_BYTES}, flow {session_queue.FLOW_BYTES}, host {session_queue.HOST_BYTES}, parked {session_budget.PARKED_BYTES}"
    )
    for size, make in ((30, small), (1400, usual), (60_000, large)):
        resident, count, counted = _apart(make)
        print(
            f"chunk of {size} bytes: {resident / count - size:.0f} beside them; resident / counted {resident / counted:.2f}"
        )
    resident, count, counted = _apart(flows)
    print(
        f"flow with a chunk of 1,000 bytes: {resident / count - 1000:.0f} beside them; resident / counted {resident / counted:.2f}"
    )
    resident, count, counted = _apart(hosts)
    print(
        f"host with such a flow: {resident / count - 1000:.0f} beside them; resident / counted {resident / counted:.2f}"
    )
    resident, count, _ = _apart(parked)
    print(f"parked frame of 1,000 bytes: {resident / count - 1000:.0f} beside them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
