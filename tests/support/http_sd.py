"""An sd as an HTTP server, as GOST's sd plugins are: python -m tests.support.http_sd '{…}'

The one argument is JSON:

    {"port": 8002, "ttl": 30, "mode": PATH}

It keeps what it is told in memory, for `ttl` seconds after the last renewal. Each call is printed as
`asked METHOD {fields}`. The file `mode` is read at each call, where there is one; it holds JSON:

    {"slow": SECONDS, "status": 500, "lies": [SERVICE], "body": TEXT}

`lies` are services that a GET replies with, whatever was asked; `body` is sent instead of JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: dict[str, Any]
    known: dict[str, tuple[float, dict[str, str]]]
    """Id of a session -> (until when, what is known of it)."""

    def _told(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mode = self._begin(fields)
        with _lock:
            until, ok = time.monotonic() + self.script.get("ttl", 30), True
            if self.command == "POST":
                self.known[fields["id"]] = until, fields
            elif self.command == "DELETE":
                self.known.pop(fields["id"], None)
            elif fields["id"] in self.known:
                self.known[fields["id"]] = until, self.known[fields["id"]][1]
            else:
                ok = False
        self._send(mode, {"ok": ok})

    do_POST = do_PUT = do_DELETE = _told

    def do_GET(self) -> None:
        name = parse_qs(urlsplit(self.path).query)["name"][0]
        mode = self._begin({"name": name})
        with _lock:
            found = [
                one for until, one in self.known.values() if until > time.monotonic() and one["name"] == name
            ]
        self._send(mode, {"services": mode.get("lies", found)})

    def _begin(self, fields: dict[str, str]) -> dict[str, Any]:
        print(f"asked {self.command} {json.dumps(fields)}", flush=True)
        path = Path(self.script.get("mode") or "/nonexistent")
        mode: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        time.sleep(mode.get("slow", 0))
        return mode

    def _send(self, mode: dict[str, Any], reply: dict[str, Any]) -> None:
        body = mode["body"].encode() if "body" in mode else json.dumps(reply).encode()
        self.send_response(mode.get("status", 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        pass  # a hub that was killed, or waits no longer, has reset its connection


def main(script: dict[str, Any]) -> None:
    """Serve until killed."""
    handler = type("Handler", (_Handler,), {"script": script, "known": {}})
    server = _Server(("127.0.0.1", script.get("port", 8002)), handler)
    print("sd ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
