"""Limiters in GOST's notation (`limiters`, `climiters`, `rlimiters`), checked and turned into limits.

    limiters   "$ 100KB 200KB"      in and out, bytes a second, of the whole service
               "$$ 1MB"             of each connection; both ways where one is given
               "10.0.0.0/8 1MB"     of an address or a network
    of a handler, ours:
               "$ …"                of each namespace; "$$ …" of each host
               "host-1 1MB 1MB 1000pps"   of one host; a UUID for one namespace; pps: packets a second
    climiters  "$ 1000" "$$ 10"     connections in all, and of each address; rlimiters the same a second

Knows: this notation. A value that GOST silently reads as "no limit" is an error here.
Refuses to know: how a limit is applied (limits).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from lib import config_metadata, settings_limits
from lib.addresses import prefix
from lib.config_findings import Findings
from lib.config_plugins import plugin_settings
from lib.config_schema import Config, Handler, Limiter, Service
from lib.config_sources import source_settings
from lib.did_you_mean import did_you_mean
from lib.go_values import SECONDS
from lib.ids import is_host_name, parse_uuid
from lib.settings import LimiterSettings
from lib.settings_limits import (
    DEFAULT_CONNECTIONS,
    DEFAULT_HANDSHAKES,
    CountLimit,
    HubLimits,
    Rate,
    RateLimit,
)
from lib.settings_sources import PluginSettings, SourceSettings

LEAST_RATE = 20 << 10
"""Bytes a second below which keepalive frames wait too long in the queue, so that a session looks dead."""
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(i?)B", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}  # KB and KiB alike, as in GOST

_KINDS = ("limiter", "climiter", "rlimiter")

T = TypeVar("T")


_REFRESH, _SCOPE = "limiter.refreshInterval", "limiter.scope"
LEAST_REFRESH = 1.0
"""Seconds; GOST's least."""
_SCOPES = {
    settings_limits.SERVICE: 'write a row for "$", which is the service as a whole',
    settings_limits.CONN: 'write a row for "$$", which is each connection, or for a network',
}


def scope_of(service: Service, found: Findings) -> str:
    """The scope of a service's limiter, "" for all. Where it has no effect, or is wrong, `found` is told."""
    scope = config_metadata.text(service, _SCOPE, found=found)
    if not scope:
        return ""
    where = service.where(f"metadata.{_SCOPE.lower()}")
    if scope not in _SCOPES:
        hint = did_you_mean(scope, _SCOPES) or "write service or conn; hosts have the limiter of the handler"
        text = f"{_SCOPE!r}: {scope[:64]!r} is no scope of a service, and GOST would limit nothing"
        found.error(where, text, hint)
        return ""
    if not service.limiter:
        found.warn(where, f"{_SCOPE!r} has no effect: the service names no limiter")
    return scope


