"""Own socket of one channel: the kernel keeps what comes from its far end apart from everything else.

In the one socket of a port all datagrams wait behind each other in the kernel, and where more come than are
read, it drops those of everybody. So a channel gets a socket of its own once its far end has proven its
address: bound to the same port, connected to that address. The kernel puts there what comes from that
address, and nothing else. It is read as a stream is, in turns, and later where the session costs more than it
is worth. Who sends too much fills that buffer and no other; what has no room is counted as theirs.

Knows: how it is read, and when it is given up.
Refuses to know: when an address is proven (datagram_peer), what becomes of datagrams, who else has one
(datagram_port).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import gevent

from lib.datagram_socket import Address, DatagramSocket
from lib.datagram_table import Place
from lib.forward_drop_reasons import Reason
from lib.service_turn import Turn
from lib.session_cost import Cost

AT_ONCE = 64
"""Receives of a turn; each may bring 64 datagrams, so the bytes of a turn (Cost.size) end most of them."""
MOST_FORGED = 256
"""Datagrams that are not authentic, and errors that the network tells, beyond datagrams that are authentic,
after which it is given up: somebody forges them. In the port's socket forgeries take their time from the
share of strangers, and it hears of no errors."""
RECEIVE_BUFFER = 512 << 10
"""Bytes that the kernel may hold for one channel; it doubles them."""
LITTLE_UNREAD = 32 << 10
"""The same where the session is expensive. The kernel drops datagrams of everybody on this host, whichever
program they are for, where it holds more of them than net.ipv4.udp_mem says: 90 MB where it has 512."""


class Owner(Protocol):
    """What is used of a channel (datagram_port)."""

    @property
    def cost(self) -> Cost | None:
        """The account of its stream; None once that has ended."""

    @property
    def share(self) -> Hashable:
        """By what it has turns among all that is expensive."""

    def take_own(self, burst: Sequence[tuple[Place, bytes]], cost: Cost, turn: Turn) -> int:
        """Handle datagrams in a turn that has begun, and end it; returns how many more were bad than good."""

    def drop(self, reason: Reason, count: int = 1) -> None:
        """Count drops."""

    def left_own(self, own: OwnSocket) -> None:
        """It is not read any more."""


class OwnSocket:
    """The socket, and the greenlet that reads it."""

    __slots__ = ("_is_open", "_owner", "_reader", "_sock", "address")

    def __init__(self, owner: Owner, sock: DatagramSocket, address: Address) -> None:
        self._owner, self._sock, self.address = owner, sock, address
        self._is_open = True
        self._reader = gevent.spawn(self._read)
        self._reader.link(self._ended)  # also where it is killed before it has begun

    def close(self) -> None:
        """Read no more, and have the port no more. May be called by the reader itself, and twice."""
        if self._is_open:
            self._is_open = False
            self._reader.kill(block=False)
            self._sock.close()

    def _ended(self, _: Any) -> None:
        self.close()
        self._owner.left_own(self)

    def _read(self) -> None:
        owner, sock, turn, loop = self._owner, self._sock, Turn(), gevent.get_hub().loop
        turn.origin = owner.share
        forged = lost = 0
        is_small = False
        while self._is_open and forged <= MOST_FORGED:
            sock.wait()
            cost = owner.cost
            if cost is None:
                return
            if cost.keeps_little != is_small:
                is_small = not is_small
                sock.hold_unread(LITTLE_UNREAD if is_small else RECEIVE_BUFFER)
            turn.wait_for_datagrams(cost, loop)
            runs = sock.recv_runs(False, AT_ONCE, cost.size)
            burst = [one for run in runs for one in run.cut()]
            forged = max(0, forged + owner.take_own(burst, cost, turn))
            if sock.lost != lost:
                owner.drop(Reason.DATAGRAM_QUEUE, (sock.lost - lost) & 0xFFFFFFFF)
                lost = sock.lost
