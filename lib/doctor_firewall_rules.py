"""Rules of a packet filter read from what `nft -j list ruleset` and `iptables-save` print, into chains.

Knows: the JSON of libnftables-json(5), and the lines of iptables-save(8), as far as a tunnel is concerned.
Refuses to know: what becomes of a packet (doctor_firewall).

A match that is not known here makes its rule an unknown one, never an error: the rules are those of other
programs, and there are more kinds of them than can be listed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lib import netfilter_names
from lib.doctor_firewall import ACCEPT, CONTINUE, DROP, GOTO, JUMP, RETURN, Chain, Condition, Rule

MAX_RULES = 50_000
"""Rules that are read; of a firewall with more of them nothing is said."""

_VERDICTS = {"accept": ACCEPT, "drop": DROP, "reject": DROP, "return": RETURN, "continue": CONTINUE}
_VERDICTS |= {"queue": ACCEPT}  # whoever reads the queue decides
_NO_MATCH = frozenset({"counter", "log", "mangle", "notrack", "comment", "quota", "ct helper", "ct timeout"})
_NO_MATCH |= {"set", "dup", "tproxy", "flow", "masquerade", "snat", "dnat", "redirect", "xt_target"}
_FIELDS = {
    ("meta", "iifname"): "iif",
    ("meta", "iif"): "iif",
    ("meta", "oifname"): "oif",
    ("meta", "oif"): "oif",
    ("meta", "l4proto"): "protocol",
    ("meta", "nfproto"): "version",
    ("ct", "state"): "state",
    ("ip", "protocol"): "protocol",
    ("ip", "saddr"): "source",
    ("ip", "daddr"): "destination",
    ("ip6", "nexthdr"): "protocol",
    ("ip6", "saddr"): "source",
    ("ip6", "daddr"): "destination",
    ("th", "dport"): "dport",
    ("icmp", "type"): "type",
    ("icmpv6", "type"): "type",
    ("tcp", "dport"): "dport",
    ("udp", "dport"): "dport",
}
_WORDS = {"ipv4": "4", "ipv6": "6", "ipv6-icmp": "icmpv6", "ip": "4", "ip6": "6"}
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
_IMPLIED = {"ip": ("version", "4"), "ip6": ("version", "6")} | {
    name: ("protocol", name) for name in ("tcp", "udp", "icmp", "icmpv6")
}
"""What a packet must be to have a header's fields."""


def from_nft(text: str) -> tuple[Chain, ...]:
    """The filter chains of `nft -j list ruleset`. Raises ValueError for what is no such text."""
    try:
        objects = json.loads(text)["nftables"]
        return tuple(_chains([one for one in objects if isinstance(one, dict) and not _is_ours(one)]))
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"not the rules of nftables: {error!r:.80}") from None


def _is_ours(one: Mapping[str, Any]) -> bool:
    """Whether this is a part of a table of ours: a killswitch is told of by itself."""
    (body,) = one.values()
    return netfilter_names.parse(str(body.get("table") or body.get("name", ""))) is not None


def _chains(objects: list[dict[str, Any]]) -> Iterator[Chain]:
    sets = {
        (_table(one["set"]), one["set"]["name"]): one["set"].get("elem", [])
        for one in objects
        if "set" in one
    }
    rules: dict[tuple[str, str], list[Rule]] = {}
    for count, one in enumerate(one["rule"] for one in objects if "rule" in one):
        if count >= MAX_RULES:
            raise ValueError(f"more than {MAX_RULES:,} rules")
        table = _table(one)
        known = {name: elements for (where, name), elements in sets.items() if where == table}
        rules.setdefault((table, one["chain"]), []).extend(_rules(one, known))
    for one in (one["chain"] for one in objects if "chain" in one):
        hook = one.get("hook", "") if one.get("type", "filter") in ("filter", "route") else "nat"
        table, priority = _table(one), int(one.get("prio", 0))
        found = tuple(rules.get((table, one["name"]), ()))
        yield Chain(table, one["name"], found, hook, priority, one.get("policy") or ACCEPT)


def _table(one: Mapping[str, Any]) -> str:
    return f"{one['family']} {one.get('table') or one['name']}"


def _rules(one: Mapping[str, Any], sets: Mapping[str, Any]) -> Iterator[Rule]:
    """The rule, or a rule for each element of a verdict map in it."""
    conditions: list[Condition] = []
    unknown = False
    number = one.get("handle", 0)
    where = f"nft rule of {_table(one)} {one['chain']}, handle {number}"
    for statement in one["expr"]:
        body: Any
        ((kind, body),) = statement.items() if isinstance(statement, dict) else ((str(statement), None),)
        if kind in _VERDICTS:
            yield Rule(tuple(conditions), _VERDICTS[kind], "", unknown, where)
        elif kind in (JUMP, GOTO):
            yield Rule(tuple(conditions), kind, body["target"], unknown, where)
        elif kind == "match":
            found = _match(body, sets)
            unknown |= found is None
            conditions += found or ()
        elif kind == "vmap":
            yield from _mapped(body, sets, tuple(conditions), unknown, where)
        elif kind not in _NO_MATCH:
            unknown = True


