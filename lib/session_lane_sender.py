"""Sending half of a session with one connection or two, its lanes: one sender for each, and who gets what.

Knows: which lanes there are, that one which is lost leaves the session to the other, which lane PING takes.
Refuses to know: how a lane sends (session_sender), which packet takes which (session_lanes), who opens and
reads lanes (hub_session, client_session).

With one lane everything goes straight to its sender. What one side sends by which lane is its own affair:
whoever receives takes every frame from either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import gevent

from lib import framing, session_keepalive, wire_control
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.limits import Meter
from lib.packet import Buffer
from lib.session_budget import Budget
from lib.session_lanes import BUCKETS, BULK, SPARSE, Lanes, Progress
from lib.session_sender import SessionSender
from lib.session_silence import NO_FLIGHT, Flight
from lib.session_window import Allowed
from lib.stream_layer import AnyStream

MAX_LANES = 2
FOLLOW_SECONDS = 0.005
"""How often it is looked whether frames that are held back may go, and PING where it is wanted."""
MARK_SECONDS, LOST_SECONDS = 0.02, 1.0
"""Least time between two PINGs on a lane that flows want to leave, and when no reply comes any more."""
GATHER_SECONDS = 0.1
"""How often it is looked whether all flows have come to the bulk lane, where they shall."""


@dataclass(slots=True)
class _Mark:
    """The PING behind what flows have sent on a lane that they want to leave."""

    token: bytes = b""
    """That of the last one; empty once it is answered."""
    at: float = float("-inf")
    """When it was sent."""
    written: int = 0
    """How far the lane was then."""
    answered: int = 0
    """How far it was at the last one that was answered."""


class _Lane(SessionSender):
    """The sender of one lane."""

    __slots__ = ("_end", "_suit")

    def __init__(
        self,
        stream: AnyStream,
        traffic: Traffic,
        max_bytes: int,
        max_seconds: float,
        budget: Budget | None,
        end: Callable[[str], None],
        suit: Callable[[SessionSender, bool], None],
    ) -> None:
        super().__init__(stream, traffic, max_bytes, max_seconds, budget)
        self._end, self._suit = end, suit

    def _tell_fast(self, fast: bool) -> None:
        super()._tell_fast(fast)
        self._suit(self, fast)

    def evict(self) -> None:
        """End the whole session: it is the one whose peer does not read."""
        super().evict()
        self._end(self.closed_because)


class Channel(Protocol):
    """What is used of a datagram channel (datagram_channel)."""

    def take(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Send the frames that it takes; returns the others."""


