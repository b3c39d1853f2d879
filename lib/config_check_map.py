"""Problems of `tunrouter check` with prefix maps: no nft here, a prefix that this host is connected to.

Knows: what a start would fail at, and what would then not be reached.
Refuses to know: which maps contradict each other (config_map), how they are loaded (netfilter_table).
"""

from __future__ import annotations

from collections.abc import Mapping

from lib import config_metadata, netfilter_table, netlink_networks, service_command
from lib.config_findings import Findings
from lib.config_schema import Service
from lib.errors import HostError
from lib.prefixes import overlap, text
from lib.settings import Settings


def look(services: Mapping[str, Service], settings: Settings, found: Findings) -> None:
    """Look at the maps of all clients."""
    for client in settings.clients:
        handler = services[client.name].handler
        tree = config_metadata.find(handler, "map") if handler is not None else None
        if tree is None:
            continue
        if service_command.find(netfilter_table.PROGRAM) is None:
            program = netfilter_table.PROGRAM
            found.error(tree.where, f"'map': there is no {program} here", "install it (package nftables)")
        try:
            networks = netlink_networks.connected(client.device.name)
        except HostError:
            continue
        for one in client.maps:
            for network in networks:
                if overlap(one.outside, network.prefix):
                    message = f"'map': {text(*one.outside)} overlaps with {network}"
                    found.warn(tree.where, message, "choose a prefix that is not used anywhere")
