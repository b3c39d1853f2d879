"""Files of the web page (packaging/page): where they are, in a checkout or in the executable.

Knows: their folder, and the library among them.
Refuses to know: who serves them and with which headers, what the page shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UPLOT = "uPlot 1.6.32"
"""The library that draws curves, as released; its licence (MIT) lies beside it."""


def folder() -> Path:
    """Where the files of the page are."""
    return Path(getattr(sys, "_MEIPASS", ROOT)) / "packaging" / "page"
