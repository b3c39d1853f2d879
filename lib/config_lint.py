"""`tunrouter lint`: mistakes in a GOST configuration that GOST itself accepts without a word.

Knows: where GOST lets everybody in, shuts everybody out, or ignores what was written.
Refuses to know: what the file means to tunrouter (config_resolve), which may not support all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from lib import config_metadata
from lib.addresses import is_address
from lib.config_findings import Findings
from lib.config_read import read
from lib.config_schema import Config, Handler, Service, Sourced
from lib.config_section import Section, section_fields, walk
from lib.config_tables import namespace_of, table
from lib.config_yaml import Sequence
from lib.errors import Position, Problem
from lib.go_values import Duration
from lib.route_first_match import differences, never_used
from lib.settings import RouteEntry

Check = Callable[[Config], Iterator[Problem]]

TINY = 1_000_000
"""Nanoseconds; a shorter duration was surely meant to be in seconds."""
_LIMIT = re.compile(r"[0-9]+(\.[0-9]+)?([KMGT]i?)?B", re.IGNORECASE)


def findings(sources: Iterable[tuple[str, str]]) -> list[Problem]:
    """All findings in configurations given as (name, text), in order of file and line."""
    config = read(sources)
    found = [*_unknown(config), *(problem for check in CHECKS for problem in check(config))]
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.where.file, problem.where.line))


def _unknown(config: Config) -> Iterator[Problem]:
    """Keys and values that cannot be read: GOST leaves them out, or takes them for something else."""
    for problem in config.problems:
        ignored = "; GOST ignores it" if problem.message.startswith("unknown key") else ""
        yield Problem(problem.where, problem.message + ignored, problem.hint)


def _routers(config: Config) -> Iterator[tuple[Service, Handler]]:
    for service in config.services:
        if service.handler and service.handler.type.lower() == "router":
            yield service, service.handler


def _named(handler: Handler, key: str) -> tuple[str, Position]:
    tree = config_metadata.find(handler, key)
    name = config_metadata.text(handler, key, found=Findings())
    return name, tree.where if tree else handler.where()


def _dangling(config: Config) -> Iterator[Problem]:
    """Names that no section has: GOST looks names up at each use, and goes on without what is missing."""
    authers = {section.name for section in config.authers}
    for _, handler in _routers(config):
        named = [(name, "authers") for name in handler.authers] + [(handler.auther, "auther")]
        for name, key in named:
            if name and name not in authers:
                text = f"there is no auther {name!r}: GOST lets everybody in"
                yield Problem(handler.where(key), text, "define it under authers")
        for key, known, what in (
            ("ingress", config.ingresses, "GOST refuses every client that names a namespace"),
            ("router", config.routers, "GOST drops what the named tables have no route for"),
            ("sd", config.sds, "GOST finds no other hub"),
        ):
            name, where = _named(handler, key)
            if name and name not in {section.name for section in known}:
                yield Problem(where, f"there is no {key} {name!r}: {what}", f"define it under {key}s")
    chains = {chain.name for chain in config.chains}
    for service in config.services:
        chain = service.handler.chain if service.handler else ""
        if service.handler and chain and chain not in chains:
            text = f"there is no chain {chain!r}: GOST goes directly, without a hub"
            yield Problem(service.handler.where("chain"), text, "define it under chains")


def _ingresses(config: Config) -> Iterator[Problem]:
    for _, handler in _routers(config):
        name, where = _named(handler, "ingress")
        if name:
            text = "GOST skips the ingress for a client with an empty host name: it may use any namespace"
            yield Problem(where, text, "tunrouter refuses such clients")
    for ingress in config.ingresses:
        for rule in ingress.rules:
            if rule.endpoint and namespace_of(rule.endpoint) is None:
                text = f"the endpoint {rule.endpoint[:64]!r} is no UUID: GOST takes it for no namespace"
                yield Problem(rule.where("endpoint"), text)


def _tables(config: Config) -> Iterator[Problem]:
    for router in config.routers:
        namespace = namespace_of(router.name)
        plain = router.name.lower() == router.name and len(router.name) == 36
        if namespace is not None and not plain:
            text = f"router {router.name}: GOST compares names letter for letter, clients never find this one"
            yield Problem(router.where("name"), text, "write the UUID in lower case with dashes")
        for route in router.routes:
            if is_address(route.gateway):
                text = (
                    f"the gateway {route.gateway} is an IP address: GOST also sets a kernel route on the hub"
                )
                yield Problem(route.where("gateway"), text)
        if router.compat:
            continue
        rows = table(router, Findings()).routes
        places = _places(router.routes, rows)
        for first, longest in differences(rows):
            text = (
                f"{longest} to {longest.hop.gateway} is never used: GOST takes the first match, {first} to "
            )
            yield Problem(places(longest), text + first.hop.gateway, "write longer prefixes first")
        for first, again in never_used(rows):
            if first.hop.gateway != again.hop.gateway:
                text = f"{again.hop.gateway} never stands in for {first.hop.gateway} on {again}: GOST has one"
                yield Problem(places(again), f"{text} gateway a prefix")


def _places(routes: Iterable[Section], rows: Iterable[RouteEntry]) -> Callable[[RouteEntry], Position]:
    """A function from a row to its place in the file; approximate where some routes could not be read."""
    places = {id(row): route.where("gateway") for row, route in zip(rows, routes, strict=False)}
    return lambda row: places.get(id(row), Position("configuration"))


def _durations(config: Config) -> Iterator[Problem]:
    for section in walk(config):
        for field in section_fields(type(section)):
            value = getattr(section, field.name)
            if isinstance(value, Duration) and 0 < value < TINY:
                text = f"{field.encode_name!r}: GOST reads a bare number here as {value} nanoseconds"
                yield Problem(section.where(field.name), text, f"write {int(value)}s")


def _tun_lists(config: Config) -> Iterator[Problem]:
    for service in config.services:
        listener = service.listener
        if listener is None or listener.type.lower() != "tun":
            continue
        for key in ("net", "route", "dns"):
            tree = config_metadata.find(listener, f"tun.{key}", key)
            if isinstance(tree, Sequence):
                yield Problem(
                    tree.where, f"{key!r} is a list: GOST reads it as empty", "write a, b in one text"
                )
        handler = service.handler
        if handler and not handler.chain and config.chains:
            text = f"service {service.name} names no chain: GOST fails with `unsupported network ip`"
            yield Problem(handler.where(), text, f"write chain: {config.chains[0].name}")


def _caches(config: Config) -> Iterator[Problem]:
    for _, handler in _routers(config):
        if config_metadata.switch(handler, "router.cache", False, Findings()):
            tree = config_metadata.find(handler, "router.cache")
            where = tree.where if tree else handler.where()
            text = "'router.cache': GOST's cache forgets the namespace, one tenant's routes reach the others"
            yield Problem(where, text, "leave it off under GOST")


def _secrets(config: Config) -> Iterator[Problem]:
    for auther in config.authers:
        for login in auther.auths:
            if login.username and not login.password:
                text = f"{login.username!r} has no password: GOST lets any password in"
                yield Problem(login.where("username"), text)


def _plugins(config: Config) -> Iterator[Problem]:
    for section in walk(config):
        plugin = section.plugin if isinstance(section, Sourced) else None
        if plugin is None:
            continue
        if not plugin.type and "://" in plugin.addr:
            text = "a plugin without a type is asked over gRPC, whatever its address looks like"
            yield Problem(plugin.where("addr"), text, "write type: http")
        if plugin.tls and not plugin.tls.secure:
            text = "the plugin's tls section without secure: true accepts any certificate"
            yield Problem(plugin.tls.where(), text)


def _limits(config: Config) -> Iterator[Problem]:
    for limiter in config.limiters:
        for limit in limiter.limits:
            for value in limit.split()[1:]:
                if not _LIMIT.fullmatch(value):
                    yield Problem(
                        limiter.where("limits"), f"{value!r}: GOST reads it as no limit", "write 100KB"
                    )


CHECKS: tuple[Check, ...] = (
    _dangling,
    _ingresses,
    _tables,
    _durations,
    _tun_lists,
    _caches,
    _secrets,
    _plugins,
    _limits,
)
