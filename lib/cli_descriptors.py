"""Standard descriptors: 0, 1 and 2 on /dev/null where whoever started the program has closed them (`2>&-`).

Knows: that the next file or socket to be opened would take the number of one that is missing, so that an
error message or the log went into it. Python has None for their streams, too. It also knows what happens when
they cannot be written (`>/dev/full`): an error of standard output is told from others by its class, and what
is left in a stream at the end is given up, as Python would make the exit status 120 of it.
Refuses to know: what is read from them and written to them.

The executable's bootloader does the same before it opens anything (tunrouter_unpack.c).
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def complete() -> None:
    """Open what is missing of 0, 1 and 2, with its stream in sys. Comes before anything else is opened.

    From here on, what is written to sys.stdout raises OutputError where that fails.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one. Where there is no /dev, a directory keeps it from others.
            try:
                opened = os.open(os.devnull, os.O_RDWR)
            except OSError:
                opened = os.open("/", os.O_RDONLY)
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="replace", closefd=False))
    sys.stdout = output(1, sys.stdout)


class OutputError(OSError):
    """Standard output cannot be written. Where nobody reads it any more it is a BrokenPipeError instead."""


class _Output(io.FileIO):
    """Standard output without its buffer."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from None


def output(descriptor: int, like: io.TextIOBase | Any) -> io.TextIOWrapper:
    """A text stream to a descriptor with the encoding of `like`, whose failures are OutputErrors."""
    raw = _Output(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=like.encoding, errors=like.errors, line_buffering=raw.isatty()
    )


def complain(text: str) -> None:
    """Print a line on standard error; where that cannot be written there is no place left to say it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def give_up() -> None:
    """Forget what the streams still hold and cannot write, at the end of the program. Raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
