"""Logging: one line an event, for people or as JSON.

Knows: formats and levels. Refuses to know: what is worth a line (whoever logs decides).
"""

from __future__ import annotations

import json
import logging
import sys
import time

from lib.errors import HostError

LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}

log = logging.getLogger("tunrouter")


def setup(level: str, style: str, output: str = "stderr") -> None:
    """Log from `level` on, style "text" or "json", to stderr, stdout, none, or a file.

    Raises HostError where the file cannot be written.
    """
    handler = _handler(output)
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


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        return f"{when} {record.levelname.lower():<7} {record.getMessage()}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
        return json.dumps({"time": when, "level": record.levelname.lower(), "msg": record.getMessage()})
