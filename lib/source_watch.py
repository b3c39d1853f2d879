"""Notification of changes to files, by inotify(7).

Knows: the events by which what is found at a path changes.
Refuses to know: what is in the files (source_read), how many changes count as one (source_feed).

A path is looked up name by name, as the kernel does it (path_resolution(7)). What is watched of
/etc/t/routes, where /etc/t is a link to /srv/v1:

    /etc       a link named t is put there, or moved there   deployments swap a link to a directory
    /srv, v1   they are moved away                            `mv v1 old; mv v2 v1`
    /srv/v1    a file named routes is closed after writing, moved there, or put there as a link
    the file   it is closed after writing                     by another name of it, or outside of a container

So a file need not be there yet, and neither need its directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from gevent.socket import wait_read

from lib.log_events import Entry
from lib.log_setup import say
from lib.service_supervisor import Task, keep

MAX_LINKS = 40
"""Symbolic links on the way to a file; the kernel follows no more."""
ITSELF = ""
"""The name under which inotify tells of what is watched itself, and not of what is in it."""

Told = Callable[[], None]
Place = tuple[int, str]
"""(watch descriptor of a directory, name in it), or (that of a file or directory, ITSELF)."""


class Watch:
    """Watches files with one inotify descriptor, which is opened for the first file."""

    def __init__(self) -> None:
        self._inotify: Any = None
        self._places: dict[int, dict[str, list[Told]]] = {}
        """Watch descriptor -> name -> functions to call."""
        self._paths: dict[int, str] = {}
        """Watch descriptor -> path of what it watches."""
        self._reader: Task | None = None
        self._failed = False

    def add(self, path: str, told: Told) -> None:
        """Call `told` whenever the file changes. To add it again looks the path up again.

        Each function is for one file. Where the kernel refuses to watch, that is logged once; the files are
        then read again only on SIGHUP and every `reload` seconds.
        """
        watched: set[Place] = set()
        try:
            for place in self._watched(path):
                watched.add(place)
                those = self._places.setdefault(place[0], {}).setdefault(place[1], [])
                if told not in those:
                    those.append(told)
        except OSError as error:
            if not self._failed:
                reason = error.strerror or str(error)
                say(Entry.FILES_NOT_WATCHED, "files are not watched: %s", reason, reason=reason)
            self._failed = True
        self._drop(told, but=watched)

    def remove(self, told: Told) -> None:
        """Do not call `told` any more."""
        self._drop(told, but=set())

    def stop(self) -> None:
        """Close the descriptor; nothing is called any more."""
        if self._reader is not None:
            self._reader.kill()
        if self._inotify is not None:
            self._inotify.close()

    # --- what is watched

    def _watched(self, path: str) -> Iterator[Place]:
        """Watch everything on the way to a file, as far as it is there. Raises OSError for its directory."""
        from inotify_simple import flags

        entry = flags.MOVED_TO | flags.CREATE
        for directory, name, is_last in lookups(path):
            mask = entry | flags.CLOSE_WRITE if is_last else entry
            full = os.path.join(directory, name)
            try:
                kind = os.lstat(full).st_mode
            except OSError:
                kind = 0
            # What is in the directories before the last one concerns nobody, unless a link is found there, or
            # nothing: in /tmp and the like there is much.
            if is_last or not stat.S_ISDIR(kind):
                try:
                    yield self._watch(directory, mask), name
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.ENOTDIR):
                        return  # nor is anything further on the way there; the last one that is, is watched
                    if is_last:
                        raise
            try:
                if stat.S_ISDIR(kind):
                    yield self._watch(full, flags.MOVE_SELF), ITSELF
                elif is_last and stat.S_ISREG(kind):
                    yield self._watch(full, flags.CLOSE_WRITE), ITSELF
            except OSError:
                pass  # gone just now, or not ours to read: the directory is watched

    def _watch(self, path: str, mask: int) -> int:
        from inotify_simple import INotify, flags

        if self._inotify is None:
            self._inotify = INotify(nonblocking=True)
            self._reader = keep("files are watched", self._read)
        descriptor: int = self._inotify.add_watch(path, mask | flags.MASK_ADD)
        self._paths[descriptor] = path
        return descriptor

    def _drop(self, told: Told, but: set[Place]) -> None:
        """Do not call `told` for any place but these."""
        for descriptor, names in list(self._places.items()):
            for name, those in list(names.items()):
                if told in those and (descriptor, name) not in but:
                    those.remove(told)
                if not those:
                    del names[name]
            if not names:
                del self._places[descriptor], self._paths[descriptor]
                self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        try:
            self._inotify.rm_watch(descriptor)
        except OSError:
            pass  # what was watched has gone, and the watch with it

    # --- what is told

    def _read(self) -> None:
        while True:
            wait_read(self._inotify.fileno())
            # Each once: the events of a moment are read together.
            told = {one: None for event in self._inotify.read(timeout=0) for one in self._concerned(event)}
            for one in told:
                one()

    def _concerned(self, event: Any) -> list[Told]:
        """The functions to call for an event."""
        from inotify_simple import flags

        if event.mask & flags.Q_OVERFLOW:  # there were more events than the kernel keeps
            return [told for names in self._places.values() for those in names.values() for told in those]
        names = self._places.get(event.wd, {})
        if event.mask & flags.IGNORED:  # gone; for a file, that counts for nothing before another one comes
            self._paths.pop(event.wd, None)
            self._places.pop(event.wd, None)
            return [told for name, those in names.items() if name != ITSELF for told in those]
        those = names.get(event.name, [])
        if event.mask & flags.CREATE and those and self._is_written(event):
            return []
        return list(those)

    def _is_written(self, event: Any) -> bool:
        """Whether what was created is a file that somebody begins to write, so that its end is told too."""
        try:
            state = os.lstat(os.path.join(self._paths[event.wd], event.name))
        except OSError:
            return True
        return stat.S_ISREG(state.st_mode) and state.st_nlink == 1


def lookups(path: str) -> Iterator[tuple[str, str, bool]]:
    """Every (directory, name) that the kernel looks up on the way to a path, and whether it is the last one.

    No directory has a link in it. A link at the end is followed, so several may be a last one.
    """
    here, links = "/", 0
    rest = [(name, False) for name in os.path.join(os.getcwd(), path).split("/") if name not in ("", ".")]
    rest[-1:] = [(name, True) for name, _ in rest[-1:]]
    while rest:
        (name, is_last), *rest = rest
        if name == "..":
            here = os.path.dirname(here)
            continue
        yield here, name, is_last
        full = os.path.join(here, name)
        try:
            target = os.readlink(full)
        except OSError:  # no link, or not there
            here = full
            continue
        links += 1
        if links > MAX_LINKS:
            return
        names = [name for name in target.split("/") if name not in ("", ".")]
        rest = [*((name, is_last and number == len(names)) for number, name in enumerate(names, 1)), *rest]
        here = "/" if target.startswith("/") else here
