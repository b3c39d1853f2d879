"""Which worker gets the frames of another hub: looked up in the tables, among the hosts of workers.

Knows: namespaces in which workers have hosts, who has just left, what a plugin is asked; that frames of
nobody go no further where all hosts of their hub are known.
Refuses to know: who is where (worker_registry, cluster_registry), whether a packet may pass (the workers),
how frames come and go (worker_relay).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lib import hub_resolve
from lib.bounded_dict import BoundedDict
from lib.capture_fate import packet_of
from lib.cluster_hosts import LINK, Hosts
from lib.cluster_places import Place
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.forward_enter import is_icmp
from lib.hub_drain import RELEASED_SECONDS
from lib.hub_turn import Owner
from lib.namespace import Attachment, Namespace
from lib.packet import Buffer
from lib.packet_offload import count_packets
from lib.packet_text import head_of_frame
from lib.plugin_cache import Unresolved
from lib.route_table import all_names
from lib.worker_link import WorkerLink
from lib.worker_registry import Others

MAX_LEFT = 4096
"""Hosts that have just left a worker, of which that is remembered."""
MAX_SENDERS = 1024
"""Other hubs in namespaces of which something is kept."""

Send = Callable[[str, WorkerLink, bytes, Sequence[Buffer]], None]
"""Sends frames of a hub, in a namespace, to a worker."""


class WayIn:
    """The way of frames of other hubs to workers."""

    def __init__(
        self,
        owner: Owner,
        others: Others,
        inside: Hosts,
        links: Mapping[str, WorkerLink],
        is_at: Callable[[str, Place], bool],
        counts: Callable[[str], Traffic],
        send: Send,
    ) -> None:
        """`inside` are the hosts of `others`, the workers, which `links` lead to.

        `is_at` says whether a hub may have a host: False only where it is known to have it not. What `counts`
        gives counts the packets of a hub.
        """
        self._owner, self._others, self._inside, self._links = owner, others, inside, links
        self._is_at, self._send, self._domain = is_at, send, inside.domain
        self._counts = counts
        self._left: BoundedDict[Place, tuple[str, float]] = BoundedDict(MAX_LEFT)
        """Host that has left a worker -> that worker, and until when it may still serve it."""
        self._empty: dict[bytes, float] = {}
        """Namespace in which no worker has a host any more -> until when one may still serve it."""
        self._senders: BoundedDict[tuple[str, bytes], Attachment] = BoundedDict(MAX_SENDERS)

    def left(self, worker: str, place: Place) -> None:
        """A host has left a worker, which still serves a session that its client has left behind."""
        until = time.monotonic() + RELEASED_SECONDS
        self._left.renew(place, (worker, until))
        if place[0] not in self._others.spaces:
            self._empty[place[0]] = until

    def tidy(self) -> None:
        """Forget namespaces in which there are no hosts any more; to be called now and then."""
        now = time.monotonic()
        for namespace in [key for key, until in self._empty.items() if now >= until]:
            del self._empty[namespace]
            if namespace not in self._others.spaces:
                self._domain.let_go(namespace)

    def sender(self, hub: str, namespace: bytes) -> Attachment:
        """What stands for a hub in a namespace: what is dropped on its way to or from it counts there."""
        found = self._senders.get((hub, namespace))
        if found is None:
            inside, traffic = self._domain.namespace(namespace), self._counts(hub)
            found = Attachment(inside, "", hub, by=LINK, traffic=traffic, budget=self._inside.budget)
            found.again = partial(self._again, found)
            self._senders.remember((hub, namespace), found)
        return found

    def forget(self, hub: str) -> None:
        """Look up anew what counts the packets of a hub."""
        for key in [key for key in self._senders if key[0] == hub]:
            del self._senders[key]

    def _again(self, sender: Attachment, frames: bytes) -> None:
        """Pass frames of a hub on that have waited for a plugin."""
        link, _ = self.worker_for(sender, bytearray(frames), 0, len(frames))
        if link is not None:
            self._send(sender.peer, link, sender.namespace.id, [frames])

    def worker_for(
        self, sender: Attachment, data: bytearray, start: int, end: int
    ) -> tuple[WorkerLink | None, bool]:
        """The link with the worker for whole frames of one destination, and whether that has their receiver.

        None where they wait until a plugin has said where they go, are of nobody, or no worker is there.
        """
        now = time.monotonic()
        name = self._name_for(sender, data, start, end, now)
        if isinstance(name, Reason):
            packets, head = count_packets(data[start:end]), head_of_frame(data[start:end])
            sender.traffic.received_packets += packets
            sender.traffic.received_bytes += end - start
            sender.drop(name, packets, "", head, now)
            return None, False
        if name is None:
            return None, False
        if name in self._links:
            return self._links[name], True
        link = next(iter(self._links.values()), None)
        if link is None:
            sender.drop(Reason.NO_LINK, count_packets(data[start:end]), "no worker is there", b"", now)
        return link, False

    def _name_for(
        self, sender: Attachment, data: bytearray, start: int, end: int, now: float
    ) -> str | Reason | None:
        """The name of the worker for whole frames, "" for any; why they are dropped; None where they wait."""
        namespace = self._namespace(sender.namespace.id)
        _, packet = packet_of(data, start + 2, start + 2 + (data[start] << 8 | data[start + 1]))
        if namespace is None or packet is None:
            return ""
        route = namespace.route_to(packet.destination, now)
        is_foreign = not is_icmp(data, start + 2) and self._is_foreign(sender, namespace, packet.source, now)
        if namespace.plugins:
            hub_resolve.ask(self._owner, namespace)
        if is_foreign:
            return Reason.FOREIGN_SOURCE
        if route is Unresolved.ASKING:
            frames = bytes(data[start:end])
            is_kept = namespace.park(packet.destination, sender, frames, now)
            return None if is_kept else Reason.RESOLVE_QUEUE
        if not isinstance(route, tuple):
            return ""
        target = namespace.choose(*route, packet.destination, packet.flow, now)
        if target is not None:
            return target.peer
        had = (self._left.get((namespace.id, host), ("", 0.0)) for host in route[0].names)
        return next((worker for worker, until in had if now < until), "")

    def _is_foreign(self, sender: Attachment, namespace: Namespace, source: bytes, now: float) -> bool:
        """Whether a source is known to be of no host of its hub. Workers ask that too, of each packet.

        Here it is so that a hub which sends packets of nobody pays for that by its own link: those between
        processes carry the packets of all hubs.
        """
        found = namespace.route_to(source, now)
        if isinstance(found, Unresolved):
            return False
        if found is None:
            return True
        names = all_names(*found, source)
        return not any(self._is_at(sender.peer, (namespace.id, name)) for name in names)

    def _namespace(self, key: bytes) -> Namespace | None:
        """A namespace in which workers have hosts; None for another one."""
        found = self._domain.namespaces.get(key)
        if found is None and (key in self._others.spaces or key in self._empty):
            found = self._domain.keep(key)
        return found
