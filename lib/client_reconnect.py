"""Reconnecting of a client: a hub is chosen and dialled, and again whenever the session with it ends.

Knows: the order of dialling, following a session and waiting, and moves from one hub to another.
Refuses to know: which node is next and after what delay (client_selector, client_backoff), how a hub is
reached (client_dial), what a session does (client_session).

One greenlet dials and keeps a session for as long as the client lives, and each session has one that reads
from the hub.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import gevent
from gevent.event import Event
from gevent.pool import Group

from lib import client_dial, client_session, service_supervisor
from lib.addresses import join_host_port
from lib.client_backoff import LASTING, LOST, TEMPORARY, Backoff, Pace
from lib.client_dial import Refused
from lib.client_session import ClientSession
from lib.client_ways import Ways
from lib.counter_rates import Rates
from lib.errors import ProtocolError
from lib.log_dedup import FLAPPING, OUTAGE, RETRIED
from lib.log_events import Entry
from lib.log_setup import absorb, forget, say, settle
from lib.service_supervisor import Task, keep
from lib.session_lane_sender import LaneSender
from lib.settings import ClientSettings, NodeSettings

STEADY_SECONDS = 10.0
"""A session that lived this long was a success: the next delay is the first one again."""


@dataclass(frozen=True, slots=True)
class Away:
    """What is known of a client without a session."""

    hub: str
    """Address and port, as configured, of the hub that was tried last."""
    reason: str = ""
    """Why that failed, or why the session ended; empty before the first try has ended."""
    next_at: float = 0.0
    """When the next try begins, of the monotonic clock; in the past while one is under way."""


class _Ended(NamedTuple):
    """How a try has ended: not admitted, or a session that ended."""

    why: str
    kind: str
    """The same in words of ours, for log_dedup."""
    pace: Pace = LOST
    seconds: float = 0.0
    """How long there was a session."""
    hop: int = -1
    """The number of the hop whose node has failed; -1 for the hub's, which is the last one."""


class Owner(client_session.Owner, Protocol):
    """What is used of the client."""

    rates: Rates

    def ask_hops(self) -> None:
        """Ask plugins whom to dial, before each dial. Raises OSError without a reply."""


