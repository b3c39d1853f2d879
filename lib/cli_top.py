"""`tunrouter top`: every peer of a running process, live on the whole screen, sorted by any column.

Knows: what the keys do, that the terminal is restored. Refuses to know: what is in a column (cli_columns),
which columns fit (cli_table), how a screen is drawn (rich).
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from lib import cli_columns, cli_process, ctl_client, ctl_order
from lib.cli_descriptors import complain
from lib.cli_table import Column, fitting
from lib.ctl_order import Order
from lib.errors import ConfigError, HostError, Position, Problem
from lib.humanize import counted, number, packets, rate, span
from lib.printable import every, printable

LOOK_SECONDS = 1.0
AHEAD = 2
"""Screens of rows that are asked for from the first one that is seen: the next one is there at once."""
KEYS = "q end   < > column   r reverse   up, down, page scroll   space pause"
_CODES = {
    b"q": "end", b"Q": "end", b"\x03": "end", b"\x04": "end", b"\x1b": "end",
    b"<": "left", b">": "right", b"\x1b[D": "left", b"\x1b[C": "right", b"\x1bOD": "left", b"\x1bOC": "right",
    b"r": "reverse", b" ": "pause",
    b"k": "up", b"\x1b[A": "up", b"\x1bOA": "up", b"j": "down", b"\x1b[B": "down", b"\x1bOB": "down",
    b"\x1b[5~": "page up", b"\x1b[6~": "page down",
}  # fmt: skip
"""What a terminal sends for a key -> what the key does."""
_LONGEST_FIRST = sorted(_CODES, key=len, reverse=True)


class _Ended(Exception):
    """Raised by the handler of SIGTERM and SIGHUP."""


@dataclass(slots=True)
class Screen:
    """The state of the screen: the last status reply, the order and the position."""

    reply: dict[str, Any]
    """Of the request "status": the first rows in the order, and totals of all."""
    sort: str = "in"
    """The title of the column that rows are sorted by."""
    reverse: bool = True
    top: int = 0
    """The index of the first row shown."""
    paused: bool = False
    ended: str = ""
    """Why the process cannot be asked any more; empty while it can."""
    height: int = 24
    """Lines of the terminal."""
    shown: list[str] = field(default_factory=list)
    """Titles of the columns that fit the terminal."""

    def press(self, key: str) -> None:
        """Do what a key (a value of _CODES) stands for."""
        titles = self.shown or [column.title for column in cli_columns.SESSIONS]
        if key in ("left", "right"):
            at = titles.index(self.sort) if self.sort in titles else 0
            self.sort = titles[(at + (1 if key == "right" else -1)) % len(titles)]
            self.top = 0
        elif key == "reverse":
            self.reverse = not self.reverse
        elif key == "pause":
            self.paused = not self.paused
        else:
            page = max(1, self.height - 6)
            step = {"up": -1, "down": 1, "page up": -page, "page down": page}[key]
            self.top = max(0, min(self.top + step, min(self.count, ctl_order.MAX_MOST) - 1))

    @property
    def count(self) -> int:
        """How many peers there are, whether they are in the reply or not."""
        total = ctl_order.totals(self.reply)
        return int(total["sessions"] + total["clients"])

    @property
    def order(self) -> Order:
        """The rows that are to be asked for: those that are seen, the ones before them, and some after."""
        most = min(self.top + AHEAD * self.height, ctl_order.MAX_MOST)
        return Order(most, self.sort, self.reverse)

    def lacks_rows(self, before: Order) -> bool:
        """Whether others come first than those in the reply, or more are seen; `before` is its order."""
        loaded = len(self.reply["sessions"]) + len(self.reply["clients"])
        if loaded >= self.count:
            return False
        is_other = (self.sort, self.reverse) != (before.sort, before.reverse)
        return is_other or loaded < min(self.top + self.height, ctl_order.MAX_MOST)

    def rows(self) -> list[dict[str, Any]]:
        """The peers of the reply as rows, sorted."""
        column = ctl_order.column(self.sort)
        return sorted(cli_columns.every_peer(self.reply), key=column.key, reverse=self.reverse)


def keys_of(data: bytes) -> Iterator[str]:
    """The keys in what the terminal sent, as values of _CODES; unknown ones are skipped."""
    while data:
        code = next((code for code in _LONGEST_FIRST if data.startswith(code)), data[:1])
        if code == b"\x1b" and len(data) > 1:  # a key of several bytes that means nothing here
            return
        data = data[len(code) :]
        if code in _CODES:
            yield _CODES[code]


def run(arguments: Mapping[str, Any]) -> int:
    """Show the screen until a key, a signal or the end of the process ends it; returns the exit status.

    Raises HostError without a terminal or a process, ConfigError for an unknown column.
    """
    sort = _sort(arguments["--sort"] or "in")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise HostError("top needs a terminal; tunrouter status --watch goes anywhere")
    path = cli_process.path(arguments)
    screen = Screen({}, sort, ctl_order.column(sort).right, height=shutil.get_terminal_size().lines)
    screen.reply = _ask(path, screen.order)
    try:
        with ctl_client.understood(path), _signals() as changed, _raw(sys.stdin.fileno()):
            _show(path, screen, changed)
    except (KeyboardInterrupt, _Ended):
        pass
    if screen.ended:
        complain(printable(f"the process that was watched has ended ({screen.ended})"))
    return 0


def _sort(title: str) -> str:
    try:
        return ctl_order.column(title).title
    except ValueError as wrong:
        message, _, hint = str(wrong).partition("; ")
        raise ConfigError([Problem(Position("--sort"), message, hint)]) from None


def _show(path: str, screen: Screen, changed: int) -> None:
    """Draw, wait for a key, a second or a new size of the terminal, and draw again."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    stdin = sys.stdin.fileno()
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        look_at = time.monotonic() + LOOK_SECONDS
        while not screen.ended:
            screen.height = console.size.height
            live.update(_drawn(screen, console.size.width), refresh=True)
            ready, _, _ = select.select([stdin, changed], [], [], max(0.0, look_at - time.monotonic()))
            if changed in ready:
                os.read(changed, 64)
            if stdin in ready:
                data, before = os.read(stdin, 64), screen.order
                for key in keys_of(data) if data else ("end",):
                    if key == "end":
                        return
                    screen.press(key)
                if screen.lacks_rows(before):
                    look_at = 0.0
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_SECONDS
                _look(path, screen)


