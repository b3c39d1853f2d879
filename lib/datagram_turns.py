"""Datagrams of one channel at a port: what waits for a turn, and the turns in which they are handled.

Knows: how a turn of datagrams is accounted, what is dropped where there is no time, when a channel has a
socket of its own.
Refuses to know: how the port's socket is read, whose datagrams they are (datagram_port), keys and addresses
(datagram_peer), what becomes of frames.

What waits here is not opened yet, so it may be forged: whoever sees a datagram knows the index of its
channel. So a channel has two queues. In one waits what came from the address from which the last authentic
datagram has come. The other one is short, and has a smaller part of each turn: what came from any other
address waits there, of a far end that has moved as well. Only who can also forge its address gets into the
first.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from lib import framing
from lib.datagram_channel import Channel, Sender, Teller
from lib.datagram_own import OwnSocket
from lib.datagram_peer import Peer
from lib.datagram_socket import Address, DatagramSocket, Run
from lib.datagram_table import Arrived, Place, Table
from lib.forward_drop_reasons import Reason
from lib.limits import Meter
from lib.service_turn import Turn
from lib.session_cost import Cost

AT_ONCE, UNPROVEN_AT_ONCE = 64, 16
"""Datagrams of a turn from the client's address, and from any other; those of one receive stay together."""
LEAST_WAIT_BYTES = 64 << 10
"""Bytes that may always wait for one channel; of what may be anybody's no more."""
RUN_BYTES = 320
"""Bytes that a run takes beside those of its datagrams while it waits, with its two addresses."""
OWN_SECONDS = 10.0
"""How often a channel may open a socket for one address: none that was given up, or could not be had, is so
for good."""
SPARE_SECONDS = 0.02
"""How often a turn of messages alone is worth as much as one of packets: ten of them come in a second."""
STRANGER_SECONDS = 5e-6
"""What a datagram that is nobody's costs: to receive it, and to look it up."""


class At(Protocol):
    """What is used of the port (datagram_port)."""

    table: Table[Peer]
    socket: DatagramSocket | None
    channels: set[PortChannel]

    def take(self, burst: Sequence[tuple[Place, bytes]]) -> None:
        """Let channels have their datagrams."""

    def owe(self, seconds: float) -> None:
        """Account for time that datagrams of nobody took."""

    def pass_on(self) -> None:
        """Let all that is expensive wait for what is owed: who has taken that time does not."""

    def own(self, channel: PortChannel, address: Address) -> OwnSocket | None:
        """A socket for what comes from this address; None where there can be none."""

    def has_room(self, channel: PortChannel) -> bool:
        """Whether there may be one more of these, for a channel that has none."""

    def disown(self, channel: PortChannel) -> None:
        """A channel has no socket of its own any more."""


@dataclass(slots=True)
class Waiting:
    """Datagrams that wait for a turn, in their order."""

    runs: deque[Run] = field(default_factory=deque)
    size: int = 0
    """Bytes of memory that they take."""

    def put(self, run: Run, most: int) -> bool:
        """Let a run wait, if no more than `most` bytes do then; returns whether it waits."""
        size = len(run.data) + RUN_BYTES
        if self.size + size > most:
            return False
        self.runs.append(run)
        self.size += size
        return True

    def take(self, count: int) -> list[tuple[Place, bytes]]:
        """Take at least `count` datagrams, or all."""
        burst: list[tuple[Place, bytes]] = []
        while self.runs and len(burst) < count:
            run = self.runs.popleft()
            self.size -= len(run.data) + RUN_BYTES
            burst += run.cut()
        return burst

    def clear(self) -> None:
        """Let nothing wait any more."""
        self.runs.clear()
        self.size = 0


