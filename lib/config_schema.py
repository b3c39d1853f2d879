"""GOST's configuration file as typed sections: every key with its type, ours included.

Knows: every key of GOST that a file may have: those that work, those not supported yet, those without use
here (config_section explains how each is marked).
Refuses to know: YAML (config_read), URLs (config_from_urls), and what the values mean together
(config_resolve).
"""

from __future__ import annotations

import msgspec

from lib.config_no_effect import keys_of
from lib.config_schema_cluster import Cluster
from lib.config_schema_log import Log
from lib.config_schema_notify import Notify
from lib.config_schema_policy import PolicyTest
from lib.config_schema_redis import Redis
from lib.config_schema_title import NamedNamespace
from lib.config_schema_tls import Tls
from lib.config_section import Commas, Metadata, Named, Part, Section, Texts, words
from lib.config_yaml import Tree
from lib.errors import Problem
from lib.go_values import Duration


class Auth(Section):
    """A login."""

    username: str = ""
    password: str = ""
    file: str = ""


class Plugin(Section):
    """An external program that is asked for each decision; type is http or grpc (the default)."""

    type: str = ""
    addr: str = ""
    tls: Tls | None = None
    token: str = ""
    timeout: Duration = Duration(0)


class File(Section):
    """A source: a file with a row a line."""

    path: str = ""


class Http(Section):
    """A source: a URL that gives a row a line."""

    url: str = ""
    timeout: Duration = Duration(0)


class Sourced(Part):
    """Base of sections with a name whose rows may also come from sources, or from a plugin."""

    name: str = ""
    reload: Duration = Duration(0)
    file: File | None = None
    redis: Redis | None = None
    http: Http | None = None
    plugin: Plugin | None = None


class Selector(Section):
    """How one of several nodes is chosen."""

    required = words("strategy max_fails fail_timeout")
    strategy: str = ""
    max_fails: int = 0
    fail_timeout: Duration = Duration(0)


class Handler(Section):
    """What a service does: router (a hub) or tun (a client)."""

    not_yet = words("chain_group")
    type: str = ""
    retries: int = 0
    chain: str = ""
    auther: str = ""
    authers: list[str] = []
    auth: Auth | None = None
    limiter: str = ""
    observer: str = ""
    metadata: Metadata = {}


class Listener(Section):
    """How a service is reached: a transport for a hub, tun for a client."""

    not_yet = words("auther authers auth")
    foreign = keys_of("Listener")
    type: str = ""
    auther: str = ""
    authers: list[str] = []
    auth: Auth | None = None
    tls: Tls | None = None
    metadata: Metadata = {}


class ForwardNode(Section):
    """A target of a service; for a client its addr is the host name that it joins under."""

    foreign = keys_of("ForwardNode")
    name: str = ""
    addr: str = ""
    metadata: Metadata = {}


class Forwarder(Section):
    """The targets of a service."""

    not_yet = words("name hop hop_group")
    selector: Selector | None = None
    nodes: list[ForwardNode] = []


class Service(Part):
    """A hub that listens, or a client that opens a device."""

    not_yet = words("quota quotas")
    foreign = keys_of("Service")
    name: str = ""
    addr: str = ""
    admission: str = ""
    admissions: list[str] = []
    limiter: str = ""
    climiter: str = ""
    rlimiter: str = ""
    observer: str = ""
    handler: Handler | None = None
    listener: Listener | None = None
    forwarder: Forwarder | None = None
    metadata: Metadata = {}


class SockOpts(Section):
    """Options of the socket that a node is dialled with."""

    mark: int = 0


class Connector(Section):
    """The protocol spoken with a node: router, or that of a proxy."""

    type: str = ""
    auth: Auth | None = None
    metadata: Metadata = {}


class Dialer(Section):
    """The transport to a node."""

    not_yet = words("auth")
    type: str = ""
    auth: Auth | None = None
    tls: Tls | None = None
    metadata: Metadata = {}


class Node(Section):
    """A hub, or a proxy on the way to it."""

    foreign = keys_of("Node")
    not_yet = words("resolver")
    name: str = ""
    addr: str = ""
    hosts: str = ""
    interface: Commas = ""
    netns: str = ""
    sockopts: SockOpts | None = None
    connector: Connector | None = None
    dialer: Dialer | None = None
    metadata: Metadata = {}


class Hop(Sourced):
    """One step of a chain: several nodes, of which one is used."""

    not_yet = words("resolver")
    foreign = keys_of("Hop")
    interface: Commas = ""
    sockopts: SockOpts | None = None
    hosts: str = ""
    selector: Selector | None = None
    nodes: list[Node] = []
    metadata: Metadata = {}


class Chain(Part):
    """The way to a hub: its last hop is the hub's, those before are proxies."""

    foreign = keys_of("Chain")
    name: str = ""
    hops: list[Hop] = []


