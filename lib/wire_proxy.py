"""PROXY protocol headers, versions 1 and 2: whose connection a proxy passes on (proxy-protocol.txt).

    1   PROXY TCP4 192.0.2.1 198.51.100.9 56324 8443\\r\\n              at most 107 bytes
        PROXY UNKNOWN …\\r\\n                                          the proxy's own connection

    2    0                12    13    14    16
        +----------------+-----+-----+-----+---------------------------------+------+
        | \\r\\n\\r\\n\\0\\r\\nQUIT\\n |2|cmd|fam|pr| len | source, destination, their ports | TLVs |
        +----------------+-----+-----+-----+---------------------------------+------+
        cmd  0 LOCAL: the proxy's own connection; 1 PROXY
        fam  1 IPv4 (12 bytes of addresses), 2 IPv6 (36), 0 and 3 no IP addresses; pr 1 stream, 2 datagram

Knows: both versions, to read and to write. What follows the addresses (TLVs) is passed over.
Refuses to know: whose headers are believed (hub_proxies), how they are read from a socket (stream_proxied).
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MAX_LINE = 107
"""Bytes of a header of version 1 (proxy-protocol.txt, 2.1)."""
MAX_REST = 4096
"""Bytes behind the first 16 of version 2 that are taken; a load balancer of a cloud sends some 200."""
MAX_HEADER = 16 + MAX_REST
_WORD = b"PROXY "
_LOCAL, _PROXY = 0, 1
_FAMILIES = {1: (AF_INET, 4), 2: (AF_INET6, 16)}
"""Family in version 2 -> (the same for inet_ntop, bytes of an address)."""
_LINE_FAMILIES = {b"TCP4": AF_INET, b"TCP6": AF_INET6}


class Header(NamedTuple):
    """What a header says."""

    source: tuple[str, int] | None
    """Address and port of the client; None where the header names none by an IP address."""
    is_local: bool
    """Whether it is the proxy's own connection, such as a health check."""
    size: int
    """Bytes of the header."""


def parse(data: bytes) -> Header | None:
    """The header that a connection begins with; None where more bytes are needed.

    Raises ProtocolError as soon as it cannot be one any more, or is longer than MAX_HEADER.
    """
    if data.startswith(SIGNATURE):
        return _binary(data)
    if data.startswith(_WORD):
        return _line(data)
    if SIGNATURE.startswith(data) or _WORD.startswith(data):
        return None
    raise _wrong("the connection does not begin with one")


def _wrong(why: str) -> ProtocolError:
    return ProtocolError(f"no PROXY header of a trusted proxy: {why}", Refusal.PROXY_HEADER)


def _line(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise _wrong(f"a line of more than {MAX_LINE} bytes")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(None, True, end + 2)
    family = _LINE_FAMILIES.get(words[1])
    if family is None or len(words) != 6:
        raise _wrong("a line that does not parse")
    try:
        addresses = [inet_ntop(family, inet_pton(family, word.decode("ascii"))) for word in words[2:4]]
        ports = [_port(word) for word in words[4:]]
    except (OSError, ValueError):
        raise _wrong("an address that does not parse") from None
    return Header((addresses[0], ports[0]), False, end + 2)


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise ValueError
    return int(word)


def _binary(data: bytes) -> Header | None:
    if len(data) > 12 and (data[12] >> 4 != 2 or data[12] & 15 > _PROXY):
        raise _wrong(f"version and command {data[12]:#04x}")
    if len(data) < 16:
        return None
    command, family = data[12] & 15, data[13] >> 4
    (rest,) = struct.unpack_from(">H", data, 14)
    if rest > MAX_REST:
        raise _wrong(f"it has more than {MAX_REST} bytes")
    if family > 3:
        raise _wrong(f"an unknown family of addresses: {family}")
    kind, size = _FAMILIES.get(family, (None, 0))
    if command == _PROXY and rest < 2 * size + (4 if size else 0):
        raise _wrong("its addresses are cut off")
    if len(data) < 16 + rest:
        return None
    if command == _LOCAL or kind is None:
        return Header(None, command == _LOCAL, 16 + rest)
    (port,) = struct.unpack_from(">H", data, 16 + 2 * size)
    return Header((inet_ntop(kind, data[16 : 16 + size]), port), False, 16 + rest)


def encode(version: int, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """The header of a TCP connection between two addresses (without zones) of one family."""
    is_ipv6 = ":" in source[0]
    if version == 1:
        word = "TCP6" if is_ipv6 else "TCP4"
        return f"PROXY {word} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()
    family = AF_INET6 if is_ipv6 else AF_INET
    ends = inet_pton(family, source[0]) + inet_pton(family, destination[0])
    rest = ends + struct.pack(">HH", source[1], destination[1])
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x21 if is_ipv6 else 0x11, len(rest)) + rest
