"""What follows from what was let through: connections, fragments, ICMP errors; and every way around a list."""

from __future__ import annotations

import gc

import pytest

from lib import acl_connections, packet_headers
from lib import packet as ip
from lib.acl import Acl
from lib.acl_connections import DATAGRAM_SECONDS, ConnectionTable
from lib.forward import scan
from lib.forward_decide import decide
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.namespace import MAX_FLOWS
from lib.packet_headers import Headers
from lib.route_table import RouteTable
from lib.settings_acl import AclRule
from tests.support import packets as p
from tests.support.listed import HOSTS, Listed
from tests.support.routes import entry

ONE, TWO, THREE, BEHIND_TWO = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.2.0.7"
ONE6, TWO6, THREE6 = "fd00::1", "fd00::2", "fd00::3"
ENDS = [(ONE, TWO), (ONE6, TWO6)]
ALLOW, DENY = AclRule(True), AclRule(False)
NO_SSH = [AclRule(False, protocol=ip.TCP, ports=((22, 22),)), ALLOW]
"""Everything but port 22."""
SSH_ONLY = [AclRule(True, "one", "two", ip.TCP, ((22, 22),))]
DNS_ONLY = [AclRule(True, "one", "two", ip.UDP, ((53, 53),))]
PING_ONLY = [AclRule(True, "one", None, ip.ICMP), AclRule(True, "one", None, ip.ICMPV6)]
SSH = p.tcp(ONE, TWO, ports=(40000, 22))


def ssh(source: str, destination: str) -> bytes:
    return p.tcp(source, destination, bytes(64), ports=(40000, 22))


def dns(source: str, destination: str, size: int = 64) -> bytes:
    return p.udp(source, destination, bytes(size), ports=(40000, 53))


def dns_answer(source: str, destination: str, size: int = 64) -> bytes:
    return p.udp(source, destination, bytes(size), ports=(53, 40000))


# --- replies ------------------------------------------------------------------------------------------


def test_replies_to_what_is_allowed_are_allowed() -> None:
    there = Listed(SSH_ONLY)
    back = p.tcp(TWO, ONE, ports=(22, 40000))
    assert there.fate(back) is Reason.DENIED
    for _ in range(3):
        assert there.fate(SSH) == "two"
        assert there.fate(back) == "one"
    assert there.fate(p.tcp(TWO, ONE, ports=(22, 40001))) is Reason.DENIED
    assert there.fate(p.tcp(TWO, ONE, ports=(40000, 22))) is Reason.DENIED
    assert there.acl.hits == [1, 3]


def test_udp_is_not_let_through_by_what_tcp_may() -> None:
    there = Listed(DNS_ONLY)
    assert there.goes(dns(ONE, TWO))
    assert there.fate(p.tcp(ONE, TWO, ports=(40000, 53))) is Reason.DENIED
    assert there.goes(dns_answer(TWO, ONE))
    assert there.fate(p.tcp(TWO, ONE, ports=(53, 40000))) is Reason.DENIED


@pytest.mark.parametrize(("ends", "kinds"), [((ONE, TWO), (8, 0)), ((ONE6, TWO6), (128, 129))])
def test_a_ping_s_reply_is_no_leave_to_ping(ends: tuple[str, str], kinds: tuple[int, int]) -> None:
    there = Listed(PING_ONLY)
    back = ends[::-1]
    assert there.goes(p.icmp(*ends, kinds[0], identifier=7))
    assert there.goes(p.icmp(*back, kinds[1], identifier=7))
    assert there.fate(p.icmp(*back, kinds[0], identifier=7)) is Reason.DENIED
    assert there.fate(p.icmp(*back, kinds[1], identifier=8)) is Reason.DENIED
    assert there.fate(p.icmp(*back, 13 if kinds[0] == 8 else 133)) is Reason.DENIED


def test_an_answer_that_nobody_asked_for_opens_nothing() -> None:
    there = Listed(PING_ONLY)
    assert there.goes(p.icmp(ONE, TWO, 0, identifier=7))
    assert there.fate(p.icmp(TWO, ONE, 8, identifier=7)) is Reason.DENIED
    assert len(there.namespace.connections) == 0


def test_a_connection_is_forgotten_when_it_is_idle() -> None:
    there = Listed([AclRule(True, "one", None, ip.UDP)])
    back = p.udp(TWO, ONE, ports=(2, 1))
    assert there.goes(p.udp(ONE, TWO, ports=(1, 2)), 0)
    assert there.goes(back, 100)
    assert there.goes(back, 390)  # every packet that is decided on anew lets it live on
    assert not there.goes(back, 390 + 400)


