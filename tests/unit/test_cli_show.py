"""What `status` and `drops` print for people of a hub with thousands of hosts: few lines, the right ones first."""

from __future__ import annotations

from typing import Any

import pytest

from lib import cli_columns, cli_show, cluster_view, ctl_order
from lib.cli_paper import MAX_LINES, Paper
from lib.cli_show import MAX_ROWS
from lib.ctl_order import Order

Row = dict[str, Any]
MANY = 10_000
ALL, FEW = Paper(None, False), Paper(None, False, MAX_ROWS)


def peer(number: int, received: int = 0, *problems: str) -> Row:
    return {
        "service": "s", "host": f"host-{number:05}", "namespace": cli_columns.NOBODY, "peer": "10.0.0.1:1",
        "address": "", "prefixes": [], "transport": "tcp", "software": "", "since_s": 1.0, "rtt_s": 0.0,
        "queue_bytes": 0, "queue_s": 0.0, "received_packets_per_s": 0, "received_bytes_per_s": received,
        "sent_packets_per_s": 0, "sent_bytes_per_s": 0, "drops": {}, "problems": [*problems],
    }  # fmt: skip


def client(number: int, *problems: str) -> Row:
    return {
        **peer(number, 0, *problems),
        "device": f"tun{number}",
        "addresses": [],
        "hub": None if problems else "hub",
    }


def reply(sessions: list[Row], clients: list[Row] | None = None, **more: Any) -> Row:
    hubs = [{"service": "s", "listen": ":8443", "transport": "tcp", "sessions": len(sessions)}]
    return {
        "software": "tunrouter", "pid": 1, "uptime_s": 1.0, "hubs": hubs, "sessions": sessions,
        "clients": clients or [], "tables": [], "refused": {}, **more,
    }  # fmt: skip


def hosts(page: list[str]) -> list[str]:
    return [line.split()[0] for line in page if line.startswith("host-")]


SESSIONS = [peer(number, number % 100, *(["queue"] if number == 4711 else [])) for number in range(MANY)]


def test_of_ten_thousand_sessions_those_with_problems_and_the_busiest_are_printed() -> None:
    page = cli_show._status(reply(SESSIONS), FEW)
    assert len(page) < MAX_ROWS + 10
    assert "10,000 sessions, 1 with problems (1 queue); 3.96 Mbit/s in, 0 bit/s out" in page
    found = hosts(page)
    assert (len(found), found[0]) == (MAX_ROWS, "host-04711")
    assert {int(one[-2:]) for one in found[1:]} == {99, 98}
    assert page[-1] == (
        "the first 200 of 10,000 sessions: those with problems, then the busiest (--all prints all, --host and --ns choose)"
    )


def test_a_hub_that_has_chosen_them_is_believed() -> None:
    """It has sent only the first ones, and totals of all."""
    first = Order(MAX_ROWS).first(SESSIONS, lambda row: row)
    told = reply(first, totals=ctl_order.totals(reply(SESSIONS)))
    assert cli_show._status(told, FEW)[2:] == cli_show._status(reply(SESSIONS), FEW)[2:]


def test_all_of_them_come_by_name() -> None:
    page = cli_show._status(reply([*reversed(SESSIONS)]), ALL)
    assert hosts(page) == [row["host"] for row in SESSIONS]
    assert not any("--all" in line for line in page)


@pytest.mark.parametrize("on", [ALL, FEW])
def test_as_many_as_there_is_room_for_come_by_name(on: Paper) -> None:
    page = cli_show._status(reply([*reversed(SESSIONS[:MAX_ROWS])]), on)
    assert hosts(page) == [row["host"] for row in SESSIONS[:MAX_ROWS]]
    assert not any("the first" in line or "in all" in line for line in page)


def test_clients_that_are_away_come_first() -> None:
    clients = [client(number, *(["away"] if number == 777 else [])) for number in range(1000)]
    page = cli_show._status(reply([], clients), FEW)
    assert "1,000 clients, 1 with problems (1 away); 0 bit/s in, 0 bit/s out" in page
    assert (len(hosts(page)), hosts(page)[0]) == (MAX_ROWS, "host-00777")


