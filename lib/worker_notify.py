"""Notifications of a hub with workers: workers look who is here, the main process tells the receivers.

    worker -> main   here   {"at", "anew"}, with a file in memory: hosts that have come or left since the last
                            look, and which gateways carry routes that have several

Knows: that receivers, and what they were told, outlive a worker; that one worker says what gateways carry.
Refuses to know: who is told what (notify_watch), when a host has left all workers (notify_mirror).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent

from lib import worker_channel
from lib.bounded_dict import BoundedDict
from lib.namespace import Attachment
from lib.namespace_domains import Domains, key_of
from lib.notify_mirror import Mark, Mirror
from lib.notify_presence import MAX_GONE, Name, Presence
from lib.notify_watch import LOOK_SECONDS, Hosts, NotifyWatch, Place, prefixes_of
from lib.route_gateways import Gateway
from lib.route_table import Group, RouteTable
from lib.service_scheduling import breathe
from lib.settings import HubSettings
from lib.settings_notify import NotifySettings
from lib.worker_crew import Crew
from lib.worker_state import Worker

MOST = 512
"""Hosts in one message."""

Row = list[Any]


class Looker(NotifyWatch):
    """A worker's side: looks as often as a hub without workers, and tells the main process."""

    def __init__(self, domains: Domains, send: Callable[..., None]) -> None:
        """`send` sends the main process a message, perhaps with a descriptor."""
        super().__init__(domains)
        self.wanted = False
        """Whether anybody wants to know."""
        self.tells_carriers = False
        """Whether this worker tells of them: one does, once it knows the hosts at others."""
        self._send = send
        self._carried: BoundedDict[Name, tuple[str, ...]] = BoundedDict(MAX_GONE)
        self._rows: list[tuple[str, Row]] = []
        self._left_at: dict[tuple[bytes, str], float] = {}
        """When hosts have left since the last look."""
        self._is_anew = True

    def _run(self) -> None:
        while True:
            gevent.sleep(LOOK_SECONDS)
            if self.wanted:
                self.look(time.monotonic())
            elif not self._is_anew:
                self._rest()

    def _rest(self) -> None:
        """Nobody wants to know any more: forget all, and tell it anew if somebody does."""
        for domain in self._domains.all.values():
            domain.on_leave = lambda attachment: None
        self._is_anew, self._seen = True, {}
        self._left_at.clear()
        self._carried.clear()

    def look(self, now: float) -> None:
        """Tell what has changed since the last look, if only that there was one."""
        for domain in self._domains.all.values():
            domain.on_leave = self._leaves
        left_at, self._left_at = self._left_at, {}
        found, before = self._found(), self._seen
        changed = [place for place in found.keys() | before.keys() if found.get(place) != before.get(place)]
        self._seen = found
        for place in changed:
            had, has = before.get(place, {}), found.get(place, {})
            for host, gateway in had.items():
                if has.get(host) is not gateway:
                    at = left_at.get((place[1], host), now)
                    self._rows.append(("left", [place[1].hex(), host, at]))
            for host, gateway in has.items():
                if had.get(host) is not gateway:
                    self._rows.append(("came", [place[1].hex(), host, *_begun(gateway, now)]))
        if self.tells_carriers:
            self._look_for_takeovers(changed, now)
        self._tell(now)

    def _leaves(self, attachment: Attachment) -> None:
        self._left_at[attachment.namespace.id, attachment.host] = time.monotonic()

    def _carry(
        self, place: Place, table: RouteTable, groups: Mapping[Name, Group],
        carrying: Mapping[Name, tuple[str, ...]], now: float,
    ) -> None:  # fmt: skip
        """Tell what gateways carry; the main process knows what they did before."""
        for key, names in carrying.items():
            if names and self._carried.get(key) != names:
                self._carried.renew(key, names)
                group = groups[key]
                prefixes = prefixes_of(table, group)
                self._rows.append(
                    ("carried", [place[1].hex(), group.tiers, names, sorted(group.names), prefixes])
                )

    def _tell(self, now: float) -> None:
        rows, self._rows = self._rows, []
        for start in range(0, len(rows) or 1, MOST):
            some, is_last = rows[start : start + MOST], start + MOST >= len(rows)
            message = {"did": "here", "at": now if is_last else None, "anew": self._is_anew}
            self._is_anew = False
            if not some:
                self._send(message)
                return
            file = worker_channel.held(json.dumps(some).encode(), breathe)
            try:
                self._send(message, file)
            finally:
                worker_channel.shut(file)


