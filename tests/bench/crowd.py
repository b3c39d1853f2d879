"""Ten thousand clients of one hub: memory of each, until when all are in, again after a restart, and who looks on.

    .venv/bin/python tests/bench/crowd.py                        # as root: tcp, 10,000 clients, a minute and a half
    .venv/bin/python tests/bench/crowd.py --transport tls --restarts 0

    load-1: 5,000 clients, 32 addresses ---- hub ---- load-2: 5,000 clients, 32 addresses

Clients are played by programs in namespaces of their own (crowd_clients): each is a session with all that it
costs a hub, and comes again after a client's own delays. All of them dial at the same moment. Meanwhile two
hosts in the hub's namespace send each other packets, and `tunrouter status` is asked as people ask. Each figure
is printed as soon as it is there.

Knows: the hub, when it is restarted, what is looked at when. Refuses to know: what a client is (crowd_clients).

Memory is proportional (PSS), of all processes of the hub, and the kernel's for sockets is not in it. Hub and
load share the machine's cores; the load comes last (nice 19).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib import ctl_client, framing
from tests.bench.memory import allow_descriptors
from tests.bench.quiet import cpu_seconds, proportional_mb
from tests.hostile import peer
from tests.support.netns import ROOT, Namespace, Process, connect, in_namespace
from tests.support.packets import udp
from tests.support.program import TUNROUTER

CLIENTS, LOADS, SOURCES = 10_000, 2, 32
"""Clients, programs that play them, and addresses of each program."""
ALL_SECONDS = 60.0
"""Until when all have to be in."""
HERE = "127.0.0.1"
GAP_SECONDS = 0.005
"""Between two packets of the two hosts."""
IDLE_SECONDS = 5.0
ASKS = 3
TOP_ROWS = 100
"""Rows that `tunrouter top` asks for on a terminal of 50 lines."""
PING_A, PING_B = "172.31.0.1", "172.31.0.2"

_HUB = """services:
- {{name: hub, addr: ":{port}", climiter: many, handler: {{type: router, metadata: {{router: r0, lanes: 1}}}}, listener: {{type: {kind}}}}}
climiters: [{{name: many, limits: ["$ {most}", "$$ 256"]}}]
routers: [{{name: r0, routes: [{{dst: {a}/32, gateway: ping-a}}, {{dst: {b}/32, gateway: ping-b}}]}}]
"""

Row = dict[str, Any]


class Loads:
    """The programs that play clients, and what they say."""

    def __init__(self, loads: list[Process]) -> None:
        self._loads = loads

    def now(self) -> Row:
        """How things stand in all of them: their last lines, added up."""
        rows = [
            json.loads(load.wait_line(r"^\{.*\}$", 60.0, load.line_count() - 1)[0]) for load in self._loads
        ]
        lost: dict[str, int] = {}
        for row in rows:
            for why, count in row["lost"].items():
                lost[why] = lost.get(why, 0) + count
        return {
            "in": sum(row["in"] for row in rows),
            "dialled": sum(row["dialled"] for row in rows),
            "lost": lost,
        }

    def wait(self, count: int, seconds: float) -> Row:
        """Wait until so many are in; returns also how many were after each second. Raises AssertionError."""
        began, curve = time.monotonic(), list[int]()
        while True:
            found = self.now()
            took = time.monotonic() - began
            if took > len(curve):
                curve.append(found["in"])
            if found["in"] >= count:
                return {**found, "seconds": round(took, 1), "curve": curve}
            assert took < seconds, (
                f"only {found['in']} of {count} are in after {took:.0f} s: {found['lost']}, {curve}"
            )
            time.sleep(0.1)


class Pings:
    """Two hosts of the hub, one of which sends the other a packet every few milliseconds, in a thread."""

    def __init__(self, kind: str, namespace: Namespace) -> None:
        with in_namespace(namespace.name):
            self._a, self._b = (peer.session(kind, HERE, name) for name in ("ping-a", "ping-b"))
        self._frame = framing.encode(udp(PING_A, PING_B, bytes(40)))
        self._took: list[float] = []
        self.lost = 0
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self) -> Row:
        """What they took since the last time, in ms."""
        took, self._took = sorted(self._took), []
        if not took:
            return {}
        at = {"median": 0.5, "p99": 0.99, "longest": 1.0}
        return {name: round(1e3 * took[int(share * (len(took) - 1))], 1) for name, share in at.items()}

    def end(self) -> None:
        """Send no more."""
        self._is_over = True
        self._thread.join()
        self._a.close()
        self._b.close()

    def _run(self) -> None:
        self._b.settimeout(5.0)
        while not self._is_over:
            began = time.monotonic()
            try:
                self._a.sendall(self._frame)
                left = len(self._frame)
                while left:
                    left -= len(self._b.recv(left)) or left
            except OSError:
                self.lost += 1
                return
            self._took.append(time.monotonic() - began)
            time.sleep(GAP_SECONDS)


class Hub:
    """The hub, and what it is asked."""

    def __init__(self, namespace: Namespace, work: Path, config: str) -> None:
        self._namespace, self._file, self._socket = namespace, work / "hub.yml", str(work / "ctl.sock")
        self._file.write_text(config)
        self.process = self._started()

    @property
    def memory_kb(self) -> float:
        """PSS of all its processes, once it has stopped changing."""
        last, now = -1.0, proportional_mb(self.process.pid)
        until = time.monotonic() + 5.0
        while abs(last - now) > 0.05 and time.monotonic() < until:
            time.sleep(0.5)
            last, now = now, proportional_mb(self.process.pid)
        return now * 1e3

    def restart(self, number: int) -> float:
        """End it by a signal, and start it again; returns for how many seconds nothing listened."""
        began = time.monotonic()
        self.process.stop(number, 60.0)
        self.process = self._started()
        return time.monotonic() - began

    def ask(self, *words: str) -> Row:
        """Ask as people ask, with a command: seconds that it took, its bytes and lines, CPU seconds of the hub."""
        before, began = cpu_seconds(self.process.pid), time.monotonic()
        done = subprocess.run(
            (*TUNROUTER, *words, "--control", self._socket), capture_output=True, timeout=60, check=False
        )
        took = time.monotonic() - began
        found: Row = {"seconds": round(took, 2), "bytes": len(done.stdout), "lines": done.stdout.count(b"\n")}
        if done.returncode:
            found["error"] = done.stderr.decode()[:200]
        return {**found, "hub_cpu_s": round(cpu_seconds(self.process.pid) - before, 2)}

    def ask_as_top(self) -> Row:
        """Ask as `tunrouter top` asks each second, from a program that runs already."""
        before, began = cpu_seconds(self.process.pid), time.monotonic()
        request = {"do": "status", "most": TOP_ROWS, "sort": "in", "reverse": True}
        size = sum(map(len, ctl_client.stream(self._socket, request, 60.0)))
        took = time.monotonic() - began
        spent = cpu_seconds(self.process.pid) - before
        return {"seconds": round(took, 2), "bytes": size, "lines": 1, "hub_cpu_s": round(spent, 2)}

    def _started(self) -> Process:
        words = (*TUNROUTER, "-C", str(self._file), "--control", self._socket)
        process = self._namespace.popen(*words)
        process.wait_line("listening on", 60.0)
        return process


def config(kind: str, workers: int, count: int) -> str:
    """A hub that lets so many come from a few addresses."""
    text = _HUB.format(port=peer.PORTS[kind], kind=kind, most=count + 100, a=PING_A, b=PING_B)
    return text + (f"workers: {workers}\n" if workers > 1 else "")


@contextmanager
def _loads(hub: Namespace, work: Path, kind: str, count: int) -> Iterator[Loads]:
    """All clients, which dial at once."""
    with ExitStack() as stack:
        found = []
        for number in range(1, LOADS + 1):
            load = stack.enter_context(Namespace(f"load-{number}", work))
            connect(hub, f"to-load-{number}", f"10.78.{number}.1/24", load, "uplink", f"10.78.{number}.2/24")
            sources = [f"10.78.{number}.{last}" for last in range(2, 2 + SOURCES)]
            for source in sources[1:]:
                load.run("ip", "address", "add", f"{source}/24", "dev", "uplink")
            first, many = (
                (number - 1) * count // LOADS,
                number * count // LOADS - (number - 1) * count // LOADS,
            )
            argv = (sys.executable, "-m", "tests.bench.crowd_clients", kind, f"10.78.{number}.1")
            more = (str(peer.PORTS[kind]), str(first), str(many), ",".join(sources))
            found.append(load.popen("nice", "-n", "19", *argv, *more))
        yield Loads(found)


def measure(kind: str, workers: int, count: int, restarts: int, work: Path) -> Iterator[tuple[str, object]]:
    """All figures of one hub: (name, figure)."""
    allow_descriptors(count + 500)
    with Namespace("hub", work) as namespace:
        hub = Hub(namespace, work, config(kind, workers, count))
        for number in range(20):  # what the first ones load for good is nobody's share
            with in_namespace(namespace.name):
                peer.session(kind, HERE, f"warm-{number}", greets=number).close()
        pings = Pings(kind, namespace)
        time.sleep(2.0)
        yield from {"transport": kind, "workers": workers, "clients": count}.items()
        yield "ping_ms_before", pings.take()
        before = hub.memory_kb
        pings.take()
        with _loads(namespace, work, kind, count) as loads:
            yield "first", loads.wait(count, 3 * ALL_SECONDS)
            yield "ping_ms_first", pings.take()
            time.sleep(2.0)
            after = hub.memory_kb
            yield "kb_each", round((after - before) / count, 2)
            yield "hub_mb", round(after / 1e3, 1)
            pings.take()
            cpu, began = cpu_seconds(hub.process.pid), time.monotonic()
            time.sleep(IDLE_SECONDS)
            spent = (cpu_seconds(hub.process.pid) - cpu) / (time.monotonic() - began)
            yield "idle_cpu_of_a_core", round(spent, 3)
            yield "ping_ms_idle", pings.take()
            yield from _asked(hub, pings)
            yield "kb_each_after_asking", round((hub.memory_kb - before) / count, 2)
            pings.end()
            for name, number in (("restart", signal.SIGTERM), ("killed", signal.SIGKILL))[:restarts]:
                away = hub.restart(number)
                began = time.monotonic()
                found = {"away_s": round(away, 1), "status_meanwhile": hub.ask("status")}
                found |= loads.wait(count, 3 * ALL_SECONDS)
                yield name, {**found, "seconds": round(time.monotonic() - began, 1)}
            yield "end", hub.ask("health")


def _asked(hub: Hub, pings: Pings) -> Iterator[tuple[str, object]]:
    """What each question takes, the median of a few, and pings meanwhile."""
    questions: dict[str, Callable[[], Row]] = {
        "status": partial(hub.ask, "status"),
        "status_all": partial(hub.ask, "status", "--all"),
        "status_host": partial(hub.ask, "status", "--host", "host-77"),
        "status_json": partial(hub.ask, "status", "--json"),
        "top": hub.ask_as_top,
    }
    for name, ask in questions.items():
        asked = [ask() for _ in range(ASKS)]
        found = {key: median(one[key] for one in asked) for key in ("seconds", "bytes", "lines", "hub_cpu_s")}
        yield name, found | {key: one[key] for one in asked for key in ("error",) if key in one}
        yield f"ping_ms_{name}", pings.take()


def main() -> int:
    """Measure, and print; the exit status is 1 where not all were in in time."""
    parser = argparse.ArgumentParser(description="ten thousand clients of one hub")
    parser.add_argument("--transport", choices=("tcp", "tls"), default="tcp")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--restarts", type=int, choices=(0, 1, 2), default=2, help="by SIGTERM, by SIGKILL")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("this needs root, for network namespaces", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    found: Row = {}
    with tempfile.TemporaryDirectory(prefix="tunrouter-crowd-") as work:
        wanted = arguments.transport, arguments.workers, arguments.clients, arguments.restarts
        for name, value in measure(*wanted, Path(work)):
            found[name] = value
            print(f"{name:24} {json.dumps(value)}", flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")
    steps = [found[name] for name in ("first", "restart", "killed") if name in found]
    late = [step for step in steps if step["seconds"] > ALL_SECONDS]
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
