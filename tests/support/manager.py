"""A service manager for tests: receives the notifications of sd_notify(3) on a socket.

Knows: how a notification is read. Refuses to know: who sends it.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class Manager:
    """Listens on its socket until the end of the `with` block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[dict[str, str]] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> Self:
        self._sock.bind(str(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def next(self, name: str, value: str = "", timeout: float = 30.0) -> dict[str, str]:
        """Read messages until one assigns `value` (empty: any value) to `name`; returns that message."""
        until = time.monotonic() + timeout
        while True:
            self._sock.settimeout(max(0.001, until - time.monotonic()))
            try:
                message = self._sock.recv(65536).decode()
            except TimeoutError:
                raise AssertionError(f"no {name}={value} within {timeout} s: {self.heard}") from None
            assignments = dict(line.split("=", 1) for line in message.split("\n"))
            self.heard.append(assignments)
            if name in assignments and assignments[name].startswith(value):
                return assignments

    def quiet(self, name: str, seconds: float) -> None:
        """Read until no message has assigned `name` for so many seconds, for three times as long at most."""
        until = time.monotonic() + 3 * seconds
        last = time.monotonic()
        while time.monotonic() - last < seconds:
            assert time.monotonic() < until, f"{name} comes again and again: {self.heard}"
            self._sock.settimeout(0.05)
            try:
                message = self._sock.recv(65536).decode()
            except TimeoutError:
                continue
            if f"{name}=" in message:
                last = time.monotonic()
