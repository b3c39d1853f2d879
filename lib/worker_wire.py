"""What one worker tells another about its hosts: a host has come, or has left.

Knows: the layout. Refuses to know: who keeps that (worker_registry), what else a link carries (worker_link).

     0      1      2                18         26     27
    +------+------+----------------+----------+------+-----------------+-------------+
    | 0xD0 | kind | namespace (16) | since, ms | size | instance (size) | host name … |
    +------+------+----------------+----------+------+-----------------+-------------+

Kind 1: the host has a session at the sender, since this moment (milliseconds since 1970). Kind 2: it has none
any more; then `since` is 0. The instance is the one that the client has said, or nothing. The first nibble,
13, is none of those of other contents (framing).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from lib.errors import ProtocolError

MARK = 0xD0
COME, LEFT = 1, 2
_HEAD = struct.Struct("!BB16sQB")


class Claim(NamedTuple):
    """One host that has come or left."""

    kind: int
    namespace: bytes
    host: str
    since: int = 0
    instance: bytes = b""


def encode(claim: Claim) -> bytes:
    """The content of a frame."""
    head = _HEAD.pack(MARK, claim.kind, claim.namespace, claim.since, len(claim.instance))
    return head + claim.instance + claim.host.encode("utf-8", "surrogateescape")


def decode(content: bytes) -> Claim:
    """A claim. Raises ProtocolError where it is none."""
    if len(content) < _HEAD.size:
        raise ProtocolError("a claim that is cut off")
    mark, kind, namespace, since, size = _HEAD.unpack_from(content)
    if mark != MARK or kind not in (COME, LEFT) or _HEAD.size + size > len(content):
        raise ProtocolError("no proper claim")
    end = _HEAD.size + size
    host = content[end:].decode("utf-8", "surrogateescape")
    return Claim(kind, namespace, host, since, content[_HEAD.size : end])
