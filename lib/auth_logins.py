"""Who may log in: user names, their passwords, and what each login is good for.

Knows: which row counts, and which host names and namespaces it is bound to.
Refuses to know: where logins come from (hub_tables), how a password is compared (auth_passwords), what a
refusal looks like on the wire (auth_admission).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


class Logins:
    """User names with one row each; of two for one name the later counts."""

    __slots__ = ("_any_hashed", "_rows")

    def __init__(self, rows: Iterable[LoginRow] = ()) -> None:
        """`rows` in the order of their sources."""
        self._rows = {row.username: row for row in rows}
        hashes = (row.password for row in self._rows.values() if auth_passwords.is_hashed(row.password))
        self._any_hashed = next(hashes, "")

    def grant(
        self, username: str, password: str, matches: Callable[[str, str], bool] = auth_passwords.matches
    ) -> Grant | None:
        """What a login is good for, None where it is not right.

        A stored empty password admits nobody (in GOST everybody). An unknown name takes as long as a wrong
        password, so that names cannot be tried out.
        """
        row = self._rows.get(username)
        right = matches(row.password if row else self._any_hashed, password)
        return Grant(row.hosts, row.namespaces) if row and right else None

    def __len__(self) -> int:
        return len(self._rows)
