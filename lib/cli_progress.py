"""Progress bar on the terminal while a big table is read.

Knows: when there is a terminal to draw on, and to erase the bar before a line of the log is printed.
Refuses to know: what is read (route_live), the log's format (log_setup).
"""

from __future__ import annotations

import logging
import shutil
import sys
import time

from lib.humanize import number, span
from lib.log_setup import log
from lib.printable import printable

PATIENCE = 0.3
"""Seconds before a bar is shown: what is quicker needs none."""
REDRAW = 0.1
"""Seconds between two drawings."""
WIDTH = 30
"""Characters of the bar itself."""


class Bar(logging.Filter):
    """A bar on stderr, where that is a terminal. It is a filter of the log to be erased before each line."""

    def __init__(self, label: str, total: int) -> None:
        super().__init__()
        self._label, self._total, self._done = label, total, 0
        self._began = time.monotonic()
        self._next = self._began + PATIENCE
        self._shown = False
        self._on = bool(total) and sys.stderr.isatty()

    def __enter__(self) -> Bar:
        if self._on:
            log.addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            log.removeFilter(self)
            self._erase()

    def filter(self, record: logging.LogRecord) -> bool:
        """Erase the bar, because a line of the log comes; lets every line pass."""
        self._erase()
        return True

    def advance(self, count: int) -> None:
        """Add `count` rows that are done, and draw the bar where it is time to."""
        self._done += count
        if self._on:
            now = time.monotonic()
            if now >= self._next:
                self._next = now + REDRAW
                self._write(self._text(now))
                self._shown = True

    def _text(self, now: float) -> str:
        done = min(self._done, self._total)
        part = done / self._total
        filled = int(part * WIDTH)
        left = (now - self._began) * (1 - part) / part if part else 0.0
        more = f", {span(left)} left" if part < 1 else ""
        bar = "#" * filled + "-" * (WIDTH - filled)
        counts = f"{number(done)} of {number(self._total)} rows"
        text = f"{printable(self._label)} [{bar}] {part:4.0%}  {counts}{more}"
        return f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}"  # a line that wraps stays

    def _erase(self) -> None:
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._on = False  # the terminal has gone
