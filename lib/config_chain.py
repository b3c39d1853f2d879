"""Chains of a configuration: the way of a client to its hub, checked and turned into NodeSettings.

Knows: which chain a client takes, its hops and their nodes, the proxies before the hub.
Refuses to know: a client's device and name (config_client), and how a node is chosen at run time (client).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lib import config_metadata, config_nodes, config_url_keys
from lib.addresses import host_port
from lib.config_dial import Tables, dial_settings, hosts_tables
from lib.config_findings import Findings
from lib.config_gost_keys import ALSO_STRATEGIES, CHAIN_KEYS, CONNECTORS, PROXIES, PROXY_KEYS, STRATEGIES
from lib.config_instead import ROUTER_NODE
from lib.config_plugins import plugin_settings
from lib.config_schema import (
    Auth,
    Chain,
    Config,
    Connector,
    Dialer,
    ForwardNode,
    Handler,
    Hop,
    Node,
    Selector,
    Service,
)
from lib.config_sources import source_settings
from lib.config_transport import dialer_transport
from lib.did_you_mean import did_you_mean
from lib.go_values import SECONDS
from lib.ids import NO_NAMESPACE, parse_uuid
from lib.settings import HopSettings, NodeSettings, ProxySettings
from lib.settings_dial import PLAIN_DIAL, ChoiceSettings, HopChoice
from lib.settings_sources import NO_SOURCES

_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # a login from a file may be any bytes
_LAST_LETTER = {"http": "\xff", "socks5": "\x7f", "socks4": "\x7f"}
"""What python-socks sends a login in: Latin-1 or ASCII."""


MAX_WEIGHT = 1_000_000


class Way(NamedTuple):
    """The way to a hub: the nodes of a chain, and how one of them is chosen."""

    chain: str
    """The chain's name; empty without one."""
    nodes: tuple[NodeSettings, ...]
    choices: tuple[HopChoice, ...] = (HopChoice(),)
    """How a node of each hop is chosen; the hub's is the last one."""
    hops: tuple[HopSettings, ...] = ()
    """All hops, where nodes of any come from sources or a plugin."""


NO_WAY = Way("", ())
Reader = Callable[[Hop, Tables, bool, Findings], Sequence[config_nodes.Part]]


class Chains:
    """The chains of a configuration. Each is read once, however many clients take it."""

    def __init__(self, config: Config, found: Findings) -> None:
        """Whatever is wrong with a chain that is taken is a problem in `found`."""
        self._chains = {chain.name: chain for chain in config.chains}
        self._hops = {hop.name: hop for hop in config.hops}
        self._found = found
        self._tables = hosts_tables(config, found)
        self._hosts = config.hosts
        self._ways: dict[str, Way] = {}

    def way(self, service: Service, handler: Handler) -> Way:
        """The way that a client takes; NO_WAY, and a problem, where there is none."""
        chain = self._chain(service, handler)
        if chain is None:
            return NO_WAY
        if chain.name not in self._ways:
            self._ways[chain.name] = self._way(chain, _hops(chain, self._hops, self._found))
        return self._ways[chain.name]

    def _way(self, chain: Chain, hops: list[Hop]) -> Way:
        if not hops:
            return NO_WAY
        found, last = self._found, len(hops) - 1
        choices = tuple(hop_choice(hop.selector or Selector(), found) for hop in hops)
        made: list[HopSettings] = []
        for number, hop in enumerate(hops):
            read: Reader = _nodes if number == last else _proxies
            inline = tuple(read(hop, self._tables, not number, found))
            made.append(self._hop(chain, hops, number, inline))
        if not any(hop.plugin or hop.more.sources for hop in made) and not all(hop.inline for hop in made):
            return NO_WAY  # it is a problem already
        nodes = config_nodes.combined([(hop.name, hop.inline) for hop in made], found.each)
        is_live = any(hop.around for hop in made)
        return Way(chain.name, nodes, choices, tuple(made) if is_live else ())

    def _hop(
        self, chain: Chain, hops: list[Hop], number: int, inline: tuple[config_nodes.Part, ...]
    ) -> HopSettings:
        """One hop, with what its nodes come from beside the configuration."""
        hop, found = hops[number], self._found
        plugin = plugin_settings(hop.plugin, found) if hop.plugin else None
        asks = _has_sources(hop) or (hop.reload and not hop.plugin)
        more = source_settings(hop, ("string",), found) if asks else NO_SOURCES
        for key in ("selector", "reload"):
            if hop.plugin and getattr(hop, key):
                text = f"{key!r} beside a plugin has no effect: it is asked for one node, at each dial"
                found.warn(hop.where(key), text)
        if hop.plugin and (hop.nodes or _has_sources(hop)):
            text = f"hop {hop.name}: only its plugin is asked, its own nodes and sources are not, as in GOST"
            found.warn(hop.where("plugin"), text)
        if hop.plugin:
            inline, more = (), NO_SOURCES
        around = config_nodes.template(chain, hops, number, self._hosts) if plugin or more.sources else ""
        return HopSettings(hop.name, number, inline, more, around, plugin)  # type: ignore[arg-type]  # one kind

    def _chain(self, service: Service, handler: Handler) -> Chain | None:
        found, chains = self._found, self._chains
        if handler.chain:
            if handler.chain not in chains:
                hint = found.guess(handler.chain, chains)
                found.error(handler.where("chain"), f"there is no chain {handler.chain[:64]!r}", hint)
            return chains.get(handler.chain)
        first = next(iter(chains.values()), None)
        if first is not None and len(chains) == 1:
            message = f"service {service.name} names no chain: {first.name}, the only one, is used"
            found.notice(service.where("handler"), message)
            return first
        message = (
            f"service {service.name} names no chain, and there is {'more than one' if first else 'none'}"
        )
        hint = (
            f"write chain: {first.name} in its handler"
            if first
            else "write -F router://server:8443, or chains: in the file"
        )
        found.error(service.where("handler"), message, hint)
        return None


