"""Fake servers that misbehave (plugins, Redis, proxies, hubs): python -m tests.support.liars PROTOCOL PORT MOOD_FILE...

There is a server for each MOOD_FILE, from PORT on. MOOD_FILE holds the name of a lie, or `good`. It is read for every connection and every request, and an endless
lie ends when it changes. LIES has the names by protocol: endless interim responses, endless tiny frames,
a byte now and then, huge lengths, garbage, an end in the middle, silence, a wrong type, redirects to nonsense.

Knows: HTTP/1.1, gRPC over HTTP/2, Redis (RESP), SOCKS5, HTTP CONNECT, TLS. The plugins `http-ok` and `grpc-ok` say yes to
whatever they are asked or told, as those of admissions and observers do. A proxy or hub that is good leads to
127.0.0.1:8443. The certificates of `certificates` are in MOOD_FILE's directory, their authority's is ca.pem.
Refuses to know: what a test expects.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

BULK = 1 << 16
Reply = Callable[[bytes], bytes]
"""Message of a call -> that of its reply."""
Good = Callable[[], bool]
"""Whether the truth is still to be told."""
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


def http_reply(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """One of HTTP/2's (RFC 9113, 4.1)."""
    return struct.pack("!I", len(content))[1:] + struct.pack("!BBI", kind, flags, stream) + content


GRPC_OK = b"\x00\x0bgrpc-status\x010"
"""The header grpc-status: 0 (RFC 7541, 6.2.2)."""


