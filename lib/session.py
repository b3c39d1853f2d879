"""One peer's way out: direct while it keeps up, a bounded queue and one writer when it does not.

Knows: when bytes may go straight to the socket, and who writes when.
Refuses to know: what is in the frames, and who reads the peer (hub, client).

`send` never waits. It sends directly only while nothing is queued and no frame is partly out;
else it queues, and one writer greenlet, made on demand, drains. So a frame is never torn, and
no reader ever waits for another session's socket.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import gevent
from gevent.event import Event

from lib.drops import Reason
from lib.queueing import SendQueue
from lib.stats import Traffic
from lib.transport import Stream

Buffer = bytes | bytearray | memoryview


class Link:
    """The sending half of a session."""

    __slots__ = ("_drained", "_queue", "_writer", "closed_because", "stream", "traffic")

    def __init__(self, stream: Stream, traffic: Traffic, max_bytes: int, max_seconds: float) -> None:
        self.stream = stream
        self.traffic = traffic
        self.closed_because = ""
        self._queue = SendQueue(max_bytes, max_seconds)
        self._writer: gevent.Greenlet | None = None
        self._drained: Event | None = None

    @property
    def queued(self) -> int:
        """Bytes that wait in the queue."""
        return self._queue.size

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames, or queue it, or drop it; what is queued is copied."""
        if self._writer is not None:
            self._push(buffers)
            return
        try:
            sent = self.stream.try_send(buffers)
        except OSError:
            self.stream.shutdown()
            return
        if sent < sum(map(len, buffers)):
            self._writer = gevent.spawn(self._write, _after(buffers, sent))

    def wait_drained(self) -> None:
        """Wait until nothing is queued: for a reader that would rather wait than see drops."""
        if self._writer is not None:
            self._drained = Event()
            self._drained.wait()
            self._drained = None

    def close(self, because: str) -> None:
        """End the session from outside; its reader sees the end of the stream."""
        self.closed_because = because
        self.stream.shutdown()

    def ended(self) -> None:
        """The session is over: stop the writer and count what was still to go."""
        if self._writer is not None:
            self._writer.kill()
        lost = self._queue.clear()
        if lost:
            self.traffic.drops[Reason.SESSION_GONE] += lost

    def _push(self, buffers: Sequence[Buffer]) -> None:
        lost = self._queue.push(b"".join(buffers), time.monotonic())
        if lost:
            self.traffic.drops[Reason.QUEUE_FULL] += lost

    def _write(self, rest: bytes) -> None:
        """The writer: finish what is partly out, then the queue, then be gone."""
        data: bytes | None = rest
        try:
            while data is not None:
                view = memoryview(data)
                while view:
                    self.stream.wait_writable()
                    view = view[self.stream.try_send([view]) :]
                data = self._queue.pop(time.monotonic(), self.traffic.drops)
        except OSError:
            self.stream.shutdown()
        finally:
            self._finish()

    def _finish(self) -> None:
        self._writer = None
        if self._drained is not None:
            self._drained.set()


def _after(buffers: Sequence[Buffer], sent: int) -> bytes:
    """What is left of buffers once the first `sent` bytes are gone, copied."""
    for index, buffer in enumerate(buffers):
        if sent < len(buffer):
            return b"".join([buffer[sent:], *buffers[index + 1 :]])
        sent -= len(buffer)
    return b""
