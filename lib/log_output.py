"""An output of the log with a thread that writes to it, so that no packet waits for a reader or a disk.

Knows: how many lines may wait, which are lost, how long the end of the process waits for the last ones.
Refuses to know: what a line says and where lost lines are told (log_setup), how a file is rotated (log_file).

    put -> queue -> thread -> poll(2), write(2)
        -> the queue is full: the line is lost and counted; the next one is taken when half of it is written

A write to a pipe, a terminal or a disk can wait for ever: for a log driver that hangs, for Ctrl-S, for a
server of files. There is no deadline for it, so a thread of its own waits, outside of gevent. put() never
waits.
"""

from __future__ import annotations

import io
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from gevent import monkey

MAX_BYTES = 4 << 20
"""What may wait, with OVERHEAD for each line: some 20,000 lines."""
OVERHEAD = 64
"""Bytes that a line costs in memory beside its content."""
PATIENCE = 1.0
"""How many seconds the end of the process waits for an output that takes nothing."""
LONGEST = 5.0
"""How many seconds it waits at most, for one that is slow."""
PAUSE_SECONDS = 1.0
"""How long pause() waits for a write that is under way."""

# Those of the system: gevent's would wait for greenlets.
_start_thread, _lock = monkey.get_original("_thread", ["start_new_thread", "allocate_lock"])
_poll = monkey.get_original("select", "poll")


class Target(Protocol):
    """Where an output's lines go. The output's thread calls all of it but `why`."""

    why: str
    """Why lines that waited too long are lost, for people."""

    def at_once(self) -> int:
        """How many bytes of lines may be written by one call; the first line may be longer."""

    def room_on(self) -> int:
        """The descriptor on which poll(2) tells of room; -1 where it does not."""

    def write(self, data: bytes) -> int:
        """Write what can be written now, whole lines at first; returns how many bytes. Raises OSError."""

    def close(self) -> None:
        """Close it."""


class Descriptor:
    """Standard output or standard error as a target. Others may write there too: it is never closed."""

    why = "nobody read them"

    def __init__(self, number: int) -> None:
        self._number = number

    def at_once(self) -> int:
        """As much as a pipe takes in one piece, so that no line of another process gets in between."""
        return select.PIPE_BUF

    def room_on(self) -> int:
        """The descriptor itself."""
        return self._number

    def write(self, data: bytes) -> int:
        """Write what there is room for."""
        return os.write(self._number, data)

    def close(self) -> None:
        """Leave it open."""


class Lost(NamedTuple):
    """How many lines are lost, and why."""

    lines: int
    why: str


