"""Replies of several workers merged into one: sums, rows of all, the row that says what is wrong."""

from __future__ import annotations

from typing import Any

from lib import ctl_order, worker_replies
from lib.ctl_order import SUMS, Order

Row = dict[str, Any]


def hub(sessions: int, *warnings: str) -> Row:
    return {"service": "s", "listen": ":1", "sessions": sessions, "unnamed_clients": 1, "warnings": warnings}


def table(error: str = "") -> Row:
    return {"kind": "router", "name": "r", "rows": 3, "plugin": None, "sources": [{"error": error}]}


def task(failures: int, failing: float | None, error: str = "") -> Row:
    return {"task": "t", "failures": failures, "error": error, "failing_s": failing, "ended": False}


def status(**more: Any) -> Row:
    whole: Row = {"pid": 1, "hubs": [hub(2, "odd")], "sessions": [{"host": "a"}], "refused": {"s": {"x": 1}}}
    whole |= {"tables": [table()], "tasks": [task(0, None)], "policy": {"ran_s": None, "holds": 0}}
    whole |= {"log": [{"output": "stderr", "waiting": 1, "lost": 0, "error": ""}]}
    return whole | more


def test_status() -> None:
    other = status(
        pid=2,
        hubs=[hub(3, "odd", "odder")],
        sessions=[{"host": "b"}],
        refused={"s": {"x": 2, "y": 1}},
        tables=[table("gone")],
        tasks=[task(2, 1.5, "why")],
        policy={"ran_s": 1.0, "holds": 4},
        log=[{"output": "stderr", "waiting": 2, "lost": 5, "error": "full"}],
    )
    merged = worker_replies.status([status(), other])
    (service,) = merged["hubs"]
    assert (service["sessions"], service["unnamed_clients"], service["warnings"]) == (5, 2, ["odd", "odder"])
    assert merged["sessions"] == [{"host": "a"}, {"host": "b"}]
    assert merged["refused"] == {"s": {"x": 3, "y": 1}}
    assert merged["tables"] == [table("gone")], "what fails in one worker is seen"
    assert merged["tasks"] == [task(2, 1.5, "why")]
    assert merged["policy"] == {"ran_s": 1.0, "holds": 4}, "one worker runs the tests"
    assert merged["log"] == [{"output": "stderr", "waiting": 3, "lost": 5, "error": "full"}]
    member = status(clusters=[{"name": "hub-1"}])
    assert worker_replies.status([status(clusters=[]), other, member])["clusters"] == [{"name": "hub-1"}]
    assert worker_replies.status([other, status()])["tables"] == [table("gone")]


def entrypoint(sessions: int, asked_for: int, drops: Row, **hubs: int) -> Row:
    def counted(received: int, drops: Row) -> Row:
        sent = {"sent_packets": 1, "sent_bytes": 10}
        return {"received_packets": received, "received_bytes": 10 * received, **sent, "drops": drops}

    return {
        "service": "s",
        "address": "a:1",
        "sd": "d",
        "allow": [],
        "hosts_asked_for": asked_for,
        "sessions": sessions,
        "registered": sessions,
        **counted(0, drops),
        "hubs": [{"hub": name, **counted(received, {"x": received})} for name, received in hubs.items()],
    }


def test_an_entrypoint_is_one_whichever_process_has_what_of_it() -> None:
    one, other = entrypoint(0, 4, {}, b=3), entrypoint(0, 5, {"y": 1}, b=4, c=1)
    merged = worker_replies.status(
        [status(entrypoints=[each]) for each in (one, other, entrypoint(7, 0, {"y": 2, "z": 1}))]
    )
    (row,) = merged["entrypoints"]
    assert (row["sessions"], row["registered"], row["hosts_asked_for"]) == (7, 7, 5)
    assert (row["received_packets"], row["sent_packets"], row["drops"]) == (0, 3, {"y": 3, "z": 1})
    assert [(hub["hub"], hub["received_bytes"], hub["drops"]) for hub in row["hubs"]] == [
        ("b", 70, {"x": 7}),
        ("c", 10, {"x": 1}),
    ]
    assert worker_replies.status([status()])["entrypoints"] == []


