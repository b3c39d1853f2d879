"""The benchmark over wires: its notation, how reports of iperf3 become figures, its bars, tables and pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import publish, wire_plot
from tests.bench.bars import Summary
from tests.bench.measure import RunFailed, quantile
from tests.bench.peers import Peer, all_peers
from tests.bench.wire_bars import WireBar, judge, judged, wire_bars, worst_loss
from tests.bench.wire_report import PEERS, bars, changing_columns, number, table, tables, wire_title
from tests.bench.wire_runs import RUNS, call_figures, changing_figures
from tests.bench.wires import CURVE, TABLE, runs_over
from tests.support.marked import between
from tests.support.wires import Wire, wire_of


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("20", Wire("20", 20, 20)),
        ("5/50", Wire("5/50", 5, 50)),
        ("0.5", Wire("0.5", 0.5, 0.5)),
        ("200+1%", Wire("200+1%", 200, 200, loss=1)),
        ("200+0.3%+noudp", Wire("200+0.3%+noudp", 200, 200, loss=0.3, udp=False)),
        ("100-5-100", Wire("100-5-100", 100, 100, later=(5, 100))),
    ],
)
def test_a_wire_is_read_from_its_short_notation(text: str, wire: Wire) -> None:
    assert wire_of(text) == wire


@pytest.mark.parametrize(
    "text", ["", "fast", "20%", "5/50/5", "5/50-5", "20+udp", "20+1", "20 ", "-5", "20+noudp+1%"]
)
def test_what_is_no_wire_is_named(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        wire_of(text)
    assert repr(text) in str(raised.value)


def test_the_other_host_of_an_uneven_wire_is_not_the_narrow_one() -> None:
    assert wire_of("5/50+1%").far == Wire("5/50+1%", 50, 50, loss=1)


def test_every_wire_of_the_benchmark_is_one() -> None:
    for text in (*TABLE, *CURVE, *publish.WIRES, *wire_plot.BESIDE, *(bar.wire for bar in wire_bars(30))):
        assert wire_of(text).name == text


def test_a_call_is_told_by_its_receiver() -> None:
    intervals = [
        {"sum": {"packets": 300, "lost_packets": lost, "jitter_ms": jitter}}
        for lost, jitter in ((0, 0.5), (3, 9.0), (6, 0.7))
    ]
    assert call_figures({"intervals": intervals}) == {"call_lost": 1.0, "call_jitter": 0.7}
    with pytest.raises(RunFailed):
        call_figures({"intervals": []})


def test_pings_and_bytes_belong_to_the_rate_that_the_wires_had_then() -> None:
    rows = [(0, 10), (1, 10), (2, 2), (3, 4), (4, 8), (5, 8), (6, 100)]  # Mbit in this second
    report = {
        "intervals": [
            {"sum": {"start": start + 0.01, "seconds": 1.0, "bytes": mbit * 125_000}} for start, mbit in rows
        ]
    }
    came = [(1, 40.0), (100, 42.0), (101, 300.0), (200, 90.0), (201, 41.0), (300, 43.0)]
    assert changing_figures(report, came, (10, 5, 8), 2.0) == {
        "tcp_1_at_10": pytest.approx(10),
        "ping_1_at_10": 41.0,
        "ping_1_at_10_p99": 40.0,
        "tcp_2_at_5": pytest.approx(3),
        "ping_2_at_5": 195.0,
        "ping_2_at_5_p99": 90.0,
        "tcp_3_at_8": pytest.approx(8),
        "ping_3_at_8": 42.0,
        "ping_3_at_8_p99": 41.0,
    }
    with pytest.raises(RunFailed, match="5 Mbit/s"):
        changing_figures(report, [(1, 40.0)], (10, 5, 8), 2.0)


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(list(map(float, range(1, 102))), 0.99) == 100.0


def peer(name: str) -> Peer:
    return next(peer for peer in all_peers(Path("/nowhere")) if peer.name == name)


@pytest.mark.parametrize(
    ("wire", "name", "runs"),
    [
        ("20", "tunrouter", RUNS[:-1]),
        ("20", "wireguard", RUNS[:-1]),
        ("20+noudp", "wireguard", ()),
        ("20+noudp", "kernel", ("idle", "up", "down", "tcp8")),
        ("20+noudp", "tunrouter", RUNS[:-1]),
        ("100-5-100", "gost", ("idle", "changing")),
        (CURVE[0], "gost", ("up",)),
    ],
)
def test_what_needs_udp_is_not_measured_where_it_is_blocked(
    wire: str, name: str, runs: tuple[str, ...]
) -> None:
    assert runs_over(wire_of(wire), peer(name)) == runs


def test_every_peer_of_the_tables_exists() -> None:
    assert set(PEERS) <= {each.name for each in all_peers(Path("/nowhere"))}
    assert set(wire_plot.LINES) == set(PEERS)


def summary(value: float) -> Summary:
    return Summary(value, value, value, 1)


@pytest.mark.parametrize(
    ("figures", "bound", "met"),
    [
        ({("a", "ping_up"): 66.9, ("a", "ping_idle"): 42.0}, 67.0, True),
        ({("a", "ping_up"): 67.1, ("a", "ping_idle"): 42.0}, 67.0, False),
        ({("a", "ping_up"): 67.1}, None, None),
        ({("a", "ping_idle"): 42.0}, None, None),
    ],
)
def test_a_bar_is_so_much_over_another_figure(
    figures: dict[tuple[str, str], float], bound: float | None, met: bool | None
) -> None:
    bar = WireBar("20", "row", ("a", "ping_up"), "<=", 25, ("a", "ping_idle"))
    verdict = judge(bar, {"20": {key: summary(value) for key, value in figures.items()}})
    assert (verdict.bound, verdict.met) == (bound, met)
    assert judge(bar, {"200": {}}).met is None


def test_a_bar_may_be_a_share_or_stand_alone() -> None:
    of_bare = WireBar("20", "row", ("a", "tcp"), ">=", 0, ("kernel", "tcp"), 0.95)
    here = {"20": {("a", "tcp"): summary(18.2), ("kernel", "tcp"): summary(19.0)}}
    assert judge(of_bare, here).met
    assert not judge(WireBar("20", "row", ("a", "tcp"), ">=", 100), here).met


def test_a_call_may_lose_what_the_wires_lose_and_three_standard_errors_more() -> None:
    assert worst_loss(1.0, 2, 9000) == pytest.approx(1.99 + 0.4416, abs=0.001)
    assert worst_loss(0.0, 2, 9000) == 0.0


def rows(**figures: float) -> dict[str, Any]:
    return {name: {"median": v, "least": v, "most": v, "count": 1} for name, v in figures.items()}


def whole() -> dict[str, Any]:
    """A made-up run, as its JSON has it."""
    part = {"loss": 0.0, "later": False, "timed": 4, "disturbed": 1, "missing": {}, "errors": [], "trips": {}}
    even = {
        "kernel": rows(tcp_up=19.0, ping_idle=40.6, ping_idle_p99=41.0),
        "tunrouter": rows(
            tcp_up=18.5, ping_idle=41.8, ping_idle_p99=42.4, ping_up=70.1, ping_up_p99=80.0, over_of_best=0.97
        ),
    }
    lossy = {"tunrouter": rows(tcp_up=110.0, ping_up=60.0)}
    changing = {"tunrouter": rows(ping_idle=41.0, tcp_1_at_100=90.0, ping_1_at_100=44.0, tcp_2_at_5=4.5)}
    return {
        "when": "2026-11-26T15:00:00",
        "seconds": 100,
        "each": 30,
        "rounds": 5,
        "quick": False,
        "command": "--wires 20",
        "machine": {
            "kernel": "6.18.44-x",
            "cores": 2,
            "python": "3.11.7",
            "congestion_control": "reno",
            "wireguard": "",
        },
        "wires": {
            "20": part | {"rates": [20.0], "figures": even, "trips": {"tunrouter": {"up": [1.0] * 101}}},
            "200+1%": part | {"rates": [200.0], "loss": 1.0, "figures": lossy},
            "100-5-100": part | {"rates": [100.0, 5.0, 100.0], "later": True, "figures": changing},
        },
    }


def test_a_table_has_the_columns_and_rows_that_were_measured() -> None:
    figures = {"20": whole()["wires"]["20"]["figures"]}
    columns = (
        ("TCP", ("tcp_up",)),
        ("TCP ×8", ("tcp8",)),
        ("ping", ("ping_idle", "ping_idle_p99")),
        ("up", ("ping_up",)),
    )
    assert list(table(figures, columns)) == [
        "| wire | | TCP | ping | up |",
        "|---|---|---|---|---|",
        "| 20 Mbit/s, no loss | tunrouter, tcp | 18 | 42 / 42 | 70 |",
        "|  | bare wire | 19 | 41 / 41 |  |",
    ]


def test_the_report_has_every_wire_and_its_bars() -> None:
    lines = list(tables(whole()))
    assert "| 100, then 5, then 100 Mbit/s, no loss | tunrouter, tcp | 41 | 90 | 44 | 4.5 |" in lines
    assert "| 200 Mbit/s, 1% lost | tunrouter, tcp | 110 |  | 60 |" in lines
    assert [(verdict.bar.figure[1], verdict.met) for verdict in judged(whole())] == [
        ("ping_up", False),
        ("ping_up_p99", True),
        ("tcp_up", True),
        ("tcp_up", True),
        ("over_of_best", True),
    ]
    assert sum("**not met**" in line for line in bars(whole())) == 1


def test_a_run_without_figures_has_neither_tables_nor_bars() -> None:
    nothing = whole() | {"wires": {"20": whole()["wires"]["20"] | {"figures": {}}}}
    assert list(bars(nothing)) == []
    assert list(tables(nothing)) == []


def test_the_columns_of_a_changing_wire_are_told_apart() -> None:
    assert [names for _, names in changing_columns([100, 5])][1:] == [
        ("tcp_1_at_100",),
        ("ping_1_at_100", "ping_1_at_100_p99"),
        ("tcp_2_at_5",),
        ("ping_2_at_5", "ping_2_at_5_p99"),
    ]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("20", "20 Mbit/s, no loss"),
        ("5/50", "5 Mbit/s up, 50 down, no loss"),
        ("200+1%+noudp", "200 Mbit/s, 1% lost, UDP blocked"),
        ("100-5-100", "100, then 5, then 100 Mbit/s, no loss"),
    ],
)
def test_a_wire_is_told_in_words(name: str, title: str) -> None:
    assert wire_title(name) == title


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0"), (0.123, "0.12"), (4.56, "4.6"), (41.7, "42"), (1234.5, "1,234")]
)
def test_figures_have_as_many_digits_as_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_throughput_over_loss_is_of_wires_of_one_rate() -> None:
    run = whole()
    clean = run["wires"]["20"] | {"rates": [200.0]}
    run["wires"] |= {"200": clean, "200+1%+noudp": run["wires"]["200+1%"]}
    assert wire_plot.losses(run) == {0.0: {"kernel": 19.0, "tunrouter": 18.5}, 1.0: {"tunrouter": 110.0}}
    assert wire_plot.beside_an_upload(run, "20") == {"tunrouter": [1.0] * 101}
    assert wire_plot.beside_an_upload(run, "5/50") == {}


def test_the_pages_figures_of_wires_are_those_of_the_run_that_is_kept() -> None:
    kept = json.loads(publish.WIRE_FIGURES.read_text()) if publish.WIRE_FIGURES.exists() else None
    pages = publish.wire_pages(kept) if kept else dict.fromkeys((publish.README, publish.RESULTS), "")
    for page, text in pages.items():
        assert page.read_text(encoding="utf-8").count(publish.WIRE_BEGIN) == 1, page
        assert between(page, publish.WIRE_BEGIN, publish.WIRE_END) == text, (
            "run: tests/bench/publish.py build/wires.json"
        )


def test_what_is_published_says_how_to_make_it_again() -> None:
    pages = publish.wire_pages(whole())
    assert "`tests/bench/wires.py --wires 20`" in pages[publish.RESULTS]
    assert "| | tunrouter, tcp | bare wire |" in pages[publish.README]
    assert "| 20 Mbit/s, no loss: TCP, 1 stream, Mbit/s | 18 | 19 |" in pages[publish.README]
    assert "upload, under a download, median ms | 42 / 70 | 41 |" in pages[publish.README]
    assert "100, then 5" not in pages[publish.README]


def test_runs_over_different_wires_are_published_as_one() -> None:
    one, other = whole(), whole()
    other["command"], other["wires"] = "--wires 200", {"200": other["wires"].pop("20")}
    run = publish.joined([one, other])
    assert list(run["wires"]) == [*one["wires"], "200"]
    assert run["seconds"] == one["seconds"] + other["seconds"]
    page = publish.wire_pages(run)[publish.RESULTS]
    assert page.startswith(
        "Made by `tests/bench/wires.py --wires 20`, `tests/bench/wires.py --wires 200`, then"
    )


@pytest.mark.parametrize(
    ("what", "value", "says"),
    [
        ("rounds", 99, "differ in 'rounds'"),
        ("each", 1, "differ in 'each'"),
        ("quick", False, "two runs over"),
    ],
)
def test_runs_that_are_not_alike_are_not_published_as_one(what: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        publish.joined([whole(), whole() | {what: value}])
