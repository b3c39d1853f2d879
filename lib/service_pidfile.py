"""A pid file with a lock, so that only one process runs at a time (`--single PIDFILE`).

Knows: flock(2), how a file that others may be opening is removed without a race.
Refuses to know: what runs, and that cron starts it every minute.

    open -> lock -> is it still the file of that name?  no: it was removed meanwhile, so begin again
                          yes: write our pid, run, remove the file, and only then release the lock

Only the lock counts: a file that kill -9 left behind is not locked, whatever pid is in it. Lock and pid are
those of the process that has the ports and devices. For the one-file executable that is the loader's child.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress

from lib.errors import HostError
from lib.service_threads import aside

RELEASE_SECONDS = 1.0
"""How long the end of the process waits for the file's disk."""
_CONTENT = re.compile(rb"[0-9]{0,20}\s*")


class PidFile:
    """A pid file that this process holds, from take() until release()."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    def release(self) -> None:
        """Remove the file, or empty it where we may not remove it; then release the lock."""
        try:
            aside(self.path, self._remove, seconds=RELEASE_SECONDS)
        except TimeoutError:
            pass  # its disk hangs: the lock goes with the process, which does not wait for it

    def _remove(self) -> None:
        try:
            if _is_named(self.path, self._descriptor):
                os.unlink(self.path)
        except OSError:
            with suppress(OSError):  # the disk has gone: only the lock counts
                os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def take(path: str) -> PidFile | None:
    """Lock this file and write our pid into it; None where another process holds it.

    Raises HostError where that fails, or where the file is not a pid file.
    """
    path = os.path.abspath(path)
    try:
        while True:
            descriptor = _open(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_named(path, descriptor):
                    _write(descriptor)
                    return PidFile(path, descriptor)
                os.close(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
    except BlockingIOError:
        return None
    except OSError as error:
        raise HostError(f"--single {path}: {error.strerror or error}") from None


def what_is_wrong(path: str) -> str:
    """Why a start could not take this file; "" where it could. Nothing is written or locked."""
    try:
        os.close(_open(path, os.O_RDONLY))
        if not os.access(path, os.W_OK):
            return "this user may not write to it"
    except FileNotFoundError:
        directory = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(directory):
            return "its directory is not there"
        return (
            "" if os.access(directory, os.W_OK | os.X_OK) else "its directory is not writable for this user"
        )
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _open(path: str, how: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open the file, or make it. Raises HostError for one with other content than a pid.

    The user may have named the wrong file, and it would be overwritten.
    """
    descriptor = os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not _CONTENT.fullmatch(os.pread(descriptor, 64, 0)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "exists already and is not a pid file")
    return descriptor


def _write(descriptor: int) -> None:
    """Write our pid over the file's content; the file is never empty in between."""
    data = b"%d\n" % os.getpid()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _is_named(path: str, descriptor: int) -> bool:
    """Whether the path still names the file that is open."""
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
