"""Fake servers that misbehave (plugins, Redis, proxies, hubs), one a process: python -m tests.support.liars PROTOCOL PORT MOOD_FILE

MOOD_FILE holds the name of a lie, or `good`. It is read for every connection and every request, and an endless
lie ends when it changes. LIES has the names by protocol: endless interim responses, endless tiny frames,
a byte now and then, huge lengths, garbage, an end in the middle, silence, a wrong type, redirects to nonsense.

Knows: HTTP/1.1, gRPC over HTTP/2, Redis (RESP), SOCKS5, HTTP CONNECT, TLS.
Refuses to know: what a test expects.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

BULK = 1 << 16
ROUTES = {"192.168.123.1": "host-1", "192.168.123.2": "host-2"}


@dataclass(frozen=True)
class Lie:
    """Bytes to say first, then those to say for ever, all at once or one piece a pause (seconds)."""

    first: bytes = b""
    again: bytes = b""
    pause: float = 0.0
    close: bool = False
    """Whether the connection ends after `first`; otherwise silence follows."""


def lies(*pairs: tuple[str, Lie]) -> Mapping[str, Lie]:
    """By name, with those that fit every protocol."""
    garbage = random.Random(7).randbytes(BULK)
    common = {
        "silence": Lie(),
        "closes at once": Lie(close=True),
        "garbage": Lie(garbage, close=True),
        "garbage for ever": Lie(garbage, garbage),
        "zeros for ever": Lie(again=bytes(64)),
        "line ends for ever": Lie(again=b"\r\n"),
        "a line without end": Lie(again=b"x"),
    }
    return {**dict(pairs), **common}


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIPPED = OK + b"Content-Encoding: gzip\r\n"
BOMB = gzip.compress(bytes(1 << 20)) * 320
PING_ACK = bytes.fromhex("000008060100000000") + bytes(8)
SETTINGS = bytes.fromhex("000000040000000000")


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """One of HTTP/2's (RFC 9113, 4.1)."""
    return struct.pack("!I", len(content))[1:] + struct.pack("!BBI", kind, flags, stream) + content


