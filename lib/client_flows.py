"""Flows of a client with several sessions: each stays on the one that it has, in both directions.

Knows: which flow a frame belongs to, which session each flow has.
Refuses to know: which session new flows should have (client_preference), how frames are sent (client_paths).

A flow whose first packet came from a hub goes back by the same session, so that a hub with access lists sees
both directions. A session is a number here, another one for each session that there ever was; flows of one
that cannot be used any more are given another one with their next packet. Fragments, and packets without
ports, are known by their two addresses alone.

A hub may say that it has no way to some addresses now (UNREACHED). Meanwhile flows to them go by another
session, where one is with a hub that has not said so. They keep their own, as hubs with access lists know
them there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from struct import Struct

from lib import packet as ip
from lib import packet_offload
from lib.bounded_dict import BoundedDict
from lib.packet import Buffer
from lib.wire_unreached import COUNTS_SECONDS

MAX_FLOWS = 16384
"""Flows that are remembered; past that the oldest is forgotten, and gets the preferred session again."""

_PLAIN, _PLAIN_SIZE = Struct("!HBxHxxHxB2x12s").unpack_from, 26
"""A frame with an IPv4 packet without options: LEN, first byte, total length, fragment bits, protocol,
addresses and ports."""
_HEADED, _HEADED_SIZE = Struct("!10xBxHxxHxB2x12s").unpack_from, 34
"""A content with a virtio-net header before the same."""
_FRAGMENT = 0x3FFF
_PORTED = (ip.TCP, ip.UDP)
_IPV6_HEADER, _IPV6_PAIR = 40, 32


class Flows:
    """Which flow has which session."""

    def __init__(self, most: int = MAX_FLOWS) -> None:
        self._sessions: BoundedDict[bytes, int] = BoundedDict(most)
        self._unreached: dict[int, tuple[frozenset[bytes], float]] = {}
        """Session -> the addresses that its hub has no way to, and until when that counts."""

    def __len__(self) -> int:
        return len(self._sessions)

    def split(self, buffer: Buffer, preferred: int, usable: Collection[int]) -> dict[int, list[Buffer]]:
        """Sort whole frames by their sessions, in their order: session -> pieces of the buffer.

        A flow that has none, or one that is not in `usable`, gets the preferred one.
        """
        view, whole, at = memoryview(buffer), len(buffer), 0
        sessions = self._sessions
        found: dict[int, list[Buffer]] = {}
        begin, before, last = 0, -1, b""
        while at + 2 <= whole:
            flow, after = _flow(view, at, whole)
            if flow != last or before < 0:
                last = flow
                session = sessions.get(flow, -1)
                if session not in usable:
                    session = preferred
                    if flow:
                        sessions.remember(flow, session)
                if self._unreached:
                    session = self._that_reaches(flow, session, (preferred, *usable))
                if session != before:
                    if at > begin:
                        found.setdefault(before, []).append(view[begin:at])
                    begin, before = at, session
            at = after
        if whole > begin:
            found.setdefault(before if before >= 0 else preferred, []).append(view[begin:whole])
        return found

    def unreached(self, session: int, addresses: Iterable[bytes], now: float) -> frozenset[bytes]:
        """A session's hub has a way to all addresses but these (packed). `now`: seconds of a steady clock.

        Returns those that it has not said so of before.
        """
        before, _ = self._unreached.pop(session, (frozenset(), 0.0))
        there = frozenset(addresses)
        if there:
            self._unreached[session] = there, now + COUNTS_SECONDS
        return there - before

    def tidy(self, now: float) -> None:
        """Forget what hubs have said too long ago; to be called now and then."""
        for session in [one for one, (_, until) in self._unreached.items() if now >= until]:
            del self._unreached[session]

    def _that_reaches(self, flow: bytes, session: int, others: Iterable[int]) -> int:
        """The session that a flow goes by: while its own has no way to the address, another one."""
        address = _destination(flow)
        if not self._is_unreached(session, address):
            return session
        for other in others:
            if not self._is_unreached(other, address):
                return other
        return session

    def _is_unreached(self, session: int, address: bytes) -> bool:
        return session in self._unreached and address in self._unreached[session][0]

    def came(self, buffer: Buffer, start: int, end: int, session: int) -> None:
        """Note the flows of the whole frames in buffer[start:end], which came by a session."""
        view, last, sessions = memoryview(buffer), b"", self._sessions
        while start + 2 <= end:
            flow, after = _flow(view, start, end)
            if after > end:
                return
            if flow and flow != last:
                last = flow
                back = ip.reversed_flow(flow)
                if back not in sessions:
                    sessions.remember(back, session)
            start = after


def _flow(view: memoryview, at: int, whole: int) -> tuple[bytes, int]:
    """(the key of a frame's flow, where the frame ends); the key is empty for what belongs to none."""
    size = view[at] << 8 | view[at + 1]
    start, after = at + 2, at + 2 + size
    if whole - at >= _PLAIN_SIZE:
        _, first, total, fragment, protocol, flow = _PLAIN(view, at)
        headed = first <= 2 and size >= _HEADED_SIZE and after <= whole
        if headed:
            first, total, fragment, protocol, flow = _HEADED(view, start)
            start += packet_offload.HEADER_SIZE
        if first == 0x45 and total >= 28 and protocol in _PORTED and not fragment & _FRAGMENT:
            return (flow if start + 24 <= after else b""), after
    return _other(view, start, min(after, whole)), after


def _destination(flow: bytes) -> bytes:
    """The destination address in the key of a flow; empty in that of none."""
    return flow[4:8] if len(flow) < _IPV6_PAIR else flow[16:_IPV6_PAIR]


def _other(view: memoryview, start: int, end: int) -> bytes:
    """The key of a packet that is no plain TCP or UDP over IPv4: addresses, and ports where they are near."""
    first = view[start] if start < end else 0
    if first <= 2:
        start += packet_offload.HEADER_SIZE
        first = view[start] if start < end else 0
    if first >> 4 == 4 and end - start >= 20:
        return bytes(view[start + 12 : start + 20])
    if first >> 4 == 6 and end - start >= _IPV6_HEADER:
        ports = 4 if view[start + 6] in _PORTED and end - start >= _IPV6_HEADER + 4 else 0
        return bytes(view[start + 8 : start + 40]) + bytes(view[start + 40 : start + 40 + ports])
    return b""
