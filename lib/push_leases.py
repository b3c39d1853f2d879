"""Leases of a router's pool at run time: given to hosts that join, routed to them, kept in a file.

Knows: which addresses of a pool are somebody else's, when the file is written and what is in it.
Refuses to know: how an address is chosen (push_pool), which hosts there are (hub_push).

    # tunrouter: addresses of pool r0; the host that was here longest ago is first
    ["10.20.113.7", "host-1"]

The file lies where a certificate lies that was made (stream_certificates). Where it cannot be written, a host
still gets the address that its name's hash leads to; only where two names lead to the same one, the hosts
get theirs in the order in which they come.

In a cluster the leases are those of a list that all hubs share (Share, push_sharing). The file then says
which list that was, in a line `# list LIFE NUMBER`.
"""

from __future__ import annotations

import itertools
import json
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import gevent

from lib.bounded_dict import BoundedDict
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say, settle
from lib.prefixes import Prefix, covers
from lib.push_pool import MAX_LEASES, Pool
from lib.route_live import LiveRoutes
from lib.route_table import LEASED
from lib.service_files import write_whole
from lib.service_scheduling import Breaths, in_steps
from lib.service_threads import aside
from lib.settings import Hop, TableSettings
from lib.stream_certificates import state_directory

if TYPE_CHECKING:
    from lib.push_shared import Row  # only hubs of clusters load it

SAVE_SECONDS = 2.0
"""A new lease is in the file so many seconds later."""
FEW = 10
"""A pool of which less than one in so many addresses is left has few."""
MAX_BYTES = 16 << 20
"""A longer file is not read."""

_ODD = re.compile(r"[^A-Za-z0-9._-]")
_changes = itertools.count(1)
_MARK = re.compile(r"^# list ([0-9a-f]{16}) ([0-9]{1,18})$", re.MULTILINE)


class Reply(Enum):
    """What a shared pool says when a host is to be told its addresses."""

    TOLD = "it can be told those that it has"
    LATER = "it has to wait for a moment"
    FULL = "no address is left for it"
    NONE = "nobody knows now whether there is one for it"


class Share(Protocol):
    """The part that a router has in a pool of several hubs (push_sharing)."""

    def ask(self, host: str, missing: list[int], sizes: list[int]) -> Reply:
        """Whether a host can be told its addresses now."""

    def left(self, host: str) -> None:
        """A session of a host has ended."""

    def touch(self) -> None:
        """The router's settings have changed, or its table."""


