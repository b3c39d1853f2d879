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


class HubPulses:
    """The pulses of all sessions of a client, by their numbers."""

    def __init__(self) -> None:
        self._pulses: dict[int, Pulse] = {}
        self._silences: dict[int, Silence] = {}
        self._gaps: dict[int, tuple[int, float]] = {}
        """The most that Flight.gaps has been, and when it grew last."""
        self.is_busy = False
        """Whether packets go, or an answer is waited for: then it is looked again soon."""

    @property
    def pause(self) -> float:
        """Seconds until the next look, while packets go."""
        return SOON_SECONDS if any(one.since for one in self._silences.values()) else session_pulse.TICK

    def add(self, number: int) -> None:
        """There is a new session."""
        self._pulses[number], self._silences[number] = Pulse(), Silence()
        self._gaps[number] = 0, float("-inf")

    def forget(self, number: int) -> None:
        """There is a session no more."""
        self._pulses.pop(number, None)
        self._silences.pop(number, None)
        self._gaps.pop(number, None)

    def look(self, sessions: Mapping[ClientSession, int], used: set[int], now: float) -> set[int]:
        """Ask hubs for a sign of life where packets go; returns the numbers of those that are silent.

        `used`: packets have gone by these since the last look.
        """
        late = any(one.since and now - one.since >= LATE_SECONDS for one in self._silences.values())
        is_asked = late or any(pulse.asked_at for pulse in self._pulses.values())
        for session, number in list(sessions.items()):
            if not session.control.can(Feature.KEEPALIVE) or session.sender.closed_because:
                continue
            flight, pulse = session.sender.flight(), self._pulses[number]
            self._silences[number].look(flight, now)
            pulse.patience = self._patience(number, flight, session.control.liveness.rtt, now)
            if pulse.look(session.received.received_packets, number in used or is_asked, now):
                session.control.ask(now)
        self.is_busy = bool(used) or is_asked
        return session_pulse.silent(self._pulses, now) | self._cut_off()

    def _patience(self, number: int, flight: Flight, rtt: float, now: float) -> float:
        gaps, grew_at = self._gaps[number]
        if flight.gaps > gaps:
            gaps, grew_at = flight.gaps, now
        self._gaps[number] = gaps, grew_at
        return max(LOSSY_SECONDS if now - grew_at < SEEN_SECONDS else STILL_SECONDS, STILL_TRIPS * rtt)

    def _cut_off(self) -> set[int]:
        """Those that acknowledge nothing, while another one was heard meanwhile."""
        heard = {number: pulse.heard_at for number, pulse in self._pulses.items()}
        return {
            number
            for number, one in self._silences.items()
            if one.is_silent and any(at > one.since for other, at in heard.items() if other != number)
        }
