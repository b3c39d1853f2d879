"""Prometheus metrics of a process, as text in the exposition format.

Knows: where the value of every metric is found.
Refuses to know: the metrics' names (metrics_names), HTTP and logins (metrics_server).

prometheus_client writes HELP and TYPE, histograms, and the metrics of the process. Rows by host are written
here, in a fifth of the time it needs. The text is made in small pieces, and packets are forwarded between two
of them. All values of a host are read at one moment, so that no counter ever goes backwards. Hosts beyond
MAX_KEYS are summed up in one row, `other` (metrics_ledger).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from lib import (
    cluster_running,
    ids,
    log_redact,
    log_setup,
    metrics_cluster,
    metrics_process,
    namespace_titles,
    service_supervisor,
)
from lib.client import Client
from lib.counters import Traffic
from lib.datagram_channel import Figures
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.metrics_ledger import Book, Histogram
from lib.metrics_names import (
    BY_CLIENT,
    BY_HOST,
    BY_HUB,
    DURATION,
    GOST,
    LOG,
    MAX_KEYS,
    MEMORY,
    NAMESPACE,
    NOTIFY,
    OTHER,
    POLICY,
    REFUSED,
    REGISTERED,
    TABLE,
    TASK,
    UNNAMED,
    WAIT,
    Family,
)
from lib.namespace import Attachment
from lib.notify_delivery import Receiver
from lib.printable import exact
from lib.route_live import LiveRoutes
from lib.rule_live import LiveRules
from lib.service_policy_watch import PolicyWatch
from lib.service_scheduling import breathe
from lib.source_feed import Feed
from lib.source_read import describe

PIECE = 200
"""Samples in one piece of text; they take about a fifth of a millisecond."""
SLICE_SECONDS = 0.0005
"""How long this works before it lets packets be forwarded."""
Row = tuple[str, float]
"""(labels as text, value). The text of the labels is made once for all metrics of a host."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The hubs, clients and tables of a process, by name, whose values are read."""

    hubs: Mapping[str, Hub]
    clients: Mapping[str, Client]
    tables: Tables


def exposition(seen: Seen) -> Iterator[bytes]:
    """The whole text (UTF-8) in pieces. Lets other greenlets run while it works."""
    turn = _Turn()
    for family, rows in _everything(seen, turn):
        for piece in written(family, rows):
            yield piece
            turn.pass_on()
    for metric in (*_histograms(seen), *metrics_process.every()):
        yield _text(metric)
        turn.pass_on()


def written(family: Family, rows: Iterable[Row]) -> Iterator[bytes]:
    """One metric's HELP, TYPE and rows as text, in pieces."""
    yield _text(Metric(family.name, family.doc, family.kind))
    piece: list[str] = []
    for labels, value in rows:
        piece.append(f"{family.title}{{{labels}}} {value!r}\n")
        if len(piece) == PIECE:
            yield "".join(piece).encode()
            piece.clear()
    if piece:
        yield "".join(piece).encode()


class _Turn:
    """Lets other greenlets run each time SLICE_SECONDS are used up."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def pass_on(self) -> None:
        if time.monotonic() - self._since >= SLICE_SECONDS:
            breathe()
            self._since = time.monotonic()


class _One(Collector):
    """One metric as a collector, which is what prometheus_client's encoder takes."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def collect(self) -> list[Metric]:
        return [self.metric]


def _text(metric: Metric) -> bytes:
    """A metric's text as prometheus_client writes it; for one without samples only HELP and TYPE."""
    text: bytes = generate_latest(_One(metric))
    return text


def label_text(family: Family, *values: str) -> str:
    """A family's labels as text, escaped: no host name ends a line, and two names are never one series."""
    return ",".join(map(_label, family.labels, values))


