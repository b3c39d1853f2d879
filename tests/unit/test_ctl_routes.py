"""The list of routes: which tables, who carries what, and that a big one is made in short turns."""

from __future__ import annotations

import gc
import json
import time
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from lib import ctl_routes
from lib.ctl_encode import pieces
from lib.ctl_routes import PrefixesByHost, routes, source_name
from lib.ids import format_uuid
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.plugin_client import RouterPlugin
from lib.route_plugin_cache import PluginCache
from lib.route_table import ENROLLED, LEASED, Route, RouteTable, group
from lib.settings import Hop, RouteEntry
from lib.settings_sources import FileSource, HttpSource, PluginSettings, SourceSettings

NS = bytes(range(16))
NOBODY = bytes(16)


def entry(prefix: str, gateway: str, metric: int | None = None) -> RouteEntry:
    network = ip_network(prefix)
    return RouteEntry(network.network_address.packed, network.prefixlen, Hop(gateway, metric))


class Process:
    """A hub with tables, as far as a list of routes looks at one."""

    def __init__(self, **named: Any) -> None:
        """`default` and `own`, the latter named by NS."""
        own, default = named.get("own", RouteTable()), named.get("default", RouteTable())
        self.domain = Domain({NS: own}, default)
        self.hubs: Any = {"hub": SimpleNamespace(settings=SimpleNamespace(name="hub"), domain=self.domain)}
        more = SimpleNamespace(more=SourceSettings((FileSource("routes.txt"),)))
        live = {name: SimpleNamespace(router=router, settings=more) for name, router in named.items()}
        self.tables: Any = SimpleNamespace(routers=live.items)

    def connect(self, host: str, namespace: bytes = NOBODY) -> Attachment:
        attachment = Attachment(self.domain.namespace(namespace), host, "10.0.0.1:1")
        self.domain.enter(attachment, 0.0)
        return attachment

    def ask(self, **request: object) -> dict[str, Any]:
        text = b"".join(pieces(routes(self.hubs, self.tables, request)))
        answer: dict[str, Any] = json.loads(text)
        return answer


@pytest.fixture
def process() -> Process:
    default = RouteTable(
        [
            entry("10.0.0.0/8", "a", 1),
            entry("10.0.0.0/8", "b", 1),
            entry("10.0.0.0/8", "c"),
            entry("fd00::/8", "a"),
        ]
    )
    return Process(default=default, own=RouteTable([entry("10.1.0.0/16", "a"), entry("10.1.2.0/24", "b")]))


def listed(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["table"], row["prefix"]) for row in answer["routes"]]


def carrying(answer: dict[str, Any], prefix: str) -> list[str]:
    (row,) = [row for row in answer["routes"] if row["prefix"] == prefix]
    return [one["host"] for one in row["gateways"] if one["carries"]]


def test_every_table(process: Process) -> None:
    answer = process.ask()
    assert listed(answer) == [
        ("own", "10.1.0.0/16"), ("own", "10.1.2.0/24"), ("default", "10.0.0.0/8"), ("default", "fd00::/8"),
    ]  # fmt: skip
    assert [(t["table"], t["namespace"], t["routes"]) for t in answer["tables"]] == [
        ("own", format_uuid(NS), 2), ("default", None, 2),
    ]  # fmt: skip


def test_of_one_namespace(process: Process) -> None:
    assert [table for table, _ in listed(process.ask(ns=format_uuid(NS)))] == [
        "own",
        "own",
        "default",
        "default",
    ]
    other = format_uuid(b"\1" * 16)
    assert [table for table, _ in listed(process.ask(ns=other))] == ["default", "default"]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("10.1.0.0/16", ["10.1.0.0/16", "10.1.2.0/24"]),
        ("10.1.2.9/17", ["10.1.2.0/24"]),  # bits beyond the length do not count
        ("10.1.2.9", ["10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8"]),
        ("fd00::1", ["fd00::/8"]),
        ("::/0", ["fd00::/8"]),
        ("11.0.0.0/8", []),
    ],
)
def test_of_a_prefix_or_an_address(process: Process, prefix: str, found: list[str]) -> None:
    answer = process.ask(prefix=prefix)
    assert [row["prefix"] for row in answer["routes"]] == found
    assert sum(table["matching"] for table in answer["tables"]) == len(found)