class PortChannel(Channel):
    """A channel whose datagrams come by a port."""

    __slots__ = ("_again_at", "_own", "_port", "_settled", "_spare_at", "_turn", "_unproven", "_waiting")

    def __init__(
        self,
        port: At,
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
        self._own: OwnSocket | None = None
        self._settled: Place | None = None
        """The proven address for which there is a socket of its own, or could be none lately."""
        self._again_at = 0.0
        """Not before then it is tried again for that one."""
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
        self.leave_own()
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
        """Open datagrams of this channel that came by the port's socket, and forward what is in them."""
        cost, turn = self.cost, self._turn
        if self._is_limited(len(arrived)):
            return
        if cost is None or (cost.expensive and not turn.try_enter(self.share)):
            self.drop(Reason.DATAGRAM_SHARE, len(arrived))
            return
        turn.begin(cost)
        self.handle(arrived, cost, turn)

    def take_own(self, burst: Sequence[tuple[Place, bytes]], cost: Cost, turn: Turn) -> int:
        """Handle datagrams of its own socket in a turn that has begun, and end it.

        Returns how many more were not authentic than were.
        """
        if not burst:  # an ICMP error, as anybody may send who has seen the two addresses
            self._port.owe(turn.leave())
            self._port.pass_on()
            return 1
        table = self._port.table
        before = table.strangers
        cost.begin(0)
        found = table.sort(burst)
        bad = table.strangers - before
        self._port.owe(bad * STRANGER_SECONDS)
        arrived = found.pop(self.peer, ())
        if arrived and not self._is_limited(len(arrived)):
            bad += self.handle(arrived, cost, turn)
        turn.end(cost)
        for peer, others in found.items():  # that came before the socket was connected
            channel = peer.outside
            assert isinstance(channel, PortChannel)
            channel.arrived(others)
        self._port.pass_on()
        return 2 * bad - len(burst)

    def _is_limited(self, count: int) -> bool:
        """Whether a rate limit is used up; then the datagrams are dropped."""
        meter = self.meter
        if meter is None or meter.wait(time.monotonic()) <= 0:
            return False
        self.drop(Reason.DATAGRAM_LIMITED, count)
        return True

    def _settle(self) -> None:
        """Have a socket of its own for the address that the far end has proven, and for no other."""
        place = self.peer.proven
        if place is self._settled and (self._own is not None or place is None):
            return
        now = time.monotonic()
        if place is self._settled and now < self._again_at:
            return
        self.leave_own()
        if place is not None and self.socket is not None and self._port.has_room(self):
            self._settled, self._again_at = place, now + OWN_SECONDS
            self._own = self._port.own(self, cast(Address, place))

    def leave_own(self) -> None:
        """Have no socket of its own."""
        own, self._own, self._settled = self._own, None, None
        if own is not None:
            self._port.disown(self)
            own.close()

    def left_own(self, own: OwnSocket) -> None:
        """That socket is not read any more. Where it was given up by itself there is none for a while."""
        if self._own is own:
            self._own = None
            self._port.disown(self)

    def handle(self, arrived: Sequence[Arrived], cost: Cost, turn: Turn) -> int:
        """Open datagrams and forward what is in them, in a turn that has begun, and end it.

        Returns how many were not authentic.
        """
        meter, now = self.meter, time.monotonic()
        size = sum(len(datagram) for _, _, _, datagram in arrived)
        packets = self.packets
        cost.begin(size)
        frames, forged = self._open(arrived, cost, now)
        self._settle()
        self.received += len(arrived) - forged
        size -= size * forged // len(arrived)
        if frames:
            self.follow()
        elif now >= self._spare_at and forged < len(arrived):
            # PROBE and ACK of an honest far end forward nothing, and are no junk
            self._spare_at = now + SPARE_SECONDS
            cost.forward(1, size, 0)
        rest = frames[self.scan(frames, cost) :] if frames else b""
        turn.end(cost)
        # It was more than a turn has time for.
        while (framing.is_whole(rest) or (frames and self.has_rest)) and self.socket is not None:
            if cost.expensive:  # nor does it wait here for its share: datagrams of others would wait too
                if framing.is_whole(rest):
                    self.drop(Reason.DATAGRAM_SHARE)
                self.leave_rest()
                break
            turn.go_on(cost)
            cost.begin(0)
            rest = rest[self.scan(rest, cost) :]
            turn.end(cost)
        if meter is not None:
            meter.take_bytes(size, now)
            if meter.counts_packets:
                meter.take_packets(self.packets - packets, now)
        return forged

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
