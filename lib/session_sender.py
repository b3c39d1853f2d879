"""Sending half of a session: direct to the socket while the peer keeps up, else a queue with one writer.

Knows: when frames may go straight to the socket, and which greenlet writes when.
Refuses to know: what is in the frames, and who receives from the peer (hub, client).

`send` never waits. It writes to the socket only while nothing is queued and no frame is partly sent.
Otherwise it puts the frames into the queue, and one writer greenlet, made on demand, sends them. So frames
are never mixed up in the stream, and no reader ever waits for another session's socket.

While the queue drains, the writer measures how fast it does (`rate`), and this decides two things:

                    the kernel holds unsent           a reader of packets for this peer (client_device)
    unknown         2 x FIRST_BYTES at most           waits until the queue is empty, or the rate is known
    below FAST      what drains in 4 ms               reads on: flows take turns in the queue
    FAST and above  NOTSENT_LOWAT at most             waits until the queue is empty: nothing is dropped
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from lib import framing, packet_offload, session_chunks
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.limits import Meter
from lib.packet import Buffer
from lib.service_scheduling import breathe
from lib.session_budget import Budget
from lib.session_pacing import Pacing
from lib.session_queue import SendQueue
from lib.session_window import PAUSE_SECONDS, Allowed
from lib.stream_layer import AnyStream
from lib.stream_options import NOTSENT_LOWAT

RUN_BYTES = 192 << 10
"""Most bytes that the writer takes from the queue at a time, for a fast peer."""
FIRST_BYTES = 8 << 10
"""The same until the peer's speed is known: enough for 20 Mbit/s. A fast peer is known as such in 20 ms."""
LEAST_BYTES = 1200
"""Least bytes of the same, for the slowest peer: one whole packet, as a queue gives no less than that."""
MOMENT_SECONDS = 0.002
"""What drains in this time is taken from the queue at a time; the kernel may hold twice as much."""
FAST = RUN_BYTES / MOMENT_SECONDS
"""Bytes a second from which on a peer is fast: the processors limit it, not a wire. 790 Mbit/s."""
AHEAD = 3
"""Runs that the writer gives to a fast peer behind another one, without a look at other sockets. A reader may
bring more than a run in each pass of the event loop: the queue, which costs time, would stay for ever."""
MEASURE_SECONDS = 0.02
"""Least time over which the peer's speed is measured. Half of what was known counts no more after it."""
MOST_MOMENT_SECONDS = 0.1
"""The same as MOMENT_SECONDS at most, where the event loop is late."""
MORE, CALMER = 1.25, 0.7
"""By what a moment is longer than a pass of a late loop; what is left of it after one that was not late."""
READER_SECONDS = 0.05
"""How long wait_for_reader() waits at most: a hub may read nothing from us before we have read from it."""


