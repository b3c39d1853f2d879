"""ICMP errors of routers behind a host: path MTU discovery works through them, and nothing else passes with them."""

from __future__ import annotations

import struct

import pytest

from lib import packet as ip
from lib.forward_decide import decide
from lib.forward_drop_reasons import Reason
from lib.namespace_domain import Domain
from lib.packet_headers import MAX_ERROR
from lib.route_gateways import ROUTER_ERRORS_PER_SECOND
from lib.route_table import Route, RouteTable
from lib.settings_acl import AclRule
from tests.support import packets as p
from tests.support.listed import HOSTS, KEY, Listed
from tests.support.routes import Nobody, entry, to

ONE, TWO, THREE, BEHIND_TWO = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.2.0.7"
ONE6, TWO6, BEHIND_TWO6 = "fd00::1", "fd00::2", "fd00:2::7"
TRANSIT, TRANSIT6 = "100.64.0.1", "fd99::1"
"""A router's address in the net behind host two, which no route lists."""
ENDS = [(ONE, BEHIND_TWO, TRANSIT), (ONE6, BEHIND_TWO6, TRANSIT6)]
UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 4, 5, 11, 12


def sent(source: str = ONE, destination: str = BEHIND_TWO, size: int = 1400) -> bytes:
    """What host one sent, too long for a link behind host two."""
    return p.udp(source, destination, bytes(size), ports=(40000, 53))


def error(quoted: bytes, to: str = ONE, source: str = "", kind: int = 0, quote: int = 28) -> bytes:
    """What a router says of it, with so many bytes of it."""
    version = 6 if ":" in to else 4
    quote = quote + 20 if version == 6 and quote == 28 else quote
    chosen = kind or (UNREACHABLE if version == 4 else 2)
    return p.icmp(source or (TRANSIT if version == 4 else TRANSIT6), to, chosen, quoted[:quote])


@pytest.mark.parametrize(
    ("ends", "kind"),
    [
        *((ENDS[0], kind) for kind in (UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM)),
        *((ENDS[1], kind) for kind in (1, 2, 3, 4)),
    ],
)
def test_what_a_router_behind_a_host_says_arrives(ends: tuple[str, str, str], kind: int) -> None:
    """It is a black hole for large packets otherwise, and traceroute shows stars."""
    one, behind, _ = ends
    there = Listed(None)
    for _ in range(2):
        assert there.fate(error(sent(one, behind), one, kind=kind), host="two") == "one"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        pytest.param(error(sent(), kind=SOURCE_QUENCH), Reason.WRONG_SOURCE, id="source quench"),
        pytest.param(error(sent(), kind=REDIRECT), Reason.WRONG_SOURCE, id="redirect"),
        pytest.param(error(sent(), kind=8), Reason.WRONG_SOURCE, id="a ping"),
        pytest.param(p.icmp(TRANSIT, ONE, 0, sent()[:28]), Reason.WRONG_SOURCE, id="a ping's reply"),
        pytest.param(p.udp(TRANSIT, ONE), Reason.WRONG_SOURCE, id="UDP"),
        pytest.param(
            error(sent(ONE6, BEHIND_TWO6), ONE6, kind=128), Reason.WRONG_SOURCE, id="a ping, IPv6"
        ),
        pytest.param(error(sent(ONE6, BEHIND_TWO6), ONE6, kind=100), Reason.WRONG_SOURCE, id="private type"),
        pytest.param(error(sent(), source="224.0.0.5"), Reason.WRONG_SOURCE, id="from a multicast address"),
        pytest.param(error(sent(), source="127.0.0.1"), Reason.WRONG_SOURCE, id="from loopback"),
        pytest.param(error(sent(), source="0.0.0.0"), Reason.WRONG_SOURCE, id="from no address"),
        pytest.param(error(sent(THREE)), Reason.FOREIGN_ERROR, id="about somebody else's packet"),
        pytest.param(error(sent(), THREE), Reason.FOREIGN_ERROR, id="to somebody else"),
        pytest.param(error(sent(ONE, THREE)), Reason.FOREIGN_ERROR, id="about a packet to another host"),
        pytest.param(error(sent(ONE, "8.8.8.8")), Reason.FOREIGN_ERROR, id="about a packet to nobody"),
        pytest.param(error(sent(ONE, "224.0.0.1")), Reason.FOREIGN_ERROR, id="about a multicast"),
        pytest.param(error(sent(), quote=20), Reason.FOREIGN_ERROR, id="without the ports"),
        pytest.param(error(b""), Reason.FOREIGN_ERROR, id="about nothing"),
        pytest.param(error(sent(ONE6, BEHIND_TWO6)), Reason.FOREIGN_ERROR, id="about the other IP version"),
        pytest.param(
            error(p.icmp(ONE, BEHIND_TWO, UNREACHABLE, sent()[:28])), Reason.FOREIGN_ERROR, id="about an error"
        ),
        pytest.param(
            p.piece(error(sent(), quote=400), 0, 200), Reason.WRONG_SOURCE, id="in fragments, the first"
        ),
        pytest.param(p.piece(error(sent(), quote=400), 200), Reason.WRONG_SOURCE, id="in fragments, the last"),
    ],
)  # fmt: skip
def test_nothing_else_passes_from_such_an_address(packet: bytes, reason: Reason) -> None:
    there = Listed(None)
    assert there.fate(error(sent()), host="two") == "one"
    assert there.fate(packet, host="two") is reason
    assert there.fate(packet, host="two") is reason, "whatever has passed before"


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_a_long_one_does_not_pass(ends: tuple[str, str, str]) -> None:
    one, behind, _ = ends
    version, header = (4, 20) if "." in one else (6, 40)
    there = Listed(None)
    for more, fate in ((0, "one"), (1, Reason.FOREIGN_ERROR)):
        packet = error(sent(one, behind), one, quote=MAX_ERROR[version] - header - 8 + more)
        assert len(packet) == MAX_ERROR[version] + more
        assert there.fate(packet, host="two") == fate


