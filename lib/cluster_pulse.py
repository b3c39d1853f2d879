"""Links with hubs that are silent while others answer: hosts that have another way are reached by that one.

Knows: which links are asked and when; that one is passed over until it is heard again, and not too briefly.
Refuses to know: when a peer is silent (session_pulse), when a link is dead (session_keepalive), what
becomes of flows (cluster_hosts, worker_relay).

A client with sessions at two hubs finds out by itself that one of them stands still, and sends by the other
one (client_paths). What other hubs send to it would still go to the silent one until the link with that
counts as dead, which takes ten times as long. Where a host has one way only, nothing changes.
A way may be cut in one direction only: then a hub that hears another one does not reach it, and sees that
nothing of what it sends is acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import gevent

from lib import session_pulse
from lib.cluster_link import Link
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.session_pulse import SILENT_SECONDS, TICK, Pulse
from lib.session_silence import Silence
from lib.wire_control import Feature

IDLE_SECONDS = 0.5
"""Seconds between two looks while no packets go."""
HOLD_SECONDS = 2.0
"""How long a hub is passed over at least: flows shall not go to and fro."""
FAR_SECONDS = 0.2
"""A hub that is farther away, there and back, is left to the keepalive of its link."""
STILL, CUT_OFF = "it is silent, while others answer", "nothing that is sent to it is acknowledged"
"""Why a hub is passed over."""


class _PassedOver(NamedTuple):
    until: float
    """When it is used again, at the earliest."""
    why: str


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
        self._silences: dict[Link, Silence] = {}
        self._sent: dict[Link, int] = {}
        """Packets that had been sent by each at the last look."""
        self._silent: dict[Link, _PassedOver] = {}

    def keep_looking(self) -> None:
        """Look at all links again and again; never returns."""
        while True:
            gevent.sleep(TICK if self.look(time.monotonic()) else IDLE_SECONDS)

    def why(self, name: str) -> str:
        """Why a hub is passed over, in a few words; empty where it is not."""
        return next((one.why for link, one in self._silent.items() if link.name == name), "")

    def look(self, now: float) -> bool:
        """Ask those that have to be asked, and see who is silent; returns whether packets go."""
        links = [link for link in self._links() if _can_be_asked(link)]
        self._forget_others(links)
        late = any(0 < one.asked_at <= now - SILENT_SECONDS / 2 for one in self._pulses.values())
        is_busy = False
        for link in links:
            pulse, sent = self._pulses.setdefault(link, Pulse()), link.traffic.sent_packets
            is_used = sent != self._sent.get(link, sent)
            silence = self._silences.setdefault(link, Silence())
            if is_used or pulse.asked_at or silence.since or silence.is_silent:
                silence.look(link.sender.flight(), now)
            self._sent[link] = sent
            if pulse.look(link.traffic.received_packets, is_used or late, now):
                link.control.ask(now)
            is_busy |= is_used or bool(pulse.asked_at or silence.since or silence.is_silent)
        self._compare(now)
        return is_busy

    def _compare(self, now: float) -> None:
        witness = self._witness()
        found = dict.fromkeys(session_pulse.silent(self._pulses, now, witness), STILL)
        newest = max([witness, *(pulse.heard_at for pulse in self._pulses.values())])
        for link, silence in self._silences.items():
            if silence.is_silent and newest > silence.since:  # the far hub itself may be who was heard
                found[link] = CUT_OFF
        for link in found.keys() - self._silent.keys():
            self._silent[link] = _PassedOver(now + HOLD_SECONDS, found[link])
            text, name, why = "hub %s cannot be reached: %s", link.name, found[link]
            say(Entry.LINK_FAILED, text, name, why, fold=name, habit=OUTAGE, hub=name, reason=why)
            self._tell(name, True)
        for link in [link for link, one in self._silent.items() if link not in found and now >= one.until]:
            del self._silent[link]
            settle(Entry.LINK_FAILED, link.name)
            self._tell(link.name, False)

    def _forget_others(self, links: list[Link]) -> None:
        """Forget links that have ended: what becomes of their hubs is told by whoever has the links."""
        for link in self._pulses.keys() - set(links):
            del self._pulses[link]
            self._silences.pop(link, None)
            self._sent.pop(link, None)
            self._silent.pop(link, None)


def _can_be_asked(link: Link) -> bool:
    """Whether a link's far end can be asked, and is near enough to reply soon."""
    control = link.control
    is_whole = link.is_ready and not link.is_leaving and not link.sender.closed_because
    return is_whole and control.can(Feature.KEEPALIVE) and control.liveness.rtt < FAR_SECONDS
