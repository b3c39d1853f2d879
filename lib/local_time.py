"""Date and time of a moment by this host's clock and time zone, for people.

Knows: how it is written. Refuses to know: spans of time (humanize), which need neither clock nor zone.
"""

from __future__ import annotations

import time


def date(at: float) -> str:
    """A time in seconds since 1970 as local date and time: 2026-11-26 17:05."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
