"""Timed runs of iperf3 and ping over a running peer, as named figures.

Knows: how iperf3, ping and /proc are read.
Refuses to know: which peer it is, and what a figure should be (bars).

Figures (`FIGURES` has their units): the run `tcp1` gives tcp1 and cpu_*, and so on. A run that gives no
figure raises RunFailed.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.peers import Running, wait_listening
from tests.bench.quiet import cpu_seconds, resident_mb
from tests.support.netns import Process

FIGURES = {
    "tcp1": "TCP, 1 stream, Gbit/s",
    "tcp4": "TCP, 4 streams, Gbit/s",
    "udp": "UDP 64 B received at overload, k/s",
    "udp_offered": "  of sent, k/s",
    "loss70": "UDP 64 B lost at 70 % of it, %",
    "loss70_way": "  of it on the way to iperf3's socket, %",
    "ping_idle": "ping idle, median ms",
    "ping_load": "ping under TCP, median ms",
    "ping_load_p99": "  p99 ms",
    "cpu": "CPU s per GB, all processes",
    "cpu_hub": "  hub",
    "cpu_host-1": "  host-1 (sends)",
    "cpu_host-2": "  host-2 (receives)",
    "rss_hub": "hub resident, MB",
    "rss_host-1": "host-1 resident, MB",
}
"""Every figure of a peer, in the order of the table."""

PORT = 5201
UDP_SIZE = 64
_TRIP = re.compile(r"icmp_seq=(\d+) .*time=([\d.]+) ms")

Figures = dict[str, float]


class RunFailed(Exception):
    """A run gave no figure; says why."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the runs take: seconds, and numbers of pings."""

    tcp: int = 8
    udp: int = 5
    pings: int = 200
    patience: float = 10.0
    """How long each waits for a quiet machine."""


QUICK = Lengths(tcp=1, udp=1, pings=40, patience=0.0)


def tcp(streams: int) -> Callable[[Running, Lengths, Figures], Figures]:
    """Throughput of so many streams, and what it cost the tunnel's processes."""

    def run(running: Running, lengths: Lengths, earlier: Figures) -> Figures:
        before = _cpu(running)
        client, _ = iperf(running, lengths.tcp, "-P", str(streams))
        after = _cpu(running)
        received = client["end"]["sum_received"]
        figures = {f"tcp{streams}": received["bits_per_second"] / 1e9}
        if streams == 1 and after:
            gigabytes = received["bytes"] / 1e9
            cost = {place: (after[place] - before[place]) / gigabytes for place in after}
            figures |= {"cpu": sum(cost.values())} | {f"cpu_{place}": each for place, each in cost.items()}
        return figures

    return run


def udp(running: Running, lengths: Lengths, earlier: Figures) -> Figures:
    """Small packets as fast as iperf3 sends them: how many arrive."""
    client, server = iperf(running, lengths.udp, *_udp(0))
    received, _ = received_packets(server)
    sent, seconds = client["end"]["sum"]["packets"], client["end"]["sum"]["seconds"]
    return {"udp": received / seconds / 1e3, "udp_offered": sent / seconds / 1e3}


def udp_at_70_percent(running: Running, lengths: Lengths, earlier: Figures) -> Figures:
    """Small packets at 70 % of what this peer just received: how many are lost, and how many of those
    before they came to iperf3's own socket."""
    if "udp" not in earlier:
        raise RunFailed("no overload rate to take 70 % of")
    before = _socket_drops(running)
    _, server = iperf(running, lengths.udp, *_udp(0.7 * earlier["udp"] * 1e3))
    received, lost = received_packets(server)
    full = min(lost, _socket_drops(running) - before)
    total = received + lost
    return {"loss70": 100 * lost / total, "loss70_way": 100 * (lost - full) / total}


def ping_idle(running: Running, lengths: Lengths, earlier: Figures) -> Figures:
    """Round trips with nothing else under way."""
    return {"ping_idle": median(_ping(running, lengths.pings, 0.005))}


def ping_load(running: Running, lengths: Lengths, earlier: Figures) -> Figures:
    """Round trips beside one TCP stream."""
    times: list[float] = []
    count = int(100 * lengths.tcp * 0.75)
    iperf(running, lengths.tcp, beside=lambda: times.extend(_ping(running, count, 0.01)))
    return {"ping_load": median(times), "ping_load_p99": quantile(times, 0.99)}


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]


