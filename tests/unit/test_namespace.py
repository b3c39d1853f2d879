"""Namespaces: gateways, their sessions and flows, the order of the tables."""

from __future__ import annotations

import pytest

from lib import namespace
from lib.forward_drop_reasons import Reason
from lib.namespace import ICMP_ERROR_BURST, ICMP_ERRORS_PER_SECOND, Attachment, Namespace
from lib.plugin_cache import Unresolved
from lib.route_plugin_cache import PluginCache
from lib.route_table import Route, RouteTable
from lib.session_budget import Budget
from tests.support.routes import entry, gateways, table, to

IN_BOTH, IN_DEFAULT, IN_NONE = b"\x0a\0\0\1", b"\x0b\0\0\1", b"\x0c\0\0\1"


NAMED = table(("10.0.0.0/8", "named"))
DEFAULT = table(("10.0.0.0/24", "default"), ("11.0.0.0/8", "default"))


def make(named: RouteTable = NAMED, default: RouteTable | PluginCache[Attachment] = DEFAULT) -> Namespace:
    return Namespace(b"n" * 16, named, default)


def join(space: Namespace, host: str, instance: bytes = b"", now: float = 0.0) -> Attachment:
    attachment = Attachment(space, host, "test", instance=instance)
    space.join(attachment, now)
    return attachment


def asked(space: Namespace, address: bytes, now: float = 0) -> tuple[str, ...] | Unresolved | None:
    """The gateways for an address, by preference."""
    found = space.route_to(address, now)
    return gateways(found[0]) if isinstance(found, tuple) else found


# --- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "gateways"),
    [
        pytest.param(IN_BOTH, ("named",), id="the named table first, however short its prefix"),
        pytest.param(IN_DEFAULT, ("default",), id="then the default table"),
        pytest.param(IN_NONE, None, id="neither"),
    ],
)
def test_the_named_table_is_asked_before_the_default(
    address: bytes, gateways: tuple[str, ...] | None
) -> None:
    space = make()
    assert asked(space, address) == gateways
    assert space.fresh_until(0, Attachment(space, "h", "test")) == float("inf")
    assert not space.park(address, Attachment(space, "h", "test"), b"", 0)


def test_a_plugin_is_asked_where_the_named_table_has_no_route() -> None:
    cache: PluginCache[Attachment] = PluginCache(2.0)
    space = make(default=cache)
    assert asked(space, IN_BOTH) == ("named",)
    assert asked(space, IN_DEFAULT) is Unresolved.ASKING
    assert list(cache.take_wanted()) == [IN_DEFAULT]
    assert space.park(IN_DEFAULT, Attachment(space, "h", "test"), b"frame", 0)
    cache.store(IN_DEFAULT, Route(IN_DEFAULT, 32, to("asked")), 0)
    assert asked(space, IN_DEFAULT) == ("asked",)
    cache.store(IN_NONE, None, 0)
    assert asked(space, IN_NONE) is None
    assert space.fresh_until(5, Attachment(space, "h", "test")) == 7


def test_frames_that_wait_for_a_plugin_count_in_their_sender_s_budget() -> None:
    cache: PluginCache[Attachment] = PluginCache(2.0)
    space, budget = make(default=cache), Budget(40_000)
    sender = Attachment(space, "h", "test", budget=budget)
    frame = bytes(1000)
    assert not space.park(IN_DEFAULT, sender, frame, 0), "nobody has been asked"
    assert budget.used == 0
    assert asked(space, IN_DEFAULT) is Unresolved.ASKING
    assert [space.park(IN_DEFAULT, sender, frame, 0) for _ in range(6)] == [True] * 2 + [False] * 4
    assert budget.used == budget.parked > 2000
    other = Attachment(space, "i", "test", budget=budget)
    assert space.park(IN_DEFAULT, other, frame, 0), "who waits leaves room for others"
    for attachment, parked in cache.fail(IN_DEFAULT, 0.0):
        attachment.unpark(parked)
    assert (budget.used, budget.parked) == (0, 0)


def test_where_there_are_many_sessions_each_remembers_fewer_flows() -> None:
    space = make()
    one = join(space, "default")
    one.flows = {bytes([n]): one for n in range(100)}
    gateway = space.gateways.get("default")
    assert gateway is not None
    gateway.flows.update({bytes([n]): one for n in range(100)})
    for number in range(30):
        one.denied.renew(bytes([number]), 9.0)
    one.share_flows(20)
    assert (one.max_flows, one.flows, one.denied) == (20, {}, {})
    for number in range(30):
        one.denied.renew(bytes([number]), 9.0)
    assert len(one.denied) == 20
    assert list(gateway.flows) == [bytes([n]) for n in range(20, 100)], "the newest stay"
    for number in range(200):
        gateway.attachment_for(b"new%d" % number)
    assert len(gateway.flows) == 80


# --- sessions --------------------------------------------------------------------------------------


def test_a_gateway_lives_as_long_as_its_sessions() -> None:
    space = make()
    first, second = join(space, "h"), join(space, "h")
    assert space.attachments() == [first, second]
    space.leave(first)
    assert (first.live, second.live, space.attachments()) == (False, True, [second])
    space.leave(second)
    assert (space.attachments(), len(space.gateways)) == ([], 0)


def test_what_a_session_counted_stays() -> None:
    space = make()
    attachment = join(space, "h")
    attachment.traffic.received_packets = 3
    attachment.drop(Reason.NO_ROUTE)
    attachment.drop(Reason.NO_ROUTE, 2)
    space.leave(attachment)
    assert space.gone.received_packets == 3
    assert space.gone.drops == {Reason.NO_ROUTE: 3}


