"""Names of a hub's domain in the hosts file of a client, for programs that ask no name server.

Knows: how often the hub is asked for its names, and that the file has them between two marks and nothing else
of ours.
Refuses to know: how a hub lists its names (dns_listing), which domain is the hub's (client_names).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gevent.event import Event

from lib import client_names_files, dns_hosts_file, dns_listing, netlink_owners, stream_dns
from lib.client_names_files import HOSTS
from lib.dns_forward import Zone
from lib.dns_listing import Listing, Pair
from lib.log_events import Entry
from lib.log_setup import over, settle
from lib.service_supervisor import Task, keep

ASK_SECONDS = 10.0
"""How often the hub is asked whether its names have changed."""
WAIT_SECONDS = 2.0
"""How long its answer may take."""
_NAME = "\0tunrouter/hosts/%d"


class HostsFile:
    """The names of all clients of this process."""

    def __init__(self, path: str = HOSTS) -> None:
        """Nothing is written before the first set()."""
        self._path, self._zones = path, dict[str, Zone]()
        self._listed: dict[str, Listing] = {}
        self._written: tuple[Pair, ...] | None = None
        self._seen: tuple[int, ...] = ()
        self._number = 0
        self._held: Any = None
        self._changed = Event()
        self._task: Task | None = None

    def set(self, owner: str, zone: Zone) -> str:
        """Keep the names of a zone in the file from now on; returns why not, or ""."""
        self._zones[owner] = zone
        self._listed.pop(owner, None)
        try:
            self._open()
            self._write()
        except OSError as error:
            self.remove(owner)
            return client_names_files.words(error, self._path)
        self._changed.set()
        return ""

    def remove(self, owner: str) -> None:
        """Take the names of `owner` out of the file; with the last one it is what it was."""
        self._listed.pop(owner, None)
        if self._zones.pop(owner, None) is None or not self._number:
            return
        with suppress(OSError):  # the next start takes them away
            if self._zones:
                self._write()
                return
            client_names_files.change(self._path, self._without)
        if not self._zones:
            self._close()

    def _open(self) -> None:
        """Take a number. Raises OSError."""
        if self._number:
            return
        if client_names_files.is_of_others(self._path):
            raise OSError(errno.EXDEV, client_names_files.OF_OTHERS, self._path)
        self._number, self._held = client_names_files.take(_NAME)
        self._task = keep("names of the hub's domain are listed", self._follow)

    def _close(self) -> None:
        if self._task is not None:
            self._task.kill(block=False)
        if self._held is not None:
            self._held.close()
        over(Entry.NAMES_NOT_KEPT)
        self._number, self._held, self._task, self._written = 0, None, None, None

    def _write(self) -> None:
        """Write the names that are known now. Raises OSError."""
        names = tuple(self._names())
        self._seen = client_names_files.change(
            self._path, lambda text: dns_hosts_file.put(text, self._number, names)
        )
        self._written = names

    def _without(self, text: str | None) -> str | None:
        return client_names_files.without(text, [self._number], dns_hosts_file.remove)

    def _names(self) -> Iterator[Pair]:
        listed = (pair for owner in sorted(self._listed) for pair in self._listed[owner].names)
        return iter(dict.fromkeys(listed))

    def _follow(self) -> None:
        """Ask for names, and write them where they, or the file, have changed; never returns."""
        while True:
            self._changed.wait(ASK_SECONDS)
            self._changed.clear()
            well = [self._ask(owner, zone) for owner, zone in list(self._zones.items())]
            if tuple(self._names()) != self._written or client_names_files.state(self._path) != self._seen:
                try:
                    self._write()
                    if all(well):
                        over(Entry.NAMES_NOT_KEPT)
                except OSError as error:
                    self._seen = client_names_files.state(self._path)
                    self._say(client_names_files.words(error, self._path))

    def _ask(self, owner: str, zone: Zone) -> bool:
        """Ask for the names of a zone; False where its server is too old to list them."""
        heard = False

        def ask(question: bytes) -> bytes | None:
            nonlocal heard
            reply = stream_dns.ask(zone.servers[0], question, over_tcp=False, seconds=WAIT_SECONDS)
            heard = heard or reply is not None
            return reply

        known = self._listed.get(owner)
        found = dns_listing.read(zone.domain, known.mark if known is not None else "", ask)
        if self._zones.get(owner) is not zone:
            return True
        if found is not None:
            self._listed[owner] = found
        elif heard and known is None:  # while the hub is away its names stay
            self._say(
                f"{zone.servers[0]} does not list the names of {zone.domain}: the hub's release is older"
            )
            return False
        settle(Entry.NAMES_NOT_KEPT, self._path)
        return True

    def _say(self, reason: str) -> None:
        client_names_files.say_lost(self._path, reason)


def mend(path: str = HOSTS) -> None:
    """Take away what killed processes of ours have left in the hosts file. Raises OSError."""
    client_names_files.mend(path, dns_hosts_file.numbers, _is_dead, dns_hosts_file.remove)


def _is_dead(number: int) -> bool:
    return not netlink_owners.is_held(_NAME % number)
