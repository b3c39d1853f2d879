"""Client of a hub written by hand for attacks: sockets, TLS, WebSocket and the handshake.

Knows: how to get as far as an attack wants, and how to send as fast as the hub reads.
Refuses to know: lib's own transports (they are what is attacked), what the bytes are.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from lib import framing, wire_control, wire_relay
from lib.errors import ProtocolError
from tests.hostile.streams import BINARY, CONTINUATION, UPGRADE, hello, ws_frame
from tests.support.packets import frame

PORTS = {"tcp": 8443, "tls": 8444, "ws": 8445, "wss": 8446}
"""Of a hub in the arena."""
SLOW = 5.0
"""Seconds that a peer waits for a response."""
_scratch = bytearray(1 << 18)
_ABORT = struct.pack("ii", 1, 0)

Socket = Any
"""A socket.socket or an ssl.SSLSocket: mypy knows no common type of them."""
M = TypeVar("M")


def trust() -> ssl.SSLContext:
    """A context that checks nothing."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def is_encrypted(kind: str) -> bool:
    return kind in ("tls", "wss")


def is_websocket(kind: str) -> bool:
    return kind in ("ws", "wss")


def connect(kind: str, hub: str, source: str = "") -> socket.socket:
    """A plain connection to the port of this transport. Raises OSError."""
    return socket.create_connection((hub, PORTS[kind]), SLOW, (source, 0) if source else None)


def abort(sock: Socket) -> None:
    """Close at once by a reset, so that no port stays taken."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    except OSError:
        pass
    sock.close()


def opened(kind: str, hub: str, source: str = "", context: ssl.SSLContext | None = None) -> Socket:
    """A connection with all its layers, not logged in. Raises OSError."""
    sock: Socket = connect(kind, hub, source)
    try:
        if is_encrypted(kind):
            sock = (context or trust()).wrap_socket(sock)
        if is_websocket(kind):
            sock.sendall(UPGRADE)
            _until(sock, b"\r\n\r\n")
    except BaseException:
        abort(sock)
        raise
    return sock


def _until(sock: Socket, mark: bytes) -> None:
    said = b""
    while mark not in said:
        got = sock.recv(4096)
        if not got:
            raise ConnectionError("closed in the middle of the upgrade")
        said += got


def log_in(sock: Socket, kind: str, request: wire_relay.Request) -> int:
    """Send a handshake request and return the status of the response. Raises OSError where none comes."""
    data = wire_relay.encode_request(request)
    sock.sendall(ws_frame(data) if is_websocket(kind) else data)
    said = b""
    while True:
        got = sock.recv(4096)
        if not got:
            raise ConnectionError("closed instead of a response")
        said += got
        plain = messages(said) if is_websocket(kind) else said
        try:
            message = wire_relay.decode_response(plain) if plain else None
        except ProtocolError as error:
            raise ConnectionError(f"{error}: {said[:40]!r}") from None
        if message is not None:
            return message[0].status


def messages(data: bytes) -> bytes:
    """What a hub's binary messages hold, without the frames that are something else."""
    found, at = b"", 0
    while at + 2 <= len(data):
        size, start = data[at + 1] & 0x7F, at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        if data[at] & 0xF in (CONTINUATION, BINARY):
            found += data[start : start + size]
        at = start + size
    return found


def say(sock: Socket, kind: str, content: bytes) -> None:
    """Send one frame. Raises OSError."""
    said = frame(content)
    sock.sendall(ws_frame(said) if is_websocket(kind) else said)


def message(sock: Socket, kind: str, wanted: type[M]) -> M:
    """Wait for a control frame of this kind that says something. Raises OSError where the hub closes."""
    said = b""
    while True:
        got = sock.recv(4096)
        if not got:
            raise ConnectionError(f"closed instead of {wanted.__name__}")
        said += got
        plain, begin = messages(said) if is_websocket(kind) else said, 0
        for end in framing.split(plain):
            content, begin = plain[begin + 2 : end], end
            found = wire_control.decode(content) if content[:1] == bytes([wire_control.MARK]) else None
            if isinstance(found, wanted) and found != wanted():
                return found


