"""Listening socket of a hub: accepts connections into greenlets, and pauses when descriptors run out.

Knows: gevent's StreamServer. Refuses to know: what a connection is for (hub).
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable
from typing import Any

from gevent.pool import Pool
from gevent.server import StreamServer

MAX_ACCEPT = 8
"""Connections accepted in a row before packets get their turn."""
PAUSE_SECONDS = 0.2
"""Seconds without an accept after descriptors or memory have run out."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server(StreamServer):  # type: ignore[misc]  # gevent has no types
    """Accepts connections into a pool of greenlets."""

    max_accept = MAX_ACCEPT

    def __init__(
        self, sock: Any, serve: Callable[[Any, Any], None], pool: Pool, full: Callable[[OSError], None]
    ) -> None:
        """`full` is called when a connection cannot be accepted; it stays in the kernel's queue meanwhile."""
        self._told_full = full
        super().__init__(sock, serve, spawn=pool)

    def do_read(self) -> Any:
        """Accept the next connection (called by gevent); None where there is none now."""
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._told_full(error)
            self.stop_accepting()
            self._timer = self.loop.timer(PAUSE_SECONDS)
            self._timer.start(self._start_accepting_if_started)
            return None


def raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors to the hard limit: the usual 1,024 are enough for 1,000 clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
