"""The HTTP server of metrics and probes, with basic auth; a slow or silent connection holds up no scrape.

Knows: the address, the paths, basic auth (RFC 7617).
Refuses to know: which metrics there are (metrics), what makes a process healthy or ready (ctl_health).

    GET /metrics    the metrics, for who may read them
    GET /healthz    200 or 503, for everybody: a load balancer has no login. The problems, a line each, are
    GET /readyz     only for who may read metrics, since they name hosts and addresses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from lib import hub_accept, service_supervisor
from lib.addresses import join_host_port
from lib.auth_admission import Login, basic
from lib.ctl_health import Probes
from lib.ctl_server import give_path, listening, take_path
from lib.errors import HostError
from lib.humanize import counted
from lib.limits import stranger
from lib.log_events import Entry
from lib.log_setup import say
from lib.metrics import Seen, exposition
from lib.printable import printable
from lib.rule_live import LiveLogins
from lib.service_places import Places
from lib.service_supervisor import Task
from lib.settings_telemetry import MetricsSettings
from lib.stream_http_turns import Requests
from lib.stream_listen import listen
from lib.stream_tcp import format_peer

MAX_AT_ONCE = 16
"""Connections; one more makes another go that says nothing or does not read (service_places)."""
SECONDS = 10.0
"""How long a whole connection may take."""
MAX_PROBLEMS = 10
"""Problems that a probe lists; of more than these the number is told."""
_TEXT = ("Content-Type", "text/plain; charset=utf-8")

Start = Callable[[str, list[tuple[str, str]]], Any]


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """One connection, with a deadline."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        self._origin = stranger(format_peer(address)) if isinstance(address, tuple) else ""
        self._requests = Requests(sock, self._origin)
        super().__init__(sock, address, server, self._requests.buffered())

    def handle(self) -> None:
        with gevent.Timeout(SECONDS, False), self.server.places.hold(self._origin) as held:
            if not held:
                self.socket.close()
                return
            try:
                super().handle()
            except OSError:
                pass  # the other end has gone
            except Exception as error:  # noqa: BLE001  whatever it is, it ends this connection only
                self.server.task.note(error)
            finally:
                self._requests.end_turn()

    def handle_one_request(self) -> Any:
        """Read a request and answer it."""
        self._requests.next_request()
        return super().handle_one_request()

    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        """Answer 500. pywsgi calls it in an `except:`, so the deadline and a kill have to be raised again."""
        if issubclass(kind, gevent.Timeout | gevent.GreenletExit):
            raise error
        super().handle_error(kind, error, trace)


class _Server(hub_accept.Sparing, WSGIServer):  # type: ignore[misc]  # gevent has no types
    """pywsgi's server; alone it would print a traceback for each connection without a descriptor."""

    leaves = hub_accept.HALF
    max_accept = hub_accept.MAX_ACCEPT


class MetricsServer:
    """Serves the metrics of one process on one address."""

    def __init__(
        self,
        settings: MetricsSettings,
        seen: Seen,
        logins: Callable[[str], LiveLogins],
        probes: Probes = MappingProxyType({}),
    ) -> None:
        """Open the address; nothing is served before start(). `logins` finds an auther by name.

        Raises HostError.
        """
        self.settings = settings
        """A reload may replace these by others with the same address."""
        self._seen, self._logins, self._probes = seen, logins, probes
        sock = _unix(settings.socket) if settings.socket else listen(settings.host, settings.port)
        self._inode = os.stat(settings.socket).st_ino if settings.socket else 0
        self._pool, self._places = Pool(), Places(MAX_AT_ONCE)
        self._server = _Server(
            sock,
            self._answer,
            log=None,
            error_log=hub_accept.Quiet(),
            handler_class=_Handler,
            spawn=self._pool,
            environ={"SERVER_NAME": "tunrouter"},  # or pywsgi asks name servers for it, without a deadline
        )
        self._server.places = self._places
        self._server.make_room = self._places.make_room
        self._server.told_full = lambda error: hub_accept.not_accepting("metrics", "metrics", error)
        self._task = Task("metrics are served", service_supervisor.watch_server, self._server, vital=False)
        self._server.task = self._task

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
        self._pool.kill(timeout=1)
        if self.settings.socket:
            give_path(self.settings.socket, self._inode)

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
            return self._probed(probe(), environ, start)
        status, headers = self._verdict(environ)
        if status:
            start(status, [_TEXT, *headers])
            return [f"{status}\n".encode()]
        with self._places.busy():
            body = b"".join(exposition(self._seen))
        start("200 OK", [("Content-Type", CONTENT_TYPE_PLAIN_0_0_4), ("Content-Length", str(len(body)))])
        return [body if environ["REQUEST_METHOD"] == "GET" else b""]

    def _probed(self, problems: list[str], environ: dict[str, Any], start: Start) -> list[bytes]:
        """The reply to a probe. The body is "ok", or "not ok", with the problems for who may read them."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [_TEXT, ("Allow", "GET, HEAD")])
            return [b"405 Method Not Allowed\n"]
        lines = ["not ok" if problems else "ok"]
        if problems and self._may_read(environ):
            lines = problems[:MAX_PROBLEMS]
            more = len(problems) - MAX_PROBLEMS
            lines += [f"and {counted(more, 'more problem')}"] if more > 0 else []
        start("503 Service Unavailable" if problems else "200 OK", [_TEXT, ("Cache-Control", "no-store")])
        text = "".join(f"{printable(line)}\n" for line in lines)
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
        client = join_host_port(environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT", ""))
        logins = self._logins(name)
        grant = logins.grant(Login(username, password, client, "metrics"))
        if grant is not None and not grant.nothing:  # a login without any binding may not read them either
            return True
        if logins.unread and username:
            raise OSError(logins.unread)  # it may be a right login
        return False


def _unix(path: str) -> Any:
    """A listening unix socket at a path. Raises HostError."""
    try:
        take_path(path)
        return listening(path, MAX_AT_ONCE, private=False)
    except OSError as error:
        raise HostError(f"cannot listen on unix://{path}: {error.strerror or error}") from error
