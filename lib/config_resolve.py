"""Typed sections turned into the settings of a process, everything checked before anything is started.

Knows: the order of the checks, keys that are not supported yet, duplicate names, which role a service has.
Refuses to know: the details of a role (config_hub, config_client) or a table (config_tables), YAML and URLs.

Nothing here stops at the first problem. All are collected, and resolve() raises them at once, together with
those found while reading (Config.problems).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from msgspec.structs import FieldInfo

from lib.capture_taps import LEAST_RECORDER
from lib.config_chain import Chains
from lib.config_client import client
from lib.config_entrypoint import check_entrypoints, sd_settings
from lib.config_exit import check_killswitch
from lib.config_findings import MOST_PROBLEMS, Findings, at_once
from lib.config_gost_keys import HANDLERS
from lib.config_hub import check_domains, check_overlaps, hub, renewed
from lib.config_instead import TUNNEL_URLS, WITHOUT_OTHERS, instead_of
from lib.config_known import Known
from lib.config_limits import LimiterReading, Limiters, size_of
from lib.config_named import Named, Tables, check_client
from lib.config_notify import notify_settings
from lib.config_policy import policy_tests
from lib.config_references import Reader, fill_in, nowhere
from lib.config_schema import Config, Handler, Service
from lib.config_schema_log import Log
from lib.config_section import Section, section_fields, spelled
from lib.config_tables import auther_settings, ingress_settings, namespace_of, table, warn_shut_out
from lib.config_telemetry import log_settings, metrics_settings
from lib.did_you_mean import did_you_mean
from lib.errors import ConfigError, Position, Problem
from lib.namespace_titles import Title
from lib.settings import (
    AdmissionSettings,
    AutherSettings,
    ClientSettings,
    HubSettings,
    IngressSettings,
    Settings,
)

if TYPE_CHECKING:
    from lib.config_api import Opened
    from lib.settings_observe import ObserverSettings
    from lib.settings_registry import ClusterSettings

_NAMED = (
    *("services", "chains", "hops", "ingresses", "authers", "admissions", "observers", "hosts"),
    *("sds", "limiters", "climiters", "rlimiters"),
)
_NONE = ("", "0", "off", "no", "false")
MOST_RECORDER = 1 << 30
"""The biggest flight recorder that a configuration may ask for, bytes."""


def resolve(
    config: Config,
    read: Reader = nowhere,
    step: Callable[[], None] = at_once,
    known: Known | None = None,
) -> Settings:
    """The settings that a configuration stands for; `read` gives the values of its references.

    `step` is as in Findings. `known` has made the configuration as a copy: what it knows is not made anew.
    Raises ConfigError with every problem. Warnings and notices are in the result.
    """
    found = Findings(warnings=list(config.warnings), notices=list(config.notices), step=step)
    known = known or Known()
    for section in found.each(known.fresh(config)):
        _refuse_not_yet(section, found)
        fill_in(section, read, found)
    _check_names(config, found)
    settings = _settings(config, known, found)
    problems = _all_problems(config, found.problems)
    if problems:
        raise ConfigError(problems, found.warnings, found.notices)
    return settings


def _all_problems(config: Config, found: Sequence[Problem]) -> list[Problem]:
    """All problems in order of file and line; of very many the first ones, and that there are more.

    A place where reading has failed gets no second problem, because that would only be a consequence.
    """
    complained = {problem.where for problem in config.problems if problem.where.line}
    rest = [problem for problem in found if problem.where not in complained]
    problems = list(dict.fromkeys([*config.problems, *rest]))
    files = {name: index for index, name in enumerate(dict.fromkeys(p.where.file for p in problems))}
    ordered = sorted(problems, key=lambda p: (files[p.where.file], p.where.line, p.where.column))
    if len(ordered) > MOST_PROBLEMS:
        last = Position(ordered[MOST_PROBLEMS].where.file)
        ordered[MOST_PROBLEMS:] = [
            Problem(last, f"and more problems, of which the first {MOST_PROBLEMS} are told")
        ]
    return ordered


def _refuse_not_yet(section: Section, found: Findings) -> None:
    for field in _not_yet(type(section)):
        value = getattr(section, field.name)
        if value or isinstance(value, Section):
            where = section.where(field.name)
            if not where.line and isinstance(value, list) and isinstance(value[0], Section):
                where = value[0].where()  # made by the command line: its argument is the place
            elif not where.line and isinstance(value, Section):
                where = value.where()
            hint = instead_of(type(section).__name__, field.name)
            found.error(where, f"{field.encode_name!r} is not supported yet", hint)
    for name in _without_field(type(section)):
        key = name.replace("_", "")
        if key in section.at:  # a key that has no field: only its place is kept
            hint = instead_of(type(section).__name__, name)
            found.error(section.where(key), f"{spelled(name)!r} is not supported yet", hint)


@cache
def _not_yet(cls: type[Section]) -> tuple[FieldInfo, ...]:
    return tuple(field for field in section_fields(cls) if field.name in cls.not_yet)


@cache
def _without_field(cls: type[Section]) -> frozenset[str]:
    return cls.not_yet - {field.name for field in section_fields(cls)}


def _check_names(config: Config, found: Findings) -> None:
    for kind in _NAMED:
        sections = getattr(config, kind)
        _check_distinct(kind, [(section.name, section) for section in sections], found)
    # a namespace is the same in any spelling
    routers = [(_table_key(router.name), router) for router in config.routers]
    _check_distinct("routers", routers, found)


def _table_key(name: str) -> str:
    namespace = namespace_of(name)
    return namespace.hex() if namespace is not None else name


def _check_distinct(kind: str, named: Sequence[tuple[str, Section]], found: Findings) -> None:
    seen: dict[str, Position] = {}
    for name, section in found.each(named):
        where = section.where("name")
        if not name:
            found.error(where, f"one of the {kind} has no name")
        elif name in seen:
            found.error(where, f"two of the {kind} have the name {name[:64]!r}", f"see {seen[name]}")
        seen.setdefault(name, where)


def _settings(config: Config, known: Known, found: Findings) -> Settings:
    tables = tuple(
        known.of(router, partial(table, router, found), found) for router in found.each(config.routers)
    )
    ingresses = {
        one.name: known.of(one, partial(ingress_settings, one, found), found)
        for one in found.each(config.ingresses)
    }
    authers = {
        one.name: known.of(one, partial(auther_settings, one, found), found)
        for one in found.each(config.authers)
    }
    sds = {one.name: sd_settings(one, found) for one in found.each(config.sds)}
    limiters = Limiters(
        {
            kind: [known.of(one, partial(LimiterReading, one), found) for one in getattr(config, kind)]
            for kind in ("limiters", "climiters", "rlimiters")
        },
        found,
    )
    asked = _admissions(config, known, found), _observers(config, known, found)
    named = Named(Tables(tables), ingresses, authers, *asked, sds, limiters)
    chains = Chains(config, found)
    hubs: list[tuple[Service, HubSettings]] = []
    clients: list[tuple[Service, ClientSettings]] = []
    for service in found.each(config.services):
        role = _role(service, found)
        if role == "router":
            renew = partial(renewed, service=service, named=named, found=found)
            settings = known.of(service, partial(hub, service, named, config, found), found, renew)
            hubs.extend([(service, settings)] if settings else [])
        elif role == "tun":
            check_client(service, found)
            clients.append((service, client(service, chains, named, found)))
    limiters.check()
    _check_together(config, hubs, clients, found)
    told = _titles(config, found)
    tests = policy_tests(config, [settings for _, settings in hubs], told, found)
    log = log_settings(config.log or Log(), found)
    metrics, more_authers = metrics_settings(config.metrics, authers, found)
    api, api_authers = _api(config, authers, found)
    if not config.services and "services" not in config.at and not config.problems and api is None:
        found.error(config.where(), "no services: nothing to do", "write -L URL, or services: in a file")
    return Settings(
        hubs=tuple(settings for _, settings in hubs),
        clients=tuple(settings for _, settings in clients),
        tables=tables,
        user=config.user,
        recorder=_recorder(config, found),
        log_level=log.level,
        log_format=log.format,
        log_output=log.output,
        log_rotation=log.rotation,
        metrics=metrics,
        api=api,
        authers=tuple({one.name: one for one in (*more_authers, *api_authers)}.values()),
        titles=told,
        tests=tests,
        notify=notify_settings(config, bool(hubs), found),
        cluster=_cluster(config, hubs, told, found),
        workers=_workers(config, hubs, clients, found),
        warnings=tuple(found.warnings),
        notices=tuple(found.notices),
    )


def _admissions(config: Config, known: Known, found: Findings) -> dict[str, AdmissionSettings]:
    if not config.admissions:
        return {}
    from lib.config_admission import admission_settings  # as in _api

    return {
        one.name: known.of(one, partial(admission_settings, one, found), found)
        for one in found.each(config.admissions)
    }


def _observers(config: Config, known: Known, found: Findings) -> dict[str, ObserverSettings | None]:
    if not config.observers:
        return {}
    from lib.config_observe import observer_settings  # as in _api

    return {
        one.name: known.of(one, partial(observer_settings, one, found), found)
        for one in found.each(config.observers)
    }


def _titles(config: Config, found: Findings) -> tuple[Title, ...]:
    if not config.namespaces and not any("title" in one.at or one.title for one in config.routers):
        return ()
    from lib.config_titles import titles  # as in _api

    return titles(config, found)


def _cluster(
    config: Config,
    hubs: Sequence[tuple[Service, HubSettings]],
    told: tuple[Title, ...],
    found: Findings,
) -> ClusterSettings | None:
    if config.cluster is None and not config.sds:
        return None
    from lib.config_cluster import cluster_settings  # as in _api

    return cluster_settings(config, hubs, told, found)


def _api(config: Config, authers: Mapping[str, AutherSettings], found: Findings) -> Opened:
    if config.api is None:
        return None, ()
    from lib.config_api import api_settings  # nothing of the web API is loaded where it is not asked for

    return api_settings(config.api, config.tls, authers, found)


def _workers(
    config: Config,
    hubs: Sequence[tuple[Service, HubSettings]],
    clients: Sequence[tuple[Service, ClientSettings]],
    found: Findings,
) -> int:
    if not config.workers:
        return 1
    from lib.config_workers import worker_count  # as in _api

    return worker_count(config, hubs, clients, found)


def _role(service: Service, found: Findings) -> str:
    """The role of a service, "router" or "tun", by its handler's type; another type is a problem, and ""."""
    handler = service.handler or Handler(at=service.at)
    kind = handler.type.lower()
    if kind in ("router", "tun"):
        return kind
    where = handler.where("type")
    if not kind:
        if where.line:  # the command line has complained about its scheme
            found.error(
                where,
                f"service {service.name} has no handler type",
                f"write router or tun, or {WITHOUT_OTHERS}",
            )
    elif kind in HANDLERS:
        # who types -L may mean a hub or a client; a file has been GOST's
        hint = WITHOUT_OTHERS if where.line else f"{TUNNEL_URLS}, or {WITHOUT_OTHERS}"
        found.error(where, f"a handler of type {kind} is no part of a routing tunnel", hint)
    else:
        found.error(where, f"unknown handler type {kind[:64]!r}", did_you_mean(kind, HANDLERS))
    return ""