@pytest.mark.parametrize(
    ("protocol", "seconds"), [(ip.TCP, 7440.0), (ip.UDP, 300.0), (132, 60.0)], ids=["TCP", "UDP", "SCTP"]
)
def test_how_long_an_idle_connection_is_remembered(protocol: int, seconds: float) -> None:
    packets = {
        ip.TCP: (SSH, p.tcp(TWO, ONE, ports=(22, 40000))),
        ip.UDP: (dns(ONE, TWO), dns_answer(TWO, ONE)),
    }
    out, back = packets.get(
        protocol, (p.ip(ONE, TWO, protocol, bytes(64)), p.ip(TWO, ONE, protocol, bytes(64)))
    )
    forgotten = seconds + acl_connections.UNSEEN_SECONDS
    for later, fate in ((seconds, "one"), (forgotten - 1, "one"), (forgotten + 1, Reason.DENIED)):
        there = Listed([AclRule(True, "one")])
        assert there.goes(out, 0.0)
        assert there.fate(back, later) == fate


@pytest.mark.parametrize("flow", ["first packet", "from memory"])
def test_an_idle_ssh_session_lives_on_to_its_keepalive(flow: str) -> None:
    """Linux sends the first keepalive after 7,200 s, and RFC 5382 REQ-5 wants four minutes more."""
    there = Listed(SSH_ONLY)
    back = p.tcp(TWO, ONE, ports=(22, 40000))
    assert there.goes(SSH, 0.0)
    last = 0.0
    if flow == "from memory":  # such a packet is not decided on anew, so the table does not see it
        last = acl_connections.REFRESH_SECONDS - 0.1
        assert there.goes(SSH, last)
    assert there.fate(back, last + 7440) == "one"


def test_rules_that_are_replaced_let_nothing_through_any_more() -> None:
    there = Listed([AclRule(True, "one", None, ip.TCP), AclRule(True, "one", None, ip.UDP, ((53, 53),))])
    back = p.tcp(TWO, ONE, ports=(22, 40000))
    first, second, _ = p.pieces(dns(ONE, TWO, 92), 48, 96)
    assert there.goes(SSH)
    assert there.goes(back)
    assert there.goes(first)
    there.acl.live = False
    there.table.acl = Acl([AclRule(True, "one", None, ip.UDP, ((54, 54),))])
    there.table.changes += 1
    assert not there.goes(SSH)
    assert not there.goes(back)
    assert there.fate(second) is Reason.STRAY_FRAGMENT


def test_connections_are_nothing_for_the_collector() -> None:
    """A full table would stop the process for 10 ms and more at each of its full passes."""
    there = Listed([ALLOW])
    gc.collect()
    before = len(gc.get_objects())
    for number in range(2000):
        assert there.goes(p.udp(ONE, TWO, ports=(1000 + number, 9)))
    gc.collect()
    assert len(there.namespace.connections) == 2000
    assert len(gc.get_objects()) - before < 200


def test_rules_that_count_no_more_are_not_kept() -> None:
    table, packet = ConnectionTable(), ip.parse(SSH, 0, len(SSH))
    assert isinstance(packet, ip.Packet)
    headers = packet_headers.imagined(packet)
    for _ in range(50):
        acl = Acl(SSH_ONLY)
        table.note(headers, acl, "one", 0.0)
        assert table.belongs(headers, 1.0)
        acl.live = False
        assert not table.belongs(headers, 1.0)
    assert len(table._rules) <= 2


def test_a_question_leaves_no_trace() -> None:
    there = Listed(SSH_ONLY)
    packet = ip.parse(SSH, 0, len(SSH))
    assert isinstance(packet, ip.Packet)
    one, two = there.attachments["one"], there.attachments["two"]
    assert decide(one, packet, 0.0) is two
    assert there.acl.hits == [0, 0]
    assert len(there.namespace.connections) == 0
    assert there.goes(SSH)
    back = p.tcp(TWO, ONE, ports=(22, 40000))
    reply = ip.parse(back, 0, len(back))
    assert isinstance(reply, ip.Packet)
    assert decide(two, reply, 0.0) is one
    assert decide(two, reply, 7500.0) is Reason.DENIED


# --- extension headers, options, headers cut off ------------------------------------------------------

