"""Check that nobody but root and one user, as a rule our own, can replace what lies at a path.

Knows: owners, modes and symbolic links of every directory on the way. Refuses to know: what the directory is
for (ctl_server, ctl_find).
"""

from __future__ import annotations

import os
import stat
from collections import deque

MAX_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


def weak_spot(path: str, user: int | None = None) -> str:
    """Why another user may replace what lies at a path, as text; empty where only root and `user` can.

    `user` is a uid; None for our own. Each directory from / on, and each symbolic link, has to belong to root
    or to that user. Others may write
    to a directory only where it is sticky, as /tmp is: there nobody can remove or rename the files of others.
    A part of the path that does not exist yet ends the check. Raises OSError where a directory cannot be
    looked at.
    """
    parts = deque(os.path.join(os.getcwd(), path).split("/"))
    place, links, owners = "/", 0, (0, os.geteuid() if user is None else user)
    found = _weakness(place, os.lstat(place), owners)
    while parts and not found:
        part = parts.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            place = os.path.dirname(place)
            continue
        here = os.path.join(place, part)
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            return ""
        found = _weakness(here, status, owners)
        if not stat.S_ISLNK(status.st_mode):
            place = here
            continue
        links += 1
        target = os.readlink(here)
        parts.extendleft(reversed(target.split("/")))
        place = "/" if target.startswith("/") else place
        if links > MAX_LINKS:
            found = f"{path} has too many links in it"
    return found


def _weakness(here: str, status: os.stat_result, owners: tuple[int, int]) -> str:
    if status.st_uid not in owners:
        return f"{here} belongs to somebody else (uid {status.st_uid})"
    if stat.S_ISLNK(status.st_mode):
        return ""  # the mode of a link has no meaning
    if not stat.S_ISDIR(status.st_mode):
        return f"{here} is no directory"
    others = status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0))
    if others and not status.st_mode & stat.S_ISVTX:
        return f"others may write to {here} (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""
