"""`tunrouter status`, `drops`, `routes`, `kick` and `drain`: ask the running process, print its reply.

Knows: the order of the tables on the page, when --watch asks again. Refuses to know: what the replies say
(ctl_status, ctl_drops, ctl_routes), columns (cli_columns), sockets (ctl_client).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib import cli_columns, cli_process, cluster_view, ctl_client, ctl_order
from lib.cli_descriptors import complain
from lib.cli_paper import Paper, paper
from lib.ctl_order import Order
from lib.errors import ConfigError, HostError, Position, Problem
from lib.humanize import counted, number, rate, span
from lib.printable import every, printable

WATCH_SECONDS = 1.0
"""Seconds between two requests of --watch."""
MAX_ROUTES = 500
"""Routes that are printed for people; --json prints all."""
MANY_LINES = 100
"""Lines of the log that wait, above which `status` tells of them."""
MAX_ROWS = 200
"""Rows of each table that `status` and `drops` print for people without --all."""

Reply = Mapping[str, Any]


def show(command: str, arguments: Mapping[str, Any]) -> int:
    """Ask the process and print its reply; returns the exit status. Raises HostError, ConfigError."""
    request = _request(command, arguments)
    alone = request["do"] == "status" and not (
        arguments["--watch"] or arguments["--json"] or arguments["--control"]
    )
    most = MAX_ROWS if command in ("status", "drops") and not arguments["--all"] else None
    path = cli_process.path(arguments)
    if command in ("kick", "drain"):
        told = "ended" if command == "kick" else "asked to make way for another"
        with ctl_client.understood(path):
            text = f"{counted(ctl_client.ask(path, request)['sessions'], 'session')} {told}"
        print(text)
        return 0
    if arguments["--watch"]:
        return _watch(path, request, arguments["--json"], most)
    if arguments["--json"]:
        print_json(path, request)
        return 0
    with ctl_client.understood(path):
        page = _TEXTS[str(request["do"])](every(ctl_client.ask(path, request)), paper(most))
    print("\n".join(page))
    for line in cli_process.others(path) if alone else ():
        complain(printable(line))
    return 0


def print_json(path: str, request: Mapping[str, object]) -> None:
    """Print a process's reply as it is, a row on each line. Raises HostError."""
    for piece in ctl_client.stream(path, request):
        sys.stdout.buffer.write(piece.replace(ctl_client.ROW, b"\n"))


def _request(command: str, arguments: Mapping[str, Any]) -> dict[str, object]:
    request: dict[str, object] = {"do": command}
    ns = arguments["--ns"]
    check_namespace(ns)
    if command == "status" and arguments["--cluster"]:
        if arguments["--host"] or ns:
            message = "--cluster shows hubs, and neither hosts nor namespaces"
            raise ConfigError([Problem(Position("--cluster"), message, "leave --host and --ns out")])
        return {"do": "cluster"}
    if command in ("status", "drops"):
        request |= {"host": arguments["--host"] or "", "ns": ns or ""}
    if command == "status" and not (arguments["--all"] or arguments["--json"]):
        request["most"] = MAX_ROWS
    if command in ("kick", "drain"):
        service = arguments["--service"] or ""
        request |= {"host": arguments["HOST"], "ns": ns or "", "service": service, "all": arguments["--all"]}
    if command == "routes":
        prefix = arguments["PREFIX"] or ""
        _check_prefix(prefix)
        request |= {"service": arguments["--service"] or "", "ns": ns or "", "prefix": prefix}
        request |= {} if arguments["--json"] else {"most": MAX_ROUTES}
    return request


def check_namespace(text: str | None) -> None:
    """Raise ConfigError for a --ns that is neither a UUID nor a possible title (the process knows those)."""
    if not text:
        return
    from lib import ids, namespace_titles

    try:
        ids.parse_uuid(text)
    except ValueError as wrong:
        if why := namespace_titles.fault(text):
            problem = Problem(Position("--ns"), f"{wrong}, and it cannot be a title: {why}")
            raise ConfigError([problem]) from None


