"""The hubs of this process, as the web API asks for them (api_hubs).

Knows: what is read of each session, tap and table for a reply.
Refuses to know: who asks, and what becomes of the reply (api_live, api_x_hosts, api_x_look; in a worker
worker_told).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import gevent

from lib import (
    ctl_cluster,
    ctl_drops,
    ctl_enrol,
    ctl_explain,
    ctl_filter,
    ctl_session,
    ctl_status,
    hub_drain,
    ids,
    observe_stats,
    prefixes,
)
from lib.api_flows import Flows
from lib.api_hosts import Counts, Sample
from lib.api_hubs import FAILED, READY, RUNNING, About, Key, Row, Running, Seen
from lib.api_prefixes import PrefixesShown
from lib.api_route_pages import RoutePages
from lib.capture_taps import Tap, Taps
from lib.counters import Seen as Last
from lib.ctl_routes import PrefixesByHost
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.hub_tables import Tables
from lib.packet_text import summary
from lib.service_scheduling import breathe, in_steps
from lib.session_problems import INTENDED

if TYPE_CHECKING:
    from lib.client import Client

SLICE = 64
"""Hosts after which packets get their turn."""
MAX_WARNINGS = 5
"""Lines about the name of one host."""


class OwnHubs:
    """The hubs of this process, and its clients where something is told of them too (api_hubs.Hubs)."""

    def __init__(
        self,
        hubs: Mapping[str, Hub],
        clients: Mapping[str, Client],
        tables: Tables,
        taps: Taps,
        since: Mapping[str, float],
        passed_on: str = "",
    ) -> None:
        """The mappings are the process's own: what they hold changes. `since` has when services were started.

        `passed_on` ends the way (capture_fate) of packets that another process tells of, in a worker.
        """
        self._hubs, self._clients, self._tables, self._taps = hubs, clients, tables, taps
        self._since, self._passed_on = since, passed_on
        self._prefixes = PrefixesShown()
        self._routes = RoutePages(hubs, tables)
        self._started = time.monotonic()

    # --- hosts

    def look(self) -> OwnLook:
        """As api_hubs.Hubs.look."""
        return OwnLook(self._hubs, self._tables, self._prefixes)

    def about(self, key: Key) -> About:
        """As api_hubs.Hubs.about."""
        sessions, now = self._sessions(key), time.monotonic()
        found = sessions[0].hub.prefixes.of(sessions[0].attachment.namespace, key[2]) if sessions else ()
        return About(
            _rows(sessions, now),
            _drops(sessions, now),
            self._warnings(key, now),
            [prefixes.text(*one) for one in found or ()],
        )

    def flows(self, key: Key, seconds: float) -> list[Row]:
        """As api_hubs.Hubs.flows."""
        flows = Flows(key[2], key[1].hex(), self._passed_on)
        self._taps.add(flows)
        try:
            gevent.sleep(seconds)
        finally:
            self._taps.remove(flows)
        return flows.rows(seconds)

    def kick(self, key: Key, why: str) -> int | None:
        """As api_hubs.Hubs.kick."""
        sessions = self._sessions(key)
        for session in sessions:
            session.sender.close(why)
        return len(sessions) or None

    def drain(self, key: Key) -> int | None:
        """As api_hubs.Hubs.drain."""
        sessions = self._sessions(key)
        return sum([hub_drain.move(session) for session in sessions]) if sessions else None

    def _sessions(self, key: Key) -> list[HubSession]:
        return [
            session
            for hub in list(self._hubs.values())
            if domain_of(hub) == key[0]
            for session in list(hub.sessions.values())
            if session.attachment.host == key[2] and session.attachment.namespace.id == key[1]
        ]

    def _warnings(self, key: Key, now: float) -> list[str]:
        return [
            line
            for hub in list(self._hubs.values())
            if domain_of(hub) == key[0]
            for namespace, name, line in filter(
                None, in_steps(hub.identities.warnings(list(hub.sessions.values()), now))
            )
            if (namespace, name) == key[1:]
        ][:MAX_WARNINGS]

    # --- as the control socket tells

    def status(self) -> Mapping[str, object]:
        """As api_hubs.Hubs.status."""
        return ctl_status.status(self._hubs, self._clients, self._tables, self._started, "", {})

    def sessions(self, host: str, ns: str) -> Iterable[Row | None]:
        """As api_hubs.Hubs.sessions."""
        wanted = ctl_filter.read({"host": host, "ns": ns})
        return ctl_status.session_rows(list(self._hubs.values()), wanted, time.monotonic())

    def drops(self, ns: str, own_only: bool) -> Mapping[str, Any]:
        """As api_hubs.Hubs.drops."""
        return ctl_drops.drops(self._hubs, {} if own_only else self._clients, {"ns": ns})

    def cluster(self) -> Mapping[str, Any]:
        """As api_hubs.Hubs.cluster."""
        return ctl_cluster.view(time.monotonic(), time.time())

    def explain(self, query: Mapping[str, str], own_only: bool) -> Mapping[str, object]:
        """As api_hubs.Hubs.explain."""
        hub = self._hub(query.get("service", ""), ids.parse_uuid(query["ns"]), query["from"])
        question = ctl_explain.read_question(hub.domain, query)
        return ctl_explain.reply(hub.settings.name, question, sessions=True, own_only=own_only)

    def _hub(self, service: str, namespace: bytes, host: str) -> Hub:
        """The hub that a packet comes to: the one that is named, or has its host, or the only one."""
        chosen = [hub for name, hub in self._hubs.items() if service in ("", name)]
        if len(chosen) > 1:
            here = [
                hub
                for hub in chosen
                if (space := hub.domain.namespaces.get(namespace)) and host in space.gateways.here
            ]
            if {id(hub.domain) for hub in here} and len({id(hub.domain) for hub in here}) == 1:
                return here[0]
        if len(chosen) != 1:
            raise ValueError(ctl_filter.which_hub(service, self._hubs))
        return chosen[0]

    # --- tables

    def routes(self, query: Mapping[str, str], ns: str, most: int, own_only: bool) -> Mapping[str, object]:
        """As api_hubs.Hubs.routes."""
        return self._routes.routes(query, ns, most, own_only)

    def gateways(self, ns: str) -> list[Row]:
        """As api_hubs.Hubs.gateways."""
        return self._routes.gateways(ns, elsewhere=not self._passed_on)

    def enrolled(self, ns: str) -> Mapping[str, object]:
        """As api_hubs.Hubs.enrolled."""
        return ctl_enrol.hosts(self._hubs, self._tables, {"ns": ns})

    def invite(self, asked: Mapping[str, Any]) -> Row:
        """As api_hubs.Hubs.invite."""
        return ctl_enrol.invite(self._hubs, self._tables, asked)

    def revoke(self, asked: Mapping[str, Any]) -> Row:
        """As api_hubs.Hubs.revoke."""
        return ctl_enrol.revoke(self._hubs, self._tables, asked)

    # --- services and packets

    def service(self, name: str) -> Running:
        """As api_hubs.Hubs.service: a hub is ready while it listens, a client while it has a session."""
        one, since = self._hubs.get(name) or self._clients.get(name), self._since.get(name, 0.0)
        if one is None:
            return Running(since, "", "", None)
        is_ready = one.listens if isinstance(one, Hub) else one.session is not None
        state = FAILED if one.fault() else READY if is_ready else FAILED if isinstance(one, Hub) else RUNNING
        place = (one.address if one.listens else "") if isinstance(one, Hub) else one.device_name
        observe = one.settings.observe
        wanted = observe is not None and observe.enable_stats
        return Running(since, state, place, self.stats(name) if wanted else None)

    def stats(self, name: str) -> dict[str, int]:
        """GOST's figures of a service."""
        one = self._hubs.get(name) or self._clients.get(name)
        if one is None:
            return {}
        stats = observe_stats.of_hub(one) if isinstance(one, Hub) else observe_stats.of_client(one)
        return stats.fields()

    def watch(self, tap: Tap, host: str, ns: str, expression: str) -> Callable[[], None]:
        """As api_hubs.Hubs.watch: it is shown all packets."""
        self._taps.add(tap)
        return partial(self._taps.remove, tap)