def test_a_host_that_the_quoted_packet_did_not_go_to_cannot_send_one() -> None:
    there = Listed(None)
    assert there.fate(error(sent()), host="three") is Reason.FOREIGN_ERROR


def test_ten_a_second_for_each_host() -> None:
    there = Listed(None, HOSTS | {"10.3.0.0/16": "three"})
    most = int(ROUTER_ERRORS_PER_SECOND)
    there.attachments["two again"] = there.attachments["two"]
    there.join("two")  # a second session of the host does not double it
    for now in (50.0, 51.0):
        fates = [there.fate(error(sent()), now, host) for host in ("two", "two again") for _ in range(most)]
        assert fates.count("one") == most
        assert fates[most:] == [Reason.ERROR_RATE] * most
        about_three = error(sent(ONE, "10.3.0.1"))
        assert there.fate(about_three, now, "three") == "one"
    assert there.fate(error(sent(), source=TWO), 51.0, "two") == "one", "from an address of its own"
    assert there.fate(error(sent(ONE, THREE)), 51.0, "two") is Reason.FOREIGN_ERROR
    assert there.fate(error(sent()), 51.11, "two") == "one"


DNS_ONLY = [AclRule(True, "one", "two", ip.UDP, ((53, 53),))]


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_with_an_access_list_it_must_be_about_a_connection(ends: tuple[str, str, str]) -> None:
    one, behind, _ = ends
    there = Listed([*DNS_ONLY, AclRule(True, "two", "one", ip.ICMP), AclRule(True, "two", "one", ip.ICMPV6)])
    assert there.fate(error(sent(one, behind), one), host="two") is Reason.STRAY_ERROR
    assert there.goes(sent(one, behind))
    assert there.fate(error(sent(one, behind), one), host="two") == "one"
    other = p.udp(one, behind, bytes(64), ports=(40001, 53))
    assert there.fate(error(other, one), host="two") is Reason.STRAY_ERROR


def test_an_access_list_of_the_way_there_counts_too() -> None:
    """The quoted packet takes the namespace's own table, its error the default one, which has no list."""
    default = RouteTable([entry(prefix, host) for prefix, host in HOSTS.items()])
    there = Listed(DNS_ONLY, {BEHIND_TWO + "/32": "two"}, default)
    there.join("one")
    assert there.fate(error(sent()), host="two") is Reason.STRAY_ERROR
    assert there.goes(sent(), host="one")
    assert there.fate(error(sent()), host="two") == "one"


def test_a_plugin_is_asked_about_the_quoted_packet() -> None:
    there = Domain({}, Nobody())
    data = error(sent())
    packet = ip.parse(data, 0, len(data))
    assert isinstance(packet, ip.Packet)
    listed = Listed(None)
    one, two = listed.attachments["one"], listed.attachments["two"]
    for attachment in (one, two):
        attachment.namespace = there.namespace(KEY)
        there.enter(attachment, 0.0)
    answers = two.namespace.default
    router, behind, sender = p.packed(TRANSIT), p.packed(BEHIND_TWO), p.packed(ONE)

    def verdict() -> object:
        return decide(two, packet, 0.0, data, 0, len(data))

    assert verdict() == router
    answers.store(router, None, 0)  # type: ignore[union-attr]
    assert verdict() == behind
    answers.store(behind, Route(behind, 32, to("two")), 0)  # type: ignore[union-attr]
    assert verdict() == sender
    answers.store(sender, Route(sender, 32, to("one")), 0)  # type: ignore[union-attr]
    assert verdict() is one
    answers.fail(behind, 0)  # type: ignore[union-attr]
    assert verdict() is Reason.ROUTER_FAILED


def test_the_mtu_in_it_arrives_as_it_was() -> None:
    """With a virtio-net header before it, as a tunrouter client sends it."""
    data = bytearray(error(sent()))
    struct.pack_into("!H", data, 26, 1200)
    there = Listed(None)
    assert there.fate(p.headed(bytes(data)), host="two") == "one"
