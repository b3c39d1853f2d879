"""`tunrouter health`: whether the process that runs here does its work, as an exit status and one line.

Knows: what a monitor or a container's health check reads: the exit status, one line, a short timeout.
Refuses to know: what makes a process healthy (ctl_health).

    exit status   0 every hub listens and every client is connected
                  1 not so, or no process replies in time
                  2 the command line is wrong, or several processes run and none of them is named
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from lib import cli_process, cli_show, ctl_client
from lib.errors import ConfigError, HostError
from lib.humanize import number
from lib.printable import every, printable

SECONDS = 3.0
"""How long a process may take to reply; a health check of Docker's has 30 s by default."""
MAX_NAMED = 3
"""Services, or problems, that are named in the line; of more than these the number is told."""


def run(arguments: Mapping[str, Any]) -> int:
    """Print the line, or the reply as JSON; returns the exit status. Raises ConfigError for a wrong --ns."""
    cli_show.check_namespace(arguments["--ns"])
    request = {"do": "health", "host": arguments["--host"] or "", "ns": arguments["--ns"] or ""}
    try:
        end = time.monotonic() + SECONDS
        path = cli_process.path(arguments, seconds=SECONDS, quiet=True)
        reply = ctl_client.ask(path, request, max(0.1, end - time.monotonic()))
        status, text = 0 if reply["healthy"] is True else 1, line(every(reply))
    except ConfigError as error:  # several processes: which one?
        *several, wrong = map(str, error.problems)
        status, reply = 2, _bad([wrong, *several])
        text = line(reply)
    except (HostError, *ctl_client.WRONG_SHAPE) as error:
        status, reply = 1, _bad([_why(error)])
        text = line(reply)
    print(json.dumps(reply) if arguments["--json"] else printable(text))
    return status


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, HostError) else "the reply is not one of a tunrouter's to `health`"


def _bad(problems: list[str]) -> dict[str, Any]:
    return {"healthy": False, "pid": None, "problems": problems, "warnings": [], "hubs": [], "clients": []}


def line(reply: Mapping[str, Any]) -> str:
    """The reply as one line for people. Raises ctl_client.WRONG_SHAPE for what is no reply."""
    if reply["healthy"] is not True:
        return f"unhealthy: {_some(reply['problems'], 'problems')}"
    hubs, clients = reply["hubs"], reply["clients"]
    well = [f"hub {row['service']} listens on {row['listen']}" for row in hubs]
    well += [f"client {row['host']} is connected to {row['hub']}" for row in clients]
    if len(well) > MAX_NAMED:
        counts = (
            (hubs, "hub listens", "hubs listen"),
            (clients, "client is connected", "clients are connected"),
        )
        well = [
            f"{number(len(rows))} {one if len(rows) == 1 else more}" for rows, one, more in counts if rows
        ]
    return f"healthy: {'; '.join([*well, *reply.get('warnings', ())])}"


def _some(texts: list[str], what: str) -> str:
    more = len(texts) - MAX_NAMED
    return "; ".join(texts[:MAX_NAMED]) + (f"; and {number(more)} more {what}" if more > 0 else "")
