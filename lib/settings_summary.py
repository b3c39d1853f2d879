"""A summary of settings for `check`, as text and as JSON: who listens, who is let in, who reaches whom.

Knows: how settings are put into words.
Refuses to know: how they were read (config_read) and checked (config_resolve).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from lib import log_redact, settings_memory, settings_summary_clients
from lib.addresses import join_host_port
from lib.errors import Problem
from lib.humanize import counted, listed
from lib.ids import NO_NAMESPACE, format_uuid
from lib.ingress import Ingress
from lib.prefixes import PrefixSet
from lib.route_table import RouteTable
from lib.settings import HubSettings, IngressSettings, Settings, TableSettings
from lib.settings_limits import CountLimit, HubLimits
from lib.settings_sources import FileSource, RedisSource, Source
from lib.settings_transport import has_datagrams

MAX_SHOWN = 20
"""Routes, rules and hosts of one namespace that are shown; the others are counted."""
ALL = 1 << 40
"""As many of them as there are."""
PAGE = 60
"""Lines of a summary that is printed whole; a longer one gets short, unless everything is asked for."""
FIRST = 3
"""Services, and namespaces of a service, that a short summary shows."""
PARTS = 8
"""Parts of the memory that a short summary shows."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A namespace of a hub service: its routes, and which hosts reach each other by them."""

    service: str
    namespace: str
    routes: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    """(prefix, tiers of gateways) of each route; the longest prefix decides."""
    hosts: tuple[str, ...]
    """Gateways that the ingress lets in."""
    shut_out: tuple[str, ...]
    """Gateways that the ingress does not let in."""
    elsewhere: tuple[str, ...]
    """Sources and plugins of further routes."""
    acl: tuple[str, ...] = ()
    """The rules of the access list, as text."""
    own: tuple[str, ...] = ()
    """The hub's own addresses, one of each version of IP at most."""
    title: str = ""  # what people call the namespace


def words(settings: Settings, everything: bool = False) -> list[str]:
    """The summary as lines of text: of what would be more than a PAGE only the first ones, and counts.

    With `everything` nothing is left out, be it a million routes.
    """
    known = _Known(settings)
    blocks = (_services(settings, everything, known), [_about(settings), _memory(settings)])
    whole = (line for block in chain(*blocks) for line in block)
    lines = list(whole if everything else islice(whole, PAGE + 1))  # no more of it is made than is looked at
    return lines if everything or len(lines) <= PAGE else list(_short(settings, known))


class _Known:
    """What the namespaces of many services have in common: it is made once."""

    def __init__(self, settings: Settings) -> None:
        self.titles = dict(settings.titles)
        self._routes: dict[str, list[tuple[str, tuple[tuple[str, ...], ...]]]] = {}
        self._rules: dict[str, Ingress] = {}

    def routes(self, table: TableSettings) -> list[tuple[str, tuple[tuple[str, ...], ...]]]:
        """(prefix, tiers of gateways) of each route of a table."""
        if table.name not in self._routes:
            found = RouteTable(table.routes)
            self._routes[table.name] = [(str(route), route.group.tiers) for route in found]
        return self._routes[table.name]

    def rules(self, ingress: IngressSettings) -> Ingress:
        """The rules of an ingress."""
        if ingress.name not in self._rules:
            self._rules[ingress.name] = Ingress(ingress.rules)
        return self._rules[ingress.name]


def _services(settings: Settings, everything: bool, known: _Known) -> Iterator[Iterator[str]]:
    """The lines of each hub and client."""
    for hub in settings.hubs:
        yield _whole_hub(hub, settings, ALL if everything else MAX_SHOWN, known)
    for client in settings.clients:
        most = ALL if everything else settings_summary_clients.MAX_SHOWN
        yield settings_summary_clients.words(client, most)


def _whole_hub(hub: HubSettings, settings: Settings, most: int, known: _Known) -> Iterator[str]:
    yield from _hub(hub)
    for reach in _reaches(hub, settings.tables, known):
        yield from _reach(reach, most)


def _short(settings: Settings, known: _Known) -> Iterator[str]:
    """The summary of many services, or of many namespaces, on a page."""
    for hub in settings.hubs[:FIRST]:
        yield from _hub(hub)
        yield from _counted_namespaces(list(_reaches(hub, settings.tables, known)))
    yield from _rest(len(settings.hubs), "hub")
    for client in settings.clients[:FIRST]:
        yield from settings_summary_clients.words(client)
    yield from _rest(len(settings.clients), "client")
    yield from _about(settings)
    yield from _memory(settings, PARTS)


