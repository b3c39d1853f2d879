"""Datagrams of a hub: one UDP socket beside its listener, and one greenlet that reads it for all sessions.

Knows: whose datagrams they are, how their work is accounted, when there is a socket.
Refuses to know: keys and addresses (datagram_peer), what becomes of frames (hub_session), system calls
(datagram_socket).

A turn of a session's datagrams counts in the account of its stream (session_cost). A stream that costs more
than it is worth is read later; datagrams of such a session are dropped where its share is used up. Whatever
is nobody's has a share too: beyond it, all datagrams wait, and sessions go on by their streams.

Nobody can make a sender of datagrams wait, and in the kernel all of them wait behind each other. So what has
come is taken out of the socket at once and waits here, by session; sessions have short turns one after the
other. Where more comes than there is time for, whoever sends too much loses it, and pings of others do not.

What waits is not opened yet, so it may be forged: whoever sees a datagram knows the index of its session. So
a session has two queues. In one waits what came from the address from which the last authentic datagram has
come. The other one is short, and has a smaller part of each turn: what came from any other address waits
there, of a client that has moved as well. Only who can also forge the client's address gets into the first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lib import datagram_ciphers, datagram_socket, datagram_wire, framing, service_supervisor, stream_listen
from lib.addresses import host_port, join_host_port
from lib.datagram_channel import Channel
from lib.datagram_peer import Peer
from lib.datagram_socket import DatagramSocket, Run
from lib.datagram_table import Arrived, Place, Table
from lib.forward_drop_reasons import Reason
from lib.limits import Meter, stranger
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.namespace import Attachment
from lib.service_scheduling import SHARE, breathe
from lib.service_supervisor import Task
from lib.service_turn import Turn
from lib.session_cost import BURST_SECONDS, TURN_SECONDS, Cost
from lib.session_lane_sender import LaneSender
from lib.settings import HubSettings
from lib.settings_transport import has_datagrams, why_no_datagrams
from lib.stream_layer import AnyStream

AT_ONCE, UNPROVEN_AT_ONCE = 64, 16
"""Datagrams of a turn from the client's address, and from any other; those of one receive stay together."""
RECEIVES, RECEIVED_BYTES = 256, 1 << 20
"""Receives, and bytes, between two rounds of turns: more than a session has turns for, so that the kernel's
queue is short. A receive takes 2 us."""
WAIT_BYTES, LEAST_WAIT_BYTES = 4 << 20, 64 << 10
"""Bytes that wait for their sessions' turns: of all sessions together, in equal parts, and of one that may
always wait. A quarter of it, at most, is one session's. Of what may be anybody's the least waits."""
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

    def greet(self) -> None:
        """Send HELLO; a client that has one already takes what is new in it."""

    @property
    def stream(self) -> AnyStream:
        """The stream of its first lane."""

    @property
    def meter(self) -> Meter | None:
        """The rate limits of what comes from its client; None for none."""

    def scan_copy(self, frames: bytes, cost: Cost | None) -> int:
        """Forward frames in a turn that counts in this account; returns how many bytes were whole frames."""