def _begun(gateway: object, now: float) -> Row:
    """(the peer, since when) of a host's first session."""
    assert isinstance(gateway, Gateway)
    first = min(gateway.attachments, key=lambda one: one.since, default=None)
    return [first.peer, first.since] if first is not None else ["", now]


class NotifyWorkers(NotifyWatch):
    """The main process's side: tells receivers of the hosts of all workers."""

    def __init__(self, domains: Domains, crew: Crew, hub: HubSettings) -> None:
        """`hub` is any of the services: they share a domain. `domains` are none of this process."""
        self._mirror, self._key = Mirror(), key_of(hub)
        self._since = 0.0
        """Who was here before is no news."""
        self._is_waiting = True
        """Whether it is not known yet who was here then."""
        self._crew = crew
        super().__init__(domains)
        crew.heard["here"] = self._hear
        crew.gone.append(self._gone)

    def apply(self, settings: tuple[NotifySettings, ...]) -> list[str]:
        """As NotifyWatch.apply. Where nobody was told before, workers are asked first who is here."""
        if not self._receivers:
            self._mirror = Mirror()
            self._since, self._is_waiting = time.monotonic(), True
        return super().apply(settings)

    def look(self, now: float) -> None:
        """As NotifyWatch.look, once all workers have said who is there."""
        self._mirror.settle(now)
        if self._is_waiting:
            looked = self._mirror.looked
            if not all(looked.get(worker.number, 0.0) > self._since for worker in self._crew.ready()):
                return
            self._is_waiting = False
            here = {
                (place, host): mark
                for place, hosts in self._mirror.places.items()
                for host, mark in hosts.items()
                if mark.at <= self._since
            }
            self._presences = {grace: Presence(grace, here, now) for grace in self._presences}
            self._seen = {}
        super().look(now)

    def _gone(self, worker: Worker) -> None:
        self._mirror.gone(worker.number, time.monotonic())

    def _found(self) -> dict[Place, Hosts]:
        return {place: dict(hosts) for place, hosts in self._mirror.places.items()}

    def _peer(self, place: Place, host: str) -> str:
        mark = self._seen.get(place, {}).get(host)
        return mark.peer if isinstance(mark, Mark) else ""

    def _hear(self, worker: Worker, message: Mapping[str, Any], *files: int) -> None:
        number, now = worker.number, time.monotonic()
        if message["anew"]:
            self._mirror.gone(number, now)
        for file in files:
            for kind, (namespace, *row) in json.loads(worker_channel.read(file, breathe)):
                place = self._key, bytes.fromhex(namespace)
                if kind == "came":
                    self._mirror.came(number, place, *row)
                elif kind == "left":
                    host, at = row
                    self._mirror.left(number, place, host, at, now)
                else:
                    self._hear_carried(place, now, *row)
        if message["at"] is not None:
            self._mirror.looked[number] = message["at"]

    def _hear_carried(
        self, place: Place, now: float, tiers: Row, names: Row, all_names: Row, prefixes: Row
    ) -> None:
        key = place, tuple(map(tuple, tiers))
        for _, before in self._carriers.update({key: tuple(names)}):
            if not self._is_waiting:
                self._tell_takeover(place, all_names, prefixes, before, tuple(names), now)
