"""A plugin over HTTP in the process of a test: replies with JSON, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gevent import socket
from gevent.server import StreamServer


@dataclass
class Plugin:
    """What it replies, and what it was asked."""

    url: str = ""
    reply: object = None
    """An object that is sent as JSON, bytes that are sent as they are, or a status in place of 200."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The body of each request."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Its headers, names in lower case."""

    def serve(self, sock: socket.socket, address: object) -> None:
        """One connection."""
        with sock, sock.makefile("rb") as file:
            while file.readline().strip():
                lines = iter(lambda: file.readline().decode().strip(), "")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                self.headers.append(headers)
                self.asked.append(json.loads(file.read(int(headers["content-length"]))))
                status = self.reply if isinstance(self.reply, int) else 200
                body = self.reply if isinstance(self.reply, bytes) else json.dumps(self.reply).encode()
                head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n"
                sock.sendall(head.encode() + body)


@contextmanager
def replying(reply: object) -> Iterator[Plugin]:
    """A plugin that replies so."""
    plugin = Plugin(reply=reply)
    server = StreamServer(("127.0.0.1", 0), plugin.serve)
    server.start()
    plugin.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield plugin
    finally:
        server.stop(timeout=0)
