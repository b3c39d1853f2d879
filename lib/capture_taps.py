"""Taps on the packet path: captures, traces and the flight recorder, none of which holds up a packet.

    session -> capture_watch -> Taps.saw --+-- Capture    matching packets as records, in a bounded queue
                                           +-- Trace      a line for each matching packet, some a second
                                           +-- Recorder   the beginning of every packet, in a ring of bytes

Knows: what each tap keeps of a run of frames, and what it drops when there is no room.
Refuses to know: how a packet's fate is found (capture_watch), the filter language (capture_filter), who
takes away what was kept (capture_service).

A run is view[begin:end], whole frames that share one fate. A tap sees it while it lies in the session's
buffer, so what is kept is copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from lib import capture_fate as fates
from lib import capture_records
from lib.capture_fate import Fate
from lib.log_pace import Pace
from lib.namespace import Attachment
from lib.packet import Buffer, Packet

Test = Callable[[Fate, Packet | None], bool]
"""A compiled filter expression (capture_filter)."""

QUEUE_BYTES = 8 << 20
"""Bytes that a capture keeps for a reader that is too slow; past that it loses packets."""
SNAP = 128
"""Bytes of a frame's content that the recorder keeps: all headers, and a little of the payload."""
OVERHEAD = 48
"""Bytes that a record costs in Python beside its content: an object's header, a place in a deque."""
LEAST_RECORDER = 64 << 10
"""The smallest recorder that a configuration may ask for, bytes."""


class Tap(Protocol):
    """A listener on the packet path."""

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Look at frames with one fate, seen `when` (ns since 1970); the buffer is reused after the call."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The packets that a capture or a trace is about; empty fields and None match everything."""

    host: str = ""
    """The host that sends or receives."""
    namespace: str = ""
    """32 hex digits."""
    test: Test | None = None
    """A compiled filter expression."""

    def has(self, fate: Fate) -> bool:
        """Whether host and namespace of this fate match: a test before any frame is parsed."""
        if self.host and self.host not in (fate.host, fate.to):
            return False
        return not self.namespace or self.namespace == fate.namespace

    def fits(self, fate: Fate, view: Buffer, start: int, end: int) -> bool:
        """Whether the filter expression matches one frame's content; ask `has` first."""
        return self.test is None or self.test(fate, fates.packet_of(view, start, end)[1])


