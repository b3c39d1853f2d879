"""Routers and ingresses: sections into the tables of settings, with what is odd about them.

Knows: names read as namespaces, prefixes, plugins; gateways nobody can be; first-match surprises.
Refuses to know: which service uses which (mean_hub), how a packet is routed (routes, ingress).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lib import ingress as rules
from lib.addresses import is_address, prefix
from lib.errors import Position
from lib.findings import Findings
from lib.ids import format_uuid, is_host_name, parse_uuid
from lib.routes import first_match_differences
from lib.schema import Config, Ingress, Plugin, Route, Router, Tls
from lib.settings import IngressSettings, Network, PluginSettings, RouteEntry, TableSettings
from lib.units import SECONDS

MAX_SURPRISES = 10
"""First-match differences of one table that are told one by one."""

DEFAULT_PLUGIN_TIMEOUT = 10.0

_HTTP_URL = re.compile(r"https?://[^\s/?#]+([/?][^\s#]*)?", re.IGNORECASE)


def namespace_of(name: str) -> bytes | None:
    """The namespace a table's name means, None where it is no UUID."""
    try:
        return parse_uuid(name)
    except ValueError:
        return None


def table(router: Router, found: Findings) -> TableSettings:
    """One routing table; routes that are wrong are left out, each a problem."""
    entries: list[RouteEntry] = []
    places: dict[int, Position] = {}
    for route in router.routes:
        entry = _route(route, found)
        if entry:
            entries.append(entry)
            places[id(entry)] = route.where("gateway")
    _warn_first_match(router, entries, places, found)
    namespace = namespace_of(router.name)
    plugin = _plugin(router.plugin, found) if router.plugin else None
    if plugin and namespace is not None:
        hint = "give it another name and make it the handler's router"
        place = router.where("plugin")
        found.error(place, "a plugin for a router named by a UUID is not supported yet", hint)
    return TableSettings(router.name, namespace, tuple(entries), plugin)


def _route(route: Route, found: Findings) -> RouteEntry | None:
    destination = _destination(route, found)
    if not route.gateway:
        # an explicit place means that it was there and could not be read
        found.error(route.where("gateway"), "a route without a gateway", "write gateway: and a host name")
    elif not is_host_name(route.gateway):
        found.error(route.where("gateway"), f"no host can go by this name: {route.gateway[:64]!r}")
    if destination is None or not route.gateway:
        return None
    if is_address(route.gateway):
        found.warn(
            route.where("gateway"),
            f"the gateway {route.gateway} is an IP address: GOST would also set a kernel route, here it is a "
            "host name and nothing more",
        )
    return RouteEntry(destination, route.gateway)


def _destination(route: Route, found: Findings) -> Network | None:
    field = "dst" if route.dst else "net"
    written = route.dst or route.net
    if route.dst and route.net and route.dst != route.net:
        found.error(route.where("net"), "a route has dst or net (its older spelling), not both")
    if not written:
        found.error(route.where("dst"), "a route without a destination", "write dst: and a CIDR")
        return None
    try:
        return prefix(written)
    except ValueError as wrong:
        found.error(route.where(field), f"{field!r}: {wrong}")
        return None


def _warn_first_match(
    router: Router, entries: list[RouteEntry], places: dict[int, Position], found: Findings
) -> None:
    surprises = list(first_match_differences(entries))
    for first, longest in surprises[:MAX_SURPRISES]:
        found.warn(
            places.get(id(longest), router.where()),
            f"router {router.name}: {longest.prefix} goes to {longest.gateway}, the longest prefix; GOST "
            f"takes the first match, {first.prefix} to {first.gateway}",
        )
    if len(surprises) > MAX_SURPRISES:
        more = len(surprises) - MAX_SURPRISES
        found.warn(
            router.where(), f"router {router.name}: {more} more routes where GOST's first match differs"
        )


# --- plugins ------------------------------------------------------------------------------------


def _plugin(plugin: Plugin, found: Findings) -> PluginSettings | None:
    kind = plugin.type.lower()
    if kind != "http":
        text = "plugin type grpc" + ("" if kind else ", which no type means,")
        known = kind in ("", "grpc")
        message = f"{text} is not supported yet" if known else f"unknown plugin type {plugin.type[:64]!r}"
        found.error(plugin.where("type"), message, "type: http works")
        return None
    url = plugin.addr if "://" in plugin.addr else f"http://{plugin.addr}"
    if not _HTTP_URL.fullmatch(url):
        found.error(plugin.where("addr"), f"not the address of an HTTP plugin: {plugin.addr[:100]!r}")
        return None
    if plugin.timeout < 0:
        found.error(plugin.where("timeout"), "a timeout below zero")
    timeout = plugin.timeout / SECONDS if plugin.timeout > 0 else DEFAULT_PLUGIN_TIMEOUT
    tls = plugin.tls
    _warn_unread_tls(tls, found)
    # GOST: no tls section verifies, a tls section without secure does not
    return PluginSettings(
        url, plugin.token, timeout, tls.secure if tls else True, tls.server_name if tls else ""
    )


def _warn_unread_tls(tls: Tls | None, found: Findings) -> None:
    if tls and (tls.cert_file or tls.key_file or tls.ca_file or tls.options):
        found.warn(tls.where(), "of a plugin's tls section only secure and serverName are read, as in GOST")
    if tls and not tls.secure:
        found.warn(
            tls.where(), "a plugin's tls section without secure: true accepts any certificate, as in GOST"
        )


# --- ingresses ----------------------------------------------------------------------------------


def ingress_settings(section: Ingress, found: Findings) -> IngressSettings:
    """One ingress. An endpoint that is no UUID is odd: GOST takes it for the zero UUID."""
    for rule in section.rules:
        if not rule.hostname:
            found.error(rule.where("hostname"), "a rule without a hostname")
        if not rule.endpoint:
            found.warn(
                rule.where("endpoint"), f"the rule for {rule.hostname!r} has no endpoint: it is no rule"
            )
        elif namespace_of(rule.endpoint) is None:
            found.warn(
                rule.where("endpoint"),
                f"the endpoint {rule.endpoint[:64]!r} is no UUID: {rule.hostname!r} belongs to no namespace",
            )
    return IngressSettings(section.name, tuple((rule.hostname, rule.endpoint) for rule in section.rules))


def warn_shut_out(config: Config, service: str, settings: IngressSettings, found: Findings) -> None:
    """Warn of each gateway of a namespace's table that the service's ingress never lets in there."""
    admission = rules.Ingress(settings.rules)
    for router, namespace in _namespaces(config):
        told: set[str] = set()
        for route in router.routes:
            gateway = route.gateway
            if not gateway or gateway in told or admission.admits(gateway, namespace):
                continue
            told.add(gateway)
            found.warn(
                route.where("gateway"),
                f"service {service}: ingress {settings.name} shuts gateway {gateway} out of namespace "
                f"{format_uuid(namespace)}: its routes lead nowhere",
            )


def _namespaces(config: Config) -> Iterator[tuple[Router, bytes]]:
    for router in config.routers:
        namespace = namespace_of(router.name)
        if namespace is not None:
            yield router, namespace
