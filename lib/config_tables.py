"""The `routers`, `ingresses` and `authers` sections, checked and turned into the settings of tables.

Knows: namespaces as names, prefixes, impossible gateways, routes that GOST's first match treats differently,
empty passwords.
Refuses to know: plugins and sources (config_plugins, config_sources), which service uses which
(config_hub), how a packet is routed (route_table, ingress).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lib import auth_passwords
from lib import ingress as rules
from lib.addresses import is_address, packed_prefix, widened
from lib.config_acl import acl_rules
from lib.config_findings import Findings
from lib.config_names import names_settings
from lib.config_plugins import plugin_settings
from lib.config_pool import fixed_routes, pool_settings, router_mtu
from lib.config_schema import Auther, Config, Ingress, Login, Route, Router, Sourced
from lib.config_sources import source_settings
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.go_values import SECONDS
from lib.humanize import counted
from lib.ids import format_uuid, is_host_name, parse_uuid
from lib.packet import UDP
from lib.prefixes import Prefix, covers
from lib.route_first_match import differences, never_used
from lib.route_table import DEFAULT_HOLD_DOWN
from lib.settings import (
    AutherSettings,
    BindingSettings,
    Hop,
    IngressSettings,
    Interface,
    LoginRow,
    RouteEntry,
    TableSettings,
)
from lib.settings_acl import AclRule
from lib.settings_sources import PluginSettings, SourceSettings

MAX_SURPRISES = 10
"""First-match differences, or destinations with host bits, of one table that get a warning each."""

MAX_PASSWORDS = 4
"""Passwords of one login: each one more makes every wrong login of the auther dearer (auth_logins)."""

FIRST_MATCH = "first-match"
DNS_PORT = 53
METRICS = range(1 << 32)


def namespace_of(name: str) -> bytes | None:
    """The namespace (16 bytes) whose UUID is a table's name; None where the name is no UUID."""
    try:
        return parse_uuid(name)
    except ValueError:
        return None


def table(router: Router, found: Findings) -> TableSettings:
    """The settings of one router. Wrong routes are left out, and each is a problem in `found`."""
    entries: list[RouteEntry] = []
    places: dict[int, Position] = {}
    hops: dict[Hop, Hop] = {}
    for route in found.each(router.routes):
        entry = _route(route, hops, found)
        if entry:
            entries.append(entry)
            places[id(entry)] = route.where("gateway")
    first_match = _compat(router, found)
    if not first_match:
        _warn_first_match(router, entries, places, found)
    _warn_twice(router, entries, places, found)
    _warn_widened(router, found)
    plugin, more = elsewhere(router, bool(entries), found)
    own, pool, fixed = pool_settings(router, found)
    _warn_own(router, entries, {one.ip.packed for one in own}, places, found)
    entries += fixed_routes(fixed, entries)
    acl, names = acl_rules(router, found), names_settings(router, found)
    if acl is not None and names is not None and own and not any(_lets_ask(rule, own) for rule in acl):
        text = f"router {router.name}: its access list lets nobody ask the hub for names"
        hint = f"{{action: allow, to: {own[0].ip}, protocol: udp, port: 53}}"
        found.warn(router.where("acl"), text, f"write {hint}")
    return TableSettings(
        name=router.name,
        namespace=namespace_of(router.name),
        routes=tuple(entries),
        plugin=plugin,
        more=more,
        first_match=first_match,
        hold_down=_hold_down(router, found),
        acl=acl,
        own=own,
        pool=pool,
        fixed=fixed,
        mtu=router_mtu(router, found),
        names=names,
    )


def _lets_ask(rule: AclRule, own: Sequence[Interface]) -> bool:
    """Whether a rule allows questions to DNS at one of the hub's own addresses, from anywhere."""
    is_meant = rule.destination is None or (
        not isinstance(rule.destination, str) and any(covers(*rule.destination, one.ip.packed) for one in own)
    )
    has_port = not rule.ports or any(low <= DNS_PORT <= high for low, high in rule.ports)
    return rule.allow and is_meant and rule.protocol in (None, UDP) and has_port


def _warn_own(
    router: Router,
    entries: Sequence[RouteEntry],
    own: set[bytes],
    places: dict[int, Position],
    found: Findings,
) -> None:
    """Warn of each route for the hub's own address alone: it would never carry a packet."""
    for entry in found.each(entries if own else ()):
        if entry.prefix in own and entry.length == 8 * len(entry.prefix):
            text = f"{entry} is the hub's own address, so {entry.hop.gateway} gets no packet for it"
            found.warn(places.get(id(entry), router.where()), f"router {router.name}: {text}")


