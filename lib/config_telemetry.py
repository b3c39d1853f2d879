"""The `log` and `metrics` sections of a configuration, checked and turned into settings.

Knows: which values are valid, which keys have no effect, who may read metrics.
Refuses to know: how a log is written (log_setup) and metrics are served (metrics_server).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lib import addresses
from lib.config_findings import Findings
from lib.config_gost_keys import LOG_FORMATS, LOG_LEVELS
from lib.config_schema import Api, Login, Metrics
from lib.config_schema_log import Log
from lib.config_tables import logins
from lib.did_you_mean import did_you_mean
from lib.settings import AutherSettings
from lib.settings_telemetry import DEFAULT_MEGABYTES, MetricsSettings, RotationSettings

AUTH_OF_METRICS = "auth of metrics"
"""The name of the auther made of the `auth` of `metrics`; no section can have this name."""
_NO_FILES = ("stdout", "stderr", "none")
_SOCKET = "unix://"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """A `log` section, checked."""

    level: str
    format: str
    output: str
    rotation: RotationSettings | None


def log_settings(log: Log, found: Findings) -> LogSettings:
    """The settings of a `log` section. A wrong value is a problem in `found`, its default in the result."""
    level = _one_of("level", log, LOG_LEVELS, "info", found)
    style = _one_of("format", log, LOG_FORMATS, "text", found)
    return LogSettings(level, style, log.output or "stderr", _rotation(log, found))


def _one_of(name: str, log: Log, known: tuple[str, ...], default: str, found: Findings) -> str:
    word = str(getattr(log, name)).lower()
    if not word or word in known:
        return word or default
    hint = did_you_mean(word, known) or f"one of {', '.join(known)}"
    found.error(log.where(name), f"unknown log {name} {word[:64]!r}", hint)
    return default


def _rotation(log: Log, found: Findings) -> RotationSettings | None:
    rotation = log.rotation
    if rotation is None:
        return None
    for name, key in (("max_size", "maxSize"), ("max_age", "maxAge"), ("max_backups", "maxBackups")):
        if getattr(rotation, name) < 0:
            found.error(rotation.where(name), f"{key!r} is below zero", "0 is for no limit of its own")
    if not log.output or log.output in _NO_FILES:
        where = log.where("rotation")
        message = f"rotation without a file: the log goes to {log.output or 'stderr'}"
        found.warn(where if where.line else rotation.where(), message, "write output: PATH")
        return None
    return RotationSettings(
        max_bytes=(rotation.max_size or DEFAULT_MEGABYTES) << 20,
        max_age=rotation.max_age,
        max_backups=rotation.max_backups,
        local_time=rotation.local_time,
        compress=rotation.compress,
    )


def metrics_settings(
    metrics: Metrics | None, authers: Mapping[str, AutherSettings], found: Findings
) -> tuple[MetricsSettings | None, tuple[AutherSettings, ...]]:
    """(where metrics are served or None, the auther for them or none) of the `metrics` section."""
    if metrics is None:
        return None, ()
    auther = auther_of(metrics, AUTH_OF_METRICS, authers, found)
    name = auther.name if auther else ""
    path = metrics.path or "/metrics"
    if not path.startswith("/") or any(letter in path for letter in "?# "):
        found.error(metrics.where("path"), f"'path': {path[:64]!r} is no path", "such as /metrics")
    if metrics.addr.startswith(_SOCKET):
        socket = metrics.addr.removeprefix(_SOCKET)
        if not socket.startswith("/"):
            found.error(
                metrics.where("addr"), f"'addr': {metrics.addr[:64]!r}: no absolute path", "unix:///…"
            )
        return MetricsSettings(socket=socket, path=path, auther=name), (auther,) if auther else ()
    try:
        host, port = addresses.host_port(metrics.addr)
    except ValueError as wrong:
        found.error(metrics.where("addr"), f"'addr': {wrong}")
        return None, ()
    if not _is_loopback(host):
        message = f"metrics on {metrics.addr} are open to everybody who reaches it"
        if auther:
            message = f"the login for metrics on {metrics.addr} comes over the network in the clear"
        found.warn(metrics.where("addr"), message, "" if auther else "give them an auth")
    return MetricsSettings(host, port, path=path, auther=name), (auther,) if auther else ()


def _is_loopback(host: str) -> bool:
    try:
        return addresses.address(host).is_loopback
    except ValueError:
        return host == "localhost"


def auther_of(
    section: Metrics | Api, own_name: str, authers: Mapping[str, AutherSettings], found: Findings
) -> AutherSettings | None:
    """The auther whose logins are let in: the one named, or one called `own_name` of `auth`; or None."""
    auth = section.auth
    if section.auther:
        if auth is not None:
            found.warn(auth.where(), "'auth' has no effect beside an auther, as in GOST")
        if section.auther not in authers:
            hint = did_you_mean(section.auther, authers)
            found.error(section.where("auther"), f"there is no auther {section.auther[:64]!r}", hint)
        return authers.get(section.auther)
    if auth is None:
        return None
    login = Login(username=auth.username, password=auth.password, at=auth.at)
    return AutherSettings(own_name, logins([login], found))
