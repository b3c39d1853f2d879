"""Observers: what they are told, in GOST's shape; that nothing is lost or told twice, whatever they do."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import (
    config_read,
    config_resolve,
    ctl_tables,
    log_setup,
    observe_delivery,
    observe_events,
    observe_services,
    observe_stats,
    service_reload,
    wire_relay,
)
from lib import plugin_protobuf as messages
from lib.counters import Traffic
from lib.errors import ConfigError
from lib.hub import Hub
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.namespace import Attachment
from lib.observe_delivery import Observer, Report
from lib.observe_stats import Stats
from lib.observe_watch import ObserveWatch
from lib.service_parts import Parts
from lib.settings import Settings
from lib.settings_observe import DEFAULT_PERIOD, Observation, ObserverSettings
from lib.settings_sources import PluginSettings
from lib.wire_relay import Request
from tests.support.http_plugin import Plugin, replying
from tests.support.hubs import running
from tests.support.schema import schema
from tests.unit.test_plugin_grpc import STATE

RECORDED = [
    json.loads(row["body"])
    for row in json.loads(
        (Path(__file__).parent.parent / "data" / "admission_and_observer_requests.json").read_text()
    )
    if row["target"] == "/observer"
]
NOBODY = "00000000-0000-0000-0000-000000000000"
CONFIG = """\
services:
- name: service-0
  addr: 127.0.0.1:0
  %s
  handler: {type: router, %s metadata: {router: r%s}}
  listener: {type: tcp}
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}, {net: 11.0.0.0/8, gateway: host-2}]}]
observers: [{name: o, plugin: {type: http, addr: '%s', token: tok, timeout: 500ms}}]
"""
SERVICE, HANDLER = "observer: o\n  metadata: {enableStats: true}", "observer: o,"


def config(
    service: str = SERVICE, handler: str = HANDLER, more: str = "", url: str = "http://127.0.0.1:1"
) -> str:
    return CONFIG % (service, handler, more, url)


def resolved(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", text)]))


def text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


# --- shapes


def test_events_are_those_that_gost_sends_letter_for_letter() -> None:
    states = [observe_events.status("service-0", state) for state in ("running", "ready")]
    assert [text({"events": [state]}) for state in states] == [text(one) for one in RECORDED[:2]]
    service = observe_events.stats("service", "service-0", "", Stats(2, 2, 0, 1674, 1664))
    assert text({"events": [service]}) == text(RECORDED[2])
    rows = {f"host-1@{NOBODY}": Stats(1, 1, 0, 0, 1610), f"host-2@{NOBODY}": Stats(1, 1, 0, 1600, 0)}
    handler = [observe_events.stats("handler", "service-0", *row) for row in rows.items()]
    assert text({"events": handler}) == text(RECORDED[3])


@pytest.mark.parametrize(
    ("events", "sent"),
    [
        (
            RECORDED[1],
            STATE,
        ),
        (
            RECORDED[2],
            "0a270a07736572766963651209736572766963652d30220573746174732a0a08021002188a0d20800d",
        ),
    ],
    ids=["a state", "figures"],
)
def test_over_grpc_the_bytes_are_gost_s(events: dict[str, Any], sent: str) -> None:
    assert messages.encode("ObserveRequest", events).hex() == sent
    assert messages.decode("ObserveReply", b"\x08\x01") == {"ok": True}


# --- figures


def test_the_figures_of_a_hub_and_of_a_client() -> None:
    with running(config("", "")) as (hub,):
        book = hub.by_address.book("192.0.2.1")
        book.opened, book.in_flight, book.failed = 5, 2, 1
        book.over.received_bytes, book.over.sent_bytes = 10, 20
        live = Attachment(hub.domain.namespace(bytes(16)), "host-1", "192.0.2.1:1")
        live.traffic.received_bytes, live.traffic.sent_bytes = 1, 2
        book.enter(live)
        hub.by_address.book("192.0.2.2").opened = 3
        assert observe_stats.of_hub(hub) == Stats(8, 2, 1, 11, 22)
        mine = hub.by_host.book((bytes(16), "host-1"))
        mine.opened = 4
        mine.enter(live)
        hub.by_host.other.opened = 7
        assert dict(observe_stats.by_host(hub)) == {
            f"host-1@{NOBODY}": Stats(4, 1, 0, 1, 2),
            "other": Stats(7, 0, 0, 0, 0),
        }
    client: Any = SimpleNamespace(
        traffic=Traffic(received_bytes=3, sent_bytes=4),
        sessions_made=2,
        session=None,
        failures=Counter(a=1, b=2),
    )
    assert observe_stats.of_client(client) == Stats(2, 0, 3, 3, 4)
    client.session = object()
    assert observe_stats.of_client(client).current_conns == 1


def test_only_what_is_new_is_told_and_only_once_it_was_taken() -> None:
    ledger = observe_events.Ledger("handler", "s")
    one, two = ("a", Stats(1, 1, 0, 10, 0)), ("b", Stats())
    assert ledger.news([one, two]) == [one]
    assert ledger.news([one, two]) == [one], "not taken yet"
    ledger.took([one])
    assert ledger.news([one, two]) == []
    left = ("a", Stats(1, 0, 0, 10, 0))
    assert ledger.news([left]) == [left]
    assert ledger.news([]) == []
    assert ledger.news([one]) == [one], "who was forgotten begins anew"


def test_reset_bytes_are_those_since_what_was_taken_last() -> None:
    ledger = observe_events.Ledger("service", "s", reset=True)

    def told(received: int, sent: int) -> tuple[object, object]:
        figures: Any = ledger.event("", Stats(9, 1, 0, received, sent))["stats"]
        assert figures["totalConns"] == 9
        return figures["inputBytes"], figures["outputBytes"]

    assert told(10, 5) == (10, 5)
    assert told(30, 5) == (30, 5), "the first was not taken: it is in the second"
    ledger.took([("", Stats(9, 1, 0, 30, 5))])
    assert told(37, 5) == (7, 0)
    assert told(4, 6) == (4, 1), "a counter that began anew"


# --- delivery


class Watched:
    """An observer, and a row of figures that it is told."""

    def __init__(self, plugin: Plugin) -> None:
        settings = PluginSettings(plugin.url, "tok", 20.0)
        self.observer = Observer(ObserverSettings("o", settings))
        self.figures = {"a": Stats(1, 1)}
        self.report = Report(
            "handler", "s", Observation(self.observer.settings), lambda: self.figures.items(), self
        )

    def tell(self) -> None:
        self.observer._tell_figures(self.report)


@pytest.fixture
def told() -> Iterator[tuple[Plugin, Watched]]:
    with replying({"ok": True}) as plugin:
        watched = Watched(plugin)
        yield plugin, watched
        watched.observer.stop()


@pytest.mark.parametrize("reply", [500, {"ok": False}, {}, {"ok": "yes"}, b"nonsense"], ids=str)
def test_what_is_not_taken_is_told_again(told: tuple[Plugin, Watched], reply: object) -> None:
    plugin, watched = told
    plugin.reply = reply
    watched.tell()
    watched.figures["a"] = Stats(2, 1)
    plugin.reply = {"ok": True}
    watched.tell()
    watched.tell()
    first, second = (one["events"][0]["stats"]["totalConns"] for one in plugin.asked)
    assert (first, second) == (1, 2), "the newer figures, once"
    assert (
        plugin.headers[0].items()
        >= {"authorization": "Bearer tok", "content-type": "application/json"}.items()
    )


def test_very_many_clients_come_in_pieces(told: tuple[Plugin, Watched]) -> None:
    plugin, watched = told
    watched.figures = {f"host-{number}": Stats(1) for number in range(1200)}
    watched.tell()
    assert [len(one["events"]) for one in plugin.asked] == [500, 500, 200]
    plugin.reply, before = 500, len(plugin.asked)
    watched.figures = {name: Stats(2) for name in watched.figures}
    watched.tell()
    assert len(plugin.asked) == before + 1, "the rest waits for the next period"


def test_states_are_told_at_once_in_order_and_again_until_they_are_taken(
    told: tuple[Plugin, Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe_delivery, "AGAIN_SECONDS", 0.02)
    plugin, watched = told
    plugin.reply = 500
    watched.observer.start()
    watched.observer.put(observe_events.status("s", "running"))
    wait(lambda: len(plugin.asked) > 1)
    watched.observer.put(observe_events.status("s", "ready"))
    plugin.reply = {"ok": True}
    wait(lambda: not watched.observer.waiting)
    assert [event["status"]["state"] for event in plugin.asked[-1]["events"]] == ["running", "ready"]


def test_states_that_nobody_takes_are_bounded(told: tuple[Plugin, Watched]) -> None:
    _, watched = told
    for number in range(observe_delivery.MAX_STATES + 3):
        watched.observer.put(observe_events.status(str(number), "running"))
    assert watched.observer.waiting == observe_delivery.MAX_STATES
    assert watched.observer._states[0] == observe_events.status("3", "running"), "the oldest are dropped"


def test_an_error_of_ours_in_one_report_keeps_no_other(told: tuple[Plugin, Watched]) -> None:
    plugin, watched = told

    def broken() -> Any:
        raise RuntimeError("broken")

    bad = Report("service", "bad", watched.report.observation, broken, object())
    bad.due = watched.report.due = 0.0
    watched.observer.start()
    watched.observer.report({("service", "bad"): bad, ("handler", "s"): watched.report})
    wait(lambda: len(plugin.asked) == 1)
    assert watched.report.due > time.monotonic()


def wait(done: Callable[[], bool]) -> None:
    with gevent.Timeout(5):
        while not done():
            gevent.sleep(0.01)


# --- a hub that is observed


def come(hub: Hub, host: str) -> socket.socket:
    made = socket.create_connection(hub._server.socket.getsockname(), 5)
    made.sendall(wire_relay.encode_request(Request(host, "10.0.0.1")))
    assert made.recv(4096)
    return made


def due(watch: ObserveWatch) -> None:
    """Have it be time for all figures, and wait until they were told."""
    (observer,) = watch.observers.values()
    for report in observer.reports.values():
        report.due = 0.0
    observer._bell.set()
    wait(lambda: all(report.due for report in observer.reports.values()))
    gevent.sleep(0.05)


def test_who_is_connected_is_told_and_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with replying({"ok": True}) as plugin, running(config(url=plugin.url)) as (hub,):
        watch = ObserveWatch({"service-0": hub}, {})
        with closing(watch_of(watch)):
            assert watch.apply() == ["observer o: added"]
            assert watch.apply() == []
            due(watch)
            assert plugin.asked == [], "nothing has happened"
            made = come(hub, "host-1")
            wait(lambda: len(hub.sessions) == 1)
            due(watch)
            events = {event["kind"]: event for one in plugin.asked for event in one["events"]}
            assert events["service"].keys() == {"kind", "service", "type", "stats"}
            assert events["handler"]["client"] == f"host-1@{NOBODY}"
            assert events["handler"]["stats"].items() >= {"totalConns": 1, "currentConns": 1}.items()
            plugin.asked.clear()
            made.close()
            wait(lambda: not hub.sessions and not hub.gate._connections)
            due(watch)
            left = [event["stats"]["currentConns"] for one in plugin.asked for event in one["events"]]
            assert left == [0, 0], "GOST goes on saying 1 of a client that has left"
            monkeypatch.setattr(observe_services, "running", lambda: iter(watch.observers.values()))
            row = next(row for row in ctl_tables.rows(Tables(Settings()), 0.0) if row["kind"] == "observer")
            assert row["name"] == "o"
            assert "observer" in schema()["$defs"]["table"]["properties"]["kind"]["enum"]


def watch_of(watch: ObserveWatch) -> Any:
    return SimpleNamespace(close=watch.stop)


@pytest.mark.parametrize(
    ("service", "handler", "kinds"),
    [
        (SERVICE, HANDLER, {"service", "handler"}),
        ("observer: o", "", set()),
        ("observer: o\n  metadata: {enableStats: false}", HANDLER, {"handler"}),
        ("metadata: {enableStats: true}", HANDLER, {"handler"}),
        ("metadata: {enableStats: true}", "", set()),
    ],
)
def test_figures_of_a_service_are_told_where_they_are_counted(
    service: str, handler: str, kinds: set[str]
) -> None:
    with running(config(service, handler)) as (hub,):
        watch = ObserveWatch({"service-0": hub}, {})
        with closing(watch_of(watch)):
            watch.apply()
            found = {kind for one in watch.observers.values() for kind, _ in one.reports}
            assert found == kinds
            assert bool(watch.observers) == (HANDLER in handler or "observer" in service)
    assert not watch.observers


def test_a_process_tells_states_and_a_reload_that_a_service_is_closed() -> None:
    with replying({"ok": True}) as plugin:
        settings = resolved(config(url=plugin.url))
        parts = Parts(settings, lambda device: None)
        try:
            parts.start_tables()
            parts.start_services()
            wait(lambda: sum(len(one["events"]) for one in plugin.asked) == 2)
            states = [event for one in plugin.asked for event in one["events"]]
            assert states == [one["events"][0] for one in RECORDED[:2]]
            service_reload.reload(parts, lambda step: resolved("services: []\n"))
            wait(lambda: any("closed" in text(one) for one in plugin.asked))
            assert not list(observe_services.running()), "nobody names it any more"
        finally:
            parts.stop()
        (closed,) = plugin.asked[-1]["events"]
        assert closed["status"] == {"state": "closed", "msg": "service service-0 is closed"}
    assert not list(observe_services.running())


# --- what is written


def test_what_holds_without_further_keys() -> None:
    (hub,) = resolved(config("observer: o")).hubs
    assert hub.observe is not None
    assert hub.observe.service is not None
    assert (hub.observe.service.period, hub.observe.service.reset) == (DEFAULT_PERIOD, False)
    assert (hub.observe.enable_stats, hub.observe.labels) == (False, ())
    assert hub.observe.handler is not None
    assert hub.observe.handler.observer.plugin.token == "tok"


@pytest.mark.parametrize(
    "key", ["observer.period", "observePeriod", "observer.observePeriod", "OBSERVER.PERIOD"]
)
@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("2500ms", 2.5), ("100ms", 1), ("0", 1)])
def test_the_period(key: str, value: str, seconds: float) -> None:
    found = resolved(config("observer: o", more=f", {key}: {value}, observer.resetTraffic: true"))
    (hub,) = found.hubs
    assert hub.observe is not None
    assert hub.observe.handler is not None
    assert (hub.observe.handler.period, hub.observe.handler.reset) == (seconds, True)
    assert hub.observe.service is not None
    assert hub.observe.service.period == DEFAULT_PERIOD, "each layer reads its own"
    assert bool([one for one in found.warnings if "as in GOST" in one.message]) == (seconds == 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (config("observer: oo"), "there is no observer 'oo'; did you mean 'o'?"),
        (config("observer: o", "observer: ''," ), "'observer' names nothing"),
        (config().replace("plugin: {type", "plugn: {type"), "unknown key 'plugn'"),
        (config().replace("{name: o, plugin", "{name: p}, {name: o, plugin"), "observer p has no plugin"),
        (config().replace("{name: o, plugin", "{name: o, plugin: {addr: 'h:1'}}, {name: o, plugin"), "two of the observers"),
        (config("metadata: {labels: [a, b]}"), "'labels' is a list"),
        (config("metadata: {labels: a}"), "'labels': 'a' has no value"),
        (config("metadata: {labels: {a: [b]}}"), "the value of 'a' is no text"),
        (config("metadata: {labels: {a: \"b\\e\"}}"), "some are not seen"),
        (config("metadata: {labels: {a: %s}}" % ("x" * 200)), "over 128 characters"),
        (config(f"metadata: {{labels: {{{', '.join(f'a{n}: b' for n in range(40))}}}}}"), "more than 32"),
        (config("metadata: {enableStats: maybe}"), "'enableStats'"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolved(text)
    assert any(said in str(problem) and problem.where.line for problem in refused.value.problems)


def test_a_client_s_handler_is_observed_by_nobody() -> None:
    client = """\
