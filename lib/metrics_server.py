"""The HTTP server of metrics and probes, with basic auth; a slow or silent connection holds up no scrape.

Knows: the address, the paths, basic auth (RFC 7617).
Refuses to know: which metrics there are (metrics), what makes a process healthy or ready (ctl_health).

    GET /metrics    the metrics, for who may read them
    GET /healthz    200 or 503, for everybody: a load balancer has no login. The problems, a line each, are
    GET /readyz     only for who may read metrics, since they name hosts and addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any

import gevent
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from lib import service_http, service_supervisor
from lib.addresses import join_host_port
from lib.auth_admission import Login, basic
from lib.ctl_health import Probes, in_words
from lib.log_events import Entry
from lib.log_setup import say
from lib.rule_live import LiveLogins
from lib.service_supervisor import Task
from lib.settings_telemetry import MetricsSettings

MAX_AT_ONCE = 16
"""Connections; one more makes another go that says nothing or does not read (service_places)."""
SECONDS = 10.0
"""How long a whole connection may take."""
_TEXT = ("Content-Type", "text/plain; charset=utf-8")

Start = Callable[[str, list[tuple[str, str]]], Any]


class _Handler(service_http.Handler):
    """One connection, with a deadline."""

    def handle(self) -> None:
        with gevent.Timeout(SECONDS, False):
            super().handle()


class MetricsServer:
    """Serves the metrics of one process on one address."""

    def __init__(
        self,
        settings: MetricsSettings,
        exposition: Callable[[], Iterable[bytes]],
        logins: Callable[[str], LiveLogins],
        probes: Probes = MappingProxyType({}),
    ) -> None:
        """Open the address; nothing is served before start(). Raises HostError.

        `exposition` makes the text of the metrics in pieces, `logins` finds an auther by name.
        """
        self.settings = settings
        """A reload may replace these by others with the same address."""
        self._exposition, self._logins, self._probes = exposition, logins, probes
        self._door = service_http.Door(settings, MAX_AT_ONCE, private=False)
        self._task = Task("metrics are served", self._watch, vital=False)
        self._server = service_http.Server(
            self._door.sock, self._answer, _Handler, MAX_AT_ONCE, self._task, "metrics"
        )

    def start(self) -> None:
        """Begin to serve requests."""
        self._server.start()
        self._task.start()
        address, path = self.settings.address, self.settings.path
        say(Entry.METRICS_LISTENING, "metrics on %s%s", address, path, address=address, path=path)

    def stop(self) -> None:
        """Stop serving, and remove the unix socket."""
        self._task.kill(block=False)
        self._server.close()
        self._server.pool.kill(timeout=1)
        self._door.close()

    def give_to(self, user: int) -> None:
        """Make a user the owner of the unix socket. Raises HostError."""
        self._door.give_to(user)

    def _watch(self) -> None:
        service_supervisor.watch_server(self._server)

    def _answer(self, environ: dict[str, Any], start: Start) -> list[bytes]:
        """The reply to a request; whatever making it raises is a failed reply, counted."""
        try:
            return self._made(environ, start)
        except Exception as error:  # noqa: BLE001  whatever it is, the asker and the log are told
            self._task.note(error)
            start("500 Internal Server Error", [_TEXT])
            return [b"500 Internal Server Error\n"]

    def _made(self, environ: dict[str, Any], start: Start) -> list[bytes]:
        probe = self._probes.get(environ["PATH_INFO"])
        if probe is not None and environ["PATH_INFO"] != self.settings.path:
            with self._server.places.busy():
                problems = probe()
            return self._probed(problems, environ, start)
        status, headers = self._verdict(environ)
        if status:
            start(status, [_TEXT, *headers])
            return [f"{status}\n".encode()]
        with self._server.places.busy():
            body = b"".join(self._exposition())
        start("200 OK", [("Content-Type", CONTENT_TYPE_PLAIN_0_0_4), ("Content-Length", str(len(body)))])
        return [body if environ["REQUEST_METHOD"] == "GET" else b""]

    def _probed(self, problems: list[str], environ: dict[str, Any], start: Start) -> list[bytes]:
        """The reply to a probe. The body is "ok", or "not ok", with the problems for who may read them."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [_TEXT, ("Allow", "GET, HEAD")])
            return [b"405 Method Not Allowed\n"]
        start("503 Service Unavailable" if problems else "200 OK", [_TEXT, ("Cache-Control", "no-store")])
        text = in_words(problems, bool(problems) and self._may_read(environ))
        return [text.encode() if environ["REQUEST_METHOD"] == "GET" else b""]

    def _may_read(self, environ: dict[str, Any]) -> bool:
        try:
            return self._is_allowed(environ)
        except (OSError, KeyError):
            return False

    def _verdict(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
        """(status, headers) with which a request is refused; ("", []) where it is not."""
        try:
            allowed = self._is_allowed(environ)
        except (OSError, KeyError):  # KeyError: a reload took the auther and could not open the new address
            return "503 Service Unavailable", []
        if not allowed:
            return "401 Unauthorized", [("WWW-Authenticate", 'Basic realm="metrics", charset="UTF-8"')]
        if environ["PATH_INFO"] != self.settings.path:
            return "404 Not Found", []
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", [("Allow", "GET, HEAD")]
        return "", []

    def _is_allowed(self, environ: dict[str, Any]) -> bool:
        """Whether the request's login may read metrics. Raises OSError where the auther cannot tell."""
        name = self.settings.auther
        if not name:
            return True
        username, password = basic(environ.get("HTTP_AUTHORIZATION", ""))
        address = environ.get("REMOTE_ADDR", "")  # empty over a unix socket
        client = join_host_port(address, environ.get("REMOTE_PORT", "")) if address else ""
        logins = self._logins(name)
        grant = logins.grant(Login(username, password, client, "metrics"))
        if grant is not None and not grant.nothing:  # a login without any binding may not read them either
            return True
        if logins.unread and username:
            raise OSError(logins.unread)  # it may be a right login
        if username:
            service_http.login_refused("metrics", client, "a wrong login")
        return False
