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
    too long in spite of that    at any rate for 20 s: the queue is somebody else's
    not too long                 a little more at each look, if it has sent as much as it might

Two lanes of a session share a wire. The bound is for both together, and one may send what the other leaves:
else what a lane measures while the other one sends would be taken for the wire, and take seconds to rise.

The second row keeps us from giving way for ever to those who fill every queue, and where the way has become
longer. Each such try costs some tenths of a second at half the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

SAMPLE_SECONDS, LOOK_SECONDS = 0.005, 0.04
"""Least times between two samples, and between two looks at what they say. A round trip is the least between
looks as well, where it is longer."""
SAMPLES = 4
"""How many samples a look takes at least: with fewer, little is known of the queue in between."""
STALE_SECONDS = 0.25
"""After a longer pause, and two round trips, nothing is known of the time since the last look."""
TARGET_SECONDS, MORE_SECONDS = 0.003, 0.001
"""How much longer than the shortest round trip it shall be, and from how much more on it is too long."""
LOSSY_SECONDS = 0.001
"""The same on a wire that loses packets. With 1 % lost at 200 Mbit/s 3 ms cost pings 5 ms of two wires, and
0.5 ms cost the bulk a third."""
PACKET, PACKETS = 1500, 4
"""On slow wires it may be longer by the time of so many packets: the kernel sends two at a time, the far end
acknowledges each second one, and the shortest round trip is a small packet's."""
NEAR_SECONDS = 0.001
"""A peer with a shorter round trip is near: on this machine, or on the same network. Its way is no wire: the
processors make its queues."""
DRAIN_SECONDS, MOST_LESS = 0.07, 0.5
"""In which time a queue shall be gone, and by what part the rate is lowered for it at most."""
ENOUGH_SECONDS = 0.05
"""A queue should be gone once twice its length has been drained, and so much more."""
REST_SECONDS = 20.0
"""How long there is no bound where that was in vain."""
PAUSE, PAUSE_SECONDS = 0.5, 0.3
"""Less than this part of what came in that time, and in as much before it, is not taken for the wire's rate:
for 0.2 s of each ten bbr sends next to nothing, while the smoothed round trip stays as long as it was. A
bound of 12 Mbit/s on a wire of 200 came of it, and took seconds to rise again."""
LIKE, LOWER = 0.05, 0.995
"""As fast as the bound, give or take: then it is the bound that was measured, and not the wire. What the wire
takes is thought to be a little less at each look, as it may have been measured too high."""
SHARE = 0.25
"""The part of the bound that a connection may use at least, whatever the one beside it sends."""
USED = 0.8
"""The part of the bound that has to be used before it is raised: else the bound is not what holds it."""
LEAST_STEP, STEP, MOST_STEP = 0.005, 0.01, 0.25
"""By what part it is raised at a look while there is hardly a queue; by how much more than at the one before
while there is none, and by what part at most."""
RESTART_SECONDS, CALM_SECONDS = 5.0, 1.0
"""How often bbr begins anew while there is a bound. Else it would send next to nothing for 0.2 s each ten
seconds, to see how short the round trip can be, and that is known here: hardly anything waits on the way."""
FILLS, REPAIRS, MOST_TRIP_SECONDS = 0.75, 1.5, 0.05
"""How many round trips packets may wait here, on a wire that loses nothing and on one that does; a longer
round trip counts as one of so many seconds. See patience()."""
GROWS, GROWN_SECONDS, BEGINS = 1.25, 0.2, 4.0
"""While so much more comes to the far end at each look than before, and for so many seconds after it,
bbr has not found out what the wire takes (it goes by the same factor), and packets may wait for so many round
trips: what they wait for is bbr, not the wire."""
LOST, LOST_SECONDS, LOST_TRIPS = 0.5, 0.1, 4
"""bbr has lost its measure of the wire where the kernel sends, for so long and so many round trips, less than
this part of what came to the far end lately, although there is more to send. It keeps the most of ten round
trips, and leaves out those in which it had nothing to send. But while it repairs a loss it does not see that
it had not, and then a single such round trip may replace all that it knew: 14 Mbit/s for 196."""


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
    paced: float = float("inf")
    """Bytes a second that it sends at most (tcpi_pacing_rate); infinite where that is not known."""

    @property
    def is_near(self) -> bool:
        """Whether the far end is on this machine, or on the same network."""
        return self.shortest < NEAR_SECONDS

    @property
    def keeps_up(self) -> bool:
        """Whether the far end is near, and the kernel has sent all that it was given."""
        return self.unsent == 0 and self.is_near


