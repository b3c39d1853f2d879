"""Happy Eyeballs: in which order and when the addresses of a name are tried, who wins, what becomes of the others."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from lib import client_dial, source_read, source_redis, stream_dial, stream_interface, stream_resolve
from lib.errors import HostError
from lib.plugin_client import RouterPlugin
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_dial import DialSettings, Interface
from lib.settings_sources import HttpSource, PluginSettings, RedisSource
from lib.settings_transport import TransportSettings
from lib.stream_bounded import BoundedSocket, Bounds
from lib.stream_dial import NEXT_AFTER, dial, distrust, in_order
from lib.stream_resolve import Address
from tests.support.devices import NoTunnel

V4, V6 = socket.AF_INET, socket.AF_INET6


def v4(number: int, port: int = 1) -> Address:
    return V4, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", port)


def v6(number: int, port: int = 1) -> Address:
    return V6, socket.SOCK_STREAM, 6, "", (f"2001:db8::{number}", port, 0, 0)


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        pytest.param([], [], id="none"),
        pytest.param([v6(1), v6(2), v4(1), v4(2)], [v6(1), v4(1), v6(2), v4(2)], id="families take turns"),
        pytest.param([v4(1), v4(2), v6(1)], [v4(1), v6(1), v4(2)], id="the first one's family begins"),
        pytest.param([v6(1), v6(2), v6(3), v4(1)], [v6(1), v4(1), v6(2), v6(3)], id="the rest follows"),
        pytest.param([v4(1), v4(1), v4(2)], [v4(1), v4(2)], id="each once"),
    ],
)
def test_families_take_turns(found: list[Address], tried: list[Address]) -> None:
    assert in_order(found) == tried


def test_the_good_one_is_first_and_bad_ones_are_last() -> None:
    found = [v6(1), v4(1), v6(2), v4(2)]
    assert in_order(found, good=v4(2)[4]) == [v4(2), v6(1), v4(1), v6(2)]
    assert in_order(found, bad=[v4(1)[4], v6(1)[4]]) == [v6(2), v4(2), v4(1), v6(1)]
    assert in_order(found, good=v4(9)[4], bad=[v4(8)[4]]) == found, "an address that the name has no more"


# --- real sockets


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


class World:
    """Addresses of this machine that answer, refuse or drop SYNs, under one name."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stack = stack
        self.found: list[Address] = []
        monkeypatch.setattr(stream_resolve, "look_up", self._look_up)
        stream_dial._known.clear()

    def _look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        return self.found

    def answers(self, address: str = "127.0.0.1") -> socket.socket:
        server = self._stack.enter_context(socket.create_server((address, 0)))
        self._add(server.getsockname())
        return server

    def refuses(self, address: str = "127.0.0.1") -> None:
        with socket.create_server((address, 0)) as server:
            self._add(server.getsockname())

    def drops(self, address: str = "127.0.0.1") -> Any:
        """A listener whose queue is full: the kernel drops each SYN, as a filter on the way would."""
        server = self._stack.enter_context(socket.create_server((address, 0), backlog=0))
        for _ in range(2):
            filling = self._stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(server.getsockname())
        self._add(server.getsockname())
        return server.getsockname()

    def _add(self, target: Any) -> None:
        self.found.append((V4, socket.SOCK_STREAM, 6, "", target))


@pytest.fixture
def world(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(stack, monkeypatch)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[BoundedSocket]:
    """Every socket that a dial makes."""
    made: list[BoundedSocket] = []

    class Noted(BoundedSocket):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(stream_dial, "BoundedSocket", Noted)
    return made


def connected(name: str = "hub.test", seconds: float = 5.0, **more: Any) -> tuple[Any, float]:
    """Where a dial has led to, and after how many seconds."""
    began = time.monotonic()
    sock = dial(name, 1, Bounds(seconds, 100), **more)
    try:
        return sock.getpeername(), time.monotonic() - began
    finally:
        sock.close()


def test_the_next_address_is_tried_while_the_first_one_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.drops()
    server = world.answers()
    where, took = connected(seconds=60)
    assert where == server.getsockname()
    assert NEXT_AFTER <= took < 20
    monkeypatch.setattr(stream_dial, "NEXT_AFTER", 30.0)
    for _ in range(2):
        where, took = connected(seconds=60)
        assert where == server.getsockname()
        assert took < 20, "the winner is tried first the next time"


def test_the_next_address_is_tried_at_once_after_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_dial, "NEXT_AFTER", 30.0)
    for _ in range(5):
        world.refuses()
    server = world.answers()
    where, took = connected(seconds=60)
    assert where == server.getsockname()
    assert took < 20


