"""GOST's entrypoint: the UDP port by which hubs pass packets to each other, and the hosts at other hubs.

    a datagram   request of GOST (wire_relay.encode_gateway: namespace, gateway) | one IP packet

Knows: how frames become datagrams and datagrams frames; which addresses may send some.
Refuses to know: what of it is forwarded (forward_enter, forward), where hosts are (cluster_directory), how an
sd is asked and told (cluster_sd, cluster_registration).

Datagrams are neither authenticated nor encrypted, as in GOST: whoever can send from the address of a hub can
send as every host that is there. From anybody else nothing is taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import gevent

from lib import datagram_open, forward_enter, framing, hub_log, hub_resolve, ids, wire_relay
from lib.addresses import host_of, host_port, join_host_port, without_zone
from lib.bounded_dict import BoundedDict
from lib.capture_taps import Taps
from lib.cluster_directory import Directory
from lib.cluster_registration import Registration
from lib.cluster_sd import Sd
from lib.counters import Traffic
from lib.datagram_socket import Address, DatagramSocket
from lib.errors import HostError, PluginError, ProtocolError
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.hub_far_host import FarHost
from lib.limits import Bucket
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.packet_text import head
from lib.route_plugin_cache import Asker
from lib.service_scheduling import SHARE, Pauses
from lib.service_supervisor import Task
from lib.session_budget import Budget
from lib.session_cost import BURST_SECONDS
from lib.settings import HubSettings
from lib.settings_cluster import EntrypointSettings
from lib.settings_memory import (
    FAR_FLOWS,
    FAR_HOSTS,
    FAR_WAITING,
    LEAST_FAR_FLOWS,
    LEAST_FAR_HOSTS,
    MOST_FAR_HOSTS,
)
from lib.stream_listen import listen_remedy

BUFFER = 4096
"""Bytes of a datagram that a GOST hub reads; what is longer it cuts off."""
MAX_FAR_HUBS = 1024
"""Hubs with counters of their own; past that those of the oldest are added up."""
MAX_HEADS, MAX_HEAD = 1024, 320
"""Requests that have been read once, and the most bytes of one that is remembered."""
STRANGERS_PER_SECOND = 100.0
"""Datagrams from addresses that the sd has named as nobody's yet: it is asked about their senders."""
MANY_SECONDS = 1.0
"""How often all hosts at other hubs are counted, and all hubs looked at for drops to tell of."""
BY = "entrypoint"


class FarHub:
    """Another hub."""

    __slots__ = ("address", "target", "traffic")

    def __init__(self, address: str, target: Address) -> None:
        self.address, self.target = address, target
        self.traffic = Traffic()


class Way:
    """The way of frames to one host at another hub (namespace_sender.Sender)."""

    __slots__ = ("_head", "_hub", "_sock")
    queued = 0

    def __init__(self, sock: DatagramSocket, hub: FarHub, request: bytes) -> None:
        self._sock, self._hub, self._head = sock, hub, request

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send each frame's packet as a datagram; what the kernel has no room for is dropped."""
        datagrams: list[Buffer] = []
        for buffer in buffers:
            view, begin = memoryview(buffer), 0
            for end in framing.split(view):
                datagrams.append(b"".join((self._head, view[begin + 2 : end])))
                begin = end
        lost = len(datagrams) - self._sock.send_burst(self._hub.target, datagrams).taken
        if lost:
            self._hub.traffic.drop(Reason.DATAGRAM_UNSENT, lost)

    def close(self, because: str) -> None:
        """Nothing: there is no connection."""

    def is_alive(self, seconds: float) -> bool:
        """Yes: nobody can ask."""
        return True