class Limiters:
    """The limiters of a configuration. Each is read once for each use, however many services name it."""

    def __init__(self, config: Config, found: Findings) -> None:
        """Wrong rows, and names of limiters that are not there, are problems in `found`."""
        self._found = found
        self._sections = {kind: _by_name(getattr(config, f"{kind}s")) for kind in _KINDS}
        self._rows: dict[tuple[str, str, object], tuple[object, ...]] = {}

    def of(self, service: Service, handler: Handler, scope: str = "") -> HubLimits:
        """The limits that a service and its handler name, of the service's limiter those of a scope."""
        rows = self._named(service, "limiter", _service_row)
        of_scope = settings_limits.of_scope(rows, scope)
        if rows and not of_scope:
            text = f"limiter {service.limiter[:64]} has no row of scope {scope}: it would limit nothing"
            self._found.error(service.where(f"metadata.{_SCOPE.lower()}"), text, _SCOPES[scope])
        return HubLimits(
            services=of_scope,
            hosts=self._named(handler, "limiter", _host_row),
            connections=self._named(service, "climiter", _count_row, DEFAULT_CONNECTIONS),
            handshakes=self._named(service, "rlimiter", _count_row, DEFAULT_HANDSHAKES),
        )

    def sourced(self, service: Service, handler: Handler, scope: str = "") -> tuple[LimiterSettings, ...]:
        """Those of them that have sources, or a plugin."""
        uses: tuple[tuple[Service | Handler, str, str], ...] = (
            (service, "limiter", "services"),
            (handler, "limiter", "hosts"),
            (service, "climiter", "connections"),
            (service, "rlimiter", "handshakes"),
        )
        made = []
        for section, kind, adds_to in uses:
            limiter = self._sections[kind].get(getattr(section, kind))
            name = f"{kind} {limiter.name}{' of hosts' if adds_to == 'hosts' else ''}" if limiter else ""
            only = scope if adds_to == "services" else ""
            name += f" of scope {only}" if only else ""  # it is another one than that of all scopes
            if limiter is not None and limiter.plugin is not None:
                plugin = self._plugin(limiter, kind)
                every = self._refresh(section)
                name += f", asked every {every:g} s" if every else ""
                more = SourceSettings(reload=every or max(0.0, limiter.reload / SECONDS))
                made += [LimiterSettings(name, adds_to, more, plugin, only)] if plugin else []
            elif limiter is not None and (limiter.file or limiter.redis or limiter.http or limiter.reload):
                more = source_settings(limiter, ("set", "list"), self._found)
                made += [LimiterSettings(name, adds_to, more, scope=only)] if more.sources else []
        self._check_refresh(service, handler, made)
        return tuple(made)

    def _refresh(self, section: Service | Handler) -> float:
        """Seconds after which the plugin of a section's limiter is asked again; 0 where that is not written.

        It is at least one, as in GOST.
        """
        tree = config_metadata.find(section, _REFRESH)
        every = config_metadata.seconds(section, _REFRESH, 0.0, self._found)
        if tree and every < LEAST_REFRESH:
            text = f"{_REFRESH!r}: {every:g} s is less than {LEAST_REFRESH:g} s, which counts, as in GOST"
            self._found.warn(tree.where, text)
        return max(LEAST_REFRESH, every) if tree else 0.0

    def _check_refresh(self, service: Service, handler: Handler, made: list[LimiterSettings]) -> None:
        """Warn of an interval for which there is no plugin: rows are in force at once."""
        tree = config_metadata.find(service, _REFRESH) or config_metadata.find(handler, _REFRESH)
        if tree and not any(one.plugin for one in made):
            text = f"{_REFRESH!r} is for the plugin of a limiter, and here is none"
            self._found.warn(tree.where, text, "rows of a limiter count at once")

    def _plugin(self, limiter: Limiter, kind: str) -> PluginSettings | None:
        """The plugin of a limiter, which is asked instead of its rows; None where it is wrong."""
        assert limiter.plugin is not None
        where, found = limiter.where("plugin"), self._found
        if kind != "limiter":
            text = f"{kind} {limiter.name}: GOST asks no plugin here, and limits nothing"
            found.error(where, text, "write limits, or name a file, redis or http")
            return None
        if limiter.limits or limiter.file or limiter.redis or limiter.http:
            text = "only its plugin is asked, its own rows and sources are not, as in GOST"
            found.warn(where, f"limiter {limiter.name}: {text}")
        if limiter.reload < 0:
            found.error(limiter.where("reload"), "'reload': a duration below zero")
        return plugin_settings(limiter.plugin, found)

    def rows(self, kind: str, name: str) -> list[str]:
        """The rows of a limiter as they are written; none where there is no such limiter."""
        limiter = self._sections[kind].get(name)
        return limiter.limits if limiter is not None else []

    def check_rest(self) -> None:
        """Check the limiters that no service has named, so that mistakes in them are reported too."""
        read = {(kind, name) for kind, name, _ in self._rows}
        for kind, sections in self._sections.items():
            for name, limiter in sections.items():
                if (kind, name) not in read and limiter.plugin is not None:
                    self._plugin(limiter, kind)
                elif (kind, name) not in read:
                    _rows(limiter, _service_row if kind == "limiter" else _count_row, self._found)

    def _named(
        self, section: Service | Handler, kind: str, read: Callable[[str], T], default: tuple[T, ...] = ()
    ) -> tuple[T, ...]:
        name: str = getattr(section, kind)
        if not name:
            return default
        limiter = self._sections[kind].get(name)
        if limiter is None:
            hint = self._found.guess(name, self._sections[kind])
            self._found.error(section.where(kind), f"there is no {kind} {name[:64]!r}", hint)
            return ()
        key = kind, name, read
        if limiter.plugin is not None:
            self._rows.setdefault(key, ())
        elif key not in self._rows:
            self._rows[key] = _rows(limiter, read, self._found)
            _warn_slow(limiter, self._rows[key], self._found)
        return self._rows[key]  # type: ignore[return-value]  # `read` is part of the key