def test_one_that_answers_late_still_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow path is not given up because the next one was tried."""
    monkeypatch.setattr(stream_dial, "NEXT_AFTER", 0.01)
    slow = world.answers()
    world.drops()
    connect = stream_dial._connect

    def late(address: Address, *more: Any) -> BoundedSocket:
        if address == world.found[0]:
            gevent.sleep(0.1)
        return connect(address, *more)

    monkeypatch.setattr(stream_dial, "_connect", late)
    assert connected()[0] == slow.getsockname()


def test_losers_are_closed(
    world: World, sockets: list[BoundedSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are still connecting and those that connect a moment too late."""
    monkeypatch.setattr(stream_dial, "NEXT_AFTER", 0.0)
    world.drops()
    for _ in range(3):
        world.answers()
    sock = dial("hub.test", 1, Bounds(5, 100))
    gevent.sleep(0.05)
    assert len(sockets) > 1
    assert [one for one in sockets if one.fileno() >= 0] == [sock]
    sock.close()


def test_one_that_refuses_is_tried_again_while_another_one_says_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that is away for two seconds and whose IPv6 address is dead: back at once, not at the deadline."""
    monkeypatch.setattr(stream_dial, "AGAIN_AFTER", 0.1)
    world.refuses()
    world.drops()
    dialling = gevent.spawn(connected, seconds=60)
    gevent.sleep(0.25)
    with socket.create_server(world.found[0][4]) as server:
        where, took = dialling.get(timeout=30)
        assert where == server.getsockname()
    assert took < 30


def test_all_addresses_share_one_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_dial, "NEXT_AFTER", 0.05)
    dropped = [world.drops() for _ in range(3)]
    world.refuses()
    began = time.monotonic()
    with pytest.raises(TimeoutError) as failed:
        dial("hub.test", 1, Bounds(0.9, 100))
    assert 0.85 < time.monotonic() - began < 1.75, "and not one each"
    text = str(failed.value.strerror)
    assert text.startswith(f"not over within 0.9 s: no reply from 127.0.0.1:{dropped[0][1]}, ")
    assert f"{world.found[3][4][1]}: Connection refused" in text


def test_who_is_killed_leaves_no_socket_behind(world: World, sockets: list[BoundedSocket]) -> None:
    world.drops()
    world.drops()
    dialling = gevent.spawn(dial, "hub.test", 1, Bounds(60, 100))
    with gevent.Timeout(5):
        while len(sockets) < 2:
            gevent.sleep(0.01)
    dialling.kill()
    with gevent.Timeout(5):
        while [one.fileno() for one in sockets] != [-1, -1]:
            gevent.sleep(0.01)


def test_the_error_of_all_names_each_with_its_reason(world: World) -> None:
    world.refuses()
    with pytest.raises(ConnectionRefusedError, match="refused"):
        connected()
    world.refuses()
    world.found.append((V4, socket.SOCK_STREAM, 6, "", ("255.255.255.255", 9)))
    with pytest.raises(OSError, match="Connection refused") as failed:
        connected()
    first, second = (address[4][1] for address in world.found[:2])
    text = str(failed.value.strerror)
    assert text.startswith(f"127.0.0.1:{first}, 127.0.0.1:{second}: Connection refused; 255.255.255.255:9: ")
    world.found.clear()
    with pytest.raises(OSError, match=r"hub\.test has no address") as failed:
        connected()
    assert failed.value.errno == errno.EHOSTUNREACH


def test_one_that_connects_and_is_of_no_use_is_tried_last(world: World) -> None:
    servers = [world.answers() for _ in range(3)]
    order = []
    for _ in range(4):
        order.append(connected()[0])
        distrust("hub.test", 1)
    names = [server.getsockname() for server in servers]
    assert order == [*names, names[0]]
    assert [connected()[0] for _ in range(2)] == [names[1]] * 2, "and the winner is kept"


def test_bad_addresses_are_remembered_only_while_the_name_has_them(world: World) -> None:
    for _ in range(20):
        world.found.clear()
        world.answers()
        connected()
        distrust("hub.test", 1)
    assert len(stream_dial._known["hub.test", 1].bad) == 1
    world.found.clear()
    for number in range(2 * stream_dial.MAX_NAMES):
        with pytest.raises(OSError, match="no address"):
            connected(f"{number}.test")
    assert len(stream_dial._known) == stream_dial.MAX_NAMES


def test_each_address_is_bound_to_its_own_device(world: World) -> None:
    """As the client's dial does it past its own tunnel; one that cannot be bound is one that has failed."""
    server = world.answers("127.0.0.2")
    world.found.insert(0, (V4, socket.SOCK_STREAM, 6, "", ("127.0.0.3", 9)))
    asked: list[str] = []

    class AllOverLo:
        look_up = world._look_up

        def use(self, how: DialSettings) -> None:
            pass

        def device_for(self, address: str) -> str | None:
            asked.append(address)
            if address == "127.0.0.3":
                raise HostError("no way around")
            return "lo"

    assert connected(ways=AllOverLo())[0] == server.getsockname()
    assert asked == ["127.0.0.3", "127.0.0.2"]
    world.found = world.found[:1]
    with pytest.raises(HostError, match="no way around"):
        connected(ways=AllOverLo())


