"""Durations, integers and booleans in Go's and YAML's notation.

Knows: time.ParseDuration and Duration.String, YAML's integers, what counts as true and false.
Refuses to know: which key wants which unit (config_schema, config_metadata).
"""

from __future__ import annotations

import re

NANOSECONDS = 1
SECONDS = 1_000_000_000

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek mu
    "ms": 1_000_000,
    "s": SECONDS,
    "m": 60 * SECONDS,
    "h": 3600 * SECONDS,
}
_PART = re.compile(r"([0-9]{0,40})(?:\.([0-9]{0,40}))?(ns|us|µs|μs|ms|s|m|h)")
_INTEGER = re.compile(r"[+-]?[0-9][0-9_]{0,39}")
_PREFIXED = re.compile(r"([+-]?)0([xXoObB]?)([0-9a-fA-F_]{1,40})")
_BASES = {"x": 16, "o": 8, "b": 2, "": 8}
_MAX = (1 << 63) - 1

_ON = frozenset({"true", "yes", "on", "y", "t", "1"})
_OFF = frozenset({"false", "no", "off", "n", "f", "0"})


class Duration(int):
    """A duration in nanoseconds; a type of its own, because it is read and printed unlike a number."""

    __slots__ = ()


def parse_duration(text: str, bare: int = NANOSECONDS) -> Duration:
    """Read `10s`, `1m30s`, `1.5h`, `-2ms`, or a bare integer counted in `bare` nanoseconds.

    Raises ValueError. GOST reads bare integers as nanoseconds in a struct, seconds in metadata.
    """
    if _INTEGER.fullmatch(text):
        return _bounded(int(text) * bare, text)
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            raise ValueError(f"not a duration: {text!r} (write 10s, 1m30s or 500ms)")
        fraction, unit = part[2] or "", _UNITS[part[3]]
        total += int(part[1] or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = part.end()
    if not rest:
        raise ValueError("an empty duration (write 10s, 1m30s or 500ms)")
    return _bounded(sign * total, text)


def _bounded(nanoseconds: int, text: str) -> Duration:
    if abs(nanoseconds) > _MAX:
        raise ValueError(f"a duration of more than 292 years: {text!r}")
    return Duration(nanoseconds)


def format_duration(nanoseconds: int) -> str:
    """Write a duration as Go does: 1m30s, 1.5s, 10ns, 0s."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds < SECONDS:
        for unit in ("ms", "µs", "ns"):
            if nanoseconds >= _UNITS[unit]:
                return _decimal(nanoseconds, _UNITS[unit]) + unit
        return "0s"
    minutes, rest = divmod(nanoseconds, 60 * SECONDS)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return text + _decimal(rest, SECONDS) + "s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def parse_integer(text: str) -> int:
    """Read an integer as yaml.v3 does: 7, -7, 1_000, 0x10, 0o17, 017, 0b11. Raises ValueError."""
    prefixed = _PREFIXED.fullmatch(text)
    try:
        if prefixed:
            digits = prefixed[3].replace("_", "")
            return int(prefixed[1] + digits, _BASES[prefixed[2].lower()])
        if _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
    except ValueError:
        pass
    raise ValueError(f"not a whole number: {text!r}")


def parse_switch(text: str) -> bool:
    """Read true/false, yes/no, on/off in any case, and Go's t, f, 1, 0. Raises ValueError."""
    word = text.lower()
    if word not in _ON and word not in _OFF:
        raise ValueError(f"neither on nor off: {text!r} (write true or false)")
    return word in _ON
