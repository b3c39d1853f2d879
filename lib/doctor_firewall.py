"""A packet filter's rules, and whether they surely drop a packet that a tunnel needs.

Knows: how nftables(8) walks through chains, rules and verdicts. Refuses to know: how rules are written
(doctor_firewall_rules), which packets a tunnel needs (doctor_look_host).

Much of a rule may be unknown: its match is not read here (marks, limits, fib), or the packet's field is not
given. So a walk has several possible ends. Only where every one of them is a drop, the packet is surely
dropped; a firewall that may let it pass is not blamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple

NOT_LO = "?"
"""The device of a packet that comes from some other host: which one is not known, but it is not lo."""
MAX_DEPTH = 16
"""Jumps within jumps; the kernel allows as many (NFT_JUMP_STACK_SIZE)."""
MAX_STEPS = 200_000
"""Rules that a walk looks at; beyond them nothing is known."""

HOOKS = {
    "in": ("prerouting", "input"),
    "forward": ("prerouting", "forward", "postrouting"),
    "out": ("output", "postrouting"),
}
"""Direction of a packet -> the hooks that it passes."""

ACCEPT, DROP, JUMP, GOTO, RETURN, CONTINUE = "accept", "drop", "jump", "goto", "return", "continue"


class Condition(NamedTuple):
    """A match of a rule: a field of the packet is one of `values`, or none of them."""

    field: str
    """iif, oif, protocol, dport, source, destination, state or version."""
    values: tuple[str, ...]
    """A device's name (`tun*` for all that begin so), a port or range (`80-90`), a prefix, a word."""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: if all conditions hold, the verdict."""

    conditions: tuple[Condition, ...]
    verdict: str
    target: str = ""
    """The chain of JUMP and GOTO."""
    unknown: bool = False
    """Whether it has matches that are not read here."""
    text: str = ""
    """The rule as people know it."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; `hook` is empty for one that is only jumped to."""

    table: str
    """Family and name, as `inet filter`."""
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = ACCEPT

    @property
    def versions(self) -> tuple[str, ...]:
        """The IP versions of the packets that it sees."""
        return {"ip": ("4",), "ip6": ("6",), "inet": ("4", "6")}.get(self.table.partition(" ")[0], ())


class Packet(NamedTuple):
    """A packet that a tunnel needs. A field that is not known is empty."""

    about: str
    """What it is, in words: `a client's connection to port 8443`."""
    direction: str
    """Of HOOKS."""
    version: str
    protocol: str
    """tcp, udp, icmp or icmpv6."""
    port: str = ""
    iif: str = ""
    oif: str = ""
    source: str = ""
    destination: str = ""


@dataclass(frozen=True, slots=True)
class Firewall:
    """The rules of this host, and the packets that its tunnels need."""

    chains: tuple[Chain, ...]
    packets: tuple[Packet, ...]


class Dropped(NamedTuple):
    """Who surely drops a packet."""

    chain: Chain
    rule: Rule | None
    """None for the chain's policy."""


Ends = dict[str, Rule | None]
"""Each possible end of a walk (ACCEPT, DROP, RETURN), with the rule of the first such; None for none."""


def dropped(chains: Iterable[Chain], packet: Packet) -> Dropped | None:
    """Who surely drops a packet; None where nobody does, or where that is not sure."""
    every = list(chains)
    for hook in HOOKS[packet.direction]:
        bases = [one for one in every if one.hook == hook and packet.version in one.versions]
        for base in sorted(bases, key=lambda one: one.priority):
            known = {one.name: one for one in every if one.table == base.table}
            ends = _Walk(known, packet).ends(base, 0)
            if RETURN in ends:
                ends.setdefault(base.policy, None)
                del ends[RETURN]
            if set(ends) == {DROP}:
                return Dropped(base, ends[DROP])
    return None


class _Walk:
    """One packet's way through the chains of one table."""

    def __init__(self, chains: Mapping[str, Chain], packet: Packet) -> None:
        self._chains, self._packet, self._left = chains, packet, MAX_STEPS

    def ends(self, chain: Chain, depth: int) -> Ends:
        """The possible ends; RETURN where it may come to the end of the chain."""
        found: Ends = {}
        if depth > MAX_DEPTH:
            return {ACCEPT: None}
        for rule in chain.rules:
            self._left -= 1
            if self._left < 0:
                return found | {ACCEPT: None}
            matches = _holds(rule, self._packet)
            if matches is False or rule.verdict == CONTINUE:
                continue
            ends = self._of(rule, depth)
            goes_on = matches is None or (rule.verdict == JUMP and RETURN in ends)
            if rule.verdict == JUMP:
                ends.pop(RETURN, None)
            found = ends | found
            if not goes_on:
                return found
        found.setdefault(RETURN, None)
        return found

    def _of(self, rule: Rule, depth: int) -> Ends:
        """The possible ends of a rule that matches."""
        if rule.verdict not in (JUMP, GOTO):
            return {rule.verdict: rule}
        chain = self._chains.get(rule.target)
        return self.ends(chain, depth + 1) if chain is not None else {ACCEPT: rule}


def _holds(rule: Rule, packet: Packet) -> bool | None:
    """Whether a rule matches a packet; None where that is not known."""
    result: bool | None = None if rule.unknown else True
    for condition in rule.conditions:
        value = _value(packet, condition.field)
        fits = _fits(condition, value)
        if fits is not None and condition.negated:
            fits = not fits
        if fits is False:
            return False
        if fits is None:
            result = None
    return result


def _value(packet: Packet, field: str) -> str:
    if field == "state":
        return "new"
    return {"dport": packet.port, "type": _ECHO.get(packet.protocol, "")}.get(
        field, str(getattr(packet, field, ""))
    )


_ECHO = {"icmp": "echo-request", "icmpv6": "echo-request"}


def _fits(condition: Condition, value: str) -> bool | None:
    """Whether a value is one of those of a condition; None where it is not known."""
    if value == NOT_LO:
        return False if set(condition.values) == {"lo"} else None
    if not value:
        # a packet without the field is of another protocol: its port or type fits nothing
        return None
    if condition.field in ("source", "destination"):
        return _within(value, condition.values)
    return any(_same(one, value) for one in condition.values)


def _same(wanted: str, value: str) -> bool:
    first, dash, last = wanted.partition("-")
    if dash and value.isdecimal() and first.isdecimal() and last.isdecimal():
        return int(first) <= int(value) <= int(last)
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def _within(value: str, wanted: Iterable[str]) -> bool | None:
    """Whether an address is in one of several prefixes; None where one of these cannot be read."""
    unread = False
    for text in wanted:
        try:
            if ip_address(value) in ip_network(text, strict=False):
                return True
        except ValueError:
            unread = True
    return None if unread else False
