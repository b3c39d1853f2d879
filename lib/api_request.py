"""Requests to the web API and replies to them, apart from any HTTP server.

Knows: what a handler is given and returns, GOST's error codes, how a body is read.
Refuses to know: sockets and WSGI (api_app), which paths there are (api_routes).

    Request -> handler -> Reply, or Refused is raised

A handler reads `request.who` where its answer depends on who asks; whether they may ask at all is settled
before (api_auth), by the rights that stand beside its path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lib import api_json
from lib.config_findings import at_once
from lib.settings_api import ADMIN, TENANT, VIEWER

INVALID, DUPLICATE, NOT_FOUND = 40001, 40002, 40004
CREATE_FAILED, SAVE_FAILED = 40003, 40005
"""GOST's codes in the body of an error; those of the first line have status 400, those of the second 500."""
STATUS = {INVALID: 400, DUPLICATE: 400, NOT_FOUND: 400, CREATE_FAILED: 500, SAVE_FAILED: 500}

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Who:
    """Who has sent a request."""

    name: str = ""
    """The user name; empty where the API asks for no login."""
    role: str = ADMIN
    """ADMIN, VIEWER or TENANT (settings_api)."""
    namespace: bytes | None = None
    """The one namespace (16 bytes) of a tenant; None for everybody else."""
    has_login: bool = False
    """Whether a login was asked for and was right: without one some changes are refused (api_guard)."""
    valid: Callable[[], bool] = lambda: True
    """Whether the login still counts: a stream asks now and then."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was let in."""

    method: str
    path: str
    """Without the API's pathPrefix: `/config/services/s`."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """The parts of the path that a route names: `{"name": "s"}` for `/config/services/<name>`."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The parameters of the query; of several with one name the last one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header names in lower case."""
    who: Who = Who()
    client: str = ""
    """Where it comes from: address:port, or empty for a unix socket."""
    read: Callable[[], bytes] = lambda: b""
    """Reads the body. Raises Refused where it is too long or does not come."""
    step: Callable[[], None] = at_once
    """Is called after each little piece of work on it."""
    gone: Callable[[], bool] = lambda: False
    """Whether whoever has sent it has closed the connection."""

    def json(self) -> Any:
        """The body as JSON (api_json), None for an empty one. Raises Refused."""
        try:
            return api_json.parsed(self.read(), self.step)
        except api_json.Beyond as bound:
            raise Refused(INVALID, f"the body is {bound}") from None
        except ValueError as wrong:
            raise Refused(INVALID, f"the body is not JSON: {str(wrong)[:200]}") from None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a value that becomes JSON, bytes, or pieces of bytes that are made while they are sent."""

    body: object = None
    """A dict (JSON; iterators within it are arrays), or bytes, or an iterator of bytes."""
    status: int = 200
    kind: str = JSON
    """The Content-Type."""
    headers: tuple[tuple[str, str], ...] = ()
    streams: bool = False
    """Whether the body has no end that can be waited for (server-sent events): each piece is sent at once."""


Handler = Callable[[Request], Reply]


ADMINS, ALL_READ = frozenset({ADMIN}), frozenset({ADMIN, VIEWER})
TENANTS, EVERYBODY = frozenset({ADMIN, TENANT}), frozenset({ADMIN, VIEWER, TENANT})
"""Whom a path is for. A handler for tenants too shows and changes what is theirs alone (`request.who`)."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the API, as bottle spells it: `/config/services/<name>`."""

    method: str
    rule: str
    handler: Handler
    roles: frozenset[str] | None = ADMINS
    """Whom it is for; None for everybody, without a login."""
    most: int = 0
    """Bytes of a body that are read; 0 for what the server takes at most (api_app)."""


class Refused(Exception):
    """A request that is not answered with what it asks for: the status, and GOST's code with a message."""

    def __init__(
        self,
        code: int,
        message: str,
        status: int = 0,
        headers: tuple[tuple[str, str], ...] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.headers = code, message, headers
        self.hint = hint
        """What to do about it; in the answer only where there is something."""
        self.status = status or STATUS.get(code, code)

    def reply(self) -> Reply:
        """The answer that says so, as GOST's."""
        hint = {"hint": self.hint} if self.hint else {}
        return Reply({"code": self.code, "msg": self.message, **hint}, self.status, headers=self.headers)


_encode = msgspec.json.Encoder().encode
"""Fifteen times as fast as json's, which is left with what this one refuses: halves of characters."""
_encode_all = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_ESCAPED = [(one.encode(), f"\\u{ord(one):04x}".encode()) for one in "<>&\u2028\u2029"]
_ROWS = 16
"""Rows that are encoded at once."""


def encoded(value: object) -> bytes:
    """A value as JSON, as Go writes it: `<`, `>` and `&` are escaped, so no browser takes it for markup."""
    try:
        made = _encode(value)
    except (TypeError, UnicodeEncodeError):
        made = _encode_all(value).encode("utf-8", "backslashreplace")
    for letter, escaped in _ESCAPED:
        made = made.replace(letter, escaped)
    return made


def pieces(value: object) -> Iterator[bytes]:
    """A value as JSON in small pieces; an iterator anywhere within it is an array of what it yields.

    Rows of bytes are JSON already. An iterator that yields None has worked for a while and has no row yet:
    that ends a piece.
    """
    if isinstance(value, Mapping):
        before = b"{"
        for name, inner in value.items():
            yield before + encoded(str(name)) + b":"
            yield from pieces(inner)
            before = b","
        yield b"}" if value else b"{}"
    elif isinstance(value, Iterator):
        yield from _rows(value)
    else:
        yield encoded(value)


def _rows(rows: Iterator[object]) -> Iterator[bytes]:
    before, batch = b"[", []
    for row in rows:
        if row is not None:
            batch.append(row if isinstance(row, bytes) else encoded(row))
        if row is None or len(batch) == _ROWS:
            if batch:
                yield before + b",".join(batch)
                before, batch = b",", []
            else:
                yield b""
    yield (before + b",".join(batch) if batch or before == b"[" else b"") + b"]"
