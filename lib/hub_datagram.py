"""Datagrams of a hub: one UDP socket beside its listener, and one greenlet that reads it for all sessions.

Knows: whose datagrams they are, how their work is accounted, when there is a socket.
Refuses to know: keys and addresses (datagram_peer), what becomes of frames (hub_session), system calls
(datagram_socket).

A turn of a session's datagrams counts in the account of its stream (session_cost). A stream that costs more
than it is worth is read later; datagrams of such a session are dropped where its share is used up. Whatever
is nobody's has a share too: beyond it, all datagrams wait, and sessions go on by their streams.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import gevent

from lib import datagram_ciphers, datagram_socket, framing, stream_listen, wire_control
from lib.addresses import host_port, join_host_port
from lib.datagram_channel import Channel
from lib.datagram_peer import Peer
from lib.datagram_socket import DatagramSocket
from lib.datagram_table import Arrived, Place, Table
from lib.forward_drop_reasons import Reason
from lib.limits import Meter, stranger
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Attachment
from lib.service_scheduling import SHARE, breathe
from lib.session_cost import BURST_SECONDS, TURN_SECONDS
from lib.session_lane_sender import LaneSender
from lib.settings import HubSettings
from lib.settings_transport import has_datagrams
from lib.stream_layer import AnyStream

AT_ONCE = 64
"""Datagrams between two looks at the clock."""
SPARE_SECONDS = 0.02
"""How often a turn of messages alone is worth as much as one of packets: ten of them come in a second."""
STRANGER_SECONDS = 5e-6
"""What a datagram that is nobody's costs: to receive it, and to look it up."""


class Session(Protocol):
    """What is used of a session (hub_session)."""

    attachment: Attachment
    sender: LaneSender
    control: Any
    channel: HubChannel | None

    @property
    def stream(self) -> AnyStream:
        """The stream of its first lane."""

    @property
    def meter(self) -> Meter | None:
        """The rate limits of what comes from its client; None for none."""

    def scan_copy(self, frames: bytes) -> int:
        """Forward frames; returns how many bytes were whole frames."""


class HubDatagrams:
    """The socket of one hub, and the channels of its sessions."""

    def __init__(self) -> None:
        self.table: Table[Peer] = Table()
        self.channels: set[HubChannel] = set()
        self._socket: DatagramSocket | None = None
        self._port, self._host = 0, ""
        self._dscp = False
        self._reader: gevent.Greenlet | None = None
        self._debt = 0.0

    def open(self, settings: HubSettings, listener: Any) -> None:
        """Listen beside a listening socket, where the settings want that. A busy port is one warning."""
        self.close()
        self._dscp = settings.dscp
        if not has_datagrams(settings.channel, settings.transport):
            return
        try:
            self._socket = datagram_socket.beside(listener, settings.netns)
        except OSError as error:
            _tell_busy(settings, listener.getsockname()[1], error)
            return
        datagram_ciphers.fastest()  # takes a tenth of a second once: no session shall pay for that
        self._host, self._port = host_port(settings.datagram) if settings.datagram else ("", 0)
        self._port = self._port or listener.getsockname()[1]
        for channel in self.channels:
            channel.reopen(self._socket, self._port, self._host)
        self._reader = gevent.spawn(self._read, self._socket)

    def apply(self, old: HubSettings, new: HubSettings, listener: Any, moved: bool) -> None:
        """Take the settings of a reload; `moved`: the listener is another one."""
        is_same = old.datagram == new.datagram and has_datagrams(old.channel, old.transport) == has_datagrams(
            new.channel, new.transport
        )
        if moved or not is_same:
            self.open(new, listener)
        self._dscp = new.dscp
        for channel in self.channels:
            channel.choice.dscp = new.dscp

    def close(self) -> None:
        """Take no datagrams any more. Sessions go on by their streams, and their clients are told."""
        if self._reader is not None:
            self._reader.kill(block=False)
        if self._socket is not None:
            self._socket.close()
            for channel in self.channels:
                channel.shut()
        self._socket = self._reader = None

    def meet(self, session: Session, hello: wire_control.Hello) -> int:
        """A client has said HELLO: make a channel where both sides can. Returns our cipher; 0 for none."""
        can = hello.features & wire_control.Feature.DATAGRAMS and datagram_ciphers.is_known(hello.cipher)
        if self._socket is None or not can:
            return 0
        if session.channel is not None:  # it has said HELLO again
            return datagram_ciphers.fastest()
        session.channel = HubChannel(self, session, hello.cipher, self._port, self._host)
        session.channel.socket, session.channel.choice.dscp = self._socket, self._dscp
        session.sender.use_channel(session.channel)
        session.attachment.by_datagrams = session.channel.would_take
        return datagram_ciphers.fastest()

    def _read(self, sock: DatagramSocket) -> None:
        """Read the socket, for as long as it is open."""
        while True:
            burst = sock.recv_burst()
            for at in range(0, len(burst), AT_ONCE):
                began = time.monotonic()
                self._take(burst[at : at + AT_ONCE])
                if time.monotonic() - began > TURN_SECONDS:
                    breathe()
            if self._debt > BURST_SECONDS:
                seconds, self._debt = self._debt, 0.0
                SHARE.charge("datagrams of nobody", seconds)

    def _take(self, burst: Sequence[tuple[Place, bytes]]) -> None:
        before = self.table.strangers
        for peer, arrived in self.table.sort(burst).items():
            channel = peer.outside
            assert isinstance(channel, HubChannel)
            channel.arrived(arrived)
        self._debt += (self.table.strangers - before) * STRANGER_SECONDS


