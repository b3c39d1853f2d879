"""UDP sockets of datagram channels, over loopback: bursts, which address replies, errors that end nothing."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from lib.datagram_open import beside, toward
from lib.datagram_socket import (
    MAX_BYTES,
    MAX_SEGMENTS,
    Address,
    DatagramSocket,
    Sent,
    _run_end,
)
from lib.settings_dial import DialSettings
from lib.stream_listen import bind
from tests.support.streams import SECONDS


@contextmanager
def pair(host: str = "", far: str = "127.0.0.1") -> Iterator[tuple[DatagramSocket, DatagramSocket, Address]]:
    """(a hub's socket, a client's, the hub's address)."""
    listener = bind(host, 0)
    hub = beside(listener)
    client, address = toward(far, listener.getsockname()[1])
    try:
        yield hub, client, address
    finally:
        hub.close()
        client.close()
        listener.close()


def received(sock: DatagramSocket, count: int) -> list[tuple[Address, bytes]]:
    found: list[tuple[Address, bytes]] = []
    with gevent.Timeout(SECONDS):
        while len(found) < count:
            found += sock.recv_burst()
    return found


@pytest.mark.parametrize(
    ("host", "far"),
    [("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("", "127.1.2.3"), ("", "::1"), ("::1", "::1")],
)
def test_a_hub_replies_from_the_address_that_was_asked(host: str, far: str) -> None:
    with pair(host, far) as (hub, client, address):
        assert client.send_burst(address, [b"ping"]) == Sent(1)
        ((back, data),) = received(hub, 1)
        assert data == b"ping"
        assert hub.send_burst(back, [b"pong"]) == Sent(1)
        ((whence, data),) = received(client, 1)
        assert data == b"pong"
        assert whence.far[:2] == address.far[:2]


def test_it_listens_at_the_port_of_the_stream_listener_and_a_busy_port_is_an_error() -> None:
    listener = bind("", 0)
    hub = beside(listener)
    assert hub.sock.getsockname() == listener.getsockname()
    with pytest.raises(OSError) as failed:
        beside(listener)
    assert failed.value.errno == errno.EADDRINUSE
    hub.close()
    listener.close()


def test_a_client_may_have_an_address_of_its_own() -> None:
    listener = bind("", 0)
    hub = beside(listener)
    client, address = toward("127.0.0.1", listener.getsockname()[1], how=DialSettings(source="127.9.9.9"))
    client.send_burst(address, [b"x"])
    assert received(hub, 1)[0][0].far[0] == "::ffff:127.9.9.9"
    assert str(Address(("::ffff:127.9.9.9", 5, 0, 0))) == "127.9.9.9:5"
    for sock in (hub, client, listener):
        sock.close()


SIZES = [
    [1200] * 200,
    [1200] * 10 + [7],
    [7, 1200, 1200, 300, 300, 1, 1400],
    [65000, 65000],
    [0, 5, 0, 0, 5],
    [1] * 130,
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("segments", [True, False])
def test_a_burst_arrives_datagram_by_datagram_in_its_order(sizes: list[int], segments: bool) -> None:
    sent = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    with pair() as (hub, client, address):
        client.segments = segments
        assert client.send_burst(address, sent) == Sent(len(sent))
        assert [data for _, data in received(hub, len(sent))] == sent
        assert client.segments is segments


@pytest.mark.parametrize("sizes", SIZES)
def test_a_call_sends_no_more_than_the_kernel_cuts(sizes: list[int]) -> None:
    datagrams = [bytes(size) for size in sizes]
    at, runs = 0, []
    while at < len(datagrams):
        end = _run_end(datagrams, at)
        runs.append([len(datagram) for datagram in datagrams[at:end]])
        at = end
    assert [size for run in runs for size in run] == sizes
    for run in runs:
        assert len(run) <= MAX_SEGMENTS
        assert sum(run) <= MAX_BYTES
        assert set(run[:-1]) <= {run[0]}
        assert run[-1] <= run[0]
        assert len(run) == 1 or run[-1] > 0


class Refusing:
    """A socket whose sendmsg fails as the kernel's may."""

    def __init__(self, sock: Any, refuse: Any) -> None:
        self._sock, self._refuse = sock, refuse
        self.calls: list[tuple[list[int], bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendmsg(self, buffers: Any, control: Any, flags: int, far: Any) -> int:
        sizes, is_cut = [len(one) for one in buffers], any(kind == 103 for _, kind, _ in control)
        self.calls.append((sizes, is_cut))
        if number := self._refuse(sizes, is_cut, control):
            raise OSError(number, "as the test wants it")
        sent: int = self._sock.sendmsg(buffers, control, flags, far)
        return sent


@contextmanager
def refusing(refuse: Any) -> Iterator[tuple[DatagramSocket, DatagramSocket, Address, Refusing]]:
    with pair() as (hub, client, address):
        client.sock = Refusing(client.sock, refuse)
        yield hub, client, address, client.sock


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_a_kernel_that_cannot_cut_bursts_gets_single_datagrams_for_ever(number: int) -> None:
    with refusing(lambda sizes, is_cut, control: number if is_cut else 0) as (hub, client, address, sock):
        assert client.send_burst(address, [b"abc"] * 5) == Sent(5)
        assert [data for _, data in received(hub, 5)] == [b"abc"] * 5
        assert not client.segments
        sock.calls.clear()
        assert client.send_burst(address, [b"abc"] * 3) == Sent(3)
        assert sock.calls == [([3], False)] * 3


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EMSGSIZE])
def test_what_is_too_long_for_the_device_does_not_switch_bursts_off(number: int) -> None:
    """Kernels say EINVAL, later ones EMSGSIZE, of a burst whose datagrams are too long."""

    def refuse(sizes: list[int], is_cut: bool, control: Any) -> int:
        return (number if is_cut else errno.EMSGSIZE) if sizes[0] > 1400 else 0

    with refusing(refuse) as (hub, client, address, _):
        assert client.send_burst(address, [bytes(1500)] * 3 + [bytes(1400)] * 3 + [bytes(1450)]) == Sent(
            3, 1450
        )
        assert [len(data) for _, data in received(hub, 3)] == [1400] * 3
        assert client.segments


@pytest.mark.parametrize(
    "number",
    [
        *(errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOBUFS, errno.EPERM),
        *(errno.EACCES, errno.ENETDOWN, errno.ENOMEM, errno.ENODEV),
    ],
)
@pytest.mark.parametrize("sizes", [[5], [5, 5, 5]])
def test_what_the_network_refuses_is_lost_and_nothing_else(number: int, sizes: list[int]) -> None:
    broken = [True]
    with refusing(lambda *_: number if broken else 0) as (hub, client, address, _):
        assert client.send_burst(address, [bytes(size) for size in sizes]) == Sent(0)
        broken.clear()
        assert client.send_burst(address, [b"now"] * 3) == Sent(3)
        assert len(received(hub, 3)) == 3
        assert client.segments


@pytest.mark.parametrize("sizes", [[5, 9], [5, 5, 9, 9]])
def test_a_full_send_buffer_ends_the_burst(sizes: list[int]) -> None:
    refuse = lambda sizes, *_: errno.EAGAIN if sizes[0] == 9 else 0  # noqa: E731
    with refusing(refuse) as (_, client, address, sock):
        taken = sizes.count(5)
        assert client.send_burst(address, [bytes(size) for size in sizes]) == Sent(taken, is_full=True)
        assert len(sock.calls) == 2


def test_a_reply_goes_out_where_the_address_that_was_asked_is_gone() -> None:
    with pair() as (hub, client, address):
        client.send_burst(address, [b"x"])
        ((back, _),) = received(hub, 1)
        near = back.near[:12] + socket.inet_aton("192.0.2.77") + back.near[16:]
        assert hub.send_burst(back._replace(near=near), [b"back"] * 3) == Sent(3)
        assert len(received(client, 3)) == 3
        assert hub.segments


def test_a_refused_datagram_does_not_end_the_receiver() -> None:
    """ICMP says "port unreachable": no burst fails with that."""
    with pair() as (hub, client, address):
        nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        nobody.bind(("127.0.0.1", 0))
        gone = Address(nobody.getsockname())
        nobody.close()
        assert client.send_burst(gone, [b"x"] * 4) == Sent(4)
        client.send_burst(address, [b"alive"])
        ((back, _),) = received(hub, 1)
        hub.send_burst(back, [b"and back"])
        assert received(client, 1)[0][1] == b"and back"