class SessionSender:
    """The sending half of a session."""

    __slots__ = (
        *("_delayed", "_direct", "_goes_on", "_moment", "_most", "_queue", "_run", "_sent", "_since"),
        *("_taken", "_total", "_total_since", "_wakes"),
        *("beside", "budget", "closed_because", "meter", "pacing", "rate", "stream", "traffic", "window"),
        "writer",
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
        self.beside: SessionSender | None = None
        """That of the session's other lane, on the same wire."""
        self.meter: Meter | None = None
        """The rate limits of this direction; None for none."""
        self.window: Allowed | None = None
        """How far the far end of a link lets us go; None for any far."""
        self.budget = budget or Budget(2 * max_bytes + RUN_BYTES)
        self.rate = 0.0
        """Bytes a second at which the queue drains, as last measured; 0 while that is unknown."""
        self._queue = SendQueue(max_bytes, max_seconds, self.budget)
        self._most, self._direct = FIRST_BYTES, float(FIRST_BYTES)
        """Bytes that the writer takes from the queue at a time, which drain in a moment; and of the longest
        run that goes straight to the socket, past the queue, whoever the peer is."""
        self.pacing = Pacing()
        """The bound on what the kernel sends where a wire limits it."""
        self._since, self._taken, self._delayed, self._wakes = 0.0, 0, False, 0
        """When the present measurement began (0 until the kernel takes bytes again), what the stream has
        taken since (or the kernel had not), whether limits made the writer wait, how often it was woken."""
        self._moment = MOMENT_SECONDS
        """What drains in this time is taken from the queue at a time."""
        self._total_since, self._total = time.monotonic(), 0
        """Bytes that the stream has taken since then, whether there was a queue or not."""
        self._run, self._sent = b"", 0
        """What the writer sends, which cannot be dropped any more; how much of it is sent."""
        self.writer: gevent.Greenlet | None = None
        """What sends the frames that wait; None where none do."""
        self._goes_on: Event | None = None
        """Set once the reader that waits need not wait any more."""
        stream.hold_unsent(2 * FIRST_BYTES)

    def tell_losses(self, lost: Callable[[Reason, bytes], None]) -> None:
        """Call `lost` from now on with the reason and the frames of every run that is dropped here."""
        self._queue.lost = lost

    @property
    def has_queue(self) -> bool:
        """Whether frames wait to be written, or a frame is partly sent."""
        return self.writer is not None

    @property
    def _is_fast(self) -> bool:
        return self._direct > RUN_BYTES

    @property
    def is_slow(self) -> bool:
        """Whether the peer's rate is known, and a wire's."""
        return bool(self._queue.rate)

    @property
    def queued(self) -> int:
        """Bytes in the queue."""
        return self._queue.size

    def waits(self, now: float) -> float:
        """Seconds that the oldest frames in the queue have waited; 0 while it is empty."""
        oldest = self._queue.oldest() if self._queue.size else None
        return max(0.0, now - oldest) if oldest is not None else 0.0

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames, or queue it, or drop it. The buffers may be reused when it returns."""
        if self.writer is not None:  # it alone writes: these frames must not overtake those in the queue
            self._queue.push(b"".join(buffers), time.monotonic(), self.traffic)
            return
        size = sum(map(len, buffers))
        # On a slow wire a long run would be a queue in the kernel, one without turns. A near peer that takes
        # all has no such wire, though its rate stays unknown: no queue lasts.
        is_long = size > self._direct and (self.rate or not self.stream.trip().keeps_up)
        is_long = is_long or (self.window is not None and self.window.is_shut(time.monotonic()))
        if is_long or (self.meter is not None and self.meter.wait(time.monotonic())):
            self._queue.push(b"".join(buffers), time.monotonic(), self.traffic)
            self._begin_to_write()
            return
        try:
            sent = self.stream.try_send(buffers)
        except OSError:
            self.stream.shutdown()
            self._lose(Reason.SESSION_GONE, b"".join(buffers))
            return
        self._total += sent
        if self.meter is not None:
            self._count(buffers)
        if sent < size:
            self._hold(b"".join(buffers), sent)
        if sent < size or self.stream.pending:  # the kernel has not taken all of it
            self._begin_to_write()

    def reply(self, frame: bytes) -> None:
        """Send the reply to a control frame. It is left out while another one waits for the peer to read."""
        if not self._queue.control_waits:
            self.send([frame])

    def expire(self, now: float) -> bool:
        """Drop some of the frames that have waited too long; False once the whole queue was looked at."""
        return bool(self._queue.size) and self._queue.expire(now)

    def _hold(self, run: bytes, sent: int = 0) -> None:
        """Make a run the one that the writer sends; its first `sent` bytes have gone out."""
        self.budget.used += len(run) - len(self._run)
        self._run, self._sent = run, sent
        if self.budget.used > self.budget.limit:
            self.budget.relieve(time.monotonic())

    def wait_drained(self) -> None:
        """Wait until the queue is empty."""
        if self.writer is not None:
            self.writer.join()

    def wait_while_fast(self) -> None:
        """Wait as long as a reader of packets for this peer should: not at all if the peer is slow.

        The processors limit a fast peer. What is not read then waits in the device, where it costs nothing,
        and nothing has to be dropped here. What is meant for a slow wire is read at once: here flows take
        turns, in the device all of them wait behind each other.
        """
        if self.writer is not None and not self.is_slow:
            self._goes_on = Event()
            self._goes_on.wait()
            self._goes_on = None

    def wait_for_reader(self) -> None:
        """Wait while that reader does, READER_SECONDS at most: for whoever writes to the same device."""
        if self._goes_on is not None:
            self._goes_on.wait(READER_SECONDS)

    def close(self, because: str) -> None:
        """End the session: its reader sees the stream's end. `because` is for the log."""
        self.closed_because = because
        self.stream.shutdown()

    def evict(self) -> None:
        """End the session, and drop all that waits in it at once."""
        self.close("what waits for all peers fills the queueMemory, and this one has not read for longest")
        self._give_all_up()

    def ended(self) -> None:
        """Clean up after the session has ended: stop the writer, count what was not sent as dropped."""
        if self.writer is not None:
            self.writer.kill()
        self._give_up()

    def _begin_to_write(self) -> None:
        now = time.monotonic()
        self._look_back(now)
        wire = self.beside.pacing.best if self.beside is not None else 0.0
        if not self._is_fast and self.pacing.begins(now, wire, self.stream.trip):
            self.stream.restart_bbr()
        self._since, self.budget.stuck[self] = 0.0, None
        self.writer = gevent.spawn(self._write)

    def _write(self) -> None:
        """The writer greenlet: send the rest of the present run, then the queue, then end."""
        stream = self.stream
        ahead = 0  # runs that a fast peer may still be given before the event loop looks at all sockets
        try:
            while True:
                # To the last byte: a frame that has begun cannot be dropped, as its length leads to the next.
                # A layer (TLS) may still have bytes pending, which go out with an empty try_send.
                view = memoryview(self._run)
                while self._sent < len(view) or stream.pending:
                    if ahead:
                        ahead -= 1
                    else:
                        stream.wait_writable()
                        self._measure()
                        ahead = AHEAD if self._is_fast else 0
                    taken = stream.try_send([view[self._sent :]] if self._sent < len(view) else ())
                    self._sent += taken
                    if stream.pending or self._sent < len(view):
                        ahead = 0  # the kernel takes no more now
                    self._taken += taken
                    self._total += taken
                self.budget.moves_on(self)
                # A rate limit delays here, while frames are still in the queue, where flows take turns.
                if self.meter is not None and (delay := self.meter.wait(time.monotonic())):
                    self._delayed = True
                    gevent.sleep(delay)
                while self.window is not None and self.window.is_shut(time.monotonic()):
                    self._delayed = True
                    gevent.sleep(PAUSE_SECONDS)
                # A small run: what has been taken from the queue is a queue without turns again.
                most = self._most if self.meter is None else min(self._most, self.meter.slice)
                most = most if self.window is None else min(most, self.window.slice)
                self._hold(self._queue.pop(time.monotonic(), self.traffic, most))
                if not self._run:
                    if not self._queue.size:
                        break
                    breathe()  # much had waited too long
                self._count([self._run])
        except OSError:
            stream.shutdown()
            self._give_up()
        except Exception as error:  # nobody would write any more: the session has to end
            self.closed_because = f"an error of this program: {type(error).__name__}"
            stream.shutdown()
            self._give_up()
            raise
        else:
            self._finish()

    def _measure(self) -> None:
        """Measure how fast the queue drains; called each time when the kernel takes bytes again.

        At these moments it holds half of what it may, so what the stream took between two of them has
        drained. Before the first of them it took bytes at the speed of memory, which tells nothing.

        Where it holds nothing at all, the wire has waited for us: the event loop was late, as on a busy
        processor. Then the wire takes as much as was measured, or more. If the rate fell, the writer would
        send less in each pass of the loop, measure still less, and end at a packet a pass. So it does not
        fall, and the kernel may hold what drains in such a pass. Where it drains the longest runs too, the
        processors limit the peer.
        """
        now, pending = time.monotonic(), self.stream.pending
        if not self._is_fast:
            self._pace(now)
        passed = now - self._since
        if self._since:
            if passed < MEASURE_SECONDS:
                self._wakes += 1
                return
            # Above 4 * FAST all peers are alike; a wire that becomes slow has to be noticed soon.
            rate = min((self._taken - pending) / passed, 4 * FAST)
            if not self._delayed and self.stream.trip().unsent == 0:
                drains = self._most == RUN_BYTES and self._taken - pending >= RUN_BYTES
                self.rate = max(rate, self.rate, FAST if drains else 0.0)
                late = MORE * passed / (self._wakes + 1)
                self._moment = min(MOST_MOMENT_SECONDS, max(MOMENT_SECONDS, late))
            else:
                weight = passed / (passed + MEASURE_SECONDS) if self.rate else 1.0
                self.rate += (rate - self.rate) * weight
                self._moment = max(MOMENT_SECONDS, self._moment * CALMER)
            self._adapt()
        self._since, self._taken, self._delayed, self._wakes = now, pending, False, 0

    def _pace(self, now: float) -> None:
        """Bound the kernel's rate where a wire limits it; called while there is a queue and no fast peer.

        Where there is none, a long round trip says nothing of what we send: the way back may be full.
        """
        pacing, before = self.pacing, self.pacing.bound
        if not pacing.is_due(now):
            return
        pacing.sample(now, self.stream.trip(), self.beside.stream.trip().delivered if self.beside else 0)
        self._queue.patience = pacing.patience(now)
        if not self.rate and pacing.best:  # no queue lasts: the wire's own takes all
            self.rate = pacing.best
            self._adapt()
        if pacing.may_restart(now):
            self.stream.restart_bbr()
        if pacing.bound != before:
            self.stream.pace(pacing.bound)

    def _look_back(self, now: float) -> None:
        """Raise the rate to what was sent lately: where the queue is short, nothing else shows it."""
        passed = now - self._total_since
        if passed < MEASURE_SECONDS:
            return
        if self._total > passed * (self.rate or FAST):
            self.rate = min(self._total / passed, 4 * FAST)
            self._adapt()
        self._total_since, self._total = now, 0

    def _adapt(self) -> None:
        """Let the kernel hold only what drains in some milliseconds.

        Unsent bytes in the kernel are a queue too, one without turns: a ping waits behind all of a download.
        The less the kernel holds, the more waits in our queue, where the ping overtakes.
        """
        fast = self.rate >= FAST
        if fast or self.rate < FAST / 2:
            self._tell_fast(fast)
        if fast and self.pacing.bound:
            self.pacing = Pacing()
            self.stream.pace(0.0)
        self._most = int(min(RUN_BYTES, max(LEAST_BYTES, self.rate * self._moment)))
        self._direct = float("inf") if fast else self._most
        self._queue.rate = 0.0 if fast else self.rate
        # Two runs, so that the kernel never runs dry while the writer fetches the next one.
        self.stream.hold_unsent(min(NOTSENT_LOWAT, 2 * self._most))
        if not fast:
            self.go_on()

    def _tell_fast(self, fast: bool) -> None:
        """Say whether the processors limit the peer now, or a wire; not where that is in doubt."""
        self.stream.tell_fast(fast)

    def go_on(self) -> None:
        """Let a reader of packets for this peer wait no longer."""
        if self._goes_on is not None:
            self._goes_on.set()

    def _count(self, buffers: Sequence[Buffer]) -> None:
        """Take the packets of whole frames from the limits; the stream takes the bytes."""
        if self.meter is not None and self.meter.counts_packets:
            self.meter.take_packets(sum(map(packet_offload.count_packets, buffers)), time.monotonic())

    def _give_up(self) -> None:
        self._give_all_up()
        self._finish()

    def _give_all_up(self) -> None:
        begun = max((end for end in framing.split(self._run) if end <= self._sent), default=0)
        unsent = self._run[begun:]  # from the first frame on that has not been sent whole
        self._hold(b"")
        self._lose(Reason.SESSION_GONE, unsent, self._queue.clear())

    def _finish(self) -> None:
        self.budget.stuck.pop(self, None)
        self.writer = None
        self.go_on()

    def _lose(self, reason: Reason, frames: bytes, more: int = 0) -> None:
        """Count frames as dropped, and `more` packets whose frames were reported already (tell_losses)."""
        packets = session_chunks.count_packets(frames) + more
        if packets:
            head = session_chunks.head_of(frames) if frames else b""
            self.traffic.drop(reason, packets, "", head, time.monotonic())
        if frames and self._queue.lost is not None:
            self._queue.lost(reason, frames)
