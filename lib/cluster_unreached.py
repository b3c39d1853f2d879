"""What clients with sessions at several hubs are told: to which addresses nothing gets by this hub now.

Knows: which clients want to know that, what each was told, how often, and that it is told when it changes.
Refuses to know: which hubs no link reaches (cluster_hosts), what a client does then (client_flows).

Where this hub has lost the way to another one, a client sees nothing of that: its own hub is there. What it
sends to hosts of that other hub would be lost, though the second hub of the client may reach them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lib import framing, wire_control
from lib.acl import has_ports
from lib.bounded_dict import BoundedDict
from lib.capture_fate import packet_of
from lib.cluster_places import Place
from lib.namespace import Attachment, Namespace
from lib.packet import Buffer, Packet
from lib.route_table import all_names
from lib.wire_unreached import COUNTS_SECONDS, MAX_UNREACHED, Unreached

MAX_TOLD = 4096
"""Sessions that are told; others are not while there is no room."""
MOST_LOOKED_AT = 16
"""Packets of a run of which somebody is told, at most: they are mostly of one flow, or a few."""
TOLD_SECONDS = 0.02
"""Least seconds between two times that a session is told more."""
AGAIN_SECONDS = 1.0
"""Seconds after which a session is told the same again, if it goes on sending there."""


@dataclass(slots=True)
class _Told:
    """What one session was told."""

    at: BoundedDict[bytes, tuple[Place, float]] = field(default_factory=lambda: BoundedDict(MAX_UNREACHED))
    """Address -> its host, and when the session was told of it."""
    next: float = 0.0


class Tellings:
    """The sessions of one hub, or of a worker, that were told."""

    def __init__(self, is_reached: Callable[[Place], bool]) -> None:
        """`is_reached` says whether a host is here, or at a hub that a link reaches."""
        self._is_reached = is_reached
        self._told: dict[Attachment, _Told] = {}
        self._by_place: dict[Place, dict[Attachment, None]] = {}
        """Host -> the sessions that were told of addresses of it, and may have been told otherwise since."""
        self._tidied_at = 0.0

    def passing(self, target: Attachment, buffers: Sequence[Buffer]) -> None:
        """Whole frames go to a host at a hub that no link reaches: tell those who have sent them."""
        now, place = time.monotonic(), (target.namespace.id, target.host)
        changed: dict[Attachment, _Told] = {}
        for packet in _packets(buffers):
            gateways = _gateways(target.namespace, packet.destination, now)
            if any(self._is_reached((target.namespace.id, name)) for name in gateways):
                continue  # other flows to this address go there
            for session in _senders(target, packet, now):
                told = self._told.get(session) or self._made(session, now)
                if told is None:
                    continue
                _, since = told.at.get(packet.destination, (place, -AGAIN_SECONDS))
                if session in changed or (now >= told.next and now - since >= AGAIN_SECONDS):
                    told.at.renew(packet.destination, (place, now))
                    self._by_place.setdefault(place, {})[session] = None
                    changed[session] = told
        for session, told in changed.items():
            told.next = now + TOLD_SECONDS
            _tell(session, told, now)

    def _made(self, session: Attachment, now: float) -> _Told | None:
        """What is remembered of a session that was told nothing yet; None where there is no room."""
        if len(self._told) >= MAX_TOLD:
            if now - self._tidied_at >= AGAIN_SECONDS:
                self._tidied_at = now
                for other in [other for other, told in self._told.items() if not _fresh(told, now)]:
                    self.forget(other)
            if len(self._told) >= MAX_TOLD:
                return None
        told = self._told[session] = _Told()
        return told

    def changed(self, places: Iterable[Place]) -> None:
        """Hosts are perhaps reached again: tell those who were told otherwise."""
        changed: dict[Attachment, _Told] = {}
        for place in places if self._by_place else ():
            if place in self._by_place and self._is_reached(place):
                for session in self._by_place.pop(place):
                    told = changed[session] = self._told[session]
                    for address in [address for address, (host, _) in told.at.items() if host == place]:
                        del told.at[address]
        for session, told in changed.items():
            _tell(session, told, time.monotonic())
            if not told.at:
                self.forget(session)

    def forget(self, session: Attachment) -> None:
        """A session has ended."""
        if self._told.pop(session, None) is not None:
            for place in [place for place, sessions in self._by_place.items() if session in sessions]:
                del self._by_place[place][session]
                if not self._by_place[place]:
                    del self._by_place[place]


def _fresh(told: _Told, now: float) -> list[bytes]:
    """The addresses of which a session was told so lately that it still counts."""
    return [address for address, (_, since) in told.at.items() if now - since < COUNTS_SECONDS]


def _tell(session: Attachment, told: _Told, now: float) -> None:
    content = wire_control.encode_unreached(Unreached(tuple(_fresh(told, now))))
    session.sender.send([framing.encode(content)])


def _packets(buffers: Sequence[Buffer]) -> list[Packet]:
    """The first packets of whole frames."""
    found: list[Packet] = []
    for buffer in buffers:
        data, at = memoryview(buffer), 0
        while at + 2 < len(data) and len(found) < MOST_LOOKED_AT:
            begin, end = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
            _, packet = packet_of(data, begin, end)
            if packet is not None:
                found.append(packet)
            at = end
    return found


def _gateways(namespace: Namespace, address: bytes, now: float) -> list[str]:
    """The names of all hosts that packets to an address may go to."""
    route = namespace.route_to(address, now)
    return all_names(*route, address) if isinstance(route, tuple) else []


def _senders(target: Attachment, packet: Packet, now: float) -> list[Attachment]:
    """The sessions here that have sent a packet to a host, of clients that want to know."""
    namespace, flow = target.namespace, packet.flow
    names = _gateways(namespace, packet.source, now)
    return [
        session
        for session in (session for name in names for session in namespace.sessions_of(name))
        if session.takes_unreached
        and (
            target in (session.flows.get(flow), session.udp_flows.get(flow))
            or not has_ports(packet)  # such flows are not always remembered
        )
    ]
