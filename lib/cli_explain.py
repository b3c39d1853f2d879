"""`tunrouter explain`: why a packet would be delivered or dropped, by a running hub or by a configuration.

Knows: which process is asked, how an explanation is printed, its exit status.
Refuses to know: how a decision is explained (forward_explain, ctl_explain).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from lib import cli_process, ctl_client, ctl_explain, ctl_filter, namespace_titles
from lib.cli_descriptors import complain
from lib.errors import ConfigError, Position, Problem
from lib.hub_tables import Tables
from lib.namespace_domains import Domains
from lib.printable import printable
from lib.settings import HubSettings, Settings

LOAD_SECONDS = 60.0
"""How long the sources of a configuration's tables may take to be read."""
DROPPED = 3
"""Exit status where the packet would be dropped."""


def run(arguments: Mapping[str, Any], settings: Callable[[], Settings]) -> int:
    """Explain one packet; returns the exit status. Raises ConfigError, HostError.

    `settings` is called only with -C or -L, where the configuration's tables are asked and no process.
    """
    request = {
        "do": "explain",
        "to": arguments["ADDRESS"],
        "from": arguments["--from"] or "",
        "ns": arguments["--ns"] or "",
        "service": arguments["--service"] or "",
        "source": arguments["--source"] or "",
        "port": arguments["--port"] or "",
    }
    if not request["from"]:
        what = "no host is named that sends the packet"
        raise ConfigError([Problem(Position("--from"), what, "write --from HOST")])
    if arguments["-C"] or arguments["-L"]:
        return _print(_of_file(settings(), request), arguments["--json"])
    path = cli_process.path(arguments, "hubs")
    with ctl_client.understood(path):
        return _print(ctl_client.ask(path, request, ctl_client.ASKING_SECONDS), arguments["--json"])


def _print(reply: Mapping[str, Any], as_json: bool) -> int:
    """Print a reply; returns the exit status."""
    status = 0 if reply["delivered"] else DROPPED
    if as_json:
        text = json.dumps(reply, indent=2)
    else:
        lines = [("service", reply["service"]), *reply["lines"]]
        text = "\n".join(printable(f"{what + ':':18} {text}") for what, text in lines)
    print(text)
    return status


def _of_file(settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
    """The reply of a hub with this configuration, as if every host were connected."""
    hub = _hub(settings.hubs, request["service"])
    tables = Tables(settings)
    namespace_titles.use(settings.titles)
    try:
        tables.start()
        if not tables.wait_loaded(LOAD_SECONDS):
            complain(f"note: not every source was read within {LOAD_SECONDS:g} s")
        domain = Domains(tables).of(hub, settings.tables)
        try:
            question = ctl_explain.read_question(domain, request)
        except ValueError as wrong:
            raise ConfigError([Problem(Position("explain"), str(wrong))]) from None
        ctl_explain.connect_everybody(question.attachment.namespace)
        return ctl_explain.reply(hub.name, question, sessions=False)
    finally:
        tables.stop()


def _hub(hubs: tuple[HubSettings, ...], name: str) -> HubSettings:
    chosen = [hub for hub in hubs if name in ("", hub.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = [hub.name for hub in hubs]
    raise ConfigError([Problem(Position("--service"), ctl_filter.which_hub(name, names))])
