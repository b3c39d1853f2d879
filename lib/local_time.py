"""Date and time of a moment by this host's clock and time zone, for people and for logs.

Knows: how it is written. Refuses to know: spans of time (humanize), which need neither clock nor zone.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def date(at: float) -> str:
    """A time in seconds since 1970 as local date and time: 2026-11-26 17:05."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def stamp(at: float) -> str:
    """A time in seconds since 1970 as RFC 3339 has it, with its zone: 2026-11-26T17:05:00.123+01:00."""
    when = datetime.fromtimestamp(at, UTC).astimezone()
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
