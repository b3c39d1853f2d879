"""Draws the benchmarks' figures: a panel for each figure, a bar for each program, every axis from zero.

    .venv/bin/python tests/bench/plot.py build/bench.json build/bench

Knows: which figures make a picture, matplotlib (imported where it is used: only `make bench` installs it).
Refuses to know: how figures came about.

Bars are medians, whiskers the least and the most of the rounds. Kernel forwarding is no tunnel and several
times everybody else: it would squeeze all other bars into one corner, so it stands in the tables only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PEERS = {
    "tunrouter": "tunrouter",
    "binary": "tunrouter, executable",
    "tunrouter_tls": "tunrouter, TLS",
    "tunrouter_off": "tunrouter, one packet a frame",
    "tunrouter_gost": "tunrouter hub, GOST hosts",
    "gost": "GOST 3.3",
    "wireguard": "wireguard-go (encrypts)",
    "floor": "floor: system calls in C",
}
"""Who is in the picture, top to bottom, if measured."""
PANELS = (
    ("tcp1", "TCP, 1 stream", "Gbit/s, more is better"),
    ("udp", "UDP of 64 bytes, at overload", "thousand packets/s received, more is better"),
    ("cpu", "CPU time, hub and both hosts", "seconds per GB, less is better"),
    ("ping_load_p99", "Ping beside a TCP stream", "ms, 99th percentile, less is better"),
)
OURS, THEIRS, LIMIT = "#1f6f8b", "#b8bcc2", "#e2d3b0"
INK = "#24292f"


def draw(whole: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png of what `make bench` wrote as JSON; returns their paths."""
    figures = whole["figures"]
    with picture(stem, 2, 2, (11, 6.6), _caption(whole)) as (axes, paths):
        for axis, (figure, title, unit) in zip(axes, PANELS, strict=True):
            _panel(axis, {name: figures[name][figure] for name in PEERS if figure in figures.get(name, {})})
            axis.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=8)
            axis.set_xlabel(unit, color=INK)
    return paths


@contextmanager
def picture(
    stem: Path, rows: int, columns: int, size: tuple[float, float], caption: str
) -> Iterator[tuple[list[Any], list[Path]]]:
    """So many panels to draw in and the files that they are written to, STEM.svg and STEM.png, at the end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style: Any = {
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "svg.hashsalt": "tunrouter",
        "text.color": INK,
    }
    paths = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
    with pyplot.rc_context(style):
        drawn, axes = pyplot.subplots(rows, columns, figsize=size, facecolor="white", squeeze=False)
        drawn.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
        yield list(axes.flat), paths
        drawn.supxlabel(caption, fontsize=8, color="#57606a")
        stem.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(paths[0], metadata={"Date": None})
        drawn.savefig(paths[1], dpi=110)
        pyplot.close(drawn)


def _panel(axis: Any, rows: Mapping[str, Mapping[str, float]]) -> None:
    labels, values = [PEERS[name] for name in rows], [row["median"] for row in rows.values()]
    whiskers = [
        [row["median"] - row["least"] for row in rows.values()],
        [row["most"] - row["median"] for row in rows.values()],
    ]
    ranged = any(map(sum, whiskers))
    axis.barh(labels, values, xerr=whiskers if ranged else None, color=list(map(_colour, rows)), height=0.7,
              error_kw={"ecolor": "#6e7781", "elinewidth": 1, "capsize": 2})  # fmt: skip
    furthest = max((row["most"] for row in rows.values()), default=1.0)
    for place, row in enumerate(rows.values()):
        axis.text(row["most"] + 0.015 * furthest, place, f"{row['median']:.3g}", va="center", fontsize=9)
    axis.set_xlim(0, furthest * 1.14)
    axis.invert_yaxis()
    axis.tick_params(length=0, labelcolor=INK)
    axis.grid(axis="x", color="#d8dee4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def _colour(name: str) -> str:
    if name == "floor":
        return LIMIT
    return OURS if name.startswith(("tunrouter", "binary")) else THEIRS


def _caption(whole: Mapping[str, Any]) -> str:
    machine = whole["machine"]
    doubt = " QUICK: figures mean nothing." if whole["quick"] else ""
    return (
        f"host-1 → hub → host-2 in three namespaces of one machine, {machine['cores']} cores, Linux "
        f"{machine['kernel'].split('-')[0]}, {whole['when'][:10]}. {_rounds(whole['rounds'])}.\n{whole['disturbed']} of {whole['timed']} runs disturbed by other programs. "
        f"Compare within the picture only. Repeat: make bench.{doubt}"
    )


def _rounds(number: int) -> str:
    return f"Medians of {number} interleaved rounds, whiskers: least and most" if number > 1 else "One round"


if __name__ == "__main__":
    print(*draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
