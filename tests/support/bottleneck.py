"""A bottleneck for tests of a send queue: a line of a fixed rate, and senders that behave as TCP does.

Knows: slow start, additive increase, half the window for a lost or marked round (RFC 5681, RFC 3168), lost packets
sent again. Refuses to know: sockets and the clock; time is a number that goes from event to event.

    senders --- half of the way's delay ---> SendQueue ---> a line of `rate` bytes/s --- the other half ---> senders

Every packet is acknowledged by itself, and one that is lost is noticed when a later one of its flow arrives. Nothing
is random.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from lib.counters import Traffic
from lib.session_queue import SendQueue
from tests.support import packets as p

SIZE = 1400
"""Bytes of payload of a packet."""


@dataclass(eq=False)
class Sender:
    """A TCP sender that always has something to send; the first 8 bytes of its payload number its packets."""

    port: int
    source: str = "10.0.0.1"
    ecn: bool = False
    segments: int = 1
    """Segments of each superpacket; 1 for single packets."""
    window: float = 10.0
    threshold: float = 1e9
    sent: int = 0
    out: set[int] = field(default_factory=set)
    """Numbers of packets that have neither arrived nor are known to be lost."""
    until: int = 0
    """The window has been made smaller for all packets below this number."""
    lost: int = 0
    marks: int = 0
    arrived: int = 0

    def frames(self) -> list[bytes]:
        """What it sends now: superpackets of `segments`, and only whole ones."""
        made = []
        while len(self.out) + self.segments <= self.window:
            numbers = range(self.sent, self.sent + self.segments)
            self.sent += self.segments
            self.out.update(numbers)
            payload = b"".join(number.to_bytes(8, "big") + bytes(SIZE - 8) for number in numbers)
            packet = p.tcp(self.source, "10.0.0.9", payload, ports=(self.port, 9), partial=self.segments > 1)
            if self.ecn:
                packet = p.with_tos(packet, 2)
            made.append(p.frame(p.superpacket(packet, SIZE) if self.segments > 1 else packet))
        return made

    def acknowledged(self, number: int, marked: bool) -> None:
        """A packet has arrived, in the order of the line: what was sent before it and has not is lost."""
        gone = {other for other in self.out if other < number}
        self.out -= gone | {number}
        self.arrived += 1
        self.lost += len(gone)
        self.marks += marked
        if gone or marked:
            if number >= self.until:
                self.until = self.sent
                self.window = self.threshold = max(2.0, self.window / 2, float(self.segments))
        elif self.window < self.threshold:
            self.window += 1
        else:
            self.window += 1 / self.window


@dataclass
class Line:
    """The line and its queue. `step` is called before each run is taken, with the time in s."""

    queue: SendQueue
    rate: float
    delay: float
    """Seconds of a whole round without any queue."""
    senders: list[Sender]
    moment: float = 0.002
    """A run is what the line carries in that time, as of session_sender."""
    traffic: Traffic = field(default_factory=Traffic)
    step: Callable[[float], None] = lambda now: None
    carried: int = 0
    """Bytes that the line has carried."""
    waits: list[tuple[float, int, float]] = field(default_factory=list)
    """(when, port, seconds) of each packet that left the queue: how long it had waited."""
    _events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _count: int = 0
    _came: dict[tuple[int, int], float] = field(default_factory=dict)
    _busy: bool = False

    def run(self, seconds: float) -> None:
        """Let the senders send for so long, from nothing on."""
        for index, sender in enumerate(self.senders):
            self._at(index * 0.001, partial(self._send, sender))
        while self._events and self._events[0][0] < seconds:
            when, _, what = heapq.heappop(self._events)
            what(when)

    def median_wait(self, since: float) -> float:
        """The median of how long packets waited that left after `since`, in s."""
        return median(wait for when, _, wait in self.waits if when >= since)

    def _at(self, when: float, what: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def _send(self, sender: Sender, now: float) -> None:
        for frame in sender.frames():
            for port, number, _ in numbers(frame):
                self._came[port, number] = now
            self.queue.push(frame, now, self.traffic)
        if not self._busy:
            self._serve(now)

    def _serve(self, now: float) -> None:
        self.step(now)
        run = self.queue.pop(now, self.traffic, int(self.rate * self.moment))
        self._busy = bool(run)
        if not run:
            return
        self.carried += len(run)
        spent = now + len(run) / self.rate
        for port, number, marked in numbers(run):
            self.waits.append((now, port, now - self._came.pop((port, number))))
            self._at(spent + self.delay, partial(self._acknowledge, port, number, marked))
        self._at(spent, self._serve)

    def _acknowledge(self, port: int, number: int, marked: bool, now: float) -> None:
        sender = next(one for one in self.senders if one.port == port)
        sender.acknowledged(number, marked)
        self._send(sender, now)


def numbers(run: bytes) -> list[tuple[int, int, bool]]:
    """(port, number, marked CE) of each packet in a run of frames."""
    found = []
    for content in p.contents(run):
        packet = content[10:] if content[0] < 16 else content
        payload = p.payload_of(packet)
        port, marked = int.from_bytes(packet[20:22], "big"), packet[1] & 3 == 3
        found += [
            (port, int.from_bytes(payload[at : at + 8], "big"), marked) for at in range(0, len(payload), SIZE)
        ]
    return found
