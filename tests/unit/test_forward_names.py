"""DNS questions to the hub's own address: what they get, how many, and that no namespace hears of another one."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest
from dnslib import QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord

from lib import packet_offload
from lib.dns_zone import BURST, NEW_BURST
from lib.forward import scan
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.forward_names import AGAIN_SECONDS, WORK, zone_of
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.route_table import RouteTable, hub_addresses
from lib.settings_names import NamesSettings
from tests.support import packets as p
from tests.support.routes import entry, packed
from tests.support.scapy_layers import ICMP, IP, TCP, UDP, IPv6, Raw
from tests.unit.test_forward import H1, H2, ONE, S1, TABLE, TWO, Net, drops

HUB, HUB6 = "192.168.0.1", "fd00:123::ff"
NAMES = NamesSettings("tun.example", (("printer", (packed("192.168.200.9"),)),))


def table(routes: list[tuple[str, str]] = TABLE, names: NamesSettings | None = NAMES) -> RouteTable:
    made = RouteTable(entry(prefix, gateway) for prefix, gateway in routes)
    made.own = hub_addresses((ip_interface(f"{HUB}/16"), ip_interface(f"{HUB6}/64")), names)
    return made


def hub(names: NamesSettings | None = NAMES) -> Net:
    return Net(Domain({ONE: table(names=names), TWO: table([("192.168.123.1/32", "other")])}))


def question(name: str, kind: str = "A", number: int = 1) -> bytes:
    return bytes(DNSRecord(DNSHeader(id=number, rd=1), q=DNSQuestion(name, getattr(QTYPE, kind))).pack())


def ask(
    net: Net, who: Attachment, data: bytes, source: str = H1, to: str = HUB, port: int = 53
) -> list[bytes]:
    """The packets that come back."""
    layer = IP(src=source, dst=to) if "." in to else IPv6(src=source, dst=to)
    net.send(who, bytes(layer / UDP(sport=4000, dport=port) / Raw(data)))
    return net.got(who)


def rows(packet: bytes) -> list[str]:
    p.assert_right(packet)
    layer = IP(packet) if packet[0] >> 4 == 4 else IPv6(packet)
    assert (layer[UDP].sport, layer[UDP].dport) == (53, 4000)
    return [str(row.rdata) for row in DNSRecord.parse(bytes(layer[UDP].payload)).rr]


@pytest.mark.parametrize(("source", "to"), [(H1, HUB), (S1, HUB6)])
def test_hosts_of_the_namespace_have_names(source: str, to: str) -> None:
    net = hub()
    one = net.join("host-1")
    for name, kind, address in (
        ("host-2.tun.example", "A", H2),
        ("host-1.tun.example", "AAAA", S1),
        ("printer.tun.example", "A", "192.168.200.9"),
        ("tun.example", "A", HUB),
        ("2.123.168.192.in-addr.arpa", "PTR", "host-2.tun.example."),
    ):
        (back,) = ask(net, one, question(name, kind), source, to)
        assert rows(back) == [address]
    assert not drops(one)


def test_a_namespace_hears_nothing_of_another_one() -> None:
    net = hub()
    one, other = net.join("host-1"), net.join("other", TWO)
    (back,) = ask(net, other, question("host-2.tun.example"))
    assert DNSRecord.parse(bytes(IP(back)[UDP].payload)).header.rcode == RCODE.NXDOMAIN
    (back,) = ask(net, other, question("other.tun.example"))
    assert rows(back) == [H1]
    (back,) = ask(net, one, question("other.tun.example"))
    assert rows(back) == []


def test_namespaces_with_the_very_same_tables_have_one_zone() -> None:
    """Without an auther anybody can make up thousands of them."""
    domain = Domain({TWO: table([("192.168.123.1/32", "other")])}, table())
    made_up, again = (Attachment(domain.namespace(bytes([n]) * 16), "host-1", "-") for n in (7, 8))
    own = Attachment(domain.namespace(TWO), "host-1", "-")
    zone, other = zone_of(made_up.namespace, 0.0), zone_of(own.namespace, 0.0)
    assert zone is not None
    assert other is not None
    assert zone_of(again.namespace, 0.0) is zone
    assert zone.addresses("host-2")
    assert zone.addresses("other") is None
    assert other.addresses("other")


def test_what_is_no_question_is_not_answered() -> None:
    net = hub()
    one = net.join("host-1")
    (error,) = ask(net, one, question("host-2.tun.example"), port=5353)
    assert IP(error).proto == 1, "port unreachable, as without names"
    assert ask(net, one, b"\0\1\x80\0") == []
    assert ask(net, one, b"") == []
    assert drops(one) == {Reason.FOR_HUB: 3}
    net.send(one, bytes(IP(src=H1, dst=HUB) / TCP(sport=4000, dport=53, flags="S")))
    (reset,) = net.got(one)
    assert IP(reset)[TCP].flags == "RA"


def test_without_a_domain_nothing_listens() -> None:
    net = hub(None)
    one = net.join("host-1")
    (error,) = ask(net, one, question("host-2.tun.example"))
    assert IP(error).proto == 1
    assert zone_of(one.namespace, net.now) is None


def test_what_a_resolver_asks_in_one_breath_comes_as_a_superpacket() -> None:
    net = hub()
    one = net.join("host-1", offloads=packet_offload.ALL)
    both = question("host-2.tun.example", number=1) + question("host-2.tun.example", "TXT", number=2)
    packet = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(both))
    net.send(one, p.superpacket(packet, len(both) // 2))
    first, second = net.got(one)
    assert (rows(first), rows(second)) == ([H2], [])
    assert [bytes(IP(back)[UDP].payload)[1] for back in (first, second)] == [1, 2]
    assert (one.traffic.received_packets, drops(one)) == (2, {})
    both = question("host-2.tun.example") + b"\0\1\x81" + bytes(len(both) // 2 - 3)
    packet = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(both))
    net.send(one, p.superpacket(packet, len(both) // 2))
    (back,) = net.got(one)
    assert rows(back) == [H2]
    assert (one.traffic.received_packets, drops(one)) == (4, {Reason.FOR_HUB: 1})


def test_more_questions_than_there_may_be_are_dropped() -> None:
    net = hub()
    one = net.join("host-1")
    answered = sum(
        len(ask(net, one, question(f"x{number}.tun.example"))) for number in range(int(NEW_BURST) + 10)
    )
    assert answered == NEW_BURST
    again = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(question("x1.tun.example")))
    net.send(one, *[again] * int(BURST))
    assert len(net.got(one)) == BURST - NEW_BURST - 10, "what others have asked before costs little"
    assert set(drops(one)) == {Reason.HUB_RATE}
    net.now += 1
    assert ask(net, one, question("y.tun.example"))


def test_what_is_replied_to_counts_as_forwarded_and_what_is_not_does_not() -> None:
    """Else whoever asks 5,000 names a second, as a resolver may, or pings, is an expensive peer, and is read last."""
    net = hub()
    one = net.join("host-1", offloads=packet_offload.ALL)
    name = question("host-2.tun.example")
    asked = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(name))
    both = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(name * 2))
    none = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(b"\0\1\x80\0"))
    ping = bytes(IP(src=H1, dst=HUB) / ICMP(id=1, seq=1) / Raw(bytes(56)))
    frames = [asked, asked, p.superpacket(both, len(name)), none, ping]
    buffer, view, start, end = p.received(p.stream(frames))
    out = Output()
    assert scan(one, buffer, view, start, end, net.now, out) == end
    back = p.contents(b"".join(map(bytes, out.runs[one])))
    assert len(back) == 5
    assert (out.replies, out.made, out.frames, out.bytes) == (5, 1, 5, sum(map(len, back)))
    one.questions.all.tokens = one.pings.tokens = 0.0
    out = Output()
    assert scan(one, buffer, view, start, end, net.now, out) == end
    assert (out.replies, out.made, out.frames, out.bytes) == (0, 0, 0, 0)


def test_a_superpacket_of_questions_is_as_much_work_as_its_questions() -> None:
    """So the clock is looked at as often; a turn might else take as many answers as a frame has room for."""
    net = hub()
    one = net.join("host-1", offloads=packet_offload.ALL)
    name = question("host-2.tun.example")
    many = bytes(IP(src=H1, dst=HUB) / UDP(sport=4000, dport=53) / Raw(name * 100))
    buffer, view, start, end = p.received(p.stream([p.superpacket(many, len(name))] * 3))
    out = Output()
    assert scan(one, buffer, view, start, end, net.now, out, 150) == start + 2 * (end - start) // 3
    assert out.work == WORK + 199


def test_names_follow_the_table_and_are_not_read_again_all_the_time() -> None:
    routes = table()
    net = Net(Domain({ONE: routes}))
    one = net.join("host-1")
    first = zone_of(one.namespace, net.now)
    assert zone_of(one.namespace, net.now + 100) is first
    routes.swap(RouteTable([entry("192.168.123.7/32", "host-2")]).tries)
    assert zone_of(one.namespace, net.now + AGAIN_SECONDS / 2) is first
    later = zone_of(one.namespace, net.now + AGAIN_SECONDS)
    assert later is not None
    assert later is not first
    assert later.addresses("host-2") == [packed("192.168.123.7")]
