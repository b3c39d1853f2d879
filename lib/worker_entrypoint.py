"""GOST's entrypoint of a hub with workers: frames of other hubs go to the worker that has their receiver.

Knows: that the sd is told of the hosts at all workers, and asked for all of them; who is told an answer.
Refuses to know: which worker has a receiver (worker_relay_way), whether a packet may pass (the workers judge
it), how frames go to other hubs (each worker sends them itself, worker_sd).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import gevent

from lib import framing, worker_wire
from lib.bounded_dict import BoundedDict
from lib.cluster_directory import AGAIN_SECONDS
from lib.cluster_entrypoint_port import EntrypointPort, tell_news
from lib.cluster_far_hubs import MAX_FAR_HUBS, FarHubs
from lib.cluster_places import Place
from lib.cluster_registration import Registration
from lib.counters import Traffic
from lib.datagram_socket import DatagramSocket
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.namespace import Attachment
from lib.service_scheduling import breathe
from lib.settings_cluster import EntrypointSettings
from lib.settings_memory import MOST_FAR_HOSTS
from lib.worker_relay import Relay
from lib.worker_relay_frames import FromHub
from lib.worker_wire import FarHost, Message, Question, Unanswered


class EntrypointRelay(Relay):
    """The links with all workers, in the process that has the entrypoint."""

    def __init__(self, owner: Hub, entry: EntrypointSettings, sock: DatagramSocket) -> None:
        """`sock` is taken over. Nothing comes or is told before begin()."""
        super().__init__(owner)
        self.is_whole = lambda: True  # hosts at other hubs are asked for, so none is missing
        self.port = WorkersPort(owner, entry, sock, self)
        self._claims = _Sessions(self.port.registration)
        self._asking: dict[Place, set[str]] = {}
        """What the sd is being asked, and by which workers."""
        self._said: BoundedDict[Place, tuple[float, list[str]]] = BoundedDict(MOST_FAR_HOSTS)
        """What it has said last: when, and the hubs that a host is at."""

    def begin(self) -> None:
        """Take datagrams, and tell the sd of the hosts that are here."""
        self.port.start()

    def end(self) -> None:
        """Take none any more, and tell the sd that no host is here."""
        self._claims = None
        self.port.stop()

    def counts(self, hub: str) -> Traffic:
        """The counts of what is dropped here on the way from a hub."""
        return self._far.counts(hub)

    @property
    def _far(self) -> FarHubs:
        return self.port.hubs

    def _may_be_at(self, hub: str, place: Place) -> bool:
        """Whether a hub may have a host: not where the sd has just said that it is elsewhere.

        Later a worker gets the packet, and asks again (cluster_directory).
        """
        at, hubs = self._said.get(place, (float("-inf"), ()))
        return hub in hubs or time.monotonic() - at >= AGAIN_SECONDS

    def _tell_news(self, sender: Attachment) -> None:
        tell_news(self.owner.settings.name, sender.traffic)

    def _hear(self, name: str, message: Message) -> None:
        if not isinstance(message, Question):
            super()._hear(name, message)
            return
        place = message.namespace, message.host
        is_new = place not in self._asking
        self._asking.setdefault(place, set()).add(name)
        if is_new:
            gevent.spawn(self._answer, place)

    def _answer(self, place: Place) -> None:
        """Ask the sd, and tell all workers its answer: so it is asked as seldom as by one process.

        Where it has none, those are told that have asked: they alone have packets that wait.
        """
        found: list[str] | None = None
        try:
            found = self.port.find(*place)
        finally:
            asking = self._asking.pop(place)
            if found is None:
                for link in [self.links[name] for name in asking if name in self.links]:
                    link.tell([worker_wire.encode(Unanswered(*place))])
        if found is None:
            return
        self._said.renew(place, (time.monotonic(), found))
        for hub in found:
            if hub not in self._far:
                self._far.named(hub)
                self._way_in.forget(hub)
                self.port.forget(hub)
        at = tuple((self._number(hub), 0, b"") for hub in found)
        self._tell([worker_wire.encode(FarHost(*place, at))])


class WorkersPort(EntrypointPort):
    """The port of the entrypoint."""

    def __init__(
        self, owner: Hub, entry: EntrypointSettings, sock: DatagramSocket, relay: EntrypointRelay
    ) -> None:
        super().__init__(owner.settings, entry, sock)
        self._relay = relay
        self._receivers: BoundedDict[str, FromHub] = BoundedDict(MAX_FAR_HUBS)

    def asked_for(self) -> int:
        """Returns 0: workers remember hosts at other hubs."""
        return 0

    def forget(self, hub: str) -> None:
        """Look up anew what counts the packets of a hub."""
        self._receivers.pop(hub, None)

    def _may_send(self, hub: str, now: float) -> bool:
        """As for one process; but of addresses that the sd has not named only so many may send, all together.

        Workers are told each address, and the sender of a datagram can be made up.
        """
        if not super()._may_send(hub, now):
            return False
        return not len(self.entry.allow) or hub in self.hubs or self._unknown.spend(now)

    def _enter(self, key: bytes, hub: str, frames: Sequence[bytes], now: float) -> None:
        """Pass whole frames of a hub on to workers."""
        for frame in frames:
            if frame[2] >> 4 not in (4, 6):  # what else it could be belongs on no way between hubs
                self._drop(Reason.NOT_IP, hub, frame, now)
        whole = b"".join(frame for frame in frames if frame[2] >> 4 in (4, 6))
        if not whole:
            return
        receiver = self._receivers.get(hub)
        if receiver is None:
            receiver = self._relay.receiver(hub)
            self._receivers.remember(hub, receiver)
        data = bytearray(whole + bytes(framing.SLACK))
        try:
            receiver.take(key, data, memoryview(data), 0, len(whole))
        finally:
            receiver.send()
        while receiver.has_rest:
            breathe()
            receiver.go_on()


class _Sessions:
    """The hosts at workers, as the sd is told of them (cluster_hosts.Claims)."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration

    def join(self, place: Place, since: int, instance: bytes) -> None:
        """A host is at a worker, or at another one than before, which is the same to the sd."""
        if place not in self._registration:
            self._registration.entered(place, *place)

    def leave(self, place: Place) -> None:
        """A host is at no worker any more."""
        self._registration.left(place)
