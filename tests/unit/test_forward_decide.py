"""The policy: which question comes first, and what each answer leads to."""

from __future__ import annotations

import pytest

from lib import packet as ip
from lib.forward_decide import Verdict, decide
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.route_table import Route, RouteTable
from tests.support import packets as p
from tests.support.routes import Nobody, entry, to

KEY = b"k" * 16
ROUTES = {
    "10.0.0.1/32": "one",
    "10.0.0.2/32": "two",
    "10.0.0.0/24": "one",
    "10.0.0.9/32": "away",
    "fd00::1/128": "one",
    "fd00::2/128": "two",
    "0.0.0.0/0": "exit",
}


def domain(source_check: bool = True) -> Domain:
    table = RouteTable(entry(prefix, gateway) for prefix, gateway in ROUTES.items())
    return Domain({KEY: table}, source_check=source_check)


def join(there: Domain, host: str, key: bytes = KEY) -> Attachment:
    attachment = Attachment(there.namespace(key), host, "test")
    there.enter(attachment, 0.0)
    return attachment


def verdict(attachment: Attachment, source: str, destination: str, now: float = 0) -> Verdict:
    data = p.udp(source, destination)
    packet = ip.parse(data, 0, len(data))
    assert isinstance(packet, ip.Packet)
    return decide(attachment, packet, now)


@pytest.mark.parametrize(
    ("source", "destination", "wanted"),
    [
        pytest.param("10.0.0.1", "10.0.0.2", "two", id="to another host"),
        pytest.param("10.0.0.77", "10.0.0.2", "two", id="from a net behind the host"),
        pytest.param("10.0.0.1", "10.0.0.1", "one", id="to itself"),
        pytest.param("fd00::1", "fd00::2", "two", id="IPv6"),
        pytest.param("10.0.0.1", "8.8.8.8", "exit", id="the default route"),
        pytest.param(
            "10.0.0.1", "10.0.0.9", Reason.NO_SESSION, id="no shorter prefix for a host that is away"
        ),
        pytest.param("fd00::1", "fd00::3", Reason.NO_ROUTE, id="no route"),
        pytest.param("10.0.0.2", "10.0.0.1", Reason.WRONG_SOURCE, id="another host's address"),
        pytest.param("8.8.8.8", "10.0.0.1", Reason.WRONG_SOURCE, id="the exit's address"),
        pytest.param("fd00::9", "fd00::2", Reason.WRONG_SOURCE, id="an address of nobody"),
        pytest.param("0.0.0.0", "10.0.0.2", Reason.WRONG_SOURCE, id="no address yet"),
        pytest.param("10.0.0.2", "224.0.0.251", Reason.MULTICAST, id="multicast before the source"),
        pytest.param("fd00::9", "ff02::2", Reason.MULTICAST, id="multicast, IPv6"),
        pytest.param("10.0.0.1", "255.255.255.255", Reason.MULTICAST, id="broadcast"),
        pytest.param("10.0.0.1", "169.254.0.1", "exit", id="link-local, by the default route"),
        pytest.param("10.0.0.1", "0.0.0.0", Reason.LINK_LOCAL, id="unspecified"),
        pytest.param("10.0.0.1", "127.1.2.3", Reason.LINK_LOCAL, id="loopback"),
        pytest.param("fd00::1", "fe80::2", Reason.LINK_LOCAL, id="link-local without a route, IPv6"),
        pytest.param("fd00::1", "::1", Reason.LINK_LOCAL, id="loopback, IPv6"),
    ],
)
def test_the_order_of_the_questions(source: str, destination: str, wanted: str | Reason) -> None:
    there = domain()
    attachments = {host: join(there, host) for host in ("one", "two", "exit")}
    assert verdict(attachments["one"], source, destination) == (
        attachments[wanted] if isinstance(wanted, str) else wanted
    )


@pytest.mark.parametrize(
    "destination",
    ["223.255.255.255", "240.0.0.1", "169.253.1.1", "169.254.7.7", "128.0.0.1", "1.0.0.1", "0.0.0.1"],
)
def test_the_neighbours_of_special_nets_are_unicast(destination: str) -> None:
    there = domain()
    one, out = join(there, "one"), join(there, "exit")
    assert verdict(one, "10.0.0.1", destination) is out


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("169.254.0.1", "169.254.255.2"),
        ("fe80::1", "fe80::2"),
        ("0.0.0.9", "0.1.2.3"),
        ("240.0.0.1", "255.255.255.254"),
        ("::2", "::ff"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2"),
    ],
)
def test_whatever_is_unicast_and_routed_can_be_the_address_of_a_tunnel(mine: str, theirs: str) -> None:
    """GOST carries all of these too."""
    size = 128 if ":" in mine else 32
    table = RouteTable([entry(f"{mine}/{size}", "one"), entry(f"{theirs}/{size}", "two")])
    there = Domain({KEY: table})
    one, two = join(there, "one"), join(there, "two")
    assert verdict(one, mine, theirs) is two
    assert verdict(two, theirs, mine) is one
    assert verdict(one, theirs, theirs) is Reason.WRONG_SOURCE


def test_link_local_packets_that_nobody_has_a_route_for_are_no_wrong_source() -> None:
    """Hosts send them by themselves, so they must neither be warned about nor be answered."""
    there = domain()
    one, table = join(there, "one"), RouteTable([entry("10.0.0.0/24", "one")])
    there.namespace(KEY).replace_tables(table, RouteTable(()), True)
    assert verdict(one, "169.254.3.3", "169.254.4.4") is Reason.LINK_LOCAL
    assert verdict(one, "fe80::1", "fe80::2") is Reason.LINK_LOCAL


def test_without_source_check_nobody_asks_for_the_source() -> None:
    there = domain(source_check=False)
    one, two = join(there, "one"), join(there, "two")
    assert verdict(one, "10.0.0.2", "10.0.0.2") is two


def test_hosts_of_another_namespace_are_not_there() -> None:
    there = domain()
    one = join(there, "one")
    join(there, "two", b"o" * 16)
    assert verdict(one, "10.0.0.1", "10.0.0.2") is Reason.NO_SESSION


def test_with_a_plugin_the_address_to_ask_about_comes_back() -> None:
    there = Domain({}, Nobody())
    one, two = join(there, "one"), join(there, "two")
    answers = one.namespace.default
    source, destination = p.packed("10.0.0.1"), p.packed("10.0.0.2")
    assert verdict(one, "10.0.0.1", "10.0.0.2") == source
    answers.store(source, Route(source, 32, to("one")), 0)  # type: ignore[union-attr]
    assert verdict(one, "10.0.0.1", "10.0.0.2") == destination
    answers.fail(destination, 0)  # type: ignore[union-attr]
    assert verdict(one, "10.0.0.1", "10.0.0.2") is Reason.ROUTER_FAILED
    answers.store(destination, Route(destination, 32, to("two")), 0)  # type: ignore[union-attr]
    assert verdict(one, "10.0.0.1", "10.0.0.2") is two
    answers.store(source, None, 0)  # type: ignore[union-attr]
    assert verdict(one, "10.0.0.1", "10.0.0.2") is Reason.WRONG_SOURCE
