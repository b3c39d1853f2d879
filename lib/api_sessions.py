"""Sessions of browsers with the web API, and how often an address may try a login.

Knows: tokens, for how long they are good, the cookie's attributes (RFC 6265), a bucket of tries for each
address. Refuses to know: logins (api_app), the clock and randomness (both come in).

A token is random. What is kept is its hash, so who reads our memory by a mistake of ours finds no session.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lib.api_request import Who
from lib.bounded_dict import BoundedDict

COOKIE = "tunrouter"
TOKEN_BYTES = 32
"""Random bytes of a token."""
IDLE_SECONDS, MOST_SECONDS = 1800.0, 12 * 3600.0
"""A session ends after so long without a request, and after so long in any case."""
MAX_SESSIONS = 1024
TRIES, TRY_SECONDS = 10, 6.0
"""Wrong logins that an address may give at once, and after how long it may give one more."""
MAX_ADDRESSES = 4096


@dataclass(slots=True)
class _Session:
    who: Who
    began: float
    used: float
    mark: object
    """What its login was checked by: a session ends where that is another one (other logins)."""


class Sessions:
    """The sessions of one server."""

    def __init__(self) -> None:
        self._known: BoundedDict[bytes, _Session] = BoundedDict(MAX_SESSIONS)

    def begin(self, token: str, who: Who, mark: object, now: float) -> None:
        """Remember a token, the text of TOKEN_BYTES random bytes."""
        self._known.remember(_key(token), _Session(who, now, now, mark))

    def find(self, token: str, mark: object, now: float) -> Who | None:
        """Whose token this is; None for one that is unknown, or whose session has ended."""
        session = self._known.get(_key(token)) if token else None
        if session is None:
            return None
        if now - session.used > IDLE_SECONDS or now - session.began > MOST_SECONDS or session.mark != mark:
            self.end(token)
            return None
        session.used = now
        return session.who

    def end(self, token: str) -> None:
        """Forget a token."""
        self._known.pop(_key(token), None)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def cookie(token: str, path: str, is_secure: bool) -> tuple[str, str]:
    """The header that gives a browser its token; an empty token takes it away."""
    parts = [f"{COOKIE}={token}", f"Path={path or '/'}", "HttpOnly", "SameSite=Strict"]
    parts += ["Secure"] if is_secure else []
    parts += [f"Max-Age={int(MOST_SECONDS) if token else 0}"]
    return "Set-Cookie", "; ".join(parts)


def token_of(header: str) -> str:
    """The token in a Cookie header, "" for none."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


class Tries:
    """How many wrong logins each address has given lately."""

    def __init__(self) -> None:
        self._left: BoundedDict[str, tuple[float, float]] = BoundedDict(MAX_ADDRESSES)
        """Address -> (tries that it had left, when)."""

    def wait(self, address: str, now: float) -> float:
        """Seconds until the address may try again; 0 where it may now."""
        left = self._now(address, now)
        return 0.0 if left >= 1 else (1 - left) * TRY_SECONDS

    def failed(self, address: str, now: float) -> None:
        """The address has given a wrong login."""
        self._left.remember(address, (self._now(address, now) - 1, now))

    def _now(self, address: str, now: float) -> float:
        left, when = self._left.get(address) or (float(TRIES), now)
        return min(float(TRIES), left + (now - when) / TRY_SECONDS)
