"""Streams over MPTCP: what the kernel has of TCP's options there, how a dead peer is noticed, plain TCP instead."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import gevent
import pytest

from lib import stream_figures, stream_options
from lib.session_cost import Cost
from lib.stream_listen import listen
from lib.stream_options import IPPROTO_MPTCP, is_mptcp, made, no_mptcp
from lib.stream_tcp import Stream
from tests.support.mptcp import mptcp_pair, needs_mptcp
from tests.support.streams import SECONDS

TCP = socket.IPPROTO_TCP


def until(true: Any) -> None:
    with gevent.Timeout(SECONDS):
        while not true():
            gevent.sleep(0.001)


@needs_mptcp
def test_a_stream_of_mptcp_carries_bytes_and_counts_its_paths() -> None:
    with mptcp_pair() as (stream, far):
        assert stream.is_mptcp
        far.sendall(b"there")
        view = memoryview(bytearray(10))
        assert bytes(view[: stream.receive_into(view)]) == b"there"
        until(lambda: stream.paths == 1)
        assert stream.try_send([b"and", b" back"]) == 8
        assert far.recv(10) == b"and back"
        assert stream.congestion


@needs_mptcp
@pytest.mark.parametrize(("ours", "far"), [(IPPROTO_MPTCP, TCP), (TCP, IPPROTO_MPTCP)])
def test_a_peer_without_mptcp_gets_plain_tcp(ours: int, far: int) -> None:
    with mptcp_pair(ours, far) as (stream, dialled):
        assert not stream.is_mptcp
        assert stream.paths == 0
        dialled.sendall(b"there")
        view = memoryview(bytearray(10))
        assert stream.receive_into(view) == 5
        if far == IPPROTO_MPTCP:
            assert is_mptcp(dialled)
            assert stream_figures.paths(dialled) == 0


@needs_mptcp
@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_peer_that_has_closed_is_seen_behind_what_is_unread(how: str) -> None:
    """TCP_INFO has the state of one path, which says nothing of it."""
    with mptcp_pair() as (stream, far):
        far.sendall(b"unread")
        assert not stream.has_closed()
        if how == "half":
            far.shutdown(socket.SHUT_WR)
        else:
            if how == "reset":
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
        until(stream.has_closed)


@needs_mptcp
def test_the_receive_buffer_of_an_expensive_peer_stays_as_it_is() -> None:
    """It could not grow again."""
    with mptcp_pair() as (stream, far):
        cost = Cost()
        stream.count(cost, "key")
        cost.admit("tcp")
        cost.debt, cost.expensive = 1.0, True
        far.sendall(b"there")
        view = memoryview(bytearray(10))
        assert stream.receive_into(view) == 5
        assert cost.expensive
        before = stream._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        stream.end_turn()
        assert stream._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= before


@needs_mptcp
@pytest.mark.parametrize("far_protocol", [IPPROTO_MPTCP, TCP])
def test_a_peer_that_acknowledges_nothing_is_dead_after_a_while(far_protocol: int) -> None:
    """The kernel has no TCP_USER_TIMEOUT for MPTCP. Here our end dials, so that it is MPTCP in both cases."""
    with mptcp_pair(far_protocol, IPPROTO_MPTCP, 15.0) as (reader, dialled):
        stream = Stream(dialled, "far", None, 15.0)
        try:
            assert stream.is_mptcp
            assert not stream.is_stuck(1000.0)
            assert not stream.is_stuck(1100.0), "nothing waits"
            size = 0
            with gevent.Timeout(SECONDS):
                while sent := stream.try_send([bytes(1 << 16)]):
                    size += sent
                    gevent.sleep(0.002)
            assert not stream.is_stuck(1100.0)
            assert not stream.is_stuck(1114.0)
            assert stream.is_stuck(1115.0)
            view = memoryview(bytearray(1 << 20))
            while size > 0:
                size -= reader.receive_into(view)
            until(lambda: not stream.is_stuck(2000.0))
        finally:
            stream.close()


def test_a_stream_of_tcp_leaves_that_to_the_kernel() -> None:
    with mptcp_pair(TCP, TCP) as (stream, _):
        assert not stream.is_stuck(1e9)


# --- a kernel without MPTCP


class Without:
    """A kernel that refuses sockets of MPTCP in its own way."""

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, list[int]()

    def __call__(self, protocol: int) -> str:
        self.asked.append(protocol)
        if protocol == IPPROTO_MPTCP:
            raise OSError(self.number, os.strerror(self.number))
        return "plain"


@pytest.mark.parametrize(
    "number", [errno.ENOPROTOOPT, errno.EPROTONOSUPPORT, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP]
)
def test_plain_tcp_where_the_kernel_has_no_mptcp(number: int) -> None:
    kernel = Without(number)
    assert made(kernel, 6, True) == "plain"
    assert kernel.asked == [IPPROTO_MPTCP, 6]


def test_another_error_of_a_socket_is_an_error() -> None:
    with pytest.raises(OSError, match="Too many open files"):
        made(Without(errno.EMFILE), 0, True)
    kernel = Without(errno.EMFILE)
    assert made(kernel, 0, False) == "plain", "nobody has asked for it"
    assert kernel.asked == [0]


@pytest.fixture
def switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel whose MPTCP is off, for whoever makes a socket."""
    real = socket.socket.__init__

    def refused(self: Any, family: int = -1, kind: int = -1, proto: int = -1, fileno: Any = None) -> None:
        if proto == IPPROTO_MPTCP:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        real(self, family, kind, proto, fileno)

    monkeypatch.setattr(socket.socket, "__init__", refused)


@pytest.mark.usefixtures("switched_off")
def test_a_kernel_whose_mptcp_is_off_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(stream_options, "say", lambda *words, **fields: said.append(fields))
    why = "it is switched off: let root run `sysctl -w net.mptcp.enabled=1`"
    assert no_mptcp() == why
    stream_options.tell_no_mptcp("s")
    assert [(line["service"], line["fold"], line["reason"]) for line in said] == [("s", "s", why)]


def test_an_option_that_mptcp_has_not_is_no_error_there_and_one_of_tcp() -> None:
    """Older kernels have fewer of them than this one."""

    class Old:
        def __init__(self) -> None:
            self.set: list[int] = []

        def setsockopt(self, level: int, option: int, value: int) -> None:
            self.set.append(option)
            if level == TCP:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    old = Old()
    stream_options.tune(old, None, 15.0, mptcp=True)
    assert socket.TCP_KEEPCNT in old.set
    with pytest.raises(OSError, match="not supported"):
        stream_options.tune(Old(), None, 15.0, mptcp=False)


@needs_mptcp
def test_a_listening_socket_of_mptcp_has_both_versions_of_ip() -> None:
    with listen("", 0, False, True) as sock:
        assert is_mptcp(sock)
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, sock.getsockname()[1])):
                pass
