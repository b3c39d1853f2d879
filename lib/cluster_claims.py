"""What a hub of a cluster says of itself: its hosts as numbered messages, in batches, each with a signature.

Knows: the numbers and the sum of the hub's list, what has not been written yet.
Refuses to know: where it is written (cluster_redis), keys (cluster_seal), what others say (cluster_registry).

A list in the registry is a hash: for each host the JOIN by which it came, and as the header the HUB that was
sent last, or the BYE. A batch of changes, the header after them, and their publication are one transaction,
so that whoever reads the hash sees a list and its header together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from lib import cluster_wire
from lib.cluster_places import Place
from lib.cluster_wire import Kind, Message

RENEW_SECONDS = 1.0
"""Seconds between two HUBs; five of them are a lease."""
JITTER = 0.1
"""By what part of it each of these times is longer or shorter, at random."""
LISTEN_SECONDS = 0.1, 0.5
"""After so long a hub that has lost its registry tries again to hear others, at random."""
RETURN_SECONDS = 0.4, 0.9
"""After so long it writes, once it hears again: by then nearly all others do, and take what has changed
meanwhile as news. Whoever misses those has to read lists."""
BATCH = cluster_wire.MAX_CHANGES
"""Changes that are published as one."""
HEADER, CERTIFICATE = b"hub", b"certificate"
"""The hash's fields of the header and of the hub's certificate; all others have 17 bytes or more."""

Sign = Callable[[bytes], bytes]
"""Signs a message; its argument is the message without a signature."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both clocks of a hub at one moment, in milliseconds."""

    wall: int
    """Since 1970."""
    steady: int
    """By a clock that nobody sets."""


@dataclass(slots=True)
class Batch:
    """What is written to the registry as one transaction."""

    sets: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    changes: list[bytes] = field(default_factory=list)
    """What others have to hear of, in its order."""
    published: bytes = b""
    """News: the changes, and what vouches for them."""