def test_no_more_than_asked_for(process: Process) -> None:
    answer = process.ask(most=3)
    assert len(answer["routes"]) == 3
    assert [table["matching"] for table in answer["tables"]] == [2, 2]


def test_who_carries(process: Process) -> None:
    assert carrying(process.ask(), "10.0.0.0/8") == []
    process.connect("b")
    assert carrying(process.ask(), "10.0.0.0/8") == ["b"]
    process.connect("a")
    assert carrying(process.ask(), "10.0.0.0/8") == ["a", "b"]  # they share flows
    process.connect("c")
    assert carrying(process.ask(), "10.0.0.0/8") == ["c"]  # without a metric it goes before
    assert carrying(process.ask(), "10.1.0.0/16") == []  # it lives in another namespace
    process.connect("a", NS)
    assert carrying(process.ask(), "10.1.0.0/16") == ["a"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"prefix": "nonsense"}, "nonsense"),
        ({"ns": "nonsense"}, "nonsense"),
        ({"service": "other"}, "there is no hub 'other'"),
    ],
)
def test_what_is_no_question(process: Process, request_: dict[str, str], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        process.ask(**request_)


def test_what_a_plugin_has_answered() -> None:
    plugin = RouterPlugin(PluginSettings("http://127.0.0.1:1"))
    process = Process(default=plugin)
    attachment = process.connect("a")
    answers = attachment.namespace.default
    assert isinstance(answers, PluginCache)
    address = bytes([10, 0, 0, 9])
    answers.store(address, Route(address, 32, group([Hop("a")])), 0.0)
    answers.store(bytes([10, 0, 0, 8]), None, 0.0)
    for request in ({}, {"prefix": "10.0.0.9"}, {"prefix": "10.0.0.0/8"}):
        answer = process.ask(**request)
        assert listed(answer) == [("default", "10.0.0.9/32")]
        assert answer["tables"][0]["kind"] == "plugin"
    assert listed(process.ask(prefix="11.0.0.0/8")) == []


def test_prefixes_by_host(process: Process) -> None:
    attachment = process.connect("a", NS)
    prefixes = PrefixesByHost()
    assert list(prefixes.read(attachment.namespace)) == []
    assert sorted(prefixes.of(attachment)) == ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]


def test_secrets_of_a_url_stay_there() -> None:
    assert source_name(HttpSource("https://me:secret@example.net/routes?token=secret")) == (
        "https://***@example.net/routes"
    )
    assert source_name(FileSource("/a?b@c")) == "/a?b@c"


@pytest.mark.parametrize("request_", [{"most": 500}, {"prefix": "10.0.0.0/9", "most": 500}, {}])
def test_a_big_table_is_listed_in_short_turns(request_: dict[str, object]) -> None:
    hops = [Hop(f"host-{number}") for number in range(100)]
    rows = (RouteEntry(((10 << 24) + (n << 4)).to_bytes(4, "big"), 28, hops[n % 100]) for n in range(50_000))
    process = Process(default=RouteTable(rows))
    process.connect("host-1")
    longest = size = 0.0
    gc.disable()  # it would look at everything this test run has made so far
    try:
        began = time.thread_time()
        for piece in pieces(routes(process.hubs, process.tables, request_)):
            longest, began = max(longest, time.thread_time() - began), time.thread_time()
            size += len(piece)
    finally:
        gc.enable()
    assert size > 50_000
    assert longest < 0.01  # of CPU time; packets go in between


def test_rows_that_come_from_no_source_have_names_too() -> None:
    view: Any = SimpleNamespace(router=RouteTable(()), sources=["inline", "/etc/routes"])
    ranks = (0, 1, ENROLLED, LEASED)
    assert [ctl_routes._source(view, rank) for rank in ranks] == [
        "inline",
        "/etc/routes",
        "enrolled hosts",
        "pool",
    ]
