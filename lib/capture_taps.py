"""Taps on the way of packets: who looks at them, each in its own way, without holding anything up.

    session -> watching -> Taps.saw --+-- Capture    records of those that fit, in a bounded queue
                                      +-- Trace      a line for each that fits, some a second
                                      +-- Recorder   the beginning of every packet, the last so many bytes

Knows: what each of them keeps of a run of frames, and what it leaves when there is no room.
Refuses to know: where a packet's fate comes from (capture_watch), filters' words (capture_filter), who
takes away what was kept (capture_service).

A run is view[begin:end], whole frames that share one fate. It is looked at while it lies in the session's
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
"""Whether a packet fits (packet_filter)."""

QUEUE_BYTES = 8 << 20
"""What a capture holds for a reader that does not keep up; past that it loses packets."""
SNAP = 128
"""Bytes of a frame's content that the recorder keeps: every header there is, and a little of what follows."""
OVERHEAD = 48
"""Bytes that Python spends on a record beside what is in it: an object's header, its place in the queue."""
LEAST_RECORDER = 64 << 10


class Tap(Protocol):
    """One who looks."""

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Frames with one fate, seen `when` (nanoseconds since 1970); they are gone afterwards."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which packets somebody wants; empty and None fit everything."""

    host: str = ""
    """Who sends or gets it."""
    namespace: str = ""
    test: Test | None = None

    def has(self, fate: Fate) -> bool:
        """Whether packets of this fate may fit."""
        if self.host and self.host not in (fate.host, fate.to):
            return False
        return not self.namespace or self.namespace == fate.namespace

    def fits(self, fate: Fate, view: Buffer, start: int, end: int) -> bool:
        """Whether the content of one frame fits, `has` aside."""
        return self.test is None or self.test(fate, fates.packet_of(view, start, end)[1])


class Taps:
    """All who look, of one process."""

    __slots__ = ("_clock", "_decisions", "_taps", "on")

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        """clock tells nanoseconds since 1970."""
        self._clock = clock
        self._taps: tuple[Tap, ...] = ()
        self._decisions: Callable[[Attachment, Packet, object], None] | None = None
        self.on = False
        """Whether anybody looks at anything. While not, no packet passes through here."""

    def add(self, tap: Tap) -> None:
        """Let somebody look."""
        self._taps = (*self._taps, tap)
        self._turn()

    def remove(self, tap: Tap) -> None:
        """Let somebody look no more."""
        self._taps = tuple(other for other in self._taps if other is not tap)
        self._turn()

    def tell_decisions(self, tell: Callable[[Attachment, Packet, object], None] | None) -> None:
        """Have every decision told as (who sent it, the packet, decide's verdict); None: no more."""
        self._decisions = tell
        self._turn()

    def _turn(self) -> None:
        self.on = bool(self._taps) or self._decisions is not None

    def count(self, kind: type) -> int:
        """How many of a kind look."""
        return sum(isinstance(tap, kind) for tap in self._taps)

    def saw(self, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """A run of frames with one fate."""
        when = self._clock()
        for tap in self._taps:
            tap.take(when, fate, view, begin, end)

    def decided(self, attachment: Attachment, packet: Packet, verdict: object) -> None:
        """The first packet of a flow, or one that is decided on by itself."""
        if self._decisions is not None:
            self._decisions(attachment, packet, verdict)


def frames(view: Buffer, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the content of each frame of a run begins and ends."""
    while begin < end:
        stop = begin + 2 + (view[begin] << 8 | view[begin + 1])
        yield begin + 2, stop
        begin = stop


@dataclass(slots=True, eq=False)
class Capture:
    """Keeps packets until they are taken away."""

    choice: Choice
    wake: Callable[[], object]
    """Told when there is something to take."""
    limit: int = QUEUE_BYTES
    fitted: int = 0
    lost: int = 0
    """Of those that fitted: there was no room."""
    _queue: deque[bytes] = field(default_factory=deque)
    _size: int = 0

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Keep those that fit."""
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

    def pop(self, most: int) -> bytes:
        """What has been kept the longest, a record at least and about `most` bytes; b"" for nothing."""
        taken, size = [], 0
        while self._queue and size < most:
            record = self._queue.popleft()
            size += len(record)
            taken.append(record)
        self._size -= size
        return b"".join(taken)


@dataclass(slots=True, eq=False)
class Trace:
    """Tells of packets, some a second."""

    choice: Choice
    pace: Pace
    steady: Callable[[], float]
    """Seconds of a steady clock."""
    stamp: Callable[[int], str] = lambda when: ""
    """How a line begins."""

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Tell of those that fit, or count them."""
        if not self.choice.has(fate):
            return
        now = self.steady()
        for start, stop in frames(view, begin, end):
            if self.choice.fits(fate, view, start, stop):
                self.pace.say(lambda a=start, b=stop: self._line(when, fate, view, a, b), now)  # type: ignore[misc]

    def _line(self, when: int, fate: Fate, view: Buffer, start: int, end: int) -> str:
        sender = f"{fate.host} " if fate.host else ""
        return f"{self.stamp(when)}{sender}{fates.summary(view, start, end)}: {fate.words()}"


@dataclass(slots=True, eq=False)
class Recorder:
    """Keeps the beginning of every packet, as many of the last ones as there is room for.

    `size` bounds what is kept with all that Python spends on it. Records are never changed, so whoever reads
    them has a list of them, and nothing waits for anybody.
    """

    size: int
    _ring: deque[bytes] = field(default_factory=deque)
    _used: int = 0

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Keep the beginnings of a run of frames, and forget as much of what is oldest."""
        record = capture_records.packets(
            when, fate.encode(), capture_records.cut(view, begin, end, SNAP), SNAP
        )
        self._ring.append(record)
        self._used += len(record) + OVERHEAD
        while self._used > self.size:
            self._used -= len(self._ring.popleft()) + OVERHEAD

    def resize(self, size: int) -> None:
        """Keep another number of bytes from now on."""
        self.size = size
        while self._used > self.size:
            self._used -= len(self._ring.popleft()) + OVERHEAD

    @property
    def used(self) -> int:
        """Bytes of memory that are in use."""
        return self._used

    def kept(self) -> list[bytes]:
        """Every record, the oldest first."""
        return list(self._ring)
