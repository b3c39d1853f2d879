"""What a connection costs: how much of it is read next, what makes it expensive, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.session_cost import (
    BURST_SECONDS,
    EXACT_TURNS,
    FIRST,
    FORGIVEN,
    LEAST,
    LINK_BURSTS,
    MOST,
    TURN_SECONDS,
    Cost,
)


def session(transport: str = "tcp") -> Cost:
    cost = Cost()
    cost.admit(transport)
    return cost


def turns(
    cost: Cost,
    seconds: float,
    count: int,
    forwarded: tuple[int, int, int] | tuple[int, int, int, int] = (0, 0, 0),
    size: int = -1,
    now: float = 0.0,
    messages: int = 0,
) -> None:
    """So many turns, each of which forwards (frames, bytes, cut segments, new flows) that came in so many messages.

    A turn reads `size` bytes if it may read as many; negative for as many as it may.
    """
    for _ in range(count):
        cost.begin(min(cost.size, size) if size >= 0 else cost.size)
        cost.messages += messages
        cost.forward(*forwarded)
        cost.end(seconds, now)


def test_before_a_login_every_turn_is_an_expensive_one() -> None:
    cost = Cost()
    turns(cost, TURN_SECONDS, 20)
    assert cost.expensive
    cost.admit("tls")
    assert not cost.expensive, "its handshakes were paid for"


@pytest.mark.parametrize(
    ("transport", "seconds", "forwarded", "messages"),
    [
        pytest.param("tcp", 400e-6, (1, 65000, 45), 0, id="a superpacket that is cut up"),
        pytest.param("tcp", 400e-6, (2, 15000, 128), 0, id="UDP superpackets with little in each segment"),
        pytest.param("tcp", 900e-6, (300, 30_000, 0), 0, id="small packets, many at a time"),
        pytest.param("wss", 900e-6, (45, 4500, 0), 45, id="small packets, many at a time, a message each"),
        pytest.param("ws", 900e-6, (10, 14_000, 0), 10, id="a GOST client over ws, a message a packet"),
    ],
)
def test_who_forwards_is_never_expensive(
    transport: str, seconds: float, forwarded: tuple[int, int, int], messages: int
) -> None:
    cost = session(transport)
    turns(cost, seconds, 100_000, forwarded, messages=messages)
    assert cost.debt == 0
    assert not cost.expensive


@pytest.mark.parametrize(
    ("transport", "seconds", "frames", "new", "size"),
    [
        pytest.param("tls", 1330e-6, 46, 46, -1, id="SYNs alone, as many as there is time for"),
        pytest.param("tls", 1335e-6, 52, 50, 8192, id="the same, with some of other packets"),
        pytest.param("tls", 977e-6, 16, 16, -1, id="few, in a process that had no time lately"),
        pytest.param("tcp", 700e-6, 16, 16, -1, id="few over tcp"),
    ],
)
def test_new_connections_are_never_expensive(
    transport: str, seconds: float, frames: int, new: int, size: int
) -> None:
    """Turns of a hub under 10,000 new connections a second, as measured: a debt of 0.13 s, and 0 were served."""
    cost = session(transport)
    turns(cost, seconds, 1000, (frames, frames * 70, 0, new), size)
    assert cost.debt == 0
    assert not cost.expensive


def test_new_flows_that_lead_nowhere_are_expensive() -> None:
    cost = session("tls")
    turns(cost, 900e-6, 100, (2, 140, 0, 48))
    assert cost.expensive


@pytest.mark.parametrize(("size", "expensive"), [(520, False), (0, True), (-1, True)])
def test_only_a_turn_that_reads_all_there_is_has_a_price_of_its_own(size: int, expensive: bool) -> None:
    """Else whoever has few packets judged in each turn, since there are many such sessions, looks honest."""
    cost = session("wss")
    turns(cost, 450e-6, 100, (13, 520, 0), size)
    assert cost.expensive is expensive


@pytest.mark.parametrize(
    ("transport", "seconds", "frames", "messages"),
    [
        pytest.param("tcp", 1000e-6, 50, 0, id="packets that are judged one by one, of no new flow"),
        pytest.param("wss", 1200e-6, 40, 1, id="the same, many in a message"),
        pytest.param("wss", 1000e-6, 5, 1000, id="messages with a byte in each"),
    ],
)
def test_who_costs_several_times_what_others_do_is_expensive(
    transport: str, seconds: float, frames: int, messages: int
) -> None:
    cost = session(transport)
    turns(cost, seconds, 100, (frames, frames * 40, 0), messages=messages)
    assert cost.expensive


@pytest.mark.parametrize(
    ("transport", "seconds"), [("tcp", 80e-6), ("tls", 170e-6), ("ws", 160e-6), ("wss", 220e-6)]
)
def test_who_sends_one_packet_after_the_other_is_never_expensive(transport: str, seconds: float) -> None:
    cost = session(transport)
    turns(cost, seconds, 100_000, (1, 100, 0), 150, messages=transport.startswith("ws"))
    assert cost.debt == 0


@pytest.mark.parametrize(("transport", "seconds"), [("tcp", 60e-6), ("tls", 150e-6), ("wss", 200e-6)])
@pytest.mark.parametrize("parts", [1, 4, 44])
def test_a_frame_in_parts_is_not_expensive(transport: str, seconds: float, parts: int) -> None:
    """A slow wire brings one segment at a time, and a superpacket is many of them."""
    cost = session(transport)
    for _ in range(20_000 // parts):
        turns(cost, seconds, parts, size=1448)
        turns(cost, seconds, 1, (1, (parts + 1) * 1448, 0), 1448, messages=1)
    assert cost.debt == 0
    assert not cost.expensive


@pytest.mark.parametrize(
    ("size", "seconds"),
    [
        pytest.param(1448, 60e-6, id="frames that are dropped, a segment at a time"),
        pytest.param(1448, 500e-6, id="the same, under 100 rules"),
        pytest.param(1, 40e-6, id="a frame that comes a byte at a time"),
        pytest.param(100, 40e-6, id="a frame that comes in small pieces"),
    ],
)
def test_parts_of_nothing_are_expensive(size: int, seconds: float) -> None:
    cost = session()
    turns(cost, seconds, 300, size=size)
    assert cost.expensive


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
@pytest.mark.parametrize(
    ("seconds", "replies", "made"),
    [
        pytest.param(900e-6, 30, 0, id="names that others have asked for, many at a time"),
        pytest.param(100e-6, 1, 0, id="one ping after the other"),
        pytest.param(900e-6, 3, 3, id="names that nobody has asked for before"),
    ],
)
def test_who_asks_the_hub_is_never_expensive(transport: str, seconds: float, replies: int, made: int) -> None:
    """What is replied to is bounded for each session, so it is worth its cost."""
    cost = session(transport)
    for _ in range(20_000):
        cost.begin(cost.size)
        cost.messages = replies * transport.startswith("ws")
        cost.forward(replies, replies * 100, 0)
        cost.reply(replies, made)
        cost.end(seconds, 0.0)
    assert cost.debt == 0


def test_who_asks_more_than_is_replied_to_is_expensive() -> None:
    """As many questions again have no answer, which costs the hub a third of one with."""
    cost = session()
    for _ in range(50):
        cost.begin(cost.size)
        cost.forward(1, 100, 0)
        cost.reply(1, 0)
        cost.end(30e-6 + 60 * 8e-6, 0.0)
    assert cost.expensive


def test_only_the_exact_clock_makes_a_debt() -> None:
    """Another process may have had the core: on a busy machine that adds up."""
    cost = session()
    turns(cost, 50e-6, EXACT_TURNS, (1, 100, 0), 150)
    turns(cost, 900e-6, 1, (1, 100, 0), 150)
    assert cost.debt == 0
    turns(cost, 900e-6, 10, (1, 100, 0), 150)
    assert cost.expensive


@pytest.mark.parametrize("size", [512, 1000, 1448])
def test_parts_of_nothing_are_expensive_after_any_number_of_good_turns(size: int) -> None:
    cost = session()
    turns(cost, 50e-6, 10 * EXACT_TURNS, (1, 100, 0), 150)
    turns(cost, 60e-6, 600, size=size)
    assert cost.expensive


def test_who_forwards_nothing_is_expensive_soon_and_not_for_ever() -> None:
    cost = session()
    turns(cost, TURN_SECONDS, int(BURST_SECONDS / TURN_SECONDS) + 1)
    assert cost.expensive
    turns(cost, 0.0, 1, now=2 * TURN_SECONDS / FORGIVEN)
    assert not cost.expensive


def test_superpackets_of_next_to_nothing_are_expensive_where_they_are_cut() -> None:
    """128 segments of one byte each, from a frame of 178 bytes."""
    cost = session()
    turns(cost, 800e-6, 20, (2, 2 * 178, 2 * 128))
    assert cost.expensive


@pytest.mark.parametrize(
    ("size", "seconds", "long"),
    [
        pytest.param(100, 300e-6, False, id="some packets"),
        pytest.param(100, 600e-6, True, id="some packets that take long"),
        pytest.param(FIRST, 0.0, True, id="more may be there"),
        pytest.param(100, 3 * TURN_SECONDS, True, id="another process may have had the core"),
    ],
)
def test_a_turn_is_short_that_is_quick_and_reads_all_there_is(size: int, seconds: float, long: bool) -> None:
    cost = session("wss")
    turns(cost, 0.0, EXACT_TURNS, size=1)
    turns(cost, seconds, 1, size=size)
    assert cost.long is long
    turns(cost, 0.0, 1, size=1)
    assert not cost.long


def test_little_work_for_nothing_is_nobodys_business() -> None:
    """Ten lone control frames a second."""
    cost = session()
    for second in range(1000):
        turns(cost, 60e-6, 10, size=100, now=float(second))
    assert not cost.expensive


def test_more_is_read_while_it_is_cheap_and_all_of_it_was_used() -> None:
    cost = session()
    turns(cost, TURN_SECONDS / 10, 1, size=100)
    assert cost.size == FIRST, "a lone packet says nothing about how much may be read"
    turns(cost, TURN_SECONDS / 10, 30)
    assert cost.size == MOST


def test_less_is_read_once_it_takes_long() -> None:
    cost = session()
    turns(cost, TURN_SECONDS / 10, EXACT_TURNS)
    turns(cost, 10 * TURN_SECONDS, 1)
    assert cost.size == MOST, "not timed exactly: another process may have had the core"
    turns(cost, 10 * TURN_SECONDS, 1)
    assert cost.size == MOST // 10
    turns(cost, 1000 * TURN_SECONDS, 3)
    assert cost.size == LEAST


def test_a_long_turn_is_believed_when_it_was_timed_exactly() -> None:
    """By a steady clock it may be that another process had the core meanwhile."""
    cost = session()
    turns(cost, 0.0, EXACT_TURNS)
    turns(cost, 100 * TURN_SECONDS, 1)
    assert (cost.debt, cost.exact) == (0, EXACT_TURNS)
    turns(cost, 100 * TURN_SECONDS, 1)
    assert cost.expensive
    turns(cost, 0.0, EXACT_TURNS)
    assert cost.exact == 0


@given(
    st.lists(
        st.tuples(st.integers(0, MOST), st.floats(0, 10), st.integers(0, 5000), st.floats(0, 100)),
        max_size=30,
    )
)
def test_it_stays_within_its_bounds(history: list[tuple[int, float, int, float]]) -> None:
    cost, now = session(), 0.0
    for size, seconds, forwarded, passed in history:
        now += passed
        cost.begin(size)
        cost.forward(forwarded, size, forwarded)
        cost.end(seconds, now)
        assert LEAST <= cost.size <= MOST
        assert cost.debt >= 0


def test_a_link_may_owe_as_much_as_several_sessions() -> None:
    """It is not known at once which of its hosts it is for."""
    for transport, times in (("tcp", 1), ("link", LINK_BURSTS)):
        cost = session(transport)
        turns(cost, TURN_SECONDS / 2, int(2 * times * BURST_SECONDS / TURN_SECONDS) - 1)
        assert not cost.expensive
        turns(cost, TURN_SECONDS / 2, 3)
        assert cost.expensive


def test_a_frame_that_is_dropped_unseen_is_worth_no_more_than_it_needs() -> None:
    cost = session("link")
    for now in range(100):
        cost.begin(cost.size)
        cost.skip(1, 50, 1500)
        cost.end(900e-6, float(now) / 1000)
    assert cost.expensive


def test_a_long_turn_of_a_link_that_another_process_may_have_had_is_not_counted_as_slow_reading() -> None:
    """By it a link would let its far end have less on the way (session_window)."""
    cost = session("link")
    turns(cost, 0.0001, EXACT_TURNS, (100, 100_000, 0))
    before = cost.spent
    turns(cost, 0.050, 1, (100, 100_000, 0))
    assert cost.spent == pytest.approx(before + TURN_SECONDS)
    turns(cost, 0.050, 1, (100, 100_000, 0))
    assert cost.spent == pytest.approx(before + TURN_SECONDS + 0.050), "timed exactly"
