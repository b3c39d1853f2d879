"""What a configuration means: checked, resolved, typed; nothing left to look up or to parse.

Knows: every setting the roles (hub, client) act on, with its default.
Refuses to know: YAML, URLs, GOST's spelling of things (config_read, config_from_urls, config_resolve).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import NamedTuple

from lib import prefixes
from lib.errors import Problem
from lib.ids import NO_NAMESPACE
from lib.settings_limits import NO_LIMITS, HubLimits
from lib.settings_telemetry import MetricsSettings, RotationSettings

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

DEFAULT_MTU = 1420
DEFAULT_QUEUE_BYTES = 16 << 20
DEFAULT_QUEUE_SECONDS = 0.5
DEFAULT_QUEUE_MEMORY = 256 << 20
DEFAULT_KEEPALIVE = 15.0
"""Seconds of silence after which a peer is dead."""


class Hop(NamedTuple):  # a tuple, for a million rows are told apart by it
    """Where packets of a route go: a host, how much it is preferred, and what if it is away."""

    gateway: str
    metric: int | None = None
    """Lower is preferred; those given the same one share flows. None: as 0, but shares with nobody."""
    fall_through: bool = False
    """Whether a shorter prefix carries the route's packets while none of its gateways lives."""


class RouteEntry(NamedTuple):
    """One route of a table as written: packets to `prefix`/`length` (packed, 4 or 16 bytes) take `hop`."""

    prefix: bytes
    length: int
    hop: Hop

    def __str__(self) -> str:
        return prefixes.text(self.prefix, self.length)


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """A plugin (WIRE.md, Plugins): somebody else's program that is asked; `timeout` in seconds."""

    url: str
    """http://… or https://… for HTTP; for gRPC grpc://host:port, or grpcs://host:port over TLS."""
    token: str = ""
    timeout: float = 10.0
    verify: bool = True
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Rows from a file, a line each; read again when it changes."""

    path: str
    """Absolute, or relative to where the program was started."""


@dataclass(frozen=True, slots=True)
class RedisSource:
    """Rows from a Redis key."""

    addr: str
    """host:port."""
    db: int = 0
    username: str = ""
    password: str = ""
    key: str = "gost"
    type: str = "hash"
    """hash (field -> value), set or list (each member a line)."""


@dataclass(frozen=True, slots=True)
class HttpSource:
    """Rows from a URL, a line each; `timeout` in seconds."""

    url: str
    timeout: float = 10.0


Source = FileSource | RedisSource | HttpSource


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Where further rows of a table come from: sources in the order they are merged after the inline rows."""

    sources: tuple[Source, ...] = ()
    reload: float = 0.0
    """Seconds after which all sources are read again; 0: only when a file changes, or on SIGHUP."""


NO_SOURCES = SourceSettings()


_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}

AclEnd = tuple[bytes, int] | str
"""One end of a packet's way in a rule: a prefix (packed, with its length), or a host's name."""


class AclRule(NamedTuple):
    """A rule of a router's access list; None and empty fit everything."""

    allow: bool
    source: AclEnd | None = None
    destination: AclEnd | None = None
    protocol: int | None = None
    ports: tuple[tuple[int, int], ...] = ()
    """Destination ports, each range with both ends."""

    def __str__(self) -> str:
        ends = (("from", self.source), ("to", self.destination))
        words = ["allow" if self.allow else "deny"]
        words += [f"{word} {end_text(end)}" for word, end in ends if end is not None]
        if self.protocol is not None:
            words.append(f"protocol {_PROTOCOLS.get(self.protocol, self.protocol)}")
        if self.ports:
            ranges = (str(low) if low == high else f"{low}-{high}" for low, high in self.ports)
            words.append(f"port {','.join(ranges)}")
        return " ".join(words)


def end_text(end: AclEnd) -> str:
    """An end as people write it."""
    return end if isinstance(end, str) else prefixes.text(*end)


@dataclass(frozen=True, slots=True)
class TableSettings:
    """One routing table; `namespace` is its name read as a UUID, None where it is no UUID."""

    name: str
    namespace: bytes | None = None
    routes: tuple[RouteEntry, ...] = ()
    plugin: PluginSettings | None = None
    """Asked instead of routes, where there is one."""
    more: SourceSettings = NO_SOURCES
    first_match: bool = False
    """GOST's order: of all routes that match, the first written (`compat: first-match`)."""
    hold_down: float = 5.0
    """Seconds a gateway that went away and came back must live before it is preferred again."""
    acl: tuple[AclRule, ...] | None = None
    """What may be sent along its routes; None for everything."""


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """Which host name may use which namespace; rules as (hostname, endpoint) in order."""

    name: str
    rules: tuple[tuple[str, str], ...] = ()
    plugin: PluginSettings | None = None
    more: SourceSettings = NO_SOURCES


