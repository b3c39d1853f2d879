"""Datagrams of the links between hubs: one UDP socket beside the port for links, and the channel of a link.

Knows: which links have a channel, where the far hub takes datagrams, what of a link's frames may go by it.
Refuses to know: how the socket is read (datagram_port), keys and addresses (datagram_peer), what becomes of
envelopes (cluster_link, cluster_receive).

Of both ends the one that has dialled knows where the other one is. So that one is the channel's client: it
sends PROBE first, and the other one follows its address. Both send from the port that they listen on.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

import gevent

from lib import (
    cluster_envelopes,
    cluster_frames,
    datagram_ciphers,
    datagram_port,
    datagram_wire,
    stream_resolve,
)
from lib.addresses import host_port
from lib.counters import Traffic
from lib.datagram_mtu import IPV6_HEADERS
from lib.datagram_port import Port
from lib.datagram_socket import Address, DatagramSocket, Run
from lib.datagram_table import Arrived
from lib.datagram_turns import PortChannel
from lib.forward_drop_reasons import Reason
from lib.packet import Buffer
from lib.service_turn import Turn
from lib.session_control import SessionControl
from lib.session_cost import Cost
from lib.session_lane_sender import LaneSender
from lib.settings_transport import STREAM
from lib.stream_layer import AnyStream
from lib.wire_control import Datagrams

RESOLVE_SECONDS = 10.0
"""How long the name of the far hub's address for datagrams is looked up."""
AGAIN_SECONDS = 1.0
"""Least time between two of these for one link: the far hub may name ever new ones."""
PATH_MTU = 9000
"""The largest packet that is tried on the way to another hub: what jumbo frames hold, with all headers."""


class Link(Protocol):
    """What is used of a link (cluster_link)."""

    name: str
    stream: AnyStream
    is_dialled: bool
    sender: LaneSender
    control: SessionControl
    traffic: Traffic
    drops: Traffic

    @property
    def has_rest(self) -> bool:
        """Whether frames are left that took too long."""

    def scan_copy(self, envelopes: bytes, cost: Cost, /) -> int:
        """Take whole envelopes for a turn's time, or some of the rest; returns how many bytes were taken."""


class LinkDatagrams(Port):
    """The socket of one hub for its links, and their channels."""

    def __init__(self, name: str, channel: str, where: str) -> None:
        """`name` is this hub's. `channel` and `where` are ClusterSettings' channel and datagram."""
        super().__init__()
        self._service = f"cluster {name}"
        self._wanted = channel != STREAM
        self.why = "" if self._wanted else f"channel: {STREAM}"
        """Why there is no socket, in a few words for `status`."""
        self._number, self._host = 0, ""
        if where:
            self._host, self._number = host_port(where)

    def open(self, listener: Any, address: str) -> None:
        """Listen beside the socket for links, which is at `address`. A busy port is one warning."""
        datagram_port.found_free(self._service)
        if not self._wanted:
            return
        who = f"links of {self._service}"
        try:
            self.listen(listener, who)
        except OSError as error:
            self.why = "no UDP port"
            datagram_port.tell_busy(self._service, who, "links", address, error)
            return
        datagram_ciphers.fastest()  # takes a tenth of a second once: no link shall pay for that
        self._number = self._number or listener.getsockname()[1]

    @property
    def cipher(self) -> int:
        """Our cipher, which HELLO says; 0 where there is no socket."""
        return datagram_ciphers.fastest() if self.socket is not None else 0

    def meet(self, link: Link) -> LinkChannel | None:
        """The far hub has said HELLO: make a channel where both can have one."""
        cipher = link.control.cipher
        if self.socket is None or not datagram_ciphers.is_known(cipher):
            return None
        channel = LinkChannel(self, link, cipher, self._number, self._host)
        if link.is_dialled:
            channel.peer.give(time.monotonic())
        else:
            link.sender.use_channel(channel)
        return channel