def _label(name: str, value: str) -> str:
    value = exact(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{value}"'


def _everything(seen: Seen, turn: _Turn) -> Iterator[tuple[Family, Iterable[Row]]]:
    machine = socket.gethostname()
    hubs, clients = seen.hubs, seen.clients
    yield GOST["services"], [(label_text(GOST["services"], machine), float(len(hubs) + len(clients)))]
    yield from _by_address(hubs, machine, turn)
    chain = GOST["chain"]
    failures = [
        (label_text(chain, machine, client.settings.chain, node), float(count))
        for client in clients.values()
        for node, count in client.failures.items()
    ]
    yield chain, _summed(failures)
    yield from _by_host(hubs, turn)
    yield from _by_client(clients)
    refused = ((name, why.value, count) for name, hub in hubs.items() for why, count in hub.refused.items())
    yield REFUSED, [(label_text(REFUSED, name, why), float(count)) for name, why, count in list(refused)]
    yield UNNAMED, [(label_text(UNNAMED, name), float(hub.unnamed)) for name, hub in hubs.items()]
    yield MEMORY, [(label_text(MEMORY, name), float(hub.budget.used)) for name, hub in hubs.items()]
    yield from _by_hub()
    for family, named in metrics_cluster.rows():
        yield family, [(label_text(family, *names), value) for names, value in named]
    yield from _tables(seen.tables)
    yield from _tasks()
    yield from _log()
    yield from _notify()
    yield from _policy()
    rows = islice(namespace_titles.all_titles(), MAX_KEYS)
    yield NAMESPACE, [(label_text(NAMESPACE, ids.format_uuid(key), title), 1.0) for key, title in rows]


def _summed(rows: Iterable[Row]) -> Iterable[Row]:
    """Rows summed by labels, since Prometheus refuses two with the same: two services may share a chain."""
    sums: dict[str, float] = {}
    for labels, value in rows:
        sums[labels] = sums.get(labels, 0.0) + value
    return sums.items()


class _Snapshot(NamedTuple):
    """All values of one host or client address, read at one moment."""

    labels: str
    traffic: Traffic
    opened: int
    failed: int
    in_flight: int
    sessions: int
    silent: int
    queue: int
    rtt: float
    channels: list[Figures]
    """Of sessions that have a datagram channel."""


def _snapshot(hub: Hub, labels: str, book: Book) -> _Snapshot:
    now = time.monotonic()
    attachments = [attachment for attachment in book.live if isinstance(attachment, Attachment)]
    sessions = [
        session for attachment in attachments if (session := hub.sessions.get(attachment)) is not None
    ]
    return _Snapshot(
        labels,
        *(book.total(), book.opened, book.failed, book.in_flight, len(attachments)),
        sum(bool(session.sender.silent_at) for session in sessions),
        sum(session.sender.queued for session in sessions),
        max((session.control.liveness.rtt for session in sessions), default=0.0),
        [session.channel.figures(now) for session in sessions if session.channel is not None],
    )


def _by_address(hubs: Mapping[str, Hub], machine: str, turn: _Turn) -> Iterator[tuple[Family, Iterable[Row]]]:
    rows: list[_Snapshot] = []
    for name, hub in hubs.items():
        for key, book in hub.by_address.rows():
            rows.append(_snapshot(hub, label_text(GOST["requests"], machine, name, key or OTHER), book))
            turn.pass_on()
    yield GOST["requests"], ((one.labels, float(one.opened)) for one in rows)
    yield GOST["in_flight"], ((one.labels, float(one.in_flight)) for one in rows)
    yield GOST["input"], ((one.labels, float(one.traffic.received_bytes)) for one in rows)
    yield GOST["output"], ((one.labels, float(one.traffic.sent_bytes)) for one in rows)
    yield GOST["errors"], ((one.labels, float(one.failed)) for one in rows)


def _by_host(hubs: Mapping[str, Hub], turn: _Turn) -> Iterator[tuple[Family, Iterable[Row]]]:
    rows: list[_Snapshot] = []
    for name, hub in hubs.items():
        for key, book in hub.by_host.rows():
            namespace, host = (ids.format_uuid(key[0]), key[1]) if key else (OTHER, OTHER)
            rows.append(_snapshot(hub, label_text(BY_HOST["sessions"], name, namespace, host), book))
            turn.pass_on()
    yield BY_HOST["sessions"], ((one.labels, float(one.sessions)) for one in rows)
    yield BY_HOST["silent"], ((one.labels, float(one.silent)) for one in rows)
    yield BY_HOST["opened"], ((one.labels, float(one.opened)) for one in rows)
    yield BY_HOST["rtt"], ((one.labels, one.rtt) for one in rows if one.rtt)
    yield (
        BY_HOST["datagram_sessions"],
        ((one.labels, float(sum(figures.state == "good" for figures in one.channels))) for one in rows),
    )
    for name, field in (("datagram_rtt", "rtt"), ("datagram_loss", "loss")):
        yield (
            BY_HOST[name],
            (
                (one.labels, max(getattr(figures, field) for figures in one.channels))
                for one in rows
                if one.channels
            ),
        )
    yield BY_HOST["queue"], ((one.labels, float(one.queue)) for one in rows)
    yield from _traffic(BY_HOST, [(one.labels, one.traffic) for one in rows])
    yield BY_HOST["queued"], ((one.labels, float(one.traffic.queued)) for one in rows)
    yield BY_HOST["waited"], ((one.labels, one.traffic.waited) for one in rows)


def _by_hub() -> Iterator[tuple[Family, Iterable[Row]]]:
    counted = cluster_running.counted()
    rows = [(label_text(BY_HUB["drops"], one.service, one.hub or OTHER), one.traffic) for one in counted]
    yield from _traffic(BY_HUB, rows)
    entrypoints = cluster_running.entrypoints()
    registered = ((one.settings.name, one.entry.sd.name, one.registration.known) for one in entrypoints)
    yield REGISTERED, [(label_text(REGISTERED, *names), float(known)) for *names, known in registered]


def _traffic(
    families: Mapping[str, Family], rows: Sequence[tuple[str, Traffic]]
) -> Iterator[tuple[Family, Iterable[Row]]]:
    counted = ("received_packets", "received_bytes", "sent_packets", "sent_bytes", "marked")
    for name in (name for name in counted if name in families):
        yield families[name], ((labels, float(getattr(traffic, name))) for labels, traffic in rows)
    yield (
        families["drops"],
        (
            (f"{labels},{_label('reason', reason.value)}", float(count))
            for labels, traffic in rows
            for reason, count in list(traffic.drops.items())
        ),
    )


def _by_client(clients: Mapping[str, Client]) -> Iterator[tuple[Family, Iterable[Row]]]:
    rows = [
        (label_text(BY_CLIENT["made"], name, client.settings.host), client)
        for name, client in clients.items()
    ]
    lives = [(labels, client.session) for labels, client in rows if client.session is not None]
    yield BY_CLIENT["connected"], [(labels, float(client.session is not None)) for labels, client in rows]
    silent = [
        (labels, sum(bool(path.session.sender.silent_at) for path in client.paths)) for labels, client in rows
    ]
    yield BY_CLIENT["silent"], [(labels, float(count)) for labels, count in silent]
    yield BY_CLIENT["made"], [(labels, float(client.sessions_made)) for labels, client in rows]
    rtts = [
        (labels, session.control.liveness.rtt) for labels, session in lives if session.control.liveness.rtt
    ]
    yield BY_CLIENT["rtt"], rtts
    now = time.monotonic()
    channels = [(labels, one.channel.figures(now)) for labels, one in lives if one.channel is not None]
    yield BY_CLIENT["datagrams"], [(labels, float(one.state == "good")) for labels, one in channels]
    yield BY_CLIENT["datagram_rtt"], [(labels, one.rtt) for labels, one in channels if one.rtt]
    yield BY_CLIENT["datagram_loss"], [(labels, one.loss) for labels, one in channels]
    yield BY_CLIENT["queue"], [(labels, float(session.sender.queued)) for labels, session in lives]
    yield from _traffic(BY_CLIENT, [(labels, client.traffic) for labels, client in rows])


def _tables(tables: Tables) -> Iterator[tuple[Family, Iterable[Row]]]:
    every = [live for _, live in tables.all()]
    yield (
        TABLE["routes"],
        [
            (label_text(TABLE["routes"], live.settings.name), float(len(live.table)))
            for live in every
            if isinstance(live, LiveRoutes)
        ],
    )
    yield (
        TABLE["rules"],
        [
            (label_text(TABLE["rules"], live.kind, live.settings.name), float(live.total))
            for live in every
            if isinstance(live, LiveRules)
        ],
    )
    yield from of_sources((live.label, live.feed) for live in every if live.feed.reads)


def of_sources(feeds: Iterable[tuple[str, Feed]]) -> Iterator[tuple[Family, Iterable[Row]]]:
    """How sources do, of tables by their names in the log."""
    now = time.monotonic()
    sources = {
        label_text(TABLE["up"], label, log_redact.secrets(describe(source))): state
        for label, feed in feeds
        for source, state in feed.states()
    }
    rows = list(sources.items())
    yield TABLE["up"], [(labels, float(not state.error)) for labels, state in rows]
    yield TABLE["age"], [(labels, now - state.read_at) for labels, state in rows if state.read_at]
    yield TABLE["failures"], [(labels, float(state.failures)) for labels, state in rows]


def _tasks() -> Iterator[tuple[Family, Iterable[Row]]]:
    now = time.monotonic()
    rows = [(label_text(TASK["up"], task.name), task) for task in service_supervisor.tasks()]
    yield TASK["up"], [(labels, float(task.failing_for(now) is None)) for labels, task in rows]
    yield TASK["failures"], [(labels, float(task.failures)) for labels, task in rows]


def _log() -> Iterator[tuple[Family, Iterable[Row]]]:
    rows = [(label_text(LOG["lost"], output.name), output) for output in log_setup.outputs()]
    yield LOG["waiting"], [(labels, float(output.waiting)) for labels, output in rows]
    yield LOG["lost"], [(labels, float(output.lost + output.refused)) for labels, output in rows]


def _notify() -> Iterator[tuple[Family, Iterable[Row]]]:
    rows = [(one.settings.name, one) for one in service_supervisor.running(Receiver)]
    yield (
        NOTIFY["events"],
        [
            (label_text(NOTIFY["events"], name, result), float(getattr(one.counts, result)))
            for name, one in rows
            for result in ("delivered", "failed", "dropped")
        ],
    )
    yield NOTIFY["waiting"], [(label_text(NOTIFY["waiting"], name), float(one.waiting)) for name, one in rows]


def _policy() -> Iterator[tuple[Family, Iterable[Row]]]:
    counts = [pair for watch in service_supervisor.running(PolicyWatch) for pair in watch.counts().items()]
    yield POLICY, [(label_text(POLICY, word), float(count)) for word, count in counts]


def _histograms(seen: Seen) -> Iterator[Metric]:
    machine = socket.gethostname()
    duration = HistogramMetricFamily(DURATION.name, DURATION.doc, labels=DURATION.labels)
    wait = HistogramMetricFamily(WAIT.name, WAIT.doc, labels=WAIT.labels)
    for name, hub in seen.hubs.items():
        _add(duration, (machine, name), hub.durations)
        _add(wait, (name,), hub.budget.waits)
    yield duration
    yield wait


def _add(metric: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram) -> None:
    total, buckets = 0, []
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", total))
    metric.add_metric(list(labels), buckets, histogram.sum)