class LaneSender:
    """The sending half of a session."""

    __slots__ = (
        *(
            "_channel",
            "_choice",
            "_closed_because",
            "_joined",
            "_left",
            "_limits",
            "_look_at",
            "_lost",
            "_marks",
            "_meter",
            "_probes",
            "_follower",
        ),
        *("by_lanes", "is_alive", "lanes", "send", "silent_at", "stream", "traffic"),
    )

    def __init__(
        self,
        stream: AnyStream,
        traffic: Traffic,
        max_bytes: int,
        max_seconds: float,
        budget: Budget | None = None,
    ) -> None:
        """`stream` is the first lane's. The limits are those of each lane's queue (SessionSender)."""
        self.traffic = traffic
        self._limits = max_bytes, max_seconds, budget
        self._choice: Lanes | None = None
        self._closed_because = ""
        self._joined = False
        """Whether there has been a second lane."""
        self._lost: Callable[[Reason, bytes], None] | None = None
        self._meter: Meter | None = None
        self._marks: list[_Mark] = []
        self._left: set[int] = set()
        """Lanes that flows want to leave, which have to be asked by PING."""
        self._look_at = 0.0
        """When it is looked again whether the lanes have gathered."""
        self._probes = 0
        self._follower: gevent.Greenlet | None = None
        self.silent_at = 0.0
        """Since when nothing reaches the far end, while the client has another session; 0: it does."""
        self.is_alive: Callable[[float], bool] = lambda seconds: True
        """Asks the peer, and returns whether it gave a sign of life within so many seconds."""
        self.stream = stream
        """The stream of the first lane that lives, or of the last one that did."""
        self.lanes: list[SessionSender] = [self._lane(stream)]
        """The lanes that live, the one for bulk first; none once the session has ended."""
        self.by_lanes: Callable[[Sequence[Buffer]], None] = self.lanes[0].send
        """Sends a run of whole frames by the lanes, whatever a datagram channel would take."""
        self._channel: Channel | None = None
        self.send: Callable[[Sequence[Buffer]], None] = self.by_lanes
        """Sends a run of whole frames, or queues it, or drops it; never waits. They may be reused then."""

    # --- lanes

    def _lane(self, stream: AnyStream) -> SessionSender:
        return _Lane(stream, self.traffic, *self._limits, self.close, self._suit)

    def add(self, stream: AnyStream, now: float, buckets: int = BUCKETS) -> SessionSender:
        """Add a second lane over this stream; flows move to it one by one. Returns its sender."""
        lane = self._lane(stream)
        lane.meter = self._meter
        if self._lost is not None:
            lane.tell_losses(self._lost)
        if self._closed_because:
            lane.close(self._closed_because)
        self.lanes.append(lane)
        self._joined = True
        if len(self.lanes) == MAX_LANES:
            self._choice = Lanes(self._look, now, buckets)
            self._marks, self._left = [_Mark() for _ in self.lanes], set()
            self._send_by(self._send_both)
            bulk = self.lanes[BULK]
            bulk.beside, lane.beside = lane, bulk
            lane.stream.resend_soon()
            self._suit(bulk, not bulk.is_slow)
        return lane

    def _suit(self, lane: SessionSender, fast: bool) -> None:
        """Use one lane for everything while its peer is near and not slow, else both."""
        choice = self._choice
        if choice is None or lane is not self.lanes[BULK] or fast == choice.gathers:
            return
        if not fast:
            choice.scatter(time.monotonic())
            self._send_by(self._send_both)
        elif lane.stream.is_near:
            choice.gathers, self._look_at = True, 0.0

    def remove(self, lane: SessionSender) -> None:
        """Go on without a lane, whose stream has ended; what waits in it is counted as dropped."""
        self.lanes.remove(lane)
        lane.ended()
        choice, self._choice = self._choice, None
        if not self.lanes:
            self._closed_because = self._closed_because or lane.closed_because
        else:
            self.stream, self.lanes[0].beside = self.lanes[0].stream, None
            self._send_by(self.lanes[0].send)
            if choice is not None and (held := choice.give_up()):
                self.by_lanes(held)

    def _send_by(self, by_lanes: Callable[[Sequence[Buffer]], None]) -> None:
        self.by_lanes = by_lanes
        self.send = self._send_apart if self._channel is not None else by_lanes

    def use_channel(self, channel: Channel) -> None:
        """Let a datagram channel have the frames that it takes, from now on."""
        self._channel = channel
        self._send_by(self.by_lanes)

    @property
    def has_channel(self) -> bool:
        """Whether a datagram channel takes some of what is sent."""
        return self._channel is not None

    def _send_apart(self, buffers: Sequence[Buffer]) -> None:
        """Send by the datagram channel, and by the lanes what that does not take."""
        assert self._channel is not None
        if rest := self._channel.take(buffers):
            self.by_lanes(rest)

    def _look(self, number: int) -> Progress | None:
        """How far a lane is; None while not all of it has been given to the kernel."""
        lane = self.lanes[number]
        if lane.has_queue or lane.stream.pending:
            return None
        return Progress(lane.stream.written, self._marks[number].answered)

    def _send_both(self, buffers: Sequence[Buffer]) -> None:
        """Send by two lanes."""
        choice, (bulk, sparse) = self._choice, self.lanes
        assert choice is not None
        now = time.monotonic()
        if len(buffers) == 1 and choice.is_bulk(buffers[0], now):
            bulk.send(buffers)
            return
        for_bulk, for_sparse = choice.split(buffers, now, sparse.has_queue)
        if for_bulk:
            bulk.send(for_bulk)
        if for_sparse:
            sparse.send(for_sparse)
        if choice.has_marks:
            self._left |= choice.sent()
        if choice.holding:
            self._left.add(SPARSE)
        if self._left:
            self._mark(choice, now)
            if self._follower is None:
                self._follower = gevent.spawn(self._follow)
        elif choice.gathers and now >= self._look_at:
            self._look_at = now + GATHER_SECONDS
            if choice.has_gathered(now):
                self._send_by(bulk.send)

    def _mark(self, choice: Lanes, now: float) -> None:
        """Send PING behind all that was sent by lanes that flows want to leave.

        Not by a lane that has a queue yet: PING would go before the others in it.
        """
        for number in tuple(self._left):
            lane, mark = self.lanes[number], self._marks[number]
            enough = now - mark.at >= (LOST_SECONDS if mark.token else MARK_SECONDS)
            if not enough or lane.has_queue or lane.stream.pending:
                continue
            self._left.discard(number)
            choice.settle(number, lane.stream.written)
            mark.token, mark.at, mark.written = session_keepalive.token(now, number), now, lane.stream.written
            lane.send([framing.encode(wire_control.encode_ping(mark.token))])
            if not lane.has_queue:
                mark.written = lane.stream.written

    def answered(self, token: bytes) -> None:
        """PONG has come: what a lane was given before its PING has been passed on."""
        for mark in self._marks:
            if token == mark.token:
                mark.token, mark.answered = b"", mark.written

    def _follow(self) -> None:
        """Look again, until nothing is held back and no lane waits for its PING."""
        try:
            while self._choice is not None and (self._choice.holding or self._left):
                gevent.sleep(FOLLOW_SECONDS)
                if self._choice is not None:
                    self._send_both(())
        finally:
            self._follower = None

    # --- as the sender of one stream

    @property
    def closed_because(self) -> str:
        """Why this side has closed the session; empty where it has not."""
        return self._closed_because or next((one.closed_because for one in self.lanes), "")

    @property
    def meter(self) -> Meter | None:
        """The rate limits of this direction, for all lanes together; None for none."""
        return self._meter

    @meter.setter
    def meter(self, meter: Meter | None) -> None:
        self._meter = meter
        for lane in self.lanes:
            lane.meter = meter

    def use_window(self, window: Allowed | None) -> None:
        """Let the far end of a link say from now on how far we may go; None for any far."""
        for lane in self.lanes:
            lane.window = window

    def tell_losses(self, lost: Callable[[Reason, bytes], None]) -> None:
        """Call `lost` from now on with the reason and the frames of every run that is dropped here."""
        self._lost = lost
        for lane in self.lanes:
            lane.tell_losses(lost)

    @property
    def queued(self) -> int:
        """Bytes in the queues."""
        return sum(lane.queued for lane in self.lanes)

    def waits(self, now: float) -> float:
        """Seconds that the oldest frames in the queues have waited; 0 while they are empty."""
        return max((lane.waits(now) for lane in self.lanes), default=0.0)

    def reply(self, frame: bytes) -> None:
        """As SessionSender.reply, by the lane for what is sparse."""
        self.lanes[-1].reply(frame)

    def probe(self, frame: bytes) -> None:
        """Send PING: by each lane in turn, so that both are used and no lane needs a timer of its own."""
        self._probes += 1
        self.lanes[self._probes % len(self.lanes)].send([frame])

    def expire(self, now: float) -> bool:
        """Drop some of the frames that have waited too long; False once all queues were looked at."""
        return any(lane.expire(now) for lane in self.lanes)

    def end_stuck(self, now: float) -> None:
        """End lanes whose far end has long acknowledged nothing (MPTCP); the last one ends the session."""
        for lane in list(self.lanes):
            if lane.stream.is_stuck(now) and len(self.lanes) > 1:
                lane.stream.shutdown()
            elif lane.stream.is_stuck(now):
                self.close("nothing of what was sent has been acknowledged for too long")

    def flight(self) -> Flight:
        """What was sent by any lane and is not acknowledged."""
        found = [lane.stream.flight() for lane in self.lanes]
        if len(found) < 2:
            return found[0] if found else NO_FLIGHT
        outs, acked, quiet, rtts, gaps = zip(*found, strict=True)
        return Flight(any(outs), sum(acked), min(quiet), max(rtts), sum(gaps))

    def wait_drained(self) -> None:
        """Wait until the queues are empty."""
        for lane in list(self.lanes):
            lane.wait_drained()

    def wait_while_fast(self) -> None:
        """As SessionSender.wait_while_fast, for each lane. All are on one wire: a slow one is enough."""
        for lane in self.lanes:
            if lane.writer is not None:
                break
        else:  # nothing waits, which is so nearly always where packets come one by one
            return
        for lane in list(self.lanes):
            if any(one.is_slow for one in self.lanes):
                return
            if self.silent_at:
                return
            lane.wait_while_fast()

    def silent(self, is_silent: bool, now: float) -> None:
        """Let nobody wait for this session, as packets go by another one; or as before."""
        self.silent_at = (self.silent_at or now) if is_silent else 0.0
        for lane in self.lanes if is_silent else ():
            lane.go_on()

    def wait_for_reader(self) -> None:
        """As SessionSender.wait_for_reader, for each lane."""
        for lane in list(self.lanes):
            lane.wait_for_reader()

    def close(self, because: str) -> None:
        """End the session: those who read the lanes see their end. `because` is for the log."""
        self._closed_because = because
        for lane in self.lanes:
            lane.close(because)

    def give_up(self, because: str) -> None:
        """End the session with a far end that is not heard; where it hears us, it learns of it at once."""
        for lane in self.lanes:
            lane.stream.give_up()
        self.close(because)

    def ended(self) -> None:
        """Clean up after the session has ended: stop writing, count what was not sent as dropped."""
        if self._follower is not None:
            self._follower.kill(block=False)
        for lane in list(self.lanes):
            lane.ended()
            if self._joined:  # who reads it sees its end, and closes it
                lane.stream.shutdown()
