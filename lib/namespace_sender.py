"""What an attachment's session, or the hub that its host is at, is reached by.

Knows: what forwarding asks of a way out. Refuses to know: streams, queues and sockets (session_sender,
session_lane_sender, cluster_entrypoint).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lib.packet import Buffer


class Sender(Protocol):
    """What an attachment's session is reached by (session_sender.SessionSender)."""

    @property
    def queued(self) -> int:
        """Bytes that wait."""

    def send(self, buffers: Sequence[Buffer], /) -> None:
        """Send a run of whole frames, or queue it, or drop it; never waits."""

    def close(self, because: str, /) -> None:
        """End the session, for a reason that the log will tell."""

    def is_alive(self, seconds: float, /) -> bool:
        """Whether the peer gives a sign of life within so many seconds."""


class _NoSender:
    """Of an attachment that packets are only decided about for (`explain`, tests): nothing gets out."""

    queued = 0

    def send(self, buffers: Sequence[Buffer], /) -> None:
        raise RuntimeError("an attachment without a session cannot send")

    def close(self, because: str, /) -> None:
        raise RuntimeError("an attachment without a session cannot be closed")

    def is_alive(self, seconds: float, /) -> bool:
        return False


NO_SENDER: Sender = _NoSender()