CHAINS = [
    ((p.FRAGMENT, 8), (p.DESTINATION, 8)),
    ((p.DESTINATION, 8), (p.FRAGMENT, 8)),
    ((p.FRAGMENT, 8),),
    ((p.FRAGMENT, 8), (p.FRAGMENT, 8)),
    ((p.DESTINATION, 24),),
    ((p.HOP_BY_HOP, 8), (p.ROUTING, 24), (p.DESTINATION, 8)),
    ((p.AUTHENTICATION, 24),),
    ((p.MOBILITY, 8),),
    ((139, 8), (140, 8)),
    ((p.DESTINATION, 8),) * 8,
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_no_extension_header_hides_a_port(chain: tuple[tuple[int, int], ...]) -> None:
    there = Listed(NO_SSH)
    assert there.fate(p.extended(ssh(ONE6, TWO6), *chain)) is Reason.DENIED
    assert there.fate(p.extended(p.tcp(ONE6, TWO6, ports=(40000, 80)), *chain)) == "two"
    assert there.fate(p.extended(p.tcp(TWO6, ONE6, ports=(80, 40000)), *chain)) == "one"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(p.extended(ssh(ONE6, TWO6), *[(p.DESTINATION, 8)] * 9), id="nine extension headers"),
        pytest.param(p.extended(ssh(ONE6, TWO6), *[(p.DESTINATION, 1024)] * 3), id="3,072 bytes of them"),
        pytest.param(p.ip(ONE6, TWO6, p.DESTINATION, b"\x06\xff" + bytes(60)), id="one past the end"),
        pytest.param(p.with_payload(ssh(ONE6, TWO6), ssh(ONE6, TWO6)[40:59]), id="19 bytes of TCP, IPv6"),
        pytest.param(p.with_payload(ssh(ONE, TWO), ssh(ONE, TWO)[20:39]), id="19 bytes of TCP, IPv4"),
        pytest.param(p.with_payload(dns(ONE, TWO), dns(ONE, TWO)[20:27]), id="7 bytes of UDP"),
        pytest.param(p.piece(ssh(ONE, TWO), 0, 8), id="a tiny first fragment"),
        pytest.param(p.piece(ssh(ONE6, TWO6), 0, 16), id="a tiny first fragment, IPv6"),
        pytest.param(p.piece(dns(ONE, TWO), 0, 20), id="an odd first fragment"),
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["new", "of a known flow"])
def test_what_cannot_be_read_is_dropped(data: bytes, known: bool) -> None:
    """Also where its flow is forwarded from memory, and behind a virtio-net header."""
    there = Listed([ALLOW])
    if known:
        ends = p.ends_of(data)
        for packet in (ssh(*ends), dns(*ends)):
            assert there.goes(packet)
            assert there.goes(p.headed(packet))
    assert there.fate(data) is Reason.UNREADABLE
    assert there.fate(p.headed(data)) is Reason.UNREADABLE
    assert Listed(None).fate(data) == "two"


def test_ipv4_options_hide_no_port() -> None:
    there = Listed(NO_SSH)
    assert there.fate(p.ip(ONE, TWO, 6, SSH[20:], options=b"\x01" * 40)) is Reason.DENIED
    assert there.fate(p.ip(ONE, TWO, p.AUTHENTICATION, b"\x06\x04" + bytes(22) + SSH[20:])) is Reason.DENIED
    assert there.fate(p.ip(ONE, TWO, 6, p.tcp(ONE, TWO)[20:], options=b"\x01" * 40)) == "two"


def test_what_is_watched_is_told_with_its_ports() -> None:
    there = Listed(NO_SSH)
    sender, data = there.attachments["one"], p.extended(ssh(ONE6, TWO6), *CHAINS[0])
    out = Output(fates={}, verdicts=[])
    frames = bytearray(p.frame(data) + bytes(64))
    scan(sender, frames, memoryview(frames), 0, len(data) + 2, 0.0, out)
    assert out.verdicts
    ((packet, verdict),) = out.verdicts
    assert (packet.protocol, packet.flow[-2:], verdict) == (ip.TCP, b"\0\x16", Reason.DENIED)


