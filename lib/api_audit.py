"""The audit log: who has changed what by the web API, from where, and what is different now.

Knows: the event of the log, the line of the audit log's own file, how long a difference may be in each.
Refuses to know: how a login is found (the server's), what changes (the handlers), how a file is written
(api_audit_file).

    {"time": …, "user": …, "role": …, "peer": …, "change": …, "difference": […]}     a line for each change
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import gevent

from lib import log_redact
from lib.api_audit_file import AuditFile
from lib.api_request import Request
from lib.humanize import counted
from lib.local_time import stamp
from lib.log_events import Entry
from lib.log_setup import say

MAX_LINES = 20
MAX_TEXT = 2000
"""Lines, and characters, of a difference that are logged; of more lines the number is told."""
FILE_LINES = 200
FILE_TEXT = 500
"""Lines of a difference, and characters of each, that the file gets; of more lines the number."""


@dataclass(slots=True)
class _State:
    file: AuditFile | None = None


_state = _State()


def use(path: str) -> None:
    """From now on changes are written to this file too; to none where it is empty. Raises HostError.

    The file stays when the API goes: an undo that comes later is a change as well.
    """
    old = _state.file
    if (old.path if old is not None else "") == path:
        return
    _state.file = AuditFile(path, _gap) if path else None
    if old is not None:
        gevent.spawn(old.finish)


def finish() -> None:
    """Before the process ends: write what waits."""
    if _state.file is not None:
        _state.file.finish()
        _state.file = None


def tell(request: Request, change: str, difference: Sequence[str] = ()) -> None:
    """Log a change that was made: `change` is a sentence without its subject, such as "kick host-1"."""
    who, peer = request.who, request.client
    text = "; ".join(_first(difference, MAX_LINES))[:MAX_TEXT]
    user = who.name or "nobody (no login is asked for)"
    say(
        Entry.API_CHANGE,
        "web API: %s (%s) from %s: %s%s",
        *(user, who.role, peer or "a unix socket", change, f": {text}" if text else ""),
        user=who.name,
        role=who.role,
        peer=peer,
        change=change,
        difference=text,
    )
    if _state.file is not None:
        lines = [line[:FILE_TEXT] for line in _first(difference, FILE_LINES)]
        line = _line(who.name, who.role, peer, change[:FILE_TEXT], lines)
        # By a greenlet of its own: whoever asked may go meanwhile, and the change was made all the same.
        gevent.spawn(_state.file.put, line).join()


def _first(difference: Sequence[str], most: int) -> list[str]:
    more = len(difference) - most
    return [*difference[:most], *([f"and {more} more"] if more > 0 else [])]


def _gap(missing: int) -> bytes:
    text = f"{counted(missing, 'change')} before this line could not be written here; the log has them"
    return _line("", "", "", text, [])


def _line(user: str, role: str, peer: str, change: str, difference: Sequence[str]) -> bytes:
    row = {"time": stamp(time.time()), "user": user, "role": role, "peer": peer, "change": change}
    whole = {name: _plain(text) for name, text in row.items()} | {"difference": list(map(_plain, difference))}
    return json.dumps(whole).encode() + b"\n"


def _plain(text: str) -> str:
    """A text without secrets and surrogates, as in the log."""
    return log_redact.secrets(text).encode("utf-8", "backslashreplace").decode()
