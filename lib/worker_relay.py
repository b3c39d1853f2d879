"""What passes packets between the workers of a hub and other hubs, in the cluster's process.

Knows: the links with all workers; that a frame of a worker goes to the hub it names, and to no worker, and a
frame of a hub to a worker, and to no hub; which worker that is, by the tables and by where hosts are.
Refuses to know: whether a packet may pass (workers have the sessions, and judge as a hub does), what is
believed of other hubs (cluster_registry), how links with them work (cluster_links).

    a worker tells of a host      the cluster is told, of each host its newest session here (cluster_claims)
    the registry says of a host   all workers are told at which hubs it is (worker_wire)
    frames of a worker            they go by the link with the hub of their number, unread
    frames of a hub               the worker that has the host gets them, with the hub's number. Where none
                                  has it, any worker does: it drops them as a hub does, and tells the sender
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import gevent

from lib import hub_log, worker_wire
from lib.cluster_frames import MAX_HUB
from lib.cluster_hosts import Hosts
from lib.cluster_places import OtherHub, Place
from lib.cluster_registry import Registry
from lib.cluster_ways import Claims, Send
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Attachment
from lib.packet import Buffer
from lib.packet_offload import count_packets
from lib.service_scheduling import in_steps
from lib.settings_cluster import EntrypointSettings
from lib.worker_link import WorkerLink
from lib.worker_links import granted
from lib.worker_registry import Others
from lib.worker_relay_frames import FromHub, ToHub
from lib.worker_relay_way import WayIn
from lib.worker_wire import Claim, ClusterMark, FarHost, HubNumber, Known, Message, SessionCount, Whole


class Relay:
    """Hosts at workers, told to the cluster; hosts at other hubs, told to workers (cluster_live.FarHosts)."""

    def __init__(self, owner: Hub) -> None:
        """`owner` is the hub service whose domain has the hosts; nothing is served by it here."""
        self.owner, self.domain = owner, owner.domain
        self.others = Others()
        self.links: dict[str, WorkerLink] = {}
        self.inside = Hosts(self.others, _Nobody(), owner.domain, owner, lambda: None, granted)
        """The hosts at workers, for whoever looks up a destination."""
        self.traffic: dict[str, Traffic] = self.inside.traffic
        self.lost: dict[str, None] = {}
        self.send: Send = lambda hub, attachment, buffers: None
        self.by_datagrams: Callable[[str, bytes, Buffer], bool] | None = None
        self.keeps = False
        self._counts: dict[str, int] = {}
        """How many sessions each worker has."""
        self.is_whole: Callable[[], bool] = lambda: False
        """Whether all hubs and their hosts are known."""
        self.marks: Callable[[], Mapping[bytes, bytes]] = dict
        """What clients are told of the cluster, by namespace; b"" for all others."""
        self._registry: Registry | None = None
        self._claims: Claims | None = None
        self._touch: Callable[[], None] = lambda: None
        self._grants: Callable[[str, bytes], bool] = granted
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._last = 0
        self._states: dict[str, tuple[bool, bool]] = {}
        """What workers were told of each hub: (it lives, no link reaches it)."""
        self._marked: dict[bytes, bytes] = {}
        self._told: dict[WorkerLink, bool] = {}
        """Links whose worker was told of all hosts once -> whether it was told that all are known."""
        self._is_known = False
        """Whether all other hubs were looked at once."""
        self._untold: set[str] = set()
        """Workers that have not told their whole list yet."""
        self._announced: dict[Place, tuple[int, bytes]] = {}
        looked_up = self._may_be_at, self.counts, self._send
        self._way_in = WayIn(owner, self.others, self.inside, self.links, *looked_up)

    def use(
        self,
        registry: Registry,
        claims: Claims,
        touch: Callable[[], None],
        grants: Callable[[str, bytes], bool],
    ) -> Relay:
        """Serve this cluster (cluster_live.Make); returns the relay itself."""
        self._registry, self._claims, self._touch, self._grants = registry, claims, touch, grants
        self._announce(self.others.take_changed())
        return self

    def follow(self, entry: EntrypointSettings | None) -> None:
        """Nothing changes for the relay with a reload: the domain stays, with other tables."""

    def drain(self) -> None:
        """Nothing: workers have the sessions."""

    def start(self) -> None:
        """Look up destinations among the hosts at workers."""
        self.inside.start()

    def stop(self) -> None:
        """Look up none any more."""
        self.inside.stop()

    # --- workers

    def add(self, name: str, sock: Any) -> None:
        """There is a new link with a worker: our end of a pair of sockets."""
        self._untold.add(name)
        gevent.spawn(self._serve, name, sock)

    @property
    def sessions(self) -> int:
        """How many sessions all workers have."""
        return sum(self._counts.values())

    @property
    def has_heard_all(self) -> bool:
        """Whether all workers that are linked have told of all their hosts."""
        return not self._untold

    def _serve(self, name: str, sock: Any) -> None:
        to_hubs: dict[int, ToHub] = {}

        def receiver(hub: int) -> ToHub:
            known = to_hubs.get(hub)
            if known is None:
                known = to_hubs[hub] = ToHub(partial(self._to_hub, hub))
            return known

        link = WorkerLink(name, sock, receiver, partial(self._hear, name), self.inside.counts(name))
        if name in self.links:  # its end has not been read yet
            self._ended(name)
        self.links[name] = link
        try:
            self._tell_all(link)
            link.run()
        except OSError as error:
            say(Entry.LINK_FAILED, "link with %s ended: %s", name, error, hub=name, reason=error)
        finally:
            link.close()
            self._told.pop(link, None)
            if self.links.get(name) is link:
                del self.links[name]
                self._untold.discard(name)
                self._ended(name)

    def _ended(self, name: str) -> None:
        self._counts.pop(name, None)
        for place in self.others.gone(name):
            self._way_in.left("", place)
        self._take_changed()

    def _tell_all(self, link: WorkerLink) -> None:
        """Tell a new worker of all numbers of other hubs; hosts there follow, for they may be many."""
        for name, number in self._numbers.items():
            link.tell([worker_wire.encode(HubNumber(number, name, *self._states.get(name, (False, False))))])
        link.tell(worker_wire.encode(ClusterMark(*one)) for one in self._marked.items())
        gevent.spawn(self._tell_places, link)

    def _tell_places(self, link: WorkerLink) -> None:
        for hub in self._hubs():
            for place in in_steps(list(hub.claims) if hub.live else ()):
                if self.links.get(link.name) is not link:
                    return
                link.tell([self._far_host(place)])
        if self.links.get(link.name) is link:
            self._told[link] = False
            if self._is_known:
                link.tell([worker_wire.encode(Known())])

    def known(self) -> None:
        """All other hubs were looked at once: tell workers so, each once it was told of their hosts."""
        self._is_known = True
        for link in list(self._told):
            link.tell([worker_wire.encode(Known())])

    def _hear(self, name: str, message: Message) -> None:
        if isinstance(message, Claim):
            self.others.hear(name, message)
            if message.kind == worker_wire.LEFT:
                self._way_in.left(name, (message.namespace, message.host))
            self._take_changed()
        elif isinstance(message, SessionCount):
            self._counts[name] = message.sessions
        elif isinstance(message, Whole):
            self._untold.discard(name)

    def _take_changed(self) -> None:
        changed = self.others.take_changed()
        self.inside.changed(changed)
        self._announce(changed)

    def _announce(self, places: Iterable[Place]) -> None:
        """Tell the cluster what has changed here: of each host its newest session, at whichever worker."""
        if self._claims is None:
            return
        for place in places:
            found = self.others.where(place)
            newest = (found[0].claims[place], self.others.instance(found[0], place)) if found else None
            if newest == self._announced.get(place):
                continue
            if newest is None:
                del self._announced[place]
                self._claims.leave(place)
            else:
                self._announced[place] = newest
                self._claims.join(place, *newest)
        self._touch()

    # --- other hubs

    def counts(self, hub: str) -> Traffic:
        """The counts of what is dropped here on the way from or to a hub."""
        return self.inside.counts(hub)

    def unreachable(self, hub: str, is_it: bool) -> None:
        """A link with a hub has been lost or cannot be had, or is there again: the workers are told."""
        if is_it:
            self.lost[hub] = None
        else:
            self.lost.pop(hub, None)
            self._number(hub)  # it may have dialled before the registry has told of it
        self._look_at(hub)

    def changed(self, places: Iterable[Place]) -> None:
        """The registry says something else about these hosts: the workers are told."""
        for place in in_steps(places):
            told = self._far_host(place)
            for link in list(self.links.values()):
                link.tell([told])

    def look_at_clock(self, ahead: float) -> None:
        """Nothing: workers look at it, and know since when their hosts are there."""

    def look(self) -> None:
        """Tell workers what has changed of hubs as a whole; to be called now and then."""
        for name in [*self._states, *(hub.name for hub in self._hubs())]:
            self._look_at(name)
        for namespace, mark in self.marks().items():
            if self._marked.get(namespace) != mark:
                self._marked[namespace] = mark
                self._tell([worker_wire.encode(ClusterMark(namespace, mark))])
        self._way_in.tidy()
        if self.is_whole():
            for link in [link for link, is_told in self._told.items() if not is_told]:
                self._told[link] = True
                link.tell([worker_wire.encode(Whole())])

    def _look_at(self, name: str) -> None:
        hub = self._registry.hubs.get(name) if self._registry is not None else None
        now = hub is not None and hub.live, name in self.lost
        if hub is not None and name not in self._numbers:
            self._number(name)
        elif name in self._numbers and self._states.get(name) != now:
            self._states[name] = now
            self._tell([worker_wire.encode(HubNumber(self._numbers[name], name, *now))])
            if hub is None:
                del self._states[name]

    def _hubs(self) -> list[OtherHub]:
        return list(self._registry.hubs.values()) if self._registry is not None else []

    def _number(self, name: str) -> int:
        """The number of a hub on all links with workers; they are told of a new one at once."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        number = self._last
        while True:  # there are fewer hubs than numbers
            number = number % MAX_HUB + 1
            had = self._names.get(number)
            if had is None or self._registry is None or had not in self._registry.hubs:
                break
        if had is not None:
            del self._numbers[had]
            self._states.pop(had, None)
        self._last, self._numbers[name], self._names[number] = number, number, name
        hub = self._registry.hubs.get(name) if self._registry is not None else None
        self._states[name] = now = (hub is not None and hub.live, name in self.lost)
        self._tell([worker_wire.encode(HubNumber(number, name, *now))])
        return number

    def _tell(self, messages: list[bytes]) -> None:
        for link in list(self.links.values()):
            link.tell(messages)

    def _far_host(self, place: Place) -> bytes:
        """What workers are told of a host."""
        found = self._registry.where(place) if self._registry is not None else ()
        at = [(self._number(hub.name), hub.claims[place], hub.instances.get(place, b"")) for hub in found]
        return worker_wire.encode(FarHost(*place, tuple(at)))

    def _may_be_at(self, hub: str, place: Place) -> bool:
        """Whether a hub may have a host: also while not all hosts are known."""
        if self._registry is None or not self.is_whole():
            return True
        known = self._registry.hubs.get(hub)
        return known is not None and known.live and place in known.claims

    # --- packets

    def receiver(self, hub: str) -> FromHub:
        """What takes the frames that come by a link with a hub."""
        sender, send = partial(self._way_in.sender, hub), partial(self._send, hub)
        grants = partial(self._grants, hub)
        return FromHub(sender, self._way_in.worker_for, send, grants, self.counts(hub), self._tell_news)

    def _tell_news(self, sender: Attachment) -> None:
        for reason, detail in sender.traffic.take_news():
            hub_log.drops(self.owner.settings.name, sender, reason, detail)

    def _send(self, hub: str, link: WorkerLink, namespace: bytes, frames: Sequence[Buffer]) -> None:
        link.send_flows(namespace, frames, self._number(hub))  # they may be of several hosts

    def _to_hub(self, hub: int, namespace: bytes, frames: Sequence[Buffer]) -> None:
        """Pass frames of a worker on to the hub of this number."""
        name = self._names.get(hub, "")
        sender = self._way_in.sender(name, namespace)
        if not name:  # it is not known any more, or not known again yet
            packets = sum(map(count_packets, frames))
            sender.drop(Reason.NO_LINK, packets, "", b"", time.monotonic())
            return
        self.send(name, sender, frames)


class _Nobody:
    """The list of the hosts that have sessions in this process: there are none."""

    def join(self, place: Place, since: int, instance: bytes) -> None:
        """Nothing."""

    def leave(self, place: Place) -> None:
        """Nothing."""
