"""All names of a hub's domain by DNS: what a hub answers is what a host reads."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from dnslib import QTYPE, RR, TXT, DNSRecord

from lib import dns_answers, dns_listing
from lib.dns_listing import MAX_NAMES, MAX_SIZE, read
from lib.dns_zone import Zone
from lib.settings_names import NamesSettings

DOMAIN = "tun.example"


def zone(hosts: int) -> Zone:
    named = ((f"host-{number}", ip_address(0x0A140000 + number).packed) for number in range(hosts))
    printer = ("printer.host-2", (ip_address("2001:db8::9").packed,))
    return Zone(NamesSettings(DOMAIN, (printer,)), [ip_address("10.20.255.1").packed], named)


def asks(where: Zone, asked: list[bytes] | None = None) -> Callable[[bytes], bytes | None]:
    def ask(question: bytes) -> bytes | None:
        if asked is not None:
            asked.append(question)
        reply = dns_answers.answer(question, where)
        assert reply is not None
        assert len(reply) <= MAX_SIZE
        return reply

    return ask


def test_a_host_reads_what_a_hub_lists() -> None:
    asked: list[bytes] = []
    found = read(DOMAIN, "", asks(zone(200), asked))
    assert found is not None
    assert len(asked) > 4
    assert found.names[0] == ("10.20.255.1", DOMAIN)
    assert ("2001:db8::9", f"printer.host-2.{DOMAIN}") in found.names
    assert {f"host-{number}.{DOMAIN}" for number in range(200)} < {name for _, name in found.names}
    asked.clear()
    assert read(DOMAIN, found.mark, asks(zone(200), asked)) is None
    assert len(asked) == 1, "one question says that nothing has changed"
    other = read(DOMAIN, found.mark, asks(zone(199)))
    assert other is not None
    assert len(other.names) == len(found.names) - 1


def test_there_is_a_bound() -> None:
    found = read(DOMAIN, "", asks(zone(MAX_NAMES + 50)))
    assert found is not None
    assert len(found.names) == MAX_NAMES


def test_pages_of_different_moments_are_not_put_together() -> None:
    zones = [zone(200), zone(100)]
    assert (
        read(DOMAIN, "", lambda question: asks(zones[0] if b"\x010" in question else zones[1])(question))
        is None
    )


def test_a_hub_without_a_list_and_one_that_is_away() -> None:
    def older(question: bytes) -> bytes:
        return bytes(DNSRecord.parse(question).reply().pack())

    assert read(DOMAIN, "", older) is None
    assert read(DOMAIN, "", lambda _: None) is None
    assert read(DOMAIN, "", lambda _: b"\0" * 20) is None


def test_nothing_but_an_address_and_a_name_of_the_domain_is_read() -> None:
    texts = [
        *(
            "pages=1 mark=00000000",
            f"10.20.0.7 host-1.{DOMAIN}",
            "10.20.0.8 www.bank.example",
            "10.20.0.9 tun.example.com",
        ),
        *(
            f"10.20.0.10 a.{DOMAIN} b",
            f"10.20.0.11 a.{DOMAIN}\n0.0.0.0 evil",
            f"x a.{DOMAIN}",
            f"1.2.3.4\tb.{DOMAIN}",
        ),
        *(f"10.20.0.12 #.{DOMAIN}", f"10.20.0.13 x{DOMAIN}", "", f" a.{DOMAIN}", f"::1%eth0 a.{DOMAIN}"),
    ]

    def ask(question: bytes) -> bytes:
        reply = DNSRecord.parse(question).reply()
        reply.add_answer(RR(reply.q.qname, QTYPE.TXT, rdata=TXT([text.encode() for text in texts])))
        return bytes(reply.pack())

    found = read(DOMAIN, "", ask)
    assert found is not None
    assert found.names == (("10.20.0.7", f"host-1.{DOMAIN}"),)


def test_a_name_of_a_page() -> None:
    for name, number in (
        ("0._hosts", 0),
        ("17._hosts", 17),
        ("_hosts", None),
        ("99999._hosts", None),
        ("²._hosts", None),
    ):
        assert dns_listing.number_of(name) == number
