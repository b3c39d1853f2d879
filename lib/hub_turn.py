"""Turn of a hub's session: received frames are forwarded for a moment's time, and what they ask is done.

Knows: how long a turn lasts, and what has to be done after the frames.
Refuses to know: by what they have come (hub_session: lanes; hub_datagram), how a packet is forwarded
(forward).
"""

from __future__ import annotations

import time
from typing import Protocol

from lib import capture_watch, forward, framing, hub_resolve
from lib.capture_taps import Taps
from lib.forward_frame import Output
from lib.namespace import Attachment
from lib.service_scheduling import Pauses
from lib.service_slice import TIME_SLICE
from lib.session_cost import TURN_SECONDS, Cost

PIECE, LONG_PIECE, JUDGED = 1 << 17, 1 << 19, 16
"""Bytes between two looks at the clock, those where a long frame comes first, and frames that are not of
known flows. What one piece has for a receiver goes in one buffer, and TLS would have to copy two into one."""
LONG_FRAME = 4096
"""Bytes of a frame that is not one of very many."""


class Owner(hub_resolve.Owner, Protocol):
    """What is used of the hub."""

    output: Output
    pauses: Pauses
    taps: Taps


class Session(Protocol):
    """What is used of the session (hub_session)."""

    attachment: Attachment

    def act(self, out: Output) -> None:
        """Act on the control frames of a turn."""

    def tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time."""


def scan(
    hub: Owner, session: Session, cost: Cost | None, data: bytearray, view: memoryview, start: int, end: int
) -> int:
    """Forward whole frames of data[start:end] for a turn's time; returns where it stopped."""
    attachment, out = session.attachment, hub.output
    patience = cost.patience if cost is not None else TURN_SECONDS
    stop = sort(hub, attachment, data, view, start, end, patience)
    send(hub)
    if out.controls:
        session.act(out)
    if out.replies:
        TIME_SLICE.replied(out.replies)
    account(out, cost)
    if attachment.traffic.news:
        session.tell_news()
    if attachment.namespace.plugins:
        hub_resolve.ask(hub, attachment.namespace)
    return stop


def piece_end(data: bytearray, start: int, end: int, size: int) -> int:
    """Where the piece ends that begins at `start`: after `size` bytes, unless a long frame comes first."""
    return min(end, start + (LONG_PIECE if data[start] << 8 >= LONG_FRAME else size))


def account(out: Output, cost: Cost | None) -> None:
    """Count in an account, if there is one, what a turn has passed on, and begin to count anew."""
    if cost is not None:
        cost.forward(out.frames, out.bytes, out.cut, out.new)
        if out.replies:
            cost.reply(out.replies, out.made)
    out.frames = out.bytes = out.cut = out.new = out.replies = out.made = 0


def send(hub: Owner) -> None:
    """Send the runs of frames that were sorted."""
    out = hub.output
    try:
        for target, run in out.runs.items():
            target.sender.send(run)
    finally:  # of a buffer that is received into next
        out.runs.clear()
    out.icmp_errors = 0


def sort(
    hub: Owner,
    attachment: Attachment,
    data: bytearray,
    view: memoryview,
    start: int,
    end: int,
    patience: float = TURN_SECONDS,
) -> int:
    """Sort whole frames of data[start:end] into runs, for so many seconds; returns where it stopped.

    The runs are views of `data`: before anybody else receives into it, send() has to be called.
    """
    out, taps = hub.output, hub.taps
    began = now = time.monotonic()
    stop = start
    while True:
        piece = piece_end(data, stop, end, PIECE)
        if taps.on:
            stop = capture_watch.scan(attachment, data, view, stop, piece, now, out, taps, JUDGED)
        else:
            stop = forward.scan(attachment, data, view, stop, piece, now, out, JUDGED)
        if stop == end or not framing.is_whole(view[stop:end]):
            break
        now = time.monotonic()
        if now - began > patience:
            break
    if not attachment.is_tunrouter:
        hub.pauses.received(stop - start, now)
    return stop
