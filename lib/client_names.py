"""Names of the hub's domain on a client: its name server is asked for that domain alone, by systemd-resolved.

Knows: resolvectl(1), what of a hub's words about names is believed.
Refuses to know: from which hub settings are taken at all (client_push), who answers (dns_answers).

What is set belongs to the tunnel's device, and goes with it, however the process ends. Other names are never
asked of the hub: the device's name server is for the domain (`~tun.example`), and for nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence

from lib import service_command, service_environment

PROGRAM = "resolvectl"
SECONDS = 5.0
"""How long the program may take."""


def objection(dns: Sequence[str], domain: str, hubs: Iterable[str]) -> str:
    """Why a domain is not set; empty where it can be.

    `dns` are those of its name servers that the tunnel leads to, `hubs` the hosts that this client dials.
    """
    if "." not in domain:
        return f"the domain {domain}, of one word, could hide all names below it that others have"
    inside = next((hub for hub in hubs if f".{hub.lower().rstrip('.')}".endswith(f".{domain}")), "")
    if inside:
        return (
            f"the domain {domain}: the hub's own name {inside} is in it, and must be found without the tunnel"
        )
    return "" if dns else f"the domain {domain}: none of its name servers is reached through the tunnel"


def follow(device: str, dns: Sequence[str], domain: str) -> str:
    """Let the names of a domain be asked of these name servers, and nothing else; returns why not, or "".

    Without a domain what was set is taken back.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        if not domain:
            return ""
        return (
            f"names of {domain} are not asked of {dns[0]}: there is no systemd-resolved here (resolvectl); "
            "let a resolver of yours forward that domain there"
        )
    if not domain:
        return _run(program, "revert", device)
    for words in (("dns", device, *dns), ("domain", device, f"~{domain}"), ("default-route", device, "no")):
        why = _run(program, *words)
        if why:
            _run(program, "revert", device)
            return f"names of {domain} are not asked of {dns[0]}: {why}"
    return ""


def _run(*argv: str) -> str:
    """Run the program; returns what went wrong, or ""."""
    outcome = service_command.run(argv, service_environment.whole(os.environ), SECONDS)
    return f"{PROGRAM} {argv[1]}: {outcome.said or outcome.failure}" if outcome.failure else ""
