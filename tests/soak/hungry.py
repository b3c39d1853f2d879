"""The hungry soak: what wants a hub's memory, each for a minute, while it stays under its bound.

    .venv/bin/python tests/soak/soak.py --hungry [--seconds 60] [--bound-mb MB]     `make soak ARGS=--hungry`

The bound is what `tunrouter check --json` says of the same configuration (arena.memory_bound_mb); --bound-mb is
for a version that says none.

Knows: which attacks are after memory, and how a lying Redis is put beside a hub.
Refuses to know: how they attack (tests.hostile.attacks), what others notice of it (tests/hostile).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.arena import Arena, Memory, cores, judged, memory_bound_mb
from tests.hostile.attacks import BY_NAME, MOST
from tests.support.netns import Namespace, Process
from tests.support.program import TUNROUTER, program_pid

ATTACKS = (
    ("tiny packets for a reader that never reads", "tcp"),
    ("tiny packets for a reader that never reads", "wss"),
    ("WebSocket pings before a login, not read", "ws"),
    ("WebSocket pings in a session, not read", "wss"),
    ("PING control frames, answers not read", "tls"),
    ("superpackets of 28 MB", "tcp"),
    ("slow handshakes", "tcp"),
    ("slow handshakes", "wss"),
    ("flows in ever new namespaces", "tcp"),
)
"""Names of tests.hostile.attacks, and over which transport; by 16 attackers."""
LIES = ("cursor", "bulk")
"""What tests.support.lying_redis answers."""
REDIS_PORT = 6399


@dataclass(frozen=True)
class Meal:
    """How much one of them got."""

    name: str
    memory_mb: float
    bound_mb: float | None
    wrong: str = ""
    """What the hub has said that it should not have, or that it has ended."""

    @property
    def problem(self) -> str:
        """What does not hold, empty if all does."""
        if self.wrong:
            return f"{self.name}: {self.wrong}"
        if self.bound_mb is None:
            return f"{self.name}: `tunrouter check` says no bound, and there is no --bound-mb"
        if self.memory_mb > self.bound_mb:
            return f"{self.name}: {self.memory_mb:.0f} MB, {self.bound_mb:.0f} at most"
        return ""


def meals(seconds: float, fallback: float | None) -> Iterator[Meal]:
    """One after the other, each with a hub of its own."""
    for name, kind in ATTACKS:
        attack = BY_NAME[name]
        with _place() as work:
            yield _attacked(Arena(work, kind, attack.hub), name, kind, seconds, fallback)
    for mode in LIES:
        with _place() as work:
            yield _redis(work, mode, seconds, fallback)


def _attacked(arena: Arena, name: str, kind: str, seconds: float, fallback: float | None) -> Meal:
    arena.tight = True
    with arena:
        run = arena.attacked(BY_NAME[name], MOST, seconds)
        bound = memory_bound_mb(arena.config, fallback)
        return Meal(f"{name}, {kind}", run.memory_mb, bound, _wrong(arena.hub))


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tunrouter-hungry-") as work:
        yield Path(work)


def _redis(work: Path, mode: str, seconds: float, fallback: float | None) -> Meal:
    """A hub whose routes come from a Redis that never ends."""
    path = work / "hub.yml"
    source = {"addr": f"127.0.0.1:{REDIS_PORT}", "key": "r", "type": "hash"}
    service = {
        "name": "service-0", "addr": "127.0.0.1:8443",
        "handler": {"type": "router", "metadata": {"router": "r"}}, "listener": {"type": "tcp"}, "climiter": "few",
    }  # fmt: skip
    routers = [{"name": "r", "reload": "1s", "redis": source}]
    few = [{"name": "few", "limits": ["$ 64"]}]  # else the bound is that of thousands of connections
    path.write_text(json.dumps({"services": [service], "routers": routers, "climiters": few}))
    with Namespace("hungry", work) as namespace:
        redis = namespace.popen(sys.executable, "-m", "tests.support.lying_redis", str(REDIS_PORT), mode)
        redis.wait_line("ready")
        hub = namespace.popen("taskset", "-c", str(cores()[0]), *TUNROUTER, "-C", str(path))
        hub.wait_line("listening on")
        with Memory(program_pid(hub)) as memory:
            time.sleep(seconds)
        bound = memory_bound_mb(path, fallback)
        return Meal(f"Redis, an endless {mode}", memory.most, bound, _wrong(hub))


def _wrong(hub: Process) -> str:
    return judged(hub) or ("" if hub.returncode is None else f"ended with {hub.returncode}")


def run(seconds: float, fallback: float | None) -> int:
    """Exit status: 0 the bound held for all."""
    print("| after memory | most, MB | bound, MB |\n|---|---|---|")
    problems = []
    for meal in meals(seconds, fallback):
        bound = "none" if meal.bound_mb is None else f"{meal.bound_mb:.0f}"
        print(f"| {meal.name} | {meal.memory_mb:.0f} | {bound} |", flush=True)
        if meal.problem:
            problems.append(meal.problem)
    print("\n".join(problems))
    return 1 if problems else 0
