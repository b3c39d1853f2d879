"""Who may log in: user names and their passwords.

Knows: how a password is compared.
Refuses to know: where logins come from (tables), what a refusal looks like on the wire (admission).
"""

from __future__ import annotations

from collections.abc import Iterable
from hmac import compare_digest


class Logins:
    """User names with one password each; of two for one name the later counts."""

    __slots__ = ("_passwords",)

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """`rows` are (user name, password) in the order of their sources."""
        self._passwords = {name: _bytes(password) for name, password in rows}

    def admits(self, username: str, password: str) -> bool:
        """Whether a login is right. A stored empty password admits nobody (in GOST everybody)."""
        stored = self._passwords.get(username, b"")
        return compare_digest(stored, _bytes(password)) and stored != b""

    def __len__(self) -> int:
        return len(self._passwords)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Logins) and self._passwords == other._passwords

    __hash__ = None  # type: ignore[assignment]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
