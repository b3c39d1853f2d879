"""Hosts of a worker that are at other workers, or at other hubs as an sd says: looked up in this order.

Knows: that a host at another worker is here for the sd; that one process of the hub asks the sd, for all
workers; that each worker sends datagrams to other hubs by itself, from the socket that they share.
Refuses to know: how an sd is asked (cluster_sd), how answers are kept (cluster_directory), what comes from
other hubs (worker_entrypoint).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import Event

from lib import worker_wire
from lib.cluster_directory import Directory
from lib.cluster_elsewhere import LinkedHosts
from lib.cluster_far_hubs import FarHubs
from lib.cluster_hosts import Hosts
from lib.cluster_places import Place
from lib.cluster_sd_hosts import SdHosts
from lib.counters import Traffic
from lib.hub import Hub
from lib.namespace import Attachment, Namespace
from lib.plugin_cache import Unresolved
from lib.route_gateways import Gateway
from lib.service_scheduling import in_steps
from lib.worker_wire import FarHost, Question, Unanswered

FIND_SECONDS = 3.0
"""How much longer than the sd's timeout somebody who explains waits for an answer."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Elsewhere(LinkedHosts):
    """The hosts of one namespace at other workers, and else at other hubs."""

    directory: Directory
    is_hub: Callable[[str], bool]

    def gateway(self, host: str, now: float) -> Gateway[Attachment] | Unresolved | None:
        """As namespace_elsewhere.Elsewhere.gateway."""
        near = self.linked(host)
        return near if near is not None else self.directory.gateway(host, now)

    def at(self, host: str, hub: str, now: float) -> Attachment | Unresolved | None:
        """As Elsewhere.at."""
        if self.is_hub(hub):
            return self.directory.at(host, hub, now)
        return LinkedHosts.at(self, host, hub, now)

    def known(self, host: str) -> Gateway[Attachment] | None:
        """As Elsewhere.known."""
        near = self.linked(host)
        return near if near is not None else self.directory.known(host)

    def find(self, host: str) -> None:
        """As Elsewhere.find."""
        if self.linked(host) is None:
            self.directory.find(host)

    def park(self, host: str, attachment: Attachment, frame: bytes) -> bool:
        """As Elsewhere.park."""
        return self.directory.park(host, attachment, frame)


class _SdHosts(SdHosts):
    """The hosts at other hubs, beside those at other workers."""

    @staticmethod
    def directory(namespace: Namespace) -> Directory | None:
        """What is known of a namespace."""
        found = namespace.elsewhere
        return found.directory if isinstance(found, _Elsewhere) else None


class WorkerSd:
    """An sd as a worker uses it: the process that has the entrypoint is asked."""

    def __init__(self, owner: Hub, hubs: FarHubs, ask: Callable[[bytes], bool]) -> None:
        """`owner` has the hosts; `ask` puts a question to that process: False where it is not there."""
        self.hosts = _SdHosts(owner, owner.domain, hubs, self._ask, self._find)
        self._tell = ask
        self._asked: dict[Place, Event] = {}
        """What it was asked and has not answered yet."""

    def _ask(self, directory: Directory, host: str) -> None:
        place = directory.namespace.id, host
        self._asked.setdefault(place, Event())
        if not self._tell(worker_wire.encode(Question(*place))):
            gevent.spawn(self._settle, place, None)  # later: the packet that asks is not waiting yet

    def _find(self, directory: Directory, host: str) -> None:
        self._ask(directory, host)
        answer = self._asked[directory.namespace.id, host]
        answer.wait(self.hosts.hubs.entry.sd.plugin.timeout + FIND_SECONDS)

    def hear(self, message: FarHost | Unanswered, names: Mapping[int, str]) -> None:
        """An answer, to a question of any worker. `names` has the address of each hub by its number."""
        found = [names[number] for number, _, _ in message.at] if isinstance(message, FarHost) else None
        gevent.spawn(self._settle, (message.namespace, message.host), found)

    def lost(self) -> None:
        """Whoever was asked has ended: what is known goes on, and what is not is asked again."""
        for place in list(self._asked):
            gevent.spawn(self._settle, place, None)

    def _settle(self, place: Place, hubs: list[str] | None) -> None:
        waiting = self._asked.pop(place, None)
        namespace = self.hosts.domain.namespaces.get(place[0])
        directory = self.hosts.directory(namespace) if namespace is not None else None
        if directory is not None:
            self.hosts.answered(directory, place[1], hubs)
        if waiting is not None:
            waiting.set()


class WorkerHosts(Hosts):
    """All hosts of a domain that are not here (namespace_domain.Registry)."""

    def __init__(self, *of_hosts: Any, sd: SdHosts, is_hub: Callable[[str], bool]) -> None:
        """`of_hosts` is for the hosts at other workers; `is_hub` says whether a name is a hub's address."""
        super().__init__(*of_hosts)
        self._sd, self._is_hub = sd, is_hub

    def elsewhere(self, namespace: Namespace) -> LinkedHosts:
        """As Registry.elsewhere."""
        one = self._sd.elsewhere(namespace)
        return _Elsewhere(self, namespace, one.seconds, one.table, directory=one, is_hub=self._is_hub)

    def entered(self, attachment: Attachment) -> None:
        """As Registry.entered."""
        self._forget((attachment.namespace.id, attachment.host))
        super().entered(attachment)

    def changed(self, places: Collection[Place]) -> None:
        """Something is different about these hosts: one that has come to another worker is at no hub."""
        for place in in_steps(places):
            if self.registry.where(place):
                self._forget(place)
        super().changed(places)

    def _forget(self, place: Place) -> None:
        namespace = self.domain.namespaces.get(place[0])
        directory = self._sd.directory(namespace) if namespace is not None else None
        if directory is not None:
            directory.forget(place[1])

    def counts(self, hub: str) -> Traffic:
        """The counts of all hosts at a worker, or a hub."""
        return self._sd.hubs.counts(hub) if self._is_hub(hub) else super().counts(hub)

    def _stranger(self, hub: str, namespace: Namespace) -> Attachment:
        return self._sd.stranger(hub, namespace) if self._is_hub(hub) else super()._stranger(hub, namespace)

    def stop(self) -> None:
        """Be asked no more, and end all attachments at other workers and hubs."""
        self._sd.end()
        super().stop()
