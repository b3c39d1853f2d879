"""DNS answers about the hosts of a namespace: bytes in, bytes out (RFC 1035, 2308, 6891, 8482).

Knows: which names and addresses are the hub's to speak of, and that it asks nobody about the others.
Refuses to know: who asks and by which way (forward_errors), where names come from (dns_zone).

    asked                                answered
    host-1.DOMAIN A, AAAA                its addresses; without one of that version NOERROR and the SOA
    DOMAIN SOA, NS, A, AAAA              the hub itself
    1.0.9.10.in-addr.arpa PTR            the name, for the address of a host here
    N._hosts.DOMAIN TXT                  page N of all names (dns_listing)
    all else below DOMAIN                NXDOMAIN and the SOA
    all else                             REFUSED

A message that is no question gets FORMERR, and none where it is an answer itself: two servers would answer
each other for ever. There is no TCP here, so addresses that do not fit are left out, and the answer is not
marked as cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Protocol

from dnslib import AAAA, EDNS0, NS, OPCODE, PTR, QTYPE, RCODE, RR, SOA, TXT, A, DNSError, DNSHeader, DNSRecord

from lib import dns_listing

MAX_QUESTION = 512
"""Bytes of a question; a longer message is none."""
MAX_NAME, MAX_LABEL = 253, 63
"""Bytes of a name as text, and of each of its parts (RFC 1035, 2.3.4)."""
MAX_MORE = 2
"""Records behind a question: EDNS, and a signature."""
MAX_SIZE, PLAIN_SIZE = 1232, 512
"""Bytes of an answer to a question with EDNS (DNS flag day 2020), and without."""
TTL = 30
"""Seconds for which an answer may be kept: addresses follow the tables."""
MAX_ADDRESSES = 16

_HEADER = struct.Struct("!HHHHHH")
_QR = 0x8000
_IN, _ANY = 1, 255
"""Classes (RFC 1035, 3.2.4)."""
_IPV4_TAIL, _IPV6_TAIL = ".in-addr.arpa", ".ip6.arpa"
_WRONG = (DNSError, ValueError, IndexError, KeyError, struct.error)
"""What dnslib raises for bytes that are no message."""


class Zone(Protocol):
    """What a hub knows of the names in one namespace."""

    domain: str
    """In lower case, without a dot at either end; at least two labels."""

    def recall(self, question: bytes) -> bytes | None:
        """The remembered answer to a question: to make one takes 0.2 ms, to find it microseconds."""

    def remember(self, question: bytes, answer: bytes) -> None:
        """Remember the answer to a question."""

    def addresses(self, name: str) -> Sequence[bytes] | None:
        """The packed addresses of a name below the domain, in lower case, "" for the domain itself.

        None for no such name; none at all for one that only has others below it.
        """

    pages: list[list[bytes]] | None
    """What is listed of all names (dns_listing), once it has been asked for."""

    def pairs(self) -> Iterable[tuple[str, str]]:
        """(address, whole name) of every name here."""

    def name_of(self, address: bytes) -> str | None:
        """The whole name of a packed address; None where nobody here has it."""


def answer(message: bytes, zone: Zone) -> bytes | None:
    """The answer to a message; None where it gets none."""
    if len(message) < _HEADER.size or message[2] & 0x80:
        return None
    if message[2] >> 3 & 15 != OPCODE.QUERY:
        return _bare(message, RCODE.NOTIMP)
    if not _is_question(message):
        return _bare(message, RCODE.FORMERR)  # not remembered: it may be long, and is quickly made
    found = zone.recall(message)
    if found is None:
        found = _made(message, zone)
        zone.remember(message, found)
    return found


def _is_question(message: bytes) -> bool:
    """Whether header and length are those of a question: one name is asked for, and little comes behind.

    Of more names each can be a pointer to a long one, and to read such a message takes 10 ms.
    """
    _, _, questions, answers, servers, more = _HEADER.unpack_from(message)
    return len(message) <= MAX_QUESTION and (questions, answers, servers) == (1, 0, 0) and more <= MAX_MORE


def _made(message: bytes, zone: Zone) -> bytes:
    try:
        asked = DNSRecord.parse(message)
        labels = asked.q.qname.label
        if len(asked.q.qname) > MAX_NAME or max(map(len, labels), default=0) > MAX_LABEL:
            return _bare(message, RCODE.FORMERR)  # dnslib reads it, but cannot write it into an answer
        name = str(asked.q.qname).rstrip(".").lower()
    except _WRONG:
        return _bare(message, RCODE.FORMERR)
    edns = next((row for row in asked.ar if row.rtype == QTYPE.OPT), None)
    reply = DNSRecord(DNSHeader(id=asked.header.id, qr=1, aa=1, rd=asked.header.rd), q=asked.q)
    if edns is not None:
        reply.add_ar(EDNS0(udp_len=MAX_SIZE))
        if edns.edns_ver:  # RFC 6891, 6.1.3: BADVERS, whose upper bits stand in the OPT record
            reply.ar[0].ttl = 1 << 24
            return _packed(reply)
    reply.header.rcode = _fill(reply, name, asked.q.qtype, asked.q.qclass, zone)
    if reply.header.rcode == RCODE.REFUSED:
        reply.header.aa = 0
    most = max(PLAIN_SIZE, min(MAX_SIZE, edns.edns_len)) if edns is not None else PLAIN_SIZE
    packed = _packed(reply)
    while len(packed) > most and reply.rr:
        reply.rr.pop()
        packed = _packed(reply)
    return packed


def _packed(reply: DNSRecord) -> bytes:
    packed: bytes = bytes(reply.pack())
    return packed


def _bare(message: bytes, code: int) -> bytes:
    """An answer without sections: only what the question's header says, and a code."""
    number, flags, *_ = _HEADER.unpack_from(message)
    return _HEADER.pack(number, _QR | (flags & 0x7900) | code, 0, 0, 0, 0)


