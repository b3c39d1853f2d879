"""nftables tables of our own: loaded and deleted by the program nft, those of killed runs found and removed.

Knows: nft(8), that a table is replaced whole or not at all, that a table outlives its process.
Refuses to know: what a table is for and what is in it (netfilter_map), what it is called (netfilter_names).

Only tables of ours are touched, so that whatever else is in the firewall stays as it is. A table belongs to a
TUN device. One whose device nobody has open was left by a process that was killed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lib import netlink_watch, service_command, service_environment, service_privileges
from lib.errors import HostError
from lib.netfilter_names import Table, parse

PROGRAM = "nft"
SECONDS = 10.0
"""How long the program may take."""
MAX_LISTED = 4 << 20
"""Bytes of the list of all tables, which is some 100 for each."""
STAYS = frozenset({"killswitch", "forwarding"})
"""Purposes of tables that stay when their process is killed: it is what they are for, or others need them."""

_CARRIER = "/sys/class/net/{}/carrier"
"""1 while a process has a TUN device open."""
_HINTS = {
    "there is no such program": "install it (package nftables)",
    "not permitted": "nftables wants CAP_NET_ADMIN: start as root, or by the unit of the package",
    "syntax error": "this nft may be too old: nftables 0.9.5 or later is needed",
    "Protocol not supported": "the kernel has no nftables (CONFIG_NF_TABLES)",
    "not supported": "the kernel lacks a part of nftables (modules nf_tables, nft_nat, nft_ct)",
}
"""What nft or the kernel says -> what to do; the first that fits."""


def load(table: Table, rules: str) -> None:
    """Load a table with these chains (nft's text), in place of the one that there is. Raises HostError.

    No packet finds it half loaded: the kernel takes the old one and the new one in one transaction.
    """
    name = f"table inet {table.name}"
    _nft("-f", "-", given=f"add {name}\ndelete {name}\n{name} {{\n{rules}\n}}\n")


def delete(table: Table) -> None:
    """Delete a table, which need not be there. Raises HostError."""
    name = f"table inet {table.name}"
    _nft("-f", "-", given=f"add {name}\ndelete {name}\n")


def tables() -> tuple[Table, ...]:
    """Our tables in this network namespace, none where there is no nft. Raises HostError."""
    if service_command.find(PROGRAM) is None:
        return ()
    try:
        rows = json.loads(_nft("-j", "list", "tables", "inet"))["nftables"]
        found = [parse(row["table"]["name"]) for row in rows if "table" in row]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"{PROGRAM}: its list of tables cannot be read: {error!r}") from None
    return tuple(table for table in found if table is not None)


def listed(table: Table) -> list[dict[str, Any]]:
    """The parts of a table, as `nft -j list table` has them. Raises HostError."""
    text = _nft("-j", "list", "table", "inet", table.name)
    try:
        return [one for one in json.loads(text)["nftables"] if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"{PROGRAM}: its list of {table.name} cannot be read: {error!r}") from None


def sweep() -> tuple[Table, ...]:
    """Delete what killed processes have left, but for what shall stay; returns it. Raises HostError."""
    left = [table for table in tables() if table.purpose not in STAYS and not _is_open(table.device)]
    for table in left:
        delete(table)
    return tuple(left)


def _is_open(device: str) -> bool:
    """Whether a process has this TUN device open."""
    try:
        state = netlink_watch.tun_state(netlink_watch.index_of(device))
    except HostError:
        return False
    if state is None or not state.persists:  # without a process it would not be there
        return state is not None
    try:
        return Path(_CARRIER.format(device)).read_text().strip() != "0"
    except OSError:  # it is down: nobody can tell
        return True


def _nft(*words: str, given: str = "") -> str:
    """What nft prints. Raises HostError with what is wrong and what to do about it."""
    environ, text = service_environment.whole(os.environ), given.encode("utf-8", "surrogateescape")
    outcome = service_command.run(
        (PROGRAM, *words), environ, SECONDS, text, MAX_LISTED, service_privileges.NET_ADMIN
    )
    if not outcome.failure:
        return outcome.output
    lines = [line for line in outcome.errors.splitlines() if "rror" in line] or [outcome.said]
    said = lines[0].partition("Error: ")[2] or lines[0].strip()
    why = outcome.failure if outcome.failure.startswith(PROGRAM) else f"{PROGRAM}: {said or outcome.failure}"
    hint = next((hint for words, hint in _HINTS.items() if words in f"{why} {said}"), "")
    raise HostError(f"{why}; {hint}" if hint else why)
