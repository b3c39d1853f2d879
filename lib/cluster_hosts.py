"""Hosts at other hubs of a cluster as forwarding sees them, and our own as the cluster is told of them.

Knows: which attachment stands for which host at which hub, when one ends; that a host which has come back at
another hub has no session here any more, unless its client keeps several; which of several hubs a flow takes.
Refuses to know: who says where hosts are (cluster_registry), by what frames travel (cluster_links), what is
decided on a packet (forward_decide, forward_enter).

    registry says: host H is at hub X     H's attachment at X takes what no session here takes
    ... and not any more                    that attachment ends (`live`), so its flows are decided anew
    ... at hub Y too, by the same client    a flow stays at its hub; new ones are spread over both
    ... at hub Y too, by nobody knows whom  it has moved, and X has not noticed: Y alone counts
    a session begins or ends here           the list of this hub changes (cluster_claims)

A flow that came from a host by one of its hubs goes back by the same, so that a hub with access lists sees
both directions. A hub that no link reaches is passed over where a host has another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from functools import partial
from typing import Any

from lib import cluster_frames, cluster_ways, hub_drain, ids, packet_offload
from lib.bounded_dict import BoundedDict
from lib.cluster_elsewhere import LinkedHosts
from lib.cluster_places import Place
from lib.cluster_receive import Receiver
from lib.cluster_registry import MAX_HUBS
from lib.cluster_silence import Silences
from lib.cluster_unreached import Tellings
from lib.cluster_ways import Claims, Registry, Send, Way
from lib.counters import Traffic
from lib.forward_enter import enter
from lib.hub_far_host import FarHost
from lib.hub_turn import Owner
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.service_scheduling import breathe, in_steps
from lib.session_budget import Budget
from lib.settings_memory import FAR_FLOWS, FAR_HOSTS, FAR_WAITING, LEAST_FAR_FLOWS

LINK = "link"
"""What `by` of an attachment says of a host that a link leads to."""
MAX_HOSTS = FAR_HOSTS
"""Hosts at other hubs that packets go to or have come from; past that the oldest is made anew when needed."""
MAX_COUNTED = 2 * MAX_HUBS
"""Hubs with counts of their own; of more those go that are not in the cluster any more."""
CLOCK_SET_SECONDS = 0.5
"""By how much a clock that runs on time is off at most before somebody sets it (NTP, in steps)."""
_MTU = cluster_frames.MAX_FRAMES - 2 - packet_offload.HEADER_SIZE
"""Bytes of the largest packet that an envelope holds: a larger one is too big, and its sender is told so."""


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
        cluster_of: Callable[[bytes], bytes] = lambda namespace: b"",
    ) -> None:
        """`touch` is called when `claims` have changed; `owner` forwards what comes by links.

        `grants` says whether a hub may send packets of a namespace. `cluster_of` gives 16 bytes that
        are the same for all hubs that reach all hosts of a namespace; empty where there are no others.
        """
        self.registry, self.domain, self.cluster_of = registry, domain, cluster_of
        self.traffic: dict[str, Traffic] = {}
        """Hub -> the counts of all hosts there; "" -> those of hubs that were forgotten."""
        self.budget = Budget(FAR_WAITING)
        """What frames of hosts at other hubs count in while they wait for a plugin."""
        self.sessions = 0
        """How many sessions are here."""
        self.send: Send = lambda hub, attachment, buffers: None
        self.by_datagrams: Callable[[str, bytes, Buffer], bool] | None = None
        """Tells those who look on whether a frame for a hub, of a namespace, goes by datagrams."""
        self.replaces: Callable[[Attachment, str], bool] = lambda session, hub: False
        """Whether a newer session of its host name at a hub ends a session here, whoever's it is."""
        self.by: Callable[[str], str] = lambda hub: LINK  # what `by` of an attachment there says
        self._claims, self._owner, self._touch, self._grants = claims, owner, touch, grants
        self._clock: float | None = None
        """Our clock minus the steady one, in seconds, as hosts were told by it last."""
        self._attachments: BoundedDict[Place, dict[str, Attachment]] = BoundedDict(MAX_HOSTS)
        """Host -> hub -> its attachment there."""
        self._count = 0
        """All of these."""
        self._told: dict[Place, tuple[Attachment, bytes]] = {}
        """What the cluster was told of each host here: its session, and that one's instance."""
        self.keeps = False
        """Whether sessions stay that have newer ones elsewhere: this hub ends, and its clients move."""
        self.lost: dict[str, None] = {}
        """Hubs that no link reaches now."""
        self._strangers: BoundedDict[tuple[bytes, str], Attachment] = BoundedDict(MAX_HOSTS)
        self._silences = Silences(self._heard_or_not)
        self._tellings = Tellings(self._is_reached)

    # --- what forwarding asks

    def ways(self, place: Place) -> list[str]:
        """The names of the other hubs by which a host is reached: where its session is newest comes first."""
        return cluster_ways.ways(self.registry, place, self.lost)

    def unreachable(self, hub: str, is_it: bool) -> None:
        """A link with a hub has been lost or cannot be had, or is there again: flows go by other ways."""
        if (hub in self.lost) is is_it:
            return
        if is_it:
            self.lost[hub] = None
        else:
            self.lost.pop(hub, None)
        self.changed([place for place, there in self._attachments.items() if hub in there or not is_it])

    def elsewhere(self, namespace: Namespace) -> LinkedHosts:
        """The hosts of a namespace at other hubs."""
        return LinkedHosts(self, namespace)

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
            found.sender = Way(found, self._pass)
            if self.by_datagrams is not None:
                found.by_datagrams = partial(self.by_datagrams, hub, namespace.id)
            FarHost(self._owner, found)
        return found

    def _pass(self, hub: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames to a hub; where no link reaches it, tell those whose they are."""
        if self.lost and hub in self.lost:
            self._tellings.passing(attachment, buffers)
        self.send(hub, attachment, buffers)

    def _is_reached(self, place: Place) -> bool:
        """Whether a host is here, or at a hub that a link reaches."""
        namespace = self.domain.namespaces.get(place[0])
        if namespace is not None and any(session.live for session in namespace.sessions_of(place[1])):
            return True
        return any(hub not in self.lost for hub in self.ways(place))

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
            by=self.by(hub),
            mtu=_MTU,
            offloads=packet_offload.ALL,
            is_tunrouter=True,
            takes_dummies=True,
            traffic=self.counts(hub),
            max_flows=max(LEAST_FAR_FLOWS, FAR_FLOWS // (1 + self._count)),
            budget=self.budget,
        )

    def _end(self, place: Place, but: Container[str] = ()) -> None:
        """End the attachments of a host at other hubs, but for those at some hubs."""
        there = self._attachments.get(place, {})
        for hub in [hub for hub in there if hub not in but]:
            attachment = there.pop(hub)
            self._count -= 1
            attachment.live = False
            attachment.forget()
            elsewhere = attachment.namespace.elsewhere
            if not there and isinstance(elsewhere, LinkedHosts):
                elsewhere.gateways.pop(attachment.host, None)
        if not there:
            self._attachments.pop(place, None)

    # --- what the registry says

    def changed(self, places: Collection[Place]) -> None:
        """Something is different about these hosts: flows are decided anew, sessions that have moved end."""
        outdated: set[Namespace] = set()
        for place in in_steps(places):
            namespace_id, host = place
            self._end(place, self.ways(place))
            namespace = self.domain.namespaces.get(namespace_id)
            if namespace is None:
                continue
            outdated.add(namespace)
            if isinstance(namespace.elsewhere, LinkedHosts):
                namespace.elsewhere.outdate(host)
            self._set_aside(namespace, host)
            for session in namespace.sessions_of(host) if not self.keeps else ():
                for hub in self.registry.where(place):
                    if ids.is_same(session.instance, self.registry.instance(hub, place)):
                        self._replaced(session, place, hub.name, "client")
                    elif self.replaces(session, hub.name):
                        self._replaced(session, place, hub.name, "host name")
        for namespace in outdated:
            namespace.outdate()
        self._tellings.changed(places)

    def _replaced(self, session: Attachment, place: Place, hub: str, what: str) -> None:
        """End a session here whose client, or another one of its name, has a newer one at another hub.

        Where it is the same client, what is on the way to and from this session still arrives.
        """
        other = self.registry.hubs[hub]
        if other.claims[place] <= _since(session):
            return
        why = f"replaced by a new session of the same {what} at {hub if other.is_near else f'hub {hub}'}"
        if what != "client":
            hub_drain.end_replaced(session, why)
        elif not session.is_moving:
            hub_drain.let_go(session, why)

    def receiver(self, hub: str) -> Receiver:
        """What takes the frames that come by a link with a hub."""
        stranger = partial(self._stranger, hub)
        return Receiver(self._owner, self.domain, stranger, self.counts(hub), partial(self._grants, hub))

    def _stranger(self, hub: str, namespace: Namespace) -> Attachment:
        """What stands for a hub in a namespace, before it is known whose a frame is."""
        key = namespace.id, hub
        found = self._strangers.get(key)
        if found is None or found.namespace is not namespace:
            found = stranger = self._made(namespace, "", hub)
            found.again = lambda frame: enter(stranger, [frame], time.monotonic())
            self._strangers.remember(key, found)
        return found

    # --- what the registry is told

    def entered(self, attachment: Attachment) -> None:
        """A session has begun here."""
        self.sessions += 1
        place = attachment.namespace.id, attachment.host
        self._end(place)
        self._tellings.changed([place])
        self._silences.watch(attachment)
        self._tell(place, attachment)

    def met(self, attachment: Attachment) -> None:
        """The client of a session here has said its instance."""
        if attachment.is_here:
            self._silences.watch(attachment)
            self._tell_of(attachment)

    def _tell_of(self, attachment: Attachment) -> None:
        if self._newest(attachment) is attachment:
            self._tell((attachment.namespace.id, attachment.host), attachment)

    def _heard_or_not(self, attachment: Attachment) -> None:
        """A session here is silent, or is not any more: others are told, and flows here go by other ways."""
        self._tell_of(attachment)
        self._set_aside(attachment.namespace, attachment.host)

    def _set_aside(self, namespace: Namespace, host: str) -> None:
        """Let no flow go to sessions of a host that are silent, while their clients have others elsewhere."""
        place = namespace.id, host
        for session in namespace.sessions_of(host):
            session.live = not (
                self._silences.is_silent(session)
                and any(
                    ids.is_beside(session.instance, there) and not ids.is_silent(there)
                    for hub in self.registry.where(place)
                    if hub.name not in self.lost
                    for there in (self.registry.instance(hub, place),)
                )
            )

    def look_at_clock(self, ahead: float) -> None:
        """Tell all hosts anew after our clock was set: since when each is here depends on it.

        `ahead` is our clock minus the steady one, in seconds.
        """
        self._clock = ahead if self._clock is None else self._clock
        if abs(ahead - self._clock) < CLOCK_SET_SECONDS:
            return
        self._clock = ahead
        self._told.clear()
        for namespace in list(self.domain.namespaces.values()):
            sessions = sorted(namespace.attachments(), key=lambda one: one.since)
            for attachment in {one.host: one for one in sessions}.values():  # of each host the newest
                self._tell((namespace.id, attachment.host), attachment)
            breathe()

    def left(self, attachment: Attachment) -> None:
        """A session has ended here."""
        self.sessions -= 1
        self.withdraw(attachment)

    def withdraw(self, attachment: Attachment) -> None:
        """A session here is not to be reached by others any more."""
        self._silences.forget(attachment)
        self._tellings.forget(attachment)
        place = attachment.namespace.id, attachment.host
        newest = self._newest(attachment)
        if newest is not None:
            self._tell(place, newest)
            return
        self._told.pop(place, None)
        self._claims.leave(place)
        self._touch()

    @staticmethod
    def _newest(attachment: Attachment) -> Attachment | None:
        """The newest session here of an attachment's host; None where it has none."""
        sessions = attachment.namespace.sessions_of(attachment.host)
        return max(reversed(sessions), key=lambda other: other.since, default=None)

    def has_other_session(self, attachment: Attachment) -> bool:
        """Whether the client of a session here has a newer one at another hub, or one beside this one."""
        place, own = (attachment.namespace.id, attachment.host), attachment.instance
        for hub in self.registry.where(place):
            instance = self.registry.instance(hub, place)
            is_newer = ids.is_same(own, instance) and hub.claims[place] > _since(attachment)
            if is_newer or ids.is_beside(own, instance):
                return True
        return False

    def are_elsewhere(self, attachments: Iterable[Attachment]) -> bool:
        """Whether all hosts of these sessions are at another hub too; True where there is no other hub."""
        far: Callable[[Any], bool] = lambda hubs: any(hub.live and not hub.is_near for hub in hubs)  # noqa: E731
        if not self.keeps or not far(self.registry.hubs.values()):
            return True
        return all(far(self.registry.where((one.namespace.id, one.host))) for one in attachments)

    def _tell(self, place: Place, attachment: Attachment) -> None:
        instance = attachment.instance
        instance = ids.silent(instance) if self._silences.is_silent(attachment) else instance
        if self._told.get(place) == (attachment, instance):
            return
        self._told[place] = attachment, instance
        self._claims.join(place, _since(attachment), instance)
        self._touch()

    def start(self) -> None:
        """Be asked about other hubs by the domain, and told of its sessions."""
        self.domain.use_registry(self)

    def stop(self) -> None:
        """Be asked no more, and end all attachments at other hubs."""
        if self.domain.registry is self:  # a reload may have given the domain another one already
            self.domain.use_registry(None)
        self._silences.stop()
        for place in list(self._attachments):
            self._end(place)


def _since(attachment: Attachment) -> int:
    """When a session began, in milliseconds since 1970 by our clock."""
    return int((time.time() - (time.monotonic() - attachment.since)) * 1000)
