"""The bars of the benchmarks: which figures must be reached, and whether they were.

Knows: every bar as a figure, a bound, and the peer whose figure it is a multiple of.
Refuses to know: how figures come about (measure, memory, forwarding, trie).

Every figure has an owner: a peer by name, or one of the parts memory, forwarding, trie, tables, handshakes,
shaped, overload, push.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Key = tuple[str, str]
"""(owner, figure)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over the rounds."""

    median: float
    least: float
    most: float
    count: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure must stand in this relation to `bound` times the figure `of` (to the bound itself without)."""

    row: str
    figure: Key
    relation: str
    bound: float
    of: Key | None = None


_EXECUTABLE = (
    ("TCP, 1 stream", "binary", "tcp1", ">=", 0.95, "tunrouter"),
    ("TCP, 4 streams", "binary", "tcp4", ">=", 0.95, "tunrouter"),
    ("UDP 64 B at overload", "binary", "udp", ">=", 0.95, "tunrouter"),
    ("CPU s per GB", "binary", "cpu", "<=", 1 / 0.95, "tunrouter"),
    ("ping idle", "binary", "ping_idle", "<=", 1.8 / 0.95, "gost"),
    ("ping under TCP, p99", "binary", "ping_load_p99", "<=", 1 / 3 / 0.95, "gost"),
    ("TCP over TLS", "binary_tls", "tcp1", ">=", 0.95, "tunrouter_tls"),
    ("TCP over wss", "binary_wss", "tcp1", ">=", 0.95, "tunrouter_wss"),
    ("TCP, limits and 100 rules", "binary_guarded", "tcp1", ">=", 0.95, "tunrouter_guarded"),
    ("UDP, limits and 100 rules", "binary_guarded", "udp", ">=", 0.95, "tunrouter_guarded"),
)
"""The executable in the checkout's place: row, whose figure, relation, bound, of whom. Pings move too much from
one round to the next for a ratio of 0.95 to mean anything; they have the checkout's own bars."""

_LOADS = {"udp64": "UDP 64 B", "udp1200": "UDP 1,200 B", "connections": "new connections"}
_OVERLOADED = (
    ("of the best", "of_best", ">=", 0.9),
    ("others' ping p99 over idle, ms", "ping_over_idle_p99", "<", 20.0),
)

