"""Benchmark of a hub offered three times what it can carry; ours by each way a packet may go, GOST's, the floor's.

    .venv/bin/python tests/bench/overload.py                                      as root; all of it, nine minutes
    .venv/bin/python tests/bench/overload.py --ways datagrams --loads udp64       half a minute

Knows: UDP of 64 and 1,200 bytes and new TCP connections from host-1 to host-2, as much as arrives and then three
times that, in turns; pings between two other hosts of the same hub.
Refuses to know: what must be reached (bars).

The sender has its own share of the machine: on few cores it takes from the hub what it needs itself. So what was
really offered is a figure, too, and two more tell its part from ours: the floor in C in the same test, which has no
queues and does nothing twice, and how much is carried for each CPU second of the hub and the two hosts' programs. That
is less at the overload only where these work for what does not arrive.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.measure import quantile
from tests.bench.peers import FLOOR, wait_listening
from tests.bench.quiet import cpu_seconds
from tests.bench.shaped import ping_times
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology, connect
from tests.support.program import GOST, OVERLAY_2, reach, start_client, start_gost, start_hub

WAYS = {
    "tcp": ("tcp", ""),
    "tls": ("tls", "stream"),
    "datagrams": ("tls", "datagram"),
    "gost": ("tcp", ""),
    "floor": ("", ""),
}
"""By name: the transport, and `channel` where it is one of ours over TLS."""
SIZES = {"udp64": 64, "udp1200": 1200}
"""Bytes that a UDP packet carries."""
CONNECTIONS = "connections"
"""New TCP connections, each of which sends a little and gets ANSWER bytes."""
LOADS = (*SIZES, CONNECTIONS)
ANSWER, PORTS = 4000, 8
FIRST = {"udp64": 25_000, "udp1200": 8_000, CONNECTIONS: 800}
"""What any hub carries in a second."""
STEP = 1.6
"""By what the offer grows, until less than 90 % of it arrives."""
OTHERS = {3: "10.77.3", 4: "10.77.4"}
SOURCE = Path(__file__).with_name("flood.c")

Flood = Callable[[float, float], tuple[float, float]]
"""Takes how many packets or connections a second, and seconds; returns (offered, carried) a second."""


def measure(
    seconds: float, ways: Sequence[str] = tuple(WAYS), loads: Sequence[str] = LOADS, turns: int = 2
) -> dict[str, float]:
    """By way and load (`tls_udp64_…`): thousands a second `carried` at best, `offered` and `received` of three times
    that, their `of_best` and `of_best_per_cpu`, and the other hosts' pings over their idle median (ms)."""
    figures: dict[str, float] = {}
    for way in ways:
        if way == "gost" and not GOST:
            continue
        with _hosts(way) as (topology, other, program, programs):
            for load in loads:
                flood = (
                    _connections(topology, program)
                    if load == CONNECTIONS
                    else _udp(topology, program, SIZES[load])
                )
                some = _overloaded(flood, other, programs, seconds, FIRST[load], turns)
                figures |= {f"{way}_{load}_{name}": value for name, value in some.items()}
    return figures


