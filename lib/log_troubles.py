"""Troubles that last: what the log has told and what is not over yet, for `status` and `tunrouter doctor`.

Knows: which events begin a trouble, and by which of their fields two troubles of one event are told apart.
Refuses to know: what is done about them (doctor_process), how lines are written (log_setup).

Troubles that other rows of `status` tell of (a source, a plugin, a session that is away) are none of these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from lib.log_events import Entry

LASTING: Mapping[Entry, tuple[str, ...]] = {
    Entry.AUDIT_FAILED: ("path",),
    Entry.CERTIFICATE_FAILED: ("file",),
    Entry.KILLSWITCH_FAILED: (),
    Entry.NAMES_NOT_KEPT: ("reason",),
    Entry.NAT_FAILED: ("service",),
    Entry.NO_DATAGRAMS: ("service",),
    Entry.NOT_TOLD: ("service", "namespace"),
    Entry.POOL_FULL: ("router",),
    Entry.POOL_LOW: ("router",),
    Entry.POOL_NOT_KEPT: ("router",),
    Entry.POOL_NOT_SHARED: ("router",),
    Entry.RELOAD_FAILED: ("service", "reason"),
}
"""Event -> the fields that say which trouble it is."""
MOST = 16
"""Troubles of one event that are told apart; of more the first ones are kept."""


class Trouble(NamedTuple):
    """One trouble that is not over."""

    event: str
    text: str
    """The line of the log."""
    since: float
    """When it began, in seconds of the monotonic clock."""

    def row(self, now: float) -> dict[str, object]:
        """Its row in the reply to `status`."""
        return {"event": self.event, "text": self.text, "since_s": round(now - self.since, 1)}


class Troubles:
    """Those of a process."""

    def __init__(self) -> None:
        self._known: dict[Entry, dict[tuple[str, ...], Trouble]] = {}

    def note(self, event: Entry, fields: Mapping[str, object], text: str, now: float) -> None:
        """An event that begins a trouble has come, or has come again."""
        known = self._known.setdefault(event, {})
        key = tuple(str(fields.get(name, "")) for name in LASTING[event])
        before = known.get(key)
        if before is not None or len(known) < MOST:
            known[key] = Trouble(event.value, text, before.since if before is not None else now)

    def over(self, event: Entry, *which: str) -> None:
        """A trouble is over: that with these values of its fields, or all that begin with them."""
        known = self._known.get(event, {})
        for key in [key for key in known if key[: len(which)] == which]:
            del known[key]

    def keep_only(self, field: str, values: Collection[str]) -> None:
        """Troubles of services or routers that are there no more are over; "" is none of them."""
        for event, known in self._known.items():
            if field in LASTING[event]:
                at = LASTING[event].index(field)
                for key in [key for key in known if key[at] and key[at] not in values]:
                    del known[key]

    def all(self) -> list[Trouble]:
        """Every trouble, in the order in which they began."""
        every = (one for known in self._known.values() for one in known.values())
        return sorted(every, key=lambda one: one.since)