class _Bell:
    """An eventfd that is closed when nobody has it any more.

    Whoever closed it at a certain moment could close it between another thread's decision to ring and the
    ringing, which would then reach whatever has got its number.
    """

    def __init__(self) -> None:
        self.number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Wake whoever waits for it with poll(2)."""
        os.eventfd_write(self.number, 1)

    def hear(self) -> None:
        """Take what has been rung, so that the next poll(2) waits again."""
        os.eventfd_read(self.number)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.number)


class Output:
    """A queue of lines and the thread that writes them, which is started by the first one."""

    def __init__(self, name: str, target: Target, most: int = MAX_BYTES) -> None:
        """`name` is for people; `most` bytes may wait."""
        self.name, self.target = name, target
        self.trouble: OSError | None = None
        """Why the last line could not be written, None where it could."""
        self.lost = 0
        """Lines lost so far because the queue was full."""
        self.refused = 0
        """Lines lost so far because they could not be written (`trouble`)."""
        self._most = most
        # No lock guards these. Only the threads that put lines change the left one, the writer the right one.
        self._put, self._taken = 0, 0
        self._queue: deque[bytes] = deque()
        self._rest = b""
        """What is left of the lines that are being written."""
        self._is_losing = False
        self._told = 0
        self._why = ""
        """Why the last line that could not be written could not."""
        self._bell = _Bell()
        self._ended = _lock()
        """Held while the thread runs."""
        self._is_asleep = self._is_halted = self._is_closing = self._is_retired = self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many lines, or runs of lines, wait."""
        return len(self._queue)

    # --- for whoever has lines

    def put(self, line: bytes) -> None:
        """Take a line with its end, or several; they are lost where too many wait. Never waits."""
        waiting = self._put - self._taken
        if waiting > (self._most // 2 if self._is_losing else self._most):
            self._is_losing = True
            self.lost += line.count(b"\n")
            return
        self._is_losing = False
        self._put += len(line) + OVERHEAD
        self._queue.append(line)
        if not self._ended.locked():
            self._start()
        elif self._is_asleep:
            self._bell.ring()

    def missing(self, at_the_end: bool = False) -> Lost | None:
        """The lines lost since the last call, once another line would be written; None where there are none.

        `at_the_end` asks for them however many lines wait: there is no later, and the next lines find room.
        """
        total = self.lost + self.refused
        if total == self._told or self.trouble is not None:
            return None
        if at_the_end:
            self._most *= 2
        elif self._is_losing and self._put - self._taken > self._most // 2:
            return None
        self._is_losing = False
        lost, self._told = total - self._told, total
        why, self._why = self._why or self.target.why, ""
        return Lost(lost, why)

    # --- the thread

    def pause(self, seconds: float = PAUSE_SECONDS) -> None:
        """End the thread until the next line is put; nothing is lost. It stays where a write does not end."""
        self._is_halted = True
        self._end(seconds)
        self._is_halted = False

    def begin_anew(self) -> None:
        """In a copy of the process: what waits is the other one's to write, and so is the thread."""
        self._queue.clear()
        self._rest, self._taken = b"", self._put
        self._bell, self._ended = _Bell(), _lock()
        self._is_asleep = self._is_halted = False

    def finish(self, patience: float = PATIENCE, longest: float = LONGEST) -> bool:
        """Wait until all is written, `patience` seconds at most where nobody reads; whether it is."""
        if self._queue and not self._ended.locked():
            self._start()
        self._is_closing = True
        until = time.monotonic() + longest
        taken = -1
        while taken != self._taken and time.monotonic() < until:
            taken = self._taken
            if self._end(min(patience, until - time.monotonic())):
                break
        self._is_closing = False
        return not self._queue and not self._rest

    def retire(self) -> None:
        """Write what waits, then close the target; nobody waits for it, and no line may be put any more."""
        self._is_retired = True  # first, for a thread that ends because of the next one looks at it then
        self._is_closing = True
        if self._ended.locked():
            self._bell.ring()
        else:
            self._start()

    def _start(self) -> None:
        if self._ended.acquire(False):  # else one runs again by itself, which has seen that something is left
            _start_thread(self._run, ())

    def _end(self, seconds: float) -> bool:
        """Wake the thread, for it is to end, and wait for that; whether it has ended."""
        if self._ended.locked():
            self._bell.ring()
        if not self._ended.acquire(timeout=max(0.0, seconds)):
            return False
        self._ended.release()
        return True

    def _run(self) -> None:
        while True:
            try:
                while self._wait():
                    self._write()
                if self._is_retired and not self._is_closed:
                    self._is_closed = True
                    self.target.close()
            finally:
                self._ended.release()
            # Whoever put a line, or retired this, after the last look has seen a thread and started none.
            if not self._is_something_left() or not self._ended.acquire(False):
                return

    def _is_something_left(self) -> bool:
        has_to_close = self._is_retired and not self._is_closed
        return not self._is_halted and bool(self._queue or has_to_close)

    def _wait(self) -> bool:
        """Wait until there is something to write and room for it. False where the thread is to end."""
        while not self._is_halted:
            room = -1
            poll = _poll()
            poll.register(self._bell.number, select.POLLIN)
            if self._rest or self._queue:
                room = self.target.room_on()
                if room < 0:
                    return True
                poll.register(room, select.POLLOUT)
            elif self._is_closing:
                return False
            else:
                self._is_asleep = True
                if self._queue:  # it came before whoever put it could know that this thread sleeps
                    self._is_asleep = False
                    continue
            ready = dict(poll.poll())
            self._is_asleep = False
            if self._bell.number in ready:
                self._bell.hear()
            if room in ready:
                return True
        return False

    def _write(self) -> None:
        data = self._rest or self._some()
        try:
            written = self.target.write(data)
        except BlockingIOError:  # somebody has made it non-blocking, and poll(2) has promised too much
            self._rest = data
            return
        except OSError as error:
            self.refused += data.count(b"\n")
            self._why = error.strerror or str(error)
            self.trouble, self._rest = error, b""
            return
        self.trouble = None
        self._rest = data[written:]

    def _some(self) -> bytes:
        """The next lines, as many as may be written at once."""
        most = self.target.at_once()
        lines = [self._queue.popleft()]
        size = len(lines[0])
        while self._queue and size + len(self._queue[0]) <= most:
            lines.append(self._queue.popleft())
            size += len(lines[-1])
        self._taken += size + OVERHEAD * len(lines)
        return b"".join(lines)


class Stream(io.RawIOBase):
    """An output as a raw stream, for what writes to standard error by itself."""

    def __init__(self, output: Output, number: int) -> None:
        """`number` is the descriptor that the output writes to."""
        self._output, self._number = output, number

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: object) -> int:
        """Put bytes; they count as written."""
        taken = bytes(data)  # type: ignore[call-overload]
        self._output.put(taken)
        return len(taken)

    def fileno(self) -> int:
        """The descriptor, for programs that are started with it."""
        return self._number

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._number)
