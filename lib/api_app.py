"""The web API as a WSGI application: a request is checked, given to the handler of its path, and answered.

Knows: the order of the checks, bounds on a body, headers that every answer has, that a long answer is made in
turns, and compressed for who accepts that. Refuses to know: connections (api_server), what a path does
(api_routes), how packets are forwarded.

    Host -> login -> path -> rights -> origin -> handler -> JSON in pieces
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote

import bottle

from lib import api_auth, api_gzip, api_page, api_probes
from lib.addresses import join_host_port
from lib.api_bodies import Bodies
from lib.api_logins import ApiLogins
from lib.api_request import JSON, Refused, Reply, Request, Route, Who, pieces
from lib.ctl_health import Probes
from lib.rule_live import LiveLogins
from lib.service_scheduling import Breaths, in_turns
from lib.service_supervisor import Task
from lib.settings_api import TENANT, ApiSettings

MAX_BODY = 8 << 20
"""Bytes of a body."""
TENANT_BODY = 1 << 20
"""Bytes of a tenant's body: reading it takes time from everybody's packets."""
MAX_QUERY = 100
"""Parameters of a query."""

_HEADERS = (
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""Headers of every answer, where the handler has not given its own."""

_PACKED = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))

Start = Callable[[str, list[tuple[str, str]]], Any]


