"""Benchmark of the routing trie beside pytricia (C): look-ups in one process, memory in one process each.

    .venv/bin/python tests/bench/trie.py [--count 1000000] [--json]

Prefixes are random with the lengths of a BGP table, addresses random; both answer from packed bytes.
The bars: look-ups at least 1.5 times, memory at most 2 times pytricia's.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib.route_table import Group, group
from lib.route_trie import Trie
from lib.settings import Hop

PER_MILLE = (
    """8:0.2 12:0.4 13:0.6 14:1.2 15:2 16:13 17:8 18:14 19:25 20:45 21:52 22:115 23:105 24:610 28:2 32:6"""
)
LENGTHS = {
    int(length): float(share) for length, _, share in (pair.partition(":") for pair in PER_MILLE.split())
}
"""Prefix lengths of the global IPv4 table."""
ROUNDS = 9
ADDRESSES = 200_000
GATEWAYS = [group([Hop(f"host-{n}")]) for n in range(100)]


def prefixes(count: int) -> Iterator[tuple[bytes, int]]:
    """`count` different random prefixes, the same ones each time."""
    rng = random.Random(20261123)
    lengths, weights = list(LENGTHS), list(LENGTHS.values())
    seen: set[int] = set()
    while len(seen) < count:
        (length,) = rng.choices(lengths, weights)
        number = rng.getrandbits(length)
        if (key := 1 << length | number) not in seen:
            seen.add(key)
            yield (number << (32 - length)).to_bytes(4, "big"), length


def fill(kind: str, held: list[tuple[bytes, int]]) -> Any:
    """A table of one kind with everything in it."""
    if kind == "trie":
        trie: Trie[Group] = Trie(4)
        for n, (prefix, length) in enumerate(held):
            trie.insert(prefix, length, GATEWAYS[n % 100])
        return trie
    import pytricia  # not in the child that measures the trie

    table = pytricia.PyTricia(32)
    for n, (prefix, length) in enumerate(held):
        table.insert(prefix, length, GATEWAYS[n % 100])
    return table


def resident() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def child(kind: str, count: int) -> None:
    """Print how much this process grew by filling one table, and how long it took."""
    held = list(prefixes(count))
    if kind == "pytricia":
        import pytricia  # noqa: F401  (its code is not its data)
    gc.collect()
    before, start = resident(), time.perf_counter()
    table = fill(kind, held)
    took = time.perf_counter() - start
    gc.collect()
    print(json.dumps({"bytes": resident() - before, "seconds": took, "prefixes": len(table)}))


def in_child(kind: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, "--count", str(count)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def rate(look_up: Callable[[bytes], object], addresses: list[bytes]) -> float:
    start = time.perf_counter()
    for address in addresses:
        look_up(address)
    return len(addresses) / (time.perf_counter() - start)


def look_ups(count: int) -> dict[str, float]:
    """Look-ups a second of both, the median of interleaved rounds; both must give the same answers."""
    held = list(prefixes(count))
    calls = {"trie": fill("trie", held).lookup, "pytricia": fill("pytricia", held).get}
    del held
    rng = random.Random(1)
    addresses = [rng.randbytes(4) for _ in range(ADDRESSES)]
    if any(calls["trie"](a) != calls["pytricia"](a) for a in addresses):
        raise SystemExit("the trie and pytricia disagree")
    rounds = [{name: rate(call, addresses) for name, call in calls.items()} for _ in range(ROUNDS)]
    return {name: median(each[name] for each in rounds) for name in calls}


def measure(count: int) -> dict[str, Any]:
    memory = {name: in_child(name, count) for name in ("trie", "pytricia")}
    speed = look_ups(count)
    return {
        "prefixes": count,
        "lookups_per_second": speed,
        "memory_bytes": {name: each["bytes"] for name, each in memory.items()},
        "insert_seconds": {name: each["seconds"] for name, each in memory.items()},
        "lookup_ratio": speed["trie"] / speed["pytricia"],
        "memory_ratio": memory["trie"]["bytes"] / memory["pytricia"]["bytes"],
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['prefixes']:,} prefixes       trie   pytricia    ratio   bar")
    rows = (
        ("look-ups, M/s", "lookups_per_second", f"{result['lookup_ratio']:8.2f}   >= 1.5"),
        ("memory, MB", "memory_bytes", f"{result['memory_ratio']:8.2f}   <= 2"),
        ("inserting, s", "insert_seconds", ""),
    )
    for title, key, ratio in rows:
        scale = 1 if key == "insert_seconds" else 1e6
        both = result[key]
        print(f"{title:16}{both['trie'] / scale:14.2f}{both['pytricia'] / scale:11.2f} {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=("trie", "pytricia"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.count)
        return
    result = measure(arguments.count)
    print(json.dumps(result, indent=1)) if arguments.json else show(result)


if __name__ == "__main__":
    main()
