"""A YAML file with some of its objects replaced, the rest of its text as it was, comments included.

Knows: where in a text each top-level key and each item of its list stands. Refuses to know: what an object
means (config_schema), when a file is written (api_save).

    # hubs               -> kept: it stands before a key
    services:            -> kept while its list has objects
      # the first one    -> kept while the object behind it is
      - name: hub        -> kept as it is, or written anew as a whole

What stands between two objects belongs to the one behind it. Anchors may be used anywhere in a text, so who
writes the result has to read it again and compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lib import config_print
from lib.config_findings import at_once

_EVENTS = 64
"""Parser events of one step."""
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Entry:
    """A top-level key: the lines of it and of each item of its list, the first one and the one behind."""

    key: str
    start: int
    end: int
    items: list[tuple[int, int]] = field(default_factory=list)
    column: int = -1
    """Where the dashes of the items stand; -1 where the value is no list that has a line for each item."""


Kept = int
"""An item of the file that stays as it is: its index."""


def spliced(
    text: str,
    lists: Mapping[str, Sequence[Kept | object]],
    others: Mapping[str, object],
    step: Callable[[], None] = at_once,
) -> str:
    """The text with these keys changed; of `lists` items that stay are given by their index in the file.

    A key of `others` with None is left out. `step` is called after every few events of the parser.
    Raises ValueError where the text is no mapping with a line for each key; yaml.YAMLError where it is no
    YAML.
    """
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    entries = _entries(text, step)
    made: list[str] = []
    at = 0
    for entry in entries:
        made += lines[at : entry.start]
        at = entry.end
        key = entry.key
        if key in lists and entry.column >= 0:
            made += _list(lines, entry, lists[key], step)
        elif key in lists or key in others:
            made += _whole(key, _plain(lists[key]) if key in lists else others[key], step)
        else:
            made += lines[entry.start : entry.end]
    made += lines[at:]
    there = {entry.key for entry in entries}
    for key, value in {**lists, **others}.items():
        if key not in there:
            made += _whole(key, _plain(lists[key]) if key in lists else value, step)
    return "".join(made)


def _plain(rows: Sequence[Kept | object]) -> list[object]:
    if any(isinstance(row, int) for row in rows):
        raise ValueError("the items of a list have no lines of their own")
    return list(rows)


def _whole(key: str, value: object, step: Callable[[], None]) -> list[str]:
    return _printed({key: value}, 0, step) if value else []


def _printed(value: object, column: int, step: Callable[[], None]) -> list[str]:
    made = []
    for piece in config_print.as_yaml(value, " " * column):
        made.append(piece)
        step()
    return made


def _list(
    lines: Sequence[str], entry: _Entry, rows: Sequence[Kept | object], step: Callable[[], None]
) -> list[str]:
    if not rows:
        return []
    made = list(lines[entry.start : entry.items[0][0]])  # the key
    for row in rows:
        if isinstance(row, int):
            start = entry.items[row - 1][1] if row else entry.items[0][0]
            made += lines[start : entry.items[row][1]]
        else:
            made += _printed([row], entry.column, step)
    return made


def _entries(text: str, step: Callable[[], None]) -> list[_Entry]:
    """The top-level keys in order. Raises ValueError, yaml.YAMLError."""
    scan = _Scan(text.splitlines())
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        scan.take(event)
        if not number % _EVENTS:
            step()
    return scan.entries


class _Scan:
    """Takes parser events one by one, and notes the lines of keys and items."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.entries: list[_Entry] = []
        self._lines = lines
        self._depth = 0
        self._wants_key = True
        self._in_list = False
        self._behind = 0
        """The line behind the last one that has something of the present value."""

    def take(self, event: yaml.Event) -> None:
        """Note one event. Raises ValueError."""
        if isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
            start, end = _marks(event)
            if end.index > start.index:  # the bracket of a flow; a block ends where the next thing begins
                self._reach(event)
            self._has_ended()
        elif isinstance(event, yaml.NodeEvent):
            self._begin(event)
            if isinstance(event, yaml.CollectionStartEvent):
                self._depth += 1
            else:
                self._has_ended()

    def _begin(self, event: yaml.NodeEvent) -> None:
        if self._depth == 0 and not _is_block(event, yaml.MappingStartEvent):
            raise ValueError("no mapping with a line for each key")
        if self._depth == 1 and self._wants_key:
            if not isinstance(event, yaml.ScalarEvent) or _marks(event)[0].column:
                raise ValueError("a key that is no word at the beginning of a line")
            self.entries.append(_Entry(event.value, _marks(event)[0].line, _marks(event)[1].line + 1))
        elif self._depth == 1:
            self._in_list = _is_block(event, yaml.SequenceStartEvent)
            if self._in_list:
                self.entries[-1].column = _marks(event)[0].column
        elif self._depth == 2 and self._in_list:
            self._item(event)
        if not isinstance(event, yaml.CollectionStartEvent) or event.flow_style:
            self._reach(event)

    def _item(self, event: yaml.NodeEvent) -> None:
        entry, line = self.entries[-1], _marks(event)[0].line
        if not self._lines[line].startswith(" " * entry.column + "-"):
            raise ValueError("an item that begins behind the line of its dash")
        entry.items.append((line, line + 1))
        self._behind = line + 1

    def _has_ended(self) -> None:
        """A key, a value or an item has ended."""
        if self._depth == 1:
            if not self._wants_key:
                self.entries[-1].end = max(self._behind, self.entries[-1].end)
                self._in_list = False
            self._wants_key = not self._wants_key
        elif self._depth == 2 and self._in_list:
            entry = self.entries[-1]
            entry.items[-1] = entry.items[-1][0], self._behind

    def _reach(self, event: yaml.Event) -> None:
        start, end = _marks(event)
        is_over = end.column == 0 and end.line > start.line  # as a text behind `|` is
        self._behind = max(self._behind, end.line if is_over else end.line + 1)


def _is_block(event: yaml.NodeEvent, kind: type[yaml.CollectionStartEvent]) -> bool:
    return isinstance(event, kind) and not event.flow_style


def _marks(event: yaml.Event) -> tuple[Any, Any]:
    """Where an event begins and ends."""
    return event.start_mark, event.end_mark
