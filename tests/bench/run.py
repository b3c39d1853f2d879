"""`make bench`: tunrouter beside GOST, WireGuard, a floor in C and the kernel, in one interleaved run.

    .venv/bin/python tests/bench/run.py                     everything, 3 rounds, about 40 minutes
    .venv/bin/python tests/bench/run.py --quick             does the harness work? under a minute
    .venv/bin/python tests/bench/run.py --only tunrouter,gost,memory --rounds 5
    .venv/bin/python tests/bench/run.py --parent OTHER_CHECKOUT  as a peer

In a round every peer is up at once, idle but for the one that is measured: a figure is taken from all of
them in turn before the next one is. See README.md here for how to read what comes out.

Exit status: 0 done (bars may be missed), 1 one of our own peers failed, 2 it cannot run here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import forwarding, handshakes, memory, overload, plot, report, shaped
from tests.bench.bars import BARS, Key, Summary, Verdict, judge, summarise
from tests.bench.measure import QUICK, Figures, Lengths
from tests.bench.measure import RUNS as ALL_RUNS
from tests.bench.peers import RUNS, Peer, Running, all_peers
from tests.bench.rounds import CONGESTION_CONTROL, Plan, Results, Run, machine, run_round, say
from tests.support.netns import ROOT, Topology

TOOLS = ("ip", "iperf3", "ping", "ss", "sysctl")


def main() -> int:
    """Measure and report; returns the exit status."""
    arguments = _arguments()
    peers = all_peers(arguments.parent and arguments.parent.resolve())
    if arguments.peers:
        print("\n".join(f"{peer.name:18}{peer.about}{_because(peer.missing())}" for peer in peers))
        return 0
    names = [*(peer.name for peer in peers), *PARTS, "wires"]
    chosen = arguments.only.split(",") if arguments.only else names
    runs = arguments.runs.split(",") if arguments.runs else list(RUNS)
    unknown = [f"no peer or part is called {name!r}" for name in chosen if name not in names]
    unknown += [f"no run is called {name!r}" for name in runs if name not in RUNS]
    if arguments.quick:
        peers = [replace(peer, runs=peer.quick_runs) for peer in peers]
    peers = [replace(peer, runs=tuple(run for run in peer.runs if run in runs)) for peer in peers]
    if wrong := unknown or _unable():
        print("\n".join(f"bench: {each}" for each in wrong), file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` is left
    results, started = Results(), time.time()
    present = _present([peer for peer in peers if peer.name in chosen], results)
    rounds = 1 if arguments.quick else arguments.rounds
    plan = _plan(QUICK if arguments.quick else Lengths())
    with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as directory:
        for number in range(rounds if present else 0):
            say(f"round {number + 1} of {rounds}")
            run_round(number, present, Path(directory), results, plan)
        for part in [name for name in chosen if name in PARTS]:
            _part(part, Path(directory), results, arguments.quick)
        if "wires" in chosen:
            _wires(arguments, results)
    _report(arguments, results, [peer.name for peer in present], started)
    return 1 if any(error["ours"] for error in results.errors) else 0


def _report(arguments: argparse.Namespace, results: Results, owners: Sequence[str], started: float) -> None:
    """Print the tables, and write the JSON if it is wanted."""
    figures = summarise(results.samples)
    verdicts = [judge(bar, figures) for bar in BARS]
    shown = [verdict for verdict in verdicts if verdict.met is not None or not arguments.only]
    print("\n".join(_lines(results, figures, shown, owners)))
    note = ", too short for the figures to mean anything" if arguments.quick else ""
    print(f"took {time.time() - started:.0f} s{note}")
    whole = _as_json(results, verdicts, started) | {"quick": arguments.quick}
    if arguments.json:
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    if arguments.plot and owners:
        print("drawn:", *plot.draw(whole, arguments.plot))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--quick", action="store_true", help="one round of short runs: figures mean nothing")
    parser.add_argument("--only", metavar="NAMES", help=f"comma list of peers and {', '.join(PARTS)}, wires")
    parser.add_argument(
        "--runs", metavar="NAMES", help=f"comma list of what is measured of them: {', '.join(RUNS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--peers", action="store_true", help="list the peers and end")
    parser.add_argument("--parent", type=Path, metavar="PATH", help="a checkout to compare with")
    parser.add_argument("--plot", type=Path, metavar="STEM", help="draw STEM.svg and STEM.png of the figures")
    return parser.parse_args()


def _unable() -> list[str]:
    if os.geteuid():
        return ["needs root, for network namespaces and TUN devices"]
    return [f"needs {tool}: install it" for tool in TOOLS if not shutil.which(tool)]


def _because(why: str) -> str:
    return f" (not here: {why})" if why else ""


def _present(peers: Sequence[Peer], results: Results) -> list[Peer]:
    """Those that can run here; the others are noted."""
    results.missing |= {peer.name: why for peer in peers if (why := _missing(peer))}
    for name, why in results.missing.items():
        say(f"{name}: not here: {why}")
    return [peer for peer in peers if peer.name not in results.missing]


def _missing(peer: Peer) -> str:
    return peer.missing() or ("" if peer.runs else "nothing of it is measured in such a run")


def _plan(lengths: Lengths) -> Plan:
    def bound(run: Callable[[Running, Lengths, Figures], Figures]) -> Run:
        return lambda running, seen: run(running, lengths, seen)

    runs = {name: bound(run) for name, run in ALL_RUNS.items()}
    return Plan(Topology, runs, CONGESTION_CONTROL, lengths.patience)


def _part(name: str, work: Path, results: Results, quick: bool) -> None:
    say(f"{name} …")
    try:
        results.add(name, PARTS[name](work, results, quick))
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        results.fail(name, "measuring", error, ours=True)


def _wires(arguments: argparse.Namespace, results: Results) -> None:
    """wires.py in a process of its own, which reports for itself: a short run of the wires that users notice most."""
    say("wires …")
    command = [sys.executable, str(ROOT / "tests/bench/wires.py")]
    command += (
        ["--quick"] if arguments.quick else ["--wires", "20,5/50,200+1%", "--seconds", "10", "--rounds", "1"]
    )
    command += ["--parent", str(arguments.parent)] if arguments.parent else []
    for option in ("json", "plot"):
        if path := getattr(arguments, option):
            command += [f"--{option}", str(path.with_name(f"wires{path.suffix}"))]
    try:
        subprocess.run(command, check=True)
    except subprocess.CalledProcessError as error:
        results.fail("wires", "measuring", error, ours=True)


def _memory(work: Path, results: Results, quick: bool) -> Figures:
    return memory.measure(work, 100 if quick else memory.CLIENTS)


def _forwarding(work: Path, results: Results, quick: bool) -> Figures:
    return forwarding.measure(5 if quick else 300)


def _trie(work: Path, results: Results, quick: bool) -> Figures:
    """trie.py in a process of its own: a million prefixes shall not stay with us."""
    probe = subprocess.run([sys.executable, "-c", "import pytricia"], capture_output=True)
    if probe.returncode:
        results.missing["trie"] = "pytricia is not installed"
        return {}
    count = "10000" if quick else "1000000"
    command = [sys.executable, str(ROOT / "tests/bench/trie.py"), "--json", "--count", count]
    measured = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    speed, size = measured["lookups_per_second"], measured["memory_bytes"]
    return {
        "lookups": speed["trie"] / 1e6,
        "pytricia_lookups": speed["pytricia"] / 1e6,
        "memory": size["trie"] / 1e6,
        "pytricia_memory": size["pytricia"] / 1e6,
    }


def _tables(work: Path, results: Results, quick: bool) -> Figures:
    """tables.py in a process of its own: a million routes shall not stay with us."""
    command = [sys.executable, str(ROOT / "tests/bench/tables.py"), "--json"]
    command += ["--count", "20000", "--pairs", "3"] if quick else []
    figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return figures


def _handshakes(work: Path, results: Results, quick: bool) -> Figures:
    return handshakes.measure(2.0 if quick else 8.0)


def _shaped(work: Path, results: Results, quick: bool) -> Figures:
    return shaped.measure(3.0 if quick else 15.0)


def _overload(work: Path, results: Results, quick: bool) -> Figures:
    return overload.measure(1.0, ("datagrams",), ("udp1200",), turns=1) if quick else overload.measure(4.0)


def _push(work: Path, results: Results, quick: bool) -> Figures:
    """push.py in a process of its own, which keeps to one core."""
    command = [sys.executable, str(ROOT / "tests/bench/push.py"), "--json"]
    command += ["--hosts", "20", "--changes", "1"] if quick else []
    figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return figures


PARTS: dict[str, Callable[[Path, Results, bool], Figures]] = {
    "memory": _memory,
    "forwarding": _forwarding,
    "trie": _trie,
    "tables": _tables,
    "handshakes": _handshakes,
    "shaped": _shaped,
    "overload": _overload,
    "push": _push,
}
"""What is measured without the topology."""


def _lines(
    results: Results, figures: Mapping[Key, Summary], verdicts: Sequence[Verdict], owners: Sequence[str]
) -> Iterator[str]:
    """The report."""
    if owners:
        yield from (*report.figures_table(owners, figures), "")
    yield from (*report.parts_table(owners, figures), "")
    if "parent" in owners:
        yield from (*report.parent_table(figures), "")
    if verdicts:
        yield from (*report.bars_table(verdicts), "")
    yield from (f"not here: {name}: {why}" for name, why in results.missing.items())
    yield from (f"failed: {error['owner']}: {error['what']}" for error in results.errors)
    yield from (f"{name}: {line}" for name, lines in results.drops.items() for line in lines)
    yield from report.disturbance(results.runs)


def _as_json(results: Results, verdicts: Sequence[Verdict], started: float) -> dict[str, Any]:
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
        "seconds": round(time.time() - started),
        "machine": machine(CONGESTION_CONTROL),
        "bars": [asdict(verdict) for verdict in verdicts],
        **results.as_json(),
    }


if __name__ == "__main__":
    sys.exit(main())
