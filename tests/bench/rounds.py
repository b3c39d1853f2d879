"""Rounds of a benchmark: all peers run at once, and each figure is taken from all of them in turn.

Knows: the order of runs, what becomes of a peer that fails.
Refuses to know: how a figure is taken (measure), how a peer is started (peers), what is done with it all.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import wireguard
from tests.bench.bars import Key, summarise
from tests.bench.measure import Figures, RunFailed, resident
from tests.bench.peers import Peer, Programs, Running
from tests.bench.quiet import timed
from tests.support.netns import Topology

CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
"""Of this machine."""

Run = Callable[[Running, Figures], Figures]
"""Takes a peer, and what this round has measured on it so far. Raises RunFailed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the peers of a round run, and what is measured of each."""

    topology: Callable[[Path], Topology]
    """Takes a directory for logs."""
    runs: Mapping[str, Run]
    """In the order in which they are taken, of the peers that have them among their own."""
    congestion_control: str
    """Of the namespaces."""
    patience: float
    """Seconds that each run waits for a quiet machine."""


@dataclass(slots=True)
class Results:
    """Everything that came out so far."""

    samples: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    runs: list[dict[str, Any]] = field(default_factory=list)
    """Each timed run: round, peer, run, its figures, who disturbed it."""
    errors: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Peers and parts that cannot run here, and why."""
    drops: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What our programs say they dropped, by peer."""

    def add(self, owner: str, figures: Figures) -> None:
        for figure, value in figures.items():
            self.samples[owner, figure].append(value)

    def as_json(self) -> dict[str, Any]:
        """All of it: {"figures": {owner: {figure: summary and values}}, …}."""
        by_owner: dict[str, dict[str, Any]] = defaultdict(dict)
        for (owner, figure), summary in summarise(self.samples).items():
            by_owner[owner][figure] = asdict(summary) | {"values": self.samples[owner, figure]}
        return {
            "figures": by_owner,
            "missing": self.missing,
            "errors": self.errors,
            "drops": self.drops,
            "rounds": len({run["round"] for run in self.runs}),
            "timed": len(self.runs),
            "disturbed": sum(run["disturbed"] for run in self.runs),
            "runs": self.runs,
        }

    def fail(self, owner: str, what: str, why: object, ours: bool) -> None:
        text = str(why)[:2000]
        self.errors.append({"owner": owner, "what": what, "why": text, "ours": ours})
        say(f"  {owner}: {what} failed: {text}")


def run_round(number: int, peers: Sequence[Peer], work: Path, results: Results, plan: Plan) -> None:
    """Bring every peer up, take each figure from all of them in turn, take them down."""
    shift = number % len(peers)  # nobody always comes first
    with ExitStack() as stack:
        up = []
        for peer in (*peers[shift:], *peers[:shift]):
            place = work / f"{number}-{peer.name}"
            place.mkdir()
            try:
                topology = stack.enter_context(plan.topology(place))
                up.append(_start(peer, topology, place, plan.congestion_control))
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                results.fail(peer.name, "start", error, peer.ours)
        seen: dict[str, Figures] = {running.peer.name: resident(running) for running in up}
        for name, figures in seen.items():
            results.add(name, {f"{figure}_idle": value for figure, value in figures.items()})
        for run in plan.runs:
            for running in up:
                if run in running.peer.runs:
                    _measure(run, number, running, seen[running.peer.name], results, plan)
        for running in up:
            if ended := _ended(running.programs):
                results.fail(running.peer.name, "staying up", ended, running.peer.ours)
            results.add(running.peer.name, resident(running))
            results.drops[running.peer.name] += _dropped(running)


def _start(peer: Peer, topology: Topology, place: Path, congestion_control: str) -> Running:
    """Start a peer; returns once a ping passes. Raises AssertionError with its logs when none does."""
    for namespace in (topology.hub, topology.host_1, topology.host_2):
        namespace.run("sysctl", "-qw", f"net.ipv4.tcp_congestion_control={congestion_control}")
    programs = peer.start(topology, place)
    deadline = time.monotonic() + peer.patience
    while " 0% packet loss" not in _try_ping(topology, peer.target):
        if (ended := _ended(programs)) or time.monotonic() > deadline:
            logs = "\n".join(f"{place}: {program.text()[-600:]}" for place, program in programs.items())
            raise AssertionError(f"no ping passes within {peer.patience:g} s; {ended}\n{logs}")
    return Running(peer, topology, programs)


def _ended(programs: Programs) -> str:
    """Which programs have ended though nobody asked them to, and with what status."""
    states = {place: program.returncode for place, program in programs.items()}
    return ", ".join(f"{place} ended: {state}" for place, state in states.items() if state is not None)


def _try_ping(topology: Topology, target: str) -> str:
    return topology.host_1.run("ping", "-c", "2", "-i", "0.05", "-W", "0.3", "-q", target, check=False)


def _measure(run: str, number: int, running: Running, seen: Figures, results: Results, plan: Plan) -> None:
    """One timed run of one peer; `seen` collects the figures of this round."""
    peer = running.peer
    try:
        with timed(plan.patience) as timing:
            figures = plan.runs[run](running, seen)
    except (RunFailed, AssertionError, OSError, KeyError, ZeroDivisionError) as error:
        results.fail(peer.name, run, error if str(error) else repr(error), peer.ours)
        return
    seen |= figures
    results.add(peer.name, figures)
    note = {"round": number, "peer": peer.name, "run": run, "figures": figures}
    results.runs.append(note | asdict(timing) | {"disturbed": timing.disturbed})
    marks = "  (disturbed)" if timing.disturbed else ""
    say(f"  {peer.name:15} " + "  ".join(f"{k} {v:.3g}" for k, v in figures.items()) + marks)


def _dropped(running: Running) -> list[str]:
    """What our programs say on SIGUSR1; nothing of others."""
    lines = []
    for place, program in running.programs.items():
        if "tunrouter.py" in " ".join(program.argv) and program.returncode is None:
            before = program.line_count()
            program.send(signal.SIGUSR1)
            try:
                program.wait_line("dropped", timeout=5.0, after=before)
            except AssertionError:
                continue
            said = program.text().splitlines()[before:]
            counts = [line[line.index("dropped") :] for line in said if "dropped" in line]
            lines += [f"{place}: {count}" for count in counts if count != "dropped nothing"]
    return lines


def machine(congestion_control: str) -> dict[str, Any]:
    """What figures come from."""
    return {
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "congestion_control": congestion_control,
        "wireguard": wireguard.version(),
    }


def say(line: str) -> None:
    """Progress, for whoever waits."""
    print(line, file=sys.stderr, flush=True)
