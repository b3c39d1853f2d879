"""The modules of lib/ as trees, for tests that look for something in all of them.

To parse all of lib takes seconds, so a test says which words stand wherever what it looks for stands: only modules
whose text has one of them are parsed. Trees are not kept, as those of all of lib take hundreds of megabytes.

Knows: which modules there are. Refuses to know: what a test looks for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

LIB = Path(__file__).resolve().parents[2] / "lib"


def lib_trees(*words: str) -> Iterator[tuple[Path, ast.Module]]:
    """The modules whose text has one of these words, in the order of their names, and what they parse to."""
    for path in sorted(LIB.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if any(word in text for word in words):
            yield path, ast.parse(text)
