"""What a hub tells its hosts: their addresses, and the routes to the others (SETTINGS; PROTOCOL.md).

Knows: which hosts want to be told, when that has changed, in which order and how fast they are told.
Refuses to know: the message (push_settings), which routes become one (push_routes), pools (push_leases).

Routes are gathered and encoded once for a namespace, after each change of its tables, in steps beside the
packets. Then one host after the other is told, with a pause for packets after each. A host replies with the
number of the message. One that does not is told again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from gevent.event import Event

from lib import ids, prefixes, push_routers, push_routes, push_settings, service_collector
from lib.bounded_dict import BoundedDict
from lib.hub_tables import Tables
from lib.humanize import counted
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say, settle
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.push_leases import Leases
from lib.push_routes import Row, Told
from lib.push_settings import Pushed
from lib.route_live import LiveRoutes
from lib.route_table import LEASED, RouteTable
from lib.service_scheduling import Breaths, breathe
from lib.service_supervisor import Task
from lib.session_control import SessionControl
from lib.settings import HubSettings, TableSettings
from lib.wire_control import Feature

LOOK_SECONDS = 0.2
"""How often tables are looked at for changes."""
MANY_ROUTES = 16_384
"""Routes of a namespace's tables that hosts are told of. Of longer tables nothing is told."""
TABLES = 4096
"""Tables whose routers are remembered."""
SHARE = 4
"""Gathering the routes of a namespace is followed by this many times the time that it took."""
AGAIN_SECONDS, LONGEST_SECONDS = 1.0, 16.0
"""A host that has not replied is told again after so long, at first and at most (doubling)."""


class Session(Protocol):
    """What is used of a session (hub_session.HubSession)."""

    attachment: Attachment
    control: SessionControl


class Owner(Protocol):
    """What is used of the hub."""

    settings: HubSettings
    tables: Tables
    domain: Domain


@dataclass(slots=True)
class _Host:
    """What a session was told last."""

    version: int = 0
    """The namespace's version that was told."""
    own: bytes = b""
    """The fields for it alone."""
    shared: bytes = b""
    """Those for all hosts of its namespace, which all of them share."""
    serial: int = 0
    heard: int = 0
    """The serial that its client has replied."""
    again_at: float = 0.0
    pause: float = AGAIN_SECONDS
    moves: int = 0
    """The number (Leases.moved) of the change of its addresses that was told last."""


@dataclass(slots=True, eq=False)
class _Namespace:
    """What all hosts of a namespace are told."""

    changes: tuple[tuple[int, int], ...] = ()
    """What it was made of: (id() of a table, its changes)."""
    settings: list[TableSettings] = field(default_factory=list)
    """Those of the tables."""
    version: int = 0
    """How often what is told has changed."""
    routes: Told = field(default_factory=Told)
    fixed: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    shared: bytes = b""
    leases: Leases | None = None
    """Those of the first of its tables that has a pool."""
    routed: list[Leases] = field(default_factory=list)
    """Those of every table that has a pool or had one."""
    next_at: float = 0.0
    """Not before then it is made anew."""

    def has(self, settings: list[TableSettings]) -> bool:
        """Whether it was made of these settings: the very same objects, which is quickly compared."""
        return [*map(id, self.settings)] == [*map(id, settings)]

    def again(self, sessions: Iterable[Session]) -> Iterator[Session]:
        """Sessions of hosts that have no address of the pool, as many as may be free now."""
        leases = self.leases
        if leases is not None and leases.freed:
            for session in sessions:
                if leases.freed and session.attachment.host in leases.without:
                    leases.freed -= 1
                    yield session

    def follow(self, twin: _Namespace) -> None:
        """Tell the hosts of this namespace the same as those of another one, whose tables are the same."""
        if not self.has(twin.settings) or (self.routes, self.shared) != (twin.routes, twin.shared):
            self.version += 1
        self.changes, self.settings, self.next_at = twin.changes, twin.settings, twin.next_at
        self.routes, self.shared, self.fixed = twin.routes, twin.shared, twin.fixed
        self.leases, self.routed = twin.leases, twin.routed


