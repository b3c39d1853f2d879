"""Settings of a process: the configuration after it was checked and resolved, in typed dataclasses.

Knows: every setting that the roles (hub, client) act on, with its default; nothing is left to parse.
Refuses to know: YAML, URLs, GOST's spelling of things (config_read, config_from_urls, config_resolve).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, NamedTuple

from lib import prefixes
from lib.errors import Problem
from lib.ids import NO_NAMESPACE
from lib.namespace_titles import Title
from lib.prefixes import Prefix, PrefixSet
from lib.settings_acl import AclRule
from lib.settings_cluster import EntrypointSettings
from lib.settings_dial import PLAIN_CHOICE, PLAIN_DIAL, ChoiceSettings, DialSettings, HopChoice
from lib.settings_hooks import NO_HOOKS, HookSettings
from lib.settings_limits import NO_LIMITS, HubLimits
from lib.settings_map import PrefixMap
from lib.settings_names import BY_AUTO, NamesSettings
from lib.settings_notify import NotifySettings
from lib.settings_policy import PolicyTest
from lib.settings_push import AcceptSettings
from lib.settings_registry import ClusterSettings
from lib.settings_sources import NO_SOURCES, EnrolSource, PluginSettings, SourceSettings
from lib.settings_telemetry import MetricsSettings, RotationSettings
from lib.settings_transport import AUTO, TCP, TransportSettings, why_no_datagrams

if TYPE_CHECKING:
    from lib.settings_api import ApiSettings
    from lib.settings_observe import ObserveSettings

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

DEFAULT_MTU = 1420
DEFAULT_LANES = 2
DEFAULT_QUEUE_BYTES = 16 << 20
DEFAULT_QUEUE_SECONDS = 0.5
DEFAULT_QUEUE_MEMORY = 256 << 20
DEFAULT_ADDRESS_HEADER = "X-Forwarded-For"
DEFAULT_KEEPALIVE = 15.0
"""Seconds of silence after which a peer is dead."""


class Hop(NamedTuple):  # a tuple, for a million rows are told apart by it
    """The next hop of a route: a host, its preference, and what happens while it is away."""

    gateway: str
    metric: int | None = None
    """The lower one is preferred; hops with the same one share flows. None: as 0, but it shares with none."""
    fall_through: bool = False
    """Whether a shorter prefix carries the route's packets while none of its gateways is connected."""


class RouteEntry(NamedTuple):
    """One route of a table as written: packets to `prefix`/`length` (packed, 4 or 16 bytes) take `hop`."""

    prefix: bytes
    length: int
    hop: Hop

    def __str__(self) -> str:
        return prefixes.text(self.prefix, self.length)


@dataclass(frozen=True, slots=True)
class TableSettings:
    """A routing table (`routers:`). `namespace` is its name read as a UUID (16 bytes), or None."""

    name: str
    namespace: bytes | None = None
    routes: tuple[RouteEntry, ...] = ()
    plugin: PluginSettings | None = None
    """The plugin that is asked for routes, where there is one; then there are no rows."""
    more: SourceSettings = NO_SOURCES
    first_match: bool = False
    """GOST's order: of all routes that match, the first written (`compat: first-match`)."""
    hold_down: float = 5.0
    """Seconds a gateway that went away and came back must live before it is preferred again."""
    acl: tuple[AclRule, ...] | None = None
    """The access list for packets on its routes; None for everything."""
    own: tuple[Interface, ...] = ()
    """The hub's own addresses on this table, of each version of IP one at most (`address`)."""
    pool: tuple[Prefix, ...] = ()
    """Hosts that join get an address of each version of IP from these."""
    fixed: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """Host name -> its addresses, packed, in place of ones from the pool (`hosts`)."""
    mtu: int = 0
    """The MTU that hosts give their devices, in bytes; 0 where the hub says nothing of it."""
    names: NamesSettings | None = None
    """The names that the hub answers DNS questions about at its own address; None for none."""


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """An ingress: which host name may join which namespace. Rules are (host name, endpoint), in order."""

    name: str
    rules: tuple[tuple[str, str], ...] = ()
    plugin: PluginSettings | None = None
    more: SourceSettings = NO_SOURCES


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """An admission: from which addresses somebody may connect."""

    name: str
    matchers: tuple[Prefix, ...] = ()
    whitelist: bool = False
    """Whether only these addresses may connect, instead of all but these."""
    plugin: PluginSettings | None = None
    more: SourceSettings = NO_SOURCES


class LoginRow(NamedTuple):
    """A login of an auther: password or its hash, and the hosts and namespaces it may use (empty: all)."""

    username: str
    password: str
    hosts: tuple[str, ...] = ()
    """Host names; `.x` and `*.x` stand for x and everything below it."""
    namespaces: tuple[bytes, ...] = ()
    others: tuple[str, ...] = ()
    """Further passwords, or their hashes, that are right too."""


