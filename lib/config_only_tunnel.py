"""The routing tunnel's part of a GOST configuration that holds other services too (`--only-tunnel`).

Knows: which services belong to the routing tunnel, and what these name in the rest of the configuration.
Refuses to know: whether what is kept is right (config_resolve), which reads nothing of what is left out.

Kept are hubs (handler router), clients (handler tun with a host name), and every section that one of them
names, by way of a chain or a hop too. A section that is kept is checked as in any other configuration. A name
that no section has is still an error. Left to GOST are the other services, what only they name, and sections
that tunrouter has no use for. A service that cannot be read is kept, so that its mistake is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

from lib import config_metadata
from lib.addresses import is_address
from lib.config_findings import Findings
from lib.config_gost_keys import HANDLERS
from lib.config_schema import Chain, Config, Handler, Listener, Service
from lib.config_section import Part
from lib.config_tables import namespace_of
from lib.config_yaml import Scalar
from lib.errors import Position, Problem
from lib.humanize import listed

_LEFT = "left to GOST:"
MAX_NAMES = 8
"""Names of one kind that one line has."""
_ROLES = frozenset({"router", "tun"})
_TUNNEL_KEYS = ("router", "ingress")
_SECTIONS = (
    *("chains", "hops", "hosts", "authers", "ingresses", "routers", "limiters", "climiters", "rlimiters"),
    *("admissions", "observers", "sds"),
)
_WHOLE = {
    "api": "it starts GOST's web API; --api ADDR starts tunrouter's",
    "profiling": "it profiles GOST",
    "loggers": "tunrouter has one log",
}
"""Sections that start something in GOST by themselves -> why they are left to it."""

Named = set[tuple[str, str]]
"""Sections that are named: (key of the configuration, name)."""


def only_tunnel(config: Config) -> Config:
    """The configuration without what is no part of a routing tunnel; one notice for each thing left out."""
    reasons = [_why_left(service) for service in config.services]
    kept = [service for service, why in zip(config.services, reasons, strict=True) if not why]
    left = [(service, why) for service, why in zip(config.services, reasons, strict=True) if why]
    named = _named(kept, config)
    lists: dict[str, list[Part]] = {"services": list(kept)}
    for kind in _SECTIONS:
        sections: list[Part] = getattr(config, kind)
        lists[kind] = [part for part in sections if (kind, _name(kind, part)) in named]
    notices = [
        *(
            _left(service.where(), f"service {service.name or 'without a name'} ({why})")
            for service, why in left
        ),
        *_left_sections(config, lists),
        *_left_whole(config),
    ]
    part = copy(config)
    part.api = None
    for kind, sections in lists.items():
        setattr(part, kind, sections)
    part.problems, part.warnings = _findings(config, part, notices)
    part.notices = [*config.notices, *notices]
    if left and not kept:
        hint = "tunrouter has the handlers router (a hub) and tun with a host name (a client)"
        part.problems.append(
            Problem(config.where("services"), "no service of a routing tunnel is here", hint)
        )
    return part


def is_left(notice: Problem) -> bool:
    """Whether a notice says that something was left to GOST."""
    return notice.message.startswith(_LEFT)


def _left(where: Position, what: str) -> Problem:
    return Problem(where, f"{_LEFT} {what}")


# --- services -----------------------------------------------------------------------------------


def _why_left(service: Service) -> str:
    """Why a service is no part of a routing tunnel; "" for one that is, or may be meant to be."""
    handler = service.handler or Handler()
    listener = service.listener or Listener()
    kind = handler.type.lower()
    if kind == "tun":
        return "a tun device over UDP, without a hub" if _is_udp_peer(service, listener) else ""
    if kind:
        return f"handler {kind}" if kind in HANDLERS - _ROLES else ""
    unclear = service.problems or not service.where().line or listener.type.lower() == "tun"
    layers = (service, handler, listener)
    if unclear or any(_word(layer, key) for layer in layers for key in _TUNNEL_KEYS):
        return ""
    return "no handler, which is GOST's auto"


def _is_udp_peer(service: Service, listener: Listener) -> bool:
    """Whether a service with handler tun is one end of GOST's UDP tunnel: it has an address or a UDP peer."""
    nodes = service.forwarder.nodes if service.forwarder else []
    if listener.type.lower() not in ("tun", ""):
        return False
    if nodes:
        return all(":" in node.addr and not is_address(node.addr) for node in nodes)
    return bool(service.addr) and service.addr != ":0"


# --- what is named ------------------------------------------------------------------------------


