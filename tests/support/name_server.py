"""Name server over UDP that gives every name the same IPv4 address (RFC 1035).

    python -m tests.support.name_server ADDRESS PORT REPLY

Knows: as much of the format as a resolver library needs. Refuses to know: everything else.
"""

from __future__ import annotations

import socket
import struct
import sys

_A = 1


def reply(query: bytes, address: str) -> bytes:
    """The reply to a query for one name: an A record, and of other types no record."""
    end = query.index(b"\0", 12) + 5
    question, (kind,) = query[12:end], struct.unpack_from("!H", query, end - 4)
    record = b"\xc0\x0c" + struct.pack("!HHIH", _A, 1, 0, 4) + socket.inet_aton(address)
    found = record if kind == _A else b""
    return query[:2] + struct.pack("!5H", 0x8180, 1, len(found) > 0, 0, 0) + question + found


def main(address: str, port: str, replied: str) -> None:
    """Serve until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, int(port)))
        print("name server ready", flush=True)
        while True:
            query, asker = server.recvfrom(4096)
            server.sendto(reply(query, replied), asker)


if __name__ == "__main__":
    main(*sys.argv[1:])