def session(kind: str, hub: str, host: str, source: str = "", overlay: str = "", greets: int = -1) -> Socket:
    """A session of this host name; `greets` from 0 on says HELLO as that attacker. Raises OSError."""
    sock = opened(kind, hub, source)
    try:
        if log_in(sock, kind, wire_relay.Request(host, overlay)):
            raise ConnectionError("refused")
        if greets >= 0:
            say(sock, kind, hello(greets))
            if not sock.recv(4096):
                raise ConnectionError("closed instead of HELLO")
    except BaseException:
        abort(sock)
        raise
    return sock


def pump(socks: Sequence[Socket], data: bytes, until: float, reads: bool = True, piece: int = 1 << 30) -> int:
    """Send data again and again on each until the time is up; returns how many bytes the kernel has taken.

    `reads` throws away what comes back meanwhile; without it nothing is ever read. `piece` is the most that
    one send may take. Raises OSError when the hub has closed one.
    """
    view, sent = memoryview(data), 0
    places = {}
    poll = select.poll()
    for sock in socks:
        sock.setblocking(False)
        poll.register(sock, select.POLLOUT | (select.POLLIN if reads else 0))
        places[sock.fileno()] = sock, 0
    while (left := until - time.monotonic()) > 0:
        for number, events in poll.poll(left * 1000):
            sock, at = places[number]
            if events & (select.POLLHUP | select.POLLERR):
                raise ConnectionError("closed by the hub")
            if events & select.POLLIN:
                _throw_away(sock)
            if events & select.POLLOUT:
                took = _some(sock, view[at : at + piece])
                sent += took
                places[number] = sock, (at + took) % len(view)
    return sent


def pace(sock: Socket, data: bytes, every: float, until: float) -> int:
    """Send data once in so many seconds until the time is up; returns how many bytes the kernel has taken.

    What comes back is thrown away. Where the hub takes less, little waits here. Raises OSError as pump does.
    """
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    sent, due, waiting = 0, time.monotonic(), b""
    while (now := time.monotonic()) < until:
        if now >= due:
            due += every
            waiting += data if len(waiting) < 10 * len(data) else b""
        took = _some(sock, memoryview(waiting)) if waiting else 0
        waiting = waiting[took:]
        sent += took
        if poll.poll(max(0.0, due - time.monotonic()) * 1000):
            _throw_away(sock)
    return sent


def _throw_away(sock: Socket) -> None:
    try:
        if not sock.recv_into(_scratch):
            raise ConnectionError("closed by the hub")
    except (BlockingIOError, ssl.SSLWantReadError):
        pass


def _some(sock: Socket, view: memoryview) -> int:
    try:
        return int(sock.send(view))
    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return 0


def drain(sock: Socket, until: float) -> None:
    """Read and throw away until the time is up or the hub closes."""
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while (left := until - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            _throw_away(sock)


class Records:
    """TLS by hand, so that the size of each record is the sender's choice."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust().wrap_bio(self._incoming, self._outgoing)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange()
        self._send()

    def _send(self) -> None:
        self._sock.sendall(self._outgoing.read())

    def _exchange(self) -> None:
        self._send()
        got = self._sock.recv(1 << 16)
        if not got:
            raise ConnectionError("closed by the hub")
        self._incoming.write(got)

    def ask(self, data: bytes, enough: bytes = b"") -> bytes:
        """Send as one record and return what comes back, up to a mark if there is one."""
        self._tls.write(data)
        said = b""
        while not said or enough not in said:
            try:
                said += self._tls.read(4096)
            except ssl.SSLWantReadError:
                self._exchange()
        return said

    def send(self, data: bytes, size: int) -> None:
        """Send in records of `size` bytes. Raises OSError."""
        write = self._tls.write
        for at in range(0, len(data), size):
            write(data[at : at + size])
        self._send()


def client_hello() -> bytes:
    """A TLS ClientHello, to which any server responds with its share of the work."""
    outgoing = ssl.MemoryBIO()
    tls = trust().wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