def test_of_each_table_and_each_kind_of_lines_only_some_are_printed() -> None:
    """Whatever there may be thousands of."""
    many = range(1000)
    source = {"kind": "file", "name": "f", "read_s": 1.0, "error": "", "failing_s": None}
    table = {"kind": "router", "rows": 1, "sources": [source], "plugin": None}
    hub = {"listen": ":1", "transport": "tcp", "sessions": 0, "warnings": ["wrong"] * 100}
    far = {"received_packets": 0, "sent_packets": 0, "drops": {}}
    entry = {"address": "a", "sd": "sd0", "registered": 0, "sessions": 0, "hubs": [{"hub": "h", **far}]}
    told = reply(
        [],
        hubs=[{**hub, "service": f"s{number}"} for number in many],
        entrypoints=[{**entry, "service": f"s{number}"} for number in many],
        tables=[{**table, "name": f"r{number}"} for number in many],
        refused={f"s{number}": {"late": 1} for number in many},
    )
    page = cli_show._status(told, FEW)
    assert len(page) < 2 * MAX_ROWS + 4 * MAX_LINES + 20
    assert "and 980 more lines like these; --all prints them" in page
    assert "and 800 more tables; --all prints them" in page
    assert "and 800 more hubs; --all prints them" in page
    whole = cli_show._status(told, ALL)
    assert len(whole) > 1000 * 5 + 100 * 1000
    assert not any("--all" in line for line in whole)


def test_of_many_hubs_of_a_cluster_those_with_problems_come_first() -> None:
    row = {
        "here": False, "live": True, "hosts": 1, "sessions": 1, "rtt_s": None, "software": "", "up_s": 1.0,
        "heard_s": 1.0, "address": "a", "error": "",
    }  # fmt: skip
    states = [cluster_view.GOOD] * 900 + ["gone"] * 5
    hubs = [{**row, "name": f"hub-{number:03}", "state": state} for number, state in enumerate(states)]
    total = {"live": 900, "hubs": 905, "hosts": 905, "sessions": 905, "software": {}}
    told = {"cluster": "hub-1", "registry": "r", "error": "", "hubs": hubs, "total": total}
    page = cli_show._cluster_view(told, FEW)
    assert [line.split()[0] for line in page[3:9]] == [*(f"hub-{n}" for n in range(900, 905)), "hub-000"]
    assert page[-1] == "and 705 more hubs; --all prints them"
    assert len(page) < MAX_ROWS + 10


def test_of_many_drops_those_with_most_packets_are_printed_and_every_remedy() -> None:
    row = {"namespace": cli_columns.NOBODY, "peer": "", "about": "about", "remedy": "remedy", "last": None}
    drops = [{**row, "host": f"host-{n:05}", "reason": "no-route", "count": n + 1} for n in range(MANY)]
    drops.append({**row, "host": "host-x", "reason": "denied", "count": 1})
    late = {
        "namespace": cli_columns.NOBODY,
        "destination": "10.0.0.1",
        "last_s": 1.0,
        "reasons": {"no-route": 1},
    }
    told = {"drops": drops, "destinations": [late] * MANY, "refusals": []}
    page = cli_show._drops(told, FEW)
    assert len(page) < 2 * MAX_ROWS + 20
    assert "host-09999" in page[1]
    assert page.count("and 9,800 more rows; --all prints them") == 1
    assert page.count("and 9,801 more rows; --all prints them") == 1
    assert any(line.startswith("  denied: about") for line in page), "what to do is said of all reasons"
    assert len(cli_show._drops(told, ALL)) > 2 * MANY


@pytest.mark.parametrize(
    ("words", "most"), [({}, MAX_ROWS), ({"--all": True}, None), ({"--json": True}, None)], ids=str
)
def test_what_is_asked_for(words: Row, most: int | None) -> None:
    """Programs get all, as ever; people the first rows, and the hub sends no more."""
    arguments = {"--host": None, "--ns": None, "--cluster": False, "--all": False, "--json": False, **words}
    assert cli_show._request("status", arguments).get("most") == most
