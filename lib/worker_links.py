"""The other workers of this machine as one worker sees them: links with them, their hosts, and what is told.

Knows: what depends on what, and that a worker which ends takes its hosts with it.
Refuses to know: what is said by a link (worker_link), who is where (worker_registry), what packets do
(cluster_hosts), who makes the pairs of sockets (worker_crew).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gevent

from lib.cluster_hosts import Hosts
from lib.cluster_receive import Receiver
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Attachment
from lib.packet import Buffer
from lib.packet_offload import count_packets
from lib.worker_link import WorkerLink
from lib.worker_registry import Others, Own
from lib.worker_wire import Claim

running: list[WorkerLinks] = []
"""Those that have started and not stopped yet: one in a worker, none elsewhere."""


def _granted(worker: str, namespace: bytes) -> bool:
    """Whether a worker may have hosts of a namespace: all are one hub."""
    return True


class WorkerLinks:
    """The links of one worker."""

    def __init__(self, name: str, hubs: Mapping[str, Hub]) -> None:
        """`hubs` are the services of this worker, all of one domain."""
        self.name, self._hubs = name, hubs
        self.owner = next(iter(hubs.values()))
        self.others, self._own = Others(), Own()
        self.links: dict[str, WorkerLink] = {}
        self.hosts = self._made()

    def _made(self) -> Hosts:
        hosts = Hosts(self.others, self._own, self.owner.domain, self.owner, self._tell, _granted)
        hosts.send, hosts.replaces = self._send, self._replaces
        return hosts

    def start(self) -> None:
        """Know the hosts at other workers from now on, and tell them of those here."""
        self.owner.domain.use_registry(self.hosts)
        running.append(self)

    def stop(self) -> None:
        """Pass nothing to other workers any more."""
        if self in running:
            running.remove(self)
        self.owner.domain.use_registry(None)
        self.hosts.stop()

    def follow(self) -> None:
        """After a reload: the hosts are those of the namespaces that the services have now."""
        owner = next(iter(self._hubs.values()))
        if owner is self.owner and owner.domain is self.hosts.domain:
            return
        self.hosts.domain.use_registry(None)
        self.hosts.stop()
        self.owner = owner
        self.hosts = self._made()
        owner.domain.use_registry(self.hosts)

    def add(self, name: str, sock: Any) -> None:
        """There is a new link with another worker: our end of a pair of sockets."""
        gevent.spawn(self._serve, name, sock)

    def _serve(self, name: str, sock: Any) -> None:
        made: dict[Hosts, Receiver] = {}

        def receiver() -> Receiver:
            if self.hosts not in made:  # a reload has made others
                made.clear()
                made[self.hosts] = self.hosts.receiver(name)
            return made[self.hosts]

        def told(claim: Claim) -> None:
            self.others.hear(name, claim)
            self._changed()

        link = WorkerLink(name, sock, receiver, told, self.hosts.counts(name))
        self.links[name] = link
        link.tell(self._own.all())
        try:
            link.run()
        except OSError as error:
            say(Entry.LINK_FAILED, "link with %s ended: %s", name, error, hub=name, reason=error)
        finally:
            link.close()
            if self.links.get(name) is link:
                del self.links[name]
                self.others.gone(name)
                self._changed()

    def _changed(self) -> None:
        self.hosts.changed(self.others.take_changed())

    def _send(self, name: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        link = self.links.get(name)
        if link is None:
            attachment.drop(Reason.NO_LINK, count_packets(b"".join(buffers)), "", b"", time.monotonic())
            return
        link.send(attachment.namespace.id, buffers)

    def _replaces(self, session: Attachment) -> bool:
        """Whether a newer session of its host name at another worker ends a session here."""
        found = (hub for hub in self._hubs.values() if session in hub.sessions)
        return any(hub.settings.on_duplicate == "replace" for hub in found)

    def _tell(self) -> None:
        """Tell all other workers what has changed here, at once: so it goes before the host's packets."""
        news = self._own.take_news()
        for link in list(self.links.values()):
            link.tell(news)
