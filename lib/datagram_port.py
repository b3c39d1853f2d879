"""UDP socket of datagram channels beside a listener, and one greenlet that reads it for all of them.

Knows: whose datagrams they are, how their work is accounted, what waits for its turn.
Refuses to know: when there is a socket (hub_datagram, cluster_datagram), keys and addresses (datagram_peer),
what becomes of frames, system calls (datagram_socket).

A turn of a channel's datagrams counts in the account of its stream (session_cost). A stream that costs more
than it is worth is read later; datagrams beside it are dropped where its share is used up. Whatever
is nobody's has a share too: beyond it, all datagrams wait, and whoever has a channel goes on by its stream.

Nobody can make a sender of datagrams wait, and in the kernel all of them wait behind each other. So what has
come is taken out of the socket at once and waits here, by channel; channels have short turns one after the
other. Where more comes than there is time for, whoever sends too much loses it, and pings of others do not.

What waits is not opened yet, so it may be forged: whoever sees a datagram knows the index of its channel. So
a channel has two queues. In one waits what came from the address from which the last authentic datagram has
come. The other one is short, and has a smaller part of each turn: what came from any other address waits
there, of a far end that has moved as well. Only who can also forge its address gets into the first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib import datagram_socket, datagram_wire, framing, service_supervisor, stream_listen
from lib.addresses import host_port
from lib.datagram_channel import Channel, Sender, Teller
from lib.datagram_peer import Peer
from lib.datagram_socket import DatagramSocket, Run
from lib.datagram_table import Arrived, Place, Table
from lib.forward_drop_reasons import Reason
from lib.limits import Meter
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.service_scheduling import SHARE, breathe
from lib.service_supervisor import Task
from lib.service_turn import Turn
from lib.session_cost import BURST_SECONDS, TURN_SECONDS, Cost

AT_ONCE, UNPROVEN_AT_ONCE = 64, 16
"""Datagrams of a turn from the client's address, and from any other; those of one receive stay together."""
RECEIVES, RECEIVED_BYTES = 256, 1 << 20
"""Receives, and bytes, between two rounds of turns: more than a channel has turns for, so that the kernel's
queue is short. A receive takes 2 us."""
WAIT_BYTES, LEAST_WAIT_BYTES = 4 << 20, 64 << 10
"""Bytes that wait for their channels' turns: of all channels together, in equal parts, and of one that may
always wait. A quarter of it, at most, is one channel's. Of what may be anybody's the least waits."""
SPARE_SECONDS = 0.02
"""How often a turn of messages alone is worth as much as one of packets: ten of them come in a second."""
STRANGER_SECONDS = 5e-6
"""What a datagram that is nobody's costs: to receive it, and to look it up."""