def _check_prefix(text: str) -> None:
    from ipaddress import ip_interface  # 6 ms

    try:
        ip_interface(text or "::")
    except ValueError:
        message = f"{text[:64]!r} is neither an address nor a prefix"
        raise ConfigError([Problem(Position("PREFIX"), message, "write 10.0.0.9 or 10.0.0.0/8")]) from None


# --- again and again


def _watch(path: str, request: Reply, as_json: bool, most: int | None) -> int:
    """Print again and again until interrupted, or until the process has ended."""
    first = True
    try:
        while True:
            try:
                block = _look(path, request, as_json, most, first)
            except HostError as error:
                if first:
                    raise
                complain(printable(f"the process that was watched has ended ({error})"))
                return 0
            sys.stdout.write(block)
            sys.stdout.flush()
            first = False
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        if sys.stdout.isatty():
            print()
        return 0


def _look(path: str, request: Reply, as_json: bool, most: int | None, first: bool) -> str:
    """One output of --watch: on a terminal it overwrites the one before, in a pipe it is added."""
    if as_json:
        return b"".join(ctl_client.stream(path, request)).replace(ctl_client.ROW, b"").decode()
    on = paper(most)
    with ctl_client.understood(path):
        found = _TEXTS[str(request["do"])](every(ctl_client.ask(path, request)), on)
    if on.width is None:
        return "\n".join(found if first else ["", *found]) + "\n"
    height = shutil.get_terminal_size().lines - 1
    if len(found) > height:
        found = [*found[: height - 1], f"… and {counted(len(found) - height + 1, 'more line')}"]
    return "\x1b[H\x1b[J" + "\n".join(found) + "\n"


# --- in words


def _status(reply: Reply, on: Paper) -> list[str]:
    found = [f"{reply['software']}, pid {reply['pid']}, up {span(reply['uptime_s'])}{_whose(reply)}"]
    hubs = [(hub, counted(hub["sessions"], "session")) for hub in reply["hubs"]]
    found += on.few(
        [f"hub {hub['service']} on {hub['listen']} over {hub['transport']}, {many}" for hub, many in hubs]
    )
    found += _workers(reply, on)
    found += on.few(
        [
            f"entrypoint of {row['service']} at {row['address']}: sd {row['sd']} knows "
            f"{number(row['registered'])} of {counted(row['sessions'], 'session')}"
            for row in reply.get("entrypoints", ())
        ]
    )
    for cluster in reply.get("clusters", ()):
        found += _cluster(cluster)
    if only := reply.get("only"):
        inside = only.get("title") or only["ns"]
        what = [f"{name} {value}" for name, value in (("host", only["host"]), ("namespace", inside)) if value]
        nobody = not reply["sessions"] and not reply["clients"]
        found.append(f"only {', '.join(what)}{': no session and no client' if nobody else ''}")
    found += _peers(reply, on)
    far = [{**hub, "service": row["service"]} for row in reply.get("entrypoints", ()) for hub in row["hubs"]]
    found += on.table(cli_columns.FAR_HUBS, far, "hub")
    for cluster in reply.get("clusters", ()):
        found += on.table(cli_columns.HUBS, sorted(cluster["hubs"], key=lambda row: str(row["name"])), "hub")
    found += on.table(cli_columns.TABLES, cli_columns.sources_of(reply["tables"]), "table")
    refused = [
        f"refused by {service}: {number(count)} {why}"
        for service, counts in reply["refused"].items()
        for why, count in counts.items()
    ]
    tasks = [row for row in reply.get("tasks", ()) if row["failures"]]
    failed = [
        f"{row['task']}: {'fails' if row['failing_s'] is not None else 'failed'}, "
        f"{counted(row['failures'], 'time')} so far: {row['error']}"
        for row in tasks
    ]
    failed += [
        f"log to {row['output']}: {counted(row['waiting'], 'line')} to be read, "
        f"{number(row['lost'])} lost so far" + (f": {row['error']}" if row["error"] else "")
        for row in reply.get("log", ())
        if row["lost"] or row["waiting"] > MANY_LINES
    ]
    failed += [
        f"notify {row['name']}: {number(row['delivered'])} delivered, {number(row['failed'])} given up, "
        f"{number(row['dropped'])} dropped, {number(row['waiting'])} to come: {row['error'] or 'all is well'}"
        for row in reply.get("notify", ())
        if row["failed"] or row["dropped"] or row["error"]
    ]
    failed += [
        f"policy test {row['test']}: {row['reason']}; so for {span(row['since_s'])}"
        for row in reply.get("policy", {}).get("problems", ())
    ]
    failed += [f"{row['text']}; so for {span(row['since_s'])}" for row in reply.get("troubles", ())]
    differing = [
        f"device {row['device']} of {row['service']} differs from the configuration: {line}"
        for row in reply["clients"]
        for line in row.get("differences", ())
    ]
    differing += [
        f"device {row['device']} of {row['service']}: {line}"
        for row in reply["clients"]
        for line in row.get("warnings", ())
    ]
    mistaken = [f"hub {hub['service']}: {line}" for hub in reply["hubs"] for line in hub.get("warnings", ())]
    mistaken += [f"{row['service']}: {line}" for row in reply["clients"] for line in row.get("advice", ())]
    mistaken += [
        f"{row['service']}: not set of what the hub tells: {line}"
        for row in reply["clients"]
        for line in row.get("from_hub", {}).get("refused", ())
    ]
    kinds = mistaken, _paths(reply["clients"]), _away(reply["clients"]), differing, failed, refused
    rest = [line for kind in kinds for line in on.few(kind)]
    return [*found, *([""] if rest else []), *rest]