def _check_together(
    config: Config,
    hubs: list[tuple[Service, HubSettings]],
    clients: list[tuple[Service, ClientSettings]],
    found: Findings,
) -> None:
    """Checks that look at several services at once."""
    check_overlaps(hubs, found)
    check_domains(hubs, found)
    check_entrypoints(hubs, found)
    entered: dict[str, tuple[IngressSettings, list[str]]] = {}
    for _, settings in found.each(hubs):
        if settings.ingress:
            entered.setdefault(settings.ingress.name, (settings.ingress, []))[1].append(settings.name)
    for ingress, services in entered.values():
        warn_shut_out(config, services, ingress, found)
    devices: set[str] = set()
    for service, client_settings in found.each(clients):
        name = client_settings.device.name
        name = f"{client_settings.device.netns} {name}" if name and client_settings.device.netns else name
        if name and name in devices:
            place = service.listener.where("metadata.name") if service.listener else service.where()
            found.error(place, f"two services have a device named {client_settings.device.name!r}")
        devices.add(name)
    check_killswitch(hubs, clients, found)
    nodes = (node.first.dial for _, one in found.each(clients) for node in one.nodes)
    if config.user and any(dial.netns for dial in nodes):
        text = "'user' beside a node's netns: only root may dial in another network namespace, each time anew"
        found.error(config.where("user"), text, "start tunrouter as that user, in that namespace")
    if config.user and any(one.device.netns for _, one in found.each(clients)):
        text = (
            "'user' beside a client's netns: only root may look after a device in another network namespace"
        )
        found.error(config.where("user"), text, "start tunrouter as that user, in that namespace")


def _recorder(config: Config, found: Findings) -> int:
    """The size of the flight recorder in bytes, 0 for none."""
    text = config.recorder
    if text.lower() in _NONE:
        return 0
    try:
        size = size_of(text)
    except ValueError:
        found.error(config.where("recorder"), f"recorder: {text[:32]!r} is no size", "write it as 16MB")
        return 0
    if not LEAST_RECORDER <= size <= MOST_RECORDER:
        found.error(config.where("recorder"), f"recorder: {text} is not between 64KB and 1GB")
    return size
