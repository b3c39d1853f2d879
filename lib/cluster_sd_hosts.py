"""The hosts of a domain at other hubs, as an sd says: an attachment for each, with datagrams as its way.

Knows: how many are remembered, how many flows each may have, what stands for a hub before it is known whose
a packet is.
Refuses to know: how an answer is found (whoever looks up), how long it counts (cluster_directory).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from lib import forward_enter, hub_resolve, wire_relay
from lib.cluster_directory import Directory
from lib.cluster_far_hubs import FarHubs, Way
from lib.hub_far_host import FarHost
from lib.hub_turn import Owner
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.session_budget import Budget
from lib.settings_memory import (
    FAR_FLOWS,
    FAR_HOSTS,
    FAR_WAITING,
    LEAST_FAR_FLOWS,
    LEAST_FAR_HOSTS,
    MOST_FAR_HOSTS,
)

BUFFER = 4096
"""Bytes of a datagram that a GOST hub reads; what is longer it cuts off."""
MANY_SECONDS = 1.0
"""How often all hosts at other hubs are counted."""
BY = "entrypoint"

Find = Callable[[Directory, str], None]


class SdHosts:
    """The hosts of a domain at other hubs."""

    def __init__(self, owner: Owner, domain: Domain, hubs: FarHubs, ask: Find, find: Find) -> None:
        """`owner` forwards what comes from them. `ask` has a host asked for; `find` waits for the answer."""
        self.domain, self.hubs = domain, hubs
        self.budget = Budget(FAR_WAITING)
        """What their frames count in while they wait for an sd or a plugin."""
        self._owner, self._ask_for, self._find = owner, ask, find
        self._many, self._many_at = 0, float("-inf")

    def elsewhere(self, namespace: Namespace) -> Directory:
        """The hosts of a namespace at other hubs, of which nothing is known yet."""
        share = FAR_HOSTS // (1 + len(self.domain.namespaces))
        most = max(LEAST_FAR_HOSTS, min(MOST_FAR_HOSTS, share))
        return Directory(namespace, self.hubs.entry.cache, most, self._make, self._ask, self._find)

    def _ask(self, directory: Directory) -> None:
        for host in directory.wanted():
            self._ask_for(directory, host)

    def answered(self, directory: Directory, host: str, hubs: Sequence[str] | None) -> None:
        """Keep an answer, the hubs that a host is at, or None for none; what waited for it goes on."""
        now = time.monotonic()
        waited = directory.learn(host, hubs, now) if hubs is not None else directory.fail(host, now)
        hub_resolve.release(waited, self._owner.taps)

    def _make(self, namespace: Namespace, host: str, address: str) -> Attachment:
        hub = self.hubs.named(address)
        request = wire_relay.encode_gateway(namespace.id, host)
        attachment = Attachment(namespace, host, address, mtu=BUFFER - len(request), by=BY)
        attachment.traffic = hub.traffic
        attachment.max_flows = max(LEAST_FAR_FLOWS, FAR_FLOWS // (1 + self._far_hosts()))
        attachment.budget = self.budget
        attachment.sender = Way(self.hubs.sock, hub, request)
        FarHost(self._owner, attachment)
        return attachment

    def _far_hosts(self) -> int:
        """How many hosts at other hubs are remembered, or were a moment ago: there may be many namespaces."""
        now = time.monotonic()
        if now - self._many_at > MANY_SECONDS:
            self._many, self._many_at = self.count(), now
        self._many += 1
        return self._many

    def count(self) -> int:
        """How many hosts at other hubs are remembered, also those of which nobody knows."""
        return sum(map(len, self.directories()))

    def directories(self) -> list[Directory]:
        """What is known of each namespace."""
        found = (self.directory(namespace) for namespace in self.domain.namespaces.values())
        return [one for one in found if one is not None]

    @staticmethod
    def directory(namespace: Namespace) -> Directory | None:
        """What is known of a namespace."""
        found = namespace.elsewhere
        return found if isinstance(found, Directory) else None

    def stranger(self, hub: str, namespace: Namespace) -> Attachment:
        """What stands for a hub, by its address, before it is known whose a packet of a namespace is."""
        made = Attachment(namespace, "", hub, by=BY, traffic=self.hubs.counts(hub), budget=self.budget)
        made.again = partial(self._again, made)
        return made

    @staticmethod
    def _again(stranger: Attachment, frame: bytes) -> None:
        forward_enter.enter(stranger, (frame,), time.monotonic())

    def end(self) -> None:
        """There are no other hubs any more."""
        for directory in self.directories():
            directory.end()
