"""CPU time accounts of the hosts behind one link: which of them cost this hub more than they are worth.

Knows: what a host owes, how that fades, and how many may owe at once.
Refuses to know: clocks (times come in), how time is measured and what a dear host's frames become
(cluster_receive), what frames are worth (session_cost).

A link carries the packets of many hosts, and one of them may send what the far hub forwards and this one
denies. So time beyond the worth of a run of frames is owed by the host that they are of, by its name and
namespace, and no more by the link. Here and not at the far hub: only this hub knows what its rules cost it,
and so it need not trust the far one, nor ask it for anything.

All hosts of a link together may owe little. What one is allowed becomes less where many owe, and where there
is no room for one more the link pays.
"""

from __future__ import annotations

from lib.cluster_places import Place
from lib.session_cost import ACCIDENT_SECONDS, BURST_SECONDS, FORGIVEN

MAX_HOSTS = 1024
"""Hosts of one link that owe at a time."""
SEVERAL = 4
"""So many hosts may each owe, and be forgiven, what one session may; more of them have that together."""
MOST_SECONDS = 10 * BURST_SECONDS
"""What a host owes at most: some five seconds after its last such frame it is dear no more."""
SWEEP_SECONDS = 1.0
"""How often those are forgotten who owe nothing any more."""


class HostCosts:
    """What the hosts of one link owe."""

    __slots__ = ("_most", "_owed", "_swept_at")

    def __init__(self) -> None:
        self._owed: dict[Place, tuple[float, float]] = {}
        """Host -> seconds that it owed, and when that was."""
        self._swept_at = self._most = 0.0
        """When it was swept last, and a bound for what any host has owed since then."""

    def __len__(self) -> int:
        """How many hosts have owed something lately."""
        return len(self._owed)

    def charge(self, host: Place, seconds: float, now: float) -> bool:
        """Let a host owe `seconds` more; False where there is no room for one more host.

        `now` is in seconds of a steady clock, here and below.
        """
        if host not in self._owed and len(self._owed) >= MAX_HOSTS:
            return False
        owed = min(MOST_SECONDS, self.owed(host, now) + seconds)
        self._owed[host], self._most = (owed, now), max(self._most, owed)
        return True

    def owed(self, host: Place, now: float) -> float:
        """Seconds that a host owes."""
        seconds, at = self._owed.get(host, (0.0, now))
        return max(0.0, seconds - (now - at) * FORGIVEN * self._part)

    def is_dear(self, host: Place, now: float) -> bool:
        """Whether a host owes more than it may."""
        return host in self._owed and self.owed(host, now) > self._allowed

    @property
    def may_be_dear(self) -> bool:
        """Whether any host may be dear, found out without a look at each: never False where one is."""
        return self._most > ACCIDENT_SECONDS and self._most > self._allowed

    @property
    def _allowed(self) -> float:
        """Seconds that a host may owe."""
        return max(ACCIDENT_SECONDS, BURST_SECONDS * self._part)

    @property
    def _part(self) -> float:
        """The part that a host has of what one session may owe."""
        return min(1.0, SEVERAL / max(1, len(self._owed)))

    def sweep(self, now: float) -> None:
        """Forget those who owe nothing any more, now and then."""
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            for host in [host for host in self._owed if not self.owed(host, now)]:
                del self._owed[host]
            self._most = max((seconds for seconds, _ in self._owed.values()), default=0.0)