@dataclass(frozen=True, slots=True)
class BindingSettings:
    """Where the hosts and namespaces stand that the logins of the auther `name` may use."""

    name: str
    more: SourceSettings
    plugin: None = None


@dataclass(frozen=True, slots=True)
class AutherSettings:
    """An auther: who may log in. Of two logins with the same user name the later one counts."""

    name: str
    logins: tuple[LoginRow, ...] = field(default=(), repr=False)
    plugin: PluginSettings | None = None
    more: SourceSettings = NO_SOURCES
    bindings: BindingSettings | None = None
    """None: a login may use every host and namespace, unless its row says otherwise."""


@dataclass(frozen=True, slots=True)
class LimiterSettings:
    """A limiter whose rows come from sources too, or whose rates a plugin says."""

    name: str  # its kind and name, as in `climiter many`
    adds_to: str  # the field of HubLimits that its rows are added to
    more: SourceSettings
    plugin: PluginSettings | None = None  # it is asked again every more.reload seconds
    scope: str = ""
    """Which rows of a service's limiter count, and about what its plugin is asked (settings_limits)."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy on the way to a hub."""

    kind: str
    """socks5, socks4 or http."""
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    dial: DialSettings = PLAIN_DIAL
    choice: ChoiceSettings = PLAIN_CHOICE


@dataclass(frozen=True, slots=True)
class HubSettings:
    """A service that is a hub: it listens for clients and routes packets between them."""

    name: str
    host: str
    """Address to listen on; empty means every address, IPv4 and IPv6."""
    port: int
    netns: str = ""  # the network namespace that it listens in; empty for the process's own
    default_table: TableSettings | None = None
    observe: ObserveSettings | None = None  # who is told of it; None for nobody
    ingress: IngressSettings | None = None
    admissions: tuple[AdmissionSettings, ...] = ()
    """All of them have to let an address in before anything is said to a client."""
    entrypoint: EntrypointSettings | None = None  # how other hubs reach the hosts that are here
    authers: tuple[AutherSettings, ...] = ()
    """A login is right if any of them says so; without authers and `enrol` every client is let in."""
    enrol: EnrolSource | None = None
    """The list of enrolled hosts, each of which has a login of its own."""
    domain: str = ""
    """Services with the same non-empty domain share their namespaces."""
    source_check: bool = True
    superpackets: bool = True
    handshake_timeout: float = 10.0
    read_timeout: float = 0.0
    cache_seconds: float = 1.0
    transport: TransportSettings = TCP
    cert_hosts: bool = False
    """Whether a client's host name must be one of its certificate's names."""
    on_duplicate: str = "share"
    """With a second session of one host name: "share" flows, "replace" the first, or "refuse" the second."""
    shared_by_intent: bool = False  # "share" was written: so two machines of one name are no mistake
    keepalive_timeout: float = DEFAULT_KEEPALIVE
    drain_timeout: float = 5.0
    """Seconds that a hub which is about to end waits for its clients to leave."""
    limits: HubLimits = NO_LIMITS
    limiters: tuple[LimiterSettings, ...] = ()  # those with sources, whose rows are added to `limits`
    trusted_proxies: PrefixSet = field(default_factory=PrefixSet)  # they are believed about `address_header`
    address_header: str = DEFAULT_ADDRESS_HEADER
    proxy_protocol: bool = False  # trusted proxies send a PROXY header before everything else
    lanes: int = DEFAULT_LANES  # connections of a session: 1 or 2
    hooks: HookSettings = NO_HOOKS
    channel: str = AUTO  # whether sessions have datagrams beside the stream: AUTO, STREAM or DATAGRAM
    datagram: str = ""  # where clients are to send datagrams, host:port; empty for the listener's own address
    dscp: bool = False  # whether packets marked as urgent go by datagrams, whatever they are
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
    netns: str = ""  # the network namespace that it is in: a name or a path; empty for the process's own


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A node of a client's chain: a hub to dial, with login, transport and proxies."""

    name: str
    host: str
    port: int
    namespace: bytes = NO_NAMESPACE
    username: str = ""
    password: str = field(default="", repr=False)
    connect_timeout: float = 10.0
    transport: TransportSettings = TCP
    proxies: tuple[ProxySettings, ...] = ()
    """The chain of proxies, in order: the first one is dialled."""
    dial: DialSettings = PLAIN_DIAL
    choice: ChoiceSettings = PLAIN_CHOICE

    @property
    def first(self) -> ProxySettings | NodeSettings:
        """What this host dials itself: the first proxy, or the hub."""
        return self.proxies[0] if self.proxies else self

    def has_datagrams(self, channel: str) -> bool:
        """Whether a session with it has a datagram channel, with this choice (settings_transport).

        Datagrams go past proxies. Who sends by a proxy may have a reason, so that has to be asked for.
        """
        return not self.why_no_datagrams(channel)

    def why_no_datagrams(self, channel: str) -> str:
        """Why a session with it has none, in a few words for `status`; empty where it may have some."""
        own = why_no_datagrams(channel, self.transport)
        return own or ("past a proxy" if self.proxies and channel == AUTO else "")


