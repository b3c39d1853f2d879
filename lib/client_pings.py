"""WebSocket pings of a client's session, as GOST sends them (`keepalive` of a dialer).

Knows: when a ping is sent, and when a session without pongs ends.
Refuses to know: the keepalive of tunrouters (session_keepalive), WebSocket (stream_websocket).
"""

from __future__ import annotations

from lib.session_lane_sender import LaneSender


class WebSocketPings:
    """The pings of one session."""

    def __init__(self, sender: LaneSender, seconds: float, now: float) -> None:
        """One each so many seconds; with 0 there are none."""
        self._sender, self._seconds = sender, seconds
        self._pinged_at = self._ponged_at = now
        self._pongs = 0

    def beat(self, now: float, tick: float) -> None:
        """Send pings where it is time; end the session without a pong within twice their interval.

        `tick`: how many seconds are between two calls.
        """
        if not self._seconds or now - self._pinged_at < self._seconds:
            return
        pongs = sum(lane.stream.pongs for lane in self._sender.lanes)
        if pongs != self._pongs:
            self._pongs, self._ponged_at = pongs, now
        if now - self._ponged_at > 2 * self._seconds + tick:
            self._sender.close(f"no pong within {2 * self._seconds:g} s")
            return
        self._pinged_at = now
        for lane in self._sender.lanes:
            lane.stream.ping()
