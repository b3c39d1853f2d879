"""Nodes of a hop from its sources: a JSON list, as GOST has it, checked like those of a configuration.

Knows: that a node from a source means what it would mean in its hop in the configuration.
Refuses to know: how a source is read (source_feed), what becomes of a node (client_hop).

What stands around the nodes (the hop's own keys, the proxies before it, hosts) is kept as one text. Together
with the nodes of a source it is a whole configuration again, which is read and checked as any other.
"""

from __future__ import annotations

import json
from copy import copy

from lib import config_read
from lib.config_schema import Chain, Config, Forwarder, ForwardNode, Handler, Hop, Hosts, Listener, Service
from lib.go_values import Duration
from lib.humanize import counted
from lib.settings import NodeSettings

MAX_NODES = 1000
"""Nodes of one source; with more it is refused."""


def nobody(hop: str) -> NodeSettings:
    """What there is to dial while no node of a hop is known: an address that none can have."""
    return NodeSettings(hop, f"(no node of hop {hop} is known yet)", 0)


def template(chain: Chain, hops: list[Hop], hosts: list[Hosts]) -> str:
    """The text around the nodes of a chain's last hop; it may hold secrets."""
    last = copy(hops[-1])
    last.nodes, last.file, last.redis, last.http, last.reload = [], None, None, None, Duration(0)
    around = Chain(name=chain.name or "chain", hops=[*hops[:-1], last])
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


def with_nodes(around: str, text: bytes, name: str) -> Config:
    """The whole configuration with the nodes of a source of that name. Raises ValueError for no list."""
    try:
        nodes = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ValueError("it is no JSON list of nodes")
    if len(nodes) > MAX_NODES:
        raise ValueError(f"it has {counted(len(nodes), 'node')}, more than {MAX_NODES}")
    whole = json.loads(around)
    whole["chains"][0]["hops"][-1]["nodes"] = nodes
    return config_read.read([(name, json.dumps(whole))])


def has_nodes(config: Config) -> bool:
    """Whether the source of such a configuration has any nodes, right or wrong."""
    return bool(config.problems or config.chains[0].hops[-1].nodes)
