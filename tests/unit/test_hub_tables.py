"""Tables of a process over a reload: what services use stays until they use something else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lib.hub_tables import Tables
from lib.plugin_client import RouterPlugin
from lib.route_table import RouteTable
from lib.settings import Hop, PluginSettings, RouteEntry, Settings, TableSettings

ADDRESS = bytes((10, 0, 0, 1))
ROUTES = (RouteEntry(bytes((10, 0, 0, 0)), 8, Hop("g")),)
OLD = Settings(tables=(TableSettings("old", routes=ROUTES),))


@pytest.fixture
def tables() -> Iterator[Tables]:
    made = Tables(OLD)
    yield made
    made.stop()


def routes(tables: Tables, name: str) -> RouteTable:
    router = tables.routes(name)
    assert isinstance(router, RouteTable)
    return router


def test_packets_are_routed_by_a_table_that_goes_until_no_service_has_it(tables: Tables) -> None:
    new = Settings(tables=(TableSettings("new", routes=ROUTES),))
    old = routes(tables, "old")
    assert tables.apply(new) == ["router new: added"]
    assert old.lookup(ADDRESS) is not None
    assert tables.routes("old") is old
    assert tables.leave(new) == ["router old: removed"]
    assert old.lookup(ADDRESS) is None
    assert [name for name, _ in tables.routers()] == ["new"]


def test_packets_are_routed_by_a_table_that_becomes_a_plugin_until_services_ask_that(tables: Tables) -> None:
    asked = Settings(tables=(TableSettings("old", plugin=PluginSettings("http://127.0.0.1:1")),))
    old = routes(tables, "old")
    assert tables.apply(asked) == ["router old: added"]
    assert isinstance(tables.routes("old"), RouterPlugin)
    assert old.lookup(ADDRESS) is not None
    assert not tables.leave(asked)
    assert old.lookup(ADDRESS) is None


def test_the_same_settings_change_nothing(tables: Tables) -> None:
    changes = routes(tables, "old").changes
    assert not tables.apply(OLD)
    assert not tables.leave(OLD)
    assert routes(tables, "old").changes == changes
