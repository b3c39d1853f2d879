"""The report on wires: Markdown tables of figures and bars, the same on the terminal and in the pages.

Knows: columns, rounding, who is shown under which name.
Refuses to know: how figures came about and what they should be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.bench.wire_bars import judged

PEERS = {
    "tunrouter": "tunrouter, tcp",
    "tunrouter_tls": "tunrouter, TLS",
    "parent": "parent, tcp",
    "parent_tls": "parent, TLS",
    "gost": "GOST",
    "wireguard": "wireguard-go",
    "kernel": "bare wire",
}
"""Who is measured over wires, in the order of the tables."""

Column = tuple[str, tuple[str, ...]]
"""Title, and the figures that stand in its cells with a slash between them."""

BULK: tuple[Column, ...] = (
    ("TCP ×1 up", ("tcp_up",)),
    ("×1 down", ("tcp_down",)),
    ("×8 up, Mbit/s", ("tcp8",)),
    ("ping idle", ("ping_idle", "ping_idle_p99")),
    ("under an upload", ("ping_up", "ping_up_p99")),
    ("under a download, ms", ("ping_down", "ping_down_p99")),
    ("pings lost, %", ("lost_idle", "lost_up", "lost_down")),
)
REST: tuple[Column, ...] = (
    ("a call beside an upload: lost, %", ("call_lost",)),
    ("jitter, ms", ("call_jitter",)),
    ("the upload, Mbit/s", ("call_tcp",)),
    ("UDP at 3 times the rate: Mbit/s", ("over",)),
    ("of the best", ("over_of_best",)),
    ("ping, ms", ("ping_over", "ping_over_p99")),
)
SHORT: tuple[Column, ...] = (
    ("TCP, 1 stream, Mbit/s", ("tcp_up",)),
    ("ping idle, under an upload, under a download, median ms", ("ping_idle", "ping_up", "ping_down")),
)
"""Rows of the short table, of every wire."""

Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""{peer: {figure: {"median": …}}}, as the JSON has them."""


def tables(whole: Mapping[str, Any]) -> Iterator[str]:
    """Every table of a run."""
    even = {wire: part["figures"] for wire, part in whole["wires"].items() if not part["later"]}
    made = [list(table(even, columns)) for columns in (BULK, REST)]
    made += [
        list(table({wire: part["figures"]}, changing_columns(part["rates"])))
        for wire, part in whole["wires"].items()
        if part["later"]
    ]
    for number, lines in enumerate(filter(None, made)):
        yield from ([""] if number else [])
        yield from lines


def table(wires: Mapping[str, Figures], columns: Sequence[Column]) -> Iterator[str]:
    """A row a peer and wire; rows and columns without any figure are left out, and nothing comes of none."""
    shown = [
        (title, names)
        for title, names in columns
        if any(name in peer for figures in wires.values() for peer in figures.values() for name in names)
    ]
    if not shown:
        return
    yield "| wire | | " + " | ".join(title for title, _ in shown) + " |"
    yield "|---|---|" + "---|" * len(shown)
    for wire, figures in wires.items():
        named = wire_title(wire)
        for peer in (each for each in PEERS if each in figures):
            cells = [_cell(figures[peer], names) for _, names in shown]
            if any(cells):
                yield f"| {named} | {PEERS[peer]} | " + " | ".join(cells) + " |"
                named = ""


def short_table(wires: Mapping[str, Figures]) -> Iterator[str]:
    """A column a peer, so that few lines are enough."""
    shown = [peer for peer in PEERS if any(peer in figures for figures in wires.values())]
    yield "| | " + " | ".join(PEERS[peer] for peer in shown) + " |"
    yield "|---|" + "---|" * len(shown)
    for wire, figures in wires.items():
        for title, names in SHORT:
            cells = [_cell(figures.get(peer, {}), names) for peer in shown]
            yield f"| {wire_title(wire)}: {title} | " + " | ".join(cells) + " |"


def changing_columns(rates: Sequence[float]) -> tuple[Column, ...]:
    """The columns of a wire that had these rates one after the other."""
    columns: list[Column] = [("ping idle", ("ping_idle", "ping_idle_p99"))]
    for number, rate in enumerate(rates, 1):
        name = f"{number}_at_{rate:g}"
        columns.append((f"at {rate:g}: TCP, Mbit/s", (f"tcp_{name}",)))
        columns.append(("ping, ms", (f"ping_{name}", f"ping_{name}_p99")))
    return tuple(columns)


def wire_title(name: str) -> str:
    """A wire's short notation (tests.support.wires) in words."""
    rates, *rest = name.split("+")
    if "/" in rates:
        words = "{} Mbit/s up, {} down".format(*rates.split("/"))
    else:
        words = f"{rates.replace('-', ', then ')} Mbit/s"
    lost = next((f"{each} lost" for each in rest if each.endswith("%")), "no loss")
    return f"{words}, {lost}" + (", UDP blocked" if "noudp" in rest else "")


def bars(whole: Mapping[str, Any]) -> Iterator[str]:
    """A row a bar for which the run has figures; nothing where there is none."""
    verdicts = judged(whole)
    if verdicts:
        yield "| wire | figure | | bar | |"
        yield "|---|---|---|---|---|"
    for verdict in verdicts:
        assert verdict.figure is not None
        assert verdict.bound is not None
        title, sign = wire_title(verdict.bar.wire), {">=": "≥", "<=": "≤"}[verdict.bar.relation]
        met = "met" if verdict.met else "**not met**"
        cells = (title, verdict.bar.row, number(verdict.figure), f"{sign} {number(verdict.bound)}", met)
        yield f"| {' | '.join(cells)} |"


def about(whole: Mapping[str, Any]) -> str:
    """One line on the run itself."""
    machine = whole["machine"]
    rounds = "one round" if whole["rounds"] == 1 else f"medians of {whole['rounds']} interleaved rounds"
    timed = sum(part["timed"] for part in whole["wires"].values())
    disturbed = sum(part["disturbed"] for part in whole["wires"].values())
    return (
        f"{whole['when'][:10]}, {rounds}, {whole['each']} s a run, {machine['cores']} cores, Linux "
        f"{machine['kernel'].split('-')[0]}, Python {machine['python']}, {machine['wireguard'] or 'no WireGuard'}; "
        f"congestion control of the systems {machine['congestion_control']}, of the streams inside cubic. "
        f"{disturbed} of {timed} timed runs were disturbed by other programs."
    )


def number(value: float) -> str:
    """Three digits at most, where they say something."""
    if value and abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:.1f}" if abs(value) < 10 else f"{value:,.0f}"


def _cell(figures: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    return " / ".join(number(figures[name]["median"]) for name in names if name in figures)
