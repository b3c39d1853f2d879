"""Table of logins: user names, passwords, and the host names and namespaces that each login may use.

Knows: which row counts for a user name, and which host names and namespaces it is bound to.
Refuses to know: where logins come from (hub_tables), how a password is compared (auth_passwords), what a
refusal looks like on the wire (auth_admission).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from lib import auth_passwords
from lib.settings import LoginRow


@dataclass(frozen=True, slots=True)
class Grant:
    """The hosts and namespaces that a login may use; an empty tuple means all of them."""

    hosts: tuple[str, ...] = ()
    """Host names; `.x` and `*.x` stand for x and everything below it."""
    namespaces: tuple[bytes, ...] = ()
    """Namespaces, 16 bytes each."""
    further: tuple[Grant, ...] = ()
    """Other hosts and namespaces that the login may use too."""
    nothing: str = ""
    """Why it may use none at all; empty where it may."""

    def allows(self, host: str, namespace: bytes) -> bool:
        """Whether this login may join as this host in this namespace (16 bytes)."""
        if self._holds(host, namespace):
            return True
        return any(grant.allows(host, namespace) for grant in self.further)

    def _holds(self, host: str, namespace: bytes) -> bool:
        if self.nothing or (self.namespaces and namespace not in self.namespaces):
            return False
        return not self.hosts or any(fits(pattern, host) for pattern in self.hosts)


def fits(pattern: str, host: str) -> bool:
    """Whether a host name is the pattern's; `.x` and `*.x` stand for x and all below it, as in an ingress."""
    if not pattern.startswith((".", "*.")):
        return pattern == host
    parent = pattern.removeprefix("*")
    return host == parent[1:] or host.endswith(parent)


EVERYTHING = Grant()
"""What a hub without authers grants."""


class Matches(Protocol):
    """auth_passwords.matches, or what does the same beside the packets."""

    def __call__(
        self, stored: str | None, password: str, dearest: str = "", *, others: tuple[str | None, ...] = ()
    ) -> bool:
        """Whether a password is the stored one, or one of the others; as long as the dearest hash takes."""


class Logins:
    """Logins by user name; where a name has several rows, the passwords of the last one count.

    A row that binds the name to nothing does not take back what an earlier row has bound it to: a source
    has passwords only.
    """

    __slots__ = ("_dearest", "_most", "_rows")

    def __init__(self, rows: Iterable[LoginRow] = ()) -> None:
        """Rows in the order of the sources that they come from: the later ones count."""
        self._rows: dict[str, LoginRow] = {}
        self._dearest, dearest, most = "", -1, 0
        for row in rows:
            before = self._rows.get(row.username)
            if before and not (row.hosts or row.namespaces):
                row = row._replace(hosts=before.hosts, namespaces=before.namespaces)
            self._rows[row.username] = row
            for password in (row.password, *row.others):  # also of one that a later row replaces
                if auth_passwords.is_hashed(password) and (work := auth_passwords.work(password)) > dearest:
                    self._dearest, dearest = password, work
            most = max(most, len(row.others))
        self._most = most if self._dearest else 0

    def grant(self, username: str, password: str, matches: Matches = auth_passwords.matches) -> Grant | None:
        """What a login permits; None for an unknown name or a wrong password.

        A stored empty password admits nobody (in GOST it admits everybody). Where any password is hashed,
        every wrong login takes as long as the dearest hash, so that the time does not tell which names exist:
        also a name that nobody has, one with a plain password, and one with a cheaper hash. Where a name has
        several passwords, it takes so many times as long.
        """
        row = self._rows.get(username)
        others: tuple[str | None, ...] = row.others if row else ()
        others += (None,) * (self._most - len(others))
        right = matches(row.password if row else None, password, self._dearest, others=others)
        return Grant(row.hosts, row.namespaces) if row and right else None

    def grants(self) -> Iterator[tuple[str, Grant]]:
        """Every user name, and what stands beside its password."""
        return ((name, Grant(row.hosts, row.namespaces)) for name, row in self._rows.items())

    def __contains__(self, username: str) -> bool:
        return username in self._rows

    def __len__(self) -> int:
        return len(self._rows)
