"""The terminal or pipe that a command prints on: tables and lines, of each as many as are wanted.

Knows: how wide it is, what is said of rows that are left out.
Refuses to know: columns (cli_columns), what is printed (cli_show).
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.cli_table import Column, lines
from lib.humanize import counted

MAX_LINES = 20
"""Lines of one kind that are printed where not all rows are wanted."""


@dataclass(frozen=True, slots=True)
class Paper:
    """The terminal or pipe."""

    width: int | None
    """Characters of a line; None for a pipe."""
    colour: bool
    most: int | None = None
    """Rows of each table that are printed; None for all."""

    def table(
        self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], noun: str = "row"
    ) -> list[str]:
        """An empty line, a table as lines, and how many more rows there are; nothing where there are none."""
        if not rows:
            return []
        found = ["", *lines(columns, rows[: self.most], self.width, self.colour)]
        more = len(rows) - self.most if self.most is not None else 0
        return [*found, *([f"and {counted(more, f'more {noun}')}; --all prints them"] if more > 0 else [])]

    def few(self, found: list[str]) -> list[str]:
        """The first lines of one kind, and how many more there are."""
        more = len(found) - MAX_LINES
        if self.most is None or more <= 0:
            return found
        return [*found[:MAX_LINES], f"and {counted(more, 'more line')} like these; --all prints them"]

    def wrapped(self, text: str, indent: str) -> list[str]:
        """A long text in lines that fit, each after `indent`."""
        return textwrap.wrap(text, self.width or 1 << 30, initial_indent=indent, subsequent_indent=indent)


def paper(most: int | None = None) -> Paper:
    """The Paper of standard output."""
    if not sys.stdout.isatty():
        return Paper(None, False, most)
    return Paper(shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR"), most)
