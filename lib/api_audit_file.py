"""The file of the audit log: lines that are kept until the file has them.

Knows: the file's mode and rotation, how long whoever has changed something waits for it, what is said where
it cannot be written. Refuses to know: what a line says (api_audit), how a file is rotated (log_file).

    put -> waiting -> a thread -> the file         after an error, and each 10 s: the same once more
        -> too many wait: the line is lost, counted, and the file gets a line that says so
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

from lib import log_setup
from lib.errors import HostError
from lib.humanize import counted
from lib.log_events import Entry
from lib.log_file import LogFile
from lib.log_setup import over, say
from lib.service_threads import aside
from lib.settings_telemetry import RotationSettings

ROTATION = RotationSettings(max_bytes=10 << 20, max_backups=10)
"""A new file is begun at 10 MB, and ten old ones are kept."""
MODE = 0o600
"""Of a file that is not there yet: what has changed is nobody else's business."""
MAX_WAITING = 1 << 20
"""Bytes of lines that wait while the file cannot be written."""
WRITE_SECONDS = 2.0
"""How long whoever has changed something waits until the file has its line."""
RETRY_SECONDS = 10.0
"""How long until it is tried again after an error, where no line comes before."""


class AuditFile:
    """A file of lines, each of which is there when put() returns, or waits in memory."""

    def __init__(self, path: str, gap: Callable[[int], bytes]) -> None:
        """Open the file. `gap` makes the line that says how many are missing. Raises HostError."""
        self.path, self._gap = path, gap
        try:
            self._file = aside(path, LogFile, path, ROTATION, MODE)
        except OSError as error:
            raise HostError(f"audit log {path}: {error.strerror or error}") from None
        # No lock guards these. Only greenlets change the left one, only the thread that writes the right one.
        self._put, self._taken = 0, 0
        self._waiting: deque[bytes] = deque()
        self._line = b""
        """The line that is being written, whole: one of which a part was written is written anew."""
        self._missing = 0
        """Lines that were lost and are not told of in the file yet."""
        self._is_failing = False
        self._again: Any = None

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        return len(self._waiting) + bool(self._line)

    def put(self, line: bytes) -> None:
        """Write a line with its end. Where that fails it waits, and the log says so once."""
        if self._put - self._taken + len(line) > MAX_WAITING:
            if not self._missing:
                text = "the audit log %s has no room for more changes: those that come now are only here"
                say(Entry.AUDIT_FAILED, text, self.path, path=self.path, reason="too many changes wait")
            self._missing += 1
        else:
            self._add(line)
        self._write()

    def finish(self) -> None:
        """Write what waits, and close the file: nothing is put any more. Tells what is lost."""
        self._write()
        if self._again is not None:
            self._again.kill(block=False)
        lost = self.waiting + self._missing
        if lost:
            many = counted(lost, "change")
            text = "%s will not be in the audit log %s: it cannot be written"
            say(Entry.AUDIT_FAILED, text, many, self.path, path=self.path, reason=f"{many} lost")
        over(Entry.AUDIT_FAILED, self.path)  # nothing is to be written there any more
        try:
            aside(self.path, self._file.close, seconds=WRITE_SECONDS)
        except OSError:
            pass  # a call hangs: its descriptor stays until the disk comes back

    def _add(self, line: bytes) -> None:
        self._put += len(line)
        self._waiting.append(line)

    def _write(self) -> None:
        try:
            aside(self.path, self._drain, seconds=WRITE_SECONDS)
            if self._missing:
                missing, self._missing = self._missing, 0
                self._add(self._gap(missing))
                aside(self.path, self._drain, seconds=WRITE_SECONDS)
        except OSError as error:
            self._failed(error)
            return
        if self._is_failing:
            self._is_failing = False
            over(Entry.AUDIT_FAILED, self.path)
            text = "the audit log %s is written again; all changes that waited are there"
            say(Entry.AUDIT_WRITTEN, text, self.path, path=self.path)
        self._look_after()

    def _drain(self) -> None:
        """In a thread: write all that waits. Raises OSError; what was not written waits on."""
        while self._line or self._waiting:
            self._line = self._line or self._waiting.popleft()
            left = self._line
            while left:
                left = left[self._file.write(left) :]
            self._taken += len(self._line)
            self._line = b""

    def _failed(self, error: OSError) -> None:
        if not self._is_failing:
            self._is_failing = True
            reason = error.strerror or str(error)
            text = "the audit log %s cannot be written: %s; changes wait until it can, and are in this log"
            say(Entry.AUDIT_FAILED, text, self.path, reason, path=self.path, reason=reason)
        if self._again is None or self._again.ready():
            self._again = gevent.spawn_later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        self._write()

    def _look_after(self) -> None:
        file = self._file
        if file.complaints:
            log_setup.file_failed(file.path, file.complaints.pop())
        if file.untidy:
            file.untidy = False
            gevent.spawn(log_setup.tidy_old, file.path, ROTATION)
