"""Chunks of a session's queue: runs of frames cut by flow, and the first packets taken off a chunk.

Knows: which flow a frame belongs to, which frames open a connection, how many packets one stands for.
Refuses to know: which chunk waits, is sent or is dropped (session_queue).

A chunk is frames of one flow that follow each other in a run. It is kept, sent and dropped as one where that
is quick enough; `first_packets` takes its beginning off where it is not.

Between two hubs a frame is an envelope of frames of one flow (cluster_frames). Its packets are counted, and
first ones taken off it, as of any other chunk.

A packet that opens a TCP connection (SYN, or the reply to it) is a flow of a packet: it would be as good as
all others, and thousands of them would fill all buckets. So those of one host are one flow together, its
*openings*.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TypeVar

from lib import cluster_frames, framing, packet_offload, wire_control
from lib.packet import Buffer
from lib.packet_text import head

BUCKETS = 2048
"""A flow is known by a hash with so many values; two flows with the same hash share their turns."""
CONTROL = -1
"""The bucket of control frames."""
OPENINGS, HOSTS = BUCKETS, 256
"""The first bucket of openings, and how many there are; which one, a hash of the host says."""
MAX_CHUNK = 64 << 10
"""Bytes of frames of one flow that are kept as one."""
MERGED = 2048
"""Bytes up to which small chunks of one flow become one: each costs session_queue.CHUNK_BYTES more."""

_UNUSUAL = 0xFF
_ENVELOPE = bytes([cluster_frames.MARK])
_IPV4 = 0x45
_FLOWS = BUCKETS << 32
"""Below it are flows by the whole of their hash, from it on openings likewise: in chunks() alone."""
_TCP = 6
_PORTED = (_TCP, 17)
_SYN, _FLAGS = 0x02, 13
"""TCP's flag in the first packet of either end of a connection, and where the flags are."""
_FRAGMENT, _FRAGMENT_AT = 0x3F, 6

_PLAIN, _PLAIN_SIZE = Struct("!HB8xB2x12s9xB").unpack_from, 36
"""A frame with an IPv4 packet without options: length, first byte, protocol, addresses and ports, and where
TCP has its flags."""
_IPV4_HEADER, _IPV6_HEADER, _TCP_HEADER = 20, 40, 20
_HEADED, _HEADED_SIZE = Struct("<4xHH4xB8xB2x12s9xB").unpack_from, 46
"""The same behind a virtio-net header, whose hdr_len and gso_size come first."""


Run = TypeVar("Run", bytes, memoryview)


