"""Datagrams of sessions in several workers: each comes to the worker that has the session, also to the next one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import config_read, config_resolve, config_secrets, datagram_group, datagram_port, wire_control
from lib.capture_taps import Taps
from lib.datagram_part import Part
from lib.framing import ReceiveBuffer
from lib.hub import Hub
from lib.hub_datagram import HubDatagrams
from lib.hub_tables import Tables
from lib.namespace_domains import Domains
from lib.worker_datagrams import HandedDatagrams
from lib.worker_listener import HandedServer
from tests.support.configs import checked
from tests.unit.test_hub_datagram import CONFIG, Client, session_of, until

WORKERS = 2


class Workers:
    """The main process's sockets of a service, and its hub in two workers: all of them in this process."""

    def __init__(self) -> None:
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.group = datagram_group.opened(self.listener, WORKERS)
        self.hubs: dict[int, Hub] = {}
        self._servers: dict[int, HandedServer] = {}
        for number in range(WORKERS):
            self.begin(number)
        self._next = 0
        self._accepting = gevent.spawn(self._accept)

    def begin(self, number: int, handed: bool = True) -> Hub:
        settings = config_resolve.resolve(
            checked(config_read.read([("f", CONFIG % "datagram")])), config_secrets.read
        )
        tables = Tables(settings)
        (one,) = settings.hubs

        def listen(settings: Any, greet: Any, serve: Any, pool: Any, make_room: Any) -> HandedServer:
            server = HandedServer(self.listener.getsockname(), False, greet, serve, pool)
            self._servers[number] = server
            return server

        domain = Domains(tables).of(one, settings.tables)
        datagrams = HandedDatagrams(Part(number, WORKERS))
        hub = Hub(one, domain, tables, ReceiveBuffer(), Taps(), listen, None, datagrams)
        if handed:
            datagrams.hand(os.dup(self.group[number].fileno()))
        hub.start()
        self.hubs[number] = hub
        return hub

    def end(self, number: int) -> None:
        hub = self.hubs.pop(number)
        hub.stop()
        hand(hub)

    def client(self, number: int, host: str) -> Client:
        self._next = number
        return Client(self.hubs[number], host)

    def _accept(self) -> None:
        while True:
            sock, address = self.listener.accept()
            self._servers[self._next].take(sock.detach(), address, lambda: None, 1)

    def close(self) -> None:
        self._accepting.kill()
        for number in list(self.hubs):
            self.end(number)
        datagram_group.close(self.group)
        self.listener.close()


def hand(hub: Hub, *descriptors: int) -> None:
    assert isinstance(hub.datagrams, HandedDatagrams)
    hub.datagrams.hand(*descriptors)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def labels(hub: Hub) -> set[int]:
    return {label % WORKERS for label in hub.datagrams.table.entries}


def answered(client: Client) -> None:
    """Wait until the hub answers a PROBE from now on."""
    before = client.peer._acked_at
    client.peer._probe(time.monotonic())
    until(lambda: client.works() and client.peer._acked_at > before)


def is_up(hub: Hub, host: str) -> bool:
    channel = session_of(hub, host).channel
    return channel is not None and channel.peer.is_up(time.monotonic())


def test_each_session_has_its_datagrams_where_it_is(workers: Workers) -> None:
    clients = []
    for host in ("host-1", "host-2"):
        for number in range(WORKERS):
            client = workers.client(number, host)
            clients.append(client)
            client.begin()
            until(lambda: is_up(workers.hubs[number], host))  # noqa: B023
    for number, hub in workers.hubs.items():
        assert labels(hub) == {number}
        assert hub.datagrams.table.strangers == 0, "nothing of the other one's has come"
        assert not hub.datagrams.why_none(session_of(hub, "host-1"))
        for host in ("host-1", "host-2"):
            channel = session_of(hub, host).channel
            assert channel is not None
            assert channel._own is not None, "what comes from there is kept apart"
    for client in clients:
        answered(client)
        client.close()


@pytest.mark.parametrize("number", range(WORKERS))
def test_one_in_place_of_another_has_its_socket(workers: Workers, number: int) -> None:
    other = 1 - number
    stays, goes = workers.client(other, "host-1"), workers.client(number, "host-2")
    stays.begin()
    goes.begin()
    workers.end(number)
    goes.peer._probe(time.monotonic())  # its keys have gone with it
    workers.begin(number)
    again = workers.client(number, "host-2")
    again.begin()
    until(lambda: workers.hubs[number].datagrams.table.strangers)
    assert workers.hubs[other].datagrams.table.strangers == 0
    for client in (stays, again):
        answered(client)
        client.close()
    goes.close()


def test_without_a_port_there_are_streams_and_nothing_is_said_again(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubDatagrams, "tell_busy", None)
    workers.end(0)
    hub = workers.begin(0, handed=False)
    client = workers.client(0, "host-1")
    assert not client.hello.features & wire_control.Feature.DATAGRAMS
    assert hub.datagrams.why_none(session_of(hub, "host-1")) == "no UDP port"
    client.close()


def test_a_port_that_goes_is_told(workers: Workers) -> None:
    client, hub = workers.client(1, "host-1"), workers.hubs[1]
    client.begin()
    hand(hub)
    given = wire_control.decode(client.read())
    while given != wire_control.Datagrams():
        given = wire_control.decode(client.read())
    assert hub.datagrams.why_none(session_of(hub, "host-1")) == "no UDP port"
    assert not labels(hub)
    hand(hub, os.dup(workers.group[1].fileno()))
    again = workers.client(1, "host-2")
    again.begin()
    until(lambda: is_up(hub, "host-2"))
    for one in (client, again):
        one.close()


def test_settings_that_open_it_anew_have_the_socket_that_was_handed_over(workers: Workers) -> None:
    client, hub = workers.client(1, "host-1"), workers.hubs[1]
    client.begin()
    for _ in range(3):
        hub.datagrams.open(hub.settings, hub._server.socket)
        assert not hub.datagrams.why_none(session_of(hub, "host-1"))
    again = workers.client(1, "host-2")
    again.begin()
    until(lambda: is_up(hub, "host-2"))
    for one in (client, again):
        one.close()


def test_sockets_for_one_far_end_are_of_one_port(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel looks through those of all workers, so each has its part of them."""
    monkeypatch.setattr(datagram_port, "MOST_OWN", WORKERS)
    clients = [workers.client(1, host) for host in ("host-1", "host-2")]
    for client in clients:
        client.begin()
    assert len(workers.hubs[1].datagrams._owners) == 1
    for client in clients:
        client.close()
