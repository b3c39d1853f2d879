"""Writer of pcapng files (draft-ietf-opsawg-pcapng), the four block types that a capture needs.

All numbers are little-endian.

    block       | type (4) | length (4) | body, padded to 4 | length (4) |
    option      | code (2) | length (2) | value, padded to 4 |   …, ended by one of code 0

    section     0x0A0D0D0A   | 1A2B3C4D | 1 (2) | 0 (2) | section length -1 (8) | options |
    interface   1            | link type (2) | 0 (2) | snap length (4) | options |
    packet      6            | interface (4) | time, high (4), low (4) | captured (4) | original (4) |
                             | bytes, padded to 4 | options |
    statistics  5            | interface (4) | time, high (4), low (4) | options |

Knows: these four blocks, one interface of raw IP packets, times in nanoseconds.
Refuses to know: what was captured, where the bytes go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

LINKTYPE_RAW = 101
"""Raw IP: IPv4 or IPv6, told apart by the first nibble (tcpdump.org/linktypes.html)."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_COMMENT = 1
_APPLICATION = 4  # of a section
_NAME, _RESOLUTION, _FILTER = 2, 9, 11  # of an interface
_RECEIVED, _DROPPED = 4, 5  # of its statistics
_NANOSECONDS = b"\x09"
MAX_OPTION = 0xFFFF
"""Bytes that the value of an option can have."""

Options = Iterable[tuple[int, bytes]]
"""(code, value) of each option."""


def section(application: str) -> bytes:
    """The section header block that a file begins with; `application` is the name of the writer."""
    return _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), [(_APPLICATION, _text(application))])


def interface(name: str, filter_text: str = "", snap: int = 0) -> bytes:
    """The interface description block. `snap` is the most bytes kept of a packet, 0 for no limit.

    `filter_text` goes into the option if_filter as it was written, for people to read.
    """
    options = [(_NAME, _text(name)), (_RESOLUTION, _NANOSECONDS)]
    if filter_text:
        options.append((_FILTER, b"\0" + _text(filter_text)))
    return _block(_INTERFACE, struct.pack("<HHI", LINKTYPE_RAW, 0, snap), options)


def packet(when: int, data: bytes, original: int, comment: str) -> bytes:
    """An enhanced packet block: `data` is what was kept of `original` bytes, seen `when` (ns since 1970)."""
    head = struct.pack("<IIIII", 0, when >> 32 & 0xFFFFFFFF, when & 0xFFFFFFFF, len(data), original)
    return _block(_PACKET, head + _padded(data), [(_COMMENT, _text(comment))] if comment else [])


def statistics(when: int, received: int, dropped: int) -> bytes:
    """The interface statistics block at the end: packets that matched, and those that the capture lost."""
    options = [(_RECEIVED, struct.pack("<Q", received)), (_DROPPED, struct.pack("<Q", dropped))]
    return _block(_STATISTICS, struct.pack("<III", 0, when >> 32 & 0xFFFFFFFF, when & 0xFFFFFFFF), options)


def _block(kind: int, body: bytes, options: Options) -> bytes:
    written = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    if written:
        body += written + bytes(4)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:MAX_OPTION]
