"""Watch over the hosts of all hubs of a process: it looks who is here, and has the receivers told of changes.

Knows: how an event is put into words and fields (PROTOCOL.md, notifications), which receiver wants which.
Refuses to know: when a change is one (notify_presence), how an event is delivered (notify_delivery).

It looks four times a second, so a session pays nothing for it. Where nothing has changed, a look is a
comparison of dicts of hosts.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import gevent

from lib.auth_logins import fits
from lib.humanize import span
from lib.ids import format_uuid
from lib.namespace import Namespace
from lib.namespace_domains import Domains
from lib.namespace_titles import title_of
from lib.notify_delivery import Receiver, wall_clock
from lib.notify_presence import Carriers, Change, Here, Name, Presence
from lib.prefixes import text as prefix_text
from lib.route_gateways import Gateway
from lib.route_table import Group, RouteTable
from lib.service_scheduling import breathe
from lib.service_supervisor import Task
from lib.settings_notify import AWAY, FLAP, JOIN, LEAVE, TAKEOVER, NotifySettings

LOOK_SECONDS = 0.25
MOST_ROUTES, MOST_PREFIXES = 4096, 8
"""Routes of the biggest table in which prefixes are looked for, and prefixes that an event names."""
_WARNINGS = (AWAY, FLAP, TAKEOVER)

Place = tuple[tuple[str, str], bytes]
"""Where a namespace is: (key of its domain, its id)."""
Hosts = Mapping[str, object]
"""Host -> a mark, as notify_presence has it: its gateway in this process."""


class NotifyWatch:
    """Tells receivers who comes and goes."""

    def __init__(self, domains: Domains, settings: tuple[NotifySettings, ...] = ()) -> None:
        """Nothing is looked at before start()."""
        self._domains = domains
        self._receivers: list[Receiver] = []
        self._seen: dict[Place, Hosts] = {}
        self._presences: dict[float, Presence] = {}
        """By grace: receivers with the same one are told the same."""
        self._carriers = Carriers()
        self._look_again: dict[Place, list[float]] = {}
        """Namespaces in which a hold-down ends, and when."""
        self._task = Task("hosts that come and go are told of", self._run, vital=False)
        self._numbers, self._instance = count(1), os.urandom(6).hex()
        self._started = wall_clock(time.monotonic())  # once: it is the same text in every event
        self.apply(settings)

    def start(self) -> None:
        """Begin to look."""
        self._task.start()

    def stop(self) -> None:
        """Tell nothing more: that all hosts leave at the end of the process is no news."""
        self._task.kill(block=False)
        for receiver in self._receivers:
            receiver.stop()

    def apply(self, settings: tuple[NotifySettings, ...]) -> list[str]:
        """Tell these receivers from now on; returns a line where they are others.

        Those that stay keep what waits for them.
        """
        if not self._receivers:  # nobody has looked
            self._seen = self._found()
        before = {receiver.settings: receiver for receiver in self._receivers}
        kept = [before.pop(one) if one in before else Receiver(one) for one in settings]
        differs = bool(before) or len(kept) != len(self._receivers) or kept != self._receivers
        for receiver in before.values():
            receiver.stop()
        for receiver in kept:
            receiver.start()
        self._receivers = kept
        here, now = self._flat(), time.monotonic()
        wanted = {one.grace for one in settings}
        self._presences = {
            grace: self._presences.get(grace) or Presence(grace, here, now) for grace in sorted(wanted)
        }
        return [f"notify: {', '.join(one.name for one in settings) or 'nobody'}"] if differs else []

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_SECONDS)
            if self._receivers:
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look who is here, and have told what has changed."""
        found = self._found()
        changed = [
            place for place in found.keys() | self._seen.keys() if found.get(place) != self._seen.get(place)
        ]
        self._seen = found
        here = self._flat() if changed else None
        for grace, presence in self._presences.items():
            for change in presence.update(here, now) if here is not None else presence.tick(now):
                self._tell_change(change, grace, now)
        self._look_for_takeovers(changed, now)

    def _found(self) -> dict[Place, Hosts]:
        """Who is here now."""
        return {place: dict(namespace.gateways.here) for place, namespace in self._namespaces()}

    def _peer(self, place: Place, host: str) -> str:
        """The address and port of a host's first session; empty where it has none."""
        gateway = self._seen.get(place, {}).get(host)
        assert gateway is None or isinstance(gateway, Gateway)
        return gateway.attachments[0].peer if gateway is not None and gateway.attachments else ""

    def _namespaces(self) -> Iterator[tuple[Place, Namespace]]:
        for key, domain in self._domains.all.items():
            for name, namespace in domain.namespaces.items():
                yield (key, name), namespace

    def _flat(self) -> Here:
        return {(place, host): one for place, hosts in self._seen.items() for host, one in hosts.items()}

    # --- who carries what

    def _look_for_takeovers(self, changed: list[Place], now: float) -> None:
        due = {place for place, times in self._look_again.items() if now >= min(times)}
        for place, namespace in list(self._namespaces()):
            if place in changed or place in due:
                self._look_at_routes(place, namespace, now, place in changed)
                breathe()
        for place in due:
            self._look_again[place] = [at for at in self._look_again[place] if at > now]
        gone = [place for place, times in self._look_again.items() if not times or place not in self._seen]
        for place in gone:
            del self._look_again[place]

    def _look_at_routes(self, place: Place, namespace: Namespace, now: float, again: bool) -> None:
        for table in namespace.tables:
            if not isinstance(table, RouteTable) or not table.has_alternatives:
                continue
            groups = {(place, group.tiers): group for group in table.alternatives()}
            rest = (table.hold_down, now, namespace.known_elsewhere)
            carrying = {key: namespace.gateways.carriers(group, *rest) for key, group in groups.items()}
            self._carry(place, table, groups, carrying, now)
            if again:  # a gateway that has come back is preferred again after the hold-down
                self._look_again.setdefault(place, []).append(now + table.hold_down)

    def _carry(
        self, place: Place, table: RouteTable, groups: Mapping[Name, Group],
        carrying: Mapping[Name, tuple[str, ...]], now: float,
    ) -> None:  # fmt: skip
        """Tell of gateways that carry routes which others have carried before."""
        for key, before in self._carriers.update(carrying):
            names = sorted(groups[key].names)
            self._tell_takeover(place, names, prefixes_of(table, groups[key]), before, carrying[key], now)

    # --- what is told

    def _tell_change(self, change: Change, grace: float, now: float) -> None:
        place, host = change.host
        for receiver in self._receivers:
            if receiver.settings.grace == grace and _wants(receiver.settings, change.kind, (host,)):
                more = {"seconds": round(change.seconds, 1), "peer": self._peer(place, host)}
                self._put(receiver, change.kind, place, host, _words(change, host), more, now)

    def _tell_takeover(
        self, place: Place, names: Sequence[str], prefixes: Sequence[str], before: tuple[str, ...],
        after: tuple[str, ...], now: float,
    ) -> None:  # fmt: skip
        """`names` are all gateways of the routes, `prefixes` the widest of these, if they were looked for."""
        host = next(name for name in after if name not in before)
        what = ", ".join(prefixes) or f"the routes of {', '.join(names)}"
        words = f"{' and '.join(after)} carries {what} in place of {' and '.join(before)}"
        more = {
            "seconds": 0.0,
            "peer": "",
            "before": list(before),
            "after": list(after),
            "prefixes": list(prefixes),
        }
        for receiver in self._receivers:
            if _wants(receiver.settings, TAKEOVER, (*before, *after)):
                self._put(receiver, TAKEOVER, place, host, words, more, now)

    def _put(
        self, receiver: Receiver, kind: str, place: Place, host: str, words: str,
        more: Mapping[str, object], now: float,
    ) -> None:  # fmt: skip
        (_, domain), namespace = place
        receiver.put(
            {
                "event": kind,
                "host": host,
                "namespace": format_uuid(namespace),
                "namespace_title": title_of(namespace),
                "service": domain,
                "time": wall_clock(now),
                "hub": socket.gethostname(),
                "hub_started": self._started,
                "id": f"{self._instance}-{next(self._numbers)}",
                **more,
                "title": f"tunrouter: {kind} {host}",
                "body": words,
                "text": words,
                "type": "warning" if kind in _WARNINGS else "info",
            }
        )


def _wants(settings: NotifySettings, kind: str, hosts: tuple[str, ...]) -> bool:
    if kind not in settings.events:
        return False
    return not settings.hosts or any(fits(pattern, host) for pattern in settings.hosts for host in hosts)


def _words(change: Change, host: str) -> str:
    seconds = span(change.seconds)
    return {
        JOIN: f"host {host} has joined" + (f" after {seconds}" if change.seconds else ""),
        LEAVE: f"host {host} has left" + (f" after {seconds}" if change.seconds else ""),
        AWAY: f"host {host} has been away for {seconds}",
        FLAP: f"host {host} comes and goes: it has left again and again within {seconds}",
    }[change.kind]


def prefixes_of(table: RouteTable, group: Group) -> list[str]:
    """The widest prefixes that this group carries; none where the table is long."""
    if len(table) > MOST_ROUTES:
        return []
    routes = [found for trie in (table.tries.four, table.tries.six) for found in trie.unordered()]
    mine = sorted((length, prefix) for prefix, length, other in routes if other is group)
    return [prefix_text(prefix, length) for length, prefix in mine[:MOST_PREFIXES]]
