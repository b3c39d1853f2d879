"""Parser for the lines of an ingress or auther source (file, Redis, URL), in the format of GOST's files.

    hostname endpoint        ingresses: blanks or tabs between, # starts a comment
    name password            authers: a line that begins with # is a comment; the password is all the rest of
                             the line, and may be empty

Knows: how a line is read. Refuses to know: where the text comes from (source_read), what the rows mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lib.errors import Position, Problem
from lib.ids import parse_uuid

Row = tuple[str, str]
"""Of an ingress (host name, endpoint), of an auther (user name, password)."""
Reader = Callable[[str], "Row | None"]
"""Reads a line: ingress_row or auther_row."""
MAX_TOLD = 10
"""Bad lines of one text that are reported one by one; further ones are only counted."""


def ingress_row(line: str) -> Row | None:
    """(host name, endpoint) of a line; None for an empty line or a comment. Raises ValueError."""
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
    """(user name, password) of a line; None for an empty line or a comment."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    name, *rest = line.split(None, 1)
    return name, rest[0] if rest else ""


def rows(text: bytes, name: str, read: Reader) -> Iterator[Row | Problem]:
    """Every row of a text, and a Problem for each of the first bad lines, which are left out.

    A last Problem says how many more bad lines there are. `name` is the source's name in problems.
    """
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
