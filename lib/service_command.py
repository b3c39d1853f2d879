"""Commands of other programs (hooks, notifications, nft): started without a shell, and ended at a deadline.

Knows: how a program is started and waited for while packets are forwarded; that what it has started is ended
together with it. Refuses to know: why it runs (service_hooks, notify_delivery, netfilter_table, doctor_…),
what its words mean.

It gets a process group of its own, so that neither a Ctrl-C for us ends it nor does anything of it stay when
its time is over. What it prints is read, and the end of it is kept for the log, or as much as the caller asks
for. A program that shall go on after its command has ended must print elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import gevent
from gevent.os import nb_read

from lib import service_privileges
from lib.service_threads import aside

MAX_KEPT = 4096
"""Bytes of what a command prints, the last ones, that are kept."""
MAX_SHOWN = 200
"""Letters of its last line that are shown."""
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where a program is looked for that PATH does not lead to: that of a user has none of these, as a rule."""
_READ_AT_ONCE = 1 << 16


_MISSING = "there is no such program"


class Outcome(NamedTuple):
    """How a command has ended."""

    failure: str
    """Why it counts as failed, in words; empty for status 0."""
    said: str
    """The last line that it has printed, as an error first where these were kept apart; empty for none."""
    output: str = ""
    """What it has printed on its standard output, as far as the caller wanted to have that kept."""
    errors: str = ""
    """What it has printed on its standard error, kept in the same way."""

    @property
    def is_missing(self) -> bool:
        """Whether there is no such program."""
        return self.failure.endswith(_MISSING)

    def __str__(self) -> str:
        """What is wrong, with the command's own last word."""
        return f"{self.failure}: {self.said}" if self.said and self.failure else self.failure


def find(name: str) -> str | None:
    """The path of a program, by PATH or where a system has its own; None where there is none."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


def run(
    words: Sequence[str],
    environ: Mapping[str, str],
    seconds: float,
    given: bytes = b"",
    keep: int = 0,
    capability: int = 0,
) -> Outcome:
    """Run a command to its end, at most for so long; `given` is what it can read.

    With `keep` so many bytes, the first ones, of its standard output and of its standard error are returned.
    It gets this capability of ours (a number of linux/capability.h), also where we are not root.
    Other greenlets run meanwhile. It is killed at the deadline, or where the caller is.
    """
    try:
        program = aside(words[0], find, words[0])  # where its disk hangs, only this command waits
    except OSError as error:
        return Outcome(f"{words[0]}: {error.strerror or error}", "")
    if program is None:
        return Outcome(f"{words[0]}: {_MISSING}", "")
    gevent.get_hub().loop.install_sigchld()  # the loop waits for all children: it alone gets their status
    printed = [_Printed(keep) for _ in range(2 if keep else 1)]
    try:
        try:
            pipes = printed[0].writable, printed[-1].writable
            with service_privileges.lent(capability):
                pid = _spawn(program, words, environ, pipes, given)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Outcome(f"{words[0]}: {why}", "")
        finally:
            for one in printed:
                one.is_begun()
        failure = _follow(pid, printed, seconds)
    finally:
        for one in printed:
            one.close()
    said = printed[-1].last_line() or printed[0].last_line()
    return Outcome(failure, said, *(one.text() for one in printed)) if keep else Outcome(failure, said)


def _spawn(
    program: str, words: Sequence[str], environ: Mapping[str, str], pipes: tuple[int, int], given: bytes
) -> int:
    """Start the program, its standard output and error into pipes; returns the process. Raises OSError."""
    source = _readable(given)
    try:
        return os.posix_spawn(  # as vfork(2): however much memory this process has, it takes 0.2 ms
            program,
            tuple(word.encode("utf-8", "surrogateescape") for word in words),
            {key: value.encode("utf-8", "surrogateescape") for key, value in environ.items()},
            file_actions=(
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_DUP2, pipes[0], 1),
                (os.POSIX_SPAWN_DUP2, pipes[1], 2),
            ),
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1),
        )
    finally:
        os.close(source)


def _readable(given: bytes) -> int:
    """A descriptor from which these bytes can be read: a file in memory, as nobody can wait at a pipe."""
    if not given:
        return os.open(os.devnull, os.O_RDONLY)
    descriptor = os.memfd_create("tunrouter")
    os.write(descriptor, given)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _follow(pid: int, printed: Sequence[_Printed], seconds: float) -> str:
    """Wait for the end of a process, and read what it prints meanwhile; returns why it has failed, or ""."""
    hub = gevent.get_hub()
    ended = hub.loop.child(pid, False)
    reading = [gevent.spawn(one.read) for one in printed]
    has_ended = False
    try:
        with gevent.Timeout(seconds, False):
            hub.wait(ended)
            has_ended = True
        status = os.waitstatus_to_exitcode(ended.rstatus) if has_ended else None
    finally:
        ended.stop()
        ended.close()
        gevent.killall(reading)
        if not has_ended:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    for one in printed:
        one.read_rest()
    if status is None:
        return f"it had not ended within {seconds:g} s"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else ""


class _Printed:
    """A pipe that a command prints into: what came first of it, as far as wanted, and the end of it."""

    def __init__(self, keep: int) -> None:
        self._readable, self.writable = os.pipe()
        os.set_blocking(self._readable, False)
        self._keep, self._first, self._last = keep, bytearray(), b""

    def is_begun(self) -> None:
        """The command has its end of the pipe, or there will be none: ours is closed."""
        os.close(self.writable)

    def read(self) -> None:
        """Read until nobody can print any more."""
        while piece := nb_read(self._readable, _READ_AT_ONCE):
            self._add(piece)

    def read_rest(self) -> None:
        """Read what has been printed until this moment."""
        with suppress(BlockingIOError):
            while piece := os.read(self._readable, _READ_AT_ONCE):
                self._add(piece)

    def close(self) -> None:
        """Read no more."""
        os.close(self._readable)

    def text(self) -> str:
        """What came first."""
        return self._first.decode("utf-8", "replace")

    def last_line(self) -> str:
        """The last line."""
        lines = self._last.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:MAX_SHOWN] if lines else ""

    def _add(self, piece: bytes) -> None:
        self._first += piece[: self._keep - len(self._first)]
        self._last = (self._last + piece)[-MAX_KEPT:]