@dataclass(frozen=True, slots=True)
class HopSettings:
    """A hop of a client's chain, of which at least one has nodes that are not in the configuration."""

    name: str
    number: int  # from 0, which this host dials; the last one is that of the hubs
    inline: tuple[ProxySettings, ...] | tuple[NodeSettings, ...]
    more: SourceSettings = NO_SOURCES
    around: str = field(default="", repr=False)  # what stands around its nodes (config_nodes.template)
    plugin: PluginSettings | None = None  # it is asked for a node at each dial; then there are no others


class HostChoice(NamedTuple):
    """One of several host names that a client may take."""

    name: str
    choice: ChoiceSettings = PLAIN_CHOICE


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """A service that is a client: it has a TUN device, and a session with a hub under a host name."""

    name: str
    host: str
    device: DeviceSettings
    nodes: tuple[NodeSettings, ...]
    observe: ObserveSettings | None = None  # who is told of it; None for nobody
    chain: str = ""
    hops: tuple[HopSettings, ...] = ()  # all, where nodes of any come from elsewhere; so do some of `nodes`
    superpackets: bool = True
    before: tuple[HopChoice, ...] = ()
    """How a proxy of each hop before the last one is chosen."""
    strategy: str = "round"
    """As in HopChoice, for the last hop; so are `max_fails` and `fail_timeout`."""
    retries: int = 0  # further tries at once, each with the next node, after each that comes after a delay
    max_fails: int = 1
    fail_timeout: float = 10.0
    keepalive_timeout: float = DEFAULT_KEEPALIVE
    lanes: int = DEFAULT_LANES
    active: int = 1  # sessions at once, each with another hub
    hooks: HookSettings = NO_HOOKS
    accept: AcceptSettings | None = None
    """What is taken of the settings that a hub tells; None for nothing."""
    channel: str = AUTO
    dscp: bool = False
    nat: bool = False  # whether what comes out of the tunnel leaves this host under an address of it
    killswitch: bool = False  # whether nothing leaves this host beside the tunnel
    names_by: str = BY_AUTO
    """How names are found that servers within the tunnel know (settings_names)."""
    dns: tuple[str, ...] = ()
    """Addresses of name servers for all names (GOST's `dns`); the hub's domain is not set beside them."""
    hosts: tuple[HostChoice, ...] = ()
    """The names of which one is `host` each time the device is made; empty where there is only that one."""
    host_strategy: str = "round"
    """How it is chosen (HopChoice)."""
    maps: tuple[PrefixMap, ...] = ()
    """Networks behind this host that appear to others under other prefixes."""


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
    """The user to change to once devices and ports are open; empty for no change."""
    control: str = ""
    """Path of the control socket; empty for none."""
    recorder: int = 0
    """Bytes of memory of the flight recorder, which keeps the last packets; 0 for no recorder."""
    trace: str = ""
    """A filter (capture_filter): packets that match are logged, some a second; empty for none."""
    log_level: str = "info"
    log_format: str = "text"
    log_output: str = "stderr"
    """stderr, stdout, none, or a file's path."""
    log_rotation: RotationSettings | None = None
    metrics: MetricsSettings | None = None
    api: ApiSettings | None = None
    authers: tuple[AutherSettings, ...] = ()
    """Authers that are used elsewhere than in hubs (metrics, the web API)."""
    notify: tuple[NotifySettings, ...] = ()
    cluster: ClusterSettings | None = None
    workers: int = 1  # processes that have the sessions of the hubs; 0 for one for each processor
    titles: tuple[Title, ...] = ()  # what people call namespaces
    tests: tuple[PolicyTest, ...] = ()
    """Packets that hubs must let through, or must not (service_policy)."""
    warnings: tuple[Problem, ...] = field(default=())
    """What is odd in the configuration; logged as warnings."""
    notices: tuple[Problem, ...] = field(default=())
    """What was decided where the configuration left it open; logged at info."""

    @property
    def observed(self) -> list[tuple[str, ObserveSettings]]:
        """(name, how it is observed) of each service that says something of that."""
        services: tuple[HubSettings | ClientSettings, ...] = (*self.hubs, *self.clients)
        return [(one.name, one.observe) for one in services if one.observe is not None]