# --- ICMP errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "kind"),
    [((ONE, TWO), 3), ((ONE, TWO), 11), ((ONE, TWO), 4), ((ONE6, TWO6), 1), ((ONE6, TWO6), 2)],
)
@pytest.mark.parametrize("rules", [SSH_ONLY, [ALLOW]], ids=["one port", "everything"])
def test_an_error_about_a_connection_is_allowed_and_no_other(
    rules: list[AclRule], ends: tuple[str, str], kind: int
) -> None:
    there, back = Listed(rules), ends[::-1]
    about = p.icmp(*back, kind, ssh(*ends)[:60])
    assert there.fate(about) is Reason.STRAY_ERROR
    assert there.goes(ssh(*ends))
    assert there.fate(about) == "one"
    assert there.fate(p.icmp(*back, kind, p.tcp(*ends, ports=(1, 22))[:60])) is Reason.STRAY_ERROR
    assert there.fate(p.icmp(*back, kind, ssh(*ends)[:10])) is Reason.STRAY_ERROR
    assert there.goes(p.tcp(*back, ports=(22, 40000)))
    assert there.goes(p.icmp(*ends, kind, p.tcp(*back, ports=(22, 40000))[:60]))  # about a reply


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(p.icmp(TWO, THREE, 3, SSH[:28]), id="to a third host"),
        pytest.param(p.icmp(ONE, THREE, 3, SSH[:28]), id="the sender's own packet, to a third host"),
        pytest.param(p.icmp(THREE, ONE, 3, SSH[:28]), id="from a third host"),
        pytest.param(p.icmp(ONE, TWO, 3, SSH[:28]), id="from where the packet came from"),
        pytest.param(p.icmp(TWO, ONE, 3, SSH + bytes(501)), id="577 bytes"),
        pytest.param(p.icmp(TWO, ONE, 3, SSH + bytes(1124)), id="1,200 bytes"),
        pytest.param(p.piece(p.icmp(TWO, ONE, 3, SSH + bytes(64)), 0, 64), id="in fragments"),
        pytest.param(p.icmp(TWO, ONE, 3, p.icmp(ONE, TWO, 3, SSH[:28])), id="about an error"),
        pytest.param(p.icmp(TWO, ONE, 3, p.piece(SSH, 8)), id="about a later fragment"),
        pytest.param(p.icmp(TWO, ONE, 3, p.udp(ONE, TWO, ports=(40000, 22))), id="about another protocol"),
        pytest.param(p.icmp(TWO6, ONE6, 1, SSH[:28]), id="about a packet of the other IP version"),
        pytest.param(p.icmp(TWO6, ONE6, 100, bytes(60)), id="of an unknown type"),
    ],
)
@pytest.mark.parametrize("rules", [SSH_ONLY, [ALLOW]], ids=["one port", "everything"])
def test_an_error_carries_nothing_elsewhere(rules: list[AclRule], error: bytes) -> None:
    there = Listed(rules)
    assert there.goes(SSH)
    assert there.fate(error) is Reason.STRAY_ERROR
    assert there.fate(p.icmp(TWO, ONE, 3, SSH + bytes(500))) == "one"  # of 576 bytes


def test_a_router_behind_the_host_may_tell_of_an_error() -> None:
    there = Listed([AclRule(True, "one", "two")])
    packet = p.tcp(ONE, BEHIND_TWO, ports=(40000, 22))
    assert there.goes(packet)
    assert there.fate(p.icmp("10.2.0.1", ONE, 11, packet[:28])) == "one"
    assert there.fate(p.icmp(TWO, ONE, 3, packet[:28])) == "one"
    assert there.fate(p.icmp(THREE, ONE, 3, packet[:28])) is Reason.STRAY_ERROR


@pytest.mark.parametrize("allowed", [True, False])
def test_of_what_went_without_a_list_the_rules_decide_on_errors(allowed: bool) -> None:
    """To host two along a table without a list; back along one with."""
    own = {prefix: host for prefix, host in HOSTS.items() if host != "two"}
    default = RouteTable([entry(prefix, host) for prefix, host in HOSTS.items()])
    there = Listed([AclRule(allowed, protocol=ip.ICMP)], own, default)
    there.join("two")
    assert there.goes(SSH)
    error = p.icmp(TWO, ONE, 3, SSH[:28])
    assert there.fate(error) == ("one" if allowed else Reason.DENIED)
    assert there.acl.hits[0] == 1
    assert there.fate(p.icmp(TWO, THREE, 3, SSH[:28])) is Reason.STRAY_ERROR


def test_an_error_does_not_keep_a_connection_alive() -> None:
    there = Listed(DNS_ONLY)
    assert there.goes(dns(ONE, TWO), 0.0)
    assert there.goes(p.icmp(TWO, ONE, 3, dns(ONE, TWO)[:28]), 299.0)
    assert there.fate(dns_answer(TWO, ONE), 332.0) is Reason.DENIED


