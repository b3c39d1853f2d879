"""-L and -F URLs of the command line, turned into configuration sections the way GOST does it.

Knows: to which sections the parts and parameters of a URL go, and how generated names are numbered.
Refuses to know: what a parameter means (config_resolve), and how options are parsed (cli_entry).

    -L  handler+listener :// user:pass @ addr / host,host ? key=value & layer.key=value
    -F  connector+dialer :// user:pass @ node,node        ? key=value & layer.key=value

    a parameter     goes to the metadata of every layer
    layer.key       only of that one: service handler listener (-L), hop node connector dialer (-F)
    auth, cert, …   is taken out first and becomes a typed field
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lib.addresses import dns_name, without_zone
from lib.config_findings import Findings
from lib.config_gost_keys import CONNECTORS, DIALERS, HANDLERS, LISTENERS
from lib.config_schema import (
    Admission,
    Api,
    Chain,
    Config,
    Connector,
    Dialer,
    Forwarder,
    ForwardNode,
    Handler,
    Hop,
    HostMapping,
    Hosts,
    Limiter,
    Listener,
    Metrics,
    Node,
    Selector,
    Service,
)
from lib.config_schema_log import Log
from lib.config_schema_tls import Tls
from lib.config_section import Metadata
from lib.config_url import Url, encoded_path, parse_url
from lib.config_yaml import Scalar
from lib.config_yaml import Sequence as TextList
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.go_values import SECONDS, parse_duration, parse_integer, parse_switch

_PORT = re.compile(r"(.*):([0-9]*)", re.DOTALL)

_TLS_KEYS = (
    ("tls.certfile", "certfile", "cert"),
    ("tls.keyfile", "keyfile", "key"),
    ("tls.cafile", "cafile", "ca"),
)
_SECURE = ("tls.secure", "secure")
_SERVER_NAME = ("tls.servername", "servername")
_OF_FAILURES = {"max_fails": ("maxfails", "max_fails"), "fail_timeout": ("failtimeout", "fail_timeout")}
_SELECTOR = ("strategy", *_OF_FAILURES["max_fails"], *_OF_FAILURES["fail_timeout"])
_LIMITS = (
    "limiter.in",
    "limiter.out",
    "limiter.conn.in",
    "limiter.conn.out",
    "climiter",
    "rlimiter",
    "admission",
)
_TLS_NAMES = tuple(name for names in _TLS_KEYS for name in names)


def read(
    listens: Sequence[str],
    forwards: Sequence[str] = (),
    api: str = "",
    metrics: str = "",
    level: str = "",
    taken: Config | None = None,
) -> Config:
    """The configuration of -L, -F, -api and -metrics arguments; `level` is the log level.

    Problems stay in the result's `problems`. Generated names avoid those in `taken`, which files use.
    """
    found = Findings()
    config = Config(at={"": Position("command line")}, problems=found.problems, warnings=found.warnings)
    taken = taken or Config()
    chain = _chain(forwards, config, taken, found) if forwards else None
    if chain:
        config.chains.append(chain)
    used = {service.name for service in taken.services}
    for number, text in enumerate(listens, 1):
        url = parse_url(text, Position(f"-L {number}"), found)
        if url:
            name = _free("service", used)
            config.services.append(_service(name, url, chain.name if chain else "", config, taken, found))
    config.api = _api(api, found) if api else None
    config.metrics = _metrics(metrics, found) if metrics else None
    config.log = Log(level=level, at={"": Position("log level")}) if level else None
    return config


def _free(stem: str, used: set[str]) -> str:
    """The first of stem-0, stem-1, … that is not in `used`; adds it there."""
    number = 0
    while f"{stem}-{number}" in used:
        number += 1
    used.add(f"{stem}-{number}")
    return f"{stem}-{number}"


def _types(
    url: Url, uppers: frozenset[str], lowers: frozenset[str], default: str, found: Findings
) -> tuple[str, str]:
    """(handler or connector, listener or dialer) that a scheme names, with GOST's defaults for a missing one.

    An unknown word is a problem, and gives ("", ""). GOST takes it for plain TCP, so that a misspelt tls
    would send everything unencrypted.
    """
    upper, lower = url.schemes
    both = uppers | lowers | {"auto"}  # what a URL without a scheme has
    for word in dict.fromkeys(url.schemes):
        if word not in both:
            scheme = "+".join(dict.fromkeys(url.schemes))
            found.error(url.where, f"unknown scheme {word!r} in {scheme}://", did_you_mean(word, both))
    if upper not in both or lower not in both:
        return "", ""
    if upper != lower and (upper not in uppers or lower not in lowers):
        found.error(url.where, f"{upper}+{lower}:// is the wrong way round or of no use here")
    return upper if upper in uppers else default, lower if lower in lowers else "tcp"


# --- -L -----------------------------------------------------------------------------------------


def _service(name: str, url: Url, chain: str, config: Config, taken: Config, found: Findings) -> Service:
    handler_type, listener_type = _types(url, HANDLERS - {"tcp", "udp"}, LISTENERS, "auto", found)
    at = {"": url.where}
    hosts = list(filter(None, encoded_path(url.path).split(",")))
    nodes = [ForwardNode(name=f"target-{i}", addr=host, at=at) for i, host in enumerate(hosts)]
    if handler_type in ("tun", "tap") and ",".join(hosts) != url.path:
        prose = f"this host goes by {','.join(hosts)!r}, as under GOST, which encodes it"
        found.warn(url.where, prose, "routes have to name it so")
    if nodes and handler_type not in ("tun", "tap"):
        handler_type = "tcp"  # GOST takes a path for targets to forward to
    service = Service(name=name, addr=url.addr, at=at)
    service.metadata = _metadata(url, "service", (*_TLS_NAMES, *_SELECTOR, "auth"))
    service.handler = Handler(type=handler_type, chain=chain, auth=url.auth, at=at)
    service.listener = Listener(type=listener_type, tls=_listener_tls(url, handler_type, found), at=at)
    beside = (*_TLS_NAMES, *_SELECTOR, *_service_only(url), "auth")
    service.handler.metadata = _metadata(url, "handler", (*beside, *_LIMITS, "retries"))
    service.handler.retries = _integer(url, "retries", found)
    service.listener.metadata = _metadata(url, "listener", beside)
    service.forwarder = Forwarder(nodes=nodes, selector=_selector(url, found), at=at) if nodes else None
    _limiters(url, service, config, taken)
    return service


def _service_only(url: Url) -> tuple[str, ...]:
    return ("interface", "netns", *(("so_mark",) if _is_mark(url) else ()))


def _is_mark(url: Url) -> bool:
    return url.take("so_mark").isdecimal()


def _metadata(url: Url, layer: str, without: Iterable[str]) -> Metadata:
    """The metadata of one layer: the parameters `layer.key`, and those without any layer's prefix."""
    metadata: Metadata = {}
    for key, value in url.params.items():
        prefix, dot, rest = key.partition(".")
        addressed = bool(dot) and prefix in _layers_of(layer)
        if addressed and prefix == layer:
            metadata[rest] = Scalar(value, url.where)
        elif not addressed and key.lower() not in without:
            metadata.setdefault(key, _parameter(key, value, url.where))
    return metadata


