"""The replies of several workers to one request of the control socket, merged into one.

Knows: which rows are put one after the other, which are one and the same, and what is summed.
Refuses to know: how workers are asked (worker_control), what rows say (ctl_status, ctl_drops, ctl_health).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lib import ctl_order
from lib.ctl_order import Order

Row = dict[str, Any]
MAX_PROBLEMS = 100
_SUMMED_OF_HUB = ("sessions", "unnamed_clients")
_COUNTS = "received_packets", "received_bytes", "sent_packets", "sent_bytes"


def status(replies: Sequence[Row], order: Order | None = None) -> Row:
    """One `status` of those of all workers; what is the process's own (its pid, …) is that of the first.

    With an order, in which each worker has given its first sessions, those that come first of them all.
    """
    merged = dict(replies[0])
    merged["hubs"] = one_for_each(_rows(replies, "hubs"), ("service",), _hub)
    merged["sessions"] = list(_rows(replies, "sessions"))
    if order is not None:
        merged["sessions"] = order.first(merged["sessions"], lambda row: row)
        merged["totals"] = ctl_order.summed(reply["totals"] for reply in replies)
    merged["refused"] = _refused(replies)
    merged["tables"] = tables(_rows(replies, "tables"))
    merged["tasks"] = tasks(_rows(replies, "tasks"))
    merged["troubles"] = one_for_each(_rows(replies, "troubles"), ("event", "text"), _trouble)
    merged["log"] = one_for_each(_rows(replies, "log"), ("output",), _output)
    merged["entrypoints"] = one_for_each(_rows(replies, "entrypoints"), ("service",), _entrypoint)
    merged["clusters"] = list(_rows(replies, "clusters"))  # the cluster's process has the one
    policies = [reply["policy"] for reply in replies if reply.get("policy", {}).get("ran_s") is not None]
    merged["policy"] = policies[0] if policies else merged.get("policy")
    return merged


def drops(replies: Sequence[Row]) -> Row:
    """One `drops` of those of all workers."""
    counted = _rows(replies, "drops")
    refusals = _rows(replies, "refusals")
    return {
        "drops": one_for_each(counted, ("namespace", "host", "peer", "reason"), count),
        "destinations": one_for_each(
            _rows(replies, "destinations"), ("namespace", "destination"), _destination
        ),
        "refusals": one_for_each(refusals, ("service", "reason"), count),
    }


def hosts(replies: Sequence[Row]) -> Row:
    """One `hosts` of those of all workers, which have one list: a host is connected that is so anywhere."""
    rows = one_for_each(_rows(replies, "hosts"), ("host", "namespace"), _enrolled)
    return {"hosts": rows, "invitations": replies[0]["invitations"]}


def health(replies: Sequence[Row], more: Sequence[str], pid: int) -> Row:
    """One `health` of those of all workers, with more problems than those of theirs."""
    problems = list(dict.fromkeys([*more, *(one for reply in replies for one in reply["problems"])]))
    return {
        **(replies[0] if replies else {"warnings": [], "hubs": [], "clients": []}),
        "healthy": not problems,
        "pid": pid,
        "problems": problems[:MAX_PROBLEMS],
        "warnings": list(dict.fromkeys(one for reply in replies for one in reply["warnings"])),
        "hubs": one_for_each(_rows(replies, "hubs"), ("service",), _listening),
    }


def one_for_each(rows: Iterable[Row], keys: Sequence[str], merge: Callable[[Row, Row], Row]) -> list[Row]:
    """Rows that have the same values of these keys, merged into one row; in the order of the first ones."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(str(row.get(name)) for name in keys)
        found[key] = merge(found[key], row) if key in found else row
    return list(found.values())


def tables(rows: Iterable[Row]) -> list[Row]:
    """Rows of tables, those of one table merged into one."""
    return one_for_each(rows, ("kind", "name"), _table)


def tasks(rows: Iterable[Row]) -> list[Row]:
    """Rows of tasks, those of one name merged into one."""
    return one_for_each(rows, ("task",), _task)


def _rows(replies: Sequence[Row], name: str) -> Iterable[Row]:
    return (row for reply in replies for row in reply.get(name, ()))


def _hub(one: Row, other: Row) -> Row:
    sums = {name: one[name] + other[name] for name in _SUMMED_OF_HUB}
    return {**one, **sums, "warnings": list(dict.fromkeys([*one["warnings"], *other["warnings"]]))}


def _listening(one: Row, other: Row) -> Row:
    return other if other["problem"] and not one["problem"] else one


def _table(one: Row, other: Row) -> Row:
    """The rows that the first one counts, the sources of the process that reads them, a plugin that fails."""
    row = other if _fails(other) and not _fails(one) else one
    return {**row, "rows": one["rows"], "sources": row["sources"] or one["sources"] or other["sources"]}


def _fails(row: Row) -> bool:
    asked = [row["plugin"]] if row.get("plugin") else []
    return any(source["error"] for source in (*row["sources"], *asked))


def _enrolled(one: Row, other: Row) -> Row:
    is_here, seen = one["connected"] or other["connected"], max(one["seen"], other["seen"])
    return {**one, "connected": is_here, "seen": seen}


def _task(one: Row, other: Row) -> Row:
    failing = [row["failing_s"] for row in (one, other) if row["failing_s"] is not None]
    return {
        **one,
        "failures": one["failures"] + other["failures"],
        "error": one["error"] or other["error"],
        "failing_s": max(failing, default=None),
        "ended": one["ended"] or other["ended"],
    }


def _entrypoint(one: Row, other: Row) -> Row:
    """What the process that has it is told and drops, and what each worker sends and gets."""
    more = {name: one[name] + other[name] for name in ("sessions", "registered")}
    most = max(one["hosts_asked_for"], other["hosts_asked_for"])  # all are told of a host that one asks for
    hubs = one_for_each([*one["hubs"], *other["hubs"]], ("hub",), _counted)
    return {**_counted(one, other), **more, "hosts_asked_for": most, "hubs": hubs}


def _counted(one: Row, other: Row) -> Row:
    sums = {name: one[name] + other[name] for name in _COUNTS}
    return {**one, **sums, "drops": added(one["drops"], other["drops"])}


def _trouble(one: Row, other: Row) -> Row:
    return max(one, other, key=lambda row: float(row["since_s"]))


def _output(one: Row, other: Row) -> Row:
    sums = {name: one[name] + other[name] for name in ("waiting", "lost")}
    return {**one, **sums, "error": one["error"] or other["error"]}


def count(one: Row, other: Row) -> Row:
    """Two rows of what is counted, with what was seen last."""
    return {**one, "count": one["count"] + other["count"], "last": _later(one["last"], other["last"])}


def _later(one: Row | None, other: Row | None) -> Row | None:
    """What was seen last of two."""
    if one is None or other is None:
        return one or other
    return one if one["ago_s"] <= other["ago_s"] else other


def _destination(one: Row, other: Row) -> Row:
    return {
        **one,
        "reasons": added(one["reasons"], other["reasons"]),
        "last_s": min(one["last_s"], other["last_s"]),
    }


def _refused(replies: Sequence[Row]) -> Row:
    found: Row = {}
    for reply in replies:
        for service, counts in reply.get("refused", {}).items():
            found[service] = added(found.get(service, {}), counts)
    return found


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Counts by name, summed."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
