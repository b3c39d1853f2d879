"""A pseudo-terminal for tests of programs with a screen: its content, keys, changes of size.

Knows: pseudo-terminals, and what escape sequences do to a screen (pyte). Refuses to know: tunrouter.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pyte

from tests.support.netns import ROOT

_NOT_OURS = ("NO_COLOR", "COLUMNS", "LINES")
"""Environment variables that would override the terminal's properties, so they are not passed on."""


class Terminal:
    """Runs a program until it ends or the `with` block does."""

    def __init__(
        self, argv: Sequence[str], columns: int = 80, lines: int = 24, environ: dict[str, str] | None = None
    ) -> None:
        self._master, self._slave = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._changed = threading.Condition()
        self.output = b""
        """Everything that was written, as it came."""
        self._resize(columns, lines)
        self.before = self.modes
        """How the terminal was before the program ran."""
        clean = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        self.process = subprocess.Popen(
            argv, stdin=self._slave, stdout=self._slave, stderr=self._slave, cwd=ROOT, start_new_session=True,
            env=clean | {"TERM": "xterm-256color"} | (environ or {}),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes (termios): echo, line by line and others."""
        return termios.tcgetattr(self._slave)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        with self._changed:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def wait(
        self,
        *texts: str,
        gone: str = "",
        where: Callable[[str], bool] = lambda shown: True,
        seconds: float = 30.0,
    ) -> str:
        """Wait until all of this stands on the screen, and what is `gone` does not; returns the screen.

        A frame comes in pieces: what has to be true of more than these texts is asked for by `where`.
        """

        def stands() -> bool:
            shown = "\n".join(self._screen.display)
            return all(text in shown for text in texts) and not (gone and gone in shown) and where(shown)

        with self._changed:
            assert self._changed.wait_for(stands, seconds), f"not there: {texts}\n" + "\n".join(
                self._screen.display
            )
        return self.text

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._master, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window another size, as a person does."""
        with self._changed:
            self._screen.resize(lines, columns)
        self._resize(columns, lines)

    def ends_with(self, *texts: bytes, seconds: float = 30.0) -> bool:
        """Whether one of these is the last that was written, blanks aside: what is written comes a little later."""
        with self._changed:
            return self._changed.wait_for(lambda: self.output.rstrip().endswith(texts), seconds)

    def ended(self, seconds: float = 30.0) -> int:
        """Wait for the program's end; its exit status."""
        return self.process.wait(seconds)

    def _resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            with self._changed:
                self.output += data
                self._stream.feed(data)
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        self._reader.join(1)
        os.close(self._master)