def _peers(reply: Reply, on: Paper) -> list[str]:
    """Sessions and clients by name; where there are too many, a line about all, and those that come first."""
    sessions = sorted(reply["sessions"], key=lambda row: (row["namespace"], row["host"]))
    clients: list[Reply] = reply["clients"]
    if on.most is None:
        return on.table(cli_columns.SESSIONS, sessions) + on.table(cli_columns.CLIENTS, clients)
    total, order, found = ctl_order.totals(reply), Order(on.most), list[str]()
    if total["sessions"] > on.most or total["clients"] > on.most:
        found.append(_in_all(total))
    for columns, rows, noun in (
        (cli_columns.SESSIONS, sessions, "sessions"),
        (cli_columns.CLIENTS, clients, "clients"),
    ):
        if total[noun] > on.most:
            first = order.first(rows, lambda row: row)
            end = (
                f"the first {number(len(first))} of {number(total[noun])} {noun}: those with problems, then "
            )
            found += [
                *on.table(columns, first),
                f"{end}the busiest (--all prints all, --host and --ns choose)",
            ]
        else:
            found += on.table(columns, rows)
    return found


def _in_all(total: Reply) -> str:
    """A line about all sessions and clients."""
    many = [counted(total[noun + "s"], noun) for noun in ("session", "client") if total[noun + "s"]]
    worst = sorted(total["problems"].items(), key=lambda item: -item[1])
    why = f" ({', '.join(f'{number(count)} {code}' for code, count in worst)})" if worst else ""
    bits = f"{rate(total['received_bytes_per_s'])} in, {rate(total['sent_bytes_per_s'])} out"
    return f"{' and '.join(many)}, {number(total['with_problems'])} with problems{why}; {bits}"


def _workers(reply: Reply, on: Paper) -> list[str]:
    """The processes that have the sessions, where they are others than the one that replies."""
    rows = reply.get("workers", ())
    if not rows:
        return []
    each = [f"{row['worker']} (pid {row['pid']}) {number(row['connections'])}" for row in rows]
    died = (
        f"; {counted(reply['worker_deaths'], 'time')} one has ended by itself"
        if reply["worker_deaths"]
        else ""
    )
    text = f"{counted(len(rows), 'worker')}, connections of each: {', '.join(each)}{died}"
    return on.wrapped(text, "")


def _paths(clients: list[Reply]) -> list[str]:
    """A line for each of several sessions that a client keeps, or should keep."""
    return [
        f"{row['host']} by hub {path['hub']}: {path['state']}"
        + (f" for {span(path['silent_s'])}" if path.get("silent_s") is not None else "")
        + (f", {1000 * path['rtt_s']:.1f} ms" if path["rtt_s"] else "")
        for row in clients
        for path in row.get("paths", ())
    ]


