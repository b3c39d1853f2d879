"""Needs of each feature: capabilities, places to write; and which of them a process would lack.

Knows: the table from features to what they need of the kernel and this host. Refuses to know: how it is
found out what a process may (service_rights), how it is told (config_check_rights); which
programs are there (config_check_start, config_check_exit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from lib.netfilter_nat import SWITCHES
from lib.settings import ClientSettings, Settings
from lib.settings_names import BY_AUTO, BY_HOSTS, BY_RESOLVED, BY_STUB
from lib.settings_sources import FileSource

NET_ADMIN, NET_BIND_SERVICE, SYS_ADMIN = "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"
FIRST_FREE_PORT = 1024
"""Ports below this one take CAP_NET_BIND_SERVICE, where nobody has changed that
(net.ipv4.ip_unprivileged_port_start, ip(7))."""
_DNS_PORT = 53
AUDIT = "auditLog"
"""The key of `api` that names a file."""
STATE = "the state directory"
"""Stands for the directory where leases and certificates are kept, which depends on who runs."""


class Kind(StrEnum):
    """What a feature needs something of."""

    CAPABILITY = "capability"
    """`what` is its name (capabilities(7))."""
    WRITE = "write"
    """`what` is a file that is written, or replaced in its directory."""
    DEVICE = "device"
    """`what` is a device's file."""
    NAMESPACE = "namespace"
    """Sockets in other network namespaces (setns(2)), beside CAP_SYS_ADMIN."""
    RESOLVED = "resolved"
    """Name servers by systemd-resolved, which asks polkit whether this user may set them."""
    RESOLV_CONF = "resolv_conf"
    """`what` is resolv.conf(5), which is written where systemd-resolved is not asked."""


class Need(NamedTuple):
    """One thing that a feature needs."""

    kind: Kind
    what: str = ""


class Use(NamedTuple):
    """A place in the settings where a feature is used."""

    service: str
    """Empty where a section at the top level is meant."""
    path: str = ""
    """The file that it is about, for a need whose `what` is empty."""
    port: int = 0
    """The port that it listens on, for CAP_NET_BIND_SERVICE."""
    section: str = ""
    """The key of that section."""


class Feature(NamedTuple):
    """A row of the table."""

    name: str
    """In words, as in "… needs CAP_NET_ADMIN"; a key in quotes."""
    key: str
    """The key of the metadata that asks for it; empty where the service itself does."""
    uses: Callable[[Settings], Iterable[Use]]
    needs: tuple[Need, ...]
    instead: str = ""
    """What happens without, where the process runs all the same."""


class Missing(NamedTuple):
    """A need that would not be met."""

    use: Use
    feature: Feature
    need: Need
    why: str
    """What is in the way, in words."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a process may, on this host."""

    who: str
    """As in "WHO has no CAP_NET_ADMIN"."""
    capabilities: frozenset[str]
    refused: Callable[[str], str]
    """Path -> why it cannot be written or replaced; empty where it can be."""
    enters_namespaces: bool = True
    sets_name_servers: bool = True
    state: str = "/var/lib/tunrouter"
    """The directory that STATE stands for."""
    first_free_port: int = FIRST_FREE_PORT
    """Ports from this one on take no capability."""


# --- the table ----------------------------------------------------------------------------------


def _clients(is_used: Callable[[ClientSettings], bool]) -> Callable[[Settings], Iterable[Use]]:
    return lambda settings: (Use(one.name) for one in settings.clients if is_used(one))


def _has_mark(client: ClientSettings) -> bool:
    return any(node.first.dial.mark for node in client.nodes)


def _dials_elsewhere(client: ClientSettings) -> bool:
    return any(node.first.dial.netns for node in client.nodes)


def _in_namespaces(settings: Settings) -> Iterator[Use]:
    yield from (Use(hub.name) for hub in settings.hubs if hub.netns)
    yield from (Use(client.name) for client in settings.clients if client.device.netns)


def _low_ports(settings: Settings) -> Iterator[Use]:
    for hub in settings.hubs:
        ports = (hub.port, hub.entrypoint.port if hub.entrypoint is not None else 0)
        for port in ports:
            if 0 < port < FIRST_FREE_PORT:
                yield Use(hub.name, port=port)
    sections = ("metrics", settings.metrics), ("api", settings.api), ("cluster", settings.cluster)
    for section, served in sections:
        if served is not None and 0 < served.port < FIRST_FREE_PORT:
            yield Use("", port=served.port, section=section)


def _lists(settings: Settings) -> Iterator[Use]:
    for hub in settings.hubs:
        if isinstance(hub.enrol, FileSource):
            yield Use(hub.name, hub.enrol.path)


def _pools(settings: Settings) -> Iterator[Use]:
    with_pool = {table.name for table in settings.tables if table.pool}
    for hub in settings.hubs:
        if hub.default_table is not None and hub.default_table.name in with_pool:
            yield Use(hub.name)


def _exits(settings: Settings) -> Iterator[Use]:
    for client in settings.clients:
        networks = (*client.device.addresses, *(prefix for prefix, _ in client.device.routes))
        for version in sorted({one.version for one in networks} or {4}) if client.nat else ():
            yield Use(client.name, f"/proc/sys/net/{SWITCHES[version]}")


