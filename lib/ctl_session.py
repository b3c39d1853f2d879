"""The row of a hub's session in replies of the control socket, whole, or only the fields that somebody reads.

Knows: the fields (PROTOCOL.md, the control socket), and whose problems are told.
Refuses to know: which sessions are listed (ctl_status), in which order (ctl_order).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from lib import namespace_titles
from lib.counter_rates import Rate, Rates
from lib.counters import Traffic
from lib.datagram_channel import Channel
from lib.hub_session import HubSession
from lib.ids import format_uuid
from lib.session_lane_sender import LaneSender
from lib.session_problems import problems_of, silent_s
from lib.stream_layer import AnyStream

Row = dict[str, Any]


class SessionRow(Mapping[str, Any]):
    """A session's row whose fields are made as they are read: for who looks at a few fields of thousands."""

    __slots__ = ("_rate", "now", "prefixes", "session")

    def __init__(self, session: HubSession, now: float, prefixes: Sequence[str] = ()) -> None:
        """`now` is in seconds of the monotonic clock; `prefixes` are those of its host."""
        self.session, self.now, self.prefixes = session, now, prefixes
        self._rate: Rate | None = None

    @property
    def rate(self) -> Rate:
        """Its rates now."""
        if self._rate is None:
            session = self.session
            self._rate = session.rates.rate(session.attachment.traffic, self.now)
        return self._rate

    def __getitem__(self, name: str) -> Any:
        return _FIELDS[name](self)

    def __contains__(self, name: object) -> bool:
        return name in _FIELDS

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


def session_row(session: HubSession, prefixes: Sequence[str], now: float) -> Row:
    """The whole row of a session, with the prefixes of its host."""
    row = SessionRow(session, now, prefixes)
    return {name: make(row) for name, make in _FIELDS.items()}


def lane_rows(sender: LaneSender) -> list[Row]:
    """A row for each connection of a session; the first carries what is bulk, where there are two."""
    carries = ("bulk", "sparse") if len(sender.lanes) > 1 else ("all",)
    found = [(what, lane.stream) for what, lane in zip(carries, sender.lanes, strict=False)]
    return [{"peer": stream.peer, "carries": what, **_figures(stream)} for what, stream in found]


def _figures(stream: AnyStream) -> Row:
    figures = stream.figures()
    return {
        "rtt_s": round(figures.rtt, 6),
        "sent_bytes": figures.sent,
        "received_bytes": figures.received,
        "delivered_bytes_per_s": figures.rate,
    }


def channel_row(channel: Channel | None, now: float) -> Row | None:
    """A session's datagram channel, where it has one."""
    if channel is None:
        return None
    figures = channel.figures(now)
    return {
        "state": figures.state,
        "reason": figures.why,
        "peer": figures.far,
        "rtt_s": round(figures.rtt, 6),
        "jitter_s": round(figures.jitter, 6),
        "loss": round(figures.loss, 5),
        "path_mtu": figures.mtu,
        "sent_datagrams": figures.sent,
        "received_datagrams": figures.received,
    }


_TRAFFIC: dict[str, Callable[[Traffic, Rate], Any]] = {
    "received_packets": lambda traffic, rate: traffic.received_packets,
    "received_bytes": lambda traffic, rate: traffic.received_bytes,
    "sent_packets": lambda traffic, rate: traffic.sent_packets,
    "sent_bytes": lambda traffic, rate: traffic.sent_bytes,
    "received_packets_per_s": lambda traffic, rate: round(rate.received_packets, 1),
    "received_bytes_per_s": lambda traffic, rate: round(rate.received_bytes),
    "sent_packets_per_s": lambda traffic, rate: round(rate.sent_packets, 1),
    "sent_bytes_per_s": lambda traffic, rate: round(rate.sent_bytes),
    "marked": lambda traffic, rate: traffic.marked,
    "drops": lambda traffic, rate: {reason.value: count for reason, count in traffic.drops.items() if count},
}
"""Field -> what is in it, of sessions and of clients."""


def traffic_row(traffic: Traffic, rates: Rates, now: float) -> Row:
    """The fields of what was received, sent and dropped."""
    rate = rates.rate(traffic, now)
    return {name: make(traffic, rate) for name, make in _TRAFFIC.items()}


def _of_traffic(make: Callable[[Traffic, Rate], Any], row: SessionRow) -> Any:
    return make(row.session.attachment.traffic, row.rate)


def _problems(row: SessionRow) -> list[str]:
    session = row.session
    verdict = session.verdict
    found = ["conflict"] if verdict.twice_line else []
    found += problems_of(session.attachment.traffic, session.sender, session.channel, row.now)
    return [*found, "name"] if verdict.table_line else found


_FIELDS: dict[str, Callable[[SessionRow], Any]] = {
    "service": lambda row: row.session.hub.settings.name,
    "host": lambda row: row.session.attachment.host,
    "namespace": lambda row: format_uuid(row.session.attachment.namespace.id),
    "title": lambda row: namespace_titles.title_of(row.session.attachment.namespace.id),
    "problems": _problems,
    "peer": lambda row: row.session.attachment.peer,
    "via": lambda row: row.session.stream.via,
    "address": lambda row: row.session.request.source,
    "prefixes": lambda row: row.prefixes,
    "transport": lambda row: row.session.hub.settings.transport.kind,
    "congestion": lambda row: row.session.sender.stream.congestion,
    "mptcp_paths": lambda row: row.session.sender.stream.paths,
    "software": lambda row: row.session.control.software,
    "since_s": lambda row: round(row.now - row.session.attachment.since, 1),
    "silent_s": lambda row: silent_s(row.session.sender, row.now),
    "rtt_s": lambda row: round(row.session.control.liveness.rtt, 6),
    "lanes": lambda row: lane_rows(row.session.sender),
    "channel": lambda row: channel_row(row.session.channel, row.now),
    "no_channel": lambda row: row.session.hub.datagrams.why_none(row.session),
    "queue_bytes": lambda row: row.session.sender.queued,
    "queue_s": lambda row: round(row.session.sender.waits(row.now), 4),
    "superpackets": lambda row: bool(row.session.attachment.offloads),
    **{name: partial(_of_traffic, make) for name, make in _TRAFFIC.items()},
}
"""Field -> what is in it."""
