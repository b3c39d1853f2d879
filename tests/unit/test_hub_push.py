"""A hub tells its hosts: only those that want it, all that changes, again until they reply, at a pace."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import (
    config_read,
    config_resolve,
    framing,
    hub_push,
    log_setup,
    prefixes,
    push_leases,
    push_routes,
    push_settings,
    wire_control,
    wire_relay,
)
from lib.hub import Hub
from lib.ids import NO_NAMESPACE
from lib.push_settings import Pushed
from lib.wire_control import Feature, Hello
from lib.wire_relay import Request
from tests.support.configs import checked
from tests.support.hubs import running
from tests.support.registry_nodes import wait_for

SECONDS = 5.0
CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  handler: {type: router, metadata: {router: r}}
  listener: {type: tcp}
routers: [{name: r, %s}]
"""
WANTS = int(Feature.SETTINGS | Feature.KEEPALIVE)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pools are kept."""
    monkeypatch.setattr(push_leases, "state_directory", lambda: tmp_path)
    monkeypatch.setattr(push_leases, "SAVE_SECONDS", 0.01)
    return tmp_path


class Host:
    """A client's end of a session, by hand."""

    def __init__(
        self,
        hub: Hub,
        name: str,
        features: int = WANTS,
        instance: int = 1,
        replies: bool = True,
        namespace: bytes = NO_NAMESPACE,
    ) -> None:
        self._socket = socket.create_connection(hub._server.socket.getsockname(), 5)
        self._socket.sendall(wire_relay.encode_request(Request(name, namespace=namespace)))
        self._rest = b""
        while (response := wire_relay.decode_response(self._rest)) is None:
            self._rest += self._socket.recv(4096)
        self._rest = self._rest[response[1] :]
        self.replies, self.hello = replies, Hello()
        self.say(wire_control.encode_hello(Hello(bytes([instance]) * 16, features=features)))

    def say(self, content: bytes) -> None:
        self._socket.sendall(framing.encode(content))

    def told(self, seconds: float = SECONDS) -> Pushed | None:
        """The next settings; None where none come."""
        found: list[Pushed] = []
        with gevent.Timeout(seconds, False):
            while not found:
                while len(self._rest) < 2 or len(self._rest) < 2 + int.from_bytes(self._rest[:2], "big"):
                    self._rest += self._socket.recv(1 << 16)
                size = int.from_bytes(self._rest[:2], "big")
                content, self._rest = self._rest[2 : 2 + size], self._rest[2 + size :]
                message = wire_control.decode(content) if content[:1] == b"\xf0" else None
                if isinstance(message, Hello):
                    self.hello = message
                if isinstance(message, Pushed):
                    if self.replies:
                        self.say(wire_control.encode_settings(push_settings.numbered(message.serial)))
                    found.append(message)
        return found[0] if found else None

    def close(self) -> None:
        self._socket.close()


