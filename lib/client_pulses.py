"""Pulse of the hubs that a client has sessions with: which of them is not reached, though another one is.

Knows: what shows that: PING without a reply, or bytes that are not acknowledged; how often it is looked.
Refuses to know: after how long that is so (session_pulse, session_silence), what becomes of flows
(client_paths).

PING shows that a hub stands still, whose kernel goes on. What is not acknowledged shows that a wire is cut,
sooner, and a hub that is only busy, or far away, is not taken for gone. Where no hub answers, it is the way
to all of them that is bad, and none is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib import session_pulse
from lib.client_session import ClientSession
from lib.session_pulse import Pulse
from lib.session_silence import Flight, Silence
from lib.wire_control import Feature

STILL_SECONDS, STILL_TRIPS = 0.5, 4.0
"""A hub whose kernel acknowledges may say nothing for so long, and for so many round trips;"""
LOSSY_SECONDS, SEEN_SECONDS = 1.0, 10.0
"""for so long where segments were lost in the last seconds: one that is lost twice holds up all others behind
it for 0.6 s."""
SOON_SECONDS = 0.05
"""Seconds between two looks while something is not acknowledged."""
LATE_SECONDS = 0.15
"""Where it is not for so long, the other hubs are asked, as one has to answer meanwhile."""


@dataclass(slots=True)
class _Known:
    """What is known of one hub."""

    pulse: Pulse = field(default_factory=Pulse)
    silence: Silence = field(default_factory=Silence)
    gaps: int = 0
    """The most that Flight.gaps has been."""
    lost_at: float = float("-inf")
    """When that grew last."""

    def look(self, flight: Flight, rtt: float, now: float) -> None:
        """Take what the kernel says of the connection; `rtt` is what PING has measured, in seconds."""
        self.silence.look(flight, now)
        if flight.gaps > self.gaps:
            self.gaps, self.lost_at = flight.gaps, now
        least = LOSSY_SECONDS if now - self.lost_at < SEEN_SECONDS else STILL_SECONDS
        self.pulse.patience = max(least, STILL_TRIPS * rtt)


class HubPulses:
    """The pulses of all sessions of a client, by their numbers."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self.is_busy = False
        """Whether packets go, or an answer is waited for: then it is looked again soon."""

    @property
    def pause(self) -> float:
        """Seconds until the next look, while packets go."""
        return SOON_SECONDS if any(one.silence.since for one in self._known.values()) else session_pulse.TICK

    def add(self, number: int) -> None:
        """There is a new session."""
        self._known[number] = _Known()

    def forget(self, number: int) -> None:
        """There is a session no more."""
        self._known.pop(number, None)

    def look(self, sessions: Mapping[ClientSession, int], used: set[int], now: float) -> set[int]:
        """Ask hubs for a sign of life where packets go; returns the numbers of those that are silent.

        `used`: packets have gone by these since the last look.
        """
        known = self._known.values()
        is_asked = any(one.pulse.asked_at or 0 < one.silence.since <= now - LATE_SECONDS for one in known)
        for session, number in list(sessions.items()):
            if not session.control.can(Feature.KEEPALIVE) or session.sender.closed_because:
                continue
            one = self._known[number]
            one.look(session.sender.flight(), session.control.liveness.rtt, now)
            if one.pulse.look(session.received.received_packets, number in used or is_asked, now):
                session.control.ask(now)
        self.is_busy = bool(used) or is_asked
        pulses = {number: one.pulse for number, one in self._known.items()}
        return session_pulse.silent(pulses, now) | self._cut_off()

    def _cut_off(self) -> set[int]:
        """Those that acknowledge nothing, while another one was heard meanwhile."""
        heard = {number: one.pulse.heard_at for number, one in self._known.items()}
        return {
            number
            for number, one in self._known.items()
            if one.silence.is_silent
            and any(at > one.silence.since for other, at in heard.items() if other != number)
        }
