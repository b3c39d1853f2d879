"""Links with hubs that are silent while others answer: hosts that have another way are reached by that one.

Knows: which links are asked and when; that one is passed over until it is heard again, and not too briefly.
Refuses to know: when a peer is silent (session_pulse), when a link is dead (session_keepalive), what
becomes of flows (cluster_hosts, worker_relay).

A client with sessions at two hubs finds out by itself that one of them stands still, and sends by the other
one (client_paths). What other hubs send to it would still go to the silent one until the link with that
counts as dead, which takes ten times as long. Where a host has one way only, nothing changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import gevent

from lib import session_pulse
from lib.cluster_link import Link
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.session_pulse import SILENT_SECONDS, TICK, Pulse
from lib.wire_control import Feature

IDLE_SECONDS = 0.5
"""Seconds between two looks while no packets go."""
HOLD_SECONDS = 2.0
"""How long a hub is passed over at least: flows shall not go to and fro."""
FAR_SECONDS = 0.2
"""A hub that is farther away, there and back, is left to the keepalive of its link."""
WHY = "it is silent, while others answer"


class LinkPulses:
    """The pulses of all links of one hub."""

    def __init__(
        self,
        links: Callable[[], Iterable[Link]],
        witness: Callable[[], float],
        tell: Callable[[str, bool], None],
    ) -> None:
        """`links` gives those that frames go by now. `witness` says when the registry was heard last.

        `tell` is told of each hub that is passed over from now on, or is not any more.
        """
        self._links, self._witness, self._tell = links, witness, tell
        self._pulses: dict[Link, Pulse] = {}
        self._sent: dict[Link, int] = {}
        """Packets that had been sent by each at the last look."""
        self._silent: dict[Link, float] = {}
        """Links that are passed over -> until when, at least."""

    def keep_looking(self) -> None:
        """Look at all links again and again; never returns."""
        while True:
            gevent.sleep(TICK if self.look(time.monotonic()) else IDLE_SECONDS)

    def why(self, name: str) -> str:
        """Why a hub is passed over, in a few words; empty where it is not."""
        return WHY if any(link.name == name for link in self._silent) else ""

    def look(self, now: float) -> bool:
        """Ask those that have to be asked, and see who is silent; returns whether packets go."""
        links = [link for link in self._links() if _can_be_asked(link)]
        self._forget_others(links)
        late = any(0 < one.asked_at <= now - SILENT_SECONDS / 2 for one in self._pulses.values())
        is_busy = False
        for link in links:
            pulse, sent = self._pulses.setdefault(link, Pulse()), link.traffic.sent_packets
            is_used = sent != self._sent.get(link, sent)
            self._sent[link] = sent
            if pulse.look(link.traffic.received_packets, is_used or late, now):
                link.control.ask(now)
            is_busy |= is_used or bool(pulse.asked_at)
        self._compare(now)
        return is_busy

    def _compare(self, now: float) -> None:
        silent = session_pulse.silent(self._pulses, now, self._witness())
        for link in silent - self._silent.keys():
            self._silent[link] = now + HOLD_SECONDS
            text, name = "hub %s cannot be reached: %s", link.name
            say(Entry.LINK_FAILED, text, name, WHY, fold=name, habit=OUTAGE, hub=name, reason=WHY)
            self._tell(name, True)
        for link in [link for link, until in self._silent.items() if link not in silent and now >= until]:
            del self._silent[link]
            settle(Entry.LINK_FAILED, link.name)
            self._tell(link.name, False)

    def _forget_others(self, links: list[Link]) -> None:
        """Forget links that have ended: what becomes of their hubs is told by whoever has the links."""
        for link in self._pulses.keys() - set(links):
            del self._pulses[link]
            self._sent.pop(link, None)
            self._silent.pop(link, None)


def _can_be_asked(link: Link) -> bool:
    """Whether a link's far end can be asked, and is near enough to reply soon."""
    control = link.control
    is_whole = link.is_ready and not link.is_leaving and not link.sender.closed_because
    return is_whole and control.can(Feature.KEEPALIVE) and control.liveness.rtt < FAR_SECONDS
