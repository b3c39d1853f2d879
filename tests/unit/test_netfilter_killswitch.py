"""Rules of the killswitch, and the ways to hubs that the next start reads from them."""

from __future__ import annotations

from typing import Any

from lib.netfilter_killswitch import Way, known, label, read, rules

HUB = Way("hub.example:8443", "203.0.113.10", "tcp", 8443)
HUB_6 = Way("hub.example:8443", "2001:db8::10", "tcp", 8443)
DATAGRAMS = Way("hub.example:8443", "203.0.113.10", "udp", 9000)


def test_both_chains_drop_what_no_rule_lets_out() -> None:
    text = rules(["tun1", "tun0"], [HUB, HUB_6, DATAGRAMS])
    assert text.count("policy drop") == 2
    assert 'set tunnels { type ifname; elements = { "tun0", "tun1" }; }' in text
    assert (
        'elements = { 203.0.113.10 . tcp . 8443 comment "hub.example:8443", '
        '203.0.113.10 . udp . 9000 comment "hub.example:8443" };'
    ) in text
    assert 'elements = { 2001:db8::10 . tcp . 8443 comment "hub.example:8443" };' in text
    assert "timeout " not in text.replace("flags timeout", ""), "no name server is let out"


def test_name_servers_are_let_out_for_some_seconds() -> None:
    text = rules([], [], ["10.0.0.53", "fd00::53"], 5)
    assert "set names4 { type ipv4_addr; flags timeout; elements = { 10.0.0.53 timeout 5s }; }" in text
    assert "elements = { fd00::53 timeout 5s };" in text


def test_an_element_stands_once_in_a_set() -> None:
    """nft takes no element twice with two comments."""
    text = rules([], [HUB, HUB._replace(name="other:8443"), HUB])
    assert text.count("203.0.113.10") == 1


def test_names_that_no_comment_may_have_get_a_number() -> None:
    assert label("hub.example", 8443) == "hub.example:8443"
    assert label("2001:db8::1", 443) == "[2001:db8::1]:443"
    for host in ("ü.example", 'a"b', "x" * 200):
        assert label(host, 1).startswith("sha256.")
        assert label(host, 1) != label(host, 2)


ROWS: list[dict[str, Any]] = [
    {"table": {"name": "tunrouter_killswitch_host"}},
    {"set": {"name": "tunnels", "type": "ifname", "elem": ["tun0"]}},
    {
        "set": {
            "name": "hubs4",
            "elem": [
                {"elem": {"val": {"concat": ["203.0.113.10", "tcp", 8443]}, "comment": "hub.example:8443"}},
                {"elem": {"val": {"concat": ["203.0.113.10", "udp", 9000]}, "comment": "hub.example:8443"}},
                {"concat": ["203.0.113.11", "tcp", 443]},
                {"concat": ["203.0.113.12", "sctp", 443]},
                {"concat": ["no address", "tcp", 443]},
                "odd",
            ],
        }
    },
    {"set": {"name": "hubs6", "type": "ipv6_addr"}},
]
"""As nftables 1.0.6 prints it, and what somebody may have added."""


def test_the_next_start_reads_the_ways() -> None:
    tunnels, ways = read(ROWS)
    assert tunnels == ["tun0"]
    assert ways == [HUB, DATAGRAMS, Way("", "203.0.113.11", "tcp", 443)]


def test_protocols_are_read_by_number_too() -> None:
    """So nft prints them where there is no /etc/protocols."""
    elements = [{"concat": ["2001:db8::10", number, 8443]} for number in (6, 17, 132)]
    ways = read([{"set": {"name": "hubs6", "elem": elements}}])[1]
    assert ways == [Way("", "2001:db8::10", protocol, 8443) for protocol in ("tcp", "udp")]


def test_a_hub_is_known_by_its_name_or_else_by_its_port() -> None:
    ways = read(ROWS)[1]
    assert known(ways, "hub.example:8443", 8443) == ["203.0.113.10"]
    assert known(ways, "renamed.example:8443", 8443) == ["203.0.113.10"]
    assert known(ways, "hub.example:1", 1) == []
