"""Which server a DNS question goes to, and which message is its answer."""

from __future__ import annotations

import pytest
from dnslib import DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from lib import dns_forward
from lib.addresses import packed_prefix
from lib.dns_forward import Server, Zone, asked, servers

HUB = Zone(("10.20.0.1",), "tun.example", (packed_prefix("10.20.0.0/16"), packed_prefix("fd20::/48")))
INNER = Zone(("10.30.0.1",), "in.tun.example")
WIDE = Zone(("10.40.0.1",), "wide.example", (packed_prefix("0.0.0.0/0"), packed_prefix("::/1")))
REST = ("192.0.2.53", "192.0.2.54")


def question(name: str = "Host-1.tun.example", kind: str = "A") -> bytes:
    return bytes(DNSRecord.question(name, kind).pack())


@pytest.mark.parametrize(
    ("name", "hub", "rest"),
    [
        ("tun.example", ["10.20.0.1"], False),
        ("host-1.tun.example", ["10.20.0.1"], False),
        ("a.in.tun.example", ["10.30.0.1"], False),
        ("xtun.example", [], True),
        ("tun.example.com", [], True),
        ("example", [], True),
        ("", [], True),
        ("7.0.20.10.in-addr.arpa", ["10.20.0.1"], True),
        ("7.0.21.10.in-addr.arpa", [], True),
        ("20.10.in-addr.arpa", [], True),
        (".".join("1" + "0" * 19 + "0000000002df"[:11] + "f"), [], True),
    ],
)
def test_no_other_name_reaches_a_hub(name: str, hub: list[str], rest: bool) -> None:
    found = servers(name, [HUB, INNER, WIDE], REST)
    assert found == [Server(one, by_udp=True) for one in hub] + [Server(one) for one in REST] * rest


def test_an_address_of_ipv6_is_asked_of_the_hub_first() -> None:
    name = ".".join(reversed(f"fd20{'0' * 27}7")) + ".ip6.arpa"
    assert [one.address for one in servers(name, [HUB], REST)] == ["10.20.0.1", *REST]


def test_servers_for_all_names_come_before_those_there_were() -> None:
    own = Zone(("10.9.9.9", "192.0.2.53"))
    assert [one.address for one in servers("www.example", [own, HUB], REST)] == ["10.9.9.9", *REST]
    assert [one.address for one in servers("host-1.tun.example", [own, HUB], REST)] == ["10.20.0.1"]


def test_what_a_question_is() -> None:
    found = asked(question())
    assert found is not None
    assert (found.name, found.end) == ("host-1.tun.example", len(question()))
    two = DNSRecord(DNSHeader(), questions=[DNSQuestion("a.example"), DNSQuestion("b.example")])
    for message in (b"", question()[:-1], bytes(two.pack()), bytes(DNSRecord.question("a.b").reply().pack())):
        assert asked(message) is None


def test_a_dot_within_a_label_is_none_between_two() -> None:
    message = question("x.tun.example").replace(b"\1x\3tun", b"\5x.tun")
    found = asked(message)
    assert found is not None
    assert [one.address for one in servers(found.name, [HUB], REST)] == list(REST)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_question_or_none(message: bytes) -> None:
    found = asked(message)
    assert found is None or 12 < found.end <= len(message)


def test_only_the_answer_to_the_question_is_taken() -> None:
    sent = question()
    right = bytes(DNSRecord.parse(sent).reply().pack())
    end = len(sent)
    other = bytearray(right)
    other[0] ^= 1
    kind = bytearray(right)
    kind[end - 3] = 28
    opcode = bytearray(right)
    opcode[2] |= 0x20
    assert dns_forward.is_answer(sent, end, right)
    assert dns_forward.is_answer(sent, end, right.replace(b"\6Host-1", b"\6hOST-1"))
    wrong = (
        *(bytes(other), bytes(kind), bytes(opcode), sent, right[:11], b""),
        right.replace(b"\6Host-1", b"\6Host-2"),
        right[:4] + b"\0\0" + right[6:],
    )
    for reply in wrong:
        assert not dns_forward.is_answer(sent, end, reply)
    assert dns_forward.is_answer(sent, end, dns_forward.failure(sent, 12, dns_forward.REFUSED))


def test_a_failure_says_what_was_asked() -> None:
    sent = question()
    found = DNSRecord.parse(dns_forward.failure(sent, len(sent), dns_forward.SERVFAIL))
    assert (found.header.id, found.header.rcode, found.header.qr, found.header.ra) == (
        *(DNSRecord.parse(sent).header.id, 2, 1, 1),
    )
    assert str(found.q.qname) == "Host-1.tun.example."
