"""Logging: one line an event, as text or JSON, with repeats folded and secrets hidden.

Knows: formats, levels, where lines go.
Refuses to know: which events there are (log_events), what is worth a line (whoever calls `say`), how a log
file is rotated (log_file), how a line waits for whoever reads it (log_output).

    {"time": …, "level": …, "event": …, "msg": …, and the event's fields}     time, level and msg as GOST's
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import gevent

from lib import log_redact
from lib.errors import HostError, Problem
from lib.humanize import counted
from lib.local_time import stamp
from lib.log_dedup import FLOOD, Fold, Habit, Key, Told
from lib.log_events import FOLDED, Entry
from lib.log_file import LogFile, tidy
from lib.log_output import Descriptor, Output, Stream
from lib.log_troubles import LASTING, Trouble, Troubles
from lib.namespace_titles import title_of_uuid
from lib.printable import printable
from lib.service_threads import aside
from lib.settings_telemetry import RotationSettings

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
SWEEP_SECONDS = 1.0
TIDY_SECONDS = 3600.0
"""How often old log files are looked at though no new one has come, since they grow too old meanwhile."""

TITLE = "title"
"""A field of every event with `namespace`, where that has a title."""
LABELS = "labels"
"""A field of every event with `service`, where that has labels: an object of texts."""

log = logging.getLogger("tunrouter")


class _Line(NamedTuple):
    """An event on its way to the log."""

    event: Entry
    text: str
    arguments: tuple[object, ...]
    fields: Mapping[str, object]


_fold: Fold[_Line] = Fold()
_labels: dict[str, dict[str, str]] = {}
_left_out: set[Entry] = set()
told_of_old: list[Callable[[], None]] = []
"""Called where an old log file may have come, if another process looks after these."""
_troubles = Troubles()


def label(services: Mapping[str, Mapping[str, str]]) -> None:
    """From now on lines about these services have these labels, and those about others none."""
    _labels.clear()
    _labels.update(
        (name, {key: _plain(value) for key, value in labels.items()}) for name, labels in services.items()
    )


def say(
    event: Entry,
    text: str,
    *arguments: object,
    fold: str | None = None,
    by: str = "",
    habit: Habit = FLOOD,
    **fields: object,
) -> None:
    """Log an event: `text` with % `arguments` for people, `fields` for machines.

    Events with the same `fold` and `by` are of one kind: the first few are logged, the others counted
    (log_dedup, by `habit`), until their time is over or `settle` is called. `fold` is made of words of ours
    (a service, a reason), `by` is the address of whoever caused the event (limits.stranger). Nothing that a
    stranger chose is in them, or strangers would decide what is logged of others. Without `fold` every event
    is logged.
    """
    if event in LASTING:
        _troubles.note(event, fields, printable(log_redact.secrets(text % arguments)), time.monotonic())
    if not is_on(event):
        return
    line = _Line(event, text, arguments, fields)
    if fold is None:
        _write(line)
        return
    now = time.monotonic()
    _write_told(_fold.sweep(now))
    same = _same(line) if habit.once else None
    if _fold.count(Key(event.value, fold, by), line, now, habit, same):
        _write(line)


def _same(line: _Line) -> int:
    """A number that is the same for lines that differ in the peer's port at most."""
    peer = line.fields.get("peer")
    return hash((line.text, *(str(one) for one in line.arguments if one != peer)))


def say_problem(event: Entry, problem: Problem) -> None:
    """Log a problem of a configuration with its file, line and column."""
    where = problem.where
    say(event, "%s", problem, file=where.file, line=where.line, column=where.column, hint=problem.hint)


def settle(event: Entry, fold: str, by: str = "") -> None:
    """Log how many events of this kind were counted, as what they were about is over.

    The next one of the kind is logged in full again.
    """
    _write_told(_fold.settle(Key(event.value, fold, by), time.monotonic()))


def settle_all(event: Entry, folds: str, by: str) -> None:
    """As settle(), for every kind of the event whose `fold` begins with `folds`."""
    _write_told(_fold.settle_all(event.value, folds, by, time.monotonic()))


def over(event: Entry, *which: str) -> None:
    """The troubles (log_troubles) with these values are over; nothing is logged of that."""
    _troubles.over(event, *which)


def keep_troubles_of(services: Collection[str], routers: Collection[str]) -> None:
    """Troubles of all other services and routers are over: these are there no more."""
    _troubles.keep_only("service", services)
    _troubles.keep_only("router", routers)


