"""All names of a hub's domain, by DNS: TXT records of `0._hosts.DOMAIN`, `1._hosts.DOMAIN` and so on.

Knows: how names are put into pages, and how a host reads them from there. There is no transfer of a zone
(AXFR) here, for that needs TCP.
Refuses to know: which names there are (dns_zone), how a question is sent (stream_dns).

    0._hosts.tun.example. TXT "pages=2 mark=8d1c9f02" "10.20.0.7 host-1.tun.example" …

The mark is that of all names: pages with different marks are of different moments, and where the first page
has the mark that a host has read before, nothing has changed.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from itertools import islice
from typing import NamedTuple

from dnslib import EDNS0, QTYPE, DNSError, DNSHeader, DNSQuestion, DNSRecord

from lib.dns_zone import is_name

LABEL = "_hosts"
PAGE_SIZE = 1000
"""Bytes of a page's texts; with the rest of the message it fits the smallest packet of IPv6."""
MAX_TEXT = 255
"""Bytes of a text in a TXT record (RFC 1035, 3.3)."""
MAX_SIZE = 1232
"""Bytes of an answer that is asked for."""
MAX_RECORDS = 8
"""Records of an answer, its question included; a hub's has three."""
MAX_NAMES, MAX_PAGES = 2048, 512
"""Names that are listed and read, and pages in which they are looked for."""
_COUNTS = struct.Struct("!6H")
_HEAD = re.compile(r"pages=(\d{1,4}) mark=([0-9a-f]{8})")
_WRONG = (DNSError, ValueError, IndexError, KeyError)

Pair = tuple[str, str]
"""(address, whole name), as in hosts(5)."""


class Listing(NamedTuple):
    """What a hub lists."""

    mark: str
    names: tuple[Pair, ...]


def pages(names: Iterable[Pair]) -> list[list[bytes]]:
    """The texts of each page, in the order of the names."""
    first = islice(names, MAX_NAMES)
    texts = [text for pair in first if len(text := " ".join(pair).encode("ascii", "replace")) <= MAX_TEXT]
    found: list[list[bytes]] = [[]]
    size = 0
    for text in texts:
        if size + len(text) + 1 > PAGE_SIZE:
            found.append([])
            size = 0
        found[-1].append(text)
        size += len(text) + 1
    head = f"pages={len(found)} mark={zlib.crc32(b'|'.join(texts)):08x}".encode()
    return [[head, *page] for page in found]


def number_of(name: str) -> int | None:
    """The number of the page that a name below the domain asks for; None where it asks for none."""
    number, _, label = name.partition(".")
    return (
        int(number)
        if label == LABEL and number.isdecimal() and number.isascii() and len(number) < 5
        else None
    )


def read(domain: str, known: str, ask: Callable[[bytes], bytes | None]) -> Listing | None:
    """The names that a hub lists of a domain; `ask` sends a question and returns the answer.

    None where the hub lists none, where nothing has changed since the mark `known`, and where it changes just
    now.
    """
    first = _page(domain, 0, ask)
    if first is None or first.mark == known:
        return None
    names = list(first.names)
    for number in range(1, min(first.pages, MAX_PAGES)):
        page = _page(domain, number, ask)
        if page is None or page.mark != first.mark:
            return None
        names += page.names
        if len(names) >= MAX_NAMES:
            break
    return Listing(first.mark, tuple(names[:MAX_NAMES]))


class _Page(NamedTuple):
    pages: int
    mark: str
    names: tuple[Pair, ...]


def _page(domain: str, number: int, ask: Callable[[bytes], bytes | None]) -> _Page | None:
    question = DNSRecord(DNSHeader(id=0, rd=0), q=DNSQuestion(f"{number}.{LABEL}.{domain}", QTYPE.TXT))
    question.add_ar(EDNS0(udp_len=MAX_SIZE))
    reply = ask(bytes(question.pack()))
    if not reply or not _is_short(reply):
        return None
    try:
        rows = DNSRecord.parse(reply).rr
        texts = [
            bytes(text).decode("ascii") for row in rows if row.rtype == QTYPE.TXT for text in row.rdata.data
        ]
    except _WRONG:
        return None
    head = _HEAD.fullmatch(texts[0]) if texts else None
    return _Page(int(head[1]), head[2], tuple(_names(domain, texts[1:]))) if head is not None else None


def _is_short(reply: bytes) -> bool:
    """Whether an answer is as short as was asked for. To read one of thousands of records takes a second."""
    counts = _COUNTS.unpack_from(reply) if len(reply) >= _COUNTS.size else ()
    return bool(counts) and len(reply) <= MAX_SIZE and sum(counts[2:]) <= MAX_RECORDS


def _names(domain: str, texts: Iterable[str]) -> Iterator[Pair]:
    """What is an address and a name of this domain: nothing else may get into a file."""
    for text in texts:
        address, _, name = text.partition(" ")
        if "%" in address or not is_name(name) or not f".{name}".endswith(f".{domain}"):
            continue
        try:
            yield str(ip_address(address)), name
        except ValueError:
            continue
