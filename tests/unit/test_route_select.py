"""The rows that matter to a few addresses: a table of them routes these as the whole table does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib.config_findings import at_once
from lib.route_loader import RouteLoader
from lib.route_select import MAX_PREFIXES, select, small_table
from lib.route_table import RouteTable
from lib.settings import TableSettings
from tests.support.routes import drain, entry, gateways, packed

ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.1", "fd00::1", "fd00::2", "::ffff:10.0.0.1"]
PREFIXES = [
    *("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/31", "10.0.0.2/32", "10.1.0.0/16", "192.0.2.0/24"),
    *("::/0", "fd00::/8", "fd00::2/128", "::ffff:0:0/96", "::ffff:10.0.0.1/128"),
]
rows = st.lists(st.tuples(st.sampled_from(PREFIXES), st.sampled_from("abc")), max_size=12)


@given(rows, rows, rows, st.booleans(), st.sets(st.sampled_from(ADDRESSES)))
def test_it_routes_as_the_whole_table(
    inline: list[tuple[str, str]],
    one: list[tuple[str, str]],
    two: list[tuple[str, str]],
    first_match: bool,
    wanted: set[str],
) -> None:
    settings = TableSettings("r", routes=tuple(entry(*row) for row in inline), first_match=first_match)
    texts = {
        rank: (f"source {rank}", "".join(f"{prefix} {host}\n" for prefix, host in some).encode())
        for rank, some in ((1, one), (2, two))
        if some
    }
    whole = RouteTable()
    loader = RouteLoader(whole)
    drain(loader.inline(settings.routes, first_match))
    for rank, (name, text) in texts.items():
        drain(loader.source(rank, text, name))
    found = select(settings.routes, texts, {packed(one) for one in wanted}, {"a"}, at_once)
    small = small_table(settings, found)
    for one_wanted in wanted:
        address = packed(one_wanted)
        assert gateways(small.lookup(address)) == gateways(whole.lookup(address))
    written = {prefix for prefix, host in (*inline, *one, *two) if host == "a"}
    seen = {(size, prefix, length) for (_, size), some in found.prefixes.items() for prefix, length in some}
    expected = {entry(prefix, "a") for prefix in written}
    assert seen == {(len(row.prefix), row.prefix, row.length) for row in expected}


def test_of_a_host_with_very_many_prefixes_the_first_ones_are_found() -> None:
    routes = [entry(f"10.{number}.0.0/16", "a") for number in range(MAX_PREFIXES + 5)]
    found = select(routes, {}, (), {"a"}, at_once).prefixes["a", 4]
    assert list(found) == [(row.prefix, row.length) for row in routes[:MAX_PREFIXES]]


def test_others_have_their_turn_while_a_big_table_is_looked_through() -> None:
    text = "".join(f"10.{number >> 8}.{number & 255}.0/24 a\n" for number in range(2000)).encode()
    steps: list[None] = []
    select((), {1: ("file", text)}, (), (), lambda: steps.append(None))
    assert len(steps) == 6
