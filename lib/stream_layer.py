"""TLS or WebSocket layer over another stream, with a codec that has no sockets of its own.

Knows: when the codec's output is sent; which bytes the codec has taken that the kernel has not (`pending`).
Refuses to know: what the codec does (stream_tls, stream_websocket).

            send_all, try_send                     receive_into
                  |  encode                             ^  read_into
    +-------------v-------------------------------------|----------+
    |             codec: no sockets, no waiting, bytes only        |
    +-------------|-------------------------------------^----------+
                  v  output -> the rest of it: pending  |  feed
              below.try_send                      below.receive_into

Bytes that a codec has encoded cannot be taken back, so they count as sent. `pending` says how many of them
the kernel has not taken yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import gevent

from lib.auth_admission import Certificate
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.limits import Meter
from lib.packet import Buffer
from lib.session_cost import Cost
from lib.session_pacing import Trip
from lib.session_silence import Flight
from lib.settings_transport import SYSTEM
from lib.stream_figures import Figures
from lib.stream_tcp import Stream
from lib.wire_guess import FIRST_BYTES, GUESSED_BYTES, Spoken, guess

MAX_PENDING = 1 << 20
"""Bytes that may wait for a peer to read them before nothing more is read from it. A session never has as
many: it sends nothing more while any wait, and what a peer asks for is answered once nothing waits."""
UNREAD_SECONDS = 0.02
"""Seconds between two looks whether such a peer reads again."""

MAX_HANDSHAKE = 1 << 15
"""Bytes of the far end's handshake: certificates, headers. OpenSSL reads a chain of certificates in one go,
and takes 0.6 ms of CPU time for each KB of it."""
HANDSHAKE_PIECE = 1 << 13
"""Bytes of it that are looked at in one turn."""


class Codec(Protocol):
    """The interface of TLS and WebSocket to their layer: bytes in, bytes out. No method waits."""

    name: str
    """The layer's name in messages."""
    landing: memoryview
    """Buffer for received bytes on their way to `feed`. All codecs of a kind share it: `feed` uses it up."""

    speaks: frozenset[Spoken]
    """What the far end's first bytes may look like (wire_guess)."""

    is_dear: bool
    """Whether what the far end says first costs much. Once it has closed it is not looked at: of thousands of
    clients that come at the same moment some give up while they wait, and the others need the time."""

    def turn_away(self) -> None:
        """Encode a hub's reply to a client that speaks another protocol: it shows what is spoken here."""

    def handshake(self) -> bool:
        """Go on with the handshake; returns whether it is done. Raises ProtocolError."""

    def feed(self, data: memoryview) -> None:
        """Take received bytes from the stream below."""

    messages: int
    """Messages with something in them that have ended since the layer has set it to 0 (WebSocket)."""
    more: bool
    """Whether read_into stopped before it had looked at all that was fed: there was much of it."""

    def read_into(self, view: memoryview) -> int | None:
        """Decode into view; how many bytes, None while there are none, 0 once the far end has closed.

        It stops after half a turn at the latest (session_cost). Raises OSError where the far end breaks the
        layer's rules.
        """

    def encode(self, buffers: Sequence[Buffer]) -> int:
        """Encode bytes to be sent; returns how many they are."""

    def output(self) -> bytes:
        """Take out the encoded bytes that have to be sent over the stream below."""

    def reply(self) -> None:
        """Encode what the far end has asked for, if it has; called only while nothing waits to be sent."""

    def certificate(self) -> Certificate:
        """The identity in the peer's certificate; NO_CERTIFICATE in a layer without certificates."""

    def ping(self) -> bool:
        """Send a ping; returns False in a layer that has none."""


