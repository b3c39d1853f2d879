"""Hub services (handler router) of a configuration, checked and turned into HubSettings.

Knows: a hub's address, its metadata, and the routers, ingresses and authers that it names.
Refuses to know: how those are read (config_tables), clients (config_client).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter, is_

from lib import config_datagrams, config_entrypoint, config_metadata, config_url_keys
from lib.addresses import WILDCARDS, host_port, is_loopback
from lib.config_enrol import enrol
from lib.config_findings import Findings
from lib.config_gost_keys import DUPLICATES, HUB_DIALS_NOBODY, HUB_KEYS, SERVICE_KEYS
from lib.config_hooks import hook_settings
from lib.config_limits import scope_of, size_of
from lib.config_named import Named, Tables
from lib.config_schema import Config, Handler, Listener, Login, Service
from lib.config_tables import logins
from lib.config_transport import is_header_name, listener_transport
from lib.did_you_mean import did_you_mean
from lib.settings import (
    DEFAULT_ADDRESS_HEADER,
    DEFAULT_QUEUE_MEMORY,
    AutherSettings,
    HubSettings,
    IngressSettings,
    TableSettings,
)
from lib.settings_limits import HubLimits
from lib.settings_sources import EnrolSource
from lib.settings_transport import TransportSettings


def hub(service: Service, named: Named, config: Config, found: Findings) -> HubSettings | None:
    """The settings of one hub; None where its address is wrong. Each wrong value is a problem in `found`."""
    handler = _handler(service)
    limiters = named.limiters
    layers: dict[str, config_metadata.Layer | None] = {
        "handler": handler,
        "service": service,
        "listener": service.listener,
    }
    repeats = config_url_keys.of_hub(service, limiters.rows, config.admissions)
    config_metadata.check(layers, HUB_KEYS, "a service with handler router", found, repeats)
    listener = service.listener or Listener(type="tcp", at=service.at)
    transport = listener_transport(listener, config.tls, found)
    _check_rest(service, handler, found)
    channel, datagram, dscp = config_datagrams.of_hub(handler, transport, found)
    table = _default_table(handler, named.tables, found)
    ingress = _ingress(handler, named.ingresses, found)
    if table is None and not named.tables.has_namespaces:
        found.warn(service.where(), f"service {service.name} has no router: no packet can pass")
    try:
        host, port = host_port(service.addr)
    except ValueError as wrong:
        found.error(service.where("addr"), f"'addr': {wrong}")
        return None
    enrolled, netns = enrol(handler, found), config_metadata.netns(service, found)
    scope = scope_of(service, found)
    return HubSettings(
        name=service.name,
        host=host,
        port=port,
        netns=netns,
        default_table=table,
        ingress=ingress,
        observe=named.observe(service, handler, found),
        admissions=named.admissions_of(service, found),
        entrypoint=config_entrypoint.of_hub(handler, named.sds, netns, found),
        authers=_in_the_clear(
            _authers(service, handler, named.authers, found),
            handler,
            transport.encrypted or is_loopback(host),
            enrolled,
            found,
        ),
        enrol=enrolled,
        domain=config_metadata.text(handler, "domain", found=found),
        source_check=config_metadata.switch(handler, "sourceCheck", True, found),
        superpackets=config_metadata.switch(handler, "superpackets", True, found),
        lanes=config_metadata.lanes(handler, found),
        channel=channel,
        datagram=datagram,
        dscp=dscp,
        handshake_timeout=_handshake_timeout(handler, found),
        read_timeout=config_metadata.seconds(handler, "readTimeout", 0.0, found),
        cache_seconds=_cache_seconds(handler, found),
        transport=transport,
        cert_hosts=_cert_hosts(handler, transport, found),
        on_duplicate=(on_duplicate := _on_duplicate(handler, found)),
        shared_by_intent=on_duplicate == "share" and _is_written(handler, "onDuplicate"),
        keepalive_timeout=config_metadata.keepalive_timeout(handler, found),
        queue_memory=config_metadata.scalar(handler, ("queueMemory",), size_of, DEFAULT_QUEUE_MEMORY, found),
        limits=limiters.of(service, handler, scope),
        limiters=limiters.sourced(service, handler, scope),
        trusted_proxies=config_metadata.prefix_set(
            handler, "trustedProxies", "trusts everybody: any client may name any address as its own", found
        ),
        address_header=_address_header(handler, transport, found),
        proxy_protocol=_proxy_protocol(service, handler, found),
        drain_timeout=config_metadata.seconds(handler, "drainTimeout", 5.0, found),
        hooks=hook_settings(service, found),
    )


_NAMES = tuple(field.name for field in fields(HubSettings))
_PLACES = {name: place for place, name in enumerate(_NAMES)}
_VALUES = attrgetter(*_NAMES)
_LIMITS = attrgetter(*(field.name for field in fields(HubLimits)))


def renewed(
    settings: HubSettings | None, service: Service, named: Named, found: Findings
) -> HubSettings | None:
    """A hub's settings with all that it names as it is now, nothing else being another one.

    They are the same object where all these are; None where one of them is no longer there, or where it would
    mean something else for the rest of the service.
    """
    if settings is None:
        return None
    values: dict[str, object] = {}
    if settings.default_table is not None:
        values["default_table"] = named.tables.named(settings.default_table.name)
    if settings.ingress is not None:
        values["ingress"] = named.ingresses.get(settings.ingress.name)
    own = inline_auther(settings.name)
    authers = tuple(one if one.name == own else named.authers.get(one.name) for one in settings.authers)
    if not _are_same(authers, settings.authers):
        values["authers"] = None if None in authers else authers
    if settings.observe is not None:
        values["observe"] = settings.observe.renewed(named.observers)
    values |= _other_limits(settings, service, named, found)
    if None in values.values():
        return None
    if all(value is getattr(settings, name) for name, value in values.items()):
        return settings
    every = list(_VALUES(settings))  # replace() takes three times as long, and thousands may have one table
    for name, value in values.items():
        every[_PLACES[name]] = value
    return HubSettings(*every)


def _other_limits(
    settings: HubSettings, service: Service, named: Named, found: Findings
) -> dict[str, object]:
    """The admissions and limits of a hub that are others now; None for what the rest of it depends on."""
    values: dict[str, object] = {}
    admissions = tuple(named.admissions.get(one.name) for one in settings.admissions)
    if not _are_same(admissions, settings.admissions):
        values["admissions"] = None if None in admissions else admissions
    handler = _handler(service)
    if service.limiter or service.climiter or service.rlimiter or handler.limiter:
        scope = scope_of(service, found)
        limits = named.limiters.of(service, handler, scope)
        if not _are_same(_LIMITS(limits), _LIMITS(settings.limits)):
            values["limits"] = limits
        limiters = named.limiters.sourced(service, handler, scope)
        if not _are_same(limiters, settings.limiters):
            asked = [[one.plugin is not None for one in some] for some in (limiters, settings.limiters)]
            values["limiters"] = limiters if asked[0] == asked[1] else None
    if values and config_url_keys.may_repeat(service):
        return dict.fromkeys(values)
    return values


def _are_same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Whether these are the very same objects."""
    return len(some) == len(others) and all(map(is_, some, others))


