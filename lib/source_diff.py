"""The lines in which two long texts differ, found in a fraction of the time it takes to read them.

Knows: that most of a text is as it was, in the order it had.
Refuses to know: what a line means (route_loader).

Equal stretches are compared as bytes, many lines at once. Where they end, the nearest line that both
have is looked for in windows of growing size, and everything before it is gone, or has come. So the
lines that are neither stand in the same order in both texts: it is an edit script, if not the shortest.
"""

from __future__ import annotations

from collections.abc import Generator

WINDOWS = (1 << 11, 1 << 14, 1 << 17, 1 << 20)
"""Bytes in which the next common line is looked for."""
STRETCH = 1 << 10, 1 << 16
"""Bytes compared at once, from the least to the most."""
STEP = 100
"""Differences that a step finds."""

Script = tuple[list[bytes], list[bytes]]


def difference(old: bytes, new: bytes, most: int) -> Generator[None, None, Script | None]:
    """(lines gone, lines come), each in its order; None where they are more than `most`, or too far apart.

    Each yield ends a step of a few milliseconds.
    """
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
    """How many bytes from old[i:] and new[j:] are equal whole lines."""
    same, (size, most) = 0, STRETCH
    while (stretch := old[i + same : i + same + size]) == new[j + same : j + same + size]:
        same += len(stretch)
        if not stretch:
            return same
        size = min(2 * size, most)
    low, high = same, same + size  # equal up to low, different at high
    while high - low > 1:
        middle = (low + high) // 2
        if old[i + low : i + middle] == new[j + low : j + middle]:
            low = middle
        else:
            high = middle
    return max(0, old.rfind(b"\n", i, i + low) + 1 - i)


def _meet(old: bytes, i: int, new: bytes, j: int) -> tuple[int, int] | None:
    """Where the nearest line stands that both have, as offsets; the ends where there is none."""
    for size in WINDOWS:
        left, right = _lines(old, i, size), _lines(new, j, size)
        places = {line: number for number, line in reversed(list(enumerate(left))) if line}
        best: tuple[int, int, int] | None = None
        for number, line in enumerate(right):
            if best and number >= best[0]:
                break
            place = places.get(line)
            if place is not None and (best is None or place + number < best[0]):
                best = place + number, place, number
        if best:
            return i + _length(left[: best[1]]), j + _length(right[: best[2]])
        if i + size >= len(old) and j + size >= len(new):
            return len(old), len(new)
    return None


def _lines(text: bytes, start: int, size: int) -> list[bytes]:
    """The whole lines of a window."""
    return text[start : start + size].split(b"\n")[:-1]


def _length(lines: list[bytes]) -> int:
    return sum(map(len, lines)) + len(lines)
