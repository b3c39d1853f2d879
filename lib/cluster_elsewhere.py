"""Hosts of one namespace at other hubs, or other workers, that links lead to: what forwarding asks of them.

Knows: that everything is known, so nothing waits; that flows stay where they are while that lives.
Refuses to know: at which hubs a host is, and what stands for it there (cluster_hosts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from lib.bounded_dict import BoundedDict
from lib.cluster_places import Place
from lib.cluster_ways import FarGateway, Registry
from lib.namespace import Attachment, Namespace
from lib.namespace_commons import SharedTable
from lib.plugin_cache import Unresolved
from lib.route_gateways import Gateway
from lib.settings_memory import FAR_HOSTS


class Hosts(Protocol):
    """What is used of cluster_hosts.Hosts."""

    registry: Registry[Any]

    def ways(self, place: Place) -> list[str]:
        """The names of the hubs by which a host is reached."""

    def attachment(self, namespace: Namespace, host: str, hub: str) -> Attachment:
        """The attachment of a host at a hub."""


@dataclass(slots=True, eq=False)
class LinkedHosts:
    """The hosts of one namespace at other hubs (namespace_elsewhere.Elsewhere)."""

    hosts: Hosts
    namespace: Namespace
    seconds: float = math.inf
    table: SharedTable | None = None
    """Attachments have a bound for all namespaces, and what is here goes with them."""
    gateways: BoundedDict[str, FarGateway] = field(default_factory=lambda: BoundedDict(FAR_HOSTS))
    """Those that were asked for, each with what its flows go to."""

    def linked(self, host: str) -> FarGateway | None:
        """The host with an attachment at each hub by which it is reached; None where it is at none."""
        known = self.gateways.get(host)
        if known is not None and all(one.live for one in known.attachments):
            return known
        return self._look_up(host, known)

    def _look_up(self, host: str, known: FarGateway | None) -> FarGateway | None:
        """Look at which hubs a host is now; flows stay where they are, as far as that lives."""
        hubs = self.hosts.ways((self.namespace.id, host))
        if not hubs:
            self.gateways.pop(host, None)
            return None
        there = [self.hosts.attachment(self.namespace, host, hub) for hub in hubs]
        if known is None:
            known = FarGateway(host)
            known.bound_flows(there[0].max_flows)
        known.attachments = there
        self.gateways.renew(host, known)
        return known

    def gateway(self, host: str, now: float) -> Gateway[Attachment] | Unresolved | None:
        """As Elsewhere.gateway."""
        return self.linked(host)

    def at(self, host: str, hub: str, now: float) -> Attachment | Unresolved | None:
        """The attachment of a host at one hub; None if it is not there."""
        is_there = any(one.name == hub for one in self.hosts.registry.where((self.namespace.id, host)))
        return self.hosts.attachment(self.namespace, host, hub) if is_there else None

    def known(self, host: str) -> Gateway[Attachment] | None:
        """As gateway: everything is known."""
        return self.linked(host)

    def came(self, attachment: Attachment, flow: bytes) -> None:
        """A flow came from a host by one of its hubs: replies to it go by the same."""
        known = self.gateways.get(attachment.host) or self._look_up(attachment.host, None)
        if known is not None and len(known.attachments) > 1 and attachment in known.attachments:
            known.reply_by(attachment, flow)

    def outdate(self, host: str) -> None:
        """A host is perhaps at other hubs now."""
        if (known := self.gateways.get(host)) is not None:
            self._look_up(host, known)

    def find(self, host: str) -> None:
        """Everything is known."""

    def park(self, host: str, attachment: Attachment, frame: bytes) -> bool:
        """Returns False: nothing has to be found out."""
        return False
