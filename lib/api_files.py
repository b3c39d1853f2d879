"""Saves of the web API (`POST /config`): to the file that the configuration is from, or to another one.

Knows: which file that is, that it is replaced as a whole or not at all, what may not be overwritten.
Refuses to know: the text that is saved (api_save), who may save (api_routes).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from lib import api_save, config_read, service_files, text_encoding
from lib.api_process import Process
from lib.api_request import INVALID, SAVE_FAILED, Refused
from lib.config_schema import Config
from lib.errors import HostError
from lib.service_scheduling import Breaths
from lib.service_threads import aside

STYLES = {"": "yaml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
"""How a file is written, by the end of its name."""


def save(process: Process, style: str, path: str) -> str:
    """Save the configuration in use; returns the path. Raises Refused, code 40005, where that fails.

    And where the file of the process has been changed by hand since it was used: that would be lost.
    `style` is "json", "yaml" or empty for what the name says; without a `path` it goes to the file that the
    process was started with.
    """
    if style not in ("", "json", "yaml"):
        raise Refused(INVALID, f"format {style[:32]!r} is unknown: there are json and yaml")
    if not _can_be_path(path):
        raise Refused(INVALID, f"{path[:200]!r} is no path: it has a character that no file's name has")
    target = path or _own(process)
    end = Path(target).suffix.lower()
    if end not in STYLES or (path and not end):
        raise Refused(INVALID, f"{target[:200]!r} does not end with .yaml, .yml or .json")
    if not path and style not in (
        "",
        STYLES[end],
    ):  # GOST writes a file of another name, and this one has comments
        text = f"{target[:200]!r} is a file of {STYLES[end].upper()}, and stays one"
        raise Refused(INVALID, text, hint=f"?path=FILE.{style} saves to another one as {style.upper()}")
    changes, config = process.changes, process.changes.config
    try:
        _save(changes.filed, config, style or STYLES[end], target, path)
    except (OSError, HostError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise Refused(SAVE_FAILED, f"{target}: {why or error}", hint=_remedy(error, target)) from None
    if changes.files == (os.path.abspath(target),):
        changes.saved(config)
    return target


def _remedy(error: Exception, target: str) -> str:
    """What to do about a save that has failed."""
    number = error.errno if isinstance(error, OSError) else None
    folder = os.path.dirname(os.path.abspath(target))
    if number == errno.EROFS:
        return f"under systemd, a drop-in with ReadWritePaths={folder} lets this service write there"
    if number in (errno.EACCES, errno.EPERM):
        return f"the user of this process must be allowed to write in {folder}: a file is replaced as a whole"
    return ""


def _can_be_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a character
        return False


def _own(process: Process) -> str:
    """The path of the only file of the configuration. Raises Refused."""
    files = process.changes.files
    if len(files) != 1:
        what = "several files" if files else "no file"
        raise Refused(SAVE_FAILED, f"the process was started with {what}: say where to with ?path=FILE.yaml")
    return files[0]


def _save(filed: Config, config: Config, style: str, target: str, path: str) -> None:
    step = Breaths()
    real = aside(target, os.path.realpath, target)
    state, before = aside(real, _look, real)
    if before is not None and path:
        _refuse_others(before, target, step)
    elif before is not None and not api_save.says(before, filed, step):
        hint = "POST /config/reload uses what it says, and ?path=FILE.yaml saves to another one"
        raise Refused(409, f"{target} has been changed since it was read", hint=hint)
    if before is not None and not path and style == "yaml":
        text = api_save.edited(before, filed, config, step)
    else:
        text = api_save.whole(config, style, step)
    data = text.encode("utf-8", "surrogateescape")
    if state is None:
        aside(real, service_files.write_whole, real, data)
    else:
        mode = stat.S_IMODE(state.st_mode)
        aside(real, service_files.write_whole, real, data, mode, state.st_uid, state.st_gid)


def _look(path: str) -> tuple[os.stat_result | None, str | None]:
    """(state, text) of a file; None and None where there is none. Raises OSError."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None, None
    if not stat.S_ISREG(state.st_mode):
        raise OSError("it is no regular file")
    try:
        return state, text_encoding.utf8(Path(path).read_bytes()).decode("utf-8", "surrogateescape")
    except UnicodeDecodeError:
        raise OSError("it is there, and is no configuration") from None


def _refuse_others(text: str, target: str, step: Breaths) -> None:
    """Refuse to overwrite what is no configuration."""
    read = config_read.read([(target, text)], step)
    is_wrong = bool(read.problems) or not text.strip()
    config_read.release(read, step)
    if is_wrong:
        raise OSError("it is there, and is no configuration")
