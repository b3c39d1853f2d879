"""`address`, `pool` and `hosts` of a router: what they mean, and every refusal with its place."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from lib import config_read, config_resolve
from lib.errors import ConfigError
from lib.settings import Settings, TableSettings
from tests.support.routes import entry

HUB = "services: [{name: s, addr: ':1', handler: {type: router}, listener: {type: tcp}}]\n"


def resolved(keys: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", f"{HUB}routers: [{{name: r, {keys}}}]\n")]))


def table(keys: str) -> TableSettings:
    return resolved(keys).tables[0]


def test_an_address_of_each_version_may_be_one_text_or_a_list() -> None:
    own = (ip_interface("10.20.0.1/16"), ip_interface("fd20::1/64"))
    assert table("address: 10.20.0.1/16").own == own[:1]
    assert table("address: '10.20.0.1/16, fd20::1/64'").own == own
    assert table("address: [10.20.0.1/16, 'fd20::1/64']").own == own


def test_a_pool_may_be_several_prefixes() -> None:
    found = table("pool: [10.20.0.0/16, 10.21.0.0/24, 'fd20::/64']").pool
    assert [length for _, length in found] == [16, 24, 64]
    assert table("pool: '10.20.0.0/16,10.20.0.0/16'").pool == found[:1]


def test_hosts_keep_the_letters_of_their_names() -> None:
    found = table(
        "hosts: {Host-1: 10.20.0.7, host-2: [10.20.0.8, 'fd20::8'], höst: '10.20.0.9,fd20::9'}"
    ).fixed
    assert [(host, len(own)) for host, own in found] == [("Host-1", 1), ("host-2", 2), ("höst", 2)]
    assert found[0][1] == (bytes([10, 20, 0, 7]),)


def test_a_route_for_the_hub_s_own_address_is_warned_of() -> None:
    routes = "routes: [{dst: 10.20.0.0/16, gateway: host-1}, {dst: 10.20.0.1, gateway: host-2}]"
    said = [str(warning) for warning in resolved(f"address: 10.20.0.1/16, {routes}").warnings]
    own = "router r: 10.20.0.1/32 is the hub's own address, so host-2 gets no packet for it"
    assert [line for line in said if "own address" in line] == [next(line for line in said if own in line)]
    assert not any(
        "own address" in str(warning) for warning in resolved(f"address: 10.20.0.2/16, {routes}").warnings
    )


def test_without_the_keys_nothing_is_different() -> None:
    found = table("routes: [{dst: 10.0.0.0/8, gateway: g}]")
    assert (found.own, found.pool, found.fixed) == ((), (), ())
    assert found.routes == (entry("10.0.0.0/8", "g"),)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("address: 10.20.0.1", "needs the length of its prefix"),
        ("address: hub", "not a CIDR"),
        ("address: 10.20.0.0/16", "the network itself"),
        ("address: 10.20.255.255/16", "the broadcast address"),
        ("address: 224.0.0.1/4", "it is multicast"),
        ("address: 127.0.0.1/8", "it is loopback"),
        ("address: fe80::1/64", "it is link-local"),
        ("address: '::/64'", "it is unspecified"),
        ("address: '10.20.0.1/16,10.21.0.1/16'", "a router has one of IPv4"),
        ("address: {a: b}", "wants a list"),
        ("pool: 10.20.0.0/33", "not an address or CIDR|does not appear to be|'10.20.0.0/33'"),
        ("pool: 10.20.0.0/31", "too small"),
        ("pool: 10.20.0.7", "too small"),
        ("pool: 'fd20::/127'", "too small"),
        ("pool: 0.0.0.0/0", "every address"),
        (f"pool: [{', '.join(f'10.{number}.0.0/16' for number in range(17))}]", "more than 16"),
        ("hosts: 10.20.0.7", "wants keys and values"),
        ("hosts: {h: nobody}", "not an IP address"),
        ("hosts: {h: 0.0.0.0}", "it is unspecified"),
        ("hosts: {h: {a: 10.0.0.1}}", "wants an address"),
        ("hosts: {h: 10.20.0.7, g: 10.20.0.7}", "10.20.0.7 is the address of host h"),
        ("address: 10.20.0.1/16, hosts: {h: 10.20.0.1}", "is the address of the hub"),
        ("hosts: {'': 10.20.0.7}", "no host can go by this name"),
        ("pool: 10.20.0.0/16, plugin: {type: http, addr: 'http://p'}", "asked of a plugin"),
        ("hosts: {h: 10.20.0.7}, plugin: {type: http, addr: 'http://p'}", "asked of a plugin"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(keys: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolved(keys)
    assert all(problem.where.line == 2 for problem in caught.value.problems)


def test_what_is_odd_is_said() -> None:
    assert any("stands for the whole network" in str(one) for one in resolved("pool: 10.20.0.1/16").warnings)
    apart = resolved("address: 10.19.0.1/16, pool: 10.20.0.0/16")
    assert any("does not hold its own address" in str(one) for one in apart.notices)


@pytest.mark.parametrize("style", ["json", "yaml"])
def test_a_printed_configuration_means_the_same(style: str) -> None:
    keys = "address: 10.20.0.1/16, pool: 10.20.0.0/16, hosts: {Host-1: [10.20.0.7]}"
    read = config_read.read([("f", f"{HUB}routers: [{{name: r, {keys}}}]")])
    again = config_read.read([("f", config_read.render(read, style))])
    assert config_resolve.resolve(again).tables == config_resolve.resolve(read).tables
