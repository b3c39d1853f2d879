"""Timed runs over slow, long and lossy wires, as named figures.

Knows: what a user of a wire feels: bulk, pings idle and beside bulk, a call beside bulk, too much at once.
Refuses to know: which peer it is, and what a figure should be (wire_bars).

Inner TCP flows are cubic, whatever the namespaces' default. Pings are 50 a second and begin once a stream has run for
`settle` seconds, which its throughput leaves out as well. Round trips of all runs are kept besides the figures: what is
drawn is their distribution.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.measure import Figures, RunFailed, iperf, quantile, received_packets, trips
from tests.bench.peers import Running
from tests.support.wires import Wire, WireTopology

INTERVAL = 0.02
IDLE_SECONDS = 10
CALL_PORT = 5202
CALL = ("-u", "-l", "200", "-b", str(300 * 200 * 8))
"""A call: 300 packets a second of 200 bytes, as several voices or one small video."""
CUBIC = ("-C", "cubic")

RUNS = ("idle", "up", "down", "tcp8", "call", "overload", "changing")
"""In the order in which they are taken."""


def runs_of(wire: Wire) -> tuple[str, ...]:
    """What can be measured over a wire."""
    return ("idle", "changing") if wire.later else RUNS[:-1]


@dataclass(slots=True)
class WireRuns:
    """The runs over one wire. `trips` collects milliseconds by (peer, run), over all rounds."""

    wire: Wire
    seconds: int
    settle: int
    trips: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def table(self) -> Mapping[str, Callable[[Running, Figures], Figures]]:
        """By name, in their order."""
        return {
            "idle": self.idle,
            "up": lambda running, seen: self._beside_a_stream(running, "up"),
            "down": lambda running, seen: self._beside_a_stream(running, "down", "-R"),
            "tcp8": self.tcp8,
            "call": self.call,
            "overload": self.overload,
            "changing": self.changing,
        }

    def idle(self, running: Running, seen: Figures) -> Figures:
        """Pings with nothing else under way."""
        return self._pings(running, "idle", min(self.seconds, IDLE_SECONDS))

    def _beside_a_stream(self, running: Running, run: str, *options: str) -> Figures:
        figures: Figures = {}

        def ping() -> None:
            time.sleep(self.settle)
            figures.update(self._pings(running, run, self.seconds))

        report, _ = iperf(running, *self._stream(*options), beside=ping)
        return {f"tcp_{run}": _mbit(report), **figures}

    def tcp8(self, running: Running, seen: Figures) -> Figures:
        """Eight streams up."""
        return {"tcp8": _mbit(iperf(running, *self._stream("-P", "8"))[0])}

    def call(self, running: Running, seen: Figures) -> Figures:
        """A call beside one stream up: packets lost and how unevenly the others come (RFC 3550), by the receiver's
        report; and what the stream gets meanwhile."""
        said: dict[str, Any] = {}

        def talk() -> None:
            time.sleep(self.settle)
            said["server"] = iperf(running, self.seconds, *CALL, port=CALL_PORT)[1]

        report, _ = iperf(running, *self._stream(more=3), beside=talk)
        return call_figures(said["server"]) | {"call_tcp": _mbit(report)}

    def overload(self, running: Running, seen: Figures) -> Figures:
        """UDP at the wire's rate, then at three times that: what arrives of it, and pings beside the latter."""
        share = max(2, self.seconds // 3)
        once = self._flood(running, share, 1)
        figures: Figures = {}

        def ping() -> None:
            time.sleep(0.5)
            figures.update(self._pings(running, "over", share - 1))

        thrice = self._flood(running, share, 3, ping)
        return {"over": thrice, "over_of_best": thrice / max(once, thrice), **figures}

    def _flood(
        self, running: Running, seconds: int, times: int, beside: Callable[[], object] | None = None
    ) -> float:
        """Mbit/s of payload that arrive of so many times the wire's rate."""
        size = 1200
        offered = ("-u", "-l", str(size), "-b", f"{times * self.wire.up:g}M")
        received, _ = received_packets(iperf(running, seconds, *offered, beside=beside)[1])
        return received * size * 8 / seconds / 1e6

    def changing(self, running: Running, seen: Figures) -> Figures:
        """One stream up with pings while the wires change their rates, each for the same time."""
        assert isinstance(running.topology, WireTopology)
        rates = (self.wire.up, *self.wire.later)
        each = self.seconds / len(rates)
        timers = [
            threading.Timer(number * each, running.topology.set_rate, (rate,))
            for number, rate in enumerate(rates[1:], 1)
        ]
        came: list[tuple[int, float]] = []

        def ping() -> None:
            for timer in timers:
                timer.start()
            came.extend(trips(running, int(self.seconds / INTERVAL), INTERVAL, wait=2))

        try:
            _, report = iperf(running, self.seconds, *CUBIC, beside=ping)
        finally:
            for timer in timers:
                timer.cancel()
                timer.join()
            running.topology.set_rate(rates[0])
        return changing_figures(report, came, rates, each)

    def _stream(self, *options: str, more: int = 0) -> tuple[Any, ...]:
        """The arguments of iperf for a stream that runs for a while before it counts."""
        return (self.seconds + more, *CUBIC, "-O", str(self.settle), *options)

    def _pings(self, running: Running, run: str, seconds: float) -> Figures:
        count = max(10, int(seconds / INTERVAL))
        times = [time for _, time in trips(running, count, INTERVAL, wait=2)]
        self.trips[running.peer.name, run] += times
        return {
            f"ping_{run}": median(times),
            f"ping_{run}_p99": quantile(times, 0.99),
            f"lost_{run}": 100 * max(0, count - len(times)) / count,
        }


def call_figures(server: dict[str, Any]) -> Figures:
    """Percent lost and milliseconds of jitter, from the report of iperf3's receiver."""
    received, lost = received_packets(server)
    jitters = [each["sum"]["jitter_ms"] for each in server["intervals"] if "jitter_ms" in each["sum"]]
    if not received or not jitters:
        raise RunFailed("no packet of the call arrived")
    return {"call_lost": 100 * lost / (received + lost), "call_jitter": median(jitters)}


def changing_figures(
    report: Mapping[str, Any], came: list[tuple[int, float]], rates: tuple[float, ...], each: float
) -> Figures:
    """Pings and throughput of each of the times in which the wires had one rate (`each` seconds long); `report` is
    that of iperf3's receiver, a second an interval."""
    figures: Figures = {}
    for number, rate in enumerate(rates):
        name = f"{number + 1}_at_{rate:g}"
        begins, ends = number * each, (number + 1) * each
        times = [time for seq, time in came if begins <= (seq - 1) * INTERVAL < ends]
        if not times:
            raise RunFailed(f"no ping came back while the wires had {rate:g} Mbit/s")
        sums = [row["sum"] for row in report["intervals"] if begins <= row["sum"]["start"] + 0.5 < ends]
        spent = sum(row["seconds"] for row in sums)
        figures |= {
            f"tcp_{name}": sum(row["bytes"] for row in sums) * 8 / 1e6 / spent if spent else 0.0,
            f"ping_{name}": median(times),
            f"ping_{name}_p99": quantile(times, 0.99),
        }
    return figures


def _mbit(report: Mapping[str, Any]) -> float:
    """What the receiver got."""
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6
