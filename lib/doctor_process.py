"""Findings of `tunrouter doctor` that the running process itself tells: of sources, plugins, tasks and links.

Knows: which rows of `status` tell of trouble, why that matters, and what mends it.
Refuses to know: sessions of clients (doctor_tunnel), how status is asked for (doctor_processes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from lib.doctor_facts import Ailing
from lib.doctor_finding import Finding
from lib.humanize import counted, span

Row = Mapping[str, Any]


class _Kind(NamedTuple):
    """A kind of trouble."""

    find: Callable[[Row], Iterator[str]]
    """From the reply to `status`: what is wrong, in words."""
    why: str
    mend: str


def _sources(status: Row) -> Iterator[str]:
    for table, source in _all_sources(status):
        if source["error"]:
            since = f" for {span(source['failing_s'])}" if source["failing_s"] else ""
            yield f"{_name(table)} cannot be read from {source['name']}{since}: {source['error']}"


def _rows(status: Row) -> Iterator[str]:
    for table, source in _all_sources(status):
        if count := source["bad_rows"]:
            yield f"{counted(count, 'row')} of {source['name']} for {_name(table)} cannot be used"


def _all_sources(status: Row) -> Iterator[tuple[Row, Row]]:
    return ((table, source) for table in status["tables"] for source in table["sources"])


def _name(table: Row) -> str:
    return f"{table['kind']} {table['name']}"


def _plugins(status: Row) -> Iterator[str]:
    for table in status["tables"]:
        if table["plugin"] is not None and table["plugin"]["error"]:
            yield f"{_name(table)}: its plugin {table['plugin']['url']} fails: {table['plugin']['error']}"


def _notify(status: Row) -> Iterator[str]:
    return (f"notify {row['name']}: {row['error']}" for row in status["notify"] if row["error"])


def _registry(status: Row) -> Iterator[str]:
    for row in status["clusters"]:
        if row["error"]:
            yield f"the registry of the cluster ({row['registry']}) does not answer: {row['error']}"


def _links(status: Row) -> Iterator[str]:
    for row in status["clusters"]:
        for hub in row["hubs"]:
            if hub["live"] and hub["error"]:
                yield f"no link to the hub {hub['name']} ({hub['address']}): {hub['error']}"


def _hubs(status: Row) -> Iterator[str]:
    return (f"service {hub['service']}: {text}" for hub in status["hubs"] for text in hub["warnings"])


def _logs(status: Row) -> Iterator[str]:
    return (
        f"the log cannot be written to {row['output']}: {row['error']}"
        for row in status["log"]
        if row["error"]
    )


def _tasks(status: Row) -> Iterator[str]:
    for row in status["tasks"]:
        if row["failing_s"] is not None:
            yield f"{row['task']} fails for {span(row['failing_s'])}: {row['error']}"


_KINDS: Mapping[str, _Kind] = {
    "source": _Kind(
        _sources,
        "what was read last goes on: what has been added or taken away since does not count",
        "what the reason says; tunrouter status shows when it was read the last time",
    ),
    "rows": _Kind(
        _rows, "what they say does not count", "correct them: the log names each with its line or key"
    ),
    "plugin": _Kind(
        _plugins,
        "whom or what it does not know is refused, and packets that it should route are dropped",
        "start it, or correct its address; the log names each failed question",
    ),
    "notify": _Kind(
        _notify,
        "nobody is told who comes and goes",
        "run the command by hand, or try the address: curl -d '{}' URL",
    ),
    "registry": _Kind(
        _registry,
        "what is known of hosts at other hubs goes on, but hosts that come or move are not known",
        "tunrouter status --cluster; redis-cli -h HOST ping, as this machine's user",
    ),
    "link": _Kind(
        _links,
        "hosts here do not reach those at that hub",
        "tunrouter status --cluster here and there; let its port through where a firewall is between",
    ),
    "hub": _Kind(_hubs, "the hub warns of it", "tunrouter status; tunrouter drops"),
    "log": _Kind(
        _logs, "what happens is not written down", "df -h; ls -ld its directory; the unit's ReadWritePaths"
    ),
    "task": _Kind(
        _tasks,
        "it is started again and again, and does not do its work meanwhile",
        "what the reason says; where this program is to blame, tell us: tunrouter doctor --bundle FILE",
    ),
}


def ailing(status: Row) -> tuple[Ailing, ...]:
    """All trouble that a process's reply to `status` tells of; each once."""
    found = [Ailing(kind, text) for kind, one in _KINDS.items() for text in one.find(status)]
    return tuple(dict.fromkeys(found))


def findings(facts: tuple[Ailing, ...]) -> Iterator[Finding]:
    """The running process says that something of it does not work."""
    for one in facts:
        yield Finding(one.what, _KINDS[one.kind].why, _KINDS[one.kind].mend)
