"""Selector of a client: which of several hubs to dial next (GOST's strategy, maxFails, failTimeout).

Knows: the strategies, when a node counts as failed, that backups are for when all others have failed.
Refuses to know: clocks and random numbers (they come in), and how a node is dialled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

from lib.settings import ClientSettings
from lib.settings_dial import PLAIN_CHOICE, ChoiceSettings


@dataclass(slots=True)
class Selector:
    """Chooses among `count` nodes by index."""

    count: int
    strategy: str = "round"
    """round: each in turn; rand: any; fifo and hash: the first from `first` on that has not failed."""
    max_fails: int = 1
    fail_timeout: float = 10.0
    """Seconds for which a node with max_fails failures in a row is passed over."""
    _fails: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Node -> (failures in a row, time of the last one)."""
    first: int = 0
    """The node that fifo and hash prefer; the others follow in order and wrap around."""
    own: Sequence[ChoiceSettings] = ()
    """What each node says of itself; empty where none does."""
    _turn: int = -1

    @property
    def has_home(self) -> bool:
        """Whether some nodes are preferred to others: by the strategy (fifo and hash), or to backups."""
        return self.strategy in ("fifo", "hash") or len({one.backup for one in self.own}) > 1

    def better(self, node: int, now: float) -> list[int]:
        """The nodes that are preferred to this one and have not failed lately, the best first."""
        order = self._order()
        if self.strategy in ("fifo", "hash"):
            better = order[: order.index(node)]
        else:
            better = [i for i in order if self._of(node).backup and not self._of(i).backup]
        return [i for i in better if not self._has_failed(i, now)]

    def others(self, node: int, now: float) -> list[int]:
        """The nodes to move to when this one asks for that (DRAIN); itself comes last."""
        return [*(i for i in self._order() if i != node and not self._has_failed(i, now)), node]

    def choose(self, now: float, dice: float) -> int:
        """The node to dial; where all have failed, any of them. dice is a random number in [0, 1)."""
        healthy = [i for i in range(self.count) if not self._has_failed(i, now)]
        nodes = [i for i in healthy if not self._of(i).backup] or healthy or list(range(self.count))
        if self.strategy == "round":
            self._turn += 1
            return nodes[self._turn % len(nodes)]
        if self.strategy == "rand":
            return self._by_weight(nodes, dice)
        return next(i for i in self._order() if i in nodes)

    def _by_weight(self, nodes: Sequence[int], dice: float) -> int:
        """The node that dice choose: each as often as its weight says."""
        left = dice * sum(self._of(i).weight for i in nodes)
        for node in nodes:
            left -= self._of(node).weight
            if left < 0:
                return node
        return nodes[-1]

    def failed(self, node: int, now: float) -> None:
        """Count a failure of a node: not reached, refused, or a session that soon ended."""
        self._fails[node] = (self._fails.get(node, (0, 0.0))[0] + 1, now)

    def succeeded(self, node: int) -> None:
        """Forget a node's failures, after a session that lasted."""
        self._fails.pop(node, None)

    def _of(self, node: int) -> ChoiceSettings:
        return self.own[node] if self.own else PLAIN_CHOICE

    def _order(self) -> list[int]:
        """All nodes in the order in which fifo and hash prefer them, backups last."""
        order = [(self.first + i) % self.count for i in range(self.count)]
        return sorted(order, key=lambda node: self._of(node).backup)

    def _has_failed(self, node: int, now: float) -> bool:
        own = self._of(node)
        fails, when = self._fails.get(node, (0, 0.0))
        return fails >= max(1, own.max_fails or self.max_fails) and now - when < (
            own.fail_timeout or self.fail_timeout
        )


def choice(settings: ClientSettings) -> tuple[str, int, float]:
    """The settings that a Selector is made of."""
    return settings.strategy, settings.max_fails, settings.fail_timeout


def selector(settings: ClientSettings) -> Selector:
    """The Selector of a client."""
    count, name = len(settings.nodes), settings.host.encode("utf-8", "surrogateescape")
    first = crc32(name) % count if settings.strategy == "hash" else 0
    own = tuple(node.choice for node in settings.nodes)
    return Selector(count, *choice(settings), first=first, own=own)
