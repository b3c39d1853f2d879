"""Client services (handler tun) of a configuration, checked and turned into ClientSettings.

Knows: the device's metadata, the host name, the chain to the hub and its nodes.
Refuses to know: hubs (config_hub), netlink, and how a node is chosen at run time (client).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import TypeVar

from lib import config_metadata
from lib.addresses import address, host_port, interface, is_address, prefix
from lib.config_findings import Findings
from lib.config_gost_keys import (
    CHAIN_KEYS,
    CLIENT_KEYS,
    CONNECTORS,
    PROXIES,
    STRATEGIES,
)
from lib.config_instead import ROUTER_NODE
from lib.config_schema import (
    Auth,
    Chain,
    Config,
    Connector,
    Dialer,
    Handler,
    Hop,
    Listener,
    Node,
    Selector,
    Service,
)
from lib.config_transport import dialer_transport
from lib.config_yaml import Scalar
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.go_values import SECONDS
from lib.ids import NO_NAMESPACE, is_host_name, parse_uuid
from lib.settings import (
    DEFAULT_MTU,
    ClientSettings,
    DeviceSettings,
    Interface,
    Network,
    NodeSettings,
    ProxySettings,
)

MTU_RANGE = range(576, 65522)
MIN_IPV6_MTU = 1280

T = TypeVar("T")

_NOT_UTF_8 = re.compile("[\ud800-\udfff]")  # a login from a file may be any bytes
_LAST_LETTER = {"http": "\xff", "socks5": "\x7f", "socks4": "\x7f"}
"""What python-socks sends a login in: Latin-1 or ASCII."""
_DEVICE_NAME = re.compile(r"[^\s/:%\x00-\x1f\x7f]{1,15}")


def client(service: Service, config: Config, found: Findings) -> ClientSettings:
    """The settings of one client. A wrong value is a problem in `found`, and its default in the result."""
    handler = service.handler or Handler(at=service.at)
    listener = service.listener or Listener(at=service.at)
    layers: dict[str, config_metadata.Layer | None] = {
        "handler": handler,
        "listener": listener,
        "service": service,
    }
    config_metadata.check(layers, CLIENT_KEYS, "a service with handler tun", found)
    _check_rest(service, handler, listener, found)
    chain = _chain(service, handler, config, found)
    hops = _hops(chain, config, found) if chain else []
    hop = hops[-1] if hops else None
    selector = hop.selector if hop and hop.selector else Selector()
    _check_selector(selector, found)
    return ClientSettings(
        name=service.name,
        host=_host(service, found),
        device=_device(listener, found),
        nodes=_ways(hops, found),
        chain=chain.name if chain else "",
        superpackets=config_metadata.switch(handler, "superpackets", True, found),
        keepalive_timeout=config_metadata.keepalive_timeout(handler, found),
        strategy=selector.strategy or "round",
        max_fails=selector.max_fails or 1,
        fail_timeout=selector.fail_timeout / SECONDS if selector.fail_timeout else 10.0,
    )


def _check_rest(service: Service, handler: Handler, listener: Listener, found: Findings) -> None:
    kind = listener.type.lower()
    if kind != "tun" and (kind or listener.where().line):
        found.error(
            listener.where("type"), f"handler tun works over listener tun, not {kind[:64] or 'none'!r}"
        )
    if service.addr and service.addr != ":0":
        message = (
            f"'addr': a tun service with an address is GOST's UDP tunnel, not a router's host: {service.addr}"
        )
        found.error(service.where("addr"), message, "write tun:///host-1 or leave addr out")
    limiters = (("limiter", handler), *((kind, service) for kind in ("limiter", "climiter", "rlimiter")))
    for name, section in limiters:
        if getattr(section, name):
            found.error(section.where(name), f"{name!r} is for a hub: a client's traffic is limited there")
    if handler.auth:
        found.error(
            handler.where("auth"),
            "a login means nothing to handler tun",
            "it belongs to the node's connector",
        )
    if listener.tls:
        found.warn(listener.where("tls"), "tls means nothing to a listener of type tun")


# --- the host name ------------------------------------------------------------------------------


def _host(service: Service, found: Findings) -> str:
    nodes = service.forwarder.nodes if service.forwarder else []
    if not nodes:
        hint = "write its host name as -L tun:///host-1 or as addr of a forwarder node"
        found.error(service.where("forwarder"), f"service {service.name} has no host name", hint)
        return ""
    if len(nodes) > 1:
        hint = "write a service for each"
        found.error(nodes[1].where("addr"), f"service {service.name} has more than one host name", hint)
    wrong = _wrong_host(nodes[0].addr)
    if wrong:
        found.error(nodes[0].where("addr"), wrong[0], wrong[1])
    return nodes[0].addr


def _wrong_host(host: str) -> tuple[str, str] | None:
    """(message, hint) about a wrong host name; None for a right one."""
    if not host:
        return "an empty host name", "a hub finds its hosts by name: write addr: host-1"
    if ":" in host and not is_address(host):
        message = f"{host[:64]!r} has a port: that means a UDP peer in GOST, not a host on a router"
        return message, "write the host name alone"
    if not is_host_name(host):
        return f"a control character in the host name {host[:64]!r}", ""
    if len(host.encode()) > 255:
        return "a host name of more than 255 bytes", ""
    return None


# --- the device ---------------------------------------------------------------------------------


def _device(listener: Listener, found: Findings) -> DeviceSettings:
    name = config_metadata.text(listener, "tun.name", "name", found=found)
    if name and (not _DEVICE_NAME.fullmatch(name) or len(name.encode()) > 15 or name in (".", "..")):
        found.error(_place(listener, "name"), f"no device can have the name {name[:64]!r} (at most 15 bytes)")
    nets = config_metadata.listed(listener, "tun.net", "net", found=found)
    addresses = tuple(_parsed(nets, "net", interface, found))
    routes = _routes(listener, found)
    return DeviceSettings(
        name=name,
        addresses=tuple(dict.fromkeys(addresses)),
        peer=_address_text(listener, "peer", found),
        mtu=_mtu(listener, addresses, routes, found),
        routes=routes,
    )


def _place(listener: Listener, name: str) -> Position:
    tree = config_metadata.find(listener, f"tun.{name}", name)
    return tree.where if tree else listener.where("metadata")


def _address_text(listener: Listener, name: str, found: Findings) -> str:
    return config_metadata.scalar(listener, (f"tun.{name}", name), lambda text: str(address(text)), "", found)


def _mtu(
    listener: Listener,
    addresses: tuple[Interface, ...],
    routes: tuple[tuple[Network, str], ...],
    found: Findings,
) -> int:
    mtu = config_metadata.integer(listener, ("tun.mtu", "mtu"), DEFAULT_MTU, found)
    has_ipv6 = any(net.version == 6 for net in addresses) or any(net.version == 6 for net, _ in routes)
    if mtu not in MTU_RANGE:
        limits = f"{MTU_RANGE.start} to {MTU_RANGE.stop - 1}"
        found.error(_place(listener, "mtu"), f"'mtu': {mtu} is not within {limits}")
    elif has_ipv6 and mtu < MIN_IPV6_MTU:
        found.error(_place(listener, "mtu"), f"'mtu': IPv6 needs at least {MIN_IPV6_MTU}, not {mtu}")
    return mtu


def _routes(listener: Listener, found: Findings) -> tuple[tuple[Network, str], ...]:
    """(prefix, gateway or "") from `route` (CIDRs by way of `gw`) and `routes` (`CIDR gateway` each)."""
    default = _address_text(listener, "gw", found)
    routes: dict[Network, str] = {}
    for item in config_metadata.listed(listener, "tun.route", "route", found=found):
        _add_route(routes, item.text, default, item, found)
    for item in config_metadata.listed(listener, "tun.routes", "routes", found=found):
        words = item.text.split()
        if len(words) > 2:
            found.error(item.where, f"'routes' wants `CIDR gateway`, not {item.text[:64]!r}")
            continue
        _add_route(routes, words[0], words[1] if len(words) == 2 else default, item, found)
    return tuple(routes.items())


def _add_route(routes: dict[Network, str], net: str, gateway: str, item: Scalar, found: Findings) -> None:
    try:
        target = prefix(net)
        via = str(address(gateway)) if gateway else ""
        if via and address(via).version != target.version:
            raise ValueError(f"{target} cannot go through {via}: two versions of IP")
    except ValueError as wrong:
        found.error(item.where, f"route: {wrong}")
        return
    if routes.setdefault(target, via) != via:
        found.error(
            item.where, f"route: {target} has a gateway already", f"it is {routes[target] or 'the device'}"
        )


def _parsed(items: list[Scalar], name: str, parse: Callable[[str], T], found: Findings) -> list[T]:
    values: list[T] = []
    for item in items:
        try:
            values.append(parse(item.text))
        except ValueError as wrong:
            found.error(item.where, f"{name!r}: {wrong}")
    return values


# --- the way to the hub -------------------------------------------------------------------------


def _chain(service: Service, handler: Handler, config: Config, found: Findings) -> Chain | None:
    chains = {chain.name: chain for chain in config.chains}
    if handler.chain:
        if handler.chain not in chains:
            hint = did_you_mean(handler.chain, chains)
            found.error(handler.where("chain"), f"there is no chain {handler.chain[:64]!r}", hint)
        return chains.get(handler.chain)
    if len(config.chains) == 1:
        only = config.chains[0]
        message = f"service {service.name} names no chain: {only.name}, the only one, is used"
        found.notice(service.where("handler"), message)
        return only
    message = f"service {service.name} names no chain, and there is {'more than one' if chains else 'none'}"
    hint = (
        f"write chain: {config.chains[0].name} in its handler"
        if chains
        else "write -F router://server:8443, or chains: in the file"
    )
    found.error(service.where("handler"), message, hint)
    return None


def _hops(chain: Chain, config: Config, found: Findings) -> list[Hop]:
    """The hops of a chain, the hub's last; one without nodes is looked up by name in the top-level `hops`."""
    if not chain.hops:
        found.error(chain.where("hops"), f"chain {chain.name} has no hops")
    named = {h.name: h for h in config.hops}
    hops = []
    for hop in chain.hops:
        if hop.nodes or "nodes" in hop.at:
            hops.append(hop)
        elif hop.name in named:
            hops.append(named[hop.name])
        else:
            found.error(hop.where(), f"hop {hop.name[:64]!r} has no nodes", did_you_mean(hop.name, named))
    return hops


