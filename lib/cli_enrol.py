"""`tunrouter invite`, `hosts` and `revoke`: ask the running hub, print its reply.

Knows: that standard output has the line alone, and a terminal its QR code too.
Refuses to know: who may be invited (ctl_enrol), what a line holds (enrol_token), sockets (ctl_client).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from lib import cli_process, ctl_client
from lib.cli_columns import namespace_column
from lib.cli_descriptors import complain
from lib.cli_paper import Paper, paper
from lib.cli_show import check_namespace, print_json
from lib.cli_table import GREEN, Column, Row
from lib.errors import ConfigError, Position, Problem
from lib.go_values import SECONDS, parse_duration
from lib.humanize import counted
from lib.local_time import date
from lib.printable import every

Arguments = Mapping[str, Any]
Reply = Mapping[str, Any]
_HOUR = "1h"


def _seen(row: Row) -> str:
    if row["connected"]:
        return "connected"
    return date(row["seen"]) if row["seen"] else "never"


def _routed(row: Row) -> str:
    return ", ".join(row["gateways"]) or "-"


HOSTS = (
    Column("host", lambda row: str(row["host"]), tells_apart=True),
    Column("enrolled", lambda row: date(row["since"]), 1),
    Column("last seen", _seen, style=lambda row: GREEN if row["connected"] else ""),
    Column("routed to it", _routed, 2),
    namespace_column(3),
)
INVITATIONS = (
    Column("invited", lambda row: str(row["host"]), tells_apart=True),
    Column("until", lambda row: date(row["expires"])),
    Column("routed to it", _routed, 2),
    namespace_column(3),
)


def run(command: str, arguments: Arguments) -> int:
    """Ask the process and print its reply; returns the exit status. Raises HostError, ConfigError."""
    check_namespace(arguments["--ns"])
    request = {"do": command, "service": arguments["--service"] or "", "ns": arguments["--ns"] or ""}
    if command == "invite":
        request |= _invitation(arguments)
    elif command == "revoke":
        request |= {"host": arguments["HOST"], "all": arguments["--all"]}
    else:
        request |= {"host": arguments["--host"] or ""}
    path = cli_process.path(arguments, "hubs")
    if arguments["--json"]:
        print_json(path, request)
        return 0
    with ctl_client.understood(path):
        _PRINT[command](every(ctl_client.ask(path, request, ctl_client.ASKING_SECONDS)), paper())
    return 0


def _invitation(arguments: Arguments) -> dict[str, object]:
    try:
        seconds = parse_duration(arguments["--expires"] or _HOUR, SECONDS) / SECONDS
    except ValueError as wrong:
        raise ConfigError([Problem(Position("--expires"), str(wrong))]) from None
    return {
        "host": arguments["HOST"],
        "address": arguments["--address"] or "",
        "expires_s": seconds,
        "gateways": arguments["--gateway"],
    }


def _invite(reply: Reply, on: Paper) -> None:
    for note in reply["notes"]:
        complain(f"note: {note}")
    until = f"until {date(reply['expires'])}"
    if reply["pin"]:
        how = f"the hub's certificate is {reply['pin']}"
    else:
        how = f"the host checks the name in the certificate of {reply['address']}"
    complain(f"{reply['host']} may join once, {until}; {how}. On it, as root: tunrouter join LINE")
    print(f"tunrouter join {reply['line']}" if on.width else reply["line"])
    if on.width:
        _draw(reply["line"], on.width)


def _draw(line: str, width: int) -> None:
    """Print the line as a QR code, where the terminal has room and letters for it."""
    import segno  # 40 ms that only a terminal needs

    code = segno.make(line, error="l", micro=False)
    if code.symbol_size()[0] <= width and (sys.stdout.encoding or "").lower().startswith("utf"):
        print()
        code.terminal(sys.stdout, compact=True)


def _hosts(reply: Reply, on: Paper) -> None:
    lines = on.table(HOSTS, reply["hosts"])
    lines += on.table(INVITATIONS, reply["invitations"])
    print("\n".join(lines[1:] or ["nobody is enrolled, and nobody is invited"]))


def _revoke(reply: Reply, on: Paper) -> None:
    for note in reply["notes"]:
        complain(f"note: {note}")
    print(f"{counted(reply['hosts'], 'host')} revoked, {counted(reply['sessions'], 'session')} ended")


_PRINT = {"invite": _invite, "hosts": _hosts, "revoke": _revoke}
