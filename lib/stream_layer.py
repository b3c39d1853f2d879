"""A stream over a stream: bytes pass through a codec (TLS, WebSocket) on their way to and from the one below.

Knows: when a codec's bytes go out, and that what it has taken and the kernel has not is still to go.
Refuses to know: what the codec does (stream_tls, stream_websocket).

            send_all, try_send                     receive_into
                  |  encode                             ^  read_into
    +-------------v-------------------------------------|----------+
    |             codec: no sockets, no waiting, bytes only        |
    +-------------|-------------------------------------^----------+
                  v  output -> the rest of it: pending  |  feed
              below.try_send                      below.receive_into

What a codec has encoded cannot be taken back: it counts as sent, and `pending` says that some of it waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from lib.auth_admission import Certificate
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.service_scheduling import Share
from lib.stream_tcp import Buffer, Stream

MAX_HANDSHAKE = 1 << 18
"""Bytes of the far end's handshake: certificates, headers."""
HANDSHAKE_PIECE = 1 << 13
"""Bytes of it that are looked at in one turn."""


class Codec(Protocol):
    """One side of a layer."""

    name: str
    landing: memoryview
    """Where bytes from below go before they are fed: one for all, empty whenever anybody waits."""

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done. Raises ProtocolError."""

    def feed(self, data: memoryview) -> None:
        """Take bytes from below."""

    def read_into(self, view: memoryview) -> int | None:
        """Decode into view; how many bytes, None while there are none, 0 once the far end has closed.

        Raises OSError where the far end breaks the layer's rules.
        """

    def encode(self, buffers: Sequence[Buffer]) -> int:
        """Take bytes of the layer above; returns how many, which is all of them."""

    def output(self) -> bytes:
        """What must go out below."""

    def certificate(self) -> Certificate:
        """Who the far end's certificate says it is; NO_CERTIFICATE in a layer without such a thing."""

    def ping(self) -> bool:
        """Ask the far end for a sign of life; False in a layer that has no such thing."""


class Layered:
    """A Stream whose bytes pass through a codec."""

    __slots__ = ("_below", "_out", "codec", "peer")

    def __init__(self, below: AnyStream, codec: Codec) -> None:
        self._below, self.codec = below, codec
        self._out = memoryview(b"")
        self.peer: str = below.peer

    def open(self, share: Share) -> None:
        """Do the layer's handshake within a share of the time; the deadline is the caller's.

        Raises ProtocolError, OSError.
        """
        try:
            self._handshake(share)
        except ProtocolError:
            self._flush()  # the alert or refusal that says so
            raise

    def _handshake(self, share: Share) -> None:
        landing, left = self.codec.landing[:HANDSHAKE_PIECE], MAX_HANDSHAKE
        while not self._step(share):
            self._drain()
            size = self._below.receive_into(landing)
            if not size:
                raise ProtocolError(
                    f"closed in the middle of the {self.codec.name} handshake", Refusal.CUT_OFF
                )
            left -= size
            if left < 0:
                raise ProtocolError(f"an endless {self.codec.name} handshake", Refusal.MALFORMED)
            self.codec.feed(landing[:size])
        self._drain()

    def _step(self, share: Share) -> bool:
        share.wait()
        began = time.monotonic()
        try:
            return self.codec.handshake()
        finally:
            share.used(time.monotonic() - began)

    @property
    def pending(self) -> int:
        """Bytes that have been taken and are not yet the kernel's."""
        return len(self._out) + self._below.pending

    @property
    def certificate(self) -> Certificate:
        """Who the far end's certificate says it is."""
        own = self.codec.certificate()
        return own if own.fingerprint else self._below.certificate

    def receive_into(self, view: memoryview) -> int:
        """Wait for bytes and put them into view; returns how many, 0 when the peer has closed."""
        codec = self.codec
        while (size := codec.read_into(view)) is None:
            self._flush()
            got = self._below.receive_into(codec.landing)
            if not got:
                return 0
            codec.feed(codec.landing[:got])
        return size

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Take bytes, all of them or none; what the kernel does not take now is pending."""
        if not self._flush() or not buffers:
            return 0
        taken = self.codec.encode(buffers)
        self._flush()
        return taken

    def hold_unread(self, size: int) -> None:
        """Let the kernel hold about so many bytes that have not been read yet."""
        self._below.hold_unread(size)

    def hold_unsent(self, size: int) -> None:
        """Let the kernel hold so many bytes at most that it has not sent yet."""
        self._below.hold_unsent(size)

    def wait_writable(self) -> None:
        """Wait until the kernel takes more."""
        self._below.wait_writable()

    def send_all(self, data: bytes) -> None:
        """Send everything, waiting where needed."""
        self._drain()
        self.codec.encode([data])
        self._drain()

    def shutdown(self) -> None:
        """End both directions."""
        self._below.shutdown()

    def close(self) -> None:
        """Give up the socket."""
        self._below.close()

    @property
    def pongs(self) -> int:
        """How many signs of life the far end has given when asked by ping."""
        return getattr(self.codec, "pongs", 0) or self._below.pongs

    def ping(self) -> bool:
        """Ask the far end for a sign of life in a layer that knows how; False where none does."""
        asked = self.codec.ping() or self._below.ping()
        self._flush()
        return asked

    def _flush(self) -> bool:
        """Send what the kernel takes now; whether that was all."""
        more = self.codec.output()
        if more:
            self._out = memoryview(bytes(self._out) + more) if self._out else memoryview(more)
        if self._out:
            self._out = self._out[self._below.try_send([self._out]) :]
        elif self._below.pending:
            self._below.try_send(())
        return not self.pending

    def _drain(self) -> None:
        while not self._flush():
            self._below.wait_writable()


AnyStream = Stream | Layered