def _cert_hosts(handler: Handler, transport: TransportSettings, found: Findings) -> bool:
    config_metadata.refuse_empty(handler, "certHosts", found)
    wanted = config_metadata.switch(handler, "certHosts", False, found)
    if wanted and not (transport.encrypted and transport.tls.ca_file):
        tree = config_metadata.find(handler, "certHosts")
        message = "'certHosts' without client certificates: nobody would be let in"
        found.error(tree.where if tree else handler.where(), message, "give the listener's tls a caFile")
    return wanted


def _address_header(handler: Handler, transport: TransportSettings, found: Findings) -> str:
    name = config_metadata.text(handler, "trustedProxies.header", found=found)
    tree = config_metadata.find(handler, "trustedProxies.header")
    if tree is None:
        return DEFAULT_ADDRESS_HEADER
    if not is_header_name(name):
        found.error(tree.where, f"'trustedProxies.header': no HTTP header: {name[:64]!r}")
    elif config_metadata.find(handler, "trustedProxies") is None:
        found.warn(tree.where, "'trustedProxies.header' has no effect without trustedProxies")
    elif transport.kind not in ("ws", "wss"):
        message = (
            f"'trustedProxies.header' has no effect: a listener of type {transport.kind} gets no headers"
        )
        found.warn(tree.where, message, "a proxy's clients are seen over ws and wss, or by proxyProtocol")
    return name