services:
- name: c
  observer: o
  metadata: {enableStats: true, observer.period: 3s}
  handler: {type: tun, chain: x, observer: o}
  listener: {type: tun}
  forwarder: {nodes: [{addr: host-1}]}
chains: [{name: x, hops: [{name: h, nodes: [{name: n, addr: "h:1", connector: {type: router}, dialer: {type: tcp}}]}]}]
observers: [{name: o, plugin: {addr: "127.0.0.1:1"}}]
"""
    found = resolved(client)
    assert [one.message for one in found.warnings if "handler of type tun" in one.message]
    (one,) = found.clients
    assert one.observe is not None
    assert one.observe.service is not None
    assert (one.observe.service.period, one.observe.enable_stats) == (3.0, True)


def test_labels_are_in_the_log_of_their_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("handlers", []), ("level", log_setup.log.level), ("propagate", False)):
        monkeypatch.setattr(log_setup.log, name, value)
    (hub,) = resolved(config("metadata: {labels: {site: Berlin, Team: a}}")).hubs
    (other,) = resolved(config("metadata: {labels: 'site:Berlin,Team:a'}")).hubs
    assert hub.observe is not None
    assert other.observe is not None
    assert other.observe.labels == hub.observe.labels == (("site", "Berlin"), ("Team", "a"))
    path = tmp_path / "log"
    log_setup.setup("info", "json", str(path))
    log_setup.label({"service-0": dict(hub.observe.labels)})
    for service in ("service-0", "service-1"):
        log_setup.say(Entry.LISTENING, "x", service=service, address=":1")
    log_setup.label({})
    log_setup.say(Entry.LISTENING, "x", service="service-0", address=":1")
    log_setup.flush()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("labels") for line in lines] == [{"site": "Berlin", "Team": "a"}, None, None]