class Claims:
    """The list of this hub's hosts."""

    def __init__(self, name: str, address: str, epoch: int, sign: Sign, software: str = "") -> None:
        """`software` is what runs here, for who looks at the cluster."""
        self.name, self.address, self.epoch = name, address, epoch
        self.software = software
        self.sessions: Callable[[], int] = lambda: 0
        """How many sessions this hub has, for the same."""
        self.sequence = self.beat = 0
        self._sign = sign
        self._joined: dict[Place, tuple[int, bytes, bytes, int]] = {}
        """Place -> (since, instance, the JOIN in the list, the epoch of that list).

        Those of an earlier epoch, which have to be told anew, are before all others.
        """
        self._listed = 0
        """How many of them are in the list of this epoch."""
        self._sum = 0
        self._pending: dict[Place, tuple[int, bytes] | None] = {}
        """What has to change in the list: (since, instance), None for a host that has left."""

    def __len__(self) -> int:
        return self._listed

    @property
    def is_pending(self) -> bool:
        """Whether anything has changed that no batch has."""
        return bool(self._pending) or self._listed < len(self._joined)

    def join(self, place: Place, since: int, instance: bytes) -> None:
        """A host has a session here, or has said its instance, or came at another time than was said."""
        self._pending[place] = since, instance

    def leave(self, place: Place) -> None:
        """A host has no session here any more."""
        self._pending[place] = None
        if place not in self._joined:
            del self._pending[place]  # it came and went before anybody heard

    def restart(self, epoch: int) -> None:
        """Begin a later epoch: the list is empty, and all hosts are told anew, by the next batches."""
        self.epoch, self.sequence, self.beat = epoch, 0, 0
        self._listed = self._sum = 0

    def next_batch(self, clocks: Clocks) -> Batch:
        """The next changes, or only that we live. They are part of the list from now on.

        Where the batch cannot be written, the whole list has to be (`whole`), and its changes told again.
        """
        batch = Batch()
        self._recall()
        for place in [*islice(self._pending, BATCH)]:
            claim = self._pending.pop(place)
            field_name = field_of(place)
            old = self._joined.pop(place, None)
            is_listed = old is not None and old[3] == self.epoch
            if old is not None and is_listed:
                self._listed -= 1
                self._sum = cluster_wire.added(self._sum, old[2], -1)
            if claim is None and not is_listed:
                continue  # it was in the list of an earlier epoch
            if claim is None:
                message = self._change(Kind.LEAVE, place)
                batch.deletes.append(field_name)
            else:
                message = self._change(Kind.JOIN, place, *claim)
                batch.sets.append((field_name, message))
                self._joined[place] = *claim, message, self.epoch
                self._listed += 1
                self._sum = cluster_wire.added(self._sum, message)
            batch.changes.append(message)
        vouching = partial(self._vouching, batch, clocks)
        batch.published = cluster_wire.news(batch.changes, vouching)
        return batch

    def told_again(self, changes: list[bytes], clocks: Clocks) -> Batch:
        """What follows the whole list: news of its last changes, which perhaps nobody has heard."""
        batch = Batch(changes=changes)
        batch.published = cluster_wire.news(changes, partial(self._vouching, batch, clocks))
        return batch

    def _recall(self) -> None:
        """Have some hosts of an earlier epoch told anew."""
        some = [*islice(self._joined.items(), BATCH)] if self._listed < len(self._joined) else ()
        for place, (since, instance, _, epoch) in some:
            if epoch == self.epoch:
                break
            self._pending.setdefault(place, (since, instance))
            del self._joined[place]

    def _vouching(self, batch: Batch, clocks: Clocks, digest: bytes) -> bytes:
        header = self.header(clocks, digest)
        batch.sets.append((HEADER, header))
        return header

    def header(self, clocks: Clocks, digest: bytes = cluster_wire.NO_CHANGES) -> bytes:
        """The next HUB; `digest` is that of the changes before it."""
        return self._signed(
            Kind.HUB,
            clocks,
            digest,
            address=self.address,
            count=self._listed,
            sum=cluster_wire.summed(self._sum),
            software=self.software,
            sessions=self.sessions(),
        )

    def bye(self, clocks: Clocks) -> bytes:
        """That this hub ends."""
        return self._signed(Kind.BYE, clocks, cluster_wire.NO_CHANGES)

    def whole(self) -> Iterator[tuple[bytes, bytes]]:
        """The fields of the whole list, without its header. No batch may be made meanwhile."""
        for place, (_, _, message, epoch) in reversed(self._joined.items()):
            if epoch != self.epoch:
                break
            yield field_of(place), message

    def is_in_list(self, field_name: bytes, message: bytes) -> bool:
        """Whether an entry of the list is as it was written."""
        place = field_name[:16], field_name[16:].decode(errors="replace")
        return self._joined.get(place, (0, b"", b"", -1))[2:] == (message, self.epoch)

    def _change(self, kind: Kind, place: Place, since: int = 0, instance: bytes = b"") -> bytes:
        self.sequence += 1
        namespace, host = place
        more = {"namespace": namespace, "host": host, "since": since, "instance": instance}
        return cluster_wire.encode(Message(kind, self.name, self.epoch, self.sequence, **more))  # type: ignore[arg-type]

    def _signed(self, kind: Kind, clocks: Clocks, digest: bytes, **more: object) -> bytes:
        self.beat += 1
        message = Message(
            kind,
            self.name,
            self.epoch,
            self.sequence,
            beat=self.beat,
            clock=clocks.wall,
            steady=clocks.steady,
            digest=digest,
            **more,  # type: ignore[arg-type]
        )
        data = cluster_wire.encode(message)
        return data + self._sign(data)


def field_of(place: Place) -> bytes:
    """The hash's field of a host."""
    namespace, host = place
    return namespace + host.encode()
