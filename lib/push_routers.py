"""The leases of every router with a pool, which all hub services of a process share.

Knows: which leases are a router's, and that a cluster's lists give those of a process which is in one.
Refuses to know: how leases are given (push_leases), how lists are shared (push_sharing), sessions (hub_push).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol
from weakref import WeakKeyDictionary

from lib.push_leases import Leases, Share
from lib.route_live import LiveRoutes

_leases: WeakKeyDictionary[LiveRoutes, Leases] = WeakKeyDictionary()


class Pools(Protocol):
    """The pools of a cluster, which several hubs share (push_sharing.Sharing)."""

    def of(self, leases: Leases) -> Share:
        """A router's part in its pool."""


_shared: list[Pools] = []
"""Those of the cluster that this process is in, or none."""


def leases_of(live: LiveRoutes) -> Leases:
    """The leases of a router; made, and read from their file, for the first one who asks."""
    leases = _leases.get(live)
    if leases is None:
        leases = _leases[live] = Leases(live)
    if leases.share is None and _shared:
        leases.share = _shared[0].of(leases)
    leases.follow()
    return leases


def has(live: LiveRoutes) -> bool:
    """Whether a router has leases, or had some."""
    return live in _leases


def all_leases() -> list[Leases]:
    """Those of every router."""
    return list(_leases.values())


def leases_with_pools(routers: Iterable[tuple[str, object]]) -> Iterator[Leases]:
    """The leases of those of the routers (name, router) that have a pool."""
    for _, live in routers:
        if isinstance(live, LiveRoutes) and live.settings.pool:
            yield leases_of(live)


def share(pools: Pools) -> None:
    """Have all addresses given by the lists of a cluster from now on."""
    _shared[:] = [pools]
    for leases in all_leases():
        leases.share = pools.of(leases)


def unshare(pools: Pools) -> None:
    """Have them given by this hub alone again, unless another cluster has taken them over."""
    if pools in _shared:
        _shared.clear()
        for leases in all_leases():
            leases.share = None
