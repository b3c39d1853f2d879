"""Sessions here whose clients keep another one at another hub: which of them nothing reaches now.

Knows: which sessions are looked at and how often, and that one by which nothing goes is left alone.
Refuses to know: when a connection is silent (session_silence), who is told, and what becomes of flows
(cluster_hosts).

A client that does not reach one of its hubs sends by the other one. What is sent to it would still go to the
hub that does not reach it, until keepalive ends that session. So each hub looks whether what it sends to such
a client is acknowledged. That packets come from it shows nothing: the way to it may be cut alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent.event import Event

from lib import ids, session_control
from lib.log_dedup import BUSY
from lib.log_events import Entry
from lib.log_setup import say
from lib.namespace import Attachment
from lib.service_scheduling import in_steps
from lib.service_supervisor import Task
from lib.session_lane_sender import LaneSender
from lib.session_silence import NO_FLIGHT, Flight, Silence

TICK, IDLE_SECONDS = 0.05, 0.2
"""Least seconds between two looks: while packets go by any of the sessions, and else."""
SHARE = 50
"""A look is followed by a pause of so many times its length: there may be thousands of sessions."""
ASK_SECONDS = 0.25
"""Least seconds between two PINGs to a session whose packets go by datagrams."""
MOST_TOLD = 64
"""Sessions of which others are told after one look, at most: a hub may lose the way to thousands at once."""
WHY = "nothing that is sent to it here is acknowledged"


def _ask(attachment: Attachment, now: float) -> None:
    """Send PING by the stream of a session whose packets may go by datagrams, which nobody acknowledges."""
    sender = attachment.sender
    if isinstance(sender, LaneSender) and sender.has_channel:
        sender.probe(session_control.ping(now))


def flight_of(attachment: Attachment) -> Flight:
    """What was sent by a session and is not acknowledged."""
    sender = attachment.sender
    return sender.flight() if isinstance(sender, LaneSender) else NO_FLIGHT


def _show(attachment: Attachment, is_silent: bool, now: float) -> None:
    """Let those who look on see it, and nobody wait for the session."""
    if isinstance(attachment.sender, LaneSender):
        attachment.sender.silent(is_silent, now)


@dataclass(slots=True)
class _Watched:
    """What is known of one session."""

    sent: int
    received: int
    """Packets that had been sent, and received, at the last look."""
    silence: Silence = field(default_factory=Silence)
    is_told: bool = False
    """Whether others know it as silent."""
    asked_at: float = 0.0
    """When it was last sent PING, as packets go by datagrams."""


class Silences:
    """The sessions of one hub, or of a worker, that are looked at."""

    def __init__(
        self, tell: Callable[[Attachment], None], flight: Callable[[Attachment], Flight] = flight_of
    ) -> None:
        """`tell` is told of each session that is silent from now on, or is not any more."""
        self._tell, self._flight = tell, flight
        self._watched: dict[Attachment, _Watched] = {}
        self._some = Event()
        self._task: Task | None = None

    def watch(self, attachment: Attachment) -> None:
        """Look at a session from now on, where its client has said that it keeps several."""
        traffic = attachment.traffic
        if ids.is_one_of_several(attachment.instance) and attachment not in self._watched:
            self._watched[attachment] = _Watched(traffic.sent_packets, traffic.received_packets)
            self._some.set()
            if self._task is None:
                name = "sessions of clients with several are looked at"
                self._task = Task(name, self._keep_looking, vital=False).start()

    def forget(self, attachment: Attachment) -> None:
        """Look at a session no more."""
        if (known := self._watched.pop(attachment, None)) is not None and known.is_told:
            _show(attachment, False, 0.0)

    def is_silent(self, attachment: Attachment) -> bool:
        """Whether nothing reaches the client by this session, as others know."""
        known = self._watched.get(attachment)
        return known is not None and known.is_told

    def stop(self) -> None:
        """Look at nothing any more, and take no session for silent."""
        if self._task is not None:
            self._task.kill(block=False)
            self._task = None
        silent = [attachment for attachment, one in self._watched.items() if one.is_told]
        self._watched.clear()
        for attachment in silent:
            _show(attachment, False, 0.0)
            self._tell(attachment)

    def _keep_looking(self) -> None:
        while True:
            self._some.wait()
            began = time.monotonic()
            pause = TICK if self.look(began) else IDLE_SECONDS
            gevent.sleep(max(pause, SHARE * (time.monotonic() - began)))
            if not self._watched:
                self._some.clear()

    def look(self, now: float) -> bool:
        """Look at all sessions by which packets go; returns whether there are any, or silent ones."""
        told, busy = 0, []
        for attachment, one in self._watched.items():  # of ten thousand idle ones in a millisecond or so
            if attachment.traffic.sent_packets != one.sent or one.silence.since or one.silence.is_silent:
                busy.append((attachment, one))
        for attachment, one in in_steps(busy):
            traffic, silence = attachment.traffic, one.silence
            heard = traffic.received_packets != one.received
            one.sent, one.received = traffic.sent_packets, traffic.received_packets
            silence.look(self._flight_of(attachment, one, heard, now), now)
            if silence.is_silent is not one.is_told and told < MOST_TOLD and attachment in self._watched:
                one.is_told = silence.is_silent
                told += 1
                _show(attachment, one.is_told, now)
                self._say(attachment, one.is_told)
                self._tell(attachment)
        return bool(busy)

    def _flight_of(self, attachment: Attachment, one: _Watched, heard: bool, now: float) -> Flight:
        flight = self._flight(attachment)
        if not flight.is_out and not heard and now - one.asked_at >= ASK_SECONDS:
            one.asked_at = now
            _ask(attachment, now)
        return flight

    @staticmethod
    def _say(attachment: Attachment, is_silent: bool) -> None:
        why = WHY if is_silent else "it is reached here again"
        say(
            Entry.SESSION_SILENT, "host %s (%s): %s", *(attachment.host, attachment.peer, why),
            fold="", habit=BUSY, host=attachment.host, namespace=ids.format_uuid(attachment.namespace.id),
            peer=attachment.peer, reason=why,
        )  # fmt: skip
