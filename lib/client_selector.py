"""Selector of a hop: which of several nodes to dial next (GOST's strategy, maxFails, failTimeout).

Knows: the strategies, when a node counts as failed, that backups are for when all others have failed.
Refuses to know: clocks and random numbers (they come in), and how a node is dialled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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

    def rank(self, node: int) -> tuple[int, int]:
        """How much a node is preferred, the lowest most: backups are last, fifo and hash have an order."""
        in_order = self.strategy in ("fifo", "hash")
        return int(self._of(node).backup), (node - self.first) % self.count if in_order else 0

    def pick(self, among: Sequence[int], dice: float, with_backups: bool = False) -> int:
        """The node to dial of some, in their order; `dice` is a random number in [0, 1).

        Backups are for when there is nothing else, unless `with_backups`.
        """
        nodes = among if with_backups else [i for i in among if not self._of(i).backup] or among
        if self.strategy == "round":
            self._turn += 1
            return nodes[self._turn % len(nodes)]
        if self.strategy == "rand":
            return self._by_weight(nodes, dice)
        return min(nodes, key=self.rank)

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

    def bounds(self, node: int) -> tuple[int, float]:
        """(failures in a row, seconds) by which a node counts as failed, and for how long."""
        own = self._of(node)
        return max(1, own.max_fails or self.max_fails), own.fail_timeout or self.fail_timeout

    def has_failed(self, node: int, now: float) -> bool:
        """Whether a node is passed over now."""
        fails, when = self._fails.get(node, (0, 0.0))
        most, seconds = self.bounds(node)
        return fails >= most and now - when < seconds

    def fails_of(self, node: int) -> tuple[int, float]:
        """(failures in a row, time of the last one)."""
        return self._fails.get(node, (0, 0.0))

    def remember(self, node: int, fails: tuple[int, float]) -> None:
        """Take over what was known of a node: fails_of() another selector."""
        if fails[0]:
            self._fails[node] = fails