_SIDES = (("service", "handler", "listener"), ("hop", "node", "connector", "dialer"))


def _layers_of(layer: str) -> tuple[str, ...]:
    return _SIDES[0] if layer in _SIDES[0] else _SIDES[1]


def _parameter(key: str, value: str, where: Position) -> Scalar | TextList:
    if key == "dns" and value:
        return TextList([Scalar(item, where) for item in value.split(",")], where)
    return Scalar(value, where, plain=key == "so_mark" and value.isdecimal())


def _listener_tls(url: Url, handler: str, found: Findings) -> Tls | None:
    tls = _tls(url)
    if tls.cert_file:
        return tls
    if tls.ca_file:
        text = "no client is asked for a certificate: 'ca' does nothing without 'cert', in GOST neither"
        hint = "it belongs to -F" if handler == "tun" else "write cert=… and key=… as well"
        found.warn(url.where, text, hint)
    elif tls.key_file:
        found.warn(url.where, "'key' of a listener does nothing without 'cert': GOST drops it too")
    return None


def _tls(url: Url) -> Tls:
    cert, key, ca = (url.take(*names) for names in _TLS_KEYS)
    return Tls(cert_file=cert, key_file=key, ca_file=ca, at={"": url.where})


def _integer(url: Url, name: str, found: Findings) -> int:
    try:
        return parse_integer(url.take(name) or "0")
    except ValueError as wrong:
        found.error(url.where, f"{name}: {wrong}")
        return 0