def test_namespaces_with_the_same_tables_are_told_what_was_made_once(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an auther anybody can make up thousands, and 16,000 routes take a tenth of a second."""
    made: list[object] = []
    told = push_routes.told

    def noting(*arguments: Any) -> Any:
        made.append(arguments)
        return told(*arguments)

    monkeypatch.setattr(push_routes, "told", noting)
    router = "routes: [{dst: 10.1.0.0/16, gateway: a}, {dst: 10.2.0.0/16, gateway: b}]"
    with running(CONFIG % router) as (hub,):
        hosts = [host(hub, name, namespace=bytes([n]) * 16) for n in range(5) for name in ("a", "b")]
        for number, one in enumerate(hosts):
            assert texts(one.told())[1] == [("10.2.0.0/16", "10.1.0.0/16")[number % 2]]
        assert len(made) == 1
        reload(hub, router.replace("10.2", "10.3"))
        for number, one in enumerate(hosts):
            assert texts(one.told())[1] == [("10.3.0.0/16", "10.1.0.0/16")[number % 2]]
        assert len(made) <= 3, "as often as the table has changed under it"


def texts(found: Pushed | None) -> tuple[list[str], list[str]]:
    """(addresses, routes to others) as text."""
    assert found is not None
    return [str(ip_address(one)) for one in found.addresses], [prefixes.text(*one) for one in found.others]


def reload(hub: Hub, router: str) -> None:
    settings = config_resolve.resolve(checked(config_read.read([("f", CONFIG % router)])))
    hub.tables.apply(settings)


@pytest.fixture
def host() -> Iterator[Callable[..., Host]]:
    made: list[Host] = []

    def make(*arguments: Any, **more: Any) -> Host:
        made.append(Host(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_host_is_told_its_addresses_and_what_is_behind_others(host: Callable[..., Host]) -> None:
    router = (
        "address: 10.20.0.1/24, mtu: 1380, hosts: {b: [10.20.0.7, 'fd20::7']}, routes: ["
        "{dst: 10.1.0.0/16, gateway: a}, {dst: 10.2.0.0/16, gateway: b}, {dst: 10.9.0.1/32, gateway: a}]"
    )
    with running(CONFIG % router) as (hub,):
        one, two = host(hub, "a"), host(hub, "b")
        found = one.told()
        assert texts(found) == (["10.9.0.1"], ["10.2.0.0/16", "10.20.0.0/24", "fd20::7/128"])
        assert found is not None
        assert (found.mtu, found.left_out) == (1380, 0)
        assert texts(two.told()) == (["10.20.0.7", "fd20::7"], ["10.1.0.0/16", "10.9.0.1/32", "10.20.0.0/24"])
        assert one.hello.features & Feature.SETTINGS
        assert one.told(0.5) is None, "nothing has changed"
        reload(hub, router)
        assert one.told(0.5) is None, "nor has it by this reload"

        reload(hub, router.replace("10.2.0.0/16", "10.3.0.0/16"))
        found = one.told()
        assert texts(found)[1] == ["10.3.0.0/16", "10.20.0.0/24", "fd20::7/128"]
        assert found is not None
        assert found.serial == 2
        assert texts(two.told())[1] == ["10.1.0.0/16", "10.9.0.1/32", "10.20.0.0/24"], "not its new one"


def test_who_does_not_want_settings_is_told_none_and_gets_no_address(host: Callable[..., Host]) -> None:
    with running(CONFIG % "pool: 10.20.0.0/24") as (hub,):
        silent = host(hub, "a", features=int(Feature.KEEPALIVE))
        assert host(hub, "b").told() is not None
        assert silent.told(0.5) is None
        assert len(hub.tables.routes("r")) == 1, "only b has one"  # type: ignore[arg-type]


def test_a_host_that_does_not_reply_is_told_again(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_push, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(hub_push, "LOOK_SECONDS", 0.05)
    with running(CONFIG % "pool: 10.20.0.0/24") as (hub,):
        deaf = host(hub, "a", replies=False)
        first = deaf.told()
        assert first is not None
        assert deaf.told() == first
        deaf.replies = True
        assert deaf.told() == first
        assert deaf.told(0.5) is None


def test_addresses_of_a_pool_are_routed_and_kept(host: Callable[..., Host], directory: Path) -> None:
    with running(CONFIG % "pool: [10.20.0.0/29, 'fd20::/64']") as (hub,):
        given = {}
        for name in ("a", "b", "c"):
            addresses, routes = texts(host(hub, name).told())
            assert [len(one) for one in addresses]
            assert routes == ["10.20.0.0/29", "fd20::/64"]
            given[name] = addresses
            for address in addresses:
                group = hub.tables.routes("r").lookup(ip_address(address).packed)  # type: ignore[union-attr]
                assert group is not None
                assert group.names == {name}, "routed before the host knows it"
        assert len({address for addresses in given.values() for address in addresses}) == 6
    rows = [json.loads(line) for line in (directory / "pool-r").read_text().splitlines() if line[0] == "["]
    assert {(host, address) for address, host in rows} == {(n, a) for n, own in given.items() for a in own}

    with running(CONFIG % "pool: [10.20.0.0/29, 'fd20::/64']") as (hub,):
        for name in ("c", "b", "a"):
            assert texts(host(hub, name).told())[0] == given[name], "after a restart, whoever comes first"


def test_a_host_that_gets_an_address_of_its_own_has_no_other_one(host: Callable[..., Host]) -> None:
    """Its lease ends, or its name would be found at an address that it has not; and it comes back with the pool."""
    with running(CONFIG % "pool: [10.20.0.0/24, 'fd20::/64']") as (hub,):
        one = host(hub, "a")
        (four, six), _ = texts(one.told())
        for settings, own in (
            ("hosts: {a: 10.20.7.7}, pool: [10.20.0.0/24, 'fd20::/64']", ["10.20.7.7", six]),
            ("pool: [10.20.0.0/24, 'fd20::/64']", [four, six]),
        ):
            reload(hub, settings)
            assert texts(one.told())[0] == own
            group = hub.tables.routes("r").lookup(ip_address(four).packed)  # type: ignore[union-attr]
            assert (group is not None and group.names == {"a"}) is (four in own)


def test_a_file_of_leases_that_is_none_is_no_harm(host: Callable[..., Host], directory: Path) -> None:
    (directory / "pool-r").write_bytes(
        b'["10.20.0.3", "a"]\n["x", 1]\n[1,2,3]\n\xff\xfe\n["10.20.0.3", "b"]\n{}\n'
    )
    with running(CONFIG % "pool: 10.20.0.0/29") as (hub,):
        assert texts(host(hub, "a").told())[0] == ["10.20.0.3"]
        assert texts(host(hub, "b").told())[0] != ["10.20.0.3"]


def test_a_pool_goes_and_another_comes_while_hosts_are_there(host: Callable[..., Host]) -> None:
    with running(CONFIG % "pool: 10.20.0.0/24") as (hub,):
        one = host(hub, "a")
        (first,), _ = texts(one.told())
        reload(hub, "pool: 10.30.0.0/24")
        (second,), routes = texts(one.told())
        assert second.startswith("10.30.0.")
        assert routes == ["10.30.0.0/24"]
        table = hub.tables.routes("r")
        assert table.lookup(ip_address(first).packed) is None  # type: ignore[union-attr]
        reload(hub, "hosts: {a: 10.40.0.1}")
        assert texts(one.told())[0] == ["10.40.0.1"]
        assert table.lookup(ip_address(second).packed) is None  # type: ignore[union-attr]


def test_no_address_that_is_in_another_route_or_the_hub_s(host: Callable[..., Host]) -> None:
    router = "address: 10.20.0.1/29, pool: 10.20.0.0/29, routes: [{dst: 10.20.0.4/30, gateway: lan}]"
    with running(CONFIG % router) as (hub,):
        found = [texts(host(hub, f"h{number}").told())[0] for number in range(4)]
        assert sorted(found) == [[], [], ["10.20.0.2"], ["10.20.0.3"]]


def test_hosts_without_an_address_get_those_that_are_free_again(host: Callable[..., Host]) -> None:
    """Each one that leaves an address lets one of them try, and no other host is told anything."""
    with running(CONFIG % "address: 10.20.0.1/29, pool: 10.20.0.0/29") as (hub,):
        several = [host(hub, f"h{number}") for number in range(5)]
        given = [texts(one.told())[0] for one in several]
        assert len({address for one in given for address in one}) == 5
        waiting = [host(hub, f"w{number}") for number in range(3)]
        assert [texts(one.told())[0] for one in waiting] == [[], [], []]
        waiting.pop(0).close()
        assert all(one.told(0.3) is None for one in waiting), "who had no address leaves none"
        several[2].close()
        assert [texts(one.told())[0] for one in waiting[:1]] == [given[2]]
        several[4].close()
        assert texts(waiting[1].told())[0] == given[4]
        assert all(one.told(0.1) is None for one in (several[0], waiting[0]))


def pool_troubles() -> list[str]:
    """What status and doctor would tell of pools."""
    return sorted(one.event for one in log_setup.troubles() if one.event.startswith("pool-"))


def test_a_pool_with_few_addresses_left_is_a_trouble_until_it_has_more(host: Callable[..., Host]) -> None:
    with running(CONFIG % "address: 10.20.0.1/29, pool: 10.20.0.0/29") as (hub,):
        several = [host(hub, f"h{number}") for number in range(4)]
        assert all(texts(one.told())[0] for one in several)
        assert pool_troubles() == [], "one of five is left"
        last, more = host(hub, "last"), host(hub, "more")
        assert sorted(map(len, (texts(last.told())[0], texts(more.told())[0]))) == [0, 1]
        assert pool_troubles() == ["pool-full", "pool-low"]
        several[2].close()
        wait_for(lambda: pool_troubles() == ["pool-low"])
        reload(hub, "pool: 10.20.0.0/24")
        wait_for(lambda: pool_troubles() == [])


def test_a_directory_of_leases_that_cannot_be_written_is_a_trouble_until_it_can(
    host: Callable[..., Host], directory: Path
) -> None:
    with running(CONFIG % "pool: 10.20.0.0/24") as (hub,):
        (directory / "pool-r").mkdir()
        host(hub, "a").told()
        wait_for(lambda: pool_troubles() == ["pool-not-kept"])
        (directory / "pool-r").rmdir()
        host(hub, "b").told()
        wait_for(lambda: pool_troubles() == [])


def test_of_a_long_table_only_the_hub_s_own_is_told(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_push, "MANY_ROUTES", 3)
    routes = ", ".join(f"{{dst: 10.{number}.0.0/16, gateway: b}}" for number in range(4))
    with running(CONFIG % f"pool: 10.20.0.0/24, routes: [{routes}]") as (hub,):
        found = host(hub, "a").told()
        assert found is not None
        assert (len(found.addresses), len(found.routes), found.left_out) == (1, 1, 4)


def test_two_sessions_of_a_host_have_its_addresses(host: Callable[..., Host]) -> None:
    with running(CONFIG % "pool: 10.20.0.0/24") as (hub,):
        assert texts(host(hub, "a", instance=1).told()) == texts(host(hub, "a", instance=2).told())


@pytest.mark.alone
def test_a_hundred_hosts_are_told_at_once_and_of_every_change(host: Callable[..., Host]) -> None:
    with running(CONFIG % "pool: 10.20.0.0/16, routes: [{dst: 10.1.0.0/16, gateway: x}]") as (hub,):
        hosts = [host(hub, f"h{number}") for number in range(100)]
        found = [texts(one.told()) for one in hosts]
        assert len({own[0] for own, _ in found}) == 100
        reload(hub, "pool: 10.20.0.0/16, routes: [{dst: 10.2.0.0/16, gateway: x}]")
        with gevent.Timeout(2.0):
            again = [texts(one.told()) for one in hosts]
        assert [own for own, _ in again] == [own for own, _ in found]
        assert all(routes == ["10.2.0.0/16", "10.20.0.0/16"] for _, routes in again)
