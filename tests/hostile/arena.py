"""Test bed for hostile peers: a real hub, two innocent hosts, a newcomer, and the measurements.

Knows: which process runs on which core, what counts as undisturbed, when the hub has recovered.
Refuses to know: what an attack sends (attacks), which figures are good enough (test_hostile).

On two cores the hub has one for itself; attackers (nice 19), the innocent hosts' clients, the newcomer and the
pings share the other. So what the pings measure is the hub, not the fight for a core.

    host-1 --+                       +-- crowd: attackers 10.77.3.2 to .17, and their accomplice
             +--- hub (first core) --+
    host-2 --+                       +-- newcomer 10.77.4.2
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench.quiet import LOCK, resident_mb
from tests.hostile import streams, two_hubs
from tests.hostile.attacks import (
    BEHIND,
    CLUSTER,
    LINKS_PORT,
    LISTED,
    LOGIN,
    LOGINS,
    MOST,
    NAMED,
    SECRET,
    WORKERS,
    Attack,
)
from tests.hostile.newcomer import EVERY
from tests.hostile.peer import PORTS, SLOW
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, connect
from tests.support.program import OVERLAY_1, OVERLAY_2, TUNROUTER, program_pid, reach

FIRST = ("chrt", "-f", "1")
"""Before the command lines of the innocents: they are not what is measured, so they get their core at once."""
NET = "10.77.3"
ALONE_MS = 10.0
"""The longest ping of an undisturbed machine; and what is normal again."""
ALONE_SECONDS = 2.0
ALONE_TRIES = 20
ENOUGH_MS = {1: 30.0, MOST: 60.0}
"""The longest ping of others, by how many attack."""
NORMAL_SECONDS = 1.0
JOIN_SECONDS = 2.0
PATIENCE = 15.0
"""Seconds after the attackers have gone for which is waited until it is normal again."""
PING_EVERY = 0.05

_JOINED = re.compile(r"joined ([0-9.]+) (\S+)")
_PING = re.compile(r"\[([0-9.]+)\] .*icmp_seq=(\d+) .*time=([0-9.]+)")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock that all who measure on this machine share (tests.bench.quiet)."""
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class NotQuietError(AssertionError):
    """The machine has too much else to do: nothing can be judged."""


def cores() -> tuple[int, int]:
    """The hub's core and everybody else's."""
    found = sorted(os.sched_getaffinity(0)) if len(os.sched_getaffinity(0)) > 1 else [0, os.cpu_count() or 1]
    return found[0], found[-1]


TIGHT = {"queueMemory": "32MB"}, ["$ 600"]
"""Handler metadata and connections of a hub whose memory is to be tried: its bound is near what it needs."""


