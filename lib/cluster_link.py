"""A link between two hubs, once both ends have shown their certificates: frames for hosts, and keepalive.

Knows: how frames are put into envelopes and taken out, when the far hub is dead, how a link ends without a
loss.
Refuses to know: which links there are and who dials (cluster_links), TLS (cluster_identity), how a packet
goes on from here (cluster_receive).

    HELLO both ways     then the link is ready
    PING, PONG          as in sessions: a far hub that says nothing for DEAD_SECONDS is dead
    DRAIN               the sender sends no more; the far end replies so, and then either may close
    DATAGRAMS           keys of the datagram channel, by which UDP and ICMP go where it is good
    envelopes           frames of one flow (cluster_frames), both ways, by the stream or by datagrams
    WINDOW              how far the far hub may go by the stream, while we read slowly (session_window)

What the far hub sends costs it as it costs a session (session_cost): a turn is bounded, and a link that takes
much time and forwards little has its turns among those of all expensive sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import gevent

from lib import cluster_envelopes, cluster_frames, framing, packet_offload, wire_control
from lib.cluster_datagram import LinkChannel, LinkDatagrams
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.packet import Buffer
from lib.service_scheduling import breathe
from lib.session_budget import Budget
from lib.session_control import SessionControl
from lib.session_cost import Cost
from lib.session_lane_sender import LaneSender
from lib.session_window import Allowed, Window
from lib.stream_layer import AnyStream
from lib.wire_control import Feature

DEAD_SECONDS = 5.0
GREET_SECONDS = 5.0
"""Seconds until the far hub has said HELLO."""
QUEUE_BYTES, QUEUE_SECONDS = 4 << 20, 1.0
"""What may wait for one far hub."""
MOST_TRIP = 1.0
"""Seconds to a far hub and back that are believed, at most."""
TURN_SECONDS = 0.001
"""How long frames are taken before other sockets have their turn."""
MOST_TURNS = 256
"""Turns for what is left of one, until the stream is read again: datagrams may leave more and more there."""
LATE_SECONDS = 0.3
"""How long a link that has had datagrams goes on after both ends send no more: some may be on their way."""


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
        datagrams: LinkDatagrams,
    ) -> None:
        """`name` is the far hub's. `instance`: 16 bytes that stand for this run of ours.

        `drops` counts what is dropped in the queue, and how long frames wait there. `datagrams` makes the
        channel, where there is to be one.
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
        self._by_stream = Traffic()
        """What has come by the stream. Datagrams are no sign of its life: keys and TCP go by it."""
        self.drops = drops
        self.channel: LinkChannel | None = None
        """Its datagram channel; None where it has none."""
        self.sender = LaneSender(stream, drops, QUEUE_BYTES, QUEUE_SECONDS, budget)
        self.control = SessionControl(self.sender, self._by_stream, DEAD_SECONDS, now)
        self._receiver, self._instance, self._datagrams = receiver, instance, datagrams
        self._controls: list[bytes] = []
        self._window, self._allowed = Window(), Allowed(lambda: stream.written)

    @property
    def why_no_channel(self) -> str:
        """Why it has no datagram channel, in a few words for `status`; empty where it has one."""
        return "" if self.channel is not None else self._datagrams.why or "the far hub has none"

    def send(self, namespace: bytes, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames for hosts at the far hub; never waits. They may be reused then."""
        prompt: list[Buffer] = []
        if self.channel is None:
            out, packets = cluster_envelopes.enclose(namespace, buffers)
        else:
            out, prompt, packets = self.channel.apart(namespace, buffers)
        self.used_at = time.monotonic()
        self.traffic.sent_packets += packets
        self.traffic.sent_bytes += sum(map(len, out)) + sum(map(len, prompt))
        if out:
            self.sender.by_lanes(out)
        if prompt:
            self.sender.send(prompt)

    def run(self, ready: Ready) -> None:
        """Read until the link ends. `ready` is called when the far hub has said HELLO. Raises OSError."""
        self.control.greet(
            self._instance, packet_offload.ALL, more=Feature.WINDOW, cipher=self._datagrams.cipher
        )
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
            if self._controls and not self.is_ready:
                self._act(ready)
            turns = 0
            while self._receiver.has_rest and self.stream.give_way():
                self._receiver.go_on(self.stream.cost)
                turns += self.channel is not None
                if turns == MOST_TURNS:
                    break
        except ProtocolError as error:
            raise OSError(71, str(error)) from None
        if self.channel is not None and self._receiver.has_rest:
            self.channel.leave_rest()
        if self._controls:
            self._act(ready)
        self._allow()
        return tail

    def _allow(self) -> None:
        """Say how far the far hub may go, where that is due."""
        stream, window, cost = self.stream, self._window, self.stream.cost
        is_full, spent = (cost.long, cost.spent) if cost is not None else (False, 0.0)
        if (is_full or window.most) and not self._far_leaves:
            upto = window.look(stream.received, time.monotonic(), spent, is_full, stream.unread, self._trip)
            if upto is not None:
                self.control.allow(upto)

    def _trip(self) -> float:
        """The least seconds to the far hub and back that TCP has measured; 0 where it has not."""
        found = self.stream.trip().shortest
        return found if found < MOST_TRIP else 0.0

    @property
    def has_rest(self) -> bool:
        """Whether frames are left that took too long."""
        return self._receiver.has_rest

    def scan_copy(self, envelopes: bytes, cost: Cost) -> int:
        """Take whole envelopes that came by datagrams for a turn's time, or some of what is left of before.

        Returns how many bytes were taken; all of them where the link ends, since they belong on none.
        """
        try:
            if self._receiver.has_rest:
                self._receiver.go_on(cost)
                return 0
            data = bytearray(envelopes + bytes(framing.SLACK))
            try:
                return self._scan(data, memoryview(data), 0, len(envelopes), None)
            finally:
                self._receiver.send(cost)
        except (ProtocolError, OSError) as error:
            self.close(f"by datagrams: {getattr(error, 'strerror', '') or error}")
            return len(envelopes)

    def _scan(self, data: bytearray, view: memoryview, start: int, end: int, ready: Ready | None) -> int:
        """Take whole frames; returns where it stopped. Without `ready` they have come by datagrams.

        Raises OSError, ProtocolError for what belongs on no link.
        """
        at, now, traffic = start, time.monotonic(), self.traffic
        until = now + TURN_SECONDS
        while at + 2 <= end:
            begin, after = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
            if after > end:
                break
            if ready is not None and after > begin and data[begin] == wire_control.MARK:
                self._controls.append(bytes(view[begin:after]))
                traffic.received_packets += 1
                if not self.is_ready:  # what stands behind HELLO may be an envelope, and is read after it
                    at = after
                    break
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
        if ready is not None and at > start:
            self._by_stream.received_packets += 1
        return at

    def _act(self, ready: Ready) -> None:
        contents, self._controls = self._controls, []
        for message in self.control.receive(contents, time.monotonic()):
            if isinstance(message, wire_control.Hello) and not self.is_ready:
                self.is_ready = True
                self.channel = self._datagrams.meet(self)
                ready(self)
            elif isinstance(message, wire_control.Datagrams) and self.channel is not None:
                self.channel.given(message)
            elif isinstance(message, wire_control.Window):
                self._allowed.upto = message.upto
                self.sender.use_window(self._allowed if message.upto else None)
            elif isinstance(message, wire_control.Drain) and not self._far_leaves:
                self._far_leaves = True  # it may say so very often
                gevent.spawn(self._leave)

    def _leave(self) -> None:
        """The far end sends no more: send what waits, say so, and close."""
        self.drain()
        self.sender.wait_drained()
        if self.channel is not None and (self.channel.sent or self.channel.received):
            gevent.sleep(LATE_SECONDS)
        self.stream.shutdown()

    def drain(self) -> None:
        """Send no more frames from now on, and tell the far end."""
        if not self.is_leaving:
            self.is_leaving = True
            if self.channel is not None and (held := self.channel.choice.give_up()):
                self.sender.by_lanes(held)
            self.control.drain()

    def beat(self, now: float) -> None:
        """Check the keepalive, and drop what has waited too long."""
        if not self.is_ready and now - self.since > GREET_SECONDS:
            self.close("no HELLO from the far hub")
        if not self.stream.has_closed():  # else only datagrams may still be on their way
            self.control.beat(now)
        if self.channel is not None:
            self.channel.peer.beat(now)
        while self.sender.expire(now):
            breathe()

    def close(self, because: str) -> None:
        """End the link; `because` is for the log."""
        self.sender.close(because)

    def ended(self) -> None:
        """Clean up after the link has ended: count what was not sent as dropped."""
        if self.channel is not None:
            self.channel.stop()
        self.sender.ended()
