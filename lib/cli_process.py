"""Choice of the running process that a command asks: --control, or the one that runs here.

Knows: whose process goes first, what is said where there are none, several, or another user's.
Refuses to know: where sockets are (ctl_find), what is asked (cli_show, cli_top, cli_capture, cli_explain).
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from typing import Any

from lib import ctl_client, ctl_find
from lib.cli_descriptors import complain
from lib.ctl_find import Found
from lib.errors import ConfigError, HostError, Position, Problem
from lib.printable import printable

MAX_NAMES = 5
"""Services and files of a process that are named where several run."""


def path(
    arguments: Mapping[str, Any],
    what: str = "",
    seconds: float = ctl_client.HELLO_SECONDS,
    quiet: bool = False,
) -> str:
    """The path of the control socket that a command line means; `what` "hubs" wants a process with hubs.

    Without --control that is the one process of this user. Where there is none, root takes the one of another
    user, and standard error says which, unless `quiet`. Processes of others never stand in the way of one of
    our own. `seconds` is how long the processes of this user may take to say who they are.

    Raises HostError where there is none, ConfigError where there are several.
    """
    given = arguments["--control"]
    if given:
        return str(given)
    who = what[:-1] or "tunrouter"
    own = ctl_find.own(seconds)
    others = [] if _with(what, own) else ctl_find.of_others()
    found = _with(what, own) or _with(what, others)
    if not found:
        silent = [one.silent for one in (*own, *others) if one.hello is None]
        raise HostError("; ".join(silent) or _nobody(who))
    if len(found) > 1:
        raise ConfigError(_several(who, found))
    (one,) = found
    if one.uid != os.geteuid() and not quiet:
        complain(printable(f"asking {_described(one)}, control socket {one.path}"))
    return one.path


def others(path: str) -> list[str]:
    """A line for each process of other users that root could ask instead of the one with this path."""
    found = [one for one in _with("", ctl_find.of_others()) if one.path != path]
    return [f"{_described(one)} runs too: --control {one.path}" for one in found]


def user(uid: int) -> str:
    """The name of a user, or the uid where there is no such account."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _with(what: str, found: Sequence[Found]) -> list[Found]:
    return [one for one in found if one.hello is not None and (not what or one.hello[what])]


def _described(one: Found) -> str:
    return f"pid {one.hello['pid'] if one.hello else '?'} of user {user(one.uid)}"


def _nobody(who: str) -> str:
    here = f"no running {who} has a control socket in {ctl_find.directory()}"
    if os.geteuid() == 0:
        return f"{here}, nor in a directory of another user: start it, or name one with --control PATH"
    mine = f"nor elsewhere as user {user(os.geteuid())}"
    return f"{here}, {mine}; root (sudo) finds those of all users, or name one with --control PATH"


def _several(who: str, found: Sequence[Found]) -> list[Problem]:
    listed = []
    for one in found:
        more = [f"{len(one.names) - MAX_NAMES} more"] if len(one.names) > MAX_NAMES else []
        named = ", ".join([*one.names[:MAX_NAMES], *more])
        listed.append(Problem(Position(one.path), f"{_described(one)}: {named}"))
    wrong = Problem(Position("--control"), f"several {who}s run here", "name one of them with --control PATH")
    return [*listed, wrong]
