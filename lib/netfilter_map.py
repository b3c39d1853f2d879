"""Rules of nftables for a prefix map: addresses of a network behind the host are exchanged at the tunnel.

Knows: the chains and their order. Refuses to know: which maps make sense (config_map), how rules are loaded
(netfilter_table).

    tunnel -> host   destination 10.71.0.5  becomes 192.168.1.5   before the route is looked up
    host -> tunnel   source 192.168.1.5     becomes 10.71.0.5     when the packet leaves

The kernel's connection tracking (conntrack) translates the replies, and the packets that ICMP errors quote,
so that path MTU discovery and traceroute work across it. It translates a superpacket as one packet. What it
cannot match with a connection it does not translate. Such a packet is dropped, for it would go to somebody
else's network with an address of this one.

Our chains come just before those of others, who may masquerade all that leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lib.prefixes import text
from lib.settings_map import PrefixMap


def rules(index: int, maps: Iterable[PrefixMap]) -> str:
    """The chains for the tunnel's device, by its number, which stays where it is renamed; "" for no maps."""
    came, leaves = f"iif {index}", f"oif {index}"
    pairs = [(one, "ip" if len(one.outside[0]) == 4 else "ip6") for one in maps]
    if not pairs:
        return ""
    return "\n".join(
        [
            *_chain(
                "from_tunnel",
                "nat hook prerouting priority dstnat - 1",
                (
                    f"{came} {ip} daddr {text(*one.outside)} dnat {ip} prefix to {text(*one.inside)}"
                    for one, ip in pairs
                ),
            ),
            *_chain(
                "into_tunnel",
                "nat hook postrouting priority srcnat - 1",
                (
                    f"{leaves} {ip} saddr {text(*one.inside)} snat {ip} prefix to {text(*one.outside)}"
                    for one, ip in pairs
                ),
            ),
            *_chain(
                "not_translated_in",
                "filter hook forward priority filter - 1",
                (f"{came} {ip} daddr {text(*one.outside)} counter drop" for one, ip in pairs),
            ),
            *_chain(
                "not_translated_out",
                "filter hook postrouting priority 300",  # after every srcnat
                (f"{leaves} {ip} saddr {text(*one.inside)} counter drop" for one, ip in pairs),
            ),
        ]
    )


def _chain(name: str, hook: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"chain {name} {{"
    yield f"type {hook};"
    yield from lines
    yield "}"
