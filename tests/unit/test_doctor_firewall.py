"""Firewalls as doctor reads them: which packets they surely drop, and that nothing unsure is blamed on them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.doctor_firewall import NOT_LO, Chain, Packet, dropped
from lib.doctor_firewall_rules import from_iptables, from_nft

TO_HUB = Packet("clients", "in", "4", "tcp", "8443", NOT_LO)
FROM_TUNNEL = Packet("pings", "in", "4", "icmp", iif="tun0")
THROUGH = Packet("passing", "forward", "4", "tcp", iif="tun0", oif="eth1")


def nft(
    *rules: Sequence[object], policy: str = "accept", hook: str = "input", **more: Sequence[Sequence[object]]
) -> tuple[Chain, ...]:
    """The chains of a ruleset as nft prints it: a base chain with these rules, and others by their names."""
    chains: dict[str, Sequence[Sequence[object]]] = {"base": rules, **more}
    objects: list[object] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "filter", "handle": 1}},
    ]
    for name in chains:
        base = {"type": "filter", "hook": hook, "prio": 0, "policy": policy} if name == "base" else {}
        objects.append({"chain": {"family": "inet", "table": "filter", "name": name, "handle": 2, **base}})
    objects.append(
        {
            "set": {
                "family": "inet",
                "table": "filter",
                "name": "ports",
                "type": "inet_service",
                "elem": [22, 8443],
            }
        }
    )
    objects += [
        {"rule": {"family": "inet", "table": "filter", "chain": name, "handle": 7, "expr": rule}}
        for name, some in chains.items()
        for rule in some
    ]
    return from_nft(json.dumps({"nftables": objects}))


def match(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


DPORT = {"payload": {"protocol": "tcp", "field": "dport"}}
IIF, OIF = {"meta": {"key": "iifname"}}, {"meta": {"key": "oifname"}}
STATE = {"ct": {"key": "state"}}
DROP: dict[str, object] = {"drop": None}
ACCEPT: dict[str, object] = {"accept": None}
REJECT = {"reject": {"type": "icmp", "expr": "port-unreachable"}}
COUNTER = {"counter": {"packets": 1, "bytes": 2}}
ESTABLISHED = [match(STATE, ["established", "related"], "in"), ACCEPT]

CASES = [
    ("no rules", nft(), TO_HUB, False),
    ("a policy", nft(policy="drop"), TO_HUB, True),
    ("what is established passes, this is new", nft(ESTABLISHED, policy="drop"), TO_HUB, True),
    (
        "lo passes, this is from elsewhere",
        nft([match({"meta": {"key": "iif"}}, "lo"), ACCEPT], policy="drop"),
        TO_HUB,
        True,
    ),
    (
        "some device passes: perhaps it is this one",
        nft([match(IIF, "eth0"), ACCEPT], policy="drop"),
        TO_HUB,
        False,
    ),
    ("the port", nft([match(DPORT, 8443), DROP]), TO_HUB, True),
    (
        "a range of ports",
        nft([match(DPORT, {"set": [22, {"range": [8000, 9000]}]}), COUNTER, REJECT]),
        TO_HUB,
        True,
    ),
    ("another port", nft([match(DPORT, {"set": [22, {"range": [8000, 8442]}]}), DROP]), TO_HUB, False),
    ("all but this port", nft([match(DPORT, 8443, "!="), DROP]), TO_HUB, False),
    ("all but another", nft([match(DPORT, 22, "!="), DROP]), TO_HUB, True),
    ("a named set passes", nft([match(DPORT, "@ports"), ACCEPT], policy="drop"), TO_HUB, False),
    ("a set nobody knows", nft([match(DPORT, "@gone"), ACCEPT], policy="drop"), TO_HUB, False),
    (
        "a verdict map",
        nft([{"vmap": {"key": DPORT, "data": {"set": [[22, ACCEPT], [8443, DROP]]}}}]),
        TO_HUB,
        True,
    ),
    (
        "a verdict map for others",
        nft([{"vmap": {"key": DPORT, "data": {"set": [[22, DROP]]}}}]),
        TO_HUB,
        False,
    ),
    (
        "a verdict map with a name",
        nft([{"vmap": {"key": DPORT, "data": "@map"}}], policy="drop"),
        TO_HUB,
        False,
    ),
    (
        "dropped above a limit",
        nft([match(DPORT, 8443), {"limit": {"rate": 5, "per": "second"}}, DROP]),
        TO_HUB,
        False,
    ),
    (
        "accepted within a limit",
        nft([{"limit": {"rate": 5, "per": "second"}}, ACCEPT], policy="drop"),
        TO_HUB,
        False,
    ),
    ("an unknown match", nft([{"xt": {"type": "match", "name": "geoip"}}, DROP]), TO_HUB, False),
    ("the tunnel", nft([match(IIF, "tun0"), DROP]), FROM_TUNNEL, True),
    ("all tunnels", nft([match(IIF, "tun*"), DROP]), FROM_TUNNEL, True),
    ("another tunnel", nft([match(IIF, {"set": ["tun1", "wg*"]}), DROP]), FROM_TUNNEL, False),
    (
        "TCP only",
        nft([match(IIF, "tun0"), match({"meta": {"key": "l4proto"}}, "tcp"), DROP]),
        FROM_TUNNEL,
        False,
    ),
    ("IPv6 only", nft([match({"meta": {"key": "nfproto"}}, "ipv6"), DROP]), FROM_TUNNEL, False),
    (
        "pings pass",
        nft(
            [match({"payload": {"protocol": "icmp", "field": "type"}}, "echo-request"), ACCEPT], policy="drop"
        ),
        FROM_TUNNEL,
        False,
    ),
    ("a jump", nft([match(IIF, "tun0"), {"jump": {"target": "mine"}}], mine=[[DROP]]), FROM_TUNNEL, True),
    (
        "a jump that returns",
        nft([{"jump": {"target": "mine"}}, ACCEPT], policy="drop", mine=[[match(IIF, "eth0"), DROP]]),
        FROM_TUNNEL,
        False,
    ),
    (
        "a return before the drop",
        nft([{"jump": {"target": "mine"}}], mine=[[match(IIF, "tun0"), {"return": None}], [DROP]]),
        FROM_TUNNEL,
        False,
    ),
    (
        "a goto does not come back",
        nft([{"goto": {"target": "mine"}}, ACCEPT], policy="drop", mine=[]),
        FROM_TUNNEL,
        True,
    ),
    ("a jump to itself", nft([{"jump": {"target": "base"}}], policy="drop"), FROM_TUNNEL, False),
    ("another hook", nft(policy="drop"), THROUGH, False),
    (
        "forwarding",
        nft(ESTABLISHED, [match(IIF, "eth1"), match(OIF, "tun0"), ACCEPT], policy="drop", hook="forward"),
        THROUGH,
        True,
    ),
    (
        "forwarding into the network",
        nft([match(OIF, "eth1"), ACCEPT], policy="drop", hook="forward"),
        THROUGH,
        False,
    ),
    (
        "an address that is not known",
        nft(
            [
                match(
                    {"payload": {"protocol": "ip", "field": "saddr"}},
                    {"prefix": {"addr": "10.0.0.0", "len": 8}},
                ),
                DROP,
            ]
        ),
        TO_HUB,
        False,
    ),
]


@pytest.mark.parametrize(
    ("chains", "packet", "is_dropped"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_nftables_drops(chains: tuple[Chain, ...], packet: Packet, is_dropped: bool) -> None:
    assert (dropped(chains, packet) is not None) == is_dropped


DOCKER = """# Generated by iptables-save
*filter
:INPUT ACCEPT [10:200]
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -j LOG --log-prefix "gone: "
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING DROP [0:0]
COMMIT
"""
UFW = """*filter
:INPUT DROP [0:0]
:ufw-user - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -j ufw-user
-A ufw-user -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user -p tcp -m multiport --dports 80,8000:9000 -m comment --comment "a 'b'" -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(
    ("text", "packet", "rule"),
    [
        (DOCKER, THROUGH, "policy"),
        (DOCKER, TO_HUB, None),
        (UFW, TO_HUB, None),
        (UFW, TO_HUB._replace(port="9443"), "policy"),
        (
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i tun+ -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n",
            FROM_TUNNEL,
            "-i tun+",
        ),
        ("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT ! -i tun0 -j DROP\nCOMMIT\n", FROM_TUNNEL, None),
        (
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m limit --limit 5/sec -j DROP\nCOMMIT\n",
            FROM_TUNNEL,
            None,
        ),
        ("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p icmp -j DROP\nCOMMIT\n", FROM_TUNNEL, "-p icmp"),
    ],
)
def test_what_iptables_drops(text: str, packet: Packet, rule: str | None) -> None:
    found = dropped(from_iptables(text, "4"), packet)
    assert (found is None) == (rule is None)
    if found is not None and rule is not None:
        assert rule in (found.rule.text if found.rule else "policy")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["match", "left", "right", "set", "vmap", "jump", "drop", "meta", "key", "op"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=4))
