"""Thousands of clients of a hub in one process: each is let in, stays, replies, and comes again as clients do.

    python -m tests.bench.crowd_clients tcp|tls HUB PORT FIRST COUNT SOURCE,SOURCE,…

Every quarter of a second it prints how things stand, as a line of JSON:

    {"at": 1.0, "in": 4711, "dialled": 5000, "lost": {"reset": 12}}    `at` is CLOCK_MONOTONIC, which all processes share

Knows: what a client without a device does: TCP, TLS, the handshake, HELLO, PONG, and its own delays (client_backoff).
Refuses to know: packets, none are sent; what is measured (crowd).
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from contextlib import nullcontext
from typing import Any

import gevent
from gevent import socket, ssl
from gevent.lock import BoundedSemaphore

from lib import framing, packet_offload, session_keepalive, wire_control
from lib.client_backoff import LOST, Backoff
from lib.client_reconnect import STEADY_SECONDS
from lib.session_keepalive import Liveness
from lib.settings import DEFAULT_KEEPALIVE
from lib.wire_control import Drain, Hello, Ping, Switch
from lib.wire_relay import Request, Status, decode_response, encode_request

CONNECT_SECONDS = 10.0
"""As connect_timeout of a client: TCP, TLS and the handshake together."""
TELL_SECONDS = 0.25
TLS_AT_ONCE = 200
"""Clients that dial at the same moment over TLS. To a client a handshake costs as much as to the hub, and these have one
processor for all: of 5,000 that share it, each takes longer than CONNECT_SECONDS, so that none is ever in."""
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT (ip(7)): the port is chosen by connect(2), so that it may be one that another hub's
connection has. Python 3.11 has no name for it."""


class Crowd:
    """All clients of this process, and what has become of them."""

    def __init__(self, kind: str, hub: tuple[str, int], sources: list[str]) -> None:
        """`kind` is tcp or tls; clients come from all of `sources` in turn."""
        self._hub, self._sources = hub, sources
        self._context: Any = None
        if kind == "tls":
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._dials: Any = BoundedSemaphore(TLS_AT_ONCE) if kind == "tls" else nullcontext()
        self.inside = self.dialled = 0
        self.lost: Counter[str] = Counter()
        """Why sessions ended, and connections failed."""

    def live(self, number: int) -> None:
        """Be a client for as long as the process lives."""
        backoff = Backoff()
        while True:
            joined = float("inf")
            try:
                with self._dials:
                    self.dialled += 1
                    with gevent.Timeout(CONNECT_SECONDS, TimeoutError(110, "late")):
                        sock, rest = self._dialled(number)
                joined = time.monotonic()
                self.inside += 1
                try:
                    self._stay(sock, rest)
                finally:
                    self.inside -= 1
                    sock.close()
            except OSError as error:
                self.lost[error.strerror or str(error)] += 1
            now = time.monotonic()
            if now - joined > STEADY_SECONDS:
                backoff.reset()
            gevent.sleep(backoff.next(LOST, 1, now, random.random()))

    def _dialled(self, number: int) -> tuple[Any, bytes]:
        """A session, and what came behind the hub's response. Raises OSError."""
        sock: Any = socket.socket()
        try:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self._sources[number % len(self._sources)], 0))
            sock.connect(self._hub)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock)
            sock.sendall(encode_request(Request(f"host-{number}", f"10.{number >> 16}.0.1")))
            came = b""
            while (decoded := decode_response(came)) is None:
                came += _received(sock)
            response, size = decoded
            if response.status != Status.OK:
                raise OSError(0, f"refused with status {response.status}")
            hello = Hello(
                os.urandom(wire_control.INSTANCE_SIZE),
                packet_offload.ALL,
                1420,
                "crowd",
                wire_control.ALL_FEATURES,
            )
            sock.sendall(framing.encode(wire_control.encode_hello(hello)))
            rest = bytearray(came[size:])
            while len(rest) < 2 or len(rest) < 2 + int.from_bytes(rest[:2], "big"):  # the hub's HELLO
                rest += _received(sock)
        except BaseException:
            sock.close()
            raise
        return sock, bytes(rest)

    def _stay(self, sock: Any, rest: bytes) -> None:
        """Reply to all that comes, as a client's keepalive does, until the session ends. Raises OSError."""
        liveness, waiting = (
            Liveness(DEFAULT_KEEPALIVE, time.monotonic(), follows=True),
            bytearray(rest),
        )
        while True:
            while len(waiting) >= 2 and len(waiting) >= (end := 2 + int.from_bytes(waiting[:2], "big")):
                content = bytes(waiting[2:end])
                del waiting[:end]
                message = wire_control.decode(content) if content[:1] == bytes([wire_control.MARK]) else None
                said = b""
                if isinstance(message, Ping):
                    now = time.monotonic()
                    said = framing.encode(wire_control.encode_pong(message.token))
                    if liveness.asked(now):
                        said += framing.encode(wire_control.encode_ping(session_keepalive.token(now)))
                elif isinstance(message, Drain):  # there is no other hub to go to
                    said = framing.encode(wire_control.encode_drain())
                elif isinstance(message, Switch):
                    said = framing.encode(wire_control.encode_switch())
                if said:
                    sock.sendall(said)
            waiting += _received(sock)


def _received(sock: Any) -> bytes:
    data: bytes = sock.recv(4096)
    if not data:
        raise OSError(0, "closed by the hub")
    return data


def main() -> None:
    """Be all clients, and tell how things stand, until killed."""
    kind, hub, port, first, count, sources = sys.argv[1:]
    crowd = Crowd(kind, (hub, int(port)), sources.split(","))
    for number in range(int(first), int(first) + int(count)):
        gevent.spawn(crowd.live, number)
    while True:
        found = {"at": time.monotonic(), "in": crowd.inside, "dialled": crowd.dialled}
        print(json.dumps({**found, "lost": dict(crowd.lost)}), flush=True)
        gevent.sleep(TELL_SECONDS)


if __name__ == "__main__":
    main()