def chunks(run: Run, most: int = MAX_CHUNK) -> list[tuple[int, Run, int]]:
    """Cut a run into chunks: (bucket of the flow, its frames, how many packets they stand for).

    A chunk is frames of one flow that follow each other, `most` bytes at most where they are several. A
    superpacket stands for as many packets as it has segments. A frame that is cut off at the end of the run
    is left out. `run` is bytes or a view.
    """
    found: list[tuple[int, Run, int]] = []
    begin = at = packets = 0
    last, same, protocol_before = CONTROL - 1, b"", 0
    whole = len(run)
    while at + 2 <= whole:
        if at + _PLAIN_SIZE <= whole:
            size, first, protocol, flow, flags = _PLAIN(run, at)
        else:
            size, first = int.from_bytes(run[at : at + 2], "big"), _UNUSUAL
        after = at + 2 + size
        if after > whole:
            break
        stands_for = 1
        if first <= 2:
            if size >= _HEADED_SIZE:
                headers, gso_size, first, protocol, flow, flags = _HEADED(run, at)
                payload = size - packet_offload.HEADER_SIZE - headers
                stands_for = -(-payload // gso_size) if gso_size and payload > 0 else 1
            else:
                first, stands_for = _UNUSUAL, packet_offload.count_packets(run[at:after])
        if first == 0x45 and protocol in _PORTED and size >= 24:
            if flow != same or protocol != protocol_before:
                key = (hash(flow) + protocol) % _FLOWS
                same, protocol_before = flow, protocol
            # A shorter packet has other bytes there; _opens looks at all of it.
            if flags & _SYN and protocol == _TCP and _opens(run, _packet(run, at), after):
                key, same = _openings(flow[:4]), b""
        else:
            key, same = _bucket(run, at + 2, after), b""
            stands_for = _inside(run, at, after) or stands_for
        if key != last or after - begin > most:
            if at > begin:
                bucket = last % BUCKETS if 0 <= last < _FLOWS else _narrow(last)
                found.append((bucket, run[begin:at], packets))
            begin, last, packets = at, key, 0
        packets += stands_for
        at = after
    if at > begin:
        found.append((_narrow(last), run[begin:at], packets))
    return found


def _narrow(key: int) -> int:
    """The bucket of a flow. Two flows of one bucket that follow each other in a run are two chunks."""
    if 0 <= key < _FLOWS:
        return key % BUCKETS
    return OPENINGS + key % HOSTS if key >= 0 else CONTROL


def _inside(run: Buffer, at: int, end: int) -> int:
    """How many packets are in an envelope; 0 for another frame."""
    is_envelope = run[at + 2 : at + 3] == _ENVELOPE
    return packet_offload.count_packets(run[at + cluster_frames.BEGIN : end]) if is_envelope else 0


def _bucket(run: Buffer, start: int, end: int) -> int:
    """The flow of the frame whose content is run[start:end]: a hash of addresses, protocol and ports.

    A content that is too short for a packet is of a flow by its bytes.
    """
    first = run[start] if start < end else 0
    if first == wire_control.MARK:
        return CONTROL
    if first == cluster_frames.MARK:  # between hubs: its label, namespace and source stand for its flow
        label = bytes(run[start + 2 : start + cluster_frames.HEADER])
        return hash(label + _source(run, start + cluster_frames.BEGIN)) % _FLOWS
    if first <= 2:
        start += packet_offload.HEADER_SIZE
        first = run[start] if start < end else 0
    if first >> 4 == 4 and end - start >= _IPV4_HEADER:
        if _opens(run, start, end):
            return _openings(run[start + 12 : start + 16])
        ports = first == 0x45 and run[start + 9] in _PORTED
        return (
            hash(bytes(run[start + 12 : min(end, start + (24 if ports else 20))])) + run[start + 9]
        ) % _FLOWS
    if first >> 4 == 6 and end - start >= _IPV6_HEADER:
        if _opens(run, start, end):
            return _openings(run[start + 8 : start + 24])
        ports = run[start + 6] in _PORTED
        return (
            hash(bytes(run[start + 8 : min(end, start + (44 if ports else 40))])) + run[start + 6]
        ) % _FLOWS
    return hash(bytes(run[start:end])) % _FLOWS


def _packet(run: Buffer, at: int) -> int:
    """Where the packet begins in the frame at `at`, which holds one."""
    return at + 2 + (packet_offload.HEADER_SIZE if run[at + 2] <= 2 else 0)


def _opens(run: Buffer, start: int, end: int) -> bool:
    """Whether the packet run[start:end] is TCP and opens a connection (SYN).

    Not with headers of IPv6 before TCP's. False also for what is cut off, and for fragments.
    """
    first = run[start]
    if first >> 4 == 4:
        transport, protocol = start + (first & 15) * 4, run[start + 9]
        if run[start + _FRAGMENT_AT] & _FRAGMENT or run[start + _FRAGMENT_AT + 1]:
            return False
    else:
        transport, protocol = start + _IPV6_HEADER, run[start + 6]
    return protocol == _TCP and transport + _TCP_HEADER <= end and bool(run[transport + _FLAGS] & _SYN)


def _openings(source: Buffer) -> int:
    """The flow that a host's openings are together."""
    return _FLOWS + hash(bytes(source)) % _FLOWS


def merge(waiting: deque[tuple[float, bytes, int]], chunk: bytes, packets: int, soon: float) -> bool:
    """Make a chunk part of the last one; False where that is too old or would be too large."""
    since, before, count = waiting[-1]
    if since < soon or len(before) + len(chunk) > MERGED:
        return False
    waiting[-1] = since, before + chunk, count + packets
    return True


def source_of(chunk: bytes) -> bytes:
    """The source address of the first packet in a chunk, packed; b"" where it holds no IP packet.

    Between two hubs its namespace stands before it: each has addresses of its own.
    """
    first = chunk[2]
    if first == _IPV4 and len(chunk) >= 2 + _IPV4_HEADER:
        return chunk[14:18]
    if first <= 2 and len(chunk) >= 2 + packet_offload.HEADER_SIZE + _IPV4_HEADER and chunk[12] == _IPV4:
        return chunk[24:28]
    if first == cluster_frames.MARK:
        return tenant_of(chunk) + _source(chunk, 2 + cluster_frames.BEGIN)
    return _source(chunk, 2)


def _source(run: Buffer, start: int) -> bytes:
    """The source address of the packet in a content that begins at `start`; b"" where there is none."""
    if start < len(run) and run[start] <= 2:
        start += packet_offload.HEADER_SIZE
    version = run[start] >> 4 if start < len(run) else 0
    if version == 4:
        return bytes(run[start + 12 : start + 16])
    return bytes(run[start + 8 : start + 24]) if version == 6 else b""


def tenant_of(chunk: bytes) -> bytes:
    """The namespace of a chunk between two hubs, where tenants take turns; b"" elsewhere."""
    return chunk[6 : 2 + cluster_frames.HEADER] if chunk[2] == cluster_frames.MARK else b""


def count_packets(chunk: bytes) -> int:
    """The number of packets in whole frames, also in envelopes; a superpacket counts as its segments."""
    if chunk[2:3] != _ENVELOPE:
        return packet_offload.count_packets(chunk)
    packets = at = 0
    for end in framing.split(chunk):
        packets += packet_offload.count_packets(chunk[first_content(chunk, at) - 2 : end])
        at = end
    return packets


def first_content(chunk: bytes, at: int = 0) -> int:
    """Where the content of the first frame begins that is no envelope, in or behind the frame at `at`."""
    return at + 2 + (cluster_frames.BEGIN if chunk[at + 2 : at + 3] == _ENVELOPE else 0)


def head_of(chunk: bytes) -> bytes:
    """A copy of the first bytes of the first packet, for those who look at drops."""
    start = first_content(chunk)
    return head(chunk, start, start + int.from_bytes(chunk[start - 2 : start], "big"))


# --- the beginning of a chunk ------------------------------------------------------------------------


def first_packets(chunk: bytes, most: int) -> tuple[bytes, bytes]:
    """Cut a chunk into frames of its first `most` packets, and the others.

    The first segments of a superpacket are taken off it. Of a frame that cannot be cut all packets are taken.
    """
    at = 0
    while most > 0 and at < len(chunk):
        end = at + 2 + int.from_bytes(chunk[at : at + 2], "big")
        if chunk[at + 2 : at + 3] == _ENVELOPE:
            first, other = first_packets(chunk[at + cluster_frames.BEGIN : end], most)
            if other:
                first, other = (cluster_frames.anew(chunk[at:end], one) for one in (first, other))
                return chunk[:at] + first, other + chunk[end:]
        elif (parts := packet_offload.cut(memoryview(chunk)[at + 2 : end], most)) is not None:
            first, other = map(framing.encode, parts)
            return chunk[:at] + first, other + chunk[end:]
        most -= count_packets(chunk[at:end])
        at = end
    return chunk[:at], chunk[at:]


def first_bytes(chunk: bytes, most: int) -> tuple[bytes, bytes]:
    """Cut a chunk into frames of about its first `most` bytes, of one packet at least, and the others."""
    at = 0
    while at < len(chunk):
        end = at + 2 + int.from_bytes(chunk[at : at + 2], "big")
        if end > most:
            break
        at = end
    if at:
        return chunk[:at], chunk[at:]
    if chunk[2:3] == _ENVELOPE:
        end = 2 + int.from_bytes(chunk[:2], "big")
        first, other = first_bytes(chunk[cluster_frames.BEGIN : end], most - cluster_frames.BEGIN)
        if not other:
            return chunk[:end], chunk[end:]
        first, other = (cluster_frames.anew(chunk, one) for one in (first, other))
        return first, other + chunk[end:]
    # The first frame alone is longer: of a superpacket as many segments are taken as there is room for.
    gso_size = int.from_bytes(chunk[6:8], "little") if chunk[2] >> 4 == 0 else 0
    return first_packets(chunk, max(1, most // gso_size if gso_size else 1))
