"""What a hub of a cluster says of itself: its hosts as signed messages, numbered, in batches.

Knows: the numbers and the sum of the hub's list, what has not been written yet.
Refuses to know: where it is written (cluster_redis), what other hubs say (cluster_registry).

A list in the registry is a hash: for each host the JOIN by which it came, and as the header the HUB that was
sent last, or the BYE. A batch of changes, the header after them, and their publication are one transaction,
so that whoever reads the hash sees a list and its header together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from lib import cluster_wire, framing
from lib.cluster_registry import Place
from lib.cluster_wire import Kind, Message

RENEW_SECONDS = 1.0
"""Seconds between two HUBs; five of them are a lease."""
JITTER = 0.1
"""By what part of it each of these times is longer or shorter, at random."""
RETURN_SECONDS = 1.0
"""Until when after an outage a hub has begun to write again, at the latest: all begin at different times."""
BATCH = 64
"""Changes that are published as one."""
HEADER = b"hub"
"""The hash's field of the header; all others have 17 bytes or more."""


@dataclass(slots=True)
class Batch:
    """What is written to the registry as one transaction."""

    sets: list[tuple[bytes, bytes]] = field(default_factory=list)
    deletes: list[bytes] = field(default_factory=list)
    published: bytes = b""
    """Messages as frames."""


class Claims:
    """The list of this hub's hosts. `clock` is in milliseconds since 1970 everywhere."""

    def __init__(self, name: str, address: str, epoch: int, key: bytes, software: str = "") -> None:
        """`software` is what runs here, for who looks at the cluster."""
        self.name, self.address, self.epoch = name, address, epoch
        self.software = software
        self.sessions: Callable[[], int] = lambda: 0
        """How many sessions this hub has, for the same."""
        self.sequence = self.beat = 0
        self._key = key
        self._joined: dict[Place, bytes] = {}
        """Place -> the JOIN in the list."""
        self._sum = bytes(cluster_wire.SIGNATURE)
        self._pending: dict[Place, tuple[int, bytes] | None] = {}
        """What has to change in the list: (since, instance), None for a host that has left."""

    def __len__(self) -> int:
        return len(self._joined)

    @property
    def is_pending(self) -> bool:
        """Whether anything has changed that no batch has."""
        return bool(self._pending)

    def join(self, place: Place, since: int, instance: bytes) -> None:
        """A host has a session here, or has said its instance."""
        self._pending[place] = since, instance

    def leave(self, place: Place) -> None:
        """A host has no session here any more."""
        self._pending[place] = None
        if place not in self._joined:
            del self._pending[place]  # it came and went before anybody heard

    def restart(self, epoch: int) -> None:
        """Begin a later epoch: all hosts are told anew."""
        self.epoch, self.sequence, self.beat = epoch, 0, 0
        for place, message in self._joined.items():
            before = cluster_wire.decode(message, self._key)
            self._pending.setdefault(place, (before.since, before.instance))
        self._joined, self._sum = {}, bytes(cluster_wire.SIGNATURE)
        for place in [place for place, claim in self._pending.items() if claim is None]:
            del self._pending[place]

    def next_batch(self, clock: int) -> Batch:
        """The next changes, or only that we live. They are part of the list from now on.

        Where the batch cannot be written, the whole list has to be written (`whole`).
        """
        batch, frames = Batch(), []
        for place in [*islice(self._pending, BATCH)]:
            claim = self._pending.pop(place)
            field_name = field_of(place)
            if claim is None:
                message = self._message(Kind.LEAVE, place)
                batch.deletes.append(field_name)
            else:
                message = self._message(Kind.JOIN, place, *claim)
                batch.sets.append((field_name, message))
            old = self._joined.pop(place, None)
            if old is not None:
                self._sum = cluster_wire.added(self._sum, old, -1)
            if claim is not None:
                self._joined[place] = message
                self._sum = cluster_wire.added(self._sum, message)
            frames.append(framing.encode(message))
        header = self.header(clock)
        batch.sets.append((HEADER, header))
        batch.published = b"".join([*frames, framing.encode(header)])
        return batch

    def header(self, clock: int) -> bytes:
        """The next HUB."""
        self.beat += 1
        message = Message(
            Kind.HUB,
            self.name,
            self.epoch,
            self.sequence,
            beat=self.beat,
            clock=clock,
            address=self.address,
            count=len(self._joined),
            sum=self._sum,
            software=self.software,
            sessions=self.sessions(),
        )
        return cluster_wire.encode(message, self._key)

    def whole(self) -> Iterator[tuple[bytes, bytes]]:
        """The fields of the whole list, without its header."""
        for place, message in list(self._joined.items()):
            yield field_of(place), message

    def bye(self) -> bytes:
        """That this hub ends, as a frame."""
        message = Message(Kind.BYE, self.name, self.epoch, self.sequence)
        return framing.encode(cluster_wire.encode(message, self._key))

    def _message(self, kind: Kind, place: Place, since: int = 0, instance: bytes = b"") -> bytes:
        self.sequence += 1
        namespace, host = place
        message = Message(
            kind,
            self.name,
            self.epoch,
            self.sequence,
            namespace=namespace,
            host=host,
            since=since,
            instance=instance,
        )
        return cluster_wire.encode(message, self._key)


def field_of(place: Place) -> bytes:
    """The hash's field of a host."""
    namespace, host = place
    return namespace + host.encode()
