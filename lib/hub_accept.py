"""A listening socket's greenlets: one a connection, few at a time, as many as there are descriptors for.

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
"""Connections taken before packets have their turn again."""
PAUSE_SECONDS = 0.2
"""How long nothing is accepted when there is no descriptor, or no memory, for one more."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server(StreamServer):  # type: ignore[misc]  # gevent has no types
    """Accepts connections into a pool of greenlets."""

    max_accept = MAX_ACCEPT

    def __init__(
        self, sock: Any, serve: Callable[[Any, Any], None], pool: Pool, full: Callable[[OSError], None]
    ) -> None:
        """full is told when a connection cannot be accepted; it waits in the kernel's queue meanwhile."""
        self._told_full = full
        super().__init__(sock, serve, spawn=pool)

    def do_read(self) -> Any:
        """The next connection, None where there is none now."""
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
    """As many descriptors as root lets us have: the usual 1,024 are a thousand clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
