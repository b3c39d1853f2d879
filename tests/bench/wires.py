"""Benchmark over wires as users have them: slow, uneven, long, lossy, changing, without UDP.

    .venv/bin/python tests/bench/wires.py                        the real thing: 30 s a run, 5 rounds, hours
    .venv/bin/python tests/bench/wires.py --quick                does it work? half a minute
    .venv/bin/python tests/bench/wires.py --seconds 10 --rounds 1 --wires 20,200+1% --only tunrouter,kernel --runs idle,up
    .venv/bin/python tests/bench/wires.py --parent OTHER_CHECKOUT  with it as a peer

Two wires, host-1 to hub and hub to host-2, of one kind at a time (tests.support.wires has the notation), and all peers
over wires of their own: as in run.py a figure is taken from all of them in turn before the next is. README.md here says
how to read what comes out.

Exit status: 0 done (bars may be missed), 1 one of our own peers failed, 2 it cannot run here.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import wire_plot
from tests.bench.peers import Peer, all_peers
from tests.bench.rounds import Plan, Results, machine, run_round, say
from tests.bench.wire_report import PEERS, about, bars, tables
from tests.bench.wire_runs import RUNS, WireRuns, runs_of
from tests.support.wires import Wire, WireTopology, build, no_wire, wire_of

CONGESTION_CONTROL = "reno"
"""Of every namespace: it stands for what most systems have, and loss hurts it."""
TABLE = ("20", "20+noudp", "5/50", "200", "200+1%", "200+1%+noudp", "100-5-100")
CURVE = ("200+0.1%", "200+0.3%", "200+3%")
"""More points of throughput over loss: nothing but the run `up` is taken there."""
QUICK = ("20",)
QUICK_PEERS = ("tunrouter", "kernel")
QUICK_RUNS = ("idle", "up")
TOOLS = ("ip", "iperf3", "ping", "ss", "sysctl")


def main() -> int:
    """Measure and report; returns the exit status."""
    arguments = _arguments()
    try:
        wires = [wire_of(text) for text in arguments.wires.split(",")]
        chosen = _among(arguments.only, tuple(PEERS), "peer")
        runs = _among(arguments.runs, RUNS, "run")
        _unable()
    except ValueError as wrong:
        print(f"bench: {wrong}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` is left
    parent = arguments.parent and arguments.parent.resolve()
    peers = {peer.name: peer for peer in all_peers(parent)}
    present = [peers[name] for name in PEERS if name in chosen and name in peers]
    whole = measure(wires, present, runs, arguments.seconds, arguments.rounds)
    whole |= {"quick": arguments.quick, "command": shlex.join(sys.argv[1:])}
    _report(whole, arguments)
    errors = [error for part in whole["wires"].values() for error in part["errors"]]
    return 1 if any(error["ours"] for error in errors) else 0


def measure(
    wires: Sequence[Wire], peers: Sequence[Peer], runs: Sequence[str], seconds: int, rounds: int
) -> dict[str, Any]:
    """Everything, as the JSON has it."""
    started, parts = time.time(), {}
    with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as work:
        program = build(Path(work))
        for number, wire in enumerate(wires):
            taken = WireRuns(wire, seconds, settle=min(2, max(1, seconds // 4)))
            results = _over(wire, taken, peers, runs, rounds, Path(work) / str(number), program)
            shape = {"rates": [wire.up, *wire.later], "loss": wire.loss, "later": bool(wire.later)}
            parts[wire.name] = shape | results.as_json() | {"trips": _distributions(taken.trips)}
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
        "seconds": round(time.time() - started),
        "each": seconds,
        "rounds": rounds,
        "machine": machine(CONGESTION_CONTROL),
        "wires": parts,
    }


def _over(
    wire: Wire,
    taken: WireRuns,
    peers: Sequence[Peer],
    runs: Sequence[str],
    rounds: int,
    work: Path,
    program: Path,
) -> Results:
    """All rounds over one kind of wire."""
    results = Results()
    patience = 10.0 if taken.seconds > 5 else 0.0
    topology = functools.partial(WireTopology, program=program, wire=wire)
    plan = Plan(topology, taken.table(), CONGESTION_CONTROL, patience)
    present = []
    for peer in peers:
        mine = tuple(run for run in runs_over(wire, peer) if run in runs)
        if why := peer.missing() or ("" if mine else "nothing of it is measured over this wire"):
            results.missing[peer.name] = why
        else:
            present.append(replace(peer, runs=mine))
    work.mkdir()
    for number in range(rounds if present else 0):
        say(f"wire {wire.name}, round {number + 1} of {rounds}")
        run_round(number, present, work, results, plan)
    return results


def runs_over(wire: Wire, peer: Peer) -> tuple[str, ...]:
    """What is measured of a peer over a wire: where UDP is blocked, nothing that needs it."""
    runs = runs_of(wire) if wire.name not in CURVE else ("up",)
    if wire.udp:
        return runs
    if peer.name == "wireguard":
        return ()
    return tuple(run for run in runs if peer.name != "kernel" or run not in ("call", "overload"))


def _distributions(trips: Mapping[tuple[str, str], Sequence[float]]) -> dict[str, dict[str, list[float]]]:
    """{peer: {run: the 0th to 100th percentile of its round trips, ms}}."""
    kept: dict[str, dict[str, list[float]]] = {}
    for (peer, run), times in trips.items():
        ordered = sorted(times)
        steps = [ordered[round(percent * (len(ordered) - 1) / 100)] for percent in range(101)]
        kept.setdefault(peer, {})[run] = steps
    return kept


def _report(whole: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print the tables; write and draw what is asked for."""
    lines = ["", *tables(whole), "", *bars(whole), "", about(whole)]
    for wire, part in whole["wires"].items():
        lines += [f"not here: {wire}: {name}: {why}" for name, why in part["missing"].items()]
        lines += [f"failed: {wire}: {each['owner']}: {each['what']}" for each in part["errors"]]
    print("\n".join(lines))
    if whole["quick"]:
        print("too short for the figures to mean anything")
    if arguments.json:
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    if arguments.plot:
        print("drawn:", *wire_plot.draw(whole, arguments.plot))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--wires", metavar="LIST", help=f"comma list; {','.join((*TABLE, *CURVE)).replace('%', '%%')}"
    )
    parser.add_argument("--seconds", type=int, metavar="N", help="of each run; 30")
    parser.add_argument("--rounds", type=int, metavar="N", help="5")
    parser.add_argument("--quick", action="store_true", help="so short that the figures mean nothing")
    parser.add_argument("--only", metavar="NAMES", help=f"comma list of peers: {', '.join(PEERS)}")
    parser.add_argument("--runs", metavar="NAMES", help=f"comma list of what is measured: {', '.join(RUNS)}")
    parser.add_argument("--parent", type=Path, metavar="PATH", help="a checkout to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--plot", type=Path, metavar="STEM", help="draw STEM.svg and STEM.png of the figures")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.wires = arguments.wires or ",".join(QUICK if quick else (*TABLE, *CURVE))
    arguments.only = arguments.only or ",".join(QUICK_PEERS if quick else PEERS)
    arguments.runs = arguments.runs or ",".join(QUICK_RUNS if quick else RUNS)
    arguments.seconds = arguments.seconds or (2 if quick else 30)
    arguments.rounds = arguments.rounds or (1 if quick else 5)
    return arguments


def _among(text: str, names: Sequence[str], kind: str) -> list[str]:
    """The words of a comma list. Raises ValueError that names the first one that is not among these names."""
    words = text.split(",")
    for word in words:
        if word not in names:
            raise ValueError(f"no {kind} is called {word!r}")
    return words


def _unable() -> None:
    """Raise ValueError that says why nothing can be measured here, if so."""
    if os.geteuid():
        raise ValueError("needs root, for network namespaces and TUN devices")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if why := no_wire() or ", ".join(missing):
        raise ValueError(f"cannot run here: needs {why}")


if __name__ == "__main__":
    sys.exit(main())
