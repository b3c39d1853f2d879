"""Live table of the demo: one line a session, with its rates.

Knows: how the table looks, on a terminal (refreshed in place) and elsewhere (line by line).
Refuses to know: where the numbers come from (demo_probe), when they are asked for (demo).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib.demo_net import Host
from lib.demo_probe import Counters

HEAD = (
    f"  {'host':<8}{'overlay':<15}{'hub':<17}{'since':<10}"
    f"{'sent Gbit/s':>12}{'packets/s':>11}{'received Gbit/s':>17}{'packets/s':>11}"
)
NOTE = "  (a superpacket of up to 64 KB counts as one packet)"

_CONNECTED = "connected to "
_LOST = "; trying again"
_UP = "\x1b[{}A"
_CLEAR_LINE = "\x1b[K"


class Table:
    """What has been printed of the table so far."""

    def __init__(self, in_place: bool) -> None:
        """With `in_place` each show overwrites the one before, by ANSI sequences."""
        self._in_place = in_place
        self._lines = 0

    def show(self, rows: Sequence[str]) -> None:
        """Print the rows, below the head or in place of the last ones."""
        if not self._lines:
            print(NOTE, HEAD, sep="\n")
        elif self._in_place:
            print(_UP.format(self._lines), end="")
        for text in rows:
            print(text + (_CLEAR_LINE if self._in_place else ""))
        print(end="", flush=True)
        self._lines = len(rows)


def row(host: Host, log: Sequence[str], before: Counters, after: Counters, seconds: float) -> str:
    """A host's line: its session as its log tells, its rates from counters `seconds` apart."""
    hub, since = session(log)
    sent = (after.sent_bytes - before.sent_bytes) * 8 / seconds / 1e9
    received = (after.received_bytes - before.received_bytes) * 8 / seconds / 1e9
    sent_packets = (after.sent_packets - before.sent_packets) / seconds
    received_packets = (after.received_packets - before.received_packets) / seconds
    return (
        f"  {host.name:<8}{host.overlay:<15}{hub:<17}{since:<10}"
        f"{sent:>12.3f}{sent_packets:>11,.0f}{received:>17.3f}{received_packets:>11,.0f}"
    )


def session(log: Sequence[str]) -> tuple[str, str]:
    """(hub, time of day) of the session that a client's log ends with; ("away", "-") without one."""
    for line in reversed(log):
        if _LOST in line:
            break
        if _CONNECTED in line:
            return line.split(_CONNECTED)[1].split()[0], line.split()[1]
    return "away", "-"
