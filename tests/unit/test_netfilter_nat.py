"""Rules and notes of an exit: what is noted before this host forwards, and read again by whoever sets it back."""

from __future__ import annotations

from typing import Any

import pytest

from lib.netfilter_nat import (
    FORWARDING,
    Noted,
    forwarding_rules,
    is_nameable,
    nat_rules,
    note,
    read_noted,
    shown,
    wanted,
)

OFF_4 = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/forwarding": "0",
    "ipv4/conf/eth0/forwarding": "0",
    "ipv4/conf/br0/forwarding": "1",
}
OFF_6 = {
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/default/forwarding": "0",
    "ipv6/conf/default/accept_ra": "1",
    "ipv6/conf/eth0/forwarding": "0",
    "ipv6/conf/eth0/accept_ra": "1",
    "ipv6/conf/eth1/forwarding": "0",
    "ipv6/conf/eth1/accept_ra": "0",
    "ipv6/conf/br0/forwarding": "1",
    "ipv6/conf/br0/accept_ra": "1",
}


def test_what_comes_out_of_the_tunnel_is_masqueraded_unless_it_goes_back_there() -> None:
    assert 'iifname "tun0" oifname != "tun0" masquerade' in nat_rules("tun0")
    with pytest.raises(ValueError, match="cannot have the name"):
        nat_rules('a"b')


def test_ipv4_is_noted_with_what_linux_changes_beside_the_switch() -> None:
    noted, values = note(4, OFF_4 | {"ipv4/conf/lo/forwarding": "1"}, ["eth0", "br0"], ["lo", "tun0"])
    assert list(noted.settings.items()) == [
        ("ipv4/ip_forward", "0"),  # set back first, for that sets all others to 0
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/br0/forwarding", "1"),
        ("ipv4/conf/lo/forwarding", "1"),
    ]
    assert noted.closed == {4: frozenset({"eth0"})}, "br0 was a router's before"
    assert values == {"ipv4/ip_forward": "1"}


def test_ipv6_goes_on_to_listen_for_router_advertisements_where_it_did() -> None:
    noted, values = note(6, OFF_6, ["eth0", "eth1", "br0"])
    assert list(values.items()) == [
        ("ipv6/conf/eth0/accept_ra", "2"),  # before the switch, which takes its default routes away
        ("ipv6/conf/all/forwarding", "1"),
    ]
    assert list(noted.settings.items()) == [
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/br0/forwarding", "1"),
        ("ipv6/conf/eth0/accept_ra", "1"),
    ]


@pytest.mark.parametrize(
    ("version", "values"),
    [
        pytest.param(4, {**OFF_4, "ipv4/ip_forward": "1"}, id="it forwards already"),
        pytest.param(6, {}, id="there is no IPv6"),
    ],
)
def test_nothing_is_changed_where_nothing_has_to_be(version: int, values: dict[str, str]) -> None:
    assert note(version, values, ["eth0"]) == (Noted(), {})


def test_all_settings_that_are_looked_at_are_asked_for() -> None:
    assert set(OFF_4) <= set(wanted(4, ["eth0", "br0"]))
    assert set(OFF_6) <= set(wanted(6, ["eth0", "eth1", "br0"]))


def test_the_rules_close_what_was_closed() -> None:
    text = forwarding_rules(note(4, OFF_4, ["eth0", "br0"])[0])
    assert 'set closed4 { type ifname; elements = { "eth0" } }' in text
    assert "meta nfproto ipv4 iifname @closed4 oifname @closed4 drop" in text
    assert "closed6" not in text


def test_notes_are_read_from_what_nft_prints() -> None:
    """As nftables 1.0.6 prints it."""
    rows: list[dict[str, Any]] = [
        {"table": {"family": "inet", "name": FORWARDING.name}},
        {"set": {"family": "inet", "name": "closed4", "type": "ifname", "elem": ["eth0", "eth1"]}},
        {"chain": {"family": "inet", "name": "before"}},
        {"rule": {"chain": "before", "comment": "ipv4/ip_forward=0", "expr": [{"counter": {"packets": 0}}]}},
        {"rule": {"chain": "before", "comment": "ipv6/conf/eth0.1/accept_ra=1", "expr": []}},
        {"rule": {"chain": "before", "comment": "ipv4/../../kernel/panic=1", "expr": []}},
        {"rule": {"chain": "before", "comment": "a word of somebody", "expr": []}},
    ]
    found = read_noted(rows)
    assert found.settings == {"ipv4/ip_forward": "0", "ipv6/conf/eth0.1/accept_ra": "1"}
    assert found.closed == {4: frozenset({"eth0", "eth1"})}


def test_what_was_noted_first_stays() -> None:
    """The second exit sees what the first one has set."""
    first = Noted({"ipv4/ip_forward": "0"}, {4: frozenset({"eth0"})})
    second = Noted(
        {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "0"}, {4: frozenset(), 6: frozenset()}
    )
    both = first.with_more(second)
    assert both.settings == {"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0"}
    assert both.closed == {4: frozenset({"eth0"}), 6: frozenset()}


def test_a_setting_is_shown_as_sysctl_has_it() -> None:
    assert shown("ipv6/conf/eth0.1/accept_ra") == "net.ipv6.conf.eth0/1.accept_ra"


@pytest.mark.parametrize(("name", "plain"), [("eth0", True), ('a"b', False), ("br*", False), ("büro", False)])
def test_devices_with_odd_names_are_left_out(name: str, plain: bool) -> None:
    assert is_nameable(name) is plain
