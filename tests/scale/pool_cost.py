"""What a change of the longest list of addresses costs a hub: python -m tests.scale.pool_cost

Knows: how each step is measured: processor time, and how long packets would have waited.
Refuses to know: what a list is (lib.push_shared).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import gevent

from lib import push_shared, service_threads
from lib.addresses import packed_prefix
from lib.cluster_seal import SharedSeal
from lib.push_pool import Pool
from lib.push_shared import Lease, SharedList, Wishes
from lib.service_scheduling import Breaths
from lib.service_threads import aside

PREFIX = packed_prefix("10.0.0.0/8")
T = TypeVar("T")


def measured(what: str, call: Callable[[], T]) -> T:
    """Do it beside a greenlet that wants its turn each millisecond, and say what it cost."""
    longest = 0.0

    def wait() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            gevent.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    waiting = gevent.spawn(wait)
    gevent.sleep(0.01)
    longest, began = 0.0, time.process_time()
    result = call()
    used = time.process_time() - began
    gevent.sleep(0.01)
    waiting.kill()
    print(f"{what}: {1000 * used:.0f} ms of processor, others waited {1000 * longest:.0f} ms at most")
    return result


def main(addresses: int) -> None:
    service_threads.begin()
    seal = SharedSeal(b"a secret of thirty-two letters, or more", "cluster")
    pool = Pool([PREFIX])
    for number in range(addresses):
        pool.lease(f"host-{number}", 4, lambda host: True)
    leases = {
        (host, len(address)): Lease(address, number) for number, (host, address) in enumerate(pool.leases())
    }
    shared = SharedList(2 * addresses, "a" * 16, True, {}, leases)
    text = measured("written", lambda: aside("list", push_shared.dump, shared, seal.sign))
    print(f"{addresses} addresses, {len(text)} bytes")
    found = measured("read", lambda: aside("list", push_shared.parse, text, lambda body, signature: True))
    rows = measured("put in order", lambda: aside("list", push_shared.in_order, found))
    wishes = Wishes("hub-1", (), [("new", 4)], ())
    measured(
        "one more address",
        lambda: push_shared.settled(found, rows, wishes, Pool([PREFIX]), lambda key, lease: True, Breaths()),
    )
    old = SharedList(3, "b" * 16, True, {}, leases)
    measured("two lists put together", lambda: aside("list", push_shared.caught_up, found, old, "c" * 16))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", type=int, default=65_000)
    main(parser.parse_args().addresses)
