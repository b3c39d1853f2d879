"""What pages are told of hosts: one computation for all, and who does not read is cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import gevent
import pytest
from gevent.event import Event

from lib import api_live
from lib.api_board import Board
from lib.api_hosts import COLUMNS, MAX_HOSTS
from lib.api_live import MAX_QUEUED, Live
from lib.api_request import Refused
from lib.ids import format_uuid
from lib.route_table import RouteTable
from tests.support.api_hubs import FakeHub, own_hubs
from tests.support.opcodes import counted
from tests.unit.test_ctl_routes import entry

ONE, TWO = bytes(15) + b"\1", bytes(15) + b"\2"


def live(*hubs: FakeHub) -> Live:
    return Live(own_hubs(*hubs))


def rows(found: Live, ns: str = "") -> list[dict[str, Any]]:
    found._looked_at = float("-inf")
    whole = json.loads(found.whole(ns))
    return [dict(zip(COLUMNS, row, strict=True)) for row in whole["rows"]]


def test_hosts_of_all_namespaces_and_of_one() -> None:
    hub = FakeHub(table=RouteTable([entry(f"10.{n}.0.0/16", "a") for n in range(7)]))
    hub.connect("a", ONE)
    hub.connect("b", TWO)
    found = live(hub)
    one, two = rows(found)
    assert (one["host"], one["ns"], two["host"], two["ns"]) == ("a", format_uuid(ONE), "b", format_uuid(TWO))
    assert (one["state"], one["peer"], one["software"]) == ("up", "192.0.2.1:4711", "tunrouter 1.2")
    assert (len(one["prefixes"]), one["prefixes"][-1], two["prefixes"]) == (5, 3, [])
    assert [row["host"] for row in rows(found, format_uuid(TWO))] == ["b"]


def test_a_host_at_two_services_of_one_domain_is_one_host() -> None:
    """It may have moved from one listener to the other."""
    tcp, wss, other = FakeHub("tcp", "d"), FakeHub("wss", "d"), FakeHub("other")
    gone = tcp.connect("a")
    found = live(tcp, wss, other)
    assert [row["service"] for row in rows(found)] == ["tcp"]
    tcp.leave(gone)
    wss.connect("a")
    other.connect("a")
    assert sorted(row["service"] for row in rows(found)) == ["other", "wss"]


def test_who_was_here_before_is_away() -> None:
    hub = FakeHub()
    hub.leave(hub.connect("a"))
    found = live(hub)
    found._look(keep=1)
    assert [(row["host"], row["state"]) for row in rows(found)] == [("a", "away")]


def test_what_is_wrong_with_a_name_is_a_problem() -> None:
    hub = FakeHub()
    hub.connect("a")
    hub.connect("b").verdict.table_line = "host b is gateway of nothing"
    hub.warnings = [(bytes(16), "a", "two machines")]
    assert [row["problems"] for row in rows(live(hub))] == [["conflict"], ["name"]]


def test_curves_are_kept_for_who_was_here() -> None:
    hub = FakeHub()
    gone = hub.connect("a")
    found = live(hub)
    found._look(keep=5)
    hub.leave(gone)
    found._look(keep=6)
    (host,) = found.hosts.by_id.values()
    assert host.history is not None
    first, series = host.history.after(-1)
    assert (first, series["rtt"]) == (5, [0.0123, None])


def test_one_difference_for_all_pages_and_none_without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub()
    session = hub.connect("a")
    found = live(hub)
    seq = json.loads(found.whole(""))["seq"]
    advance = Mock(side_effect=Board.advance)
    monkeypatch.setattr(Board, "advance", lambda *about: advance(*about))
    pages = [found.follow("", seq, lambda: True) for _ in range(50)]
    assert [next(page) for page in pages] == [b": \n\n"] * 50
    session.attachment.traffic.received_bytes = 10_000
    found._look()
    found._tell("")
    told = [next(page) for page in pages]
    assert advance.call_count == 1
    assert all(one == told[0] for one in told)
    said = json.loads(told[0].decode().splitlines()[2].removeprefix("data: "))
    assert (said["seq"], said["rows"][0][:2]) == (seq + 1, [1, COLUMNS.index("in")])
    for number in range(3):
        found._tell("")
        assert [next(page).count(b"id: %d\n" % (seq + 2 + number)) for page in pages] == [1] * 50
    for page in pages:
        page.close()  # type: ignore[attr-defined]
    assert not found._pages


def test_a_look_costs_each_host_little_and_each_page_nothing() -> None:
    """Of 1,000 hosts that all send, once a tick: 3 % of a core are some 2,000 instructions for each of them."""

    def cost(hosts: int, pages: int) -> int:
        hub = FakeHub()
        sessions = [hub.connect(f"host-{number}") for number in range(hosts)]
        found = live(hub)
        seq = json.loads(found.whole(""))["seq"]
        looking = [found.follow("", seq, lambda: True) for _ in range(pages)]
        assert all(next(page) for page in looking)
        taken = []

        def tick() -> None:
            found._look()
            found._tell("")

        for turn in range(1, 5):  # the first one fills caches
            for session in sessions:
                session.attachment.traffic.received_bytes = 10_000 * turn
            taken.append(counted(tick))
        for page in looking:
            assert next(page).count(b'"rows":[[') == 1
            page.close()  # type: ignore[attr-defined]
        return min(taken)

    few = cost(10, 1)
    assert (cost(30, 1) - few) / 20 < 2000
    assert (cost(10, 41) - few) / 40 < 100


def test_a_page_that_comes_back_gets_what_it_has_missed_or_begins_anew() -> None:
    hub = FakeHub()
    hub.connect("a")
    found = live(hub)
    seq = json.loads(found.whole(""))["seq"]
    page = found.follow("", seq, lambda: True)
    next(page)
    for _ in range(3):
        found._look()
        found._tell("")
    again = found.follow("", seq + 1, lambda: True)
    assert b"".join(next(again) for _ in range(3)).count(b"event: hosts") == 2
    anew = found.follow("", 17, lambda: True)
    assert (next(anew), list(anew)) == (b"event: reset\ndata: {}\n\n", [])


def follow(found: Live, told: list[bytes], block: Any) -> Iterator[None]:
    seq = json.loads(found.whole(""))["seq"]
    for event in found.follow("", seq, lambda: True):
        told.append(event)
        block()
        yield


def test_who_does_not_read_is_cut_off() -> None:
    told: list[bytes] = []
    found = live(FakeHub())
    stuck = gevent.spawn(lambda: list(follow(found, told, Event().wait)))
    gevent.sleep(0)
    assert len(found._pages[""]) == 1
    for _ in range(MAX_QUEUED):
        found._tell("")
    gevent.sleep(0)
    assert not stuck.dead
    found._tell("")
    stuck.join(5)
    assert stuck.dead
    assert (len(told), found._pages) == (1, {})


def test_the_end_of_a_login_and_of_the_hub_end_a_stream() -> None:
    found, valid = live(FakeHub()), [True]
    seq = json.loads(found.whole(""))["seq"]
    ends, goes = found.follow("", seq, lambda: valid[0]), found.follow("", seq, lambda: True)
    assert next(ends) == next(goes) == b": \n\n"
    valid[0] = False
    found._tell("")
    assert b"the login has ended" in next(ends)
    assert list(ends) == []
    assert b"event: hosts" in next(goes)
    found.stop()
    assert b"the hub ends" in next(goes)


def test_pages_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_live, "MAX_PAGES", 1)
    found = live(FakeHub())
    seq = json.loads(found.whole(""))["seq"]
    page = found.follow("", seq, lambda: True)
    next(page)
    with pytest.raises(Refused) as refused:
        found.follow("", seq, lambda: True)
    assert refused.value.status == 429


def test_a_page_that_was_closed_keeps_its_place_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_live, "MAX_PAGES", 2)
    found, closed = live(FakeHub()), set[int]()
    seq = json.loads(found.whole(""))["seq"]

    def read(number: int) -> None:
        for _ in found.follow("", seq, lambda: True, lambda: number in closed):
            pass

    reading = [gevent.spawn(read, number) for number in range(2)]
    gevent.sleep(0)
    with pytest.raises(Refused):
        found.follow("", seq, lambda: True)
    closed.add(1)
    next(found.follow("", seq, lambda: True))
    gevent.sleep(0)
    assert [one.dead for one in reading] == [False, True]
    reading[0].kill()


def test_so_many_hosts_are_kept_and_no_more() -> None:
    hub = FakeHub()
    for number in range(MAX_HOSTS + 3):
        hub.connect(f"h{number}")
    found = live(hub)
    assert len(rows(found)) == MAX_HOSTS
    assert json.loads(found.whole(""))["more"] == 3
