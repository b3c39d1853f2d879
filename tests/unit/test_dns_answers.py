"""DNS answers: every kind of question by a table, what is no question, and any bytes at all."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord, EDNSOption
from hypothesis import given
from hypothesis import strategies as st

from lib.dns_answers import MAX_SIZE, PLAIN_SIZE, TTL, answer, reversed_address
from lib.dns_zone import FEW, Zone, hosts_of, is_name
from lib.settings_names import NamesSettings


def packed(text: str) -> bytes:
    return ip_address(text).packed


SETTINGS = NamesSettings(
    "tun.example",
    (
        ("printer.host-2", (packed("192.168.200.9"),)),
        ("nas", (packed("192.168.200.8"), packed("2001:db8::8"))),
    ),
)
OWN = (packed("10.20.0.1"), packed("2001:db8::1"))
HOSTS = (
    ("Host-1", packed("10.20.0.2")),
    ("host-2", packed("10.20.0.3")),
    ("host-2", packed("2001:db8::3")),
    ("nas", packed("10.20.0.9")),
    ("bad name", packed("10.20.0.10")),
)


def zone() -> Zone:
    return Zone(SETTINGS, OWN, HOSTS)


def ask(name: str, kind: str = "A", where: Zone | None = None, **header: int) -> DNSRecord:
    question = DNSRecord(DNSHeader(id=4711, rd=1, **header), q=DNSQuestion(name, getattr(QTYPE, kind)))
    found = answer(bytes(question.pack()), where or zone())
    assert found is not None
    reply = DNSRecord.parse(found)
    assert (reply.header.id, reply.header.qr, reply.header.ra) == (4711, 1, 0)
    return reply


CASES = [
    ("host-1.tun.example", "A", "NOERROR", ["10.20.0.2"]),
    ("HOST-1.Tun.Example", "A", "NOERROR", ["10.20.0.2"]),
    ("host-1.tun.example", "AAAA", "NOERROR", []),
    ("host-1.tun.example", "TXT", "NOERROR", []),
    ("host-2.tun.example", "AAAA", "NOERROR", ["2001:db8::3"]),
    ("host-2.tun.example", "ANY", "NOERROR", ["10.20.0.3", "2001:db8::3"]),
    ("printer.host-2.tun.example", "A", "NOERROR", ["192.168.200.9"]),
    ("nas.tun.example", "A", "NOERROR", ["192.168.200.8"]),
    ("tun.example", "A", "NOERROR", ["10.20.0.1"]),
    ("tun.example", "NS", "NOERROR", ["tun.example."]),
    ("host-3.tun.example", "A", "NXDOMAIN", []),
    ("a.host-1.tun.example", "A", "NXDOMAIN", []),
    ("bad\\032name.tun.example", "A", "NXDOMAIN", []),
    ("1._hosts.tun.example", "TXT", "NXDOMAIN", []),
    ("0._hosts.tun.example", "A", "NOERROR", []),
    ("x._hosts.tun.example", "TXT", "NXDOMAIN", []),
    ("example", "A", "REFUSED", []),
    ("www.example.com", "A", "REFUSED", []),
    ("xtun.example", "A", "REFUSED", []),
    (".", "NS", "REFUSED", []),
    ("2.0.20.10.in-addr.arpa", "PTR", "NOERROR", ["host-1.tun.example."]),
    ("9.200.168.192.in-addr.arpa", "PTR", "NOERROR", ["printer.host-2.tun.example."]),
    ("1.0.20.10.in-addr.arpa", "PTR", "NOERROR", ["tun.example."]),
    ("2.0.20.10.in-addr.arpa", "A", "NOERROR", []),
    ("9.9.20.10.in-addr.arpa", "PTR", "REFUSED", []),
    ("20.10.in-addr.arpa", "PTR", "REFUSED", []),
    (
        f"{'.'.join(reversed(ip_address('2001:db8::3').exploded.replace(':', '')))}.ip6.arpa",
        "PTR",
        "NOERROR",
        ["host-2.tun.example."],
    ),
]


@pytest.mark.parametrize(
    ("name", "kind", "code", "rows"), CASES, ids=[f"{case[1]} {case[0][-40:]}" for case in CASES]
)
def test_each_kind_of_question(name: str, kind: str, code: str, rows: list[str]) -> None:
    reply = ask(name, kind)
    assert RCODE[reply.header.rcode] == code
    assert [str(row.rdata) for row in reply.rr] == rows
    assert reply.header.aa == (code != "REFUSED")
    assert all(row.ttl == TTL for row in reply.rr)
    has_soa = code == "NXDOMAIN" or (code == "NOERROR" and not rows and not name.endswith(".arpa"))
    assert [row.rtype for row in reply.auth] == [QTYPE.SOA] * has_soa, "so that a no is kept as long as a yes"


def test_a_name_that_only_has_others_below_it_exists() -> None:
    reply = ask("b.tun.example", where=Zone(NamesSettings("tun.example", (("a.b", OWN[:1]),)), OWN, ()))
    assert (RCODE[reply.header.rcode], reply.rr) == ("NOERROR", [])


def test_a_zone_s_own_records() -> None:
    (soa,) = ask("tun.example", "SOA").rr
    assert soa.rtype == QTYPE.SOA
    assert str(soa.rdata).startswith("tun.example. hostmaster.tun.example. ")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\3abc", RCODE.FORMERR),
        (b"\0\1\1\0\0\2\0\0\0\0\0\0" + b"\0\0\1\0\1\0\0\1\0\1", RCODE.FORMERR),
        (b"\0\1\1\0\0\0\0\0\0\0\0\0", RCODE.FORMERR),
        (b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\xc0\x0c\0\1\0\1", RCODE.FORMERR),
        (b"\0\1\1\0\0\1\0\1\0\0\0\0" + b"\0\0\1\0\1", RCODE.FORMERR),
        (b"\0\1\x29\0\0\1\0\0\0\0\0\0" + b"\0\0\1\0\1", RCODE.NOTIMP),
        (b"\0\1\1\0\0\1\0\0\0\0\0\0" + bytes(600), RCODE.FORMERR),
        (b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", RCODE.FORMERR),
        (b"\0\1\1\0\0\1\0\0\0\0\0\0" + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", RCODE.FORMERR),
        (b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\0\0\1\0\3", RCODE.REFUSED),
    ],
)
def test_what_is_no_question_gets_a_code_and_no_more(message: bytes, code: int) -> None:
    found = answer(message, zone())
    assert found is not None
    assert found[:2] == message[:2]
    assert found[2] & 0x80
    assert found[3] & 15 == code
    assert len(found) <= max(len(message), 64)


def test_a_message_that_takes_long_to_read_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 41 questions each may be a pointer to a name of 125 labels: that takes 10 ms."""
    name = b"\1a" * 125 + b"\0"
    bomb = struct.pack("!6H", 1, 0x100, 42, 0, 0, 0) + name + b"\0\1\0\1" + b"\xc0\x0c\0\1\0\1" * 41
    many = struct.pack("!6H", 1, 0x100, 1, 0, 0, 40) + name + b"\0\1\0\1"
    monkeypatch.setattr(DNSRecord, "parse", lambda message: pytest.fail("it is read"))
    for message in (bomb, many):
        found = answer(message, zone())
        assert found is not None
        assert found[3] & 15 == RCODE.FORMERR


