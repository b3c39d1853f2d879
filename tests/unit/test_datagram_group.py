"""Real sockets of one port: each label reaches its own, whatever becomes of those who read them."""

from __future__ import annotations

import errno
import os
import random
import socket as system_socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from gevent import socket

from lib import datagram_group, datagram_wire
from lib.datagram_socket import DatagramSocket

COUNT = 3
PLACES = {
    "IPv4": (socket.AF_INET, "127.0.0.1", False, "127.0.0.1"),
    "every IPv4": (socket.AF_INET, "0.0.0.0", False, "127.0.0.1"),
    "IPv6": (socket.AF_INET6, "::1", True, "::1"),
    "every address, by IPv4": (socket.AF_INET6, "::", False, "127.0.0.1"),
    "every address, by IPv6": (socket.AF_INET6, "::", False, "::1"),
    "every IPv6": (socket.AF_INET6, "::", True, "::1"),
}
SECONDS = 20.0


class Group:
    """The sockets of a port as the main process has them, as workers do, and somebody who sends there."""

    def __init__(self, family: int, host: str, only: bool, to: str) -> None:
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_INET6:
            self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only))
        self.listener.bind((host, 0))
        self.family, self.to = family, (to, self.listener.getsockname()[1])
        self.socks = datagram_group.opened(self.listener, COUNT)
        self.readers = [self.reader(number) for number in range(COUNT)]
        self.senders: list[Any] = []

    def reader(self, number: int) -> DatagramSocket:
        return datagram_group.handed(os.dup(self.socks[number].fileno()))

    def sender(self) -> Any:
        found = socket.socket(socket.AF_INET6 if ":" in self.to[0] else socket.AF_INET, socket.SOCK_DGRAM)
        found.connect(self.to)
        self.senders.append(found)
        return found

    def own(self, sender: Any, number: int = 0) -> DatagramSocket:
        """A socket for one far end alone, as a worker opens it: from what has come from there."""
        sender.send(datagram(number))
        (run,) = self.readers[number].recv_runs()
        return datagram_group.connected(self.readers[number], run.address, 1 << 16)

    def close(self) -> None:
        datagram_group.close(self.socks)
        for one in (*self.readers, *self.senders, self.listener):
            one.close()


@pytest.fixture(params=list(PLACES))
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    with closing(Group(*PLACES[request.param])) as made:
        yield made


def datagram(number: int) -> bytes:
    """One whose label is of this part; the last bytes are random."""
    base = datagram_wire.label_of(random.randbytes(3)) // COUNT * COUNT
    label = base + number if base + number < 0x55000000 else base + number - COUNT
    label += COUNT if label < 0x54000000 else 0
    return datagram_wire.header(label, 7) + random.randbytes(30)


def expect(sender: Any, to: dict[int, DatagramSocket]) -> None:
    """Let a sender send datagrams of each part, in any order, and see that each socket gets those of its part."""
    sent: dict[int, list[bytes]] = {number: [datagram(number) for _ in range(5)] for number in range(COUNT)}
    for one in random.sample([one for some in sent.values() for one in some], 5 * COUNT):
        sender.send(one)
    came: dict[int, list[bytes]] = {}
    for number, reader in to.items():
        came[number] = []
        while len(came[number]) < 5:
            came[number] += [one for _, one in reader.recv_burst()]
    assert {number: sorted(some) for number, some in came.items()} == {
        number: sorted(some) for number, some in sent.items()
    }


def test_each_label_reaches_its_socket(group: Group) -> None:
    for _ in range(4):  # from whatever address: the kernel's own choice would go by that
        expect(group.sender(), dict(enumerate(group.readers)))


def test_also_when_a_reader_was_replaced(group: Group) -> None:
    sender = group.sender()
    for number in (0, 2, 0):
        group.readers[number].close()
        waiting = datagram(number)
        sender.send(waiting)
        group.readers[number] = group.reader(number)
        assert [one for _, one in group.readers[number].recv_burst()] == [waiting], "the next one reads it"
        expect(sender, dict(enumerate(group.readers)))


def test_far_ends_with_sockets_of_their_own_change_nothing_for_others(group: Group) -> None:
    far = [group.sender() for _ in range(8)]
    owns = [group.own(one, number % COUNT) for number, one in enumerate(far)]
    stranger = group.sender()
    while owns:
        expect(stranger, dict(enumerate(group.readers)))
        for one, own in zip(far, owns, strict=True):
            for number in range(COUNT):
                one.send(datagram(number))
            came: list[bytes] = []
            while len(came) < COUNT:
                came += [data for _, data in own.recv_burst()]
            assert len(came) == COUNT, "all that is sent from there, whatever its label"
        at = random.randrange(len(owns))
        owns.pop(at).close()
        far.pop(at)


def test_nothing_of_others_comes_to_such_a_socket_before_it_is_connected(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, stranger = group.sender(), group.sender()
    during: list[None] = []

    class Slow(system_socket.socket):
        def connect(self, address: Any) -> None:
            expect(stranger, dict(enumerate(group.readers)))
            during.append(None)
            super().connect(address)

    monkeypatch.setattr("lib.datagram_open._OriginalSocket", Slow)
    own = group.own(sender)
    assert during
    assert not own.recv_runs(waits=False)
    own.close()


@pytest.mark.parametrize("group", ["every IPv4", "every address, by IPv4"], indirect=True)
def test_what_would_be_sent_from_another_address_has_none(group: Group) -> None:
    """As where a hub has two addresses in one network: the far end would not take what comes from the other one."""
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group.senders.append(other)
    other.bind(("127.0.0.1", 0))
    other.connect(("127.0.0.2", group.to[1]))  # a reply by the way back has 127.0.0.1
    with pytest.raises(OSError, match="Cannot assign requested address"):
        group.own(other)
    expect(other, dict(enumerate(group.readers)))


def test_a_busy_port_is_an_error(group: Group) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="in use") as caught:
        datagram_group.opened(group.listener, COUNT)
    assert caught.value.errno == errno.EADDRINUSE
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_kernel_that_cannot_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_group, "_ATTACH_REUSEPORT_CBPF", 9999)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with closing(listener):
        listener.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="not available"):
            datagram_group.opened(listener, COUNT)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with closing(udp):
            udp.bind(listener.getsockname())  # nothing of it has stayed


def test_a_reader_leaves_the_size_of_buffers(group: Group) -> None:
    """Whoever has opened them may have had more rights than a worker."""
    sizes = [one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for one in group.socks]
    group.socks[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
    group.readers[0].close()
    group.readers[0] = group.reader(0)
    assert group.socks[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 100_000
    assert len(set(sizes)) == 1
