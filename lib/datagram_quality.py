"""Measured quality of one direction of a datagram channel, and whether the stream would be better.

Knows: the round-trip time, its jitter, the loss on the way to the peer; when it is silent, loses too much or
is slow.
Refuses to know: what a PROBE and an ACK look like (datagram_wire), what follows from it (datagram_trust),
clocks (`now` comes in, in seconds of a steady clock).

Each PROBE is answered by an ACK that says how many datagrams the peer should have received until now, and how
many it has received. So all datagrams are counted, also those with packets, and not only probes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

SILENT_SECONDS, SILENT_RTTS = 0.6, 2.0
"""Without any ACK for so long, and so many round-trip times more, nothing passes any more."""
WINDOW_SECONDS = 1.0
"""Loss is judged over the last window, if enough was sent in it."""
MUCH_LOSS, TIMES_LOSS = 0.1, 3.0
"""The share that may be lost in a window, and how many times as much as TCP loses there."""
LEAST_LOST = 10
"""Lost datagrams below which nothing is said of loss."""
DELAY_SECONDS, DELAY_TIMES = 0.1, 2.0
"""A round trip may take so many times as long as on the stream, and this longer."""
IN_A_ROW = 4
"""So many round trips in a row have to be too long: a busy host delays one or two of them."""
SMOOTHING = 4
"""A new round-trip time counts for one part in so many: four probes a second are told within a second."""
HALF_SECONDS = 10.0
"""What is shown of loss counts half after this time."""
MAX_OUT = 32
"""Most probes that are waited for."""
SURE_SECONDS = 0.05
"""Silence has to be seen twice, so long apart: where this process stood still, answers wait in its socket."""
LEAST_SEGMENTS, STALE_SECONDS = 50, 30.0
"""Segments by which a stream's loss is known, and for how long it is."""
GAP_SECONDS = 2.0
"""Where no probe was sent for so long, the ones before say nothing any more."""


class OfStream(NamedTuple):
    """What is known of the session's stream; zeros where nothing is."""

    rtt: float = 0.0
    """Seconds, from process to process."""
    loss: float = 0.0
    """The share of segments that were sent again."""


@dataclass(slots=True, eq=False)
class StreamLoss:
    """The share of a stream's segments that is sent again, from the kernel's counters."""

    loss: float = 0.0
    _at: float = -math.inf
    _segments: int = 0
    _resent: int = 0

    def is_due(self, now: float) -> bool:
        """Whether seen() should be called with new counters."""
        return now - self._at >= WINDOW_SECONDS

    def seen(self, segments: int, resent: int, now: float) -> None:
        """The counters of all its connections, since their beginning; they fall where one has ended."""
        sent, again = segments - self._segments, resent - self._resent
        fresh = self._at > -math.inf and sent >= 0 and again >= 0
        if fresh and sent < LEAST_SEGMENTS and now - self._at < STALE_SECONDS:
            return  # too few say nothing
        if fresh and sent >= LEAST_SEGMENTS:
            self.loss = min(1.0, again / sent)
        elif fresh:
            self.loss = 0.0
        self._at, self._segments, self._resent = now, segments, resent


