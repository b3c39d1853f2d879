"""Every module of lib/ with its group, its layer and its first line, as the table of ARCHITECTURE.md.

    .venv/bin/python -m tests.support.modules_table     writes it into the page

Knows: the groups, and how a module's first line becomes a row. Refuses to know: what any module does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.marked import between, put_between
from tests.support.netns import ROOT
from tests.unit.test_layers import LAYER_OF

LIB = ROOT / "lib"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN = "<!-- modules: written by tests/support/modules_table.py -->\n"
END = "<!-- end of modules -->\n"

GROUPS = {
    "cli": "what a person types, and what the terminal shows",
    "ctl": "the control socket of a running process",
    "api": "the web API: GOST's, and what is ours in it",
    "config": "a configuration's text, its sections, and from them the settings",
    "settings": "what a process is to do: checked, typed, complete",
    "wire": "formats between two processes",
    "packet": "IP packets and virtio-net headers",
    "route": "routing tables, and which gateway carries a flow",
    "rule": "rows of ingresses and authers",
    "source": "files, Redis keys and URLs from which tables take their rows",
    "namespace": "the hosts of a namespace, and which services share it",
    "forward": "the hub's decision on every packet",
    "acl": "access rules, and the connections and fragments that they have allowed",
    "auth": "who is let in",
    "enrol": "hosts that join by an invitation",
    "netlink": "addresses and routes in the kernel",
    "netfilter": "tables of our own in nftables, the kernel's firewall",
    "stream": "bytes to and from a peer: TCP, TLS, WebSocket",
    "datagram": "the datagram channel of a session, beside its streams",
    "session": "one peer's session: handshake, queue, sender, keepalive",
    "cluster": "other hubs: where their hosts are, and how packets get there",
    "worker": "processes that have the sessions of one hub: made, linked, given connections, asked",
    "client": "the role of a client: a TUN device and its session with a hub",
    "hub": "the role of a hub: clients let in, packets passed between them",
    "push": "what a hub tells its hosts: addresses, routes, an MTU, name servers",
    "plugin": "other people's programs that are asked for a route, a rule, a login, a rate or a node",
    "capture": "captures, traces and the flight recorder",
    "notify": "hosts that come and go, and who is told of them",
    "observe": "observers: plugins that are told of services, and the figures that they get",
    "log": "the log",
    "metrics": "what Prometheus reads",
    "service": "the process: start, reload, end, privileges, service manager",
    "demo": "`tunrouter demo`",
    "doctor": "`tunrouter doctor`",
    "dns": "names of hosts, and DNS questions about them",
}
"""What a module's name may begin with, and what the group is about."""
MAIN = frozenset(
    {"acl", "client", "demo", "forward", "hub", "metrics", "namespace", "netlink", "packet"}
    | {"service", "settings"}
)
"""Groups whose main module has the group's name."""
ALONE = frozenset(
    {
        "addresses",
        "bounded_dict",
        "counter_rates",
        "counters",
        "did_you_mean",
        "errors",
        "framing",
        "go_values",
    }
    | {
        "humanize",
        "ids",
        "ingress",
        "limits",
        "local_time",
        "page_files",
        "prefixes",
        "printable",
        "text_encoding",
        "tun",
    }
)
"""Modules that belong to no group."""


def group(module: str) -> str | None:
    """The group that a module's name says it is in: "" for none (ALONE), None where the name fits nowhere."""
    if module in ALONE:
        return ""
    first, rest, _ = module.partition("_")
    return first if first in GROUPS and (rest or module in MAIN) else None


def modules() -> list[str]:
    """The names of all modules, sorted."""
    return sorted(path.stem for path in LIB.glob("*.py") if path.stem != "__init__")


def first_line(module: str) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse((LIB / f"{module}.py").read_text(encoding="utf-8")))
    return text.partition("\n")[0] if text else ""


def table() -> str:
    """The whole table, in Markdown."""
    return "\n".join([*_rows(), ""])


def in_page() -> str:
    """The table as it stands in the page."""
    return between(PAGE, BEGIN, END)


def _rows() -> Iterator[str]:
    yield "| module | layer | what it is |"
    yield "|---|---|---|"
    for name, about in [*GROUPS.items(), ("", "in no group")]:
        yield f"| **`{name}_`** | | **{about}** |" if name else f"| | | **{about}** |"
        for module in modules():
            if group(module) == name:
                line = first_line(module).replace("|", "\\|")
                yield f"| `{module}` | L{LAYER_OF[module]} | {line} |"


def main() -> None:
    """Write the table into the page."""
    put_between(PAGE, BEGIN, END, table())


if __name__ == "__main__":
    main()
