"""A TCP connection over loopback for tests: our end a lib.stream_tcp.Stream, the other a gevent socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket as gsocket

from lib.stream_tcp import Stream

SECONDS = 30.0
"""How long a test waits for what must come."""


@contextmanager
def listening() -> Iterator[Any]:
    """A listening socket of gevent's, on a free port of the loopback address."""
    with gsocket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(100)
        yield made


@contextmanager
def stream_pair(buffer: int = 0) -> Iterator[tuple[Stream, Any]]:
    """(our stream, the far socket); `buffer` bounds the bytes that the kernel holds between them."""
    with gsocket.socket() as listener:
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = gsocket.socket()
        if buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        ours.connect(listener.getsockname())
        far, _ = listener.accept()
    stream = Stream(ours, "far")
    try:
        yield stream, far
    finally:
        stream.close()
        far.close()


def read_until(far: Any, size: int, chunk: int = 1 << 16) -> bytes:
    """Read `size` bytes from the other end, or all there are if the connection ends before."""
    data = b""
    with gevent.Timeout(SECONDS):
        while len(data) < size and (got := far.recv(min(chunk, size - len(data)))):
            data += got
    return data
