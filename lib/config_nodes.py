"""Nodes of a hop from its sources: a JSON list, as GOST has it, checked like those of a configuration.

Knows: that a node from a source means what it would mean in its hop in the configuration.
Refuses to know: how a source is read (source_feed), what becomes of a node (client_hop).

What stands around the nodes (the hop's own keys, hosts) is kept as one text. Together with the nodes of a
source it is a whole configuration again, which is read and checked as any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from itertools import product

from lib import config_read
from lib.config_schema import (
    Chain,
    Config,
    Connector,
    Dialer,
    Forwarder,
    ForwardNode,
    Handler,
    Hop,
    Hosts,
    Listener,
    Node,
    Service,
)
from lib.go_values import Duration
from lib.humanize import counted
from lib.settings import ClientSettings, HopSettings, NodeSettings, ProxySettings

MAX_NODES = 1000
"""Nodes of one source; with more it is refused."""


MAX_WAYS = 4096
"""Combinations of a node of each hop, where some come from sources."""

_BEFORE = Hop(
    name="before",
    nodes=[Node(name="p", addr="127.0.0.1:1", connector=Connector(type="socks5"), dialer=Dialer(type="tcp"))],
)
_AFTER = Hop(
    name="after",
    nodes=[Node(name="h", addr="127.0.0.1:1", connector=Connector(type="router"), dialer=Dialer(type="tcp"))],
)
"""What stands for the other hops: whether a node is right depends on whether there are any."""

Part = ProxySettings | NodeSettings
"""A node of a hop: a proxy, or in the last hop a hub."""
Proxies = tuple[ProxySettings, ...]
"""One of each hop before the last."""


def nobody(hop: str) -> NodeSettings:
    """What there is to dial while no node of a hop is known: an address that none can have."""
    return NodeSettings(hop, f"(no node of hop {hop} is known yet)", 0)


def combined(
    hops: Sequence[tuple[str, Sequence[Part]]], each: Callable[[Iterable[Proxies]], Iterable[Proxies]] = iter
) -> tuple[NodeSettings, ...]:
    """Every way to a hub: each node of the last hop, combined with each choice of proxies before it.

    `hops` has the name and the nodes of each. Where one has no nodes, nobody is there to be dialled. `each`
    goes through the choices of proxies, with pauses where the caller needs some.
    """
    for name, parts in hops:
        if not parts:
            return (nobody(name),)
    before = [[part for part in parts if isinstance(part, ProxySettings)] for _, parts in hops[:-1]]
    nodes = [part for part in hops[-1][1] if isinstance(part, NodeSettings)]
    return tuple(replace(node, proxies=proxies) for node in nodes for proxies in each(product(*before)))


def template(chain: Chain, hops: list[Hop], number: int, hosts: list[Hosts]) -> str:
    """The text around the nodes of one of a chain's hops; it may hold secrets."""
    own = copy(hops[number])
    own.nodes, own.file, own.redis, own.http, own.reload, own.plugin = [], None, None, None, Duration(0), None
    before, after = [_BEFORE] if number else [], [_AFTER] if number < len(hops) - 1 else []
    around = Chain(name=chain.name or "chain", hops=[*before, own, *after])
    service = Service(
        name="s",
        handler=Handler(type="tun", chain=around.name),
        listener=Listener(type="tun"),
        forwarder=Forwarder(nodes=[ForwardNode(name="t", addr="h")]),
    )
    tables = [copy(section) for section in hosts]
    for section in tables:
        section.file = None  # its rows are among the mappings by now
    return config_read.render(Config(services=[service], chains=[around], hosts=tables), "json")


def with_nodes(hop: HopSettings, text: bytes, name: str) -> Config:
    """The whole configuration with the nodes of a source of that name. Raises ValueError for no list."""
    try:
        nodes = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ValueError("it is no JSON list of nodes")
    if len(nodes) > MAX_NODES:
        raise ValueError(f"it has {counted(len(nodes), 'node')}, more than {MAX_NODES}")
    whole = json.loads(hop.around)
    whole["chains"][0]["hops"][_place(hop)]["nodes"] = nodes
    return config_read.read([(name, json.dumps(whole))])


def has_nodes(hop: HopSettings, config: Config) -> bool:
    """Whether the source of such a configuration has any nodes, right or wrong."""
    return bool(config.problems or config.chains[0].hops[_place(hop)].nodes)


def parts_of(hop: HopSettings, client: ClientSettings) -> tuple[Part, ...]:
    """The nodes of that hop of a client whose configuration with_nodes has made."""
    place = _place(hop)
    return tuple(
        node.proxies[place] if place < len(node.proxies) else replace(node, proxies=())
        for node in client.nodes
    )


def _place(hop: HopSettings) -> int:
    """The number of the hop in its template: one hop stands for all that come before it."""
    return min(hop.number, 1)
