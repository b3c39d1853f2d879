"""GOST's relay handshake over a stream, as hub and as client, within a deadline.

Knows: how long a peer may take, and how many bytes it may send, until its message is whole.
Refuses to know: the bytes (wire_relay) and who is admitted (auth_admission).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from lib import wire_relay
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.session_mismatch import RELAY
from lib.stream_deadline import within
from lib.stream_layer import AnyStream
from lib.wire_guess import GUESSED_BYTES
from lib.wire_relay import Request, Response, Status

Message = TypeVar("Message")
_CHUNK = 4096
_NOT_UNDERSTOOD = wire_relay.encode_response(Response(Status.BAD_REQUEST))


def receive_request(stream: AnyStream, seconds: float) -> tuple[Request, bytes]:
    """Wait for a client's request; returns (request, bytes that came after it).

    Raises ProtocolError for anything else, for one that ends early, and when `seconds` have passed. A client
    that speaks another protocol is sent a response all the same, as GOST does: it shows what is spoken here.
    """
    late = f"no handshake within {seconds:g} s"
    with within(seconds, lambda: ProtocolError(late, Refusal.LATE)):
        try:
            return _receive(stream, wire_relay.decode_request)
        except ProtocolError as error:
            if error.refusal is Refusal.MALFORMED:
                with suppress(OSError):
                    stream.try_send([_NOT_UNDERSTOOD])
            raise


def ask(stream: AnyStream, request: Request) -> tuple[Response, bytes]:
    """Send a request and wait for the hub's response; returns (response, bytes that came after it).

    The deadline is the caller's. Raises ProtocolError for anything else and for one that ends early, OSError.
    """
    stream.send_all(wire_relay.encode_request(request))
    return _receive(stream, wire_relay.decode_response)


def _receive(
    stream: AnyStream, decode: Callable[[bytes], tuple[Message, int] | None]
) -> tuple[Message, bytes]:
    """Read one message."""
    data = bytearray()
    chunk = memoryview(bytearray(_CHUNK))
    try:
        while True:
            size = stream.receive_into(chunk)
            if not size:
                early = "closed in the middle of the handshake" if data else "closed at once"
                raise ProtocolError(early, Refusal.CUT_OFF)
            data += chunk[:size]
            message = decode(bytes(data))
            if message is not None:
                return message[0], bytes(data[message[1] :])
    except ProtocolError as error:
        error.failed_in(RELAY, bytes(data[:GUESSED_BYTES]))
        raise
