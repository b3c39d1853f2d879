"""A link between two processes of one hub: a pair of sockets, with frames for hosts and claims of hosts.

Knows: how frames are sent in runs and in envelopes and taken out, what waits where the other worker does not
keep up.
Refuses to know: which links there are (worker_links), how a packet goes on from here (whoever takes frames).

A run of one host's frames goes as it lies, behind its size (worker_wire), where nothing waits. What has to
wait goes in envelopes as between hubs (cluster_frames), and the queue is the one of those links: tenants and
flows take turns in it. There is no TLS and no keepalive, for the kernel ends the link together with either
process. On a link with the cluster's process each run and each envelope has the number of the other hub that
it is from, or for.

The other worker is no stranger, but what its clients send may take much time here for nothing. So a link has
an account like one between hubs (session_cost): its turns are bounded, and a dear one waits for its turn.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import gevent
from gevent import monkey

from lib import (
    cluster_envelopes,
    cluster_frames,
    cluster_link,
    framing,
    session_chunks,
    stream_figures,
    stream_options,
    worker_wire,
)
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.packet import Buffer
from lib.service_scheduling import breathe
from lib.service_turn import Turn
from lib.session_cost import Cost
from lib.session_queue import SendQueue
from lib.session_window import PAUSE_SECONDS, Allowed, Window
from lib.worker_wire import Message, WindowEnd

QUEUE_BYTES, QUEUE_SECONDS = 4 << 20, 1.0
"""What may wait for one other worker."""
RUN_BYTES = 192 << 10
"""Bytes that are taken from the queue at a time."""
BUFFER_BYTES = 1 << 20
"""What the kernel takes without a wait: several runs, so that two processes need not take turns for each."""
NO_WINDOW = BUFFER_BYTES // 2
"""A window as large as this is none: to say ever again how far to go would wake the other one for nothing."""
MEASURE_SECONDS, OLD_SECONDS = 0.02, 1.0
"""Seconds over which it is measured how fast the queue drains: at least, and at most."""
TURN_SECONDS = 0.001
"""How long frames are taken before other sockets have their turn."""
FLOWS_BYTES = 1 << 13
"""Bytes of a run in which flows are looked for at a time, where each has to be taken by itself."""
_IOV_MAX = 1024
_OriginalSocket = monkey.get_original("socket", "socket")
_buffer = framing.ReceiveBuffer()
"""Where all links receive: what has come is forwarded before another one does. What else is said is copied
out of it first, for whoever hears that may let others have their turns meanwhile; not so how far to go."""


def _no_trip() -> float:
    """Seconds to another worker and back."""
    return 0.0


class Receiver(cluster_link.Receiver, Protocol):
    """What takes frames."""

    @property
    def by_flow(self) -> bool:
        """Whether it has to get those of a run flow by flow now."""


class WorkerLink:
    """The link with one other process."""

    def __init__(
        self,
        name: str,
        sock: Any,
        receiver: Callable[[int], Receiver],
        told: Callable[[Message], None],
        drops: Traffic,
    ) -> None:
        """`name` is the other process's, `sock` our end of the pair, which is taken over.

        `receiver` gives what takes frames now that have this number of a hub, `told` is told what is said;
        `drops` counts what is dropped in the queue.
        """
        self.name = name
        self._sock = _OriginalSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._sock.setblocking(False)
        self._unread = partial(stream_figures.unread, self._sock)
        stream_options.size_buffer(self._sock, socket.SO_SNDBUF, BUFFER_BYTES)
        self.receiver, self._told, self._drops = receiver, told, drops
        self._used: dict[Receiver, None] = {}
        """Those that have taken frames in this turn."""
        self._hub = gevent.get_hub()
        self._readable = self._hub.loop.io(self._sock.fileno(), 1)
        self._writable = self._hub.loop.io(self._sock.fileno(), 2)
        self._cost, self._turn_of = Cost(), Turn()
        self._cost.admit("link")
        self._turn_of.origin = self
        self._queue = SendQueue(QUEUE_BYTES, QUEUE_SECONDS)
        self._news: deque[bytes] = deque()
        """What else it is to be told: none of that is ever dropped, and it goes before all frames."""
        self._rest = memoryview(b"")
        """What is being written, from its first byte that the kernel has not."""
        self._run, self._left = (0, b""), 0
        """(number of the hub, namespace) of the run that has begun to come; its bytes that are still to be
        taken."""
        self._written = self._received = 0
        """Bytes since the link began."""
        self._window, self._allowed = Window(NO_WINDOW), Allowed(lambda: self._written)
        self._measured = 0.0, 0
        """When it was last measured how fast the queue drains, and how much had been written then."""
        self._writer: gevent.Greenlet | None = None

    # --- sending

    def send(self, namespace: bytes, buffers: Sequence[Buffer], hub: int = 0) -> None:
        """Send whole frames of one host here, for the other worker's or for the hub of this number.

        It never waits, and they may be reused then.
        """
        size = sum(map(len, buffers))
        if 0 < size <= worker_wire.MAX_RUN and self._is_free():
            self._begin([worker_wire.head(namespace, size, hub), *buffers])
        else:
            self.send_flows(namespace, buffers, hub)

    def send_flows(self, namespace: bytes, buffers: Sequence[Buffer], hub: int = 0) -> None:
        """Likewise frames of several hosts, or from the hub of this number: each flow goes by itself."""
        out, _ = cluster_envelopes.enclose(namespace, buffers, hub)
        if self._is_free():
            self._begin(out)
        else:
            self._queue.push(b"".join(out), time.monotonic(), self._drops)

    def _is_free(self) -> bool:
        """Whether nothing has to wait; where it has, there is a writer from now on."""
        if self._writer is None and self._allowed.upto and self._allowed.is_shut(time.monotonic()):
            self._writer = gevent.spawn(self._write)
        return self._writer is None

    def tell(self, contents: Iterable[bytes]) -> None:
        """Tell the other worker something beside frames (worker_wire). Never waits."""
        frames = [framing.encode(content) for content in contents]
        if self._writer is not None:
            self._news += frames
        elif frames:
            self._begin(frames)

    def _begin(self, out: Sequence[Buffer]) -> None:
        """Write what the kernel takes now; a greenlet writes the rest."""
        if len(out) > _IOV_MAX:
            out = [b"".join(out)]
        try:
            sent = self._sock.sendmsg(out)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the other worker has ended, which the reader finds out
            return
        self._written += sent
        if sent < sum(map(len, out)):
            self._rest = memoryview(b"".join(out))[sent:]
            self._writer = gevent.spawn(self._write)

    def _write(self) -> None:
        try:
            while self._rest or self._news or self._queue.size:
                while not self._rest and not self._news and self._allowed.is_shut(time.monotonic()):
                    gevent.sleep(PAUSE_SECONDS)
                self._measure(time.monotonic())
                if self._sock.fileno() < 0:  # it is closed: libev would end the whole process
                    self._drop_all()
                    break
                self._hub.wait(self._writable)
                try:
                    while self._fill() and (sent := self._sock.send(self._rest)):
                        self._rest = self._rest[sent:]
                        self._written += sent
                        if not self._rest and self._allowed.is_shut(time.monotonic()):
                            break
                except (BlockingIOError, InterruptedError):
                    pass
        except OSError:
            pass
        finally:
            self._writer = None

    def _measure(self, now: float) -> None:
        """Tell the queue how fast it drains, while the other worker takes less than we have."""
        since, written = self._measured
        if now - since >= MEASURE_SECONDS:
            self._measured = now, self._written
            is_slow = self._allowed.upto and now - since < OLD_SECONDS
            self._queue.rate = (self._written - written) / (now - since) if is_slow else 0.0

    def _fill(self) -> bool:
        """Take what is next, where nothing is left of what was; False where nothing waits."""
        if not self._rest and self._news:
            self._rest = memoryview(b"".join(self._news))
            self._news.clear()
        if not self._rest:
            most = min(RUN_BYTES, self._allowed.slice)
            self._rest = memoryview(self._queue.pop(time.monotonic(), self._drops, most))
        return bool(self._rest)

    # --- receiving

    def run(self) -> None:
        """Read until the link ends. Raises OSError, also for what belongs on no link."""
        try:
            self._read()
        finally:
            self._turn_of.end(self._cost)

    def _read(self) -> None:
        tail, cost = b"", self._cost
        while True:
            while framing.is_whole(tail):  # more has come than a turn has time for
                self._give_way()
                data = bytearray(tail + bytes(framing.SLACK))
                tail = self._turn(data, memoryview(data), 0, len(tail))
            self._turn_of.end(cost)
            self._hub.wait(self._readable)
            self._begin_turn()
            try:
                size = self._sock.recv_into(_buffer.landing[: cost.size])
            except (BlockingIOError, InterruptedError):
                continue
            if not size:
                return
            self._received += size
            cost.begin(size)
            tail = self._turn(_buffer.data, _buffer.view, _buffer.join(tail), framing.HEADROOM + size)

    def _begin_turn(self) -> None:
        """Wait for a turn where those of this link are expensive, and begin it."""
        self._turn_of.wait(self._cost, self._hub.loop, self)

    def _give_way(self) -> None:
        """Let others have their turns, and begin another one, for what has come already."""
        self._turn_of.end(self._cost)
        breathe()
        self._begin_turn()
        self._cost.begin(0)

    def _turn(self, data: bytearray, view: memoryview, start: int, end: int) -> bytes:
        """Take whole frames of data[start:end] for a turn's time; returns what is left. Raises OSError."""
        try:
            try:
                stop = self._scan(data, view, start, end)
                tail = bytes(view[stop:end])
            finally:
                self._send_on()
            for receiver in self._used:
                while receiver.has_rest:
                    self._give_way()
                    receiver.go_on(self._cost)
        except ProtocolError as error:
            raise OSError(71, str(error)) from None
        self._used.clear()
        self._allow()
        return tail

    def _allow(self) -> None:
        """Say how far the other worker may go, where that is due."""
        window, spent, is_full = self._window, self._cost.spent, self._cost.long
        if is_full or window.most:
            upto = window.look(self._received, time.monotonic(), spent, is_full, self._unread, _no_trip)
            if upto is not None:
                self.tell([worker_wire.encode(WindowEnd(upto))])

    def _send_on(self) -> None:
        for receiver in self._used:
            receiver.send(self._cost)

    def _scan(self, data: bytearray, view: memoryview, start: int, end: int) -> int:
        """Take whole frames; returns where it stopped. Raises ProtocolError for what belongs on no link."""
        at, until = start, time.monotonic() + TURN_SECONDS
        while at + 2 <= end:
            if self._left:
                stop = self._take_run(data, view, at, end, until)
                self._left -= stop - at
            else:
                stop = self._take_frame(data, view, at, end)
            if stop == at:
                break
            at = stop
            if time.monotonic() > until:
                break
        return at

    def _take_frame(self, data: bytearray, view: memoryview, at: int, end: int) -> int:
        """Take a message, an envelope or the head of a run; returns where it ends, `at` where not yet."""
        begin, after = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
        if after > end:
            return at
        if after == begin or data[begin] != worker_wire.MARK:
            hub, namespace = cluster_frames.within_hub(data, begin, after)
            receiver = self.receiver(hub)
            self._take(receiver, namespace, data, view, begin + cluster_frames.HEADER, after)
            return after
        if worker_wire.is_head(data, begin, after):
            hub, namespace, self._left = worker_wire.run(data, begin, after)
            self._run = hub, namespace
            return after
        message = worker_wire.decode(bytes(view[begin:after]))
        if isinstance(message, WindowEnd):
            self._allowed.upto = message.upto
        elif data is _buffer.data:
            return at
        else:
            self._send_on()  # what came before it was decided by what was known before it
            self._told(message)
        self._cost.forward(1, after - begin, 0)  # a host that comes or goes is of use
        return after

    def _take_run(self, data: bytearray, view: memoryview, at: int, end: int, until: float) -> int:
        """Take whole frames of the run that has begun; returns where those end that it has taken."""
        hub, namespace = self._run
        first, stop = at + 2 + (data[at] << 8 | data[at + 1]), at + self._left
        if first > stop:
            raise ProtocolError("frames of a run are cut off")
        receiver = self.receiver(hub)
        if receiver.by_flow:
            part = view[at : min(end, stop, max(first, at + FLOWS_BYTES))]
            for _, frames, _ in session_chunks.chunks(part):
                begin, at = at, at + len(frames)
                self._take(receiver, namespace, data, view, begin, at)
                if time.monotonic() > until:
                    break
            return at
        if stop > end:  # else all of it is here, and need not be looked through
            ends = framing.split(view[at:end])
            stop = at + ends[-1] if ends else at
        if stop > at:
            self._take(receiver, namespace, data, view, at, stop)
        return stop

    def _take(
        self, receiver: Receiver, namespace: bytes, data: bytearray, view: memoryview, start: int, end: int
    ) -> None:
        """Have whole frames taken by whoever takes those of their hub now."""
        self._used[receiver] = None
        receiver.take(namespace, data, view, start, end, self._cost)

    def close(self) -> None:
        """End the link; only to be called by the greenlet that has read it. What waits is dropped."""
        if self._writer is not None:
            self._writer.kill()
        self._drop_all()
        self._readable.close()
        self._writable.close()
        self._sock.close()

    def _drop_all(self) -> None:
        lost = self._queue.clear()
        if lost:
            self._drops.drop(Reason.SESSION_GONE, lost, "", b"", time.monotonic())
