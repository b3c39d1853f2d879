"""Sessions that a request of the control socket is for: kick and drain name a host, perhaps more.

Knows: which sessions fit, and what is said where none does, or those of several tenants would; that a host of
a cluster may be at another hub.
Refuses to know: what is done with them (ctl_handlers), filters of rows (ctl_filter).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from lib import ctl_cluster, ctl_filter, namespace_titles
from lib.did_you_mean import did_you_mean
from lib.hub import Hub
from lib.hub_session import HubSession

MAX_GUESSED = 1000
"""Hosts among which a misspelt name is looked for."""
MAX_NAMED = 10
"""Namespaces that are named where a request fits several."""


def sessions_of(hubs: Mapping[str, Hub], request: Mapping[str, Any]) -> list[HubSession]:
    """The sessions of a request's "host", in its "ns", at its "service", or with "all" wherever they are.

    Raises ValueError where there is none, and without "all" where several namespaces have such a host: what
    is meant for one tenant shall not hit another.
    """
    host, namespace, service = (str(request.get(key) or "") for key in ("host", "ns", "service"))
    wanted = namespace_titles.namespace_named(namespace) if namespace else None
    found = [
        (name, session)
        for name, hub in hubs.items()
        for session in hub.sessions.values()
        if session.attachment.host == host
        and wanted in (None, session.attachment.namespace.id)
        and service in ("", name)
    ]
    if not found:
        if service and service not in hubs:
            raise ValueError(ctl_filter.which_hub(service, hubs))
        where = (f" in namespace {namespace[:64]}" if namespace else "") + (
            f" at {service[:64]}" if service else ""
        )
        if there := [f"{name[:64]!r}" for name in ctl_cluster.hubs_with(host, wanted)]:
            listed = ", ".join(there[:MAX_NAMED])
            why = f"no live session of host {host[:64]!r}{where} at this hub"
            raise ValueError(f"{why}; the cluster has it at hub {listed}: ask there")
        hosts = {session.attachment.host for hub in hubs.values() for session in hub.sessions.values()}
        guess = "" if host in hosts else did_you_mean(host, islice(hosts, MAX_GUESSED))
        hint = guess or "`tunrouter status` says who has one"
        raise ValueError(f"no live session of host {host[:64]!r}{where}; {hint}")
    # Services that share a domain share their namespaces: the same object is the same namespace.
    places: dict[int, str] = {}
    for name, session in found:
        inside = session.attachment.namespace
        places.setdefault(id(inside), f"{namespace_titles.option(inside.id)} --service {name}")
    if len(places) > 1 and not request.get("all"):
        named = list(places.values())
        more = [f"{len(named) - MAX_NAMED} more"] if len(named) > MAX_NAMED else []
        listed = ", ".join([*named[:MAX_NAMED], *more])
        raise ValueError(
            f"{len(named)} namespaces have a host {host[:64]!r}: {listed}; say which one, or --all"
        )
    return [session for _, session in found]