# --- fragments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_fragments_follow_their_first_one(ends: tuple[str, str]) -> None:
    """Also those of a reply: 3,000 bytes of DNS."""
    there, back = Listed(DNS_ONLY), ends[::-1]
    for whole in (dns(*ends, 3000), dns_answer(*back, 3000)):
        assert all(there.goes(piece) for piece in p.pieces(whole, 1400, 2800))


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_a_fragment_that_is_let_through_opens_nothing_else(ends: tuple[str, str]) -> None:
    there, back = Listed(DNS_ONLY), ends[::-1]
    first, second, third = p.pieces(dns(*ends, 300), 104, 200)
    assert there.goes(first)
    for stray in (
        *p.pieces(dns(*back, 300), 104, 200)[1:],  # the other direction
        p.piece(dns(*ends, 300), 104, 200, identity=8),  # another datagram
        p.piece(ssh(*ends), 48, 80),  # another protocol
        p.piece(dns(ends[0], THREE if ends[1] == TWO else THREE6, 300), 104, 200),  # another host
    ):
        assert there.fate(stray) is Reason.STRAY_FRAGMENT
    assert there.fate(p.piece(dns(*back, 300), 0, 104)) is Reason.DENIED
    assert there.goes(second)
    assert there.goes(third)


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_fragments_before_their_first_one_are_dropped(ends: tuple[str, str]) -> None:
    there = Listed([ALLOW])
    first, second, third = p.pieces(dns(*ends, 300), 104, 200)
    assert there.fate(third) is Reason.STRAY_FRAGMENT
    assert there.fate(second) is Reason.STRAY_FRAGMENT
    assert there.goes(first)
    assert there.goes(third)
    assert there.goes(second)


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_no_fragment_overlaps_the_first(ends: tuple[str, str]) -> None:
    there = Listed([ALLOW])
    whole = dns(*ends, 300)
    assert there.goes(p.piece(whole, 0, 104))
    assert there.fate(p.piece(whole, 96, 200)) is Reason.STRAY_FRAGMENT
    assert there.fate(p.piece(whole, 8, 104)) is Reason.STRAY_FRAGMENT
    assert there.goes(p.piece(whole, 0, 56))  # a second, shorter first fragment makes no room
    assert there.fate(p.piece(whole, 56, 104)) is Reason.STRAY_FRAGMENT
    assert there.goes(p.piece(whole, 104, 200))


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_a_first_fragment_that_is_denied_takes_back_what_was_allowed(ends: tuple[str, str]) -> None:
    there = Listed(NO_SSH)
    http = p.tcp(*ends, bytes(200), ports=(40000, 80))
    assert there.goes(p.piece(http, 0, 64))
    assert there.fate(p.piece(p.tcp(*ends, bytes(200), ports=(40000, 22)), 0, 64)) is Reason.DENIED
    assert there.fate(p.piece(http, 64, 128)) is Reason.STRAY_FRAGMENT


def test_fragments_follow_for_some_time_and_once() -> None:
    there = Listed([ALLOW])
    first, second, third = p.pieces(dns(ONE, TWO, 300), 104, 200)
    assert there.goes(first, 0.0)
    assert there.goes(second, DATAGRAM_SECONDS - 1)
    assert there.fate(third, DATAGRAM_SECONDS) is Reason.STRAY_FRAGMENT
    for piece in (first, second, third):
        assert there.goes(piece, 100.0)
    assert there.fate(third, 100.0) is Reason.STRAY_FRAGMENT  # the datagram is complete
    assert len(there.namespace.fragments) == 0


def test_no_more_bytes_follow_than_a_datagram_has() -> None:
    there = Listed([ALLOW])
    whole = dns(ONE, TWO, 3000)
    assert there.goes(p.piece(whole, 0, 1400))
    fates = [there.fate(p.piece(whole, 1400, 2800)) for _ in range(60)]
    assert fates == ["two"] * 45 + [Reason.STRAY_FRAGMENT] * 15  # 1,400 and 45 times as many are 64,400


def test_an_identification_is_used_again() -> None:
    there = Listed([ALLOW])
    for size in (300, 200, 400):
        assert all(there.goes(piece) for piece in p.pieces(dns(ONE, TWO, size), 80, 160))


