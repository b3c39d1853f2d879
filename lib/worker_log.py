"""The log of a hub with workers: its processes write to one file, and the main process looks after old ones.

Knows: that whoever finds the file full puts it aside (log_file), and tells the main process; that a process
which is made later logs as the others do.
Refuses to know: what a line says (log_setup), which lines a worker leaves to others (worker_run).

    worker -> main   rotated   there may be an old file to be packed, or to be removed
"""

from __future__ import annotations

from collections.abc import Callable

from lib import log_setup
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings import Settings


def of_main(heard: dict[str, Callable[..., None]]) -> None:
    """In the main process: look after the files that workers put aside. `heard` is what they may say."""
    heard["rotated"] = lambda worker, message: _look()


def _look() -> None:
    for handler in log_setup.log.handlers:
        if isinstance(handler, log_setup.Handler) and handler.file is not None:
            handler.file.untidy = True


def of_worker(send: Callable[[dict[str, object]], None]) -> None:
    """In a worker: `send` sends the main process a message."""
    log_setup.told_of_old.append(lambda: send({"did": "rotated"}))


def use(old: Settings, new: Settings) -> None:
    """Log as other settings say; as before where the file cannot be opened, which the log says then."""
    wanted, had = ((one.log_level, one.log_format, one.log_output, one.log_rotation) for one in (new, old))
    if wanted == had:
        return
    try:
        log_setup.setup(*wanted)
    except HostError as error:
        say(Entry.RELOAD_FAILED, "reload: %s", error, service="", reason=error)