class Leases:
    """The leases of one router. Every hub service that uses the router shares them."""

    def __init__(self, live: LiveRoutes) -> None:
        """Read what was kept. Nothing is routed before route()."""
        self._live: LiveRoutes = weakref.proxy(live)  # they are kept for as long as it is (hub_push)
        self._settings = live.settings
        self.pool = Pool(live.settings.pool, self._may_give)
        self._routed: dict[Prefix, Hop] = {}
        self._saving: gevent.Greenlet | None = None
        self._reserved = _reserved(self._settings)
        self.without: set[str] = set()
        """Hosts that are connected and have no address, as none was left for them."""
        self.freed = 0
        """Hosts with an address that have left since; as many of those without one can try again."""
        self.share: Share | None = None
        """What gives the addresses, where several hubs share them."""
        self.mark = 0, ""
        """(number, life) of the shared list that these leases were in; (0, "") for none."""
        self.moved: BoundedDict[str, int] = BoundedDict(MAX_LEASES)
        """Host -> the number of the change by which it has other addresses: later ones are larger."""
        if live.settings.pool:
            self._read()

    @property
    def name(self) -> str:
        """The router's."""
        return self._settings.name

    @property
    def own(self) -> tuple[bytes, ...]:
        """The hub's own addresses that are in the pool, packed."""
        own = (one.ip.packed for one in self._settings.own)
        return tuple(one for one in own if any(covers(*prefix, one) for prefix in self._settings.pool))

    @property
    def file(self) -> Path:
        """Where they are kept."""
        return state_directory() / f"pool-{_ODD.sub('_', self._settings.name)[:64]}"

    def follow(self) -> None:
        """Take the settings of a reload. Leases outside of the pool end."""
        before, self._settings = self._settings, self._live.settings
        if self._settings is before:
            return
        self._reserved = _reserved(self._settings)
        if self._settings.pool == before.pool:
            if self.share is not None:
                self.share.touch()
            return
        self.pool.prefixes = self._settings.pool
        self.without.clear()  # all hosts are told anew
        self.freed = 0
        for event in (Entry.POOL_FULL, Entry.POOL_NOT_KEPT):
            settle(event, self._settings.name)
            over(event, self._settings.name)
        if not before.pool:
            self._read()
        self.check()

    def check(self) -> None:
        """End the leases of addresses that are somebody else's now, or not in the pool any more.

        Those of hosts that have an address by `hosts` now too: a name would be found at both, and no host has
        the leased one.
        """
        step, before = Breaths(), len(self.pool)
        fixed = {(host, len(address)) for host, own in self._settings.fixed for address in own}
        for host, address in list(self.pool.leases()):
            self.pool.check(host, address, (host, len(address)) not in fixed)
            step()
        self._look_what_is_left()
        if len(self.pool) != before and self.pool.prefixes:  # a pool that is gone may come back
            self._save_soon()
        if self.share is not None:
            self.share.touch()

    def adopt(self, rows: Iterable[Row], number: int, life: str) -> None:
        """Have these leases of a shared list, the one seen longest ago first, and route to them."""
        fixed = {(host, len(address)) for host, own in self._settings.fixed for address in own}
        wanted = {key: lease.address for key, lease in in_steps(rows) if key not in fixed}
        changed: set[str] = set()
        step = Breaths()
        for host, address in list(self.pool.leases()):
            if wanted.get((host, len(address))) != address:
                self.pool.check(host, address, wanted=False)
                changed.add(host)
            step()
        for (host, size), address in wanted.items():
            if self.pool.known(host, size) is None and self.pool.put(host, address):
                changed.add(host)
            else:
                self.pool.seen(host)
            step()
        if changed or self.mark != (number, life):
            self.mark = number, life
            self._save_soon()
        self._look_what_is_left()
        self.route()  # before anybody is told
        change = next(_changes)
        for host in changed:
            self.moved.renew(host, change)

    def give(self, host: str, without: frozenset[int], is_here: Callable[[str], bool]) -> list[bytes] | None:
        """The packed addresses of a host, one for each version of IP but those of `without` (4, 16).

        `is_here` says whether a host is connected. None where other hubs have to be asked first.
        """
        sizes = [size for size in self.pool.sizes if size not in without]
        if self.share is not None:
            return self._shared(self.share, host, sizes)
        found, missing = [], False
        for size in sizes:
            before = len(self.pool), self.pool.known(host, size)
            address = self.pool.lease(host, size, is_here)
            if address is None:
                missing = True
                continue
            found.append(address)
            if before != (len(self.pool), address):
                self._save_soon()
                self._look_what_is_left()
        if missing:
            self.without.add(host)
            self._say_full(host)
        else:
            self._wants_none(host)
        return found

    def _shared(self, share: Share, host: str, sizes: list[int]) -> list[bytes] | None:
        known = {size: self.pool.known(host, size) for size in sizes}
        reply = share.ask(host, [size for size in sizes if known[size] is None], sizes)
        if reply is Reply.LATER:
            return None
        if reply is Reply.FULL:
            self.without.add(host)
            self._say_full(host)
        elif reply is Reply.TOLD:
            self._wants_none(host)
        return [address for address in known.values() if address is not None]

    def left(self, host: str) -> None:
        """Note that a host was here until now."""
        self.pool.seen(host)
        self._wants_none(host)
        if self.share is not None:
            self.share.left(host)
        elif self.without and any(self.pool.known(host, size) for size in self.pool.sizes):
            self.freed += 1

    def _wants_none(self, host: str) -> None:
        """A host has its addresses, or is gone."""
        if host in self.without:
            self.without.discard(host)
            if not self.without:
                self.freed = 0
                settle(Entry.POOL_FULL, self._settings.name)
                over(Entry.POOL_FULL, self._settings.name)

    def route(self) -> None:
        """Route the leases to their hosts, where that has changed; takes as long as a change of the table."""
        wanted: dict[Prefix, Hop] = {}
        step = Breaths()
        for host, address in list(self.pool.leases()):
            wanted[address, 8 * len(address)] = Hop(host)
            step()
        if wanted != self._routed:
            self._routed = wanted
            self._live.lend(wanted)

    def _may_give(self, address: bytes) -> bool:
        """Whether an address of the pool is nobody else's."""
        settings = self._live.settings
        for one in settings.own:
            ends = one.network.network_address.packed, one.network.broadcast_address.packed
            if address == one.ip.packed or address in ends:
                return False
        trie = self._live.table.tries.of(address)
        for length, group in trie.matches(address):
            others = [rank for rank, _ in group.rows if rank != LEASED]
            if others and any(
                length >= bits and covers(prefix, bits, address) for prefix, bits in settings.pool
            ):
                return False
        return True

    def _look_what_is_left(self) -> None:
        """Tell where few addresses were never given: hosts that are away lose theirs to new ones soon."""
        name = self._settings.name
        for size in self.pool.sizes:
            every = min(MAX_LEASES, self.pool.total(size) - self._reserved[size])
            left = every - self.pool.given(size)
            if left * FEW < every:
                text = "router %s: %d of the %d addresses of its pool are left for new hosts"
                say(Entry.POOL_LOW, text, name, left, every, fold=name, habit=OUTAGE, router=name, left=left)
                return
        settle(Entry.POOL_LOW, name)
        over(Entry.POOL_LOW, name)

    def _say_full(self, host: str) -> None:
        name = self._settings.name
        text = "router %s: its pool has no address left for host %s"
        say(Entry.POOL_FULL, text, name, host, fold=name, habit=OUTAGE, router=name, host=host)

    # --- the file

    def _read(self) -> None:
        try:
            text = aside(str(self.file), self._text)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._say_not_kept(str(error.strerror or error) if isinstance(error, OSError) else str(error))
            return
        for host, address in _kept(text):
            self.pool.put(host, address)
        if (mark := _MARK.search(text)) is not None:
            self.mark = int(mark[2]), mark[1]

    def _text(self) -> str:
        if self.file.stat().st_size > MAX_BYTES:
            raise ValueError("the file is too long")
        return self.file.read_text(encoding="utf-8", errors="replace")

    def _save_soon(self) -> None:
        if self._saving is None or self._saving.dead:
            self._saving = gevent.spawn_later(SAVE_SECONDS, self.save)

    def save(self) -> None:
        """Write the file now, whole or not at all."""
        name = self._settings.name
        lines = [f"# tunrouter: addresses of pool {name}; the host that was here longest ago is first"]
        if self.share is None:
            self.mark = 0, ""  # what is given now no other hub knows
        elif self.mark[1]:
            lines.append(f"# list {self.mark[1]} {self.mark[0]}")
        step = Breaths()
        for host, address in list(self.pool.leases()):
            lines.append(json.dumps([str(ip_address(address)), host], ensure_ascii=False))
            step()
        try:
            aside(str(self.file), _write, self.file, "\n".join(lines) + "\n")
            settle(Entry.POOL_NOT_KEPT, self._settings.name)
            over(Entry.POOL_NOT_KEPT, self._settings.name)
        except OSError as error:
            self._say_not_kept(error.strerror or str(error))

    def stop(self) -> None:
        """Write the file, if that is due."""
        if self._saving is not None and not self._saving.dead:
            self._saving.kill()
            self.save()

    def _say_not_kept(self, reason: str) -> None:
        name = self._settings.name
        text = "router %s: the addresses of its pool cannot be kept in %s: %s"
        say(
            Entry.POOL_NOT_KEPT, text, name, self.file, reason, fold=name, habit=OUTAGE,
            router=name, file=str(self.file), reason=reason,
        )  # fmt: skip


def _reserved(settings: TableSettings) -> dict[int, int]:
    """Bytes of an address -> how many of the pool belong to the hub and to hosts of `hosts`."""
    addresses = [one.ip.packed for one in settings.own]
    addresses += [address for _, own in settings.fixed for address in own]
    found = Counter(
        len(address)
        for address in set(addresses)
        if any(
            len(prefix) == len(address) and covers(prefix, bits, address) for prefix, bits in settings.pool
        )
    )
    return {size: found[size] for size in (4, 16)}


def _kept(text: str) -> Iterator[tuple[str, bytes]]:
    """(host, address) of each line of the file; what is no lease is passed over."""
    for line in text.splitlines()[: MAX_LEASES + 1]:
        if not line.startswith("["):
            continue
        try:
            address, host = json.loads(line)
            packed = ip_address(address).packed
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(host, str) and isinstance(address, str):
            yield host, packed


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(str(file), text.encode("utf-8", "replace"))
