"""What a client reaches around its own tunnel, and for how long; without a kernel (test_around has one)."""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib import client_around, stream_dial, stream_resolve
from lib.client_around import Around, covers, look_ahead
from lib.client_killswitch import Killswitch
from lib.errors import HostError, ProtocolError
from lib.netlink_host_routes import Way
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_dial import DialSettings

FULL = DeviceSettings(routes=tuple((ip_network(text), "") for text in ("0.0.0.0/1", "128.0.0.0/1")))
HUB, OTHER, NAME_SERVER = "203.0.113.10", "203.0.113.11", "203.0.113.53"


class Routes:
    """Notes what is asked of HostRoutes."""

    def __init__(self, refused: str = "") -> None:
        self.held: dict[str, set[str]] = {}
        self.refused = refused
        self.served: dict[str, bool] = {}
        self.how: tuple[object, ...] = ()

    def join(self, client: str, tunnel: str) -> None:
        pass

    def way(self, address: str, client: str, covered: bool, purpose: str = "", *how: object) -> Way | None:
        self.how = how
        if not covered:
            return None
        self.held.setdefault(f"{client} {purpose}".strip(), set()).add(address)
        return Way("eth0", f"{address} via 10.9.0.1 dev eth0", self.refused)

    def tried(self, client: str, addresses: Iterable[str], served: bool) -> None:
        self.served |= dict.fromkeys(addresses, served)

    def keep(self, client: str, addresses: Collection[str], purpose: str = "") -> None:
        holder = f"{client} {purpose}".strip()
        self.held[holder] = self.held.get(holder, set()) & set(addresses)


def node(name: str, host: str = "hub.test", *proxies: ProxySettings) -> NodeSettings:
    return NodeSettings(name, host, 8443, proxies=proxies)


def around(routes: Any, device: DeviceSettings = FULL, session: object = None) -> Any:
    settings = ClientSettings("s", "host-1", device, (node("a"), node("b")))
    client = SimpleNamespace(settings=settings, device_settings=device, device_name="tun0", session=session)
    return Around(client, routes)


def test_host_routes_stay_while_their_node_was_last_dialled_at_that_address() -> None:
    routes = Routes()
    one = around(routes)
    with one.dialling(node("a")) as dialling:
        assert dialling.device_for(HUB) == "eth0"
    with one.dialling(node("b")) as dialling:
        assert dialling.device_for(OTHER) == "eth0"
    assert routes.held["s"] == {HUB, OTHER}
    with one.dialling(node("a")) as dialling:
        dialling.device_for("203.0.113.12")
    assert routes.held["s"] == {OTHER, "203.0.113.12"}
    with one.dialling(node("gone after a reload")) as dialling:
        dialling.device_for(HUB)
    assert routes.held["s"] == {OTHER, "203.0.113.12"}


class Shut(Killswitch):
    """Notes what is to be let out."""

    def __init__(self) -> None:
        super().__init__()
        self.out: list[tuple[object, ...]] = []

    def let_out(self, service: str, host: str, port: int, address: str) -> None:
        self.out.append((host, port, address))

    def let_datagrams_out(self, service: str, host: str, port: int, address: str, to_port: int) -> None:
        self.out.append((host, port, address, "udp", to_port))


def test_a_killswitch_lets_out_what_is_dialled_which_may_be_a_proxy() -> None:
    shut = Shut()
    client = around(Routes())._client
    one = Around(client, Routes(), shut)  # type: ignore[arg-type]
    proxied = node("a", "hub.test", ProxySettings("socks5", "proxy.test", 1080))
    elsewhere = replace(node("b"), dial=DialSettings(netns="other"))
    for target in (proxied, node("b"), elsewhere):
        with one.dialling(target) as dialling:
            dialling.device_for(HUB)
    one.let_datagrams_out(node("b"), OTHER, 9000)
    assert shut.out == [
        ("proxy.test", 1080, HUB), ("hub.test", 8443, HUB), ("hub.test", 8443, OTHER, "udp", 9000)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "served"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "a hub that is away for a moment"), True),
        (ProtocolError("the hub speaks HTTP"), True),
        (TimeoutError(errno.ETIMEDOUT, "no connection within 10 s"), False),
        (OSError(errno.EHOSTUNREACH, "No route to host"), False),
    ],
)
def test_a_next_hop_is_good_where_somebody_has_replied(error: Exception, served: bool) -> None:
    routes = Routes()

    def dial() -> None:
        with around(routes).dialling(node("a")) as dialling:
            dialling.device_for(HUB)
            raise error

    with pytest.raises(type(error)):
        dial()
    assert routes.served == {HUB: served}