def _proxy_protocol(service: Service, handler: Handler, found: Findings) -> bool:
    """Whether a PROXY header is read, of either version, as in GOST: here from trusted proxies only."""
    version = config_metadata.proxy_protocol(service, found)
    if version and config_metadata.find(handler, "trustedProxies") is None:
        tree = config_metadata.find(service, "proxyProtocol")
        message = "'proxyProtocol' without trustedProxies: any client could name any address as its own"
        hint = "write trustedProxies: [ADDRESS] in the handler's metadata, with the load balancer's addresses"
        found.error(tree.where if tree else service.where(), message, hint)
    return bool(version)


def _on_duplicate(handler: Handler, found: Findings) -> str:
    word = config_metadata.text(handler, "onDuplicate", found=found).lower() or DUPLICATES[0]
    if word not in DUPLICATES:
        tree = config_metadata.find(handler, "onDuplicate")
        hint = did_you_mean(word, DUPLICATES) or f"there is {', '.join(DUPLICATES)}"
        found.error(tree.where if tree else handler.where(), f"'onDuplicate': {word[:64]!r} is unknown", hint)
    return word


def _is_written(handler: Handler, key: str) -> bool:
    return config_metadata.find(handler, key) is not None


def _handshake_timeout(handler: Handler, found: Findings) -> float:
    timeout = config_metadata.seconds(handler, "handshakeTimeout", 10.0, found)
    if timeout == 0:
        tree = config_metadata.find(handler, "handshakeTimeout")
        found.error(tree.where if tree else handler.where(), "'handshakeTimeout': there must be a deadline")
    return timeout


def _cache_seconds(handler: Handler, found: Findings) -> float:
    """Seconds that a plugin's reply is kept. Unlike in GOST the cache is on unless router.cache is off."""
    expiration = config_metadata.seconds(handler, "router.cache.expiration", 1.0, found)
    return expiration if config_metadata.switch(handler, "router.cache", True, found) else 0.0


def _check_rest(service: Service, handler: Handler, found: Findings) -> None:
    if "retries" in handler.at:
        found.warn(handler.where("retries"), f"'retries' {HUB_DIALS_NOBODY}")
    for key in SERVICE_KEYS:
        if key in service.at:
            found.warn(service.where(key), f"{key!r} in a service section {HUB_DIALS_NOBODY}")
    if service.forwarder and service.forwarder.nodes:
        found.warn(service.where("forwarder"), "a forwarder means nothing to handler router")
    if "chain" in handler.at:
        found.warn(handler.where("chain"), "a chain means nothing to handler router")


def _default_table(handler: Handler, tables: Tables, found: Findings) -> TableSettings | None:
    name = config_metadata.text(handler, "router", found=found)
    if not name:
        return None
    table = tables.named(name)
    if table is not None:
        return table
    tree = config_metadata.find(handler, "router")
    where = tree.where if tree else handler.where()
    hint = found.guess(name, tables.names())
    found.error(where, f"there is no router {name[:64]!r}", hint)
    return None