def grpc_reply(message: bytes, length: int | None = None) -> bytes:
    """The frames of a reply to a connection's first call, which is to say a length of its message."""
    data = struct.pack("!BI", 0, len(message) if length is None else length) + message
    return frame(1, 4, 1, b"\x88") + frame(0, 0, 1, data) + frame(1, 5, 1, GRPC_OK)


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
HTTP_OK = {
    **HTTP,
    "ok that is a text": Lie(http_reply(b'{"ok":"true"}')),
    "ok that is a number": Lie(http_reply(b'{"ok":1}')),
    "ok that is a list": Lie(http_reply(b'{"ok":[true]}')),
    "no object": Lie(http_reply(b"true")),
    "brackets": Lie(http_reply(b"[" * 60_000)),
    "a text of another alphabet": Lie(http_reply(b'{"ok":"\xff\xfe"}')),
    "no, by a status": Lie(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'),
    "yes, and more than that": Lie(OK + b"Content-Length: 900000\r\n\r\n" + b'{"ok":true}', b" "),
}
"""Lies about a yes, beside those of every HTTP server."""
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
    ("a message that is none", Lie(SETTINGS + grpc_reply(b"\x0a\xff"), close=True)),
    ("a message of another length", Lie(SETTINGS + grpc_reply(b"", length=7), close=True)),
    ("no message", Lie(SETTINGS + frame(1, 5, 1, b"\x88" + GRPC_OK), close=True)),
    ("no status at the end", Lie(SETTINGS + frame(1, 4, 1, b"\x88") + frame(0, 1, 1, bytes(5)), close=True)),
    ("no room for a request", Lie(frame(4, 0, 0, struct.pack("!HI", 4, 0)))),
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
CERTIFICATES: Mapping[str, Lie] = {
    "another name": Lie(),
    "another authority": Lie(),
    "expired": Lie(),
    "not valid yet": Lie(),
    "thousands of names": Lie(),
    "a long chain": Lie(),
    "a chain that fits": Lie(),
    "garbage behind TLS": Lie(random.Random(7).randbytes(BULK), close=True),
    "zeros for ever behind TLS": Lie(again=bytes(64)),
    "frames for ever behind TLS": Lie(again=bytes.fromhex("0001ee")),
    "silence behind TLS": Lie(),
    "an end behind TLS": Lie(close=True),
}
"""What is wrong with the certificate, or what is said behind a good one."""
LIES: Mapping[str, Mapping[str, Lie]] = {
    "http-source": HTTP,
    "http-plugin": HTTP,
    "http-ok": HTTP_OK,
    "grpc": GRPC,
    "grpc-ok": GRPC,
    "redis": REDIS,
    "socks": SOCKS,
    "connect": CONNECT,
    "tls": TLS,
    "certificates": CERTIFICATES,
}


# --- the truth


def rows() -> bytes:
    """The routes as a source has them."""
    return "".join(f"{dst} {gateway}\n" for dst, gateway in ROUTES.items()).encode()


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


def route_message(asked: bytes) -> bytes:
    """The reply to a message of Router/GetRoute."""
    known = [pair for pair in ROUTES.items() if pair[0].encode() + b"\x12" in asked]
    texts = [text.encode() for text in known[0]] if known else []
    return b"".join(bytes([8 * number + 2, len(text)]) + text for number, text in enumerate(texts, 1))


def yes_message(asked: bytes) -> bytes:
    """The reply {"ok": true} to any message."""
    return b"\x08\x01"


def good_grpc(sock: socket.socket, data: bytes, is_good: Good, reply_to: Reply = route_message) -> None:
    """Answer calls until the other end leaves, or one comes that is to be lied to."""
    import h2.config
    import h2.connection
    import h2.events

    if not data.startswith(b"PRI * HTTP/2.0"):
        raise ConnectionAbortedError("after a lie there is no truth on the same connection")
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    sock.sendall(connection.data_to_send())
    asked: dict[int, bytes] = {}
    while data and is_good():
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                asked[event.stream_id] = asked.get(event.stream_id, b"") + event.data
            elif isinstance(event, h2.events.StreamEnded):
                number = event.stream_id
                reply = reply_to(asked.pop(number, b""))
                connection.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
                connection.send_data(number, struct.pack("!BI", 0, len(reply)) + reply)
                connection.send_headers(number, [("grpc-status", "0")], end_stream=True)
        sock.sendall(connection.data_to_send())
        data = sock.recv(BULK)


def good_yes(sock: socket.socket, data: bytes, is_good: Good) -> None:
    """Say yes to requests with a body of a length, until the other end leaves or is to be lied to."""
    while data.startswith(b"POST ") and is_good():
        head, found, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else 0
        if found and len(body) >= size:
            sock.sendall(http_reply(b'{"ok":true}'))
            data = body[size:]
        if not data or not found or len(body) < size:
            data += sock.recv(BULK)


HUB = ("127.0.0.1", 8443)


def relay(sock: Any, is_good: Good) -> None:
    """Bytes to the real hub and back, until an end leaves or is to be lied to, on another connection then."""
    with socket.create_connection(HUB) as hub:
        ways = {sock: hub, hub: sock}
        while is_good():
            pending = [sock] if isinstance(sock, ssl.SSLSocket) and sock.pending() else []
            for ready in pending or select.select(list(ways), [], [], 0.2)[0]:
                data = ready.recv(BULK)
                if not data:
                    raise ConnectionAbortedError
                ways[ready].sendall(data)
    raise ConnectionAbortedError


def good_socks(sock: socket.socket, data: bytes, is_good: Good) -> None:
    sock.sendall(b"\5\0")
    sock.recv(BULK)
    sock.sendall(b"\5\0\0\1" + bytes(6))
    relay(sock, is_good)


def good_connect(sock: socket.socket, data: bytes, is_good: Good) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    relay(sock, is_good)


TRUE_TALKS: Mapping[str, Callable[[socket.socket, bytes, Good], None]] = {
    "http-ok": good_yes,
    "grpc": good_grpc,
    "grpc-ok": partial(good_grpc, reply_to=yes_message),
    "socks": good_socks,
    "connect": good_connect,
}


class Certificates:
    """TLS contexts of the `certificates` liar, made when they are first wanted."""

    def __init__(self, place: Path) -> None:
        from tests.support.tls import Authority

        self._place, self._made = place, dict[str, ssl.SSLContext]()
        self._authority, self._other = Authority(place), Authority(place, "other")

    def context(self, mood: str) -> ssl.SSLContext:
        return self._made.get(mood) or self._made.setdefault(mood, self._make(mood))

    def _make(self, mood: str) -> ssl.SSLContext:
        file = f"certificate-{len(self._made)}"
        issue = self._authority.issue
        match mood:
            case "another name":
                pair = issue("other.test", file=file)
            case "another authority":
                pair = self._other.issue("hub.test", file=file)
            case "expired" | "not valid yet":
                pair = issue("hub.test", file=file, days=-9 if mood == "expired" else 9)
            case "thousands of names":
                pair = issue("other.test", *(f"{n}.other.test" for n in range(4000)), file=file)
            case _:
                pair = issue("hub.test", file=file)
        chain = Path(pair.cert)
        if "chain" in mood:
            count = 150 if mood == "a long chain" else 50
            more = [Path(issue("hub.test", file=f"chain-{n}").cert).read_text() for n in range(count)]
            chain.write_text(chain.read_text() + "".join(more))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(chain, pair.key)
        return made


# --- serving


class Liar:
    """One listening socket."""

    def __init__(
        self, protocol: str, port: int, mood: Path, certificates: Certificates | None = None
    ) -> None:
        self.protocol, self._file = protocol, mood
        self.listener = socket.create_server(("" if port else "127.0.0.1", port))  # a port: in a namespace
        self.port: int = self.listener.getsockname()[1]
        self.certificates = certificates

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
                if self.certificates and (self.protocol == "certificates" or self.mood == "good"):
                    self._behind_tls(sock, self.certificates)
                else:
                    self._asked(sock)
            except OSError:
                pass  # it had enough

    def _behind_tls(self, sock: socket.socket, certificates: Certificates) -> None:
        mood = self.mood
        with certificates.context(mood).wrap_socket(sock, server_side=True) as secure:
            if mood == "good":
                relay(secure, lambda: self.mood == mood)
            else:
                self._lie(secure, mood)
                secure.recv(BULK)

    def _asked(self, sock: socket.socket) -> None:
        while asked := sock.recv(BULK):
            mood = self.mood
            if mood == "good":
                if talk := TRUE_TALKS.get(self.protocol):
                    talk(sock, asked, lambda: self.mood == "good")
                else:
                    sock.sendall(TRUTHS[self.protocol](asked))
                mood = self.mood
            is_rest = self.protocol == "http-ok" and not asked.startswith(b"POST ")  # of a body
            if mood != "good" and not is_rest:
                self._lie(sock, mood)

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


def main(protocol: str, port: int, moods: list[str]) -> None:
    """Serve until killed."""
    files = [Path(mood) for mood in moods]
    certificates = Certificates(files[0].parent) if protocol in ("certificates", "tls") else None
    liars = [Liar(protocol, port and port + number, file, certificates) for number, file in enumerate(files)]
    for liar in liars[1:]:
        threading.Thread(target=liar.serve, daemon=True).start()
    print("liar ready", liars[0].port, flush=True)
    liars[0].serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