RUNS: dict[str, Callable[[Running, Lengths, Figures], Figures]] = {
    "tcp1": tcp(1),
    "tcp4": tcp(4),
    "udp": udp,
    "udp70": udp_at_70_percent,
    "ping_idle": ping_idle,
    "ping_load": ping_load,
}
"""By name (peers.RUNS): takes the peer, how long, and what this round has measured on it so far."""


def resident(running: Running) -> Figures:
    """Memory of the hub and the sender as they are now; nothing of one that has ended."""
    return {
        f"rss_{place}": resident_mb(program.pid)
        for place, program in running.programs.items()
        if place != "host-2" and program.returncode is None
    }


def _cpu(running: Running) -> dict[str, float]:
    return {place: cpu_seconds(program.pid) for place, program in running.programs.items()}


def _udp(packets_per_second: float) -> tuple[str, ...]:
    """iperf3's options; a rate of 0 is as fast as it can."""
    return ("-u", "-l", str(UDP_SIZE), "-b", str(int(packets_per_second * UDP_SIZE * 8)))


def iperf(
    running: Running,
    seconds: int,
    *options: str,
    beside: Callable[[], object] | None = None,
    port: int = PORT,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run iperf3 from host-1 to host-2, and `beside` while it runs; returns both ends' reports.

    Raises RunFailed when there is no report within 20 s after its time.
    """
    target, topology = running.peer.target, running.topology
    started = [topology.host_2.popen("iperf3", "-s", "-1", "-J", "-p", str(port))]
    try:
        wait_listening(topology.host_2, port)
        where = ("-c", target, "-p", str(port), "--connect-timeout", "5000")
        started.append(topology.host_1.popen("iperf3", "-J", "-t", str(seconds), *where, *options))
        if beside is not None:
            beside()
        started[1].wait(seconds + 20)
        report = _report(started[1])
        started[0].wait(5)
    except AssertionError as late:
        raise RunFailed(str(late)[:300]) from None
    finally:
        for program in started:
            if program.returncode is None:
                program.stop(signal.SIGKILL)
    return report, _report(started[0])


def _report(program: Process) -> dict[str, Any]:
    text = program.text()
    try:
        report: dict[str, Any] = json.loads(text[text.index("{") :])
    except ValueError:
        raise RunFailed(f"iperf3 said no JSON: {text[-200:]!r}") from None
    if "error" in report:
        raise RunFailed(f"iperf3: {report['error']}")
    return report


def received_packets(server: dict[str, Any]) -> tuple[int, int]:
    """(received, lost) packets, by the receiver's own account: what was never seen to be sent after the
    last arrival counts as neither."""
    sums = [interval["sum"] for interval in server["intervals"] if "packets" in interval["sum"]]
    lost = sum(each["lost_packets"] for each in sums)
    return sum(each["packets"] for each in sums) - lost, max(0, lost)


def _socket_drops(running: Running) -> int:
    """Datagrams that found the receiving program's buffer full, so far."""
    rows = running.topology.host_2.run("cat", "/proc/net/snmp").splitlines()
    names, values = (row.split() for row in rows if row.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])


def _ping(running: Running, count: int, interval: float) -> list[float]:
    """Round-trip times in ms. Raises RunFailed when none came back."""
    return [time for _, time in trips(running, count, interval)]


def trips(running: Running, count: int, interval: float, wait: int = 1) -> list[tuple[int, float]]:
    """(number of the ping from 1 on, round-trip time in ms) of those that came back; the last is awaited so many
    seconds. Raises RunFailed when none did."""
    often = ("-n", "-c", str(count), "-i", str(interval), "-W", str(wait))
    try:
        text = running.topology.host_1.run(
            "ping", *often, running.peer.target, check=False, timeout=count * interval * 3 + 10
        )
    except AssertionError as late:
        raise RunFailed(str(late)[:300]) from None
    found = [(int(number), float(time)) for number, time in _TRIP.findall(text)]
    if not found:
        raise RunFailed("no ping came back")
    return found
