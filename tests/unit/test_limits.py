"""Limits: GOST's notation, buckets, who shares them, and who is refused."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import config_read, config_resolve
from lib.errors import ConfigError
from lib.forward_drop_reasons import Refusal
from lib.limits import MAX_UNNAMED, Bucket, Gate, Meter, Visit, stranger
from lib.prefixes import PrefixSet, packed
from lib.settings import Settings
from lib.settings_limits import (
    DEFAULT_CONNECTIONS,
    DEFAULT_HANDSHAKES,
    CountLimit,
    HubLimits,
    Rate,
    RateLimit,
)

NAMESPACE = "e87f56dd-fd57-4921-9ab8-a0847662daae"
KEY = bytes.fromhex(NAMESPACE.replace("-", ""))
HUB = "services: [{name: s, addr: ':1', %s handler: {type: router, %s metadata: {router: r}}, listener: {type: tcp}}]\n"
TABLE = "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"


def resolve(text: str, service: str = "", handler: str = "") -> Settings:
    return config_resolve.resolve(config_read.read([("f", HUB % (service, handler) + TABLE + text)]))


def limits(kind: str, *lines: str) -> HubLimits:
    of = {"handler": ("", "limiter: l,")}.get(kind, (f"{kind}: l,", ""))
    section = "limiters" if kind == "handler" else f"{kind}s"
    rows = ", ".join(f"'{line}'" for line in lines)
    return resolve(f"{section}: [{{name: l, limits: [{rows}]}}]", *of).hubs[0].limits


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("$ 100KB 200KB", RateLimit("$", Rate(102400), Rate(204800))),
        ("$$ 1MiB", RateLimit("$$", Rate(1 << 20), Rate(1 << 20))),
        ("10.1.2.3/8 1.5GB", RateLimit("10.0.0.0/8", Rate(1.5 * 2**30), Rate(1.5 * 2**30))),
        ("fd00::1 10B 1000pps", RateLimit("fd00::1/128", Rate(10, 1000), Rate(10, 1000))),
        ("$ 10pps 20pps", RateLimit("$", Rate(0, 10), Rate(0, 20))),
    ],
)
def test_traffic_of_a_service(line: str, expected: RateLimit) -> None:
    assert limits("limiter", line).services == (expected,)


def test_traffic_of_hosts_and_namespaces() -> None:
    found = limits("handler", "$ 1MB", "$$ 2MB", "host-1 3MB", f"{NAMESPACE} 4MB").hosts
    assert [row.key for row in found] == ["$", "$$", "host host-1", KEY.hex()]


def test_a_limit_so_low_that_a_session_looks_dead_is_told() -> None:
    text = "limiters: [{name: l, limits: ['$$ 10KB']}]"
    assert "may look dead" in str(resolve(text, "limiter: l,").warnings[0])
    assert resolve(text.replace("10KB", "1MB"), "limiter: l,").warnings == ()


def test_connections_and_handshakes() -> None:
    assert limits("climiter", "$ 1000", "$$ 10").connections == (CountLimit("$", 1000), CountLimit("$$", 10))
    assert limits("rlimiter", "10.0.0.0/8 5").handshakes == (CountLimit("10.0.0.0/8", 5),)


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        ("limiter", "$ 100K", "'100K' is no size: write its unit, as 100KB"),
        ("limiter", "$ 1000", "'1000' is no size"),
        ("limiter", "$", "wants whom it is for"),
        ("limiter", "$ 0B", "a limit of nothing"),
        ("limiter", "$ 1MB 1MB 1MB", "more than an in and an out"),
        ("limiter", "host-1 1MB", "host-1"),
        ("limiter", "$ 1.5pps", "no number of packets"),
        ("climiter", "$ 0", "wants one number above zero"),
        ("climiter", "$ ten", "wants one number above zero"),
        ("rlimiter", "nowhere 1", "nowhere"),
    ],
)
def test_a_limit_that_is_wrong(kind: str, line: str, expected: str) -> None:
    with pytest.raises(ConfigError, match="limiter l: ") as caught:
        limits(kind, line)
    assert expected in str(caught.value)


def test_a_limiter_that_is_not_there_or_not_for_a_client() -> None:
    with pytest.raises(ConfigError, match="there is no climiter 'lmi'; did you mean 'lim'"):
        resolve("climiters: [{name: lim, limits: ['$ 1']}]", "climiter: lmi,")
    with pytest.raises(ConfigError, match="limiter l: '\\$ x': "):
        resolve("climiters: [{name: l, limits: ['$ x']}]")


# --- buckets --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 2000)), min_size=1, max_size=100))
def test_who_waits_as_told_never_exceeds_the_rate(moves: list[tuple[float, int]]) -> None:
    bucket, now, sent = Bucket(1000.0, 500.0), 0.0, 0
    for pause, amount in moves:
        now += pause + bucket.wait(now + pause)
        bucket.take(amount, now)
        sent += amount
    now += bucket.wait(now)
    assert sent <= 1000.0 * now + 500.0 + 1e-6


def test_a_meter_waits_for_the_slowest() -> None:
    fast, slow = Bucket(1e6, 10.0), Bucket(10.0, 10.0)
    meter = Meter([fast], [slow])
    meter.take_bytes(1000, 0.0)
    meter.take_packets(30, 0.0)
    assert meter.wait(0.0) == pytest.approx(2.0)
    assert meter.wait(1.5) == pytest.approx(0.5)
    assert meter.wait(9.0) == 0.0
    assert not Meter([], [])


def test_no_slice_takes_long() -> None:
    assert Meter([Bucket(1e6, 1.0), Bucket(1e9, 1.0)], []).slice == 250_000
    assert Meter([], [Bucket(1000.0, 1.0)]).slice == 16_000
    assert Meter([Bucket(10.0, 1.0)], []).slice == 4096
    assert Meter([], []).slice > 1 << 20


def test_who_shares_a_bucket() -> None:
    gate = Gate(
        HubLimits(
            (RateLimit("$$", Rate(10), Rate()),),
            (RateLimit("$", Rate(20), Rate(30)), RateLimit("host one", Rate(), Rate(40))),
        )
    )
    one, again, two, away = object(), object(), object(), object()
    made = {
        name: gate.meters("10.0.0.1", host, namespace, session)
        for name, host, namespace, session in (
            ("one", "one", KEY, one), ("again", "one", KEY, again), ("two", "two", KEY, two),
            ("away", "one", bytes(16), away),
        )
    }  # fmt: skip

    def rates(name: str, way: int) -> list[float]:
        return sorted(bucket.rate for bucket in made[name][way]._bytes)

    assert rates("one", 0) == [10, 20]
    assert rates("one", 1) == [30, 40]
    assert rates("two", 1) == [30]

    def shared(left: str, right: str, way: int) -> set[float]:
        return {bucket.rate for bucket in made[left][way]._bytes if bucket in made[right][way]._bytes}

    assert shared("one", "again", 0) == {20}
    assert shared("one", "again", 1) == {30, 40}
    assert shared("one", "two", 1) == {30}
    assert shared("one", "away", 1) == set()
    made.clear()
    assert not len(gate._buckets)


# --- who may connect ------------------------------------------------------------------------------

VISITS: dict[tuple[int, str], list[Visit]] = {}
"""Those that have entered, by gate and address."""


def enter(gate: Gate, address: str, now: float) -> Refusal | None:
    visit = Visit(address)
    refusal = gate.enter(visit, now)
    if refusal is None:
        VISITS.setdefault((id(gate), address), []).append(visit)
    return refusal


def leave(gate: Gate, address: str) -> None:
    gate.leave(VISITS[id(gate), address].pop())


def test_connections_in_all_and_of_an_address() -> None:
    gate = Gate(
        HubLimits(connections=(CountLimit("$", 3), CountLimit("$$", 2), CountLimit("10.9.0.0/16", 1)))
    )
    assert [enter(gate, "10.0.0.1", 0) for _ in range(3)] == [None, None, Refusal.CONNECTIONS]
    assert enter(gate, "10.9.0.1", 0) is None
    assert enter(gate, "10.0.0.2", 0) is Refusal.CONNECTIONS
    leave(gate, "10.0.0.1")
    assert enter(gate, "10.9.0.2", 0) is Refusal.CONNECTIONS
    assert enter(gate, "10.0.0.2", 0) is None
    for address in ("10.0.0.1", "10.0.0.2", "10.9.0.1"):
        leave(gate, address)
    assert not gate._connections


def test_handshakes_a_second() -> None:
    gate = Gate(HubLimits(handshakes=(CountLimit("$$", 2),)))
    assert [enter(gate, "10.0.0.1", 0.0) for _ in range(3)] == [None, None, Refusal.RATE]
    assert enter(gate, "10.0.0.2", 0.0) is None
    assert [enter(gate, "10.0.0.1", 0.5) for _ in range(2)] == [None, Refusal.RATE]


def test_an_address_with_a_scope_or_none_at_all() -> None:
    gate = Gate(HubLimits(connections=(CountLimit("fe80::/64", 1),)))
    assert enter(gate, "fe80::1%eth0", 0) is None
    assert enter(gate, "fe80::2%eth0", 0) is Refusal.CONNECTIONS
    assert enter(gate, "", 0) is None


# --- where nothing is said ------------------------------------------------------------------------


def test_connections_and_handshakes_are_limited_unless_a_limiter_is_named() -> None:
    assert resolve("").hubs[0].limits.connections == DEFAULT_CONNECTIONS
    assert resolve("").hubs[0].limits.handshakes == DEFAULT_HANDSHAKES
    named = "climiters: [{name: c, limits: ['$ 9']}]\nrlimiters: [{name: r, limits: ['10.0.0.0/8 5']}]"
    own = resolve(named, "climiter: c, rlimiter: r,").hubs[0].limits
    assert own.connections == (CountLimit("$", 9),)
    assert own.handshakes == (CountLimit("10.0.0.0/8", 5),)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::3", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::3", "2001:db8:1:3::3", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("::1", "::1", False),
        ("/run/socket", "/run/socket", False),
    ],
)
def test_what_is_one_site(first: str, second: str, together: bool) -> None:
    gate = Gate(HubLimits(connections=(CountLimit("site", 1),)))
    assert enter(gate, first, 0.0) is None
    assert enter(gate, second, 0.0) is (Refusal.CONNECTIONS if together else None)
    leave(gate, first)
    assert enter(gate, first, 0.0) is None


def test_an_office_behind_one_address_comes_back_at_once() -> None:
    gate = Gate(HubLimits(connections=DEFAULT_CONNECTIONS, handshakes=DEFAULT_HANDSHAKES))
    assert [enter(gate, "192.0.2.1", 0.0) for _ in range(64)] == [None] * 64
    assert enter(gate, "192.0.2.1", 0.0) is Refusal.RATE
    assert enter(gate, "192.0.2.2", 0.0) is None, "others are not concerned"
    assert [enter(gate, "192.0.2.1", 1.0) for _ in range(64)] == [None] * 64


def test_who_entered_under_other_settings_leaves_nothing_behind() -> None:
    default, other = (
        HubLimits(connections=(CountLimit("site", 1),)),
        HubLimits(connections=(CountLimit("$", 9),)),
    )
    gate = Gate(default)
    assert enter(gate, "192.0.2.1", 0.0) is None
    gate.settings = other
    assert enter(gate, "192.0.2.1", 0.0) is None
    leave(gate, "192.0.2.1")
    leave(gate, "192.0.2.1")
    gate.settings = default
    assert enter(gate, "192.0.2.1", 0.0) is None
    assert enter(gate, "192.0.2.1", 0.0) is Refusal.CONNECTIONS


# --- behind a trusted proxy -----------------------------------------------------------------------

PROXY = "10.0.0.1"
TRUSTED = PrefixSet([packed(ip_network("10.0.0.0/24"))])


def test_a_trusted_proxy_has_no_limit_by_address_but_those_in_all_and_its_clients_have() -> None:
    rows = (CountLimit("$", 9), CountLimit("$$", 2), CountLimit("10.0.0.0/8", 1), CountLimit("site", 1))
    gate = Gate(HubLimits(connections=rows, handshakes=rows[1:]), TRUSTED)
    visits = [Visit(PROXY) for _ in range(9)]
    assert [gate.enter(visit, 0) for visit in visits] == [None] * 9
    assert gate.enter(Visit(PROXY), 0) is Refusal.CONNECTIONS, "in all"
    assert [gate.rename(visit, "192.0.2.1", 0) for visit in visits[:2]] == [None, Refusal.CONNECTIONS]
    assert gate.rename(visits[2], "10.0.0.7", 0) is None, "another proxy's own"
    assert gate.rename(visits[3], "10.0.0.7", 0) is None
    for visit in visits:
        gate.leave(visit)
    assert not gate._connections
    again = Visit(PROXY)
    assert gate.enter(again, 0) is None
    assert gate.rename(again, "192.0.2.1", 0.1) is Refusal.RATE


def test_connections_of_a_proxy_that_has_named_nobody_yet_are_bounded() -> None:
    gate = Gate(HubLimits(connections=(CountLimit("$$", 1),)), TRUSTED)
    visits = [Visit(PROXY) for _ in range(MAX_UNNAMED)]
    assert {gate.enter(visit, 0) for visit in visits} == {None}
    assert gate.enter(Visit(PROXY), 0) is Refusal.CONNECTIONS
    assert gate.enter(Visit("10.0.0.2"), 0) is None, "another proxy is not concerned"
    gate.settle(visits[0])
    assert gate.rename(visits[1], "192.0.2.1", 0) is None
    assert [gate.enter(Visit(PROXY), 0) for _ in range(3)] == [None, None, Refusal.CONNECTIONS]
    gate.trusted = PrefixSet()
    for visit in visits:
        gate.leave(visit)
    assert gate._connections == {f"unnamed {PROXY}": 2, "unnamed 10.0.0.2": 1}


def test_traffic_limits_by_address_leave_a_trusted_proxy_out() -> None:
    rates = Rate(1 << 20), Rate(1 << 20)
    gate = Gate(HubLimits(services=(RateLimit("10.0.0.0/8", *rates),)), TRUSTED)
    assert not any(gate.meters(PROXY, "h", KEY, object()))
    assert all(gate.meters("10.1.0.1", "h", KEY, object()))
    gate.settings = HubLimits(services=(RateLimit("$", *rates), RateLimit("$$", *rates)))
    assert all(gate.meters(PROXY, "h", KEY, object())), "these are not by address"


@pytest.mark.parametrize(
    ("peer", "who"),
    [
        ("192.0.2.1:5", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:5", "192.0.2.1"),
        ("[2001:db8::1]:5", "2001:db8::/64"),
        ("[2001:db8:0:0:ffff::2]:77", "2001:db8::/64"),
        ("[2001:db8:0:1::2]:77", "2001:db8:0:1::/64"),
        ("[fe80::1%eth0]:5", "fe80::/64"),
        (":", ""),
    ],
)
def test_who_counts_as_one(peer: str, who: str) -> None:
    assert stranger(peer) == who
