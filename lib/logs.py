"""Logging: one line an event, for people or as JSON.

Knows: formats and levels. Refuses to know: what is worth a line (whoever logs decides).
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable

from lib.errors import HostError

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}

FOLD_AFTER, FOLD_SECONDS = 5, 10.0
"""So many times in that many seconds the same kind of thing is said in full."""
MAX_KINDS = 32

log = logging.getLogger("tunrouter")


def setup(level: str, style: str, output: str = "stderr") -> None:
    """Log from `level` on, style "text" or "json", to stderr, stdout, none, or a file.

    Raises HostError where the file cannot be written.
    """
    handler = _handler(output)
    handler.handleError = _Trouble()  # type: ignore[method-assign]
    handler.setFormatter(_Json() if style == "json" else _Text())
    log.handlers[:] = [handler]
    log.setLevel(LEVELS[level])
    log.propagate = False


def _handler(output: str) -> logging.Handler:
    if output == "none":
        return logging.NullHandler()
    if output in ("stdout", "stderr"):
        return logging.StreamHandler(sys.stdout if output == "stdout" else sys.stderr)
    try:
        return logging.FileHandler(output, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise HostError(f"log file {output}: {error.strerror}") from None


class _Trouble:
    """A log that cannot be written (a full disk) costs its lines and nothing else; said once on stderr."""

    def __init__(self) -> None:
        self.said = False

    def __call__(self, record: logging.LogRecord) -> None:
        if not self.said:
            self.said = True
            try:
                sys.stderr.write(
                    f"the log cannot be written: {sys.exc_info()[1]}; lines are lost until it can\n"
                )
            except OSError:
                pass  # then nobody can be told


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{when} {record.levelname.lower():<7} {record.getMessage()}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
        return json.dumps({"time": when, "level": record.levelname.lower(), "msg": record.getMessage()})


class Fold:
    """Says the same kind of thing a few times, then how often more: a flood must not drown the log."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._windows: dict[str, tuple[float, int, str]] = {}
        """Kind -> when its window began, how often it was said, the last text."""

    def say(self, kind: str, text: str, now: float) -> None:
        """Say it, or count it for later; now in seconds of a steady clock."""
        self.sweep(now)
        if kind not in self._windows and len(self._windows) >= MAX_KINDS:
            kind = "others"  # who thinks up new ones is a flood too
        began, count, _ = self._windows.get(kind, (now, 0, ""))
        self._windows[kind] = began, count + 1, text
        if count < FOLD_AFTER:
            self._write(text)

    def sweep(self, now: float) -> None:
        """Say what has been counted for long enough."""
        for kind, (began, count, text) in list(self._windows.items()):
            if now - began >= FOLD_SECONDS:
                del self._windows[kind]
                if count > FOLD_AFTER:
                    self._write(f"{text} ({count - FOLD_AFTER} more times in {now - began:.0f} s)")
