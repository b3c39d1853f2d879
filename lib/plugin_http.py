"""An HTTP client for plugins: GET or POST, replies in JSON (PROTOCOL.md, plugins over HTTP).

Knows: the request's URL and headers, which responses are a reply and which a failure.
Refuses to know: what is asked (plugin_client).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import gevent

from lib.errors import PluginError
from lib.settings import PluginSettings

MAX_AT_ONCE = 16
"""Connections to one plugin; further requests wait until one is free."""
MAX_REPLY = 1 << 16
"""Most bytes of a reply that are read."""


class HttpPlugin:
    """A plugin that is called over HTTP."""

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

    def get(self, query: Mapping[str, object]) -> dict[str, object]:
        """GET with these query parameters; returns the reply's object, keys in lower case.

        Raises PluginError, also where the plugin's timeout has passed.
        """
        url = self._settings.url
        return self._ask("GET", f"{url}{'&' if '?' in url else '?'}{urlencode(query)}", None)

    def post(self, content: Mapping[str, object]) -> dict[str, object]:
        """POST this as JSON; returns and raises what `get` does."""
        body = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        return self._ask("POST", self._settings.url, body.encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def _ask(self, method: str, target: str, body: bytes | None) -> dict[str, object]:
        url, timeout = self._settings.url, self._settings.timeout
        headers = {"Content-Type": "application/json"}
        if self._settings.token:
            headers["Authorization"] = f"Bearer {self._settings.token}"
        # urllib3's own timeout starts anew with every byte that comes
        with self._gate, gevent.Timeout(timeout, PluginError(f"{url}: no reply within {timeout:g} s")):
            try:
                response = self._pool.request(
                    method, target, body=body, headers=headers, preload_content=False
                )
                with response:
                    content = response.read(MAX_REPLY)
            except self._urllib3.exceptions.HTTPError as error:
                raise PluginError(f"{url}: {error}") from error
        if response.status != 200:
            raise PluginError(f"{url}: status {response.status}")
        return read_object(content)


def read_object(content: bytes) -> dict[str, object]:
    """A JSON object as a dict with its keys in lower case. Raises PluginError for anything else."""
    try:
        return {key.lower(): value for key, value in json.loads(content).items()}  # Go reads keys in any case
    except (ValueError, AttributeError, RecursionError) as error:
        raise PluginError(f"no proper reply: {content[:80]!r}") from error
