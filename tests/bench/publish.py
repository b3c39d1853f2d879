"""Writes the README's table and picture, and the figures that they show, from a run of `make bench`.

    .venv/bin/python tests/bench/publish.py build/bench.json

Knows: which columns and rows a reader of the README sees. Refuses to know: how figures came about.

The figures are kept beside the picture (packaging/docs/bench.json), so that a test can tell whether the
table is theirs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import plot
from tests.support.netns import ROOT
from tests.support.page import DOCS

README = ROOT / "README.md"
STEM = DOCS / "bench"
FIGURES = STEM.with_suffix(".json")
BEGIN = "<!-- figures: written by tests/bench/publish.py -->\n"
END = "<!-- end of figures -->\n"

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


def in_readme() -> str:
    """The table as it stands in the README."""
    text = README.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0]


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
    """Write all three; returns the exit status."""
    whole = json.loads(Path(sys.argv[1]).read_text())
    if whole["quick"]:
        print("bench: that was a quick run: its figures mean nothing", file=sys.stderr)
        return 2
    kept = {key: value for key, value in whole.items() if key not in ("errors", "drops", "bars", "runs")}
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    print(*plot.draw(kept, STEM))
    README.write_text(README.read_text(encoding="utf-8").replace(BEGIN + in_readme(), BEGIN + table(kept)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
