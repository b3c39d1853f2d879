"""The endpoints below /x/ by themselves: what they give, to whom, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from lib import api_route_pages, api_x_hosts, ctl_routes
from lib.api_confirm import Confirmations
from lib.api_flows import MAX_FRAMES, Flows
from lib.api_live import Live
from lib.api_request import Refused, Who
from lib.api_shared import Shared
from lib.api_x import Endpoints
from lib.api_x_hosts import HostPages
from lib.api_x_look import Looks
from lib.api_x_trace import BATCH, Traces, Watcher
from lib.capture_fate import DROPPED, FORWARDED, Fate
from lib.capture_taps import Choice, Taps
from lib.forward_drop_reasons import Reason
from lib.ids import format_uuid
from lib.route_table import RouteTable
from lib.settings_api import TENANT, VIEWER
from tests.support import packets
from tests.support.api_hubs import NOBODY, FakeHub, get, own_hubs
from tests.unit.test_ctl_routes import NS, Process, entry

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = bytes(15) + b"\1", bytes(15) + b"\2"
TENANT_ONE = Who("t", TENANT, ONE)


def udp(payload: bytes = b"x" * 8, dport: int = 53) -> bytes:
    return packets.udp("10.0.0.1", "10.0.0.2", payload, ports=(4000, dport))


class Pages:
    """A hub with a host in each of two namespaces, and the handlers of /x/hosts."""

    def __init__(self) -> None:
        self.hub = FakeHub()
        self.one, self.two = self.hub.connect("a", ONE), self.hub.connect("a", TWO)
        self.taps = Taps()
        hubs = own_hubs(self.hub, taps=self.taps)
        self.live = Live(hubs)
        self.pages = HostPages(self.live, hubs, Shared())
        self.live.whole("")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Pages:
    monkeypatch.setattr(api_x_hosts, "FLOW_SECONDS", 0.001)
    monkeypatch.setattr("lib.ctl_session.session_row", lambda *_: {"row": 1})
    return Pages()


def refused(handle: Any, *about: Any, **query: str) -> tuple[int, str]:
    with pytest.raises(Refused) as found:
        get(handle, *about, **query)
    return found.value.status, found.value.message


def test_a_host_with_its_drops_and_what_to_do(at: Pages) -> None:
    at.one.attachment.drop(Reason.DENIED, 9)
    at.one.attachment.drop(Reason.NO_ROUTE, 3, head=udp(), now=1.0)
    at.live._look()
    host = json.loads(get(at.pages.host, arguments={"id": "1"}).body)
    assert (host["host"], host["ns"], host["state"], host["sessions"]) == (
        "a",
        format_uuid(ONE),
        "up",
        [{"row": 1}],
    )
    (problem,) = host["problems"]
    assert (problem["code"], problem["remedy"]) == ("dropping", Reason.NO_ROUTE.remedy)
    assert "no-route" in problem["text"]
    assert [(row["reason"], row["count"]) for row in host["drops"]] == [("denied", 9), ("no-route", 3)]
    assert "udp" in host["drops"][1]["last"]["packet"]
    assert host["flows_note"]
    assert not at.taps.on


def test_a_tenant_neither_sees_nor_ends_what_is_another_ones(at: Pages) -> None:
    for handle in (at.pages.host, at.pages.curves, at.pages.kick, at.pages.drain):
        assert refused(handle, TENANT_ONE, {"id": "2"}) == refused(handle, None, {"id": "99"})
        assert refused(handle, TENANT_ONE, {"id": "2"})[0] == 404
    assert at.two.ended == []
    assert json.loads(get(at.pages.hosts, TENANT_ONE).body)["totals"]["up"] == 1
    get(at.pages.kick, TENANT_ONE, {"id": "1"})
    assert at.one.ended == ["kicked by t"]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "٣", "9" * 30])
def test_an_id_that_is_none(at: Pages, text: str) -> None:
    assert refused(at.pages.host, None, {"id": text})[0] == 404


def test_kick_and_drain_are_logged_with_who_did_it(at: Pages, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert get(at.pages.drain, Who("ada"), {"id": "1"}).body == {"sessions": 1}
    assert get(at.pages.kick, Who("ada"), {"id": "1"}).body == {"sessions": 1}
    assert (at.one.awaited, at.one.ended, at.two.ended) == (True, ["kicked by ada"], [])
    told = [text for text in caplog.messages if text.startswith("web API: ada (admin)")]
    assert [text.partition(": ")[2].split(": ")[1][:12] for text in told] == ["drain host a", "kick host a "]
    at.hub.leave(at.one)
    at.live._look()
    host = at.live.hosts.by_id[1]
    assert [what for _, what, _ in host.events] == ["up", "drained", "kicked", "down"]
    assert refused(at.pages.kick, None, {"id": "1"}) == (409, "host a is not connected")


def test_curves_begin_where_the_page_has_ended(at: Pages) -> None:
    for step in (1, 2, 3):
        at.live._look(keep=step)
    whole = get(at.pages.curves, None, {"id": "1"}).body
    assert (whole["step_s"], len(whole["rtt"])) == (10, 3)
    last = whole["start"] + 2 * whole["step_s"]
    assert get(at.pages.curves, None, {"id": "1"}, since=str(last)).body["rtt"] == []
    later = get(at.pages.curves, None, {"id": "1"}, since=str(last - 10)).body
    assert (later["start"], len(later["rtt"])) == (last, 1)


# --- flows


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def test_the_flows_that_carry_most_and_no_more_work_than_that() -> None:
    flows = Flows("a", ONE.hex())
    small, big = frame(udp()), frame(udp(payload=bytes(1000), dport=99))
    fate = Fate(FORWARDED, ONE.hex(), "a", "b")
    flows.take(1, fate, small + big, 0, len(small + big))
    flows.take(1, fate._replace(namespace=TWO.hex()), small, 0, len(small))
    flows.take(1, fate._replace(what=DROPPED), small, 0, len(small))
    flows.take(1, fate._replace(host="b", to="a"), small, 0, len(small))
    rows = flows.rows(0.5)
    assert [(row["dir"], row["dport"] == 99) for row in rows] == [("in", True), ("in", False), ("out", False)]
    assert rows[0]["bytes_s"] == 2 * (len(big) - 2)
    for when in range(MAX_FRAMES * 2):
        flows.take(10**6 * when, fate, small, 0, len(small))
    assert flows.seen <= MAX_FRAMES + 1


# --- routes


@pytest.fixture
def tables() -> Process:
    default = RouteTable(
        [*(entry(f"10.{n}.0.0/16", f"host-{n}") for n in range(9)), entry("fd00::/8", "host-1")]
    )
    return Process(default=default, own=RouteTable([entry("10.1.0.0/16", "b"), entry("10.1.2.0/24", "c")]))


def looks_at(tables: Process) -> Looks:
    return Looks(own_hubs(*tables.hubs.values(), tables=tables.tables), Shared())


def pages(tables: Process, limit: int, who: Who | None = None, **query: Any) -> list[str]:
    """The prefixes of all pages together; no page is longer than it may be."""
    handle = looks_at(tables).routes
    found: list[str] = []
    after: dict[str, str] = {}
    for _ in range(50):
        body = get(handle, who, limit=str(limit), **after, **query).body
        assert len(body["rows"]) <= limit or "." in str(body["next"])
        found += [row["prefix"] for row in body["rows"]]
        if body["next"] is None:
            return found
        after = {"after": body["next"]}
    raise AssertionError("no end")


EVERY = ["10.1.0.0/16", "10.1.2.0/24", *(f"10.{n}.0.0/16" for n in range(9)), "fd00::/8"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 11, 12, 13, 500])
def test_pages_of_any_length_are_all_routes_once(tables: Process, limit: int) -> None:
    assert pages(tables, limit) == EVERY


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("10.1.0.0/16", ["10.1.0.0/16", "10.1.2.0/24", "10.1.0.0/16"]),
        ("fd00::/7", ["fd00::/8"]),
        ("10.1.2.3", ["10.1.2.0/24", "10.1.0.0/16", "10.1.0.0/16"]),
        ("HOST-1", ["10.1.0.0/16", "fd00::/8"]),
        ("c", ["10.1.2.0/24"]),
        ("192.0.2.1", []),
        ("nobody", []),
    ],
)
def test_searches(tables: Process, q: str, found: list[str]) -> None:
    assert sorted(pages(tables, 3, q=q)) == sorted(found)


def test_a_prefix_that_is_none(tables: Process) -> None:
    with pytest.raises(ValueError, match=r"'10\.0\.0\.0/99' is no prefix"):
        pages(tables, 3, q="10.0.0.0/99")


def test_a_search_for_a_name_stops_and_goes_on(tables: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_route_pages, "SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(api_route_pages, "PART", 1)
    assert sorted(pages(tables, 500, q="host-")) == sorted(EVERY[2:])


def test_a_tenant_sees_its_own_table_only(tables: Process) -> None:
    assert pages(tables, 5, Who("t", TENANT, NS)) == EVERY[:2]
    assert pages(tables, 5, TENANT_ONE) == []


@pytest.mark.parametrize("after", ["x", "9-10.0.0.0/8", "-1-10.0.0.0/8", "0-10.0.0.0/99", "0-", "٣-a"])
def test_a_cursor_that_is_none(tables: Process, after: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        get(looks_at(tables).routes, after=after)
    with pytest.raises(ValueError, match="is no cursor"):
        get(looks_at(tables).routes, after=after, q="name")


def test_how_many_there_are(tables: Process) -> None:
    body = get(looks_at(tables).routes, q="10.1.0.0/16", limit="1").body
    assert (body["matching"], body["total"]) == (3, 12)
    assert body["rows"][0]["ns"] == format_uuid(NS)


def test_a_table_that_is_replaced_meanwhile(tables: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*about: Any) -> Any:
        raise RuntimeError("the table was changed meanwhile")

    monkeypatch.setattr(ctl_routes, "row", changed)
    assert refused(looks_at(tables).routes)[0] == 409


def test_gateways_are_those_that_are_connected(tables: Process) -> None:
    tables.connect("host-1")
    tables.connect("b", NS)
    handle = looks_at(tables).gateways
    assert [row["host"] for row in get(handle).body["gateways"]] == ["host-1", "b"]
    own = get(handle, Who("t", TENANT, NS)).body
    assert [row["host"] for row in own["gateways"]] == ["b"]


# --- drops


def test_drops_the_most_first_and_refusals_not_for_a_tenant() -> None:
    hub = FakeHub()
    one, two = hub.connect("a", ONE), hub.connect("b", TWO)
    one.attachment.drop(Reason.NO_ROUTE, 3)
    one.attachment.drop(Reason.DENIED, 7)
    two.attachment.drop(Reason.NO_ROUTE, 5)
    looks = Looks(own_hubs(hub), Shared())
    assert [row["count"] for row in json.loads(get(looks.drops).body)["drops"]] == [7, 5, 3]
    own = json.loads(get(looks.drops, TENANT_ONE).body)
    assert [row["host"] for row in own["drops"]] == ["a", "a"]
    assert refused(looks.drops, TENANT_ONE, ns=format_uuid(TWO))[0] == 403


def test_more_drops_than_are_listed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.api_x_look.MAX_DROPS", 2)
    hub = FakeHub()
    for number in range(5):
        hub.connect(f"h{number}").attachment.drop(Reason.NO_ROUTE, number + 1)
    looks = Looks(own_hubs(hub), Shared())
    body = json.loads(get(looks.drops).body)
    assert ([row["count"] for row in body["drops"]], body["more"]) == ([5, 4], 3)


def test_explain_asks_the_hub_where_the_host_is() -> None:
    one, two = FakeHub("one"), FakeHub("two", table=RouteTable([entry("10.0.0.0/24", "a")]))
    two.connect("a")
    looks = Looks(own_hubs(one, two), Shared())
    body = get(looks.explain, **{"from": "a", "to": "10.9.9.9"}).body
    assert (body["service"], body["delivered"]) == ("two", False)
    with pytest.raises(ValueError, match="two"):
        get(looks.explain, **{"from": "nobody", "to": "10.9.9.9"})
    with pytest.raises(ValueError, match="no IP address"):
        get(looks.explain, **{"from": "a", "to": "x"})


def test_a_tenant_is_told_nothing_of_the_default_table() -> None:
    rows = [entry("10.1.0.1/32", "a"), entry("10.2.0.0/16", "of-another")]
    hub = FakeHub(table=RouteTable(rows))
    hub.connect("a", ONE)
    looks = Looks(own_hubs(hub), Shared())
    asked = {"from": "a", "to": "10.2.0.9"}
    whole = json.dumps(get(looks.explain, **asked, ns=format_uuid(ONE)).body)
    assert "of-another" in whole
    body = get(looks.explain, TENANT_ONE, **asked).body
    assert [what for what, _ in body["lines"]] == [
        *("namespace", "own table", "source check", "destination", "verdict", "drops")
    ]
    assert not re.search(r"of-another|10\.2\.0\.0|10\.1\.0\.1", json.dumps(body))
    own = hub.domain.namespace(ONE)
    own.table = RouteTable([entry("10.3.0.0/24", "a")])
    lines = get(looks.explain, TENANT_ONE, **{"from": "a", "to": "10.3.0.9"}).body["lines"]
    assert ("own table", "10.3.0.0/24 to a") in lines
    assert "gateway a" in dict(lines)


# --- trace


def trace(taps: Taps, who: Who | None = None, **query: str) -> Any:
    return get(Traces(own_hubs(taps=taps)).trace, who, **query).body


def test_packets_in_batches_and_the_others_counted() -> None:
    taps = Taps(lambda: 5 * 10**9)
    events = trace(taps)
    assert (next(events), taps.on) == (b": \n\n", True)
    content = frame(udp())
    for _ in range(BATCH + 7):
        taps.saw(Fate(FORWARDED, NOBODY.hex(), "a", "b", "session x"), content, 0, len(content))
    found, skipped = next(events).decode().split("\n\n")[:2]
    rows = json.loads(found.partition("data: ")[2])["packets"]
    assert (len(rows), rows[0][:5]) == (BATCH, [5, "forwarded", "a", "b", "session x"])
    assert rows[0][6].startswith("udp ")
    assert json.loads(skipped.partition("data: ")[2]) == {"count": 7}
    events.close()
    assert not taps.on


def test_a_tenant_traces_its_own_packets_only() -> None:
    taps = Taps()
    events = trace(taps, TENANT_ONE)
    next(events)
    content = frame(udp())
    for namespace in (TWO, ONE):
        taps.saw(Fate(FORWARDED, namespace.hex(), "a", "b"), content, 0, len(content))
    assert next(events).count(b"udp") == 1
    events.close()


def test_a_wrong_filter_is_refused_with_a_hint_before_anything_begins() -> None:
    taps = Taps()
    with pytest.raises(Refused) as found:
        trace(taps, filter="hots 10.0.0.1")
    assert (found.value.status, found.value.hint != "") == (400, True)
    assert not taps.on


def test_a_login_that_ends_ends_the_trace() -> None:
    valid = [True]
    events = trace(Taps(), Who("v", valid=lambda: valid[0]))
    next(events)
    valid[0] = False
    watching = gevent.spawn(lambda: list(events))
    assert b"bye" in b"".join(watching.get(timeout=15))


def test_who_does_not_read_a_trace_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    content, gone = frame(udp()), Event()

    def read_nothing() -> None:
        watcher = watchers[0] = Watcher(Choice())
        watcher.stuck_at = 0.0
        try:
            Event().wait()
        finally:
            gone.set()

    watchers: dict[int, Watcher] = {}
    gevent.spawn(read_nothing)
    gevent.sleep(0)
    watchers[0].take(1, Fate(FORWARDED, NOBODY.hex()), content, 0, len(content))
    assert gone.wait(5)


def test_a_capture_is_a_file_that_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    taps = Taps(lambda: 1)
    events: Any = get(Traces(own_hubs(taps=taps)).capture, Who("ada"), seconds="1").body
    assert next(events)[:4] == b"\x0a\x0d\x0d\x0a"
    content = frame(udp())
    taps.saw(Fate(FORWARDED, NOBODY.hex(), "a", "b"), content, 0, len(content))
    blocks = b"".join(events)
    assert blocks.count(udp()) == 1
    assert any("capture packets" in text for text in caplog.messages)


def test_listeners_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.api_x_trace.MAX_LISTENERS", 1)
    traces = Traces(own_hubs())
    events: Any = get(traces.trace).body
    next(events)
    assert refused(traces.trace)[0] == 429
    events.close()
    assert get(traces.trace).streams


# --- the table of endpoints


def endpoints() -> Endpoints:
    hub = FakeHub()
    hub.connect("a")
    changes = SimpleNamespace(version=1)
    process: Any = SimpleNamespace(
        hubs=own_hubs(hub),
        changes=changes,
        confirmations=Confirmations(lambda: 1),
    )
    return Endpoints(process)


def test_the_page_and_the_document_have_every_endpoint() -> None:
    made = endpoints()
    page = (ROOT / "packaging/docs/watching.md").read_text()
    table = set(re.findall(r"`(GET|POST) (/x/[\w./]*)", page))
    assert {(one.method, one.path.replace("<id>", "ID")) for one in made.all} == table
    find = next(one for one in made.all if one.path == "/x/openapi.json")
    body = get(find.handle).body
    json.dumps(body)
    there = {(method.upper(), path) for path, methods in body["paths"].items() for method in methods}
    assert {(one.method, one.path.replace("<id>", "{id}")) for one in made.all} == there


def test_who_may_only_look_changes_nothing_and_a_tenant_sees_nothing_of_the_hub() -> None:
    made = endpoints()
    changing = [one for one in made.all if one.method != "GET"]
    assert changing
    assert not [one.path for one in changing if VIEWER in one.roles]
    of_the_hub = {
        "/x/status",
        "/x/cluster",
        "/x/config",
        "/x/config/difference",
        "/x/config/reload",
        "/x/confirm",
        "/x/undo",
    }
    assert {one.path for one in made.all if TENANT not in one.roles} == of_the_hub


def test_what_is_given_is_what_the_document_says() -> None:
    """The keys of each reply that needs no argument."""
    made = endpoints()
    for one in made.all:
        if (
            one.method == "GET"
            and one.kind.startswith("application/json")
            and one.gives
            and "<" not in one.path
        ):
            of_its_own = (
                "/x/cluster",
                "/x/config",
                "/x/config/difference",
                "/x/explain",
                "/x/enrolled",
                "/x/routes",
            )
            if one.path in of_its_own:
                continue  # they have tests of their own
            body = get(one.handle).body
            found = json.loads(body) if isinstance(body, bytes) else body
            assert set(one.gives["required"]) <= set(found), one.path
