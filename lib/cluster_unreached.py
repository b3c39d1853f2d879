"""What clients with sessions at several hubs are told: to which addresses nothing gets by this hub now.

Knows: which clients want to know that, what each was told, how often, and that it is told when it changes.
Refuses to know: which hubs no link reaches (cluster_hosts), what a client does then (client_flows).

Where this hub has lost the way to another one, a client sees nothing of that: its own hub is there. What it
sends to hosts of that other hub would be lost, though the second hub of the client may reach them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lib import framing, wire_unreached
from lib import packet as ip
from lib.bounded_dict import BoundedDict
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment, Namespace
from lib.packet import Buffer, Packet
from lib.packet_offload import HEADER_SIZE
from lib.route_table import falls_to
from lib.service_scheduling import in_steps
from lib.wire_control import MARK, Type
from lib.wire_unreached import MAX_UNREACHED, Unreached

MAX_TOLD = 1024
"""Sessions of which it is remembered what they were told."""
MOST_LOOKED_AT = 16
"""Packets of a run of which somebody is told, at most: they are mostly of one flow, or a few."""
TOLD_SECONDS = 0.02
"""Least seconds between two times that a session is told more."""
AGAIN_SECONDS = 1.0
"""Seconds after which a session is told the same again, if it goes on sending there."""


@dataclass(slots=True)
class _Told:
    """What one session was told."""

    at: BoundedDict[bytes, tuple[str, float]] = field(default_factory=lambda: BoundedDict(MAX_UNREACHED))
    """Address -> the hub that is not reached, and when the session was told of it."""
    next: float = 0.0


class Tellings:
    """The sessions of one hub, or of a worker, that were told."""

    def __init__(self) -> None:
        self._told: BoundedDict[Attachment, _Told] = BoundedDict(MAX_TOLD)

    def passing(self, hub: str, namespace: Namespace, buffers: Sequence[Buffer]) -> None:
        """Whole frames go to a hub that no link reaches, and to no other: tell those who have sent them."""
        now = time.monotonic()
        changed: dict[Attachment, _Told] = {}
        for packet in _packets(buffers):
            for session in _senders(namespace, packet.source, now):
                told = self._told.get(session)
                if told is None:
                    told = _Told()
                    self._told.remember(session, told)
                _, since = told.at.get(packet.destination, ("", -AGAIN_SECONDS))
                if session in changed or (now >= told.next and now - since >= AGAIN_SECONDS):
                    told.at.renew(packet.destination, (hub, now))
                    changed[session] = told
        for session, told in changed.items():
            told.next = now + TOLD_SECONDS
            _tell(session, told)

    def reached(self, hub: str) -> None:
        """A hub is reached again, or gone: tell those who were told otherwise."""
        for session, told in in_steps(list(self._told.items())):
            found = [address for address, (name, _) in told.at.items() if name == hub]
            for address in found:
                told.at.pop(address, None)
            if found and session.is_here:
                _tell(session, told)
            if not told.at:
                self._told.pop(session, None)

    def forget(self, session: Attachment) -> None:
        """A session has ended."""
        self._told.pop(session, None)


def _tell(session: Attachment, told: _Told) -> None:
    fields = wire_unreached.encode(Unreached(tuple(told.at)))
    session.sender.send([framing.encode(bytes([MARK, Type.UNREACHED]) + fields)])


def _packets(buffers: Sequence[Buffer]) -> list[Packet]:
    """The first packets of whole frames."""
    found: list[Packet] = []
    for buffer in buffers:
        data, at = memoryview(buffer), 0
        while at + 2 < len(data) and len(found) < MOST_LOOKED_AT:
            begin, end = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
            packet = ip.parse(data, begin + HEADER_SIZE * (data[begin] >> 4 == 0), end)
            if not isinstance(packet, Reason):
                found.append(packet)
            at = end
    return found


def _senders(namespace: Namespace, source: bytes, now: float) -> list[Attachment]:
    """The sessions here that send from an address, of clients that want to know."""
    route = namespace.route_to(source, now)
    if not isinstance(route, tuple):
        return []
    names = [name for group in (route[0], *falls_to(route[1], source)) for name in group.names]
    sessions = [session for name in names for session in namespace.sessions_of(name)]
    return [session for session in sessions if session.takes_unreached]