def _limiters(url: Url, service: Service, config: Config, taken: Config) -> None:
    """Add the limiters and admissions that a URL's parameters ask for, under generated names."""
    bandwidth = [
        f"{scope} {url.take(f'limiter.{conn}in')} {url.take(f'limiter.{conn}out')}"
        for scope, conn in (("$", ""), ("$$", "conn."))
        if url.take(f"limiter.{conn}in", f"limiter.{conn}out")
    ]
    at = {"": url.where}
    if bandwidth:
        service.limiter = _free("limiter", {x.name for x in taken.limiters + config.limiters})
        config.limiters.append(Limiter(name=service.limiter, limits=bandwidth, at=at))
    if url.take("climiter"):
        service.climiter = _free("climiter", {x.name for x in taken.climiters + config.climiters})
        limits = [f"$ {url.take('climiter')}"]
        config.climiters.append(Limiter(name=service.climiter, limits=limits, at=at))
    if url.take("rlimiter"):
        service.rlimiter = _free("rlimiter", {x.name for x in taken.rlimiters + config.rlimiters})
        limits = [f"$ {url.take('rlimiter')}"]
        config.rlimiters.append(Limiter(name=service.rlimiter, limits=limits, at=at))
    if url.take("admission"):
        service.admission = _free("admission", {x.name for x in taken.admissions + config.admissions})
        text = url.take("admission")
        matchers, whitelist = text.removeprefix("~").split(","), text.startswith("~")
        made = Admission(name=service.admission, whitelist=whitelist, matchers=matchers, at=at)
        config.admissions.append(made)


# --- -F -----------------------------------------------------------------------------------------


def _chain(forwards: Sequence[str], config: Config, taken: Config, found: Findings) -> Chain:
    """The chain that all -F URLs form, a hop for each."""
    chain = Chain(name=_free("chain", {c.name for c in taken.chains}), at={"": Position("-F 1")})
    used = {hop.name for hop in taken.hops}
    for number, text in enumerate(forwards, 1):
        url = parse_url(text, Position(f"-F {number}"), found)
        if url:
            hop = _hop(_free("hop", used), url, found)
            hop.hosts = _hosts(url, config, taken, found)
            chain.hops.append(hop)
    return chain


_USED_BY_NODE = (*_TLS_NAMES, *_SECURE, *_SERVER_NAME, *_SELECTOR, "auth", "interface", "resolver", "hosts")


def _hop(name: str, url: Url, found: Findings) -> Hop:
    at = {"": url.where}
    if url.path:
        found.error(url.where, f"a path means nothing in -F: /{url.path[:60]}")
    types = _types(url, CONNECTORS - {"tcp"}, DIALERS, "http", found)
    addresses = list(filter(None, url.addr.split(",")))
    if not addresses:
        found.error(url.where, "no address to dial", "write router://host:port")
    hop = Hop(name=name, selector=_selector(url, found), at=at)
    if url.take("resolver"):
        hop.at = {**at, "resolver": url.where}  # which config_resolve refuses
    hop.metadata = _metadata(url, "hop", (*_SELECTOR, "resolver", "hosts"))
    hop.nodes = [_node(f"node-{i}", addr, url, types, found) for i, addr in enumerate(addresses)]
    return hop


