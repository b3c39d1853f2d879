"""WebSocket (RFC 6455) as a layer over a stream, by wsproto: a byte stream in binary messages.

Knows: the upgrade request and response, with path and headers; pings; that a message's borders mean nothing.
Refuses to know: sockets (stream_layer), what the bytes are.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from email.utils import formatdate

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from lib.auth_admission import NO_CERTIFICATE, Certificate
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.packet import Buffer
from lib.session_cost import HALF_TURN_SECONDS
from lib.wire_guess import Spoken

Headers = tuple[tuple[str, str], ...]
_NO_HTTP = b"HTTP/1.1 400 Bad Request\r\nDate: %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
RequestHeaders = Sequence[tuple[bytes, bytes]]
"""The headers of a client's upgrade request as they came, names in lower case."""
MAX_REQUEST = 1 << 16
"""Most bytes of an upgrade request or response."""
TOO_MANY, FORBIDDEN = 429, 403
"""HTTP status for a client that has too many connections or handshakes (RFC 6585, 4), and for one that no
admission lets connect."""


def _ignore(headers: RequestHeaders) -> None:
    """Nobody wants to see the headers."""


def _now() -> bytes:
    """The time for a response's Date header: by it `tunrouter doctor` sees that two clocks differ."""
    return formatdate(usegmt=True).encode()


def _rejection(event: RejectConnection) -> RejectConnection:
    """A rejection with the time, as every such response has it (RFC 9110, 6.6.1)."""
    return replace(event, headers=[*event.headers, (b"date", _now())])


class WebSocketCodec:
    """The codec of one WebSocket (stream_layer.Codec).

    A server's has an empty `host`, and its `headers` go into the upgrade's response.
    """

    name = "WebSocket"
    landing = memoryview(bytearray(1 << 17))
    speaks = frozenset({Spoken.WEBSOCKET, Spoken.HTTP, Spoken.UNKNOWN})
    is_dear = False

    def __init__(self, path: str, headers: Headers = (), host: str = "") -> None:
        self._path, self._headers = path, [(name.encode(), text.encode()) for name, text in headers]
        self._client = bool(host)
        self.read_headers: Callable[[RequestHeaders], None] = _ignore
        """Is told the headers of an upgrade request before its answer; raises ProtocolError to refuse it."""
        self._connection = WSConnection(ConnectionType.CLIENT if self._client else ConnectionType.SERVER)
        self._out: list[bytes] = []
        self._in: deque[memoryview] = deque()
        self._fed = 0
        self._asked: Ping | None = None
        """The last ping that has not been answered; those before it need no pong (RFC 6455, 5.5.3)."""
        self._open = self._closed = False
        self.more = False
        self.messages = 0
        self.pongs = 0
        """How many pongs the peer has sent."""
        if self._client:
            self._send(Request(host=host, target=path, extra_headers=self._headers))

    def turn_away(self) -> None:
        """Encode an HTTP status 400 for a client that speaks no HTTP."""
        if not self._client:
            self._out.append(_NO_HTTP % _now())

    def handshake(self) -> bool:
        """Go on with the upgrade; returns whether it is done. Raises ProtocolError."""
        try:
            for event in self._connection.events():
                self._upgrade(event)
        except (RemoteProtocolError, LocalProtocolError) as error:
            raise self._no(str(error)) from None
        return self._open

    def _upgrade(self, event: Event) -> None:
        if isinstance(event, Request):
            try:
                self.read_headers(event.extra_headers)
            except ProtocolError as error:
                code = FORBIDDEN if error.refusal is Refusal.ADMISSION else TOO_MANY
                self._send(_rejection(RejectConnection(status_code=code)))
                raise
            if event.target.partition("?")[0] != self._path:
                self._send(_rejection(RejectConnection(status_code=404)))
                raise self._no(f"path {event.target[:64]!r} is not {self._path}")
            self._send(AcceptConnection(extra_headers=self._headers))
            self._open = True
        elif isinstance(event, AcceptConnection):
            self._open = True
        elif isinstance(event, RejectConnection):
            raise self._no(f"refused with HTTP status {event.status_code}")
        else:
            self._take(event)

    def _no(self, why: str) -> ProtocolError:
        return ProtocolError(f"WebSocket: {why}", Refusal.TRANSPORT)

    def feed(self, data: memoryview) -> None:
        """Take received bytes from the stream below."""
        if not self._open:
            self._fed += len(data)
            if self._fed > MAX_REQUEST:
                raise self._no("an endless upgrade")
        try:
            self._connection.receive_data(bytes(data))
        except RemoteProtocolError as error:
            if not self._client and isinstance(error.event_hint, RejectConnection):
                self._send(_rejection(error.event_hint))
            raise self._no(str(error)) from None
        except (LocalProtocolError, h11.ProtocolError, UnicodeError) as error:
            if self._open:
                raise OSError(errno.EPROTO, f"WebSocket: {error}") from None
            raise self._no(str(error)) from None

    def certificate(self) -> Certificate:
        """NO_CERTIFICATE: WebSocket has none."""
        return NO_CERTIFICATE

    def read_into(self, view: memoryview) -> int | None:
        """Decode into view."""
        if not self._in and not self._closed:
            self._decode()
        size, room = 0, len(view)
        while self._in and size < room:
            piece = self._in[0]
            part = piece[: room - size]
            view[size : size + len(part)] = part
            size += len(part)
            if len(part) == len(piece):
                self._in.popleft()
            else:
                self._in[0] = piece[len(part) :]
        self.more = self.more or bool(self._in) or (self._closed and size > 0)
        return size or (0 if self._closed else None)

    def _decode(self) -> None:
        """Take events for half a turn; wsproto parses no frame before it is asked for its event."""
        until = time.monotonic() + HALF_TURN_SECONDS
        self.more = True
        for event in self._connection.events():
            self._take(event)
            if time.monotonic() > until:
                return
        self.more = False

    def _take(self, event: Event) -> None:
        if isinstance(event, BytesMessage):
            if event.data:
                self.messages += event.message_finished
                self._in.append(memoryview(event.data))
        elif isinstance(event, Ping):
            self._asked = event
        elif isinstance(event, Pong):
            self.pongs += 1
        elif isinstance(event, CloseConnection):
            self._closed = True
            if event.code not in (1000, 1001, 1005) and not self._in:
                raise OSError(errno.EPROTO, f"WebSocket: {event.reason or f'closed with {int(event.code)}'}")
        elif isinstance(event, TextMessage):
            raise OSError(errno.EPROTO, "WebSocket: a text message")
        elif not isinstance(event, RejectData):
            raise OSError(errno.EPROTO, f"WebSocket: {type(event).__name__} out of place")

    def encode(self, buffers: Sequence[Buffer]) -> int:
        """Encode all bytes as one binary message; returns how many they are."""
        data = b"".join(buffers)
        if self._closed:
            raise BrokenPipeError(errno.EPIPE, "WebSocket: closed by the far end")
        self._send(BytesMessage(data=data))
        return len(data)

    def _send(self, event: Event) -> None:
        self._out.append(self._connection.send(event))

    def output(self) -> bytes:
        """Take out the encoded bytes that have to be sent over the stream below."""
        if not self._out:
            return b""
        out, self._out = b"".join(self._out), []
        return out

    def reply(self) -> None:
        """Send the pong for the last ping."""
        asked, self._asked = self._asked, None
        if asked is not None and not self._closed:
            self._send(asked.response())

    def ping(self) -> bool:
        """Send a ping."""
        if not self._closed:
            self._send(Ping(payload=b"tunrouter"))
        return True