def test_what_is_no_question_is_not_remembered() -> None:
    """1,024 messages of 64 KB each would be 67 MB for each namespace."""
    where = zone()
    for number in range(10):
        long = struct.pack("!6H", number, 0x100, 1, 0, 0, 0) + bytes([number]) * 60_000
        assert answer(long, where) is not None
        assert answer(struct.pack("!6H", 1, 0x2900, number, 0, 0, 0), where) is not None
    assert not where.remembered


@pytest.mark.parametrize("message", [b"", b"\0\1\1", b"\0\1\x81\0\0\1\0\0\0\0\0\0\0\0\1\0\1"])
def test_an_answer_and_what_has_no_header_get_none(message: bytes) -> None:
    assert answer(message, zone()) is None


def test_an_answer_fits_and_edns_makes_room() -> None:
    many = [(f"2001:db8::{number:x}") for number in range(1, 40)]
    where = Zone(
        NamesSettings(f"{'a' * 60}.{'b' * 60}.{'c' * 50}.example"), OWN, [("h", packed(one)) for one in many]
    )
    question = DNSRecord(DNSHeader(id=1), q=DNSQuestion(f"h.{where.domain}", QTYPE.AAAA))
    plain = answer(bytes(question.pack()), where)
    question.add_ar(EDNS0(udp_len=4096))
    more = answer(bytes(question.pack()), where)
    small = DNSRecord(DNSHeader(id=1), q=DNSQuestion(f"h.{where.domain}", QTYPE.AAAA))
    small.add_ar(EDNS0(udp_len=20))
    tiny = answer(bytes(small.pack()), where)
    assert plain is not None
    assert more is not None
    assert tiny is not None
    assert len(plain) <= PLAIN_SIZE
    assert len(tiny) <= PLAIN_SIZE
    assert len(more) <= MAX_SIZE
    assert 0 < len(DNSRecord.parse(plain).rr) < len(DNSRecord.parse(more).rr) == 16
    assert not DNSRecord.parse(plain).header.tc, "there is no TCP to ask again by"


