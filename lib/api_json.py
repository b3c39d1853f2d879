"""JSON of a request's body, read a little at a time: a million rows hold up no packet.

Knows: how a text is cut into pieces that JSON's own parser reads at once, bounds on nesting and on one text.
Refuses to know: what a body means (api_change), how long it may be (api_app), who is told what is wrong.

One call of the parser for a body of 100000 routes would hold up all packets for a quarter of a second; in
another thread too, for it never lets go of the interpreter. So what ends within a piece of the text is parsed
at once. Of what is longer only the braces, commas and colons are looked at here, and it is parsed item by
item.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from lib.config_findings import at_once

PIECE = 1 << 13
"""Letters that are parsed at once."""
MAX_TEXT = 1 << 19
"""Letters of one text."""
MAX_DIGITS = 1 << 12
"""Letters of one number."""
MAX_DEPTH = 40
"""Levels of nesting of what is longer than a piece, as of a file (config_yaml)."""
MAX_KEYS = 1 << 16
"""Keys of one object."""
MAX_VALUES = 1 << 19
"""Values of a whole body, by its commas and braces: an empty list is 3 bytes here, and 64 once it is read."""
COUNTED = 1 << 16
"""Bytes of which these are counted at once."""

_TOO_DEEP = f"nested deeper than {MAX_DEPTH}"
_IN_NUMBERS = ".eE"
"""What stands behind a number that goes on in the next piece, where the parser has stopped before it."""
_SPACES = re.compile(r"[ \t\n\r]*")
_Found = tuple[Any, int]
"""(value, where it ends in the text)."""


class Beyond(Exception):
    """JSON that may be right, and is beyond one of the bounds."""


def parsed(body: bytes, step: Callable[[], None] = at_once) -> Any:
    """A body (RFC 8259) as dicts, lists and scalars; None for an empty one. Raises ValueError and Beyond.

    A name that stands twice in an object is wrong: of two readers each might take another one. `step` is
    called after each little piece of the work.
    """
    if not body.strip():
        return None
    values = 0
    for at in range(0, len(body), COUNTED):
        part = body[at : at + COUNTED]
        values += part.count(b",") + part.count(b"[") + part.count(b"{")
        step()
    if values > MAX_VALUES:
        raise Beyond(f"longer than {MAX_VALUES} values")
    reading = _Reading(body.decode("utf-8"), step)
    try:
        value, end = reading.value(reading.skip(0), 1)
    except RecursionError:
        raise Beyond(_TOO_DEEP) from None
    end = reading.skip(end)
    if end < len(reading.text):
        raise json.JSONDecodeError("Extra data", reading.text, end)
    return value


def release(value: Any, step: Callable[[], None] = at_once) -> None:
    """Empty what was parsed and is of no more use, in steps: to free a big value at once takes long."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
            one.clear()
        elif isinstance(one, dict):
            waiting += one.values()
            one.clear()
        step()


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(pairs) > 1 and len({name.lower() for name in found}) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            _see(name, seen)
    return found


def _see(name: str, seen: set[str]) -> None:
    folded = name.lower()
    if folded in seen:
        raise ValueError(f"the key {folded[:64]!r} stands there twice")
    seen.add(folded)


_decoder: Any = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)
_scan = _decoder.scan_once
"""Text, place -> the value that begins there, and where it ends; raises StopIteration, JSONDecodeError."""


class _Reading:
    """A text that is being read. All places are numbers of letters from its beginning."""

    def __init__(self, text: str, step: Callable[[], None]) -> None:
        self.text, self._step = text, step
        self._begin, self._piece = 0, text[:PIECE]

    def skip(self, at: int) -> int:
        """The place of the first letter from here on that is no blank."""
        while True:
            matched = _SPACES.match(self.text, at, at + PIECE)
            assert matched is not None  # it may match nothing
            if matched.end() < at + PIECE:
                return matched.end()
            at = matched.end()
            self._step()

    def value(self, at: int, depth: int) -> _Found:
        """The value that begins here. Raises ValueError and Beyond."""
        found = self._short(at)
        if found is not None:
            return found
        if self._letter(at) not in ("{", "["):
            return self._scalar(at)
        if depth > MAX_DEPTH:
            raise Beyond(_TOO_DEEP)
        return self._object(at + 1, depth) if self._letter(at) == "{" else self._array(at + 1, depth)

    def _letter(self, at: int) -> str:
        return self.text[at : at + 1]

    def _short(self, at: int) -> _Found | None:
        """The value that begins here, if it is right and ends within a piece."""
        while True:
            is_last = self._begin + len(self._piece) >= len(self.text)
            try:
                value, end = _scan(self._piece, at - self._begin)
                if is_last or (end < len(self._piece) and self._piece[end] not in _IN_NUMBERS):
                    return value, self._begin + end
            except (ValueError, StopIteration):
                pass  # it is longer, or wrong: where exactly will be seen
            if is_last or at == self._begin:
                return None
            self._step()
            self._begin, self._piece = at, self.text[at : at + PIECE]

    def _scalar(self, at: int) -> _Found:
        """A text or a number that is longer than a piece, or what is wrong."""
        self._step()
        is_text = self._letter(at) == '"'
        most = MAX_TEXT if is_text else MAX_DIGITS
        part = self.text[at : at + most]
        try:
            value, end = _scan(part, 0)
        except StopIteration:
            raise json.JSONDecodeError("Expecting value", self.text, at) from None
        except json.JSONDecodeError as wrong:
            if is_text and at + most < len(self.text) and wrong.msg.startswith("Unterminated string"):
                raise Beyond(f"longer in one text than {MAX_TEXT} letters") from None
            raise json.JSONDecodeError(wrong.msg, self.text, at + wrong.pos) from None
        if end == most and at + end < len(self.text) and not is_text:
            raise Beyond(f"longer in one number than {MAX_DIGITS} digits")
        return value, at + end

    def _array(self, at: int, depth: int) -> _Found:
        found: list[Any] = []
        at = self.skip(at)
        if self._letter(at) == "]":
            return found, at + 1
        while True:
            value, at = self.value(at, depth + 1)
            found.append(value)
            self._step()
            at, ended = self._next(at, "]")
            if ended:
                return found, at

    def _object(self, at: int, depth: int) -> _Found:
        found: dict[str, Any] = {}
        seen: set[str] = set()
        at = self.skip(at)
        if self._letter(at) == "}":
            return found, at + 1
        while True:
            if self._letter(at) != '"':
                what = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(what, self.text, at)
            name, at = self.value(at, depth)
            _see(name, seen)
            if len(seen) > MAX_KEYS:
                raise Beyond(f"longer in one object than {MAX_KEYS} keys")
            at = self.skip(at)
            if self._letter(at) != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", self.text, at)
            found[name], at = self.value(self.skip(at + 1), depth + 1)
            self._step()
            at, ended = self._next(at, "}")
            if ended:
                return found, at

    def _next(self, at: int, last: str) -> tuple[int, bool]:
        """(where the next item begins, False), or (where the whole ends, True)."""
        at = self.skip(at)
        letter = self._letter(at)
        if letter not in (last, ","):
            raise json.JSONDecodeError("Expecting ',' delimiter", self.text, at)
        return (at + 1, True) if letter == last else (self.skip(at + 1), False)