@dataclass(slots=True, eq=False)
class Quality:
    """What is known of datagrams to one peer."""

    rtt: float = 0.0
    """Smoothed, in seconds; 0 while nothing has been measured."""
    jitter: float = 0.0
    """Mean deviation of round-trip times, seconds (RFC 6298, RTTVAR)."""
    _out: dict[bytes, float] = field(default_factory=dict)
    """Probes that are not answered yet: token -> when it was sent; the oldest first."""
    _waits_since: float = math.inf
    """When the first probe was sent after the last one that was answered."""
    _samples: deque[tuple[float, int, int]] = field(default_factory=deque)
    """(when, expected, received) of ACKs; those of the last window, and one before."""
    _trips: deque[float] = field(default_factory=lambda: deque(maxlen=IN_A_ROW))
    """The last round-trip times."""
    _sent: float = 0.0
    _lost: float = 0.0
    """Datagrams that should have come, and those of them that were lost; older ones count less."""
    _probed_at: float = -math.inf
    _suspected_at: float = math.inf
    """When silence was seen first."""

    @property
    def loss(self) -> float:
        """The share of datagrams that was lost lately; 0 where nothing was sent."""
        return self._lost / self._sent if self._sent else 0.0

    def probed(self, token: bytes, now: float) -> None:
        """A PROBE with this token was sent."""
        if now - self._probed_at > GAP_SECONDS:
            self._out.clear()
            self._waits_since = math.inf
        self._probed_at = now
        self._out[token] = now
        self._waits_since = min(self._waits_since, now)
        while len(self._out) > MAX_OUT:
            del self._out[next(iter(self._out))]

    def answered(self, token: bytes, expected: int, received: int, now: float, counts: bool = True) -> None:
        """An ACK has come. One whose PROBE is not known is ignored.

        `counts`: that nothing was sent lately of which it was not known whether it is too long to pass.
        """
        at = self._out.get(token)
        if at is None:
            return
        self._out = {one: when for one, when in self._out.items() if when > at}
        self._waits_since = min(self._out.values(), default=math.inf)
        took = now - at
        self._trips.append(took)
        if self.rtt:
            self.jitter += (abs(took - self.rtt) - self.jitter) / SMOOTHING
            self.rtt += (took - self.rtt) / SMOOTHING
        else:
            self.rtt, self.jitter = took, took / 2
        if not counts:
            self._samples.clear()
        self._note(now, expected, received)

    def _note(self, now: float, expected: int, received: int) -> None:
        samples = self._samples
        if samples:
            before_at, before_expected, before_received = samples[-1]
            sent = expected - before_expected
            if sent < 0 or received < before_received:  # the peer counts anew
                samples.clear()
            else:
                fade = 0.5 ** ((now - before_at) / HALF_SECONDS)
                lost = max(0, sent - (received - before_received))
                self._sent, self._lost = self._sent * fade + sent, self._lost * fade + lost
        samples.append((now, expected, received))
        while len(samples) > 2 and now - samples[1][0] >= WINDOW_SECONDS:
            samples.popleft()

    def is_silent(self, now: float) -> bool:
        """Whether probes are not answered any more. To be asked again and again, while probes are sent."""
        too_long = now - self._waits_since > SILENT_SECONDS + SILENT_RTTS * self.rtt
        if not too_long or self._probed_at <= self._waits_since:  # a single one may be lost
            self._suspected_at = math.inf
            return False
        self._suspected_at = min(self._suspected_at, now)
        return now - self._suspected_at >= SURE_SECONDS

    def complaint(self, stream: OfStream) -> str:
        """Why the stream is better, in words; "" where it is not."""
        (_, sent_before, received_before), (_, sent, received) = self._ends()
        expected = sent - sent_before
        lost = expected - (received - received_before)
        if lost >= LEAST_LOST and lost > expected * max(MUCH_LOSS, TIMES_LOSS * stream.loss):
            return f"{lost / expected:.0%} of the datagrams were lost"
        least = min(self._trips) if len(self._trips) == IN_A_ROW else 0.0
        if stream.rtt and least > DELAY_TIMES * stream.rtt + DELAY_SECONDS:
            took, took_stream = (f"{seconds * 1000:.0f} ms" for seconds in (least, stream.rtt))
            return f"datagrams take {took} there and back, the stream {took_stream}"
        return ""

    def _ends(self) -> tuple[tuple[float, int, int], tuple[float, int, int]]:
        none = (0.0, 0, 0)
        return (self._samples[0], self._samples[-1]) if self._samples else (none, none)

    def forget(self) -> None:
        """Forget what decides, for a new try; what is shown stays until there is something newer."""
        self._out.clear()
        self._samples.clear()
        self._trips.clear()
        self._waits_since = self._suspected_at = math.inf
        self.rtt = self.jitter = 0.0
