"""What processes of one hub tell each other: hosts have come or left, or are at other hubs; how far to go.

Knows: the layout. Refuses to know: who keeps that (worker_registry), what else a link carries (worker_link).

     0      1      2                18         26     27
    +------+------+----------------+----------+------+-----------------+-------------+
    | 0xD0 | kind | namespace (16) | since, ms | size | instance (size) | host name … |
    +------+------+----------------+----------+------+-----------------+-------------+

Kind 1: the host has a session at the sender, since this moment (milliseconds since 1970). Kind 2: it has none
any more; then `since` is 0. The instance is the one that the client has said, or nothing. The first nibble,
13, is none of those of other contents (framing).

The cluster's process tells workers of other hubs (worker_relay); WHOLE comes from workers, too:

    3  number (2), state (1), name …
           a hub has this number from now on; its state is 1 where it lives, 2 more where no link reaches it
    4  namespace (16), count (1), count times (number (2), since (8), size (1), instance), host name …
           a host is at these hubs, and at no other one
    5      all that the sender knows has been told
    6  namespace (0 or 16), mark (0 or 16), each behind its size (1)
           what clients are told of the cluster
    7  count (4)
           so many sessions are at the sender, a worker
    8  upto (8)
           bytes that the other end may have sent since the link began, 0 for any number (session_window)
    9      all other hubs were looked at once (cluster_known), and what is known of them has been told

Where an sd knows the other hubs, a worker asks the process that has their entrypoint (worker_entrypoint). All
workers are told the answer: by kind 4, with `since` 0 and no instances.

   11  namespace (16), host name …
           where is this host?
   12  namespace (16), host name …
           the sd has no answer about it

And this is no message but says what is behind it (worker_link):

   10  number (2), namespace (16), size (4)
           so many bytes of whole frames follow as they lie: a run of one host, for the hub of this number (0
           for none). It is in place of an envelope for each flow
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from lib.errors import ProtocolError
from lib.packet import Buffer

MARK = 0xD0
COME, LEFT, HUB, AT, WHOLE, CLUSTER, SESSIONS, WINDOW, KNOWN, RUN = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
ASKED, UNANSWERED = 11, 12
MAX_RUN = 1 << 20
"""Bytes of the longest run."""
_HEAD = struct.Struct("!BB16sQB")
_HUB = struct.Struct("!BBHB")
_AT = struct.Struct("!BB16sB")
_PLACE = struct.Struct("!BB16s")
_SESSIONS = struct.Struct("!BBI")
_WINDOW = struct.Struct("!BBQ")
_RUN = struct.Struct("!HBBH16sI")
_ONE = struct.Struct("!HQB")
_SIZES = (0, 16)


class Claim(NamedTuple):
    """One host that has come or left."""

    kind: int
    namespace: bytes
    host: str
    since: int = 0
    instance: bytes = b""


class HubNumber(NamedTuple):
    """The number by which a hub is meant from now on on this link."""

    number: int
    name: str
    is_live: bool = True
    """Whether its lease has not ended."""
    is_lost: bool = False
    """Whether no link reaches it."""


class FarHost(NamedTuple):
    """At which other hubs a host is."""

    namespace: bytes
    host: str
    at: tuple[tuple[int, int, bytes], ...] = ()
    """(number of a hub, since when in milliseconds since 1970, instance) of each."""


class Question(NamedTuple):
    """A worker asks at which hubs a host is."""

    namespace: bytes
    host: str


class Unanswered(NamedTuple):
    """Nobody could say it."""

    namespace: bytes
    host: str


class Whole(NamedTuple):
    """All has been told."""


class Known(NamedTuple):
    """All that is known of other hubs has been told, once all of them were looked at."""


class ClusterMark(NamedTuple):
    """What clients of a namespace are told of the cluster (wire_control)."""

    namespace: bytes
    """Empty for all that are not named."""
    mark: bytes


class SessionCount(NamedTuple):
    """How many sessions a worker has."""

    sessions: int


class WindowEnd(NamedTuple):
    """How far the other end may go by this link."""

    upto: int
    """Bytes since the link began; 0 for any number."""


Message = (
    Claim
    | HubNumber
    | FarHost
    | Question
    | Unanswered
    | Whole
    | Known
    | ClusterMark
    | SessionCount
    | WindowEnd
)


def encode(message: Message) -> bytes:
    """The content of a frame."""
    if isinstance(message, Claim):
        head = _HEAD.pack(MARK, message.kind, message.namespace, message.since, len(message.instance))
        return head + message.instance + _encoded(message.host)
    if isinstance(message, HubNumber):
        state = message.is_live | message.is_lost << 1
        return _HUB.pack(MARK, HUB, message.number, state) + _encoded(message.name)
    if isinstance(message, FarHost):
        ones = (_ONE.pack(number, since, len(it)) + it for number, since, it in message.at)
        head = _AT.pack(MARK, AT, message.namespace, len(message.at))
        return head + b"".join(ones) + _encoded(message.host)
    if isinstance(message, Question | Unanswered):
        kind = ASKED if isinstance(message, Question) else UNANSWERED
        return _PLACE.pack(MARK, kind, message.namespace) + _encoded(message.host)
    if isinstance(message, ClusterMark):
        both = (bytes([len(one)]) + one for one in (message.namespace, message.mark))
        return bytes([MARK, CLUSTER]) + b"".join(both)
    if isinstance(message, SessionCount):
        return _SESSIONS.pack(MARK, SESSIONS, message.sessions)
    if isinstance(message, WindowEnd):
        return _WINDOW.pack(MARK, WINDOW, message.upto)
    return bytes([MARK, KNOWN if isinstance(message, Known) else WHOLE])


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def decode(content: bytes) -> Message:
    """A message. Raises ProtocolError where it is none."""
    if len(content) < 2 or content[0] != MARK:
        raise ProtocolError("no message of a process of this hub")
    kind = content[1]
    if kind in (COME, LEFT):
        return _claim(content)
    try:
        if kind == HUB:
            _, _, number, state = _HUB.unpack_from(content)
            if state < 4:
                return HubNumber(number, _decoded(content[_HUB.size :]), bool(state & 1), bool(state & 2))
        if kind == AT:
            return _far_host(content)
        if kind in (ASKED, UNANSWERED):
            place = _PLACE.unpack_from(content)[2], _decoded(content[_PLACE.size :])
            return Question(*place) if kind == ASKED else Unanswered(*place)
        if kind == SESSIONS and len(content) == _SESSIONS.size:
            return SessionCount(_SESSIONS.unpack(content)[2])
        if kind == WINDOW and len(content) == _WINDOW.size:
            return WindowEnd(_WINDOW.unpack(content)[2])
        if kind == CLUSTER:
            return _cluster_mark(content)
    except (struct.error, IndexError):
        raise ProtocolError("a message that is cut off") from None
    if kind in (WHOLE, KNOWN) and len(content) == 2:
        return Whole() if kind == WHOLE else Known()
    raise ProtocolError("a message of no known kind")


def _claim(content: bytes) -> Claim:
    if len(content) < _HEAD.size:
        raise ProtocolError("a claim that is cut off")
    _, kind, namespace, since, size = _HEAD.unpack_from(content)
    if _HEAD.size + size > len(content):
        raise ProtocolError("no proper claim")
    end = _HEAD.size + size
    return Claim(kind, namespace, _decoded(content[end:]), since, content[_HEAD.size : end])


def _far_host(content: bytes) -> FarHost:
    _, _, namespace, count = _AT.unpack_from(content)
    at, found = _AT.size, []
    for _ in range(count):
        number, since, size = _ONE.unpack_from(content, at)
        at += _ONE.size + size
        if at > len(content):
            raise IndexError
        found.append((number, since, content[at - size : at]))
    return FarHost(namespace, _decoded(content[at:]), tuple(found))


def _cluster_mark(content: bytes) -> ClusterMark:
    end = 3 + content[2]
    found = ClusterMark(content[3:end], content[end + 1 :])
    if len(found.mark) != content[end] or not {len(found.namespace), len(found.mark)} <= set(_SIZES):
        raise IndexError
    return found


def head(namespace: bytes, size: int, hub: int = 0) -> bytes:
    """What stands before a run of `size` bytes of whole frames, 1 to MAX_RUN: a frame."""
    return _RUN.pack(_RUN.size - 2, MARK, RUN, hub, namespace, size)


def is_head(data: Buffer, start: int, end: int) -> bool:
    """Whether the content data[start:end] says that a run follows."""
    return end - start > 1 and data[start] == MARK and data[start + 1] == RUN


def run(data: Buffer, start: int, end: int) -> tuple[int, bytes, int]:
    """(number of the hub that it is for or 0, namespace, size) of such a run. Raises ProtocolError."""
    if end - start != _RUN.size - 2:
        raise ProtocolError("no proper head of a run")
    _, _, _, hub, namespace, size = _RUN.unpack_from(data, start - 2)
    if not 0 < size <= MAX_RUN:
        raise ProtocolError("no run is so long")
    return hub, namespace, size
