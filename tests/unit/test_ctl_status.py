"""What `status` tells of a process: of which hosts, of its log, and of what a client has set on its host."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import monkey

from lib import cli_columns, cli_show, ctl_encode, ctl_filter, ctl_status, log_setup, metrics, service_threads
from lib.cli_paper import Paper
from lib.client_exit import Exits
from lib.client_killswitch import _Member
from lib.hub_identity import Identities
from lib.ids import format_uuid
from lib.log_output import Descriptor, Output
from tests.support.schema import check
from tests.unit import test_ctl_session


def tenant(number: int) -> Any:
    return SimpleNamespace(id=bytes(15) + bytes([number]))


def uuid(number: int) -> str:
    return format_uuid(bytes(15) + bytes([number]))


ONE, TWO = tenant(1), tenant(2)


@pytest.mark.parametrize(
    ("request_", "fitting"),
    [
        ({}, "a1 b1 a2"),
        ({"host": "", "ns": ""}, "a1 b1 a2"),
        ({"host": "a"}, "a1 a2"),
        ({"ns": uuid(1)}, "a1 b1"),
        ({"host": "a", "ns": uuid(2).upper()}, "a2"),
        ({"host": "A"}, ""),
    ],
    ids=str,
)
def test_which_hosts_a_request_wants(request_: dict[str, object], fitting: str) -> None:
    wanted = ctl_filter.read(request_)
    hosts = [("a", ONE), ("b", ONE), ("a", TWO)]
    found = [f"{host}{where.id[-1]}" for host, where in hosts if wanted.fits(host, where.id)]
    assert " ".join(found) == fitting
    assert bool(wanted) is (len(found) < len(hosts))


def test_a_request_with_a_wrong_namespace_is_an_error() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        ctl_filter.read({"ns": "nonsense"})


def test_a_directory_service_that_hangs_costs_a_second_and_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the user comes from LDAP or the like; packets pass meanwhile."""
    door = monkey.get_original("_thread", "allocate_lock")()
    door.acquire()
    monkeypatch.setattr(service_threads._state, "pool", None)
    monkeypatch.setattr(ctl_status, "NAME_SECONDS", 0.05)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: door.acquire())
    service_threads.begin()
    try:
        passed = gevent.spawn_later(0.01, lambda: True)
        assert ctl_status._user() == str(os.geteuid())
        assert passed.ready()
    finally:
        door.release()


