"""The pools of a hub in a cluster, or of a worker: hosts get addresses by lists that all of them share.

Knows: when a list is looked at, read and changed, how long a host waits for that, what goes on without Redis.
Refuses to know: what a list is and what becomes of it (push_shared), where lists are kept (push_shared_redis,
worker_pools). What is said here of hubs and their Redis holds for workers and their main process too.

    a host joins: the list has an address of it         it is told that, and noted in the list some time
    ... the pool has few addresses left                 it is noted first, then told
    ... no address of it, or the list was never read    it waits for that, HOLD_SECONDS at most
    Redis is away                                       it is told what it had; a new one is told of none
    ... and is back, or another host has gone           those without an address get one then

The last list is kept in a file too (push_leases), for a hub that is started while Redis is away. No packet
waits for any of this.
"""

from __future__ import annotations

import os
import random
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import gevent
from gevent.event import Event

from lib import push_shared
from lib.cluster_seal import Proof
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import over, say, settle
from lib.push_leases import FEW, Leases, Reply
from lib.push_pool import MAX_LEASES, Key, Pool
from lib.push_shared import Lease, SharedList, Wishes
from lib.service_scheduling import Breaths
from lib.service_supervisor import Task
from lib.service_threads import aside

LOOK_SECONDS = 0.5
"""How often it is looked whether another hub has changed a list; a quarter longer or shorter, at random."""
ALL_SECONDS = 10.0
"""How often each list is looked at, should Redis have lost that one has changed."""
TOGETHER_SECONDS = 0.02
"""What hosts want that join so close together becomes one change."""
BACK_SECONDS = 0.4, 0.9
"""After so long a hub that has lost its Redis tries again, at random."""
HOLD_SECONDS = 5.0
"""How long a host waits for its address before it is told of none."""
AGAIN_SECONDS = 1.0
"""How often it is tried again for hosts that have none."""
SETTLE_SECONDS = 3.0
"""After so long every hub of a cluster has added what it knew to a list that was lost."""
QUIET_SECONDS = 3.0
"""A lease that was noted more recently is not taken from its host: where that is may not be known yet."""
NOTE_SECONDS = 600.0
"""How often it is noted which hosts were here, where nothing else is to be changed; the half more at most."""
FEWEST = 64
"""A pool of which few addresses are left (push_leases), or less than so many, is tight."""


class Store(Protocol):
    """Where lists are kept (push_shared_redis, worker_pools). Every method raises OSError."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def open(self) -> AbstractContextManager[Any]:
        """A connection for as long as it holds."""

    def check(self, connection: Any) -> None:
        """Raise OSError where this connection is not the right one any more."""

    def changes(self, connection: Any) -> object:
        """What differs after each change of any list."""

    def stamp(self, connection: Any, router: str) -> object:
        """What differs after each change of a list; the same for as long as there is none."""

    def change(self, connection: Any, router: str, edit: Callable[[bytes], bytes | None]) -> object:
        """Change a list by `edit`, which may be called several times; returns its stamp then."""


class Seal(Protocol):
    """What is used of a hub's seal (cluster_seal.Seal)."""

    def sign(self, data: bytes) -> bytes:
        """A signature of this hub."""

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        """Whether a signature is that of a hub."""


