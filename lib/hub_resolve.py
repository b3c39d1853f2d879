"""Question to a router plugin about an address, and what becomes of the frames that waited for the reply.

Knows: how a plugin's failure and recovery are told, and whose session a frame came from.
Refuses to know: how a plugin is asked (plugin_client), which reply is kept (route_plugin_cache).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from lib import capture_watch, ids
from lib.capture_taps import Taps
from lib.forward_drop_reasons import Reason
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.namespace import Attachment
from lib.packet import format_address
from lib.packet_text import head_of_frame
from lib.route_plugin_cache import Asker, PluginCache
from lib.settings import HubSettings
from lib.stream_bounded import failing_as


class Session(Protocol):
    """What is used of a session (hub_session.HubSession)."""

    def scan_copy(self, frames: bytes) -> int:
        """Forward frames that are not in the receive buffer."""


class Owner(Protocol):
    """What is used of the hub."""

    settings: HubSettings
    failed_plugins: set[Asker]
    taps: Taps

    @property
    def sessions(self) -> Mapping[Attachment, Session]:
        """The sessions that live."""


def resolve(hub: Owner, cache: PluginCache[Attachment], namespace: bytes, address: bytes) -> None:
    """Ask the plugin for a route (in a greenlet of its own), then forward the frames that waited."""
    plugin, failed, name = cache.asker, hub.failed_plugins, hub.settings.name
    assert plugin is not None
    try:
        with failing_as(OSError, OSError):
            route = plugin.route(address, namespace)
        waited = cache.store(address, route, time.monotonic())
        if plugin in failed:
            settle(Entry.PLUGIN_FAILED, name)
            say(Entry.PLUGIN_RECOVERED, "router plugin: replies again", service=name)
            failed.discard(plugin)
    except OSError as error:
        say(
            Entry.PLUGIN_FAILED,
            "router plugin: %s: %s",
            *(format_address(address), error),
            fold=name,
            habit=OUTAGE,
            service=name,
            namespace=ids.format_uuid(namespace),
            address=format_address(address),
            reason=error,
        )
        failed.add(plugin)
        waited = cache.fail(address, time.monotonic())
    for attachment, frame in waited:
        attachment.unpark(frame)
        session = hub.sessions.get(attachment)
        if session is not None:
            session.scan_copy(frame)
        else:
            attachment.drop(Reason.SESSION_GONE, 1, "", head_of_frame(frame), time.monotonic())
            if hub.taps.on:  # the sender's session has ended meanwhile
                capture_watch.dropped(hub.taps, attachment, Reason.SESSION_GONE, frame)