def test_a_log_that_nobody_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `status` and in the metrics, for the log itself cannot tell it."""
    reading, writing = os.pipe()
    output = Output("stderr", Descriptor(writing), most=200_000)
    monkeypatch.setattr(log_setup, "_standards", {"stderr": output})
    tables: Any = SimpleNamespace(all=list, enrolled=SimpleNamespace(all=list))
    while not output.lost:
        output.put(b"." * 1000 + b"\n")
    try:
        reply = ctl_status.status({}, {}, tables, 0.0, "/run/x", {})
        read = json.loads(b"".join(ctl_encode.pieces(reply)))
        check(read, "status")
        waiting = read["log"][-1]["waiting"]
        assert read["log"][-1] == {"output": "stderr", "waiting": waiting, "lost": 1, "error": ""}
        assert (
            cli_show._status(read, Paper(None, False))[-1]
            == f"log to stderr: {waiting} lines to be read, 1 lost so far"
        )
        scraped = b"".join(metrics.exposition(metrics.Seen({}, {}, tables)))
        assert b'tunrouter_log_lost_lines_total{output="stderr"} 1.0\n' in scraped
    finally:
        os.close(reading)
        output.finish()
        os.close(writing)


def exit_client(table: str = "") -> Any:
    """A client that is to be an exit; its table of masquerading is `table`."""
    settings = SimpleNamespace(nat=True, killswitch=False)
    return SimpleNamespace(settings=settings, exit_tables={"nat": table, "killswitch": ""})


def test_of_nat_and_killswitch_the_table_is_told_while_it_is_set() -> None:
    row = ctl_status._exit(exit_client("tunrouter_nat_tun0"))
    off = {"on": False, "table": None}
    assert row == {"nat": {"on": True, "table": "tunrouter_nat_tun0"}, "killswitch": off}
    assert ctl_status._exit(exit_client()) == {"nat": {"on": True, "table": None}, "killswitch": off}
    columns = {column.title: column for column in cli_columns.CLIENTS}
    nat, killswitch = columns["nat"], columns["killswitch"]
    assert (nat.text(row), killswitch.text(row)) == ("tunrouter_nat_tun0", "off")
    assert nat.text(ctl_status._exit(exit_client())) == "on, but not set"
    assert nat.text({}) == "-", "a process of an older version"


def test_a_process_knows_which_tables_are_a_client_s() -> None:
    exits = Exits()
    assert exits.tables_of("one") == {"nat": "", "killswitch": ""}
    exits.nat._exits["one"] = "tun0"
    exits.killswitch._members["two"] = _Member()
    assert exits.tables_of("one") == {"nat": "tunrouter_nat_tun0", "killswitch": ""}
    assert exits.tables_of("two") == {"nat": "", "killswitch": "tunrouter_killswitch_host"}


class Session:
    """A session of a hub, which counts in the last of `steps` that somebody has looked at it."""

    def __init__(self, host: str, steps: list[int]) -> None:
        self.attachment = SimpleNamespace(namespace=ONE, host=host)
        self._steps = steps

    @property
    def verdict(self) -> Any:
        self._steps[-1] += 1
        return SimpleNamespace(table_line="", twice_line="wrong")


@pytest.mark.parametrize(("hubs", "sessions"), [(300, 0), (1, 5000), (20, 400), (100, 100)])
def test_no_piece_of_status_is_about_many(hubs: int, sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces packets have their turn: neither many hubs nor many sessions are one step."""
    steps = [0]
    monkeypatch.setattr(ctl_status, "session_rows", lambda *more: iter(()))
    tables: Any = SimpleNamespace(all=list, enrolled=SimpleNamespace(all=list))
    served: dict[str, Any] = {}
    for number in range(hubs):
        name, transport = f"h{number}", SimpleNamespace(kind="tcp")
        settings: Any = SimpleNamespace(name=name, host="", port=1, transport=transport)
        found = {at: Session(f"{name}-{at}", steps) for at in range(sessions)}
        served[name] = SimpleNamespace(
            settings=settings, unnamed=0, refused={}, identities=Identities(settings), sessions=found
        )
    text = b""
    for piece in ctl_encode.pieces(ctl_status.status(served, {}, tables, 0.0, "", {})):
        text += piece
        steps.append(piece.count(b'"listen"'))
    read = json.loads(text)
    assert [hub["service"] for hub in read["hubs"]] == list(served)
    assert all(hub["warnings"] == (["wrong"] if sessions else []) for hub in read["hubs"])
    assert sum(steps) == hubs * (sessions + 1)
    assert max(steps) <= 300


def test_of_thousands_of_sessions_the_first_ones_are_listed_while_packets_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctl_status, "time", SimpleNamespace(monotonic=lambda: test_ctl_session.NOW))
    many, most = 5000, 20
    sessions = [
        test_ctl_session.session(f"host-{number}", number, *((9, 1.0) if number == 7 else (0, 0.0)))
        for number in range(many)
    ]
    settings: Any = SimpleNamespace(name="s", host="", port=1, transport=SimpleNamespace(kind="tcp"))
    hub: Any = SimpleNamespace(
        settings=settings,
        unnamed=0,
        refused={},
        identities=Identities(settings),
        sessions=dict(enumerate(sessions)),
    )
    tables: Any = SimpleNamespace(all=list, enrolled=SimpleNamespace(all=list))
    turns = 0

    def count_turns() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0)
            turns += 1

    others = gevent.spawn(count_turns)
    try:
        gevent.sleep(0)
        before = turns
        reply = ctl_status.status({"s": hub}, {}, tables, 0.0, "", {"most": most})
        assert turns - before > 2, "others had turns while the sessions were looked at"
    finally:
        others.kill()
    text = b"".join(ctl_encode.pieces(reply))
    assert len(text) < 1000 * (most + 5)
    read = json.loads(text)
    check(read, "status")
    assert [row["host"] for row in read["sessions"]] == [
        "host-7", *(f"host-{number}" for number in range(many - 1, many - most, -1)),
    ]  # fmt: skip
    total = read["totals"]
    assert (total["sessions"], total["with_problems"], total["problems"]) == (many, 1, {"queue": 1})
    assert total["received_bytes_per_s"] == sum(range(many))
    by_host = ctl_status.status(
        {"s": hub}, {}, tables, 0.0, "", {"most": 2, "sort": "host", "host": "host-42"}
    )
    read = json.loads(b"".join(ctl_encode.pieces(by_host)))
    assert ([row["host"] for row in read["sessions"]], read["totals"]["sessions"]) == (["host-42"], 1)