def troubles() -> list[Trouble]:
    """What the log has told, at whatever level it is, and what is not over."""
    return _troubles.all()


def absorb(event: Entry, fold: str, by: str = "") -> None:
    """Leave out of the next sum what was counted until now: another line says it."""
    _fold.absorb(Key(event.value, fold, by))


def forget(event: Entry, fold: str, by: str = "") -> None:
    """As settle(), but nothing is logged: another line has said it."""
    _fold.forget(Key(event.value, fold, by))


def is_on(event: Entry) -> bool:
    """Whether an event would be logged at the present level; to ask before costly work on its text."""
    return log.isEnabledFor(LEVELS[event.level]) and event not in _left_out


def leave_out(events: Iterable[Entry]) -> None:
    """Log these events no more: another process of ours does."""
    _left_out.update(events)


def finish() -> None:
    """Log the sums of all kinds that are still being counted, before the process ends."""
    _write_told(_fold.finish(time.monotonic()))


def _write_told(told: Sequence[Told[_Line]]) -> None:
    for one in told:
        more: tuple[float, ...] = (one.seconds,)
        count = "once more" if one.more == 1 else f"{one.more} more times"
        text = f"({count} in %.0f s)"
        if one.times:
            more = (one.times, one.seconds, one.quiet)
            text = "(%d times in %.0f s, and not again for %.0f s)"
        line, fields = one.line, {FOLDED[0]: one.more, FOLDED[1]: round(one.seconds, 1)}
        arguments = (*line.arguments, *more)
        _write(_Line(line.event, f"{line.text} {text}", arguments, {**line.fields, **fields}))


def _write(line: _Line) -> None:
    title = title_of_uuid(str(line.fields.get("namespace", "")))
    fields = {**line.fields, TITLE: title} if title else line.fields
    labels = _labels.get(str(fields.get("service", "")))
    fields = {**fields, LABELS: labels} if labels else fields
    extra = {"event": line.event.value, "fields": fields}
    log.log(LEVELS[line.event.level], line.text, *line.arguments, extra=extra)


def setup(level: str, style: str, output: str = "stderr", rotation: RotationSettings | None = None) -> None:
    """Send lines of `level` and above, in `style` "text" or "json", to "stderr", "stdout", "none" or a path.

    Raises HostError where the file cannot be opened; the log then stays as it was.
    """
    handler = _handler(output, rotation)
    handler.setFormatter(_Json() if style == "json" else _Text())
    stays = getattr(handler, "file", None)
    for old in log.handlers:
        if isinstance(old, Handler) and old.file is not None and old.file is not stays:
            old.output.retire()
    log.handlers[:] = [handler]
    log.setLevel(LEVELS[level])
    log.propagate = False


def _handler(output: str, rotation: RotationSettings | None) -> logging.Handler:
    if output == "none":
        return logging.NullHandler()
    if output in ("stdout", "stderr"):
        return Handler(_standard(output), getattr(sys, output).encoding or "utf-8")
    for old in log.handlers:
        if isinstance(old, Handler) and old.file is not None and old.output.name == output:
            old.file.rotation = rotation  # one thread for one file, so that its lines stay in their order
            old.file.untidy = rotation is not None
            return Handler(old.output, "utf-8", old.file)
    try:
        file = aside(output, LogFile, output, rotation)
        return Handler(Output(output, file), "utf-8", file)
    except OSError as error:
        raise HostError(f"log file {output}: {error.strerror}") from None


_standards: dict[str, Output] = {}


def _standard(name: str) -> Output:
    """The output to "stdout" or "stderr", one for whoever writes there."""
    if name not in _standards:
        _standards[name] = Output(name, Descriptor(("stdout", "stderr").index(name) + 1))
    return _standards[name]


