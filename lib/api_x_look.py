"""Handlers of the web API that look: /x/status, /x/cluster, /x/sessions, /x/drops, /x/explain, /x/enrolled.

Knows: which request of the control socket each one is, and what of it a tenant sees.
Refuses to know: what those replies contain (ctl_status, ctl_cluster, ctl_drops, ctl_explain, ctl_enrol).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Mapping
from typing import Any

from lib import api_endpoint, ctl_cluster, ctl_drops, ctl_enrol, ctl_explain, ctl_filter, ctl_status, ids
from lib.api_endpoint import NO_STORE
from lib.api_request import Refused, Reply, Request
from lib.api_shared import Shared
from lib.client import Client
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.service_scheduling import in_steps
from lib.settings_api import TENANT

MAX_DROPS, MAX_PLACES, MAX_REFUSALS = 500, 100, 100


class Looks:
    """The handlers."""

    def __init__(
        self, hubs: Mapping[str, Hub], clients: Mapping[str, Client], tables: Tables, shared: Shared
    ) -> None:
        self._hubs, self._clients, self._tables, self._shared = hubs, clients, tables, shared
        self._started = time.monotonic()

    def status(self, request: Request) -> Reply:
        """All that `tunrouter status` tells."""
        found = ctl_status.status(self._hubs, self._clients, self._tables, self._started, "", {})
        return Reply(found, headers=NO_STORE)

    def cluster(self, request: Request) -> Reply:
        """The hubs of the cluster that this process is in."""
        return Reply(self._shared.reply(("cluster",), self._cluster), headers=NO_STORE)

    def _cluster(self) -> dict[str, Any]:
        try:
            return ctl_cluster.view(time.monotonic(), time.time())
        except ValueError as none:
            raise Refused(409, str(none)) from None

    def sessions(self, request: Request) -> Reply:
        """The sessions, of one host or namespace or all."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        wanted = ctl_filter.read({"host": request.query.get("host", ""), "ns": ns})
        rows = ctl_status.session_rows(list(self._hubs.values()), wanted, time.monotonic())
        return Reply({"sessions": rows}, headers=NO_STORE)

    def drops(self, request: Request) -> Reply:
        """Dropped packets and refused clients, the highest counts first."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        is_tenant = request.who.role == TENANT
        body = self._shared.reply(("drops", ns, is_tenant), lambda: self._drops(ns, is_tenant))
        return Reply(body, headers=NO_STORE)

    def _drops(self, ns: str, is_tenant: bool) -> dict[str, Any]:
        found = ctl_drops.drops(self._hubs, {} if is_tenant else self._clients, {"ns": ns})
        rows, more = _most(found["drops"], MAX_DROPS, "count")
        places, _ = _most(found["destinations"], MAX_PLACES, "last_s", least=True)
        refusals, _ = _most([] if is_tenant else found["refusals"], MAX_REFUSALS, "count")
        return {"drops": rows, "destinations": places, "refusals": refusals, "more": more}

    def explain(self, request: Request) -> Reply:
        """What would become of a packet."""
        query = dict(request.query)
        query["ns"] = api_endpoint.scope(request, query.get("ns", "")) or ids.format_uuid(ids.NO_NAMESPACE)
        hub = self._hub(query.get("service", ""), ids.parse_uuid(query["ns"]), query["from"])
        question = ctl_explain.read_question(hub.domain, query)
        is_tenant = request.who.role == TENANT  # the default table names the hosts of all tenants
        found = ctl_explain.reply(hub.settings.name, question, sessions=True, own_only=is_tenant)
        return Reply(found, headers=NO_STORE)

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

    def enrolled(self, request: Request) -> Reply:
        """Who is enrolled, and who is invited."""
        ns = api_endpoint.scope(request, request.query.get("ns", ""))
        try:
            found = ctl_enrol.hosts(self._hubs, self._tables, {"ns": ns})
        except ValueError as nobody:
            raise Refused(409, str(nobody)) from None
        return Reply(found, headers=NO_STORE)


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
