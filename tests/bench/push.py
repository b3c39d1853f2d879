"""Benchmark of a change of routes at a hub with a thousand hosts: when each is told, and others' pings meanwhile.

    .venv/bin/python tests/bench/push.py [inline|file|many|same …] [--hosts N] [--changes N]      as root

Knows: a hub on one core; on the other a thousand simulated hosts (push_hosts) and a ping through the hub.
Refuses to know: what must be reached (bars: each host within 2 s, no ping over 20 ms).

    inline    1,000 routes in the configuration, one of them changes, SIGHUP
    file      1,000 routes in a file, one of them changes
    many      10,000 routes in a file, one of them changes
    same      as inline, SIGHUP and nothing has changed: nobody may be told anything

Hosts are behind the ping in the scheduler's order (nice 19), so that what they cost delays no ping.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib import framing
from tests.bench.measure import Figures
from tests.bench.memory import allow_descriptors
from tests.bench.push_hosts import joined
from tests.bench.quiet import timed
from tests.support.netns import ROOT, Namespace, Process, in_namespace
from tests.support.packets import udp

HOSTS, CHANGES = 1000, 5
PORT = 8443
GAP_SECONDS = 0.002
"""Between two pings."""
SECONDS = 4.0
"""How long pings are sent around a change: longer than it may take."""
PING_A, PING_B = "172.31.0.1", "172.31.0.2"

_HUB = """services:
- {{name: hub, addr: ":{port}", climiter: many, rlimiter: many, handler: {{type: router, metadata: {{router: r0}}}}}}
climiters: [{{name: many, limits: [$ 60000]}}]
rlimiters: [{{name: many, limits: [$ 60000]}}]
routers:
- name: r0
  pool: 10.20.0.0/16
{source}  routes:
  - {{dst: {a}/32, gateway: ping-a}}
  - {{dst: {b}/32, gateway: ping-b}}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Where the routes are, how many, and whether one of them changes."""

    routes: int
    is_file: bool = False
    changes: bool = True


CASES = {
    "inline": Case(1000),
    "file": Case(1000, is_file=True),
    "many": Case(10_000, is_file=True),
    "same": Case(1000, changes=False),
}


class Hub:
    """The hub, and the files that it reads."""

    def __init__(self, case: Case, namespace: Namespace, work: Path, hosts: int) -> None:
        self._case, self._hosts = case, hosts
        self._config, self._table = work / "hub.yml", work / "routes"
        self._write(0)
        self.process: Process = namespace.popen(
            sys.executable, str(ROOT / "tunrouter.py"), "-C", str(self._config)
        )
        os.sched_setaffinity(self.process.pid, {_core(0)})
        self.process.wait_line("listening", timeout=60)

    def change(self, number: int) -> None:
        """Change one route, and let the hub read it."""
        if self._case.changes:
            self._write(number)
        if not self._case.is_file:
            self.process.send(signal.SIGHUP)

    def _write(self, number: int) -> None:
        routes = [f"6.0.{number}.0/24 host-0"]  # the lowest ones are those that are told
        routes += [
            f"10.{100 + n // 256}.{n % 256}.0/24 host-{n % self._hosts}" for n in range(self._case.routes - 1)
        ]
        source = f"  file: {{path: {self._table}}}\n" if self._case.is_file else ""
        text = _HUB.format(port=PORT, source=source, a=PING_A, b=PING_B)
        if self._case.is_file:
            _put(self._table, "".join(f"{route}\n" for route in routes))
        else:
            pairs = (route.split() for route in routes)
            text += "".join(f"  - {{dst: {prefix}, gateway: {host}}}\n" for prefix, host in pairs)
        if not self._case.is_file or not self._config.exists():
            _put(self._config, text)


def _put(path: Path, text: str) -> None:
    """Write a file whole, as who changes a table should."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def measure(case: Case, work: Path, hosts: int = HOSTS, changes: int = CHANGES) -> Figures:
    """Seconds until the last host is told, and ms of the longest ping, medians and worst of several changes."""
    allow_descriptors(2 * hosts + 200)
    told: list[float] = []
    pings: list[float] = []
    quiet: list[float] = []
    again = count = size = 0
    with Namespace("push", work) as namespace:
        hub = Hub(case, namespace, work, hosts)
        os.sched_setaffinity(0, {_core(-1)})
        with in_namespace(namespace.name):
            ping = Ping()
        with _hosts(namespace, hosts) as ask, timed(10.0):
            ping.longest(SECONDS / 2, lambda: None)
            for number in range(1, changes + 1):
                quiet.append(ping.longest(SECONDS / 2, lambda: None))
                ask("forget")
                began = time.monotonic()
                pings.append(ping.longest(SECONDS, lambda: hub.change(number)))  # noqa: B023  called at once
                found = ask("tell")
                count, again, size = int(found["told"]), again + int(found["again"]), int(found["bytes"])
                if found["told"] == hosts:
                    told.append(found["last"] - began)
        namespace.kill_all()
    figures = {
        "hosts": count, "told_again": again, "bytes": size,
        "ping_ms": median(pings), "ping_ms_most": max(pings),
        "quiet_ms": median(quiet), "quiet_ms_most": max(quiet),
    }  # fmt: skip
    if len(told) == changes:  # else somebody was not told, and there is no figure
        figures |= {"seconds": median(told), "seconds_most": max(told)}
    return figures


