"""HTTP servers of a process, made of gevent's pywsgi: what metrics and the web API have in common.

Knows: the address, a place for each connection, that whatever goes wrong in one ends it alone, is counted,
and prints no traceback; what the log says of a refused login.
Refuses to know: what is asked, how long that may take (metrics_server, api_server).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent import pywsgi
from gevent.pool import Pool

from lib import hub_accept
from lib.errors import HostError
from lib.limits import stranger
from lib.log_dedup import RETRIED
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_places import Places
from lib.service_socket import UnixSocket
from lib.service_supervisor import Task
from lib.settings_api import ApiSettings
from lib.settings_telemetry import MetricsSettings
from lib.stream_http_turns import Requests
from lib.stream_listen import listen
from lib.stream_tcp import format_peer


class Door:
    """A listening socket: of TCP, or a unix socket at a path."""

    def __init__(self, settings: MetricsSettings | ApiSettings, backlog: int, private: bool) -> None:
        """Open the address; a `private` unix socket is its owner's alone. Raises HostError."""
        self._unix: UnixSocket | None = None
        if not settings.socket:
            self.sock = listen(settings.host, settings.port)
            return
        try:
            self._unix = UnixSocket(settings.socket, backlog, private)
        except OSError as error:
            raise HostError(f"cannot listen on {settings.address}: {error.strerror or error}") from error
        self.sock = self._unix.sock

    def give_to(self, user: int) -> None:
        """Make a user the owner of a unix socket. Raises HostError."""
        if self._unix is None:
            return
        try:
            self._unix.give_to(user)
        except OSError as error:
            where = f"unix://{self._unix.path}"
            raise HostError(f"cannot give {where} to user {user}: {error.strerror or error}") from error

    def close(self) -> None:
        """Give up the address, and remove a unix socket's file."""
        self.sock.close()
        if self._unix is not None:
            self._unix.remove()


class Handler(pywsgi.WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """One connection."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        self._requests = Requests(sock, origin(address))
        super().__init__(sock, address, server, self._requests.buffered())

    def handle(self) -> None:
        """Serve it, in turns."""
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
        return self.one_request()

    def one_request(self) -> Any:
        """Read the request that has its turn, and answer it."""
        return super().handle_one_request()

    def handle_error(self, kind: Any, error: Any, trace: Any) -> None:
        """Answer 500 where no answer has begun, and end the connection.

        pywsgi calls it in an `except:`, so a deadline and a kill have to be raised again.
        """
        if issubclass(kind, gevent.Timeout | gevent.GreenletExit):
            raise error
        if not isinstance(error, OSError):  # else the other end has gone, or does not read
            self.server.task.note(error)
            self._send_error_response_if_possible(500)
        self.close_connection = True


class Server(hub_accept.Sparing, pywsgi.WSGIServer):  # type: ignore[misc]  # gevent has no types
    """pywsgi's server; alone it would print a traceback for each connection without a descriptor."""

    leaves = hub_accept.HALF
    max_accept = hub_accept.MAX_ACCEPT

    def __init__(
        self,
        sock: Any,
        answer: Callable[..., Any],
        handler: type[Handler],
        most: int,
        task: Task,
        name: str,
        label: str = "",
        scheme: str = "http",
    ) -> None:
        """Answer by `answer` (PEP 3333) in `most` places; `name` and `label` are those of not_accepting."""
        self.places, self.task = Places(most), task
        self.make_room = self.places.make_room
        self.told_full = lambda error: hub_accept.not_accepting(name, label or name, error)
        environ = {"SERVER_NAME": "tunrouter", "wsgi.url_scheme": scheme}  # or pywsgi asks name servers
        super().__init__(
            *(sock, answer),
            log=None,
            error_log=hub_accept.Quiet(),
            handler_class=handler,
            spawn=Pool(),
            environ=environ,
        )

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection, which has a place from its first byte on."""
        try:
            with self.places.hold(origin(address)) as held:
                if held:
                    self.serve(sock, address)
        except OSError:
            pass  # the other end has gone, or speaks no TLS
        finally:
            sock.close()

    def serve(self, sock: Any, address: Any) -> None:
        """Serve one connection that has a place."""
        super().handle(sock, address)


def origin(address: Any) -> str:
    """The peer's address, by which connections have places and take turns; empty over a unix socket."""
    return stranger(format_peer(address)) if isinstance(address, tuple) else ""


def login_refused(server: str, peer: str, reason: str) -> None:
    """Log that a login was refused: one line for each reason and address, then how many more there were.

    `peer` is address:port, empty over a unix socket. What was tried is not logged: people type passwords into
    the field of the name.
    """
    where = peer or "the unix socket"
    say(
        Entry.LOGIN_REFUSED,
        *("%s: %s from %s", server, reason, where),
        fold=server,
        by=stranger(peer) if peer else "",
        habit=RETRIED,
        server=server,
        peer=where,
        reason=reason,
    )
