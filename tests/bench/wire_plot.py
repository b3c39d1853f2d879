"""Draws what tests/bench/wires.py measured: throughput over loss, and the distribution of pings beside an upload.

    .venv/bin/python tests/bench/wire_plot.py build/wires.json build/wires

Knows: which figures make a picture, matplotlib (imported where it is used: only `make bench` installs it).
Refuses to know: how figures came about.

Each panel takes the wires that the run has; one for which there is nothing stays out of the picture.
"""

from __future__ import annotations

import functools
import json
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.plot import INK, picture
from tests.bench.wire_report import PEERS, about, wire_title

LINES = {
    "tunrouter": ("#1f6f8b", "-"),
    "tunrouter_tls": ("#1f6f8b", "--"),
    "parent": ("#7fb2c4", "-"),
    "parent_tls": ("#7fb2c4", "--"),
    "gost": ("#c2703d", "-"),
    "wireguard": ("#6e7781", "-"),
    "kernel": ("#b8bcc2", ":"),
}
"""Colour and dashes of each peer."""
BESIDE = ("20", "200+1%", "5/50")
"""Wires whose pings beside an upload are drawn, if measured."""

TICKS = [20, 40, 80, 160, 320, 640, 1280, 2560]
"""Milliseconds, on an axis of logarithms."""


def draw(whole: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png; returns their paths, none where nothing of it was measured."""
    panels: list[Callable[[Any], None]] = []
    if len(curve := losses(whole)) > 1:
        panels.append(functools.partial(_throughput, curve))
    panels += [
        functools.partial(_pings, wire, trips) for wire in BESIDE if (trips := beside_an_upload(whole, wire))
    ]
    if not panels:
        return []
    doubt = " QUICK: figures mean nothing." if whole["quick"] else ""
    text = f"{about(whole)} Compare within the picture only. Repeat: tests/bench/wires.py.{doubt}"
    caption = textwrap.fill(text, 80 * len(panels))
    with picture(stem, 1, len(panels), (4.6 * len(panels), 4.2), caption) as (axes, paths):
        for axis, panel in zip(axes, panels, strict=True):
            panel(axis)
            axis.legend(fontsize=8, frameon=False)
            axis.grid(color="#d8dee4", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.tick_params(length=0, labelcolor=INK)
            axis.spines[["top", "right"]].set_visible(False)
    return paths


def losses(whole: Mapping[str, Any], rate: float = 200) -> dict[float, dict[str, float]]:
    """{percent lost a wire: {peer: Mbit/s of one stream}} of the wires of this rate over which UDP passes."""
    found: dict[float, dict[str, float]] = {}
    for name, part in whole["wires"].items():
        if part["rates"] == [rate] and "/" not in name and "noudp" not in name:
            peers = {
                peer: figures["tcp_up"]["median"]
                for peer, figures in part["figures"].items()
                if "tcp_up" in figures
            }
            if peers:
                found[part["loss"]] = peers
    return dict(sorted(found.items()))


def beside_an_upload(whole: Mapping[str, Any], wire: str) -> dict[str, list[float]]:
    """{peer: percentiles of its pings, ms}."""
    trips = whole["wires"].get(wire, {}).get("trips", {})
    return {peer: trips[peer]["up"] for peer in PEERS if "up" in trips.get(peer, {})}


def _throughput(curve: Mapping[float, Mapping[str, float]], axis: Any) -> None:
    for peer in PEERS:
        points = [(loss, rates[peer]) for loss, rates in curve.items() if peer in rates]
        if points:
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=PEERS[peer], **_line(peer))
    axis.set_ylim(bottom=0)
    _label(axis, "TCP, 1 stream, 200 Mbit/s wires", "percent lost on each wire", "Mbit/s, more is better")


def _pings(wire: str, trips: Mapping[str, list[float]], axis: Any) -> None:
    for peer, steps in trips.items():
        axis.plot(steps, range(101), label=PEERS[peer], **_line(peer))
    axis.set_xscale("log")
    longest = max(steps[-1] for steps in trips.values())
    axis.set_xticks([tick for tick in TICKS if tick < 2 * longest], minor=False)
    axis.set_xticks([], minor=True)
    axis.xaxis.set_major_formatter("{x:g}")
    _label(
        axis,
        f"Ping beside an upload\n{wire_title(wire)}",
        "ms, less is better",
        "percent of pings not over it",
    )


def _label(axis: Any, title: str, across: str, up: str) -> None:
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold", pad=8)
    axis.set_xlabel(across, color=INK)
    axis.set_ylabel(up, color=INK)


def _line(peer: str) -> dict[str, Any]:
    colour, dashes = LINES[peer]
    return {"color": colour, "linestyle": dashes, "linewidth": 1.6}


if __name__ == "__main__":
    print(*draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