@contextmanager
def _hosts(way: str) -> Iterator[tuple[Topology, Namespace, str, list[Process]]]:
    """Four hosts and their hub, by one way; yields (topology, one of the others, the program of flood.c, the programs
    through which it goes)."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunrouter-bench-")))
        program = str(work / "flood")
        subprocess.run(["cc", "-O2", "-o", program, SOURCE], check=True)
        topology = stack.enter_context(Topology(work))
        hosts = {1: (topology.host_1, HUB_TO_HOST_1), 2: (topology.host_2, HUB_TO_HOST_2)}
        for number, network in OTHERS.items():
            other = stack.enter_context(Namespace(f"host-{number}", work))
            connect(
                *(topology.hub, f"to-host-{number}", f"{network}.1/24"), *(other, "uplink", f"{network}.2/24")
            )
            hosts[number] = (other, f"{network}.1")
        programs = (_start_floor if way == "floor" else _start)(way, topology, hosts, work)
        reach(topology.host_1, OVERLAY_2)
        reach(hosts[3][0], "192.168.123.4")
        yield topology, hosts[3][0], program, programs


def _start(
    way: str, topology: Topology, hosts: dict[int, tuple[Namespace, str]], work: Path
) -> list[Process]:
    hub, client = (start_gost, start_gost) if way == "gost" else (start_hub, start_client)
    transport, channel = WAYS[way]
    config = work / "hub.yml"
    config.write_text(_hub_yaml(list(hosts), transport, channel))
    programs = [hub(topology.hub, "-C", str(config))]
    for number, (namespace, address) in hosts.items():
        device = f"tun:///host-{number}?net=192.168.123.{number}/24" + (
            f"&channel={channel}" if channel else ""
        )
        programs.append(client(namespace, "-L", device, "-F", f"router+{transport}://{address}:8443"))
    return programs[:3]


def _start_floor(
    way: str, topology: Topology, hosts: dict[int, tuple[Namespace, str]], work: Path
) -> list[Process]:
    program = str(work / way)
    subprocess.run(["cc", "-O2", "-w", "-o", program, FLOOR], check=True)
    programs = [topology.hub.popen(program, "hub")]
    wait_listening(topology.hub, 8443)
    for number, (namespace, address) in hosts.items():
        programs.append(namespace.popen(program, "client", address, f"192.168.123.{number}"))
    return programs[:3]


def _hub_yaml(hosts: Sequence[int], transport: str, channel: str) -> str:
    routes = "".join(f"  - {{dst: 192.168.123.{number}/32, gateway: host-{number}}}\n" for number in hosts)
    more = f", channel: {channel}" if channel else ""
    return (
        "services:\n- name: service-0\n  addr: :8443\n"
        f"  handler: {{type: router, metadata: {{router: router-0{more}}}}}\n  listener: {{type: {transport}}}\n"
        f"routers:\n- name: router-0\n  routes:\n{routes}"
    )


def _overloaded(
    flood: Flood, other: Namespace, programs: Sequence[Process], seconds: float, offered: float, turns: int
) -> dict[str, float]:
    """The best and three times that take turns, since the speed of the machine changes."""
    idle = ping_times(other, "192.168.123.4", 40)
    best = 0.0
    while True:
        carried = flood(offered, max(1.0, seconds // 2))[1]
        best = max(best, carried)
        if carried < 0.9 * offered:
            break
        offered *= STEP
    rates: list[tuple[float, float]] = []
    bests, best_cpus, cpus, times = [], [], [], []
    for _ in range(turns):
        before = _cpu(programs)
        bests.append(flood(best, seconds)[1])
        between = _cpu(programs)
        pings = other.popen("ping", "-i", "0.05", "-W", "2", "192.168.123.4")
        pings.wait_line("bytes from")
        rates.append(flood(3 * best, seconds))
        best_cpus.append((between - before) / seconds)
        cpus.append((_cpu(programs) - between) / seconds)
        pings.stop(signal.SIGINT)
        times += [float(text) for text in re.findall(r"time=([0-9.]+)", pings.text())]
    middle, carried = quantile(idle, 0.5), mean(rate for _, rate in rates)
    most = max(mean(bests), carried)
    return {
        "carried": mean(bests) / 1e3,
        "offered": mean(rate for rate, _ in rates) / 1e3,
        "received": carried / 1e3,
        "of_best": carried / most,
        "cpu_at_best": mean(best_cpus),
        "cpu": mean(cpus),
        "of_best_per_cpu": (carried / mean(cpus)) / (mean(bests) / mean(best_cpus)),
        "ping_over_idle": quantile(times, 0.5) - middle,
        "ping_over_idle_p99": quantile(times, 0.99) - middle,
    }


def _cpu(programs: Sequence[Process]) -> float:
    """CPU seconds that programs have had."""
    return sum(cpu_seconds(program.pid) for program in programs)


def _udp(topology: Topology, program: str, size: int) -> Flood:
    def flood(rate: float, seconds: float) -> tuple[float, float]:
        counter = topology.host_2.popen(program, "count", "0.5")
        counter.wait_line("listening")
        options = (OVERLAY_2, str(size), f"{rate:g}", f"{seconds:g}")
        sent = topology.host_1.run(program, "send", *options, timeout=seconds + 30)
        counted = int(counter.wait_line(r"COUNT (\d+)", timeout=30.0)[1])
        counter.wait()
        return int(sent) / seconds, counted / seconds

    return flood


def _connections(topology: Topology, program: str) -> Flood:
    def flood(rate: float, seconds: float) -> tuple[float, float]:
        server = topology.host_2.popen(program, "server", str(PORTS), str(ANSWER))
        server.wait_line("listening")
        options = (OVERLAY_2, str(PORTS), f"{rate:g}", f"{seconds:g}")
        said = topology.host_1.run(program, "client", *options, timeout=seconds + 30).split()
        server.stop(signal.SIGKILL)
        return int(said[0]) / seconds, 2 * int(said[2]) / seconds

    return flood


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--loads", default=",".join(LOADS))
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.seconds, chosen.ways.split(","), chosen.loads.split(",")), indent=1))
