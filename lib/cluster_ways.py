"""Ways to a host at other hubs of a cluster: by which hubs it is reached, and which of them a flow takes.

Knows: that a client may keep sessions with several hubs, and that of others the newest session counts.
Refuses to know: who says where hosts are (cluster_registry), when attachments end (cluster_hosts).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Protocol, TypeVar
from zlib import crc32

from lib import ids
from lib.cluster_places import Place
from lib.namespace import Attachment
from lib.packet import Buffer, reversed_flow
from lib.route_gateways import Gateway, weight


class OtherHub(Protocol):
    """Another hub, or another worker of this machine."""

    name: str
    live: bool

    @property
    def is_near(self) -> bool:
        """Whether it is a worker of this hub."""

    claims: dict[Place, int]
    """Its hosts -> since when, in milliseconds since 1970."""


H = TypeVar("H", bound=OtherHub)
Send = Callable[[str, Attachment, Sequence[Buffer]], None]
"""Sends a run of whole frames of an attachment to a hub (cluster_links.Links.send)."""


class Registry(Protocol[H]):
    """Who knows where hosts are (cluster_registry, worker_registry)."""

    hubs: dict[str, H]

    def where(self, place: Place) -> list[H]:
        """The hubs that have a host: the one whose session is newest first."""

    def instance(self, hub: H, place: Place) -> bytes:
        """The instance of the client that a hub has as a host; empty where it is not known."""


class Claims(Protocol):
    """The list of the hosts that are here (cluster_claims, worker_registry)."""

    def join(self, place: Place, since: int, instance: bytes) -> None:
        """A host has a session here, or has said its instance."""

    def leave(self, place: Place) -> None:
        """A host has no session here any more."""


def ways(registry: Registry[H], place: Place, lost: Container[str]) -> list[str]:
    """The names of the hubs by which a host is reached: where its session is newest comes first.

    Also those where the same client keeps a session beside that one. While the client of the newest one has
    not said who it is, it may be one that keeps several. Hubs that are `lost` are left out where there is
    another one, and so are those that do not reach the client now, where it has a session beside that one.
    A host at another worker is at this hub, so other hubs are left out, unless its client has
    moved to one: that worker still has the session for a moment, for what the client sends by it.
    """
    hubs = _that_reach(registry, place)
    newest = registry.instance(hubs[0], place) if hubs else b""
    has_moved = bool(newest) and not hubs[0].is_near
    near = [
        hub
        for hub in hubs
        if hub.is_near and not (has_moved and ids.is_same(registry.instance(hub, place), newest))
    ]
    hubs = near or hubs
    names = [hub.name for hub in hubs]
    if len(hubs) > 1:
        newest = registry.instance(hubs[0], place)
        others = [(hub.name, registry.instance(hub, place)) for hub in hubs[1:]]
        names[1:] = [
            name
            for name, instance in others
            if (ids.is_beside(newest, instance) if newest else ids.is_one_of_several(instance))
        ]
        names = [name for name in names if name not in lost] or names
    return names


def _that_reach(registry: Registry[H], place: Place) -> list[H]:
    """The hubs that have a host, without those that do not reach it now, where it has a session beside."""
    hubs = registry.where(place)
    found = [(hub, registry.instance(hub, place)) for hub in hubs] if len(hubs) > 1 else []
    if not any(ids.is_silent(instance) for _, instance in found):
        return hubs
    heard = [instance for _, instance in found if not ids.is_silent(instance)]
    return [
        hub
        for hub, instance in found
        if not (ids.is_silent(instance) and any(ids.is_beside(instance, one) for one in heard))
    ]


class FarGateway(Gateway[Attachment]):
    """A host at other hubs, with an attachment at each by which it is reached."""

    __slots__ = ()

    def attachment_for(self, flow: bytes) -> Attachment | None:
        """The attachment that a flow has, while that is live; else by its hash: the same one at each hub."""
        known = self.flows.get(flow)
        if known is not None and known.live:
            return known
        if not self.attachments:
            return None
        seed = crc32(flow)
        found = max(self.attachments, key=lambda one: weight(seed, one.peer))
        self.flows.remember(flow, found)
        return found

    def reply_by(self, attachment: Attachment, flow: bytes) -> None:
        """A flow of the host came by this one: replies go by it, whatever they went by before."""
        back = reversed_flow(flow)
        before = self.flows.get(back)
        if before is not None and before is not attachment:
            before.flows.pop(flow, None)  # else it would not be seen to come by that one again
            before.udp_flows.pop(flow, None)
        self.flows.remember(back, attachment)


class Way:
    """The sender of an attachment at another hub."""

    __slots__ = ("_attachment", "_send")

    queued = 0  # what waits is the link's

    def __init__(self, attachment: Attachment, send: Send) -> None:
        self._attachment, self._send = attachment, send

    def send(self, buffers: Sequence[Buffer], /) -> None:
        """Send a run of whole frames over the link; never waits."""
        self._send(self._attachment.peer, self._attachment, buffers)

    def close(self, because: str, /) -> None:
        """Do nothing: the session is the other hub's."""

    def is_alive(self, seconds: float, /) -> bool:
        """Returns True: the registry says so."""
        return True
