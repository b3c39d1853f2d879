"""The row of a session: fields are made as they are read, and what counts as a problem."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lib import cli_columns, ctl_session
from lib.counter_rates import Rates
from lib.counters import Traffic
from lib.ctl_session import SessionRow
from lib.forward_drop_reasons import Reason
from lib.session_problems import DROP_SECONDS, LOSSY, QUEUE_SECONDS
from tests.support.schema import schema

NOW = 1000.0
TENANT: Any = SimpleNamespace(id=bytes(15) + b"\1", tables=())


class Sender:
    """What waits for the client, and its one connection."""

    def __init__(self, queued: int, waits: float) -> None:
        figures = SimpleNamespace(rtt=0.001, sent=1, received=2, rate=0)
        self.stream = SimpleNamespace(congestion="bbr", paths=0, peer="10.0.0.1:5", figures=lambda: figures)
        self.queued, self._waits, self.silent_at = queued, waits, 0.0
        self.lanes = [SimpleNamespace(stream=self.stream)]

    def waits(self, now: float) -> float:
        return self._waits


def session(
    host: str = "host-1", received: int = 0, queued: int = 0, waits: float = 0.0, loss: float | None = None
) -> Any:
    """A session that has received so many bytes a second for ten seconds."""
    traffic, rates = Traffic(received_bytes=10 * received), Rates(NOW - 10)
    figures = SimpleNamespace(
        state="good", why="", far="", rtt=0.001, jitter=0.0, loss=loss, mtu=1400, sent=0, received=0
    )
    return SimpleNamespace(
        attachment=SimpleNamespace(
            namespace=TENANT,
            host=host,
            is_here=True,
            peer="10.0.0.1:5",
            since=NOW - 10,
            offloads=0,
            traffic=traffic,
        ),
        hub=SimpleNamespace(
            settings=SimpleNamespace(name="hub", transport=SimpleNamespace(kind="tcp")),
            datagrams=SimpleNamespace(why_none=lambda session: ""),
        ),
        stream=SimpleNamespace(via=""),
        request=SimpleNamespace(source="10.1.0.1"),
        sender=Sender(queued, waits),
        control=SimpleNamespace(software="tunrouter 0.1.0", liveness=SimpleNamespace(rtt=0.002)),
        channel=SimpleNamespace(figures=lambda now: figures) if loss is not None else None,
        rates=rates,
        verdict=SimpleNamespace(twice_line="", table_line=""),
    )


def test_a_row_has_every_field_of_the_schema_and_one_that_is_read_is_the_same() -> None:
    one = session(received=70, loss=0.001)
    row = ctl_session.session_row(one, ["10.1.0.0/16"], NOW)
    found = schema()["$defs"]["session"]
    assert set(row) == set(found["required"]) | {"title"}
    read = SessionRow(one, NOW, ["10.1.0.0/16"])
    assert dict(read) == row
    assert (len(read), "peer" in read, "device" in read) == (len(row), True, False)
    assert (read.get("hub", "none"), row["received_bytes_per_s"]) == ("none", 70)
    assert not list(
        Draft202012Validator({"$ref": "#/$defs/session", "$defs": schema()["$defs"]}).iter_errors(row)
    )


def test_only_what_is_read_is_made() -> None:
    """To ask the kernel for ten thousand connections' figures, for one column, would take long."""

    def refuse() -> Any:
        raise AssertionError

    one = session(received=5)
    one.sender.stream.figures = refuse
    row = SessionRow(one, NOW)
    assert (row["host"], row["received_bytes_per_s"], row["drops"], row["problems"]) == ("host-1", 5, {}, [])
    with pytest.raises(AssertionError):
        row["lanes"]


@pytest.mark.parametrize("column", cli_columns.SESSIONS, ids=lambda column: column.title)
def test_every_column_sorts_rows_that_are_made_as_they_are_read(column: Any) -> None:
    one = session(received=5, queued=3, waits=0.1, loss=0.01)
    assert column.key(SessionRow(one, NOW)) == column.key(ctl_session.session_row(one, (), NOW))


def dropped(reason: Reason, ago: float) -> Any:
    one = session()
    one.attachment.traffic.drop(reason, head=b"E", now=NOW - ago)
    return one


def silent(ago: float) -> Any:
    one = session(queued=100, waits=QUEUE_SECONDS)
    one.sender.silent_at = NOW - ago
    return one


def test_since_when_a_session_is_silent() -> None:
    assert ctl_session.session_row(silent(12.0), (), NOW)["silent_s"] == 12.0
    assert ctl_session.session_row(session(), (), NOW)["silent_s"] is None
    (column,) = (one for one in cli_columns.SESSIONS if one.title == "problems")
    assert column.text(ctl_session.session_row(silent(12.0), (), NOW)) == "silent for 12 s, queue"


def named(**lines: str) -> Any:
    one = session()
    one.verdict = SimpleNamespace(**{"twice_line": "", "table_line": "", **lines})
    return one


@pytest.mark.parametrize(
    ("one", "codes"),
    [
        (session(), []),
        (session(queued=100, waits=QUEUE_SECONDS / 2), []),
        (session(queued=100, waits=QUEUE_SECONDS), ["queue"]),
        (session(loss=LOSSY), []),
        (session(loss=2 * LOSSY), ["loss"]),
        (dropped(Reason.NO_ROUTE, 1), ["dropping"]),
        (dropped(Reason.NO_ROUTE, DROP_SECONDS + 1), []),
        (dropped(Reason.DENIED, 1), []),
        (silent(1.0), ["silent", "queue"]),
        (named(twice_line="two machines"), ["conflict"]),
        (named(table_line="no route"), ["name"]),
        (named(twice_line="two machines", table_line="no route"), ["conflict", "name"]),
    ],
)
def test_problems(one: Any, codes: list[str]) -> None:
    found = ctl_session.session_row(one, (), NOW)["problems"]
    assert found == codes
    assert set(found) <= set(schema()["$defs"]["problems"]["items"]["enum"])
