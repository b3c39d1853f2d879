"""A port that cannot be opened: the error says what to do about it."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

import pytest

from lib import stream_listen
from lib.errors import HostError


def test_a_low_port_without_the_capability_names_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("lib.stream_listen.gsocket.socket", Forbidden)
    with pytest.raises(
        HostError, match="cannot listen on :443: Permission denied; ports below 1024 need"
    ) as low:
        stream_listen.listen("", 443)
    assert "CAP_NET_BIND_SERVICE" in str(low.value)
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in str(low.value)
    with pytest.raises(HostError, match=r"cannot listen on :8443: Permission denied$"):
        stream_listen.listen("", 8443)


def test_a_port_in_use_says_how_to_see_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"Address already in use; .*`ss -ltnp sport = :{port}`"):
            stream_listen.listen("127.0.0.1", port)


def test_an_address_of_another_machine_says_how_to_see_ours() -> None:
    with pytest.raises(HostError, match=r"Cannot assign requested address; .*`ip address`"):
        stream_listen.listen("192.0.2.1", 8443)


_AT = struct.calcsize("8B5I")
"""Where a listening socket's TCP_INFO says how many may wait (tcpi_sacked, by tcp_get_info() of the kernel)."""


def test_as_many_connections_may_wait_as_the_kernel_lets() -> None:
    """A hub's clients all come back at the same moment."""
    with stream_listen.listen("127.0.0.1", 0) as sock:
        (most,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), _AT)
    assert most == int(Path("/proc/sys/net/core/somaxconn").read_text())
