"""Sockets cast from moulds: they have a congestion control, listen anywhere, and leave nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import stream_listen, stream_moulds, stream_options
from lib.stream_options import congestion

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
FAMILIES = [
    socket.AF_INET,
    pytest.param(socket.AF_INET6, marks=pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")),
]


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A congestion control that is not the system's own, which we can choose now and shall not be able to later."""
    with socket.socket() as fresh:
        others = [name for name in AVAILABLE if name != congestion(fresh)]
    monkeypatch.setattr(stream_moulds, "_moulds", {})
    stream_moulds.keep(others)
    kept = [name for name, family in stream_moulds._moulds if family == socket.AF_INET]
    if not kept:
        pytest.skip("there is one congestion control here")
    monkeypatch.setattr(stream_options, "missing", lambda name: "only root may use it")
    yield kept[0]
    for mould in stream_moulds._moulds.values():
        mould.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_as_many_as_are_wanted_and_each_listens_where_it_shall(name: str, family: int) -> None:
    addresses = [("127.0.0.1", "127.0.0.2"), ("", "::1")][family == socket.AF_INET6]
    for host in (*addresses, *addresses):
        cast = list[int]()

        def make(family: int, cast: list[int] = cast) -> object:
            sock = stream_moulds.cast(name, family)
            cast.append(sock is not None)
            return sock

        with stream_listen.listen(host, 0, make=make) as listener:
            assert cast == [True]
            assert congestion(listener) == name
            stream_options.use_congestion(listener, name, "s")
            port = listener.getsockname()[1]
            for near in ("127.0.0.1", "::1") if not host else (host,):
                with socket.create_connection((near, port), timeout=5) as far:
                    accepted, _ = listener.accept()
                    with accepted:
                        assert congestion(accepted) == name
                        far.sendall(b"hello")
                        assert accepted.recv(5) == b"hello"
            mould = stream_moulds._moulds[name, family]
            assert not mould.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_who_may_choose_it_needs_no_mould(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_options, "missing", lambda name: "")
    assert stream_moulds.cast(name, socket.AF_INET) is None


def test_a_connection_of_somebody_else_is_closed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the port in the moment in which a mould listens gets nothing, and keeps nobody from the cast."""
    others, mould = list[socket.socket](), stream_moulds._moulds[name, socket.AF_INET]

    class Overtaken:
        """The mould, to which somebody else connects first."""

        def listen(self, most: int) -> None:
            mould.listen(most)
            others.append(socket.create_connection(mould.getsockname()))

        def __getattr__(self, wanted: str) -> object:
            return getattr(mould, wanted)

    monkeypatch.setitem(stream_moulds._moulds, (name, socket.AF_INET), Overtaken())
    cast = stream_moulds.cast(name, socket.AF_INET)
    with cast, others[0]:
        assert congestion(cast) == name
        assert others[0].recv(1) == b""


def test_without_loopback_there_is_the_usual_socket(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_moulds, "_LOOPBACK", {socket.AF_INET: "192.0.2.1"})
    assert stream_moulds.cast(name, socket.AF_INET) is None
    assert stream_moulds.cast("none_such", socket.AF_INET) is None