def _logs(settings: Settings) -> Iterator[Use]:
    if settings.log_output not in ("stderr", "stdout", "none"):
        yield Use("", settings.log_output, section="log")


def _audits(settings: Settings) -> Iterator[Use]:
    if settings.api is not None and settings.api.audit_log:
        yield Use("", settings.api.audit_log, section="api")


def _names(*ways: str) -> Callable[[Settings], Iterable[Use]]:
    """Clients that find names by one of these ways."""
    return _clients(lambda client: client.names_by in ways and bool(client.accept or client.dns))


def _stubs(settings: Settings) -> Iterator[Use]:
    yield from (use._replace(port=_DNS_PORT) for use in _names(BY_STUB)(settings))


_CONF = "/etc/resolv.conf"
_NO_NAMES = "names of the hub's domain are not found on this host"
_ADMIN, _WRITES = Need(Kind.CAPABILITY, NET_ADMIN), Need(Kind.WRITE)

FEATURES: tuple[Feature, ...] = (
    Feature(
        *("a TUN device", "", _clients(lambda client: True), (_ADMIN, Need(Kind.DEVICE, "/dev/net/tun"))),
    ),
    Feature("'so_mark'", "so_mark", _clients(_has_mark), (_ADMIN,)),
    Feature(
        *("'netns' of a node", "netns", _clients(_dials_elsewhere)),
        (Need(Kind.CAPABILITY, SYS_ADMIN), Need(Kind.NAMESPACE)),
    ),
    Feature(
        *("'netns' of a service", "netns", _in_namespaces),
        (Need(Kind.CAPABILITY, SYS_ADMIN), Need(Kind.NAMESPACE)),
    ),
    Feature("'nat'", "nat", _exits, (_ADMIN, _WRITES)),
    Feature("'killswitch'", "killswitch", _clients(lambda client: client.killswitch), (_ADMIN,)),
    Feature("'map'", "map", _clients(lambda client: bool(client.maps)), (_ADMIN,)),
    Feature("a port below 1024", "", _low_ports, (Need(Kind.CAPABILITY, NET_BIND_SERVICE),)),
    Feature(
        *("'enrol'", "enrol", _lists, (_WRITES,), "nobody can be invited, and who is connected is not noted"),
    ),
    Feature(
        *("'pool'", "", _pools, (Need(Kind.WRITE, STATE),)),
        "after a restart hosts whose names lead to one address may get others",
    ),
    Feature("the log", "", _logs, (_WRITES,)),
    Feature("'auditLog'", AUDIT, _audits, (_WRITES,)),
    Feature(
        *("names of the hub's domain", "", _names(BY_AUTO, BY_RESOLVED), (Need(Kind.RESOLVED),), _NO_NAMES),
    ),
    Feature(
        *("names without systemd-resolved", "", _names(BY_AUTO), (Need(Kind.RESOLV_CONF, _CONF),), _NO_NAMES),
    ),
    Feature(
        *("'namesBy': stub", "namesBy", _stubs),
        (Need(Kind.CAPABILITY, NET_BIND_SERVICE), Need(Kind.WRITE, _CONF)),
        _NO_NAMES,
    ),
    Feature(
        *("'namesBy': hosts", "namesBy", _names(BY_HOSTS), (Need(Kind.WRITE, "/etc/hosts"),), _NO_NAMES),
    ),
)
"""Every feature that needs more than a socket. What is not here runs with no right at all."""


# --- what is missing ----------------------------------------------------------------------------


def missing(settings: Settings, rights: Rights) -> Iterator[Missing]:
    """Every need of these settings that a process with these rights would lack."""
    for feature in FEATURES:
        for use in feature.uses(settings):
            for need in feature.needs:
                why = lacking(need._replace(what=need.what or use.path), rights, use.port)
                if why:
                    yield Missing(use, feature, need._replace(what=place(need, use, rights)), why)


def kept(settings: Settings) -> frozenset[str]:
    """The capabilities that a process keeps when it becomes another user: those for what it does after that.

    Never CAP_SYS_ADMIN, which is as much as root has.
    """
    needs = (need for feature in FEATURES if any(feature.uses(settings)) for need in feature.needs)
    return frozenset(need.what for need in needs if need.kind is Kind.CAPABILITY) - {SYS_ADMIN}


def place(need: Need, use: Use, rights: Rights) -> str:
    """What a need is about: its own word, the path that it is used for, or the state directory."""
    return rights.state if need.what == STATE else need.what or use.path


def lacking(need: Need, rights: Rights, port: int = 0) -> str:
    """Why a process with these rights lacks something; empty where it does not.

    `port` is the one to listen on.
    """
    if need.what == NET_BIND_SERVICE and port >= rights.first_free_port:
        return ""
    if need.kind is Kind.CAPABILITY:
        return "" if need.what in rights.capabilities else f"{rights.who} has no {need.what}"
    if need.kind in (Kind.WRITE, Kind.DEVICE, Kind.RESOLV_CONF):
        where = rights.state if need.what == STATE else need.what
        wrong = rights.refused(f"{where}/leases" if need.what == STATE else where)
        return f"{rights.who} cannot write to {where}: {wrong}" if wrong else ""
    if need.kind is Kind.NAMESPACE:
        return "" if rights.enters_namespaces else f"{rights.who} may enter no other network namespace"
    return "" if rights.sets_name_servers else f"systemd-resolved takes none from {rights.who}"
