"""MPTCP in tests: those that need a kernel with it, and a connection of it over loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from gevent import socket as gsocket

from lib.stream_options import IPPROTO_MPTCP, no_mptcp
from lib.stream_tcp import Stream

needs_mptcp = pytest.mark.skipif(bool(no_mptcp()), reason=f"MPTCP: {no_mptcp()}")


@contextmanager
def mptcp_pair(
    ours: int = IPPROTO_MPTCP, far: int = IPPROTO_MPTCP, dead_after: float = 15.0
) -> Iterator[tuple[Stream, Any]]:
    """(our stream, which was accepted; the far socket, which dialled), each of its own protocol."""
    with gsocket.socket(gsocket.AF_INET, gsocket.SOCK_STREAM, ours) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        dialled = gsocket.socket(gsocket.AF_INET, gsocket.SOCK_STREAM, far)
        dialled.connect(listener.getsockname())
        accepted, _ = listener.accept()
    stream = Stream(accepted, "far", None, dead_after)
    try:
        yield stream, dialled
    finally:
        stream.close()
        dialled.close()
