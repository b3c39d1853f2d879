"""Reply to the control socket's `routes`: every route, its gateways, and which of them carries it now.

Knows: which tables a request is about, how a million routes are listed while packets are forwarded.
Refuses to know: how a gateway is chosen for a packet (route_gateways, forward_decide), how the reply is
sent (ctl_server).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Any

from lib import cluster_running, ctl_filter, namespace_titles, prefixes, source_read
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain, Router
from lib.route_plugin_cache import PluginCache
from lib.route_table import ENROLLED, LEASED, Group, RouteTable
from lib.settings_sources import HttpSource, Source

STEP = 256
"""Rows after which packets get their turn."""
MAX_GROUPS = 4096
"""Groups of gateways whose JSON rows are cached for one reply."""
FEW = 4096
"""Routes of the biggest table that is searched for the prefixes of each host in a list of sessions."""
MAX_PREFIXES = 4
"""Prefixes of a host that are listed there."""

Row = dict[str, object]
Found = tuple[bytes, int, Group]


def source_name(source: Source) -> str:
    """The name of a source for people, without the login and the parameters of a URL, which may be secret."""
    name = source_read.describe(source)
    if isinstance(source, HttpSource):
        name = re.sub(r"//[^/@]*@", "//***@", name.partition("?")[0])
    return name


# --- which prefixes a host has


class PrefixesByHost:
    """The first few prefixes of every host, from tables of at most FEW routes."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, list[str]]] = {}

    def read(self, namespace: Namespace) -> Iterator[None]:
        """Read the tables of a namespace that are not known yet; each yield ends a step."""
        for table in namespace.tables:
            if isinstance(table, RouteTable) and id(table) not in self._known:
                known = self._known[id(table)] = {}
                if len(table) <= FEW:
                    yield from _by_host(table, known)

    def of(self, attachment: Attachment) -> list[str]:
        """The prefixes of a session's host, as text."""
        tables = attachment.namespace.tables
        return [text for table in tables for text in self._known.get(id(table), {}).get(attachment.host, ())]


def _by_host(table: RouteTable, known: dict[str, list[str]]) -> Iterator[None]:
    routes = [found for trie in (table.tries.four, table.tries.six) for found in trie.unordered()]
    for number, (prefix, length, group) in enumerate(routes, 1):
        for name in group.names:
            texts = known.setdefault(name, [])
            if len(texts) < MAX_PREFIXES:
                texts.append(prefixes.text(prefix, length))
        if number % STEP == 0:
            yield


# --- the list


@dataclass(slots=True, eq=False)
class View:
    """One table of a service, with the namespaces that use it."""

    service: str
    name: str
    namespace: Row
    """The UUID that is its name, and its title; {"namespace": None} for a default table."""
    router: Router
    users: list[Namespace]
    sources: list[str]
    """The names of its sources, by rank."""
    matching: int = 0
    found: Iterable[Found | None] = ()
    words: dict[Group, list[Row]] = field(default_factory=dict)


def routes(hubs: Mapping[str, Hub], tables: Tables, request: Mapping[str, Any]) -> dict[str, object]:
    """List routes: {"service", "ns", "prefix": a prefix or an address, "most": rows}, all of them optional.

    Raises ValueError.
    """
    views = views_of(hubs, tables, str(request.get("service") or ""), str(request.get("ns") or ""))
    wanted = str(request.get("prefix") or "")
    network = ip_interface(wanted).network if "/" in wanted else None
    address = ip_address(wanted).packed if wanted and network is None else None
    most = int(request.get("most") or 0) or None

    def summaries() -> Iterator[Row | None]:
        for view in views:
            if address is not None:
                found = covering(view, address)
                view.matching, view.found = len(found), iter(found)
            else:
                prefix = prefixes.packed(network) if network else None
                yield from _walk(view, prefix, most)
            yield _summary(view)

    def rows() -> Iterator[Row | None]:
        now = time.monotonic()
        for view in views:
            for found in view.found:
                yield row(view, *found, now) if found else None

    return {"tables": summaries(), "routes": _first(rows(), most)}


def _first(rows: Iterator[Row | None], most: int | None) -> Iterator[Row | None]:
    left = most if most is not None else 1 << 62
    for row in rows:
        yield row
        left -= row is not None
        if not left:
            return


def views_of(hubs: Mapping[str, Hub], tables: Tables, service: str, ns: str) -> list[View]:
    """The tables of one service or of all, of one namespace (its UUID as text) or of all.

    Raises ValueError.
    """
    chosen = [hub for hub in hubs.values() if service in ("", hub.settings.name)]
    if not chosen:
        raise ValueError(ctl_filter.which_hub(service, hubs))
    key = namespace_titles.namespace_named(ns) if ns else None
    names = {id(live.router): (name, live) for name, live in tables.routers()}
    views: dict[tuple[int, int], View] = {}
    for hub in chosen:
        for uuid, router, users in _tables_of(hub.domain, key):
            name, live = names.get(id(router), ("", None))
            if live is not None:  # a hub without a default table has an empty one that is not listed
                texts = ["inline", *(source_name(source) for source in live.settings.more.sources)]
                inside: Row = namespace_titles.fields(uuid) if uuid else {"namespace": None, "title": ""}
                view = View(hub.settings.name, name, inside, router, users, texts)
                views.setdefault((id(hub.domain), id(router)), view)
    return list(views.values())


