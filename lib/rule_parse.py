"""Parser for the lines of an ingress or auther source (file, Redis, URL), in the format of GOST's files.

    hostname endpoint        ingresses: blanks or tabs between, # starts a comment
    name password            authers: a line that begins with # is a comment; the password is all the rest of
                             the line, and may be empty

Knows: how a line is read. Refuses to know: where the text comes from (source_read), what the rows mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lib.errors import Problem
from lib.ids import parse_uuid
from lib.source_bad_lines import BadLines

Row = tuple[str, str]
"""Of an ingress (host name, endpoint), of an auther (user name, password)."""
Reader = Callable[[str], "Row | None"]
_MARK = "\ufeff"
"""A byte order mark, which several files joined to one have in the middle."""


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
    """(user name, password) of a line; None for an empty line or a comment. Raises ValueError."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    if "\0" in line:
        raise ValueError("a NUL in a login")  # a text in another encoding, or a line feed in a row of Redis
    name, *rest = line.split(None, 1)
    return name, rest[0] if rest else ""


def rows(text: bytes, name: str, read: Reader) -> Iterator[Row | Problem]:
    """Every row of a text; bad lines are left out, and told at the end."""
    bad = BadLines()
    for number, line in enumerate(text.split(b"\n"), 1):
        try:
            row = read(line.decode("utf-8", "surrogateescape").removeprefix(_MARK))
        except ValueError as wrong:
            bad.add(name, number, wrong)
            continue
        if row is not None:
            yield row
    yield from bad.problems()