def elsewhere(
    section: Sourced, has_rows: bool, found: Findings, redis_types: tuple[str, ...] = ("hash", "set", "list")
) -> tuple[PluginSettings | None, SourceSettings]:
    """The plugin and the sources of a section. `redis_types` as in source_settings."""
    plugin = plugin_settings(section.plugin, found) if section.plugin else None
    more = source_settings(section, redis_types, found)
    if section.plugin and (has_rows or more.sources):
        kind = type(section).__name__.lower()
        found.warn(
            section.where("plugin"),
            f"{kind} {section.name}: only its plugin is asked, its own rows and sources are not, as in GOST",
        )
    return plugin, more


def _compat(router: Router, found: Findings) -> bool:
    word = router.compat.lower()
    if word not in ("", FIRST_MATCH):
        hint = did_you_mean(word, [FIRST_MATCH]) or f"there is {FIRST_MATCH}, GOST's order"
        found.error(router.where("compat"), f"'compat': {router.compat[:64]!r} is unknown", hint)
    return word == FIRST_MATCH


def _hold_down(router: Router, found: Findings) -> float:
    if router.hold_down is None:
        return DEFAULT_HOLD_DOWN
    if router.hold_down < 0:
        found.error(router.where("hold_down"), "'holdDown': a duration below zero")
    return router.hold_down / SECONDS


def _route(route: Route, hops: dict[Hop, Hop], found: Findings) -> RouteEntry | None:
    """One route. `hops` are those of the routes before it that are right: most routes share a few."""
    destination = _destination(route, found)
    hop = Hop(route.gateway, route.metric, route.fall_through)
    known = hops.get(hop)
    if known is None and _is_right(route, found):
        known = hops[hop] = hop
    if destination is None or not route.gateway:
        return None
    return RouteEntry(*destination, known or hop)


def _is_right(route: Route, found: Findings) -> bool:
    """Whether a route's gateway and metric can be; a wrong one is a problem in `found`."""
    before = len(found.problems)
    if not route.gateway:
        found.error(route.where("gateway"), "a route without a gateway", "write gateway: and a host name")
    elif not is_host_name(route.gateway):
        found.error(route.where("gateway"), f"no host can go by this name: {route.gateway[:64]!r}")
    if route.metric is not None and route.metric not in METRICS:
        found.error(route.where("metric"), f"'metric': {route.metric} is not within 0 to {METRICS.stop - 1}")
    if is_address(route.gateway):
        found.warn(
            route.where("gateway"),
            f"the gateway {route.gateway} is an IP address: GOST would also set a kernel route, here it is a "
            "host name and nothing more",
        )
    return len(found.problems) == before


def _destination(route: Route, found: Findings) -> Prefix | None:
    field = "dst" if route.dst else "net"
    written = route.dst or route.net
    if route.dst and route.net and route.dst != route.net:
        found.error(route.where("net"), "a route has dst or net (its older spelling), not both")
    if not written:
        found.error(route.where("dst"), "a route without a destination", "write dst: and a CIDR")
        return None
    try:
        return packed_prefix(written)
    except ValueError as wrong:
        found.error(route.where(field), f"{field!r}: {wrong}")
        return None


def _warn_first_match(
    router: Router, entries: list[RouteEntry], places: dict[int, Position], found: Findings
) -> None:
    surprises = differences(found.each(entries))
    for first, longest in surprises[:MAX_SURPRISES]:
        found.warn(
            places.get(id(longest), router.where()),
            f"router {router.name}: {longest} goes to {longest.hop.gateway}, the longest prefix; GOST "
            f"takes the first match, {first} to {first.hop.gateway}",
        )
    if len(surprises) > MAX_SURPRISES:
        more = len(surprises) - MAX_SURPRISES
        found.warn(
            router.where(),
            f"router {router.name}: {counted(more, 'more route')} where GOST's first match differs",
        )


def _warn_twice(
    router: Router, entries: Iterable[RouteEntry], places: dict[int, Position], found: Findings
) -> None:
    """Warn of routes written twice; a second gateway for the same prefix is only a notice."""
    for first, again in found.each(never_used(found.each(entries))):
        if first.hop.gateway == again.hop.gateway:
            found.warn(
                places[id(again)], f"router {router.name}: {again} to {again.hop.gateway} is there already"
            )
        elif not router.compat:
            found.notice(
                places[id(again)],
                f"router {router.name}: {again.hop.gateway} stands in for {first.hop.gateway} on {again}; "
                "GOST would never use it",
            )


def _warn_widened(router: Router, found: Findings) -> None:
    """Warn of destinations with host bits, of the first ones each, and of how many more there are."""
    odd = [route for route in found.each(router.routes) if _is_widened(route.dst or route.net)]
    for route in odd[:MAX_SURPRISES]:
        field = "dst" if route.dst else "net"
        found.warn_widened(route.where(field), f"router {router.name}: {field!r}", route.dst or route.net)
    if len(odd) > MAX_SURPRISES:
        more = len(odd) - MAX_SURPRISES
        found.warn(
            router.where(),
            f"router {router.name}: {counted(more, 'more prefix', 'more prefixes')} of this kind",
        )


