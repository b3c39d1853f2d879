"""What a hub that begins waits for, before hosts come to it: until it knows who is at the other hubs.

Knows: by when every hub that lives has been heard of, and that nothing has to be waited for then but lists.
Refuses to know: how a hub hears (cluster_redis), what it does meanwhile (cluster_member, worker_cluster).

    it hears the others   each that lives says HUB within 1.1 s; at once where it hears that this one begins
    ... all of them       as many as hear beside it, as Redis says; or that time is over
    no list is wanted     then the first look is over, and it is never begun anew

A packet for a host that is known too late is lost, and so is one from it. But a registry that is away, or a
list that cannot be used, must not keep a hub from serving. So this is waited for with a bound.
"""

from __future__ import annotations

from lib.cluster_claims import JITTER, RENEW_SECONDS
from lib.cluster_registry import Registry

DEAF_SECONDS, KNOW_SECONDS = 2.0, 5.0
"""How long a hub that begins waits at most: while it hears nothing, and in all."""
ALL_SECONDS = RENEW_SECONDS * (1 + JITTER) + 0.15
"""After so long a hub has heard of all that live; the last part is for the way."""


class FirstLook:
    """The first look of a hub at all others."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._since: float | None = None
        """Since when it hears, in seconds of a steady clock; None while it does not."""
        self._others: int | None = None
        """How many hear beside it; None where nobody has said so."""
        self._is_over = False

    def hears(self, now: float) -> None:
        """It hears what others say from now on."""
        self._since, self._others = now, None

    def hears_nothing(self) -> None:
        """It hears nothing any more."""
        self._since = None

    def count(self, hearers: object) -> None:
        """So many hear, this hub among them, as Redis says: whatever it is."""
        if isinstance(hearers, int) and hearers > 0 and self._since is not None:
            self._others = hearers - 1

    def is_worth(self, seconds: float) -> bool:
        """Whether it is waited for any longer, after so many seconds."""
        return seconds < (DEAF_SECONDS if self._since is None else KNOW_SECONDS)

    def is_over(self, now: float) -> bool:
        """Whether all other hubs and their hosts are known, or have been once."""
        if not self._is_over and self._since is not None:
            registry = self._registry
            live = sum(hub.live for hub in registry.hubs.values())
            has_heard_all = now - self._since > ALL_SECONDS or (
                self._others is not None and live >= self._others
            )
            self._is_over = has_heard_all and not (registry.unread or registry.wanted())
        return self._is_over
