"""The keys of a configuration that are tunrouter's own, and the guide's table of them.

Knows: which keys GOST has, so that every other key that works here is ours; how the guide's table is laid out;
what a type in words is in the schema. Refuses to know: what any key does (lib/config_own_keys.py has the words).
"""

from __future__ import annotations

import re
from typing import get_args, get_origin

from lib import config_gost_keys
from lib.config_own_key import OwnKey
from lib.config_own_keys import KEYS
from lib.config_section import section_fields, words
from tests.support import keys_table
from tests.support.marked import between, put_between
from tests.support.page import DOCS

PAGE = DOCS / "guide.md"
BEGIN = "<!-- keys of ours: written by tests/support/keys_table.py -->\n"
END = "<!-- end of keys of ours -->\n"

_SOURCED = "name reload file redis http plugin"
_TLS = "certFile keyFile caFile secure serverName options validity commonName organization rejectUnknownSNI serverNames"
_TCP = "keepalive.idle keepalive.interval keepalive.count"
_SEEN = "labels enableStats observer.period observePeriod observer.observePeriod observer.resetTraffic"
_TUN = "name net peer mtu route routes gw dns"
GOST = {
    "(top)": "services chains hops hosts authers admissions observers sds ingresses limiters climiters rlimiters routers tls log api metrics",
    "services": "name addr admission admissions observer limiter climiter rlimiter handler listener forwarder metadata",
    "chains": "name hops",
    "hops": "name selector nodes metadata interface sockopts hosts reload file redis http plugin",
    "hosts": "name mappings file",
    "hosts.mappings": "ip hostname",
    "hops.sockopts": "mark",
    "authers": f"{_SOURCED} auths",
    "ingresses": f"{_SOURCED} rules",
    "observers": "name plugin",
    "sds": "name plugin",
    "admissions": f"{_SOURCED} whitelist matchers",
    "limiters": f"{_SOURCED} limits",
    "routers": f"{_SOURCED} routes",
    "tls": _TLS,
    "log": "output level format rotation",
    "api": "addr pathPrefix accesslog auth auther",
    "metrics": "addr path auth auther",
    "services.handler": "type retries chain auther authers auth limiter observer metadata",
    "services.listener": "type tls metadata",
    "services.forwarder": "nodes selector",
    "hops.selector": "strategy maxFails failTimeout",
    "hops.nodes": "name addr connector dialer metadata interface sockopts hosts netns",
    "hops.file": "path",
    "hops.redis": "addr db username password key type",
    "hops.http": "url timeout",
    "hops.plugin": "type addr tls token timeout",
    "authers.auths": "username password",
    "authers.bindings": "reload file redis http",  # a section of ours with the keys of GOST's sources
    "ingresses.rules": "hostname endpoint",
    "routers.routes": "net dst gateway",
    "tls.options": "minVersion maxVersion cipherSuites alpn",
    "log.rotation": "maxSize maxAge maxBackups localTime compress",
    "api.auth": "username password file",
    "services.forwarder.nodes": "name addr metadata",
    "hops.nodes.connector": "type auth metadata",
    "hops.nodes.dialer": "type tls metadata",
    "hub": f"{_SEEN} {_TCP} proxyProtocol netns preUp postUp preDown postDown reuseport mptcp path ws.path header ws.header router router.cache "
    "router.cache.expiration ingress readTimeout sd sd.cache.expiration sd.renewInterval entrypoint limiter.refreshInterval limiter.scope",
    "client": f"{_SEEN} netns preUp postUp preDown postDown {_TUN} "
    + " ".join(f"tun.{key}" for key in _TUN.split()),
    "way": f"{_TCP} tcp.keepalive.idle tcp.keepalive.interval tcp.keepalive.count ws.keepalive interface so_mark proxyProtocol netns path ws.path header ws.header host ws.host keepalive ttl "
    "router.id connectTimeout weight backup maxFails failTimeout",
}
"""Section, or owner of metadata (hub, client, way) -> the keys of GOST in it that work here."""
_METADATA = {
    "hub": config_gost_keys.HUB_KEYS,
    "client": config_gost_keys.CLIENT_KEYS,
    "way": config_gost_keys.CHAIN_KEYS,
}

