"""`tunrouter status`, `drops`, `kick` and `drain`: asked of the running process, shown to people or as JSON.

Knows: columns, and what fits 80 of them. Refuses to know: what is so (status).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib import control_socket
from lib.errors import HostError
from lib.numbers import ago, milliseconds, scaled

SAMPLE_SECONDS = 0.5
"""Between the two looks that rates are taken from."""

Answer = Mapping[str, Any]


def show(command: str, arguments: Mapping[str, Any]) -> int:
    """Ask, print; returns the exit status. Raises HostError."""
    path = arguments["--control"] or running()
    if command in ("kick", "drain"):
        request = {"do": command, "host": arguments["HOST"], "ns": arguments["--ns"] or ""}
        print(f"{control_socket.ask(path, request)['sessions']} sessions")
        return 0
    answer = control_socket.ask(path, {"do": command})
    if arguments["--json"]:
        answer.pop("ok", None)
        print(json.dumps(answer, indent=2))
        return 0
    if command == "drops":
        _print_drops(answer)
        return 0
    time.sleep(SAMPLE_SECONDS)
    _print_status(answer, control_socket.ask(path, {"do": command}))
    return 0


def running() -> str:
    """The control socket of the one process that runs here. Raises HostError."""
    found = []
    for path in sorted(map(str, control_socket.directory().glob("*.sock"))):
        try:
            control_socket.ask(path, {"do": "hello"})
            found.append(path)
        except HostError:
            continue  # left behind by a process that was killed, or not ours to ask
    if len(found) != 1:
        which = f"several run here: {', '.join(found)}" if found else "none runs here"
        raise HostError(f"which tunrouter? {which}; name its socket with --control PATH")
    return found[0]


def _print_status(before: Answer, now: Answer) -> None:
    print(f"{now['software']}, pid {now['pid']}, up {ago(now['uptime_s'])}")
    seconds = max(0.001, now["uptime_s"] - before["uptime_s"])
    old = {_key(row): row for row in (*before["sessions"], *before["clients"])}

    def rate(row: Answer, field: str) -> str:
        earlier = old.get(_key(row), row)
        return scaled(max(0, row[field] - earlier[field]) * 8 / seconds, "bit/s")

    if now["sessions"]:
        columns: Sequence[tuple[str, Callable[[Answer], str]]] = (
            ("host", lambda row: row["host"]),
            ("ns", lambda row: row["namespace"][:8]),
            ("peer", lambda row: row["peer"]),
            ("over", lambda row: row["transport"]),
            ("for", lambda row: ago(row["since_s"])),
            ("rtt", lambda row: milliseconds(row["rtt_s"])),
            ("in", lambda row: rate(row, "received_bytes")),
            ("out", lambda row: rate(row, "sent_bytes")),
            ("dropped", lambda row: str(sum(row["drops"].values()) or "-")),
        )
        _table(columns, now["sessions"])
    if now["clients"]:
        columns = (
            ("host", lambda row: row["host"]),
            ("device", lambda row: row["device"]),
            ("hub", lambda row: row["hub"] or "not connected"),
            ("for", lambda row: ago(row["since_s"]) if row["hub"] else "-"),
            ("rtt", lambda row: milliseconds(row["rtt_s"])),
            ("in", lambda row: rate(row, "received_bytes")),
            ("out", lambda row: rate(row, "sent_bytes")),
            ("dropped", lambda row: str(sum(row["drops"].values()) or "-")),
        )
        _table(columns, now["clients"])
    for service, refused in now["refused"].items():
        for why, count in refused.items():
            print(f"refused by {service}: {count} {why}")


def _key(row: Answer) -> tuple[str, ...]:
    return row["service"], row["host"], row.get("peer") or row.get("device") or ""


def _table(columns: Sequence[tuple[str, Callable[[Answer], str]]], rows: Sequence[Answer]) -> None:
    cells = [[title for title, _ in columns], *([read(row) for _, read in columns] for row in rows)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_drops(answer: Answer) -> None:
    for row in sorted(answer["drops"], key=lambda row: -row["count"]):
        print(f"{row['count']:>10} {row['reason']}, {row['host']} in {row['namespace']}: {row['about']}")
    for row in answer["destinations"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in row["reasons"].items())
        print(f"to {row['destination']} in {row['namespace']}: {reasons}, last {ago(row['last_s'])} ago")
    if not answer["drops"]:
        print("nothing was dropped")