class LoginRow(NamedTuple):
    """A login as it is stored: the password or its hash, and what it is good for (empty: everything)."""

    username: str
    password: str
    hosts: tuple[str, ...] = ()
    """Host names, `.x` and `*.x` for all below x."""
    namespaces: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class AutherSettings:
    """Who may log in; of two logins with one name the later counts."""

    name: str
    logins: tuple[LoginRow, ...] = field(default=(), repr=False)
    plugin: PluginSettings | None = None
    more: SourceSettings = NO_SOURCES


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """One end's TLS. A hub without certificate makes one; a client without verify, ca_file and pin checks
    nothing."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    """A hub's: clients must show a certificate of it. A client's: whom to trust instead of the system's."""
    min_version: str = "1.3"
    max_version: str = ""
    """1.2 or 1.3; empty for the newest there is."""
    ciphers: tuple[str, ...] = ()
    """OpenSSL's names, for TLS 1.2."""
    alpn: tuple[str, ...] = ()
    # a client's
    verify: bool = False
    server_name: str = ""
    pin: bytes = b""
    """SHA-256 of the only certificate to trust."""
    # a hub's
    common_name: str = ""
    organization: str = ""
    validity: float = 0.0
    """Seconds for which a certificate that is made is good; 0 for ten years."""
    server_names: tuple[str, ...] = ()
    reject_unknown_sni: bool = False


NO_TLS = TlsSettings()


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """What carries a session's bytes over a network."""

    kind: str = "tcp"
    """tcp, tls, ws or wss."""
    tls: TlsSettings = NO_TLS
    path: str = "/ws"
    headers: tuple[tuple[str, str], ...] = ()
    host: str = ""
    """A WebSocket client's Host header; empty for the address dialled."""
    keepalive: float = 0.0
    """Seconds between a WebSocket client's pings; 0 for none."""
    reuse_port: bool = False
    tcp_keepalive: tuple[int, int, int] | None = None
    """Idle and interval seconds, count; None for ours, which notice a dead path within 15 s."""

    @property
    def encrypted(self) -> bool:
        """Whether there is TLS."""
        return self.kind in ("tls", "wss")


TCP = TransportSettings()


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy on the way to a hub."""

    kind: str
    """socks5, socks4 or http."""
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class HubSettings:
    """One service that listens for clients and routes between them."""

    name: str
    host: str
    """Address to listen on; empty means every address, IPv4 and IPv6."""
    port: int
    default_table: TableSettings | None = None
    ingress: IngressSettings | None = None
    authers: tuple[AutherSettings, ...] = ()
    """Any of them may admit a login; with none everybody is let in."""
    domain: str = ""
    """Services with the same non-empty domain share their namespaces."""
    source_check: bool = True
    superpackets: bool = True
    handshake_timeout: float = 10.0
    read_timeout: float = 0.0
    cache_seconds: float = 1.0
    transport: TransportSettings = TCP
    cert_hosts: bool = False
    """Whether a client may only go by a name that its certificate has."""
    on_duplicate: str = "share"
    """A second session under a live host name: share its flows, replace the first, or refuse the second."""
    keepalive_timeout: float = DEFAULT_KEEPALIVE
    drain_timeout: float = 5.0
    """Seconds a hub that is told to end gives its clients to go elsewhere."""
    limits: HubLimits = NO_LIMITS
    queue_memory: int = DEFAULT_QUEUE_MEMORY
    """Bytes that the queues of all sessions may hold together."""
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
    password: str = field(default="", repr=False)
    connect_timeout: float = 10.0
    transport: TransportSettings = TCP
    proxies: tuple[ProxySettings, ...] = ()
    """Passed one after the other, the first one dialled."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One service that opens a TUN device and keeps a session with a hub under a host name."""

    name: str
    host: str
    device: DeviceSettings
    nodes: tuple[NodeSettings, ...]
    chain: str = ""
    superpackets: bool = True
    strategy: str = "round"
    """How a node is chosen among several: fifo (the first that works), round (in turn) or rand."""
    max_fails: int = 1
    """Failures in a row after which a node is passed over for `fail_timeout` seconds."""
    fail_timeout: float = 10.0
    keepalive_timeout: float = DEFAULT_KEEPALIVE


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one process is to do."""

    hubs: tuple[HubSettings, ...] = ()
    clients: tuple[ClientSettings, ...] = ()
    tables: tuple[TableSettings, ...] = ()
    """All of them; the default tables of hubs are among them."""
    files: tuple[str, ...] = ()
    """Absolute paths of the configuration files read."""
    user: str = ""
    """Whom to become once devices and ports are open."""
    control: str = ""
    """Path of the control socket; empty for none."""
    recorder: int = 0
    """Bytes in which the flight recorder keeps the last packets; 0 for no recorder."""
    trace: str = ""
    """A filter (packet_filter): packets that fit are logged, some a second; empty for none."""
    log_level: str = "info"
    log_format: str = "text"
    log_output: str = "stderr"
    """stderr, stdout, none, or a file's path."""
    log_rotation: RotationSettings | None = None
    metrics: MetricsSettings | None = None
    authers: tuple[AutherSettings, ...] = ()
    """Those that are asked by others than hubs."""
    warnings: tuple[Problem, ...] = field(default=())
    """What is odd; logged as warnings."""
    notices: tuple[Problem, ...] = field(default=())
    """What was decided for the user; logged at info."""
