"""A plugin as a real gRPC server: python -m tests.support.grpc_plugin '{…}'

The one argument is JSON:

    {"port": 8001, "token": "",
     "routes": {NAMESPACE or "*": {DST: GATEWAY}}, "rules": {HOST: ENDPOINT}, "logins": {NAME: PASSWORD},
     "nodes": {HOST: NODE}, "limits": {SCOPE: [IN, OUT]}, "admitted": [ADDRESS:PORT], "untaken": [SERVICE],
     "failing": [DST], "held": [DST], "tls": false}

Each call is printed as `asked METHOD {fields}`. A held destination is answered after SIGUSR1, a failing one
with status UNAVAILABLE; with a token a call without it is UNAUTHENTICATED. Messages are protobuf by hand
(every field a text, a bool `ok`), so that ours are read by somebody else's code.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

released = threading.Event()
TLS = Path(__file__).parents[1] / "data" / "tls"
"""A key and a certificate for plugin.test and 127.0.0.1, signed by itself."""


def read(data: bytes) -> dict[int, str]:
    """field number -> text, of a message of texts shorter than 16,384 bytes."""
    fields: dict[int, str] = {}
    while data:
        number, kind = data[0] >> 3, data[0] & 7
        assert kind == 2, "only texts are sent"
        length, used = data[1], 2
        if length & 0x80:
            length, used = length & 0x7F | data[2] << 7, 3
        fields[number] = data[used : used + length].decode()
        data = data[used + length :]
    return fields


def write(*fields: str | bool) -> bytes:
    """A message of these fields, numbered from 1; empty ones are left out."""
    message = b""
    for number, value in enumerate(fields, 1):
        if value is True:
            message += bytes([number << 3, 1])
        elif isinstance(value, str) and value:
            text = value.encode()
            message += bytes([number << 3 | 2, len(text)]) + text
    return message


def varint(value: int) -> bytes:
    """A number as protobuf has it, of 64 bits."""
    value, data = value & (1 << 64) - 1, b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


class Plugin(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Replies as the script says."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.methods: dict[str, tuple[str, Callable[..., bytes]]] = {
            "/proto.Router/GetRoute": ("dst id", self.route),
            "/proto.Ingress/GetRule": ("host service", self.rule),
            "/proto.Authenticator/Authenticate": ("username password client service", self.login),
            "/proto.Admission/Admit": ("addr service network", self.admit),
            "/proto.Observer/Observe": ("events", self.observe),
            "/proto.Hop/Select": ("network addr host client path src", self.select),
            "/proto.Limiter/Limit": ("network addr client src service scope", self.limit),
            "/proto.SD/Register": ("service", self.register),
            "/proto.SD/Renew": ("service", self.renew),
            "/proto.SD/Deregister": ("service", self.deregister),
            "/proto.SD/Get": ("name", self.services),
        }
        self.sessions: dict[str, bytes] = {}
        """Id of a session -> what an sd is told of it, as it was encoded."""

    def service(self, call: Any) -> Any:
        """The handler of a method."""
        if call.method not in self.methods:
            return None
        names, answer = self.methods[call.method]

        def handle(request: bytes, context: Any) -> bytes:
            values = read(request)
            fields = {name: values.get(number, "") for number, name in enumerate(names.split(), 1)}
            print("asked", call.method.rpartition("/")[2], json.dumps(fields), flush=True)
            token = dict(context.invocation_metadata()).get("token", "")
            if token != self.script.get("token", ""):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token: é")
            return answer(context, **fields)

        return grpc.unary_unary_rpc_method_handler(handle)

    def route(self, context: Any, dst: str, id: str) -> bytes:
        """GetRoute."""
        if dst in self.script.get("failing", ()):
            context.abort(grpc.StatusCode.UNAVAILABLE, "out of order")
        if dst in self.script.get("held", ()):
            released.wait()
        routes = self.script.get("routes", {})
        gateway = (routes.get("*", {}) | routes.get(id, {})).get(dst, "")
        return write(dst, gateway) if gateway else b""

    def rule(self, context: Any, host: str, service: str) -> bytes:
        """GetRule."""
        return write(self.script.get("rules", {}).get(host, ""))

    def select(self, context: Any, host: str, **others: str) -> bytes:
        """Select: the node's JSON is bytes, which look as a text does."""
        node = self.script.get("nodes", {}).get(host)
        return write(json.dumps(node)) if node else b""

    def limit(self, context: Any, scope: str, **others: str) -> bytes:
        """Limit: two int64, of which 0 is left out."""
        into, out = self.script.get("limits", {}).get(scope, (0, 0))
        return b"".join(bytes([number << 3]) + varint(rate) for number, rate in ((1, into), (2, out)) if rate)

    def register(self, context: Any, service: str) -> bytes:
        """Register."""
        message = service.encode()
        self.sessions[read(message)[1]] = message
        return write(True)

    def renew(self, context: Any, service: str) -> bytes:
        """Renew: of a session that is known."""
        return write(read(service.encode())[1] in self.sessions)

    def deregister(self, context: Any, service: str) -> bytes:
        """Deregister."""
        self.sessions.pop(read(service.encode())[1], None)
        return write(True)

    def services(self, context: Any, name: str) -> bytes:
        """Get: every session of that name."""
        found = [message for message in self.sessions.values() if read(message)[2] == name]
        return b"".join(bytes([1 << 3 | 2]) + varint(len(message)) + message for message in found)

    def admit(self, context: Any, addr: str, **others: str) -> bytes:
        """Admit."""
        return write(addr in self.script.get("admitted", ()))

    def observe(self, context: Any, events: str) -> bytes:
        """Observe: one event with a state has nothing but texts."""
        return write(not any(service in events for service in self.script.get("untaken", ())))

    def login(self, context: Any, username: str, password: str, client: str, service: str) -> bytes:
        """Authenticate."""
        return write(bool(password) and self.script.get("logins", {}).get(username) == password)


def main(script: dict[str, Any]) -> None:
    """Serve until killed."""
    signal.signal(signal.SIGUSR1, lambda *_: released.set())
    server = grpc.server(ThreadPoolExecutor(32), handlers=[Plugin(script)])
    address = f"127.0.0.1:{script.get('port', 8001)}"
    if script.get("tls"):
        key, cert = ((TLS / f"{name}.pem").read_bytes() for name in ("key", "cert"))
        port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, cert)]))
    else:
        port = server.add_insecure_port(address)
    server.start()
    print("plugin ready", port, flush=True)
    signal.pause()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
