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
            if steps := place - (self.top >> 3):
                self._clear((self.top >> 3) + 1, steps)
            self.top = counter
        elif counter <= self.top - SIZE or bits[place & _MASK] & bit:
            return False
        bits[place & _MASK] |= bit
        return True

    def _clear(self, first: int, count: int) -> None:
        """Clear so many bytes of the ring at once: a far end may leave out thousands of counters a time."""
        bits, begin = self._bits, first & _MASK
        if count >= _BYTES:
            bits[:] = bytes(_BYTES)
            return
        end = begin + count
        bits[begin : min(end, _BYTES)] = bytes(min(end, _BYTES) - begin)
        if end > _BYTES:
            bits[: end - _BYTES] = bytes(end - _BYTES)
