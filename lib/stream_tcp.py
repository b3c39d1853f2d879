"""TCP streams to peers: receiving and sending with gevent.

Knows: how gevent waits for TCP sockets, how much is received at once.
Refuses to know: what the bytes mean, with which options a socket begins (stream_options).

A Stream has one watcher for each direction. Before each receive it waits for the event loop, even if data is
there, so that all sessions have their turn: gevent's own recv would go on with one session while it has data.
Sending never waits; a caller that wants to wait calls wait_writable.
A hub's streams are metered (session_cost): how much is received next depends on how much time the last bytes
took, in all layers together. An expensive stream waits for its turn in the share of all expensive ones.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Hashable, Sequence
from typing import Any

import gevent
from gevent import monkey

from lib import stream_figures, stream_options
from lib.addresses import join_host_port
from lib.auth_admission import NO_CERTIFICATE, Certificate
from lib.limits import Meter
from lib.packet import Buffer
from lib.service_scheduling import breathe
from lib.service_turn import Turn
from lib.session_budget import Budget
from lib.session_cost import Cost
from lib.session_pacing import UNKNOWN_TRIP, Trip
from lib.session_silence import NO_FLIGHT, Flight
from lib.settings_transport import AUTO, SYSTEM
from lib.stream_figures import Figures
from lib.stream_options import DEAD_AFTER, TCP_NOTSENT_LOWAT, Keepalive, tune

LITTLE_UNREAD = 1 << 16
"""Receive buffer of an expensive peer, as the kernel counts; four of its segments where those are more."""
REST_SECONDS = 0.1
"""Seconds between two looks whether a peer has closed. What it sent before is read until the second of them:
the kernel may hold megabytes, which would take seconds where many such peers end at once."""
_CLOSED = (7, 8)  # include/net/tcp_states.h: TCP_CLOSE, TCP_CLOSE_WAIT
_IOV_MAX = 1024
_OriginalSocket = monkey.get_original("socket", "socket")


class Stream:
    """A connected, non-blocking byte stream."""

    __slots__ = (
        *("_acked", "_acked_at", "_budget", "_congestion", "_dead_after", "_ended", "_fast"),
        *("_hub", "_into", "_key", "_look_at", "_most", "_out", "_readable", "_receive", "_rest", "_shrunk"),
        *("_sock", "_turn", "_unread", "_waiting", "_writable"),
        *("cost", "is_mptcp", "peer", "received", "via", "written"),
    )

    def __init__(
        self,
        sock: Any,
        peer: str,
        keepalive: Keepalive | None = None,
        dead_after: float = DEAD_AFTER,
        congestion: str = SYSTEM,
    ) -> None:
        """Take over a connected socket; `peer` is the peer's address as text (format_peer).

        The stream ends when nothing was acknowledged for `dead_after` seconds, idle or busy. `keepalive` sets
        other times for an idle one. `congestion` is what use_congestion was called with for the socket that
        has accepted this one.
        """
        self._sock = _OriginalSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._sock.setblocking(False)
        self.peer = peer
        self.via = ""
        """The address of the proxy through which the peer has come, where that has named the peer."""
        self.is_mptcp = stream_options.is_mptcp(self._sock)
        """Whether the connection may have several paths, at this end."""
        tune(self._sock, keepalive, dead_after, self.is_mptcp)
        self._acked, self._acked_at, self._dead_after = -1, 0.0, dead_after
        self._receive = self._sock.recv_into
        self._hub = gevent.get_hub()
        self._readable = self._hub.loop.io(self._sock.fileno(), 1)
        self._writable = self._hub.loop.io(self._sock.fileno(), 2)
        self.cost: Cost | None = None
        """What it costs; None where nobody counts (a client's own)."""
        self._key: Hashable = None
        self._turn = Turn()
        self._shrunk, self._look_at = 0, 0.0  # the receive buffer while little is to lie in it
        self._congestion, self._fast = congestion, False
        self._ended = self._rest = False  # _rest: the peer had closed at the last look
        self._budget: Budget | None = None
        self._waiting = self._unread = 0
        self.written = self.received = 0
        """Bytes that the kernel was given to send, and those that it has given us."""
        self._into: Meter | None = None
        self._out: Meter | None = None
        self._most = 1 << 30  # bytes of one receive that the limits allow

    def count(self, cost: Cost, key: Hashable, budget: Budget | None = None) -> None:
        """Meter this stream from now on. Expensive streams with the same `key` share their turns.

        The first key, the peer's address, stays that of turns among others that waste time (service_passes).
        Bytes that wait for the peer in the layers above count in the budget.
        """
        self.cost, self._key, self._budget = cost, key, budget
        if self._turn.origin is None:
            self._turn.origin = key

    def limit(self, into: Meter | None, out: Meter | None) -> None:
        """Take the bytes on the wire from these meters: what is received, what is sent. None is for no limit.

        They are counted here, below all layers, since a layer may turn any number of them into nothing. A
        receive waits for its meter. Sending does not: session_sender looks before it takes from its queue.
        """
        self._into, self._out = into, out
        self._most = into.slice if into is not None else 1 << 30

    def hold_back(self) -> None:
        """Wait until the limits let more be received: TCP then makes the peer wait."""
        while self._into is not None and (delay := self._into.wait(time.monotonic())) > 0 and not self._ended:
            self.end_turn()
            gevent.sleep(delay)

    def rename(self, peer: str, key: Hashable) -> None:
        """The far end is only a proxy: from now on the peer has this address, and takes turns by this key."""
        self.via, self.peer, self._key, self._turn.origin = self.peer, peer, key, key

    def wait_more(self, size: int) -> None:
        """Count `size` bytes more (less where it is negative) that wait for the peer in a layer above."""
        if self._budget is not None:
            self._waiting += size
            self._budget.used += size

    def receive_into(self, view: memoryview) -> int:
        """Wait for bytes and put them into view; returns how many, 0 when the peer has closed.

        After shutdown() it returns 0 as well, whatever the kernel still holds. Received bytes begin a turn.
        """
        cost = self.cost
        if cost is not None:
            self.end_turn()
        if self._into is not None:
            self.hold_back()
        while not self._ended:
            self._hub.wait(self._readable)
            if self._ended or (cost is not None and not self._may_begin(cost)):
                break
            try:
                size: int = self._receive(view if cost is None else view[: min(cost.size, self._most)])
            except (BlockingIOError, InterruptedError):
                self.end_turn()
                continue
            self.received += size
            if cost is not None:
                cost.begin(size)
                if self._into is not None:
                    self._into.take_bytes(size, time.monotonic())
            return size
        return 0

    def wait_readable(self) -> None:
        """Wait until bytes have come or the peer has closed. No buffer is needed until then."""
        self._hub.wait(self._readable)

    def peek(self, size: int) -> bytes:
        """What a receive would give now, which stays to be received. Raises BlockingIOError for nothing."""
        return bytes(self._sock.recv(size, socket.MSG_PEEK))

    def give_way(self) -> bool:
        """Let other greenlets run before the next received bytes; False where the stream has ended."""
        self.end_turn()
        cost = self.cost
        if cost is None or cost.is_of_many or not (cost.expensive or cost.long):
            breathe()
        if self._ended or (cost is not None and not self._may_begin(cost)):
            return False
        if cost is not None:
            cost.begin(0)
        return True

    def _may_begin(self, cost: Cost) -> bool:
        """Wait for a turn and begin it. False where the peer has closed: nothing is done in it then.

        Bytes that an expensive peer sent before it closed are not read: they may be many, and they are junk.
        """
        self._turn.wait(cost, self._hub.loop, self._key)
        return not (self._ended or (cost.expensive and cost.admitted and self.has_closed()))

    def end_turn(self) -> None:
        """End the turn that receive_into began: its bytes are handled, or their reader waits for others."""
        cost = self.cost
        if cost is None or not (now := self._turn.end(cost)):
            return
        if not cost.is_of_many and now >= self._look_at:
            self._look(now)
        if self._shrunk or (cost.keeps_little and not self.is_mptcp):
            self._shrink(cost.keeps_little)

    def _look(self, now: float) -> None:
        """See whether the peer has closed; the second time that it has, nothing more of it is read."""
        self._look_at = now + REST_SECONDS
        closed = self.has_closed()
        self._ended = self._ended or (self._rest and closed)
        self._rest = closed

    def _shrink(self, wanted: bool) -> None:
        """Keep the receive buffer small, or let it be as it was. Of MPTCP it could not grow again.

        A small window (TCP_WINDOW_CLAMP) bounds only what is on the way: of a near peer 1.5 MB lay unread.
        """
        if not wanted:
            stream_options.set_unread(self._sock, self._unread)
            self._shrunk = 0
            return
        most = max(LITTLE_UNREAD, 4 * self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
        if self._shrunk != most:
            self._shrunk = stream_options.shrink_unread(self._sock, most, self._shrunk)

    def has_closed(self) -> bool:
        """Whether the peer, or this side, has closed the connection; bytes may still wait to be received."""
        if self._sock.fileno() < 0:
            return True
        if self.is_mptcp:
            return stream_figures.has_hung_up(self._sock)
        return self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CLOSED

    def is_stuck(self, now: float) -> bool:
        """Whether the peer has acknowledged nothing for so long that the stream is dead, while bytes wait.

        The kernel ends a connection of TCP then by itself (TCP_USER_TIMEOUT), but not one of MPTCP.
        """
        if not self.is_mptcp or self._sock.fileno() < 0:
            return False
        try:
            acked, is_all = stream_figures.acknowledged(self._sock)
        except OSError:  # a kernel before Linux 5.16 cannot say
            return False
        if is_all or acked != self._acked:
            self._acked, self._acked_at = acked, now
        return now - self._acked_at >= self._dead_after

    @property
    def far_address(self) -> str:
        """The IP address that the socket is connected to; "" where that is not enough to find it again."""
        return stream_figures.far_address(self._sock)

    def figures(self) -> Figures:
        """What the kernel has measured of the connection; all zero where it is not connected any more."""
        return stream_figures.figures(self._sock, self.is_mptcp)

    @property
    def pending(self) -> int:
        """Bytes that try_send has taken and the kernel has not: always 0, as there is no layer here."""
        return 0

    @property
    def certificate(self) -> Certificate:
        """NO_CERTIFICATE: TCP has none."""
        return NO_CERTIFICATE

    pongs = 0  # TCP has no pings, so no pongs come

    def ping(self) -> bool:
        """Returns False: TCP has only the kernel's keepalive."""
        return False

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Send what the kernel takes now; returns how many bytes that was."""
        if not buffers:
            return 0
        try:
            sent: int
            if len(buffers) == 1:
                sent = self._sock.send(buffers[0])
            else:
                sent = self._sock.sendmsg(buffers[:_IOV_MAX])
            self.written += sent
            if self._out is not None:
                self._out.take_bytes(sent, time.monotonic())
            return sent
        except (BlockingIOError, InterruptedError):
            return 0

    @property
    def congestion(self) -> str:
        """The congestion control that the kernel uses for what is sent; "" once it is closed."""
        return stream_options.congestion(self._sock)

    def use_congestion(self, wanted: str, service: str, had: str = SYSTEM) -> None:
        """Use another one from now on (stream_options.use_congestion)."""
        stream_options.use_congestion(self._sock, wanted, service, had)
        self._congestion, self._fast = wanted, False

    def tell_fast(self, fast: bool) -> None:
        """Say whether the processors limit the peer, or a wire: `congestion: auto` follows that."""
        if fast != self._fast and self._congestion == AUTO and not self.is_mptcp:
            stream_options.suit_congestion(self._sock, fast, self.is_near)
        self._fast = fast

    @property
    def is_near(self) -> bool:
        """Whether the far end of the connection is on this machine, or on the same network."""
        return self.trip().is_near

    @property
    def paths(self) -> int:
        """How many TCP connections of MPTCP the stream has now; 0 where it is plain TCP."""
        return stream_figures.paths(self._sock) if self.is_mptcp else 0

    def hold_unread(self, size: int) -> None:
        """Let the kernel hold about `size` bytes that we have not read yet; 0 for as many as it likes.

        TCP's window opens when a sixteenth is read: of a large, slow one later than the peer waits for.
        """
        if size != self._unread:
            self._unread = size
            if not self._shrunk:
                stream_options.set_unread(self._sock, size)

    def unread(self) -> int:
        """Bytes that have come and were not received yet. Raises OSError."""
        return stream_figures.unread(self._sock)

    def hold_unsent(self, size: int) -> None:
        """Let the kernel hold `size` bytes at most that it has not sent yet (TCP_NOTSENT_LOWAT)."""
        stream_options.set_tcp(self._sock, TCP_NOTSENT_LOWAT, size, self.is_mptcp)

    def trip(self) -> Trip:
        """What the kernel says of the connection's way. TCP_INFO of MPTCP knows one path only, so nothing."""
        return UNKNOWN_TRIP if self.is_mptcp else stream_figures.trip(self._sock)

    def flight(self) -> Flight:
        """What was sent and is not acknowledged. Of MPTCP nothing is known, which has ways of its own."""
        return NO_FLIGHT if self.is_mptcp else stream_figures.flight(self._sock)

    def pace(self, rate: float) -> None:
        """Let the kernel send so many bytes a second at most; 0 for any number (SO_MAX_PACING_RATE)."""
        stream_options.set_pace(self._sock, rate)

    def restart_bbr(self) -> None:
        """Let the congestion control begin anew, if that is bbr."""
        stream_options.restart_bbr(self._sock)

    def resend_soon(self) -> None:
        """Repair losses sooner than others do."""
        stream_options.resend_soon(self._sock)

    def give_up(self) -> None:
        """Let the kernel reset the connection when it is closed."""
        stream_options.give_up(self._sock)

    def wait_writable(self) -> None:
        """Wait until the kernel takes more bytes. Raises OSError once it is closed: libev would abort."""
        self.end_turn()
        if self._sock.fileno() < 0:
            raise OSError(9, "it is closed")
        self._hub.wait(self._writable)

    def send_all(self, data: bytes) -> None:
        """Send everything, waiting where needed (handshakes only: sessions have a queue)."""
        view = memoryview(data)
        while view:
            sent = self.try_send([view])
            if not sent:
                self.wait_writable()
            view = view[sent:]

    def shutdown(self) -> None:
        """End both directions: the greenlet that reads sees the end and cleans up."""
        self._ended = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was not connected any more

    def close(self) -> None:
        """Close the socket; only to be called by the greenlet that reads."""
        self.end_turn()
        self._ended = True
        self.wait_more(-self._waiting)
        self._budget = None
        self._readable.close()
        self._writable.close()
        self._sock.close()


def format_peer(address: Any) -> str:
    """A socket address as text: 192.0.2.1:8443, [2001:db8::1]:8443, [fe80::1%eth0]:8443."""
    host = address[0].removeprefix("::ffff:") if "." in address[0] else address[0]
    scope = address[3] if len(address) == 4 else 0
    return join_host_port(f"{host}%{_device(scope)}" if scope and "%" not in host else host, address[1])


def _device(index: int) -> str:
    """The name of a network device; its number where there is none of that number any more."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)
