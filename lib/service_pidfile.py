"""One of a kind: a file that says who runs, locked for as long as that is so (`--single PIDFILE`).

Knows: flock(2), and why a file that others may be opening can be removed without a race.
Refuses to know: what runs, and why somebody starts it once a minute (cron).

    open -> lock -> still the file of that name?  no: somebody removed it meanwhile, once more
                          yes: write our pid, run, remove the file, and only then give up the lock

The lock is what counts: a file left behind by kill -9 holds none, whatever number is in it. It belongs to
the process that has the ports and devices; of the one-file executable that is the loader's child, and so is
the pid.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat

from lib.errors import HostError

_CONTENT = re.compile(rb"[0-9]{0,20}\s*")


class PidFile:
    """Ours, from take() until release()."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    def release(self) -> None:
        """Remove the file, or empty it where another user may not; then let others have the lock."""
        try:
            if _is_named(self.path, self._descriptor):
                os.unlink(self.path)
        except OSError:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def take(path: str) -> PidFile | None:
    """Hold this file, our pid in it; None where another process does.

    Raises HostError where that is not possible, or the file is something else.
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


def _open(path: str) -> int:
    """A regular file that holds a pid or nothing, whole: somebody may have named the wrong one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not _CONTENT.fullmatch(os.pread(descriptor, 64, 0)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is there already, and is no pid file")
    return descriptor


def _write(descriptor: int) -> None:
    """Our pid in place of whatever was there; never empty in between."""
    data = b"%d\n" % os.getpid()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _is_named(path: str, descriptor: int) -> bool:
    """Whether the name still leads to the file that is open."""
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))
