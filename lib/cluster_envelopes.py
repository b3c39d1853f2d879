"""Runs of frames put into envelopes, each of one flow, without a copy.

Knows: that superpackets stay whole, that what is too long for an envelope is cut, and that an envelope is
copied into one piece where it may go by datagrams.
Refuses to know: the layout of an envelope (cluster_frames), where it goes (cluster_link).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lib import cluster_frames, session_chunks
from lib.packet import Buffer


def enclose(namespace: bytes, buffers: Sequence[Buffer], hub: int = 0) -> tuple[list[Buffer], int]:
    """Envelopes for a run of whole frames, as buffers to be sent one after the other; how many packets it is.

    Their frames are views of `buffers`. `hub` is as in cluster_frames.head.
    """
    out, _, packets = enclose_apart(namespace, buffers, None, hub)
    return out, packets


def enclose_apart(
    namespace: bytes, buffers: Sequence[Buffer], is_prompt: Callable[[Buffer], bool] | None, hub: int = 0
) -> tuple[list[Buffer], list[Buffer], int]:
    """As enclose, with the envelopes of those flows apart of which `is_prompt` says so by their frames.

    Returns (the buffers of others, prompt envelopes, each in one piece, how many packets they all are).
    """
    out: list[Buffer] = []
    prompt: list[Buffer] = []
    packets = 0
    for buffer in buffers:
        for label, frames, count in session_chunks.chunks(memoryview(buffer), cluster_frames.MAX_FRAMES):
            packets += count
            fits = len(frames) <= cluster_frames.MAX_FRAMES
            if is_prompt is not None and is_prompt(frames):
                pieces = (frames,) if fits else fitting(bytes(frames))
                prompt += (cluster_frames.head(namespace, label, len(some), hub) + some for some in pieces)
            elif fits:
                out += (cluster_frames.head(namespace, label, len(frames), hub), frames)
            else:
                for some in fitting(bytes(frames)):
                    out += (cluster_frames.head(namespace, label, len(some), hub), some)
    return out, prompt, packets


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
