"""DNS questions that are passed on: by their name to one server or another, and what answers them (RFC 5452).

Knows: which names a hub is asked for, and that no other name is; when a message is the answer to a question.
Refuses to know: sockets (stream_dns), what an answer says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from dnslib import DNSBuffer, DNSError, DNSHeader, DNSQuestion

from lib import prefixes
from lib.dns_answers import reversed_address
from lib.prefixes import Prefix

FORMERR, SERVFAIL, NOTIMP, REFUSED = 1, 2, 4, 5
FAILURES = frozenset({FORMERR, SERVFAIL, NOTIMP, REFUSED})
"""Codes after which the next server is asked, as the C library does it (RFC 1035, 4.1.1)."""
SHORTEST = {4: 8, 16: 16}
"""Bytes of an address -> bits of the shortest prefix whose addresses a hub is asked for: with a default route
it would hear of every address that anybody looks up."""
_HEADER = struct.Struct("!HHHHHH")
_WRONG = (DNSError, ValueError, IndexError, struct.error)


class Asked(NamedTuple):
    """What a question asks for."""

    name: str
    """In lower case, without a dot at the end."""
    end: int
    """Where the question's section ends in its message."""


class Zone(NamedTuple):
    """Names that servers of a tunnel are asked for."""

    servers: tuple[str, ...] = ()
    domain: str = ""
    """In lower case; empty for all names, which is never what a hub has told."""
    prefixes: tuple[Prefix, ...] = ()
    """The names of these addresses too (PTR), where the servers know them."""
    is_reached: Callable[[], bool] | None = None
    """Whether there is a tunnel to them now; None where that is not known."""


class Server(NamedTuple):
    """A server that a question may be sent to."""

    address: str
    by_udp: bool = False
    """Always by UDP, as a hub answers nothing over TCP."""


def asked(message: bytes) -> Asked | None:
    """What a message asks for; None where it is no question for one name (RFC 1035, 4.1)."""
    try:
        buffer = DNSBuffer(message)
        header = DNSHeader.parse(buffer)
        if header.qr or header.opcode or header.q != 1:
            return None
        labels = DNSQuestion.parse(buffer).qname.label
    except _WRONG:
        return None
    # A dot within a label is none between two: such a name is below no domain of ours.
    name = ".".join(label.decode("latin-1").lower().replace(".", "\\046") for label in labels)
    return Asked(name, buffer.offset)


def servers(name: str, zones: Iterable[Zone], rest: Sequence[str]) -> list[Server]:
    """The servers that are asked for a name, the first one first; `rest` are those for all other names.

    The servers of a domain are asked for its names, and nobody else is: nobody at all while no tunnel leads
    to them, so that such a question fails at once. Those of an address may not know it, so the others are
    asked after them.
    """
    own: list[str] = []
    zones = sorted(zones, key=lambda zone: len(zone.domain), reverse=True)
    address = reversed_address(name) if name.endswith(".arpa") else None
    for zone in zones:
        if not zone.domain:
            own += zone.servers
        elif name == zone.domain or name.endswith(f".{zone.domain}"):
            return [Server(one, by_udp=True) for one in zone.servers] if _is_reached(zone) else []
    first = [
        Server(one, by_udp=True)
        for zone in zones
        if address is not None and any(_holds(prefix, address) for prefix in zone.prefixes)
        if _is_reached(zone)
        for one in zone.servers
    ]
    return [*first, *(Server(one) for one in dict.fromkeys((*own, *rest)))]


def _is_reached(zone: Zone) -> bool:
    return zone.is_reached is None or zone.is_reached()


def _holds(prefix: Prefix, address: bytes) -> bool:
    return (
        len(prefix[0]) == len(address)
        and prefix[1] >= SHORTEST[len(address)]
        and prefixes.covers(*prefix, address)
    )


def is_answer(question: bytes, end: int, reply: bytes) -> bool:
    """Whether a message answers a question whose section ends at `end`: number and question are the same.

    A failure may come without the question.
    """
    if len(reply) < _HEADER.size or reply[:2] != question[:2]:
        return False
    if not reply[2] & 0x80 or (reply[2] ^ question[2]) & 0x78:
        return False
    count = int.from_bytes(reply[4:6], "big")
    if count == 0:
        return code(reply) in FAILURES
    same_kind = reply[end - 4 : end] == question[end - 4 : end]
    return count == 1 and same_kind and reply[12 : end - 4].lower() == question[12 : end - 4].lower()


def code(reply: bytes) -> int:
    """The code of an answer: 0 is none, 3 says that there is no such name."""
    return reply[3] & 15


def failure(question: bytes, end: int, code: int) -> bytes:
    """The answer to a question that nobody answers; `end` is 12 for a message that is no question."""
    number, flags, *_ = _HEADER.unpack_from(question)
    # QR and RA are set; opcode and RD stay as they were asked.
    return _HEADER.pack(number, 0x8080 | flags & 0x7900 | code, int(end > 12), 0, 0, 0) + question[12:end]