def drop(count: int, ago: float | None, host: str = "(ended)") -> Row:
    last = {"packet": f"{ago}", "ago_s": ago} if ago is not None else None
    return {"namespace": "n", "host": host, "peer": "", "reason": "no-route", "count": count, "last": last}


def test_drops() -> None:
    lost = {"namespace": "n", "destination": "10.0.0.9", "reasons": {"no-route": 2}, "last_s": 5.0}
    one = {"drops": [drop(1, 9.0), drop(7, 1.0, "a")], "destinations": [lost], "refusals": []}
    refused = {"service": "s", "reason": "rate", "count": 4, "last": {"ago_s": 3.0, "peer": "p"}}
    other = {
        "drops": [drop(2, 4.0)],
        "destinations": [lost | {"last_s": 2.0}],
        "refusals": [refused, refused],
    }
    merged = worker_replies.drops([one, other, {"refusals": [refused]}])
    assert merged["drops"] == [drop(3, 9.0) | {"last": drop(2, 4.0)["last"]}, drop(7, 1.0, "a")]
    assert merged["destinations"] == [lost | {"reasons": {"no-route": 4}, "last_s": 2.0}]
    assert merged["refusals"] == [refused | {"count": 12}]
    assert worker_replies.drops([{"drops": [drop(1, None)]}, {"drops": [drop(1, 2.0)]}])["drops"][0]["last"]


def health(*problems: str, wrong: str = "") -> Row:
    hubs = [{"service": "s", "listens": not wrong, "problem": wrong}]
    return {
        "healthy": not problems,
        "pid": 9,
        "problems": list(problems),
        "warnings": [],
        "hubs": hubs,
        "clients": [],
    }


def test_health() -> None:
    well = worker_replies.health([health(), health()], [], 7)
    assert (well["healthy"], well["pid"], well["problems"]) == (True, 7, [])
    ill = worker_replies.health([health(), health("a", wrong="deaf")], ["worker 3 is not there"], 7)
    assert (ill["healthy"], ill["problems"]) == (False, ["worker 3 is not there", "a"])
    assert ill["hubs"][0]["problem"] == "deaf"
    assert worker_replies.health([], ["none is there"], 7)["healthy"] is False


def test_hosts() -> None:
    """All workers have one list; each knows who is connected to it."""

    def host(name: str, namespace: str, connected: bool, seen: float) -> Row:
        return {"host": name, "namespace": namespace, "connected": connected, "seen": seen}

    lists = [
        {"hosts": [host("a", "n", False, 5.0), host("a", "m", False, 0.0)], "invitations": ["one"]},
        {"hosts": [host("a", "n", True, 9.0), host("a", "m", False, 7.0)], "invitations": ["one"]},
    ]
    found = worker_replies.hosts(lists)
    assert found["hosts"] == [host("a", "n", True, 9.0), host("a", "m", False, 7.0)]
    assert found["invitations"] == ["one"]


def test_rows_of_a_table_are_a_worker_s_and_its_sources_those_of_who_reads_them() -> None:
    def table(rows: int, *errors: str) -> Row:
        sources = [{"name": "s", "error": error} for error in errors]
        return {"kind": "router", "name": "r", "rows": rows, "plugin": None, "sources": sources}

    for error in ("", "refused"):
        assert worker_replies.tables([table(7), table(7), table(0, error)]) == [table(7, error)]


def test_the_first_sessions_of_all_workers_are_chosen_of_the_first_of_each() -> None:
    def peer(host: str, received: int, *problems: str) -> Row:
        return {
            **dict.fromkeys(SUMS, 0),
            "host": host,
            "received_bytes_per_s": received,
            "problems": problems,
        }

    order = Order(2)
    each = [
        [peer("a", 1), peer("b", 7), peer("c", 5)],
        [peer("d", 9), peer("e", 0, "queue"), peer("f", 3)],
        [],
    ]
    replies = [
        status(
            sessions=order.first(rows, lambda row: row),
            totals=ctl_order.totals({"sessions": rows, "clients": []}),
        )
        for rows in each
    ]
    found = worker_replies.status(replies, order)
    assert [row["host"] for row in found["sessions"]] == ["e", "d"]
    total = found["totals"]
    assert (total["sessions"], total["with_problems"], total["received_bytes_per_s"]) == (6, 1, 25)
