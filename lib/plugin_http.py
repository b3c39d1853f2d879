"""HTTP client for plugins: requests in JSON, or in the query of a GET (PROTOCOL.md, plugins over HTTP).

Knows: the request's URL and headers, which responses are a reply and which a failure.
Refuses to know: what is asked (plugin_client).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlencode

from gevent.lock import BoundedSemaphore

from lib.errors import PluginError
from lib.settings_sources import PluginSettings
from lib.stream_deadline import within
from lib.stream_http import HttpWay

MAX_AT_ONCE = 16
"""Connections to one plugin; further requests wait until one is free."""
MAX_REPLY = 1 << 16
"""Most bytes of a reply, on the wire and decoded."""


class HttpPlugin:
    """A plugin that is called over HTTP."""

    def __init__(self, settings: PluginSettings) -> None:
        """Prepare requests; a connection is made with the first one."""
        self._settings = settings
        self._idle: list[HttpWay] = []
        """Connections that nobody uses now, the last one used at the end."""
        self._gate = BoundedSemaphore(MAX_AT_ONCE)

    def get(self, query: Mapping[str, object]) -> dict[str, object]:
        """GET with these query parameters; returns the reply's object, keys in lower case.

        Raises PluginError, also where the plugin's timeout has passed.
        """
        url = self._settings.url
        return self._ask("GET", f"{url}{'&' if '?' in url else '?'}{urlencode(query)}", None)

    def send(self, method: str, content: Mapping[str, object]) -> dict[str, object]:
        """POST, PUT or DELETE with `content` as JSON; returns and raises what `get` does."""
        body = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        return self._ask(method, self._settings.url, body.encode("utf-8", "surrogateescape"))

    def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, method: str, target: str, body: bytes | None) -> dict[str, object]:
        url, timeout = self._settings.url, self._settings.timeout
        with within(timeout, lambda: PluginError(f"{url}: no reply within {timeout:g} s")), self._gate:
            status, content = self._converse(method, target, body)
        if status != 200:
            raise PluginError(f"{url}: status {status}")
        return read_object(content)

    def _converse(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body of a reply. Raises PluginError."""
        import urllib3

        settings = self._settings
        headers = {"Content-Type": "application/json"}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        way = self._way()
        try:
            response = way.ask(
                method=method,
                url=target,
                headers=headers,
                body=body,
                seconds=settings.timeout,
                size=MAX_REPLY,
            )
            with response:
                content = response.read(MAX_REPLY + 1)
                if len(content) > MAX_REPLY:
                    raise PluginError(f"{settings.url}: a reply of more than {MAX_REPLY} bytes")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if way.bounds.late:  # what its own text says then is not for people
                raise PluginError(f"{settings.url}: no reply within {settings.timeout:g} s") from error
            raise PluginError(f"{settings.url}: {error}") from error
        finally:
            self._idle.append(way)  # urllib3 drops a connection with which it is not through
        return response.status, content

    def _way(self) -> HttpWay:
        settings = self._settings
        if self._idle:
            return self._idle.pop()
        return HttpWay(settings.url, settings.timeout, settings.verify, settings.server_name)


def read_object(content: bytes) -> dict[str, object]:
    """A JSON object as a dict with its keys in lower case. Raises PluginError for anything else."""
    try:
        return {key.lower(): value for key, value in json.loads(content).items()}  # Go reads keys in any case
    except (ValueError, AttributeError, RecursionError) as error:
        raise PluginError(f"no proper reply: {content[:80]!r}") from error