def test_a_new_session_of_the_same_instance_replaces_the_old() -> None:
    space = make()
    old, other, gost = join(space, "h", b"i"), join(space, "h", b"j"), join(space, "h")
    join(space, "another host", b"i")
    new = join(space, "h", b"i")
    assert space.rivals(new) == [old]
    assert space.rivals(gost) == [], "GOST's clients show no instance"
    assert space.rivals(other) == []
    assert space.rivals(Attachment(space, "nobody", "test", instance=b"i")) == []


@pytest.mark.parametrize(
    ("named", "default", "moves"),
    [
        pytest.param(NAMED, DEFAULT, False, id="one gateway a route"),
        pytest.param(
            table(("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")), DEFAULT, True, id="two in the named table"
        ),
        pytest.param(
            NAMED, table(("10.0.0.0/8", "a"), ("10.0.0.0/8", "b")), True, id="two in the default table"
        ),
        pytest.param(NAMED, PluginCache(1.0), False, id="a plugin"),
    ],
)
def test_a_host_that_comes_back_is_looked_for_again(
    named: RouteTable, default: RouteTable | PluginCache[Attachment], moves: bool
) -> None:
    space = make(named, default)
    join(space, "b")
    before = space.generation(0)
    join(space, "b")
    assert space.generation(0) == before, "sessions of a host that is there disturb nobody"
    join(space, "a")
    assert (space.generation(0) > before) == moves


TWO = RouteTable([entry("10.0.0.0/8", "a"), entry("10.0.0.0/8", "b")], hold_down=5.0)


def carrier(space: Namespace, address: bytes, now: float) -> str | None:
    found = space.route_to(address, now)
    assert isinstance(found, tuple)
    attachment = space.choose(*found, address, b"flow", now)
    return attachment.host if attachment else None


def test_decisions_are_made_again_when_a_host_comes_back_and_when_its_hold_down_is_over() -> None:
    space = make(TWO)
    first = join(space, "a")
    join(space, "b")
    space.leave(first)
    before = space.generation(10.0)
    assert carrier(space, IN_BOTH, 10.0) == "b"
    join(space, "a", now=10.0)
    back = space.generation(10.0)
    assert back > before
    assert carrier(space, IN_BOTH, 10.0) == "b"
    assert space.generation(14.9) == back
    settled = space.generation(15.0)
    assert settled > back
    assert carrier(space, IN_BOTH, 15.0) == "a"
    assert space.generation(100.0) == settled


FALLING = RouteTable(
    [entry("10.0.0.0/24", "a", None, True), entry("10.0.0.0/16", "b", None, True), entry("10.0.0.0/8", "c"),
     entry("0.0.0.0/0", "d")]
)  # fmt: skip


@pytest.mark.parametrize(
    ("here", "carries"),
    [("abcd", "a"), ("bcd", "b"), ("cd", "c"), ("d", None), ("", None)],
)
def test_routes_fall_through_as_far_as_each_says(here: str, carries: str | None) -> None:
    space = make(FALLING, table(("10.0.0.0/8", "z")))
    for host in here + "z":
        join(space, host)
    assert carrier(space, IN_BOTH, 0) == carries, "and never to the other table"


@pytest.mark.parametrize(("host", "may"), [("a", True), ("b", True), ("c", True), ("d", False), ("z", False)])
def test_a_stand_in_may_send_for_whom_it_stands_in(host: str, may: bool) -> None:
    space = make(FALLING)
    found = space.route_to(IN_BOTH, 0)
    assert isinstance(found, tuple)
    assert space.leads_to(IN_BOTH, host, *found) == may


def test_other_tables_make_every_decision_anew() -> None:
    space = make()
    NAMED.swap(NAMED.tries)
    seen = {space.generation(0)}
    for named, default in ((TWO, DEFAULT), (TWO, TWO), (NAMED, DEFAULT)):
        space.replace_tables(named, default, True)
        seen.add(space.generation(0))
    assert len(seen) == 4
    space.replace_tables(NAMED, DEFAULT, True)
    assert space.generation(0) in seen, "the same ones: nothing is different"


# --- what was lost ---------------------------------------------------------------------------------


def test_drops_are_remembered_by_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "MAX_LOST", 2)
    space = make()
    for address, now in ((IN_BOTH, 1.0), (IN_NONE, 2.0), (IN_BOTH, 3.0), (IN_DEFAULT, 4.0)):
        space.note_lost(address, Reason.NO_ROUTE, 2, now)
    assert list(space.lost) == [IN_BOTH, IN_DEFAULT], "the longest ago goes"
    assert space.lost[IN_BOTH].reasons == {Reason.NO_ROUTE: 4}
    assert space.lost[IN_BOTH].last == 3.0


# --- the rate of answers ---------------------------------------------------------------------------


def test_icmp_errors_come_from_a_bucket_of_tokens() -> None:
    attachment = Attachment(make(), "h", "test")

    def sent(now: float, tries: int = 200) -> int:
        count = 0
        for _ in range(tries):
            if attachment.may_send_icmp_error(now):
                attachment.icmp_error_tokens -= 1
                count += 1
        return count

    now = 1000.0
    assert sent(now) == ICMP_ERROR_BURST
    assert sent(now + 0.5 / ICMP_ERRORS_PER_SECOND) == 0
    assert sent(now + 1.5 / ICMP_ERRORS_PER_SECOND, 1) == 1
    assert sent(now + 3600) == ICMP_ERROR_BURST, "no more than a burst is saved"
    assert sent(now) == 0, "a clock that steps back gives nothing and breaks nothing"
