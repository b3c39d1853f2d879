"""GOST's entrypoint as a port: what comes to it from other hubs, and what the sd is told of the hosts here.

    a datagram   request of GOST (wire_relay.encode_gateway: namespace, gateway) | one IP packet

Knows: how datagrams become frames, which addresses may send some, what is dropped before anybody looks whose
it is.
Refuses to know: who takes the frames (cluster_entrypoint, and worker_entrypoint where there are workers), how
an sd is asked and told (cluster_sd, cluster_registration).

Datagrams are neither authenticated nor encrypted, as in GOST: whoever can send from the address of a hub can
send as every host that is there. From anybody else nothing is taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from lib import framing, hub_log, ids, wire_relay
from lib.addresses import host_of, without_zone
from lib.bounded_dict import BoundedDict
from lib.cluster_far_hubs import FarHubs
from lib.cluster_registration import Registration
from lib.cluster_sd import Sd
from lib.counters import Traffic
from lib.datagram_socket import DatagramSocket
from lib.errors import PluginError, ProtocolError
from lib.forward_drop_reasons import Reason
from lib.limits import Bucket
from lib.packet_text import head
from lib.service_scheduling import SHARE
from lib.service_supervisor import Task
from lib.session_cost import BURST_SECONDS
from lib.settings import HubSettings
from lib.settings_cluster import EntrypointSettings

MAX_HEADS, MAX_HEAD = 1024, 320
"""Requests that have been read once, and the most bytes of one that is remembered."""
STRANGERS_PER_SECOND = 100.0
"""Datagrams from addresses that the sd has named as nobody's yet: it is asked about their senders."""
MANY_SECONDS = 1.0
"""How often all hubs are looked at for drops to tell of."""


class EntrypointPort:
    """The port of an entrypoint, and the sd of it."""

    def __init__(self, hub: HubSettings, entry: EntrypointSettings, sock: DatagramSocket) -> None:
        """`sock` is taken over. Nothing is read, told or asked before start()."""
        self.settings, self.entry = hub, entry
        self.hubs = FarHubs(hub.name, entry, sock)
        node = ids.format_uuid(os.urandom(16))
        self.sd = Sd(hub.name, entry, node)
        self.registration = Registration(
            f"service {hub.name}", self.sd.plugin, node, entry.address, entry.renew, self.sd.heard
        )
        self._heads: BoundedDict[bytes, bytes] = BoundedDict(MAX_HEADS)
        """A request -> the namespace that it names."""
        self._unknown = Bucket(STRANGERS_PER_SECOND, STRANGERS_PER_SECOND)
        self._debt = 0.0
        self._told_at = float("-inf")
        self._over = False
        self._sock = sock
        self._reader = Task(
            f"service {hub.name}: datagrams of other hubs are read", self._read, vital=False, of=self
        )

    def start(self) -> None:
        """Begin to read datagrams, and to tell the sd of the hosts that are here."""
        self.registration.start()
        self._reader.start()

    def stop(self) -> None:
        """Read nothing any more, and tell the sd that no host is here."""
        self._over = True
        self._reader.kill(block=False)
        self._sock.close()
        self.registration.stop()
        self.sd.plugin.close()

    def follow(self, hub: HubSettings) -> None:
        """After a reload: these are the settings of the hub service, with the same entrypoint."""
        self.settings, self.hubs.service = hub, hub.name

    def asked_for(self) -> int:
        """How many hosts at other hubs are remembered."""
        raise NotImplementedError

    def find(self, namespace: bytes, host: str) -> list[str] | None:
        """Ask the sd at which hubs a host is; None where it has no answer. Waits."""
        try:
            hubs = self.sd.hubs(namespace, host, self._sock.to)
        except PluginError:
            self.registration.missed()
            return None
        self.registration.resume()
        return [] if self._over else hubs

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

    def _enter(self, key: bytes, hub: str, frames: Sequence[bytes], now: float) -> None:
        """Take whole frames of a hub, in a namespace."""
        raise NotImplementedError

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

    def _drop(self, reason: Reason, hub: str, data: bytes, now: float) -> None:
        traffic = self.hubs.counts(hub)
        traffic.received_packets += 1
        traffic.received_bytes += len(data)
        traffic.drop(reason, 1, f"from {hub}", head(data, 0, len(data)), now)

    def _tell_news(self, senders: Iterable[str]) -> None:
        """Log the reasons for drops that occurred for the first time, of these hubs; now and then of all."""
        now, counted = time.monotonic(), [self.hubs.traffic]
        if now - self._told_at > MANY_SECONDS:
            self._told_at = now
            counted += [hub.traffic for hub in self.hubs.all()]
        else:
            counted += map(self.hubs.counts, senders)
        for traffic in counted:
            tell_news(self.settings.name, traffic)


def tell_news(service: str, traffic: Traffic) -> None:
    """Log the reasons for which datagrams were dropped for the first time."""
    for reason, detail in traffic.take_news() if traffic.news else ():
        hub_log.datagrams_dropped(service, reason, detail)