def _tables_of(domain: Domain, key: bytes | None) -> Iterator[tuple[bytes | None, Router, list[Namespace]]]:
    """(UUID or None, table, the namespaces that use it) of one namespace, or of all."""
    if key is not None:
        users = [domain.namespace(key)]
        if key in domain.tables:
            yield key, domain.tables[key], users
        yield None, domain.default, users
        return
    for uuid, router in domain.tables.items():
        yield uuid, router, [domain.namespaces[uuid]] if uuid in domain.namespaces else []
    yield None, domain.default, list(domain.namespaces.values())


def covering(view: View, address: bytes) -> list[Found]:
    """The routes that contain an address, the longest prefix first."""
    if isinstance(view.router, RouteTable):
        return [(route.prefix, route.length, route.group) for route in view.router.matches(address)]
    return [found for found in answered(view) if found and found[0] == address]


def _walk(view: View, prefix: prefixes.Prefix | None, most: int | None) -> Iterator[None]:
    """Look for the routes within a prefix, or all, in steps; they are in view.found afterwards."""
    if not isinstance(view.router, RouteTable):
        found = [
            one for one in answered(view) if one and (prefix is None or prefixes.covers(*prefix, one[0]))
        ]
        view.matching, view.found = len(found), iter(found)
        return
    tries = view.router.tries
    four: Iterator[Found] = iter(())
    six: Iterator[Found] = iter(())
    count = 0
    if prefix is None or len(prefix[0]) == 4:
        count, four = yield from tries.four.walking(*(prefix or (None, 0)), most=most)
    if prefix is None or len(prefix[0]) == 16:
        more, six = yield from tries.six.walking(*(prefix or (None, 0)), most=most)
        count += more
    view.matching, view.found = count, _both(four, six)


def _both(*found: Iterator[Found]) -> Iterator[Found]:
    for one in found:
        yield from one


def answered(view: View) -> Iterator[Found]:
    """The cached replies of a plugin, as routes to single addresses."""
    for namespace in view.users:
        for table in namespace.tables:
            if isinstance(table, PluginCache) and table.asker is view.router:
                for address, route in table.replies():
                    yield address, 8 * len(address), route.group


def _summary(view: View) -> Row:
    is_table = isinstance(view.router, RouteTable)
    return {
        "service": view.service,
        "table": view.name,
        **view.namespace,
        "kind": "routes" if is_table else "plugin",
        "routes": len(view.router) if isinstance(view.router, RouteTable) else view.matching,
        "matching": view.matching,
    }


def row(view: View, prefix: bytes, length: int, group: Group, now: float) -> Row:
    """The row of a route."""
    gateways = view.words.get(group)
    if gateways is None:
        if len(view.words) >= MAX_GROUPS:
            view.words.clear()
        gateways = view.words[group] = _gateways(view, group, now)
    return {
        "service": view.service,
        "table": view.name,
        **view.namespace,
        "prefix": prefixes.text(prefix, length),
        "gateways": gateways,
    }


_BESIDE_SOURCES = {ENROLLED: "enrolled hosts", LEASED: "pool"}
"""Rank of rows that come from no source -> what they are from."""


def _source(view: View, rank: int) -> str:
    if not isinstance(view.router, RouteTable):
        return "plugin"
    return _BESIDE_SOURCES.get(rank) or view.sources[rank]


def _elsewhere(view: View, host: str) -> list[str]:
    """The other hubs, or workers of this one, that a gateway is at."""
    found = (user.known_elsewhere(host) for user in view.users)
    return [one.peer for gateway in found if gateway is not None for one in gateway.attachments]


def _gateways(view: View, group: Group, now: float) -> list[Row]:
    """A row for each gateway of a route: whether it is connected, and whether it carries packets now."""
    hold_down = view.router.hold_down if isinstance(view.router, RouteTable) else 0.0
    carries = {
        name
        for user in view.users
        for name in user.gateways.carriers(group, hold_down, now, user.known_elsewhere)
    }
    live = {name for name in group.names if any(name in user.gateways.here for user in view.users)}
    elsewhere = {name: _elsewhere(view, name) for name in group.names - live}
    workers = cluster_running.other_workers()
    hubs = {name: [hub for hub in there if hub not in workers] for name, there in elsewhere.items()}
    return [
        {
            "host": hop.gateway,
            "metric": hop.metric,
            "source": _source(view, rank),
            "fall_through": hop.fall_through,
            "live": hop.gateway in live or bool(elsewhere[hop.gateway]),
            "hubs": hubs.get(hop.gateway, []),
            "carries": hop.gateway in carries,
        }
        for rank, hop in group.rows
    ]
