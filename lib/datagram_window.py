"""Replay window of one key: which counters of its datagrams have been taken (RFC 6479).

Knows: that each counter is taken once, in any order within the newest SIZE of them.
Refuses to know: whether a datagram is authentic; `take` is for those that are.

A ring of bits, with one bit for each counter. When a newer counter moves the window on, whole bytes are
cleared, so the ring is larger than the window.
"""

from __future__ import annotations

SIZE = 8192
"""Counters in the window."""
_BYTES = 2 * SIZE >> 3
_MASK = _BYTES - 1


class Window:
    """The counters of one key. `top` is the highest one that was taken, -1 for none."""

    __slots__ = ("_bits", "top")

    def __init__(self) -> None:
        self.top = -1
        self._bits = bytearray(_BYTES)

    def is_new(self, counter: int) -> bool:
        """Whether a datagram with this counter may be taken: it was not yet, and it is not too old."""
        if counter > self.top:
            return True
        return counter > self.top - SIZE and not self._bits[(counter >> 3) & _MASK] & 1 << (counter & 7)

    def take(self, counter: int) -> bool:
        """Take a counter; returns False where `is_new` does."""
        bits, place, bit = self._bits, counter >> 3, 1 << (counter & 7)
        if counter > self.top:
            last = self.top >> 3
            if place - last >= _BYTES:
                bits[:] = bytes(_BYTES)
            else:
                for passed in range(last + 1, place + 1):
                    bits[passed & _MASK] = 0
            self.top = counter
        elif counter <= self.top - SIZE or bits[place & _MASK] & bit:
            return False
        bits[place & _MASK] |= bit
        return True
