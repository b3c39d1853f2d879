"""GOST's entrypoint of a process without workers: frames go between other hubs and the sessions here.

Knows: that the hosts of one domain have one entrypoint, which the sd is told of.
Refuses to know: how datagrams come (cluster_entrypoint_port) and go (cluster_far_hubs), what of it is
forwarded (forward_enter, forward), where hosts are (cluster_sd_hosts, cluster_directory).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gevent

from lib import forward_enter, hub_resolve
from lib.capture_taps import Taps
from lib.cluster_directory import Directory
from lib.cluster_entrypoint_port import EntrypointPort
from lib.cluster_far_hubs import opened
from lib.cluster_sd_hosts import SdHosts
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.route_plugin_cache import Asker
from lib.service_scheduling import Pauses
from lib.settings import HubSettings
from lib.settings_cluster import EntrypointSettings


class Entrypoint(EntrypointPort):
    """The entrypoint of the hub services of one domain, and the registry of their hosts (Domain)."""

    def __init__(self, hub: HubSettings, settings: EntrypointSettings, domain: Domain, taps: Taps) -> None:
        """Listen; nothing is read, told or asked before start(). Raises HostError."""
        super().__init__(hub, settings, opened(settings))
        self.domain, self.taps = domain, taps
        self.output, self.pauses = Output(), Pauses()
        self.failed_plugins: set[Asker] = set()
        self.hosts = SdHosts(self, domain, self.hubs, self._ask, self._find)

    def start(self) -> None:
        """Be asked about other hubs by the domain, and told of its sessions; then as any entrypoint."""
        self.domain.use_registry(self)
        super().start()

    def stop(self) -> None:
        """Pass nothing to other hubs any more, and tell the sd that no host is here."""
        if self.domain.registry is self:
            self.hosts.end()
            self.domain.use_registry(None)
        super().stop()

    def asked_for(self) -> int:
        """How many hosts at other hubs are remembered."""
        return self.hosts.count()

    # --- the hosts of a domain (namespace_domain.Registry)

    def elsewhere(self, namespace: Namespace) -> Directory:
        """The hosts of a namespace at other hubs."""
        return self.hosts.elsewhere(namespace)

    def cluster_of(self, namespace: bytes) -> bytes:
        """Returns b"": nobody says which hubs an sd has in common."""
        return b""

    def met(self, attachment: Attachment) -> None:
        """Do nothing: an sd knows hosts, and not their instances."""

    def are_elsewhere(self, attachments: Iterable[Attachment]) -> bool:
        """Returns True: an sd is not asked about hosts that are here."""
        return True

    def has_other_session(self, attachment: Attachment) -> bool:
        """Returns False, likewise."""
        return False

    def entered(self, attachment: Attachment) -> None:
        """A session has begun here."""
        directory = self.hosts.directory(attachment.namespace)
        if directory is not None:
            directory.forget(attachment.host)
        self.registration.entered(attachment, attachment.namespace.id, attachment.host)

    def left(self, attachment: Attachment) -> None:
        """A session has ended here."""
        self.registration.left(attachment)

    withdraw = left

    def _ask(self, directory: Directory, host: str) -> None:
        gevent.spawn(self._find, directory, host)

    def _find(self, directory: Directory, host: str) -> None:
        self.hosts.answered(directory, host, self.find(directory.namespace.id, host))

    # --- what comes

    def _enter(self, key: bytes, hub: str, frames: Sequence[bytes], now: float) -> None:
        """Forward whole frames of a hub to sessions here."""
        namespace = self.domain.namespaces.get(key)
        if namespace is None:
            for frame in frames:
                self._drop(Reason.NO_NAMESPACE, hub, frame, now)
            return
        forward_enter.enter(self.hosts.stranger(hub, namespace), frames, now)
        hub_resolve.ask(self, namespace)