def _mapped(
    body: Mapping[str, Any],
    sets: Mapping[str, Any],
    before: tuple[Condition, ...],
    unknown: bool,
    where: str,
) -> Iterator[Rule]:
    pairs = body["data"]
    pairs = sets.get(pairs[1:]) if isinstance(pairs, str) else pairs["set"]
    if pairs is None:  # a named map: any end is possible
        yield from (Rule(before, verdict, "", True, where) for verdict in (ACCEPT, DROP))
        return
    for value, verdict in pairs:
        ((kind, inner),) = verdict.items()
        found = _match({"op": "==", "left": body["key"], "right": value}, sets)
        conditions = (*before, *(found or ()))
        target = inner["target"] if kind in (JUMP, GOTO) else ""
        yield Rule(conditions, _VERDICTS.get(kind, kind), target, unknown or found is None, where)


def _match(body: Mapping[str, Any], sets: Mapping[str, Any]) -> list[Condition] | None:
    """The conditions that a match stands for; None for one that is not known."""
    left, op = body["left"], body.get("op", "==")
    if op not in ("==", "!=", "in") or not isinstance(left, dict):
        return None
    ((kind, inner),) = left.items()
    if not isinstance(inner, dict):
        return None
    head = inner.get("protocol", "") if kind == "payload" else kind
    field = _FIELDS.get((head, inner.get("field") or inner.get("key", "")))
    values = _values(body["right"], sets)
    if field is None or values is None:
        return None
    implied = _IMPLIED.get(head)
    conditions = [Condition(implied[0], (implied[1],))] if implied else []
    read = tuple(_word(field, value) for value in values)
    return [*conditions, Condition(field, read, op == "!=")]


def _word(field: str, value: str) -> str:
    if field == "protocol":
        value = _PROTOCOLS.get(value, value)
    return _WORDS.get(value, value) if field in ("protocol", "version") else value


def _values(right: Any, sets: Mapping[str, Any]) -> list[str] | None:
    """The values on the right of a match as text; None where they are not known."""
    if isinstance(right, str) and right.startswith("@"):
        right = {"set": sets[right[1:]]} if right[1:] in sets else None
    if isinstance(right, bool) or right is None:
        return None
    if isinstance(right, str | int):
        return [str(right)]
    if isinstance(right, list):
        parts = [_values(one, sets) for one in right]
        return None if None in parts else [text for part in parts for text in part or ()]
    ((kind, inner),) = right.items()
    if kind == "set":
        return _values(inner if isinstance(inner, list) else [inner], sets)
    if kind == "range":
        return [f"{inner[0]}-{inner[1]}"]
    if kind == "prefix":
        return [f"{inner['addr']}/{inner['len']}"]
    return _values(inner["val"], sets) if kind == "elem" else None


# --- iptables-save ------------------------------------------------------------------------------

_TARGETS = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": RETURN, "NFQUEUE": ACCEPT}
_HOOKS = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_OPTIONS = {
    "-i": "iif",
    "-o": "oif",
    "-p": "protocol",
    "-s": "source",
    "-d": "destination",
    "--dport": "dport",
    "--dports": "dport",
    "--ctstate": "state",
    "--state": "state",
    "--icmp-type": "type",
    "--icmpv6-type": "type",
}
_NO_VALUE = frozenset({"-m", "--reject-with", "--comment", "--log-prefix", "--log-level"})
"""Options whose value matters to nobody here."""


def from_iptables(text: str, version: str) -> tuple[Chain, ...]:
    """The chains of iptables-save (`version` "4") or ip6tables-save ("6"). Raises ValueError."""
    chains: dict[tuple[str, str], tuple[str, list[Rule]]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = (*line[1:].split(), "-")[:2]
            chains[table, name] = policy, []
        elif line.startswith("-A "):
            _, name, *words = shlex.split(line)
            chains.setdefault((table, name), ("-", []))[1].append(_line(words, line))
    family = {"4": "ip", "6": "ip6"}[version]
    return tuple(
        Chain(
            f"{family} iptables-{table}", name, tuple(rules),
            name.lower() if name in _HOOKS and table != "nat" else "",
            _PRIORITIES.get(table, 0), DROP if policy == "DROP" else ACCEPT,
        )
        for (table, name), (policy, rules) in chains.items()
    )  # fmt: skip


def _line(words: list[str], text: str) -> Rule:
    conditions: list[Condition] = []
    verdict, target, unknown, negated = CONTINUE, "", False, False
    left = iter(words)
    for word in left:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            name = next(left, "")
            verdict = _TARGETS.get(name, GOTO if word == "-g" else JUMP)
            target = name if verdict in (JUMP, GOTO) else ""
            if name.isupper() and verdict == JUMP and name in _OWN_TARGETS:
                verdict, target = CONTINUE, ""
        elif word in _OPTIONS:
            field, value = _OPTIONS[word], next(left, "").lower()
            values = tuple(one.replace(":", "-") if field == "dport" else one for one in value.split(","))
            values = tuple(
                f"{one[:-1]}*" if field in ("iif", "oif") and one[-1:] == "+" else one for one in values
            )
            conditions.append(Condition(field, tuple(_word(field, one) for one in values), negated))
        elif word in _NO_VALUE:
            next(left, "")
        else:
            unknown = True
        negated = False
    return Rule(tuple(conditions), verdict, target, unknown, f"iptables {text}")


_OWN_TARGETS = frozenset({"LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CT", "NOTRACK", "CHECKSUM", "TOS"})
"""Targets after which the next rule is looked at."""
