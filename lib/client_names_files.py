"""Files by which programs find names (resolv.conf, hosts), changed so that they are whole at each moment.

Knows: links, files that are mounts (in containers, by `ip netns exec`), files that are not there; that each
process has a block of its own in a file, and who takes away those of killed ones.
Refuses to know: how a block is written (dns_resolv_conf, dns_hosts_file), and when (client_stub,
client_hosts).

A file is replaced in one step (rename). Where it cannot be, because it is a mount, it is written in place by
one call: that is whole for who reads it, and only a loss of power in that moment could tear it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import gevent

from lib import netlink_owners
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.service_files import write_whole
from lib.service_threads import aside

RESOLV_CONF, HOSTS = "/etc/resolv.conf", "/etc/hosts"
LARGEST = 16 << 20
"""Bytes of a file that is changed; lists of advertisers' hosts have some MB."""
TURN_SECONDS = 2.0
"""How long another process of ours is waited for that changes such a file."""
PROCESSES = 250
"""Processes of one network namespace that can have a part of such a file."""
OF_OTHERS = "is the file of the whole machine, and this is a network namespace: make one for it in /etc/netns"
UNLIKE_ANY = (0,)
"""The state of no file."""
_TURN = "\0tunrouter/names/turn"
_IN_PLACE = frozenset({errno.EBUSY, errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM})
"""Errors of a rename that say nothing about the file itself."""
_LABEL = "security.selinux"

Mark = TypeVar("Mark")
Edit = Callable[[str | None], str | None]
"""From the text of a file (None: it is not there) to the text that it shall have."""


def read(path: str) -> str | None:
    """The text of a file; None where it is not there. Raises OSError."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data.decode("utf-8", "surrogateescape")


def change(path: str, edit: Edit) -> tuple[int, ...]:
    """Change a file to what `edit` makes of it; returns its state then. Raises OSError.

    Where somebody else has written the file since, it is one that no file has: who asked only afterwards
    would take that for our own change.
    """
    with _turn():
        return aside(path, _change_and_look, path, edit)


def without(text: str | None, marks: Iterable[Mark], remove: Callable[[str, Mark], str | None]) -> str | None:
    """A file without the blocks with these marks; `remove` takes one away."""
    for mark in marks:
        text = remove(text, mark) if text is not None else None
    return text


def mend(
    path: str,
    marks: Callable[[str], Iterable[Mark]],
    is_dead: Callable[[Mark], bool],
    remove: Callable[[str, Mark], str | None],
) -> None:
    """Take away the blocks that killed processes of ours have left in a file. Raises OSError."""
    dead = [mark for mark in marks(read(path) or "") if is_dead(mark)]
    if dead and not is_of_others(path):
        change(path, lambda text: without(text, dead, remove))


def state(path: str) -> tuple[int, ...]:
    """What is another one when a file has been changed; empty where it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_of_others(path: str) -> bool:
    """Whether a file is that of the whole machine, while this process is in a network namespace of its own.

    A loopback address of ours is nobody's there.
    """
    with suppress(OSError):
        if os.stat("/proc/self/ns/net").st_ino == os.stat("/proc/1/ns/net").st_ino:
            return False
        for place in (path, os.path.dirname(path)):
            if os.path.exists(place):
                return os.path.samestat(os.stat(place), os.stat(f"/proc/1/root{place}"))
    return False


def take(name: str) -> tuple[int, socket.socket]:
    """A number that no process here holds by such a name, and what holds it. Raises OSError."""
    for number in range(1, PROCESSES + 1):
        held = netlink_owners.hold(name % number)
        if held is not None:
            return number, held
    raise OSError(errno.EADDRINUSE, f"{PROCESSES} processes of ours serve here already", name[1:] % 0)


def words(error: OSError, path: str) -> str:
    """What is wrong with which file or address."""
    return f"{error.filename or path}: {error.strerror or error}"


def say_lost(path: str, reason: str) -> None:
    """Log that a file does not have what it should."""
    say(
        Entry.NAMES_NOT_KEPT, "names of the hub's domain are not found any more: %s", reason,
        fold=path, habit=OUTAGE, reason=reason,
    )  # fmt: skip


@contextmanager
def _turn() -> Iterator[None]:
    """Keep other processes of ours from changing such files meanwhile."""
    until = time.monotonic() + TURN_SECONDS
    while (held := netlink_owners.hold(_TURN)) is None and time.monotonic() < until:
        gevent.sleep(0.01)
    try:
        yield
    finally:
        if held is not None:
            held.close()


def _change_and_look(path: str, edit: Edit) -> tuple[int, ...]:
    after = _change(path, edit)
    found = state(path)
    return found if read(path) == after else UNLIKE_ANY


def _change(path: str, edit: Edit) -> str | None:
    """Change a file; returns what it is now."""
    real = os.path.realpath(path)
    _sweep(real)
    before = read(real)
    after = edit(before)
    if after == before:
        return after
    if after is None:
        try:
            os.unlink(real)
            return after
        except OSError as error:
            if error.errno not in _IN_PLACE:
                raise
    data = (after or "").encode("utf-8", "surrogateescape")
    if before is None:
        write_whole(real, data, 0o644)
        return after
    found, label = os.stat(real), _label(real)
    try:
        write_whole(real, data, found.st_mode & 0o7777, found.st_uid, found.st_gid)
    except OSError as error:
        if error.errno not in _IN_PLACE:
            raise
        _in_place(real, data, found.st_size)
    if label:
        with suppress(OSError):
            os.setxattr(real, _LABEL, label)
    return after or ""


def _label(path: str) -> bytes:
    """SELinux's label of a file: a new one would have that of its directory, and programs may not read it."""
    with suppress(OSError):
        return os.getxattr(path, _LABEL)
    return b""


def _in_place(path: str, data: bytes, size: int) -> None:
    """Write a file by one call. What a kill could leave at its end is empty lines. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        padded = data + b"\n" * max(0, size - len(data))
        if os.pwrite(descriptor, padded, 0) != len(padded):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(path: str) -> None:
    """Remove what a process has left that was killed while it wrote the file (service_files.write_whole)."""
    directory, name = os.path.split(path)
    with suppress(OSError):
        for other in os.listdir(directory):
            number = other.removeprefix(f"{name}.").removesuffix(".new")
            if other == f"{name}.{number}.new" and number.isdecimal() and int(number) != os.getpid():
                os.unlink(os.path.join(directory, other))