class Uplinks:
    """Ways by several interfaces: remembers which were tried."""

    def __init__(self, world: World) -> None:
        self.look_up = world._look_up
        self.used: list[str] = []

    def use(self, how: DialSettings) -> None:
        self.used.append(how.device or how.source or "any")

    def device_for(self, address: str) -> str | None:
        return None


AWAY = Interface("", "192.0.2.77")


@pytest.mark.parametrize(
    ("others", "used"),
    [
        ((Interface("lo"),), ["no-such-device", "lo"]),
        ((AWAY, Interface("", "127.0.0.1"), Interface("lo")), ["no-such-device", "192.0.2.77", "127.0.0.1"]),
        ((AWAY, Interface()), ["no-such-device", "192.0.2.77", "any"]),
        ((Interface("", "::1", strict=True), Interface("lo")), ["no-such-device", "::1", "lo"]),
    ],
    ids=[
        "a device",
        "an address",
        "whatever the kernel takes",
        "an address of the other version is passed by",
    ],
)
def test_interfaces_are_tried_in_turn(world: World, others: tuple[Interface, ...], used: list[str]) -> None:
    server = world.answers("127.0.0.2")
    ways = Uplinks(world)
    assert connected(ways=ways, how=DialSettings("no-such-device", others=others))[0] == server.getsockname()
    assert ways.used == used


def test_after_a_strict_interface_nothing_else_is_tried_and_all_that_failed_are_named(world: World) -> None:
    world.answers("127.0.0.2")
    ways = Uplinks(world)
    with pytest.raises(OSError, match=r"^\[Errno 19\] by no-such-device: .*No such device$"):
        connected(ways=ways, how=DialSettings("no-such-device", strict=True, others=(Interface("lo"),)))
    assert ways.used == ["no-such-device"]
    with pytest.raises(OSError, match=r"by no-such-device: .*; by 192\.0\.2\.77: .*it is no address of this"):
        connected(how=DialSettings("no-such-device", others=(AWAY,)))


def test_an_interface_by_which_nothing_answers_has_its_time_and_no_more(world: World) -> None:
    world.drops()
    server: list[socket.socket] = []

    class Second(Uplinks):
        def use(self, how: DialSettings) -> None:
            super().use(how)
            if how.source == "127.0.0.5":  # by this one somebody answers
                server.append(world.answers("127.0.0.2"))
                world.found.reverse()

    bounds, ways = Bounds(5.0, 100), Second(world)
    bounds.turn = 0.1
    how = DialSettings("", "127.0.0.4", others=(Interface("", "127.0.0.5"),))
    with closing(dial("hub.test", 1, bounds, ways, how=how)) as sock:
        assert sock.getpeername() == server[0].getsockname()
        assert sock.getsockname()[0] == "127.0.0.5"
    assert ways.used == ["127.0.0.4", "127.0.0.5"]


