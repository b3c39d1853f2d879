"""How much one end of a link lets the other one have on the way: what it reads in some milliseconds.

Knows: how far the sender may go, from how fast the receiver reads and how much lies unread; when to say so.
Refuses to know: sockets, layouts of messages (wire_control, worker_wire), clocks (times come in).

What has been sent and is not read yet is a queue without turns: packets of all hosts behind a link wait there
behind those of one that is dear. In the sender's own queue hosts take turns (session_turns). So while a
receiver reads slowly, the sender shall keep what it has. How fast a link is read depends on what comes by it:
500 MB/s of superpackets, 1 MB/s of tiny packets that a long list of rules is asked about. The kernel's window
cannot say that. A small receive buffer drops tiny segments, which TCP sends again only after 0.2 s.

    Window    the receiver's: while much lies unread, it says how far the sender may go, and again as it reads
    Allowed   the sender's: how far it may go; it is what a rate limit is to a session's sender

Where the sender has gone far and yet nearly nothing lies unread, the window may be what limits the link, and
it becomes larger: a long way needs one of what is sent in a round trip.
"""

from __future__ import annotations

from collections.abc import Callable

LOOK_SECONDS = 0.001
"""Least time between two looks at what lies unread."""
MOST_SECONDS = 0.004
"""What may lie unread all the time is read in so many seconds."""
SLACK = 1.25
"""How much more than what is on the way a window has to be, as it is said in quarters."""
LITTLE = 1 / 8
"""The part of a window that is little to lie unread."""
THINK_SECONDS = 0.005
"""Least time between two changes of a window; more where the way there and back is longer."""
KNOWN_SECONDS = 0.001
"""Seconds of turns after which it is known how fast they go."""
LEAST, FIRST, MOST = 1 << 12, 1 << 14, 1 << 23
"""Bytes: the smallest window, the first one, and one that is as good as none: two kernels take no more."""
MORE = 2
"""By what it grows where the sender has used it and little is unread."""
PAUSE_SECONDS, STALL_SECONDS = 0.001, 0.05
"""How often a sender that has gone as far as it may looks again, and for how long. Then it sends one packet
all the same: what it says of how far the other end may go must not wait for what that says."""
LEAST_SENT = 1200


class Window:
    """What a receiver lets its sender have on the way."""

    __slots__ = (
        *("_bytes", "_kernels", "_least", "_looked_at", "_since", "_spent", "_told", "_trip", "_was_used"),
        "most",
    )

    def __init__(self, kernels: int = MOST) -> None:
        """A window of `kernels` bytes is as good as none, as the kernels take about so many."""
        self._kernels = kernels
        self.most = FIRST
        """Bytes that may be on the way, or unread; 0 for as many as the kernels take."""
        self._told = 0
        """How far the sender may go, as it was told; 0 for any far."""
        self._looked_at = 0.0
        self._since, self._bytes, self._spent, self._trip = 0.0, 0, 0.0, 0.0
        """When the window was last thought over, how much had been received and spent then, and the seconds
        there and back, in which nothing shows of a change."""
        self._least = -1
        """Least bytes that lay unread since then, -1 before the first look: a burst is no queue."""
        self._was_used = False
        """Whether the sender has gone far since then."""

    def look(
        self,
        received: int,
        now: float,
        spent: float,
        is_full: bool,
        unread: Callable[[], int],
        trip: Callable[[], float],
    ) -> int | None:
        """How far the sender is to be told that it may go: bytes since the link began, 0 for any far.

        None where it needs not be told anything. `received`: bytes since the link began, `spent`: seconds of
        its turns. `is_full`: the last turn may have left something unread, else it has not; `unread` says how
        much. `trip` gives the least seconds there and back.
        """
        before = self.most
        if not before and received - self._bytes > (now - self._since) * self._kernels / MOST_SECONDS:
            self._begin(received, now, spent)  # it is read so fast that there is nothing to look at
            return None
        is_used = before > 0 and self._told - received < before - before // 4
        self._was_used |= is_used and self._told > 0
        if not is_full:
            self._least = 0
        elif now - self._looked_at >= LOOK_SECONDS:
            self._looked_at, left = now, unread()
            self._least = left if self._least < 0 else min(left, self._least)
        if self._least >= 0 and now - self._since >= max(self._trip, THINK_SECONDS):
            self._adapt(received, now, spent, trip)
        if not self.most:
            told, self._told = self._told, 0
            return 0 if told else None
        if self.most == before and not is_used:
            return None
        self._told = received + self.most
        return self._told

    def _adapt(self, received: int, now: float, spent: float, trip: Callable[[], float]) -> None:
        """Think the window over: by what lay unread all the time, and by how much a second of turns reads."""
        size, busy = received - self._bytes, spent - self._spent
        rate, most = size / (now - self._since), self.most or self._kernels
        if self._least > max(rate * MOST_SECONDS, LEAST // 2):
            self._trip = trip()
            most = int(rate * (MOST_SECONDS + SLACK * self._trip))
        elif self._was_used and self._least <= most * LITTLE:
            self._trip = trip()
            most *= MORE
        if busy >= KNOWN_SECONDS:
            most = min(most, int(size / busy * (MOST_SECONDS + SLACK * self._trip)))
        self.most = max(LEAST, most) if most < self._kernels else 0
        self._begin(received, now, spent)

    def _begin(self, received: int, now: float, spent: float) -> None:
        """Begin to look at what the window is thought over by next."""
        self._since, self._bytes, self._spent, self._least = now, received, spent, -1
        self._was_used = False


class Allowed:
    """How far a sender may go."""

    __slots__ = ("_sent", "_since", "upto")

    def __init__(self, sent: Callable[[], int]) -> None:
        """`sent` gives the bytes that were sent since the link began."""
        self._sent, self._since = sent, 0.0
        self.upto = 0
        """Bytes since the link began; 0 for any number."""

    def is_shut(self, now: float) -> bool:
        """Whether nothing may be sent now; it is to be looked again after PAUSE_SECONDS."""
        if not self.upto or self._sent() < self.upto:
            self._since = 0.0
            return False
        self._since = self._since or now
        if now - self._since < STALL_SECONDS:
            return True
        self._since = now
        return False

    @property
    def slice(self) -> int:
        """Most bytes to send at a time."""
        return max(LEAST_SENT, self.upto - self._sent()) if self.upto else 1 << 30