def _warn_slow(limiter: Limiter, rows: tuple[object, ...], found: Findings) -> None:
    for row in found.each(rows):
        if isinstance(row, RateLimit) and any(0 < rate.bytes < LEAST_RATE for rate in (row.into, row.out)):
            message = f"limiter {limiter.name}: under {LEAST_RATE >> 10} KB a second a session may look dead"
            found.warn(limiter.where("limits"), message, "raise it, or the keepalive.timeout")


def _by_name(limiters: list[Limiter]) -> dict[str, Limiter]:
    """Limiters by name; of two with the same name, which is an error elsewhere, the first one."""
    return {limiter.name: limiter for limiter in reversed(limiters)}


def _rows(limiter: Limiter, read: Callable[[str], T], found: Findings) -> tuple[T, ...]:
    rows = []
    for line in found.each(limiter.limits):
        try:
            rows.append(read(line))
            if read is not _host_row:
                _warn_widened(limiter, line.split()[0], found)
        except ValueError as wrong:
            found.error(limiter.where("limits"), f"limiter {limiter.name}: {line[:64]!r}: {wrong}")
    return tuple(rows)


def _warn_widened(limiter: Limiter, key: str, found: Findings) -> None:
    if not key.startswith("$"):
        found.warn_widened(limiter.where("limits"), f"limiter {limiter.name}", key)


def _service_row(line: str) -> RateLimit:
    key, values = _words(line)
    return RateLimit(_address_key(key), *_rates(values))


def _host_row(line: str) -> RateLimit:
    key, values = _words(line)
    return RateLimit(_host_key(key), *_rates(values))


def _count_row(line: str) -> CountLimit:
    key, values = _words(line)
    if len(values) != 1 or not values[0].isdecimal() or not int(values[0]):
        raise ValueError("wants one number above zero")
    return CountLimit(_address_key(key), int(values[0]))


def _words(line: str) -> tuple[str, list[str]]:
    words = line.split()
    if len(words) < 2:
        raise ValueError("wants whom it is for ($, $$, an address) and how much")
    return words[0], words[1:]


def _address_key(key: str) -> str:
    return key if key in ("$", "$$") else str(prefix(key))


def _host_key(key: str) -> str:
    """The key of a row for hosts: $ and $$ stay, a namespace's UUID becomes hex, a host `host NAME`."""
    if key in ("$", "$$"):
        return key
    try:
        return parse_uuid(key).hex()
    except ValueError:
        if not is_host_name(key):
            raise ValueError("no host can go by this name") from None
        return f"host {key}"


def _rates(values: list[str]) -> tuple[Rate, Rate]:
    """(in, out) of the values of a row; where only one of a kind is given it is for both directions."""
    packets = [_packets(value) for value in values if value.lower().endswith("pps")]
    sizes = [_size(value) for value in values if not value.lower().endswith("pps")]
    if len(packets) > 2 or len(sizes) > 2:
        raise ValueError("more than an in and an out")
    sides = [(kind * 2)[:2] if kind else [0.0, 0.0] for kind in (sizes, packets)]
    return Rate(sides[0][0], sides[1][0]), Rate(sides[0][1], sides[1][1])


_READERS: dict[str, Callable[[str], RateLimit | CountLimit]] = {
    "services": _service_row,
    "hosts": _host_row,
    "connections": _count_row,
    "handshakes": _count_row,
}
"""Field of HubLimits -> what reads a row of it."""


def source_row(adds_to: str) -> Callable[[str], RateLimit | CountLimit | None]:
    """A reader for the lines of a source whose rows are added to a field of HubLimits; # begins a comment."""
    read = _READERS[adds_to]

    def row(line: str) -> RateLimit | CountLimit | None:
        text = line.partition("#")[0].strip()
        return read(text) if text else None

    return row


def size_of(text: str) -> int:
    """The bytes of a size such as 100MB (1 KB is 1,024 bytes, as in GOST). Raises ValueError."""
    return int(_size(text))


def _size(text: str) -> float:
    matched = _SIZE.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text[:20]!r} is no size: write its unit, as 100KB (GOST would not limit at all)")
    value = float(matched[1]) * _UNITS[matched[2].lower()]
    if value <= 0:
        raise ValueError("a limit of nothing: leave it out, or deny by other means")
    return value


def _packets(text: str) -> float:
    number = text[:-3]
    if not number.isdecimal() or not int(number):
        raise ValueError(f"{text[:20]!r} is no number of packets a second: write 1000pps")
    return float(number)
