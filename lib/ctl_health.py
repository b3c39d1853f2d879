"""Whether a process does its work: the control socket's `health`, and `/healthz` and `/readyz` over HTTP.

Knows: the fields of the reply (PROTOCOL.md, the control socket), what makes a process ready.
Refuses to know: how long somebody waits for it, exit statuses (cli_health), HTTP (metrics_server,
api_probes).

    healthy   every hub listens, every client is connected, no task has broken down
    ready     healthy, every source of a table has been read at least once, and nobody has asked for the end
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lib import ctl_filter, ctl_policy, namespace_titles, service_supervisor
from lib.addresses import join_host_port
from lib.ctl_routes import source_name
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.humanize import counted
from lib.printable import printable

if TYPE_CHECKING:
    from lib.client import Client

Row = dict[str, Any]
MAX_PROBLEMS = 10
"""Problems that a probe lists; of more than these the number is told."""
Probes = Mapping[str, Callable[[], list[str]]]
"""Path of an HTTP request -> the problems that it tells of; none of them where all is well."""


def health(hubs: Mapping[str, Hub], clients: Mapping[str, Client], request: Mapping[str, Any]) -> Row:
    """The reply. With "host" or "ns" in the request only clients that fit count, and no hub.

    Raises ValueError where no client fits.
    """
    wanted = ctl_filter.read(request)
    listening = [] if wanted else [_hub(hub) for hub in hubs.values()]
    chosen = [one for one in clients.values() if wanted.fits(one.settings.host, one.node.namespace)]
    connected = list(map(_client, chosen))
    if wanted and not connected:
        raise ValueError(f"there is no client {wanted.text()} here")
    fault = service_supervisor.fault()
    problems = [row["problem"] for row in (*listening, *connected) if row["problem"]]
    problems += [fault] if fault else []
    return {
        "healthy": not problems,
        "pid": os.getpid(),
        "problems": problems,
        "warnings": [] if wanted else ctl_policy.warnings(),
        "hubs": listening,
        "clients": connected,
    }


def _hub(hub: Hub) -> Row:
    settings = hub.settings
    address = join_host_port(settings.host, settings.port)
    fault = hub.fault() if hub.listens else "it does not listen"
    return {
        "service": settings.name,
        "listen": address,
        "listens": hub.listens,
        "problem": f"hub {settings.name} on {address}: {fault}" if fault else "",
    }


def _client(client: Client) -> Row:
    settings, session = client.settings, client.session
    fault = client.fault()
    return {
        "service": settings.name,
        "host": settings.host,
        **namespace_titles.fields(client.node.namespace),
        "hub": session.peer if session else None,
        "connected": session is not None,
        "problem": f"client {settings.host}: {fault}" if fault else "" if session else _away(client),
    }


def _away(client: Client) -> str:
    away = client.away
    wait = away.next_at - time.monotonic()
    then = f"next try in {max(1.0, wait):.0f} s" if wait > 0 else "it is being tried now"
    why = away.reason or "not tried yet"
    return f"client {client.settings.host} has no session with hub {away.hub}: {why}; {then}"


def probes(
    hubs: Mapping[str, Hub], clients: Mapping[str, Client], tables: Tables, ending: Callable[[], bool]
) -> Probes:
    """What containers and load balancers ask over HTTP. `ending` says whether the process was told to end."""

    def healthy() -> list[str]:
        return list(health(hubs, clients, {})["problems"])

    def ready() -> list[str]:
        end = ["the process has been told to end"] if ending() else []
        return [*end, *healthy(), *_unread(tables)]

    return {"/healthz": healthy, "/readyz": ready}


def in_words(problems: list[str], is_whole: bool) -> str:
    """What a probe says: "ok" or "not ok"; where it is to be whole, the problems, a line each."""
    if not problems or not is_whole:
        return "not ok\n" if problems else "ok\n"
    more = len(problems) - MAX_PROBLEMS
    lines = [*problems[:MAX_PROBLEMS], *([f"and {counted(more, 'more problem')}"] if more > 0 else [])]
    return "".join(f"{printable(line)}\n" for line in lines)


def _unread(tables: Tables) -> Iterator[str]:
    """A line for each source that has never been read: what is in it may be missing."""
    found = [(live.label, live.feed.states()) for _, live in tables.all()]
    found += [(live.label, iter([(live.source, live.state)])) for live in tables.enrolled.all()]
    for label, states in found:
        for source, state in states:
            if not state.read_at:
                yield f"{label}: {source_name(source)} has not been read yet" + (
                    f": {state.error}" if state.error else ""
                )
