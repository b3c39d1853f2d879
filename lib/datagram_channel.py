"""Datagram channel of a session in one process: a peer with its socket, its limits and counters.

Knows: what goes by it of what is sent, and what is counted of it.
Refuses to know: the state of the channel (datagram_peer), who reads the socket (hub_datagram,
client_datagram), what becomes of the frames that come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import gevent

from lib import datagram_choice, datagram_ciphers, datagram_wire, framing, packet_offload
from lib.counters import Traffic
from lib.datagram_choice import Choice
from lib.datagram_keys import Cipher
from lib.datagram_mtu import IPV4_HEADERS, IPV6_HEADERS, MOST, PathMtu
from lib.datagram_peer import PROBE_SECONDS, Peer
from lib.datagram_quality import OfStream, StreamLoss
from lib.datagram_socket import Address, DatagramSocket
from lib.datagram_table import Place, Table
from lib.forward_drop_reasons import Reason
from lib.limits import Meter
from lib.packet import Buffer
from lib.session_keepalive import Liveness
from lib.session_sender import SessionSender
from lib.wire_control import Datagrams


class Figures(NamedTuple):
    """What is known of a channel: of what goes from here to the far end, where nothing else is said."""

    state: str
    """good, rest, bad or tried (Peer.state)."""
    why: str
    """Why it is bad."""
    far: str
    """The far end's address and port; empty while none is known."""
    rtt: float
    jitter: float
    """Seconds; 0 while nothing has been measured."""
    loss: float
    """The share of datagrams that was lost on the way lately, 0 to 1."""
    mtu: int
    """Bytes of the longest IP packet that is known to pass; 0 while none is."""
    sent: int
    received: int
    """Datagrams."""


class Teller(Protocol):
    """What is used of the session's control frames (session_control)."""

    liveness: Liveness

    def give_key(self, given: Datagrams) -> None:
        """Send a DATAGRAMS by the stream."""


class Sender(Protocol):
    """What is used of the session's sender (session_lane_sender)."""

    traffic: Traffic

    @property
    def lanes(self) -> Sequence[SessionSender]:
        """The lanes that live."""

    def waits(self, now: float) -> float:
        """Seconds that the oldest frames in the queues have waited."""

    @property
    def send(self) -> Callable[[Sequence[Buffer]], None]:
        """Sends frames: those that take() gives back by the stream."""

    @property
    def meter(self) -> Meter | None:
        """The rate limits of what is sent; None for none."""


