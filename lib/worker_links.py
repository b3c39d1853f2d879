"""The other processes of a hub as one worker sees them: links with them, hosts there, and what is told.

Knows: what depends on what, that a worker which ends takes its hosts with it; that hosts at other hubs are
reached by the link with the cluster's process, and that what this has told goes on while it is replaced.
Refuses to know: what is said by a link (worker_link), who is where (worker_registry), what packets do
(cluster_hosts), how hubs are linked (worker_relay), how an sd is used in place of that (worker_sd), who makes
the pairs of sockets (worker_crew).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from lib import worker_wire
from lib.cluster_hosts import LINK, Hosts
from lib.cluster_receive import Receiver
from lib.counters import Traffic
from lib.datagram_socket import DatagramSocket
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Attachment
from lib.packet import Buffer
from lib.packet_offload import count_packets
from lib.service_scheduling import in_steps
from lib.service_supervisor import Task
from lib.settings_cluster import EntrypointSettings
from lib.worker_link import WorkerLink
from lib.worker_registry import Others, Own
from lib.worker_wire import (
    Claim,
    ClusterMark,
    FarHost,
    HubNumber,
    Known,
    Message,
    SessionCount,
    Unanswered,
    Whole,
)

if TYPE_CHECKING:
    from lib.worker_sd import WorkerSd

CLUSTER = "cluster process"
"""What the process is called that has the links with other hubs; no hub has a name with a blank in it."""
BY_CLUSTER = f"{LINK} of the {CLUSTER}"
"""What `by` of an attachment says of a host at another hub; those at other workers say LINK."""
BACK_SECONDS = 10.0
"""So long after a worker has ended its hosts may be on their way back, and do not count as away."""
CLOCK_SECONDS = 0.25
"""How often it is looked whether our clock was set, where there are other hubs."""

running: list[WorkerLinks] = []
"""Those that have started and not stopped yet: one in a worker, none elsewhere."""


def granted(worker: str, namespace: bytes) -> bool:
    """Whether a worker may have hosts of a namespace: all are one hub. For other hubs worker_relay looks."""
    return True


class WorkerLinks:
    """The links of one worker."""

    def __init__(
        self,
        name: str,
        hubs: Mapping[str, Hub],
        expected: Collection[str] = (),
        entry: EntrypointSettings | None = None,
        sock: DatagramSocket | None = None,
    ) -> None:
        """`hubs` are the services of this worker, all of one domain; `expected` are the other processes.

        `entry` and `sock` are those of the hub's entrypoint, where it has one.
        """
        self.name, self._hubs = name, hubs
        self._expected, self._whole = frozenset(expected), set[str]()
        """The other processes, and those of them that have told all their hosts."""
        self._known, self._awaited = set[str](), set[str]()
        """The processes that have told all they know, and those that are waited for until they have."""
        self._all_known = Event()
        self._whole_at = time.monotonic() + BACK_SECONDS
        self.owner = next(iter(hubs.values()))
        self.others, self._own = Others(), Own()
        self.links: dict[str, WorkerLink] = {}
        self._entry, self._sock = entry, sock
        self.sd: WorkerSd | None = None
        """What an sd says of hosts at other hubs, where there is one."""
        self.hosts = self._made()
        self._names: dict[int, str] = {}
        """The hubs of the cluster by their numbers on the link with its process."""
        self._numbers: dict[str, int] = {}
        self._marks: dict[bytes, bytes] = {}
        self._clock = Task("it is looked whether the clock was set", self._keep_clock)

    def _made(self) -> Hosts:
        cluster_of = lambda namespace: self._marks.get(namespace, self._marks.get(b"", b""))  # noqa: E731
        of = self.others, self._own, self.owner.domain, self.owner, self._tell, granted, cluster_of
        hosts = Hosts(*of)
        if self._entry is not None and self._sock is not None:
            from lib.cluster_far_hubs import FarHubs  # only hubs with an entrypoint pay for it
            from lib.worker_sd import WorkerHosts, WorkerSd

            hubs = FarHubs(self.owner.settings.name, self._entry, self._sock)
            self.sd = WorkerSd(self.owner, hubs, self._ask)
            hosts = WorkerHosts(*of, sd=self.sd.hosts, is_hub=lambda name: name not in self._expected)
        hosts.send, hosts.replaces, hosts.by = self._send, self._replaces, self._by
        return hosts

    def start(self) -> None:
        """Know the hosts at other workers from now on, and tell them of those here."""
        self.hosts.start()
        running.append(self)

    def stop(self) -> None:
        """Pass nothing to other workers any more."""
        if self in running:
            running.remove(self)
        self._clock.kill(block=False)
        self.hosts.stop()

    def drain(self) -> None:
        """The hub ends: its clients move to others, and are reached here until they have."""
        self.hosts.keeps = True

    def follow(self, entry: EntrypointSettings | None) -> None:
        """After a reload: the hosts are those of the namespaces that the services have now.

        `entry` are the settings of the entrypoint now; it stays where it is.
        """
        owner = next(iter(self._hubs.values()))
        if owner is self.owner and owner.domain is self.hosts.domain and entry == self._entry:
            return
        self.hosts.stop()
        self.owner, self._entry = owner, entry
        self.hosts = self._made()
        self.hosts.start()

    def add(self, name: str, sock: Any) -> None:
        """There is a new link with another process: our end of a pair of sockets."""
        gevent.spawn(self._serve, name, sock)

    def _serve(self, name: str, sock: Any) -> None:
        made: dict[int, tuple[Hosts, str, Traffic, Receiver]] = {}

        def receiver(hub: int) -> Receiver:
            """What takes frames of the hub of this number, or of the worker."""
            far = self._names.get(hub, "") if hub else name
            known = made.get(hub)
            counts = self.hosts.counts(far) if hub or known is None else known[2]
            if known is None or known[0] is not self.hosts or known[1] != far or known[2] is not counts:
                known = made[hub] = self.hosts, far, counts, self.hosts.receiver(far)
            return known[3]

        def told(message: Message) -> None:
            self._hear(name, message)

        link = WorkerLink(name, sock, receiver, told, self.hosts.counts(name))
        if name in self.links:  # its end has not been read yet
            self._ended(name)
        self.links[name] = link
        if name == CLUSTER:
            self._clock.start()
            link.tell([self._count()])
        link.tell([*self._own.all(), worker_wire.encode(Whole())])
        try:
            link.run()
        except OSError as error:
            say(Entry.LINK_FAILED, "link with %s ended: %s", name, error, hub=name, reason=error)
        finally:
            link.close()
            if self.links.get(name) is link:
                del self.links[name]
                self._ended(name)

    def present(self) -> Callable[[str], bool]:
        """What says whether a host is connected to any worker or hub, in any namespace."""
        far: set[str] = set()

        def is_here(host: str) -> bool:
            if any(one.sessions_of(host) for one in self.owner.domain.namespaces.values()):
                return True
            if not far:
                far.add("")
                every = list(self.others.hubs.values())
                far.update(name for other in every for _, name in in_steps(list(other.claims)))
            return host in far

        return is_here

    def is_whole(self) -> bool:
        """Whether all processes and their hosts are known: then a host that is nowhere is away."""
        return time.monotonic() >= self._whole_at and self._expected <= self._whole

    def wait_known(self, names: Collection[str], seconds: float) -> None:
        """Wait until these workers have told of all their hosts, and the cluster's process of other hubs'.

        A worker that ends is waited for no longer. Of the cluster's process the next one is.
        """
        self._awaited = set(names) - self._known
        self._all_known.clear()
        if self._awaited:
            self._all_known.wait(seconds)

    def _await_no_more(self, name: str) -> None:
        self._awaited.discard(name)
        if not self._awaited:
            self._all_known.set()

    def _ended(self, name: str) -> None:
        """Another process has ended."""
        self._whole.discard(name)
        self._whole_at = time.monotonic() + BACK_SECONDS
        if name == CLUSTER:
            self._names.clear()
            self._numbers.clear()
            self.others.doubt_far()
            if self.sd is not None:
                self.sd.lost()
        else:
            self.others.gone(name)
            self._await_no_more(name)
        self._changed()

    # --- what others say

    def _hear(self, name: str, message: Message) -> None:
        if isinstance(message, Claim):
            self.others.hear(name, message)
        elif isinstance(message, FarHost | Unanswered) and self.sd is not None:
            self.sd.hear(message, self._names)
        elif isinstance(message, FarHost):
            self.others.hear_far(message, self._names)
        elif isinstance(message, HubNumber):
            self._hear_hub(message)
        elif isinstance(message, ClusterMark):
            self._marks[message.namespace] = message.mark
        elif isinstance(message, Whole):
            self._whole.add(name)
            if name == CLUSTER:
                gevent.spawn(self._forget_doubted)  # it may take a while
        self._changed()
        if isinstance(message, Known) or (isinstance(message, Whole) and name != CLUSTER):
            self._known.add(name)
            self._await_no_more(name)

    def _hear_hub(self, message: HubNumber) -> None:
        had = self._names.get(message.number)
        if had is not None and had != message.name:
            self._numbers.pop(had, None)
        self._names[message.number], self._numbers[message.name] = message.name, message.number
        self.others.hear_hub(message.name, message.is_live)
        # Beside this: many flows may have to be decided anew, and what has come is still to be read.
        gevent.spawn(self.hosts.unreachable, message.name, message.is_lost)

    def _forget_doubted(self) -> None:
        for _ in in_steps(self.others.forget_doubted()):
            self._changed()

    def _changed(self) -> None:
        if changed := self.others.take_changed():
            self.hosts.changed(changed)

    def _keep_clock(self) -> None:
        while True:
            gevent.sleep(CLOCK_SECONDS)
            self.hosts.look_at_clock(time.time() - time.monotonic())

    # --- what is sent

    def _send(self, name: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        link, hub = self.links.get(name), 0
        if link is None and (hub := self._numbers.get(name, 0)):
            link = self.links.get(CLUSTER)
        if link is None:
            attachment.drop(Reason.NO_LINK, count_packets(b"".join(buffers)), "", b"", time.monotonic())
            return
        link.send(attachment.namespace.id, buffers, hub)

    def _ask(self, question: bytes) -> bool:
        """Ask the process that asks the sd; False where it is not there."""
        link = self.links.get(CLUSTER)
        if link is not None:
            link.tell([question])
        return link is not None

    def _by(self, name: str) -> str:
        """How another worker is reached, or another hub."""
        return BY_CLUSTER if name in self._numbers else LINK

    def _replaces(self, session: Attachment, hub: str) -> bool:
        """Whether a newer session of its host name at another worker ends a session here."""
        if hub not in self.links:
            return False  # another hub's
        found = (hub for hub in self._hubs.values() if session in hub.sessions)
        return any(hub.settings.on_duplicate == "replace" for hub in found)

    def _tell(self) -> None:
        """Tell all other workers what has changed here, at once: so it goes before the host's packets."""
        news = self._own.take_news()
        for name, link in list(self.links.items()):
            link.tell([*news, self._count()] if name == CLUSTER else news)

    def _count(self) -> bytes:
        return worker_wire.encode(SessionCount(self.hosts.sessions))
