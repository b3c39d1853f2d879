"""Whether the text of a source is a table: how one says that it is empty, and what it seems to be otherwise.

Knows: the line that an empty table has, and how an HTML page, JSON and compressed data begin.
Refuses to know: what a row is (route_parse, rule_parse), what an empty table means (route_loader, rule_live).

A source that gives something else than a table has failed, as one that gives nothing. For example, a web
server replies with a login page and status 200, or a disk was full when a file was written.
"""

from __future__ import annotations

import re

EMPTY = "# tunrouter: empty"
"""A table of routes with this line and without rows is meant to be empty. To GOST the line is a comment."""

_EMPTY = re.compile(rb"[ \t]*#[ \t]*tunrouter:[ \t]*empty[ \t\r]*")
_BLANK = re.compile(rb"\s*")
_BEGINNINGS = (
    (re.compile(rb"<(!doctype\s+html|html|head|body|title|meta|script)\b", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"<(\?xml|!--|!doctype)", re.IGNORECASE), "XML"),
    (re.compile(rb"[\[{]\s*([\"\[\]{}]|$)"), "JSON"),
    (re.compile(rb"\x1f\x8b|PK\x03\x04|BZh[1-9]|\xfd7zXZ\0|\x28\xb5\x2f\xfd"), "compressed"),
)
_LOOKED_AT = 4096
"""Bytes at the beginning that are looked at."""


class NoTable(ValueError):
    """The text of a source is no table, or an empty one where that cannot be meant. Its text says why."""


def instead(text: bytes) -> str:
    """What a text seems to be that is no table ("an HTML page"); "" for one that may be a table."""
    start = text[:_LOOKED_AT]
    begins = _BLANK.match(start)
    start = start[begins.end() :] if begins else start
    return next((name for how, name in _BEGINNINGS if how.match(start)), "")


def is_marked_empty(text: bytes) -> bool:
    """Whether one of the lines is EMPTY. Blanks in it do not count."""
    end = 0
    while (place := text.find(b"tunrouter:", end)) >= 0:
        begin, end = text.rfind(b"\n", end, place) + 1, text.find(b"\n", place)
        end = len(text) if end < 0 else end
        if _EMPTY.fullmatch(text[begin:end]):
            return True
    return False


def without_rows(text: bytes, bad_line: str) -> str:
    """Why a text without a single row is no table; "" where it is blank but for comments.

    `bad_line` is what is wrong with its first bad line, "" where it has none.
    """
    other = instead(text)
    if other:
        return f"it is {other}, not a table"
    return f"no row of it can be read: {bad_line}" if bad_line else ""


def check_rules(
    text: bytes,
    is_whole: bool,
    server: str | None,
    has_rows: bool,
    had_rows: bool,
    last_server: str | None,
    bad_row: str,
) -> None:
    """Raise NoTable for a text of rules that is no table, or is empty only because something has failed.

    An empty one else counts, and lets nobody in: where the last row was removed, that has to hold.
    `is_whole` and `server` are those of the reading (source_read), `last_server` is that of the last rows.
    `bad_row` is what is wrong with the first bad row where there are only such ones.
    """
    wrong = instead(text)
    if wrong:
        raise NoTable(f"it is {wrong}, not a table")
    if bad_row:
        raise NoTable(f"no row of it can be read: {bad_row}")
    if has_rows or not had_rows or is_marked_empty(text):
        return
    if not is_whole:
        raise NoTable("an empty reply that may have been cut: it has no Content-Length")
    if server is not None and (not server or server != last_server):
        how = "was started again" if server else "may have been started again (it does not answer INFO)"
        meant = f"one that is meant to be empty has the row {EMPTY!r}"
        raise NoTable(f"it has no rows any more, and its server {how}; {meant}")