class Reconnector:
    """Keeps a client connected."""

    def __init__(self, client: Owner) -> None:
        """Nothing is dialled before keep_connected()."""
        self._client = client
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
        self._ways = Ways(client.settings)
        self._reader = gevent.Greenlet()
        """Reads from the hub: ClientSession.run of the present session."""
        self._tried: set[tuple[str, str]] = set()
        """The keys under which failures were logged since the last session that lasted (log_dedup)."""
        self._tries, self._tries_since = 0, 0.0
        """How many tries have failed since then, and when the first one did."""
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
                self._settle()
            if self._try_now.is_set():
                self._try_now.clear()
                backoff.reset()
            self.node = self._ways.nodes[self._ways.choose(time.monotonic(), random.random)]
            if old is not settings or not self.away.reason:
                self.away = Away(_address(self.node))
            ended = unknown or self._try(self.node)
            now, node = time.monotonic(), self.node  # another node, where the session has moved
            if ended.seconds > STEADY_SECONDS:
                backoff.reset()
                self._note(node, None)
                self._forget()
            if self._try_now.is_set():  # it is a reload that has ended it: no hub has failed
                self._say_anew(settings.name, _address(node))
                continue
            if ended.seconds <= STEADY_SECONDS and ended is not unknown:
                self._note(node, now, ended.hop)
                self.failures[node.name] += 1
            self._tries_since = self._tries_since if self._tries else now
            self._tries += 1
            delay = backoff.next(ended.pace, len(settings.nodes), now, random.random(), settings.retries)
            self.away = Away(_address(node), ended.why, now + delay)
            self._tried.add(self._say_again(settings.name, self.away.hub, ended.why, ended.kind))
            self._try_now.wait(delay)

    def _ask(self) -> _Ended | None:
        """Ask plugins whom to dial; returns why nobody can be dialled, if that is so."""
        try:
            self._client.ask_hops()
        except OSError as error:
            return _Ended(error.strerror or str(error), "no reply of a plugin")
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

    def _try(self, node: NodeSettings) -> _Ended:
        """Dial a node, and use the session until it ends."""
        try:
            session = self._open(node)
            if self._try_now.is_set():  # a reload has come meanwhile, after which it would be another one
                session.close()
                return _Ended("the configuration has changed", "changed")
            began = time.monotonic()
            why = self._follow(session)
            return _Ended(why, "ended", LOST, time.monotonic() - began)
        except Refused as error:
            return _Ended(str(error), str(error), TEMPORARY if error.temporary else LASTING)
        except ProtocolError as error:
            return _Ended(str(error), error.refusal.value)
        except OSError as error:
            kind = f"{type(error).__name__} {error.errno}"
            return _Ended(error.strerror or str(error), kind, hop=client_dial.hop_of(error))
        except Exception as error:  # noqa: BLE001  whatever it is, it is a failed try
            service_supervisor.note(error)
            return _Ended(f"an error of this program: {type(error).__name__}", "error")

    @staticmethod
    def _say_again(name: str, hub: str, why: str, kind: str) -> tuple[str, str]:
        """Log that there is no session; returns the key that log_dedup counts by, without the hub's words."""
        fold, text, of = f"{name} {kind}", "service %s: hub %s: %s; trying again", (name, hub, why)
        say(Entry.RECONNECTING, text, *of, fold=fold, by=hub, habit=OUTAGE, service=name, hub=hub, reason=why)
        return fold, hub

    @staticmethod
    def _say_anew(name: str, hub: str) -> None:
        """Log that a reload has ended a session, or a try, and that the next one is made at once."""
        text, why = "service %s: hub %s: %s; connecting anew", "the configuration has changed"
        say(Entry.CONNECTS_ANEW, text, name, hub, why, fold=name, service=name, hub=hub, reason=why)

    def _settle(self) -> None:
        """Let the next failure be logged in full again, for the settings are others (log_dedup)."""
        for fold, hub in self._tried:
            settle(Entry.RECONNECTING, fold, hub)
        self._tried.clear()

    def _forget(self) -> None:
        """The same after a session that lasted: how many tries had failed was logged when it began."""
        for fold, hub in self._tried:
            forget(Entry.RECONNECTING, fold, hub)
        forget(Entry.CONNECTED, self._client.settings.name)
        self._tried.clear()
        self._tries = 0

    def _open(self, node: NodeSettings) -> ClientSession:
        """Dial a node and be admitted. Raises OSError, ProtocolError, Refused."""
        client = self._client
        return ClientSession(client, node, *client_dial.let_in(client.settings, node, client.around))

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

    def _take(self, session: ClientSession) -> None:
        """Send on a session from now on, unless one is held; the one before is read until it ends."""
        self.session = session
        session.adopt(self.node)  # a reload may have come while it was being made
        session.begin()
        self.sender = (self.held or session).sender
        self._reader = gevent.spawn(session.run)
        self._look_after(session)
        self.sessions_made += 1
        name, host = self._client.settings.name, self._client.settings.host
        tries = self._tries
        seconds = time.monotonic() - self._tries_since
        after = f" after {tries} {'try' if tries == 1 else 'tries'} in {seconds:.0f} s" if tries else ""
        say(
            Entry.CONNECTED, "service %s: connected to %s as %s%s", name, session.peer, host, after,
            fold=name, habit=FLAPPING, service=name, host=host, hub=session.peer, tries=tries,
        )  # fmt: skip
        for fold, hub in self._tried:  # the line above has counted them
            absorb(Entry.RECONNECTING, fold, hub)

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
            if now - session.since > STEADY_SECONDS and session is self.session and self._tried:
                self._forget()

    def _go_home(self, session: ClientSession) -> None:
        """Move back to a preferred node (strategies fifo and hash), once that can be reached again."""
        while self._ways.has_home:
            gevent.sleep(self._ways.fail_timeout * (1 + random.random() / 4))
            index = self._ways.index(self.node)
            better = [] if index is None else self._ways.better(index, time.monotonic())
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
            index = self._ways.index(self.node)
            others = [] if index is None else self._ways.others(index, time.monotonic())
            if not self._move(session, others, hold):
                session.decline()
        finally:
            self._moving.remove(session)

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
                self._take_over(new, node, hold)
            except Exception as error:  # noqa: BLE001  whatever it is, the session that there is stays
                if new is not None:
                    new.close()
                self._not_moved(node, error)
                continue
            if hold:
                self._hold(session)
            session.give_up(f"moved to {new.peer}")
            return True
        return False

    def _hold(self, session: ClientSession) -> None:
        """Send by the session before until its hub says SWITCH: all other hosts have moved too."""
        session.decline()
        session.hold.wait()
        if self.held is session:
            self.held = None
            if self.session is not None:
                self.sender = self.session.sender
                self.session.resume()
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
