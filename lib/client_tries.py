"""Tries of a client to have a session: how each has ended, and what the log says of them.

Knows: how patient the next tries are after each kind of failure, which failures the log folds, and that a
session's first line says how many tries it took.
Refuses to know: what is tried, and when (client_reconnect).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from lib import service_supervisor
from lib.client_backoff import LASTING, LOST, TEMPORARY, Pace
from lib.client_dial import Refused, hop_of
from lib.errors import ProtocolError
from lib.log_dedup import FLAPPING, OUTAGE
from lib.log_events import Entry
from lib.log_setup import absorb, forget, say, settle


class Ended(NamedTuple):
    """How a try has ended: not admitted, or a session that ended."""

    why: str
    kind: str
    """The same in words of ours, for log_dedup."""
    pace: Pace = LOST
    seconds: float = 0.0
    """How long there was a session."""
    hop: int = -1
    """The number of the hop whose node has failed; -1 for the hub's, which is the last one."""


@dataclass(frozen=True, slots=True)
class Away:
    """What is known of a client without a session."""

    hub: str
    """Address and port, as configured, of the hub that was tried last."""
    reason: str = ""
    """Why that failed, or why the session ended; empty before the first try has ended."""
    next_at: float = 0.0
    """When the next try begins, of the monotonic clock; in the past while one is under way."""


def ended_by(error: Exception) -> Ended:
    """How a try has ended that has raised this error; one that nobody has foreseen is noted as such."""
    if isinstance(error, Refused):
        return Ended(str(error), str(error), TEMPORARY if error.temporary else LASTING)
    if isinstance(error, ProtocolError):
        return Ended(str(error), error.refusal.value)
    if isinstance(error, OSError):
        kind = f"{type(error).__name__} {error.errno}"
        return Ended(error.strerror or str(error), kind, hop=hop_of(error))
    service_supervisor.note(error)
    return Ended(f"an error of this program: {type(error).__name__}", "error")


class Tries:
    """The tries since the last session that lasted."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()
        """The keys under which failures were logged (log_dedup)."""
        self._count, self._since = 0, 0.0
        """How many have failed, and when the first one did."""

    @property
    def any(self) -> bool:
        """Whether any failure was logged."""
        return bool(self._keys)

    def failed(self, name: str, hub: str, why: str, kind: str, now: float) -> None:
        """Log that there is no session. `kind` is why in words of ours: log_dedup counts by it."""
        self._since = self._since if self._count else now
        self._count += 1
        fold, text, of = f"{name} {kind}", "service %s: hub %s: %s; trying again", (name, hub, why)
        say(Entry.RECONNECTING, text, *of, fold=fold, by=hub, habit=OUTAGE, service=name, hub=hub, reason=why)
        self._keys.add((fold, hub))

    @staticmethod
    def anew(name: str, hub: str) -> None:
        """Log that a reload has ended a session, or a try, and that the next one is made at once."""
        text, why = "service %s: hub %s: %s; connecting anew", "the configuration has changed"
        say(Entry.CONNECTS_ANEW, text, name, hub, why, fold=name, service=name, hub=hub, reason=why)

    def settle(self) -> None:
        """Let the next failure be logged in full again, for the settings are others (log_dedup)."""
        for fold, hub in self._keys:
            settle(Entry.RECONNECTING, fold, hub)
        self._keys.clear()

    def forget(self, name: str) -> None:
        """The same after a session that lasted: how many tries had failed was logged when it began."""
        for fold, hub in self._keys:
            forget(Entry.RECONNECTING, fold, hub)
        forget(Entry.CONNECTED, name)
        self._keys.clear()
        self._count = 0

    def connected(self, name: str, host: str, hub: str) -> None:
        """Log that there is a session, and how many tries have failed before."""
        tries, seconds = self._count, time.monotonic() - self._since
        after = f" after {tries} {'try' if tries == 1 else 'tries'} in {seconds:.0f} s" if tries else ""
        say(
            Entry.CONNECTED, "service %s: connected to %s as %s%s", name, hub, host, after,
            fold=name, habit=FLAPPING, service=name, host=host, hub=hub, tries=tries,
        )  # fmt: skip
        for fold, by in self._keys:  # the line above has counted them
            absorb(Entry.RECONNECTING, fold, by)