def _rest(count: int, noun: str) -> Iterator[str]:
    if count > FIRST:
        yield f"ok: and {counted(count - FIRST, f'more {noun}')}; --all shows them"


def _counted_namespaces(reaches: Sequence[Reach]) -> Iterator[str]:
    """The namespaces of a hub in few lines: how many, the first one, and where hosts are shut out."""
    if not reaches:
        return
    routes = counted(sum(len(reach.routes) for reach in reaches), "route")
    hosts = counted(len({(reach.namespace, host) for reach in reaches for host in reach.hosts}), "host")
    yield f"    {counted(len(reaches), 'namespace')} with {routes} to {hosts}"
    yield from _reach(reaches[0], FIRST)
    if len(reaches) > 1:
        yield f"    and {counted(len(reaches) - 1, 'more namespace')}; --all shows them"
    shut = [reach.namespace for reach in reaches[1:] if reach.shut_out]
    if shut:
        yield f"    the ingress shuts out gateways of {listed(shut, FIRST)}"


def _about(settings: Settings) -> Iterator[str]:
    """What is said of the process as a whole."""
    for table in settings.tables:
        if table.pool:
            yield f"ok: router {table.name} gives hosts addresses of {PrefixSet(table.pool)}"
    if settings.recorder:
        yield f"ok: the last packets' headers are kept in {settings.recorder:,} bytes of memory"
    yield from _seeing(settings)


def as_json(
    settings: Settings | None,
    problems: Sequence[Problem] = (),
    warnings: Sequence[Problem] = (),
    notices: Sequence[Problem] = (),
) -> str:
    """The summary as one JSON object; with settings None, only what was found."""
    if settings is not None:
        warnings, notices = settings.warnings, settings.notices
    whole: dict[str, object] = {
        "ok": not problems,
        "problems": list(map(_problem, problems)),
        "warnings": list(map(_problem, warnings)),
        "notices": list(map(_problem, notices)),
    }
    if settings is not None:
        known = _Known(settings)
        whole |= {
            "services": [_hub_data(hub) for hub in settings.hubs]
            + list(map(settings_summary_clients.data, settings.clients)),
            "log": {
                "level": settings.log_level,
                "format": settings.log_format,
                "output": settings.log_output,
            },
            "metrics": f"{settings.metrics.address}{settings.metrics.path}" if settings.metrics else None,
            "api": str(settings.api) if settings.api else None,
            "memoryBoundMb": memory_bound_mb(settings),
            "memory": {what: round(size / 1e6, 1) for what, size in settings_memory.parts(settings)},
            "namespaces": [
                _reach_data(reach) for hub in settings.hubs for reach in _reaches(hub, settings.tables, known)
            ],
        }
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _problem(problem: Problem) -> dict[str, object]:
    where = problem.where
    return {
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "message": problem.message,
        "hint": problem.hint,
    }


# --- hubs ----------------------------------------------------------------------------------------


def _hub(hub: HubSettings) -> Iterator[str]:
    address = join_host_port(hub.host, hub.port)
    yield f"ok: service {hub.name} is a hub on {address} over {_transport(hub)}"
    if has_datagrams(hub.channel, hub.transport):
        port = f"UDP port {hub.port or 'of the same number'}"
        told = f"; clients send to {hub.datagram}" if hub.datagram else ""
        yield f"    UDP and ICMP go by datagrams where they pass: {port}{told}"
    enrolled = [f"enrolled hosts of {_source(hub.enrol)}"] if hub.enrol is not None else []
    authers = ", ".join([*(auther.name for auther in hub.authers), *enrolled])
    yield f"    logins: {authers or 'none asked for, anybody may connect'}"
    if hub.admissions:
        yield f"    from where: {' and '.join(f'admission {one.name}' for one in hub.admissions)} says"
    rules = f"ingress {hub.ingress.name} says" if hub.ingress else "no ingress: every host may use any"
    yield f"    which host may use which namespace: {rules}"
    for auther in hub.authers:
        if auther.bindings:
            where = ", ".join(map(_source, auther.bindings.more.sources))
            yield f"    which login of {auther.name} may use which host and namespace: {where}"
    bound = sum(bool(row.hosts or row.namespaces) for auther in hub.authers for row in auther.logins)
    if bound:
        verb = "is" if bound == 1 else "are"
        yield f"    {counted(bound, 'login')} {verb} bound to host names or namespaces"
    if hub.cert_hosts:
        yield "    a client may only go by a name that its certificate has"
    for what, keys in _limits(hub.limits):
        if keys:
            yield f"    limits on {what}: {', '.join(keys)}"
    if hub.trusted_proxies:
        trusted = ", ".join(hub.trusted_proxies.texts())
        header = f"their {hub.address_header} names the client" if hub.transport.kind in ("ws", "wss") else ""
        yield f"    trusted proxies, without limits by address: {trusted}" + (f"; {header}" if header else "")
    if hub.entrypoint is not None:
        entry = hub.entrypoint
        yield f"    other hubs: by datagrams at {entry.address}; sd {entry.sd.name} says where hosts are"
    yield f"    source check: {'on' if hub.source_check else 'off, hosts may send from any address'}"