def test_the_last_good_addresses_are_tried_while_a_name_cannot_be_looked_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(host: str, port: int, seconds: float) -> list[Address]:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server")

    def hangs(host: str, port: int, seconds: float) -> list[Address]:
        gevent.sleep(seconds)
        raise TimeoutError(f"{host} was not looked up")

    for late in (fails, hangs):
        with monkeypatch.context() as patch:
            patch.setattr(stream_resolve, "look_up", late)
            with pytest.raises(OSError, match=r"no name server|not looked up"):
                connected("new.test", seconds=0.2)
    first = world.answers()
    connected()
    with monkeypatch.context() as patch:
        patch.setattr(stream_resolve, "look_up", hangs)
        assert connected(seconds=2.0)[0] == first.getsockname(), "half of the time is left for it"
    monkeypatch.setattr(stream_dial, "LOOK_UP_SECONDS", 0.1)
    for late in (fails, hangs):
        with monkeypatch.context() as patch:
            patch.setattr(stream_resolve, "look_up", late)
            assert connected()[0] == first.getsockname()
    world.found.clear()
    second = world.answers("127.0.0.2")
    assert connected()[0] == second.getsockname(), "and those that the name has no more are not"


# --- a client, by the same deadline

PROXY = (ProxySettings("socks5", "proxy.test", 1),)


@pytest.mark.parametrize(
    ("node", "step"),
    [
        pytest.param({}, "no reply to the relay handshake from {}: perhaps ", id="relay"),
        pytest.param(
            {"transport": TransportSettings("tls")},
            "no reply to the TLS handshake from {}: perhaps ",
            id="tls",
        ),
        pytest.param(
            {"transport": TransportSettings("ws")}, "no reply to the WebSocket handshake from {}: p", id="ws"
        ),
        pytest.param(
            {"proxies": PROXY}, "proxy proxy.test:1 has no connection to hub.test:1 yet", id="proxy"
        ),
    ],
)
def test_a_hub_that_accepts_and_says_nothing_costs_one_connect_timeout(
    world: World, monkeypatch: pytest.MonkeyPatch, node: dict[str, Any], step: str
) -> None:
    """After an address that drops SYNs. The error says what was waited for, and of whom."""
    world.drops()
    silent = world.answers().getsockname()
    other = world.answers().getsockname()
    settings = NodeSettings("node-0", "hub.test", 1, connect_timeout=1.0, **node)
    client = ClientSettings("service-0", "host-1", DeviceSettings(), (settings,))
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(stream_dial, "NEXT_AFTER", 0.05)
        with pytest.raises(TimeoutError) as failed:
            client_dial.let_in(client, settings, NoTunnel(client))
    assert 0.95 < time.monotonic() - began < 1.95
    wanted = step.format(f"127.0.0.1:{silent[1]}")
    assert (failed.value.strerror or "").startswith(f"no connection within 1 s: {wanted}")
    assert connected(settings.proxies[0].host if settings.proxies else "hub.test")[0] == other, "the next one"


def test_a_hub_that_drops_everything_costs_one_connect_timeout(world: World) -> None:
    port = world.drops()[1]
    node = NodeSettings("node-0", "hub.test", 1, connect_timeout=0.5)
    client = ClientSettings("service-0", "host-1", DeviceSettings(), (node,))
    with pytest.raises(TimeoutError, match=f"no connection within 0.5 s: no reply from 127.0.0.1:{port}"):
        client_dial.let_in(client, node, NoTunnel(client))


# --- helpers, which are of no use where they connect and say nothing


def http(port: int) -> None:
    source_read.read(HttpSource(f"http://helper.test:{port}/rows", 0.3))


def redis(port: int) -> None:
    source_read.read(RedisSource(f"helper.test:{port}"))


