"""What a configuration means: checked, resolved, typed; nothing left to look up or to parse.

Knows: every setting the roles (hub, client) act on, with its default.
Refuses to know: YAML, URLs, GOST's spelling of things (config, cmdline, meaning).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from lib.errors import Problem
from lib.ids import NO_NAMESPACE

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

DEFAULT_MTU = 1420
DEFAULT_QUEUE_BYTES = 16 << 20
DEFAULT_QUEUE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route of a table as written: packets to `prefix` go to the host named `gateway`."""

    prefix: Network
    gateway: str


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """An HTTP plugin (WIRE.md, Plugins); `timeout` in seconds."""

    url: str
    token: str = ""
    timeout: float = 10.0
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class TableSettings:
    """One routing table; `namespace` is its name read as a UUID, None where it is no UUID."""

    name: str
    namespace: bytes | None = None
    routes: tuple[RouteEntry, ...] = ()
    plugin: PluginSettings | None = None


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """Which host name may use which namespace; rules as (hostname, endpoint) in order."""

    name: str
    rules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HubSettings:
    """One service that listens for clients and routes between them."""

    name: str
    host: str
    """Address to listen on; empty means every address, IPv4 and IPv6."""
    port: int
    default_table: TableSettings | None = None
    ingress: IngressSettings | None = None
    domain: str = ""
    """Services with the same non-empty domain share their namespaces."""
    source_check: bool = True
    superpackets: bool = True
    handshake_timeout: float = 10.0
    read_timeout: float = 0.0
    cache_seconds: float = 1.0
    queue_bytes: int = DEFAULT_QUEUE_BYTES
    queue_seconds: float = DEFAULT_QUEUE_SECONDS


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """A TUN device and what is set on it."""

    name: str = ""
    """Empty: the kernel chooses (tun0, tun1, …)."""
    addresses: tuple[Interface, ...] = ()
    peer: str = ""
    mtu: int = DEFAULT_MTU
    routes: tuple[tuple[Network, str], ...] = ()
    """(prefix, gateway address); an empty gateway means straight out of the device."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A hub to dial."""

    name: str
    host: str
    port: int
    namespace: bytes = NO_NAMESPACE
    username: str = ""
    password: str = ""
    connect_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One service that opens a TUN device and keeps a session with a hub under a host name."""

    name: str
    host: str
    device: DeviceSettings
    nodes: tuple[NodeSettings, ...]
    superpackets: bool = True
    strategy: str = "round"
    """How a node is chosen among several: fifo (the first that works), round (in turn) or rand."""
    max_fails: int = 1
    """Failures in a row after which a node is passed over for `fail_timeout` seconds."""
    fail_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one process is to do."""

    hubs: tuple[HubSettings, ...] = ()
    clients: tuple[ClientSettings, ...] = ()
    tables: tuple[TableSettings, ...] = ()
    log_level: str = "info"
    log_format: str = "text"
    log_output: str = "stderr"
    """stderr, stdout, none, or a file's path."""
    warnings: tuple[Problem, ...] = field(default=())
    """What is odd; logged as warnings."""
    notices: tuple[Problem, ...] = field(default=())
    """What was decided for the user; logged at info."""
