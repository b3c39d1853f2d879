"""A log file with rotation: renamed when it is full, old files compressed and removed, as lumberjack does.

Knows: sizes, ages and names of old files (lumberjack's, which GOST uses); that somebody else, as logrotate,
may move the file or cut it short.
Refuses to know: what a line says (log_setup).

    hub.log -> hub-2026-11-25T02-29-12.757.log -> hub-2026-11-25T02-29-12.757.log.gz

Rotation itself is a rename and an open. Compressing and removing takes long: tidy(), in a thread.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from lib.settings_telemetry import RotationSettings

DAY = 86400.0
RETRY_SECONDS = 60.0
"""How long to wait with the next try after the file could not be renamed or opened anew."""
_STAMP = "%Y-%m-%dT%H-%M-%S"
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{3}")
_PART = ".part"


class LogFile(logging.Handler):
    """A log handler that appends lines to a file; lines stay whole lines even while the disk is full."""

    def __init__(self, path: str, rotation: RotationSettings | None = None) -> None:
        """Open the file. Raises OSError."""
        super().__init__()
        self.path, self.rotation = os.path.abspath(path), rotation
        self.complain: Callable[[OSError], None] = lambda error: None
        """Called when the file cannot be renamed or opened anew. Lines still go into the one that is open."""
        self.untidy = rotation is not None
        """Whether a file may have come since the last tidy()."""
        self._fd = self._open()
        self._torn = False
        self._next_try = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            self._prepare(len(line))
            self._write(line)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, mode: int = 0o644) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)

    def _write(self, line: bytes) -> None:
        if self._torn:  # a full disk took half a line
            line = b"\n" + line
        while line:
            written = os.write(self._fd, line)
            self._torn = written < len(line)
            line = line[written:]

    def _prepare(self, size: int) -> None:
        """Before a line of `size` bytes: rotate a full file, and open the path anew if the file was moved."""
        here = os.fstat(self._fd)
        try:
            there = os.stat(self.path)
            moved = (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        except OSError:
            moved = True
        full = (
            self.rotation is not None and here.st_size > 0 and here.st_size + size > self.rotation.max_bytes
        )
        if not (moved or full) or time.monotonic() < self._next_try:
            return
        try:
            if not moved and self.rotation is not None:
                os.rename(self.path, aside(self.path, time.time(), self.rotation.local_time))
                self.untidy = True
            new = self._open(here.st_mode & 0o777)
        except OSError as error:
            self._next_try = time.monotonic() + RETRY_SECONDS
            self.complain(error)
            return
        os.close(self._fd)
        self._fd, self._torn = new, False


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
        with name.open("rb") as source:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, name.stat().st_mode & 0o777)
            with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                shutil.copyfileobj(source, packed, 1 << 18)
        part.rename(f"{name}.gz")
        name.unlink()
    except OSError:
        part.unlink(missing_ok=True)
        raise
