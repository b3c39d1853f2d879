"""Hosts at two hubs of a cluster beside hosts at one: ping, TCP and CPU time, taken in turn, as ratios.

    .venv/bin/python tests/bench/two_hubs.py                     # as root: 5 rounds, about 90 s
    .venv/bin/python tests/bench/two_hubs.py --transport tls     # clients over TLS, as links always are

    host-1: one-1 two-1 ---- hub-1 ---- hub-2 ---- host-2: one-2 (at hub-1) two-2 (at hub-2)

Both pairs are up all the time, and one of them is measured at a time. All programs share the cores of this
machine: what a second hub takes, clients and iperf3 have not. Where each hub has cores of its own, throughput
is that of the slowest of them; what stays is CPU time for each GB, summed over the hubs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

if __name__ == "__main__":  # run as a file, not as a module
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import measure
from tests.bench.measure import Figures, Lengths
from tests.bench.peers import Peer, Programs, Running
from tests.bench.quiet import timed
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import reach, start_client, start_hub
from tests.support.redis_server import PORT, Redis

HUB = """\
services:
- {{name: hub, addr: ":{port}", handler: {{type: router, metadata: {{router: r, sd: registry}}}}, listener: {{type: {transport}}}}}
sds: [{{name: registry, redis: {{addr: 127.0.0.1:{redis}}}}}]
cluster: {{name: hub-{number}, link: {{listen: "127.0.0.1:{link}", address: "127.0.0.1:{link}", secret: "{secret}"}}}}
routers: [{{name: r, routes: [{routes}]}}]
"""
NETS = {"one": "10.88.1", "two": "10.88.2"}
"""Pair -> the overlay of its hosts, .1 and .2."""
BARS = {"ping": ("<=", 1.6), "tcp": (">=", 0.6), "cpu_hubs": ("<=", 2.0)}
"""Figure -> what its ratio, of two hubs to one, should be."""
ABOUT = {
    "ping": "ping idle, median ms",
    "tcp": "TCP, 1 stream, Gbit/s",
    "cpu_hubs": "CPU s per GB, all hubs",
    "cpu": "CPU s per GB, hubs and clients",
}
RUNS = (measure.ping_idle, measure.tcp(1))


def start(topology: Topology, work: Path, transport: str) -> dict[str, Running]:
    """Start Redis, both hubs and four clients; returns the two pairs once packets pass."""
    Redis(topology.hub).start()
    routes = ", ".join(
        f"{{dst: {net}.{number}/32, gateway: {pair}-{number}}}"
        for pair, net in NETS.items()
        for number in (1, 2)
    )
    programs: Programs = {}
    for number in (1, 2):
        ports = {"port": 8442 + number, "link": 7000 + number, "redis": PORT}
        text = HUB.format(**ports, number=number, secret="s" * 32, transport=transport, routes=routes)
        file = work / f"hub-{number}.yml"
        file.write_text(text)
        programs[f"hub-{number}"] = start_hub(topology.hub, "-C", str(file))
    for pair in NETS:
        for number in (1, 2):
            at = 2 if (pair, number) == ("two", 2) else 1
            programs[f"{pair}-{number}"] = _client(topology, pair, number, at, transport)
    found = {}
    for pair, net in NETS.items():
        reach(topology.host_1, f"{net}.2")
        mine = {name: one for name, one in programs.items() if name.startswith(("hub-", pair))}
        found[pair] = Running(Peer(pair, "", _never, str, target=f"{net}.2"), topology, mine)
    return found


def _client(topology: Topology, pair: str, number: int, hub: int, transport: str) -> Process:
    namespace: Namespace = topology.host_1 if number == 1 else topology.host_2
    address = HUB_TO_HOST_1 if number == 1 else HUB_TO_HOST_2
    listen = f"tun:///{pair}-{number}?net={NETS[pair]}.{number}/24&name=tun-{pair}"
    return start_client(namespace, "-L", listen, "-F", f"router+{transport}://{address}:{8442 + hub}")


def _never(topology: Topology, work: Path) -> Programs:
    raise AssertionError("it runs already")


def rounds(pairs: dict[str, Running], count: int, lengths: Lengths) -> dict[str, list[Figures]]:
    """All figures of each pair, one for each round; who is first changes."""
    found: dict[str, list[Figures]] = {pair: [] for pair in pairs}
    order = list(pairs)
    for number in range(count):
        for pair in order:
            found[pair].append({})
        for run in RUNS:
            for pair in order:
                with timed(lengths.patience):
                    found[pair][number] |= run(pairs[pair], lengths, {})
        order.reverse()
    return {pair: [_named(one) for one in figures] for pair, figures in found.items()}


def _named(figures: Figures) -> Figures:
    hubs = sum(value for name, value in figures.items() if name.startswith("cpu_hub-"))
    return {"ping": figures["ping_idle"], "tcp": figures["tcp1"], "cpu_hubs": hubs, "cpu": figures["cpu"]}


def summary(found: dict[str, list[Figures]]) -> dict[str, dict[str, float]]:
    """Figure -> the median of either, and the median of the rounds' ratios."""
    made: dict[str, dict[str, float]] = {}
    for name in ABOUT:
        one, two = ([figures[name] for figures in found[pair]] for pair in ("one", "two"))
        ratios = [after / before for before, after in zip(one, two, strict=True)]
        made[name] = {"one": median(one), "two": median(two), "ratio": median(ratios)}
        made[name] |= {"least": min(ratios), "most": max(ratios)}
    return made


def lines(made: dict[str, dict[str, float]], transport: str) -> Iterator[str]:
    """A table, in Markdown."""
    yield f"| clients over {transport} | one hub | two hubs | ratio (least to most) | bar |"
    yield "|---|---|---|---|---|"
    for name, about in ABOUT.items():
        row = made[name]
        sign, bar = BARS.get(name, ("", 0.0))
        met = row["ratio"] <= bar if sign == "<=" else row["ratio"] >= bar
        judged = f"{sign} {bar:g}: {'met' if met else 'missed'}" if sign else ""
        ratio = f"{row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
        yield f"| {about} | {row['one']:.3g} | {row['two']:.3g} | {ratio} | {judged} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="hosts at two hubs beside hosts at one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each TCP run")
    parser.add_argument("--transport", choices=("tcp", "tls"), default="tcp")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    lengths = Lengths(tcp=arguments.seconds, pings=200, patience=5.0)
    with tempfile.TemporaryDirectory() as work, Topology(Path(work)) as topology:
        pairs = start(topology, Path(work), arguments.transport)
        found = rounds(pairs, arguments.rounds, lengths)
    made = summary(found)
    print(json.dumps(made, indent=2) if arguments.json else "\n".join(lines(made, arguments.transport)))


if __name__ == "__main__":
    main()