def test_datagrams_are_bounded_by_fair_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_connections, "MAX_DATAGRAMS", 8)
    there = Listed([ALLOW])
    first, second = p.pieces(dns(TWO, THREE, 200), 104)
    assert there.goes(first)
    for identity in range(100):
        assert there.goes(p.piece(dns(ONE, TWO, 200), 0, 104, identity))
    assert len(there.namespace.fragments) == 8
    assert there.goes(second)
    assert there.fate(p.piece(dns(ONE, TWO, 200), 104, None, 0)) is Reason.STRAY_FRAGMENT
    assert there.goes(p.piece(dns(ONE, TWO, 200), 104, None, 99))


def test_without_a_list_fragments_pass_as_they_come() -> None:
    there = Listed(None)
    for ends in ENDS:
        for piece in reversed(p.pieces(dns(*ends, 300), 8, 200)):
            assert there.fate(piece) == "two"


# --- shares of the table ------------------------------------------------------------------------------


def test_one_host_fills_the_table_and_the_others_keep_their_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acl_connections, "MAX_CONNECTIONS", 30)
    there = Listed([AclRule(True, "one"), AclRule(True, "two", "three")])
    for port in range(10):
        assert there.goes(p.udp(TWO, THREE, ports=(1000 + port, 53)))
    for port in range(1000):
        assert there.goes(p.udp(ONE, THREE, ports=(1000 + port, 53)))
    assert len(there.namespace.connections) == 30
    for port in range(10):
        assert there.goes(p.udp(THREE, TWO, ports=(53, 1000 + port)))
    answers = [there.goes(p.udp(THREE, ONE, ports=(53, 1000 + port))) for port in range(1000)]
    assert answers == [False] * 980 + [True] * 20  # its own oldest went


def headers(data: bytes) -> Headers:
    packet = ip.parse(data, 0, len(data))
    assert isinstance(packet, ip.Packet)
    found = packet_headers.read(data, 0, packet, len(data))
    assert isinstance(found, Headers)
    return found


def test_a_host_s_idle_connections_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_connections, "MAX_CONNECTIONS", 3)
    known, made = ConnectionTable(), Acl(())
    flows = [headers(p.udp(ONE, TWO, ports=(n, 9))) for n in range(4)]
    for flow in flows[:3]:
        known.note(flow, made, "one", 0.0)
    assert known.belongs(flows[0], 1.0)
    known.note(flows[3], made, "one", 1.0)
    assert [known.belongs(flow, 2.0) for flow in flows] == [True, False, True, True]


def test_an_answer_counts_for_who_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acl_connections, "MAX_CONNECTIONS", 2)
    known, made = ConnectionTable(), Acl(())
    question = headers(p.udp(ONE, TWO, ports=(1, 53)))
    known.note(question, made, "one", 0.0)
    assert known.belongs(headers(p.udp(TWO, ONE, ports=(53, 1))), 0.0)
    for n in range(5):
        known.note(headers(p.udp(TWO, THREE, ports=(n, 53))), made, "two", 0.0)
    assert known.belongs(question, 0.0)


# --- denials ------------------------------------------------------------------------------------------


def test_a_denial_is_remembered_for_a_moment() -> None:
    """The rules are asked once, however many packets of the flow come."""
    there = Listed(NO_SSH)
    for when in (0.0, 0.1, 0.9):
        assert there.fate(SSH, when) is Reason.DENIED
    assert there.acl.hits[0] == 1
    assert there.fate(p.udp(ONE, TWO, ports=(40000, 22)), 0.9) == "two", "of this protocol alone"
    assert there.fate(p.tcp(ONE, TWO, ports=(40000, 23)), 0.9) == "two", "and of these ports"
    assert there.fate(SSH, 1.1) is Reason.DENIED
    assert there.acl.hits[0] == 2


def test_what_an_extension_header_denies_is_not_remembered_of_the_flow() -> None:
    there = Listed([AclRule(False, protocol=60), ALLOW])
    plain = p.tcp(ONE6, TWO6, ports=(1, 2))
    assert there.fate(p.extended(plain, (p.DESTINATION, 8))) is Reason.DENIED
    assert there.fate(plain) == "two"


def test_the_memory_of_denials_is_bounded() -> None:
    there = Listed(NO_SSH)
    for port in range(MAX_FLOWS + 100):
        assert there.fate(p.tcp(ONE, TWO, ports=(port, 22))) is Reason.DENIED
    assert len(there.attachments["one"].denied) == MAX_FLOWS
