"""Captures, traces and the flight recorder of a running process, and the requests for them.

Knows: what the control socket can ask for here, and what -D and --trace put into the log.
Refuses to know: what is kept of a packet (capture_taps), what became of it (capture_watch), how the other
end writes files (cli_capture).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from gevent.event import Event

from lib import capture_fate as fates
from lib import capture_filter, capture_records, forward_explain, namespace_titles
from lib.capture_taps import Capture, Choice, Recorder, Taps, Trace
from lib.ctl_server import Handlers, Streamed
from lib.log_events import Entry
from lib.log_pace import Pace
from lib.log_setup import is_on, say
from lib.namespace import Attachment
from lib.packet import Packet
from lib.service_scheduling import breathe
from lib.service_supervisor import Task, keep

MAX_LISTENERS = 8
"""Captures and traces at the same time, so that the control socket has connections left for others."""
SLICE = 1 << 18
"""Bytes of records that are sent before packets get their turn."""
TELL_SECONDS = 1.0
"""Seconds between two records of counts (matched, lost) to a capture."""
TURN_SECONDS = 0.002
"""Seconds for which the recorder's records are filtered before packets get their turn."""


class Tapping:
    """The taps of one process, and who has set them: the log, the recorder, the control socket."""

    def __init__(self, taps: Taps) -> None:
        self.taps = taps
        self._recorder: Recorder | None = None
        self._sweeping: Task | None = None
        self._paces: list[Pace] = []
        self._decisions: Pace | None = None

    def stop(self) -> None:
        """End the greenlet that writes summaries of left-out lines into the log."""
        if self._sweeping is not None:
            self._sweeping.kill(block=False)

    # ------------------------------------------------------------ the log

    def tell_decisions(self, wanted: bool) -> None:
        """Log the decision on the first packet of each flow (-D), or stop doing so."""
        if not wanted:
            self.taps.tell_decisions(None)
            return
        if self._decisions is None:
            self._decisions = self._pace(
                lambda line: say(Entry.DECISION, "%s", line, decision=line), "decisions"
            )
        pace = self._decisions

        def tell(attachment: Attachment, packet: Packet, verdict: object) -> None:
            now = time.monotonic()
            pace.say(lambda: forward_explain.in_one_line(attachment, packet, verdict, now), now)

        self.taps.tell_decisions(tell)

    def trace(self, expression: str) -> None:
        """Log packets that match a filter expression from now on (--trace). Raises FilterError."""
        choice = Choice(test=capture_filter.parse(expression))
        if not is_on(Entry.TRACE):
            text = "--trace: the log level keeps its lines out of the log; they are of level info"
            say(Entry.TRACE_UNHEARD, text)
        self.taps.add(
            Trace(
                choice,
                self._pace(lambda line: say(Entry.TRACE, "%s", line, packet=line), _FIT),
                time.monotonic,
            )
        )

    def _pace(self, write: Callable[[str], None], what: str) -> Pace:
        self._paces.append(pace := Pace(write, what))
        if self._sweeping is None:
            self._sweeping = keep("traces and decisions are counted", self._sweep)
        return pace

    def _sweep(self) -> None:
        """Each second, log how many lines were left out, also where no further line follows."""
        while True:
            gevent.sleep(1.0)
            for pace in self._paces:
                pace.sweep(time.monotonic())

    # ------------------------------------------------------------ the recorder

    def record(self, size: int) -> list[str]:
        """Run the flight recorder with `size` bytes, 0 for none; returns a line if that is a change."""
        recorder = self._recorder
        if size == (recorder.size if recorder is not None else 0):
            return []
        if recorder is not None and size:
            recorder.resize(size)
            return [f"recorder: {size} bytes"]
        if recorder is not None:
            self.taps.remove(recorder)
            self._recorder = None
            return ["recorder: off, what it kept is gone"]
        self._recorder = Recorder(size)
        self.taps.add(self._recorder)
        return [f"recorder: {size} bytes"]

    # ------------------------------------------------------------ the control socket

    def handlers(self) -> Handlers:
        """Handlers of the control socket's `capture` and `trace`."""
        return {"capture": self._capture, "trace": self._trace}

    def _capture(self, request: Mapping[str, Any]) -> Streamed:
        """{"do": "capture"}, optional "filter", "host", "ns", "recorder": true; records follow the reply."""
        choice = _choice(request)
        if request.get("recorder"):
            recorder = self._recorder
            if recorder is None:
                raise ValueError("no flight recorder runs here: write `recorder: 16MB` in the configuration")
            return Streamed(
                {"recorder": recorder.used}, lambda sock: _hand_over(sock, recorder.kept(), choice)
            )
        self._check_room()
        ready = Event()
        capture = Capture(choice, ready.set)
        return Streamed({}, lambda sock: self._follow(sock, capture, ready))

    def _check_room(self) -> None:
        if self.taps.count(Capture) + self.taps.count(Trace) >= MAX_LISTENERS:
            raise ValueError(f"{MAX_LISTENERS} captures and traces run already")

    def _follow(self, sock: Any, capture: Capture, ready: Event) -> None:
        """Send what a capture keeps until the other end closes its half of the connection."""

        def counts() -> bytes:
            return capture_records.counts(time.time_ns(), capture.fitted, capture.lost)

        self.taps.add(capture)
        leaving = gevent.spawn(_until_closed, sock, ready)
        try:
            told = time.monotonic()
            while not leaving.dead:
                ready.wait(TELL_SECONDS)
                ready.clear()
                while data := capture.pop(SLICE):
                    sock.sendall(data)
                    breathe()
                if time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    sock.sendall(counts())
            self.taps.remove(capture)
            while data := capture.pop(SLICE):
                sock.sendall(data)
            sock.sendall(counts())
        finally:
            self.taps.remove(capture)
            leaving.kill(block=False)

    def _trace(self, request: Mapping[str, Any]) -> Streamed:
        """{"do": "trace"}, optional "filter", "host", "ns"; lines follow the reply."""
        choice = _choice(request)
        self._check_room()
        return Streamed({}, lambda sock: self._tell(sock, choice))

    def _tell(self, sock: Any, choice: Choice) -> None:
        lines: list[str] = []  # some a second: what a reader does not take in time is not much
        ready = Event()

        def say(line: str) -> None:
            if len(lines) < 1000:
                lines.append(line)
            ready.set()

        pace = Pace(say, _FIT)
        trace = Trace(choice, pace, time.monotonic, _clock_time)
        self.taps.add(trace)
        leaving = gevent.spawn(_until_closed, sock, ready)
        try:
            while not leaving.dead:
                ready.wait(TELL_SECONDS)
                ready.clear()
                pace.sweep(time.monotonic())
                if lines:
                    text = "".join(f"{line}\n" for line in lines)
                    lines.clear()
                    sock.sendall(text.encode("utf-8", "replace"))
        finally:
            self.taps.remove(trace)
            leaving.kill(block=False)