def _hosts(url: Url, config: Config, taken: Config, found: Findings) -> str:
    """Add the hosts section that a URL's parameter `hosts=NAME:IP,…` asks for; returns its name."""
    rows = url.take("hosts")
    if not rows:
        return ""
    at = {"": url.where}
    name = _free("hosts", {table.name for table in taken.hosts + config.hosts})
    table = Hosts(name=name, at=at)
    for row in rows.split(","):
        host, colon, ip = row.partition(":")
        if colon:
            table.mappings.append(HostMapping(ip=ip, hostname=host, at=at))
        else:
            found.error(
                url.where, f"hosts: no NAME:IP in {row[:64]!r}", "write hosts=hub.example.com:10.0.0.1"
            )
    config.hosts.append(table)
    return name


def _node(name: str, addr: str, url: Url, types: tuple[str, str], found: Findings) -> Node:
    at = {"": url.where}
    without = (*_USED_BY_NODE, *(("so_mark",) if _is_mark(url) else ()))
    connector = Connector(type=types[0], auth=url.auth, metadata=_metadata(url, "connector", without), at=at)
    dialer = Dialer(
        type=types[1], tls=_dialer_tls(url, found), metadata=_metadata(url, "dialer", without), at=at
    )
    metadata = _metadata(url, "node", without)
    return Node(name=name, addr=addr, connector=connector, dialer=dialer, metadata=metadata, at=at)


def _dialer_tls(url: Url, found: Findings) -> Tls:
    """The tls section of a dialer. As in GOST there is always one, with the URL's host as server name."""
    tls = _tls(url)
    port = _PORT.fullmatch(url.addr)
    host = port[1] if port else url.addr
    host = host.removeprefix("[").removesuffix("]")
    tls.server_name = url.take(*_SERVER_NAME) or (without_zone(host) if _is_name(host) else "")
    try:
        tls.secure = parse_switch(url.take(*_SECURE) or "false")
    except ValueError as wrong:
        found.error(url.where, f"secure: {wrong}")
    return tls


def _is_name(host: str) -> bool:
    """Whether this can be looked up; where it cannot, config_chain says so."""
    try:
        dns_name(host)
    except ValueError:
        return False
    return True


def _selector(url: Url, found: Findings) -> Selector | None:
    """The selector of a hop, None without parameters for it; its failTimeout is then 30s, as in GOST."""
    if not url.take(*_SELECTOR):
        return None
    places = {key: url.where for key, names in _OF_FAILURES.items() if url.take(*names)}
    selector = Selector(strategy=url.take("strategy") or "round", at={"": url.where, **places})
    selector.max_fails = _integer(url, "maxfails", found) or _integer(url, "max_fails", found) or 1
    try:
        selector.fail_timeout = parse_duration(url.take("failtimeout", "fail_timeout") or "30s", SECONDS)
    except ValueError as wrong:
        found.error(url.where, f"failTimeout: {wrong}")
    return selector


# --- -api and -metrics --------------------------------------------------------------------------


def _api(text: str, found: Findings) -> Api | None:
    where = Position("-api or GOST_API")
    url = parse_url(text, where, found)
    if url is None:
        return None
    addr = _address(text, url)
    api = Api(addr=addr, path_prefix=url.take("pathprefix"), auth=url.auth, at={"": where})
    try:
        api.accesslog = parse_switch(url.take("accesslog") or "false")
    except ValueError as wrong:
        found.error(where, f"accesslog: {wrong}")
    return api


def _address(text: str, url: Url) -> str:
    """The address of -api and -metrics; in unix://[USER:PASS@]/PATH a path stands for host and port."""
    return f"unix:///{url.path}" if text.startswith("unix://") and not url.addr else url.addr


def _metrics(text: str, found: Findings) -> Metrics | None:
    where = Position("-metrics")
    url = parse_url(text, where, found)
    if url is None:
        return None
    return Metrics(addr=_address(text, url), path=url.take("path"), auth=url.auth, at={"": where})
