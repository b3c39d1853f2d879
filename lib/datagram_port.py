"""UDP socket of datagram channels beside a listener, and one greenlet that reads it for all of them.

Knows: whose datagrams they are, who has a turn, who may have a socket of its own.
Refuses to know: when there is a socket (hub_datagram, cluster_datagram), what is done in a turn
(datagram_turns), keys and addresses (datagram_peer), system calls (datagram_socket).

A turn of a channel's datagrams counts in the account of its stream (session_cost). A stream that costs more
than it is worth is read later; datagrams beside it are dropped where its share is used up. Whatever
is nobody's has a share too: beyond it, all datagrams wait, and whoever has a channel goes on by its stream.

Nobody can make a sender of datagrams wait, and in one socket all of them wait behind each other. So a channel
in use has a socket of its own (datagram_own) once its far end has proven its address. What comes by the
port's socket, as it does from strangers and far ends that have moved, is taken out at once and waits here, by
channel; channels have short turns one after the other. Where more comes than there is time for, whoever sends
too much loses it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from lib import datagram_open, datagram_own, datagram_wire, service_supervisor, stream_listen
from lib.addresses import host_port
from lib.datagram_own import OwnSocket
from lib.datagram_peer import Peer
from lib.datagram_socket import Address, DatagramSocket, Run
from lib.datagram_table import Place, Table
from lib.datagram_turns import LEAST_WAIT_BYTES, STRANGER_SECONDS, PortChannel
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say
from lib.service_scheduling import SHARE, breathe
from lib.service_supervisor import Task
from lib.session_cost import BURST_SECONDS, TURN_SECONDS

RECEIVES, RECEIVED_BYTES = 256, 1 << 20
"""Receives, and bytes, between two rounds of turns: more than a channel has turns for, so that the kernel's
queue is short. A receive takes 2 us."""
WAIT_BYTES = 4 << 20
"""Bytes that wait for their channels' turns, of all channels together, in equal parts. A quarter of it, at
most, is one channel's."""
MOST_OWN = 256
"""Channels of a port with a socket of their own. Each is a descriptor, and memory of the kernel, and kernels
before 6.13 look through all of them for each datagram. Others in use share the port's (has_room). Where a
port has several sockets (datagram_part), each has its part of them."""
FREE_SECONDS = 1.0
"""How often it is looked for one that is not in use any more."""
Connect = Callable[[DatagramSocket, Address, int, str], DatagramSocket]
"""Opens a socket for what comes to a port from one address (datagram_open.connected)."""


class Port:
    """One socket, and the channels whose datagrams come there."""

    def __init__(self) -> None:
        self.table: Table[Peer] = Table()
        self.channels: set[PortChannel] = set()
        self._connect: Connect = datagram_open.connected
        self.socket: DatagramSocket | None = None
        self._netns = ""
        self._owners: dict[PortChannel, Hashable] = {}
        """Those with a socket of their own, the oldest first, and whose share they are of."""
        self._counts: Counter[Hashable] = Counter()
        """How many of them there are of a share."""
        self._look_at = 0.0
        self._reader: Task | None = None
        self._debt = 0.0
        self._waiting: dict[PortChannel, None] = {}
        """Channels of which datagrams wait, the next one first."""

    def listen(self, listener: Any, name: str, netns: str = "") -> None:
        """Listen beside a listening socket; `name` is what the reader is called. Raises OSError."""
        self.use(datagram_open.beside(listener, netns), name, netns)

    def use(self, sock: DatagramSocket, name: str, netns: str) -> None:
        """Have this socket, and read it from start() on."""
        self.socket, self._netns = sock, netns
        self._reader = Task(f"{name}: datagrams are read", self._read, sock, vital=False)

    def give_to(self, user: int) -> None:
        """This process becomes that user: sockets of one port have to be of one."""
        if self.socket is not None:
            self.socket.give_to(user)

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

    def pass_on(self) -> None:
        """Let all that is expensive wait for what is owed: it may be long until the reader wakes up."""
        if self._debt > BURST_SECONDS:
            seconds, self._debt = self._debt, 0.0
            SHARE.owe(seconds)

    def own(self, channel: PortChannel, address: Address) -> OwnSocket | None:
        """A socket for what comes from this address; None where there can be none."""
        if self.socket is None:
            return None
        try:
            sock = self._connect(self.socket, address, datagram_own.RECEIVE_BUFFER, self._netns)
        except OSError:
            return None
        self._owners[channel] = channel.share
        self._counts[channel.share] += 1
        return OwnSocket(channel, sock, address)

    def disown(self, channel: PortChannel) -> None:
        """A channel has no socket of its own any more."""
        if channel in self._owners:
            share = self._owners.pop(channel)
            self._counts[share] -= 1
            if not self._counts[share]:
                del self._counts[share]

    def has_room(self, channel: PortChannel) -> bool:
        """Whether there may be one more of these, for a channel that has none.

        Where there are many, those give theirs up that rest, and then one of the share that has most: nobody
        has all by opening sessions.
        """
        most_own = MOST_OWN // self.table.part.count
        if len(self._owners) < most_own:
            return True
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + FREE_SECONDS
            for one in [one for one in self._owners if not one.peer.is_up(now)]:
                one.leave_own()
        if len(self._owners) >= most_own > len(self._counts):
            most = max(self._counts, key=self._counts.__getitem__)
            if self._counts[most] > self._counts[channel.share] + 1:
                next(one for one, share in self._owners.items() if share == most).leave_own()
        return len(self._owners) < most_own

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
