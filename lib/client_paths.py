"""Sessions of a client with one hub or with several at once (`active`), and which of them each flow takes.

Knows: that no two sessions are with one hub, which of them packets may be sent by, when that changes.
Refuses to know: how a session is had (client_reconnect), which flow has which (client_flows), which hub is
the nearest (client_preference) or silent (client_pulses).

    hubs of one cluster    new flows go by the nearest hub, and each stays where it is while that hub lives
    other hubs             all goes by one of them, and the others stand by: each reaches its own hosts alone

Whatever comes by any session is delivered. A hub that ends, is silent while another one answers, or has no
session any more loses its flows at once. With one session alone nothing of this costs anything.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import gevent
from gevent.event import Event

from lib import client_reconnect, framing, ids
from lib.client_flows import Flows
from lib.client_preference import Preference
from lib.client_pulses import HubPulses
from lib.client_reconnect import Reconnector
from lib.client_session import ClientSession
from lib.log_dedup import BUSY
from lib.log_events import Entry
from lib.log_setup import say
from lib.packet import Buffer, format_address
from lib.service_supervisor import Task, keep
from lib.session_lane_sender import LaneSender
from lib.settings import ClientSettings, NodeSettings

IDLE_SECONDS = 1.0
"""Seconds between two looks at sessions by which nothing goes."""


class Path(NamedTuple):
    """One session, as `status` shows it."""

    session: ClientSession
    state: str
    """What goes by it, in a few words."""


class Paths:
    """The sessions of one client."""

    def __init__(self, client: client_reconnect.Owner) -> None:
        """Nothing is dialled before run()."""
        self._client = client
        self._slots = [Reconnector(client, self)]
        self._tasks: dict[Reconnector, Task] = {}
        """Who keeps each session but the first one connected."""
        self._comparing: Task | None = None
        self._flows, self._preference = Flows(), Preference()
        self._numbers = itertools.count()
        self._sessions: dict[ClientSession, int] = {}
        """Every session that there is -> its number in the table of flows."""
        self._pulses = HubPulses()
        self._used: set[int] = set()
        """Numbers of sessions that packets have been sent by since the last look."""
        self._aside: dict[ClientSession, bool] = {}
        """Those whose hubs end -> whether everybody has moved."""
        self._silent: set[int] = set()
        self._usable: dict[int, Reconnector] = {}
        """Number -> who keeps that session, of those that packets are sent by where there are several."""
        self._hubs: dict[str, bytes] = {}
        """Node -> the instance that its hub had in its last HELLO."""
        self._busy = Event()
        self.sender: LaneSender | Paths | None = None
        """What is sent by: the one session's sender, or this where there are several; None without any."""
        self.session: ClientSession | None = None
        """The session that new flows take; None where there is none."""

    # --- for the client

    @property
    def first(self) -> Reconnector:
        """Who keeps the first session."""
        return self._slots[0]

    @property
    def all(self) -> Sequence[Reconnector]:
        """Who keeps each session connected, that of `session` first."""
        return sorted(self._slots, key=lambda one: one.session is None or one.session is not self.session)

    @property
    def sessions(self) -> list[Path]:
        """All sessions, the one that new flows take first, with what goes by each."""
        return [Path(one.session, self._state(one.session)) for one in self.all if one.session is not None]

    def run(self) -> None:
        """Keep the client connected; never returns."""
        self.follow(self._client.settings)
        self.first.keep_connected()

    def follow(self, settings: ClientSettings) -> None:
        """Keep as many sessions as these settings want, from run() on."""
        name, before = f"service {settings.name}", len(self._slots)
        while len(self._slots) > settings.active:
            last = self._slots.pop()
            self._tasks.pop(last).kill(block=False)
            last.stop(wait=False)
        while len(self._slots) < settings.active:
            one = Reconnector(self._client, self, len(self._slots))
            self._slots.append(one)
            self._tasks[one] = keep(f"{name}: hub {len(self._slots)} is dialled", one.keep_connected)
        if settings.active > 1 and self._comparing is None:
            self._comparing = keep(f"{name}: hubs are compared", self._watch)
        elif settings.active == 1 and self._comparing is not None:
            self._comparing.kill(block=False)
            self._comparing = None
        for session, number in self._sessions.items():
            session.watch = self._watcher(number)
            if before != len(self._slots) and session.hub.instance:
                session.greet()  # whether there are several is in HELLO
        self._settle()

    def stop(self, wait: bool = True) -> None:
        """End all sessions, and wait for that."""
        for task in self._running():
            task.kill(block=wait)
        for one in self._slots:
            one.stop(wait)

    def fault(self) -> bool:
        """Whether a greenlet has ended that must not end."""
        return any(task.dead for task in self._running())

    def _running(self) -> list[Task]:
        return [*self._tasks.values(), *([self._comparing] if self._comparing is not None else [])]

    def choose_among(self, settings: ClientSettings) -> None:
        """Choose among the nodes of these settings from now on."""
        for one in self._slots:
            one.choose_among(settings)

    def keep_nodes(self, why: str) -> bool:
        """End the sessions whose nodes are not configured any more; returns whether that is not the first."""
        for one in self._slots[1:]:
            if not one.keeps_its_node():
                one.connect_anew(why)
        return self.first.keeps_its_node()

    def connect_anew(self, why: str, all_of_them: bool = False) -> None:
        """End the first session, or all; the next are made at once, with the client's present settings."""
        for one in self._slots if all_of_them else self._slots[:1]:
            one.connect_anew(why)

    def leave(self, session: ClientSession, hold: bool) -> None:
        """A session's hub asks for another session in place of it (DRAIN)."""
        for one in self._slots:
            one.leave(session, hold)

    def met(self, session: ClientSession) -> None:
        """A session's hub has said HELLO. Where another session is with the same hub, this one ends."""
        self._hubs[session.node.name] = session.hub.instance
        names = {node.name for node in self._client.settings.nodes}
        self._hubs = {name: hub for name, hub in self._hubs.items() if name in names}
        others = (one.session for one in self._slots if one.session not in (None, session))
        if any(other is not None and other.hub.instance == session.hub.instance for other in others):
            session.sender.close("it is with the same hub as another session of this client")
        self._settle()

    def unreached(self, session: ClientSession, addresses: tuple[bytes, ...]) -> None:
        """A session's hub has a way to all addresses now but these (packed): flows to them go by others."""
        number = self._sessions.get(session)
        if number is not None and (new := self._flows.unreached(number, addresses, time.monotonic())):
            name, where = self._client.settings.name, format_address(min(new))
            say(
                Entry.NO_WAY, "service %s: hub %s has no way to %s now", name, session.peer, where,
                fold=name, habit=BUSY, service=name, host=self._client.settings.host, hub=session.peer,
                address=where,
            )  # fmt: skip

    @property
    def takes(self) -> tuple[int, int]:
        """(offload bits, size of contents) that every hub takes to which packets are sent."""
        used = list(self._usable.values()) or [one for one in self._slots if one.session is not None]
        ends = [end.takes for one in used for end in (one.session, one.held) if end is not None]
        bits, limit = ends[0] if ends else (0, framing.GOST_HUB_MAX)
        for also, size in ends[1:]:
            bits, limit = bits & also, min(limit, size)
        return bits, limit

    # --- sending, as a LaneSender does

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send whole frames, each by the session of its flow; never waits."""
        for number, pieces in self._split(buffers).items():
            sender = self._usable[number].sender
            self._used.add(number)
            if sender is not None:
                sender.send(pieces)
        self._busy.set()

    def parts(self, buffers: Sequence[Buffer]) -> list[tuple[ClientSession | None, Sequence[Buffer]]]:
        """Whole frames with the session that each goes by, for those who look on."""
        if self.sender is not self:
            return [(self.session, buffers)]
        return [(self._usable[number].session, pieces) for number, pieces in self._split(buffers).items()]

    def wait_while_fast(self) -> None:
        """As LaneSender.wait_while_fast, for each session that was sent by."""
        for number in [*self._used]:
            one = self._usable.get(number)
            if one is not None and one.sender is not None:
                one.sender.wait_while_fast()

    def _split(self, buffers: Sequence[Buffer]) -> dict[int, list[Buffer]]:
        found: dict[int, list[Buffer]] = {}
        for buffer in buffers:
            for number, pieces in self._flows.split(buffer, self._preference.preferred, self._usable).items():
                found.setdefault(number, []).extend(pieces)
        return found

    def _watcher(self, number: int) -> Callable[[memoryview, int, int], None] | None:
        return partial(self._came, number) if len(self._slots) > 1 else None

    def _came(self, number: int, view: memoryview, start: int, end: int) -> None:
        """Frames come by a session: what is sent back goes by the same."""
        if self.sender is self and number in self._usable:
            self._flows.came(view, start, end, number)

    # --- for those who keep the sessions (client_reconnect.Others)

    def instance(self, of: Reconnector) -> bytes:
        """The instance that a session says."""
        number = of.number + 1 if self._client.settings.active > 1 else 0
        return ids.instance_of(self._client.instance, number)

    def is_free(self, node: NodeSettings, by: Reconnector) -> bool:
        """Whether a node leads to a hub that no other one has a session with, or dials."""
        for other in self._slots:
            if other is by or not other.is_dialling:
                continue
            if _hub(other.node) == _hub(node):
                return False
            hub = other.session.hub.instance if other.session is not None else b""
            if hub and self._hubs.get(node.name) == hub:
                return False
        return True

    def began(self, one: Reconnector) -> None:
        """There is a session, perhaps in place of another one."""
        session = one.session
        if session is not None and session not in self._sessions:
            number = self._sessions[session] = next(self._numbers)
            self._pulses.add(number)
            session.watch = self._watcher(number)
        self._settle()

    def ended(self, one: Reconnector) -> None:
        """There is no session any more."""
        self._settle()

    def can_carry(self, one: Reconnector) -> bool:
        """Whether another session could carry what goes by this one."""
        return any(
            other is not one and other.session is not None and other.session not in self._aside
            for other in self._slots
        )

    def stand_aside(self, one: Reconnector, all_have_moved: bool) -> None:
        """The hub ends: let flows go by other sessions, at first only by those of its cluster."""
        if one.session is not None:
            self._aside[one.session] = all_have_moved
            self._settle()

    # --- which sessions are used

    def _watch(self) -> None:
        """Compare the hubs, often while packets go."""
        while True:
            self._busy.wait(IDLE_SECONDS)
            self._busy.clear()
            if len(self._sessions) > 1:
                self._look(time.monotonic())
            gevent.sleep(self._pulses.pause)

    def _look(self, now: float) -> None:
        """See who is nearest, and who is silent."""
        self._flows.tidy(now)
        used, self._used = self._used, set()
        self._silent = self._pulses.look(self._sessions, used, now)
        if self._pulses.is_busy:
            self._busy.set()
        self._settle(now)

    def _settle(self, now: float | None = None) -> None:
        """See which sessions there are, and which of them are used from now on."""
        live = {one.session: one for one in self._slots if one.session is not None}
        for session in [session for session in self._sessions if session not in live]:
            number = self._sessions.pop(session)
            self._pulses.forget(number)
            self._flows.unreached(number, (), 0.0)
            self._aside.pop(session, None)
        known = {self._sessions[session]: one for session, one in live.items() if session in self._sessions}
        chosen = self._chosen(known)
        round_trips = {number: _round_trip(one) for number, one in chosen.items()}
        before, now = self._preference.preferred, time.monotonic() if now is None else now
        number = self._preference.look(round_trips, now)
        one = chosen.get(number)
        usable = {key: other for key, other in chosen.items() if one and self._are_together(one, other)}
        had, self._usable = self._usable, usable
        for session, key in self._sessions.items():
            session.sender.silent(key in self._silent and key not in usable, now)
        self.session = one.session if one is not None else None
        self.sender = one.sender if one is not None else None
        if len(usable) > 1:
            self.sender = self
        if number != before and one is not None and one.session is not None:
            self._prefer(one.session)
        if had != usable and one is not None:
            self._client.use_offloads()

    def _chosen(self, known: dict[int, Reconnector]) -> dict[int, Reconnector]:
        """Those of the sessions among which one is preferred: of several that could be, only usable ones.

        Where the preferred one is usable, those with hubs that do not reach its hosts stand by.
        """
        sessions = {number: one.session for number, one in known.items() if one.session is not None}
        left = list(sessions)
        for is_better in (self._is_met, self._is_open, self._may_stay, self._is_heard):
            left = [number for number in left if is_better(sessions[number])] or left
        preferred = known.get(self._preference.preferred)
        if preferred is not None and self._preference.preferred in left:
            left = [number for number in left if self._are_together(preferred, known[number])]
        left = [number for number in left if sessions[number] not in self._aside] or left
        return {number: known[number] for number in left}

    def _is_met(self, session: ClientSession) -> bool:
        """Whether it is known who its hub is."""
        return not session.is_kin or bool(session.hub.instance)

    def _is_open(self, session: ClientSession) -> bool:
        return not session.sender.closed_because

    def _may_stay(self, session: ClientSession) -> bool:
        """Whether it is no session of a hub that all other hosts have left."""
        return not self._aside.get(session, False)

    def _is_heard(self, session: ClientSession) -> bool:
        return self._sessions.get(session) not in self._silent

    @staticmethod
    def _are_together(one: Reconnector, other: Reconnector) -> bool:
        """Whether two sessions are with hubs of one cluster: each reaches the hosts of both."""
        if one is other:
            return True
        ends = [end.session.hub.cluster if end.session is not None else b"" for end in (one, other)]
        return bool(ends[0]) and ends[0] == ends[1]

    def _prefer(self, session: ClientSession) -> None:
        """New flows go by another session from now on: its hub tells this client its settings."""
        client = self._client
        session.resume()
        if len(self._slots) > 1:
            name, seconds = client.settings.name, session.control.liveness.rtt
            why = f"{seconds * 1000:.1f} ms away" if seconds else "how far it is nobody knows yet"
            say(
                Entry.HUB_PREFERRED, "service %s: new flows go by hub %s: %s", name, session.peer, why,
                fold=name, habit=BUSY, service=name, host=client.settings.host, hub=session.peer, reason=why,
            )  # fmt: skip
        if session.hub.instance and client.push.asks(session):
            session.greet()

    def _state(self, session: ClientSession) -> str:
        number = self._sessions.get(session, -1)
        if session in self._aside:
            return "its hub ends"
        if session is self.session:
            return "new flows" if len(self._usable) > 1 else "all flows"
        if number in self._usable:
            return "flows that it has"
        if session.sender.silent_at:
            return "silent"
        if session.is_kin and not session.hub.instance:
            return "begins"
        return "stands by: not in one cluster"


def _hub(node: NodeSettings) -> tuple[str, int]:
    """What a hub is dialled by, whichever way leads there."""
    return node.host, node.port


def _round_trip(one: Reconnector) -> float:
    return one.session.control.liveness.rtt if one.session is not None else 0.0
