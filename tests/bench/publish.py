"""Writes the tables and pictures of the pages, and the figures that they show, from runs of the benchmarks.

    .venv/bin/python tests/bench/publish.py build/bench.json     into the README
    .venv/bin/python tests/bench/publish.py build/wires.json …   into the README, and all of it into RESULTS.md

Hours over wires may be had in parts: several files of a day, each of other wires, are published as one.

Knows: which columns and rows a reader of the README sees. Refuses to know: how figures came about.

The figures are kept beside the pictures (packaging/docs/bench.json, wires.json), so that a test can tell whether the
tables are theirs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import plot, wire_plot, wire_report
from tests.support.marked import between, put_between
from tests.support.netns import ROOT
from tests.support.page import DOCS

README = ROOT / "README.md"
STEM = DOCS / "bench"
FIGURES = STEM.with_suffix(".json")
BEGIN = "<!-- figures: written by tests/bench/publish.py -->\n"
END = "<!-- end of figures -->\n"

RESULTS = ROOT / "tests" / "bench" / "RESULTS.md"
WIRE_STEM = DOCS / "wires"
WIRE_FIGURES = WIRE_STEM.with_suffix(".json")
WIRE_BEGIN = "<!-- wires: written by tests/bench/publish.py -->\n"
WIRE_END = "<!-- end of wires -->\n"
WIRES = ("20", "5/50", "200+1%")
"""Those that the README shows."""

COLUMNS = {
    "tunrouter": "tunrouter",
    "binary": "its executable",
    "tunrouter_tls": "over TLS",
    "tunrouter_off": "one packet a frame",
    "tunrouter_gost": "our hub, GOST hosts",
    "gost": "GOST 3.3",
    "wireguard": "wireguard-go",
    "floor": "floor in C",
    "kernel": "kernel, no tunnel",
}
ROWS = (
    ("TCP, 1 stream, Gbit/s", ("tcp1",)),
    ("TCP, 4 streams, Gbit/s", ("tcp4",)),
    ("UDP of 64 bytes at overload, thousands a second received", ("udp",)),
    ("ping, idle, ms", ("ping_idle",)),
    ("ping under one TCP stream, median / p99, ms", ("ping_load", "ping_load_p99")),
    ("CPU seconds per GB, hub and both hosts", ("cpu",)),
    ("memory of the hub after all that, MB", ("rss_hub",)),
)


def table(whole: Mapping[str, Any]) -> str:
    """The README's table of a run, with a line on the run itself."""
    return "\n".join([*_rows(whole["figures"]), "", _about(whole), ""])


def wire_pages(whole: Mapping[str, Any]) -> dict[Path, str]:
    """What each page says of a run over wires."""
    shown = {wire: whole["wires"][wire]["figures"] for wire in WIRES if wire in whole["wires"]}
    about = ["", wire_report.about(whole), ""]
    picture = f"![Throughput over loss, and pings beside an upload]({WIRE_STEM.relative_to(ROOT)}.svg)"
    made = [f"`tests/bench/wires.py {command}`" for command in whole["command"].splitlines()]
    how = f"Made by {', '.join(made)}, then `tests/bench/publish.py`."
    return {
        README: "\n".join([picture, "", *wire_report.short_table(shown), *about]),
        RESULTS: "\n".join([how, "", *wire_report.tables(whole), "", *wire_report.bars(whole), *about]),
    }


def in_readme() -> str:
    """The table as it stands in the README."""
    return between(README, BEGIN, END)


def _rows(figures: Mapping[str, Any]) -> Iterator[str]:
    shown = [name for name in COLUMNS if name in figures]
    yield "| | " + " | ".join(COLUMNS[name] for name in shown) + " |"
    yield "|---|" + "---|" * len(shown)
    for title, row in ROWS:
        cells = [
            " / ".join(_number(figures[name][one]["median"]) for one in row if one in figures[name])
            for name in shown
        ]
        yield f"| {title} | " + " | ".join(cells) + " |"


def _about(whole: Mapping[str, Any]) -> str:
    machine = whole["machine"]
    times = "one round" if whole["rounds"] == 1 else f"medians of {whole['rounds']} rounds"
    return (
        f"{whole['when'][:10]}, {times}, {machine['cores']} cores, Linux {machine['kernel'].split('-')[0]}, "
        f"Python {machine['python']}, {machine['wireguard'] or 'no WireGuard'}; {whole['disturbed']} of "
        f"{whole['timed']} timed runs were disturbed by other programs."
    )


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def main() -> int:
    """Write what the run is for; returns the exit status."""
    parts = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if any(part["quick"] for part in parts):
        print("bench: that was a quick run: its figures mean nothing", file=sys.stderr)
        return 2
    if all("wires" in part for part in parts):
        try:
            _publish_wires(joined(parts))
        except ValueError as wrong:
            print(f"bench: {wrong}", file=sys.stderr)
            return 2
        return 0
    (whole,) = parts
    kept = _without(whole, "bars")
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    print(*plot.draw(kept, STEM))
    put_between(README, BEGIN, END, table(kept))
    return 0


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs over different wires as one run. Raises ValueError where they are not alike, or have a wire in common."""
    whole = dict(parts[0])
    for part in parts[1:]:
        for what in ("each", "rounds", "machine"):
            if part[what] != whole[what]:
                raise ValueError(f"they differ in {what!r}: {whole[what]}, {part[what]}")
        if both := whole["wires"].keys() & part["wires"].keys():
            raise ValueError(f"there are two runs over {', '.join(sorted(both))}")
        whole["wires"] = whole["wires"] | part["wires"]
        whole["command"] += f"\n{part['command']}"
        whole["seconds"] += part["seconds"]
    return whole


def _publish_wires(whole: dict[str, Any]) -> None:
    kept = whole | {"wires": {wire: _without(part) for wire, part in whole["wires"].items()}}
    WIRE_FIGURES.write_text(json.dumps(kept) + "\n")
    print(*wire_plot.draw(kept, WIRE_STEM))
    for page, text in wire_pages(kept).items():
        put_between(page, WIRE_BEGIN, WIRE_END, text)


def _without(whole: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """What is not kept of a run: its errors, and each of its timed runs."""
    return {key: value for key, value in whole.items() if key not in ("errors", "drops", "runs", *more)}


if __name__ == "__main__":
    sys.exit(main())
