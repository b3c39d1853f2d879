"""Selector of a client: which of several hubs to dial next (GOST's strategy, maxFails, failTimeout).

Knows: the strategies, and when a node counts as failed.
Refuses to know: clocks and random numbers (they come in), and how a node is dialled.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
    _turn: int = -1

    @property
    def has_home(self) -> bool:
        """Whether the strategy prefers some nodes to others (fifo and hash)."""
        return self.strategy in ("fifo", "hash")

    def better(self, node: int, now: float) -> list[int]:
        """The nodes that are preferred to this one and have not failed lately, the best first."""
        order = [(self.first + i) % self.count for i in range(self.count)]
        better = order[: order.index(node)] if self.has_home else []
        return [i for i in better if not self._has_failed(i, now)]

    def others(self, node: int, now: float) -> list[int]:
        """The nodes to move to when this one asks for that (DRAIN); itself comes last."""
        order = [
            (self.first + i) % self.count for i in range(self.count) if (self.first + i) % self.count != node
        ]
        return [*(i for i in order if not self._has_failed(i, now)), node]

    def choose(self, now: float, dice: float) -> int:
        """The node to dial; where all have failed, any of them. dice is a random number in [0, 1)."""
        healthy = [i for i in range(self.count) if not self._has_failed(i, now)]
        nodes = healthy or list(range(self.count))
        if self.strategy == "round":
            self._turn += 1
            return nodes[self._turn % len(nodes)]
        if self.strategy == "rand":
            return nodes[int(dice * len(nodes))]
        return min(nodes, key=lambda node: (node - self.first) % self.count)

    def failed(self, node: int, now: float) -> None:
        """Count a failure of a node: not reached, refused, or a session that soon ended."""
        self._fails[node] = (self._fails.get(node, (0, 0.0))[0] + 1, now)

    def succeeded(self, node: int) -> None:
        """Forget a node's failures, after a session that lasted."""
        self._fails.pop(node, None)

    def _has_failed(self, node: int, now: float) -> bool:
        fails, when = self._fails.get(node, (0, 0.0))
        return fails >= max(1, self.max_fails) and now - when < self.fail_timeout
