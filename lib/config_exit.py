"""Checks of `killswitch` beside the other services of a configuration.

Knows: what a killswitch cuts off that the configuration seems to want.
Refuses to know: what it lets out (netfilter_killswitch), whether this host can have one (config_check_exit).
"""

from __future__ import annotations

from lib import config_metadata
from lib.config_findings import Findings
from lib.config_schema import Service
from lib.errors import Position
from lib.settings import ClientSettings, HubSettings
from lib.settings_sources import FileSource

Hubs = list[tuple[Service, HubSettings]]
Clients = list[tuple[Service, ClientSettings]]


def check_killswitch(hubs: Hubs, clients: Clients, found: Findings) -> None:
    """Warn of what would be cut off; one killswitch counts for the whole host."""
    locked = [(service, client) for service, client in clients if client.killswitch]
    if not locked:
        return
    where = place(locked[0][0], "killswitch")
    for _, hub in found.each(hubs):
        text = f"'killswitch': the hub {hub.name} here can answer nobody beside the tunnel"
        found.warn(where, text, "let the hub and this client run on two hosts, or in two network namespaces")
    for _, client in found.each(clients):
        if not client.killswitch:
            other = locked[0][1].name
            text = f"'killswitch': service {client.name} reaches its hub only through the tunnel of {other}"
            found.warn(where, text, f"write killswitch: on for {client.name} too")
    for service, client in locked:
        _check_own(service, client, found)


def _check_own(service: Service, client: ClientSettings, found: Findings) -> None:
    where = place(service, "killswitch")
    for hop in client.hops:
        if hop.plugin or not all(isinstance(one, FileSource) for one in hop.more.sources):
            text = f"'killswitch': the nodes of hop {hop.name} are read through the tunnel only"
            found.warn(where, text, "write the nodes, or a file of them, into the configuration")
    covered = {net.version for net, _ in client.device.routes if net.prefixlen <= 1}
    left = [f"IPv{version}" for version in (4, 6) if version not in covered]
    if left and client.accept is None:
        text = f"'killswitch': of {' and '.join(left)} only what this client's routes take leaves this host"
        found.notice(where, text)


def place(service: Service, key: str) -> Position:
    """Where a key of the handler is written."""
    handler = service.handler
    tree = config_metadata.find(handler, key) if handler is not None else None
    return tree.where if tree is not None else service.where("metadata")