class Channel:
    """The channel of one session."""

    __slots__ = (
        *("_cipher", "_control", "_follower", "_releaser", "_sender", "_stream_loss", "_was_up"),
        *("broken", "choice", "peer", "received", "sent", "socket"),
    )

    def __init__(
        self,
        control: Teller,
        sender: Sender,
        cipher: int,
        table: Table[Peer],
        is_hub: bool,
        mtu: int,
        port: int = 0,
        host: str = "",
    ) -> None:
        """`cipher` is the far end's, `mtu` the largest packet that may have to fit, `port` and `host` are
        where a hub takes datagrams."""
        self._control, self._sender, self._cipher = control, sender, cipher
        self.socket: DatagramSocket | None = None
        """None while there is none, or none any more: then everything goes by the stream."""
        most = max(MOST, mtu + 2 + datagram_wire.OVERHEAD + IPV6_HEADERS)
        most = min(most, datagram_wire.MAX_DATAGRAM + IPV4_HEADERS)
        self.peer = Peer(self, table, is_hub, port, host, PathMtu(IPV4_HEADERS, most))
        self.choice = Choice()
        self._stream_loss = StreamLoss()
        self.broken = ""
        """Why this host has no socket for it, in words, where it could not have one."""
        self._was_up = False
        self._follower: gevent.Greenlet | None = None
        """Sends PROBE while packets go; an idle session has none."""
        self._releaser: gevent.Greenlet | None = None
        """Sends what is held back, in time."""
        self.sent = self.received = 0
        """Datagrams."""

    # --- what the peer needs of the world

    def draw(self, size: int) -> bytes:
        """So many random bytes."""
        return os.urandom(size)

    def seal_with(self, key: bytes) -> Cipher:
        """Our own cipher with a key."""
        return datagram_ciphers.make(datagram_ciphers.fastest(), key)

    def open_with(self, key: bytes) -> Cipher:
        """The far end's cipher with a key."""
        return datagram_ciphers.make(self._cipher, key)

    def tell(self, given: Datagrams) -> None:
        """Send a DATAGRAMS by the stream."""
        self._control.give_key(given)

    def headers(self, place: Place) -> int:
        """Bytes of IP and UDP headers of what is sent to an address; IPv4 may be written as IPv6."""
        host = str(cast(Address, place).far[0])
        return IPV6_HEADERS if ":" in host and "." not in host else IPV4_HEADERS

    def stream(self) -> OfStream:
        """What is known of the stream, with which the channel is compared."""
        now, seen = time.monotonic(), self._stream_loss
        if seen.is_due(now):
            every = [lane.stream.figures() for lane in self._sender.lanes]
            seen.seen(sum(one.segments for one in every), sum(one.resent for one in every), now)
        return OfStream(self._control.liveness.rtt, seen.loss)

    def send(self, place: Place, datagrams: Sequence[bytes]) -> tuple[int, int]:
        """Send them; returns (how many have gone, size of one too long for this host's device or 0).

        Those that a full send buffer has no room for have gone too: they are dropped, and counted.
        """
        if self.socket is None:
            return 0, 0
        sent = self.socket.send_burst(cast(Address, place), datagrams)
        self.sent += sent.taken
        meter = self._sender.meter
        if meter is not None:
            meter.take_bytes(sum(map(len, datagrams)), time.monotonic())
        gone = len(datagrams) if sent.is_full else sent.taken
        if gone and sent.taken < len(datagrams) and not sent.too_long:
            self._sender.traffic.drop(Reason.DATAGRAM_UNSENT, len(datagrams) - sent.taken)
        return gone, sent.too_long

    # --- what the session's sender asks

    def take(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Send what goes by datagrams; returns the frames for the stream, in their order."""
        choice, peer, meter, now = self.choice, self.peer, self._sender.meter, time.monotonic()
        if self.socket is None or not peer.is_up(now):
            self._was_up = False
            if self.socket is not None and choice.is_for(buffers):
                peer.wake(now)
                self.follow()
            return [*choice.give_up(), *buffers] if choice.holds_until else buffers
        if not self._was_up:
            self._was_up = True
            choice.begin(now)
        room = peer.size - datagram_wire.OVERHEAD
        chosen, rest = choice.apart(buffers, now, room, 0.0 if choice.is_settled(now) else self._lag(now))
        if self._releaser is None and choice.holds_until:
            self._releaser = gevent.spawn(self._release)
        if not chosen:
            return rest
        if meter is not None and meter.wait(now) > 0:  # the stream's queue delays it, and is fair
            return [*chosen, *rest]
        frames = chosen[0] if len(chosen) == 1 else b"".join(chosen)
        unfit = peer.send(frames, now)
        if self._follower is None:
            self.follow()
        if unfit and peer.is_up(now):
            unfit = self._cut(unfit, now)
        if meter is not None and meter.counts_packets:
            meter.take_packets(packet_offload.count_packets(frames), now)
        return [*rest, *unfit]

    def would_take(self, frame: Buffer) -> bool:
        """Whether a frame would go by datagrams now, for those who look on."""
        now = time.monotonic()
        if self.socket is None or not self.peer.is_up(now):
            return False
        room = self.peer.size - datagram_wire.OVERHEAD
        return self.choice.foretell(frame, now, room, self._lag(now))

    def _lag(self, now: float) -> float:
        """Seconds by which a packet may arrive later if it goes by the stream."""
        return self._sender.waits(now) + max(0.0, self._control.liveness.rtt - self.peer.quality.rtt) / 2

    def _cut(self, unfit: Sequence[Buffer], now: float) -> list[Buffer]:
        """Send superpackets and envelopes in parts; returns what does not fit even so."""
        rest: list[Buffer] = []
        parts: list[bytes] = []
        for run in unfit:
            at = 0
            for end in framing.split(run):
                frame, at = memoryview(run)[at:end], end
                cut = list(datagram_choice.cut(frame, self.peer.size - datagram_wire.OVERHEAD))
                parts += cut
                if not cut:
                    rest.append(frame)
        return [*rest, *(self.peer.send(b"".join(parts), now) if parts else ())]

    def follow(self) -> None:
        """Look after the channel for as long as packets go by it."""
        if self._follower is None:
            self._follower = gevent.spawn(self._follow)

    def _follow(self) -> None:
        try:
            while self.peer.tick(time.monotonic()):
                gevent.sleep(PROBE_SECONDS)
        finally:
            self._follower = None

    def _release(self) -> None:
        """Send what is held back, each flow at its time."""
        try:
            while until := self.choice.holds_until:
                gevent.sleep(max(0.0, until - time.monotonic()))
                self._sender.send(())
        finally:
            self._releaser = None

    def figures(self, now: float) -> Figures:
        """What is known of it."""
        peer = self.peer
        state, quality, path = peer.state(now), peer.quality, peer.mtu
        far = str(peer.place) if peer.place is not None else ""
        measured = quality.rtt, quality.jitter, quality.loss
        if self.broken:
            state = "bad"
        return Figures(
            state, self.broken or peer.trust.why, far, *measured, path.mtu, self.sent, self.received
        )

    def stop(self) -> None:
        """The session has ended."""
        for helper in (self._follower, self._releaser):
            if helper is not None:
                helper.kill(block=False)
        if held := b"".join(self.choice.give_up()):
            self._sender.traffic.drop(Reason.SESSION_GONE, packet_offload.count_packets(held))
        self.peer.stop()
        self.socket = None
