"""A process with a web API, asked without a connection: as its HTTP server would ask it (PEP 3333).

Knows: how a request becomes an environ, and an answer is put together again. Refuses to know: what is asked.
"""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lib import cli_config
from lib.service_changes import ServiceChanges
from lib.service_parts import Parts
from lib.service_reload import Reloads

NO_OPTIONS = ("--api", "--metrics", "-D", "--only-tunnel", "--user", "--trace")


@dataclass(frozen=True)
class Answer:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Api:
    """A process with a web API."""

    def __init__(self, parts: Parts, changes: ServiceChanges) -> None:
        self.parts, self.changes = parts, changes

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        login: str = "",
        headers: Mapping[str, str] | None = None,
        local: str = "127.0.0.1",
        remote: str = "127.0.0.1",
    ) -> Answer:
        """Ask for a path; a body that is no text or bytes is sent as JSON, `login` is user:password."""
        data = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b""
        if body is not None and not data:
            data = json.dumps(body).encode()
        asked = {"Host": "127.0.0.1", **(headers or {})}
        if login:
            asked["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        url = urlsplit(path)
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(url.path, "latin-1"),
            "QUERY_STRING": url.query,
            "REMOTE_ADDR": remote,
            "REMOTE_PORT": "1",
            "CONTENT_LENGTH": str(len(data)),
            "wsgi.input": io.BytesIO(data),
            "wsgi.url_scheme": "http",
            "tunrouter.local": local,
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in asked.items()},
        }
        begun: list[Any] = []
        assert self.parts.api is not None
        made: Iterable[bytes] = self.parts.api.app(
            environ, lambda status, headers: begun.append((status, headers))
        )
        whole = b"".join(made)
        status, given = begun[0]
        return Answer(int(status.split()[0]), {name.lower(): value for name, value in given}, whole)


def free_port() -> int:
    """A port of TCP that nobody has at this moment."""
    with socket.create_server(("", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def process(path: Path, text: str, **options: Any) -> Iterator[Api]:
    """A process of a configuration, which is written to `path`; PORT in it becomes a free port."""
    if "PORT" in text:
        text = text.replace("PORT", str(free_port()))
    path.write_text(text)
    arguments: dict[str, Any] = dict.fromkeys(NO_OPTIONS) | {"-L": [], "-F": [], "-C": [str(path)]}
    reading = cli_config.Rereading(arguments | {"--control": "none"} | options)
    settings = reading.settings()
    changes = ServiceChanges(reading, Reloads(reading.settings))
    parts = changes.parts = Parts(settings, lambda name: None, lambda: changes)
    try:
        parts.start_tables()
        parts.start_services()
        yield Api(parts, changes)
    finally:
        parts.stop()