class App:
    """The application of one server."""

    def __init__(
        self,
        settings: ApiSettings,
        routes: Iterable[Route],
        logins: Callable[[str], LiveLogins],
        task: Task,
        probes: Probes = MappingProxyType({}),
    ) -> None:
        """`logins` finds an auther by name; what a handler fails with is counted by `task`."""
        self._settings, self._task = settings, task
        self._logins = ApiLogins(settings, logins)
        self._bodies = Bodies()
        self._router = bottle.Router()
        everybody_s = *api_page.routes(self._logins), *api_probes.routes(self._logins, probes)
        for route in (*self._logins.routes(), *everybody_s, *routes):
            self._router.add(route.rule, route.method, route)

    def use(self, settings: ApiSettings) -> None:
        """Go on with other settings."""
        self._settings = self._logins.settings = settings

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        try:
            reply = self._reply(environ)
        except Refused as refused:
            reply = refused.reply()
        except Exception as error:  # noqa: BLE001  whatever it is, the asker and the log are told
            self._task.note(error)
            reply = Refused(500, "an unexpected error; the log has it").reply()
        return self._sent(reply, environ, start)

    def _sent(self, reply: Reply, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        body = reply.body
        own = {name.lower() for name, _ in reply.headers}
        headers = [("Content-Type", reply.kind), *reply.headers]
        headers += [header for header in _HEADERS if header[0].lower() not in own]
        status = f"{reply.status} {HTTPStatus(reply.status).phrase}"
        if environ["REQUEST_METHOD"] == "HEAD" or reply.status in (204, 304):
            if isinstance(body, bytes):
                headers.append(("Content-Length", str(len(body))))
            start(status, headers)
            return [b""]
        if reply.streams and isinstance(body, Iterator):
            start(status, headers)
            return body
        if not isinstance(body, bytes | Iterator):
            body = _whole(in_turns(pieces(body)))
        elif not isinstance(body, bytes):
            body = in_turns(body)
        if _may_be_packed(reply.kind, own, body, environ):
            headers += _PACKED
            body = _whole(in_turns(api_gzip.packed([body] if isinstance(body, bytes) else body)))
        if isinstance(body, bytes):
            start(status, [*headers, ("Content-Length", str(len(body)))])
            return [body]
        start(status, headers)
        return body

    # --- the checks ---------------------------------------------------------------------------------

    def _reply(self, environ: dict[str, Any]) -> Reply:
        method = environ["REQUEST_METHOD"]
        headers = _headers(environ)
        if self._settings.prefix and environ["PATH_INFO"] == self._settings.prefix:
            return Reply(
                b"", 308, headers=(("Location", f"{self._settings.prefix}/"),)
            )  # the page is a folder
        path = self._path(environ)
        api_auth.check_host(self._settings, headers.get("host", ""), environ.get("tunrouter.local", ""))
        route, arguments = self._route(environ, path)
        client = _client(environ)
        who, by_cookie = Who(role=""), False
        if route is None or route.roles is not None:
            who, by_cookie = self._logins.who(headers, client)
        if route is None:
            return self._slashed(environ, path) or Reply(b"404 page not found", 404, "text/plain")
        if route.roles is not None:
            api_auth.check_rights(who, method, route.roles)
        api_auth.check_origin(method, headers, environ["wsgi.url_scheme"], by_cookie)
        most = route.most or (TENANT_BODY if who.role == TENANT else MAX_BODY)
        body = self._bodies.of(who, client, environ, most)
        request = Request(
            method=method,
            path=path,
            arguments=arguments,
            query=_query(environ.get("QUERY_STRING", "")),
            headers=headers,
            who=who,
            client=client,
            read=body.read,
            step=Breaths(),
            gone=environ.get("tunrouter.gone", lambda: False),
        )
        try:
            return route.handler(request)
        finally:
            body.close()

    def _slashed(self, environ: Mapping[str, Any], path: str) -> Reply | None:
        """The answer to who has ended a path of GOST's with a slash too much: where it is, as GOST tells."""
        plain = path.rstrip("/")
        if plain == path or not plain.startswith("/config") or self._route(environ, plain)[0] is None:
            return None
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        where = quote(f"{self._settings.prefix}{plain}") + query
        return Reply(b"", 301 if environ["REQUEST_METHOD"] == "GET" else 307, headers=(("Location", where),))

    def _path(self, environ: Mapping[str, Any]) -> str:
        """The path without the prefix; one that is not below it is none of ours, and empty."""
        try:
            path = environ["PATH_INFO"].encode("latin-1").decode("utf-8")
        except UnicodeError:
            raise Refused(400, "the path is not UTF-8") from None
        prefix = self._settings.prefix
        if prefix and path != prefix and not path.startswith(f"{prefix}/"):
            return ""
        return path[len(prefix) :] or "/"

    def _route(self, environ: Mapping[str, Any], path: str) -> tuple[Route | None, dict[str, str]]:
        try:
            route, arguments = self._router.match(
                {"PATH_INFO": path or "/.", "REQUEST_METHOD": environ["REQUEST_METHOD"]}
            )
        except bottle.HTTPError:
            return None, {}
        return (route, arguments) if path else (None, {})


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    found = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
    found["content-type"] = environ.get("CONTENT_TYPE") or ""
    return found


def _client(environ: Mapping[str, Any]) -> str:
    address = environ.get("REMOTE_ADDR") or ""
    return join_host_port(address, environ.get("REMOTE_PORT", "")) if address else ""


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_QUERY))
    except ValueError:
        raise Refused(400, f"a query of more than {MAX_QUERY} parameters") from None


def _may_be_packed(
    kind: str, own: set[str], body: bytes | Iterator[bytes], environ: Mapping[str, Any]
) -> bool:
    """Whether an answer is sent compressed.

    Not to a change, whose answer may be a secret beside what the asker has written: its length would tell of
    both (the attack called BREACH). And not one with an ETag, which names these very bytes.
    """
    return (
        environ["REQUEST_METHOD"] == "GET"
        and kind == JSON
        and own.isdisjoint(("etag", "content-encoding"))
        and (not isinstance(body, bytes) or len(body) >= api_gzip.LEAST)
        and api_gzip.accepts(environ.get("HTTP_ACCEPT_ENCODING", ""))
    )


def _whole(made: Iterator[bytes]) -> bytes | Iterator[bytes]:
    """Pieces as bytes, whose length can be told, where there is one only."""
    first = next(made, b"")
    second = next(made, None)
    return first if second is None else _chained(first, second, made)


def _chained(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest
