"""What must be reached over wires, and whether it was.

Knows: every bar as a figure and a bound: so many times another figure of the same run, and so much more.
Refuses to know: how figures come about (wire_runs).

The bars come from the issue on real wires. A channel of datagrams goes with TLS only, so what needs one is asked of
tunrouter over TLS; of the plain one and where UDP is blocked, what a stream can do.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.bars import Key, Summary

OF_A_CALL = 300
"""Packets a second."""


@dataclass(frozen=True, slots=True)
class WireBar:
    """A figure must stand in this relation to `times` the figure `of`, plus `plus` (to `plus` itself without one)."""

    wire: str
    row: str
    figure: Key
    relation: str
    plus: float
    of: Key | None = None
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class WireVerdict:
    """A bar, the figure, the bound that it had in this run, and whether it was met; None without figures."""

    bar: WireBar
    figure: float | None
    bound: float | None
    met: bool | None


def wire_bars(seconds: int) -> tuple[WireBar, ...]:
    """All bars; a call of so many seconds tells that much about its loss."""
    return (*_slow(), *_lossy(seconds), *_clean(), *_overload())


def judged(whole: Mapping[str, Any]) -> list[WireVerdict]:
    """The bars of a run, given as its JSON, for which it has figures."""
    figures = {
        wire: {
            (peer, name): Summary(row["median"], row["least"], row["most"], row["count"])
            for peer, rows in part["figures"].items()
            for name, row in rows.items()
        }
        for wire, part in whole["wires"].items()
    }
    verdicts = [judge(bar, figures) for bar in wire_bars(whole["each"])]
    return [verdict for verdict in verdicts if verdict.met is not None]


def judge(bar: WireBar, figures: Mapping[str, Mapping[Key, Summary]]) -> WireVerdict:
    """Compare medians of the same run; figures are {wire: {(peer, figure): summary}}."""
    here = figures.get(bar.wire, {})
    figure = here.get(bar.figure)
    of = here.get(bar.of) if bar.of else None
    if figure is None or (bar.of and of is None):
        return WireVerdict(bar, figure.median if figure else None, None, None)
    bound = bar.plus + (bar.times * of.median if of else 0.0)
    return WireVerdict(bar, figure.median, bound, _RELATIONS[bar.relation](figure.median, bound))


def worst_loss(percent: float, wires: int, packets: int) -> float:
    """Percent lost over so many such wires, and three standard errors more for so many packets."""
    lost = 1 - (1 - percent / 100) ** wires
    return 100 * (lost + 3 * math.sqrt(lost * (1 - lost) / packets))


_RELATIONS = {">=": operator.ge, "<=": operator.le}


def _over_idle(
    wire: str, peer: str, figures: Sequence[tuple[str, float]], row: str = "over its idle median"
) -> Iterator[WireBar]:
    """Pings of a peer beside its own idle ones."""
    for figure, more in figures:
        yield WireBar(wire, f"{peer}: {figure} {row}", (peer, figure), "<=", more, (peer, "ping_idle"))


def _slow() -> Iterator[WireBar]:
    pings = ("ping_up", "ping_down")
    prompt = [(f"{ping}{end}", more) for ping in pings for end, more in (("", 8.0), ("_p99", 20.0))]
    streamed = [(f"{ping}{end}", more) for ping in pings for end, more in (("", 25.0), ("_p99", 60.0))]
    yield from _over_idle("20", "tunrouter_tls", prompt)
    yield from _over_idle("20", "tunrouter", streamed)
    yield from _over_idle("20+noudp", "tunrouter_tls", streamed)
    yield WireBar(
        "20", "TCP of the bare wire's", ("tunrouter", "tcp_up"), ">=", 0, ("kernel", "tcp_up"), 0.95
    )
    yield from _over_idle("5/50", "tunrouter", [("ping_up", 40.0)])


def _lossy(seconds: int) -> Iterator[WireBar]:
    wire = "200+1%"
    for here in (wire, f"{wire}+noudp"):
        for peer in ("tunrouter", "tunrouter_tls"):
            yield WireBar(here, f"{peer}: TCP, 1 stream, Mbit/s", (peer, "tcp_up"), ">=", 100)
            yield WireBar(here, f"{peer}: TCP, 8 streams, Mbit/s", (peer, "tcp8"), ">=", 120)
    ours = "tunrouter_tls"
    for figure, more in (("ping_up", 5.0), ("ping_up_p99", 15.0), ("call_jitter", 2.0)):
        row = f"{ours}: {figure} over wireguard-go's"
        yield WireBar(wire, row, (ours, figure), "<=", more, ("wireguard", figure))
    bound = worst_loss(1.0, 2, OF_A_CALL * seconds)
    yield WireBar(wire, f"{ours}: a call's loss, %", (ours, "call_lost"), "<=", bound)
    yield from _over_idle(f"{wire}+noudp", ours, [("ping_up", 12.0)])
    yield WireBar(f"{wire}+noudp", f"{ours}: ping_up_p99, ms", (ours, "ping_up_p99"), "<=", 140)


def _clean() -> Iterator[WireBar]:
    of = "TCP, 1 stream, of {}"
    for peer, times in (("wireguard", 1.0), ("kernel", 0.97)):
        yield WireBar("200", of.format(peer), ("tunrouter", "tcp_up"), ">=", 0, (peer, "tcp_up"), times)


def _overload() -> Iterator[WireBar]:
    for wire in ("20", "200"):
        yield WireBar(wire, "at 3 times the load, of the best", ("tunrouter", "over_of_best"), ">=", 0.9)
        yield from _over_idle(wire, "tunrouter", [("ping_over", 20.0)], "at 3 times the load, over idle")
