"""Commands of other programs (hooks, notifications): started without a shell, and ended at a deadline.

Knows: how a program is started and waited for while packets are forwarded; that what it has started is ended
together with it. Refuses to know: why it runs (service_hooks, notify_deliver), what its words mean.

It gets a process group of its own, so that neither a Ctrl-C for us ends it nor does anything of it stay when
its time is over. What it prints is read, and the end of it is kept for the log. A program that shall go on
after its command has ended must print elsewhere.
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

from lib.service_threads import aside

MAX_KEPT = 4096
"""Bytes of what a command prints, the last ones, that are kept."""
MAX_SHOWN = 200
"""Letters of its last line that are shown."""
_READ_AT_ONCE = 1 << 16


class Outcome(NamedTuple):
    """How a command has ended."""

    failure: str
    """Why it counts as failed, in words; empty for status 0."""
    said: str
    """The last line that it has printed; empty for none."""

    def __str__(self) -> str:
        """What is wrong, with the command's own last word."""
        return f"{self.failure}: {self.said}" if self.said and self.failure else self.failure


def run(words: Sequence[str], environ: Mapping[str, str], seconds: float, given: bytes = b"") -> Outcome:
    """Run a command to its end, at most for so long; `given` is what it can read (up to 64 KB).

    Other greenlets run meanwhile. It is killed at the deadline, or where the caller is.
    """
    try:
        program = aside(words[0], shutil.which, words[0])  # where its disk hangs, only this command waits
    except OSError as error:
        return Outcome(f"{words[0]}: {error.strerror or error}", "")
    if program is None:
        return Outcome(f"{words[0]}: there is no such program", "")
    gevent.get_hub().loop.install_sigchld()  # the loop waits for all children: it alone gets their status
    read_end, write_end = os.pipe()
    try:
        try:
            pid = _spawn(program, words, environ, write_end, given)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Outcome(f"{words[0]}: {why}", "")
        finally:
            os.close(write_end)
        return _follow(pid, read_end, seconds)
    finally:
        os.close(read_end)


def _spawn(program: str, words: Sequence[str], environ: Mapping[str, str], output: int, given: bytes) -> int:
    """Start the program, its standard output and error into a pipe; returns the process. Raises OSError."""
    source = _readable(given)
    try:
        return os.posix_spawn(  # as vfork(2): however much memory this process has, it takes 0.2 ms
            program,
            tuple(word.encode("utf-8", "surrogateescape") for word in words),
            {key: value.encode("utf-8", "surrogateescape") for key, value in environ.items()},
            file_actions=(
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
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


def _follow(pid: int, pipe: int, seconds: float) -> Outcome:
    """Wait for the end of a process, and read what it prints meanwhile."""
    hub = gevent.get_hub()
    ended = hub.loop.child(pid, False)
    said = _Said(pipe)
    reading = gevent.spawn(said.read)
    has_ended = False
    try:
        with gevent.Timeout(seconds, False):
            hub.wait(ended)
            has_ended = True
        status = os.waitstatus_to_exitcode(ended.rstatus) if has_ended else None
    finally:
        ended.stop()
        ended.close()
        reading.kill()
        if not has_ended:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    last = said.last_line()
    if status is None:
        return Outcome(f"it had not ended within {seconds:g} s", last)
    if status < 0:
        return Outcome(f"ended by {signal.Signals(-status).name}", last)
    return Outcome(f"ended with status {status}" if status else "", last)


class _Said:
    """What a command prints, the end of it."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe, self._said = pipe, b""

    def read(self) -> None:
        """Read until nobody can print any more."""
        while piece := nb_read(self._pipe, _READ_AT_ONCE):
            self._said = (self._said + piece)[-MAX_KEPT:]

    def last_line(self) -> str:
        """The last line, with what has been printed until this moment."""
        with suppress(BlockingIOError):
            while piece := os.read(self._pipe, _READ_AT_ONCE):
                self._said = (self._said + piece)[-MAX_KEPT:]
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:MAX_SHOWN] if lines else ""
