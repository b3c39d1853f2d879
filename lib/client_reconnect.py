"""Reconnecting of a client: a hub is chosen and dialled, and again whenever the session with it ends.

Knows: the order of dialling, following a session and waiting, and moves from one hub to another.
Refuses to know: which node is next and after what delay (client_selector, client_backoff), how a hub is
reached (client_dial), what a session does (client_session).

One greenlet dials and keeps a session for as long as the client lives, and each session has one that reads
from the hub. A client that keeps several sessions has one of these for each (client_paths).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.pool import Group

from lib import client_dial, client_session, service_supervisor
from lib.addresses import join_host_port
from lib.client_backoff import LOST, Backoff
from lib.client_handover import HOLD_SECONDS, KNOWN_SECONDS
from lib.client_session import ClientSession
from lib.client_tries import Away, Ended, Tries, ended_by
from lib.client_ways import Ways
from lib.counter_rates import Rates
from lib.errors import ProtocolError
from lib.log_dedup import RETRIED
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_supervisor import Task, keep
from lib.session_lane_sender import LaneSender
from lib.settings import ClientSettings, NodeSettings

STEADY_SECONDS = 10.0
"""A session that lived this long was a success: the next delay is the first one again."""
NO_HUB_SECONDS = 2.0
"""How often it is looked whether there is a hub that no other session of the client has."""
ENDS_SECONDS = 12.0
"""How long a hub that has asked all to leave may take to end, before its session is given up."""


class Owner(client_session.Owner, Protocol):
    """What is used of the client."""

    rates: Rates

    def ask_hops(self) -> None:
        """Ask plugins whom to dial, before each dial. Raises OSError without a reply."""


class Others(Protocol):
    """What is used of the other sessions of the same client (client_paths)."""

    def instance(self, of: Reconnector) -> bytes:
        """The instance that HELLO says, 16 bytes."""

    def is_free(self, node: NodeSettings, by: Reconnector) -> bool:
        """Whether a node leads to a hub that no other one has a session with, or dials."""

    def began(self, one: Reconnector) -> None:
        """There is a session, perhaps in place of another one."""

    def ended(self, one: Reconnector) -> None:
        """There is none any more."""

    def can_carry(self, one: Reconnector) -> bool:
        """Whether another session could carry what goes by this one."""

    def stand_aside(self, one: Reconnector, all_have_moved: bool) -> None:
        """Let flows go by other sessions from now on.

        Before all have moved only by one with another hub of the same cluster, which reaches all of them.
        """


class Reconnector:
    """Keeps one session of a client."""

    def __init__(self, client: Owner, others: Others, number: int = 0) -> None:
        """Nothing is dialled before keep_connected(). `number`: another one for each session of a client."""
        self._client, self._others, self.number = client, others, number
        self.session: ClientSession | None = None
        self.sender: LaneSender | None = None
        """What is sent by: the session's sender, or that of `held`; None where there is none, or none yet."""
        self.held: ClientSession | None = None
        """The session before, while it is still sent by (client_handover)."""
        self.sessions_made = 0
        self.failures: Counter[str] = Counter()
        """Node -> how often a session with it failed, or ended within STEADY_SECONDS."""
        self.away = Away(_address(client.settings.nodes[0]))
        """What is known while there is no session; outdated while there is one."""
        self._try_now = Event()
        """Set where the next try must not wait any longer."""
        self.node = client.settings.nodes[0]
        """The node that there is a session with, or that is being dialled; a reload may have removed it."""
        self.is_dialling = False
        self._ways = Ways(client.settings)
        self._reader = gevent.Greenlet()
        """Reads from the hub: ClientSession.run of the present session."""
        self._tries = Tries()
        self._beside: list[Task] = []
        self._moving: list[ClientSession] = []
        self._leaving = Group()
        """Greenlets that dial another hub because the present one has asked for that."""

    def stop(self, wait: bool = True) -> None:
        """End the session, and wait for that."""
        for task in self._beside:
            task.kill(block=wait)
        self._leaving.kill(block=wait)
        self._reader.kill(block=wait)

    def choose_among(self, settings: ClientSettings) -> bool:
        """Choose among the nodes of these settings from now on; False where they were chosen among before."""
        if self._ways.are_of(settings):
            return False
        self._ways = Ways(settings, self._ways)
        return True

    def keeps_its_node(self) -> bool:
        """Whether the node in use is still configured. A change of its congestion control is made here."""
        same = self._ways.same(self.node)
        if same is None:
            return False
        self.node = same
        if self.session is not None:
            self.session.adopt(same)
        return True

    def connect_anew(self, why: str) -> None:
        """End the session, if there is one; the next is made at once, with the client's present settings."""
        self._try_now.set()
        if self.session is not None:
            self.session.sender.close(why)

    def keep_connected(self) -> None:
        """Choose a node, have a session with it until that ends, wait, and begin again; never returns."""
        settings = self._client.settings
        backoff = Backoff()
        while True:
            unknown = self._ask()
            old, settings = settings, self._client.settings
            self.choose_among(settings)
            if old.nodes != settings.nodes:
                self._tries.settle()
            if self._try_now.is_set():
                self._try_now.clear()
                backoff.reset()
            free = self._free(range(len(self._ways.nodes)))
            if not free:
                self.away = Away(_address(self.node), "another session of this client has the only other hub")
                self._try_now.wait(NO_HUB_SECONDS)
                continue
            self.node = self._ways.nodes[self._ways.choose(time.monotonic(), random.random, free)]
            if old is not settings or not self.away.reason:
                self.away = Away(_address(self.node))
            ended = unknown or self._try(self.node)
            now, node = time.monotonic(), self.node  # another node, where the session has moved
            if ended.seconds > STEADY_SECONDS:
                backoff.reset()
                self._note(node, None)
                self._tries.forget(settings.name)
            if self._try_now.is_set():  # it is a reload that has ended it: no hub has failed
                self._tries.anew(settings.name, _address(node))
                continue
            if ended.seconds <= STEADY_SECONDS and ended is not unknown:
                self._note(node, now, ended.hop)
                self.failures[node.name] += 1
            delay = backoff.next(ended.pace, len(settings.nodes), now, random.random(), settings.retries)
            self.away = Away(_address(node), ended.why, now + delay)
            self._tries.failed(settings.name, self.away.hub, ended.why, ended.kind, now)
            self._try_now.wait(delay)

    def _ask(self) -> Ended | None:
        """Ask plugins whom to dial; returns why nobody can be dialled, if that is so."""
        try:
            self._client.ask_hops()
        except OSError as error:
            return Ended(error.strerror or str(error), "no reply of a plugin")
        return None

    def _note(self, node: NodeSettings, failed_at: float | None, hop: int = -1) -> None:
        """Tell the selector that a node, in that hop of its way, has failed, or that it has not."""
        index = self._ways.index(node)
        if index is None:
            return
        if failed_at is None:
            self._ways.succeeded(index)
        else:
            self._ways.failed(index, failed_at, hop)

    def _try(self, node: NodeSettings) -> Ended:
        """Dial a node, and use the session until it ends."""
        self.is_dialling = True
        try:
            session = self._open(node)
            if self._try_now.is_set():  # a reload has come meanwhile, after which it would be another one
                session.close()
                return Ended("the configuration has changed", "changed")
            began = time.monotonic()
            why = self._follow(session)
            return Ended(why, "ended", LOST, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a failed try
            return ended_by(error)
        finally:
            self.is_dialling = False

    def _open(self, node: NodeSettings) -> ClientSession:
        """Dial a node and be admitted. Raises OSError, ProtocolError, Refused."""
        client = self._client
        way = client_dial.let_in(client.settings, node, client.around)
        return ClientSession(client, node, *way, self._others.instance(self))

    def _free(self, indices: Iterable[int]) -> list[int]:
        """Those of the ways that lead to a hub which no other session of the client has."""
        nodes = self._ways.nodes
        return [index for index in indices if self._others.is_free(nodes[index], self)]

    def _follow(self, session: ClientSession) -> str:
        """Use a session, and each that takes its place; returns why the last one ended."""
        try:
            self._take(session)
            while True:
                reader = self._reader
                why: str = reader.get()
                if reader is self._reader:
                    return why
        except Exception:
            session.close()  # perhaps nobody reads it yet
            raise
        finally:
            self.session = self.sender = self.held = None
            self._reader.kill()
            self._leave_alone()
            self._others.ended(self)

    def _take(self, session: ClientSession) -> None:
        """Send on a session from now on, unless one is held; the one before is read until it ends."""
        self.session = session
        session.adopt(self.node)  # a reload may have come while it was being made
        self.sender = (self.held or session).sender
        self._others.began(self)
        session.begin()
        self._reader = gevent.spawn(session.run)
        self._look_after(session)
        self.sessions_made += 1
        settings = self._client.settings
        self._tries.connected(settings.name, settings.host, session.peer)

    def _take_over(self, session: ClientSession, node: NodeSettings, hold: bool = False) -> None:
        """Take a session with another node in place of the present one, which stays where that fails."""
        present, before = self.session, (self.session, self.sender, self._reader, self.node)
        self.node, self.held = node, present if hold else None
        try:
            self._take(session)
        except Exception:
            self.session, self.sender, self._reader, self.node = before
            self.held = None
            if present is not None:
                present.resume()
                self._look_after(present)
                self._others.began(self)
            raise

    def _look_after(self, session: ClientSession) -> None:
        """Start the tasks beside a session, in place of those beside the one before."""
        self._leave_alone()
        name = f"service {self._client.settings.name}"
        self._beside = [keep(f"{name}: the session is looked after", self._beat, session)]
        if self._ways.has_home:
            task = Task(f"{name}: a better hub is tried", self._go_home, session, may_end=True)
            self._beside.append(task.start())

    def _leave_alone(self) -> None:
        """Look no more after the session there was; perhaps it is one of these tasks that says so."""
        for task in self._beside:
            task.kill(block=False)
        self._beside = []

    def _beat(self, session: ClientSession) -> None:
        """Sample counters and check the keepalive of a session at each tick."""
        while True:
            gevent.sleep(session.control.liveness.tick)
            now = time.monotonic()
            self._client.rates.sample(self._client.traffic, now)
            session.beat(now)
            if now - session.since > STEADY_SECONDS and session is self.session and self._tries.any:
                self._tries.forget(self._client.settings.name)

    def _go_home(self, session: ClientSession) -> None:
        """Move back to a preferred node (strategies fifo and hash), once that can be reached again."""
        while self._ways.has_home:
            gevent.sleep(self._ways.fail_timeout * (1 + random.random() / 4))
            index = self._ways.index(self.node)
            better = [] if index is None else self._free(self._ways.better(index, time.monotonic()))
            if better and self._move(session, better):
                return

    def leave(self, session: ClientSession, hold: bool = False) -> None:
        """The hub asks for another session in place of this one (DRAIN): move, to another node first."""
        if session is self.session and session not in self._moving:
            self._moving.append(session)
            self._leaving.spawn(self._leave, session, hold)

    def _leave(self, session: ClientSession, hold: bool = False) -> None:
        try:
            name = self._client.settings.name
            text = "service %s: %s asks for another session in place of this one"
            say(Entry.HUB_DRAINS, text, name, session.peer, fold=name, service=name, hub=session.peer)
            if hold and self._others.can_carry(self):
                self._stand_aside(session)
                return
            index = self._ways.index(self.node)
            others = [] if index is None else self._free(self._ways.others(index, time.monotonic()))
            if not self._move(session, others, hold):
                session.decline()
        finally:
            self._moving.remove(session)

    def _stand_aside(self, session: ClientSession) -> None:
        """The hub ends, and other sessions carry what went by it: read on until it does."""
        self._others.stand_aside(self, False)
        session.decline()
        session.hold.wait()
        self._others.stand_aside(self, True)
        session.control.switch()
        gevent.spawn_later(ENDS_SECONDS, session.sender.close, "the hub was to end, and has not")

    def _move(self, session: ClientSession, indices: Sequence[int], hold: bool = False) -> bool:
        """Get a session with one of these nodes, then give up this one; False where no node admits us.

        A reload may come while a node is dialled: one that it has removed is not moved to.
        """
        for node in [self._ways.nodes[index] for index in indices]:
            if node not in self._ways.nodes:
                continue
            new: ClientSession | None = None
            try:
                new = self._open(node)
                if session is not self.session:  # it has ended meanwhile, and another one is being made
                    new.close()
                    return True
                if node not in self._ways.nodes:
                    new.close()
                    continue
                holds = hold or bool(session.hub.cluster)
                self._take_over(new, node, holds)
            except Exception as error:  # noqa: BLE001  whatever it is, the session that there is stays
                if new is not None:
                    new.close()
                self._not_moved(node, error)
                continue
            # Not in this greenlet: it may be one that looks after the session before.
            self._leaving.spawn(self._hand_over, session, new.peer, holds, hold)
            return True
        return False

    def _hand_over(self, session: ClientSession, peer: str, holds: bool, hub_ends: bool) -> None:
        """Send by the session before for a while, if that `holds`; then give it up."""
        try:
            if holds:
                self._hold(session, HOLD_SECONDS if hub_ends else KNOWN_SECONDS)
        finally:  # also where the client ends meanwhile
            session.give_up(f"moved to {peer}", hub_ends)

    def _hold(self, session: ClientSession, seconds: float) -> None:
        """Send by the session before until its hub says SWITCH, or all others know that we have moved."""
        session.decline()
        session.hold.wait(seconds)
        if self.held is session:
            self.held = None
            if self.session is not None:
                self.sender = self.session.sender
                self.session.resume()
                self._others.began(self)
        session.control.switch()

    def _not_moved(self, node: NodeSettings, error: Exception) -> None:
        """Count and log that there is no session with another node."""
        self._note(node, time.monotonic(), client_dial.hop_of(error))
        if not isinstance(error, (OSError, ProtocolError)):
            service_supervisor.note(error)
        name = self._client.settings.name
        text = "service %s: not moved: %s"
        say(Entry.NOT_MOVED, text, name, error, fold=name, habit=RETRIED, service=name, reason=error)


def _address(node: NodeSettings) -> str:
    return join_host_port(node.host, node.port)