def _named(services: Iterable[Service], config: Config) -> Named:
    """Every section that these services name, and those that they use without naming them."""
    named: Named = set()
    hubs = False
    for service in services:
        handler = service.handler or Handler()
        hubs = hubs or handler.type.lower() == "router"
        named |= named_by(service)
        if not handler.chain and handler.type.lower() == "tun":
            # without a name the only chain counts; of several, config_client says that one has to be named
            named |= {("chains", chain.name) for chain in config.chains}
    if hubs:  # a hub takes the router whose name is a client's namespace
        named |= {("routers", _name("routers", router)) for router in config.routers}
    if config.metrics:
        named.add(("authers", config.metrics.auther))
    chains = [chain for chain in config.chains if ("chains", chain.name) in named]
    named |= {("hops", name) for name in _hops_elsewhere(chains)}
    hops = [hop for chain in chains for hop in chain.hops]
    hops += [hop for hop in config.hops if ("hops", hop.name) in named]
    for hop in hops:
        named |= {("hosts", hop.hosts), *(("hosts", node.hosts) for node in hop.nodes)}
    return {(kind, name) for kind, name in named if name}


def named_by(service: Service) -> Named:
    """Every section that a service names itself."""
    handler = service.handler or Handler()
    listener = service.listener or Listener()
    named = {("chains", handler.chain), ("limiters", service.limiter), ("limiters", handler.limiter)}
    named |= {("climiters", service.climiter), ("rlimiters", service.rlimiter)}
    named |= {("authers", name) for part in (handler, listener) for name in (part.auther, *part.authers)}
    named |= {("admissions", name) for name in (service.admission, *service.admissions)}
    named |= {("observers", name) for name in (service.observer, handler.observer)}
    for layer in (service, handler, listener):
        for kind, keys in (
            ("routers", ("router", "tun.router")),
            ("ingresses", ("ingress",)),
            ("sds", ("sd",)),
        ):
            named |= {(kind, key_of(kind, _word(layer, key))) for key in keys}
    return named


def _hops_elsewhere(chains: Iterable[Chain]) -> set[str]:
    return {hop.name for chain in chains for hop in chain.hops if not hop.nodes}


def _word(layer: Service | Handler | Listener, key: str) -> str:
    tree = config_metadata.find(layer, key)
    return tree.text if isinstance(tree, Scalar) else ""


def _name(kind: str, part: Part) -> str:
    return key_of(kind, getattr(part, "name", ""))


def key_of(kind: str, name: str) -> str:
    """A router's name; a namespace is the same in any spelling."""
    namespace = namespace_of(name) if kind == "routers" else None
    return namespace.hex() if namespace else name


# --- what is left -------------------------------------------------------------------------------


def _left_sections(config: Config, lists: dict[str, list[Part]]) -> Iterable[Problem]:
    for kind in _SECTIONS:
        kept = set(map(id, lists[kind]))
        left = [part for part in getattr(config, kind) if id(part) not in kept]
        if left:
            names = [part.name or "without a name" for part in left]
            text = f"{kind} {listed(names, MAX_NAMES)}, which no service of the tunnel names"
            yield _left(left[0].where(), text)
    for key in sorted(Config.foreign):
        if key in config.at and key not in _WHOLE:
            yield _left(config.at[key], f"{key}, for which a routing tunnel has no use")


def _left_whole(config: Config) -> Iterable[Problem]:
    for key, why in _WHOLE.items():
        if key in config.at or getattr(config, key, None) is not None:
            yield _left(config.where(key), f"{key}: {why}")


# --- findings of what is kept -------------------------------------------------------------------


def _findings(
    config: Config, part: Config, notices: Sequence[Problem]
) -> tuple[list[Problem], list[Problem]]:
    """(problems, warnings) of reading what is kept, and those that belong to no section.

    Sections that share a text by a YAML alias share its problems: what one kept section has stays.
    """
    every = [section for kind in ("services", *_SECTIONS) for section in getattr(config, kind)]
    every += [config.api] if config.api else []
    kept = [section for kind in ("services", *_SECTIONS) for section in getattr(part, kind)]
    in_parts = {problem for section in every for problem in (*section.problems, *section.warnings)}
    told = {notice.where for notice in notices}
    warnings = Findings()
    for warning in (*config.warnings, *(warning for section in kept for warning in section.warnings)):
        mine = warning not in in_parts or any(warning in section.warnings for section in kept)
        if mine and warning.where not in told:
            warnings.warn(warning.where, warning.message, warning.hint)
    wanted = {problem for section in kept for problem in section.problems}
    problems = [problem for problem in config.problems if problem in wanted or problem not in in_parts]
    return problems, warnings.warnings