class OwnLook:
    """All hosts of this process at one moment (api_hubs.Look); a host is looked at once it is asked for."""

    def __init__(self, hubs: Mapping[str, Hub], tables: Tables, shown: PrefixesShown) -> None:
        self._hubs, self._tables, self._shown = list(hubs.values()), tables, shown
        self._domains: dict[str, list[Hub]] = {}
        for hub in self._hubs:
            self._domains.setdefault(domain_of(hub), []).append(hub)

    def here(self) -> Mapping[Key, Seen]:
        """As api_hubs.Look.here."""
        now = time.monotonic()
        sessions, claims = self._sessions(), self._claims(now)
        found: dict[Key, Seen] = {}
        for number, (key, some) in enumerate(sessions.items(), 1):
            shown = self._shown.of(some[0].attachment.namespace.tables, key[2])
            found[key] = Seen(_sample(some, key in claims, now), shown)
            if not number % SLICE:
                breathe()
        return found

    def _sessions(self) -> dict[Key, list[HubSession]]:
        here: dict[Key, list[HubSession]] = {}
        for hub in self._hubs:
            domain = domain_of(hub)
            self._shown.read(
                table for space in list(hub.domain.namespaces.values()) for table in space.tables
            )
            for session in list(hub.sessions.values()):
                place = session.attachment
                here.setdefault((domain, place.namespace.id, place.host), []).append(session)
        return here

    def _claims(self, now: float) -> set[Key]:
        return {
            (domain_of(hub), namespace, host)
            for hub in self._hubs
            for namespace, host, _ in filter(None, hub.identities.warnings((), now))
        }

    def opened(self, key: Key) -> int:
        """As api_hubs.Look.opened."""
        books = [hub.by_host.books.get((key[1], key[2])) for hub in self._domains.get(key[0], ())]
        found = [book.opened for book in books if book is not None]
        return sum(found) if found else -1

    def met(self) -> Iterator[Key]:
        """As api_hubs.Look.met."""
        for hub in self._hubs:
            for namespace, name in list(hub.by_host.books):
                yield domain_of(hub), namespace, name

    def enrolled(self) -> Mapping[Key, float]:
        """As api_hubs.Look.enrolled."""
        found: dict[Key, float] = {}
        for hub in self._hubs:
            live = self._tables.enrolled.of(hub.settings.enrol) if hub.settings.enrol is not None else None
            for place, row in list(live.book.hosts.items()) if live is not None and live.book else ():
                found[domain_of(hub), *place] = max(row.seen, row.since)
        return found


