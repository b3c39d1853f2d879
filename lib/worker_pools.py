"""Address pools beside workers: the main process keeps the list of each, and workers change it by turns.

    worker -> main   pool    {"number", "router", "stamp", "writes"}, with a file in memory where it writes
    main -> worker   pool    {"number", "changes", "stamp", "done"}, with the list as a file in memory
    main -> all      pools   a list has changed: look at it now

Knows: that a list is written only by who has seen the last one, how long a worker waits for the main process.
Refuses to know: what a list is and who gets which address (push_shared), when it is looked at (push_sharing).

It is to the workers of one hub what a Redis is to the hubs of a cluster (push_shared_redis): a hub with
workers that is in a cluster has the lists there, as every hub. The main process does not read lists. It keeps
the file that a worker has sent last. When all ends, each worker has what it knew in the router's file
(push_leases), and the next run begins with that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lib import push_routers, worker_channel
from lib.cluster_seal import Proof, SharedSeal
from lib.hub_tables import Tables
from lib.push_shared import MAX_BYTES
from lib.push_shared_redis import PoolStore
from lib.push_sharing import Sharing
from lib.service_scheduling import breathe
from lib.settings_registry import ClusterSettings
from lib.worker_asking import Asking
from lib.worker_crew import Crew
from lib.worker_links import WorkerLinks
from lib.worker_state import Worker

SECONDS = 3.0
"""How long a worker waits for a reply."""
TRIES = 20
"""How often a change begins anew, as another worker was quicker, before it waits for the next look."""
MAX_LISTS = 4096
"""Lists that are kept: of routers with a pool, also of those that had one."""
NAME = "the main process"

Message = Mapping[str, Any]
Edit = Callable[[bytes], bytes | None]


class KeptLists:
    """The lists, as the main process keeps them."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._lists: dict[str, tuple[int, int]] = {}
        """Router -> (number of its last change, the file in memory)."""
        self._changes = 0
        crew.heard["pool"] = self._heard

    def stop(self) -> None:
        """Forget them."""
        for _, file in self._lists.values():
            worker_channel.shut(file)
        self._lists.clear()

    def _heard(self, worker: Worker, message: Message, *files: int) -> None:
        router = message["router"]
        stamp, file = self._lists.get(router, (0, -1))
        is_done = True
        if message["writes"]:
            is_done = stamp == message["stamp"] and self._fits(router, files)
            if is_done:
                if file >= 0:
                    worker_channel.shut(file)
                self._changes += 1
                stamp, file = self._lists[router] = self._changes, os.dup(files[0])
        for one in files:
            worker_channel.shut(one)
        reply = {"do": "pool", "number": message["number"], "changes": self._changes, "stamp": stamp}
        if message["writes"] and is_done:
            self._crew.tell(worker, {**reply, "done": True})
            self._crew.tell_all({"do": "pools"})
        else:
            self._crew.tell(worker, {**reply, "done": is_done}, *([file] if file >= 0 else []))

    def _fits(self, router: str, files: tuple[int, ...]) -> bool:
        is_room = router in self._lists or len(self._lists) < MAX_LISTS
        return is_room and bool(files) and os.fstat(files[0]).st_size <= MAX_BYTES


class Unsealed:
    """What a list is not signed with here: nobody but workers can write one (push_sharing)."""

    def sign(self, data: bytes) -> bytes:
        """Nothing."""
        return b""

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        """Believes everything."""
        return Proof.GOOD


class AskedLists:
    """The lists that the main process keeps, as a worker asks for them (push_sharing.Store)."""

    name = NAME

    def __init__(self, send: Callable[..., None]) -> None:
        """`send` sends the main process a message, with a descriptor or without."""
        self._send = send
        self._numbers = 0
        self._asking = Asking()

    def hear(self, message: Message, *files: int) -> None:
        """Take a reply. Its file is ours from here on."""
        if not self._asking.hear(message["number"], (message, files)):
            for file in files:
                worker_channel.shut(file)

    @contextmanager
    def open(self) -> Iterator[None]:
        """There is no connection to be made."""
        yield

    def check(self, connection: None) -> None:
        """There is nothing to be checked."""

    def changes(self, connection: None) -> object:
        """What differs after each change of any list. Raises OSError."""
        return self._ask("", 0)[0]["changes"]

    def stamp(self, connection: None, router: str) -> object:
        """What differs after each change of a list. Raises OSError."""
        return self._ask(router, 0)[0]["stamp"]

    def change(self, connection: None, router: str, edit: Edit) -> object:
        """Change a list by `edit`, which may be called several times; returns its stamp. Raises OSError."""
        found, text = self._ask(router, 0)
        for _ in range(TRIES):
            new = edit(text)
            if new is None:
                return found["stamp"]
            found, text = self._ask(router, found["stamp"], new)
            if found["done"]:
                return found["stamp"]
            breathe()
        raise OSError(11, f"{NAME}: other workers change the addresses of router {router} all the time")

    def _ask(self, router: str, stamp: int, text: bytes | None = None) -> tuple[Message, bytes]:
        """(its reply, the list as it is now). Raises OSError."""
        self._numbers += 1
        message = {
            "did": "pool",
            "number": self._numbers,
            "router": router,
            "stamp": stamp,
            "writes": text is not None,
        }
        with self._asking.about(self._numbers) as waiting:
            if text is None:
                self._send(message)
            else:
                file = worker_channel.held(text, breathe)
                try:
                    self._send(message, file)
                finally:
                    worker_channel.shut(file)
            if not waiting.wait(SECONDS):
                raise OSError(110, f"{NAME} does not answer")
        found, files = waiting.value
        return found, b"".join([worker_channel.read(file, breathe) for file in files])


def sharing(
    cluster: ClusterSettings | None, asked: AskedLists, links: WorkerLinks, tables: Tables
) -> Sharing:
    """A worker's part in the pools: those of its cluster, or those that the workers of this hub share."""
    pools = lambda: push_routers.leases_with_pools(tables.routers())  # noqa: E731
    if cluster is None or not cluster.secret:
        here = links.present, links.is_whole
        return Sharing(asked, Unsealed(), NAME, pools, *here, settle_seconds=0.0)  # all know the same file
    secret = cluster.secret.encode()
    seal, store = SharedSeal(secret, cluster.registry.key), PoolStore(cluster.registry, secret)
    return Sharing(store, seal, cluster.name, pools, links.present, links.is_whole)