UNKNOWN_TRIP = Trip(0.0, float("inf"), 0, 0)


@dataclass(slots=True, eq=False)
class Pacing:
    """The bound of one connection, and what was seen of it."""

    bound: float = 0.0
    """Bytes a second that the kernel may send for this connection; 0 for no bound."""
    both: float = 0.0
    """The same for this one and the one beside it, on the same wire."""
    best: float = 0.0
    """Most bytes a second that came to the far end between two looks lately; 0 where nothing is known."""
    trip: float = 0.0
    """The shortest round trip at the last look, seconds; 0 where none is known."""
    _restarted_at: float = float("-inf")
    _at: float = float("-inf")
    _sampled_at: float = float("-inf")
    _samples: int = 0
    _least: float = float("inf")
    """By how much the round trip was longer than the shortest one, at least, since the last look. What is
    there all the time is a queue, and the wire was busy all the time; what comes and goes is a burst."""
    _delivered: int = 0
    _beside: int = 0
    _resent: int = 0
    _lost_at: float = float("-inf")
    """When it was seen the last time that a segment had been lost."""
    _wire: float = 0.0
    """Bytes a second that the wire takes, as measured while trips are too long; 0 while they are not."""
    _most: float = 0.0
    """The longest queue since the round trip is too long, seconds."""
    _promised: float = 0.0
    """Seconds by which it should have become shorter since then."""
    _rests_until: float = float("-inf")
    _step: float = 0.0
    _lately: float = 0.0
    """Most bytes a second of a look since `_lately_since`, of both connections, and of the looks of the
    PAUSE_SECONDS before."""
    _before: float = 0.0
    _lately_since: float = float("-inf")
    _lost_since: float = float("inf")
    """Since when bbr has lost its measure; infinite while it has not."""
    _grown_at: float = float("-inf")
    """When it was seen the last time that much more comes to the far end than before."""

    def is_due(self, now: float) -> bool:
        """Whether it is time for a sample."""
        return now - self._sampled_at >= SAMPLE_SECONDS

    def may_restart(self, now: float) -> bool:
        """Whether bbr should begin anew now; asking means that it does.

        It should where it has lost its measure, and now and then where it repairs no losses.
        """
        passed, calm = now - self._restarted_at, now - self._lost_at >= CALM_SECONDS
        if now - self._lost_since >= max(LOST_SECONDS, LOST_TRIPS * self.trip) and passed >= CALM_SECONDS:
            self.best, self._lost_since = 0.0, float("inf")
        elif not self.bound or not calm or passed < RESTART_SECONDS:
            return False
        self._restarted_at = now
        return True

    def begins(self, now: float, wire: float, look: Callable[[], Trip]) -> bool:
        """Whether bbr should begin anew as a queue begins; asking means that it does.

        `wire`: bytes a second that a connection beside this one has measured of the same wire, or 0. `look`
        asks the kernel, only where something is known of the wire: queues may begin thousands of times a
        second.

        A connection that mostly has little to send loses its measure as well (LOST), which shows only once
        it has much. To wait for LOST_SECONDS would be too late: flows inside that begin together take the
        slow start of ours for a full wire, and go on slowly for seconds.
        """
        known = max(self.best, wire)
        if not known or now - self._restarted_at < CALM_SECONDS:
            return False
        if look().paced >= LOST * min(known, self.bound or known):
            return False
        self.best, self._lost_since = 0.0, float("inf")
        self._restarted_at = now
        return True

    def patience(self, now: float) -> float:
        """Seconds that packets of one flow may wait here because of the way, before it is told to slow down.

        A sender that is told so (cubic, reno) sends 0.7 or half of what it did. The wire is busy all the same
        only where about as much had waited as is on the way; that takes longer the longer the way is. No
        other flow waits for it, as each has a queue of its own.

        On a wire that loses packets it is more. Each loss lowers for a moment what bbr thinks the wire takes,
        and a queue stands here for longer than that. A sender that is told to slow down then leaves the wire
        idle, and bbr takes that for the wire's rate: both may end at a part of it. With 1 % of packets lost
        that was 51 Mbit/s in place of 150.

        While bbr begins (GROWS) a sender inside may be ahead of it. One that is told to slow down then stays
        slow for many seconds, as its window is short yet.
        """
        trips = REPAIRS if now - self._lost_at < CALM_SECONDS else FILLS
        if now - self._grown_at < GROWN_SECONDS:
            trips = BEGINS
        return trips * min(self.trip, MOST_TRIP_SECONDS)

    def sample(self, now: float, trip: Trip, beside: int = 0) -> None:
        """Take a sample, and set the bound anew now and then; `now` is in seconds of any clock.

        `beside`: bytes of the connection beside this one that have come to the far end so far.
        """
        self._sampled_at = now
        self._samples += 1
        self._least = min(self._least, trip.now - trip.shortest)
        is_lost = trip.paced < LOST * min(self.best, self.bound or self.best)
        self._lost_since = min(self._lost_since, now) if is_lost else float("inf")
        passed = now - self._at
        is_early = passed < LOOK_SECONDS or passed < trip.shortest < float("inf")
        if is_early or (self._samples < SAMPLES and passed <= STALE_SECONDS):
            return
        rate = max(0, trip.delivered - self._delivered) / passed  # the kernel counts to 2**32 segments
        others = max(0, beside - self._beside) / passed
        if trip.resent != self._resent:
            self._lost_at = now
        self._at, self._delivered, self._beside, self._resent = now, trip.delivered, beside, trip.resent
        self.trip = trip.shortest if trip.shortest < float("inf") else 0.0
        least, self._least, self._samples = self._least, float("inf"), 0
        if passed > max(STALE_SECONDS, 2 * trip.shortest) or not NEAR_SECONDS <= trip.shortest < float("inf"):
            self._be_short()
            self._lately = self._before = 0.0
            return
        if now - self._lately_since >= PAUSE_SECONDS:
            self._before, self._lately, self._lately_since = self._lately, 0.0, now
        self._lately = max(self._lately, rate + others)
        if rate > GROWS * self.best:
            self._grown_at = now
        self.best = max(rate, LOWER * self.best)
        if now >= self._rests_until:
            self._follow(now, least, rate + others)
        self.bound = max(self.both - others, SHARE * self.both)

    def _follow(self, now: float, queue: float, rate: float) -> None:
        """`queue`: by how much the round trip is longer than the shortest, seconds. `rate`: of both."""
        least = LOSSY_SECONDS if now - self._lost_at < CALM_SECONDS else TARGET_SECONDS
        target = max(least, PACKETS * PACKET / rate) if rate > 0 else least
        if queue <= target + MORE_SECONDS or not rate:
            self._be_short()
            self._raise(rate, queue < target / 2)
            return
        lately = max(self._lately, self._before)
        if rate < PAUSE * min(lately, self.both or lately):
            return
        if not self._wire or abs(rate - self.both) > LIKE * self.both:
            self._wire = rate
        self._wire *= LOWER
        self._most = max(self._most, queue)
        less = min(MOST_LESS, (queue - target) / DRAIN_SECONDS)
        self._promised += less * LOOK_SECONDS
        self._step = 0.0
        self.both = self._wire * (1 - less)
        if self._promised > 2 * self._most + ENOUGH_SECONDS and queue > self._most / 2:
            self.both, self._rests_until = 0.0, now + REST_SECONDS
            self._be_short()

    def _be_short(self) -> None:
        self._wire = self._most = self._promised = 0.0

    def _raise(self, rate: float, is_empty: bool) -> None:
        if rate < USED * self.both:
            self._step = 0.0
            return
        self._step = min(MOST_STEP, self._step + STEP) if is_empty else LEAST_STEP
        self.both *= 1 + self._step
