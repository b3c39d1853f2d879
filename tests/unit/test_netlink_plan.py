"""What is put back on a device, in which order and how often: the settings against what the kernel has."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import netlink_messages
from lib.netlink_messages import Address, Link, Message, Route
from lib.netlink_plan import (
    CALM_SECONDS,
    LONGEST_PAUSE,
    Kind,
    Operation,
    Pace,
    Seen,
    concerns,
    differences,
    listed,
    plan,
    prefixes,
)
from lib.settings import DeviceSettings

DEVICE = 7
WANTED = DeviceSettings(
    name="tr0",
    addresses=(ip_interface("10.88.0.1/24"), ip_interface("fd77::1/64")),
    peer="10.88.0.9",
    mtu=1420,
    routes=((ip_network("10.1.0.0/16"), ""), (ip_network("fd78::/64"), "fd77::9")),
)


def address(text: str, peer: str = "", device: int = DEVICE) -> Address:
    own = ip_interface(text)
    return Address(device, own.packed, own.network.prefixlen, ip_address(peer).packed if peer else b"")


def route(text: str, gateway: str = "", device: int = DEVICE) -> Route:
    prefix = ip_network(text)
    via = ip_address(gateway).packed if gateway else b""
    return Route(device, prefix.network_address.packed, prefix.prefixlen, via)


LINK = Link(DEVICE, "tr0", True, 1420)
ADDRESSES = frozenset({address("10.88.0.1/24", "10.88.0.9"), address("fd77::1/64")})
ROUTES = frozenset({route("10.1.0.0/16"), route("fd78::/64", "fd77::9"), route("10.88.0.0/24")})


def seen(
    link: Link | None = LINK, addresses: frozenset[Address] = ADDRESSES, routes: frozenset[Route] = ROUTES
) -> Seen:
    return Seen(link, addresses, routes)


NAKED = seen(addresses=frozenset(), routes=frozenset())
DOWN = LINK._replace(up=False)


@pytest.mark.parametrize(
    ("found", "put_up", "operations"),
    [
        pytest.param(seen(), False, [], id="all is there"),
        pytest.param(seen(addresses=ADDRESSES | {address("10.5.0.1/16")}), True, [], id="more is there"),
        pytest.param(
            seen(routes=ROUTES - {route("10.1.0.0/16")}), False, ["route 10.1.0.0/16"], id="a route is gone"
        ),
        pytest.param(
            seen(routes=ROUTES - {route("fd78::/64", "fd77::9")} | {route("fd78::/64", "fd77::8")}),
            False,
            ["route fd78::/64 via fd77::9"],
            id="a route has another gateway",
        ),
        pytest.param(
            seen(routes=ROUTES - {route("10.1.0.0/16")} | {route("10.1.0.0/16", device=3)}),
            False,
            ["route 10.1.0.0/16"],
            id="a route is on another device",
        ),
        pytest.param(
            seen(addresses=frozenset({address("10.88.0.1/16", "10.88.0.9"), address("fd77::1/64")})),
            False,
            ["address 10.88.0.1/24"],
            id="an address has another length",
        ),
        pytest.param(
            seen(addresses=frozenset({address("10.88.0.1/24"), address("fd77::1/64")})),
            False,
            ["address 10.88.0.1/24"],
            id="an address has no peer any more",
        ),
        pytest.param(
            Seen(LINK._replace(mtu=1200), ADDRESSES - {address("fd77::1/64")}, frozenset()),
            False,
            ["the MTU", "address fd77::1/64", "route 10.1.0.0/16", "route fd78::/64 via fd77::9"],
            id="an MTU without IPv6",
        ),
        pytest.param(seen(LINK._replace(name="vpn0")), False, [], id="renamed"),
        pytest.param(seen(None), True, [], id="moved away"),
        pytest.param(seen(DOWN, ADDRESSES, frozenset()), False, [], id="set down by somebody"),
        pytest.param(
            Seen(DOWN, ADDRESSES - {address("fd77::1/64")}, frozenset()),
            True,
            ["address fd77::1/64", "the state up", "route 10.1.0.0/16", "route fd78::/64 via fd77::9"],
            id="set down, and reloaded",
        ),
    ],
)
def test_what_is_put_back(found: Seen, put_up: bool, operations: list[str]) -> None:
    assert list(map(str, plan(WANTED, found, put_up))) == operations


def test_a_default_route_is_set_as_its_two_halves() -> None:
    """So that whatever default route there is stays; a half that is written keeps its own gateway."""
    written = (ip_network("0.0.0.0/0"), ""), (ip_network("::/0"), "fd77::9"), (ip_network("8000::/1"), "")
    wanted = DeviceSettings(name="tr0", mtu=1420, routes=written)
    found = plan(wanted, seen(addresses=frozenset(), routes=frozenset({route("0.0.0.0/1")})), put_up=False)
    assert list(map(str, found)) == ["route 128.0.0.0/1", "route ::/1 via fd77::9", "route 8000::/1"]
    assert (b"\x80\0\0\0", 1) in prefixes(wanted), "who replaces a half of ours is noticed"


def test_the_order_is_that_in_which_the_kernel_takes_it() -> None:
    kinds = [operation.kind for operation in plan(WANTED, Seen(DOWN._replace(mtu=1500)), put_up=True)]
    assert kinds == sorted(kinds)
    assert set(kinds) == set(Kind)


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (seen(), []),
        (seen(None), ["the device is not in this network namespace any more"]),
        (seen(LINK._replace(name="vpn0")), ["the device is named vpn0 now, not tr0"]),
        (seen(DOWN), ["the device was set down: ip link set tr0 up, or reload"]),
        (seen(LINK._replace(mtu=1400)), ["the MTU is 1400, not 1420"]),
        (seen(addresses=ADDRESSES - {address("fd77::1/64")}), ["no address fd77::1/64"]),
        (seen(routes=ROUTES - {route("10.1.0.0/16")}), ["no route 10.1.0.0/16: taken"]),
    ],
)
def test_what_status_says(found: Seen, lines: list[str]) -> None:
    refused = {Operation(Kind.ROUTE, prefix=ip_network("10.1.0.0/16")): "taken"}
    assert differences(WANTED, found, refused) == lines


def test_a_name_that_the_kernel_chose_is_no_difference() -> None:
    for name in ("", "tr%d"):
        wanted = DeviceSettings(name=name, mtu=1420)
        assert differences(wanted, NAKED, {}) == []


def test_many_are_counted() -> None:
    many = [Operation(Kind.ROUTE, prefix=ip_network(f"10.{n}.0.0/16")) for n in range(6)]
    assert listed(many[:2]) == "route 10.0.0.0/16, route 10.1.0.0/16"
    assert listed(many).endswith("route 10.3.0.0/16 and 2 more")


def test_two_programs_that_fight_end_in_a_slow_rate() -> None:
    pace, now, times = Pace(), 0.0, 0
    while now < 3600:
        now += pace.wait(now) + 0.1  # the other one takes it away at once
        pace.took(now)
        times += 1
    assert times < 3600 / LONGEST_PAUSE + 15
    assert pace.wait(now) == pytest.approx(LONGEST_PAUSE)


def test_what_happens_now_and_then_is_put_back_soon() -> None:
    pace, now, waits = Pace(), 0.0, []
    for _ in range(20):
        pace.took(now)
        waits.append(pace.wait(now))
        now += CALM_SECONDS + 1
        assert pace.is_calm(now)
    assert max(waits) < 0.5


# --- the kernel's messages: the fields as linux/rtnetlink.h has them -----------------------------


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def route_body(
    text: str, device: int = DEVICE, table: int = 254, kind: int = 1, metric: int = 0, hops: bytes = b""
) -> bytes:
    prefix = ip_network(text)
    family, normal = (2, 0) if prefix.version == 4 else (10, 1024)
    body = struct.pack("=BBBBBBBBI", family, prefix.prefixlen, 0, 0, table & 255, 4, 0, kind, 0)
    body += attribute(15, struct.pack("=I", table)) + attribute(6, struct.pack("=I", metric or normal))
    body += attribute(1, prefix.network_address.packed) if prefix.prefixlen else b""
    return body + (attribute(9, hops) if hops else attribute(4, struct.pack("=I", device)))


HOPS = (
    struct.pack("=HBBi", 16, 0, 0, 3) + attribute(5, bytes((10, 0, 0, 9))) + struct.pack("=HBBi", 8, 0, 0, 7)
)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (route_body("10.1.0.0/16"), [route("10.1.0.0/16")]),
        (route_body("0.0.0.0/0"), [route("0.0.0.0/0")]),
        (route_body("fd78::/64"), [route("fd78::/64")]),
        (route_body("10.1.0.0/16", metric=50), []),
        (route_body("10.1.0.0/16", table=1000), []),
        (route_body("10.1.0.0/16", kind=6), []),
        (
            route_body("10.1.0.0/16", hops=HOPS),
            [route("10.1.0.0/16", "10.0.0.9", device=3), route("10.1.0.0/16")],
        ),
    ],
    ids=["IPv4", "default", "IPv6", "another metric", "another table", "blackhole", "two next hops"],
)
def test_routes_are_read(body: bytes, found: list[Route]) -> None:
    assert netlink_messages.routes(body) == found


@pytest.mark.parametrize(
    ("kind", "body", "ours"),
    [
        pytest.param(25, route_body("10.1.0.0/16"), True, id="a route of ours goes"),
        pytest.param(24, route_body("10.1.0.0/16", device=3), True, id="another one's takes its place"),
        pytest.param(25, route_body("10.7.0.0/16"), False, id="a routing daemon's on our device"),
        pytest.param(16, struct.pack("=BxHiII", 0, 0, DEVICE, 0, 0), True, id="our device changes"),
        pytest.param(16, struct.pack("=BxHiII", 0, 0, 3, 0, 0), False, id="another device changes"),
        pytest.param(
            21, struct.pack("=BBBBi", 2, 24, 0, 0, DEVICE) + attribute(2, bytes(4)), True, id="our address"
        ),
        pytest.param(
            21, struct.pack("=BBBBi", 2, 24, 0, 0, 3) + attribute(2, bytes(4)), False, id="another address"
        ),
        pytest.param(99, b"", False, id="something else"),
    ],
)
def test_what_is_looked_at(kind: int, body: bytes, ours: bool) -> None:
    assert concerns(Message(kind, 0, 0, body), DEVICE, prefixes(WANTED)) is ours


@pytest.mark.parametrize(
    ("kind", "body", "ours"),
    [
        pytest.param(25, route_body("10.7.0.0/16"), True, id="a host route goes"),
        pytest.param(24, route_body("10.7.0.0/16"), False, id="a host route comes"),
        pytest.param(16, struct.pack("=BxHiII", 0, 0, 3, 0, 0), True, id="its device changes"),
        pytest.param(25, b"", False, id="no route at all"),
    ],
)
def test_host_routes_are_looked_at_while_there_are_any(kind: int, body: bytes, ours: bool) -> None:
    protocol = 4  # as in route_body
    assert concerns(Message(kind, 0, 0, body), DEVICE, prefixes(WANTED), protocol) is ours
    assert not concerns(Message(kind, 0, 0, body), DEVICE, prefixes(WANTED), 0)


@given(st.binary(max_size=200), st.integers(16, 26))
def test_no_bytes_raise_or_last(data: bytes, kind: int) -> None:
    whole = struct.pack("=IHHII", 16 + len(data), kind, 0, 1, 0) + data
    (message,) = list(netlink_messages.messages(whole))
    assert message.body == data
    assert concerns(message, DEVICE, prefixes(WANTED)) in (True, False)
    assert netlink_messages.tun_state(data) is None
    assert len(list(netlink_messages.messages(data))) <= len(data) // 16
