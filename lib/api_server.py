"""The HTTP server of the web API; slow, silent and hostile connections hold up nobody.

Knows: the address, TLS, bounds on heads, connections and time, the log of requests.
Refuses to know: what is asked (api_app).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent import pywsgi

from lib import api_audit, api_routes, service_http, service_supervisor, stream_figures
from lib.api_app import MAX_BODY, App
from lib.api_process import Process
from lib.api_x import Endpoints
from lib.ctl_health import Probes
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_supervisor import Task
from lib.settings_api import ApiSettings
from lib.stream_certificates import Identity
from lib.stream_deadline import within
from lib.stream_http_turns import shake_hands
from lib.stream_tcp import format_peer

MAX_AT_ONCE = 256
"""Connections; one more makes another go that says nothing or does not read (service_places)."""
HEAD_SECONDS = 10.0
"""How long the head of a request may take, the pause before it on a connection that stays open included."""
SEND_SECONDS = 10.0
"""How long a piece of an answer may take to be read."""
HEAD_BYTES = 1 << 15
"""Bytes of the head of a request."""
SKIPPED = 1 << 14
"""Bytes of a body that nobody wants which are read at once."""
LAST_SECONDS = 1.0
"""How long requests that are being answered may go on once the API is served elsewhere, or not at all."""


class _Head:
    """A file that gives no more than HEAD_BYTES of lines; the body is not read by lines."""

    def __init__(self, file: Any) -> None:
        self._file, self.left = file, HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        """A line; raises ValueError where the head is too long."""
        line: bytes = self._file.readline(min(limit, self.left + 1) if limit >= 0 else self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise ValueError("the head of the request is too long")
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Body(pywsgi.Input):  # type: ignore[misc]  # gevent has no types
    """The body of a request. What nobody has read of it is not waited for for ever, as pywsgi's own is."""

    __slots__ = ("_handler",)

    def __init__(self, made: Any, handler: _Handler) -> None:
        super().__init__(made.rfile, made.content_length, made.socket, made.chunked_input)
        self._handler = handler

    def _discard(self) -> None:
        """Read the rest, for a client that is still sending might else not get to read the answer."""
        if self._chunked_input_error or not (
            self.position < (self.content_length or 0) or self.chunked_input
        ):
            return
        left = MAX_BODY if self.socket is None else 0  # or else it waits until it is told to send
        with gevent.Timeout(HEAD_SECONDS, False):
            while left > 0:
                piece = self.read(min(left, SKIPPED))
                if not piece:
                    return
                left -= len(piece)
        self._handler.close_connection = True


class _Handler(service_http.Handler):
    """One connection."""

    rfile: Any
    wsgi_input: Any
    _deadline: Any = None

    def one_request(self) -> Any:
        """Read a request and answer it. The head has a deadline of its own, and a bound."""
        file, self.rfile = self.rfile, _Head(self.rfile)
        self._deadline = gevent.Timeout(HEAD_SECONDS)
        self._deadline.start()
        try:
            return super().one_request()
        except gevent.Timeout as late:
            if late is not self._deadline:
                raise
            return None
        finally:
            self._deadline.close()
            self.rfile = file

    def read_requestline(self) -> str:
        try:
            line: str = super().read_requestline()
            return line
        except ValueError:
            return "x" * int(pywsgi.MAX_REQUEST_LINE)  # so that pywsgi says that it is too long

    def handle_one_response(self) -> None:
        self._deadline.close()  # the head is there
        with self.server.places.busy():
            super().handle_one_response()

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        name = self.socket.getsockname()
        environ["tunrouter.local"] = name[0] if isinstance(name, tuple) else ""
        environ["tunrouter.gone"] = partial(_has_gone, self.socket)
        self.wsgi_input = environ["wsgi.input"] = _Body(self.wsgi_input, self)
        return environ

    def log_request(self) -> None:
        if not self.server.access_log():
            return
        client = format_peer(self.client_address) if isinstance(self.client_address, tuple) else "unix socket"
        status = str(self._orig_status or "000").split()[0]
        environ = self.environ or {}
        method, path = environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", "")[:200]
        text = "api: %s %s from %s: %s"
        say(
            Entry.API_REQUEST,
            *(text, method, path, client, status),
            address=client,
            method=method,
            path=path,
            status=status,
        )


def _has_gone(sock: Any) -> bool:
    """Whether the other end of a connection has closed it, or we have."""
    try:
        return stream_figures.has_hung_up(sock)
    except (OSError, ValueError):
        return True


class _Server(service_http.Server):
    """The server, with TLS whose handshake has a deadline."""

    access_log: Callable[[], bool]
    """Whether requests are logged."""
    identity: Identity | None = None

    def serve(self, sock: Any, address: Any) -> None:
        """Serve one connection that has a place."""
        if self.identity is not None:
            # made first and shaken after: a deadline in between would leave it open
            sock = self.identity.context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        try:
            if self.identity is not None:
                with within(HEAD_SECONDS, lambda: OSError("the TLS handshake took too long")):
                    shake_hands(sock, service_http.origin(address))
            sock.settimeout(SEND_SECONDS)
            super().serve(sock, address)
        finally:
            sock.close()


class ApiServer:
    """Serves the web API of one process on one address."""

    def __init__(self, settings: ApiSettings, process: Process, probes: Probes) -> None:
        """Open the address; nothing is served before start(). Raises HostError."""
        self.settings = settings
        self._identity = Identity(settings.tls) if settings.tls is not None else None
        self._door = service_http.Door(settings, MAX_AT_ONCE, private=True)
        try:
            api_audit.use(settings.audit_log)
        except HostError:
            self._door.close()
            raise
        self._task = Task("the web API is served", self._watch, vital=False)
        self._own = Endpoints(process)
        routes = [*api_routes.routes(process), *self._own.routes()]
        self.app = App(settings, routes, process.logins, self._task, probes)
        scheme = "https" if settings.tls is not None else "http"
        self._server = _Server(
            self._door.sock, self.app, _Handler, MAX_AT_ONCE, self._task, "api", "web API", scheme
        )
        self._server.identity = self._identity
        self._server.access_log = lambda: self.settings.access_log

    def takes(self, settings: ApiSettings) -> bool:
        """Go on with other settings, where that needs no other socket; returns whether it did.

        Raises HostError where another audit log cannot be opened; all stays as it was then.
        """
        if settings.address != self.settings.address or settings.tls != self.settings.tls:
            return False
        api_audit.use(settings.audit_log)
        self.settings = settings
        self.app.use(settings)
        return True

    def start(self) -> None:
        """Begin to serve requests."""
        self._server.start()
        self._task.start()
        self._own.start()
        address = self.settings.address
        scheme = "https" if self.settings.tls is not None else "http"
        say(
            Entry.API_LISTENING,
            "web API on %s%s (%s)",
            address,
            self.settings.prefix,
            scheme,
            address=address,
        )

    def stop(self) -> None:
        """Stop serving, and remove the unix socket."""
        self.close()
        self._server.pool.kill(timeout=1)

    def end_soon(self) -> None:
        """After close(): who is being answered, perhaps about the change that closed it, gets the rest."""
        gevent.spawn_later(LAST_SECONDS, self._server.pool.kill, timeout=1)

    def close(self) -> None:
        """Give up the address, and remove the unix socket; who is being answered still is."""
        self._task.kill(block=False)
        self._own.stop()
        self._server.close()
        self._door.close()

    def give_to(self, user: int) -> None:
        """Make a user the owner of the unix socket. Raises HostError."""
        self._door.give_to(user)

    def _watch(self) -> None:
        service_supervisor.watch_server(self._server)
