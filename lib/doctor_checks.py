"""All checks of `tunrouter doctor`, in order: from facts to findings, and what could not be looked at.

Knows: which facts each check needs. Refuses to know: how facts are found, how a report is printed
(cli_doctor).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lib import doctor_host, doctor_process, doctor_tunnel, doctor_way
from lib.doctor_facts import Facts, Unknown
from lib.doctor_finding import Finding


class Check(NamedTuple):
    """A check: its name, the field of Facts that it needs, and what it finds there."""

    name: str
    fact: str
    find: Callable[[Any], Iterator[Finding]]
    applies: Callable[[Any], bool] = bool
    """Whether the fact has something to look at; else the check is left out."""
    is_note: bool = False
    """Whether what it finds is good to know, and nothing is ill."""


def _always(fact: object) -> bool:
    """For a fact that says something also where it is empty."""
    return True


CHECKS = (
    Check("configuration", "said", doctor_host.said, _always),
    Check("killswitch", "locked", doctor_host.locked),
    Check("GOST", "said", doctor_host.gost, _always, is_note=True),
    Check("running process", "ailing", doctor_process.findings, _always),
    Check("session", "sessions", doctor_tunnel.sessions),
    Check("hub's settings", "sessions", doctor_tunnel.refused, is_note=True),
    Check("names", "names", doctor_way.names),
    Check("names of hosts", "domains", doctor_way.domains),
    Check("hub", "ways", doctor_way.ways),
    Check("hub over UDP", "datagrams", doctor_way.datagrams),
    Check("listening", "listening", doctor_host.listening),
    Check("certificate", "ways", doctor_way.certificates, doctor_way.has_certificate),
    Check("clock", "clock", doctor_host.clock),
    Check("hub's clock", "ways", doctor_way.clocks, doctor_way.has_date),
    Check("TUN device", "tun", doctor_host.tun),
    Check("overlap", "networks", doctor_host.networks),
    Check("forwarding", "gateways", doctor_host.gateways),
    Check("reverse path", "filtered", doctor_host.filtered),
    Check("firewall", "firewall", doctor_host.firewall),
    Check("return routes", "neighbours", doctor_tunnel.neighbours),
    Check("far address", "far", doctor_tunnel.far),
    Check("path MTU", "paths", doctor_way.paths, doctor_way.has_answer),
    Check("congestion", "congestion", doctor_host.congestion, _always),
    Check("other programs", "others", doctor_host.others, _always),
)
"""In the order in which a cause comes before what follows from it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks have found."""

    findings: tuple[tuple[str, Finding], ...]
    """(name of the check, finding), in the order of CHECKS."""
    notes: tuple[tuple[str, Finding], ...]
    """The same of checks that are notes."""
    passed: tuple[str, ...]
    """The names of the checks that found nothing."""
    unknown: tuple[tuple[str, str], ...]
    """(name of the check, why its fact could not be found out)."""

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def report(facts: Facts) -> Report:
    """Run every check whose fact was found."""
    findings: list[tuple[str, Finding]] = []
    notes: list[tuple[str, Finding]] = []
    passed: list[str] = []
    unknown: list[tuple[str, str]] = []
    for check in CHECKS:
        fact = getattr(facts, check.fact)
        if isinstance(fact, Unknown):
            unknown.append((check.name, fact.why))
            continue
        if fact is None or not check.applies(fact):
            continue
        found = list(dict.fromkeys(check.find(fact)))
        (notes if check.is_note else findings).extend((check.name, finding) for finding in found)
        if not found:
            passed.append(check.name)
    return Report(_told_once(findings), tuple(notes), tuple(passed), tuple(unknown))


def _told_once(findings: list[tuple[str, Finding]]) -> tuple[tuple[str, Finding], ...]:
    """Leave out what the running process warns of where a later check says the same, and what mends it."""
    better = tuple(finding.what for _, finding in findings if finding.why != doctor_tunnel.WARNED)
    return tuple(
        (name, finding)
        for name, finding in findings
        if finding.why != doctor_tunnel.WARNED or not finding.what.startswith(better)
    )
