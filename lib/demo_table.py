"""Live table of the demo: one line a session, with its rates.

Knows: how the table looks on a terminal (refreshed in place) and elsewhere (line by line).
Refuses to know: where the numbers come from, and when they are asked for (demo).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lib.demo_net import Host

HEAD = (
    f"  {'host':<8}{'overlay':<15}{'hub':<17}{'since':<10}"
    f"{'sent Gbit/s':>12}{'packets/s':>11}{'received Gbit/s':>17}{'packets/s':>11}"
)
NOTE = "  (packets as a wire would carry them: a superpacket of up to 64 KB counts as its segments)"
SAME_SESSION = 1.0
"""Seconds by which the computed beginning of one session may move: a status gives its age in tenths."""

_UP = "\x1b[{}A"
_CLEAR_LINE = "\x1b[K"


class Table:
    """The table, and how much of it has been printed."""

    def __init__(self, in_place: bool) -> None:
        """With `in_place` each call of `show` overwrites the rows of the last one, by ANSI sequences."""
        self._in_place = in_place
        self._lines = 0
        self._began: dict[str, float] = {}
        """When the session of each host began."""

    def show(self, rows: Sequence[str]) -> None:
        """Print the rows below the head or, in place, over the last rows."""
        if not self._lines:
            print(NOTE, HEAD, sep="\n")
        elif self._in_place:
            print(_UP.format(self._lines), end="")
        for text in rows:
            print(text + (_CLEAR_LINE if self._in_place else ""))
        print(end="", flush=True)
        self._lines = len(rows)

    def row(
        self, host: Host, before: Mapping[str, Any], after: Mapping[str, Any], seconds: float, now: float
    ) -> str:
        """A host's line, from two rows of its client's status (PROTOCOL.md) that are `seconds` apart.

        `now` is the time of day, in seconds since 1970.
        """

        def per_second(counter: str) -> float:
            change: float = after[counter] - before[counter]
            return change / seconds

        hub, since = self._session(host, after, now)
        sent, received = (per_second(counter) * 8 / 1e9 for counter in ("sent_bytes", "received_bytes"))
        return (
            f"  {host.name:<8}{host.overlay:<15}{hub:<17}{since:<10}"
            f"{sent:>12.3f}{per_second('sent_packets'):>11,.0f}"
            f"{received:>17.3f}{per_second('received_packets'):>11,.0f}"
        )

    def _session(self, host: Host, client: Mapping[str, Any], now: float) -> tuple[str, str]:
        """(hub, time of day at which it began) of a client's session; ("away", "-") where there is none."""
        if client["hub"] is None:
            return "away", "-"
        began = now - client["since_s"]
        known = self._began.get(host.name, 0.0)
        if abs(began - known) > SAME_SESSION:  # else what is shown would go to and fro with the rounding
            self._began[host.name] = known = began
        return client["hub"], time.strftime("%H:%M:%S", time.localtime(known))