def domain_of(hub: Hub) -> str:
    """The services among which sessions of one host may move, as a key: a name that they share."""
    settings = hub.settings
    return f"domain {settings.domain}" if settings.domain else f"service {settings.name}"


def _sample(sessions: list[HubSession], claimed: bool, now: float) -> Sample:
    """The figures of a host, of all its sessions together; what is one session's is the first one's."""
    first = sessions[0]
    counts: dict[int, Counts] = {}
    queue, waits, loss = 0, 0.0, None
    for session in sessions:
        traffic = session.attachment.traffic
        missed = traffic.dropped - sum(
            traffic.drops[reason] for reason in INTENDED if reason in traffic.drops
        )
        counts[id(session)] = Counts(traffic.received_bytes, traffic.sent_bytes, traffic.dropped, missed)
        if (queued := session.sender.queued) > 0:
            queue += queued
            waits = max(waits, session.sender.waits(now))
        if session.channel is not None:
            loss = max(loss or 0.0, session.channel.figures(now).loss)
    control = first.control
    return Sample(
        counts,
        *(first.hub.settings.name, first.attachment.peer, str(first.request.source), control.software),
        *(control.liveness.rtt, loss, queue, waits),
        first.awaited,
        claimed or any(session.verdict.twice_line for session in sessions),
        bool(first.verdict.table_line),
        any(session.sender.silent_at for session in sessions),
    )


def _rows(sessions: list[HubSession], now: float) -> list[Row]:
    known = PrefixesByHost()
    for session in sessions:
        for _ in in_steps(known.read(session.attachment.namespace)):
            pass
    return [
        ctl_session.session_row(session, known.of(session.attachment), now)
        for session in sessions
        if session.attachment.is_here
    ]


def _drops(sessions: list[HubSession], now: float) -> list[Row]:
    counts: Counter[Reason] = Counter()
    last: dict[Reason, Last] = {}
    for session in sessions:
        traffic = session.attachment.traffic
        counts.update(traffic.drops)
        for reason, seen in traffic.last.items():
            if reason not in last or last[reason].at <= seen.at:
                last[reason] = seen
    return [
        {
            "reason": reason.value,
            "count": count,
            "about": reason.doc,
            "remedy": reason.remedy,
            "last": _last(last.get(reason), now),
        }
        for reason, count in counts.most_common()
        if count
    ]


def _last(seen: Last | None, now: float) -> Row | None:
    return {"packet": summary(seen.head), "ago_s": round(now - seen.at, 1)} if seen is not None else None
