"""Names in nftables: of our tables, and of devices in rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from lib.netfilter_names import Table, parse, quoted
from tests.support import texts


@given(texts.from_bytes(15, without="\0").filter(bool))
def test_a_table_is_found_again_by_its_name_whatever_its_device_is_called(device: str) -> None:
    table = Table("map", device)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", table.name), "nft takes it without quotes"
    assert parse(table.name) == table


@pytest.mark.parametrize(
    ("table", "name"),
    [
        (Table("map", "tun0"), "tunrouter_map_tun0"),
        (Table("killswitch", "a_b-c.d"), "tunrouter_killswitch_a_b-c.2ed"),
        (Table("nat", "büro"), "tunrouter_nat_b.c3.bcro"),
        (Table("nat", "\udcff"), "tunrouter_nat_.ff"),
    ],
)
def test_names(table: Table, name: str) -> None:
    assert table.name == name
    assert parse(name) == table


@pytest.mark.parametrize(
    "name", ["filter", "tunrouter", "tunrouter_map", "tunrouter_map_", "xtunrouter_map_tun0",
             "tunrouter_Map_tun0", "tunrouter_map_tun/0", "tunrouter_map_tun.0", "tunrouter_map_.00"]
)  # fmt: skip
def test_tables_of_others_are_none_of_ours(name: str) -> None:
    assert parse(name) is None


def test_devices_in_rules() -> None:
    assert quoted("tun0") == '"tun0"'
    assert quoted("tun*") == r'"tun\*"'
    for name in ('a"b', "a\\b"):
        with pytest.raises(ValueError, match="nftables cannot have"):
            quoted(name)
