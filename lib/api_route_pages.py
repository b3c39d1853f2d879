"""Routes by pages for the web API, searched, a million of them in steps; and the hosts that carry packets.

Knows: what a search means, what a cursor is, how long one request may work.
Refuses to know: who asks (api_x_look), how a route's gateways are told (ctl_routes), how a table is walked
(route_trie).

    q = 10.0.0.0/8     the routes within this prefix, in the order of addresses
    q = 10.1.2.3       the routes that contain this address, the longest first
    q = host-          the routes with a gateway whose name has this in it, as they are found
    q =                all, in the order of addresses
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from gevent.lock import BoundedSemaphore

from lib import ctl_routes, ids, prefixes
from lib.addresses import is_address
from lib.api_request import Refused
from lib.ctl_routes import Found, View
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.route_table import Group, RouteTable
from lib.service_scheduling import Breaths, in_steps

SEARCH_SECONDS = 0.05
"""How long one request looks for a name."""
PART = 256
AT_ONCE = 2
"""Walks through tables at the same time; more wait for their turn."""
MAX_GATEWAYS, MAX_PEERS = 5000, 16

Place = tuple[int, int, bytes, int]
"""(number of a table, 4 or 16, prefix, its length): the last route of a page."""


class RoutePages:
    """The routes and gateways of one process."""

    def __init__(self, hubs: Mapping[str, Hub], tables: Tables) -> None:
        self._hubs, self._tables = hubs, tables
        self._turns = BoundedSemaphore(AT_ONCE)

    def routes(self, query: Mapping[str, str], ns: str, most: int, own_only: bool) -> dict[str, Any]:
        """A page (api_hubs.Hubs.routes). Raises Refused, ValueError."""
        views = ctl_routes.views_of(self._hubs, self._tables, query.get("service", ""), ns)
        if own_only:
            views = [view for view in views if view.namespace["namespace"] is not None]
        wanted, after = query.get("q", "").strip(), query.get("after", "")
        try:
            with self._turns:
                rows, following, matching = self._page(views, wanted, after, most)
        except RuntimeError:
            raise Refused(409, "a table was replaced while it was read: ask again") from None
        total = sum(len(view.router) for view in views if isinstance(view.router, RouteTable))
        return {"rows": rows, "next": following, "matching": matching, "total": total}

    def gateways(self, ns: str, elsewhere: bool = True) -> list[dict[str, Any]]:
        """The hosts that are connected, with their sessions and how long they are here.

        With `elsewhere` also those with their sessions at other hubs.
        """
        now = time.monotonic()
        rows: list[dict[str, Any]] = []
        for domain in {id(hub.domain): hub.domain for hub in self._hubs.values()}.values():
            for namespace in list(domain.namespaces.values()):
                name = ids.format_uuid(namespace.id)
                for gateway in in_steps(list(namespace.gateways.here.values()) if ns in ("", name) else []):
                    found = [one for one in gateway.attachments if elsewhere or not one.by]
                    if len(rows) < MAX_GATEWAYS and found:
                        rows.append(
                            {
                                "host": gateway.name,
                                "ns": name,
                                "sessions": len(found),
                                "peers": [one.peer for one in found][:MAX_PEERS],
                                "since_s": round(now - min(one.since for one in found), 1),
                                "flows": sum(len(one.flows) + len(one.udp_flows) for one in found),
                            }
                        )
        return rows

    def _page(
        self, views: list[View], wanted: str, after: str, most: int
    ) -> tuple[list[dict[str, Any]], str | None, int | None]:
        """(rows, the cursor of the next page, how many match in all or None)."""
        if wanted and "/" in wanted and is_address(wanted.partition("/")[0]):
            return _walked(views, _prefix(wanted), after, most)
        if wanted and is_address(wanted):
            return _covering(views, ip_address(wanted).packed, most)
        if wanted:
            return _named(views, wanted.lower(), after, most)
        return _walked(views, None, after, most)


def _prefix(text: str) -> prefixes.Prefix:
    try:
        return prefixes.packed(ip_interface(text).network)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is no prefix: write one, such as 10.0.0.0/8") from None


def _rows(view: View, found: list[Found], now: float) -> list[dict[str, Any]]:
    rows = (ctl_routes.row(view, *one, now) for one in in_steps(found))
    return [{("ns" if key == "namespace" else key): value for key, value in row.items()} for row in rows]


def _covering(views: list[View], address: bytes, most: int) -> tuple[list[dict[str, Any]], None, int]:
    now = time.monotonic()
    found = [(view, ctl_routes.covering(view, address)) for view in views]
    rows = [row for view, some in found for row in _rows(view, some, now)]
    return rows[:most], None, len(rows)


# --- in the order of addresses


def _walked(
    views: list[View], within: prefixes.Prefix | None, after: str, most: int
) -> tuple[list[dict[str, Any]], str | None, int | None]:
    place = _place(after, len(views)) if after else None
    rows: list[dict[str, Any]] = []
    matching, last = 0, None
    now = time.monotonic()
    for number, view in enumerate(views):
        for size in (4, 16):
            past = place is not None and (number, size) < place[:2]
            if within is not None and len(within[0]) != size:
                continue
            left = 0 if past else most + 1 - len(rows)
            start = (place[2], place[3]) if place is not None and place[:2] == (number, size) else None
            count, found = _walk(view, size, within, start, left)
            matching += count
            found = found[:left]
            for one, row in zip(found, _rows(view, found, now), strict=True):
                if len(rows) < most:
                    last = number, size, one[0], one[1]
                rows.append(row)
    following = _cursor(last) if len(rows) > most and last is not None else None
    return rows[:most], following, matching


def _walk(
    view: View, size: int, within: prefixes.Prefix | None, start: tuple[bytes, int] | None, most: int
) -> tuple[int, list[Found]]:
    """(how many match, the first of them after `start`)."""
    if not isinstance(view.router, RouteTable):
        found = [
            one
            for one in ctl_routes.answered(view)
            if len(one[0]) == size and (within is None or prefixes.covers(*within, one[0]))
        ]
        later = sorted(one for one in found if start is None or one[:2] > start) if most else []
        return len(found), later[:most]
    trie = view.router.tries.four if size == 4 else view.router.tries.six
    step = Breaths()
    walk = trie.walking(*(within or (None, 0)), most=most, after=start)
    while True:
        try:
            next(walk)
        except StopIteration as end:
            count, some = end.value
            return count, list(some)
        step()


def _cursor(place: Place) -> str:
    number, _, prefix, length = place
    return f"{number}-{prefixes.text(prefix, length)}"


def _place(cursor: str, count: int) -> Place:
    number, dash, text = cursor.partition("-")
    try:
        network = ip_interface(text).network
        if not dash or not number.isdecimal() or int(number[:6]) >= count:
            raise ValueError
    except ValueError:
        raise ValueError(f"after: {cursor[:64]!r} is no cursor of these routes") from None
    prefix, length = prefixes.packed(network)
    return int(number[:6]), len(prefix), prefix, length


# --- by a part of a gateway's name


def _named(
    views: list[View], name: str, after: str, most: int
) -> tuple[list[dict[str, Any]], str | None, None]:
    """Routes as they lie in the tables; a cursor is where the search stops: table, trie, shard, place."""
    at = _stopped(after) if after else (0, 0, 0, 0)
    rows: list[dict[str, Any]] = []
    known: dict[Group, bool] = {}
    now, until, step = time.monotonic(), time.monotonic() + SEARCH_SECONDS, Breaths()
    worked = 0.0
    for view, part, following in _parts(views, at):
        began = time.monotonic()
        fitting = []
        for one in part:
            fits = known.get(one[2])
            if fits is None:
                fits = known[one[2]] = any(name in host.lower() for host in one[2].names)
            if fits:
                fitting.append(one)
        rows += _rows(view, fitting, now)
        worked += time.monotonic() - began
        if following and (len(rows) >= most or worked > SEARCH_SECONDS or began > until + 1.0):
            return rows, following, None
        step()
    return rows, None, None


def _parts(views: list[View], at: tuple[int, int, int, int]) -> Iterator[tuple[View, list[Found], str]]:
    """(table, some of its routes, the cursor of what follows them)."""
    for number in range(at[0], len(views)):
        view = views[number]
        if not isinstance(view.router, RouteTable):
            if at[:2] <= (number, 0):
                yield view, list(ctl_routes.answered(view)), f"{number + 1}.0.0.0"
            continue
        for which, trie in enumerate((view.router.tries.four, view.router.tries.six)):
            for shard in range(trie.shards):
                begin = 0
                if (number, which, shard) < at[:3]:
                    continue
                if (number, which, shard) == at[:3]:
                    begin = at[3]
                while part := trie.part(shard, begin, PART):
                    begin += len(part)
                    yield view, part, f"{number}.{which}.{shard}.{begin}"


def _stopped(cursor: str) -> tuple[int, int, int, int]:
    parts = cursor.split(".")
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise ValueError(f"after: {cursor[:64]!r} is no cursor of this search")
    view, which, shard, begin = map(int, parts)
    return view, which, shard, begin
