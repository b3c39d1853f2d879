"""Hosts at other hubs of a cluster as forwarding sees them, and our own as the cluster is told of them.

Knows: which attachment stands for which host at which hub, when one ends; that a host which has come back at
another hub has no session here any more.
Refuses to know: who says where hosts are (cluster_registry), by what frames travel (cluster_links), what is
decided on a packet (forward_decide, forward_enter).

    registry says: host H is at hub X     H's attachment at X takes what no session here takes
    ... and not any more, or at hub Y too   that attachment ends (`live`), so its flows are decided anew
    a session begins or ends here           the list of this hub changes (cluster_claims)

Where a host is at several hubs, new flows go to the one where its session is newest: it has moved, and the
others have not noticed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from lib import cluster_frames, packet_offload
from lib.bounded_dict import BoundedDict
from lib.cluster_places import Place
from lib.cluster_receive import Receiver
from lib.cluster_registry import MAX_HUBS
from lib.counters import Traffic
from lib.forward_enter import enter
from lib.hub_far_host import FarHost
from lib.hub_turn import Owner
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.plugin_cache import Unresolved
from lib.route_gateways import Gateway
from lib.service_scheduling import breathe, in_steps
from lib.session_budget import Budget
from lib.settings_memory import FAR_FLOWS, FAR_HOSTS, FAR_WAITING, LEAST_FAR_FLOWS

LINK = "link"
"""What `by` of an attachment says of a host that a link leads to."""
MAX_HOSTS = FAR_HOSTS
"""Hosts at other hubs that packets go to or have come from; past that the oldest is made anew when needed."""
MAX_COUNTED = 2 * MAX_HUBS
"""Hubs with counts of their own; of more those go that are not in the cluster any more."""
GREETING_SECONDS = 10.0
"""How long after its beginning a client is expected to say its instance; one of GOST's never does."""
CLOCK_SET_SECONDS = 0.5
"""By how much a clock that runs on time is off at most before somebody sets it (NTP, in steps)."""
_MTU = cluster_frames.MAX_FRAMES - 2 - packet_offload.HEADER_SIZE
"""Bytes of the largest packet that an envelope holds: a larger one is too big, and its sender is told so."""

Send = Callable[[str, Attachment, Sequence[Buffer]], None]
"""Sends a run of whole frames of an attachment to a hub (cluster_links.Links.send)."""


class OtherHub(Protocol):
    """Another hub, or another worker of this machine."""

    name: str
    claims: dict[Place, int]
    """Its hosts -> since when, in milliseconds since 1970."""


H = TypeVar("H", bound=OtherHub)


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


class _Way:
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


@dataclass(slots=True, eq=False)
class _Elsewhere:
    """The hosts of one namespace at other hubs (namespace_elsewhere.Elsewhere)."""

    hosts: Hosts
    namespace: Namespace
    seconds: float = math.inf
    table: None = None
    """Attachments have a bound for all namespaces (MAX_HOSTS), and what is here goes with them."""
    gateways: BoundedDict[str, Gateway[Attachment]] = field(default_factory=lambda: BoundedDict(MAX_HOSTS))
    """Those that were asked for, with their newest attachment."""

    def gateway(self, host: str, now: float) -> Gateway[Attachment] | Unresolved | None:
        """The host with its attachment at the hub where its session is newest; None where it is at none."""
        known = self.gateways.get(host)
        if known is not None and known.attachments[0].live:
            return known
        hubs = self.hosts.registry.where((self.namespace.id, host))
        if not hubs:
            self.gateways.pop(host, None)
            return None
        there = self.hosts.attachment(self.namespace, host, hubs[0].name)
        made = Gateway(host, attachments=[there])
        made.bound_flows(there.max_flows)
        self.gateways.renew(host, made)
        return made

    def at(self, host: str, hub: str, now: float) -> Attachment | Unresolved | None:
        """The attachment of a host at one hub; None if it is not there."""
        hubs = self.hosts.registry.where((self.namespace.id, host))
        if any(one.name == hub for one in hubs):
            return self.hosts.attachment(self.namespace, host, hub)
        return None

    def known(self, host: str) -> Gateway[Attachment] | None:
        """As gateway: everything is known."""
        found = self.gateway(host, 0.0)
        return None if isinstance(found, Unresolved) else found

    def forget(self, attachment: Attachment) -> None:
        """An attachment has ended: what its host's flows were does not count any more."""
        known = self.gateways.get(attachment.host)
        if known is not None and known.attachments[0] is attachment:
            del self.gateways[attachment.host]

    def find(self, host: str) -> None:
        """Everything is known."""

    def park(self, host: str, attachment: Attachment, frame: bytes) -> bool:
        """Returns False: nothing has to be found out."""
        return False


