"""Entries of the kernel's connection tracking (conntrack): messages about them, those of a prefix map.

Knows: messages of ctnetlink (linux/netfilter/nfnetlink_conntrack.h), what a translated entry looks like.
Refuses to know: sockets, when a map has changed (netfilter_conntrack).

    entry    original   192.168.1.5 > 10.72.0.5     as its first packet came
             reply      10.72.0.5 > 10.71.0.5       what an answer looks like: its first packet's source was
                                                    translated to 10.71.0.5
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

from lib.netlink_messages import ACK, DUMP, INET, INET6, REQUEST, attribute, attributes, encoded
from lib.prefixes import Prefix, covers
from lib.settings_map import PrefixMap

_NEW, _GET, _DELETE = (1 << 8 | number for number in (0, 1, 2))
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_…"""
ENTRY = _NEW
"""The type of the messages that a list of entries is made of."""
_GENERIC = struct.Struct("!BBH")  # struct nfgenmsg: family, version, number
_ORIGINAL, _REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP = 1
_NESTED = 0x8000
_SOURCES, _DESTINATIONS = (1, 3), (2, 4)
"""The numbers of the addresses in a tuple, IPv4's and IPv6's."""


class Entry(NamedTuple):
    """One entry; addresses are packed."""

    source: bytes
    """Of its first packet, as that came."""
    destination: bytes
    reply_to: bytes
    """To what address a reply is sent: `source`, or what that was translated to."""
    name: bytes
    """The attributes by which the kernel finds this entry, and no later one of the same connection."""


def listed(version: int) -> bytes:
    """A request for all entries of a version of IP."""
    return encoded(_GET, REQUEST | DUMP, 1, _GENERIC.pack(_family(version), 0, 0))


def deleted(entry: Entry) -> bytes:
    """A request to delete an entry; the reply is an ERROR message."""
    family = INET if len(entry.source) == 4 else INET6
    return encoded(_DELETE, REQUEST | ACK, 2, _GENERIC.pack(family, 0, 0) + entry.name)


def read(body: bytes) -> Entry | None:
    """The entry in a message of type ENTRY; None where it cannot be read."""
    found = attributes(body, _GENERIC.size)
    source, destination = _ends(found.get(_ORIGINAL, b""))
    _, reply_to = _ends(found.get(_REPLY, b""))
    if not source or not destination or not reply_to:
        return None
    kept = ((_ORIGINAL | _NESTED, _ORIGINAL), (_ID, _ID), (_ZONE, _ZONE))
    name = b"".join(attribute(kind, found[number]) for kind, number in kept if number in found)
    return Entry(source, destination, reply_to, name)


def concerns(entry: Entry, maps: Collection[PrefixMap], tunnel: Collection[Prefix]) -> bool:
    """Whether an entry was, or should be, translated by one of the maps. `tunnel` is what lies behind it.

    That is one which names a prefix that others see; and one from the network behind this host, into the
    tunnel, that is not translated. What that network has with others beside the tunnel is left alone.
    """
    is_plain = entry.source == entry.reply_to
    goes_in = is_plain and any(_holds(prefix, entry.destination) for prefix in tunnel)
    return any(
        _holds(outside, entry.destination)
        or _holds(outside, entry.reply_to)
        or (goes_in and _holds(inside, entry.source))
        for outside, inside in maps
    )


def _holds(prefix: Prefix, address: bytes) -> bool:
    return len(prefix[0]) == len(address) and covers(*prefix, address)


def _ends(data: bytes) -> tuple[bytes, bytes]:
    """(source, destination) in a tuple; empty for what it does not have."""
    found = attributes(attributes(data, 0).get(_TUPLE_IP, b""), 0)
    source, destination = (
        next((found[number] for number in numbers if number in found), b"")
        for numbers in (_SOURCES, _DESTINATIONS)
    )
    return source, destination


def _family(version: int) -> int:
    return INET if version == 4 else INET6
