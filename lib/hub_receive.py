"""One receive of a hub from a client, with GOST's readTimeout: who says nothing for so long has to go.

Knows: that a client with two lanes may be silent on one of them.
Refuses to know: what is received (hub_session), how (stream_layer).
"""

from __future__ import annotations

import errno

from lib.counters import Traffic
from lib.stream_deadline import within
from lib.stream_layer import AnyStream


class _Silent(OSError):
    """Nothing was received for readTimeout."""


def receive(stream: AnyStream, landing: memoryview, seconds: float, traffic: Traffic) -> int:
    """The bytes that a lane has put into `landing`; 0 at its end. `traffic` counts what the client sends.

    Raises OSError, also where no lane of the client has brought anything for so many seconds.
    """
    stream.hold_back()  # that is no silence of the client's
    late = f"nothing received for {seconds:g} s (readTimeout)"
    while True:
        before = traffic.received_bytes
        try:
            with within(seconds, lambda: _Silent(errno.ETIMEDOUT, late)):
                return stream.receive_into(landing)
        except _Silent:
            if traffic.received_bytes == before:  # by the other lane neither
                raise
