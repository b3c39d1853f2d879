"""Handlers of the web API's /x/trace and /x/capture: packets as they pass, for whoever looks at a page.

Knows: how many packets are told at once, how often, and who is too slow to be told.
Refuses to know: what became of a packet (capture_watch), filter expressions (capture_filter), pcapng.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gevent
from gevent.event import Event

from lib import (
    __version__,
    api_audit,
    api_endpoint,
    capture_filter,
    capture_pcapng,
    capture_records,
    cli_capture,
    ids,
)
from lib import capture_fate as fates
from lib.api_endpoint import EVENTS, NO_STORE
from lib.api_hubs import Hubs
from lib.api_request import Refused, Reply, Request
from lib.capture_fate import Fate
from lib.capture_filter import FilterError
from lib.capture_service import MAX_LISTENERS, SLICE
from lib.capture_taps import Capture, Choice, frames
from lib.packet import Buffer

BATCH, BATCH_SECONDS = 100, 0.2
"""Packets of one event, and seconds between two events."""
QUIET_SECONDS = 10.0
STUCK_SECONDS = 30.0
"""Whoever has not taken an event for so long reads no more: its stream ends."""
MOST_SECONDS = 600
_QUIET = b": \n\n"


class Watcher:
    """A tap (capture_taps) that keeps a batch of packets as lines, and counts the others."""

    def __init__(self, choice: Choice) -> None:
        self.ready = Event()
        self.stuck_at = float("inf")
        """When whoever reads is given up, by a steady clock; while it is sent something."""
        self._choice, self._greenlet = choice, gevent.getcurrent()
        self._rows: list[tuple[Any, ...]] = []
        self._skipped = 0

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        """Keep the matching frames of a run, as long as there is room in this batch."""
        if not self._choice.has(fate):
            return
        for start, stop in frames(view, begin, end):
            if not self._choice.fits(fate, view, start, stop):
                continue
            if len(self._rows) < BATCH:
                text = fates.summary(view, start, stop)
                self._rows.append((when / 1e9, fate.what, fate.host, fate.to, fate.way, fate.reason, text))
            else:
                self._skipped += 1
        if self._rows:
            self.ready.set()
        if time.monotonic() > self.stuck_at:
            self.stuck_at = float("inf")
            self._greenlet.kill(block=False)

    def missed(self, count: int) -> None:
        """Count packets that were not shown (api_hubs.Watching)."""
        self._skipped += count
        if self._skipped:
            self.ready.set()

    def event(self) -> bytes:
        """The packets kept since the last call, as events; empty where there are none."""
        rows, self._rows, skipped, self._skipped = self._rows, [], self._skipped, 0
        self.ready.clear()
        text = _event("packets", {"packets": rows}) if rows else b""
        return text + (_event("skipped", {"count": skipped}) if skipped else b"")


def _event(name: str, body: object) -> bytes:
    text = json.dumps(body, separators=(",", ":")).replace("<", "\\u003c")
    return f"event: {name}\ndata: {text}\n\n".encode()


class _Asked(NamedTuple):
    """The packets that somebody wants to see."""

    host: str
    ns: str
    expression: str
    choice: Choice


class Traces:
    """The handlers."""

    def __init__(self, hubs: Hubs) -> None:
        self._hubs = hubs
        self._open = 0

    def trace(self, request: Request) -> Reply:
        """Packets that match, as events. Raises Refused, ValueError for a filter that cannot be read."""
        asked = self._asked(request)
        return Reply(self._packets(asked, request.who.valid), kind=EVENTS, headers=NO_STORE, streams=True)

    def capture(self, request: Request) -> Reply:
        """Packets that match, as a pcapng file that grows until the reader has enough."""
        asked = self._asked(request)
        seconds = api_endpoint.number("seconds", request.query.get("seconds", "60"))
        text = request.query.get("filter", "")
        api_audit.tell(request, f"capture packets for {seconds:g} s at most", [f"filter: {text or 'all'}"])
        name = ("Content-Disposition", 'attachment; filename="tunrouter.pcapng"')
        events = self._records(asked, seconds, request.who.valid)
        return Reply(events, kind="application/octet-stream", headers=(*NO_STORE, name), streams=True)

    def _asked(self, request: Request) -> _Asked:
        query = request.query
        ns = api_endpoint.scope(request, query.get("ns", ""))
        self._check_room()
        host, expression = query.get("host", ""), query.get("filter", "")
        try:
            test = capture_filter.parse(expression)
        except FilterError as wrong:
            raise Refused(400, wrong.message, hint=wrong.hint) from None
        choice = Choice(host, ids.parse_uuid(ns).hex() if ns else "", test)
        return _Asked(host, ns, expression, choice)

    def _check_room(self) -> None:
        if self._open >= MAX_LISTENERS:
            raise Refused(429, f"{MAX_LISTENERS} traces and captures run already: end one of those")

    def _packets(self, asked: _Asked, valid: Callable[[], bool]) -> Iterator[bytes]:
        self._check_room()
        watcher = Watcher(asked.choice)
        try:
            end = self._hubs.watch(watcher, *asked[:3])
        except ValueError as nobody:
            yield _event("bye", {"reason": str(nobody)})
            return
        self._open += 1
        try:
            yield _QUIET
            while valid():
                event = watcher.event() if watcher.ready.wait(QUIET_SECONDS) else _QUIET
                watcher.stuck_at = time.monotonic() + STUCK_SECONDS
                yield event
                watcher.stuck_at = float("inf")
                gevent.sleep(BATCH_SECONDS)
            yield _event("bye", {"reason": "the login has ended"})
        finally:
            end()
            self._open -= 1

    def _records(self, asked: _Asked, seconds: float, valid: Callable[[], bool]) -> Iterator[bytes]:
        self._check_room()
        ready, until = Event(), time.monotonic() + seconds
        capture, reader = Capture(asked.choice, ready.set), capture_records.Reader()
        try:
            end = self._hubs.watch(capture, *asked[:3])
        except ValueError as nobody:  # a file that says so
            yield capture_pcapng.section(f"tunrouter {__version__}: {nobody}")
            return
        self._open += 1
        try:
            yield capture_pcapng.section(f"tunrouter {__version__}") + capture_pcapng.interface(
                "tunrouter", asked.expression
            )
            while valid() and (left := until - time.monotonic()) > 0:
                ready.wait(min(1.0, left))
                ready.clear()
                while data := capture.pop(SLICE):
                    blocks = [block for record in reader.feed(data) for block in cli_capture.packets(record)]
                    yield b"".join(blocks)
            yield capture_pcapng.statistics(time.time_ns(), capture.fitted, capture.lost)
        finally:
            end()
            self._open -= 1