def config(variant: str, only: str = "") -> str:
    """A hub with all four transports in one domain, and routes for everybody.

    With `only` a transport it has that alone, and TIGHT limits.
    """
    tight, connections = TIGHT if only else ({}, [])
    handler: dict[str, Any] = {"type": "router", "metadata": {"router": "r", "domain": "all", **tight}}
    services = [
        {"name": kind, "addr": f":{port}", "handler": handler | ({"auther": "a"} if variant == LOGINS else {}),
         "listener": {"type": kind}, **({"climiter": "c"} if only else {})}
        for kind, port in PORTS.items() if only in ("", kind)
    ]  # fmt: skip
    routes = [(OVERLAY_1, "host-1"), (OVERLAY_2, "host-2"), (streams.SINK, "sink"), (streams.SINK_6, "sink")]
    for number in range(MOST):
        name = f"attacker-{number}"
        routes += [(streams.address_of(number), name), (streams.address_6_of(number), name)]
        routes.append((streams.deaf_address_of(number), f"deaf-{number}"))
    router: dict[str, object] = {
        "name": "r",
        "routes": [{"dst": dst, "gateway": name} for dst, name in routes],
    }
    if variant == NAMED:
        router |= {"address": f"{streams.NAMED_HUB}/24", "dnsDomain": streams.DOMAIN}
    if variant in (LISTED, BEHIND, WORKERS):
        rules = [
            {"action": "allow", "from": "host-1", "protocol": "tcp", "port": 1000 + n} for n in range(98)
        ]
        router["acl"] = [
            *rules,
            {"action": "allow", "to": "sink"},
            {"action": "allow", "from": "host-1", "protocol": "icmp"},
        ]
    whole: dict[str, object] = {"services": services, "routers": [router]}
    if variant == WORKERS:
        whole["workers"] = 2
    if variant == CLUSTER:  # nobody needs a Redis to flood it by links
        handler["metadata"] |= {"sd": "registry"}
        where = f"{NET}.1:{LINKS_PORT}"
        whole["sds"] = [{"name": "registry", "redis": {"addr": "127.0.0.1:1"}}]
        whole["cluster"] = {
            "name": "hub-1",
            "link": {"listen": f":{LINKS_PORT}", "address": where, "secret": SECRET},
        }
    if only:
        whole["climiters"] = [{"name": "c", "limits": connections}]
    if variant == LOGINS:
        hashed = subprocess.run(
            (*TUNROUTER, "hash"), input=LOGIN[1] + "\n", capture_output=True, text=True, check=True
        ).stdout.strip()
        whole["authers"] = [{"name": "a", "auths": [{"username": LOGIN[0], "password": hashed}]}]
    return json.dumps(whole, indent=1)  # which is YAML


def memory_bound_mb(path: Path, fallback: float | None = None) -> float | None:
    """Resident MB that `tunrouter check` says a hub of this configuration stays under; the fallback where it says none."""
    done = subprocess.run((*TUNROUTER, "check", "--json", "-C", str(path)), capture_output=True, text=True)
    bound = json.loads(done.stdout).get("memoryBoundMb")
    return float(bound) if bound is not None else fallback


@dataclass
class Run:
    """What one attack did, in one go."""

    longest_ms: float = math.inf
    """Of the pings that were sent while it lasted."""
    lost: int = 0
    normal_after: float = math.inf
    """Seconds from the attackers' end to the last ping that was not normal."""
    memory_mb: float = 0.0
    join_seconds: float = 0.0
    """The longest that a newcomer waited."""
    sent_mb: float = 0.0
    connections: int = 0


@dataclass(frozen=True)
class Case:
    """The runs of one attack, over one transport, by so many."""

    attack: str
    kind: str
    count: int
    runs: tuple[Run, ...]

    @property
    def longest_ms(self) -> float:
        return statistics.median(run.longest_ms for run in self.runs)

    @property
    def normal_after(self) -> float:
        return statistics.median(run.normal_after for run in self.runs)

    @property
    def lost(self) -> int:
        return sum(run.lost for run in self.runs)

    @property
    def memory_mb(self) -> float:
        return max(run.memory_mb for run in self.runs)

    @property
    def join_seconds(self) -> float:
        return statistics.median(run.join_seconds for run in self.runs)


class Pings:
    """Pings from one innocent host to the other, twenty a second, with the time of each."""

    def __init__(self, namespace: Namespace) -> None:
        self._process = namespace.popen(
            *FIRST, "ping", "-D", "-n", "-i", str(PING_EVERY), "-W", "1", OVERLAY_2
        )
        self._process.wait_line("bytes from", timeout=20)

    def answered(self) -> dict[int, tuple[float, float]]:
        """{number: (when it was sent, how many ms until its reply)}."""
        found = {}
        for at, number, took in _PING.findall(self._process.text()):
            found[int(number)] = float(at) - float(took) / 1e3, float(took)
        return found

    def longest(self, begin: float, end: float) -> float:
        """ms, of those sent between; inf where none has a reply."""
        return max((took for at, took in self.answered().values() if begin <= at <= end), default=math.inf)

    def stop(self) -> tuple[dict[int, tuple[float, float]], int]:
        """(answered, how many were sent)."""
        self._process.stop(signal.SIGINT)
        said = self._process.wait_line(r"(\d+) packets transmitted")
        return self.answered(), int(said[1])


