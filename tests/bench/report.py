"""The benchmarks' report as text: figures by peer, bars, what disturbed the runs.

Knows: columns and rounding.
Refuses to know: how figures came about and what they should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.bench.bars import Key, Summary, Verdict
from tests.bench.measure import FIGURES

_WIDTH = 16
_TITLE = 40
_MET = {True: "met", False: "NOT MET", None: "no figure"}


def figures_table(owners: Sequence[str], figures: Mapping[Key, Summary]) -> Iterator[str]:
    """Lines: a row a figure, a column a peer; medians, and under them the range."""
    yield " " * _TITLE + "".join(f"{owner:>{_WIDTH}}" for owner in owners)
    for figure, title in FIGURES.items():
        row = [figures.get((owner, figure)) for owner in owners]
        if any(row):
            yield f"{title:{_TITLE}}" + "".join(f"{_median(each):>{_WIDTH}}" for each in row)
        if any(each and each.count > 1 for each in row):
            yield " " * _TITLE + "".join(f"{_range(each):>{_WIDTH}}" for each in row)


def parts_table(owners: Sequence[str], figures: Mapping[Key, Summary]) -> Iterator[str]:
    """Lines for what is no peer: owner, figure, value."""
    for owner, figure in figures:
        if owner not in owners:
            yield f"{owner + ' ' + figure:{_TITLE}}{_median(figures[owner, figure]):>{_WIDTH}}"


def bars_table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Lines: figure, what it is compared with, ratio, bar, met or not."""
    yield f"{'':{_TITLE}}{'figure':>10}{'of':>24}{'ratio':>10}{'bar':>10}"
    for verdict in verdicts:
        bar = verdict.bar
        of = f"{bar.of[0]} {_median(verdict.of)}" if bar.of else ""
        ratio = _number(verdict.ratio) if bar.of and verdict.ratio is not None else ""
        bound = "noise" if bar.relation == "~" else f"{bar.relation} {_number(bar.bound)}"
        yield (
            f"{bar.row:{_TITLE}}{_median(verdict.figure):>10}{of:>24}{ratio:>10}{bound:>10}"
            f"   {_MET[verdict.met]}"
        )


VARIANTS = ("", "_tls", "_wss", "_guarded")


def parent_table(figures: Mapping[Key, Summary]) -> Iterator[str]:
    """Lines: this checkout beside its parent, for each way in which both were set up."""
    for variant in VARIANTS:
        ours = f"tunrouter{variant}"
        yield f"{'':{_TITLE}}{ours:>{_WIDTH + 4}}{'parent':>{_WIDTH}}{'ratio':>10}"
        for figure, title in FIGURES.items():
            here, there = figures.get((ours, figure)), figures.get((f"parent{variant}", figure))
            if here and there:
                ratio = f"{here.median / there.median:10.3f}" if there.median else ""
                yield f"{title:{_TITLE}}{_median(here):>{_WIDTH + 4}}{_median(there):>{_WIDTH}}{ratio}"


def disturbance(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line on how quiet the machine was."""
    disturbed = [run for run in runs if run["disturbed"]]
    if runs:
        foreign = max(run["foreign"] / run["seconds"] for run in runs)
        stolen = max(run["stolen"] / run["seconds"] for run in runs)
        yield (
            f"{len(disturbed)} of {len(runs)} timed runs disturbed; "
            f"the worst: {foreign:.0%} of a core used by other processes, {stolen:.0%} stolen"
        )


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _median(summary: Summary | None) -> str:
    return "-" if summary is None else _number(summary.median)


def _range(summary: Summary | None) -> str:
    return "" if summary is None else f"{_number(summary.least)}..{_number(summary.most)}"
