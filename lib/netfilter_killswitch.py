"""Rules for `killswitch: true`: nothing leaves beside the tunnel, but for what brings the tunnel up.

Knows: nft's text of the table, and how the ways to hubs are kept in it, so that the next start finds them.
Refuses to know: how a table is loaded (netfilter_table), which ways there are (client_killswitch).

What may leave: what goes into the tunnels; to this host itself; to the address and port of each known hub,
or of the proxy before it; DHCP (RFC 2131, RFC 8415); neighbour discovery (RFC 4861), with the reports that
switches want of its groups (RFC 2710, RFC 3810). DNS to the name servers leaves only for some seconds, while
the first address of a hub is looked up. All else is dropped, of IPv4 and IPv6, also what this host forwards.

The table outlives the process. Each way has the hub's name as its comment, so that a client can start again
while DNS is shut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, NamedTuple

from lib.addresses import join_host_port
from lib.netfilter_names import Table, quoted

TABLE = Table("killswitch", "host")
"""There is one in a network namespace: two could not let each other's tunnels out."""

_PLAIN = re.compile(r"[0-9A-Za-z.:_\[\]-]{1,100}")
_PROTOCOLS = {"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp"}
"""As nft prints them: by number where there is no /etc/protocols, as in small containers."""


class Way(NamedTuple):
    """Where a client sends what brings its tunnel up."""

    name: str
    """The hub, or the proxy before it, as label() writes it."""
    address: str
    """An IP address without a zone."""
    protocol: str
    """tcp or udp."""
    port: int


def label(host: str, port: int) -> str:
    """The name under which the ways to host and port are kept: a comment, which may not have every letter."""
    text = join_host_port(host, port)
    if _PLAIN.fullmatch(text):
        return text
    return f"sha256.{sha256(text.encode(errors='surrogateescape')).hexdigest()}"


def rules(
    tunnels: Iterable[str], ways: Iterable[Way], name_servers: Iterable[str] = (), seconds: int = 0
) -> str:
    """The chains and sets of the table. `name_servers` may be asked for so many `seconds`.

    Raises ValueError for the name of a device that no rule can have.
    """
    every, servers = list(dict.fromkeys(ways)), list(dict.fromkeys(name_servers))
    parts = [
        _set("tunnels", "ifname", [quoted(name) for name in sorted(set(tunnels))]),
        *(_set(f"hubs{v}", f"ipv{v}_addr . inet_proto . inet_service", _elements(every, v)) for v in (4, 6)),
        *(
            _set(f"names{v}", f"ipv{v}_addr; flags timeout", [
                f"{one} timeout {seconds}s" for one in servers if ip_address(one).version == v
            ])
            for v in (4, 6)
        ),
    ]  # fmt: skip
    return "\n".join((*parts, _CHAINS))


_CHAINS = """chain output { type filter hook output priority 0; policy drop;
  oifname "lo" accept
  oifname @tunnels accept
  ip daddr . meta l4proto . th dport @hubs4 accept
  ip6 daddr . meta l4proto . th dport @hubs6 accept
  meta nfproto ipv4 udp sport 68 udp dport 67 accept
  meta nfproto ipv6 udp sport 546 udp dport 547 accept
  ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
  ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
  ip daddr @names4 meta l4proto { tcp, udp } th dport 53 accept
  ip6 daddr @names6 meta l4proto { tcp, udp } th dport 53 accept
}
chain forward { type filter hook forward priority 0; policy drop;
  oifname @tunnels accept
  iifname @tunnels accept
}"""
"""The last rule of forward is for replies to networks behind this host, which have come through a tunnel."""


def _set(name: str, kind: str, elements: Sequence[str]) -> str:
    content = f" elements = {{ {', '.join(elements)} }};" if elements else ""
    return f"set {name} {{ type {kind};{content} }}"


def _elements(ways: Iterable[Way], version: int) -> list[str]:
    """Each address, protocol and port once, with the name of the way that is the first to have them."""
    found: dict[tuple[str, str, int], str] = {}
    for way in ways:
        if ip_address(way.address).version == version:
            found.setdefault((str(ip_address(way.address)), way.protocol, way.port), way.name)
    return [
        f'{address} . {protocol} . {port} comment "{name}"'
        for (address, protocol, port), name in found.items()
    ]


def read(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Way]]:
    """(tunnels, ways) in a table, as `nft -j list table` has its parts. What is not ours is left out."""
    tunnels: list[str] = []
    ways: list[Way] = []
    for row in rows:
        one = row.get("set", {})
        elements = one.get("elem", ())
        if one.get("name") == "tunnels":
            tunnels += map(str, elements)
        elif one.get("name") in ("hubs4", "hubs6"):
            ways += filter(None, map(_way, elements))
    return tunnels, ways


def _way(element: Any) -> Way | None:
    """The way that an element of the sets is."""
    inner: Any = element.get("elem", element) if isinstance(element, Mapping) else {}
    try:
        value = inner.get("val", inner)
        address, protocol, port = value["concat"]
        name = str(inner.get("comment", ""))
        return Way(name, str(ip_address(address)), _PROTOCOLS[str(protocol)], int(port))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def known(ways: Iterable[Way], name: str, port: int) -> list[str]:
    """The addresses at which a hub or proxy of this label and port was, by TCP, the last time.

    Where nothing is kept under its name, those of the same port: the configuration may have another name for
    it now, and who it is shows when it is dialled.
    """
    over_tcp = [way for way in ways if way.protocol == "tcp" and way.port == port]
    exact = [way.address for way in over_tcp if way.name == name]
    return list(dict.fromkeys(exact or [way.address for way in over_tcp]))