def _tell_busy(settings: HubSettings, port: int, error: OSError) -> None:
    address, reason = join_host_port(settings.host, port), error.strerror or str(error)
    remedy = stream_listen.listen_remedy(error.errno, port).replace("ss -ltnp", "ss -lunp")
    say(
        Entry.NO_DATAGRAMS,
        "service %s: cannot listen on UDP %s: %s; %ssessions have only their streams",
        *(settings.name, address, reason, f"{remedy}; " if remedy else ""),
        fold=settings.name,
        habit=OUTAGE,
        service=settings.name,
        address=address,
        reason=reason,
    )


class HubChannel(Channel):
    """The channel of one session of a hub."""

    __slots__ = ("_hub", "_session", "_spare_at")

    def __init__(self, hub: HubDatagrams, session: Session, cipher: int, port: int, host: str) -> None:
        attachment = session.attachment
        super().__init__(
            session.control, session.sender, cipher, hub.table, True, attachment.mtu, port=port, host=host
        )
        self._hub, self._session, self._spare_at = hub, session, 0.0
        hub.channels.add(self)

    def shut(self) -> None:
        """There is no socket any more."""
        self.socket = None
        self.peer.refuse()

    def reopen(self, sock: DatagramSocket, port: int, host: str) -> None:
        """There is a socket again: tell the client where."""
        self.socket = sock
        self.peer.port, self.peer.host = port, host
        self.peer.give(time.monotonic())

    def stop(self) -> None:
        """The session has ended."""
        super().stop()
        self._hub.channels.discard(self)

    def arrived(self, arrived: Sequence[Arrived]) -> None:
        """Open datagrams of this session, and forward what is in them."""
        session, cost = self._session, self._session.stream.cost
        attachment, meter, now = session.attachment, session.meter, time.monotonic()
        if meter is not None and meter.wait(now) > 0:
            attachment.drop(Reason.DATAGRAM_LIMITED, len(arrived))
            return
        if cost is None or (cost.expensive and not SHARE.try_enter(stranger(attachment.peer))):
            attachment.drop(Reason.DATAGRAM_SHARE, len(arrived))
            return
        size = sum(len(datagram) for _, _, _, datagram in arrived)
        self.received += len(arrived)
        packets = attachment.traffic.received_packets
        expensive, clock = cost.expensive, time.thread_time if cost.exact else time.monotonic
        began = clock()
        cost.begin(size)
        frames = b"".join(self.peer.open(arrived, now))
        if frames:
            self.follow()
        elif now >= self._spare_at:  # PROBE and ACK of an honest client forward nothing, and are no junk
            self._spare_at = now + SPARE_SECONDS
            cost.forward(1, size, 0)
        rest = frames[session.scan_copy(frames) :] if frames else b""
        seconds = clock() - began
        cost.end(seconds, now)
        if expensive:
            SHARE.leave(seconds)
        while framing.is_whole(rest) and self.socket is not None:  # it was more than a turn has time for
            breathe()
            cost.begin(0)
            began = time.thread_time()
            rest = rest[session.scan_copy(rest) :]
            cost.end(time.thread_time() - began, time.monotonic())
        if meter is not None:
            meter.take_bytes(size, now)
            if meter.counts_packets:
                meter.take_packets(attachment.traffic.received_packets - packets, now)
