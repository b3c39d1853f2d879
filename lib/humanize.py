"""Rates, sizes, counts and times as short texts for people.

Knows: units, and that three digits are enough. Refuses to know: what is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TIMES = ((1.0, 59.5, "s"), (60.0, 59.5, "min"), (3600.0, 47.5, "h"))
"""(seconds in a unit, number of it from which the next unit is used, name)."""


def scaled(value: float, unit: str) -> str:
    """A value with three digits and a decimal prefix: 1.23 Gbit/s, 45.6 kB, 7 B."""
    for step, letter in _STEPS:
        if value >= step * 0.9995:
            return f"{_three(value / step)} {letter}{unit}"
    if 0 < value < 0.5:
        return f"<1 {unit}"
    return f"{value:.0f} {unit}"


def _three(number: float) -> str:
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}"


def rate(bytes_per_second: float) -> str:
    """A rate in bits a second: 7.40 Gbit/s."""
    return scaled(bytes_per_second * 8, "bit/s")


def packets(per_second: float) -> str:
    """A rate of packets: 940 packets/s, 1.20 Mpackets/s."""
    return scaled(per_second, "packets/s")


def size(count: float) -> str:
    """A number of bytes: 64.0 kB (1 kB is 1,000 bytes)."""
    return scaled(count, "B")


def number(count: int) -> str:
    """A count with separators: 1,000,000."""
    return f"{count:,}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number of things: 1 client, 2,000 clients; `plural` is for a noun that takes no s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def plain(count: int, noun: str) -> str:
    """A number of things without separators, as programs that read a log want it: 2000 clients."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names, and how many more there are: a, b and 1,998 more."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def span(seconds: float) -> str:
    """A duration: 3 s, 5 min, 2 h, 4 days."""
    seconds = max(0.0, seconds)
    for unit, most, word in _TIMES:
        if seconds / unit < most:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86400:.0f} days"


def ago(seconds: float) -> str:
    """How long ago something was: 3 min ago, just now."""
    return f"{span(seconds)} ago" if seconds >= 0.5 else "just now"


def milliseconds(seconds: float) -> str:
    """A time in milliseconds: 0.42 ms; `-` for 0, where nothing was measured."""
    if seconds <= 0:
        return "-"
    return f"{_three(seconds * 1e3)} ms" if seconds >= 5e-6 else "<0.01 ms"
