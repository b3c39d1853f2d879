"""Client services (handler tun) of a configuration, checked and turned into ClientSettings.

Knows: the device's metadata.
Refuses to know: hubs (config_hub), the way to one (config_chain), host names (config_host_name), netlink.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from lib import config_datagrams, config_metadata, config_url_keys
from lib.addresses import address, interface, packed_prefix, prefix
from lib.config_chain import Chains
from lib.config_findings import Findings
from lib.config_gost_keys import (
    CLIENT_KEYS,
    SERVICE_KEYS,
    SERVICE_WITH_CHAIN,
)
from lib.config_hooks import hook_settings
from lib.config_host_name import host_names, host_strategy
from lib.config_map import maps_of
from lib.config_named import Named
from lib.config_no_effect import UNNAMED
from lib.config_pool import MTU_RANGE
from lib.config_schema import (
    Handler,
    Listener,
    Service,
)
from lib.config_yaml import Scalar
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.push_settings import MAX_DNS
from lib.settings import (
    DEFAULT_MTU,
    ClientSettings,
    DeviceSettings,
    Interface,
    Network,
    NodeSettings,
)
from lib.settings_dial import netns_path
from lib.settings_names import BY_AUTO, BY_HOSTS, BY_OFF, WAYS
from lib.settings_push import AUTO, FORCE, LISTED, OFF, AcceptSettings

MIN_IPV6_MTU = 1280
RETRIES = range(101)
ACTIVE = range(1, 3)

T = TypeVar("T")

_ROUTES = (AUTO, FORCE, OFF)
_DEVICE_NAME = re.compile(r"[^\s/:%\x00-\x1f\x7f]{1,15}")


def client(service: Service, chains: Chains, named: Named, found: Findings) -> ClientSettings:
    """The settings of one client. A wrong value is a problem in `found`, and its default in the result."""
    handler = service.handler or Handler(at=service.at)
    listener = service.listener or Listener(at=service.at)
    layers: dict[str, config_metadata.Layer | None] = {
        "handler": handler,
        "listener": listener,
        "service": service,
    }
    repeats = config_url_keys.of_client(service)
    config_metadata.check(layers, CLIENT_KEYS, "a service with handler tun", found, repeats)
    _check_rest(service, handler, listener, found)
    way = chains.way(service, handler)
    names = host_names(service, found)
    device = replace(_device(listener, found), netns=_netns(service, handler, way.nodes, found))
    channel, dscp = config_datagrams.of_client(handler, way.nodes, found)
    return ClientSettings(
        name=service.name,
        host=names[0].name,
        hosts=names if len(names) > 1 else (),
        host_strategy=host_strategy(service) if len(names) > 1 else "round",
        device=device,
        nodes=way.nodes,
        observe=named.observe(service, handler, found),
        chain=way.chain,
        hops=way.hops,
        superpackets=config_metadata.switch(handler, "superpackets", True, found),
        lanes=config_metadata.lanes(handler, found),
        active=_active(handler, way.nodes, bool(way.hops), found),
        channel=channel,
        dscp=dscp,
        keepalive_timeout=config_metadata.keepalive_timeout(handler, found),
        accept=_accept(handler, listener, device, found),
        before=way.choices[:-1],
        dns=_dns(listener, handler, found),
        names_by=config_metadata.scalar(handler, ("namesBy",), _way_of_names, BY_AUTO, found),
        strategy=way.choices[-1].strategy,
        max_fails=way.choices[-1].max_fails,
        fail_timeout=way.choices[-1].fail_timeout,
        hooks=hook_settings(service, found),
        retries=handler.retries,
        nat=config_metadata.switch(handler, "nat", False, found),
        killswitch=config_metadata.switch(handler, "killswitch", False, found),
        maps=maps_of(handler, device, found),
    )


def _netns(service: Service, handler: Handler, nodes: Sequence[NodeSettings], found: Findings) -> str:
    """The network namespace of the device; what does not go with one is a problem in `found`."""
    name = config_metadata.netns(service, found)
    tree = config_metadata.find(service, "netns")
    if not name or tree is None:
        return ""
    instead = "start tunrouter in that namespace: ip netns exec NAME tunrouter …"
    switched = {key: config_metadata.switch(handler, key, False, found) for key in ("nat", "killswitch")}
    for key, is_set in {**switched, "map": config_metadata.find(handler, "map") is not None}.items():
        if is_set:
            text = f"{key!r} beside 'netns': tables of nftables are set where tunrouter runs, not there"
            found.error(tree.where, text, instead)
    dialled = {netns_path(node.first.dial.netns) for node in nodes if node.first.dial.netns}
    if netns_path(name) in dialled:
        text = "'netns' of a service and of its node are the same: the tunnel's routes could cover the hub"
        found.error(tree.where, text, instead)
    return name


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
    if handler.retries not in RETRIES:
        limits = f"{RETRIES.start} to {RETRIES.stop - 1}"
        found.error(handler.where("retries"), f"'retries': {handler.retries} is not within {limits}")
    for key in SERVICE_KEYS:
        if key in service.at:
            why = UNNAMED if key in ("resolver", "hosts") else SERVICE_WITH_CHAIN
            found.warn(service.where(key), f"{key!r} in a service section {why}")
    if listener.tls:
        found.warn(listener.where("tls"), "tls means nothing to a listener of type tun")


def _active(handler: Handler, nodes: Sequence[NodeSettings], more: bool, found: Findings) -> int:
    """How many sessions there are at once; `more`: nodes come from sources as well."""
    count = config_metadata.integer(handler, ("active",), 1, found)
    tree = config_metadata.find(handler, "active")
    if tree is None:
        return count
    if count not in ACTIVE:
        found.error(tree.where, f"'active': {count} is not 1 or 2")
        return 1
    hubs = {(node.host, node.port) for node in nodes}
    if len(hubs) < count and not more:
        text = f"'active': {count}, and there is one hub alone: there is one session until there are more"
        found.warn(tree.where, text, "write a second node in the hop, or leave active out")
    return count


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
    for item in found.each(config_metadata.listed(listener, "tun.route", "route", found=found)):
        _add_route(routes, item.text, default, item, found)
    for item in found.each(config_metadata.listed(listener, "tun.routes", "routes", found=found)):
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
    found.warn_widened(item.where, "route", net)
    if routes.setdefault(target, via) != via:
        found.error(
            item.where, f"route: {target} has a gateway already", f"it is {routes[target] or 'the device'}"
        )


def _dns(listener: Listener, handler: Handler, found: Findings) -> tuple[str, ...]:
    """The name servers of `dns`."""
    items = config_metadata.listed(listener, "tun.dns", "dns", found=found)
    servers = tuple(dict.fromkeys(map(str, _parsed(items, "dns", address, found))))
    if len(servers) > MAX_DNS:
        found.error(_place(listener, "dns"), f"'dns': more than {MAX_DNS} name servers")
    by = config_metadata.scalar(handler, ("namesBy",), _way_of_names, "", Findings())
    if servers and by in (BY_OFF, BY_HOSTS):
        found.error(_place(listener, "dns"), f"'dns' with namesBy: {by}", "leave out one of the two")
    return servers


# --- what a hub tells ---------------------------------------------------------------------------


def _accept(
    handler: Handler, listener: Listener, device: DeviceSettings, found: Findings
) -> AcceptSettings | None:
    """What is taken of the settings that a hub tells; with `net` or `route` only what is asked for."""
    words = config_metadata.listed(handler, "acceptRoutes", found=found)
    if not words:
        config_metadata.refuse_empty(handler, "acceptRoutes", found)
        if device.addresses or device.routes:
            return None
        return AcceptSettings(mtu=config_metadata.find(listener, "tun.mtu", "mtu") is None)
    addresses = not device.addresses
    mtu = config_metadata.find(listener, "tun.mtu", "mtu") is None
    word = words[0].text.lower()
    if len(words) == 1 and word in _ROUTES:
        return AcceptSettings(word, (), addresses, mtu)
    if len(words) == 1 and word.isalpha():
        hint = did_you_mean(word, _ROUTES) or f"there is {', '.join(_ROUTES)}, and a list of prefixes"
        found.error(words[0].where, f"'acceptRoutes': {words[0].text[:64]!r} is unknown", hint)
        return AcceptSettings(OFF, (), addresses, mtu)
    only = tuple(_parsed(words, "acceptRoutes", packed_prefix, found))
    return AcceptSettings(LISTED, only, addresses, mtu)


def _way_of_names(text: str) -> str:
    if text.lower() in ("false", "no"):  # what programs that write YAML or JSON make of off
        return BY_OFF
    if text.lower() not in WAYS:
        raise ValueError(f"{text[:64]!r} is not one of {', '.join(WAYS)}")
    return text.lower()


def _parsed(items: list[Scalar], name: str, parse: Callable[[str], T], found: Findings) -> list[T]:
    values: list[T] = []
    for item in found.each(items):
        try:
            values.append(parse(item.text))
        except ValueError as wrong:
            found.error(item.where, f"{name!r}: {wrong}")
    return values
