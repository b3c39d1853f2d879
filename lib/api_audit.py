"""The audit log: who has changed what by the web API, from where, and what is different now.

Knows: the event of the log, and how long a difference may be in it.
Refuses to know: how a login is found (the server's), what changes (the handlers).
"""

from __future__ import annotations

from collections.abc import Sequence

from lib.api_request import Request
from lib.log_events import Entry
from lib.log_setup import say

MAX_LINES = 20
MAX_TEXT = 2000
"""Lines, and characters, of a difference that are logged; of more lines the number is told."""


def tell(request: Request, change: str, difference: Sequence[str] = ()) -> None:
    """Log a change that was made: `change` is a sentence without its subject, such as "kick host-1"."""
    more = len(difference) - MAX_LINES
    lines = [*difference[:MAX_LINES], *([f"and {more} more"] if more > 0 else [])]
    text = "; ".join(lines)[:MAX_TEXT]
    who, peer = request.who, request.client
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