class Port:
    """One socket, and the channels whose datagrams come there."""

    def __init__(self) -> None:
        self.table: Table[Peer] = Table()
        self.channels: set[PortChannel] = set()
        self.socket: DatagramSocket | None = None
        self._reader: Task | None = None
        self._debt = 0.0
        self._waiting: dict[PortChannel, None] = {}
        """Channels of which datagrams wait, the next one first."""

    def listen(self, listener: Any, name: str, netns: str = "") -> None:
        """Listen beside a listening socket; `name` is what the reader is called. Raises OSError."""
        self.socket = datagram_socket.beside(listener, netns)
        self._reader = Task(f"{name}: datagrams are read", self._read, self.socket, vital=False)

    def start(self) -> None:
        """Begin to read."""
        if self._reader is not None:
            self._reader.start()

    def close(self) -> None:
        """Take no datagrams any more. All go on by their streams, and the far ends are told."""
        if self._reader is not None:
            self._reader.kill(block=False)
        if self.socket is not None:
            self.socket.close()
            for channel in self.channels:
                channel.shut()
        self.socket = self._reader = None
        self._waiting.clear()

    def owe(self, seconds: float) -> None:
        """Account for the time that datagrams of nobody took, beside their look-up."""
        self._debt += seconds

    def _read(self, sock: DatagramSocket) -> None:
        """Read the socket, for as long as it is open, and let channels have their turns."""
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
        """Let datagrams wait for the turn of their channel; the first of them tells whose they are."""
        entry = self.table.entries.get(datagram_wire.look(run.data)[0])
        if entry is None:
            self.take(run.cut())
            return
        channel = entry[0].outside
        assert isinstance(channel, PortChannel)
        self._waiting[channel] = None
        channel.put(run, max(LEAST_WAIT_BYTES, WAIT_BYTES // max(4, len(self._waiting))))

    def take(self, burst: Sequence[tuple[Place, bytes]]) -> None:
        """Let channels have their datagrams."""
        before = self.table.strangers
        for peer, arrived in self.table.sort(burst).items():
            channel = peer.outside
            assert isinstance(channel, PortChannel)
            try:
                channel.arrived(arrived)
            except Exception as error:  # noqa: BLE001  whatever it is, the others go on
                service_supervisor.note(error)
        self._debt += (self.table.strangers - before) * STRANGER_SECONDS


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


class PortChannel(Channel):
    """A channel whose datagrams come by a port."""

    __slots__ = ("_port", "_spare_at", "_turn", "_unproven", "_waiting")

    def __init__(
        self,
        port: Port,
        control: Teller,
        sender: Sender,
        cipher: int,
        is_hub: bool,
        mtu: int,
        number: int = 0,
        host: str = "",
    ) -> None:
        """As Channel; `number` is the UDP port that the far end is told."""
        super().__init__(control, sender, cipher, port.table, is_hub, mtu, number, host)
        self._port, self._spare_at, self._turn = port, 0.0, Turn()
        self.socket = port.socket
        self._waiting, self._unproven = Waiting(), Waiting()
        """What has come from the far end's address, and from any other one."""
        port.channels.add(self)

    # --- whose it is

    @property
    def cost(self) -> Cost | None:
        """The account of its stream."""
        raise NotImplementedError

    @property
    def meter(self) -> Meter | None:
        """The rate limits of what comes; None for none."""
        return None

    @property
    def share(self) -> Hashable:
        """By what it has turns among all that is expensive."""
        raise NotImplementedError

    @property
    def packets(self) -> int:
        """How many packets have come."""
        raise NotImplementedError

    @property
    def has_rest(self) -> bool:
        """Whether scan() has work left that is not in its frames."""
        return False

    def drop(self, reason: Reason, count: int = 1) -> None:
        """Count drops."""
        raise NotImplementedError

    def scan(self, frames: bytes, cost: Cost) -> int:
        """Forward frames for a turn's time; returns how many bytes of whole frames were."""
        raise NotImplementedError

    def leave_rest(self) -> None:
        """There is a rest, and no time for it now."""

    # --- what comes

    def shut(self) -> None:
        """There is no socket any more."""
        self.socket = None
        self._forget()
        self.peer.refuse()

    def reopen(self, sock: DatagramSocket, number: int, host: str) -> None:
        """There is a socket again: tell the far end where."""
        self.socket = sock
        self.peer.port, self.peer.host = number, host
        self.peer.give(time.monotonic())

    def stop(self) -> None:
        """The stream has ended."""
        super().stop()
        self._forget()
        self._port.channels.discard(self)

    def _forget(self) -> None:
        self._waiting.clear()
        self._unproven.clear()

    def put(self, run: Run, most: int) -> None:
        """Let datagrams wait for a turn, if there are less than `most` bytes then; else they are dropped."""
        if run.address != self.peer.place:
            if not self._unproven.put(run, LEAST_WAIT_BYTES):
                self._port.table.strangers += len(run)
        elif not self._waiting.put(run, most):
            self.drop(Reason.DATAGRAM_QUEUE, len(run))

    def take_turn(self) -> bool:
        """Handle some of what waits; returns whether there is more."""
        # What has come from a new address first: the far end has moved there, and has gone on from there.
        self._port.take(self._unproven.take(UNPROVEN_AT_ONCE) + self._waiting.take(AT_ONCE))
        return bool(self._waiting.runs or self._unproven.runs)

    def arrived(self, arrived: Sequence[Arrived]) -> None:
        """Open datagrams of this channel, and forward what is in them."""
        cost, meter, now = self.cost, self.meter, time.monotonic()
        if meter is not None and meter.wait(now) > 0:
            self.drop(Reason.DATAGRAM_LIMITED, len(arrived))
            return
        if cost is None or (cost.expensive and not self._turn.try_enter(self.share)):
            self.drop(Reason.DATAGRAM_SHARE, len(arrived))
            return
        size = sum(len(datagram) for _, _, _, datagram in arrived)
        packets = self.packets
        self._turn.begin(cost)
        cost.begin(size)
        frames, forged = self._open(arrived, cost, now)
        self.received += len(arrived) - forged
        size -= size * forged // len(arrived)
        if frames:
            self.follow()
        elif now >= self._spare_at and forged < len(arrived):
            # PROBE and ACK of an honest far end forward nothing, and are no junk
            self._spare_at = now + SPARE_SECONDS
            cost.forward(1, size, 0)
        rest = frames[self.scan(frames, cost) :] if frames else b""
        self._turn.end(cost)
        # It was more than a turn has time for.
        while (framing.is_whole(rest) or (frames and self.has_rest)) and self.socket is not None:
            if cost.expensive:  # nor does it wait here for its share: datagrams of others would wait too
                if framing.is_whole(rest):
                    self.drop(Reason.DATAGRAM_SHARE)
                self.leave_rest()
                break
            breathe()
            self._turn.begin(cost)
            cost.begin(0)
            rest = rest[self.scan(rest, cost) :]
            self._turn.end(cost)
        if meter is not None:
            meter.take_bytes(size, now)
            if meter.counts_packets:
                meter.take_packets(self.packets - packets, now)

    def _open(self, arrived: Sequence[Arrived], cost: Cost, now: float) -> tuple[bytes, int]:
        """(frames, how many were not authentic). What those took is not the far end's affair.

        Anybody who has seen its index can send such ones.
        """
        table, before = self._port.table, self._port.table.strangers
        frames = b"".join(self.peer.open(arrived, now))
        if forged := table.strangers - before:
            seconds = (time.monotonic() - now) * forged / len(arrived)
            cost.spare(seconds + STRANGER_SECONDS * forged)
            self._port.owe(seconds)
        return frames, forged


def tell_busy(service: str, who: str, whose: str, where: str, error: OSError) -> None:
    """Say once that a UDP port cannot be had: `who` listens at `where`, `whose` streams go on without.

    `service` is by what found_free() and `status` know it.
    """
    reason = error.strerror or str(error)
    remedy = stream_listen.listen_remedy(error.errno, host_port(where)[1], udp=True)
    say(
        Entry.NO_DATAGRAMS,
        "%s: cannot listen on UDP %s: %s; %s%s have only their streams",
        *(who, where, reason, f"{remedy}; " if remedy else "", whose),
        fold=service,
        habit=OUTAGE,
        service=service,
        address=where,
        reason=reason,
    )


def found_free(service: str) -> None:
    """A UDP port can be had, or none is wanted: what tell_busy() has said is over."""
    over(Entry.NO_DATAGRAMS, service)