def _hops(chain: Chain, named: dict[str, Hop], found: Findings) -> list[Hop]:
    """The hops of a chain, the hub's last; one without nodes is looked up by name in the top-level `hops`."""
    if not chain.hops:
        found.error(chain.where("hops"), f"chain {chain.name} has no hops")
    hops = []
    for hop in chain.hops:
        if hop.nodes or "nodes" in hop.at or _is_live(hop):
            hops.append(hop)
        elif hop.name in named:
            hops.append(named[hop.name])
        else:
            found.error(hop.where(), f"hop {hop.name[:64]!r} has no nodes", found.guess(hop.name, named))
    return hops


def _has_sources(hop: Hop) -> bool:
    return bool(hop.file or hop.redis or hop.http)


def _is_live(hop: Hop) -> bool:
    """Whether it may have nodes that are not in the configuration."""
    return bool(hop.plugin) or _has_sources(hop)


def _proxies(hop: Hop, tables: Tables, is_first: bool, found: Findings) -> list[ProxySettings]:
    """The proxies of a hop that comes before the hub's."""
    if not hop.nodes and not _is_live(hop):
        found.error(hop.where("nodes"), f"hop {hop.name} has no nodes")
    proxies = []
    for node in found.each(hop.nodes):
        connector = node.connector or Connector(at=node.at)
        dialer = node.dialer or Dialer(type="tcp", at=node.at)
        repeats = config_url_keys.of_node(dialer.tls, connector.auth)
        config_metadata.check(
            _layers(connector, dialer, node, hop), PROXY_KEYS, "a proxy before the hub", found, repeats
        )
        kind = PROXIES.get(connector.type.lower())
        if kind is None:
            message = f"a node of type {connector.type[:64] or 'none'!r} before the hub's"
            found.error(connector.where("type"), message, f"there can be {', '.join(PROXIES)}")
        if dialer.type.lower() not in ("tcp", ""):
            found.error(dialer.where("type"), f"a proxy is reached over tcp, not {dialer.type[:64]!r}")
        tls = dialer.tls
        if tls and (tls.secure or tls.ca_file or tls.cert_file or tls.key_file):
            found.warn(tls.where(), "tls means nothing on the way to a proxy: nothing is encrypted there")
        address = _address(node, found)
        if address and kind:
            auth = _checked_login(connector, found)
            _check_proxy_login(kind, auth, found)
            host, port = address
            dial = dial_settings(hop, node, host, tables, is_first, found)
            if not is_first and dial.addresses:  # the proxy before it is told this address, and not the name
                host, dial = dial.addresses[0], PLAIN_DIAL
            choice = choice_of(node, hop.selector, "the selector of the hop", found)
            proxies.append(ProxySettings(kind, host, port, auth.username, auth.password, dial, choice))
    return proxies


def _check_proxy_login(kind: str, auth: Auth, found: Findings) -> None:
    """What the login of a proxy may consist of (python-socks; RFC 7617, 2)."""
    login = auth.username + auth.password
    if _NOT_UTF_8.search(login):
        found.error(auth.where(), "a proxy's login that is not UTF-8")
    elif any(letter > _LAST_LETTER[kind] for letter in login):
        found.error(
            auth.where(), f"a login that {kind} cannot carry: only letters up to {_LAST_LETTER[kind]!r}"
        )
    elif kind == "http" and ":" in auth.username:
        found.error(auth.where(), "a user name for an http proxy with a colon: it ends the name (RFC 7617)")


