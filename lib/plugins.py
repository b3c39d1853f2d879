"""Plugins over HTTP: asking somebody else's program for a route (WIRE.md, Plugins).

Knows: the request, what counts as an answer, and what as a failure.
Refuses to know: caches and waiting packets (answers).
"""

from __future__ import annotations

import json
import threading
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlencode

import gevent

from lib import ids
from lib.routes import Route
from lib.settings import PluginSettings

MAX_AT_ONCE = 16
"""Connections to one plugin; further requests wait for one of them."""
MAX_ANSWER = 1 << 16


class PluginError(OSError):
    """A plugin did not answer, or not with an answer."""


class RouterPlugin:
    """An HTTP router plugin."""

    def __init__(self, settings: PluginSettings) -> None:
        """Make the connection pool; nothing is sent yet."""
        import urllib3  # 53 ms; only those who have a plugin pay for it

        self._urllib3 = urllib3
        self._settings = settings
        tls: dict[str, Any] = {"cert_reqs": "CERT_REQUIRED" if settings.verify else "CERT_NONE"}
        if settings.server_name:
            tls |= {"server_hostname": settings.server_name, "assert_hostname": settings.server_name}
        if not settings.url.startswith("https:"):
            tls = {}
        self._pool = urllib3.PoolManager(
            maxsize=MAX_AT_ONCE, block=True, retries=False, timeout=settings.timeout, **tls
        )
        self._gate = threading.BoundedSemaphore(MAX_AT_ONCE)

    def route(self, address: bytes, namespace: bytes) -> Route | None:
        """Ask for the route to an address (packed); None when the plugin knows none.

        Raises PluginError for anything but a proper answer.
        """
        url, timeout = self._settings.url, self._settings.timeout
        query = urlencode({"dst": str(ip_address(address)), "id": ids.format_uuid(namespace)})
        target = f"{url}{'&' if '?' in url else '?'}{query}"
        headers = {"Content-Type": "application/json"}
        if self._settings.token:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        # urllib3's own timeout starts anew with every byte that comes
        with self._gate, gevent.Timeout(timeout, PluginError(f"{url}: no answer within {timeout:g} s")):
            try:
                response = self._pool.request("GET", target, headers=headers, preload_content=False)
                with response:
                    body = response.read(MAX_ANSWER)
            except self._urllib3.exceptions.HTTPError as error:
                raise PluginError(f"{url}: {error}") from error
        if response.status != 200:
            raise PluginError(f"{url}: status {response.status}")
        return read_route(body, address)


def read_route(body: bytes, address: bytes) -> Route | None:
    """The route in a plugin's answer; its prefix is not compared with what was asked, as in GOST.

    None for an object without `dst` and `net`. Raises PluginError for what is no answer.
    """
    try:
        answer = {key.lower(): value for key, value in json.loads(body).items()}  # Go reads keys in any case
        destination = answer.get("dst") or answer.get("net")
        gateway = answer.get("gateway") or ""
        if not isinstance(destination, str | None) or not isinstance(gateway, str):
            raise ValueError("not a text")  # ip_network would take a number for an address
        prefix = ip_network(destination, strict=False) if destination else None
    except (ValueError, AttributeError, RecursionError) as error:
        raise PluginError(f"no proper answer: {body[:80]!r}") from error
    if prefix is None or not gateway:
        return None
    return Route(prefix.network_address.packed, prefix.prefixlen, (gateway,))
