"""The networks that this host is connected to: those of the addresses of its devices.

Knows: which devices count: those that are up, but for loopback and the device that is asked about.
Refuses to know: what the networks are compared with (push_accept).
"""

from __future__ import annotations

from ipaddress import ip_address
from socket import if_nameindex

from lib import netlink_watch
from lib.prefixes import network
from lib.push_accept import LocalNetwork
from lib.stream_netns import made_here


def connected(without: str) -> tuple[LocalNetwork, ...]:
    """The networks of all devices that are up but the one named. Raises HostError without netlink.

    Addresses of the host itself (127.0.0.0/8) and of one link only (fe80::/10) are in no network that counts.
    """
    found = []
    for index, name in made_here(if_nameindex):
        if name == without:
            continue
        seen = netlink_watch.look_addresses(index)
        if seen.link is None or not seen.link.up:
            continue
        for one in seen.addresses:
            ip = ip_address(one.address)
            if ip.is_loopback or ip.is_link_local:
                continue
            found.append(LocalNetwork(name, (network(one.address, one.length), one.length)))
            if one.peer:
                found.append(LocalNetwork(name, (network(one.peer, one.length), one.length)))
    return tuple(sorted(set(found)))
