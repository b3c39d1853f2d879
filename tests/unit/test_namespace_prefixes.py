"""Which prefixes lead to a host: what a hub tells its clients."""

from __future__ import annotations

from ipaddress import ip_network

from lib.namespace import Namespace
from lib.namespace_prefixes import FEW, MOST, PrefixesOfHosts
from lib.route_table import RouteTable
from tests.support.routes import table


def told(
    prefixes: PrefixesOfHosts, named: RouteTable, default: RouteTable, host: str = "host-1"
) -> list[str]:
    found = prefixes.of(Namespace(bytes(16), named, default), host)
    return [str(ip_network(prefix)) for prefix in found]


def test_the_widest_come_first_and_of_both_tables() -> None:
    named = table(("10.0.0.1/32", "host-1"), ("192.168.1.0/24", "host-1"), ("10.2.0.0/16", "host-2"))
    default = table(("fd88::/64", "host-1"), ("10.3.0.0/16", "host-3"))
    prefixes = PrefixesOfHosts()
    assert told(prefixes, named, default) == ["192.168.1.0/24", "10.0.0.1/32", "fd88::/64"]
    assert told(prefixes, named, default, "host-2") == ["10.2.0.0/16"]
    assert told(prefixes, named, default, "host-9") == []


def test_a_changed_table_is_read_again() -> None:
    prefixes, named, default = PrefixesOfHosts(), table(("10.1.0.0/16", "host-1")), table()
    assert told(prefixes, named, default) == ["10.1.0.0/16"]
    named.swap(table(("10.2.0.0/16", "host-1")).tries)
    assert told(prefixes, named, default) == ["10.2.0.0/16"]


def test_long_tables_and_long_lists_are_bounded() -> None:
    many = [(f"10.{n >> 8}.{n & 255}.0/24", "host-1") for n in range(FEW + 1)]
    prefixes = PrefixesOfHosts()
    assert len(told(prefixes, table(*many[:FEW]), table(*many[:FEW]))) == MOST
    assert told(prefixes, table(*many), table()) == []
