"""`dnsDomain` and `names` of a router: what they become, and what is refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from lib import config_tables
from lib.config_findings import Findings
from lib.config_names import names_settings
from lib.config_read import read
from lib.settings_names import NamesSettings


def settings(*lines: str, address: str = "address: 10.20.0.1/16") -> tuple[NamesSettings | None, Findings]:
    text = "\n".join(["routers:", "- name: r", f"  {address}", *(f"  {line}" for line in lines)])
    config, found = read([("a.yml", text)]), Findings()
    assert not config.problems
    return names_settings(config.routers[0], found), found


def test_without_a_domain_there_are_no_names() -> None:
    assert settings() == (None, Findings())


def test_a_domain_and_devices() -> None:
    made, found = settings(
        "dnsDomain: Tun.Example.COM.",
        "names: {Printer.host-2: 192.168.200.9, nas: '10.0.0.1, 2001:db8::1', b: [10.0.0.2]}",
    )
    assert not found.problems + found.warnings
    packed = [ip_address(text).packed for text in ("192.168.200.9", "10.0.0.1", "2001:db8::1", "10.0.0.2")]
    devices = (("printer.host-2", (packed[0],)), ("nas", (packed[1], packed[2])), ("b", (packed[3],)))
    assert made == NamesSettings("tun.example.com", devices)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["dnsDomain: ."], "'.': that is no domain"),
        (["dnsDomain: lan"], "a domain of one word could hide all names below it"),
        (["dnsDomain: host.local"], "belongs to mDNS"),
        (["dnsDomain: 10.in-addr.arpa"], "names of addresses"),
        (["dnsDomain: my lan.example"], "that is no domain"),
        (["dnsDomain: -a.example"], "that is no domain"),
        ([f"dnsDomain: {'.'.join(['a' * 60] * 4)}"], "that is no domain"),
        (["names: {printer: 192.168.200.9}"], "'names' without a domain"),
        (["dnsDomain: tun.example", "names: {my printer: 192.168.200.9}"], "'my printer' is no name"),
        (["dnsDomain: tun.example", "names: {printer: 192.168.200}"], "'names': "),
        (["dnsDomain: tun.example", "names: {printer: {a: b}}"], "wants an address, or a list"),
    ],
)
def test_what_is_refused(lines: list[str], said: str) -> None:
    _, found = settings(*lines)
    (problem,) = found.problems
    assert said in problem.message


def test_a_domain_without_an_address_is_of_no_use() -> None:
    _, found = settings("dnsDomain: tun.example", address="compat: ''")
    (warning,) = found.warnings
    assert "no address at which the hub could be asked" in warning.message


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{action: allow, protocol: icmp}", True),
        ("{action: allow, protocol: udp, port: 5353}", True),
        ("{action: allow, to: host-1}", True),
        ("{action: deny, protocol: udp, port: 53}", True),
        ("{action: allow, protocol: udp, port: '50-60'}", False),
        ("{action: allow, to: 10.20.0.0/24}", False),
        ("{action: allow}", False),
    ],
)
def test_an_access_list_that_lets_nobody_ask_for_names_is_told_of(rule: str, told: bool) -> None:
    text = f"routers: [{{name: r, address: 10.20.0.1/16, dnsDomain: tun.example, acl: [{rule}]}}]\n"
    found = Findings()
    config_tables.table(read([("f", text)]).routers[0], found)
    said = [one for one in found.warnings if "lets nobody ask the hub for names" in one.message]
    assert len(said) == told
    if told:
        assert said[0].hint == "write {action: allow, to: 10.20.0.1, protocol: udp, port: 53}"
        assert said[0].where.column == text.index("acl: ") + 6