def _fill(reply: DNSRecord, name: str, kind: int, group: int, zone: Zone) -> int:
    """Add what is asked for; returns the code."""
    if group not in (_IN, _ANY):
        return int(RCODE.REFUSED)
    if name.endswith((_IPV4_TAIL, _IPV6_TAIL)):
        return _pointer(reply, name, kind, zone)
    if name == zone.domain:
        below = ""
    elif name.endswith(f".{zone.domain}"):
        below = name.removesuffix(f".{zone.domain}")
    else:
        return int(RCODE.REFUSED)
    number = dns_listing.number_of(below)
    if number is not None:
        return _listed(reply, number, kind, zone)
    found = zone.addresses(below)
    if found is None:
        reply.add_auth(_soa(zone))
        return int(RCODE.NXDOMAIN)
    owner = reply.q.qname
    for address in list(found)[:MAX_ADDRESSES]:
        if kind in (QTYPE.A, QTYPE.ANY) and len(address) == 4:
            reply.add_answer(RR(owner, QTYPE.A, ttl=TTL, rdata=A(tuple(address))))
        elif kind in (QTYPE.AAAA, QTYPE.ANY) and len(address) == 16:
            reply.add_answer(RR(owner, QTYPE.AAAA, ttl=TTL, rdata=AAAA(tuple(address))))
    if not below:
        _add_apex(reply, kind, zone)
    if not reply.rr:
        reply.add_auth(_soa(zone))
    return int(RCODE.NOERROR)


def _add_apex(reply: DNSRecord, kind: int, zone: Zone) -> None:
    """Add what only the domain itself has."""
    if kind == QTYPE.NS:
        reply.add_answer(RR(reply.q.qname, QTYPE.NS, ttl=TTL, rdata=NS(zone.domain)))
    if kind == QTYPE.SOA:
        reply.add_answer(_soa(zone))


def _listed(reply: DNSRecord, number: int, kind: int, zone: Zone) -> int:
    """Add a page of all names."""
    if zone.pages is None:
        zone.pages = dns_listing.pages(zone.pairs())
    is_there = number < len(zone.pages)
    if is_there and kind in (QTYPE.TXT, QTYPE.ANY):
        reply.add_answer(RR(reply.q.qname, QTYPE.TXT, ttl=TTL, rdata=TXT(zone.pages[number])))
    else:
        reply.add_auth(_soa(zone))
    return int(RCODE.NOERROR if is_there else RCODE.NXDOMAIN)


def _soa(zone: Zone) -> RR:
    times = (
        1,
        3600,
        600,
        86400,
        TTL,
    )  # of a zone that nobody copies; the last one is how long a "no" is kept
    return RR(zone.domain, QTYPE.SOA, ttl=TTL, rdata=SOA(zone.domain, f"hostmaster.{zone.domain}", times))


def _pointer(reply: DNSRecord, name: str, kind: int, zone: Zone) -> int:
    address = reversed_address(name)
    found = zone.name_of(address) if address is not None else None
    if found is None:
        return int(RCODE.REFUSED)  # other addresses of the same network may be known to other servers
    if kind in (QTYPE.PTR, QTYPE.ANY):
        reply.add_answer(RR(reply.q.qname, QTYPE.PTR, ttl=TTL, rdata=PTR(found)))
    return int(RCODE.NOERROR)


def reversed_address(name: str) -> bytes | None:
    """The packed address of a name below in-addr.arpa or ip6.arpa (RFC 1035, 3.5; RFC 3596), or None."""
    is_ipv4 = name.endswith(_IPV4_TAIL)
    labels = name.removesuffix(_IPV4_TAIL if is_ipv4 else _IPV6_TAIL).split(".")[::-1]
    if is_ipv4:
        if len(labels) != 4 or not all(
            one.isascii() and one.isdecimal() and len(one) <= 3 and int(one) < 256 for one in labels
        ):
            return None
        return bytes(map(int, labels))
    if len(labels) != 32 or not all(len(one) == 1 and one in "0123456789abcdef" for one in labels):
        return None
    return bytes.fromhex("".join(labels))
