"""Whose a datagram is: the channels of one UDP socket, by the label that their keys have.

Knows: that a stranger's datagram costs one look-up.
Refuses to know: what a channel is (datagram_peer), whether a datagram is authentic (datagram_keys).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lib import datagram_wire
from lib.datagram_keys import OpenKey
from lib.datagram_part import WHOLE, Part
from lib.wire_control import INDEX_SIZE

P = TypeVar("P", bound=Hashable)
Place = Hashable
"""An address of a far end; two that are equal are the same."""
Arrived = tuple[OpenKey, int, Place, bytes]
"""(key, counter, where it came from, datagram)."""


@dataclass(slots=True)
class Table(Generic[P]):
    """The keys by which something may come, and whose they are."""

    entries: dict[int, tuple[P, OpenKey]] = field(default_factory=dict)
    strangers: int = 0
    """Datagrams that were nobody's, and those that were not authentic."""
    part: Part = WHOLE
    """Where a port has several sockets: the labels that come to this one."""

    def new_index(self, draw: Callable[[int], bytes]) -> bytes:
        """An index for a new key, of random bytes: one that no other key has."""
        index = self.part.index(draw(INDEX_SIZE))
        while datagram_wire.label_of(index) in self.entries:
            index = self.part.index(draw(INDEX_SIZE))
        return index

    def sort(self, burst: Sequence[tuple[Place, bytes]]) -> dict[P, list[Arrived]]:
        """Sort (address, datagram) by the channels whose they are."""
        found: dict[P, list[Arrived]] = {}
        get, look = self.entries.get, datagram_wire.look
        for place, datagram in burst:
            label, counter = look(datagram)
            entry = get(label)
            if entry is None:
                self.strangers += 1
                continue
            peer, key = entry
            arrived = (key, counter, place, datagram)
            if peer in found:
                found[peer].append(arrived)
            else:
                found[peer] = [arrived]
        return found