class LinkChannel(PortChannel):
    """The channel of one link."""

    __slots__ = ("_finder", "_finisher", "_link", "_where")

    def __init__(self, port: LinkDatagrams, link: Link, cipher: int, number: int, host: str) -> None:
        is_hub, mtu = not link.is_dialled, PATH_MTU - 2 - datagram_wire.OVERHEAD - IPV6_HEADERS
        super().__init__(port, link.control, link.sender, cipher, is_hub, mtu, number, host)
        self._link, self._where = link, (0, "")
        self._finder: gevent.Greenlet | None = None
        """Looks up where the far hub takes datagrams."""
        self._finisher: gevent.Greenlet | None = None
        """Takes what is left of a turn for which there was no share."""

    # --- where the far hub is

    def given(self, message: Datagrams) -> None:
        """The far hub has given a key, or takes no datagrams any more."""
        where = message.port, message.host
        is_new = self._link.is_dialled and message.key and message.port and where != self._where
        if is_new:
            self._where = where
        self.peer.given(message, time.monotonic())
        if is_new and self._finder is None:
            self._finder = gevent.spawn(self._find)

    def _find(self) -> None:
        """Find where the far hub takes datagrams; again where it has named another place meanwhile."""
        found = self._where
        try:
            self._begin(*found)
            while found != self._where:
                gevent.sleep(AGAIN_SECONDS)
                found = self._where
                self._begin(*found)
        finally:
            self._finder = None

    def _begin(self, port: int, host: str) -> None:
        """Begin with an address that the far hub has named."""
        socket, stream = self.socket, self._link.stream
        if socket is None:
            return
        try:
            found = stream_resolve.look_up(host or stream.far_address, port, RESOLVE_SECONDS)
            place = _reached(socket, [str(target[0]) for *_, target in found], port)
        except (OSError, ValueError) as error:
            self.broken = str(getattr(error, "strerror", "") or error)
            return
        self.broken = ""
        self.peer.place = place
        self._link.sender.use_channel(self)
        self.peer.begin(time.monotonic())

    # --- what is sent

    def apart(self, namespace: bytes, buffers: Sequence[Buffer]) -> tuple[list[Buffer], list[Buffer], int]:
        """Envelopes for a run: (those that never go by datagrams, those that may, how many packets)."""
        return cluster_envelopes.enclose_apart(namespace, buffers, self.choice.is_for_first)

    def would_take_of(self, namespace: bytes, frame: Buffer) -> bool:
        """Whether a frame would go by datagrams now, for those who look on."""
        return self.would_take(cluster_frames.head(namespace, 0, len(frame)) + frame)

    # --- whose it is (datagram_port)

    @property
    def cost(self) -> Cost | None:
        """The account of the link."""
        return self._link.stream.cost

    @property
    def share(self) -> Hashable:
        """The far hub."""
        return "hub", self._link.name

    @property
    def packets(self) -> int:
        """How many packets have come by the link."""
        return self._link.traffic.received_packets

    @property
    def has_rest(self) -> bool:
        """Whether frames of hosts are left that took too long."""
        return self._link.has_rest

    def drop(self, reason: Reason, count: int = 1) -> None:
        """Count drops of the far hub."""
        self._link.drops.drop(reason, count)

    def put(self, run: Run, most: int) -> None:
        """As PortChannel.put. Where we have dialled, by which of our addresses it came is of no interest."""
        if self._link.is_dialled:
            run = Run(Address(run.address.far), run.data, run.size)
        super().put(run, most)

    def handle(self, arrived: Sequence[Arrived], cost: Cost, turn: Turn) -> int:
        """As PortChannel.handle; put() has not seen all of them."""
        if self._link.is_dialled and any(cast(Address, place).near for _, _, place, _ in arrived):
            arrived = [(key, at, Address(cast(Address, place).far), data) for key, at, place, data in arrived]
        return super().handle(arrived, cost, turn)

    def scan(self, frames: bytes, cost: Cost) -> int:
        """Take envelopes for a turn's time; returns how many bytes of whole ones were."""
        return self._link.scan_copy(frames, cost)

    def leave_rest(self) -> None:
        """Take what is left in turns of the share, for which the reader of all channels cannot wait."""
        if self._finisher is None:
            self._finisher = gevent.spawn(self._finish)

    def _finish(self) -> None:
        turn, link = Turn(), self._link
        try:
            while link.has_rest and (cost := self.cost) is not None:
                turn.enter(self.share)
                turn.begin(cost)
                cost.begin(0)
                try:
                    if link.has_rest:
                        link.scan_copy(b"", cost)
                finally:
                    turn.end(cost)
        finally:
            self._finisher = None

    def stop(self) -> None:
        """The link has ended."""
        super().stop()
        for helper in (self._finder, self._finisher):
            if helper is not None:
                helper.kill(block=False)


def _reached(sock: DatagramSocket, addresses: Sequence[str], port: int) -> Address:
    """The first of some IP addresses that a socket can send to. Raises OSError."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return sock.to(address, port)
    return sock.to(addresses[-1], port)
