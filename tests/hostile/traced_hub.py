"""Tunrouter process whose event loop is traced: python -m tests.hostile.traced_hub TURNS TUNROUTER'S ARGUMENTS

A line of JSON is added to the file TURNS for each turn of the loop (from the moment when it has looked at the
network until it looks again) of TOLD_MS or more: `at` (time.time of its end), `ms`, `held` ([ms, greenlet] that
ran longest in it), and `stack` (where it was when the turn was half as long, innermost last).

Knows: gevent's check and prepare watchers, greenlet's trace hook, the frames of another thread.
Refuses to know: lib. Nothing in it is changed.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any

TOLD_MS = 3.0
LOOK_SECONDS = 0.001
"""How often the watching thread looks; it needs the interpreter for some microseconds each time."""
_thread_sleep = time.sleep  # before gevent's: the thread is a real one


class Turns:
    """The loop's present turn, and a file that long ones are written into."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._began = self._switched = 0.0
        self._held: dict[int, tuple[float, str]] = {}
        self._stack: list[str] = []
        self._seen_at = 0.0
        self._main = threading.get_ident()

    def begin(self) -> None:
        """The loop has looked at the network."""
        self._began = self._switched = time.perf_counter()
        self._held.clear()
        self._stack, self._seen_at = [], 0.0

    def switched(self, event: str, greenlets: tuple[Any, Any]) -> None:
        """Another greenlet runs from now on (greenlet.settrace)."""
        now = time.perf_counter()
        origin = greenlets[0]
        before, _ = self._held.get(id(origin), (0.0, ""))
        self._held[id(origin)] = (
            before + now - self._switched,
            type(origin).__name__ if before else _name(origin),
        )
        self._switched = now

    def end(self) -> None:
        """The loop is about to look again."""
        began, self._began = self._began, 0.0
        took = (time.perf_counter() - began) * 1e3
        if not began or took < TOLD_MS:
            return
        held, name = max(self._held.values(), default=(0.0, "the loop"))
        line = {
            "at": time.time(),
            "ms": round(took, 2),
            "held": [round(held * 1e3, 2), name],
            "stack": self._stack,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def watch(self) -> None:
        """In a thread of its own: note where the loop's thread is while a turn goes on, each time it has doubled."""
        while True:
            _thread_sleep(LOOK_SECONDS)
            began = self._began
            lasted = time.perf_counter() - began if began else 0.0
            if lasted * 1e3 >= TOLD_MS and lasted >= 2 * self._seen_at:
                self._seen_at = lasted
                self._stack = _places(sys._current_frames().get(self._main))


def _name(greenlet: Any) -> str:
    run = getattr(greenlet, "_run", None) or getattr(greenlet, "run", None)
    return f"{type(greenlet).__name__} {getattr(run, '__qualname__', '')}".strip()


def _places(frame: FrameType | None) -> list[str]:
    """Where a thread is: `hub_session.py:141 _forward`, the innermost last; what is gevent's is left out."""
    found: list[str] = []
    while frame is not None:
        code = frame.f_code
        if "gevent" not in code.co_filename:
            found.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return found[::-1]


def main(turns_file: str, arguments: list[str]) -> int:
    sys.setswitchinterval(LOOK_SECONDS)
    with open(turns_file, "a") as file:
        turns = Turns(file)
        threading.Thread(target=turns.watch, daemon=True).start()

        from gevent import monkey

        monkey.patch_all()
        import gevent
        import greenlet

        from lib.cli_main import main as tunrouter

        loop = gevent.get_hub().loop
        check, prepare = loop.check(ref=False), loop.prepare(ref=False)
        check.start(turns.begin)
        prepare.priority = loop.MINPRI
        prepare.start(turns.end)
        greenlet.settrace(turns.switched)
        sys.argv[1:] = arguments
        return int(tunrouter() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