class HubDatagrams:
    """The socket of one hub, and the channels of its sessions."""

    def __init__(self) -> None:
        self.table: Table[Peer] = Table()
        self.channels: set[HubChannel] = set()
        self._socket: DatagramSocket | None = None
        self._why = ""
        """Why there is no socket, in a few words for `status`."""
        self._port, self._host = 0, ""
        self._dscp = False
        self._reader: Task | None = None
        self._debt = 0.0
        self._waiting: dict[HubChannel, None] = {}
        """Channels of which datagrams wait, the next one first."""

    def open(self, settings: HubSettings, listener: Any) -> None:
        """Listen beside a listening socket, where the settings want that. A busy port is one warning."""
        self.close()
        self._dscp = settings.dscp
        self._why = why_no_datagrams(settings.channel, settings.transport)
        over(Entry.NO_DATAGRAMS, settings.name)
        if self._why:
            return
        try:
            self._socket = datagram_socket.beside(listener, settings.netns)
        except OSError as error:
            self._why = "no UDP port"
            _tell_busy(settings, listener.getsockname()[1], error)
            return
        datagram_ciphers.fastest()  # takes a tenth of a second once: no session shall pay for that
        self._host, self._port = host_port(settings.datagram) if settings.datagram else ("", 0)
        self._port = self._port or listener.getsockname()[1]
        for channel in self.channels:
            channel.reopen(self._socket, self._port, self._host)
        name = f"service {settings.name}: datagrams are read"
        self._reader = Task(name, self._read, self._socket, vital=False).start()

    def why_none(self, session: Session) -> str:
        """Why a session has no channel, in a few words for `status`; empty where it has one, and for GOST."""
        if (session.channel is not None and self._socket is not None) or not session.control.features:
            return ""
        return self._why or "the client has none"

    def apply(
        self, old: HubSettings, new: HubSettings, listener: Any, moved: bool, sessions: Iterable[Session]
    ) -> None:
        """Take the settings of a reload; `moved`: the listener is another one. `sessions` are all of them."""
        is_same = old.datagram == new.datagram and has_datagrams(old.channel, old.transport) == has_datagrams(
            new.channel, new.transport
        )
        if moved or not is_same:
            self.open(new, listener)
            for session in sessions:
                if self._socket is not None and session.channel is None and session.control.cipher:
                    session.greet()
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
        self._waiting.clear()

    def meet(self, session: Session) -> int:
        """A client has said HELLO: make a channel where both sides can. Returns our cipher; 0 for none."""
        cipher = session.control.cipher
        if self._socket is None or not datagram_ciphers.is_known(cipher):
            return 0
        if session.channel is not None:  # it has said HELLO again
            return datagram_ciphers.fastest()
        session.channel = HubChannel(self, session, cipher, self._port, self._host)
        session.channel.socket, session.channel.choice.dscp = self._socket, self._dscp
        session.sender.use_channel(session.channel)
        session.attachment.by_datagrams = session.channel.would_take
        return datagram_ciphers.fastest()

    def owe(self, seconds: float) -> None:
        """Account for the time that datagrams of nobody took, beside their look-up."""
        self._debt += seconds

    def _read(self, sock: DatagramSocket) -> None:
        """Read the socket, for as long as it is open, and let sessions have their turns."""
        while True:
            for run in sock.recv_runs(not self._waiting, RECEIVES, RECEIVED_BYTES):
                self._put(run)
                self._pay()
            began = time.monotonic()
            for channel in list(self._waiting):
                if not channel.take_turn():
                    self._waiting.pop(channel, None)  # they may all be forgotten by now
                if time.monotonic() - began > TURN_SECONDS:  # many short turns are as long as a long one
                    breathe()
                    began = time.monotonic()
            if self._waiting:
                breathe()
            self._pay()

    def _pay(self) -> None:
        """Wait for a turn of the share, once datagrams of nobody have taken long."""
        if self._debt > BURST_SECONDS:
            seconds, self._debt = self._debt, 0.0
            SHARE.charge("datagrams of nobody", seconds)

    def _put(self, run: Run) -> None:
        """Let datagrams wait for the turn of their session; the first of them tells whose they are."""
        entry = self.table.entries.get(datagram_wire.look(run.data)[0])
        if entry is None:
            self.take(run.cut())
            return
        channel = entry[0].outside
        assert isinstance(channel, HubChannel)
        self._waiting[channel] = None
        channel.put(run, max(LEAST_WAIT_BYTES, WAIT_BYTES // max(4, len(self._waiting))))

    def take(self, burst: Sequence[tuple[Place, bytes]]) -> None:
        """Let channels have their datagrams."""
        before = self.table.strangers
        for peer, arrived in self.table.sort(burst).items():
            channel = peer.outside
            assert isinstance(channel, HubChannel)
            try:
                channel.arrived(arrived)
            except Exception as error:  # noqa: BLE001  whatever it is, the other sessions go on
                service_supervisor.note(error)
        self._debt += (self.table.strangers - before) * STRANGER_SECONDS


def _tell_busy(settings: HubSettings, port: int, error: OSError) -> None:
    address, reason = join_host_port(settings.host, port), error.strerror or str(error)
    remedy = stream_listen.listen_remedy(error.errno, port, udp=True)
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


@dataclass(slots=True)
class Waiting:
    """Datagrams that wait for a turn, in their order."""

    runs: deque[Run] = field(default_factory=deque)
    size: int = 0
    """Bytes of them."""

    def put(self, run: Run, most: int) -> bool:
        """Let a run wait, if no more than `most` bytes do then; returns whether it waits."""
        if self.size + len(run.data) > most:
            return False
        self.runs.append(run)
        self.size += len(run.data)
        return True

    def take(self, count: int) -> list[tuple[Place, bytes]]:
        """Take at least `count` datagrams, or all."""
        burst: list[tuple[Place, bytes]] = []
        while self.runs and len(burst) < count:
            run = self.runs.popleft()
            self.size -= len(run.data)
            burst += run.cut()
        return burst

    def clear(self) -> None:
        """Let nothing wait any more."""
        self.runs.clear()
        self.size = 0


class HubChannel(Channel):
    """The channel of one session of a hub."""

    __slots__ = ("_hub", "_session", "_spare_at", "_turn", "_unproven", "_waiting")

    def __init__(self, hub: HubDatagrams, session: Session, cipher: int, port: int, host: str) -> None:
        attachment = session.attachment
        super().__init__(
            session.control, session.sender, cipher, hub.table, True, attachment.mtu, port=port, host=host
        )
        self._hub, self._session, self._spare_at, self._turn = hub, session, 0.0, Turn()
        self._waiting, self._unproven = Waiting(), Waiting()
        """What has come from the client's address, and from any other one."""
        hub.channels.add(self)

    def shut(self) -> None:
        """There is no socket any more."""
        self.socket = None
        self._forget()
        self.peer.refuse()

    def reopen(self, sock: DatagramSocket, port: int, host: str) -> None:
        """There is a socket again: tell the client where."""
        self.socket = sock
        self.peer.port, self.peer.host = port, host
        self.peer.give(time.monotonic())

    def stop(self) -> None:
        """The session has ended."""
        super().stop()
        self._forget()
        self._hub.channels.discard(self)

    def _forget(self) -> None:
        self._waiting.clear()
        self._unproven.clear()

    def put(self, run: Run, most: int) -> None:
        """Let datagrams wait for a turn, if there are less than `most` bytes then; else they are dropped."""
        if run.address != self.peer.place:
            if not self._unproven.put(run, LEAST_WAIT_BYTES):
                self._hub.table.strangers += len(run)
        elif not self._waiting.put(run, most):
            self._session.attachment.drop(Reason.DATAGRAM_QUEUE, len(run))

    def take_turn(self) -> bool:
        """Handle some of what waits; returns whether there is more."""
        # What has come from a new address first: the client has moved there, and has gone on from there.
        self._hub.take(self._unproven.take(UNPROVEN_AT_ONCE) + self._waiting.take(AT_ONCE))
        return bool(self._waiting.runs or self._unproven.runs)

    def arrived(self, arrived: Sequence[Arrived]) -> None:
        """Open datagrams of this session, and forward what is in them."""
        session, cost = self._session, self._session.stream.cost
        attachment, meter, now = session.attachment, session.meter, time.monotonic()
        if meter is not None and meter.wait(now) > 0:
            attachment.drop(Reason.DATAGRAM_LIMITED, len(arrived))
            return
        if cost is None or (cost.expensive and not self._turn.try_enter(stranger(attachment.peer))):
            attachment.drop(Reason.DATAGRAM_SHARE, len(arrived))
            return
        size = sum(len(datagram) for _, _, _, datagram in arrived)
        packets = attachment.traffic.received_packets
        self._turn.begin(cost)
        cost.begin(size)
        frames, forged = self._open(arrived, cost, now)
        self.received += len(arrived) - forged
        size -= size * forged // len(arrived)
        if frames:
            self.follow()
        elif now >= self._spare_at and forged < len(arrived):
            # PROBE and ACK of an honest client forward nothing, and are no junk
            self._spare_at = now + SPARE_SECONDS
            cost.forward(1, size, 0)
        rest = frames[session.scan_copy(frames, cost) :] if frames else b""
        self._turn.end(cost)
        while framing.is_whole(rest) and self.socket is not None:  # it was more than a turn has time for
            if (
                cost.expensive
            ):  # nor does it wait here for its share: datagrams of others would wait behind it
                attachment.drop(Reason.DATAGRAM_SHARE)
                break
            breathe()
            self._turn.begin(cost)
            cost.begin(0)
            rest = rest[session.scan_copy(rest, cost) :]
            self._turn.end(cost)
        if meter is not None:
            meter.take_bytes(size, now)
            if meter.counts_packets:
                meter.take_packets(attachment.traffic.received_packets - packets, now)

    def _open(self, arrived: Sequence[Arrived], cost: Cost, now: float) -> tuple[bytes, int]:
        """(frames, how many were not authentic). What those took is not this session's affair.

        Anybody who has seen its index can send such ones.
        """
        table, before = self._hub.table, self._hub.table.strangers
        frames = b"".join(self.peer.open(arrived, now))
        if forged := table.strangers - before:
            seconds = (time.monotonic() - now) * forged / len(arrived)
            cost.spare(seconds + STRANGER_SECONDS * forged)
            self._hub.owe(seconds)
        return frames, forged
