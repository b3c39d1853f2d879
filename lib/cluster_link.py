"""A link between two hubs, once both ends have shown their certificates: frames for hosts, and keepalive.

Knows: how frames are put into envelopes and taken out, when the far hub is dead, how a link ends without a
loss.
Refuses to know: which links there are and who dials (cluster_links), TLS (cluster_identity), how a packet
goes on from here (cluster_receive).

    HELLO both ways     then the link is ready
    PING, PONG          as in sessions: a far hub that says nothing for DEAD_SECONDS is dead
    DRAIN               the sender sends no more; the far end replies so, and then either may close
    envelopes           frames of one flow (cluster_frames), both ways

What the far hub sends costs it as it costs a session (session_cost): a turn is bounded, and a link that takes
much time and forwards little has its turns among those of all expensive sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import gevent

from lib import cluster_envelopes, cluster_frames, framing, packet_offload, wire_control
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.packet import Buffer
from lib.service_scheduling import breathe
from lib.session_budget import Budget
from lib.session_control import SessionControl
from lib.session_cost import Cost
from lib.session_lane_sender import LaneSender
from lib.stream_layer import AnyStream

DEAD_SECONDS = 5.0
GREET_SECONDS = 5.0
"""Seconds until the far hub has said HELLO."""
QUEUE_BYTES, QUEUE_SECONDS = 4 << 20, 1.0
"""What may wait for one far hub."""
TURN_SECONDS = 0.001
"""How long frames are taken before other sockets have their turn."""


class Receiver(Protocol):
    """What takes the frames of the far hub (cluster_receive)."""

    def take(
        self,
        namespace: bytes,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        cost: Cost | None = None,
        /,
    ) -> int:
        """Take the whole frames data[start:end] of a namespace; returns how many packets they are.

        `cost` is the link's account. Raises ProtocolError for what is no whole frames. send() follows before
        `data` changes.
        """

    def send(self, cost: Cost | None = None, /) -> None:
        """Send what was taken, and count it in the account of this turn. It does not wait."""

    @property
    def has_rest(self) -> bool:
        """Whether frames are left that took too long: for go_on()."""

    def go_on(self, cost: Cost | None = None, /) -> None:
        """Forward a turn's part of what is left, and count it. Raises ProtocolError."""


_buffer = framing.ReceiveBuffer()
"""Where all links receive: what has come is forwarded before another one does."""
Ready = Callable[["Link"], None]


class Link:
    """A link with one other hub."""

    def __init__(
        self,
        name: str,
        stream: AnyStream,
        is_dialled: bool,
        budget: Budget,
        receiver: Receiver,
        instance: bytes,
        drops: Traffic,
    ) -> None:
        """`name` is the far hub's. `instance`: 16 bytes that stand for this run of ours.

        `drops` counts what is dropped in the queue, and how long frames wait there.
        """
        now = time.monotonic()
        self.name, self.stream, self.is_dialled = name, stream, is_dialled
        self.since = self.used_at = now
        self.is_ready = False
        """Whether the far hub has said HELLO."""
        self.is_leaving = False
        """Whether this side has sent DRAIN."""
        self._far_leaves = False
        self.traffic = Traffic()
        """What has come and gone by it."""
        self.sender = LaneSender(stream, drops, QUEUE_BYTES, QUEUE_SECONDS, budget)
        self.control = SessionControl(self.sender, self.traffic, DEAD_SECONDS, now)
        self._receiver, self._instance = receiver, instance
        self._controls: list[bytes] = []

    def send(self, namespace: bytes, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames for hosts at the far hub; never waits. They may be reused then."""
        out, packets = cluster_envelopes.enclose(namespace, buffers)
        self.used_at = time.monotonic()
        self.traffic.sent_packets += packets
        self.traffic.sent_bytes += sum(map(len, out))
        self.sender.send(out)

    def run(self, ready: Ready) -> None:
        """Read until the link ends. `ready` is called when the far hub has said HELLO. Raises OSError."""
        self.control.greet(self._instance, packet_offload.ALL)
        tail = b""
        while True:
            while framing.is_whole(tail):  # more has come than a turn has time for
                if not self.stream.give_way():
                    return
                data = bytearray(tail + bytes(framing.SLACK))
                tail = self._turn(data, memoryview(data), 0, len(tail), ready)
            size = self.stream.receive_into(_buffer.landing)
            if not size:
                return
            tail = self._turn(_buffer.data, _buffer.view, _buffer.join(tail), framing.HEADROOM + size, ready)

    def _turn(self, data: bytearray, view: memoryview, start: int, end: int, ready: Ready) -> bytes:
        """Take whole frames of data[start:end] for a turn's time; returns what is left. Raises OSError."""
        try:
            try:
                stop = self._scan(data, view, start, end, ready)
                tail = bytes(view[stop:end])
            finally:
                self._receiver.send(self.stream.cost)
            while self._receiver.has_rest and self.stream.give_way():
                self._receiver.go_on(self.stream.cost)
        except ProtocolError as error:
            raise OSError(71, str(error)) from None
        if self._controls:
            self._act(ready)
        return tail

    def _scan(self, data: bytearray, view: memoryview, start: int, end: int, ready: Ready) -> int:
        """Take whole frames; returns where it stopped. Raises OSError for what belongs on no link."""
        at, now, traffic = start, time.monotonic(), self.traffic
        until = now + TURN_SECONDS
        while at + 2 <= end:
            begin, after = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
            if after > end:
                break
            if after > begin and data[begin] == wire_control.MARK:
                self._controls.append(bytes(view[begin:after]))
                traffic.received_packets += 1
                if not self.is_ready:  # what stands behind HELLO may be an envelope
                    self._act(ready)
            elif not self.is_ready:
                raise OSError(71, "frames before HELLO")
            else:
                namespace = cluster_frames.namespace_of(data, begin, after)
                frames = begin + cluster_frames.HEADER
                traffic.received_packets += self._receiver.take(
                    namespace, data, view, frames, after, self.stream.cost
                )
                self.used_at = now
            at, now = after, time.monotonic()
            if now > until:
                break
        traffic.received_bytes += at - start
        return at

    def _act(self, ready: Ready) -> None:
        contents, self._controls = self._controls, []
        for message in self.control.receive(contents, time.monotonic()):
            if isinstance(message, wire_control.Hello) and not self.is_ready:
                self.is_ready = True
                ready(self)
            elif isinstance(message, wire_control.Drain) and not self._far_leaves:
                self._far_leaves = True  # it may say so very often
                gevent.spawn(self._leave)

    def _leave(self) -> None:
        """The far end sends no more: send what waits, say so, and close."""
        self.drain()
        self.sender.wait_drained()
        self.stream.shutdown()

    def drain(self) -> None:
        """Send no more frames from now on, and tell the far end."""
        if not self.is_leaving:
            self.is_leaving = True
            self.control.drain()

    def beat(self, now: float) -> None:
        """Check the keepalive, and drop what has waited too long."""
        if not self.is_ready and now - self.since > GREET_SECONDS:
            self.close("no HELLO from the far hub")
        self.control.beat(now)
        while self.sender.expire(now):
            breathe()

    def close(self, because: str) -> None:
        """End the link; `because` is for the log."""
        self.sender.close(because)
