"""Findings of `tunrouter doctor` that the running process itself tells: of sources, plugins, tasks and links.

Knows: which rows of `status` tell of trouble, why that matters, and what mends it.
Refuses to know: sessions of clients (doctor_tunnel), how status is asked for (doctor_processes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lib.doctor_facts import Ailing
from lib.doctor_finding import Finding
from lib.humanize import counted, span

MOST_SILENT = 8
"""Sessions that are named."""
RECENT_SECONDS = 3600.0
"""A worker that has ended longer ago is no trouble of today's."""

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
            since = f" for {span(source['failing_s'])}" if source["failing_s"] is not None else ""
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
        if row.get("ended"):
            yield f"{row['task']} has ended: {row['error']}"
        elif row["failing_s"] is not None:
            yield f"{row['task']} fails for {span(row['failing_s'])}: {row['error']}"


def _workers(status: Row) -> Iterator[str]:
    rows = status.get("workers", ())
    for row in rows:
        if not row["ready"]:
            yield f"worker {row['worker']} (pid {row['pid']}) takes no connections"
    count, youngest = status.get("worker_deaths", 0), min((row["since_s"] for row in rows), default=0.0)
    if count and youngest < RECENT_SECONDS:
        yield f"a worker has ended by itself, {counted(count, 'time')} since the start of the process"


def _policy(status: Row) -> Iterator[str]:
    for row in status.get("policy", {}).get("problems", ()):
        outcome = "fails" if row["outcome"] == "fails" else "cannot be judged"
        yield f"the policy test {row['test']} {outcome}: {row['reason']}"


def _silent(status: Row) -> Iterator[str]:
    for client in status["clients"]:
        for path in client.get("paths", ()):
            if path.get("silent_s") is not None:
                name, since = client["service"], span(path["silent_s"])
                yield f"service {name}: hub {path['hub']} is silent for {since}"
    silent = [row for row in status.get("sessions", ()) if row.get("silent_s") is not None]
    for row in silent[:MOST_SILENT]:
        yield f"host {row['host']} ({row['peer']}) is silent for {span(row['silent_s'])}"
    if more := silent[MOST_SILENT:]:
        yield f"{counted(len(more), 'more session')} silent"


def _paths(status: Row) -> Iterator[str]:
    for client in status["clients"]:
        for path in client.get("paths", ()):
            if path["since_s"] is None and client["hub"]:
                yield (
                    f"service {client['service']}: one of its sessions is missing, by hub {path['hub']}: "
                    + (path["state"])
                )


def _of(*events: str) -> Callable[[Row], Iterator[str]]:
    """What the log has told by these events, and what is not over."""
    return lambda status: (
        f"{row['text']} (for {span(row['since_s'])})"
        for row in status.get("troubles", ())
        if row["event"] in events
    )


_KINDS: Mapping[str, _Kind] = {
    "stopped": _Kind(
        lambda _: iter(()),
        "no packet passes; names and routes of a client that was killed are taken away by its next start",
        "start it: systemctl start tunrouter (tunrouter@NAME of another file), or tunrouter -C FILE; "
        "journalctl -u with that name, or its log, says why it has ended",
    ),
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
    "worker": _Kind(
        _workers,
        "its sessions are made anew by another worker, which hosts notice",
        "the log says why; where this program is to blame, tell us: tunrouter doctor --bundle FILE",
    ),
    "policy": _Kind(
        _policy,
        "the tables let somebody through, or not, other than it was meant",
        "tunrouter explain shows the reason for one packet; correct the tables, or the test",
    ),
    "path": _Kind(
        _paths,
        "should the other session end too, its flows wait until there is a new one",
        "what the reason says; tunrouter doctor on that hub",
    ),
    "silent": _Kind(
        _silent,
        "nothing that is sent by that session is acknowledged, so packets go by another hub",
        "look for what drops packets between the two, in one direction or both; tunrouter doctor there",
    ),
    "reload": _Kind(
        _of("reload-failed"),
        "what is in the configuration now does not count until a reload succeeds",
        "tunrouter check; then systemctl reload tunrouter, or kill -HUP",
    ),
    "certificate": _Kind(
        _of("certificate-failed"),
        "the one before goes on, until it ends; then nobody gets in",
        "correct the file: openssl x509 -in FILE -noout -subject -dates",
    ),
    "pool": _Kind(
        _of("pool-full", "pool-low"),
        "a new host gets the address of the one that has been away for longest, or none at all",
        "a larger pool for the router; tunrouter hosts, and revoke who does not come any more",
    ),
    "pool kept": _Kind(
        _of("pool-not-kept"),
        "after a start some hosts may get other addresses than they had",
        "df -h; ls -ld its directory; the unit's StateDirectory and ReadWritePaths",
    ),
    "pool shared": _Kind(
        _of("pool-not-shared"),
        "hosts keep the addresses that they have; a new host gets none until the hubs' Redis is there again",
        "redis-cli -h HOST ping from this hub; what the reason says",
    ),
    "routes": _Kind(
        _of("routes-not-told"),
        "hosts do not learn the ways to the others, and nothing of theirs goes there",
        "fewer prefixes, which cover the same; or route= in the configurations of hosts",
    ),
    "name": _Kind(
        _of("names-not-kept"), "programs here do not find hosts by name", "ls -l /etc/resolv.conf /etc/hosts"
    ),
    "nftables": _Kind(
        _of("nat-failed", "killswitch-failed"),
        "what comes out of the tunnel does not go on, or packets leave beside the tunnel",
        "nft list ruleset; nft must be installed, and the process needs CAP_NET_ADMIN",
    ),
    "datagrams": _Kind(
        _of("no-datagrams"),
        "sessions or links have only their streams: under loss UDP waits for what is sent again",
        "ss -lunp shows who has the port; channel: stream, if none is wanted",
    ),
    "audit": _Kind(
        _of("audit-failed"), "who has changed what is not written down", "df -h; ls -ld its directory"
    ),
}


def ailing(status: Row) -> tuple[Ailing, ...]:
    """All trouble that a process's reply to `status` tells of; each once."""
    found = [Ailing(kind, text) for kind, one in _KINDS.items() for text in one.find(status)]
    return tuple(dict.fromkeys(found))


def stopped(files: Sequence[str]) -> tuple[Ailing, ...]:
    """That no process runs by the configuration of this machine."""
    return (Ailing("stopped", f"no tunrouter with a control socket runs here by {', '.join(files)}"),)


def findings(facts: tuple[Ailing, ...]) -> Iterator[Finding]:
    """The running process says that something of it does not work."""
    for one in facts:
        yield Finding(one.what, _KINDS[one.kind].why, _KINDS[one.kind].mend)