def _limits(limits: HubLimits) -> Iterator[tuple[str, list[str]]]:
    """(what is limited, keys of the limits) of each kind of limit."""
    yield "traffic", [row.key.removeprefix("host ") for row in (*limits.services, *limits.hosts)]
    yield "connections", list(map(_count, limits.connections))
    yield "handshakes a second", list(map(_count, limits.handshakes))


def _count(row: CountLimit) -> str:
    whom = {"$": "in all", "$$": "of each address", "site": "of each address (IPv6: of each /64)"}
    return f"{row.most:,} {whom.get(row.key, row.key)}"


def _transport(hub: HubSettings) -> str:
    transport = hub.transport
    if not transport.encrypted:
        return f"{transport.kind}, in the clear"
    tls = transport.tls
    certificate = f"certificate {tls.cert_file}" if tls.cert_file else "a certificate it makes and keeps"
    clients = f", clients need one of {tls.ca_file}" if tls.ca_file else ""
    return f"{transport.kind}, {certificate}{clients}"


def _reaches(hub: HubSettings, tables: Iterable[TableSettings], known: _Known) -> Iterator[Reach]:
    """The summary of each namespace of a hub that is known from the settings."""
    default = hub.default_table
    for table in tables:
        if table.namespace is not None:
            both = [table] if default is None or default is table else [table, default]
            yield _reach_of(hub, table.namespace, both, known)
    if default is not None and default.namespace != NO_NAMESPACE:
        yield _reach_of(hub, NO_NAMESPACE, [default], known)


def _reach_of(hub: HubSettings, namespace: bytes, tables: Sequence[TableSettings], known: _Known) -> Reach:
    routes: list[tuple[str, tuple[tuple[str, ...], ...]]] = []
    elsewhere: list[str] = []
    for table in tables:
        routes += known.routes(table)
        elsewhere += (
            [f"plugin {log_redact.secrets(table.plugin.url)}"]
            if table.plugin
            else map(_source, table.more.sources)
        )
    hosts = dict.fromkeys(name for _, tiers in routes for tier in tiers for name in tier)
    ingress = hub.ingress
    is_known = ingress is not None and not ingress.plugin and not ingress.more.sources
    rules = known.rules(ingress) if ingress is not None and is_known else None
    shut = {host: None for host in hosts if rules is not None and not rules.admits(host, namespace)}
    name = format_uuid(namespace)
    rules_of = tuple(str(rule) for table in tables for rule in table.acl or ())
    allowed = tuple(h for h in hosts if h not in shut)
    own = {one.version: str(one.ip) for table in reversed(tables) for one in table.own}
    rest = tuple(elsewhere), rules_of, tuple(own[version] for version in sorted(own))
    return Reach(hub.name, name, tuple(routes), allowed, tuple(shut), *rest, known.titles.get(namespace, ""))


def _source(source: Source) -> str:
    if isinstance(source, FileSource):
        return f"file {source.path}"
    return (
        f"redis {source.addr or source.sentinel.master} {source.key}"
        if isinstance(source, RedisSource)
        else log_redact.secrets(source.url)
    )


