"""Files that are replaced in one step: certificates that were made, leases, lists of hosts, logins.

Knows: how a file is written whole or not at all, and is on the disk then.
Refuses to know: what is in it; threads, as a disk may hang (service_threads).
"""

from __future__ import annotations

import os
from contextlib import suppress


def write_whole(path: str, data: bytes, mode: int = 0o600, owner: int = -1, group: int = -1) -> None:
    """Write a file whole or not at all, and to the disk. `owner` and `group` are numbers. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # of a process of this number that was killed
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
            if owner >= 0 or group >= 0:
                os.fchown(descriptor, owner, group)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