@pytest.mark.parametrize(
    ("session", "host", "expected"),
    [(None, "hub.test", {NAME_SERVER}), (object(), "hub.test", set()), (None, "203.0.113.10", set())],
    ids=["no session", "a session: perhaps they are within the tunnel", "no name"],
)
def test_name_servers_are_asked_around_only_while_nobody_in_the_tunnel_can_reply(
    monkeypatch: pytest.MonkeyPatch, session: object, host: str, expected: set[str]
) -> None:
    routes = Routes()
    during: list[set[str]] = []
    monkeypatch.setattr(client_around, "name_servers", lambda: [NAME_SERVER])
    monkeypatch.setattr(
        stream_resolve, "look_up", lambda *_: during.append(set().union(*routes.held.values()))
    )
    around(routes, session=session).look_up(host, 8443, 5)
    assert during == [expected]
    assert not any(routes.held.values()), "given up as soon as the look-up is over"


def test_a_reload_that_covers_the_hub_in_use_sets_its_host_route_first() -> None:
    routes = Routes()
    one = around(routes, DeviceSettings())
    with one.dialling(node("a")) as dialling:
        assert dialling.device_for(HUB) is None
    one.prepare(FULL)
    assert routes.held["s"] == {HUB}


def test_a_reload_sets_it_by_the_device_and_the_mark_of_the_node() -> None:
    routes = Routes()
    one = around(routes, DeviceSettings())
    dial = DialSettings(device="wwan0", mark=7)
    one._client.settings = replace(one._client.settings, nodes=(replace(node("a"), dial=dial),))
    with one.dialling(one._client.settings.nodes[0]) as dialling:
        dialling.device_for(HUB)
    asked, routes.how = routes.how, ()
    one.prepare(FULL)
    assert routes.how == asked == ("wwan0", 7)


@pytest.mark.parametrize(("value", "warned"), [("1", True), ("0", False), ("2", False), ("nonsense", False)])
def test_a_refused_host_route_is_worth_a_warning_where_replies_would_be_dropped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
    warned: bool,
) -> None:
    for name, text in (("all", "0"), ("eth0", value)):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(client_around, "_RP_FILTER", f"{tmp_path}/{{}}")
    with caplog.at_level(logging.WARNING):
        assert around(Routes("Operation not permitted")).device_for(HUB) == "eth0", "bound all the same"
    expected = (
        f"service s: no route {HUB} via 10.9.0.1 dev eth0: Operation not permitted; "
        "with rp_filter=1 on eth0 the kernel drops the hub's replies"
    )
    assert [record.getMessage() for record in caplog.records] == [expected] * warned


def test_netlink_that_fails_is_one_address_that_failed() -> None:
    class Broken(Routes):
        def way(
            self, address: str, client: str, covered: bool, purpose: str = "", *how: object
        ) -> Way | None:
            raise HostError("netlink: Too many open files")

    with pytest.raises(OSError, match="Too many open files"):
        around(Broken()).device_for(HUB)
    assert around(Broken()).device_for("fe80::1%eth7") == "eth7"


def test_only_names_of_clients_with_routes_are_looked_up_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[str, int]] = set()
    monkeypatch.setattr(stream_dial, "look_ahead", lambda host, port, seconds: asked.add((host, port)))
    proxy = ProxySettings("socks5", "proxy.test", 1080)
    nodes = (node("a"), node("b", HUB), node("c", "behind.test", proxy), node("d", "2001:db8::1"))
    without = ClientSettings("t", "h", DeviceSettings(), (node("e"),))
    look_ahead([ClientSettings("s", "host-1", FULL, nodes), without], Killswitch())
    assert asked == {("hub.test", 8443), ("proxy.test", 1080)}


def test_a_tunnel_covers_its_own_networks_too() -> None:
    assert covers(FULL, HUB)
    assert not covers(FULL, "2001:db8::1")
    assert not covers(DeviceSettings(), HUB)
