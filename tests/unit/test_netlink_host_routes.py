"""Host routes that are wanted and given up while the kernel is asked; tests/e2e has the same with a kernel."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import gevent
import pyroute2
import pytest
from gevent.event import Event
from pyroute2.netlink.exceptions import NetlinkError

from lib import netlink_host_routes
from lib.client_around import NAME_SERVERS, Around
from lib.errors import HostError
from lib.netlink_host_routes import HostRoutes, NoWayAround
from lib.netlink_own_routes import PROTOCOL
from lib.netlink_request import opened
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.stream_deadline import to_its_end

HUB, OTHER = "203.0.113.10", "203.0.113.11"
UPLINK, TUNNEL = 2, 7
SECONDS = 5
CALLS = ("get", "del", "links", "replace")
"""What way() asks of the kernel, one after the other."""


class Route(dict[str, Any]):
    """A route as pyroute2 shows it."""

    def get_attr(self, name: str) -> Any:
        return self.get(name)


class Kernel:
    """A kernel with one device beside the tunnel, which covers everything. It can be stopped at a call."""

    def __init__(self) -> None:
        self.routes: dict[str, dict[str, Any]] = {}
        self.stops_at = ""
        self.fails_at = ""
        self.error: Exception = ValueError("an error of this program")
        self.stopped, self.may_go = Event(), Event()

    def open(self, **_: object) -> Kernel:
        if self.fails_at == "open":
            raise OSError(errno.EMFILE, "Too many open files")
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _reached(self, call: str) -> None:
        gevent.sleep(0)
        if self.fails_at == call:
            raise self.error
        if self.stops_at == call:
            self.stops_at = ""
            self.stopped.set()
            self.may_go.wait()

    def route(self, how: str, dst: str, **fields: Any) -> list[Route]:
        self._reached(how)
        if how == "replace":
            self.routes[dst.removesuffix("/32")] = fields
        elif how == "del" and self.routes.pop(dst.removesuffix("/32"), None) is None:
            raise NetlinkError(errno.ESRCH, "No such process")
        elif how == "get":
            return [self._decision(dst, fields)]
        return []

    def _decision(self, address: str, asked: dict[str, Any]) -> Route:
        common = {"type": 1, "table": 254, "flags": 0}
        if address in self.routes and "oif" not in asked:
            return Route(common, dst_len=32, proto=PROTOCOL, RTA_OIF=UPLINK)
        if "oif" in asked:
            return Route(common, dst_len=0, proto=3, RTA_OIF=asked["oif"], RTA_GATEWAY="10.9.0.1")
        return Route(common, dst_len=1, proto=3, RTA_OIF=TUNNEL)

    def get_links(self, *_: int) -> list[Route]:
        self._reached("links")
        return [Route(index=UPLINK, flags=1, IFLA_IFNAME="eth0")]

    def get_routes(self, **_: object) -> list[Route]:
        return []


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(pyroute2, "IPRoute", made.open)
    monkeypatch.setattr(netlink_host_routes, "_index", lambda name: TUNNEL)
    return made


@pytest.fixture
def routes(kernel: Kernel) -> Iterator[HostRoutes]:
    """Those of a process with two clients."""
    made = HostRoutes()
    made.join("one", "tr0")
    made.join("two", "tr1")
    yield made
    for client in ("one", "two"):
        made.leave(client)
    assert not kernel.routes
    assert not made.any


def held_up(kernel: Kernel, call: str, run: Callable[..., object], *arguments: object) -> gevent.Greenlet:
    """Begin something, which waits at a call to the kernel until that may go on."""
    kernel.stops_at = call
    running = gevent.spawn(run, *arguments)
    assert kernel.stopped.wait(SECONDS)
    return running


def go_on(kernel: Kernel, *running: gevent.Greenlet) -> None:
    kernel.may_go.set()
    assert len(gevent.joinall(running, timeout=SECONDS)) == len(running)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("purpose", ["", NAME_SERVERS])
def test_a_client_that_leaves_while_its_way_is_looked_for_leaves_no_host_route(
    kernel: Kernel, routes: HostRoutes, call: str, purpose: str
) -> None:
    dialling = held_up(kernel, call, routes.way, HUB, "one", True, purpose)
    leaving = gevent.spawn(routes.leave, "one")
    gevent.sleep(0)
    go_on(kernel, dialling, leaving)
    assert leaving.successful()
    assert not kernel.routes
    assert not routes.any
    with pytest.raises(NoWayAround):
        routes.way(HUB, "one", True)
    assert not kernel.routes, "nor does one that asks later set any"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_there", [False, True], ids=["two wants it later", "two has it already"])
def test_a_client_that_leaves_meanwhile_takes_no_host_route_from_another(
    kernel: Kernel, routes: HostRoutes, call: str, is_there: bool
) -> None:
    if is_there:
        routes.way(HUB, "two", True)
    dialling = held_up(kernel, call, routes.way, HUB, "one", True)
    leaving = gevent.spawn(routes.leave, "one")
    asking = gevent.spawn(routes.way, HUB, "two", True)
    gevent.sleep(0)
    go_on(kernel, dialling, leaving, asking)
    assert list(kernel.routes) == [HUB]
    routes.keep("two", ())
    assert not kernel.routes


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("gives_up", [HostRoutes.leave, lambda routes, client: routes.keep(client, ())])
def test_one_that_gives_up_while_another_asks_is_no_holder_for_ever(
    kernel: Kernel, routes: HostRoutes, call: str, gives_up: Callable[..., object]
) -> None:
    routes.way(HUB, "two", True)
    dialling = held_up(kernel, call, routes.way, HUB, "one", True)
    leaving = gevent.spawn(gives_up, routes, "two")
    gevent.sleep(0)
    go_on(kernel, dialling, leaving)
    assert list(kernel.routes) == [HUB], "it is still wanted by the one that asks"
    routes.keep("one", ())
    assert not kernel.routes
    assert not routes.any


@pytest.mark.parametrize("call", ["del", "links", "replace"])
@pytest.mark.parametrize("error", [ValueError("x"), NetlinkError(errno.ENODEV, "No such device")], ids=type)
def test_an_error_in_the_middle_costs_another_client_nothing(
    kernel: Kernel, routes: HostRoutes, call: str, error: Exception
) -> None:
    before = routes.way(HUB, "two", True)
    kernel.fails_at, kernel.error = call, error
    asking = gevent.spawn(routes.way, HUB, "one", True)
    with gevent.Timeout(SECONDS):
        gevent.wait([asking])
    kernel.fails_at = ""
    routes.put_back()
    assert list(kernel.routes) == [HUB]
    assert routes.way(HUB, "two", True) == before
    routes.keep("one", ())
    routes.keep("two", ())
    assert not kernel.routes


def test_a_host_route_that_cannot_be_removed_now_is_removed_later(kernel: Kernel, routes: HostRoutes) -> None:
    routes.way(HUB, "one", True)
    kernel.fails_at = "open"
    with pytest.raises(HostError):
        routes.keep("one", ())
    with pytest.raises(HostError):
        routes.way(OTHER, "one", True)
    kernel.fails_at = ""
    assert list(kernel.routes) == [HUB]
    assert routes.put_back() == []
    assert not kernel.routes


def test_a_try_without_netlink_costs_a_session_no_host_route(kernel: Kernel, routes: HostRoutes) -> None:
    """The session goes on beside the try, as in a move to another node at the same address."""
    routes.way(HUB, "one", True)
    kernel.fails_at = "open"
    with pytest.raises(HostError):
        routes.way(HUB, "one", True)
    kernel.fails_at = ""
    routes.put_back()
    assert list(kernel.routes) == [HUB]


# --- a client as a whole: its dial is killed, and then it is closed


class Client:
    """What a reload removes: a dial goes on in a greenlet of its own to its end."""

    def __init__(self, routes: HostRoutes) -> None:
        device = DeviceSettings(routes=((ip_network("0.0.0.0/1"), ""),))
        self.settings = ClientSettings("three", "host-3", device, (NodeSettings("n", "hub.test", 8443),))
        self.device_name, self.session, self.device_settings = "tr2", None, device
        self.around = Around(self, routes)

    def dial(self, address: str) -> None:
        with self.around.dialling(self.settings.nodes[0]) as dialling:
            to_its_end(dialling.device_for, address)


@pytest.mark.parametrize("call", CALLS)
def test_a_client_that_is_removed_while_it_dials_leaves_nothing(
    kernel: Kernel, routes: HostRoutes, call: str
) -> None:
    client = Client(routes)
    client.around.begin()
    dialling = held_up(kernel, call, client.dial, HUB)
    dialling.kill()
    closing = gevent.spawn(client.around.close)
    gevent.sleep(0)
    go_on(kernel, closing)
    with gevent.Timeout(SECONDS), opened():  # what went on to its end has ended
        pass
    assert not kernel.routes
    assert not routes.any


def test_a_dial_that_asks_after_the_client_is_closed_joins_nothing(
    kernel: Kernel, routes: HostRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its greenlet had been started and had not run yet when the client was removed."""
    client = Client(routes)
    client.around.begin()
    client.around.close()
    joined: list[str] = []
    monkeypatch.setattr(routes, "join", lambda client, tunnel: joined.append(client))
    with pytest.raises(OSError, match="has ended"):
        client.around.device_for(HUB)
    assert not joined
    assert not kernel.routes


def test_the_last_client_that_leaves_takes_no_number_from_one_that_joins(kernel: Kernel) -> None:
    """Or the host routes of the one that joins would have a number that no process holds."""
    routes = HostRoutes()
    routes.join("one", "tr0")
    routes.way(HUB, "one", True)
    leaving = held_up(kernel, "del", routes.leave, "one")
    joining = gevent.spawn(routes.join, "two", "tr1")
    gevent.sleep(0)
    go_on(kernel, leaving, joining)
    routes.way(HUB, "two", True)
    assert kernel.routes[HUB]["priority"] > 0
    routes.leave("two")
    assert not kernel.routes


def test_a_device_that_goes_this_moment_is_one_address_that_failed(
    kernel: Kernel, routes: HostRoutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> str:
        raise NetlinkError(errno.ENODEV, "No such device")

    monkeypatch.setattr(netlink_host_routes, "link_name", gone)
    with pytest.raises(NoWayAround, match="No such device"):
        routes.way(HUB, "one", True)
    assert not kernel.routes
