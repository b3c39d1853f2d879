"""Ways of a client to its hubs, a node of each hop: which one to dial next, and which have failed.

Knows: that each hop has a selector of its own, as in GOST, and that a way may fail whose nodes are all good
in other ways.
Refuses to know: the strategies (client_selector), how a way is dialled, clocks and random numbers.

With one hop a way is a node. Of two proxies and two hubs, only one of four ways may work. Each hop's selector
chooses among its nodes that have not failed. Where no way of such nodes is left, those are tried that have
not failed themselves, and then all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from zlib import crc32

from lib.client_selector import Selector
from lib.settings import ClientSettings, NodeSettings
from lib.settings_dial import PLAIN_CHOICE, ChoiceSettings, HopChoice
from lib.settings_transport import SYSTEM

Part = tuple[object, ChoiceSettings]
"""A node of a hop, as it is known by, and what it says of itself."""


class Ways:
    """Chooses among the ways of a client, which are the `nodes` of its settings, by index."""

    def __init__(self, settings: ClientSettings, before: Ways | None = None) -> None:
        """What is known of nodes that were among those `before` stays."""
        self.nodes, self._choice = settings.nodes, _choice(settings)
        parts = [_parts(node) for node in settings.nodes]
        depth = len(parts[0])
        if any(len(one) != depth for one in parts):  # nobody is known yet
            parts = [one[-1:] for one in parts]
            depth = 1
        last = HopChoice(settings.strategy, settings.max_fails, settings.fail_timeout)
        choices = (*settings.before, *[HopChoice()] * depth)[: depth - 1]
        self._known: list[dict[object, int]] = [{} for _ in range(depth)]
        for one in parts:
            for known, (value, _) in zip(self._known, one, strict=True):
                known.setdefault(value, len(known))
        self._ways = [
            tuple(known[value] for known, (value, _) in zip(self._known, one, strict=True)) for one in parts
        ]
        name = settings.host.encode("utf-8", "surrogateescape")
        self._hops = [
            _selector(choice, [one[number] for one in parts], known, crc32(name))
            for number, (choice, known) in enumerate(zip((*choices, last), self._known, strict=True))
        ]
        self._whole = Selector(len(parts))
        """Which ways have failed, whoever was to blame; `bounds` says for how long."""
        if before is not None:
            self._inherit(before)

    def are_of(self, settings: ClientSettings) -> bool:
        """Whether these settings have the same ways, chosen in the same manner."""
        return settings.nodes == self.nodes and _choice(settings) == self._choice

    def index(self, node: NodeSettings) -> int | None:
        """The number of a way; None where a reload has removed it."""
        return self.nodes.index(node) if node in self.nodes else None

    def same(self, node: NodeSettings) -> NodeSettings | None:
        """The way as it is here, but for what a living session can change (congestion, how it is chosen)."""
        like = _lasting(node)
        return next((one for one in self.nodes if _lasting(one) == like), None)

    def _inherit(self, before: Ways) -> None:
        if len(before._hops) != len(self._hops):
            return
        for number, known in enumerate(self._known):
            for value, index in known.items():
                if (old := before._known[number].get(value)) is not None:
                    self._hops[number].remember(index, before._hops[number].fails_of(old))

    @property
    def fail_timeout(self) -> float:
        """Seconds after which a better way is looked for."""
        return max(hop.fail_timeout for hop in self._hops)

    @property
    def has_home(self) -> bool:
        """Whether some ways are preferred to others."""
        return any(hop.has_home for hop in self._hops)

    def choose(self, now: float, roll: Callable[[], float], among: Sequence[int] | None = None) -> int:
        """The way to dial; where all have failed, any of them. `roll` gives random numbers in [0, 1).

        Of those `among` all, at least one, where not every one may be dialled.
        """
        every = range(len(self._ways)) if among is None else among
        fit = [way for way in every if self._is_fit(way, now)]
        left = fit or [way for way in every if not self._has_failed(way, now)]
        among = left or list(every)
        for number, hop in enumerate(self._hops):
            nodes = sorted({self._ways[way][number] for way in among})
            part = hop.pick(nodes, roll(), with_backups=not left)
            among = [way for way in among if self._ways[way][number] == part]
        return among[0]

    def better(self, way: int, now: float) -> list[int]:
        """The ways that are preferred to this one in some hop, and worse in none, the best first."""
        own = self._ranks(way)
        found = [
            (ranks, other)
            for other in range(len(self._ways))
            if (ranks := self._ranks(other)) != own
            and all(rank <= mine for rank, mine in zip(ranks, own, strict=True))
            and self._is_fit(other, now)
        ]
        return [other for _, other in sorted(found)]

    def others(self, way: int, now: float) -> list[int]:
        """The ways to move to when the hub of this one asks for that (DRAIN); itself comes last."""
        hub = self._ways[way][-1]
        found = [
            (self._ranks(other), other)
            for other in range(len(self._ways))
            if self._ways[other][-1] != hub and self._is_fit(other, now)
        ]
        return [*(other for _, other in sorted(found)), way]

    def failed(self, way: int, now: float, hop: int = -1) -> None:
        """Count a failure of a way: the node of that hop was not reached, has refused, or soon ended it."""
        self._whole.failed(way, now)
        self._hops[hop].failed(self._ways[way][hop], now)

    def succeeded(self, way: int) -> None:
        """Forget the failures of a way and of its nodes, after a session that lasted."""
        self._whole.succeeded(way)
        for hop, part in zip(self._hops, self._ways[way], strict=True):
            hop.succeeded(part)

    def _is_fit(self, way: int, now: float) -> bool:
        return not self._has_failed(way, now) and not any(
            hop.has_failed(part, now) for hop, part in zip(self._hops, self._ways[way], strict=True)
        )

    def _has_failed(self, way: int, now: float) -> bool:
        """Whether a way has failed as often as the most patient of its nodes may."""
        bounds = [hop.bounds(part) for hop, part in zip(self._hops, self._ways[way], strict=True)]
        fails, when = self._whole.fails_of(way)
        return fails >= max(most for most, _ in bounds) and now - when < max(seconds for _, seconds in bounds)

    def _ranks(self, way: int) -> tuple[tuple[int, int], ...]:
        return tuple(hop.rank(part) for hop, part in zip(self._hops, self._ways[way], strict=True))


def _lasting(node: NodeSettings) -> NodeSettings:
    transport = replace(node.transport, congestion=SYSTEM)
    proxies = tuple(replace(proxy, choice=PLAIN_CHOICE) for proxy in node.proxies)
    return replace(node, transport=transport, choice=PLAIN_CHOICE, proxies=proxies)


def _parts(node: NodeSettings) -> list[Part]:
    """The nodes of a way: its proxies, and the hub."""
    return [*((proxy, proxy.choice) for proxy in node.proxies), (replace(node, proxies=()), node.choice)]


def _choice(settings: ClientSettings) -> tuple[object, ...]:
    """The settings that say how a way is chosen."""
    return settings.before, settings.strategy, settings.max_fails, settings.fail_timeout


def _selector(choice: HopChoice, parts: Sequence[Part], known: dict[object, int], mark: int) -> Selector:
    own = {known[value]: said for value, said in parts}
    first = mark % len(known) if choice.strategy == "hash" else 0
    return Selector(
        len(known),
        *(choice.strategy, choice.max_fails, choice.fail_timeout),
        first=first,
        own=tuple(own[index] for index in range(len(known))),
    )