def _ways(hops: list[Hop], found: Findings) -> tuple[NodeSettings, ...]:
    """Every way to a hub: each node of the last hop, combined with each choice of proxies before it."""
    if not hops:
        return ()
    before = [_proxies(hop, found) for hop in hops[:-1]]
    return tuple(
        replace(node, proxies=proxies) for node in _nodes(hops[-1], found) for proxies in product(*before)
    )


def _proxies(hop: Hop, found: Findings) -> list[ProxySettings]:
    """The proxies of a hop that comes before the hub's."""
    if not hop.nodes:
        found.error(hop.where("nodes"), f"hop {hop.name} has no nodes")
    proxies = []
    for node in hop.nodes:
        connector = node.connector or Connector(at=node.at)
        dialer = node.dialer or Dialer(type="tcp", at=node.at)
        kind = PROXIES.get(connector.type.lower())
        if kind is None:
            message = f"a node of type {connector.type[:64] or 'none'!r} before the hub's"
            found.error(connector.where("type"), message, f"there can be {', '.join(PROXIES)}")
        if dialer.type.lower() not in ("tcp", ""):
            found.error(dialer.where("type"), f"a proxy is reached over tcp, not {dialer.type[:64]!r}")
        address = _address(node, found)
        if address and kind:
            auth = _checked_login(connector, found)
            _check_proxy_login(kind, auth, found)
            proxies.append(ProxySettings(kind, *address, auth.username, auth.password))
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


def _check_selector(selector: Selector, found: Findings) -> None:
    if selector.strategy and selector.strategy not in STRATEGIES:
        hint = did_you_mean(selector.strategy, STRATEGIES)
        found.error(selector.where("strategy"), f"unknown strategy {selector.strategy[:64]!r}", hint)
    if selector.max_fails < 0:
        found.error(selector.where("max_fails"), "'maxFails': a number below zero")
    if selector.fail_timeout < 0:
        found.error(selector.where("fail_timeout"), "'failTimeout': a duration below zero")


def _nodes(hop: Hop, found: Findings) -> list[NodeSettings]:
    if not hop.nodes:
        found.error(hop.where("nodes"), f"hop {hop.name} has no nodes")
    nodes = (_node(hop, node, found) for node in hop.nodes)
    return [node for node in nodes if node]


def _node(hop: Hop, node: Node, found: Findings) -> NodeSettings | None:
    connector = node.connector or Connector(at=node.at)
    dialer = node.dialer or Dialer(at=node.at)
    layers: dict[str, config_metadata.Layer | None] = {
        "connector": connector,
        "dialer": dialer,
        "node": node,
        "hop": hop,
    }
    config_metadata.check(layers, CHAIN_KEYS, "a node", found)
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
    )


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
