"""Measurements of the demo: round-trip times and a TCP load.

Knows: ICMP echo, and how to keep one TCP connection full.
Refuses to know: how the results are shown (demo).

It needs neither ping nor iperf3. Sockets are made inside a namespace and used from outside.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack

import gevent
from gevent import socket

from lib.demo_net import Namespace, inside
from lib.errors import HostError
from lib.packet import checksum
from lib.stream_deadline import within

ECHO_TIMEOUT = 1.0
PORT = 7000

_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_ECHO_REQUEST = 8
_ECHO_REPLY = 0
_PAYLOAD = bytes(range(56))
_CHUNK = 256 << 10
_CHUNKS_A_TURN = 8
"""Chunks after which other greenlets get their turn: a socket that always has data never yields by itself."""


def ping(source: Namespace, address: str, count: int, interval: float) -> list[float]:
    """Send echo requests; returns the round-trip times, in seconds, of those that got a reply."""
    with inside(source):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with sock:
        sock.connect((address, 0))
        times = []
        for number in range(count):
            if number:
                gevent.sleep(interval)
            taken = _echo(sock, number)
            if taken is not None:
                times.append(taken)
    return times


def keep_pinging(source: Namespace, address: str, interval: float, times: list[float]) -> None:
    """Ping until this greenlet is killed; adds each round-trip time, in seconds, to `times`."""
    while True:
        times += ping(source, address, 1, 0.0)
        gevent.sleep(interval)


def _echo(sock: socket.socket, number: int) -> float | None:
    identifier = os.getpid() & 0xFFFF
    bare = _ECHO.pack(_ECHO_REQUEST, 0, 0, identifier, number) + _PAYLOAD
    request = _ECHO.pack(_ECHO_REQUEST, 0, checksum(bare), identifier, number) + _PAYLOAD
    started = time.monotonic()
    try:
        with gevent.Timeout(ECHO_TIMEOUT, False):
            sock.send(request)
            while not _is_reply(sock.recv(2048), identifier, number):
                pass
            return time.monotonic() - started
    except OSError:
        pass  # an ICMP error, or no route: no echo reply either way
    return None


def _is_reply(packet: bytes, identifier: int, number: int) -> bool:
    start = (packet[0] & 15) * 4
    kind, _, _, *rest = _ECHO.unpack_from(packet, start)
    return kind == _ECHO_REPLY and rest == [identifier, number]


class Load:
    """One TCP connection kept full from one namespace to an address in another.

    received   bytes that have arrived
    """

    def __init__(self, source: Namespace, sink: Namespace, address: str, stack: ExitStack) -> None:
        """Connect and begin to send; ends with the stack. Raises HostError where there is no connection."""
        with inside(sink):
            server = stack.enter_context(socket.socket())
        with inside(source):
            client = stack.enter_context(socket.socket())
        server.bind((address, PORT))
        server.listen(1)
        try:
            with within(10, lambda: TimeoutError("no reply in 10 s")):
                client.connect((address, PORT))
                connection = stack.enter_context(server.accept()[0])
        except OSError as error:
            raise HostError(f"TCP to {address}: {error.strerror or error}") from None
        self.received = 0
        self._started = time.monotonic()
        buffer = bytearray(_CHUNK)
        pumps = [gevent.spawn(self._send, client), gevent.spawn(self._receive, connection, buffer)]
        stack.callback(gevent.killall, pumps)

    def rate(self) -> float:
        """The average rate of what has arrived since the beginning, in bits a second."""
        return self.received * 8 / (time.monotonic() - self._started)

    def _send(self, client: socket.socket) -> None:
        data = bytes(_CHUNK)
        _repeat(lambda: client.send(data))

    def _receive(self, connection: socket.socket, buffer: bytearray) -> None:
        def receive() -> int:
            size: int = connection.recv_into(buffer)
            self.received += size
            return size

        _repeat(receive)


def _repeat(step: Callable[[], int]) -> None:
    """Repeat a step until it moves no more bytes, or raises OSError: the connection has ended then."""
    try:
        while True:
            for _ in range(_CHUNKS_A_TURN):
                if not step():
                    return
            gevent.sleep(0)
    except OSError:
        pass