def test_an_unknown_version_of_edns_is_refused_as_rfc_6891_says() -> None:
    question = DNSRecord(DNSHeader(id=1), q=DNSQuestion("host-1.tun.example", QTYPE.A))
    question.add_ar(EDNS0(udp_len=1232, version=1))
    found = answer(bytes(question.pack()), zone())
    assert found is not None
    reply = DNSRecord.parse(found)
    assert (reply.header.rcode, reply.ar[0].ttl >> 24, reply.rr) == (0, 1, []), "BADVERS is 16"


def test_a_repeated_question_has_the_same_answer_under_its_own_number() -> None:
    where = zone()
    question = bytes(DNSRecord(DNSHeader(id=1), q=DNSQuestion("host-1.tun.example", QTYPE.A)).pack())
    first = answer(question, where)
    second = answer(b"\x12\x34" + question[2:], where)
    assert first is not None
    assert second == b"\x12\x34" + first[2:]
    assert where.remembered == 1


def test_letters_in_any_case_and_a_cookie_are_the_same_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """As resolvers send them (draft-vixie-dnsext-dns0x20, RFC 7873): each would else be one that nobody has asked."""
    where = zone()

    def ask_with(name: str, kind: str, cookie: bytes) -> bytes:
        asked = DNSRecord(DNSHeader(id=7, rd=1), q=DNSQuestion(name, getattr(QTYPE, kind)))
        asked.add_ar(EDNS0(udp_len=1232, opts=[EDNSOption(10, cookie)] if cookie else []))
        found = answer(bytes(asked.pack()), where)
        assert found is not None
        assert DNSRecord.parse(found).q.qname.label == asked.q.qname.label, "as it was asked"
        return found

    asked = [("host-1.tun.example", "A"), ("none.tun.example", "A"), ("2.0.20.10.in-addr.arpa", "PTR")]
    first = [ask_with(*one, b"12345678") for one in asked]
    monkeypatch.setattr("lib.dns_answers._made", None)
    for name, cookie in [(str.upper, b"abcdefgh"), (str.title, b""), (str.swapcase, b"x" * 40)]:
        again = [ask_with(name(text), kind, cookie) for text, kind in asked]
        for one, other in zip(first, again, strict=True):
            was, now = DNSRecord.parse(one), DNSRecord.parse(other)
            assert (now.header, now.rr, now.auth) == (was.header, was.rr, was.auth)
    assert where.remembered == len(asked)


