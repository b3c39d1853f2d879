"""Services with handler router: sections into HubSettings.

Knows: a hub's address, its metadata, and the objects it names.
Refuses to know: how those objects are read (mean_tables), clients (mean_client).
"""

from __future__ import annotations

from collections.abc import Mapping

from lib import metadata
from lib.addresses import host_port
from lib.findings import Findings
from lib.known import HUB_KEYS, LISTENERS, MULTIPLEXED, TRANSPORTS_TO_COME, did_you_mean
from lib.mean_tables import logins, namespace_of
from lib.schema import Handler, Listener, Login, Service
from lib.settings import AutherSettings, HubSettings, IngressSettings, TableSettings

_WILDCARDS = frozenset({"", "0.0.0.0", "::"})


def hub(
    service: Service,
    tables: tuple[TableSettings, ...],
    ingresses: Mapping[str, IngressSettings],
    authers: Mapping[str, AutherSettings],
    found: Findings,
) -> HubSettings | None:
    """One hub; None when it cannot listen, every reason a problem."""
    handler = service.handler or Handler(at=service.at)
    layers: dict[str, metadata.Layer | None] = {
        "handler": handler,
        "service": service,
        "listener": service.listener,
    }
    metadata.check(layers, HUB_KEYS, "a service with handler router", found)
    _check_listener(service.listener or Listener(type="tcp", at=service.at), found)
    _check_rest(service, handler, found)
    table = _default_table(handler, tables, found)
    ingress = _ingress(handler, ingresses, found)
    if table is None and all(other.namespace is None for other in tables):
        found.warn(service.where(), f"service {service.name} has no router: no packet can pass")
    try:
        host, port = host_port(service.addr)
    except ValueError as wrong:
        found.error(service.where("addr"), f"'addr': {wrong}")
        return None
    return HubSettings(
        name=service.name,
        host=host,
        port=port,
        default_table=table,
        ingress=ingress,
        authers=_authers(service, handler, authers, found),
        domain=metadata.text(handler, "domain", found=found),
        source_check=metadata.switch(handler, "sourceCheck", True, found),
        superpackets=metadata.switch(handler, "superpackets", True, found),
        handshake_timeout=_handshake_timeout(handler, found),
        read_timeout=metadata.seconds(handler, "readTimeout", 0.0, found),
        cache_seconds=_cache_seconds(handler, found),
    )


def _handshake_timeout(handler: Handler, found: Findings) -> float:
    timeout = metadata.seconds(handler, "handshakeTimeout", 10.0, found)
    if timeout == 0:
        tree = metadata.find(handler, "handshakeTimeout")
        found.error(tree.where if tree else handler.where(), "'handshakeTimeout': there must be a deadline")
    return timeout


def _cache_seconds(handler: Handler, found: Findings) -> float:
    """How long a plugin's answer holds; unlike GOST's, the cache is on unless switched off."""
    expiration = metadata.seconds(handler, "router.cache.expiration", 1.0, found)
    return expiration if metadata.switch(handler, "router.cache", True, found) else 0.0


def check_transport(kind: str, section: Listener, found: Findings) -> None:
    """Whether a listener's type is a transport that works."""
    where = section.where("type")
    if kind in MULTIPLEXED:
        hint = f"{MULTIPLEXED[kind]} is what a routing tunnel wants"
        found.error(where, f"{kind} is GOST's {MULTIPLEXED[kind]} with multiplexing inside", hint)
    elif kind in TRANSPORTS_TO_COME:
        found.error(where, f"listener type {kind} is not supported yet")
    elif kind in LISTENERS:
        found.error(where, f"a listener of type {kind} is no part of a routing tunnel", "write tcp")
    else:
        found.error(where, f"unknown listener type {kind[:64]!r}", did_you_mean(kind, LISTENERS))


