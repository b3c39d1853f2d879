"""Text tables: on a terminal as many columns as fit its width, into a pipe always all of them.

Knows: which column is left out first where there is no room, and how a line is laid out (printable).
Refuses to know: what is in the cells (cli_columns), who prints them (cli_show, cli_top).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.printable import printable

Row = Mapping[str, Any]

GAP = "  "
BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    text: Callable[[Row], str]
    """A row's cell."""
    rank: int = 0
    """Columns with the highest rank are left out first where there is no room; 0 is never left out."""
    value: Callable[[Row], Any] | None = None
    """A row's sort key; None sorts by the text."""
    short: Callable[[Row], str] | None = None
    """A shorter cell, used before any column is left out."""
    right: bool = False
    """Whether cells are aligned to the right, as numbers are."""
    style: Callable[[Row], str] | None = None
    """The ANSI colour of a cell, such as RED; "" for none."""
    tells_apart: bool = False
    """Whether rows are told apart by it: it is not left out where two rows would look alike without it."""

    def key(self, row: Row) -> Any:
        """The sort key of a row."""
        return self.value(row) if self.value else self.text(row)


@dataclass(frozen=True, slots=True)
class Table:
    """The columns that fit, the text of each cell by row, and the width of each column in characters."""

    columns: tuple[Column, ...]
    cells: tuple[tuple[str, ...], ...]
    widths: tuple[int, ...]


def fitting(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Table:
    """The table with the columns that fit into `width` characters; None is for all columns."""
    texts = {column.title: _cells(column, rows, False) for column in columns}
    if width is not None and _size(texts) > width:
        names = [column.title for column in columns if column.tells_apart]
        for column in columns:
            if column.short is not None:
                shorter = {**texts, column.title: _cells(column, rows, True)}
                texts = shorter if _distinct(shorter, names) == _distinct(texts, names) else texts
        for column in sorted(columns, key=lambda column: -column.rank):
            if _size(texts) <= width or not column.rank:
                break
            fewer = {title: cells for title, cells in texts.items() if title != column.title}
            texts = fewer if _distinct(fewer, names) == _distinct(texts, names) else texts
    kept = tuple(column for column in columns if column.title in texts)
    cells = tuple(texts[column.title] for column in kept)
    return Table(kept, tuple(zip(*cells, strict=True)) if cells else (), tuple(map(_width, cells)))


def lines(columns: Sequence[Column], rows: Sequence[Row], width: int | None, colour: bool) -> list[str]:
    """The table as lines, the titles first; `colour` adds ANSI sequences."""
    table = fitting(columns, rows, width)
    title = _line(table, [column.title for column in table.columns], width)
    found = [_painted(title, BOLD) if colour else title]
    for row, cells in zip(rows, table.cells, strict=True):
        paints = [column.style(row) if colour and column.style else "" for column in table.columns]
        found.append(_line(table, cells, width, paints))
    return found


def _cells(column: Column, rows: Sequence[Row], shortly: bool) -> tuple[str, ...]:
    text = column.short if shortly and column.short else column.text
    return tuple(printable(text(row)) for row in rows)


def _distinct(texts: Mapping[str, Sequence[str]], titles: Sequence[str]) -> int:
    """How many rows these columns tell apart, as far as they are there."""
    kept = [texts[title] for title in titles if title in texts]
    return len(set(zip(*kept, strict=True)))


def _width_of(title: str, cells: Sequence[str]) -> int:
    return max(len(title), max(map(len, cells), default=0))


def _size(texts: Mapping[str, Sequence[str]]) -> int:
    widths = [_width_of(title, cells) for title, cells in texts.items()]
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _width(cells: Sequence[str]) -> int:
    return max(map(len, cells), default=0)


def _line(table: Table, cells: Sequence[str], width: int | None, paints: Sequence[str] = ()) -> str:
    """One line; what does not fit into `width` is cut and ends in `…`."""
    left = width if width is not None else 1 << 30
    found = []
    for number, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
        wide = max(table.widths[number], len(column.title))
        last = number == len(cells) - 1 and not column.right
        padded = cell if last else cell.rjust(wide) if column.right else cell.ljust(wide)
        if len(padded) > left:
            padded = padded[: max(0, left - 1)] + "…" if left > 0 else ""
        left -= len(padded) + len(GAP)
        found.append(_painted(padded, paints[number]) if paints and paints[number] else padded)
    return GAP.join(found).rstrip()


def _painted(text: str, paint: str) -> str:
    return f"\x1b[{paint}m{text}\x1b[0m"
