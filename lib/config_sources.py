"""The `file`, `redis` and `http` sections of a table, checked and turned into SourceSettings.

Knows: the three kinds of sources, and the order in which their rows are merged.
Refuses to know: what the rows are (config_tables), how they are read (source_read).
"""

from __future__ import annotations

import re

from lib import log_redact
from lib.addresses import host_port, join_host_port, url_host
from lib.config_findings import Findings
from lib.config_schema import Bindings, File, Http, Sourced
from lib.config_schema_redis import Redis, Sentinel
from lib.config_section import Section
from lib.config_transport import client_tls
from lib.did_you_mean import did_you_mean
from lib.go_values import SECONDS
from lib.settings_sources import NO_SENTINEL, FileSource, HttpSource, RedisSource, Source, SourceSettings
from lib.settings_sources import Sentinel as SentinelSettings
from lib.settings_transport import TlsSettings

REDIS_PORT, SENTINEL_PORT = 6379, 26379
MAX_SENTINELS = 16
_SENTINEL = "write sentinel: {addrs: [HOST:26379, …], master: NAME}"
DEFAULT_KEY = "gost"
DEFAULT_TIMEOUT = 10.0

_URL = re.compile(r"https?://[^\s/?#]+([/?][^\s#]*)?", re.IGNORECASE)


def source_settings(
    section: Sourced | Bindings, redis_types: tuple[str, ...], found: Findings
) -> SourceSettings:
    """The sources of a table. `redis_types` are the Redis types that can hold its rows, the default first."""
    sources: list[Source | None] = []
    if section.file:
        sources.append(_file(section.file, found))
    if section.redis:
        sources.append(redis_source(section.redis, redis_types, found))
    if section.http:
        sources.append(_http(section.http, found))
    if section.reload < 0:
        found.error(section.where("reload"), "'reload': a duration below zero")
    if section.reload and not sources:
        found.warn(
            section.where("reload"), "'reload' without file, redis or http: there is nothing to read again"
        )
    return SourceSettings(tuple(filter(None, sources)), max(0.0, section.reload / SECONDS))


def _file(section: File, found: Findings) -> FileSource | None:
    if not section.path:
        found.error(section.where("path"), "a file source without a path")
        return None
    return FileSource(section.path)


def redis_source(section: Redis, types: tuple[str, ...], found: Findings) -> RedisSource | None:
    """A Redis of the configuration; `types` as in source_settings. None where its address is wrong."""
    sentinel = _sentinel(section, found) if section.sentinel is not None else NO_SENTINEL
    addr = _redis_addr(section, "addr", section.addr, REDIS_PORT, found) if section.sentinel is None else ""
    if addr is None or sentinel is None:
        return None
    kind = section.type.lower() or types[0]
    if kind not in types:
        hint = did_you_mean(kind, types) or f"there is {', '.join(types)}"
        found.error(section.where("type"), f"'type': redis type {section.type[:64]!r} cannot hold this", hint)
        return None
    if section.db < 0:
        found.error(section.where("db"), f"'db': {section.db} is below zero")
    return RedisSource(
        addr=addr,
        db=section.db,
        username=section.username,
        password=section.password,
        key=section.key or DEFAULT_KEY,
        type=kind,
        tls=_redis_tls(section, found),
        sentinel=sentinel,
    )


def _redis_addr(section: Section, field: str, addr: str, default: int, found: Findings) -> str | None:
    """HOST:PORT of an address, of which the port may be left out; None after a problem."""
    try:
        has_port = ":" in addr.rpartition("]")[2]
        host, port = host_port(addr if has_port else f"{addr}:{default}")
    except ValueError as wrong:
        hint = "write HOST:PORT, and tls: {secure: true} for TLS" if "://" in addr else ""
        found.error(section.where(field), f"{field!r}: {wrong}", hint)
        return None
    return join_host_port(host or "127.0.0.1", port)


def _sentinel(redis: Redis, found: Findings) -> SentinelSettings | None:
    section = redis.sentinel or Sentinel()
    if redis.addr:
        found.error(
            redis.where("addr"),
            "'addr' and 'sentinel': the Sentinels say where the master is",
            "leave addr out",
        )
        return None
    if not section.addrs or not section.master:
        found.error(section.where(), "a sentinel section without addrs or master", _SENTINEL)
        return None
    if len(section.addrs) > MAX_SENTINELS:
        found.error(
            section.where("addrs"), f"'addrs': {len(section.addrs)} Sentinels, {MAX_SENTINELS} at most"
        )
        return None
    addrs = [_redis_addr(section, "addrs", addr, SENTINEL_PORT, found) for addr in found.each(section.addrs)]
    if None in addrs:
        return None
    return SentinelSettings(tuple(filter(None, addrs)), section.master, section.username, section.password)


def _redis_tls(redis: Redis, found: Findings) -> TlsSettings | None:
    if redis.tls is None:
        return None
    tls = client_tls(redis.tls, found)
    if not (tls.verify or tls.ca_file):
        text = "the certificate of the Redis is not checked: anybody on the way can be the Redis"
        found.warn(redis.tls.where(), text, "write secure: true, or caFile")
    return tls


def _http(section: Http, found: Findings) -> HttpSource | None:
    if not _URL.fullmatch(section.url):
        found.error(section.where("url"), f"not the address of an HTTP source: {_shown(section.url)}")
        return None
    try:
        url_host(section.url)
    except ValueError as wrong:
        found.error(section.where("url"), f"'url': {_shown(section.url)}: {wrong}")
        return None
    if section.timeout < 0:
        found.error(section.where("timeout"), "a timeout below zero")
    return HttpSource(section.url, section.timeout / SECONDS if section.timeout > 0 else DEFAULT_TIMEOUT)


def _shown(url: str) -> str:
    """A URL, right or wrong, without its login, as a message quotes it."""
    hidden = log_redact.secrets(url)
    before, at, after = hidden.rpartition("@")
    if at and "://" not in before:  # a login in what is not quite a URL
        hidden = f"{log_redact.HIDDEN}@{after}"
    return repr(hidden[:100])