BARS = (
    Bar("TCP, 1 stream", ("tunrouter", "tcp1"), ">=", 12, ("gost", "tcp1")),
    Bar("TCP, 1 stream", ("tunrouter", "tcp1"), ">=", 0.75, ("floor", "tcp1")),
    Bar("TCP, 1 stream, ours over TLS", ("tunrouter_tls", "tcp1"), ">=", 3, ("gost", "tcp1")),
    Bar("TCP, 1 stream, ours over wss", ("tunrouter_wss", "tcp1"), ">=", 2, ("gost", "tcp1")),
    Bar(
        "TCP, 1 stream, limits and 100 rules", ("tunrouter_guarded", "tcp1"), ">=", 0.9, ("tunrouter", "tcp1")
    ),
    *(
        Bar(f"{row}, the hub a hop, with tests", ("tunrouter_hop", figure), ">=", 0.95, ("tunrouter", figure))
        for row, figure in (("TCP, 1 stream", "tcp1"), ("TCP, 4 streams", "tcp4"), ("UDP 64 B", "udp"))
    ),
    Bar("TCP, 4 streams", ("tunrouter", "tcp4"), ">=", 1.0, ("tunrouter", "tcp1")),
    Bar("UDP 64 B received at overload, k/s", ("tunrouter", "udp"), ">=", 2.2, ("gost", "udp")),
    Bar("UDP 64 B received at overload, k/s", ("tunrouter", "udp"), ">=", 0.65, ("floor", "udp")),
    Bar("UDP 64 B by datagrams over TLS, k/s", ("tunrouter_tls", "udp"), ">=", 2.0, ("wireguard", "udp")),
    Bar("UDP 64 B lost at 70 % of it, %", ("tunrouter", "loss70"), "<", 0.1),
    Bar("  of it on the way to iperf3's socket", ("tunrouter", "loss70_way"), "<", 0.1),
    Bar("CPU s per GB, all three", ("tunrouter", "cpu"), "<=", 1 / 12, ("gost", "cpu")),
    Bar(
        "ping under one TCP stream, p99",
        ("tunrouter", "ping_load_p99"),
        "<=",
        1 / 3,
        ("gost", "ping_load_p99"),
    ),
    Bar("ping idle, median", ("tunrouter", "ping_idle"), "<=", 1.8, ("gost", "ping_idle")),
    Bar("superpackets off: TCP", ("tunrouter_off", "tcp1"), ">=", 2, ("gost", "tcp1")),
    Bar("superpackets off: UDP 64 B", ("tunrouter_off", "udp"), ">=", 2, ("gost", "udp")),
    Bar("our hub, GOST clients: TCP", ("tunrouter_gost", "tcp1"), ">=", 1.3, ("gost", "tcp1")),
    Bar("our hub, GOST clients: UDP 64 B", ("tunrouter_gost", "udp"), ">=", 1.1, ("gost", "udp")),
    *(
        Bar(f"executable: {row}", (owner, figure), relation, bound, (of, figure))
        for row, owner, figure, relation, bound, of in _EXECUTABLE
    ),
    Bar("100,000 routes: CPU a frame, 64 flows", ("forwarding", "flows_ratio"), "<=", 1.03),
    Bar("100,000 routes: CPU a frame, 1 address", ("forwarding", "destination_ratio"), "<=", 1.03),
    Bar("100,000 routes: TCP, 1 stream", ("tunrouter_100k", "tcp1"), "~", 1.0, ("tunrouter", "tcp1")),
    Bar("100,000 routes: UDP 64 B", ("tunrouter_100k", "udp"), "~", 1.0, ("tunrouter", "udp")),
    Bar("trie: look-ups a second", ("trie", "lookups"), ">=", 1.5, ("trie", "pytricia_lookups")),
    Bar("trie: memory", ("trie", "memory"), "<=", 2, ("trie", "pytricia_memory")),
    Bar("1 M routes: live after, s", ("tables", "live_s"), "<", 12),
    Bar("1 M routes: longest ping meanwhile, ms", ("tables", "ping_ms"), "<", 80),
    Bar("1 M routes: 1 % changed, of a full load", ("tables", "reload_ratio"), "<", 0.25),
    Bar("1 M routes: CPU a frame, 1 address", ("tables", "one_ratio"), "<=", 1.05),
    Bar("1 M routes: CPU a frame, 10,000 in turn", ("tables", "turn_ratio"), "<=", 1.5),
    Bar("1 M routes: TCP, 1 stream, of 10 routes'", ("tables", "tcp_ratio"), ">=", 0.9),
    Bar("handshakes with login and TLS a second", ("handshakes", "rate"), ">=", 300),
    Bar("  longest ping of others meanwhile, ms", ("handshakes", "ping_longest"), "<", 50),
    Bar("100 Mbit/s, full: ping p99 over idle, ms", ("shaped", "ping_over_idle"), "<=", 25),
    Bar("  the stream's share of it", ("shaped", "stream_share"), ">=", 0.9),
    *(
        Bar(f"3 times {what}, {by}: {row}", ("overload", f"{way}_{load}_{figure}"), relation, bound)
        for way, by in (("tcp", "over tcp"), ("tls", "over TLS"), ("datagrams", "by datagrams"))
        for load, what in _LOADS.items()
        for row, figure, relation, bound in _OVERLOADED
    ),
    *(
        Bar(f"{row}{what}", ("push", f"{case}_{figure}"), "<=", bound)
        for row, case in (("1,000 hosts, 1,000 routes", "inline"), ("1,000 hosts, 10,000 routes", "many"))
        for what, figure, bound in (
            (": told of a change, s", "seconds_most", 2),
            (", others' ping, ms", "ping_ms_most", 20),
        )
    ),
    Bar("1,000 hosts: told by a reload without a change", ("push", "same_hosts"), "<=", 0),
    Bar("100,000 ingress rules: us a look-up", ("tables", "ingress_us"), "<", 2),
    Bar("hub memory idle, MB", ("memory", "idle_mb"), "<=", 50),
    Bar("executable: hub memory idle, MB", ("memory", "binary_idle_mb"), "<=", 50),
    Bar("hub memory, KB a further client", ("memory", "kb_per_client"), "<=", 40),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what came of it."""

    bar: Bar
    figure: Summary | None
    of: Summary | None
    ratio: float | None
    """Of the medians; the figure itself where there is nothing to compare with; None without figures."""
    met: bool | None
    """None where there are no figures to tell by."""


def summarise(samples: Mapping[Key, Sequence[float]]) -> dict[Key, Summary]:
    """Medians, and the range they come from."""
    return {key: Summary(median(v), min(v), max(v), len(v)) for key, v in samples.items() if v}


def judge(bar: Bar, figures: Mapping[Key, Summary]) -> Verdict:
    """Compare medians of the same run."""
    figure = figures.get(bar.figure)
    of = figures.get(bar.of) if bar.of is not None else None
    if figure is None or (bar.of is not None and (of is None or not of.median)):
        return Verdict(bar, figure, of, None, None)
    ratio = figure.median / of.median if of is not None else figure.median
    if bar.relation == "~":
        assert of is not None
        return Verdict(bar, figure, of, ratio, figure.most >= bar.bound * of.least)
    return Verdict(bar, figure, of, ratio, _RELATIONS[bar.relation](ratio, bar.bound))


_RELATIONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt}
"""And ~, "no slower beyond the noise": the best round is at least as good as the other's worst."""
