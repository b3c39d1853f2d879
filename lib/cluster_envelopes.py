"""Runs of frames put into envelopes, each of one flow, without a copy.

Knows: that superpackets stay whole, and what is too long for an envelope is cut.
Refuses to know: the layout of an envelope (cluster_frames), where it goes (cluster_link).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib import cluster_frames, session_chunks
from lib.packet import Buffer


def enclose(namespace: bytes, buffers: Sequence[Buffer]) -> tuple[list[Buffer], int]:
    """Envelopes for a run of whole frames, as buffers to be sent one after the other; how many packets it is.

    Their frames are views of `buffers`.
    """
    out: list[Buffer] = []
    packets = 0
    for buffer in buffers:
        for label, frames, count in session_chunks.chunks(memoryview(buffer), cluster_frames.MAX_FRAMES):
            packets += count
            if len(frames) <= cluster_frames.MAX_FRAMES:
                out += (cluster_frames.head(namespace, label, len(frames)), frames)
            else:
                for some in fitting(bytes(frames)):
                    out += (cluster_frames.head(namespace, label, len(some)), some)
    return out, packets


def fitting(frames: bytes) -> list[bytes]:
    """Frames of one flow in pieces that fit into an envelope; a superpacket that does not is cut."""
    most, found = cluster_frames.MAX_FRAMES, []
    while len(frames) > most:
        first, frames = session_chunks.first_bytes(frames, most)
        if not first or len(first) > most:  # one packet of 64 KB, which no device sends
            break
        found.append(first)
    if 0 < len(frames) <= most:
        found.append(frames)
    return found
