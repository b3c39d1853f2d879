"""Pacing of one connection on a wire: how fast the kernel may send, so that hardly anything waits on the way.

Knows: what the round trip and what has been acknowledged say of the queue on the way, and of the wire's rate.
Refuses to know: where these figures come from (stream_figures), and how the kernel is told (stream_tcp).

What waits at the wire's narrow place waits without turns: a ping, even one that goes by a datagram, waits
behind all of a download. Congestion controls leave a queue there. bbr does too where its sender has little to
send at a time, as we do (session_sender): then it never learns that the wire is full, and goes on at nearly
three times the rate that it has measured. So we bound its rate (SO_MAX_PACING_RATE), and the queue stands
here, where flows take turns:

    the round trip is            the kernel may send
    too long all the time        as fast as bytes come to the far end, less what drains the queue in 0.07 s
    too long in spite of that    at any rate, for the next 30 s: the queue is somebody else's
    not too long                 a little more at each look, if it has sent as much as it might

The second row keeps us from giving way for ever to those who fill every queue, and where the way has become
longer. Each such try costs half a second at two thirds of the rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

SAMPLE_SECONDS, LOOK_SECONDS = 0.005, 0.04
"""Least times between two samples, and between two looks at what they say. A round trip is the least between
looks as well, where it is longer."""
SAMPLES = 4
"""With fewer, nothing is known of the queue in between."""
STALE_SECONDS = 1.0
"""After a longer pause nothing is known of the time since the last look."""
TARGET_SECONDS, MORE_SECONDS = 0.003, 0.001
"""How much longer than the shortest round trip it shall be, and from how much more on it is too long. On slow
wires the former is the time of two packets at least, since the kernel sends two at a time."""
PACKET = 1500
NEAR_SECONDS = 0.001
"""A way with a shorter round trip is no wire: the processors of this machine make its queues."""
DRAIN_SECONDS, MOST_LESS = 0.07, 0.5
"""In which time a queue shall be gone, and by what part the rate is lowered for it at most."""
ENOUGH_SECONDS = 0.05
"""A queue should be gone once twice its length has been drained, and so much more."""
PATIENCE_SECONDS, REST_SECONDS = 2.0, 30.0
"""How long it may be too long whatever is drained, and how long there is no bound after that."""
USED = 0.8
"""The part of the bound that has to be used before it is raised: else the bound is not what holds it."""
STEP, MOST_STEP = 0.01, 0.25
"""By what part it is raised more than at the look before, and by what part at most."""
RESTART_SECONDS, CALM_SECONDS = 5.0, 1.0
"""How often bbr begins anew while there is a bound. Else it would send next to nothing for 0.2 s each ten
seconds, to see how short the round trip can be, and that is known here: hardly anything waits on the way."""
RATES = 4
"""The wire's rate is the mean of so many looks, as acknowledgements come unevenly."""


class Trip(NamedTuple):
    """What the kernel says of a connection's way (linux/tcp.h, struct tcp_info)."""

    now: float
    """Smoothed round-trip time, seconds (tcpi_rtt)."""
    shortest: float
    """The shortest one lately, seconds (tcpi_min_rtt); infinite where that is not known."""
    delivered: int
    """Bytes that have come to the far end so far: tcpi_delivered, in whole segments. Those
    that came behind a lost one count at once, other than in tcpi_bytes_acked."""
    resent: int
    """Segments that were sent again (tcpi_total_retrans)."""
    unsent: int = -1
    """Bytes that the kernel has and has not sent yet (tcpi_notsent_bytes); -1 where that is not known."""


UNKNOWN_TRIP = Trip(0.0, float("inf"), 0, 0)


@dataclass(slots=True, eq=False)
class Pacing:
    """The bound of one connection, and what was seen of it."""

    bound: float = 0.0
    """Bytes a second that the kernel may send; 0 for no bound."""
    _restarted_at: float = float("-inf")
    _at: float = float("-inf")
    _sampled_at: float = float("-inf")
    _samples: int = 0
    _least: float = float("inf")
    """By how much the round trip was longer than the shortest one, at least, since the last look. What is
    there all the time is a queue, and the wire was busy all the time; what comes and goes is a burst."""
    _delivered: int = 0
    _resent: int = 0
    _lost_at: float = float("-inf")
    """When it was seen the last time that a segment had been lost."""
    _rates: list[float] = field(default_factory=list)
    """Bytes a second between the last looks, newest last, while the round trip was too long."""
    _long_since: float = 0.0
    _most: float = 0.0
    """The longest queue since then, seconds."""
    _promised: float = 0.0
    """Seconds by which it should have become shorter since then; 0 while it is not too long."""
    _rests_until: float = float("-inf")
    _step: float = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time for a sample."""
        return now - self._sampled_at >= SAMPLE_SECONDS

    def may_restart(self, now: float) -> bool:
        """Whether bbr should begin anew now, if it repairs no losses; asking means that it does."""
        calm = now - self._lost_at >= CALM_SECONDS
        if not self.bound or not calm or now - self._restarted_at < RESTART_SECONDS:
            return False
        self._restarted_at = now
        return True

    def sample(self, now: float, trip: Trip) -> None:
        """Take a sample, and set the bound anew now and then; `now` is in seconds of any clock."""
        self._sampled_at = now
        self._samples += 1
        self._least = min(self._least, trip.now - trip.shortest)
        passed = now - self._at
        if passed < LOOK_SECONDS or passed < trip.shortest < float("inf"):
            return
        rate = max(0, trip.delivered - self._delivered) / passed  # the kernel counts to 2**32 segments
        if trip.resent != self._resent:
            self._lost_at = now
        self._at, self._delivered, self._resent = now, trip.delivered, trip.resent
        least, samples = self._least, self._samples
        self._least, self._samples = float("inf"), 0
        if passed > STALE_SECONDS or samples < SAMPLES or not NEAR_SECONDS <= trip.shortest < float("inf"):
            self._be_short()
        elif now >= self._rests_until:
            self._follow(now, least, rate)

    def _follow(self, now: float, queue: float, rate: float) -> None:
        """`queue`: by how much the round trip is longer than the shortest, seconds."""
        target = max(TARGET_SECONDS, 2 * PACKET / rate) if rate > 0 else TARGET_SECONDS
        if queue <= target + MORE_SECONDS or not rate:
            self._be_short()
            self._raise(rate)
            return
        if not self._promised:
            self._long_since, self._most = now, 0.0
        self._most = max(self._most, queue)
        less = min(MOST_LESS, (queue - target) / DRAIN_SECONDS)
        self._promised += less * LOOK_SECONDS
        stays = self._promised > 2 * self._most + ENOUGH_SECONDS and queue > self._most / 2
        if stays or now - self._long_since > PATIENCE_SECONDS:
            self.bound, self._rests_until = 0.0, now + REST_SECONDS
            self._be_short()
            return
        self._step = 0.0
        self._rates = [*self._rates[1 - RATES :], rate]
        self.bound = sum(self._rates) / len(self._rates) * (1 - less)

    def _be_short(self) -> None:
        self._promised = 0.0
        self._rates.clear()

    def _raise(self, rate: float) -> None:
        if rate < USED * self.bound:
            self._step = 0.0
            return
        self._step = min(MOST_STEP, self._step + STEP)
        self.bound *= 1 + self._step