class Push:
    """Tells the hosts of one hub service."""

    def __init__(self, hub: Owner) -> None:
        """Nobody is told before start()."""
        self._hub = hub
        self._hosts: dict[Session, _Host] = {}
        self._namespaces: dict[bytes, _Namespace] = {}
        self._twins: dict[tuple[tuple[int, int], ...], _Namespace] = {}
        """What was made of these tables as they are. Anybody can make up namespaces: all have the same."""
        self._wake = Event()
        self._live: BoundedDict[int, tuple[RouteTable, LiveRoutes | None]] = BoundedDict(TABLES)
        """id() of a table -> the table, and its router; None for a table of no router."""
        self._telling = Task(f"service {hub.settings.name}: hosts are told their settings", self._run)

    def start(self) -> None:
        """Begin to tell hosts."""
        self._telling.start()

    def stop(self) -> None:
        """Tell nobody any more, and write down who has which address."""
        self._telling.kill(block=False)
        for leases in push_routers.all_leases():
            leases.stop()

    def met(self, session: Session) -> None:
        """Tell a client soon that has just said HELLO, if it wants to be told."""
        if session.control.can(Feature.SETTINGS):
            self._hosts.setdefault(session, _Host())
            self._wake.set()

    def heard(self, session: Session, reply: Pushed) -> None:
        """Note the reply of a client: it has what was told."""
        host = self._hosts.get(session)
        if host is not None and reply.serial <= host.serial:
            host.heard = max(host.heard, reply.serial)

    def _run(self) -> None:
        while True:
            self._wake.wait(LOOK_SECONDS if self._hosts else None)
            self._wake.clear()
            self._look()

    def _look(self) -> None:
        """Tell every host what has changed for it."""
        step = Breaths()
        self._forget_gone(step)
        namespaces: dict[bytes, list[Session]] = {}
        for session in list(self._hosts):
            namespaces.setdefault(session.attachment.namespace.id, []).append(session)
            step()
        for key in self._namespaces.keys() - namespaces.keys():
            over(Entry.NOT_TOLD, self._hub.settings.name, ids.format_uuid(key))
        self._namespaces = {key: self._namespaces.get(key) or _Namespace() for key in namespaces}
        self._twins = {made.changes: made for made in self._namespaces.values() if made.changes}
        for key, sessions in namespaces.items():
            made = self._namespaces[key]
            namespace = sessions[0].attachment.namespace
            self._make(made, namespace)
            due = dict.fromkeys(one for one in sessions if self._hosts[one].version != made.version)
            due |= dict.fromkeys(made.again(sessions))
            due |= dict.fromkeys(self._moved(made, sessions))
            addresses = {}
            for session in due:
                found = self._addresses(made, namespace, session.attachment.host)
                if found is not None:
                    addresses[session] = found
                else:
                    self._hosts[session].version = 0  # it is due again
                step()
            for leases in made.routed:
                leases.route()  # first, so that nobody has an address to which nothing leads
            for session, own in addresses.items():
                self._tell(session, made, own)
            for session in sessions:
                self._tell_again(session)
                step()

    def _forget_gone(self, step: Breaths) -> None:
        for session in list(self._hosts):
            if not session.attachment.is_here:
                del self._hosts[session]
                for leases in push_routers.all_leases():
                    leases.left(session.attachment.host)
            step()

    def _make(self, made: _Namespace, namespace: Namespace) -> None:
        """Make anew what all hosts of a namespace are told, where its tables have changed."""
        tables = [table for table in namespace.tables if isinstance(table, RouteTable)]
        lives = [live for table in tables if (live := self._live_of(table)) is not None]
        settings = [live.settings for live in lives]
        changes = tuple((id(table), table.changes) for table in tables)
        same = made.has(settings)
        began = time.monotonic()
        if (changes == made.changes and same) or began < made.next_at:
            return
        twin = self._twins.get(changes)
        if twin is not None and twin.has(settings):
            made.follow(twin)
            return
        every = [
            push_routers.leases_of(live) for live in lives if live.settings.pool or push_routers.has(live)
        ]
        made.routed = every
        made.leases = next((leases for leases in every if leases.pool.prefixes), None)
        total = sum(map(len, tables)) - sum(len(leases.pool) for leases in every)
        fixed = {host: own for one in reversed(settings) for host, own in one.fixed}
        routes = self._gathered(tables, settings, fixed, total <= MANY_ROUTES)
        if routes is None:  # a table has changed meanwhile
            return
        left_out = routes.left_out if total <= MANY_ROUTES else total
        self._say_left_out(namespace, left_out)
        mtu = next((one.mtu for one in settings if one.mtu), 0)
        shared = push_settings.shared(routes.routes, left_out, mtu, *_names(settings))
        if not same or (routes, shared) != (made.routes, made.shared):  # and not only leases are new
            made.version += 1
            for leases in every:
                leases.check()
        made.changes, made.settings = changes, settings
        made.routes, made.shared, made.fixed = routes, shared, fixed
        ended = time.monotonic()
        made.next_at = ended + SHARE * (ended - began)
        self._twins[changes] = made

    def _live_of(self, table: RouteTable) -> LiveRoutes | None:
        """The router of a table. There may be thousands, so they are not looked through again and again."""
        known = self._live.get(id(table))
        if known is None or known[0] is not table:
            every = (live for _, live in self._hub.tables.routers() if isinstance(live, LiveRoutes))
            known = table, next((live for live in every if live.router is table), None)
            self._live.renew(id(table), known)
        return known[1]

    def _gathered(
        self,
        tables: list[RouteTable],
        settings: list[TableSettings],
        fixed: dict[str, tuple[bytes, ...]],
        whole: bool,
    ) -> Told | None:
        """The routes of tables, made in steps; None where one of them has changed meanwhile."""
        before = [table.changes for table in tables]
        steps = push_routes.told(_rows(tables if whole else [], settings), fixed)
        # With the objects of a thousand sessions a collection takes 15 ms, and what is made here would ask
        # for one.
        with service_collector.paused(stays=False):
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    told: Told = end.value
                    return told
                breathe()
                if before != [table.changes for table in tables]:
                    return None

    def _moved(self, made: _Namespace, sessions: Iterable[Session]) -> Iterator[Session]:
        """Sessions of hosts whose addresses became others, by a list that several hubs share."""
        leases = made.leases
        if leases is not None and leases.moved:
            for session in sessions:
                host = self._hosts[session]
                if (moves := leases.moved.get(session.attachment.host, 0)) > host.moves:
                    host.moves = moves
                    yield session

    def _addresses(self, made: _Namespace, namespace: Namespace, host: str) -> tuple[bytes, ...] | None:
        """A host's addresses: those of `hosts`, those that are routed to it alone, or ones of the pool.

        None where other hubs have to be asked first.
        """
        fixed = made.fixed.get(host, ())
        sizes = set(map(len, fixed))
        found = [*fixed, *(one for one in made.routes.addresses.get(host, ()) if len(one) not in sizes)]
        if made.leases is not None:
            sizes = set(map(len, found))
            given = made.leases.give(host, frozenset(sizes), self._is_here)
            if given is None:
                return None
            found += given
        return tuple(found[: push_settings.MAX_ADDRESSES])

    def _is_here(self, host: str) -> bool:
        return any(one.sessions_of(host) for one in self._hub.domain.namespaces.values())

    def _tell(self, session: Session, made: _Namespace, addresses: tuple[bytes, ...]) -> None:
        """Tell one host what it has not been told yet."""
        host, name = self._hosts.get(session), session.attachment.host
        if host is None:
            return
        host.version = made.version
        own = push_settings.fields(addresses, made.routes.own.get(name, ()))
        if host.serial and own == host.own and made.shared == host.shared:
            return
        host.own, host.shared = own, made.shared
        host.serial, host.pause = host.serial + 1, AGAIN_SECONDS
        self._send(session, host)

    def _tell_again(self, session: Session) -> None:
        """Tell a host the same again that has not replied."""
        host = self._hosts.get(session)
        if host is not None and host.heard != host.serial and time.monotonic() >= host.again_at:
            host.pause = min(2 * host.pause, LONGEST_SECONDS)
            self._send(session, host)

    def _send(self, session: Session, host: _Host) -> None:
        host.again_at = time.monotonic() + host.pause
        if session.attachment.is_here:
            session.control.push(push_settings.numbered(host.serial) + host.own + host.shared)
        breathe()

    def _say_left_out(self, namespace: Namespace, count: int) -> None:
        name, key = self._hub.settings.name, ids.format_uuid(namespace.id)
        if not count:
            settle(Entry.NOT_TOLD, name)
            over(Entry.NOT_TOLD, name, key)
            return
        reason = f"no room to tell the hosts of {counted(count, 'route')}"
        text = "service %s: namespace %s: %s"
        say(
            Entry.NOT_TOLD, text, name, key, reason, fold=name, habit=OUTAGE,
            service=name, namespace=key, reason=reason,
        )  # fmt: skip


def _names(settings: Iterable[TableSettings]) -> tuple[tuple[bytes, ...], str]:
    """(the hub's addresses at which it answers for names, the domain of these), of a namespace's routers."""
    every = list(settings)
    domain = next((one.names.domain for one in every if one.names is not None and one.own), "")
    own = tuple(address.ip.packed for one in every for address in one.own)
    return (own, domain) if domain else ((), "")


def _rows(tables: Iterable[RouteTable], settings: Iterable[TableSettings]) -> Iterator[Row]:
    """Every row that hosts are told of: the hub's own networks and pools, and routes but those of leases."""
    for one in settings:
        for prefix in (*(prefixes.packed(own.network) for own in one.own), *one.pool):
            yield *prefix, frozenset()
    for table in tables:
        for trie in (table.tries.four, table.tries.six):
            for address, length, group in trie.unordered():
                if group.rows[0][0] != LEASED:
                    yield address, length, group.names
