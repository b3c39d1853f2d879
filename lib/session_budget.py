"""Memory limit of all that waits for the peers of a hub: one count of bytes over queues and layers.

Knows: how many bytes may wait, how many do, and which queue holds most.
Refuses to know: what waits (session_queue, session_sender, stream_layer, route_plugin_cache).

Frames in a queue can be dropped, and the queue that holds most drops first. Other bytes cannot (a codec has
encoded them, or the frame is partly sent). Where these alone are too many, the session ends whose peer has
not read anything for longest. Frames that wait for a plugin may hold an eighth (PARKED_SHARE).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from lib.forward_drop_reasons import Reason
from lib.metrics_ledger import Histogram

WAITS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds: bounds of the histogram of waits."""
PARKED_SHARE = 8
"""An eighth of the budget may hold frames that wait for a plugin: nothing else can drop them."""
PARKED_BYTES = 160
"""What a parked frame holds beside its bytes: bytes object, tuple, slot of a list (tests/bench/held.py)."""
_QUEUE_UNIT = 16  # bits: queues that hold less than 64 KB are all alike


class Sized(Protocol):
    """Something that BySize sorts by the bytes that it holds."""

    held: int
    """Bytes."""
    rank: int
    """Its class; -1 while it is in none."""
    high: int
    """From which size on it belongs into a higher class; 0 while it is in none."""


T = TypeVar("T", bound=Sized)


class BySize(Generic[T]):
    """Things in classes by size, of a factor of two each: one of the largest is found at once.

    A thing that grows past its `high` has to be reported (grown). One that shrinks moves down when largest()
    finds it.
    """

    __slots__ = ("_bits", "_classes")

    def __init__(self, bits: int) -> None:
        """All things below 1 << bits bytes are in one class."""
        self._bits = bits
        self._classes: dict[int, dict[T, None]] = {}

    def grown(self, thing: T) -> None:
        """Move a thing that has grown past its class (`high`) into the right one."""
        self._move(thing, (thing.held >> self._bits).bit_length())

    def remove(self, thing: T) -> None:
        """Forget a thing that has ended or holds nothing."""
        self._move(thing, -1)

    def largest(self) -> T | None:
        """One that has at least half as much as any other; None where nothing holds anything."""
        while self._classes:
            rank = max(self._classes)
            own = self._classes[rank]
            thing, _ = own.popitem()  # unlike an iterator, it does not step over what has been deleted
            own[thing] = None
            real = (thing.held >> self._bits).bit_length() if thing.held else -1
            if real == rank:
                return thing
            self._move(thing, real)
        return None

    def _move(self, thing: T, rank: int) -> None:
        old = thing.rank
        if old >= 0:
            own = self._classes[old]
            del own[thing]
            if not own:
                del self._classes[old]
        if rank >= 0:
            self._classes.setdefault(rank, {})[thing] = None
        thing.rank, thing.high = rank, 1 << (rank + self._bits) if rank >= 0 else 0


class Droppable(Sized, Protocol):
    """A queue, as its budget sees it; `held` counts what each piece costs beside its own bytes as well."""

    def drop_one(self, reason: Reason, now: float) -> None:
        """Drop the oldest frames of one flow; `now` is in seconds of a steady clock."""


class Evictable(Protocol):
    """A session's sender, as its budget sees it."""

    def evict(self) -> None:
        """End the session, and drop all that waits in it."""


@dataclass(slots=True, eq=False)
class Budget:
    """The bytes of memory that all that waits in a hub may hold together."""

    limit: int
    used: int = 0
    parked: int = 0
    """Bytes of `used` that are frames which wait for a plugin's reply."""
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    """How long frames had waited when they were sent, in seconds."""
    stuck: OrderedDict[Evictable, None] = field(default_factory=OrderedDict)
    """Senders whose bytes the kernel does not take; the one that has waited longest for that is first."""
    _queues: BySize[Droppable] = field(default_factory=lambda: BySize(_QUEUE_UNIT))

    def hold(self, queue: Droppable, size: int) -> None:
        """Count `size` bytes more (less where it is negative) that a queue holds."""
        self.used += size
        queue.held += size
        if queue.held >= queue.high:
            self._queues.grown(queue)
        if not queue.held:
            self._queues.remove(queue)

    def moves_on(self, sender: Evictable) -> None:
        """Note that the kernel has taken bytes of a stuck sender."""
        if sender in self.stuck:
            self.stuck.move_to_end(sender)

    def relieve(self, now: float) -> None:
        """Get within the limit: the largest queues drop frames, then sessions end whose peers do not read."""
        while self.used > self.limit and (queue := self._queues.largest()) is not None:
            queue.drop_one(Reason.QUEUE_MEMORY, now)
        while self.used > self.limit and self.stuck:
            sender, _ = self.stuck.popitem(last=False)
            sender.evict()

    def park(self, frame: bytes, held: int = 0) -> bool:
        """Count a frame that waits for a plugin; False where there is no room for it.

        `held` is how many bytes of its sender wait already: it may have as many as are free for others.
        """
        size = len(frame) + PARKED_BYTES
        if self.used + size > self.limit or held + self.parked + size > self.limit // PARKED_SHARE:
            return False
        self.used += size
        self.parked += size
        return True

    def unpark(self, frame: bytes) -> None:
        """Uncount a frame that park() has counted."""
        size = len(frame) + PARKED_BYTES
        self.used -= size
        self.parked -= size
