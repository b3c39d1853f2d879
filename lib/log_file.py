"""A log file with rotation: renamed when it is full, old files compressed and removed, as lumberjack does.

Knows: sizes, ages and names of old files (lumberjack's, which GOST uses); that somebody else, as logrotate,
may move the file or cut it short; that several processes of one hub write to it, and any of them rotates it.
Refuses to know: what a line says (log_setup), the thread that writes (log_output).

    hub.log -> hub-2026-11-25T02-29-12.757.log -> hub-2026-11-25T02-29-12.757.log.gz

Rotation itself is a rename and an open. Compressing and removing takes long: tidy(), in a thread.

Who may rotate holds a lock on the open file (fcntl(2)), from the look at its size until the lines are
written. So no process writes to a file that another one has put aside, and tidy() waits for a last one that
does, before it reads what it packs. The lock is a process's, not a descriptor's: a fork shares descriptors.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import stat
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from lib.settings_telemetry import RotationSettings

DAY = 86400.0
RETRY_SECONDS = 60.0
"""How long to wait with the next try after the file could not be renamed or opened anew."""
TRIES = 100
"""How often a file is opened anew for the next lines, where others put it aside meanwhile.

Who waits for a lock gets it last, perhaps each time when the file is full. Of the least file that is 100 MB
of lines of others."""
PIECE = 1 << 16
"""Bytes of lines that are written at once."""
_STAMP = "%Y-%m-%dT%H-%M-%S"
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{3}")
_PART = ".part"


class LogFile:
    """A file that lines are appended to; they stay whole lines even while the disk is full.

    Whatever its disk does, it may do for ever: everything here is for the thread of a log_output.Output.
    """

    why = "the file did not take them in time"
    """Why lines that waited too long are lost, for people."""

    def __init__(self, path: str, rotation: RotationSettings | None = None, mode: int = 0o644) -> None:
        """Open the file; it is made with `mode` where it is not there. Raises OSError."""
        self.path, self.rotation = os.path.abspath(path), rotation
        self.complaints: deque[OSError] = deque(maxlen=1)
        """Why the file cannot be renamed or opened anew. Lines still go into the one that is open."""
        self.untidy = rotation is not None
        """Whether a file may have come since the last tidy()."""
        self._fd = self._open(mode)
        self._is_regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._within_line = False
        """Whether a part of a line has been written, and the rest comes with the next call."""
        self._torn = False
        """Whether the last line in the file has no end."""
        self._next_try = self._next_complaint = 0.0

    def at_once(self) -> int:
        """How many bytes of lines may be written by one call: what there is room for before a rotation."""
        if not self._is_regular:
            return select.PIPE_BUF
        rotation = self.rotation  # a reload may set another one at any moment
        if rotation is None:
            return PIECE
        return min(PIECE, rotation.max_bytes - os.fstat(self._fd).st_size)

    def room_on(self) -> int:
        """The descriptor of a pipe or a terminal (`/dev/stdout`); -1 for a file, which is always ready."""
        return -1 if self._is_regular else self._fd

    def write(self, data: bytes) -> int:
        """Write lines, as much of them as is taken now; returns how many bytes. Raises OSError."""
        is_locked = self._lock()
        try:
            if not self._within_line:
                self._prepare(len(data), is_locked)
            return self._append(data)
        finally:
            if is_locked:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _append(self, data: bytes) -> int:
        before = b"\n" if self._torn else b""
        try:
            written = os.write(self._fd, before + data) - len(before)
        except BlockingIOError:
            raise
        except OSError:  # the rest of a line that was begun is lost with all that follows it
            self._torn |= self._within_line
            self._within_line = False
            raise
        self._torn = False
        self._within_line = written > 0 and data[written - 1] != ord("\n")
        return max(0, written)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _open(self, mode: int) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)

    def _lock(self) -> bool:
        """Keep other processes from rotating the file, and from writing to it; whether that is done."""
        if self.rotation is None or not self._is_regular:
            return False
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            if time.monotonic() >= self._next_complaint:
                self._next_complaint = time.monotonic() + RETRY_SECONDS
                self.complaints.append(error)
            return False
        return True

    def _prepare(self, size: int, is_locked: bool) -> None:
        """Before a line of `size` bytes: rotate a full file, and open the path anew if the file was moved.

        Raises OSError where others are quicker all the time: the file at hand may be packed already.
        """
        for _ in range(TRIES):
            if not self._renew(size, is_locked):
                return
            if is_locked:
                self._lock()
        raise OSError(errno.EBUSY, "other processes put the file aside again and again")

    def _renew(self, size: int, is_locked: bool) -> bool:
        """As _prepare; whether another file is open now, which was not locked when it was opened."""
        here = os.fstat(self._fd)
        try:
            there = os.stat(self.path)
            moved = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        except OSError:
            moved = True
        rotation = self.rotation
        full = (
            is_locked
            and rotation is not None
            and here.st_size > 0
            and here.st_size + size > rotation.max_bytes
        )
        if not (moved or full) or time.monotonic() < self._next_try:
            return False
        try:
            if not moved and rotation is not None:
                os.rename(self.path, aside(self.path, time.time(), rotation.local_time))
                self.untidy = True
            new = self._open(here.st_mode & 0o777)
        except OSError as error:
            self._next_try = time.monotonic() + RETRY_SECONDS
            self.complaints.append(error)
            return False
        os.close(self._fd)  # with our lock on it
        self._fd, self._torn = new, False
        self._is_regular = stat.S_ISREG(os.fstat(new).st_mode)
        return True


def aside(path: str, now: float, local_time: bool) -> str:
    """The name for a file that is rotated `now` (seconds since 1970); never that of an existing file."""
    stem, extension = os.path.splitext(path)
    while True:
        moment = datetime.fromtimestamp(now, None if local_time else UTC)
        name = f"{stem}-{moment.strftime(_STAMP)}.{moment.microsecond // 1000:03d}{extension}"
        if not os.path.exists(name) and not os.path.exists(f"{name}.gz"):
            return name
        now += 0.001


def tidy(path: str, rotation: RotationSettings, now: float) -> None:
    """Remove old files that are too many or too old, and compress the rest. Raises OSError.

    To be called in a thread, since it may take seconds.
    """
    old = _old_files(path, rotation.local_time)
    keep = old[: rotation.max_backups] if rotation.max_backups else old
    if rotation.max_age:
        keep = [entry for entry in keep if now - entry[0] <= rotation.max_age * DAY]
    kept = {name for _, names in keep for name in names}
    for _, names in old:
        for name in names:
            if name not in kept:
                name.unlink(missing_ok=True)
    if rotation.compress:
        for name in kept:
            if name.suffix != ".gz":
                _pack(name)


def _old_files(path: str, local_time: bool) -> list[tuple[float, list[Path]]]:
    """Each rotated file as (seconds since 1970, its names: as it was and compressed), the youngest first."""
    stem, extension = os.path.splitext(os.path.basename(path))
    found: dict[str, list[Path]] = {}
    for name in Path(path).parent.glob(f"{_literal(stem)}-*"):
        rest = name.name.removeprefix(f"{stem}-")
        if rest.endswith(f"{extension}.gz{_PART}"):
            name.unlink(missing_ok=True)  # of a process that was killed while it packed
            continue
        stamp = rest.removesuffix(".gz").removesuffix(extension)
        if _STAMPED.fullmatch(stamp) and rest in (f"{stamp}{extension}", f"{stamp}{extension}.gz"):
            found.setdefault(stamp, []).append(name)
    zone = None if local_time else UTC
    times = {stamp: datetime.strptime(stamp[:19], _STAMP).replace(tzinfo=zone).timestamp() for stamp in found}
    return [(times[stamp], found[stamp]) for stamp in sorted(found, reverse=True)]


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)


def _pack(name: Path) -> None:
    """Compress a file to NAME.gz and remove it; NAME.gz is there whole or not at all."""
    import gzip  # with what they bring, 5 ms that only this needs
    import shutil

    part = Path(f"{name}.gz{_PART}")
    try:
        with name.open("r+b") as source:
            fcntl.lockf(source, fcntl.LOCK_EX)  # whoever has begun to write there before it was put aside
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, name.stat().st_mode & 0o777)
            with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                shutil.copyfileobj(source, packed, 1 << 18)
        part.rename(f"{name}.gz")
        name.unlink()
    except OSError:
        part.unlink(missing_ok=True)
        raise
