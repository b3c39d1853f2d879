"""What to do instead, for each key, type and section of GOST that is not supported yet.

Knows: a hint for every key that config_schema and config_gost_keys call not supported yet, and for every
type that they know and that is no part of a routing tunnel.
Refuses to know: how these are found (config_resolve, config_metadata, config_client, config_transport).

A message that something is not supported ends with one of these, so that its reader knows what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping

WITHOUT_OTHERS = "start with --only-tunnel, which leaves this service to GOST"
TUNNEL_URLS = "write -L router://… for a hub, -L tun:///HOST for a client"
URL_OF_A_FILE = "fetch it first, as with curl -o FILE, and write -C FILE"
ROUTER_NODE = "write router: a node of another type reaches no hub"

_IN_HANDLER = "write it in the handler, which checks logins here"
_RESOLVER = "leave it out, and name the hub's addresses in hosts, or the name server in /etc/resolv.conf"
_NODES_THERE = "write the host name here: nodes: [{name: host, addr: host-1}]"
_QUOTA = "leave it out, and let a monitor watch the bytes of each service and host in the metrics"
_ROWS_HERE = "write the rows in this file, which SIGHUP or -R reads again"

_SECTIONS: dict[str, dict[str, str]] = {
    "Cluster": {"trust": "leave it out: whoever has the secret may claim any host (SECURITY.md, Clusters)"},
    "Service": {
        **dict.fromkeys(("quota", "quotas"), _QUOTA),
    },
    "Handler": {
        "chain_group": "write chain: NAME, and all hubs as nodes of its last hop, of which one is used",
    },
    "Listener": {"auther": _IN_HANDLER, "authers": _IN_HANDLER, "auth": _IN_HANDLER},
    "Forwarder": {
        **dict.fromkeys(("name", "hop", "hop_group"), _NODES_THERE),
    },
    "Node": {"resolver": _RESOLVER},
    "Hop": {
        "resolver": _RESOLVER,
    },
    "Hosts": dict.fromkeys(("redis", "http", "plugin"), _ROWS_HERE),
    "Dialer": {"auth": "write it in the connector, whose login the hub checks"},
}
"""Class of a section -> its field -> what to do instead."""

_METADATA: dict[str, str] = {
    "skipauth": "leave it out, and give those clients a login too",
    "dialtimeout": "write connectTimeout in the metadata of the node's connector",
    **dict.fromkeys(("router", "tun.router"), "write its routes here: routes: [CIDR, CIDR]"),
    "header": "leave it out: an http proxy gets a login, and no other header",
}
"""Metadata key in lower case -> what to do instead."""

_MISPLACED: dict[str, dict[str, str]] = {
    "Handler": {"tls": "write it in the listener"},
    "Connector": {"tls": "write it in the dialer; what is sent to a proxy is not encrypted"},
    "Node": {"tls": "write it in the dialer of this node", "auth": "write it in the connector of this node"},
    "ForwardNode": {
        "tls": "write it in the dialer of the hub's node",
        "auth": "write it in the connector of the hub's node",
    },
}
"""Class of a section -> a key that GOST has there for other handlers or connectors -> where it has an effect.

Who writes one of these expects that something is checked or encrypted, so it is an error and no warning.
"""

_ENCRYPTED = "write tls, or wss to get through web proxies: both are encrypted"
_TRANSPORTS = {
    "mtcp": "write tcp: a routing tunnel has one stream, and nothing to multiplex",
    "h2c": "write ws, which gets through web proxies",
    "ohttp": "write ws, which looks like HTTP",
    "mux": "write tcp: a routing tunnel has one stream, and nothing to multiplex",
}
"""Type of a listener or dialer -> what to write; for others `_ENCRYPTED`."""


def instead_of(section: str, field: str) -> str:
    """What to do instead of a field that is not supported yet; `section` is the name of its class."""
    return _SECTIONS.get(section, {}).get(field, "leave it out")


def misplaced(section: str) -> Mapping[str, str]:
    """The keys (lower case) that would have to stand elsewhere, each with what to do; `section` as above."""
    return _MISPLACED.get(section, {})


def instead_of_key(key: str) -> str:
    """What to do instead of a metadata key that is not supported yet."""
    return _METADATA.get(key.lower(), "leave it out")


def instead_of_transport(kind: str) -> str:
    """What to write instead of a type of listener or dialer that carries no session here."""
    return _TRANSPORTS.get(kind.lower(), _ENCRYPTED)
