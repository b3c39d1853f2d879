"""The bound of memory that follows from settings: what raises it, by how much, and that it is printed."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from lib import (
    api_app,
    api_board,
    api_bodies,
    api_hosts,
    api_json,
    api_live,
    api_server,
    api_shared,
    limits,
    notify_presence,
    plugin_cache,
    push_pool,
    settings_memory,
    settings_summary,
)
from lib.acl_connections import CONNECTION_BYTES, DATAGRAM_BYTES, MAX_CONNECTIONS, MAX_DATAGRAMS
from lib.hub import flows_of
from lib.namespace import MAX_FLOWS
from lib.settings import HubSettings, Settings, TableSettings
from lib.settings_api import ApiSettings
from lib.settings_cluster import EntrypointSettings, SdSettings
from lib.settings_limits import CountLimit, HubLimits
from lib.settings_memory import ALL_FLOWS, CONNECTION, LEAST_FLOWS, SLACK, bound, connections, parts
from lib.settings_notify import NotifySettings
from lib.settings_sources import PluginSettings
from lib.settings_transport import TransportSettings
from tests.unit import test_api_history

HUB = HubSettings("hub", "", 8443, lanes=1, limits=HubLimits(connections=(CountLimit("$", 1000),)))
ALONE = Settings(hubs=(HUB,))
ENTRYPOINT = EntrypointSettings(SdSettings("sd", PluginSettings("http://p")), "", 1, "192.0.2.1:1")


def with_hub(**changes: object) -> Settings:
    return Settings(hubs=(replace(HUB, **changes),))  # type: ignore[arg-type]


PLUGIN, LISTED = TableSettings("r", plugin=PluginSettings("http://p")), TableSettings("r", acl=())


def with_tables(default: TableSettings | None, *others: TableSettings) -> Settings:
    tables = (*others, *([default] if default is not None else ()))
    return replace(with_hub(default_table=default), tables=tables)


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        pytest.param(with_hub(queue_memory=HUB.queue_memory + 100), 100 * SLACK, id="queueMemory"),
        pytest.param(
            with_hub(limits=HubLimits(connections=(CountLimit("$", 1100),))),
            100 * CONNECTION["tcp"],
            id="climiter",
        ),
        pytest.param(
            with_hub(transport=TransportSettings("wss")),
            1000 * (CONNECTION["wss"] - CONNECTION["tcp"]),
            id="wss",
        ),
        pytest.param(
            with_hub(lanes=2), 1000 * CONNECTION["tcp"] + ALL_FLOWS * settings_memory.LANE_FLOW, id="lanes"
        ),
        pytest.param(with_hub(entrypoint=ENTRYPOINT), settings_memory.ENTRYPOINT, id="entrypoint"),
        pytest.param(replace(ALONE, recorder=1 << 24), (1 << 24) * SLACK, id="recorder"),
        pytest.param(replace(ALONE, control="/x"), settings_memory.CAPTURES, id="captures"),
        pytest.param(replace(ALONE, api=ApiSettings(socket="/x")), settings_memory.API, id="api"),
        pytest.param(with_tables(PLUGIN), settings_memory.PLUGIN, id="plugin"),
        pytest.param(with_tables(LISTED), settings_memory.CONNECTIONS_TABLE, id="acl"),
        pytest.param(
            with_tables(LISTED, TableSettings("n", b"n" * 16), TableSettings("m", b"m" * 16)),
            3 * settings_memory.CONNECTIONS_TABLE,
            id="acl of all",
        ),
        pytest.param(
            with_tables(None, replace(LISTED, namespace=b"n" * 16)),
            settings_memory.CONNECTIONS_TABLE,
            id="acl of one",
        ),
        pytest.param(
            with_tables(PLUGIN, replace(PLUGIN, namespace=b"n" * 16)),
            3 * settings_memory.PLUGIN,
            id="plugin of both",
        ),
        pytest.param(
            with_tables(None, TableSettings("n", b"n" * 16, own=(ip_interface("10.0.0.1/8"),))),
            settings_memory.FRAGMENTS,
            id="own address",
        ),
        pytest.param(
            with_tables(None, TableSettings("n", pool=((bytes([10, 0, 0, 0]), 24),))),
            256 * settings_memory.LEASE,
            id="pool",
        ),
        pytest.param(replace(ALONE, notify=(NotifySettings("n"),)), settings_memory.PRESENCE, id="notify"),
    ],
)
def test_each_setting_counts(settings: Settings, more: float) -> None:
    assert bound(settings) == pytest.approx(bound(ALONE) + more)


def test_the_lowest_limit_for_all_counts_and_the_pool_where_there_is_none() -> None:
    rows = (CountLimit("$$", 5), CountLimit("$", 70), CountLimit("$", 50))
    assert connections(replace(HUB, limits=HubLimits(connections=rows))) == 50
    assert connections(replace(HUB, limits=HubLimits())) == settings_memory.MAX_CLIENTS


def test_it_is_printed_with_its_parts() -> None:
    whole = json.loads(settings_summary.as_json(ALONE))
    assert whole["memoryBoundMb"] == pytest.approx(sum(whole["memory"].values()), abs=1)
    words = list(settings_summary.words(ALONE))
    assert f"memory: at most {whole['memoryBoundMb']:,} MB, whatever peers do" in words
    assert sum(line.endswith(part.what) for part in parts(ALONE) for line in words) == len(parts(ALONE))


@pytest.mark.parametrize("sessions", [0, 1, 10, 100, 1000, 4096, 65536])
def test_all_flows_have_the_bound_that_is_counted(sessions: int) -> None:
    each = flows_of(sessions)
    assert LEAST_FLOWS <= each <= MAX_FLOWS
    assert each * sessions <= max(ALL_FLOWS, sessions * LEAST_FLOWS)


def test_the_parts_are_what_the_tables_may_hold() -> None:
    fragments = MAX_DATAGRAMS * DATAGRAM_BYTES
    assert fragments == settings_memory.FRAGMENTS
    assert MAX_CONNECTIONS * CONNECTION_BYTES + fragments == settings_memory.CONNECTIONS_TABLE
    questions = plugin_cache.MAX_ASKING * settings_memory.QUESTION
    assert plugin_cache.MAX_REPLIES * plugin_cache.REPLY_BYTES + questions == settings_memory.PLUGIN
    assert push_pool.MAX_LEASES == settings_memory.MAX_LEASES
    assert 4 * notify_presence.MAX_GONE * 450 == settings_memory.PRESENCE
    assert limits.MAX_ADDRESSES * 450 < settings_memory.HUB


def test_hubs_of_one_domain_share_what_is_made_up() -> None:
    one, two = replace(HUB, name="a", domain="d"), replace(HUB, name="b", domain="d")
    apart = replace(two, domain="")
    shared = bound(Settings(hubs=(one, apart))) - bound(Settings(hubs=(one, two)))
    assert shared == settings_memory.COMMONS + settings_memory.MAX_ASKING * settings_memory.QUESTION


def test_what_the_web_api_keeps_of_hosts_fits_its_part() -> None:
    """A host's curves, its object and its row; the differences of two scopes; replies kept, or being compressed."""
    host = test_api_history.size() + 5000
    kept = api_hosts.MAX_HOSTS * host + 4 * api_board.KEPT * 400e3 + api_live.MAX_PAGES * 400e3
    kept += api_shared.KEPT * 300e3 + 10 * 1.5e6 + api_server.MAX_AT_ONCE * 64e3
    kept += settings_memory.BODIES + settings_memory.CAPTURES
    assert kept == pytest.approx(settings_memory.API, rel=0.1)


def test_bodies_fit_their_part() -> None:
    """The bytes, and while they are put together twice; text of four bytes a letter; values; small bodies."""
    held = 2 * (api_bodies.ADMINS + api_bodies.OTHERS) + 4 * (api_app.MAX_BODY + api_app.TENANT_BODY)
    made = 2 * api_json.MAX_VALUES * 150 + api_server.MAX_AT_ONCE * api_bodies.SMALL * 28
    assert held + made == pytest.approx(settings_memory.BODIES)
