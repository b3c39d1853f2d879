"""Search for running processes by their control sockets: where these may be, and whose they are.

Knows: the directory of our own sockets, the directories of other users' (only root looks there), and who must
own everything on the way to a socket.
Refuses to know: which process a command is for (cli_process), requests (ctl_client), the other end
(ctl_server).

    /run/tunrouter, /run/tunrouter-root, /run/tunrouter*     root, or whom root gave it: a unit with User=
    /run/tunrouter*.sock                                     root, by --control
    $XDG_RUNTIME_DIR/tunrouter, /run/user/UID/tunrouter      a user with a login session
    /tmp/tunrouter-UID/tunrouter                             a user without one
    /tmp/systemd-private-*/tmp/tunrouter-UID/tunrouter       a unit with User= and PrivateTmp=

What an entry of these is called proves nothing. What counts is the owner of the directory: nobody but that
user and root can have put a socket there (ctl_path). The kernel names the user of the process that listens.
"""

from __future__ import annotations

import glob
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lib import ctl_client
from lib.ctl_path import weak_spot
from lib.errors import HostError

RUN = "/run/tunrouter"
RUN_OF_ROOT = "/run/tunrouter-root"
"""Root's directory where /run/tunrouter belongs to another user: a unit with User= leaves it so."""
OTHERS_SECONDS = 2.0
"""How long the processes of other users may take to say who they are, all together."""
LATE_SECONDS = 0.2
"""How much longer the last request of a user may take than all may."""
MAX_SOCKETS = 256
"""Sockets of another user's directory that are looked at: there may be any number."""

OURS = (f"{RUN}*",)
"""Patterns of directories, and of sockets, that only root can have made."""
OF_ALL = (
    "/run/user/*/tunrouter",
    "/tmp/tunrouter-*/tunrouter",
    "/tmp/systemd-private-*/tmp/tunrouter-*/tunrouter",
)
"""Patterns of directories of users."""


@dataclass(frozen=True, slots=True)
class Found:
    """A running process."""

    path: str
    """Of its control socket."""
    uid: int
    """The user whose process it is: who may ask it, and end it."""
    hello: Mapping[str, Any] | None
    """Its reply to `hello`; None for a process that listens and does not reply."""
    silent: str = ""
    """Why it does not reply, in words."""

    @property
    def names(self) -> list[str]:
        """Its services, and the configuration files that it was started with."""
        said = self.hello or {}
        return [name for names in ("hubs", "clients", "files") for name in said.get(names, ())]


def directory() -> str:
    """The directory of the control sockets of this user's processes."""
    if os.geteuid() == 0:
        return RUN if not os.path.lexists(RUN) or is_ours(RUN) else RUN_OF_ROOT
    return f"{os.environ.get('XDG_RUNTIME_DIR') or _of_user('/tmp/tunrouter-')}/tunrouter"


def default_path() -> str:
    """The path of this process's own control socket, unless --control names another one."""
    return f"{directory()}/{os.getpid()}.sock"


def is_ours(path: str) -> bool:
    """Whether a directory belongs to this user: in /tmp somebody else may have made it first."""
    return _owner(path) == os.geteuid()


def own(seconds: float = ctl_client.HELLO_SECONDS) -> list[Found]:
    """The processes of this user, and those in /run/tunrouter* that it may ask.

    All together have so many seconds to say who they are.
    """
    return _running(_own_directories(), time.monotonic() + seconds)


def of_others() -> list[Found]:
    """The processes of all other users; only root may ask them."""
    if os.geteuid() != 0:
        return []
    mine = set(_own_directories())
    places = [place for place in _globbed(OF_ALL) if place not in mine]
    return _running(places, time.monotonic() + OTHERS_SECONDS)


def _own_directories() -> list[str]:
    places = [directory(), *_globbed(OURS)]
    if os.geteuid() != 0:  # a login has an XDG_RUNTIME_DIR, and what cron or su starts has none
        places += [f"{_of_user('/run/user/')}/tunrouter", f"{_of_user('/tmp/tunrouter-')}/tunrouter"]
    return list(dict.fromkeys(map(os.path.realpath, places)))


def _of_user(prefix: str) -> str:
    return f"{prefix}{os.getuid()}"


def _globbed(patterns: tuple[str, ...]) -> list[str]:
    return [os.path.realpath(place) for pattern in patterns for place in sorted(glob.glob(pattern))]


def _owner(path: str) -> int | None:
    try:
        return os.stat(path, follow_symlinks=False).st_uid
    except OSError:
        return None


def _running(places: list[str], end: float) -> list[Found]:
    """Ask every socket in these directories until the time `end`.

    Each user's are asked in a thread of their own: who has many that are silent takes no time from others.
    """
    by_user: dict[int | None, list[str]] = {}
    for place in places:
        by_user.setdefault(_owner(_folder(place)), []).append(place)
    found: dict[int | None, list[Found]] = {user: [] for user in by_user}
    threads = []
    for user, some in by_user.items():
        thread = threading.Thread(target=_ask_all, args=(some, end, found[user]), daemon=True)
        try:
            thread.start()
            threads.append(thread)
        except RuntimeError:  # no memory for one more
            _ask_all(some, end, found[user])
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()) + LATE_SECONDS)
    return [one for some in found.values() for one in list(some)]


def _ask_all(places: list[str], end: float, found: list[Found]) -> None:
    """Add the processes in one user's directories to `found`; each socket gets half of the time that is left.

    Those that are left at the time `end` are not asked: a user may have any number of silent ones.
    """
    for place in places:
        if time.monotonic() > end:
            return
        for path, uid, listeners in _sockets(place):
            left = end - time.monotonic()
            if left <= 0:
                return
            try:
                hello = ctl_client.hello(path, max(0.1, left / 2), listeners)
            except ctl_client.Silent as silent:
                found.append(Found(path, uid, None, str(silent)))
                continue
            except (HostError, ValueError):
                continue  # left behind by a process that was killed, or one that we may not ask
            found.append(Found(path, uid, hello))


def _folder(place: str) -> str:
    return os.path.dirname(place) if place.endswith(".sock") else place


def _sockets(place: str) -> Iterator[tuple[str, int, frozenset[int]]]:
    """(path, owner, users that may listen there) of each socket that nobody else can have put there."""
    is_socket, folder = place.endswith(".sock"), _folder(place)
    owner, me = _owner(folder), os.geteuid()
    if owner is None or (me != 0 and owner not in (0, me)):
        return
    try:
        if weak_spot(folder, owner):
            return
        names = (
            [place] if is_socket else sorted(name for name in os.listdir(folder) if name.endswith(".sock"))
        )
    except OSError:
        return  # it is not ours to look into
    for name in names[: None if owner in (0, me) else MAX_SOCKETS]:
        path = os.path.join(folder, name)
        try:
            found = os.lstat(path)
        except OSError:
            continue
        # In a directory of root's a socket is root's, or that of the user to whom root's process changed.
        if stat.S_ISSOCK(found.st_mode) and (owner == 0 or found.st_uid == owner):
            yield path, found.st_uid, frozenset((owner, found.st_uid))
