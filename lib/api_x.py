"""The endpoints of tunrouter's own web API, below /x/: the table of them, made for one process.

Knows: which there are, who may use each, what each takes and gives.
Refuses to know: HTTP and logins (api_app), what each does (api_x_hosts, api_x_look, api_x_trace, …).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from lib import __version__, api_endpoint, api_openapi
from lib.api_endpoint import EVENTS, NO_STORE, Endpoint, Field
from lib.api_live import Live
from lib.api_process import Process
from lib.api_request import ADMINS, ALL_READ, TENANTS, Reply, Request, Route
from lib.api_shared import Shared
from lib.api_x_changes import Changes
from lib.api_x_config import ConfigPages
from lib.api_x_hosts import HostPages
from lib.api_x_look import DEFAULT_ROWS, MOST_ROWS, Looks
from lib.api_x_trace import MOST_SECONDS, Traces

_NS = Field("ns", "UUID or title of a namespace; all of them without it.")
_HOST = Field("host", "Name of a host.")
_SERVICE = Field("service", "Name of a hub's service, where there are several.")
_FILTER = Field("filter", "A filter expression, as of `tunrouter trace`: host 10.0.0.9 and tcp.")


def _gives(**kinds: str) -> dict[str, Any]:
    """JSON Schema of an object with these required keys; "" is a value of any kind."""
    properties = {name: {"type": kind} if kind else {} for name, kind in kinds.items()}
    return {"type": "object", "required": list(kinds), "properties": properties}


class Endpoints:
    """The endpoints of one process, and what looks at its hosts for them."""

    def __init__(self, process: Process) -> None:
        """Nothing is looked at before start()."""
        hubs, shared = process.hubs, Shared()
        self._live = Live(hubs)
        self.all: tuple[Endpoint, ...] = (
            *_of_hosts(HostPages(self._live, hubs, shared)),
            *_of_looks(Looks(hubs, shared)),
            *_of_packets(Traces(hubs)),
            *_of_changes(Changes(hubs)),
            *_of_config(ConfigPages(process)),
            Endpoint("GET", "/x/openapi.json", self._document, "This document."),
        )

    def start(self) -> None:
        """Begin to look at hosts."""
        self._live.start()

    def stop(self) -> None:
        """Look no more, and end the streams of pages."""
        self._live.stop()

    def routes(self) -> list[Route]:
        """The endpoints as the server takes them."""
        return [
            Route(one.method, one.path, partial(api_endpoint.answer, one), one.roles, api_endpoint.MAX_BODY)
            for one in self.all
        ]

    def _document(self, request: Request) -> Reply:
        return Reply(api_openapi.document(self.all, __version__), headers=NO_STORE)


def _of_hosts(hosts: HostPages) -> tuple[Endpoint, ...]:
    listed = _gives(
        seq="integer", now="number", tick_s="integer", columns="array", rows="array", totals="object"
    )
    one = _gives(id="integer", host="string", ns="string", state="string", problems="array", sessions="array")
    curves = _gives(step_s="integer", start="integer", rtt="array", loss="array")
    done = _gives(sessions="integer")
    since = Field("since", "The number (seq) of what the page has.", "integer", least=0, most=1e12)
    later = Field("since", "Only points that are later than this, seconds since 1970.", "number", least=0)
    return (
        Endpoint("GET", "/x/hosts", hosts.hosts, "All hosts, with figures and problems.", gives=listed),
        Endpoint(
            *("GET", "/x/events", hosts.events, "What differs in the list of hosts, each 2 s."),
            query=(since,),
            kind=EVENTS,
        ),
        Endpoint("GET", "/x/hosts/<id>", hosts.host, "One host, with sessions, drops and flows.", gives=one),
        Endpoint(
            *("GET", "/x/hosts/<id>/curves", hosts.curves, "Rates, round-trip time, loss, queue: one hour."),
            query=(later,),
            gives=curves,
        ),
        Endpoint(
            *(
                "POST",
                "/x/hosts/<id>/kick",
                hosts.kick,
                "End the sessions of a host; it may come again.",
                TENANTS,
            ),
            gives=done,
            fails=(409,),
        ),
        Endpoint(
            *("POST", "/x/hosts/<id>/drain", hosts.drain, "Let a host get another session first.", TENANTS),
            gives=done,
            fails=(409,),
        ),
    )


def _of_looks(looks: Looks) -> tuple[Endpoint, ...]:
    found = _gives(rows="array", next="", matching="", total="integer")
    page = (
        Field("q", "A prefix (routes within it), an address (routes to it), or a part of a gateway's name."),
        *(_NS, _SERVICE, Field("after", "The `next` of the page before.")),
        Field("limit", f"Rows of a page; {DEFAULT_ROWS} without it.", "integer", least=1, most=MOST_ROWS),
    )
    packet = (
        Field("from", "The host that sends.", required=True),
        Field("to", "The address that it sends to.", required=True),
        *(_NS, _SERVICE, Field("source", "The address that it sends from."), Field("port", "As tcp/22.")),
    )
    drops = _gives(drops="array", destinations="array", refusals="array", more="integer")
    verdict = _gives(service="string", delivered="boolean", lines="array")
    enrolled = _gives(hosts="array", invitations="array")
    return (
        Endpoint("GET", "/x/status", looks.status, "All that `tunrouter status` tells.", ALL_READ),
        Endpoint(
            *("GET", "/x/cluster", looks.cluster, "The hubs of this one's cluster, with totals.", ALL_READ),
            gives=_gives(cluster="string", registry="string", error="string", hubs="array", total="object"),
            fails=(409,),
        ),
        Endpoint(
            *("GET", "/x/sessions", looks.sessions, "Sessions, with their counters."),
            query=(_NS, _HOST),
            gives=_gives(sessions="array"),
        ),
        Endpoint(
            *("GET", "/x/gateways", looks.gateways, "Hosts that carry packets now."),
            query=(_NS,),
            gives=_gives(gateways="array"),
        ),
        Endpoint(
            *("GET", "/x/routes", looks.routes, "Routes by pages, and which gateway carries them."),
            query=page,
            gives=found,
            fails=(409,),
        ),
        Endpoint("GET", "/x/drops", looks.drops, "Dropped packets, and why.", query=(_NS,), gives=drops),
        Endpoint(
            "GET",
            "/x/explain",
            looks.explain,
            "What becomes of a packet, and why.",
            query=packet,
            gives=verdict,
        ),
        Endpoint(
            *("GET", "/x/enrolled", looks.enrolled, "Who is enrolled, and who is invited."),
            query=(_NS,),
            gives=enrolled,
            fails=(409,),
        ),
    )


def _of_packets(traces: Traces) -> tuple[Endpoint, ...]:
    seconds = Field("seconds", "How long, at most.", "integer", least=1, most=MOST_SECONDS)
    return (
        Endpoint(
            *("GET", "/x/trace", traces.trace, "Packets as they pass, and what became of them."),
            query=(_FILTER, _HOST, _NS),
            kind=EVENTS,
        ),
        Endpoint(
            *("GET", "/x/capture", traces.capture, "Packets as a pcapng file.", TENANTS),
            query=(_FILTER, _HOST, _NS, seconds),
            kind="application/octet-stream",
        ),
    )


def _of_changes(changes: Changes) -> tuple[Endpoint, ...]:
    whom = (Field("host", "Name of the host.", required=True), _NS, _SERVICE)
    return (
        Endpoint(
            *("POST", "/x/invite", changes.invite, "Make an invitation for a host.", TENANTS),
            body=(
                *whom,
                Field("address", "How hosts reach this hub: host:port."),
                Field("expires_s", "For how long it is good.", "number", least=60, most=30 * 86400),
                Field("gateways", "Prefixes behind the host.", "strings"),
            ),
            gives=_gives(host="string", namespace="string", line="string", expires="number"),
            fails=(409, 503),
        ),
        Endpoint(
            *("POST", "/x/revoke", changes.revoke, "Take a host's login away.", TENANTS),
            body=whom,
            gives=_gives(hosts="integer", sessions="integer"),
            fails=(409, 503),
        ),
    )


def _of_config(config: ConfigPages) -> tuple[Endpoint, ...]:
    wait = Field("confirm", "Undo it after so long unless it is confirmed: 60s.")
    number = (Field("id", "The number of the change.", "integer", required=True, least=0, most=1e12),)
    differs = _gives(stamp="string", differs="boolean", problems="array", warnings="array", changes="array")
    return (
        Endpoint(
            *("GET", "/x/config", config.config, "The configuration in use, secrets hidden.", ALL_READ),
            gives=_gives(files="array", loaded="number", text="string"),
        ),
        Endpoint(
            *("GET", "/x/config/difference", config.difference, "What a reload would change.", ALL_READ),
            gives=differs,
        ),
        Endpoint(
            *("POST", "/x/config/reload", config.reload, "Use what the files say now.", ADMINS),
            query=(wait,),
            body=(Field("stamp", "Of the difference that was shown.", required=True),),
            gives=_gives(applied="array"),
            fails=(409, 422),
        ),
        Endpoint(
            *("GET", "/x/confirm", config.pending, "The change that waits to be confirmed.", ALL_READ),
            gives=_gives(pending=""),
        ),
        Endpoint(
            *("POST", "/x/confirm", config.confirm, "Keep the change that waits.", ADMINS),
            body=number,
            fails=(409,),
        ),
        Endpoint(
            *("POST", "/x/undo", config.undo, "Undo the change that waits.", ADMINS),
            body=number,
            fails=(409,),
        ),
    )
