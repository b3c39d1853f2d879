"""Numbers as a person reads them: rates, sizes, times.

Knows: units. Refuses to know: what is counted.
"""

from __future__ import annotations

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(value: float, unit: str) -> str:
    """1.23 Gbit/s, 45.6 kB, 7 B: three digits."""
    for step, letter in _STEPS:
        if value >= step * 0.9995:
            number = value / step
            digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{number:.{digits}f} {letter}{unit}"
    return f"{value:.0f} {unit}"


def ago(seconds: float) -> str:
    """3 s, 5 min, 2 h, 4 days."""
    for size, word in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.95 * size or (word != "days" and seconds >= size):
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.0f} s"


def milliseconds(seconds: float) -> str:
    """0.42 ms; - where nothing was measured."""
    return f"{seconds * 1e3:.{2 if seconds < 0.01 else 0}f} ms" if seconds else "-"