def test_rules_of_any_shape_are_read_or_refused(rules: list[object]) -> None:
    expressions = [
        {"rule": {"family": "inet", "table": "filter", "chain": "base", "expr": rule}} for rule in rules
    ]
    text = json.dumps(
        {
            "nftables": [
                {
                    "chain": {
                        "family": "inet",
                        "table": "filter",
                        "name": "base",
                        "type": "filter",
                        "hook": "input",
                        "policy": "accept",
                    }
                },
                *expressions,
            ]
        }
    )
    try:
        chains = from_nft(text)
    except ValueError:
        return
    assert dropped(chains, TO_HUB) is None or any("drop" in json.dumps(rule) for rule in rules)


@given(st.text(alphabet="*:-Aijpd !INPUTDROP\"'\n 0123,", max_size=200))
@example("-A ")
@example(":")
@example("-A INPUT -j")
def test_lines_of_any_shape_are_read_or_refused(text: str) -> None:
    try:
        chains = from_iptables(f"*filter\n:INPUT ACCEPT [0:0]\n{text}", "4")
    except ValueError:
        return
    assert dropped(chains, TO_HUB) is None or "DROP" in text


def test_tables_of_our_own_are_told_of_elsewhere() -> None:
    """A killswitch drops all that it does not know, and has a check of its own."""
    chain = {
        "family": "inet",
        "name": "output",
        "type": "filter",
        "hook": "output",
        "prio": 0,
        "policy": "drop",
    }
    found = [
        from_nft(json.dumps({"nftables": [{"chain": {**chain, "table": table}}]}))
        for table in ("tunrouter_killswitch_host", "tunrouter")
    ]
    assert [len(chains) for chains in found] == [0, 1]