def test_what_an_answer_depends_on_is_told_apart() -> None:
    where = zone()
    name = b"\6host-1\3tun\7example\0"
    tails = [b"\0\1\0\1", b"\0\x41\0\1", b"\0\x61\0\1", b"\0\1\0\3"]
    plain = [struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + name + tail for tail in tails]
    plain.append(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + name + tails[0])  # that wants no recursion
    sizes = [b"\0\0\x29\2\0" + bytes(6), b"\0\0\x29\4\0" + bytes(6), b"\0\0\x29\4\0\0\1" + bytes(4)]
    edns = [struct.pack("!6H", 1, 0x100, 1, 0, 0, 1) + name + tails[0] + tail for tail in sizes]
    found = [answer(one, where) for one in (*plain, *edns)]
    assert where.remembered == len(found)
    assert found == [answer(one, zone()) for one in (*plain, *edns)]


def test_a_malformed_option_is_not_said_of_others() -> None:
    where = zone()
    head = (
        struct.pack("!6H", 1, 0x100, 1, 0, 0, 1) + b"\6host-1\3tun\7example\0\0\1\0\1\0\0\x29\4\0" + bytes(4)
    )
    malformed, good = head + b"\0\6\0\x0a\0\x63ab", head + b"\0\6\0\x0a\0\2ab"
    bad = answer(malformed, where)
    assert bad is not None
    assert (bad[3] & 15, where.remembered) == (RCODE.FORMERR, 0)
    assert answer(good, where) == answer(good, zone())
    assert DNSRecord.parse(answer(good, where) or b"").rr


QUESTION = bytes(DNSRecord(DNSHeader(id=1, rd=1), q=DNSQuestion("host-1.tun.example", QTYPE.A)).pack())


@given(
    st.binary(max_size=700)
    | st.tuples(st.binary(min_size=12, max_size=12), st.binary(max_size=300)).map(b"".join)
)
def test_any_bytes_get_an_answer_of_bounded_size_or_none(message: bytes) -> None:
    found = answer(message, zone())
    if found is None:
        assert len(message) < 12 or message[2] & 0x80
    else:
        assert found[:2] == message[:2]
        assert len(found) <= MAX_SIZE
        assert found[2] & 0x80, "nobody answers it"
        where = zone()
        assert answer(message, where) == answer(message, where) == found, "also where it is remembered"


@given(
    st.lists(st.tuples(st.integers(0, len(QUESTION) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, len(QUESTION)),
)
def test_a_damaged_question_gets_an_answer_or_none(changes: list[tuple[int, int]], cut: int) -> None:
    message = bytearray(QUESTION)
    for at, value in changes:
        message[at] = value
    found = answer(bytes(message[: cut or None]), zone())
    assert found is None or struct.unpack_from("!H", found)[0] == struct.unpack_from("!H", message)[0]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("4.3.2.1.in-addr.arpa", packed("1.2.3.4")),
        ("3.2.1.in-addr.arpa", None),
        ("5.4.3.2.1.in-addr.arpa", None),
        ("256.3.2.1.in-addr.arpa", None),
        ("x.3.2.1.in-addr.arpa", None),
        ("\u0661.3.2.1.in-addr.arpa", None),
        (f"{'1.' * 32}ip6.arpa", bytes([0x11] * 16)),
        (f"{'1.' * 31}ip6.arpa", None),
        (f"{'g.' * 32}ip6.arpa", None),
    ],
)
def test_names_of_addresses(name: str, address: bytes | None) -> None:
    assert reversed_address(name) == address


def test_an_address_with_a_route_of_its_own_is_its_host_s() -> None:
    routes = [
        (packed("10.20.0.2"), 32, frozenset({"host-1"})),
        (packed("10.20.0.3"), 32, frozenset({"host-1", "host-2"})),
        (packed("10.20.1.0"), 24, frozenset({"host-1"})),
        (packed("2001:db8::2"), 128, frozenset({"host-1"})),
    ]
    assert list(hosts_of(routes)) == [("host-1", packed("10.20.0.2")), ("host-1", packed("2001:db8::2"))]
    assert FEW >= 1000


@pytest.mark.parametrize("text", ["a", "a-b.c", "_x", "1", "a" * 63])
def test_names_that_can_be_asked_for(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text", ["", "a b", "-a", "a-", "A", "a..b", ".a", "a.", "\u00e4", "a" * 64, ".".join(["a" * 60] * 5)]
)
def test_names_that_cannot(text: str) -> None:
    assert not is_name(text)