def _is_widened(written: str) -> bool:
    try:
        return bool(widened(written))
    except (OSError, ValueError):  # it was no prefix, which has been said
        return False


# --- ingresses and authers ----------------------------------------------------------------------


def ingress_settings(section: Ingress, found: Findings) -> IngressSettings:
    """The settings of one ingress. An endpoint that is no UUID gets a warning: GOST takes it for zeros."""
    for rule in found.each(section.rules):
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
    rows = tuple((rule.hostname, rule.endpoint) for rule in found.each(section.rules))
    plugin, more = elsewhere(section, bool(rows), found, ("hash", "set"))
    return IngressSettings(section.name, rows, plugin, more)


def auther_settings(section: Auther, found: Findings) -> AutherSettings:
    """The settings of one auther. An empty password gets a warning: in GOST it lets any password in."""
    plugin, more = elsewhere(section, bool(section.auths), found, ("hash",))
    return AutherSettings(section.name, logins(section.auths, found), plugin, more, _bindings(section, found))


def _bindings(section: Auther, found: Findings) -> BindingSettings | None:
    """Where the bindings of an auther's logins stand; None where its logins are bound by their rows only."""
    if section.bindings is None:
        return None
    more = source_settings(section.bindings, ("hash", "set", "list"), found)
    if not (section.bindings.file or section.bindings.redis or section.bindings.http):
        where = section.where("bindings")
        found.error(where, "'bindings' without file, redis or http: nobody would be let in")
    return BindingSettings(section.name, more)


def logins(section: Iterable[Login], found: Findings) -> tuple[LoginRow, ...]:
    """The rows of an auther's logins; each wrong value is a problem in `found`."""
    rows = []
    names: dict[str, Login] = {}
    for login in found.each(section):
        first = names.setdefault(login.username, login)
        if first is not login and login.username:
            found.error(
                login.where("username"),
                f"the login {login.username!r} is there already, in line {first.where('username').line}",
                "for a new password without an outage write passwords: [OLD, NEW] in one of them, and take "
                "the old one out when every client has the new one",
            )
        if not login.username.strip():
            found.error(login.where("username"), "a login without a username")
        elif not login.password and not login.passwords:
            found.warn(
                login.where("password"),
                f"{login.username!r} has no password and is not let in; in GOST any password would do",
            )
        passwords = _passwords(login, found)
        for host in login.hosts:
            if not host.strip() or not is_host_name(host):
                found.error(login.where("hosts"), f"no host can go by this name: {host[:64]!r}")
        namespaces = []
        for text in login.namespaces:
            try:
                namespaces.append(parse_uuid(text))
            except ValueError as wrong:
                found.error(login.where("namespaces"), f"'namespaces': {wrong}")
        hosts, more = tuple(login.hosts), passwords[1:]
        rows.append(LoginRow(login.username, passwords[0], hosts, tuple(namespaces), more))
    return tuple(rows)


def _passwords(login: Login, found: Findings) -> tuple[str, ...]:
    """Every password of a login, of `password` and of `passwords`; ("",) where it has none."""
    named = [("password", login.password)] if login.password else []
    named += [("passwords", password) for password in login.passwords]
    for key, password in named:
        if not password:
            found.error(login.where(key), f"{key!r}: an empty password")
        if auth_passwords.is_hashed(password):
            try:
                auth_passwords.check_form(password)
            except ValueError as wrong:
                found.error(login.where(key), f"{key!r}: {wrong}")
    if len(named) > MAX_PASSWORDS:
        found.error(login.where("passwords"), f"'passwords': more than {MAX_PASSWORDS} for one login")
    return tuple(password for _, password in named) or ("",)


def warn_shut_out(
    config: Config, services: Sequence[str], settings: IngressSettings, found: Findings
) -> None:
    """Warn of each gateway of a namespace that an ingress, the one of these services, never admits there."""
    if settings.plugin or settings.more.sources:
        return  # these may admit more hosts than can be known here
    admission = rules.Ingress(found.each(settings.rules))
    others = f" and {len(services) - 1} more" if len(services) > 1 else ""
    for router, namespace in _namespaces(config):
        told: set[str] = set()
        for route in found.each(router.routes):
            gateway = route.gateway
            if not gateway or gateway in told:
                continue
            told.add(gateway)
            if admission.admits(gateway, namespace):
                continue
            found.warn(
                route.where("gateway"),
                f"service {services[0]}{others}: ingress {settings.name} shuts gateway {gateway} out of "
                f"namespace {format_uuid(namespace)}: its routes lead nowhere",
            )


def _namespaces(config: Config) -> Iterator[tuple[Router, bytes]]:
    for router in config.routers:
        namespace = namespace_of(router.name)
        if namespace is not None:
            yield router, namespace
