"""Question to a router plugin about an address, and what becomes of the frames that waited for the reply.

Knows: how a plugin's failure and recovery are told, and that a frame goes on with its sender's session.
Refuses to know: how a plugin is asked (plugin_client), which reply is kept (route_plugin_cache).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

import gevent

from lib import capture_watch, ids
from lib.capture_taps import Taps
from lib.forward_drop_reasons import Reason
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.namespace import Attachment, Namespace
from lib.packet import format_address
from lib.packet_text import head_of_frame
from lib.route_plugin_cache import Asker, PluginCache
from lib.settings import HubSettings
from lib.stream_bounded import failing_as


class Owner(Protocol):
    """What is used of the hub."""

    settings: HubSettings
    failed_plugins: set[Asker]
    taps: Taps


def ask(hub: Owner, namespace: Namespace) -> None:
    """Have the plugins of a namespace's tables asked what packets want to know, each in its own greenlet."""
    for cache in namespace.plugins:
        for address in cache.take_wanted():
            gevent.spawn(resolve, hub, cache, namespace.id, address)


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
    release(waited, hub.taps)


def release(waited: Iterable[tuple[Attachment, bytes]], taps: Taps) -> None:
    """Forward frames that have waited for a plugin's reply."""
    for attachment, frame in waited:
        attachment.unpark(frame)
        if attachment.is_here and attachment.again is not None:
            attachment.again(frame)
        else:
            attachment.drop(Reason.SESSION_GONE, 1, "", head_of_frame(frame), time.monotonic())
            if taps.on:  # the sender's session has ended meanwhile
                capture_watch.dropped(taps, attachment, Reason.SESSION_GONE, frame)
