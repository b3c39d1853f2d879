"""The servers of metrics and of the web API at a reload: for others, at another address, or no more.

Knows: that a server which cannot be opened leaves the one before, and that the next reload tries again.
Refuses to know: what they serve (metrics_server, api_server), when a reload is due.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.api_server import ApiServer
    from lib.metrics_server import MetricsServer


class Serving(Protocol):
    """What may serve metrics and the web API: the parts of a process, or the main process of workers."""

    settings: Settings
    metrics: MetricsServer | None
    api: ApiServer | None

    def make_metrics(self, settings: Settings) -> MetricsServer | None:
        """The metrics server, not started yet; None without `metrics` settings. Raises HostError."""

    def make_api(self, settings: Settings) -> ApiServer | None:
        """The server of the web API, not started yet; None without `api` settings. Raises HostError."""


def apply_metrics(parts: Serving, old: Settings, new: Settings) -> list[str]:
    """Apply the settings of metrics: another address, another path or login, or no metrics server at all."""
    had, wanted = old.metrics, new.metrics
    if had == wanted:
        return []
    server = parts.metrics
    if server is not None and had is not None and wanted is not None and had.address == wanted.address:
        server.settings = wanted
        return ["metrics: another path, or for others"]
    try:
        parts.metrics = parts.make_metrics(new)
    except HostError as error:
        say(Entry.RELOAD_FAILED, "reload: metrics: %s", error, service="", reason=error)
        parts.settings = replace(parts.settings, metrics=had)
        return []
    if server is not None:
        server.stop()
    if parts.metrics is not None:
        parts.metrics.start()
    return [f"metrics: {had.address if had else 'off'} -> {wanted.address if wanted else 'off'}"]


def apply_api(parts: Serving, old: Settings, new: Settings) -> list[str]:
    """Apply the settings of the web API: other logins and paths, another address, or none at all."""
    had, wanted = old.api, new.api
    if had == wanted:
        return []
    server = parts.api
    try:
        if server is not None and wanted is not None and server.takes(wanted):
            return ["api: another path, or for others"]
        parts.api = parts.make_api(new)
    except HostError as error:
        say(Entry.RELOAD_FAILED, "reload: api: %s", error, service="", reason=error)
        parts.settings = replace(parts.settings, api=had)
        return []
    if server is not None:
        server.close()
    if parts.api is not None:
        parts.api.start()
    return [f"api: {had.address if had else 'off'} -> {wanted.address if wanted else 'off'}"]