class Ping:
    """Two hosts, and packets from one to the other."""

    def __init__(self) -> None:
        self._a, self._b = joined(PORT, "ping-a"), joined(PORT, "ping-b")
        self._frame = framing.encode(udp(PING_A, PING_B, bytes(40)))

    def longest(self, seconds: float, meanwhile: Callable[[], None]) -> float:
        """Milliseconds of the longest of so many seconds' pings. Raises AssertionError where one is lost."""
        until, longest = time.monotonic() + seconds, 0.0
        meanwhile()
        while (began := time.monotonic()) < until:
            self._a.socket.sendall(self._frame)
            left = len(self._frame)
            while left:
                received = self._received(left)
                left -= received
            longest = max(longest, time.monotonic() - began)
            time.sleep(GAP_SECONDS)
        return 1e3 * longest

    def _received(self, most: int) -> int:
        ready, _, _ = select.select([self._b.socket], [], [], 5)
        assert ready, "a ping is lost"
        return len(self._b.socket.recv(most))


@contextmanager
def _hosts(namespace: Namespace, count: int) -> Iterator[Callable[[str], dict[str, float]]]:
    """All hosts, joined and told; yields how they are asked."""
    with in_namespace(namespace.name):
        process = subprocess.Popen(
            (sys.executable, str(Path(__file__).with_name("push_hosts.py")), str(PORT), str(count)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.nice(19),
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    lines, replies = process.stdin, process.stdout

    def ask(what: str) -> dict[str, float]:
        lines.write(f"{what}\n")
        lines.flush()
        reply: dict[str, float] = json.loads(replies.readline())
        return reply

    try:
        until = time.monotonic() + 60
        while ask("tell")["told"] < count:
            assert time.monotonic() < until, "not all hosts were told when they joined"
            time.sleep(0.2)
        yield ask
    finally:
        process.kill()
        process.wait()


def _core(number: int) -> int:
    """A core of this process: the first one is 0, the last one -1."""
    return sorted(os.sched_getaffinity(0))[number]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="a change of routes at a hub with many hosts")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--json", action="store_true", help="print all figures at the end, for run.py")
    words = parser.parse_args()
    every: Figures = {}
    for name in words.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as work:
            figures = measure(CASES[name], Path(work), words.hosts, words.changes)
        every |= {f"{name}_{key}": round(value, 4) for key, value in figures.items()}
        if not words.json:
            print(name, json.dumps({key: round(value, 4) for key, value in figures.items()}), flush=True)
    if words.json:
        print(json.dumps(every))


if __name__ == "__main__":
    main()