def _reach(reach: Reach, most: int) -> Iterator[str]:
    """A namespace, of its routes, rules and hosts the first `most`."""
    unnamed = {format_uuid(NO_NAMESPACE): "clients that name no namespace"}
    what = unnamed.get(reach.namespace, f"namespace {reach.namespace}")
    yield f"    {what}, {reach.title}:" if reach.title else f"    {what}:"
    if reach.own:
        yield f"        the hub itself is {' and '.join(reach.own)}, a hop for what it passes on"
    for prefix, tiers in reach.routes[:most]:
        yield f"        {prefix} goes to {', then '.join(' or '.join(tier) for tier in tiers)}"
    if len(reach.routes) > most:
        yield f"        and {counted(len(reach.routes) - most, 'more route')}"
    for rule in reach.acl[:most]:
        yield f"        {rule}"
    if len(reach.acl) > most:
        yield f"        and {counted(len(reach.acl) - most, 'more rule')}"
    if reach.acl:
        yield "        everything else is denied; replies to what is allowed are allowed"
    for source in reach.elsewhere:
        yield f"        further routes: {source}"
    if len(reach.hosts) > 1:
        yield f"        {listed(reach.hosts, most)} reach each other"
    if reach.shut_out:
        yield f"        shut out by the ingress: {listed(reach.shut_out, most)}"


def _seeing(settings: Settings) -> Iterator[str]:
    """The log and the metrics, where they differ from the defaults."""
    rotation, metrics = settings.log_rotation, settings.metrics
    if (settings.log_level, settings.log_format, settings.log_output) != ("info", "text", "stderr"):
        yield f"log: {settings.log_level} and above, as {settings.log_format}, to {settings.log_output}"
    if rotation is not None:
        words = [f"    rotated at {rotation.max_bytes >> 20} MB"]
        kept = counted(rotation.max_backups, "old file") if rotation.max_backups else "all old files"
        words += [f"{kept} kept"]
        words += [f"for {counted(rotation.max_age, 'day')}"] if rotation.max_age else []
        words += ["compressed"] if rotation.compress else []
        yield ", ".join(words)
    if metrics is not None:
        readers = f"logins of auther {metrics.auther!r}" if metrics.auther else "everybody who reaches it"
        yield f"metrics: on {metrics.address}{metrics.path} for {readers}"
    if settings.api is not None:
        yield f"web API: on {settings.api}"


def memory_bound_mb(settings: Settings) -> int:
    """Resident MB that a process of these settings stays under."""
    return math.ceil(settings_memory.bound(settings) / 1e6)


def _memory(settings: Settings, most: int | None = None) -> Iterator[str]:
    """The bound of the memory with its parts, of which the `most` largest ones."""
    yield f"memory: at most {memory_bound_mb(settings):,} MB, whatever peers do"
    parts = settings_memory.parts(settings)
    least = sorted((part.size for part in parts), reverse=True)[most - 1 : most] if most else []
    shown = [part for part in parts if not least or part.size >= least[0]][:most]
    for part in shown:
        yield f"    {part.size / 1e6:,.0f} MB {part.what}"
    if len(parts) > len(shown):
        rest = sum(part.size for part in parts) - sum(part.size for part in shown)
        yield f"    {rest / 1e6:,.0f} MB {counted(len(parts) - len(shown), 'more part')}"
    if any(table.more.sources for table in settings.tables):
        yield f"    and {settings_memory.ROUTE} bytes for each route that is read from elsewhere"


# --- for machines --------------------------------------------------------------------------------


def _hub_data(hub: HubSettings) -> dict[str, object]:
    return {
        "name": hub.name,
        "role": "hub",
        "listens": join_host_port(hub.host, hub.port),
        "transport": hub.transport.kind,
        "authers": [auther.name for auther in hub.authers],
        "enrol": _source(hub.enrol) if hub.enrol is not None else None,
        "admissions": [one.name for one in hub.admissions],
        "ingress": hub.ingress.name if hub.ingress else None,
        "sourceCheck": hub.source_check,
        "entrypoint": hub.entrypoint.address if hub.entrypoint is not None else None,
        "trustedProxies": list(hub.trusted_proxies.texts()),
    }


def _reach_data(reach: Reach) -> dict[str, object]:
    return {
        "service": reach.service,
        "namespace": reach.namespace,
        "title": reach.title,
        "routes": [{"dst": prefix, "gateways": tiers} for prefix, tiers in reach.routes],
        "hosts": reach.hosts,
        "shutOut": reach.shut_out,
        "elsewhere": reach.elsewhere,
        "acl": reach.acl,
        "address": reach.own,
    }
