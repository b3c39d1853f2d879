"""A hub with an address of its own: it takes a hop from what it passes on, and answers for itself."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import packet_offload
from lib.acl import Acl
from lib.capture_taps import Capture, Choice, Taps
from lib.forward import MOST_EXPIRED
from lib.forward_decide import Here
from lib.forward_drop_reasons import Reason
from lib.forward_errors import ERRORS_A_TURN
from lib.forward_explain import explain
from lib.namespace import ICMP_ERROR_BURST, PING_BURST, Attachment
from lib.namespace_domain import Domain
from lib.packet import TCP as TCP_NUMBER
from lib.route_table import RouteTable, hub_addresses
from lib.settings_acl import AclRule
from lib.settings_names import NamesSettings
from tests.support import packets as p
from tests.support.routes import entry, packed
from tests.support.scapy_layers import (
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
    Raw,
    fragment,
    fragment6,
)
from tests.unit.test_forward import H1, H2, NOWHERE, ONE, S1, S2, TABLE, Net, drops

HUB, HUB6 = "192.168.0.1", "fd00:123::ff"
OWN = hub_addresses((ip_interface(f"{HUB}/16"), ip_interface(f"{HUB6}/64")))


def table(own: tuple[str, ...] = (f"{HUB}/16", f"{HUB6}/64")) -> RouteTable:
    made = RouteTable(entry(prefix, gateway) for prefix, gateway in TABLE)
    made.own = hub_addresses(map(ip_interface, own))
    return made


def hub(*own: str) -> Net:
    return Net(Domain({ONE: table(own) if own else table()}))


@pytest.fixture(params=[False, True], ids=["plain", "watched"])
def net(request: pytest.FixtureRequest) -> Net:
    taps = Taps()
    taps.add(Capture(Choice(), lambda: None))
    return Net(Domain({ONE: table()}), taps if request.param else None)


def less(data: bytes) -> bytes:
    """The packet with a hop less, as scapy writes it."""
    found = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    if isinstance(found, IP):
        found.ttl -= 1
        del found.chksum
    else:
        found.hlim -= 1
    return bytes(found)


# --- passing on -----------------------------------------------------------------------------------


def udp(number: int = 0, ttl: int = 64, size: int = 30, source: str = H1, to: str = H2) -> bytes:
    return bytes(IP(src=source, dst=to, ttl=ttl, id=number) / UDP(sport=4, dport=5) / Raw(b"x" * size))


def test_every_frame_has_a_hop_less(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    contents = [udp(number, size=30 + (number > 60) * number) for number in range(90)]
    net.send(one, *contents)
    assert net.got(two) == [less(content) for content in contents]
    six = bytes(IPv6(src=S1, dst=S2, hlim=9) / UDP() / Raw(b"x"))
    net.send(one, six, contents[0], six)
    assert net.got(two) == [less(six), less(contents[0]), less(six)]
    assert not drops(one)


def test_known_pings_have_a_hop_less_and_the_last_one_an_answer(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    pings = [bytes(IP(src=H1, dst=H2, ttl=ttl) / ICMP(seq=ttl)) for ttl in (9, 8, 1, 7)]
    net.send(one, *pings)
    assert net.got(two) == [less(ping) for ping in pings if ping[8] > 1]
    (error,) = net.got(one)
    assert (IP(error)[ICMP].type, IP(error)[ICMP].code) == (11, 0)
    assert drops(one) == {Reason.HOP_LIMIT: 1}


shapes = st.lists(
    st.tuples(
        st.sampled_from((30, 30, 30, 70)), st.sampled_from((64, 64, 2, 1, 0)), st.sampled_from((H2, H2, H1))
    ),
    min_size=1,
    max_size=60,
)


@given(shapes, st.booleans())
def test_in_whatever_order_each_packet_has_its_fate(
    shapes: list[tuple[int, int, str]], tunrouter: bool
) -> None:
    """Of known flows and new ones, with hops left or not, to one receiver or two, with headers or not."""
    net = hub()
    one = net.join("host-1", offloads=packet_offload.ALL if tunrouter else None)
    two = net.join("host-2", offloads=packet_offload.ALL if tunrouter else None)
    packets = [udp(number, ttl, size, H1, to) for number, (size, ttl, to) in enumerate(shapes)]
    net.send(
        one,
        *(p.headed(packet) if tunrouter and number % 3 else packet for number, packet in enumerate(packets)),
    )
    for receiver, to in ((two, H2), (one, H1)):
        found = [content[10:] if content[0] < 0x10 else content for content in net.got(receiver)]
        passed = [packet for packet in found if IP(packet).proto == 17]
        assert passed == [less(one) for one in packets if one[8] > 1 and IP(one).dst == to]
    expired = sum(packet[8] < 2 for packet in packets)
    assert drops(one) == ({Reason.HOP_LIMIT: expired} if expired else {})
    assert one.traffic.received_packets == len(packets)


def test_superpackets_have_a_hop_less_for_those_who_take_them_and_those_who_do_not() -> None:
    net = hub()
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.ALL),
    )
    for source, to in ((H1, H2), (S1, S2)):
        data = p.superpacket(p.tcp(source, to, bytes(5000), partial=True), 1300)
        for _ in range(2):  # new, and known
            net.send(one, data)
            (found,) = net.got(two)
            assert found == data[:10] + less(data[10:])
    gost = net.join("host-3")
    data = p.superpacket(p.tcp(H1, "192.168.123.3", bytes(5000), partial=True), 1300)
    net.send(one, data)
    parts = net.got(gost)
    assert [IP(part).ttl for part in parts] == [63] * 4
    for part in parts:
        p.assert_right(part)


def test_fragments_that_the_hub_makes_have_a_hop_less() -> None:
    net = hub()
    one, two = net.join("host-1", offloads=packet_offload.ALL), net.join("host-2", offloads=0, mtu=600)
    net.send(one, udp(size=1000))
    parts = net.got(two)
    assert len(parts) == 2
    assert [IP(part).ttl for part in parts] == [63, 63]
    for part in parts:
        assert p.ones_sum(part[:20]) == 0xFFFF


def test_what_is_too_big_is_quoted_as_it_came() -> None:
    net = hub()
    one, _ = net.join("host-1", offloads=packet_offload.ALL), net.join("host-2", offloads=0, mtu=600)
    data = bytes(IP(src=H1, dst=H2, flags="DF", ttl=9) / UDP() / Raw(bytes(1000)))
    net.send(one, data)
    (error,) = net.got(one)
    assert IP(error).src == HUB
    assert (IP(error)[ICMP].type, IP(error)[ICMP].code, IP(error)[ICMP].nexthopmtu) == (3, 4, 600)
    assert error[28:] == data[:548]


def test_a_version_without_an_address_passes_as_it_is() -> None:
    for own, changed in ((f"{HUB}/16", H1), (f"{HUB6}/64", S1)):
        net = hub(own)
        one, two = net.join("host-1"), net.join("host-2")
        four, six = udp(ttl=1), bytes(IPv6(src=S1, dst=S2, hlim=1) / UDP() / Raw(b"x"))
        net.send(one, four, four, six, six)
        assert net.got(two) == ([six, six] if changed == H1 else [four, four])
        assert drops(one) == {Reason.HOP_LIMIT: 2}


def test_a_frame_that_comes_in_pieces_loses_one_hop_only() -> None:
    net = hub()
    one, two = net.join("host-1"), net.join("host-2")
    data = udp()
    whole = p.stream([data])
    for byte in range(len(whole)):
        net.feed(one, whole[byte : byte + 1])
    assert net.got(two) == [less(data)]


# --- MSS ------------------------------------------------------------------------------------------


def mss(data: bytes) -> int:
    layer = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    return int(dict(layer[TCP].options)["MSS"])


@pytest.mark.parametrize(
    ("mtus", "least"), [((1420, 1420), 1420), ((9000, 1400), 1400), ((1280, 9000), 1280)]
)
def test_the_mss_fits_both_devices_in_both_directions(mtus: tuple[int, int], least: int) -> None:
    net = hub()
    one, two = (net.join(f"host-{n + 1}", offloads=packet_offload.ALL, mtu=mtus[n]) for n in range(2))
    for here, there, ends in ((one, two, (H1, H2)), (two, one, (H2, H1))):
        for flags in ("S", "SA"):
            for _ in range(2):  # the second one is of a known flow
                net.send(
                    here, bytes(IP(src=ends[0], dst=ends[1]) / TCP(flags=flags, options=[("MSS", 8960)]))
                )
                (found,) = net.got(there)
                assert mss(found) == least - 40
                p.assert_right(found)
    for ends6 in ((S1, S2), (S2, S1)):
        here, there = (one, two) if ends6[0] == S1 else (two, one)
        net.send(here, bytes(IPv6(src=ends6[0], dst=ends6[1]) / TCP(flags="S", options=[("MSS", 8940)])))
        (found,) = net.got(there)
        assert mss(found) == least - 60
        p.assert_right(found)


def test_without_an_address_nothing_is_changed() -> None:
    net = Net()
    one, two = (net.join(f"host-{n}", offloads=packet_offload.ALL, mtu=1280) for n in (1, 2))
    syn = bytes(IP(src=H1, dst=H2, ttl=1) / TCP(flags="S", options=[("MSS", 8960)]))
    net.send(one, syn, syn)
    assert net.got(two) == [syn, syn]


# --- for the hub itself -----------------------------------------------------------------------------


def test_a_ping_has_its_reply(net: Net) -> None:
    one = net.join("host-1")
    net.send(one, bytes(IP(src=H1, dst=HUB, ttl=1, id=7) / ICMP(id=1, seq=2) / Raw(b"ping")))
    assert net.got(one) == [
        bytes(IP(src=HUB, dst=H1, id=7, ttl=64) / ICMP(type=0, id=1, seq=2) / Raw(b"ping"))
    ]
    net.send(one, bytes(IPv6(src=S1, dst=HUB6, hlim=1) / ICMPv6EchoRequest(id=1, seq=2, data=b"ping")))
    assert net.got(one) == [bytes(IPv6(src=HUB6, dst=S1) / ICMPv6EchoReply(id=1, seq=2, data=b"ping"))]
    assert not drops(one)


def test_a_ping_in_fragments_too_and_stray_ones_have_none(net: Net) -> None:
    one = net.join("host-1")
    request = IP(src=H1, dst=HUB, id=77) / ICMP(id=5, seq=6) / Raw(b"p" * 3000)
    parts = [bytes(part) for part in fragment(request, 1000)]
    net.send(one, *parts)
    expected = IP(bytes(IP(src=HUB, dst=H1, id=77, ttl=64) / ICMP(type=0, id=5, seq=6) / Raw(b"p" * 3000)))
    assert net.got(one) == [bytes(part) for part in fragment(expected, 1000)]
    net.send(one, parts[1])
    assert net.got(one) == []
    assert drops(one) == {Reason.FOR_HUB: 1}
    six = IPv6(src=S1, dst=HUB6) / IPv6ExtHdrFragment(id=9) / ICMPv6EchoRequest(id=5, seq=6, data=b"p" * 3000)
    net.send(one, *(bytes(part) for part in fragment6(six, 1280)))
    back = IPv6(src=HUB6, dst=S1) / IPv6ExtHdrFragment(id=9) / ICMPv6EchoReply(id=5, seq=6, data=b"p" * 3000)
    assert net.got(one) == [bytes(part) for part in fragment6(back, 1280)]


def test_a_reply_that_is_too_long_for_its_receiver_comes_in_fragments() -> None:
    net = hub()
    one = net.join("host-1", offloads=0, mtu=600)
    net.send(one, bytes(IP(src=H1, dst=HUB) / ICMP() / Raw(bytes(1000))))
    assert [len(part) <= 600 for part in net.got(one)] == [True, True]


def test_other_messages_have_no_reply() -> None:
    net = hub()
    one = net.join("host-1")
    for kind in (0, 3, 5, 11, 13, 15, 17):
        net.send(one, bytes(IP(src=H1, dst=HUB) / ICMP(type=kind) / Raw(bytes(28))))
    assert net.got(one) == []
    assert drops(one) == {Reason.FOR_HUB: 7}


def test_ports_of_the_hub_are_closed(net: Net) -> None:
    one = net.join("host-1")
    net.send(one, bytes(IP(src=H1, dst=HUB) / TCP(sport=9, dport=22, flags="S", seq=5)))
    (reset,) = net.got(one)
    assert (IP(reset)[TCP].flags, IP(reset)[TCP].ack) == ("RA", 6)
    net.send(one, bytes(IP(src=H1, dst=HUB) / UDP(sport=9, dport=33434) / Raw(b"x")))
    (error,) = net.got(one)
    assert (IP(error).src, IP(error)[ICMP].type, IP(error)[ICMP].code) == (HUB, 3, 3)


def test_a_superpacket_for_the_hub_is_quoted_as_a_packet_of_its_size() -> None:
    net = hub()
    one = net.join("host-1", offloads=packet_offload.ALL)
    net.send(one, p.superpacket(p.udp(H1, HUB, bytes(5000), partial=True), 1000))
    (error,) = net.got(one)
    quoted = IP(error[28:])
    assert quoted.len == 20 + 8 + 1000
    net.send(one, p.superpacket(p.tcp(H1, HUB, bytes(5000), partial=True), 1000))
    (reset,) = net.got(one)
    assert IP(reset)[TCP].flags == "R"


def test_broadcasts_of_its_network_go_nowhere_and_nobody_may_send_as_the_hub() -> None:
    net = hub()
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, udp(to="192.168.255.255", ttl=1))
    wide = table()
    with_default = RouteTable([entry("0.0.0.0/0", "host-1"), entry("192.168.123.2/32", "host-2")])
    with_default.own = wide.own
    net2 = Net(Domain({ONE: with_default}))
    exit_host, _ = net2.join("host-1"), net2.join("host-2")
    net2.send(exit_host, udp(source=HUB))
    assert net.got(one) == net.got(two) == []
    assert drops(one) == {Reason.MULTICAST: 1}
    assert drops(exit_host) == {Reason.WRONG_SOURCE: 1}


# --- traceroute -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "probe", [UDP(dport=33434), TCP(dport=80, flags="S"), ICMP()], ids=["UDP", "TCP", "ICMP"]
)
def test_the_hub_is_the_first_hop(net: Net, probe: object) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    data = bytes(IP(src=H1, dst=H2, ttl=1) / probe / Raw(b"x" * 20))
    for _ in range(3):
        net.send(one, data)
        (error,) = net.got(one)
        expected = IP(src=HUB, dst=H1, tos=0xC0, id=0, ttl=64) / ICMP(type=11) / Raw(data[:548])
        assert error == bytes(expected)
    net.send(one, data[:8] + b"\x02" + data[9:])
    assert len(net.got(two)) == 1


def test_ipv6_too() -> None:
    net = hub()
    one, _ = net.join("host-1"), net.join("host-2")
    data = bytes(IPv6(src=S1, dst=S2, hlim=1) / UDP(dport=33434) / Raw(b"x" * 20))
    net.send(one, data)
    assert net.got(one) == [bytes(IPv6(src=HUB6, dst=S1) / ICMPv6TimeExceeded() / Raw(data))]


def test_what_goes_nowhere_has_its_own_error_whatever_its_ttl() -> None:
    net = hub()
    one = net.join("host-1")
    net.send(one, bytes(IP(src=H1, dst=NOWHERE, ttl=1) / UDP()))
    (error,) = net.got(one)
    assert (IP(error).src, IP(error)[ICMP].type, IP(error)[ICMP].code) == (HUB, 3, 0)


# --- rates ------------------------------------------------------------------------------------------


def test_errors_and_pings_have_their_rates() -> None:
    net = hub()
    one, _ = net.join("host-1"), net.join("host-2")
    net.send(one, *(udp(number, ttl=1) for number in range(200)))
    assert len(net.got(one)) == ERRORS_A_TURN
    assert drops(one) == {Reason.HOP_LIMIT: 200}
    for _ in range(20):
        net.send(one, *(udp(number, ttl=1) for number in range(20)))
    assert len(net.got(one)) == ICMP_ERROR_BURST - ERRORS_A_TURN
    ping = bytes(IP(src=H1, dst=HUB) / ICMP())
    net.send(one, *[ping] * 400)
    assert len(net.got(one)) == PING_BURST
    assert drops(one)[Reason.HUB_RATE] == 400 - PING_BURST
    net.now += 0.1
    net.send(one, *[ping] * 400)
    assert len(net.got(one)) == 100


def test_a_flood_without_hops_is_judged_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from lib import forward

    net = hub()
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, udp())
    judged: list[int] = []
    real = forward._judge

    def judge(attachment: Attachment, buf: bytearray, start: int, *rest: Any) -> Attachment | None:
        judged.append(start)
        return real(attachment, buf, start, *rest)

    monkeypatch.setattr(forward, "_judge", judge)
    net.send(one, *(udp(number, ttl=1 + number % 2) for number in range(2000)))
    assert len(judged) == MOST_EXPIRED
    assert drops(one) == {Reason.HOP_LIMIT: 1000}
    assert len(net.got(two)) == 1 + 1000


@pytest.mark.parametrize("most", [MOST_EXPIRED, 0], ids=["judged", "of very many"])
def test_a_superpacket_without_a_hop_is_counted_once_as_its_segments(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("lib.forward.MOST_EXPIRED", most)
    net = hub()
    one, two = (net.join(f"host-{n}", offloads=packet_offload.ALL) for n in (1, 2))
    data = p.superpacket(p.tcp(H1, H2, bytes(5000), partial=True), 1300)
    net.send(one, data)  # from here on its flow is known
    last = bytearray(data)
    last[10 + 8] = 1
    last[10 + 10 : 10 + 12] = bytes(2)
    last[10 + 10 : 10 + 12] = (0xFFFF - p.ones_sum(bytes(last[10:30]))).to_bytes(2, "big")
    net.send(one, bytes(last), data)
    assert drops(one) == {Reason.HOP_LIMIT: 4}
    assert one.traffic.received_packets == 3 * 4
    assert (len(net.got(two)), two.traffic.sent_packets) == (2, 2 * 4)


# --- reload, explain ----------------------------------------------------------------------------------


def test_a_reload_gives_and_takes_the_address() -> None:
    net = hub()
    one, two = net.join("host-1"), net.join("host-2")
    routes = net.domain.tables[ONE]
    assert isinstance(routes, RouteTable)
    for own, ttl in ((OWN, 63), ((), 64), (OWN, 63)):
        routes.own = own
        routes.changes += 1
        net.send(one, udp(), udp())
        assert [packet[8] for packet in net.got(two)] == [ttl, ttl]


def test_the_own_table_s_address_comes_before_the_default_one_s() -> None:
    default = RouteTable()
    default.own = hub_addresses((ip_interface("10.0.0.1/8"), ip_interface("fd00::1/64")))
    namespace = Domain({ONE: table((f"{HUB}/16",))}, default).namespace(ONE)
    assert namespace.own(4) == packed(HUB)
    assert namespace.own(16) == packed("fd00::1")


def test_explain_says_it() -> None:
    namespace = hub().domain.namespace(ONE)
    attachment = Attachment(namespace, "host-1", "-")
    for port, verdict in ((None, Here.HUB), ((TCP_NUMBER, 22), Reason.FOR_HUB)):
        found = explain(attachment, packed(H1), packed(HUB), 0.0, True, port)
        assert found.verdict is verdict
        assert found.delivered is (verdict is Here.HUB)
    said = dict(explain(attachment, packed(H1), packed(HUB), 0.0).lines)["verdict"]
    assert said == "is answered by the hub itself"


# --- an access list -----------------------------------------------------------------------------------

PINGS = [AclRule(False, "host-2", None, 1), AclRule(True, None, (packed(HUB), 32), 1)]
"""Everybody but host-2 may ping the hub, and nobody may do anything else."""


def listed(rules: list[AclRule], names: bool = False) -> Net:
    routes = table((f"{HUB}/16",))
    routes.acl = Acl(rules)
    if names:
        routes.own = hub_addresses((ip_interface(f"{HUB}/16"),), NamesSettings("tun.test"))
    return Net(Domain({ONE: routes}))


def ping(source: str) -> bytes:
    return bytes(IP(src=source, dst=HUB) / ICMP(id=1, seq=1) / Raw(b"x" * 8))


def test_the_hub_answers_those_whom_the_access_list_lets_ask() -> None:
    net = listed(PINGS)
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, ping(H1))
    net.send(two, ping(H2))
    assert [IP(answer)[ICMP].type for answer in net.got(one)] == [0]
    assert [IP(answer)[ICMP].type for answer in net.got(two)] == [3], (
        "forbidden, as any packet that is denied"
    )
    assert drops(two) == {Reason.DENIED: 1}
    net.send(one, bytes(IP(src=H1, dst=HUB) / TCP(sport=1, dport=22)))
    assert drops(one) == {Reason.DENIED: 1}, (
        "what no rule allows, also where the hub has nothing to say to it"
    )


@pytest.mark.parametrize("size", [600, 1500, 4000])
def test_a_ping_in_fragments_is_let_in_as_a_whole_one(size: int) -> None:
    """The list and the hub itself look at each fragment: it counts once for either."""
    net = listed(PINGS)
    one = net.join("host-1")
    whole = IP(src=H1, dst=HUB, id=7) / ICMP() / Raw(bytes(size))
    parts = [bytes(part) for part in fragment(whole, 480)]
    assert len(parts) > 1
    net.send(one, *parts)
    assert len(net.got(one)) == len(parts)
    assert not drops(one)


def test_dns_at_the_hub_is_asked_by_those_whom_the_list_lets() -> None:
    question = UDP(sport=4, dport=53) / Raw(bytes(12))
    for rules, denied in ((PINGS, 1), ([AclRule(True, None, None, 17, ((53, 53),))], 0)):
        net = listed(rules, names=True)
        one = net.join("host-1")
        net.send(one, bytes(IP(src=H1, dst=HUB) / question))
        assert drops(one).get(Reason.DENIED, 0) == denied
        first, second = (
            bytes(part)
            for part in fragment(IP(src=H1, dst=HUB, id=7) / UDP(sport=4, dport=53) / Raw(bytes(600)), 300)[
                :2
            ]
        )
        net.send(one, first, second)
        assert drops(one).get(Reason.DENIED, 0) == 2 * denied, (
            "a fragment goes by the first one of its datagram"
        )
        assert drops(one).get(Reason.STRAY_FRAGMENT, 0) == denied


@pytest.mark.parametrize(("source", "verdict"), [(H1, Here.HUB), (H2, Reason.DENIED)])
def test_explain_agrees_and_names_the_rule(source: str, verdict: object) -> None:
    host = {H1: "host-1", H2: "host-2"}[source]
    attachment = Attachment(listed(PINGS).domain.namespace(ONE), host, "-")
    found = explain(attachment, packed(source), packed(HUB), 0.0)
    assert found.verdict is verdict
    rule = "rule 2: allow" if verdict is Here.HUB else "rule 1: deny from host-2"
    assert rule in dict(found.lines[::-1])["access list"]


def test_what_the_hub_says_by_itself_is_no_host_s_packet() -> None:
    """Its ICMP errors about packets on their way, which no rule has to allow."""
    net = listed([AclRule(True, None, (packed(H2), 32), None)])
    one = net.join("host-1")
    net.join("host-2")
    net.send(one, udp(ttl=1))
    assert [IP(answer)[ICMP].type for answer in net.got(one)] == [11]