def _cluster(row: Reply) -> list[str]:
    """What a hub is in its cluster, and the registry, where that is away."""
    others = sum(1 for hub in row["hubs"] if hub["live"])
    hosts = counted(row["own_hosts"], "host")
    there = f"{counted(others, 'other hub')} with {counted(row['hosts'], 'host')}"
    found = [f"cluster hub {row['name']}, links on {row['listen']}: {hosts} here, {there}"]
    if row["error"]:
        found.append(f"registry {row['registry']} is away: {row['error']}; what is known goes on")
    return found


def _cluster_view(reply: Reply, on: Paper) -> list[str]:
    """The hubs of a cluster, and their totals."""
    total = reply["total"]
    there = f"{number(total['live'])} of {counted(total['hubs'], 'hub')} live"
    has = f"{counted(total['hosts'], 'host')}, {counted(total['sessions'], 'session')}"
    runs = ", ".join(f"{number(hubs)} with {software}" for software, hubs in total["software"].items())
    found = [f"cluster, as hub {reply['cluster']} sees it: {there}, {has}", *([runs] if runs else [])]
    if reply["error"]:
        found.append(f"registry {reply['registry']} is away: {reply['error']}; what is known goes on")
    hubs = sorted(reply["hubs"], key=lambda row: on.most is not None and row["state"] == cluster_view.GOOD)
    return [
        *found,
        *on.table(cli_columns.CLUSTER, hubs if len(hubs) > (on.most or 0) else reply["hubs"], "hub"),
    ]


def _whose(reply: Reply) -> str:
    """The user of the process and its control socket; empty where a process of an older version replies."""
    if not reply.get("control"):
        return ""
    return f", user {reply['user']}, control socket {reply['control']}"


def _away(clients: Sequence[Reply]) -> list[str]:
    """A line for each client without a session: the hub, why not, and when it is tried again."""
    found = []
    for row in clients:
        if away := row.get("away"):
            why = away["reason"] or "not tried yet"
            wait = away["next_try_s"]
            then = f"next try in {span(max(1.0, wait))}" if wait else "it is being tried now"
            found.append(f"{row['host']} has no session with hub {away['hub']}: {why}; {then}")
    return found


def _drops(reply: Reply, on: Paper) -> list[str]:
    rows = sorted(reply["drops"], key=lambda row: -row["count"])
    refusals = sorted(reply["refusals"], key=lambda row: -row["count"])
    if not rows and not refusals:
        return ["nothing was dropped, nobody was refused"]
    found = on.table(cli_columns.DROPS, rows)
    found += on.table(cli_columns.DESTINATIONS, reply["destinations"])
    found += on.table(cli_columns.REFUSALS, refusals)
    found += ["", "what to do"]
    said: dict[str, Reply] = {row["reason"]: row for row in (*rows, *refusals)}
    for reason, row in said.items():
        found += on.wrapped(f"{reason}: {row['about']}", "  ")
        found += on.wrapped(row["remedy"], "    ")
    return found[1:]


def _routes(reply: Reply, on: Paper) -> list[str]:
    found = []
    for table in reply["tables"]:
        many = counted(table["routes"], "reply" if table["kind"] == "plugin" else "route")
        what = f"router {table['table']} of {table['service']}: {many}"
        differs = table["matching"] != table["routes"]
        found.append(what + (f"; PREFIX matches {number(table['matching'])} of them" if differs else ""))
    found += on.table(cli_columns.ROUTES, reply["routes"])
    count = sum(table["matching"] for table in reply["tables"])
    shown = len(reply["routes"])
    if shown < count:
        found.append(f"the first {number(shown)} of {number(count)}: name a PREFIX, or take --json for all")
    return found or ["this hub has no tables"]


_TEXTS: dict[str, Callable[[Reply, Paper], list[str]]] = {
    "status": _status,
    "cluster": _cluster_view,
    "drops": _drops,
    "routes": _routes,
}
