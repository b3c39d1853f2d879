"""A router plugin as an HTTP server: python -m tests.support.http_router '{…}'

The one argument is JSON:

    {"port": 8000,
     "routes": {NAMESPACE or "*": {DST: GATEWAY}},   "*" holds for every namespace
     "held": [DST], "failing": [DST]}

Each request is printed as `asked DST ID`. A held destination is answered after SIGUSR1, a failing
one with status 500.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

released = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: dict[str, Any]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        destination, namespace = query["dst"][0], query["id"][0]
        print(f"asked {destination} {namespace}", flush=True)
        if destination in self.script.get("held", ()):
            released.wait()
        routes = self.script.get("routes", {})
        known = routes.get("*", {}) | routes.get(namespace, {})
        answer = {"dst": destination, "gateway": known[destination]} if destination in known else {}
        self._send(500 if destination in self.script.get("failing", ()) else 200, answer)

    def _send(self, status: int, answer: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def main(script: dict[str, Any]) -> None:
    """Serve until killed."""
    signal.signal(signal.SIGUSR1, lambda *_: released.set())
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", script.get("port", 8000)), handler)
    print("plugin ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
