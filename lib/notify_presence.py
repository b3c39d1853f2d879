"""Presence of hosts: who has come, left, stays away for too long, or comes and goes all the time.

    here --- leave ---> gone --- grace ---> away
      ^                  |                   |
      +------ join ------+-------------------+

    FLAPS times gone within WINDOW seconds: flap. Nothing more is told of that host's coming and going until
    it has stayed as it is for WINDOW seconds; then how it is, where that is not what was told last.

Knows: what each host was told to be, and since when. Time comes in as `now`.
Refuses to know: sessions (notify_watch looks for who is here), who is told (notify_delivery).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lib.bounded_dict import BoundedDict
from lib.settings_notify import AWAY, FLAP, JOIN, LEAVE

FLAPS, WINDOW = 5, 600.0
MAX_GONE = 65536
"""Hosts that are remembered after they have left; past that the longest gone is forgotten."""

Name = Any
"""What tells hosts, or routes, apart: anything that can be a key."""
Here = Mapping[Name, object]
"""Host -> a mark, which is another object where the host has been away meanwhile."""


class Change(NamedTuple):
    """Something to tell about a host."""

    kind: str
    host: Name
    seconds: float
    """How long it has been here (leave) or gone (join, away), or has come and gone (flap); 0: not known."""


@dataclass(slots=True)
class _Known:
    """What is known of one host."""

    mark: object
    since: float
    """When it came or left."""
    told_here: bool | None
    """What was told last; None after it was told to flap."""
    left: deque[float] = field(default_factory=lambda: deque(maxlen=FLAPS))
    """When it left, the last few times."""
    flaps: bool = False


class Presence:
    """The hosts of a hub. Changes are found by looking again and again at who is here."""

    def __init__(self, grace: float, here: Here, now: float) -> None:
        """`grace` in seconds. Nothing is told of those that are here already."""
        self.grace = grace
        self._here = {host: _Known(mark, now, True) for host, mark in here.items()}
        self._gone: BoundedDict[Name, _Known] = BoundedDict(MAX_GONE)
        self._not_away: BoundedDict[Name, None] = BoundedDict(MAX_GONE)
        """Those that are gone and not yet away, the longest gone first."""
        self._flapping: BoundedDict[Name, None] = BoundedDict(MAX_GONE)

    def update(self, here: Here, now: float) -> list[Change]:
        """What has changed since the last look."""
        changes: list[Change] = []
        for host in [host for host in self._here if host not in here]:
            self._leave(host, now, changes)
        for host, mark in here.items():
            known = self._here.get(host)
            if known is not None and known.mark is not mark:  # it was away, and nobody has seen that
                self._leave(host, now, changes)
                known = None
            if known is None:
                self._come(host, mark, now, changes)
        return changes + self.tick(now)

    def tick(self, now: float) -> list[Change]:
        """What has changed by the passing of time alone: nobody has come or left since the last look."""
        changes: list[Change] = []
        self._look_for_away(now, changes)
        self._look_for_steady(now, changes)
        return changes

    def _leave(self, host: Name, now: float, changes: list[Change]) -> None:
        known = self._here.pop(host)
        seconds, known.since = now - known.since, now
        known.left.append(now)
        self._gone.remember(host, known)
        self._not_away.remember(host, None)
        if not known.flaps and len(known.left) == FLAPS and now - known.left[0] <= WINDOW:
            known.flaps, known.told_here = True, None
            self._flapping.remember(host, None)
            changes.append(Change(FLAP, host, now - known.left[0]))
        if not known.flaps:
            known.told_here = False
            changes.append(Change(LEAVE, host, seconds))

    def _come(self, host: Name, mark: object, now: float, changes: list[Change]) -> None:
        known = self._gone.pop(host, None)
        self._not_away.pop(host, None)
        seconds = now - known.since if known is not None else 0.0
        known = known or _Known(mark, now, False)
        known.mark, known.since = mark, now
        self._here[host] = known
        if not known.flaps:
            known.told_here = True
            changes.append(Change(JOIN, host, seconds))

    def _look_for_away(self, now: float, changes: list[Change]) -> None:
        while self._not_away:
            host = next(iter(self._not_away))
            known = self._gone.get(host)
            if known is not None and now - known.since < self.grace:
                return
            del self._not_away[host]
            if known is not None:
                known.told_here = False
                changes.append(Change(AWAY, host, now - known.since))

    def _look_for_steady(self, now: float, changes: list[Change]) -> None:
        for host in list(self._flapping):
            is_here = host in self._here
            known = self._here.get(host) or self._gone.get(host)
            if known is not None and now - known.since < WINDOW:
                continue
            del self._flapping[host]
            if known is None:
                continue
            known.flaps = False
            known.left.clear()
            if is_here != known.told_here:
                known.told_here = is_here
                changes.append(Change(JOIN if is_here else LEAVE, host, 0.0))


class Carriers:
    """Which gateways carry each route that has several, and who has taken over from whom."""

    def __init__(self) -> None:
        self._last: BoundedDict[Name, tuple[str, ...]] = BoundedDict(MAX_GONE)

    def update(self, now_carrying: Mapping[Name, tuple[str, ...]]) -> list[tuple[Name, tuple[str, ...]]]:
        """(route, who carried it before) of each route that a gateway carries now which did not before."""
        taken = []
        for route, names in now_carrying.items():
            before = self._last.get(route)
            if not names or before == names:
                continue
            self._last.renew(route, names)
            if before is not None and set(names) - set(before):
                taken.append((route, before))
        return taken
