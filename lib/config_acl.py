"""The `acl` section of a router, checked and turned into access rules.

Knows: how rules are written. Refuses to know: how they are applied (acl).
"""

from __future__ import annotations

from lib.addresses import prefix
from lib.config_findings import Findings
from lib.config_schema import AclEntry, Router
from lib.did_you_mean import did_you_mean
from lib.errors import Position
from lib.ids import is_host_name
from lib.packet import ICMP, ICMPV6, TCP, UDP
from lib.prefixes import packed
from lib.settings_acl import AclEnd, AclRule

ACTIONS = ("allow", "deny")
PROTOCOLS = {
    "tcp": TCP,
    "udp": UDP,
    "icmp": ICMP,
    "icmpv6": ICMPV6,
    "ipv6-icmp": ICMPV6,
    "gre": 47,
    "esp": 50,
}


def acl_rules(router: Router, found: Findings) -> tuple[AclRule, ...] | None:
    """The rules of a router, None where it has no `acl`. A wrong rule is a problem, and denies."""
    if not router.acl:
        if "acl" in router.at:
            found.error(router.where("acl"), "an empty 'acl' would deny everything", "write {action: deny}")
        return None
    return tuple(_rule(entry, found) for entry in found.each(router.acl))


def _rule(entry: AclEntry, found: Findings) -> AclRule:
    action = entry.action.lower()
    if action not in ACTIONS:
        hint = did_you_mean(action, ACTIONS) or "write action: allow or deny"
        found.error(entry.where("action"), f"'action': {entry.action[:64]!r} is unknown", hint)
    protocol = _protocol(entry, found)
    ports = _ports(entry, found)
    if ports and protocol not in (TCP, UDP):
        found.error(entry.where("port"), "'port' wants a protocol with ports", "write protocol: tcp or udp")
    return AclRule(
        allow=action == "allow",
        source=_end(entry.source, entry.where("source"), found),
        destination=_end(entry.to, entry.where("to"), found),
        protocol=protocol,
        ports=ports,
    )


def _end(text: str, where: Position, found: Findings) -> AclEnd | None:
    """One end of a rule: a prefix as (packed address, length), else a host name; None for any."""
    if not text or text.lower() == "any":
        return None
    try:
        end = packed(prefix(text))
        found.warn_widened(where, "acl", text)
        return end
    except ValueError as wrong:
        if "/" in text or not is_host_name(text):
            found.error(where, f"neither a prefix nor a host: {wrong}")
        return text


def _protocol(entry: AclEntry, found: Findings) -> int | None:
    word = entry.protocol.lower()
    if not word or word == "any":
        return None
    if word.isdecimal() and int(word) < 256:
        return int(word)
    if word not in PROTOCOLS:
        hint = did_you_mean(word, PROTOCOLS) or "a name as tcp, or a number"
        found.error(entry.where("protocol"), f"unknown protocol {entry.protocol[:64]!r}", hint)
    return PROTOCOLS.get(word, 255)


def _ports(entry: AclEntry, found: Findings) -> tuple[tuple[int, int], ...]:
    """Port ranges (first, last) of `22`, `8000-8080`, or several of them separated by commas."""
    ranges = []
    for part in filter(None, (part.strip() for part in entry.port.split(","))):
        low, dash, high = part.partition("-")
        try:
            first, last = int(low), int(high if dash else low)
            if not 0 <= first <= last <= 65535:
                raise ValueError
        except ValueError:
            found.error(entry.where("port"), f"'port': {part[:64]!r} is neither a port nor a range of them")
            continue
        ranges.append((first, last))
    return tuple(ranges)
