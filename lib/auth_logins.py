"""Who may log in: user names, their passwords, and what each login is good for.

Knows: which row counts, and which host names and namespaces it is bound to.
Refuses to know: where logins come from (hub_tables), how a password is compared (auth_passwords), what a
refusal looks like on the wire (auth_admission).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lib import auth_passwords
from lib.settings import LoginRow


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login is good for; empty means everything."""

    hosts: tuple[str, ...] = ()
    namespaces: tuple[bytes, ...] = ()

    def allows(self, host: str, namespace: bytes) -> bool:
        """Whether it may be this host in this namespace (16 bytes)."""
        if self.namespaces and namespace not in self.namespaces:
            return False
        return not self.hosts or any(_fits(pattern, host) for pattern in self.hosts)


def _fits(pattern: str, host: str) -> bool:
    """Exact, or by `.x` and `*.x` everything below x and x itself, as an ingress has it."""
    if not pattern.startswith((".", "*.")):
        return pattern == host
    parent = pattern.removeprefix("*")
    return host == parent[1:] or host.endswith(parent)


EVERYTHING = Grant()


class Matches(Protocol):
    """auth_passwords.matches, or what does the same beside the packets."""

    def __call__(self, stored: str | None, password: str, dearest: str = "") -> bool:
        """Whether a password is the stored one; as long as the dearest hash takes."""


class Logins:
    """User names with one row each; of two for one name the later counts."""

    __slots__ = ("_dearest", "_rows")

    def __init__(self, rows: Iterable[LoginRow] = ()) -> None:
        """`rows` in the order of their sources."""
        self._rows = {row.username: row for row in rows}
        passwords = (row.password for row in self._rows.values())
        self._dearest = max(filter(auth_passwords.is_hashed, passwords), key=auth_passwords.work, default="")

    def grant(self, username: str, password: str, matches: Matches = auth_passwords.matches) -> Grant | None:
        """What a login is good for, None where it is not right.

        A stored empty password admits nobody (in GOST everybody). Where any password is hashed, every wrong
        login takes as long as the dearest hash, so that names cannot be tried out: also one that nobody has,
        one with a plain password, one with a cheaper hash.
        """
        row = self._rows.get(username)
        right = matches(row.password if row else None, password, self._dearest)
        return Grant(row.hosts, row.namespaces) if row and right else None

    def __len__(self) -> int:
        return len(self._rows)
