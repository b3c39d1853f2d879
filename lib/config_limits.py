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

from lib.addresses import prefix
from lib.config_findings import Findings
from lib.config_schema import Config, Handler, Limiter, Service
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.ids import is_host_name, parse_uuid
from lib.settings_limits import (
    DEFAULT_CONNECTIONS,
    DEFAULT_HANDSHAKES,
    CountLimit,
    HubLimits,
    Rate,
    RateLimit,
)

LEAST_RATE = 20 << 10
"""Bytes a second below which keepalive frames wait too long in the queue, so that a session looks dead."""
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)(i?)B", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}  # KB and KiB alike, as in GOST

T = TypeVar("T")


def hub_limits(service: Service, handler: Handler, config: Config, found: Findings) -> HubLimits:
    """The limits that a service and its handler name; each wrong row is a problem in `found`."""
    return HubLimits(
        services=_named(
            service.limiter, service.where("limiter"), config.limiters, "limiter", _service_row, found
        ),
        hosts=_named(handler.limiter, handler.where("limiter"), config.limiters, "limiter", _host_row, found),
        connections=_named(
            service.climiter, service.where("climiter"), config.climiters, "climiter", _count_row, found
        )
        if service.climiter
        else DEFAULT_CONNECTIONS,
        handshakes=_named(
            service.rlimiter, service.where("rlimiter"), config.rlimiters, "rlimiter", _count_row, found
        )
        if service.rlimiter
        else DEFAULT_HANDSHAKES,
    )


def check_limits(config: Config, found: Findings) -> None:
    """Check the limiters that no service names, so that mistakes in them are reported too."""
    named = {service.limiter for service in config.services}
    hosts = {service.handler.limiter for service in config.services if service.handler}
    for limiter in config.limiters:
        if limiter.name not in named | hosts:
            _rows(limiter, _service_row, found)
    for counts, used in (
        (config.climiters, {service.climiter for service in config.services}),
        (config.rlimiters, {service.rlimiter for service in config.services}),
    ):
        for limiter in counts:
            if limiter.name not in used:
                _rows(limiter, _count_row, found)


def _warn_slow(limiter: Limiter, rows: tuple[object, ...], found: Findings) -> None:
    for row in rows:
        if isinstance(row, RateLimit) and any(0 < rate.bytes < LEAST_RATE for rate in (row.into, row.out)):
            message = f"limiter {limiter.name}: under {LEAST_RATE >> 10} KB a second a session may look dead"
            found.warn(limiter.where("limits"), message, "raise it, or the keepalive.timeout")


def _named(
    name: str, where: Position, limiters: list[Limiter], kind: str, read: Callable[[str], T], found: Findings
) -> tuple[T, ...]:
    if not name:
        return ()
    for limiter in limiters:
        if limiter.name == name:
            rows = _rows(limiter, read, found)
            _warn_slow(limiter, rows, found)
            return rows
    hint = did_you_mean(name, [limiter.name for limiter in limiters])
    found.error(where, f"there is no {kind} {name[:64]!r}", hint)
    return ()


def _rows(limiter: Limiter, read: Callable[[str], T], found: Findings) -> tuple[T, ...]:
    rows = []
    for line in limiter.limits:
        try:
            rows.append(read(line))
        except ValueError as wrong:
            found.error(limiter.where("limits"), f"limiter {limiter.name}: {line[:64]!r}: {wrong}")
    return tuple(rows)


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
