"""Parser for the lines of an ingress, auther or bindings source (file, Redis, URL).

    hostname endpoint         ingresses, as in GOST's files: blanks or tabs between, # starts a comment
    name password             authers, as in GOST's files: a line that begins with # is a comment; the rest
                              of the line is the password, which may be empty
    address or CIDR           admissions, as in GOST's files: # starts a comment (auth_addresses)
    name hosts [namespaces]   bindings, our own: several hosts or namespaces (UUIDs) have commas between them
                              and no blanks, * stands for all; # at the beginning or after a blank starts a
                              comment

Knows: how a line is read. Refuses to know: where the text comes from (source_read), what the rows mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from lib import auth_passwords
from lib.auth_bindings import Binding
from lib.errors import Problem
from lib.ids import is_host_name, parse_uuid
from lib.route_parse import pieces
from lib.source_bad_lines import BadLines

Row = tuple[Any, ...]
"""Of an ingress (host name, endpoint), of an auther (user name, password), of an admission a Prefix, of
bindings a Binding."""
Reader = Callable[[str], "Row | None"]
_MARK = "\ufeff"
"""A byte order mark, which several files joined to one have in the middle."""
_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
_EVERY = "*"


class Useless(ValueError):
    """A row that counts, and by which nobody is let in. Its text says why."""

    def __init__(self, row: Row, why: str) -> None:
        self.row = row
        super().__init__(why)


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
    """(user name, password) of a line; None for an empty line or a comment.

    Raises ValueError, and Useless for a login by which nobody can be let in.
    """
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    if "\0" in line:
        raise ValueError("a NUL in a login")  # a text in another encoding, or a line feed in a row of Redis
    name, *rest = line.split(None, 1)
    password = rest[0] if rest else ""
    if not password:
        raise Useless((name, password), f"{name[:64]!r} has no password and is not let in")
    if auth_passwords.is_hashed(password):
        try:
            auth_passwords.check_form(password)
        except ValueError as wrong:
            raise Useless((name, password), f"{name[:64]!r} is not let in: {wrong}") from None
    return name, password


def binding_row(line: str) -> Row | None:
    """The Binding of a line; None for an empty line or a comment. Raises ValueError."""
    words = _COMMENT.sub("", line).split()
    if not words:
        return None
    if "\0" in line or not 2 <= len(words) <= 3:
        raise ValueError("not `name hosts [namespaces]`, with commas and no blanks between several hosts")
    hosts = _listed(words[1])
    wrong = next((host for host in hosts if not host or not is_host_name(host)), None)
    if wrong is not None:
        raise ValueError(f"no host can go by this name: {wrong[:64]!r}")
    return Binding(words[0], hosts, tuple(map(_namespace, _listed(words[2] if words[2:] else _EVERY))))


def _listed(word: str) -> tuple[str, ...]:
    words = tuple(word.split(","))
    if _EVERY in words[1:] or words[0] == _EVERY != word:
        raise ValueError(f"{_EVERY!r} stands for all, and so for itself: {word[:64]!r}")
    return () if word == _EVERY else words


def _namespace(text: str) -> bytes:
    try:
        return parse_uuid(text)
    except ValueError:
        raise ValueError(f"the namespace {text[:64]!r} is no UUID") from None


def rows(
    text: bytes, name: str, read: Reader, bad: BadLines | None = None, lines: dict[str, int] | None = None
) -> Iterator[Row | Problem]:
    """Every row of a text; bad lines are left out, and told at the end.

    `bad` takes what is wrong, and counts it; `lines` takes each user name with the number of its line.
    """
    bad = BadLines() if bad is None else bad
    lines = {} if lines is None else lines
    for number, line in enumerate(chain.from_iterable(pieces(text)), 1):
        try:
            row = read(line.decode("utf-8", "surrogateescape").removeprefix(_MARK))
        except Useless as useless:
            bad.add(name, number, useless, "")
            row = useless.row
        except ValueError as wrong:
            bad.add(name, number, wrong)
            continue
        if row is None:
            continue
        yield row
        if read is auther_row and (first := lines.setdefault(row[0], number)) != number:
            why = f"{row[0][:64]!r} is in line {first} already; only the last password of a name counts"
            bad.add(name, number, why, "")
    yield from bad.problems()
