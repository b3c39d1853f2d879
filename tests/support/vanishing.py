"""A program whose files go while it runs: the executable and what it unpacked, or every module of a checkout.

Knows: where the executable unpacks itself; that nothing can be imported in a checkout when a mark is there.
Refuses to know: what the program does meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support import program
from tests.support.netns import Namespace, Process

_REFUSE = """\
import os, sys


def refuse(event, arguments):
    if event == "import" and os.path.exists({mark!r}):
        raise ImportError(f"{{arguments[0]}}: its file has gone")


sys.addaudithook(refuse)
"""


class Vanishing:
    """One program to start, and to take the files from."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._place = directory / "unpacked"
        self._place.mkdir()
        self._mark = directory / "mark"
        self.environ = os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(self._place)}
        self._executable = directory / "tunrouter"
        if program.BINARY:
            shutil.copy(program.TUNROUTER[0], self._executable)
            self.argv: tuple[str, ...] = (str(self._executable),)
        else:
            hooks = directory / "hooks"
            hooks.mkdir()
            (hooks / "sitecustomize.py").write_text(_REFUSE.format(mark=str(self._mark)))
            self.environ["PYTHONPATH"] = str(hooks)
            self.argv = (sys.executable, *program.TUNROUTER[1:])

    def start(self, namespace: Namespace, *arguments: str) -> Process:
        """Start the program; nothing is awaited."""
        return namespace.popen(*self.argv, *arguments, env=self.environ)

    def vanish(self) -> None:
        """Take all files away. An executable has another one in its place, as after an upgrade."""
        if not program.BINARY:
            self._mark.touch()
            return
        (unpacked,) = self._place.iterdir()
        for entry in unpacked.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        other = self._executable.with_name("other")
        other.write_bytes(b"#!/bin/false\n" * 100000)
        other.rename(self._executable)
