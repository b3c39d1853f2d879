"""Many hosts of a hub in one cheap process: they join, take SETTINGS, reply to it, and note when it came.

    .venv/bin/python tests/bench/push_hosts.py PORT COUNT      lines on standard input ask, lines on output reply

Knows: the handshake, HELLO, and as much of control frames as a host needs that only listens.
Refuses to know: what is in SETTINGS, and what is measured (push).

    forget    forget what has come
    tell      {"told": hosts that SETTINGS has come to, "again": more than once, "last": when, "bytes": longest}

The time is CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib import framing, push_settings, wire_control
from lib.wire_control import Feature, Ping, Type
from lib.wire_relay import Request
from tests.support import sessions

JOIN_GAP_SECONDS = 0.001
"""Between two hosts that join: a storm is not what is measured."""
_SERIAL = bytes((push_settings.Field.SERIAL, 0, 4))
_SETTINGS = bytes((wire_control.MARK, Type.SETTINGS))
_PING = bytes((wire_control.MARK, Type.PING))


@dataclass(slots=True)
class Host:
    """One host: its socket, and the beginning of a frame that is not whole yet."""

    socket: socket.socket
    rest: bytearray
    came: list[tuple[float, int]] = field(default_factory=list)
    """When SETTINGS came, and its bytes."""

    def receive(self) -> None:
        """Take what has come, and reply to it. Raises ConnectionError where the hub has closed."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the hub has closed a session")
        self.rest += received
        while len(self.rest) >= 2:
            end = 2 + int.from_bytes(self.rest[:2], "big")
            if len(self.rest) < end:
                return
            self._take(bytes(self.rest[2:end]))
            del self.rest[:end]

    def _take(self, content: bytes) -> None:
        if content.startswith(_SETTINGS):
            self.came.append((time.monotonic(), len(content)))
            at = content.index(_SERIAL)  # it comes first (push_settings)
            self.socket.sendall(framing.encode(wire_control.encode_settings(content[at : at + 7])))
        elif content.startswith(_PING):
            ping = wire_control.decode(content)
            assert isinstance(ping, Ping)
            self.socket.sendall(framing.encode(wire_control.encode_pong(ping.token)))


def joined(port: int, name: str, features: int = 0) -> Host:
    """A host that the hub has let in; with `features` it says HELLO."""
    sock, rest = sessions.joined(("127.0.0.1", port), Request(name), features)
    return Host(sock, bytearray(rest))


def _summary(hosts: list[Host]) -> str:
    told = [host.came for host in hosts if host.came]
    return json.dumps(
        {
            "told": len(told),
            "again": sum(len(came) > 1 for came in told),
            "last": max((came[0][0] for came in told), default=0.0),
            "bytes": max((size for came in told for _, size in came), default=0),
        }
    )


def main() -> None:
    """Join, and serve standard input until it ends."""
    port, count = map(int, sys.argv[1:])
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    hosts: dict[int, Host] = {}
    while True:
        if len(hosts) < count:
            host = joined(port, f"host-{len(hosts)}", Feature.SETTINGS | Feature.KEEPALIVE)
            hosts[host.socket.fileno()] = host
            poll.register(host.socket.fileno(), select.EPOLLIN)
        for number, _ in poll.poll(JOIN_GAP_SECONDS if len(hosts) < count else None):
            if number:
                hosts[number].receive()
                continue
            line = os.read(0, 4096).decode()
            if not line:
                return
            if "forget" in line:
                for host in hosts.values():
                    host.came.clear()
            print(_summary([*hosts.values()]), flush=True)


if __name__ == "__main__":
    main()