_FIT = "packet"


def _choice(request: Mapping[str, Any]) -> Choice:
    """The packets that a request asks for. Raises ValueError."""
    namespace = str(request.get("ns") or "")
    return Choice(
        str(request.get("host") or ""),
        namespace_titles.namespace_named(namespace).hex() if namespace else "",
        capture_filter.parse(str(request.get("filter") or "")),
    )


def _until_closed(sock: Any, ready: Event) -> None:
    """Wait until the other end closes its half of the connection; what it sends is ignored."""
    try:
        while sock.recv(4096):
            pass
    except OSError:
        pass
    gevent.spawn_later(0, ready.set)  # once this greenlet is over


def _hand_over(sock: Any, kept: list[bytes], choice: Choice) -> None:
    """Send the recorder's records that a choice matches, in slices between which packets get their turn."""
    fitted, parts, began = 0, [], time.monotonic()
    for raw in kept:
        record = capture_records.decode(raw)
        fate = fates.decode(record.label)
        frames = _chosen(record, fate, choice)
        if frames:
            fitted += len(frames)
            parts.append(capture_records.packets(record.when, record.label, b"".join(frames), record.snap))
        if time.monotonic() - began > TURN_SECONDS:
            sock.sendall(b"".join(parts))
            parts.clear()
            breathe()
            began = time.monotonic()
    sock.sendall(b"".join(parts) + capture_records.counts(time.time_ns(), fitted, 0))


def _chosen(record: capture_records.Record, fate: fates.Fate, choice: Choice) -> list[bytes]:
    """The frames of a record that a choice matches."""
    if not choice.has(fate):
        return []
    found = []
    for size, content in capture_records.contents(record):
        whole = content if choice.test is None else content.ljust(size, b"\0")  # as long as its header says
        if choice.fits(fate, whole, 0, size):
            found.append(size.to_bytes(2, "big") + content)
    return found


def _clock_time(when: int) -> str:
    seconds, rest = divmod(when, 1_000_000_000)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest // 1_000_000:03d} "
