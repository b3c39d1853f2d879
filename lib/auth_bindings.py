"""Table of bindings: which hosts and namespaces each user name may use, where that stands beside the logins.

Knows: which rows belong to a user name, and that a name without any row may use nothing.
Refuses to know: passwords (auth_logins), where rows come from (rule_live), how a row is written (rule_parse).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from lib.auth_logins import Grant


class Binding(NamedTuple):
    """A row: a user name, and hosts and namespaces (16 bytes each) that it may use; empty for all of them."""

    username: str
    hosts: tuple[str, ...] = ()
    namespaces: tuple[bytes, ...] = ()


class Bindings:
    """Bindings by user name. Every row of a name is a permission of its own."""

    __slots__ = ("_grants", "_rows")

    def __init__(self, rows: Iterable[Binding] = ()) -> None:
        self._grants: dict[str, list[Grant]] = {}
        self._rows = 0
        for row in rows:
            self._grants.setdefault(row.username, []).append(Grant(row.hosts, row.namespaces))
            self._rows += 1

    def grant(self, username: str, own: Grant) -> Grant:
        """What a login may use whose password was right.

        `own` is what stands beside its password (`hosts`, `namespaces`). Where that is a binding, it counts
        too; where it is none, only the rows of this table say what the login may use.
        """
        grants = self._grants.get(username, [])
        if own.hosts or own.namespaces:
            grants = [own, *grants]
        if not grants:
            return Grant(nothing=f"no binding of the login {username[:64]!r} is known")
        return replace(grants[0], further=tuple(grants[1:]))

    def usernames(self) -> Iterator[str]:
        """Every user name with a row."""
        return iter(self._grants)

    def __len__(self) -> int:
        return self._rows