class Sharing:
    """The pools of one cluster, or of the workers of one hub, as each has them (push_routers.Pools)."""

    def __init__(
        self,
        store: Store,
        seal: Seal,
        hub: str,
        pools: Callable[[], Iterable[Leases]],
        is_here: Callable[[], Callable[[str], bool]],
        is_whole: Callable[[], bool],
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """`pools` gives those of all routers of this hub that have one. `is_here` makes what says whether a
        host is connected to any hub, and `is_whole` says whether all hubs are known. After `settle_seconds`
        every hub has added what it knew to a list that was lost."""
        self.settle_seconds = settle_seconds
        self.store, self.hub, self.is_here, self.is_whole = store, hub, is_here, is_whole
        self._seal = seal
        self.lost = ""
        """Why there is no connection now; empty while there is one."""
        self._pools = pools
        self._due = Event()
        self._task = Task(f"pools are shared by {store.name}", self._keep, vital=False)

    def start(self) -> None:
        """Begin to look at lists."""
        self._task.start()

    def stop(self) -> None:
        """End; what is known stays in the file of each router."""
        self._task.kill(block=False)
        for leases in list(self._pools()):
            self._over(leases.name)

    def of(self, leases: Leases) -> SharedPool:
        """A router's pool, as all hubs share it."""
        return SharedPool(self, leases)

    def ring(self) -> None:
        """A host wants an address."""
        self._due.set()

    def sign(self, router: str, body: bytes) -> bytes:
        """A signature of a router's list: no other router's list is believed in its place."""
        return self._seal.sign(_named(router, body))

    def is_signed(self, router: str, body: bytes, signature: bytes) -> bool:
        """Whether a hub of this cluster has signed a router's list."""
        return self._seal.check(self.hub, _named(router, body), signature) is Proof.GOOD

    def _keep(self) -> None:
        while True:
            try:
                if any(True for _ in self._pools()):
                    self._converse()
            except OSError as error:
                self.lost = _reason(error)
                for leases in list(self._pools()):
                    self._tell_lost(leases.name, self.lost)
            gevent.sleep(random.uniform(*BACK_SECONDS))

    def _converse(self) -> None:
        """Look at all lists again and again, until something fails."""
        with self.store.open() as connection:
            changes: object = self
            every_at = 0.0
            is_new = True
            while parts := self._parts():
                before, changes = changes, self.store.changes(connection)
                self.lost = ""
                now = time.monotonic()
                if is_all := changes != before or now - every_at > ALL_SECONDS:
                    every_at = now
                    self.store.check(connection)
                for part in parts:
                    try:
                        part.look(connection, is_all, is_new)
                    except OSError as error:  # perhaps of this list alone
                        part.lost = _reason(error)
                        self._tell_lost(part.router, part.lost)
                        return
                    part.lost = ""
                    self._over(part.router)
                is_new = False
                if self._due.wait(LOOK_SECONDS * random.uniform(0.75, 1.25)):
                    gevent.sleep(TOGETHER_SECONDS)
                    self._due.clear()

    def _parts(self) -> list[SharedPool]:
        """All pools; those that have failed come last, so that the others are looked at before."""
        found = [leases.share for leases in list(self._pools()) if isinstance(leases.share, SharedPool)]
        return sorted(found, key=lambda part: bool(part.lost))

    def _tell_lost(self, router: str, reason: str) -> None:
        text = "router %s: its pool cannot be shared: %s; hosts keep their addresses, new ones get none"
        say(
            Entry.POOL_NOT_SHARED, text, router, reason, fold=router, habit=OUTAGE,
            router=router, reason=reason,
        )  # fmt: skip

    def _over(self, router: str) -> None:
        settle(Entry.POOL_NOT_SHARED, router)
        over(Entry.POOL_NOT_SHARED, router)


class SharedPool:
    """The pool of one router (push_leases.Share)."""

    def __init__(self, sharing: Sharing, leases: Leases) -> None:
        """Begin with what the router's file knew."""
        self._sharing = sharing
        self._leases: Leases = weakref.proxy(leases)
        self.known = push_shared.remembered(leases.pool.leases(), *leases.mark)
        """The list as it was read or written last."""
        self.is_read = False
        self.lost = ""
        """Why the list could not be looked at the last time; empty where it could."""
        self._stamp: object = None
        self._is_due = False
        self._wants: dict[str, tuple[int, ...]] = {}
        """Hosts here that have to get an address, or to be noted -> of which versions of IP."""
        self._since: dict[str, float] = {}
        """When each of these began to wait."""
        self._refused: set[str] = set()
        """Those of them for which no address is left."""
        self._here: set[str] = set()
        """Hosts here that were told their addresses."""
        self._notes: set[str] = set()
        """Hosts that were seen here, which is not in the list yet."""
        self._is_tight = False
        self._life, self._life_at = "", 0.0
        """Which life the list has, and since when that is known."""
        self._numbers: deque[tuple[float, int]] = deque(maxlen=16)
        """Numbers of the list, and since when each was known."""
        self._taken: tuple[int, str] | None = None
        """The number and the life of the list that the router gives by."""
        now = time.monotonic()
        self._tried_at, self._note_at = now, now + random.uniform(1, 1.5) * NOTE_SECONDS

    @property
    def router(self) -> str:
        """The router's name."""
        return self._leases.name

    # --- what hosts ask (Leases)

    def ask(self, host: str, missing: list[int], sizes: list[int]) -> Reply:
        """Whether a host can be told its addresses now; those of `missing` it has not.

        `sizes` are all that it shall have, as bytes of an address.
        """
        if not missing and self.is_read and not (self._is_tight and host not in self._here):
            self._is_told(host)
            return Reply.TOLD
        now, since = time.monotonic(), self._since.get(host)
        wanted = tuple(sizes)
        if self._wants.get(host) != wanted:
            self._wants[host] = wanted
            self._is_due = True
            self._sharing.ring()
        if since is None:
            since = self._since[host] = now
        if host in self._refused and missing:
            return Reply.FULL
        if not self._sharing.lost and not self.lost and now - since < HOLD_SECONDS:
            return Reply.LATER
        return Reply.NONE if missing else Reply.TOLD

    def left(self, host: str) -> None:
        """A session of a host has ended."""
        self._forget(host)
        if host in self._here:
            self._here.discard(host)
            self._notes.add(host)

    def touch(self) -> None:
        """The router's settings have changed, or its table."""
        self._is_due, self._taken = True, None
        self._sharing.ring()

    def _is_told(self, host: str) -> None:
        self._forget(host)
        if host not in self._here:
            self._here.add(host)
            self._notes.add(host)
        if len(self._notes) > MAX_LEASES:
            self._note_at = 0.0

    def _forget(self, host: str) -> None:
        self._wants.pop(host, None)
        self._since.pop(host, None)
        self._refused.discard(host)

    # --- the list

    def look(self, connection: Any, is_all: bool, is_new: bool) -> None:
        """Read or change the list, where that is due. `is_new` says that the connection is a new one."""
        now = time.monotonic()
        is_due = self._is_due or is_new or now >= self._note_at
        is_due = is_due or bool(self._wants and now - self._tried_at >= AGAIN_SECONDS)
        if not is_due and is_all:
            is_due = self._sharing.store.stamp(connection, self._leases.name) != self._stamp
        if is_due:
            self._tried_at, self._is_due = now, False
            self._change(connection, now)

    def _change(self, connection: Any, now: float) -> None:
        made: list[SharedList] = []
        leases, sharing, name = self._leases, self._sharing, self._sharing.store.name
        wants, notes = dict(self._wants), set(self._notes)
        wanted = [(host, size) for host, sizes in wants.items() for size in sizes]
        may_take = sharing.is_whole()
        is_here = sharing.is_here()
        quiet = max((number for at, number in self._numbers if now - at >= QUIET_SECONDS), default=-1)

        def is_kept(key: Key, lease: Lease) -> bool:
            return not may_take or lease.seen > quiet or is_here(key[0])

        def edit(text: bytes) -> bytes | None:
            found = self._read(text)
            # In threads, as each may take a tenth of a second for the longest list.
            base = aside(name, push_shared.caught_up, found, self.known, os.urandom(8).hex())
            if base.life != self._life:
                self._life, self._life_at = base.life, time.monotonic()
            wishes = Wishes(
                sharing.hub,
                leases.own,
                wanted,
                notes if wanted or now >= self._note_at else (),
                time.monotonic() - self._life_at >= sharing.settle_seconds,
            )
            pool = Pool(leases.pool.prefixes, leases.pool.may_give)
            rows = aside(name, push_shared.in_order, base)
            new = push_shared.settled(base, rows, wishes, pool, is_kept, Breaths())
            made[:] = [new]
            if new is found:
                return None
            return aside(name, push_shared.dump, new, partial(sharing.sign, leases.name))

        self._stamp = sharing.store.change(connection, leases.name, edit)
        new = made[0]
        if new.life != self.known.life:
            self._numbers.clear()
        if not self._numbers or now - self._numbers[-1][0] >= LOOK_SECONDS:
            self._numbers.append((now, new.number))
        if wanted or now >= self._note_at:
            self._notes -= notes
            self._note_at = now + random.uniform(1, 1.5) * NOTE_SECONDS
        self.known, self.is_read = new, True
        self._look_what_is_left()
        self._take(wants, new.settled and may_take and quiet >= 0)

    def _read(self, text: bytes) -> SharedList | None:
        """The list in a text; None for none that can be used."""
        if not text:
            return None
        name, store = self._leases.name, self._sharing.store
        try:
            found = aside(store.name, push_shared.parse, text, partial(self._sharing.is_signed, name))
        except ValueError as error:
            registry, reason = store.name, f"addresses of router {name}: {error}; it is written anew"
            words = "registry %s: a message is not used: %s"
            say(
                Entry.REGISTRY_REFUSED, words, registry, reason, fold=f"{registry} {name}", habit=OUTAGE,
                registry=registry, reason=reason,
            )  # fmt: skip
            return None
        settle(Entry.REGISTRY_REFUSED, f"{store.name} {name}")
        return found

    def _take(self, wants: dict[str, tuple[int, ...]], is_final: bool) -> None:
        """Have the router give by the list; where `is_final`, who got nothing there will not soon."""
        new = self.known
        for host, sizes in wants.items():
            if all((host, size) in new.leases for size in sizes):
                if host in self._wants:
                    self._forget(host)
                    self._here.add(host)
            elif is_final and host in self._wants and host not in self._refused:
                self._refused.add(host)
        if self._taken != (new.number, new.life):
            self._taken = new.number, new.life
            rows = aside(self._sharing.store.name, push_shared.in_order, new)
            self._leases.adopt(rows, new.number, new.life)

    def _look_what_is_left(self) -> None:
        pool = self._leases.pool
        self._is_tight = False
        for size in pool.sizes:
            every = min(MAX_LEASES, pool.total(size))
            left = every - sum(key[1] == size for key in self.known.leases)
            self._is_tight |= left < max(every // FEW, FEWEST)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _named(router: str, body: bytes) -> bytes:
    name = router.encode("utf-8", "surrogateescape")
    return b"".join((b"addresses of router", len(name).to_bytes(4, "big"), name, body))
