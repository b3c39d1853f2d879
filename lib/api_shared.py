"""Replies that all open pages ask for again and again: made once for all of them, and kept for a moment.

Knows: for how long a reply is good, and that who asks while it is being made waits for it.
Refuses to know: what it tells, and who may be told (whoever asks puts both into the key).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from weakref import WeakValueDictionary

from gevent.lock import BoundedSemaphore

from lib.api_board import TICK_SECONDS
from lib.api_request import pieces
from lib.bounded_dict import BoundedDict
from lib.service_scheduling import in_turns

KEPT = 32
"""Replies that are kept."""


class Shared:
    """The replies of one process."""

    def __init__(self) -> None:
        self._made: BoundedDict[Hashable, tuple[float, bytes]] = BoundedDict(KEPT)
        self._making: WeakValueDictionary[Hashable, BoundedSemaphore] = WeakValueDictionary()

    def reply(self, key: Hashable, make: Callable[[], Mapping[str, object]]) -> bytes:
        """The JSON of what `make` returns, at most a tick old. What it raises is raised, and not kept."""
        one = self._making.get(key)
        if one is None:
            one = self._making[key] = BoundedSemaphore(1)
        with one:
            began = time.monotonic()
            made = self._made.get(key)
            if made is not None and began - made[0] < TICK_SECONDS:
                return made[1]
            body = b"".join(in_turns(pieces(make())))
            self._made.renew(key, (began, body))
            for old in [old for old, (when, _) in self._made.items() if began - when >= TICK_SECONDS]:
                del self._made[old]
            return body

    def forget(self) -> None:
        """Keep none of them: something was changed, and whoever did that wants to see it."""
        self._made.clear()