class Entrypoint:
    """The entrypoint of the hub services of one domain, and the registry of their hosts (Domain)."""

    def __init__(self, hub: HubSettings, settings: EntrypointSettings, domain: Domain, taps: Taps) -> None:
        """Listen; nothing is read, told or asked before start(). Raises HostError."""
        self.settings, self.entry, self.domain, self.taps = hub, settings, domain, taps
        self.output, self.pauses = Output(), Pauses()
        self.failed_plugins: set[Asker] = set()
        self.budget = Budget(FAR_WAITING)
        """What frames of hosts at other hubs count in while they wait for an sd or a plugin."""
        self._many, self._many_at = 0, float("-inf")
        self._told_at = float("-inf")
        node = ids.format_uuid(os.urandom(16))
        self.sd = Sd(hub.name, settings, node)
        self.registration = Registration(
            f"service {hub.name}", self.sd.plugin, node, settings.address, settings.renew, self.sd.heard
        )
        self.traffic = Traffic()
        """Datagrams of nobody, and of hubs that were forgotten."""
        self.hubs: BoundedDict[str, FarHub] = BoundedDict(MAX_FAR_HUBS)
        """address:port -> the hub."""
        self._heads: BoundedDict[bytes, bytes] = BoundedDict(MAX_HEADS)
        """A request -> the namespace that it names."""
        self._unknown = Bucket(STRANGERS_PER_SECOND, STRANGERS_PER_SECOND)
        self._debt = 0.0
        self._over = False
        try:
            self._sock = datagram_open.bound(settings.host, settings.port, settings.netns)
        except OSError as error:
            remedy = listen_remedy(error.errno, settings.port, udp=True)
            where = join_host_port(settings.host, settings.port)
            what = f"cannot listen on UDP {where} (entrypoint): {error.strerror or error}"
            raise HostError(f"{what}; {remedy}" if remedy else what) from error
        self._reader = Task(
            f"service {hub.name}: datagrams of other hubs are read", self._read, vital=False, of=self
        )

    def start(self) -> None:
        """Begin to read datagrams, and to tell the sd of the hosts that are here."""
        self.domain.use_registry(self)
        self.registration.start()
        self._reader.start()

    def stop(self) -> None:
        """Pass nothing to other hubs any more, and tell the sd that no host is here."""
        self._over = True
        self._reader.kill(block=False)
        if self.domain.registry is self:
            for directory in self.directories():
                directory.end()
            self.domain.use_registry(None)
        self._sock.close()
        self.registration.stop()
        self.sd.plugin.close()

    def directories(self) -> list[Directory]:
        """What is known of each namespace."""
        found = [namespace.elsewhere for namespace in self.domain.namespaces.values()]
        return [one for one in found if isinstance(one, Directory)]

    # --- the hosts of a domain (namespace_domain.Registry)

    def elsewhere(self, namespace: Namespace) -> Directory:
        """The hosts of a namespace at other hubs."""
        share = FAR_HOSTS // (1 + len(self.domain.namespaces))
        most = max(LEAST_FAR_HOSTS, min(MOST_FAR_HOSTS, share))
        return Directory(namespace, self.entry.cache, most, self._make, self._ask, self._find)

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
        directory = attachment.namespace.elsewhere
        if isinstance(directory, Directory):
            directory.forget(attachment.host)
        self.registration.entered(attachment)

    def left(self, attachment: Attachment) -> None:
        """A session has ended here."""
        self.registration.left(attachment)

    withdraw = left

    def _ask(self, directory: Directory) -> None:
        for host in directory.wanted():
            gevent.spawn(self._find, directory, host)

    def _find(self, directory: Directory, host: str) -> None:
        try:
            hubs = self.sd.hubs(directory.namespace.id, host, self._sock.to)
            waited = directory.learn(host, [] if self._over else hubs, time.monotonic())
            self.registration.resume()
        except PluginError:
            waited = directory.fail(host, time.monotonic())
            self.registration.missed()
        hub_resolve.release(waited, self.taps)

    def _make(self, namespace: Namespace, host: str, address: str) -> Attachment:
        hub = self.hubs.get(address)
        if hub is None:
            if len(self.hubs) >= MAX_FAR_HUBS:
                self.traffic.add(self.hubs.popitem(last=False)[1].traffic)
            hub = FarHub(address, self._sock.to(*host_port(address)))
            self.hubs.remember(address, hub)
        request = wire_relay.encode_gateway(namespace.id, host)
        attachment = Attachment(namespace, host, address, mtu=BUFFER - len(request), by=BY)
        attachment.traffic = hub.traffic
        attachment.max_flows = max(LEAST_FAR_FLOWS, FAR_FLOWS // (1 + self._far_hosts()))
        attachment.budget = self.budget
        attachment.sender = Way(self._sock, hub, request)
        FarHost(self, attachment)
        return attachment

    def _far_hosts(self) -> int:
        """How many hosts at other hubs are remembered, or were a moment ago: there may be many namespaces."""
        now = time.monotonic()
        if now - self._many_at > MANY_SECONDS:
            self._many, self._many_at = sum(map(len, self.directories())), now
        self._many += 1
        return self._many

    # --- what comes

    def _read(self) -> None:
        while True:
            runs = self._sock.recv_runs()
            began = time.monotonic()
            frames: dict[tuple[bytes, str], list[bytes]] = {}
            dropped = read = 0
            for run in runs:
                hub = str(run.address)
                for _, datagram in run.cut():
                    read += 1
                    found = self._opened(hub, datagram, began)
                    if isinstance(found, Reason):
                        self._drop(found, hub, datagram, began)
                        dropped += 1
                    else:
                        frames.setdefault((found[0], hub), []).append(found[1])
            self._debt += (time.monotonic() - began) * (dropped / read if read else 1)
            for (key, hub), some in frames.items():
                self._enter(key, hub, some, began)
            self._tell_news({str(run.address) for run in runs})
            if self._debt > BURST_SECONDS:
                seconds, self._debt = self._debt, 0.0
                SHARE.charge("datagrams of nobody", seconds)

    def _opened(self, hub: str, datagram: bytes, now: float) -> tuple[bytes, bytes] | Reason:
        """(namespace, frame) of a datagram, or why it is dropped."""
        if not self._may_send(hub, now):
            return Reason.FOREIGN_HUB
        size = 4 + int.from_bytes(datagram[2:4], "big")
        request = datagram[:size]
        namespace = self._heads.get(request)
        if namespace is None:
            try:
                read = wire_relay.decode_request(request)
            except ProtocolError:
                return Reason.BAD_DATAGRAM
            if read is None or read[0].command != wire_relay.ASSOCIATE:
                return Reason.BAD_DATAGRAM
            namespace = read[0].namespace
            if size <= MAX_HEAD:
                self._heads.remember(request, namespace)
        packet = datagram[size:]
        return (namespace, framing.encode(packet)) if packet else Reason.EMPTY_FRAME

    def _may_send(self, hub: str, now: float) -> bool:
        """Whether an address may be that of a hub. Whose packets it may send is another question."""
        if len(self.entry.allow):
            return self.entry.allow.holds(ip_address(without_zone(host_of(hub))).packed)
        return hub in self.hubs or self._unknown.spend(now)

    def _enter(self, key: bytes, hub: str, frames: Sequence[bytes], now: float) -> None:
        namespace = self.domain.namespaces.get(key)
        if namespace is None:
            for frame in frames:
                self._drop(Reason.NO_NAMESPACE, hub, frame, now)
            return
        stranger = Attachment(namespace, "", hub, by=BY)
        stranger.traffic = self.hubs[hub].traffic if hub in self.hubs else self.traffic
        stranger.budget = self.budget
        stranger.again = lambda frame: self._enter(key, hub, (frame,), time.monotonic())
        forward_enter.enter(stranger, frames, now)
        hub_resolve.ask(self, namespace)

    def _drop(self, reason: Reason, hub: str, data: bytes, now: float) -> None:
        traffic = self.hubs[hub].traffic if hub in self.hubs else self.traffic
        traffic.received_packets += 1
        traffic.received_bytes += len(data)
        traffic.drop(reason, 1, f"from {hub}", head(data, 0, len(data)), now)

    def _tell_news(self, senders: Iterable[str]) -> None:
        """Log the reasons for drops that occurred for the first time, of these hubs; now and then of all."""
        now = time.monotonic()
        if now - self._told_at > MANY_SECONDS:
            senders, self._told_at = list(self.hubs), now
        for traffic in (self.traffic, *(self.hubs[one].traffic for one in senders if one in self.hubs)):
            for reason, detail in traffic.take_news() if traffic.news else ():
                hub_log.datagrams_dropped(self.settings.name, reason, detail)