class Hosts:
    """All hosts of a domain in a cluster (namespace_domain.Registry)."""

    def __init__(
        self,
        registry: Registry[Any],
        claims: Claims,
        domain: Domain,
        owner: Owner,
        touch: Callable[[], None],
        grants: Callable[[str, bytes], bool],
    ) -> None:
        """`touch` is called when `claims` have changed; `owner` forwards what comes by links.

        `grants` says whether a hub may send packets of a namespace.
        """
        self.registry, self.domain = registry, domain
        self.traffic: dict[str, Traffic] = {}
        """Hub -> the counts of all hosts there; "" -> those of hubs that were forgotten."""
        self.budget = Budget(FAR_WAITING)
        """What frames of hosts at other hubs count in while they wait for a plugin."""
        self.sessions = 0
        """How many sessions are here."""
        self.send: Send = lambda hub, attachment, buffers: None
        self.replaces: Callable[[Attachment], bool] = lambda session: False
        """Whether a newer session of its host name at another hub ends a session here, whoever's it is."""
        self._claims, self._owner, self._touch, self._grants = claims, owner, touch, grants
        self._clock: float | None = None
        """Our clock minus the steady one, in seconds, as hosts were told by it last."""
        self._attachments: BoundedDict[Place, dict[str, Attachment]] = BoundedDict(MAX_HOSTS)
        """Host -> hub -> its attachment there."""
        self._count = 0
        """All of these."""
        self._greeting: dict[Attachment, None] = {}
        """Sessions whose clients have not said their instance yet, and may."""
        self._strangers: BoundedDict[tuple[bytes, str], Attachment] = BoundedDict(MAX_HOSTS)

    # --- what forwarding asks

    def elsewhere(self, namespace: Namespace) -> _Elsewhere:
        """The hosts of a namespace at other hubs."""
        return _Elsewhere(self, namespace)

    def attachment(self, namespace: Namespace, host: str, hub: str) -> Attachment:
        """The attachment of a host at a hub."""
        place = namespace.id, host
        there = self._attachments.get(place)
        if there is None:
            there = self._attachments[place] = {}
        found = there.get(hub)
        if found is None or not found.live or found.namespace is not namespace:
            if found is not None:
                found.live = False
            else:
                self._count += 1
                while self._count > MAX_HOSTS and (oldest := next(iter(self._attachments))) != place:
                    self._end(oldest)
            found = there[hub] = self._made(namespace, host, hub)
            found.sender = _Way(found, self.send)
            FarHost(self._owner, found)
        return found

    def counts(self, hub: str) -> Traffic:
        """The counts of all hosts at a hub."""
        found = self.traffic.get(hub)
        if found is None:
            if len(self.traffic) >= MAX_COUNTED:
                self._forget_hubs()
            found = self.traffic[hub] = Traffic()
        return found

    def _forget_hubs(self) -> None:
        """Add up the counts of hubs that are not in the cluster any more: there may be ever new names."""
        others = self.traffic.setdefault("", Traffic())
        for hub in [hub for hub in self.traffic if hub and hub not in self.registry.hubs]:
            others.add(self.traffic.pop(hub))

    def _made(self, namespace: Namespace, host: str, hub: str) -> Attachment:
        return Attachment(
            namespace,
            host,
            hub,
            by=LINK,
            mtu=_MTU,
            offloads=packet_offload.ALL,
            is_tunrouter=True,
            takes_dummies=True,
            traffic=self.counts(hub),
            max_flows=max(LEAST_FAR_FLOWS, FAR_FLOWS // (1 + self._count)),
            budget=self.budget,
        )

    def _end(self, place: Place, but: str = "") -> None:
        """End the attachments of a host at other hubs, but for the one at a hub."""
        there = self._attachments.get(place, {})
        for hub in [hub for hub in there if hub != but]:
            attachment = there.pop(hub)
            self._count -= 1
            attachment.live = False
            attachment.forget()
            elsewhere = attachment.namespace.elsewhere
            if isinstance(elsewhere, _Elsewhere):
                elsewhere.forget(attachment)
        if not there:
            self._attachments.pop(place, None)

    # --- what the registry says

    def changed(self, places: Iterable[Place]) -> None:
        """Something is different about these hosts: flows are decided anew, sessions that have moved end."""
        outdated: set[Namespace] = set()
        for place in in_steps(places):
            namespace_id, host = place
            hubs = self.registry.where(place)
            self._end(place, hubs[0].name if hubs else "")
            namespace = self.domain.namespaces.get(namespace_id)
            if namespace is None:
                continue
            outdated.add(namespace)
            for session in namespace.sessions_of(host):
                for hub in hubs:
                    if session.instance and self.registry.instance(hub, place) == session.instance:
                        self._replaced(session, place, hub.name, "client")
                    elif self.replaces(session):
                        self._replaced(session, place, hub.name, "host name")
        for namespace in outdated:
            namespace.outdate()

    def _replaced(self, session: Attachment, place: Place, hub: str, what: str) -> None:
        """End a session here whose client, or another one of its name, has a newer one at another hub."""
        if self.registry.hubs[hub].claims[place] > _since(session):
            session.sender.close(f"replaced by a new session of the same {what} at hub {hub}")

    def receiver(self, hub: str) -> Receiver:
        """What takes the frames that come by a link with a hub."""
        stranger = partial(self._stranger, hub)
        return Receiver(self._owner, self.domain, stranger, self.counts(hub), partial(self._grants, hub))

    def _stranger(self, hub: str, namespace: Namespace) -> Attachment:
        """What stands for a hub in a namespace, before it is known whose a frame is."""
        key = namespace.id, hub
        found = self._strangers.get(key)
        if found is None or found.namespace is not namespace:
            found = self._made(namespace, "", hub)
            stranger = found
            found.again = lambda frame: enter(stranger, [frame], time.monotonic())
            self._strangers.remember(key, found)
        return found

    # --- what the registry is told

    def entered(self, attachment: Attachment) -> None:
        """A session has begun here."""
        self.sessions += 1
        place = attachment.namespace.id, attachment.host
        self._end(place)
        self._tell(place, attachment)
        if not attachment.instance:
            self._greeting[attachment] = None

    def greeted(self, now: float) -> None:
        """Tell the instances that clients have said in the meantime."""
        for attachment in list(self._greeting):
            if attachment.live and attachment.instance:
                self._tell((attachment.namespace.id, attachment.host), attachment)
            if attachment.instance or not attachment.live or now - attachment.since > GREETING_SECONDS:
                del self._greeting[attachment]

    def look_at_clock(self, ahead: float) -> None:
        """Tell all hosts anew after our clock was set: since when each is here depends on it.

        `ahead` is our clock minus the steady one, in seconds.
        """
        if self._clock is None:
            self._clock = ahead
        if abs(ahead - self._clock) < CLOCK_SET_SECONDS:
            return
        self._clock = ahead
        for namespace in list(self.domain.namespaces.values()):
            sessions = sorted(namespace.attachments(), key=lambda one: one.since)
            for attachment in {one.host: one for one in sessions}.values():  # of each host the newest
                self._tell((namespace.id, attachment.host), attachment)
            breathe()

    def left(self, attachment: Attachment) -> None:
        """A session has ended here."""
        self.sessions -= 1
        place = attachment.namespace.id, attachment.host
        others = attachment.namespace.sessions_of(attachment.host)
        if others:
            self._tell(place, max(others, key=lambda other: other.since))
            return
        self._claims.leave(place)
        self._touch()

    def _tell(self, place: Place, attachment: Attachment) -> None:
        self._claims.join(place, _since(attachment), attachment.instance)
        self._touch()

    def stop(self) -> None:
        """End all attachments at other hubs."""
        for place in list(self._attachments):
            self._end(place)


def _since(attachment: Attachment) -> int:
    """When a session began, in milliseconds since 1970 by our clock."""
    return int((time.time() - (time.monotonic() - attachment.since)) * 1000)
