"""The other hubs of an entrypoint: their addresses, what is counted of each, and how frames are sent there.

Knows: how frames become datagrams, which hubs have counters of their own.
Refuses to know: who says which hubs there are (cluster_sd), what comes from them (cluster_entrypoint_port).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib import datagram_open, framing
from lib.addresses import host_port, join_host_port
from lib.bounded_dict import BoundedDict
from lib.counters import Traffic
from lib.datagram_socket import Address, DatagramSocket
from lib.errors import HostError
from lib.forward_drop_reasons import Reason
from lib.packet import Buffer
from lib.settings_cluster import EntrypointSettings
from lib.stream_listen import listen_remedy

MAX_FAR_HUBS = 1024
"""Hubs with counters of their own; past that those of the oldest are added up."""


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


class FarHubs:
    """The hubs that an sd has named, by address:port."""

    def __init__(self, service: str, entry: EntrypointSettings, sock: DatagramSocket) -> None:
        """`service` is the name of the hub service; `sock` the socket of its entrypoint."""
        self.service, self.entry, self.sock = service, entry, sock
        self.traffic = Traffic()
        """Datagrams of nobody, and of hubs that were forgotten."""
        self._hubs: BoundedDict[str, FarHub] = BoundedDict(MAX_FAR_HUBS)

    def __contains__(self, address: str) -> bool:
        return address in self._hubs

    def all(self) -> list[FarHub]:
        """All of them."""
        return list(self._hubs.values())

    def named(self, address: str) -> FarHub:
        """The hub at an address that the sd has named."""
        hub = self._hubs.get(address)
        if hub is None:
            if len(self._hubs) >= MAX_FAR_HUBS:
                self.traffic.add(self._hubs.popitem(last=False)[1].traffic)
            hub = FarHub(address, self.sock.to(*host_port(address)))
            self._hubs.remember(address, hub)
        return hub

    def counts(self, address: str) -> Traffic:
        """What counts datagrams from an address: its hub, or nobody."""
        hub = self._hubs.get(address)
        return hub.traffic if hub is not None else self.traffic


def opened(settings: EntrypointSettings) -> DatagramSocket:
    """The socket of an entrypoint. Raises HostError."""
    try:
        return datagram_open.bound(settings.host, settings.port, settings.netns)
    except OSError as error:
        remedy = listen_remedy(error.errno, settings.port, udp=True)
        where = join_host_port(settings.host, settings.port)
        what = f"cannot listen on UDP {where} (entrypoint): {error.strerror or error}"
        raise HostError(f"{what}; {remedy}" if remedy else what) from error
