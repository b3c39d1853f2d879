"""The HTTP server of the web API; slow, silent and hostile connections hold up nobody.

Knows: the address, TLS, bounds on heads, connections and time, the log of requests.
Refuses to know: what is asked (api_app).
"""

from __future__ import annotations

import os
from typing import Any

import gevent
from gevent import pywsgi
from gevent.pool import Pool

from lib import api_routes, hub_accept, service_supervisor
from lib.api_app import MAX_BODY, App
from lib.api_process import Process
from lib.api_x import Endpoints
from lib.ctl_server import give_path, listening, take_path
from lib.errors import HostError
from lib.limits import stranger
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_places import Places
from lib.service_supervisor import Task
from lib.settings_api import ApiSettings
from lib.stream_certificates import Identity
from lib.stream_deadline import within
from lib.stream_http_turns import Requests, shake_hands
from lib.stream_listen import listen
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


class _Handler(pywsgi.WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """One connection."""

    rfile: Any
    wsgi_input: Any
    _deadline: Any = None

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        self._requests = Requests(sock, _origin(address))
        super().__init__(sock, address, server, self._requests.buffered())

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass  # the other end has gone
        except Exception as error:  # noqa: BLE001  whatever it is, it ends this connection only
            self.server.task.note(error)
        finally:
            self._requests.end_turn()

    def handle_one_request(self) -> Any:
        """Read a request and answer it. The head has a deadline of its own, and a bound."""
        self._requests.next_request()
        file, self.rfile = self.rfile, _Head(self.rfile)
        self._deadline = gevent.Timeout(HEAD_SECONDS)
        self._deadline.start()
        try:
            return super().handle_one_request()
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
        self.wsgi_input = environ["wsgi.input"] = _Body(self.wsgi_input, self)
        return environ

    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        """Answer 500. pywsgi calls it in an `except:`, so the deadline and a kill have to be raised again."""
        if issubclass(kind, gevent.Timeout | gevent.GreenletExit):
            raise error
        self.close_connection = True
        if not isinstance(error, OSError):
            self.server.task.note(error)

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


class _Server(hub_accept.Sparing, pywsgi.WSGIServer):  # type: ignore[misc]  # gevent has no types
    """pywsgi's server, with TLS whose handshake has a deadline."""

    leaves = hub_accept.HALF
    max_accept = hub_accept.MAX_ACCEPT
    identity: Identity | None = None

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection, which has a place from its first byte on."""
        origin = _origin(address)
        try:
            with self.places.hold(origin) as held:
                if held and self.identity is not None:
                    # made first and shaken after: a deadline in between would leave it open
                    sock = self.identity.context().wrap_socket(
                        sock, server_side=True, do_handshake_on_connect=False
                    )
                    with within(HEAD_SECONDS, lambda: OSError("the TLS handshake took too long")):
                        shake_hands(sock, origin)
                if held:
                    sock.settimeout(SEND_SECONDS)
                    super().handle(sock, address)
        except OSError:
            pass  # no TLS, or none that fits
        finally:
            sock.close()


def _origin(address: Any) -> str:
    """The peer's address, by which connections have places and take turns; empty over a unix socket."""
    return stranger(format_peer(address)) if isinstance(address, tuple) else ""


class ApiServer:
    """Serves the web API of one process on one address."""

    def __init__(self, settings: ApiSettings, process: Process) -> None:
        """Open the address; nothing is served before start(). Raises HostError."""
        self.settings = settings
        self._identity = Identity(settings.tls) if settings.tls is not None else None
        sock = _unix(settings.socket) if settings.socket else listen(settings.host, settings.port)
        self._inode = os.stat(settings.socket).st_ino if settings.socket else 0
        self._pool, self._places = Pool(), Places(MAX_AT_ONCE)
        self._task = Task("the web API is served", self._watch, vital=False)
        self._own = Endpoints(process)
        routes = [*api_routes.routes(process), *self._own.routes()]
        self.app = App(settings, routes, process.tables.logins, self._task)
        scheme = "https" if settings.tls is not None else "http"
        self._server = _Server(
            sock,
            self.app,
            log=None,
            error_log=hub_accept.Quiet(),
            handler_class=_Handler,
            spawn=self._pool,
            environ={"SERVER_NAME": "tunrouter", "wsgi.url_scheme": scheme},  # or pywsgi asks name servers
        )
        self._server.identity = self._identity
        self._server.places = self._places
        self._server.make_room = self._places.make_room
        self._server.told_full = lambda error: hub_accept.not_accepting("api", "web API", error)
        self._server.access_log = lambda: self.settings.access_log
        self._server.task = self._task

    def takes(self, settings: ApiSettings) -> bool:
        """Go on with other settings, where that needs no other socket; returns whether it did."""
        if settings.address != self.settings.address or settings.tls != self.settings.tls:
            return False
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
        self._pool.kill(timeout=1)

    def end_soon(self) -> None:
        """After close(): who is being answered, perhaps about the change that closed it, gets the rest."""
        gevent.spawn_later(LAST_SECONDS, self._pool.kill, timeout=1)

    def close(self) -> None:
        """Give up the address, and remove the unix socket; who is being answered still is."""
        self._task.kill(block=False)
        self._own.stop()
        self._server.close()
        if self.settings.socket:
            give_path(self.settings.socket, self._inode)

    def _watch(self) -> None:
        service_supervisor.watch_server(self._server)


def _unix(path: str) -> Any:
    """A listening unix socket at a path, for its owner only. Raises HostError."""
    try:
        take_path(path)
        return listening(path, MAX_AT_ONCE)
    except OSError as error:
        raise HostError(f"cannot listen on unix://{path}: {error.strerror or error}") from error
