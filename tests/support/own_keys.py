"""The keys of a configuration that are tunrouter's own, and the guide's table of them.

Knows: which keys GOST has, so that every other key that works here is ours; how the guide's table is laid out.
Refuses to know: what any key does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib import config_gost_keys
from lib.config_section import section_fields, words
from tests.support import keys_table
from tests.support.page import DOCS

PAGE = DOCS / "guide.md"
HEADING = "\n## Every key of ours\n"

_SOURCED = "name reload file redis http plugin"
_TLS = "certFile keyFile caFile secure serverName options validity commonName organization rejectUnknownSNI serverNames"
_LIMITS = "limiter.in limiter.out limiter.conn.in limiter.conn.out climiter rlimiter"
_TCP = "keepalive.idle keepalive.interval keepalive.count"
_TUN = "name net peer mtu route routes gw"
GOST = {
    "(top)": "services chains hops hosts authers ingresses limiters climiters rlimiters routers tls log metrics",
    "services": "name addr limiter climiter rlimiter handler listener forwarder metadata",
    "chains": "name hops",
    "hops": "name selector nodes metadata interface sockopts hosts",
    "hosts": "name mappings",
    "hosts.mappings": "ip hostname",
    "hops.sockopts": "mark",
    "authers": f"{_SOURCED} auths",
    "ingresses": f"{_SOURCED} rules",
    "limiters": "name limits",
    "routers": f"{_SOURCED} routes",
    "tls": _TLS,
    "log": "output level format rotation",
    "metrics": "addr path auth auther",
    "services.handler": "type chain auther authers auth limiter metadata",
    "services.listener": "type tls metadata",
    "services.forwarder": "nodes",
    "hops.selector": "strategy maxFails failTimeout",
    "hops.nodes": "name addr connector dialer metadata interface sockopts hosts",
    "authers.file": "path",
    "authers.redis": "addr db username password key type",
    "authers.http": "url timeout",
    "authers.plugin": "type addr tls token timeout",
    "authers.auths": "username password",
    "authers.bindings": "reload file redis http",  # a section of ours with the keys of GOST's sources
    "ingresses.rules": "hostname endpoint",
    "routers.routes": "net dst gateway",
    "tls.options": "minVersion maxVersion cipherSuites alpn",
    "log.rotation": "maxSize maxAge maxBackups localTime compress",
    "metrics.auth": "username password file",
    "services.forwarder.nodes": "name addr",
    "hops.nodes.connector": "type auth metadata",
    "hops.nodes.dialer": "type tls metadata",
    "hub": f"{_LIMITS} {_TCP} reuseport path ws.path header ws.header router router.cache "
    "router.cache.expiration ingress readTimeout",
    "client": f"{_LIMITS} {_TUN} " + " ".join(f"tun.{key}" for key in _TUN.split()),
    "way": f"{_TCP} tcp.keepalive.idle tcp.keepalive.interval tcp.keepalive.count ws.keepalive interface so_mark path ws.path header ws.header host ws.host keepalive ttl auth cert certFile key keyFile ca "
    "caFile secure serverName tls.certFile tls.keyFile tls.caFile tls.secure tls.serverName router.id connectTimeout",
}
"""Section, or owner of metadata (hub, client, way) -> the keys of GOST in it that work here."""
_METADATA = {
    "hub": config_gost_keys.HUB_KEYS,
    "client": config_gost_keys.CLIENT_KEYS,
    "way": config_gost_keys.CHAIN_KEYS,
}

PLACES = {
    "top level": ("(top)",),
    "auther": ("authers",),
    "login": ("authers.auths",),
    "router": ("routers",),
    "route": ("routers.routes",),
    "access rule": ("routers.acl",),
    "metadata of handler router": ("hub",),
    "metadata of handler router or tun": ("hub", "client"),
    "metadata of a dialer": ("way",),
}
"""A place as the guide calls it -> sections and metadata."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the guide's table."""

    place: str
    key: str
    kind: str
    """Type and unit."""
    default: str
    example: str
    """YAML, without its backticks."""
    about: str

    @property
    def literal_default(self) -> str:
        """The default as it could be written in a file; empty where the table only describes it."""
        return self.default.strip("`") if self.default.startswith("`") else ""


def works() -> dict[str, set[str]]:
    """Section, or owner of metadata -> every key that works there, GOST's and ours."""
    found = {}
    for section, cls in keys_table.sections():
        not_yet = {keys_table.outside(cls, key) for key in cls.not_yet}
        found[section] = {key.encode_name for key in section_fields(cls)} - not_yet - set(cls.foreign)
    for owner, keys in _METADATA.items():
        found[owner] = {key.name for key in keys.values() if not key.odd and not key.not_yet}
    return found


def ours() -> set[tuple[str, str]]:
    """(section, or owner of metadata; key) of every key that works here and that GOST does not have."""
    return {(place, key) for place, keys in works().items() for key in keys - words(GOST.get(place, ""))}


def rows() -> list[Row]:
    """The rows of the guide's table."""
    text = PAGE.read_text(encoding="utf-8").partition(HEADING)[2].partition("\nSome keys of GOST's")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [_row(re.split(r" \| ", line.strip("| "))) for line in lines]


def _row(cells: list[str]) -> Row:
    place, key, kind, default, example, about = cells
    return Row(place, key.strip("`"), kind, default, example.strip("`"), about)
