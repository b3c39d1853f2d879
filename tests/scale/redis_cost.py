"""What a real Redis spends on the registry of a cluster: CPU time of a renewal, and of a message for each subscriber.

    .venv/bin/python -m tests.scale.redis_cost          # as root, some seconds

Its CPU time is taken, not how long it takes: the server has one thread for all this, so what it spends is where
one of its cores ends, whatever else the machine does.
"""

from __future__ import annotations

import json
import select
import socket
import tempfile
import threading
from pathlib import Path

from lib import framing
from lib.cluster_claims import HEADER, Claims, Clocks
from lib.cluster_seal import SharedSeal
from tests.bench.quiet import cpu_seconds
from tests.support.netns import Namespace, in_namespace
from tests.support.redis_server import PORT, Redis

SUBSCRIBERS, MESSAGES, RENEWALS = 200, 4000, 20000
TOGETHER = (1, 50)
"""Commands that come at once: one by one, as where little is to be done, and as many as a busy server finds."""


def command(*words: bytes) -> bytes:
    """A command as it is sent."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def connected(namespace: Namespace) -> socket.socket:
    """A connection with the server."""
    with in_namespace(namespace.name):
        return socket.create_connection(("127.0.0.1", PORT))


class Listeners:
    """Subscribers, which read all that comes and forget it."""

    def __init__(self, namespace: Namespace, count: int) -> None:
        self.bytes = 0
        self._poll = select.epoll()
        self._sockets = {}
        for _ in range(count):
            sock = connected(namespace)
            sock.sendall(command(b"SUBSCRIBE", b"changes"))
            sock.recv(1 << 16)
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock.fileno(), select.EPOLLIN)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            for number, _ in self._poll.poll():
                self.bytes += len(self._sockets[number].recv(1 << 18))


def ask(sock: socket.socket, many: bytes, ends: bytes, count: int) -> None:
    """Send commands, and wait until so many replies that end so have come."""
    sock.sendall(many)
    found, kept = 0, b""
    while found < count:
        kept += sock.recv(1 << 16)
        found += kept.count(ends)
        kept = kept[-len(ends) + 1 :] if len(ends) > 1 else b""


def main() -> None:
    """Measure, and print."""
    sign = SharedSeal(b"k" * 32, "gost").sign
    claims = Claims("hub-1", "hub-1.example:8444", 1_800_000_000_000, sign, "tunrouter 0.1.0")
    hub = claims.header(Clocks(1_800_000_000_000, 0))
    published = framing.encode(hub)
    renewal = b"".join(
        (
            command(b"MULTI"),
            command(b"HSET", b"hub:hub-1", HEADER, hub),
            command(b"PEXPIRE", b"hub:hub-1", b"86400000"),
            command(b"HLEN", b"hub:hub-1"),
            command(b"PUBLISH", b"nobody", published),
            command(b"EXEC"),
        )
    )
    publish = command(b"PUBLISH", b"changes", published)
    with tempfile.TemporaryDirectory() as work, Namespace("redis", Path(work)) as namespace:
        redis = Redis(namespace)
        redis.start()
        (pid,) = namespace.pids()
        sock = connected(namespace)
        figures: dict[str, float] = {"message_bytes": len(published)}
        for many in TOGETHER:
            began = cpu_seconds(pid)
            for _ in range(RENEWALS // many):
                ask(sock, renewal * many, b"*4\r\n", many)
            each = (cpu_seconds(pid) - began) / RENEWALS
            figures[f"cpu_us_a_renewal_{many}"] = round(each * 1e6, 1)
        Listeners(namespace, SUBSCRIBERS)
        for many in TOGETHER:
            began = cpu_seconds(pid)
            for _ in range(MESSAGES // many):
                ask(sock, publish * many, b":%d\r\n" % SUBSCRIBERS, many)
            delivery = (cpu_seconds(pid) - began) / MESSAGES / SUBSCRIBERS
            figures[f"cpu_us_a_delivery_{many}"] = round(delivery * 1e6, 3)
            figures[f"hubs_that_fill_a_core_{many}"] = int((1 / delivery) ** 0.5)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