def _ingress(
    handler: Handler, ingresses: Mapping[str, IngressSettings], found: Findings
) -> IngressSettings | None:
    config_metadata.refuse_empty(handler, "ingress", found)
    name = config_metadata.text(handler, "ingress", found=found)
    if not name or name in ingresses:
        return ingresses.get(name)
    tree = config_metadata.find(handler, "ingress")
    where = tree.where if tree else handler.where()
    found.error(where, f"there is no ingress {name[:64]!r}", found.guess(name, ingresses))
    return None


def _authers(
    service: Service, handler: Handler, authers: Mapping[str, AutherSettings], found: Findings
) -> tuple[AutherSettings, ...]:
    """The authers of a hub: those that its handler names, else one made of the handler's own `auth`."""
    named = {name: handler.where("authers") for name in handler.authers}
    if handler.auther:
        named[handler.auther] = handler.where("auther")
    for name, where in named.items():
        if name not in authers:
            found.error(where, f"there is no auther {name[:64]!r}", found.guess(name, authers))
    auth = handler.auth
    if auth is not None and auth.file:
        found.error(auth.where("file"), "'file' is for a client's login; a hub's come from an auther's file")
    if auth is None:
        return tuple(authers[name] for name in named if name in authers)
    if named:
        found.warn(handler.where("auth"), "'auth' has no effect beside an auther, as in GOST")
        return tuple(authers[name] for name in named if name in authers)
    login = Login(username=auth.username, password=auth.password, at=auth.at)
    return (AutherSettings(inline_auther(service.name), logins([login], found)),)


def _in_the_clear(
    authers: tuple[AutherSettings, ...],
    handler: Handler,
    safe: bool,
    enrolled: EnrolSource | None,
    found: Findings,
) -> tuple[AutherSettings, ...]:
    """The authers, with a warning where logins come over a network without TLS (`safe` is False)."""
    if (authers or enrolled) and not safe:
        named = "authers" if handler.authers else "auther" if handler.auther else "auth"
        where = handler.where(named if authers else "metadata.enrol")
        found.warn(
            where, "logins come over the network in the clear: the listener has no TLS", "write tls or wss"
        )
    return authers


def _handler(service: Service) -> Handler:
    return service.handler or Handler(at=service.at)


def inline_auther(service: str) -> str:
    """The name of the auther made of a handler's own `auth`; no section can have this name."""
    return f"auth of service {service}"


def check_domains(hubs: list[tuple[Service, HubSettings]], found: Findings) -> None:
    """Check that services with the same `domain` have the same router, cache and source check."""
    first: dict[str, HubSettings] = {}
    for service, settings in found.each(hubs):
        if not settings.domain:
            continue
        other = first.setdefault(settings.domain, settings)
        if _rules(other) != _rules(settings):
            message = f"services {other.name} and {settings.name} share domain {settings.domain[:64]!r}"
            hint = "give them the same router, router.cache, sourceCheck, sd and entrypoint"
            found.error(service.where("handler"), f"{message} but not its rules", hint)


def _rules(hub: HubSettings) -> tuple[object, ...]:
    table = hub.default_table
    return (table.name if table else "", hub.cache_seconds, hub.source_check, hub.entrypoint)


def check_overlaps(hubs: list[tuple[Service, HubSettings]], found: Findings) -> None:
    """Check that no two services listen on the same port of the same address or of a wildcard address."""
    ports: dict[tuple[str, int], dict[str, str]] = {}
    """(Network namespace, port) -> address -> the first service that listens there, in their order."""
    for service, settings in found.each(hubs):
        if not settings.port:
            continue
        taken = ports.setdefault((settings.netns, settings.port), {})
        hosts = taken if settings.host in WILDCARDS else (settings.host, *WILDCARDS)
        other = next((taken[host] for host in hosts if host in taken), None)
        if other is not None:
            message = f"service {service.name} would listen where service {other} does already"
            found.error(service.where("addr"), f"{message}: {service.addr}")
        taken.setdefault(settings.host, settings.name)