PLACES = {
    "top level": ("(top)",),
    "receiver of notify": ("notify",),
    "sd": ("sds",),
    "redis": ("hops.redis",),
    "sentinel of a redis": ("hops.redis.sentinel",),
    "cluster": ("cluster",),
    "link of a cluster": ("cluster.link",),
    "tls of a link": ("cluster.link.tls",),
    "trust of a cluster": ("cluster.trust",),
    "auther": ("authers",),
    "login": ("authers.auths",),
    "router": ("routers",),
    "route": ("routers.routes",),
    "access rule": ("routers.acl",),
    "policy test": ("tests",),
    "namespace": ("namespaces",),
    "web API": ("api",),
    "user of the web API": ("api.users",),
    "metadata of handler router": ("hub",),
    "metadata of handler router or tun": ("hub", "client"),
    "metadata of a service": ("hub", "client"),
    "metadata of handler tun": ("client",),
    "metadata of a dialer": ("way",),
    "metadata of a listener or a dialer": ("hub", "way"),
}
"""A place as the guide calls it -> sections and metadata."""


def works() -> dict[str, set[str]]:
    """Section, or owner of metadata -> every key that works there, GOST's and ours."""
    found = {}
    for section, cls in keys_table.sections():
        not_yet = {keys_table.outside(cls, key) for key in cls.not_yet}
        found[section] = {key.encode_name for key in section_fields(cls)} - not_yet - set(cls.foreign)
    for owner, keys in _METADATA.items():
        found[owner] = {key.name for key in keys.values() if key.works}
    return found


def ours() -> set[tuple[str, str]]:
    """(section, or owner of metadata; key) of every key that works here and that GOST does not have."""
    return {(place, key) for place, keys in works().items() for key in keys - words(GOST.get(place, ""))}


def literal_default(row: OwnKey) -> str:
    """The default as it could be written in a file; empty where the row only describes it."""
    return row.default.strip("`") if row.default.startswith("`") else ""


def choices(row: OwnKey) -> list[str]:
    """The words of a key whose type is a choice of words; empty for others."""
    found = re.fullmatch(r"(?:`[\w-]+`, )*`[\w-]+`(?: or `[\w-]+`)?", row.kind)
    return re.findall(r"`([\w-]+)`", row.kind) if found else []


def bounds(row: OwnKey) -> tuple[str, str] | None:
    """The least and the greatest value, where the type has them."""
    found = re.search(r"(?:^|, )(\d\w*) to (\d\w*)", row.kind)
    return (found[1], found[2]) if found else None


def type_of(section: str, key: str) -> object:
    """The type of a section's field by the schema; None for metadata, whose keys have no types."""
    cls = dict(keys_table.sections()).get(section)
    return (
        next((field.type for field in section_fields(cls) if field.encode_name == key), None) if cls else None
    )


def is_said(kind: str, type_: object) -> bool:
    """Whether a type in words is that of the schema."""
    inner = [one for one in (type_, *get_args(type_)) if one is not type(None)]
    if get_origin(type_) is list:
        return kind.startswith("list of ")
    names = {getattr(one, "__name__", "") for one in inner}
    for name, word in (("bool", "switch"), ("Duration", "duration"), ("int", "integer")):
        if name in names:
            return kind.startswith(word)
    return not kind.startswith(("list", "switch", "duration", "integer"))


def table() -> str:
    """The guide's table, in Markdown."""
    lines = [
        "| place | key | type and unit | default | example | what it does |",
        "|---|---|---|---|---|---|",
    ]
    for row in KEYS:
        cells = (row.place, f"`{row.key}`", row.kind, row.default, f"`{row.example}`", row.about)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def in_page() -> str:
    """The table as it stands in the guide."""
    return between(PAGE, BEGIN, END)


def main() -> None:
    """Write the table into the guide."""
    put_between(PAGE, BEGIN, END, table())
