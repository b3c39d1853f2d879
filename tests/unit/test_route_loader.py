"""Filling a table: lines, bad lines, and that a load by the difference is as good as a fresh one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import source_text
from lib.route_loader import LoadReport, RouteLoader
from lib.route_parse import BadLine, RouteLines, pieces
from lib.route_table import ENROLLED, LEASED, MAX_ROWS, RouteTable
from lib.settings import Hop, RouteEntry
from lib.source_bad_lines import MAX_REPORTED
from lib.source_text import NoTable
from tests.support.opcodes import longest_step
from tests.support.routes import drain, entry, gateways, packed

Table = list[tuple[str, tuple[tuple[str, ...], ...], bool]]


def content(table: RouteTable) -> Table:
    return [(str(route), route.group.tiers, route.group.fall_through) for route in table]


def load(loader: RouteLoader, text: str | bytes, rank: int = 1) -> LoadReport:
    data = text if isinstance(text, bytes) else text.encode()
    return drain(loader.source(rank, data, f"source-{rank}"))


def counts(report: LoadReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.removed, report.total


# --- lines


@pytest.mark.parametrize(
    ("line", "route"),
    [
        ("10.0.0.0/8 host-1", entry("10.0.0.0/8", "host-1")),
        ("10.0.0.0/8\thost-1", entry("10.0.0.0/8", "host-1")),
        ("  10.0.0.1 \t host-1  \r", entry("10.0.0.1/32", "host-1")),
        ("10.0.0.7/8 host-1", entry("10.0.0.0/8", "host-1")),
        ("fd00::1/64 host-1", entry("fd00::/64", "host-1")),
        ("fd00::1 host-1 # why", entry("fd00::1/128", "host-1")),
        ("10.0.0.0/8 host-1#why", entry("10.0.0.0/8", "host-1")),
        ("0.0.0.0/0 host-1 metric=10", entry("0.0.0.0/0", "host-1", 10)),
        ("0.0.0.0/0 host-1 FALLTHROUGH Metric=0", entry("0.0.0.0/0", "host-1", 0, True)),
        ("10.0.0.1 xn--hst-sna", entry("10.0.0.1/32", "xn--hst-sna")),
        ("", None),
        ("   \t ", None),
        ("# 10.0.0.0/8 host-1", None),
        ("  # comment", None),
    ],
)
def test_a_line(line: str, route: RouteEntry | None) -> None:
    assert RouteLines().read(line.encode()) == route


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("10.0.0.0/8", "without a gateway"),
        ("10.0.0.0/8 # host-1", "without a gateway"),
        ("10.0.0.0/8#host-1", "without a gateway"),
        ("10.0.0.0/8#x host-1", "without a gateway"),
        ("10.0.0.0/33 host-1", "not a prefix length"),
        ("10.0.0.0/ host-1", "not a prefix length"),
        ("10.0.0.0/-1 host-1", "not a prefix length"),
        ("10.0.0.0/08 host-1", "not a prefix length"),
        ("fd00::/129 host-1", "not a prefix length"),
        ("10.0.0 host-1", "not an address"),
        ("010.0.0.1 host-1", "not an address"),
        ("host-1 10.0.0.0/8", "not an address"),
        ("10.0.0.1\0 host-1", "not an address"),
        ("10.0.0.1 ho\0st", "no host can go by"),
        ("10.0.0.1 host-1 host-2", "after the gateway"),
        ("10.0.0.1 host-1 metric=-1", "after the gateway"),
        ("10.0.0.1 host-1 metric=x", "after the gateway"),
        ("10.0.0.1 host-1 metric=\u0663", "after the gateway"),
    ],
)
def test_a_bad_line(line: str, why: str) -> None:
    with pytest.raises(BadLine, match=why):
        RouteLines().read(line.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_route_or_nothing_or_a_bad_line(line: bytes) -> None:
    try:
        route = RouteLines().read(line)
    except BadLine:
        return
    assert route is None or (len(route.prefix) in (4, 16) and 0 <= route.length <= 8 * len(route.prefix))


@given(st.binary(max_size=200), st.integers(1, 50))
def test_pieces_are_all_the_lines(text: bytes, size: int) -> None:
    lines = [line for piece in pieces(text, size) for line in piece]
    whole = text.split(b"\n")
    assert lines == whole[: len(lines)], "each at its number"
    assert not any(whole[len(lines) :])


def test_bad_lines_are_told_with_their_places_and_the_rest_counts() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    bad = "".join(f"nonsense-{n} host\n" for n in range(MAX_REPORTED + 5))
    report = load(loader, f"10.0.0.0/8 a\n{bad}11.0.0.0/8 b\n")
    assert counts(report) == (2, 0, 0, 2)
    told = list(map(str, report.warnings))
    assert len(told) == MAX_REPORTED + 1
    assert told[0].startswith("source-1:2:1: not an address or CIDR: 'nonsense-0'")
    assert told[-1] == "source-1: 5 more bad lines are left out"
    report = load(loader, f"10.0.0.0/8 a\n{bad}11.0.0.0/8 b\nnew nonsense\n")
    assert [str(w).partition(": ")[0] for w in report.warnings] == ["source-1:18:1"], "only what is new"


# --- the difference


def test_what_a_load_reports() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    lines = [f"10.{n}.0.0/16 a" for n in range(100)]
    assert counts(load(loader, "\n".join(lines))) == (100, 0, 0, 100)
    lines[5], lines[7], lines[9] = "10.5.0.0/16 b", "10.7.0.0/16  a # the same", "11.0.0.0/8 c"
    before = table.changes
    assert counts(load(loader, "\n".join(lines))) == (1, 1, 1, 100)
    assert table.changes == before + 1
    assert counts(load(loader, "\n".join(lines))) == (0, 0, 0, 100)
    assert table.changes == before + 1, "nothing new, nothing to forget"
    assert counts(load(loader, source_text.EMPTY)) == (0, 0, 100, 0)


@pytest.mark.parametrize("first_match", [False, True])
def test_a_text_without_a_route_is_no_table_after_one_with_some(first_match: bool) -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    drain(loader.inline([], first_match))
    load(loader, "10.0.0.0/8 a\n11.0.0.0/8 b")
    load(loader, "12.0.0.0/8 c", 2)
    before, changes = content(table), table.changes
    for text in ("", "# nothing", "nonsense\n" * 5000, "10.0.0.0/8,a"):
        for _ in range(2):
            with pytest.raises(NoTable):
                load(loader, text)
    assert (content(table), table.changes) == (before, changes)
    assert counts(load(loader, "11.0.0.0/8 b")) == (0, 0, 1, 2)
    with pytest.raises(NoTable, match="no rows any more"):
        load(loader, "")
    assert counts(load(loader, source_text.EMPTY)) == (0, 0, 1, 1)
    assert counts(load(loader, "")) == (0, 0, 0, 1), "it was empty before"
    drain(loader.forget(2))
    assert counts(load(loader, "# not yet", 2)) == (0, 0, 0, 0), "what is forgotten had no rows"


def test_sources_in_their_order_whichever_comes_first() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    load(loader, "10.0.0.0/8 redis\n12.0.0.0/8 redis", 2)
    load(loader, "10.0.0.0/8 file-1\n10.0.0.0/8 file-2\n11.0.0.0/8 file-1", 1)
    drain(loader.inline([entry("10.0.0.0/8", "inline")]))
    assert gateways(table.lookup(packed("10.0.0.1"))) == ("inline", "file-1", "file-2", "redis")
    load(loader, "10.0.0.0/8 file-2\n11.0.0.0/8 file-1", 1)
    assert gateways(table.lookup(packed("10.0.0.1"))) == ("inline", "file-2", "redis")
    drain(loader.inline([]))
    drain(loader.forget(1))
    assert gateways(table.lookup(packed("10.0.0.1"))) == ("redis",)
    assert table.lookup(packed("11.0.0.1")) is None


def test_the_table_is_the_old_one_until_the_last_step() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    places = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(2000)]
    load(loader, "\n".join(f"{place} a" for place in places))
    others = [f"{place} b" for place in places]
    for text in (
        "\n".join(others),
        "\n".join([*others[1:], f"{places[0]} c"]),
    ):  # afresh, and by the difference
        old, changes, waited = content(table), table.changes, 0
        for _ in loader.source(1, text.encode(), "source-1"):
            if table.changes == changes:
                assert content(table) == old
                waited += 1
        assert waited > 1, "there was a moment to look in"
        assert content(table) != old


def test_a_load_that_is_dropped_has_done_nothing() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    text = "\n".join(f"10.{n}.0.0/16 a" for n in range(200))
    load(loader, text)
    old = content(table)
    steps = loader.source(1, text.replace("10.7.0.0/16 a", "10.7.0.0/16 b").encode(), "source-1")
    next(steps)
    steps.close()
    assert content(table) == old
    assert counts(load(loader, text.replace(" a", " c", 1))) == (0, 1, 0, 200)


PREFIXES = [
    "10.0.0.0/8",
    "10.9.9.9/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.1",
    "10.1.1.1/32",
    "0.0.0.0/0",
    "::/0",
]
ROWS = st.builds(
    "{} {}{}".format,
    st.sampled_from(PREFIXES),
    st.sampled_from("abc"),
    st.sampled_from(["", " metric=1", " fallThrough", " # why"]),
)
TEXTS = st.lists(ROWS | st.sampled_from(["", "# a comment", "nonsense"]), max_size=12).map("\n".join)
FILLER = "\n" + "\n".join(f"20.{n}.0.0/16 z" for n in range(60))
"""So that a few lines are not most of the table."""


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), TEXTS), min_size=2, max_size=5), st.booleans(), st.booleans()
)
def test_loads_by_the_difference_are_as_good_as_fresh_ones(
    loads: list[tuple[int, str]], first_match: bool, filler_first: bool
) -> None:
    inline = [entry("10.1.0.0/16", "i"), entry("30.0.0.0/8", "i")]
    table = RouteTable()
    loader = RouteLoader(table)
    drain(loader.inline(inline, first_match))
    last: dict[int, str] = {}
    for rank, text in loads:
        last[rank] = FILLER + "\n" + text if filler_first else text + FILLER
        load(loader, last[rank], rank)
        fresh = RouteTable()
        anew = RouteLoader(fresh)
        drain(anew.inline(inline, first_match))
        for rank_, text_ in sorted(last.items()):
            load(anew, text_, rank_)
        assert content(table) == content(fresh)


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_edits_of_a_big_table(rng: random.Random) -> None:
    rows = [f"10.{n >> 8}.{n & 255}.0/24 host-{n % 7}" for n in range(1500)]
    table = RouteTable()
    loader = RouteLoader(table)
    load(loader, "\n".join(rows))
    for _ in range(3):
        for _ in range(rng.randrange(40)):
            kind, n = rng.randrange(4), rng.randrange(len(rows))
            if kind == 0:
                rows[n] = rows[n].rpartition(" ")[0] + f" host-{rng.randrange(9)}"
            elif kind == 1:
                del rows[n]
            elif kind == 2:
                rows.insert(n, f"10.{rng.randrange(6)}.{rng.randrange(256)}.{rng.randrange(256)} host-x")
            else:
                rows.append(rows[n])
        load(loader, "\n".join(rows))
        fresh = RouteTable()
        load(RouteLoader(fresh), "\n".join(rows))
        assert content(table) == content(fresh)
        assert all(hop.__class__ is Hop for route in table for _, hop in route.group.rows)


def test_rows_of_one_prefix_have_a_bound() -> None:
    """A source that repeats itself costs no more than its size, and a later text counts as it would afresh."""
    table = RouteTable()
    loader = RouteLoader(table)

    def load(text: str) -> LoadReport:
        steps = loader.source(1, text.encode(), "fuzz")
        while True:
            try:
                next(steps)
            except StopIteration as done:
                report: LoadReport = done.value
                return report

    lines = [f"10.0.0.0/8 host-{number}\n" for number in range(50_000)]
    began = time.process_time()
    report = load("".join(lines))
    assert time.process_time() - began < 5
    assert [str(warning) for warning in report.warnings] == [
        f"fuzz: {len(lines) - MAX_ROWS:,} rows left out: a prefix may have {MAX_ROWS}"
    ]
    (route,) = table
    assert len(route.group.names) == MAX_ROWS
    load("".join(lines[10:]))  # a difference: what was left out before counts now
    (route,) = table
    assert route.group.names == {f"host-{number}" for number in range(10, 10 + MAX_ROWS)}
    load("".join(lines[10:20]))
    (route,) = table
    assert len(route.group.names) == 10


def test_packets_have_their_turn_however_many_gateways_a_prefix_has() -> None:
    """Every gateway more puts all of its prefix in order again: 42 ms at once, for 200 of them."""

    def longest(entries: list[RouteEntry]) -> int:
        def work(step: Callable[[], None]) -> None:
            for _ in RouteLoader(RouteTable()).inline(entries):
                step()

        return longest_step(work)

    apart = longest([entry(f"10.0.{n >> 8}.{n & 255}/32", "host-1") for n in range(600)])
    together = longest([entry("10.0.0.0/8", f"host-{n}") for n in range(200)])
    assert together < 2 * apart


def test_leases_and_routes_to_enrolled_hosts_leave_each_other_alone() -> None:
    """They are rows of two origins, also of one address."""
    table = RouteTable()
    loader = RouteLoader(table)
    prefix = packed("10.20.0.7"), 32
    drain(loader.source(ENROLLED, b"10.20.0.7 host-1\n", "enrolled hosts"))
    for leases, names in (({prefix: Hop("host-2")}, ("host-1", "host-2")), ({}, ("host-1",))):
        drain(loader.leases(leases))
        assert gateways(table.lookup(prefix[0])) == names
        assert loader.leased == leases
    assert ENROLLED != LEASED


# --- leases


def lend(loader: RouteLoader, **leases: str) -> LoadReport:
    wanted = {(packed(address), 8 * len(packed(address))): Hop(host) for host, address in leases.items()}
    return drain(loader.leases(wanted))


def test_leases_are_rows_beside_all_others_and_only_changes_are_made() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    drain(loader.inline([entry("10.0.0.0/8", "a"), entry("10.0.0.9/32", "b")]))
    assert counts(lend(loader, c="10.0.0.1", d="fd00::1", e="10.0.0.9")) == (2, 1, 0, 4)
    assert gateways(table.lookup(packed("10.0.0.1"))) == ("c",)
    assert gateways(table.lookup(packed("fd00::1"))) == ("d",)
    assert gateways(table.lookup(packed("10.0.0.9"))) == ("b", "e"), "what is written goes first"
    assert counts(lend(loader, c="10.0.0.1", d="fd00::1", e="10.0.0.9")) == (0, 0, 0, 4)
    changes = table.changes
    assert counts(lend(loader, c="10.0.0.2", d="fd00::1")) == (1, 1, 1, 4)
    assert table.changes == changes + 1, "one change for all of them"
    assert gateways(table.lookup(packed("10.0.0.1"))) == ("a",)


def test_leases_outlive_every_load() -> None:
    table = RouteTable()
    loader = RouteLoader(table)
    lend(loader, c="10.0.0.1")
    drain(loader.inline([entry("10.0.0.0/8", "a")]))
    load(loader, "10.1.0.0/16 b\n")
    load(loader, "10.2.0.0/16 b\n")
    assert [str(route) for route in table] == ["10.0.0.0/8", "10.0.0.1/32", "10.2.0.0/16"]
    drain(loader.inline([], first_match=True))
    assert [str(route) for route in table] == ["10.2.0.0/16"], "in GOST's order there is no pool"
    lend(loader, c="10.0.0.1", d="10.0.0.2")
    assert [str(route) for route in table] == ["10.2.0.0/16"]
    drain(loader.inline([], first_match=False))
    assert [str(route) for route in table] == ["10.0.0.1/32", "10.0.0.2/32", "10.2.0.0/16"]
