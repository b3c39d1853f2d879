"""Which sessions kick and drain are for: one tenant's, never by accident those of another."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import monkey

from lib import cli_show, ctl_encode, ctl_filter, ctl_status, log_setup, metrics, service_threads
from lib.cli_show import Paper
from lib.ctl_status import MAX_NAMED, sessions_of
from lib.ids import format_uuid
from lib.log_output import Descriptor, Output
from tests.support.schema import check


def session(host: str, namespace: object) -> Any:
    return SimpleNamespace(attachment=SimpleNamespace(host=host, namespace=namespace))


def tenant(number: int) -> Any:
    return SimpleNamespace(id=bytes(15) + bytes([number]))


def uuid(number: int) -> str:
    return format_uuid(bytes(15) + bytes([number]))


def hub(*sessions: Any) -> Any:
    return SimpleNamespace(sessions=dict(enumerate(sessions)))


ONE, TWO, SAME_NUMBER = tenant(1), tenant(2), tenant(1)
HUBS = {
    "tcp": hub(session("a", ONE), session("b", ONE), session("b", TWO), session("d", ONE)),
    "wss": hub(session("a", ONE), session("d", SAME_NUMBER)),  # of one domain with tcp, but for the last one
}


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ({"host": "a"}, 2),
        ({"host": "a", "ns": uuid(1)}, 2),
        ({"host": "a", "service": "wss"}, 1),
        ({"host": "b", "ns": uuid(2)}, 1),
        ({"host": "b", "all": True}, 2),
        ({"host": "d", "ns": uuid(1), "service": "tcp"}, 1),
        ({"host": "d", "all": True}, 2),
    ],
    ids=str,
)
def test_what_is_meant(request_: dict[str, object], count: int) -> None:
    assert len(sessions_of(HUBS, request_)) == count


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"host": "b"}, f"2 namespaces have a host 'b': --ns {uuid(1)} --service tcp, --ns {uuid(2)} --service tcp; say"),
        ({"host": "d", "ns": uuid(1)}, f"--ns {uuid(1)} --service tcp, --ns {uuid(1)} --service wss; say which one, or --all"),
        ({"host": "c", "all": True}, "no live session of host 'c'"),
        ({"host": "a", "ns": uuid(2)}, f"no live session of host 'a' in namespace {uuid(2)}"),
        ({"host": "b", "service": "wss"}, "no live session of host 'b' at wss"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_clear(request_: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match="host") as refused:
        sessions_of(HUBS, request_)
    assert why in str(refused.value)


def test_many_are_counted() -> None:
    hubs = {"s": hub(*(session("a", tenant(number)) for number in range(200)))}
    with pytest.raises(ValueError, match=f"200 namespaces have .*, {200 - MAX_NAMED} more; say") as refused:
        sessions_of(hubs, {"host": "a"})
    assert len(str(refused.value)) < 1000


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
