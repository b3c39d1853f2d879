"""The ends of a worker's connections, in memory that it and the main process share.

    worker writes the number of each connection that has ended ----+
                                                                   v
         +----+----+----+----+----+----+----                  ----+----+
         |  0 |  0 | 17 | 21 | 18 | 22 |  0 | …  64 bits each  …  |  0 |   then from the first one again
         +----+----+----+----+----+----+----                  ----+----+
                      ^
                      +---- main process reads it, and writes 0: there is room again

Knows: that an end is told once it is written, without a message, and so without waking the main process; that
the processor writes a cell at once, so nobody sees half of one, and that each cell says by itself whether it
is told: nothing has to be locked.
Refuses to know: which connections there are (worker_handover), when it is looked (worker_front, worker_crew).

There is a cell for each connection that the worker may have, so it always finds room. The memory is a file
without a name (memfd_create(2)), and sealed: a worker that has gone wrong cannot cut it off, which would end
the main process at its next look.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from lib import worker_channel

_CELL = 8
MOST = 512
"""Ends that are taken in one look."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Ends:
    """One side's view of the cells of one worker. Numbers are 1 or more."""

    def __init__(self, file: int) -> None:
        """Map the memory that made() has made; `file` may be closed then. Raises OSError, ValueError."""
        self._memory = mmap.mmap(file, 0)
        self._cells = memoryview(self._memory).cast("Q")
        self._at = 0

    def tell(self, number: int) -> None:
        """In the worker: a connection has ended."""
        self._cells[self._at] = number
        self._at = (self._at + 1) % len(self._cells)

    def take(self) -> list[int]:
        """In the main process: the numbers of connections that have ended since the last look, or MOST."""
        found: list[int] = []
        cells, at = self._cells, self._at
        while (number := cells[at]) and len(found) < MOST:
            cells[at] = 0
            at = (at + 1) % len(cells)
            found.append(number)
        self._at = at
        return found

    def close(self) -> None:
        """Let go of the memory."""
        self._cells.release()
        self._memory.close()


def made(connections: int) -> int:
    """A descriptor of memory for so many connections at a time. Raises OSError."""
    file = os.memfd_create("tunrouter-ends", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, _CELL * connections)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        worker_channel.shut(file)
        raise
    return file