class Taps:
    """The taps of one process."""

    __slots__ = ("_clock", "_decisions", "_taps", "on")

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        """`clock` returns nanoseconds since 1970."""
        self._clock = clock
        self._taps: tuple[Tap, ...] = ()
        self._decisions: Callable[[Attachment, Packet, object], None] | None = None
        self.on = False
        """Whether there is any tap. While there is none, no packet passes through here."""

    def add(self, tap: Tap) -> None:
        """Add a tap."""
        self._taps = (*self._taps, tap)
        self._turn()

    def remove(self, tap: Tap) -> None:
        """Remove a tap; one that is not there is no error."""
        self._taps = tuple(other for other in self._taps if other is not tap)
        self._turn()

    def tell_decisions(self, tell: Callable[[Attachment, Packet, object], None] | None) -> None:
        """Call `tell` with (the sender's attachment, the packet, decide's Verdict); None ends that."""
        self._decisions = tell
        self._turn()

    def _turn(self) -> None:
        self.on = bool(self._taps) or self._decisions is not None

    def count(self, kind: type) -> int:
        """The number of taps of a class."""
        return sum(isinstance(tap, kind) for tap in self._taps)

    def saw(self, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Show a run of frames with one fate to every tap."""
        when = self._clock()
        for tap in self._taps:
            tap.take(when, fate, view, begin, end)

    def decided(self, attachment: Attachment, packet: Packet, verdict: object) -> None:
        """Report the Verdict on the first packet of a flow, or on a packet that belongs to none."""
        if self._decisions is not None:
            self._decisions(attachment, packet, verdict)


def frames(view: Buffer, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the content of each frame in a run."""
    while begin < end:
        stop = begin + 2 + (view[begin] << 8 | view[begin + 1])
        yield begin + 2, stop
        begin = stop


@dataclass(slots=True, eq=False)
class Capture:
    """Queue of matching packets, as records, until a reader takes them."""

    choice: Choice
    wake: Callable[[], object]
    """Called when there is something to take."""
    limit: int = QUEUE_BYTES
    """Bytes that the queue may hold."""
    fitted: int = 0
    """Packets that matched."""
    lost: int = 0
    """Packets that matched and for which the queue had no room."""
    _queue: deque[bytes] = field(default_factory=deque)
    _size: int = 0

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Keep the matching frames as one record; where there is no room, count them as lost."""
        choice = self.choice
        if not choice.has(fate):
            return
        if choice.test is None:
            kept, count = bytes(view[begin:end]), sum(1 for _ in frames(view, begin, end))
        else:
            parts = [
                bytes(view[start - 2 : stop])
                for start, stop in frames(view, begin, end)
                if choice.fits(fate, view, start, stop)
            ]
            kept, count = b"".join(parts), len(parts)
        if not count:
            return
        self.fitted += count
        if self._size + len(kept) > self.limit:
            self.lost += count
            return
        record = capture_records.packets(when, fate.encode(), kept)
        self._queue.append(record)
        self._size += len(record)
        self.wake()

    def missed(self, count: int) -> None:
        """Count packets as lost that somebody else has lost for it (api_hubs.Watching)."""
        self.fitted += count
        self.lost += count

    def pop(self, most: int) -> bytes:
        """The oldest records: at least one, no further one after `most` bytes; b"" for an empty queue."""
        taken, size = [], 0
        while self._queue and size < most:
            record = self._queue.popleft()
            size += len(record)
            taken.append(record)
        self._size -= size
        return b"".join(taken)


@dataclass(slots=True, eq=False)
class Trace:
    """A line for each matching packet, some a second (log_pace)."""

    choice: Choice
    pace: Pace
    steady: Callable[[], float]
    """Monotonic clock, seconds."""
    stamp: Callable[[int], str] = lambda when: ""
    """The beginning of a line for a time in nanoseconds since 1970."""

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Write a line for each matching frame, or count it where there are too many."""
        if not self.choice.has(fate):
            return
        now = self.steady()
        for start, stop in frames(view, begin, end):
            if self.choice.fits(fate, view, start, stop):
                self.pace.say(lambda a=start, b=stop: self._line(when, fate, view, a, b), now)  # type: ignore[misc]

    def _line(self, when: int, fate: Fate, view: Buffer, start: int, end: int) -> str:
        sender = f"{whose} " if (whose := fate.sender()) else ""
        return f"{self.stamp(when)}{sender}{fates.summary(view, start, end)}: {fate.words()}"


@dataclass(slots=True, eq=False)
class Recorder:
    """Flight recorder: a ring with the beginnings of the latest packets, bounded in bytes.

    `size` includes what Python spends on each record (OVERHEAD). Records are never changed, so a reader works
    on a list of them while new ones are added.
    """

    size: int
    _ring: deque[bytes] = field(default_factory=deque)
    _used: int = 0

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Keep the beginnings of a run of frames; the oldest records make room."""
        record = capture_records.packets(
            when, fate.encode(), capture_records.cut(view, begin, end, SNAP), SNAP
        )
        self._ring.append(record)
        self._used += len(record) + OVERHEAD
        while self._used > self.size:
            self._used -= len(self._ring.popleft()) + OVERHEAD

    def resize(self, size: int) -> None:
        """Change the size of the ring, in bytes, from now on."""
        self.size = size
        while self._used > self.size:
            self._used -= len(self._ring.popleft()) + OVERHEAD

    @property
    def used(self) -> int:
        """Bytes of memory in use, OVERHEAD included."""
        return self._used

    def kept(self) -> list[bytes]:
        """All records, the oldest first."""
        return list(self._ring)