class Handler(logging.Handler):
    """Formats lines for an output, and tells in between what has become of those before."""

    def __init__(self, output: Output, encoding: str, file: LogFile | None = None) -> None:
        """`file` is the output's target, where it is a file."""
        super().__init__()
        self.output, self.file, self._encoding = output, file, encoding
        self._has_told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Put one line into the output."""
        line = (self.format(record) + "\n").encode(self._encoding, "backslashreplace")
        self.look()
        self.output.put(line)

    def look(self, at_the_end: bool = False) -> None:
        """Tell of lines that are lost, of a file that cannot be written, of one that cannot be rotated."""
        _tell_missing(self.output, at_the_end)
        if self.file is None:
            return
        trouble = self.output.trouble
        if trouble is not None and not self._has_told:
            self._has_told = True
            _complain(f"the log cannot be written: {trouble}; lines are lost until it can\n")
        if self.file.complaints:
            file_failed(self.file.path, self.file.complaints.pop())


def _tell_missing(output: Output, at_the_end: bool = False) -> None:
    lost = output.missing(at_the_end)
    if lost is not None:
        many = counted(lost.lines, "line")
        text = "%s of %s lost: %s"
        say(Entry.LINES_LOST, text, many, output.name, lost.why,
            output=output.name, lines=lost.lines, reason=lost.why)  # fmt: skip


def _complain(text: str) -> None:
    try:
        sys.stderr.write(text)
    except OSError:
        pass  # there is no place left to say it


def guard() -> None:
    """Let nothing wait for standard error: what writes there by itself goes through the log's queue, too.

    From now on the end of the process waits for the last lines of the log, and not for ever (log_output).
    """
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr.flush()
        buffer = io.BufferedWriter(Stream(_standard("stderr"), sys.stderr.fileno()))
        encoding, errors = sys.stderr.encoding, sys.stderr.errors
        sys.stderr = io.TextIOWrapper(buffer, encoding, errors, line_buffering=True)
        atexit.register(flush)


def pause() -> None:
    """End the threads of all outputs, until the next line; their lines stay."""
    for output in outputs():
        output.pause()


def begin_anew() -> None:
    """In a copy of a process, which has copied none of its threads: log by threads of its own."""
    for output in outputs():
        output.begin_anew()


def flush() -> None:
    """Wait until all lines are written, a second at most for whom nobody reads."""
    for handler in log.handlers:
        if isinstance(handler, Handler):
            handler.look(at_the_end=True)
    for output in outputs():
        output.finish()


def outputs() -> list[Output]:
    """Every output that is in use, standard error last: others tell of their trouble there."""
    files = [handler.output for handler in log.handlers if isinstance(handler, Handler) and handler.file]
    return [*files, *(_standards[name] for name in ("stdout", "stderr") if name in _standards)]


def file_failed(path: str, error: OSError) -> None:
    """Log that a file of lines cannot be rotated or opened anew."""
    text = "log file %s cannot be rotated or opened anew: %s; lines still go to the file that is open"
    reason = error.strerror or str(error)
    say(Entry.LOG_FAILED, text, path, reason, path=path, reason=reason)


def tend() -> None:
    """Never returns; for a greenlet. Logs sums of repeated and lost lines, and looks after old log files."""
    looked = float("-inf")
    while True:
        gevent.sleep(SWEEP_SECONDS)
        now = time.monotonic()
        _write_told(_fold.sweep(now))
        for output in _standards.values():
            _tell_missing(output)
        for handler in list(log.handlers):
            if not isinstance(handler, Handler):
                continue
            handler.look()
            file = handler.file
            if file is None or file.rotation is None:
                continue
            if file.untidy or now - looked >= TIDY_SECONDS:
                looked, file.untidy = now, False
                if not told_of_old:
                    gevent.spawn(tidy_old, file.path, file.rotation)
                for tell in told_of_old:
                    tell()


def tidy_old(path: str, rotation: RotationSettings) -> None:
    """Compress and remove old files in a thread, so that packets do not wait for it."""
    try:
        aside(f"old files of {path}", tidy, path, rotation, time.time(), seconds=TIDY_SECONDS)
    except OSError as error:
        reason = error.strerror or str(error)
        text = "old files of log %s cannot be compressed or removed: %s"
        say(Entry.LOG_FAILED, text, path, reason, path=path, reason=reason)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        message = printable(log_redact.secrets(record.getMessage()))
        return f"{when} {record.levelname.lower():<7} {message}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", ""),
            "msg": _plain(record.getMessage()),
        }
        for name, value in getattr(record, "fields", {}).items():
            line[name] = value if isinstance(value, bool | int | float | dict | None) else _plain(str(value))
        return json.dumps(line)


def _plain(text: str) -> str:
    """A text without secrets and surrogates: bytes outside UTF-8 become \\xNN; json escapes the rest."""
    return log_redact.secrets(text).encode("utf-8", "backslashreplace").decode()
