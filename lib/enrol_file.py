"""The list of enrolled hosts in a file: read, and changed as a whole, one process at a time.

Knows: that the file is locked between processes, replaced in one step, and on the disk before that is told.
Refuses to know: what is in it (enrol_book), when it is read (enrol_live).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lib.service_files import write_whole
from lib.service_threads import aside

MAX_BYTES = 64 << 20
"""Bytes of a list: some 200,000 hosts."""


class FileStore:
    """A list in a file, whose lock is a file beside it. Every method raises OSError."""

    def __init__(self, path: str) -> None:
        self.name = path

    def stamp(self) -> object:
        """Something that is another one whenever the list may have changed; None while there is no list."""
        return aside(self.name, _stamp, self.name)

    def read(self) -> bytes:
        """The list as text; empty while there is none."""
        return aside(self.name, _read, self.name)

    def change(self, edit: Callable[[bytes], bytes | None]) -> bytes:
        """Change the list: `edit` makes the new text from what is there now; None leaves it.

        Nobody else changes it meanwhile, in this process or another one. Returns the text that is there then.
        """
        return aside(self.name, _change, self.name, edit)

    def close(self) -> None:
        """Nothing is kept open."""


def _stamp(path: str) -> object:
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return b""
    if len(text) > MAX_BYTES:
        raise OSError(27, f"more than {MAX_BYTES >> 20} MB")
    return text


def _change(path: str, edit: Callable[[bytes], bytes | None]) -> bytes:
    path = os.path.realpath(path)  # a link stays a link
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with _locked(f"{path}.lock"):
        old = _read(path)
        new = edit(old)
        if new is None or new == old:
            return old
        write_whole(path, new)
        return new


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the lock of a file that is never removed, so that all who wait for it wait for the same one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
