"""Tokens by which lanes join sessions: each is good once, for a short time; a session has one at most.

Knows: whose a token is, how long it is good, from how many addresses lanes may be on their way.
Refuses to know: randomness and clocks (they come in), who is let in otherwise (auth_admission).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

TOKEN_SECONDS = 10.0
"""How long a token is good."""

S = TypeVar("S", bound=Hashable)


@dataclass(slots=True, eq=False)
class LaneTokens(Generic[S]):
    """The tokens of one hub. `now` is in seconds of a steady clock."""

    _given: dict[bytes, tuple[S, str, float]] = field(default_factory=dict)
    """Token -> (session, its client's address, until when); the oldest first."""
    _of: dict[S, bytes] = field(default_factory=dict)
    _addresses: Counter[str] = field(default_factory=Counter)

    def give(self, session: S, address: str, token: bytes, now: float) -> None:
        """Note a new token (16 random bytes) of a session; the one that it had before is good no more."""
        self._expire(now)
        self.forget(session)
        self._given[token] = session, address, now + TOKEN_SECONDS
        self._of[session] = token
        self._addresses[address] += 1

    def take(self, token: bytes, now: float) -> S | None:
        """Whose a token is, which is good no more then; None for one that is not good."""
        self._expire(now)
        found = self._given.get(token)
        if found is None:
            return None
        self.forget(found[0])
        return found[0]

    def forget(self, session: S) -> None:
        """The session has ended, or gets another token."""
        token = self._of.pop(session, None)
        if token is not None:
            _, address, _ = self._given.pop(token)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def expected(self, address: str, now: float) -> int:
        """How many lanes may be on their way from an address; from all addresses where it is empty."""
        self._expire(now)
        return self._addresses[address] if address else len(self._given)

    def _expire(self, now: float) -> None:
        while self._given:
            session, _, until = next(iter(self._given.values()))
            if until > now:
                return
            self.forget(session)
