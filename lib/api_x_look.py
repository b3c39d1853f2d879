"""Handlers of the web API that look: /x/status, /x/cluster, /x/sessions, /x/drops, /x/explain, /x/routes, ….

Knows: what each one asks the hubs, and what of it a tenant sees.
Refuses to know: who replies (api_hubs), what replies contain (ctl_status, ctl_cluster, ctl_drops,
ctl_explain, ctl_enrol, api_route_pages).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

from lib import api_endpoint, ids
from lib.api_endpoint import NO_STORE
from lib.api_hubs import Hubs
from lib.api_request import Refused, Reply, Request
from lib.api_shared import Shared
from lib.service_scheduling import in_steps
from lib.settings_api import TENANT

DEFAULT_ROWS, MOST_ROWS = 100, 500
"""Routes of a page."""
MAX_DROPS, MAX_PLACES, MAX_REFUSALS = 500, 100, 100


class Looks:
    """The handlers."""

    def __init__(self, hubs: Hubs, shared: Shared) -> None:
        self._hubs, self._shared = hubs, shared

    def status(self, request: Request) -> Reply:
        """All that `tunrouter status` tells."""
        return Reply(self._hubs.status(), headers=NO_STORE)

    def cluster(self, request: Request) -> Reply:
        """The hubs of the cluster that this process is in."""
        return Reply(self._shared.reply(("cluster",), self._cluster), headers=NO_STORE)

    def _cluster(self) -> Mapping[str, Any]:
        try:
            return self._hubs.cluster()
        except ValueError as none:
            raise Refused(409, str(none)) from None

    def sessions(self, request: Request) -> Reply:
        """The sessions, of one host or namespace or all."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        rows = self._hubs.sessions(request.query.get("host", ""), ns)
        return Reply({"sessions": rows}, headers=NO_STORE)

    def drops(self, request: Request) -> Reply:
        """Dropped packets and refused clients, the highest counts first."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        is_tenant = request.who.role == TENANT
        body = self._shared.reply(("drops", ns, is_tenant), lambda: self._drops(ns, is_tenant))
        return Reply(body, headers=NO_STORE)

    def _drops(self, ns: str, is_tenant: bool) -> dict[str, Any]:
        found = self._hubs.drops(ns, is_tenant)
        rows, more = _most(found["drops"], MAX_DROPS, "count")
        places, _ = _most(found["destinations"], MAX_PLACES, "last_s", least=True)
        refusals, _ = _most([] if is_tenant else found["refusals"], MAX_REFUSALS, "count")
        return {"drops": rows, "destinations": places, "refusals": refusals, "more": more}

    def explain(self, request: Request) -> Reply:
        """What would become of a packet."""
        query = dict(request.query)
        query["ns"] = api_endpoint.scope(request, query.get("ns", "")) or ids.format_uuid(ids.NO_NAMESPACE)
        is_tenant = request.who.role == TENANT  # the default table names the hosts of all tenants
        return Reply(self._hubs.explain(query, is_tenant), headers=NO_STORE)

    def routes(self, request: Request) -> Reply:
        """A page of routes."""
        query = request.query
        ns = api_endpoint.scope(request, query.get("ns", ""))
        most = int(api_endpoint.number("limit", query.get("limit", str(DEFAULT_ROWS))))
        is_tenant = request.who.role == TENANT  # as in explain
        return Reply(self._hubs.routes(query, ns, most, is_tenant), headers=NO_STORE)

    def gateways(self, request: Request) -> Reply:
        """The hosts that are connected, with their sessions and how long they are here."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        return Reply({"gateways": self._hubs.gateways(ns)}, headers=NO_STORE)

    def enrolled(self, request: Request) -> Reply:
        """Who is enrolled, and who is invited."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        try:
            return Reply(self._hubs.enrolled(ns), headers=NO_STORE)
        except ValueError as nobody:
            raise Refused(409, str(nobody)) from None


def _most(rows: Any, most: int, key: str, least: bool = False) -> tuple[list[dict[str, Any]], int]:
    """(the rows with the highest, or the least, figures, how many more there are)."""
    count = 0

    def counted(found: Iterable[dict[str, Any] | None]) -> Iterable[dict[str, Any]]:
        nonlocal count
        for row in in_steps(found):
            if row is not None:
                count += 1
                yield row

    choose = heapq.nsmallest if least else heapq.nlargest
    chosen = choose(most, counted(rows), key=lambda row: row[key])
    return chosen, max(0, count - most)
