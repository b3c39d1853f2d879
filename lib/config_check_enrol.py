"""Warnings of `tunrouter check` about lists of enrolled hosts: one that cannot be written, or is no list.

Knows: that a list is replaced by a new file in its directory, by the user that the process becomes.
Refuses to know: Redis, because a check connects to nothing; and what a list means (enrol_live).
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from lib import enrol_book
from lib.config_check_start import cannot_be_made
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.settings import Settings
from lib.settings_sources import FileSource

_WRITING = 0o3
"""Of a directory's mode: to make files in it, and to enter it."""


def look(config: Config, settings: Settings, found: Findings) -> None:
    """Warn of lists in files that nobody could be added to. Nothing is made or changed."""
    handlers = {service.name: service.handler or service for service in config.services}
    for hub in settings.hubs:
        if not isinstance(hub.enrol, FileSource):
            continue
        where, path = handlers[hub.name].where("metadata.enrol"), hub.enrol.path
        wrong = cannot_be_made(path, with_directory=True) or _of_user(path, settings.user)
        if wrong:
            found.warn(where, f"'enrol': {path}: {wrong}", "the list of enrolled hosts is written there")
        elif no_list := _is_no_list(path):
            found.warn(where, f"'enrol': {path}: {no_list}", "nobody is let in by it")


def _of_user(path: str, user: str) -> str:
    """Why the user that the process becomes may not write a list, by the modes; empty where it may."""
    try:
        account = pwd.getpwnam(user) if user and os.geteuid() == 0 else None
    except KeyError:
        return ""  # it is an error already
    if account is None or account.pw_uid == 0:
        return ""
    place = next(one for one in Path(path).absolute().parents if one.is_dir())
    status = place.stat()
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    shift = 6 if status.st_uid == account.pw_uid else 3 if status.st_gid in groups else 0
    is_writable = status.st_mode >> shift & _WRITING == _WRITING
    return "" if is_writable else f"user {user} may not write to {place}"


def _is_no_list(path: str) -> str:
    """Why a file is no list of enrolled hosts; empty for one that is, that is empty, or that is not there."""
    try:
        text = Path(path).read_bytes()
        if text.strip():
            enrol_book.parse(text)
    except ValueError as wrong:
        return str(wrong)
    except OSError:
        pass  # a start will tell
    return ""
