"""One peer's way out: direct while it keeps up, a bounded queue and one writer when it does not.

Knows: when bytes may go straight to the socket, and who writes when.
Refuses to know: what is in the frames, and who reads the peer (hub, client).

`send` never waits. It sends directly only while nothing is queued and no frame is partly out;
else it queues, and one writer greenlet, made on demand, drains. So a frame is never torn, and
no reader ever waits for another session's socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from lib import framing, packet_offload
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.limits import Meter
from lib.packet_text import head_of_frame
from lib.session_queue import Budget, SendQueue
from lib.stream_layer import AnyStream
from lib.stream_tcp import NOTSENT_LOWAT, Buffer

RUN_BYTES = 192 << 10
"""What the writer takes from the queue at a time, where the peer reads fast."""
LEAST_BYTES = 32 << 10
MOMENT_SECONDS = 0.002
MEASURE_SECONDS = 0.02


class SessionSender:
    """The sending half of a session."""

    __slots__ = (
        *("_drained", "_most", "_queue", "_run", "_sent", "_since", "_written", "_writer"),
        *("is_alive", "closed_because", "meter", "stream", "traffic"),
    )

    def __init__(
        self,
        stream: AnyStream,
        traffic: Traffic,
        max_bytes: int,
        max_seconds: float,
        budget: Budget | None = None,
    ) -> None:
        self.stream = stream
        self.traffic = traffic
        self.closed_because = ""
        self.is_alive: Callable[[float], bool] = lambda seconds: True
        """Whether the peer gives a sign of life within so many seconds; set by who can ask it."""
        self.meter: Meter | None = None
        """How fast it may send; None for as fast as the peer reads."""
        self._queue = SendQueue(max_bytes, max_seconds, budget or Budget(max_bytes))
        self._most = RUN_BYTES
        """Bytes the writer takes from the queue at a time: what the peer reads in a moment."""
        self._since = self._written = 0.0
        self._run = b""
        self._sent = 0  # how much of _run, which the writer is at, has gone out
        self._writer: gevent.Greenlet | None = None
        self._drained: Event | None = None

    def tell_losses(self, lost: Callable[[Reason, bytes], None]) -> None:
        """Have somebody told of every run of frames that is dropped here."""
        self._queue.lost = lost

    @property
    def queued(self) -> int:
        """Bytes that wait in the queue."""
        return self._queue.size

    def waits(self, now: float) -> float:
        """How long what has been longest in the queue has waited; 0 where nothing does."""
        oldest = self._queue.oldest() if self._queue.size else None
        return max(0.0, now - oldest) if oldest is not None else 0.0

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames, or queue it, or drop it; what is queued is copied."""
        if self._writer is not None:
            self._queue.push(b"".join(buffers), time.monotonic(), self.traffic)
            return
        if self.meter is not None and self.meter.wait(time.monotonic()):
            self._queue.push(b"".join(buffers), time.monotonic(), self.traffic)
            self._begin_to_write()
            return
        try:
            sent = self.stream.try_send(buffers)
        except OSError:
            self.stream.shutdown()
            self._lose(Reason.SESSION_GONE, b"".join(buffers))
            return
        if self.meter is not None:
            self._count(b"".join(buffers))
        if sent < sum(map(len, buffers)) or self.stream.pending:
            self._run, self._sent = b"".join(buffers), sent
            self._begin_to_write()

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
        self._give_up()

    def _begin_to_write(self) -> None:
        self._since, self._written = time.monotonic(), 0.0
        self._writer = gevent.spawn(self._write)

    def _write(self) -> None:
        """The writer: finish what is partly out, then the queue, then be gone."""
        stream = self.stream
        try:
            while True:
                view = memoryview(self._run)
                while self._sent < len(view) or stream.pending:
                    stream.wait_writable()
                    self._sent += stream.try_send([view[self._sent :]] if self._sent < len(view) else ())
                self._adapt(len(view))
                if self.meter is not None and (delay := self.meter.wait(time.monotonic())):
                    gevent.sleep(delay)
                self._sent = 0
                most = self._most if self.meter is None else min(self._most, self.meter.slice)
                self._run = self._queue.pop(time.monotonic(), self.traffic, most)
                if not self._run:
                    break
                if self.meter is not None:
                    self._count(self._run)
        except OSError:
            stream.shutdown()
            self._give_up()
        except Exception:  # nobody would write any more: the session has to end
            stream.shutdown()
            self._give_up()
            raise
        else:
            self._finish()

    def _adapt(self, written: int) -> None:
        """Measure how fast the peer reads, and give the kernel no more than it takes in some moments.

        What the kernel holds is a queue in which everybody waits behind everybody.
        """
        now = time.monotonic()
        self._written += written
        passed = now - self._since
        if passed < MEASURE_SECONDS:
            return
        rate, self._since, self._written = self._written / passed, now, 0.0
        self._most = int(min(RUN_BYTES, max(LEAST_BYTES, rate * MOMENT_SECONDS)))
        self.stream.hold_unsent(int(min(NOTSENT_LOWAT, max(LEAST_BYTES, 2 * rate * MOMENT_SECONDS))))

    def _count(self, run: bytes) -> None:
        assert self.meter is not None
        packets = packet_offload.count_packets(run) if self.meter.counts_packets else 0
        self.meter.take(len(run), packets, time.monotonic())

    def _give_up(self) -> None:
        unsent = self._run[self._first_unsent() :]
        self._run, self._sent = b"", 0
        self._lose(Reason.SESSION_GONE, unsent, self._queue.clear())
        self._finish()

    def _finish(self) -> None:
        self._writer = None
        if self._drained is not None:
            self._drained.set()

    def _first_unsent(self) -> int:
        """Where in the writer's run the first frame begins that has not gone out whole."""
        return max((end for end in framing.split(self._run) if end <= self._sent), default=0)

    def _lose(self, reason: Reason, frames: bytes, more: int = 0) -> None:
        """Count frames, and so many packets whose frames have been told of already."""
        packets = packet_offload.count_packets(frames) + more
        if packets:
            head = head_of_frame(frames) if frames else b""
            self.traffic.drop(reason, packets, "", head, time.monotonic())
        if frames and self._queue.lost is not None:
            self._queue.lost(reason, frames)