class Login(Section):
    """A user of an auther; passwords, hosts and namespaces are keys of tunrouter's own."""

    username: str = ""
    password: str = ""
    passwords: list[str] = []
    hosts: list[str] = []
    namespaces: list[str] = []


class Bindings(Section):
    """Where the hosts and namespaces stand that an auther's users may use; a section of tunrouter's own."""

    reload: Duration = Duration(0)
    file: File | None = None
    redis: Redis | None = None
    http: Http | None = None


class Auther(Sourced):
    """A list of users that may log in; bindings is a key of tunrouter's own."""

    auths: list[Login] = []
    bindings: Bindings | None = None


class Admission(Sourced):
    """A list of addresses that may connect, or may not."""

    whitelist: bool = False
    matchers: list[str] = []


class HostMapping(Section):
    """A row of a hosts section: the address of a host name; `.x` is for x and every name below it."""

    foreign = keys_of("HostMapping")
    ip: str = ""
    hostname: str = ""


class Hosts(Sourced):
    """A list of host names with their addresses, which are then not looked up."""

    not_yet = words("redis http plugin")
    foreign = keys_of("Hosts")
    mappings: list[HostMapping] = []


class Rule(Section):
    """A rule of an ingress: the host name may join the namespace whose UUID is the endpoint."""

    required = words("hostname endpoint")
    hostname: str = ""
    endpoint: str = ""


class Ingress(Sourced):
    """A list of rules about which host may join which namespace."""

    rules: list[Rule] = []


class Sd(Part):
    """Service discovery: a plugin that knows at which hub a host is, or a Redis, which is our own."""

    name: str = ""
    plugin: Plugin | None = None
    redis: Redis | None = None


class Observer(Part):
    """A plugin that is told of services."""

    name: str = ""
    plugin: Plugin | None = None


class Limiter(Sourced):
    """Limits on bandwidth, connections or handshakes."""

    limits: list[str] = []


class Route(Section):
    """A route: packets to dst (older: net) go to the host `gateway`; metric and fall_through are our own."""

    net: str = ""
    dst: str = ""
    gateway: str = ""
    metric: int | None = None
    fall_through: bool = False


class AclEntry(Section):
    """An access rule of a router; a section of tunrouter's own."""

    action: str = ""
    source: str = msgspec.field(default="", name="from")
    to: str = ""
    protocol: str = ""
    port: str = ""


class Router(Sourced):
    """A routing table; with a UUID as name it is that namespace's. All but name and routes is our own."""

    acl: list[AclEntry] = []
    routes: list[Route] = []
    compat: str = ""
    hold_down: Duration | None = None
    address: Texts = []
    pool: Texts = []
    hosts: Named = {}
    mtu: int | None = None
    dns_domain: str = ""
    names: Named = {}
    title: str = ""


class ApiUser(Section):
    """A user of the web API; a section of tunrouter's own."""

    username: str = ""
    password: str = ""
    role: str = ""
    namespace: str = ""


class Api(Part):
    """The web API; tls, insecure, hosts, users and auditLog are keys of tunrouter's own."""

    addr: str = ""
    path_prefix: str = ""
    accesslog: bool = False
    auth: Auth | None = None
    auther: str = ""
    tls: Tls | None = None
    insecure: bool = False
    hosts: list[str] = []
    users: list[ApiUser] = []
    audit_log: str = ""


class Metrics(Section):
    """Where Prometheus metrics are served, and to whom."""

    addr: str = ""
    path: str = ""
    auth: Auth | None = None
    auther: str = ""


class Config(Section):
    """A whole configuration, with the problems and warnings of reading it."""

    foreign = keys_of("Config")

    services: list[Service] = []
    chains: list[Chain] = []
    hops: list[Hop] = []
    authers: list[Auther] = []
    admissions: list[Admission] = []
    hosts: list[Hosts] = []
    ingresses: list[Ingress] = []
    sds: list[Sd] = []
    limiters: list[Limiter] = []
    climiters: list[Limiter] = []
    rlimiters: list[Limiter] = []
    routers: list[Router] = []
    observers: list[Observer] = []
    tls: Tls | None = None
    log: Log | None = None
    api: Api | None = None
    metrics: Metrics | None = None

    user: str = ""
    recorder: str = ""
    tests: list[PolicyTest] = []
    notify: list[Notify] = []
    namespaces: list[NamedNamespace] = []
    cluster: Cluster | None = None
    workers: str = ""
    problems: list[Problem] = []
    """Errors; with any of them the configuration is not used, although the rest of it was read."""
    warnings: list[Problem] = []
    notices: list[Problem] = []
    trees: list[Tree] = []
    """What its sections were read from (config_yaml): it is freed together with them, in steps."""
    files: list[str] = []
    """Absolute paths of the files that it was read from."""