def _check_listener(listener: Listener, found: Findings) -> None:
    kind = listener.type.lower()
    if kind == "tun":
        found.error(listener.where("type"), "handler router does not work over listener tun", "write tcp")
    elif not kind:
        if listener.where().line:
            found.error(listener.where("type"), "a listener without a type", "write type: tcp")
    elif kind != "tcp":
        check_transport(kind, listener, found)
    elif listener.tls:
        found.warn(listener.where("tls"), "tls means nothing to a listener of type tcp: nothing is encrypted")


def _check_rest(service: Service, handler: Handler, found: Findings) -> None:
    if service.forwarder and service.forwarder.nodes:
        found.warn(service.where("forwarder"), "a forwarder means nothing to handler router")
    if "chain" in handler.at:
        found.warn(handler.where("chain"), "a chain means nothing to handler router")


def _default_table(
    handler: Handler, tables: tuple[TableSettings, ...], found: Findings
) -> TableSettings | None:
    name = metadata.text(handler, "router", found=found)
    if not name:
        return None
    for table in tables:
        if table.name == name or (table.namespace is not None and table.namespace == namespace_of(name)):
            return table
    tree = metadata.find(handler, "router")
    where = tree.where if tree else handler.where()
    hint = did_you_mean(name, [table.name for table in tables])
    found.error(where, f"there is no router {name[:64]!r}", hint)
    return None


def _ingress(
    handler: Handler, ingresses: Mapping[str, IngressSettings], found: Findings
) -> IngressSettings | None:
    name = metadata.text(handler, "ingress", found=found)
    if not name or name in ingresses:
        return ingresses.get(name)
    tree = metadata.find(handler, "ingress")
    where = tree.where if tree else handler.where()
    found.error(where, f"there is no ingress {name[:64]!r}", did_you_mean(name, ingresses))
    return None


def _authers(
    service: Service, handler: Handler, authers: Mapping[str, AutherSettings], found: Findings
) -> tuple[AutherSettings, ...]:
    """Who may admit a login: the authers named, else the handler's own login."""
    named = {name: handler.where("authers") for name in handler.authers}
    if handler.auther:
        named[handler.auther] = handler.where("auther")
    for name, where in named.items():
        if name not in authers:
            found.error(where, f"there is no auther {name[:64]!r}", did_you_mean(name, authers))
    auth = handler.auth
    if auth is None:
        return tuple(authers[name] for name in named if name in authers)
    if named:
        found.warn(handler.where("auth"), "'auth' has no effect beside an auther, as in GOST")
        return tuple(authers[name] for name in named if name in authers)
    login = Login(username=auth.username, password=auth.password, at=auth.at)
    return (AutherSettings(inline_auther(service.name), logins([login], found)),)


def inline_auther(service: str) -> str:
    """The name of the auther that a handler's own `auth` stands for; no file can give it."""
    return f"auth of service {service}"


def check_domains(hubs: list[tuple[Service, HubSettings]], found: Findings) -> None:
    """Services that share namespaces route in them by the same rules."""
    first: dict[str, HubSettings] = {}
    for service, settings in hubs:
        if not settings.domain:
            continue
        other = first.setdefault(settings.domain, settings)
        if _rules(other) != _rules(settings):
            message = f"services {other.name} and {settings.name} share domain {settings.domain[:64]!r}"
            hint = "give them the same router, router.cache and sourceCheck"
            found.error(service.where("handler"), f"{message} but not its rules", hint)


def _rules(hub: HubSettings) -> tuple[object, ...]:
    table = hub.default_table
    return (table.name if table else "", hub.cache_seconds, hub.source_check)


def check_overlaps(hubs: list[tuple[Service, HubSettings]], found: Findings) -> None:
    """Two listeners on one port, of one address or with a wildcard, cannot both be."""
    for index, (service, settings) in enumerate(hubs):
        for _, other in hubs[:index]:
            same = other.host == settings.host or {other.host, settings.host} & _WILDCARDS
            if settings.port and other.port == settings.port and same:
                message = f"service {service.name} would listen where service {other.name} does already"
                found.error(service.where("addr"), f"{message}: {service.addr}")
