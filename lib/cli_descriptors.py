"""Standard descriptors: 0, 1 and 2 on /dev/null where whoever started the program has closed them (`2>&-`).

Knows: that the next file or socket to be opened would take the number of one that is missing, so that an
error message or the log went into it. Python has None for their streams, too.
Refuses to know: what is read from them and written to them.

The executable's bootloader does the same before it opens anything (tunrouter_unpack.c).
"""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def complete() -> None:
    """Open what is missing of 0, 1 and 2, with its stream in sys. Comes before anything else is opened."""
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