@dataclass
class Memory:
    """The most that a process has had, looked at ten times a second."""

    pid: int
    most: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while True:
            try:
                self.most = max(self.most, resident_mb(self.pid))
            except OSError:  # it has ended
                return
            if self._over.wait(0.1):
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


class Arena:
    """A hub with two innocent hosts and a newcomer, from `with` to its end."""

    def __init__(self, work: Path, kind: str, variant: str, *hub: str) -> None:
        """`kind` is the transport of all of them; `hub` the command line in front of `-C`, unless tunrouter's."""
        self.work, self.kind, self.variant = work, kind, variant
        self._program = hub or TUNROUTER
        self._stack = ExitStack()
        self.config = work / "hub.yml"
        self.tight = False
        """Whether the hub has only this transport, and limits of memory that are near what it needs."""

    def __enter__(self) -> Self:
        own, others = cores()
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {others})  # and so for all that is started from here
        with ExitStack() as building:
            building.callback(os.sched_setaffinity, 0, self._before)
            self.topology = building.enter_context(Topology(self.work))
            self.crowd = self._another(building, 3, "crowd")
            for number in range(1, MOST):
                self.crowd.ip("addr", "add", f"{NET}.{number + 2}/24", "dev", "uplink")
            self.street = self._another(building, 4, "newcomer")
            text = config(self.variant, self.kind if self.tight else "")
            last = self.kind if self.tight else "wss"
            if self.variant == BEHIND:
                # As between two machines. A segment of the loopback device has 64 KB, and TCP sends none that does
                # not fit into the window.
                self.topology.hub.ip("link", "set", "lo", "mtu", "1500")
                two_hubs.start_registry(self.topology.hub, building)
                near = self.work / "near.yml"
                near.write_text(two_hubs.config(text, self.kind, "near"))
                two_hubs.start_near(self.topology.hub, *TUNROUTER, "-C", str(near))
                text, last = two_hubs.config(text, self.kind, "tried"), f"{self.kind}-2"
            self.config.write_text(text)
            self.hub = self.topology.hub.popen(
                "taskset", "-c", str(own), *self._program, "-C", str(self.config)
            )
            self.hub.wait_line(f"service {last}: listening on")
            login = ":".join(LOGIN) if self.variant == LOGINS else ""
            for number, namespace, address in (
                (1, self.topology.host_1, HUB_TO_HOST_1), (2, self.topology.host_2, HUB_TO_HOST_2)
            ):  # fmt: skip
                there = f"{login}@{address}" if login else address
                forward = f"router+{self.kind}://{there}:{PORTS[self.kind]}"
                listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
                client = namespace.popen(*FIRST, *TUNROUTER, "-L", listen, "-F", forward)
                client.wait_line("connected to")
            reach(self.topology.host_1, OVERLAY_2)
            self.newcomer = self.street.popen(
                *(sys.executable, "-m", "tests.hostile.newcomer", self.kind, "10.77.4.1"),
                *([login] if login else []),
            )
            self._stack = building.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _another(self, building: ExitStack, number: int, role: str) -> Namespace:
        made = building.enter_context(Namespace(role, self.work))
        net = f"10.77.{number}"
        connect(self.topology.hub, f"to-{role}", f"{net}.1/24", made, "uplink", f"{net}.2/24")
        return made

    def undisturbed(self) -> float:
        """The longest ping of some seconds without anybody hostile, ms. Raises NotQuietError."""
        tries = []
        for _ in range(ALONE_TRIES):
            pings = Pings(self.topology.host_1)
            began = time.time()
            time.sleep(ALONE_SECONDS)
            longest = pings.longest(began, time.time())
            pings.stop()
            tries.append(longest)
            if longest <= ALONE_MS:
                return longest
        raise NotQuietError(
            f"the machine is not quiet: longest pings without attackers {tries} ms, {ALONE_MS:g} at most"
        )

    def attacked(self, attack: Attack, count: int, seconds: float, kind: str = "") -> Run:
        """What so many attackers do to the others."""
        kind = kind or self.kind
        with ExitStack() as stack:
            if attack.sink:
                place, hub = (
                    (self.street, "10.77.4.1") if self.variant == BEHIND else (self.crowd, f"{NET}.1")
                )
                sink = place.popen(
                    sys.executable, "-m", "tests.hostile.sink", kind, hub, str(seconds + 60 + PATIENCE)
                )
                stack.callback(sink.stop, signal.SIGKILL)
                sink.wait_line("reading")
            crowd = self.crowd.popen(
                *(
                    sys.executable,
                    "-m",
                    "tests.hostile.attacker",
                    attack.name,
                    kind,
                    str(count),
                    str(seconds),
                ),
                *(f"{NET}.1", NET),
            )
            stack.callback(crowd.stop, signal.SIGKILL)
            crowd.wait_line("^ready", timeout=90)
            pings = Pings(self.topology.host_1)
            memory = stack.enter_context(Memory(program_pid(self.hub)))
            began = time.time()
            crowd.send(signal.SIGUSR1)
            crowd.wait(seconds + 10)
            gone = time.time()
            run = Run()
            run.normal_after = self._await_normal(pings, gone)
            answered, sent = pings.stop()
            waiting = _unanswered(answered, sent, time.time())
            run.longest_ms = max(took for at, took in [*answered.values(), *waiting] if began <= at <= gone)
            run.lost = len(waiting) if run.normal_after == math.inf else max(answered) - len(answered)
        run.memory_mb = memory.most
        run.join_seconds = self._longest_join(began, gone + NORMAL_SECONDS)
        said = crowd.text()
        assert "Traceback" not in said, said
        done = json.loads(said.splitlines()[-1])
        run.sent_mb, run.connections = done["sent"] / 1e6, done["connections"]
        assert run.connections or run.sent_mb, f"nobody attacked: {said}"
        return run

    def _await_normal(self, pings: Pings, gone: float) -> float:
        """Seconds until the last ping that was not normal had been sent; inf if that goes on."""
        while time.time() < gone + PATIENCE:
            time.sleep(0.2)
            now = time.time()
            answered = [(at, took) for at, took in pings.answered().values() if at > gone]
            calm = [at for at, took in answered if took <= ALONE_MS and at > now - NORMAL_SECONDS]
            late = max((at for at, took in answered if took > ALONE_MS), default=gone)
            if now > gone + 1.5 and late < now - NORMAL_SECONDS and len(calm) >= 0.8 / PING_EVERY:
                return late - gone
        return math.inf

    def _longest_join(self, begin: float, end: float) -> float:
        """Seconds that a newcomer waited at most; the one that still waits counts as well."""
        found = [(float(at), float(took)) for at, took in _JOINED.findall(self.newcomer.text())]
        own = [took for at, took in found if begin <= at <= end]
        last = max((at + min(took, SLOW) for at, took in found), default=begin)
        waits = time.time() - max(last, begin) - 2 * EVERY  # the present one has not been printed yet
        return max([*own, waits])


def _unanswered(answered: dict[int, tuple[float, float]], sent: int, now: float) -> list[tuple[float, float]]:
    """(about when it was sent, ms that it has waited so far) of each ping without a reply."""
    first = min(answered)
    began = answered[first][0] - first * PING_EVERY
    times = [began + number * PING_EVERY for number in range(1, sent + 1) if number not in answered]
    return [(at, (now - at) * 1e3) for at in times]


def judged(process: Process) -> str:
    """What a hub has said that it should not have."""
    text = process.text()
    return text[text.index("Traceback") :] if "Traceback" in text else ""