def _ask(path: str, order: Order) -> dict[str, Any]:
    """What the screen shows: rich leaves escape sequences in a text as they are."""
    request = {"do": "status", "most": order.most, "sort": order.sort, "reverse": order.reverse}
    with ctl_client.understood(path):
        return every(ctl_client.ask(path, request))


def _look(path: str, screen: Screen) -> None:
    if screen.paused:
        return
    try:
        screen.reply = _ask(path, screen.order)
    except HostError as error:
        screen.ended = str(error)


def _drawn(screen: Screen, width: int) -> Any:
    """The whole screen as an object that rich draws."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    reply, rows = screen.reply, screen.rows()
    room = max(1, screen.height - 5)
    visible = rows[screen.top : screen.top + room]
    table = fitting(cli_columns.SESSIONS, visible, width - 1)  # of what is seen, not of all
    screen.shown = [column.title for column in table.columns]
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in table.columns:
        sorted_by = column.title == screen.sort
        mark = ("▼" if screen.reverse else "▲") if sorted_by else ""
        style = "bold reverse" if sorted_by else "bold"
        title = Text(mark + column.title, style)
        drawn.add_column(title, justify="right" if column.right else "left", no_wrap=True)
    for row, cells in zip(visible, table.cells, strict=True):
        drawn.add_row(*map(_cell, table.columns, cells, [row] * len(cells)))
    head = Text(_head(reply, screen.count), no_wrap=True)
    foot = f"{KEYS}{'   PAUSED' if screen.paused else ''}"
    return Group(head, drawn, Text(foot, "reverse", no_wrap=True, overflow="ellipsis"))


def _cell(column: Column, text: str, row: Mapping[str, Any]) -> Any:
    from rich.text import Text

    colours = {"31": "red", "32": "green", "33": "yellow", "": ""}
    return Text(text, colours[column.style(row) if column.style else ""])


def _head(reply: Mapping[str, Any], count: int) -> str:
    total = ctl_order.totals(reply)
    bits, many = rate(total["received_bytes_per_s"]), packets(total["received_packets_per_s"])
    up = f"{reply['software']}, pid {reply['pid']}, up {span(reply['uptime_s'])}"
    wrong = f", {number(total['with_problems'])} with problems" if total["with_problems"] else ""
    first = f" (here the first {number(ctl_order.MAX_MOST)})" if count > ctl_order.MAX_MOST else ""
    return f"{up}: {counted(count, 'peer')}{first}{wrong}, {bits}, {many} in"


# --- the terminal


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Read single keys without echo within the block; the terminal is restored afterwards."""
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _signals() -> Iterator[int]:
    """Handle SIGTERM, SIGHUP (end) and SIGWINCH (draw again); yields a descriptor to wait for signals."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)

    def end(_number: int, _frame: FrameType | None) -> None:
        raise _Ended

    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGWINCH, lambda *_: None)
    for code in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(code, end)
    try:
        yield awake
    finally:
        signal.set_wakeup_fd(-1)
        for fd in (awake, wake):
            os.close(fd)
