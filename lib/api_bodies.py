"""Bodies of requests to the web API: how many bytes of them are held at once, and whose big one has its turn.

Knows: that administrators have room of their own, that one caller leaves as much free as it holds.
Refuses to know: what a body means (api_json, api_change), how long one may be (api_app).

What is made of a body holds many times as much as its bytes, for as long as its handler works. So of bodies
of more than SMALL bytes one of administrators and one of all others is handled at a time; the next one waits
as bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from lib.api_request import Refused, Who
from lib.limits import stranger
from lib.settings_api import ADMIN

ADMINS, OTHERS = 16 << 20, 4 << 20
"""Bytes of bodies that are held of administrators, and of all others; one caller gets half at most."""
SMALL = 4096
"""Bytes of a body that is handled at once."""
PIECE = 1 << 14
"""Bytes that are read at once."""
BODY_SECONDS = 30.0
"""How long a body may take to come, and to get its turn."""


@dataclass(slots=True, eq=False)
class _Room:
    limit: int
    used: int = 0
    by: Counter[str] = field(default_factory=Counter)
    """Caller -> bytes of its bodies."""
    turn: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(1))


class Bodies:
    """The bodies that one server holds."""

    def __init__(self) -> None:
        self._admins, self._others = _Room(ADMINS), _Room(OTHERS)

    def of(self, who: Who, client: str, environ: dict[str, Any], most: int) -> Body:
        """The body of a request (PEP 3333) of so many bytes at most, not read yet; close() has to follow."""
        room = self._admins if who.role == ADMIN else self._others
        return Body(room, f"login {who.name}" if who.has_login else stranger(client), environ, most)


class Body:
    """The body of one request."""

    def __init__(self, room: _Room, caller: str, environ: dict[str, Any], most: int) -> None:
        self._room, self._caller, self._environ, self._most = room, caller, environ, most
        self._held = 0
        self._has_turn = False
        self._whole: bytes | None = None

    def read(self) -> bytes:
        """All of it, the same bytes whenever this is called. Raises Refused."""
        if self._whole is None:
            with gevent.Timeout(BODY_SECONDS, False):
                whole = self._received()
                if len(whole) > SMALL:
                    self._room.turn.acquire()
                    self._has_turn = True
                self._whole = whole
        if self._whole is None:
            raise _refused(408, f"the body did not come within {BODY_SECONDS:g} s, or others had their turn")
        return self._whole

    def close(self) -> None:
        """It is of no more use."""
        room = self._room
        room.used -= self._held
        room.by[self._caller] -= self._held
        if not room.by[self._caller]:
            del room.by[self._caller]
        self._held, self._whole = 0, None
        if self._has_turn:
            self._has_turn = False
            room.turn.release()

    def _received(self) -> bytes:
        too_long = Refused(413, f"a body of more than {self._most} bytes")
        length = self._environ.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > self._most:
            raise too_long
        pieces: list[bytes] = []
        size = 0
        while True:
            try:
                piece: bytes = self._environ["wsgi.input"].read(min(PIECE, self._most + 1 - size))
            except OSError as error:
                raise Refused(400, f"the body cannot be read: {error}") from None
            size += len(piece)
            if size > self._most:
                raise too_long
            if not piece:
                return b"".join(pieces)
            self._hold(len(piece))
            pieces.append(piece)

    def _hold(self, size: int) -> None:
        room = self._room
        self._held += size
        room.used += size
        room.by[self._caller] += size
        if room.by[self._caller] > room.limit - room.used + SMALL:
            raise _refused(503, "too many bodies come at once: send this one again in a moment")


def _refused(code: int, text: str) -> Refused:
    return Refused(code, text, headers=(("Retry-After", "1"), ("Connection", "close")))
