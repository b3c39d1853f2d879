"""PROXY header at the beginning of a stream: read from a trusted proxy's connection, and not a byte more.

Knows: that what follows belongs to TLS, WebSocket or the relay handshake, and must stay unread.
Refuses to know: what a header looks like (wire_proxy), whose connections have one (hub_caller). The deadline
is the caller's.
"""

from __future__ import annotations

from lib import wire_proxy
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.stream_tcp import Stream


def read_header(stream: Stream) -> wire_proxy.Header:
    """The header that a stream begins with. Raises ProtocolError, OSError."""
    data = b""
    while True:
        stream.wait_readable()
        try:
            seen = stream.peek(wire_proxy.MAX_HEADER)
        except (BlockingIOError, InterruptedError):  # nothing is there after all
            continue
        if not seen:
            raise ProtocolError("closed before its PROXY header was complete", Refusal.CUT_OFF)
        header = wire_proxy.parse(data + seen)
        piece = memoryview(bytearray(len(seen) if header is None else header.size - len(data)))
        data += piece[: stream.receive_into(piece)]
        if header is not None and len(data) == header.size:
            return header
