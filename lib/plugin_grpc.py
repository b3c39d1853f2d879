"""gRPC client for plugins: unary calls over one HTTP/2 connection (PROTOCOL.md, plugins over gRPC).

    request    HEADERS  :method POST, :path /package.Service/Method, te trailers, token …
               DATA     | compressed? (1) = 0 | length (4) | message |                 END_STREAM
    reply      HEADERS  :status 200
               DATA     the same
               HEADERS  grpc-status 0 …, or all of it in the first HEADERS             END_STREAM

Knows: h2's events, several calls at once, one reader and one writer at a time, deadlines. The reader lives as
long as the connection. It may receive a number of bytes for each call, and some for what comes between calls.
Refuses to know: messages (plugin_protobuf), what is asked (plugin_client).
Source: gRPC over HTTP2 (grpc/doc/PROTOCOL-HTTP2.md), RFC 9113.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore

from lib.addresses import without_zone
from lib.errors import PluginError
from lib.settings_sources import PluginSettings
from lib.stream_bounded import Bounds, failing_as, tls_context
from lib.stream_deadline import within
from lib.stream_dial import dial, distrust

MAX_REPLY = 1 << 16
"""Most bytes of a reply's message."""
MAX_BETWEEN = 1 << 16
"""Most bytes that may come while there is no call: settings, pings, window updates. Past that, the next call
makes another connection."""
MAX_FRAMES = 1 << 14
"""Most bytes of frames and headers around a reply."""
_RECEIVE = 1 << 16
_PIECES = 64, 256, 2048
"""Bytes that h2 is given at a time: a frame of nine bytes may take it 0.1 ms and more."""
_ZONE = re.compile(r"%[^\]]*(?=\])")
_PREFIX = struct.Struct("!BI")


class GrpcPlugin:
    """A plugin that is called over gRPC."""

    def __init__(self, settings: PluginSettings) -> None:
        """Prepare calls; the connection is made with the first one, and anew after it has failed."""
        self._settings = settings
        self._connection: _Connection | None = None
        self._dialling = BoundedSemaphore(1)

    def call(self, path: str, message: bytes) -> bytes:
        """Call the method at `path` (/proto.Service/Method) with a message; returns the reply's message.

        Both are encoded protobuf. Raises PluginError, also where the plugin's timeout has passed.
        """
        url, timeout = self._settings.url, self._settings.timeout
        with within(timeout, lambda: PluginError(f"{url}: no reply within {timeout:g} s")):
            return self._connected().call(path, message, self._settings)

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        if self._connection is not None:
            self._connection.end("closed")

    def _connected(self) -> _Connection:
        with self._dialling:
            if self._connection is None or self._connection.over:
                bounds = Bounds(self._settings.timeout, MAX_BETWEEN)
                self._connection = _Connection(_dial(self._settings, bounds), self._settings.url, bounds)
            return self._connection


def _dial(settings: PluginSettings, bounds: Bounds) -> Any:
    """A connected socket for HTTP/2; with TLS, both sides have agreed on it (ALPN h2). Raises PluginError."""
    parts = urlsplit(settings.url)
    host = parts.hostname or ""
    try:
        sock = dial(host, parts.port or 0, bounds, pieces=_PIECES)
        sock.send_seconds = min(sock.send_seconds, settings.timeout)
        if parts.scheme == "grpc":
            return sock
        try:
            context = tls_context(settings.verify)
            context.set_alpn_protocols(["h2"])
            secured = context.wrap_socket(sock, server_hostname=settings.server_name or without_zone(host))
            if secured.selected_alpn_protocol() != "h2":
                raise PluginError(f"{settings.url}: speaks TLS but not HTTP/2")
            return secured
        except BaseException:
            sock.close()
            distrust(host, parts.port or 0)
            raise
    except OSError as error:  # ssl.SSLError is one
        if isinstance(error, PluginError):
            raise
        raise PluginError(f"{settings.url}: {error.strerror or error}") from error


@dataclass(slots=True)
class _Call:
    """A call that waits for its reply."""

    result: AsyncResult = field(default_factory=AsyncResult)
    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    """Whether the plugin has ended the call's stream."""