class Layered:
    """A stream whose bytes pass through a codec; it has the methods of stream_tcp.Stream."""

    __slots__ = ("_below", "_held", "_is_dry", "_out", "codec", "first")

    def __init__(self, below: AnyStream, codec: Codec) -> None:
        self._below, self.codec = below, codec
        self._held = 0  # bytes that have been counted as waiting
        self._is_dry = False  # the codec has given all that it was fed
        self._out = memoryview(b"")
        self.first = bytearray()
        """The first bytes of the far end, during the handshake (wire_guess)."""

    def open(self) -> None:
        """Do the layer's handshake; the deadline is the caller's. Raises ProtocolError, OSError."""
        try:
            self._handshake()
        except ProtocolError as error:
            self._flush()  # the alert or refusal that says so
            error.failed_in(self.codec.name, bytes(self.first))
            raise
        self.first = bytearray()

    def _handshake(self) -> None:
        landing, left = self.codec.landing[:HANDSHAKE_PIECE], MAX_HANDSHAKE
        while not self.codec.handshake():
            self._drain()
            size = self._below.receive_into(landing)
            if not size:
                raise ProtocolError(
                    f"closed in the middle of the {self.codec.name} handshake", Refusal.CUT_OFF
                )
            left -= size
            if left < 0:
                raise ProtocolError(f"an endless {self.codec.name} handshake", Refusal.MALFORMED)
            looked = len(self.first)
            self.first += landing[: min(size, GUESSED_BYTES - looked)]
            if looked < FIRST_BYTES and guess(self.first) not in self.codec.speaks:
                self.codec.turn_away()
                raise ProtocolError(f"not a {self.codec.name} handshake", Refusal.TRANSPORT)
            if not looked and self.codec.is_dear and self._below.has_closed():
                raise ProtocolError(f"closed before its {self.codec.name} handshake", Refusal.CUT_OFF)
            self.codec.feed(landing[:size])
        self._drain()

    @property
    def pending(self) -> int:
        """Bytes that were taken and that the kernel has not got yet."""
        return len(self._out) + self._below.pending

    @property
    def peer(self) -> str:
        """The peer's address as text; a proxy may name another one in the middle of a handshake."""
        return self._below.peer

    @property
    def via(self) -> str:
        """The address of the proxy that has named the peer; empty for none."""
        return self._below.via

    def has_closed(self) -> bool:
        """Whether the peer has closed or reset the connection; bytes of it may still wait to be received."""
        return self._below.has_closed()

    @property
    def certificate(self) -> Certificate:
        """The identity in the peer's certificate, of this layer or one below."""
        own = self.codec.certificate()
        return own if own.fingerprint else self._below.certificate

    def receive_into(self, view: memoryview) -> int:
        """Wait for bytes and put them into view; returns how many, 0 when the peer has closed."""
        codec, cost = self.codec, self.cost
        if codec.more and not self._below.give_way():
            return 0
        while True:
            if not self._is_dry and (size := codec.read_into(view)) is not None:
                self._is_dry = bool(size) and not codec.more
                break
            self._let_read()
            if codec.more:
                if not self._below.give_way():
                    return 0
                continue
            got = self._below.receive_into(codec.landing)
            if not got:
                return 0
            codec.feed(codec.landing[:got])
            self._is_dry = False
        if cost is not None:
            cost.messages += codec.messages
        codec.messages = 0
        return size

    def _let_read(self) -> None:
        """Send what the codec has to say. While the peer does not read that, nothing more is read from it."""
        while not self._flush() and self.pending > MAX_PENDING:
            self._below.end_turn()
            gevent.sleep(UNREAD_SECONDS)

    def give_way(self) -> bool:
        """Let other greenlets run before the next received bytes; False where the stream has ended."""
        return self._below.give_way()

    def end_turn(self) -> None:
        """End the turn that receive_into began: its bytes are handled, or their reader waits for others."""
        self._below.end_turn()

    @property
    def cost(self) -> Cost | None:
        """The account of processor time of this stream and those below; None where it is not metered."""
        return self._below.cost

    def try_send(self, buffers: Sequence[Buffer]) -> int:
        """Take all bytes, or none while others are pending; what the kernel does not take is pending."""
        if (self._out or self._below.pending or not buffers) and not self._flush():
            return 0
        if not buffers:
            return 0
        taken = self.codec.encode(buffers)
        self._flush()
        return taken

    def limit(self, into: Meter | None, out: Meter | None) -> None:
        """Take the bytes on the wire, below all layers, from these meters (stream_tcp)."""
        self._below.limit(into, out)

    def is_stuck(self, now: float) -> bool:
        """Whether the peer has acknowledged nothing for so long that the stream is dead (MPTCP)."""
        return self._below.is_stuck(now)

    def hold_back(self) -> None:
        """Wait until the limits let more be received."""
        self._below.hold_back()

    @property
    def far_address(self) -> str:
        """The IP address that the socket is connected to; "" where that is not enough to find it again."""
        return self._below.far_address

    def figures(self) -> Figures:
        """What the kernel has measured of the connection."""
        return self._below.figures()

    @property
    def written(self) -> int:
        """Bytes that the kernel was given to send."""
        return self._below.written

    @property
    def congestion(self) -> str:
        """The congestion control of the connection below all layers."""
        return self._below.congestion

    def use_congestion(self, wanted: str, service: str, had: str = SYSTEM) -> None:
        """Use another one from now on (stream_options)."""
        self._below.use_congestion(wanted, service, had)

    def tell_fast(self, fast: bool) -> None:
        """Say whether the processors limit the peer, or a wire."""
        self._below.tell_fast(fast)

    @property
    def is_near(self) -> bool:
        """Whether the far end of the connection below is on this machine, or on the same network."""
        return self._below.is_near

    @property
    def paths(self) -> int:
        """How many TCP connections of MPTCP the stream has; 0 where it is plain TCP."""
        return self._below.paths

    def hold_unread(self, size: int) -> None:
        """Let the kernel hold about `size` bytes that have not been read yet; 0 for as many as it likes."""
        self._below.hold_unread(size)

    @property
    def received(self) -> int:
        """Bytes that the kernel has given us."""
        return self._below.received

    def unread(self) -> int:
        """Bytes that have come and the kernel still holds. Raises OSError."""
        return self._below.unread()

    def hold_unsent(self, size: int) -> None:
        """Let the kernel hold `size` bytes at most that it has not sent yet."""
        self._below.hold_unsent(size)

    def trip(self) -> Trip:
        """What the kernel says of the way of the connection below."""
        return self._below.trip()

    def flight(self) -> Flight:
        """What was sent by the connection below and is not acknowledged."""
        return self._below.flight()

    def pace(self, rate: float) -> None:
        """Let the kernel send so many bytes a second at most; 0 for any number."""
        self._below.pace(rate)

    def restart_bbr(self) -> None:
        """Let the congestion control of the connection below begin anew, if that is bbr."""
        self._below.restart_bbr()

    def give_up(self) -> None:
        """As Stream.give_up."""
        self._below.give_up()

    def resend_soon(self) -> None:
        """Let the connection below repair losses sooner than others do."""
        self._below.resend_soon()

    def wait_writable(self) -> None:
        """Wait until the kernel takes more bytes."""
        self._below.wait_writable()

    def send_all(self, data: bytes) -> None:
        """Send everything, waiting where needed."""
        self._drain()
        self.codec.encode([data])
        self._drain()

    def shutdown(self) -> None:
        """End both directions; pending bytes are not sent any more."""
        self._below.shutdown()
        self._out = memoryview(b"")
        self._count()

    def close(self) -> None:
        """Close the socket."""
        self._below.close()

    def wait_more(self, size: int) -> None:
        """Count `size` bytes more (less where it is negative) that wait for the peer in a layer above."""
        self._below.wait_more(size)

    @property
    def pongs(self) -> int:
        """How many pongs the peer has sent."""
        return getattr(self.codec, "pongs", 0) or self._below.pongs

    def ping(self) -> bool:
        """Send a ping in a layer that has one; returns False where none has."""
        asked = self.codec.ping() or self._below.ping()
        self._flush()
        return asked

    def _flush(self) -> bool:
        """Send what the kernel takes now; returns whether that was all."""
        more, below = self.codec.output(), self._below
        if not (more or self._out or below.pending):
            self.codec.reply()
            more = self.codec.output()
            if not more:
                return True
        if more:
            self._out = memoryview(bytes(self._out) + more) if self._out else memoryview(more)
        if self._out:
            self._out = self._out[below.try_send([self._out]) :]
        elif below.pending:
            below.try_send(())
        if len(self._out) != self._held:
            self._count()
        return not (self._out or below.pending)

    def _count(self) -> None:
        held, self._held = self._held, len(self._out)
        self._below.wait_more(self._held - held)

    def _drain(self) -> None:
        while not self._flush():
            self._below.wait_writable()


AnyStream = Stream | Layered
