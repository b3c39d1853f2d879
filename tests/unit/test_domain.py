"""Domains: when a namespace comes to be and when it goes, and with which tables."""

from __future__ import annotations

from ipaddress import ip_network

from lib.answers import Answers
from lib.domain import Domain
from lib.namespace import Namespace, Port
from lib.routes import RouteTable
from lib.settings import RouteEntry

NAMED, OTHER = b"1" * 16, b"2" * 16
TABLE = RouteTable([RouteEntry(ip_network("10.0.0.0/8"), "named")])
DEFAULT = RouteTable([RouteEntry(ip_network("11.0.0.0/8"), "default")])


def enter(domain: Domain, key: bytes, host: str = "h") -> Port:
    port = Port(domain.namespace(key), host, "test")
    domain.enter(port)
    return port


def test_a_namespace_has_its_table_and_the_default_one() -> None:
    domain = Domain({NAMED: TABLE}, DEFAULT, source_check=False)
    named, other = domain.namespace(NAMED), domain.namespace(OTHER)
    assert (named.table, named.default, named.source_check) == (TABLE, DEFAULT, False)
    assert (len(other.table), other.default) == (0, DEFAULT)


def test_with_a_plugin_each_namespace_has_answers_of_its_own() -> None:
    domain = Domain({}, DEFAULT, answers_seconds=3.0)
    one, two = domain.namespace(NAMED).default, domain.namespace(OTHER).default
    assert isinstance(one, Answers)
    assert isinstance(two, Answers)
    assert one is not two
    assert one.seconds == 3.0


def test_looking_at_a_namespace_does_not_keep_it() -> None:
    domain = Domain({})
    domain.namespace(OTHER)
    assert domain.namespaces == {}


def test_sessions_of_one_namespace_share_it() -> None:
    domain = Domain({})
    one, two, other = enter(domain, NAMED), enter(domain, NAMED, "i"), enter(domain, OTHER)
    assert one.namespace is two.namespace is not other.namespace
    assert set(domain.namespaces) == {NAMED, OTHER}


def test_two_that_looked_before_either_entered_share_it_too() -> None:
    domain = Domain({})
    ports = [Port(domain.namespace(OTHER), host, "test") for host in ("h", "i")]
    for port in ports:
        domain.enter(port)
    assert ports[0].namespace is ports[1].namespace is domain.namespaces[OTHER]
    for port in ports:
        domain.leave(port)
    assert domain.namespaces == {}


def test_a_namespace_of_its_clients_goes_with_the_last_one() -> None:
    domain = Domain({})
    one, two = enter(domain, OTHER), enter(domain, OTHER)
    one.traffic.sent_packets, two.traffic.sent_packets = 1, 2
    domain.leave(one)
    assert OTHER in domain.namespaces
    domain.leave(two)
    assert domain.namespaces == {}
    assert domain.gone.sent_packets == 3, "its counts stay"


def test_a_namespace_with_a_table_stays_with_its_counts() -> None:
    domain = Domain({NAMED: TABLE})
    port = enter(domain, NAMED)
    port.traffic.sent_packets = 1
    domain.leave(port)
    kept: Namespace = domain.namespaces[NAMED]
    assert kept.gone.sent_packets == 1
    assert domain.gone.sent_packets == 0
    assert enter(domain, NAMED).namespace is kept
