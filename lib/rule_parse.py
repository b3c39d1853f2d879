"""Ingress and auther sources as text: a line each, as in GOST's files.

    hostname endpoint        ingresses: blanks or tabs between, # starts a comment
    name password            authers: # is a comment only where a line begins with it, the password is the
                             rest of the line with whatever it holds, and may be empty

Knows: how a line is read. Refuses to know: where the text comes from (source_read), what the rows mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lib.errors import Position, Problem
from lib.ids import parse_uuid

Row = tuple[str, str]
Reader = Callable[[str], "Row | None"]
MAX_TOLD = 10


def ingress_row(line: str) -> Row | None:
    """(hostname, endpoint) of a line, None where there is nothing. Raises ValueError."""
    words = line.partition("#")[0].split()
    if not words:
        return None
    if len(words) != 2:
        raise ValueError("not `hostname endpoint`")
    try:
        parse_uuid(words[1])
    except ValueError:
        raise ValueError(f"the endpoint {words[1][:64]!r} is no UUID") from None
    return words[0], words[1]


def auther_row(line: str) -> Row | None:
    """(user name, password) of a line, None where there is nothing."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    name, *rest = line.split(None, 1)
    return name, rest[0] if rest else ""


def rows(text: bytes, name: str, read: Reader) -> Iterator[Row | Problem]:
    """Every row of a text; a bad line is left out and told, the first ones each with its place."""
    bad = 0
    for number, line in enumerate(text.split(b"\n"), 1):
        try:
            row = read(line.decode("utf-8", "surrogateescape"))
        except ValueError as wrong:
            bad += 1
            if bad <= MAX_TOLD:
                yield Problem(Position(name, number, 1), f"{wrong}; the line is left out")
            continue
        if row is not None:
            yield row
    if bad > MAX_TOLD:
        yield Problem(Position(name), f"{bad - MAX_TOLD} more bad lines are left out")