def choice_of(
    node: Node | ForwardNode, selector: Selector | None, whose: str, found: Findings
) -> ChoiceSettings:
    """What a node's metadata says about how it is chosen, as in GOST (x/selector).

    `whose` names the selector in warnings.
    """
    weight = config_metadata.integer(node, ("weight",), 1, found)
    max_fails = config_metadata.integer(node, ("maxFails",), 0, found)
    for key, value in (("weight", weight), ("maxFails", max_fails)):
        tree = config_metadata.find(node, key)
        if tree and not 0 < value <= MAX_WEIGHT:
            found.error(tree.where, f"{key!r}: {value} is not within 1 to {MAX_WEIGHT}")
    tree = config_metadata.find(node, "weight")
    if tree and strategy_of(selector) != "rand":
        text = "'weight' has no effect, in GOST neither: only the strategy rand chooses by weight"
        found.warn(tree.where, text, f"write strategy: rand in {whose}")
    backup = config_metadata.switch(node, "backup", False, found)
    timeout = config_metadata.seconds(node, "failTimeout", 0.0, found)
    return ChoiceSettings(max(1, weight), backup, max(0, max_fails), timeout)


def strategy_of(selector: Selector | None) -> str:
    """The strategy of a selector, by our word for it."""
    word = selector.strategy if selector else ""
    return ALSO_STRATEGIES.get(word, word) or "round"


def hop_choice(selector: Selector, found: Findings) -> HopChoice:
    """How a node is chosen by a selector; a wrong value is a problem in `found`."""
    check_selector(selector, found)
    seconds = selector.fail_timeout / SECONDS if selector.fail_timeout else 10.0
    return HopChoice(strategy_of(selector), selector.max_fails or 1, seconds)


def check_selector(selector: Selector, found: Findings) -> None:
    """Check a selector's values; a wrong one is a problem in `found`."""
    if selector.strategy and selector.strategy not in (*STRATEGIES, *ALSO_STRATEGIES):
        hint = did_you_mean(selector.strategy, STRATEGIES) or f"there is {', '.join(STRATEGIES)}"
        found.error(selector.where("strategy"), f"unknown strategy {selector.strategy[:64]!r}", hint)
    if selector.max_fails < 0:
        found.error(selector.where("max_fails"), "'maxFails': a number below zero")
    if selector.fail_timeout < 0:
        found.error(selector.where("fail_timeout"), "'failTimeout': a duration below zero")


def _nodes(hop: Hop, tables: Tables, is_first: bool, found: Findings) -> list[NodeSettings]:
    if not hop.nodes and not _is_live(hop):
        found.error(hop.where("nodes"), f"hop {hop.name} has no nodes")
    nodes = (_node(hop, node, tables, is_first, found) for node in found.each(hop.nodes))
    return [node for node in nodes if node]


def _node(hop: Hop, node: Node, tables: Tables, is_first: bool, found: Findings) -> NodeSettings | None:
    connector = node.connector or Connector(at=node.at)
    dialer = node.dialer or Dialer(at=node.at)
    repeats = config_url_keys.of_node(dialer.tls, connector.auth)
    config_metadata.check(_layers(connector, dialer, node, hop), CHAIN_KEYS, "a node", found, repeats)
    _check_connector(connector, found)
    transport = dialer_transport(dialer, found)
    auth = _checked_login(connector, found)
    if (auth.username or auth.password) and not transport.encrypted:
        found.warn(
            auth.where(), f"the login goes over the network in the clear: the dialer is {transport.kind}"
        )
    address = _address(node, found)
    if address is None:
        return None
    return NodeSettings(
        name=node.name,
        host=address[0],
        port=address[1],
        transport=transport,
        namespace=config_metadata.scalar(connector, ("router.id",), parse_uuid, NO_NAMESPACE, found),
        username=auth.username,
        password=auth.password,
        connect_timeout=config_metadata.seconds(connector, "connectTimeout", 10.0, found) or 10.0,
        dial=dial_settings(hop, node, address[0], tables, is_first, found),
        choice=choice_of(node, hop.selector, "the selector of the hop", found),
    )


def _layers(
    connector: Connector, dialer: Dialer, node: Node, hop: Hop
) -> dict[str, config_metadata.Layer | None]:
    """The sections in whose metadata a key of a node may stand."""
    return {"connector": connector, "dialer": dialer, "node": node, "hop": hop}


def _check_connector(connector: Connector, found: Findings) -> None:
    kind, where = connector.type.lower(), connector.where("type")
    if kind == "router" or (not kind and not where.line):
        return
    if not kind:
        found.error(where, "a node without a connector type", "write connector: {type: router}")
    elif kind in CONNECTORS:
        found.error(where, f"connector type {kind} does not reach a router", ROUTER_NODE)
    else:
        found.error(where, f"unknown connector type {kind[:64]!r}", did_you_mean(kind, CONNECTORS))


def _address(node: Node, found: Findings) -> tuple[str, int] | None:
    try:
        host, port = host_port(node.addr)
        if not host or not port:
            raise ValueError(f"{node.addr[:64]!r} names no {'port' if host else 'host'} to dial")
    except ValueError as wrong:
        found.error(node.where("addr"), f"'addr': {wrong}")
        return None
    return host, port


def _checked_login(connector: Connector, found: Findings) -> Auth:
    auth = connector.auth or Auth()
    if max(len(text.encode("utf-8", "surrogateescape")) for text in (auth.username, auth.password)) > 255:
        found.error(auth.where(), "a user name or password of more than 255 bytes")
    return auth
