"""A link between two hubs, once both ends have shown their certificates: frames for hosts, and keepalive.

Knows: how frames are put into envelopes and taken out, when the far hub is dead, how a link ends without a
loss.
Refuses to know: which links there are and who dials (cluster_links), TLS (cluster_identity), how a packet
goes on from here (whoever is told of frames).

    HELLO both ways     then the link is ready
    PING, PONG          as in sessions: a far hub that says nothing for DEAD_SECONDS is dead
    DRAIN               the sender sends no more; the far end replies so, and then either may close
    envelopes           frames of one flow (cluster_frames), both ways
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import gevent

from lib import cluster_frames, framing, packet_offload, session_chunks, wire_control
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.packet import Buffer
from lib.service_scheduling import breathe
from lib.session_budget import Budget
from lib.session_control import SessionControl
from lib.session_lane_sender import LaneSender
from lib.stream_layer import AnyStream

DEAD_SECONDS = 5.0
GREET_SECONDS = 5.0
"""Seconds until the far hub has said HELLO."""
QUEUE_BYTES, QUEUE_SECONDS = 4 << 20, 1.0
"""What may wait for one far hub."""
TURN_SECONDS = 0.001
"""How long frames are taken before other sockets have their turn."""

Take = Callable[[bytes, list[bytes]], None]
"""Is told of whole frames from the far hub: (namespace, frames)."""


_landing = memoryview(bytearray(framing.RECEIVE))
"""Where all links receive: what has come is copied from there at once."""
Ready = Callable[["Link"], None]


class Link:
    """A link with one other hub."""

    def __init__(
        self,
        name: str,
        stream: AnyStream,
        is_dialled: bool,
        budget: Budget,
        take: Take,
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
        self.traffic = Traffic()
        """What has come and gone by it."""
        self.sender = LaneSender(stream, drops, QUEUE_BYTES, QUEUE_SECONDS, budget)
        self.control = SessionControl(self.sender, self.traffic, DEAD_SECONDS, now)
        self._take, self._instance = take, instance
        self._controls: list[bytes] = []

    def send(self, namespace: bytes, buffers: Sequence[Buffer]) -> None:
        """Send a run of whole frames for hosts at the far hub; never waits."""
        out: list[Buffer] = []
        for label, frames, packets in session_chunks.chunks(b"".join(buffers), cluster_frames.MAX_FRAMES):
            self.traffic.sent_packets += packets
            out += [cluster_frames.encode(namespace, label, some) for some in fitting(frames)]
        self.used_at = time.monotonic()
        self.traffic.sent_bytes += sum(map(len, out))
        self.sender.send(out)

    def run(self, ready: Ready) -> None:
        """Read until the link ends. `ready` is called when the far hub has said HELLO. Raises OSError."""
        self.control.greet(self._instance, packet_offload.ALL)
        tail = b""
        while size := self.stream.receive_into(_landing):
            data = tail + bytes(_landing[:size])  # another link may receive before all of this is forwarded
            tail = data[self._scan(data, ready) :]
            if self._controls:
                self._act(ready)

    def _scan(self, data: bytes, ready: Ready) -> int:
        """Take all whole frames; returns where they end. Raises OSError for what belongs on no link."""
        at, until = 0, time.monotonic() + TURN_SECONDS
        while at + 2 <= len(data):
            start, after = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
            if after > len(data):
                break
            if after > start and data[start] == wire_control.MARK:
                self._controls.append(data[start:after])
                self.traffic.received_packets += 1
                if not self.is_ready:  # what stands behind HELLO may be an envelope
                    self._act(ready)
            elif not self.is_ready:
                raise OSError(71, "frames before HELLO")
            else:
                self._open(data[start:after])
            self.traffic.received_bytes += after - at
            at = after
            if time.monotonic() > until:
                breathe()
                until = time.monotonic() + TURN_SECONDS
        return at

    def _open(self, content: bytes) -> None:
        try:
            namespace, frames = cluster_frames.decode(content)
        except ProtocolError as error:
            raise OSError(71, str(error)) from None
        self.used_at = time.monotonic()
        self.traffic.received_packets += sum(map(packet_offload.count_packets, frames))
        self._take(namespace, frames)

    def _act(self, ready: Ready) -> None:
        contents, self._controls = self._controls, []
        for message in self.control.receive(contents, time.monotonic()):
            if isinstance(message, wire_control.Hello) and not self.is_ready:
                self.is_ready = True
                ready(self)
            elif isinstance(message, wire_control.Drain):
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


def fitting(frames: bytes) -> list[bytes]:
    """Frames of one flow in pieces that fit into an envelope; a superpacket that does not is cut."""
    most, found = cluster_frames.MAX_FRAMES, []
    while len(frames) > most:
        first, frames = session_chunks.first_bytes(frames, most)
        if not first or len(first) > most:  # one packet of 64 KB, which no device sends
            break
        found.append(first)
    if 0 < len(frames) <= most:
        found.append(frames)
    return found
