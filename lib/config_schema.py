"""GOST's configuration as typed sections: which keys there are, and which of them work here.

Knows: every key of GOST that a file may hold, sorted into fields (some of them for later) and foreign.
Refuses to know: YAML (config_read), URLs (config_from_urls), and what the values mean together
(config_resolve).

How a section says what its keys are is told in section.
"""

from __future__ import annotations

import msgspec

from lib.config_section import Metadata, Section, words
from lib.errors import Problem
from lib.go_values import Duration


class Auth(Section):
    """A login."""

    username: str = ""
    password: str = ""
    file: str = ""


class TlsOptions(Section):
    """Details of TLS."""

    min_version: str = ""
    max_version: str = ""
    cipher_suites: list[str] = []
    alpn: list[str] = []


class Tls(Section):
    """Certificates, and how far to trust the other side's."""

    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    secure: bool = False
    server_name: str = ""
    options: TlsOptions | None = None
    validity: Duration = Duration(0)
    common_name: str = ""
    organization: str = ""
    reject_unknown_sni: bool = msgspec.field(default=False, name="rejectUnknownSNI")
    server_names: list[str] = []


class Plugin(Section):
    """Somebody else's program that is asked; type is http or grpc (the default)."""

    type: str = ""
    addr: str = ""
    tls: Tls | None = None
    token: str = ""
    timeout: Duration = Duration(0)


class File(Section):
    """A file as a source."""

    path: str = ""


class Redis(Section):
    """A Redis key as a source."""

    addr: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    key: str = ""
    type: str = ""


class Http(Section):
    """A URL as a source."""

    url: str = ""
    timeout: Duration = Duration(0)


class Sourced(Section):
    """Base of what has a name and may come from other places than the file itself."""

    name: str = ""
    reload: Duration = Duration(0)
    file: File | None = None
    redis: Redis | None = None
    http: Http | None = None
    plugin: Plugin | None = None


class Selector(Section):
    """How one node among several is chosen."""

    required = words("strategy max_fails fail_timeout")
    strategy: str = ""
    max_fails: int = 0
    fail_timeout: Duration = Duration(0)


class Handler(Section):
    """What a service does with what comes in."""

    not_yet = words("retries observer")
    foreign = words("chaingroup tls")
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
    """Where a service takes it from."""

    not_yet = words("auther authers auth")
    foreign = words("chain chaingroup")
    type: str = ""
    auther: str = ""
    authers: list[str] = []
    auth: Auth | None = None
    tls: Tls | None = None
    metadata: Metadata = {}


class ForwardNode(Section):
    """Where a service sends to; on a router, the host name the service goes by."""

    foreign = words("network bypass bypasses protocol host path filter matcher http tls auth metadata")
    name: str = ""
    addr: str = ""


class Forwarder(Section):
    """The targets of a service."""

    foreign = words("name hop")
    not_yet = words("selector")
    selector: Selector | None = None
    nodes: list[ForwardNode] = []


class Service(Section):
    """Something that listens, or opens a device."""

    not_yet = words("admission admissions observer")
    foreign = words(
        "interface sockopts bypass bypasses resolver hosts logger loggers recorders status quota quotas"
    )
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


class Connector(Section):
    """What is spoken with a node."""

    foreign = words("tls")
    type: str = ""
    auth: Auth | None = None
    metadata: Metadata = {}


class Dialer(Section):
    """How a node is reached."""

    not_yet = words("auth")
    type: str = ""
    auth: Auth | None = None
    tls: Tls | None = None
    metadata: Metadata = {}


class Node(Section):
    """A hub to dial."""

    foreign = words(
        "host network protocol path bypass bypasses resolver hosts http tls filter matcher auth sockopts"
    )
    not_yet = words("interface netns")
    name: str = ""
    addr: str = ""
    interface: str = ""
    netns: str = ""
    connector: Connector | None = None
    dialer: Dialer | None = None
    metadata: Metadata = {}


class Hop(Sourced):
    """One step of a chain: nodes of which one is used."""

    not_yet = words("reload file redis http plugin interface")
    foreign = words("sockopts bypass bypasses resolver hosts")
    interface: str = ""
    selector: Selector | None = None
    nodes: list[Node] = []
    metadata: Metadata = {}


class Chain(Section):
    """The way to a hub."""

    foreign = words("metadata")
    name: str = ""
    hops: list[Hop] = []


class Login(Section):
    """A user of an auther; hosts and namespaces, which bind it, are ours."""

    username: str = ""
    password: str = ""
    hosts: list[str] = []
    namespaces: list[str] = []


class Auther(Sourced):
    """Who may log in."""

    auths: list[Login] = []


class Admission(Sourced):
    """Which addresses may connect."""

    not_yet = words("matchers whitelist reload file redis http plugin")
    whitelist: bool = False
    matchers: list[str] = []


class Rule(Section):
    """Which namespace a host name belongs to."""

    hostname: str = ""
    endpoint: str = ""


class Ingress(Sourced):
    """Which host names may use which namespaces."""

    rules: list[Rule] = []


class Asked(Section):
    """Service discovery, or an observer: a plugin with a name."""

    name: str = ""
    plugin: Plugin | None = None


class Limiter(Sourced):
    """How much may pass."""

    not_yet = words("reload file redis http plugin")
    limits: list[str] = []


class Route(Section):
    """Packets to dst (older: net) go to the host named gateway; metric and fall_through are ours."""

    net: str = ""
    dst: str = ""
    gateway: str = ""
    metric: int | None = None
    fall_through: bool = False


class AclEntry(Section):
    """A rule of what may be sent; ours."""

    action: str = ""
    source: str = msgspec.field(default="", name="from")
    to: str = ""
    protocol: str = ""
    port: str = ""


class Router(Sourced):
    """A routing table; a UUID as its name makes it that namespace's. compat, hold_down and acl are ours."""

    acl: list[AclEntry] = []
    routes: list[Route] = []
    compat: str = ""
    hold_down: Duration | None = None


class Rotation(Section):
    """When a log file is put aside."""

    max_size: int = 0
    max_age: int = 0
    max_backups: int = 0
    local_time: bool = False
    compress: bool = False


class Log(Section):
    """What is logged, and where to."""

    output: str = ""
    level: str = ""
    format: str = ""
    rotation: Rotation | None = None


class Api(Section):
    """The web API."""

    addr: str = ""
    path_prefix: str = ""
    accesslog: bool = False
    auth: Auth | None = None
    auther: str = ""


class Metrics(Section):
    """Prometheus metrics."""

    addr: str = ""
    path: str = ""
    auth: Auth | None = None
    auther: str = ""


class Config(Section):
    """A whole configuration, with what was found wrong and odd while reading it."""

    not_yet = words("admissions sds observers api")
    foreign = words("bypasses resolvers hosts recorders loggers profiling quotas")

    services: list[Service] = []
    chains: list[Chain] = []
    hops: list[Hop] = []
    authers: list[Auther] = []
    admissions: list[Admission] = []
    ingresses: list[Ingress] = []
    sds: list[Asked] = []
    limiters: list[Limiter] = []
    climiters: list[Limiter] = []
    rlimiters: list[Limiter] = []
    routers: list[Router] = []
    observers: list[Asked] = []
    tls: Tls | None = None
    log: Log | None = None
    api: Api | None = None
    metrics: Metrics | None = None

    user: str = ""
    recorder: str = ""

    problems: list[Problem] = []
    """What makes this configuration unusable; the rest was read all the same."""
    warnings: list[Problem] = []
