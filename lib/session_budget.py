"""What may wait for the peers of a hub, all together: one count of bytes, whichever layer holds them.

Knows: how much there may be, how much there is, and which queue holds most.
Refuses to know: what waits (session_queue, session_sender, stream_layer, route_plugin_cache).

What a queue holds can be dropped, and the queue that holds most gives first. The rest cannot (bytes that a
codec has encoded, a frame that is partly out); where that alone is too much, the session that has not moved
on for longest ends. Frames that wait for a plugin are not taken in beyond a share.
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
    """What is kept by its size."""

    held: int
    """Bytes."""
    rank: int
    """Its class; -1 while it is in none."""
    high: int
    """From which size on it belongs into a higher class; 0 while it is in none."""


T = TypeVar("T", bound=Sized)


class BySize(Generic[T]):
    """Things in classes by size, each a factor of two: one of the largest is found without looking at all.

    Who grows past `high` says so (grown); who shrinks is moved down when it is looked at.
    """

    __slots__ = ("_bits", "_classes")

    def __init__(self, bits: int) -> None:
        """Things below 1 << bits bytes are all alike."""
        self._bits = bits
        self._classes: dict[int, dict[T, None]] = {}

    def grown(self, thing: T) -> None:
        """It is larger than its class."""
        self._move(thing, (thing.held >> self._bits).bit_length())

    def remove(self, thing: T) -> None:
        """It is gone, or empty."""
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
        """Give up something."""


class Evictable(Protocol):
    """A session's sender, as its budget sees it."""

    def evict(self) -> None:
        """End, and give up all that waits."""


@dataclass(slots=True, eq=False)
class Budget:
    """What all that waits in a hub may hold together, bytes of memory."""

    limit: int
    used: int = 0
    parked: int = 0
    """How much of it are frames that wait for a plugin's reply."""
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    """Seconds for which what has been sent had waited."""
    stuck: OrderedDict[Evictable, None] = field(default_factory=OrderedDict)
    """Senders with something on its way that the kernel does not take; who moved on longest ago first."""
    _queues: BySize[Droppable] = field(default_factory=lambda: BySize(_QUEUE_UNIT))

    def hold(self, queue: Droppable, size: int) -> None:
        """A queue holds so much more (or less) than before."""
        self.used += size
        queue.held += size
        if queue.held >= queue.high:
            self._queues.grown(queue)
        if not queue.held:
            self._queues.remove(queue)

    def moves_on(self, sender: Evictable) -> None:
        """A stuck sender has got rid of something."""
        if sender in self.stuck:
            self.stuck.move_to_end(sender)

    def relieve(self, now: float) -> None:
        """Have the queues that hold most drop, then end who does not read, until all is within the limit."""
        while self.used > self.limit and (queue := self._queues.largest()) is not None:
            queue.drop_one(Reason.QUEUE_MEMORY, now)
        while self.used > self.limit and self.stuck:
            sender, _ = self.stuck.popitem(last=False)
            sender.evict()

    def park(self, frame: bytes) -> bool:
        """Count a frame that waits for a plugin; False where there is no room for it."""
        size = len(frame) + PARKED_BYTES
        if self.used + size > self.limit or self.parked + size > self.limit // PARKED_SHARE:
            return False
        self.used += size
        self.parked += size
        return True

    def unpark(self, frame: bytes) -> None:
        """It waits no longer."""
        size = len(frame) + PARKED_BYTES
        self.used -= size
        self.parked -= size