HTTP = lies(
    ("interim answers for ever", Lie(again=b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("early hints for ever", Lie(again=b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")),
    ("headers for ever", Lie(OK, b"X: y\r\n")),
    ("a header without end", Lie(OK + b"X: ", b"y")),
    ("a byte now and then", Lie(OK + b"Content-Length: 60000\r\n\r\n", b" ", 0.05)),
    ("tiny chunks for ever", Lie(CHUNKED, b"1\r\n \r\n")),
    ("chunk extensions for ever", Lie(CHUNKED + b"1;", b"x=y;")),
    ("trailers for ever", Lie(CHUNKED + b"0\r\n", b"X: y\r\n")),
    ("a chunk of no size", Lie(CHUNKED + b"zz\r\n", close=True)),
    ("a chunk of negative size", Lie(CHUNKED + b"-5\r\n\r\n", close=True)),
    ("a huge length", Lie(OK + b"Content-Length: 99999999999999999\r\n\r\n", b" " * 64)),
    ("an end in the middle", Lie(OK + b'Content-Length: 100\r\n\r\n{"dst":', close=True)),
    ("a bomb", Lie(GZIPPED + b"Content-Length: %d\r\n\r\n" % len(BOMB) + BOMB)),
    ("gzip that is none", Lie(GZIPPED + b"Content-Length: 5\r\n\r\nhello", close=True)),
    ("a redirect to nonsense", Lie(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n")),
    (
        "a redirect to a file",
        Lie(b"HTTP/1.1 301 x\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
    ),
    ("a redirect to itself", Lie(b"HTTP/1.1 307 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")),
    ("a status that is none", Lie(b"HTTP/1.1 2x0 OK\r\n\r\n", close=True)),
    ("another protocol", Lie(b"SSH-2.0-OpenSSH_9.9\r\n", close=True)),
)
GRPC = lies(
    ("ping acknowledgements for ever", Lie(SETTINGS, PING_ACK)),
    ("pings for ever", Lie(SETTINGS, frame(6, 0, 0, bytes(8)))),
    ("settings for ever", Lie(SETTINGS, frame(4, 0, 0, struct.pack("!HI", 4, 65535)))),
    ("window updates for ever", Lie(SETTINGS, frame(8, 0, 0, struct.pack("!I", 1)))),
    ("empty frames for ever", Lie(SETTINGS + frame(1, 4, 1, b"\x88"), frame(0, 0, 1))),
    ("unknown frames for ever", Lie(SETTINGS, frame(200, 0, 0))),
    ("priorities for ever", Lie(SETTINGS, frame(2, 0, 1, bytes(4) + b"\1"))),
    ("header pieces for ever", Lie(SETTINGS + frame(1, 0, 1), frame(9, 0, 1))),
    ("a frame now and then", Lie(SETTINGS, PING_ACK, 0.05)),
    ("no streams allowed", Lie(frame(4, 0, 0, struct.pack("!HI", 3, 0)))),
    ("a huge frame", Lie(SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1", bytes(64))),
    ("headers that are no text", Lie(SETTINGS + frame(1, 5, 1, b"\x88\x00\x01\xff\x01\xff"))),
    ("goes away", Lie(SETTINGS + frame(7, 0, 0, bytes(8)))),
    ("HTTP/1.1", Lie(b"HTTP/1.1 400 Bad Request\r\n\r\n", close=True)),
)
REDIS = lies(
    ("a number", Lie(b":5\r\n")),
    ("a text", Lie(b"+OK\r\n")),
    ("an error", Lie(b"-ERR no\r\n")),
    ("an error that is no text", Lie(b"-\xff\xfe\r\n")),
    ("nothing", Lie(b"$-1\r\n")),
    ("no list", Lie(b"*-1\r\n")),
    ("a cursor that is a list", Lie(b"*2\r\n*0\r\n*0\r\n")),
    ("a cursor that is a word", Lie(b"*2\r\n$1\r\nx\r\n*0\r\n")),
    ("a field without a value", Lie(b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nx\r\n")),
    ("numbers for texts", Lie(b"*2\r\n$1\r\n0\r\n*2\r\n:1\r\n:2\r\n")),
    ("lists in lists for ever", Lie(again=b"*1\r\n")),
    ("a huge list", Lie(b"*2\r\n$1\r\n0\r\n*1000000000\r\n", b":1\r\n")),
    ("a list of lists", Lie(b"*2\r\n$1\r\n0\r\n*1000000000\r\n", b"*0\r\n")),
    ("4 GB at once", Lie(b"$4294967296\r\n", bytes(64))),
    ("a length that is none", Lie(b"$x\r\n")),
    ("a length of many digits", Lie(b"$", b"9")),
    ("a cursor that never ends", Lie(b"*2\r\n$1\r\n7\r\n*0\r\n")),
    ("RESP3", Lie(b"%1\r\n+a\r\n:1\r\n")),
)
SOCKS = lies(
    ("no method", Lie(b"\5\xff")),
    ("another version", Lie(b"\4\0")),
    ("an address without end", Lie(b"\5\0\5\0\0\3\xff", b"a", 0.05)),
    ("an unknown address", Lie(b"\5\0\5\0\0\x09")),
    ("half an answer", Lie(b"\5\0\5", close=True)),
)
CONNECT = lies(
    ("interim answers for ever", Lie(again=b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("headers for ever", Lie(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")),
    ("a status that is none", Lie(b"HTTP/1.1 2x0 OK\r\n\r\n")),
    ("no text", Lie(b"\xff\xfe\r\n\r\n")),
)
TLS = lies(
    ("alerts for ever", Lie(again=bytes.fromhex("15030300020100"))),
    ("cipher changes for ever", Lie(again=bytes.fromhex("140303000101"))),
    ("empty records for ever", Lie(again=bytes.fromhex("1603030000"))),
    ("a huge record", Lie(b"\x16\3\3\xff\xff", bytes(64))),
    ("HTTP", Lie(b"HTTP/1.1 400 Bad Request\r\n\r\n", close=True)),
)
LIES: Mapping[str, Mapping[str, Lie]] = {
    "http-source": HTTP,
    "http-plugin": HTTP,
    "grpc": GRPC,
    "redis": REDIS,
    "socks": SOCKS,
    "connect": CONNECT,
    "tls": TLS,
}


# --- the truth


def rows() -> bytes:
    """The routes as a source has them."""
    return "".join(f"{dst} {gateway}\n" for dst, gateway in ROUTES.items()).encode()


def http_reply(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def plugin_reply(asked: bytes) -> bytes:
    found = re.search(rb"[?&]dst=([^& ]+)", asked)
    gateway = ROUTES.get(found[1].decode()) if found else None
    return http_reply(
        json.dumps({"dst": found[1].decode(), "gateway": gateway} if found and gateway else {}).encode()
    )


def redis_reply(asked: bytes) -> bytes:
    texts = [text.encode() for pair in ROUTES.items() for text in pair]
    return b"*2\r\n$1\r\n0\r\n*%d\r\n" % len(texts) + b"".join(
        b"$%d\r\n%s\r\n" % (len(text), text) for text in texts
    )


TRUTHS: Mapping[str, Callable[[bytes], bytes]] = {
    "http-source": lambda asked: http_reply(rows()),
    "http-plugin": plugin_reply,
    "redis": redis_reply,
}


def good_grpc(sock: socket.socket, data: bytes, is_good: Callable[[], bool]) -> None:
    """Answer calls of Router/GetRoute until the other end leaves, or one comes that is to be lied to."""
    import h2.config
    import h2.connection
    import h2.events

    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    sock.sendall(connection.data_to_send())
    asked: dict[int, bytes] = {}
    while data and is_good():
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                asked[event.stream_id] = asked.get(event.stream_id, b"") + event.data
            elif isinstance(event, h2.events.StreamEnded):
                number = event.stream_id
                message = asked.pop(number, b"")
                known = [
                    (dst, gateway) for dst, gateway in ROUTES.items() if dst.encode() + b"\x12" in message
                ]
                reply = (
                    b"".join(
                        bytes([8 * n + 2, len(text)]) + text.encode() for n, text in enumerate(known[0], 1)
                    )
                    if known
                    else b""
                )
                connection.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
                connection.send_data(number, struct.pack("!BI", 0, len(reply)) + reply)
                connection.send_headers(number, [("grpc-status", "0")], end_stream=True)
        sock.sendall(connection.data_to_send())
        data = sock.recv(BULK)


# --- serving


class Liar:
    """One listening socket."""

    def __init__(self, protocol: str, port: int, mood: Path) -> None:
        self.protocol, self._file = protocol, mood
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self.listener.getsockname()[1]

    @property
    def mood(self) -> str:
        while not (mood := self._file.read_text().strip()):
            pass  # it is being written this moment
        return mood

    def serve(self) -> None:
        """For ever, each connection in a thread."""
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self._connection, args=(sock,), daemon=True).start()

    def _connection(self, sock: socket.socket) -> None:
        with sock:
            try:
                while asked := sock.recv(BULK):
                    if self.mood == "good" and self.protocol == "grpc":
                        good_grpc(sock, asked, lambda: self.mood == "good")
                    elif self.mood == "good":
                        sock.sendall(TRUTHS[self.protocol](asked))
                    if (mood := self.mood) != "good":
                        self._lie(sock, mood)
            except OSError:
                pass  # it had enough

    def _lie(self, sock: socket.socket, mood: str) -> None:
        lie = LIES[self.protocol][mood]
        sock.sendall(lie.first)
        piece = lie.again if lie.pause else lie.again * (BULK // max(1, len(lie.again)))
        sock.settimeout(0.2)
        rest = memoryview(piece)
        while piece and self.mood == mood:
            try:
                rest = rest[sock.send(rest) :] or memoryview(
                    piece
                )  # never a torn frame, however slow it is read
            except TimeoutError:
                continue
            time.sleep(lie.pause)
        sock.settimeout(None)
        if lie.close or piece:
            sock.shutdown(socket.SHUT_RDWR)


def main(protocol: str, port: int, mood: str) -> None:
    """Serve until killed."""
    liar = Liar(protocol, port, Path(mood))
    print("liar ready", liar.port, flush=True)
    liar.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
