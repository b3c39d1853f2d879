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
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from lib import config_metadata, settings_limits
from lib.addresses import prefix
from lib.config_findings import Findings
from lib.config_plugins import plugin_settings
from lib.config_schema import Handler, Limiter, Service
from lib.config_sources import source_settings
from lib.did_you_mean import did_you_mean
from lib.errors import Problem
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


class _Read(NamedTuple):
    """What was read of a limiter for one use, and what was found meanwhile."""

    value: Any
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


class LimiterReading:
    """One limiter, which is read once for each use of it, however many services name it."""

    def __init__(self, section: Limiter) -> None:
        self.section = section
        self._read: dict[Hashable, _Read] = {}

    def of(self, use: Hashable, read: Callable[[Findings], object], step: Callable[[], None]) -> _Read:
        """What `read` makes of it for a use, or has made of it before."""
        known = self._read.get(use)
        if known is None:
            found = Findings(step=step)
            value = read(found)
            known = self._read[use] = _Read(value, tuple(found.problems), tuple(found.warnings))
        return known


class Limiters:
    """The limiters of a configuration.

    What is found in them is told at the end, by check(): it belongs to them, not to a service that names
    them.
    """

    def __init__(self, sections: Mapping[str, Iterable[LimiterReading]], found: Findings) -> None:
        """`sections` by "limiters", "climiters" and "rlimiters"; `found` is told of names that none has."""
        self._found = found
        self._sections = {kind: _by_name(sections[f"{kind}s"]) for kind in _KINDS}
        self._used: dict[tuple[str, str, Hashable], _Read] = {}
        """(kind, name, use) -> what was read of it for a service."""

    def of(self, service: Service, handler: Handler, scope: str = "") -> HubLimits:
        """The limits that a service and its handler name, of the service's limiter those of a scope.

        They are the same objects as long as the limiters are.
        """
        rows = self._named(service, "limiter", _service_row, scope=scope)
        if scope and not rows and self._named(service, "limiter", _service_row):
            text = f"limiter {service.limiter[:64]} has no row of scope {scope}: it would limit nothing"
            self._found.error(service.where(f"metadata.{_SCOPE.lower()}"), text, _SCOPES[scope])
        return HubLimits(
            services=rows,
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
        made: list[LimiterSettings] = []
        for section, kind, adds_to in uses:
            reading = self._sections[kind].get(getattr(section, kind))
            if reading is None:
                continue
            limiter = reading.section
            every = self._refresh(section) if limiter.plugin is not None else 0.0
            use = kind, adds_to, scope if adds_to == "services" else "", every
            one = self._use(kind, reading, use, partial(_sourced, limiter, *use))
            made += [one] if one is not None else []
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

    def rows(self, kind: str, name: str) -> list[str]:
        """The rows of a limiter as they are written; none where there is no such limiter."""
        reading = self._sections[kind].get(name)
        return reading.section.limits if reading is not None else []

    def check(self) -> None:
        """Tell what is wrong with the limiters, also with those that no service has named."""
        named = {(kind, name) for kind, name, _ in self._used}
        for kind, sections in self._sections.items():
            row = _service_row if kind == "limiter" else _count_row
            for name, reading in sections.items():
                if (kind, name) not in named:
                    self._use(kind, reading, row, partial(_checked, reading.section, kind, row))
        for read in self._found.each(self._used.values()):
            self._found.add(read.problems)
            for warning in read.warnings:
                self._found.warn(warning.where, warning.message, warning.hint)

    def _use(
        self, kind: str, reading: LimiterReading, use: Hashable, read: Callable[[Findings], object]
    ) -> Any:
        made = reading.of(use, read, self._found.step)
        self._used[kind, reading.section.name, use] = made
        return made.value

    def _named(
        self,
        section: Service | Handler,
        kind: str,
        row: Callable[[str], T],
        default: tuple[T, ...] = (),
        scope: str = "",
    ) -> tuple[T, ...]:
        name: str = getattr(section, kind)
        if not name:
            return default
        reading = self._sections[kind].get(name)
        if reading is None:
            hint = self._found.guess(name, self._sections[kind])
            self._found.error(section.where(kind), f"there is no {kind} {name[:64]!r}", hint)
            return ()
        every = self._use(kind, reading, row, partial(_checked, reading.section, kind, row))
        made: tuple[T, ...] = every
        if scope:
            made = self._use(
                kind, reading, (row, scope), lambda found: settings_limits.of_scope(every, scope)
            )
        return made


def _checked(
    limiter: Limiter, kind: str, row: Callable[[str], object], found: Findings
) -> tuple[object, ...]:
    """The rows of a limiter; none where a plugin is asked instead of them."""
    if limiter.plugin is not None:
        _plugin(limiter, kind, found)
        return ()
    rows = _rows(limiter, row, found)
    _warn_slow(limiter, rows, found)
    return rows


def _sourced(
    limiter: Limiter, kind: str, adds_to: str, scope: str, every: float, found: Findings
) -> LimiterSettings | None:
    """The settings of a limiter with sources or a plugin; None where it has none of them."""
    name = f"{kind} {limiter.name}{' of hosts' if adds_to == 'hosts' else ''}"
    name += f" of scope {scope}" if scope else ""  # it is another one than that of all scopes
    if limiter.plugin is not None:
        plugin = _plugin(limiter, kind, found)
        name += f", asked every {every:g} s" if every else ""
        more = SourceSettings(reload=every or max(0.0, limiter.reload / SECONDS))
        return LimiterSettings(name, adds_to, more, plugin, scope) if plugin else None
    if limiter.file or limiter.redis or limiter.http or limiter.reload:
        more = source_settings(limiter, ("set", "list"), found)
        return LimiterSettings(name, adds_to, more, scope=scope) if more.sources else None
    return None


def _plugin(limiter: Limiter, kind: str, found: Findings) -> PluginSettings | None:
    """The plugin of a limiter, which is asked instead of its rows; None where it is wrong."""
    assert limiter.plugin is not None
    where = limiter.where("plugin")
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


def _warn_slow(limiter: Limiter, rows: tuple[object, ...], found: Findings) -> None:
    for row in found.each(rows):
        if isinstance(row, RateLimit) and any(0 < rate.bytes < LEAST_RATE for rate in (row.into, row.out)):
            message = f"limiter {limiter.name}: under {LEAST_RATE >> 10} KB a second a session may look dead"
            found.warn(limiter.where("limits"), message, "raise it, or the keepalive.timeout")


def _by_name(readings: Iterable[LimiterReading]) -> dict[str, LimiterReading]:
    """Limiters by name; of two with the same name, which is an error elsewhere, the first one."""
    found: dict[str, LimiterReading] = {}
    for reading in readings:
        found.setdefault(reading.section.name, reading)
    return found


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
