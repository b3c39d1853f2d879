"""Notification of changes to files, by inotify(7).

Knows: the events by which a file changes: closed after writing, or moved into place under the watched name.
Refuses to know: what is in the files (source_read), how many changes count as one (source_feed).

Directories are watched, not files: editors and `mv` replace a file, and it need not be there yet. Where the
path is a symbolic link, the directory that it leads to is watched too. Names that begin with two dots are
watched as well, because Kubernetes replaces a mounted volume by renaming the link `..data`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from gevent.socket import wait_read

from lib.log_events import Entry
from lib.log_setup import say
from lib.service_supervisor import Task, keep

Told = Callable[[], None]


class Watch:
    """Watches files with one inotify descriptor, which is opened for the first file."""

    def __init__(self) -> None:
        self._inotify: Any = None
        self._directories: dict[int, dict[str, list[Told]]] = {}
        """Watch descriptor of a directory -> file name in it -> functions to call."""
        self._reader: Task | None = None
        self._failed = False

    def add(self, path: str, told: Told) -> None:
        """Call `told` whenever the file changes. To add it again does no harm.

        Where the kernel refuses to watch, that is logged once; the files are then read again only on SIGHUP
        and every `reload` seconds.
        """
        try:
            for place in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
                self._add(place, told)
        except FileNotFoundError:
            pass  # not even the directory is there: source_feed tries the file again, and calls this again
        except OSError as error:
            if not self._failed:
                reason = error.strerror or str(error)
                say(Entry.FILES_NOT_WATCHED, "files are not watched: %s", reason, reason=reason)
            self._failed = True

    def remove(self, told: Told) -> None:
        """Do not call `told` for any file any more."""
        for descriptor, names in list(self._directories.items()):
            for name, those in list(names.items()):
                names[name] = [other for other in those if other != told]
                if not names[name]:
                    del names[name]
            if not names:
                del self._directories[descriptor]
                self._forget(descriptor)

    def stop(self) -> None:
        """Close the descriptor; nothing is called any more."""
        if self._reader is not None:
            self._reader.kill()
        if self._inotify is not None:
            self._inotify.close()

    def _add(self, place: str, told: Told) -> None:
        from inotify_simple import INotify, flags

        if self._inotify is None:
            self._inotify = INotify(nonblocking=True)
            self._reader = keep("files are watched", self._read)
        directory, name = os.path.split(place)
        mask = flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE
        descriptor = self._inotify.add_watch(directory, mask)
        those = self._directories.setdefault(descriptor, {}).setdefault(name, [])
        if told not in those:
            those.append(told)

    def _forget(self, descriptor: int) -> None:
        try:
            self._inotify.rm_watch(descriptor)
        except OSError:
            pass  # the directory has gone, and the watch with it

    def _read(self) -> None:
        from inotify_simple import flags

        while True:
            wait_read(self._inotify.fileno())
            for event in self._inotify.read(timeout=0):
                names = self._directories.get(event.wd, {})
                if event.mask & flags.IGNORED:  # the directory has gone
                    for told in self._everybody(self._directories.pop(event.wd, {})):
                        told()
                elif event.name.startswith(".."):
                    for told in self._everybody(names):
                        told()
                elif not event.mask & flags.CREATE:  # CREATE alone is only for links, which begin so
                    for told in names.get(event.name, ()):
                        told()

    @staticmethod
    def _everybody(names: dict[str, list[Told]]) -> list[Told]:
        return [told for those in names.values() for told in those]
