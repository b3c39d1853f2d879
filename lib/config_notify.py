"""The `notify` section of a configuration, checked and turned into NotifySettings.

Knows: that a receiver has a command or a URL, and what is allowed for each key.
Refuses to know: when an event happens (notify_presence), how it is delivered (notify_delivery).
"""

from __future__ import annotations

import re

from lib.addresses import url_host
from lib.config_findings import Findings
from lib.config_hooks import split
from lib.config_schema import Config
from lib.config_schema_notify import Notify
from lib.config_transport import is_header_name
from lib.config_yaml import Scalar
from lib.did_you_mean import did_you_mean
from lib.go_values import SECONDS
from lib.ids import is_host_name
from lib.settings_notify import (
    DEFAULT_GRACE,
    DEFAULT_QUEUE,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    EVENTS,
    NotifySettings,
)

_URL = re.compile(r"https?://[^\s/?#]+([/?][^\s#]*)?", re.IGNORECASE)
_VALUE = re.compile(r"[\x20-\x7e]*")
_RETRIES, _QUEUE = range(101), range(1, 100_001)
_BOUNDS = {"grace": (0.0, 7 * 86400.0, "0 s to 7 days"), "timeout": (1.0, 300.0, "1 s to 5 min")}


def notify_settings(config: Config, has_hubs: bool, found: Findings) -> tuple[NotifySettings, ...]:
    """The receivers of a configuration; each wrong value is a problem in `found`."""
    if config.notify and not has_hubs:
        found.warn(config.notify[0].where(), "'notify' is about the hosts of a hub, and there is no hub here")
    names: set[str] = set()
    made = []
    for number, section in enumerate(found.each(config.notify)):
        name = section.name or f"notify-{number}"
        if name in names:
            found.error(section.where("name"), f"two of notify have the name {name[:64]!r}")
        names.add(name)
        made.append(_receiver(section, name, found))
    return tuple(made)


def _receiver(section: Notify, name: str, found: Findings) -> NotifySettings:
    if bool(section.command) == bool(section.url):
        found.error(section.where(), f"notify {name} wants a command or a url, and one of them only")
    command = split(section.command, "command", section.where("command"), found) if section.command else ()
    _check_url(section, found)
    return NotifySettings(
        name=name,
        command=command,
        url=section.url,
        headers=_headers(section, found),
        events=_events(section, found),
        hosts=_hosts(section, found),
        grace=_seconds(section, "grace", DEFAULT_GRACE, found),
        timeout=_seconds(section, "timeout", DEFAULT_TIMEOUT, found),
        retries=_number(section, "retries", DEFAULT_RETRIES, _RETRIES, found),
        queue=_number(section, "queue", DEFAULT_QUEUE, _QUEUE, found),
    )


def _check_url(section: Notify, found: Findings) -> None:
    if section.url and not _URL.fullmatch(section.url):  # which may hold a secret: it is not repeated
        found.error(section.where("url"), "'url' is no address that begins with http:// or https://")
    elif section.url:
        try:
            url_host(section.url)
        except ValueError as wrong:
            found.error(section.where("url"), f"'url': {wrong}")
    if section.headers and not section.url:
        found.error(section.where("headers"), "'headers' are for a url, and there is none")


def _headers(section: Notify, found: Findings) -> tuple[tuple[str, str], ...]:
    headers = []
    for name, value in section.headers.items():
        if not is_header_name(name):
            found.error(section.where("headers"), f"'headers': no HTTP header: {name[:64]!r}")
        elif not isinstance(value, Scalar) or not _VALUE.fullmatch(value.text):
            found.error(value.where, f"'headers': {name} wants one line of ASCII")
        else:
            headers.append((name, value.text))
    return tuple(headers)


def _events(section: Notify, found: Findings) -> frozenset[str]:
    for word in section.events:
        if word not in EVENTS:
            hint = did_you_mean(word, EVENTS) or f"there is {', '.join(EVENTS)}"
            found.error(section.where("events"), f"'events': {word[:64]!r} is unknown", hint)
    if "events" in section.at and not section.events:
        found.error(section.where("events"), "'events' is empty", "write some, or leave the key out for all")
    return frozenset(section.events or EVENTS)


def _hosts(section: Notify, found: Findings) -> tuple[str, ...]:
    for host in section.hosts:
        if not host.strip() or not is_host_name(host):
            found.error(section.where("hosts"), f"no host can go by this name: {host[:64]!r}")
    if "hosts" in section.at and not section.hosts:
        found.error(section.where("hosts"), "'hosts' is empty", "write some, or leave the key out for all")
    return tuple(section.hosts)


def _seconds(section: Notify, key: str, default: float, found: Findings) -> float:
    value = getattr(section, key)
    if value is None:
        return default
    least, most, words = _BOUNDS[key]
    if not least <= value / SECONDS <= most:
        found.error(section.where(key), f"{key!r}: {value / SECONDS:g} s is not within {words}")
    return float(value / SECONDS)


def _number(section: Notify, key: str, default: int, allowed: range, found: Findings) -> int:
    value: int | None = getattr(section, key)
    if value is None:
        return default
    if value not in allowed:
        limits = f"{allowed.start} to {allowed.stop - 1}"
        found.error(section.where(key), f"{key!r}: {value} is not within {limits}")
    return value