def http_plugin(port: int) -> None:
    RouterPlugin(PluginSettings(f"http://helper.test:{port}", timeout=0.3)).route(b"\n\0\0\1", bytes(16))


def grpc_plugin(port: int) -> None:
    RouterPlugin(PluginSettings(f"grpc://helper.test:{port}", timeout=0.3)).route(b"\n\0\0\1", bytes(16))


@pytest.mark.parametrize("ask", [http, redis, http_plugin, grpc_plugin])
def test_a_helper_that_says_nothing_is_asked_at_its_next_address(
    world: World, monkeypatch: pytest.MonkeyPatch, ask: Callable[[int], None]
) -> None:
    monkeypatch.setattr(source_redis, "REDIS_TIMEOUT", 0.3)
    silent, other = world.answers(), world.answers()
    port = silent.getsockname()[1]
    with pytest.raises(OSError, match=r"."):
        ask(port)
    assert stream_dial._known["helper.test", port].bad == [silent.getsockname()]
    sock = dial("helper.test", port, Bounds(5, 100))
    assert sock.getpeername() == other.getsockname()
    sock.close()


def test_a_name_that_is_away_keeps_its_good_address(world: World) -> None:
    """A helper that restarts is no reason to begin with the address that drops SYNs again."""
    server = world.answers()
    connected()
    server.close()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            connected()
        distrust("hub.test", 1)
    assert stream_dial._known["hub.test", 1].good == world.found[0][4]


def test_a_refused_connection_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}/rows"
    with pytest.raises(OSError, match=re.escape(f"{url}: no connection: Connection refused") + "$"):
        source_read.read(HttpSource(url, 1.0))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="SO_MARK takes CAP_NET_ADMIN")


def dialled(how: DialSettings, port: int = 1) -> Any:
    """A connection that is made so; it is closed at the end of the block."""
    return closing(dial("how.test", port, Bounds(5, 100), how=how))


def test_addresses_of_the_settings_are_dialled_and_the_name_is_not_looked_up(world: World) -> None:
    server = world.answers("127.0.0.2")
    world.found = []
    how = DialSettings(addresses=("127.0.0.9", "127.0.0.2"))
    with dialled(how, server.getsockname()[1]) as sock:
        assert sock.getpeername() == server.getsockname()


def test_a_connection_comes_from_the_address_of_the_settings(world: World) -> None:
    world.answers("127.0.0.2")
    with dialled(DialSettings(source="127.0.0.77")) as sock:
        assert sock.getsockname()[0] == "127.0.0.77"
    for source in ("192.0.2.1", "2001:db8::1"):
        with pytest.raises(OSError, match=f"interface {source}: it is no address of this host for this hub"):
            dialled(DialSettings(source=source))


def test_an_address_of_the_settings_whose_device_is_not_there_stops_no_other(world: World) -> None:
    server = world.answers("127.0.0.2")
    how = DialSettings(addresses=("fe80::1%no-such", "127.0.0.2"))
    with dialled(how, server.getsockname()[1]) as sock:
        assert sock.getpeername() == server.getsockname()
    with pytest.raises(OSError, match="there is no network device no-such"):
        dialled(DialSettings(addresses=("fe80::1%no-such",)))


def test_a_link_local_address_to_come_from_keeps_its_device() -> None:
    """Python's bind() forgets the device of an address that is only a text."""
    bound: list[Any] = []
    sock: Any = SimpleNamespace(family=socket.AF_INET6, bind=bound.append)
    stream_interface.bind(sock, DialSettings(source="fe80::1%lo"))
    assert bound[0][3] == socket.if_nametoindex("lo")


@needs_root
def test_a_connection_has_the_device_and_the_mark_of_the_settings(world: World) -> None:
    world.answers("127.0.0.2")
    with dialled(DialSettings("lo", mark=0xFFFFFFFF)) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        assert sock.getsockopt(socket.SOL_SOCKET, 36) & 0xFFFFFFFF == 0xFFFFFFFF
    with pytest.raises(OSError, match="interface no-such-device: No such device"):
        dialled(DialSettings("no-such-device"))
