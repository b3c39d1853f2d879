"""A line diff of two long texts, for texts that are mostly alike; much quicker than to parse their lines.

Knows: that most lines of the new text are those of the old one, in the same order.
Refuses to know: what a line means (route_loader).

Equal stretches are compared as bytes, many lines at once. Where they end, the nearest line that both texts
have is searched for in windows of growing size. All lines before it went from the old text, or came in the
new one. The other lines are in the same order in both texts. So the result is a correct edit script, though
not always the shortest one.
"""

from __future__ import annotations

from collections.abc import Generator

WINDOWS = (1 << 11, 1 << 14, 1 << 17, 1 << 20)
"""Sizes of the windows, in bytes, in which the next common line is searched for, one after the other."""
STRETCH = 1 << 10, 1 << 16
"""Bytes that are compared at once: at first, and at most."""
STEP = 100
"""Differences that a step finds."""

Script = tuple[list[bytes], list[bytes]]
"""(lines that went, lines that came)."""


def difference(old: bytes, new: bytes, most: int) -> Generator[None, None, Script | None]:
    """The lines that went and the lines that came, each in the order of its text; each yield ends a step.

    None where there are more than `most` of them together, or where no common line was found in the largest
    window.
    """
    # A last line without a line feed would seem equal to a longer line that begins with it.
    old, new = _ended(old), _ended(new)
    gone: list[bytes] = []
    come: list[bytes] = []
    i = j = number = 0
    while True:
        same = _same(old, i, new, j)
        i, j = i + same, j + same
        if i == len(old) and j == len(new):
            return gone, come
        meet = _meet(old, i, new, j)
        if meet is None:
            return None
        gone += old[i : meet[0]].split(b"\n")[:-1]
        come += new[j : meet[1]].split(b"\n")[:-1]
        if len(gone) + len(come) > most:
            return None
        i, j = meet
        number += 1
        if number % STEP == 0:
            yield


def _ended(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _same(old: bytes, i: int, new: bytes, j: int) -> int:
    """How many bytes of old[i:] and new[j:] are equal, counted in whole lines."""
    # Two slices are compared by memcmp, so long stretches are quickest. They begin short and double: where
    # the next difference is near, little is copied in vain.
    same, (size, most) = 0, STRETCH
    while (stretch := old[i + same : i + same + size]) == new[j + same : j + same + size]:
        same += len(stretch)
        if not stretch:
            return same
        size = min(2 * size, most)
    # The first different byte is somewhere in the last stretch: halve it until it is found.
    low, high = same, same + size  # equal up to low, not up to high
    while high - low > 1:
        middle = (low + high) // 2
        if old[i + low : i + middle] == new[j + low : j + middle]:
            low = middle
        else:
            high = middle
    # The line with the difference in it is not equal, so go back to where it begins.
    return max(0, old.rfind(b"\n", i, i + low) + 1 - i)


def _meet(old: bytes, i: int, new: bytes, j: int) -> tuple[int, int] | None:
    """The offsets of the nearest line that both texts have: (in old, in new).

    The ends of both texts where they have no line in common any more, None where the windows are too small to
    tell.
    """
    for size in WINDOWS:
        left, right = _lines(old, i, size), _lines(new, j, size)
        # Line -> its first place: built backwards, so that of equal lines the first one is kept. Empty lines
        # are left out, as they are everywhere and would join stretches that do not belong together.
        places = {line: number for number, line in reversed(list(enumerate(left))) if line}
        # The nearest line is the one with the fewest lines before it, counted in both texts together.
        best: tuple[int, int, int] | None = None
        for number, line in enumerate(right):
            if best and number >= best[0]:
                break  # further lines have more before them in the new text alone
            place = places.get(line)
            if place is not None and (best is None or place + number < best[0]):
                best = place + number, place, number
        if best:
            return i + _length(left[: best[1]]), j + _length(right[: best[2]])
        if i + size >= len(old) and j + size >= len(new):
            return len(old), len(new)
    return None


def _lines(text: bytes, start: int, size: int) -> list[bytes]:
    """The whole lines in the `size` bytes from `start` on, without their ends."""
    return text[start : start + size].split(b"\n")[:-1]


def _length(lines: list[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)
