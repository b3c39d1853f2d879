"""Domains: when a namespace comes to be and when it goes, and with which tables."""

from __future__ import annotations

from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.route_plugin_cache import PluginCache
from lib.route_table import RouteTable
from tests.support.routes import Nobody, entry

NAMED, OTHER = b"1" * 16, b"2" * 16
TABLE = RouteTable([entry("10.0.0.0/8", "named")])
DEFAULT = RouteTable([entry("11.0.0.0/8", "default")])


def routes(namespace: Namespace) -> RouteTable:
    """A namespace's own table."""
    assert isinstance(namespace.table, RouteTable)
    return namespace.table


def enter(domain: Domain, key: bytes, host: str = "h") -> Attachment:
    attachment = Attachment(domain.namespace(key), host, "test")
    domain.enter(attachment, 0.0)
    return attachment


def test_a_namespace_has_its_table_and_the_default_one() -> None:
    domain = Domain({NAMED: TABLE}, DEFAULT, source_check=False)
    named, other = domain.namespace(NAMED), domain.namespace(OTHER)
    assert (named.table, named.default, named.source_check) == (TABLE, DEFAULT, False)
    assert (list(routes(other)), other.default) == ([], DEFAULT)


def test_with_a_plugin_each_namespace_has_answers_of_its_own() -> None:
    domain = Domain({}, Nobody(), plugin_cache_seconds=3.0)
    one, two = domain.namespace(NAMED).default, domain.namespace(OTHER).default
    assert isinstance(one, PluginCache)
    assert isinstance(two, PluginCache)
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
    attachments = [Attachment(domain.namespace(OTHER), host, "test") for host in ("h", "i")]
    for attachment in attachments:
        domain.enter(attachment, 0.0)
    assert attachments[0].namespace is attachments[1].namespace is domain.namespaces[OTHER]
    for attachment in attachments:
        domain.leave(attachment)
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
    attachment = enter(domain, NAMED)
    attachment.traffic.sent_packets = 1
    domain.leave(attachment)
    kept: Namespace = domain.namespaces[NAMED]
    assert kept.gone.sent_packets == 1
    assert domain.gone.sent_packets == 0
    assert enter(domain, NAMED).namespace is kept


def test_other_tables_reach_every_namespace_and_plugins_that_stay_keep_their_answers() -> None:
    plugin = Nobody()
    domain = Domain({NAMED: TABLE}, plugin)
    named, other = enter(domain, NAMED).namespace, enter(domain, OTHER).namespace
    cache = other.default
    domain.replace_tables({OTHER: TABLE}, plugin, 1.0, False)
    assert (list(routes(named)), other.table) == ([], TABLE)
    assert (other.default, other.source_check) == (cache, False)
    assert named.default is not cache
    domain.replace_tables({OTHER: TABLE}, plugin, 2.0, False)
    assert other.default is not cache, "they would count for another time"
    domain.replace_tables({}, DEFAULT, 2.0, False)
    assert other.default is DEFAULT


def test_a_namespace_without_sessions_goes_with_its_table() -> None:
    domain = Domain({NAMED: TABLE})
    domain.leave(enter(domain, NAMED))
    domain.replace_tables({}, DEFAULT, 1.0, True)
    assert domain.namespaces == {}