class _Connection:
    """One HTTP/2 connection. A greenlet reads; each caller writes its own request."""

    def __init__(self, sock: Any, url: str, bounds: Bounds) -> None:
        import h2.config  # 40 ms; only those who have such a plugin pay for it
        import h2.connection
        import h2.errors
        import h2.events
        import h2.exceptions

        self.over = False
        self._url, self._sock, self._bounds = url, sock, bounds
        bounds.renew(float("inf"), MAX_BETWEEN)
        self._events, self._failures = h2.events, (h2.exceptions.ProtocolError, OSError)
        self._cancel = h2.errors.ErrorCodes.CANCEL
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._calls: dict[int, _Call] = {}
        self._writing = BoundedSemaphore(1)
        self._replied_at = 0.0
        self._room = Event()
        """Set when another stream may be opened, or more bytes may be sent (flow control)."""
        self._h2.initiate_connection()
        self._flush()
        self._reader = gevent.spawn(self._read)

    def call(self, path: str, message: bytes, settings: PluginSettings) -> bytes:
        """Send a request and wait for its reply; the deadline is the caller's. Raises PluginError."""
        number, began = 0, time.monotonic()
        try:
            self._wait_room(
                lambda: self._h2.open_outbound_streams < self._h2.remote_settings.max_concurrent_streams
            )
            number = self._h2.get_next_available_stream_id()
            call = self._calls[number] = _Call()
            self._bounds.grant(self._bounds.left + MAX_REPLY + MAX_FRAMES)
            self._h2.send_headers(number, _headers(path, settings))
            self._send(number, _PREFIX.pack(0, len(message)) + message)
            reply: bytes = call.result.get()
            return reply
        except gevent.Timeout:
            self._doubt(began)
            raise
        except self._failures as error:
            if isinstance(error, PluginError):
                self._doubt(began)
                raise
            self.end(str(error))
            raise PluginError(f"{self._url}: {error}") from error
        finally:
            self._give_up(number)

    def _doubt(self, began: float) -> None:
        """End the connection if nobody had a reply since `began`: the next call shall have another one."""
        if self._replied_at < began:
            parts = urlsplit(self._url)
            distrust(parts.hostname or "", parts.port or 0)
            self.end("nothing was answered in time")

    def end(self, why: str) -> None:
        """Close the connection; every call under way fails with `why`."""
        if not self.over:
            self.over = True
            self._sock.close()
            self._room.set()
            for call in self._calls.values():
                call.result.set_exception(PluginError(f"{self._url}: {why}"))
            if gevent.getcurrent() is not self._reader:
                self._reader.kill(block=False)

    def _send(self, number: int, data: bytes) -> None:
        while data:
            self._wait_room(lambda: self._h2.local_flow_control_window(number) > 0)
            size = min(
                len(data), self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size
            )
            self._h2.send_data(number, data[:size], end_stream=size == len(data))
            data = data[size:]
            self._flush()

    def _wait_room(self, there_is: Callable[[], bool]) -> None:
        while not self.over and not there_is():
            self._room.clear()
            self._room.wait()
        if self.over:
            raise PluginError(f"{self._url}: the connection has ended")

    def _flush(self) -> None:
        with self._writing:  # two greenlets in one sendall would mix their bytes
            data = self._h2.data_to_send()
            try:
                self._sock.sendall(data or b"")
            except BaseException:  # a deadline too: part of a frame may be out, so the connection is useless
                self.end("not everything could be sent")
                raise

    def _give_up(self, number: int) -> None:
        """Forget a call, and reset its stream if the plugin has not ended it."""
        call = self._calls.pop(number, None)
        most = MAX_BETWEEN + len(self._calls) * (MAX_REPLY + MAX_FRAMES)
        self._bounds.grant(min(self._bounds.left, most))
        if call is None or call.ended or self.over:
            return
        try:
            self._h2.reset_stream(number, self._cancel)
            if not self._writing.locked():  # who waits behind a plugin that does not read is late
                self._flush()
        except self._failures as error:
            self.end(str(error))

    def _read(self) -> None:
        why = "the plugin closed the connection"
        try:
            with failing_as(PluginError, *self._failures):
                while data := self._sock.recv(_RECEIVE):
                    for event in self._h2.receive_data(data):
                        self._take(event)
                    self._flush()
                    self._room.set()
        except self._failures as error:
            why = str(error) or type(error).__name__
        self.end(why)

    def _take(self, event: Any) -> None:
        events = self._events
        if isinstance(event, events.ConnectionTerminated):
            raise PluginError(f"the plugin ended the connection ({event.error_code})")
        call = self._calls.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if call is None:
            return
        if isinstance(event, events.ResponseReceived | events.TrailersReceived):
            call.headers |= dict(event.headers)
        elif isinstance(event, events.DataReceived):
            call.data += event.data
            if len(call.data) > MAX_REPLY + _PREFIX.size:
                call.result.set_exception(PluginError(f"{self._url}: a reply of more than {MAX_REPLY} bytes"))
        elif isinstance(event, events.StreamReset):
            call.ended = True
            call.result.set_exception(PluginError(f"{self._url}: the call was reset ({event.error_code})"))
        elif isinstance(event, events.StreamEnded):
            call.ended, self._replied_at = True, time.monotonic()
            self._settle(call)

    def _settle(self, call: _Call) -> None:
        try:
            call.result.set(_reply(call.headers, bytes(call.data)))
        except ValueError as error:
            call.result.set_exception(PluginError(f"{self._url}: {error}"))


def _headers(path: str, settings: PluginSettings) -> list[tuple[str, str]]:
    parts = urlsplit(settings.url)
    headers = [
        (":method", "POST"),
        (":scheme", "https" if parts.scheme == "grpcs" else "http"),
        (":path", path),
        (":authority", settings.server_name or _ZONE.sub("", parts.netloc)),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "tunrouter"),
        ("grpc-timeout", f"{max(1, round(settings.timeout * 1000))}m"),
    ]
    return [*headers, ("token", settings.token)] if settings.token else headers


def _reply(headers: dict[str, str], data: bytes) -> bytes:
    """The message in a reply. Raises ValueError for a malformed reply, and for a status other than OK."""
    if headers.get(":status") != "200":
        raise ValueError(f"HTTP status {headers.get(':status', '(none)')[:20]}")
    status = headers.get("grpc-status", "(none)")
    if status != "0":
        raise ValueError(f"gRPC status {status[:20]}: {unquote(headers.get('grpc-message', ''))[:200]}")
    if len(data) < _PREFIX.size:
        raise ValueError("a reply without a message")
    compressed, length = _PREFIX.unpack_from(data)
    if compressed or length != len(data) - _PREFIX.size:
        raise ValueError("a message that is compressed, or not of the length it says")
    return data[_PREFIX.size :]
