"""Rates that the plugins of limiters say: asked as GOST asks, never without a limit where nobody replies."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest

from lib import config_read, config_resolve, stream_options
from lib.hub import Hub
from lib.hub_session import HubSession
from lib.limits import Meter
from lib.rule_rates import AskedLimits
from lib.settings_sources import PluginSettings
from lib.wire_relay import Request, Status
from tests.support.http_plugin import Plugin, replying
from tests.support.hubs import running
from tests.unit.test_config_resolve import problems, resolve
from tests.unit.test_hub_lane import Peer

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "limit_and_hop_requests.json").read_text())
HUB = """
services:
- {{name: hub, addr: '127.0.0.1:0', {service} handler: {{type: router, {handler} metadata: {{router: r}}}}, listener: {{type: tcp}}}}
routers: [{{name: r, routes: [{{net: 10.0.0.0/8, gateway: host-7}}]}}]
limiters:
- {{name: l, plugin: {{type: http, addr: '{url}', token: tok, timeout: 2s}}}}
"""
REQUEST = Request("host-7", "192.168.123.7")


def text(url: str, service: str = "limiter: l,", handler: str = "limiter: l,") -> str:
    return HUB.format(url=url, service=service, handler=handler)


def wait(true: Callable[[], object]) -> None:
    with gevent.Timeout(5):
        while not true():
            gevent.sleep(0.005)


def joined(hub: Hub, request: Request = REQUEST) -> HubSession:
    """A session that is let in."""
    before = set(hub.sessions)
    peer = Peer(hub, request)
    wait(lambda: set(hub.sessions) - before)
    (new,) = set(hub.sessions) - before
    hub.sessions[new].peer = peer  # type: ignore[attr-defined]  # so that it lives as long
    return hub.sessions[new]


def rates(meter: Meter | None) -> list[float]:
    return sorted(bucket.rate for bucket in meter._bytes) if meter is not None else []


def is_held(session: HubSession) -> bool:
    """Whether the kernel may not grow the receive buffer of a session."""
    sock = session.stream._sock  # type: ignore[union-attr]
    return bool(sock.getsockopt(socket.SOL_SOCKET, stream_options._SO_BUF_LOCK) & 2)


def bodies(plugin: Plugin) -> list[dict[str, Any]]:
    return sorted(plugin.asked, key=lambda one: str(one["scope"]))


def test_it_asks_as_gost_does_and_the_rates_are_in_force() -> None:
    with replying({"in": 300_000, "out": 200_000}) as plugin, running(text(plugin.url)) as (hub,):
        session = joined(hub)
        recorded = [json.loads(one["body"]) for one in RECORDED if one["target"] == "/limit"]
        peer = session.stream.peer
        expected = sorted(
            ({**one, "src": peer if one["src"] else ""} for one in recorded),
            key=lambda one: str(one["scope"]),
        )
        assert bodies(plugin) == expected
        assert plugin.headers[0]["authorization"] == "Bearer tok"
        assert rates(session.meter) == [300_000] * 3
        assert rates(session.sender.meter) == [200_000] * 3
        (live,) = {one.limiter for one in session.vouchers.rates if one.question.scope == "client"}
        assert live.plugin.error == ""


def test_what_sessions_have_in_common_is_asked_once_and_shared() -> None:
    with replying({"in": 300_000}) as plugin, running(text(plugin.url)) as (hub,):
        one, two, other = joined(hub), joined(hub), joined(hub, replace(REQUEST, host="host-8"))
        assert [len([a for a in plugin.asked if a["scope"] == s]) for s in ("service", "conn", "client")] == [
            1,
            3,
            2,
        ]
        assert one.meter is not None
        assert two.meter is not None
        assert other.meter is not None
        shared = {id(b) for b in one.meter._bytes} & {id(b) for b in two.meter._bytes}
        assert len(shared) == 2, "that of the service, and that of the host"
        assert len({id(b) for b in one.meter._bytes} & {id(b) for b in other.meter._bytes}) == 1
        assert not one.sender.meter, "0 and nothing are no limit, as in GOST"


LIES: list[object] = [
    503, {}, [], {"in": "1MB"}, {"in": 1.5}, {"in": True}, {"in": 1 << 63}, {"out": None}, b"{", b"[" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("reply", LIES, ids=lambda reply: str(reply)[:20])
@pytest.mark.parametrize("where", ["service", "handler"])
def test_who_cannot_be_asked_about_is_not_let_in(reply: object, where: str) -> None:
    words = {"service": "", "handler": "", where: "limiter: l,"}
    with replying(reply) as plugin, running(text(plugin.url, **words)) as (hub,):
        peer = Peer(hub, REQUEST)
        assert peer.status == Status.SERVICE_UNAVAILABLE
        assert not hub.sessions
        plugin.reply = {"in": 300_000}
        assert joined(hub).meter is not None, "the next one is asked about anew"


def test_rates_are_asked_again_and_the_last_ones_stay_while_the_plugin_fails() -> None:
    with replying({"in": 300_000, "out": -1}) as plugin, running(text(plugin.url, handler="")) as (hub,):
        session = joined(hub)
        (live,) = hub.tables.asked_limits(hub.settings)
        for reply, rate in (
            ({"in": 100_000}, 100_000),
            (500, 100_000),
            ({"in": "x"}, 100_000),
            ({"in": 0}, None),
        ):
            plugin.reply = reply
            live.refresh()
            session.beat(1e9)
            assert rates(session.meter) == ([rate] * 2 if rate else [])
            assert is_held(session) is bool(rate), "a slow client's receive buffer, and no other"
        live._again.set()
        asked = len(plugin.asked)
        wait(lambda: len(plugin.asked) > asked)


def test_a_reload_that_names_a_plugin_asks_about_all_who_are_here() -> None:
    with replying({"in": 300_000}) as plugin, running(text(plugin.url, "", "")) as (hub,):
        session = joined(hub)
        assert not session.meter
        new = config_resolve.resolve(config_read.read([("f", text(plugin.url, handler=""))]))
        hub.tables.apply(new)
        assert hub.apply(replace(new.hubs[0], port=hub.settings.port), hub.domain) == []
        session.beat(1e9)
        assert rates(session.meter) == [300_000] * 2
        plugin.reply = 500
        other = config_resolve.resolve(config_read.read([("f", text(plugin.url))]))
        hub.tables.apply(other)
        (line,) = hub.apply(replace(other.hubs[0], port=hub.settings.port), hub.domain)
        assert "is no longer let in: limiter l of hosts: " in line
        assert "status 500" in line


def test_another_plugin_is_asked_at_once() -> None:
    with replying({"in": 300_000}) as old, replying({"in": 400_000}) as new:
        with running(text(old.url, handler="")) as (hub,):
            session = joined(hub)
            (live,) = hub.tables.asked_limits(hub.settings)
            settings = replace(live.settings, plugin=PluginSettings(new.url))
            assert live.apply(settings) == ["limiter l: another plugin is asked"]
            wait(lambda: len(new.asked) == 2)
            wait(lambda: all(one.limit.into.bytes == 400_000 for one in session.vouchers.rates))
            assert live.apply(settings) == []


def test_a_limiter_with_rows_gets_a_plugin_and_back() -> None:
    rows = text("http://127.0.0.1:1/", handler="").replace("plugin: {", "limits: ['$ 1MB'], x: {")
    rows = rows[: rows.index(", x:")] + "}\n"
    with replying({"in": 300_000}) as plugin, running(rows) as (hub,):
        session = joined(hub)
        assert rates(session.meter) == [1 << 20]
        for new, rate in ((text(plugin.url, handler=""), [300_000] * 2), (rows, [1 << 20])):
            settings = config_resolve.resolve(config_read.read([("f", new)]))
            hub.tables.apply(settings)
            hub.apply(replace(settings.hubs[0], port=hub.settings.port), hub.domain)
            session.beat(1e9)
            assert rates(session.meter) == rate


@pytest.mark.parametrize("scope", ["service", "conn"])
def test_of_a_scope_the_plugin_is_asked_about_that_alone(scope: str) -> None:
    words = f"limiter: l, metadata: {{limiter.scope: {scope}}},"
    with replying({"in": 300_000}) as plugin, running(text(plugin.url, words)) as (hub,):
        session = joined(hub)
        assert [one["scope"] for one in bodies(plugin)] == sorted([scope, "client"])
        assert rates(session.meter) == [300_000] * 2


def test_a_reload_to_another_scope_asks_anew() -> None:
    with replying({"in": 300_000}) as plugin, running(text(plugin.url, handler="")) as (hub,):
        session = joined(hub)
        words = "limiter: l, metadata: {limiter.scope: conn},"
        new = config_resolve.resolve(config_read.read([("f", text(plugin.url, words, ""))]))
        hub.tables.apply(new)
        assert hub.apply(replace(new.hubs[0], port=hub.settings.port), hub.domain) == []
        session.beat(1e9)
        assert rates(session.meter) == [300_000]


# --- the configuration


@pytest.mark.parametrize(
    ("service", "handler", "reload", "seconds"),
    [
        ("limiter.refreshInterval: 5s", "", "", [5.0, 0.0]),
        ("LIMITER.REFRESHINTERVAL: 5", "limiter.refreshInterval: 90s", "", [5.0, 90.0]),
        ("limiter.refreshInterval: 10ms", "", "", [1.0, 0.0]),
        ("", "limiter.refreshInterval: 1m", "reload: 7s,", [7.0, 60.0]),
    ],
)
def test_how_often_a_plugin_is_asked_again(
    service: str, handler: str, reload: str, seconds: list[float]
) -> None:
    """As in GOST by the metadata of the service for its limiter, by that of the handler for the handler's."""
    config = text("http://h/", f"limiter: l, metadata: {{{service}}},")
    config = config.replace("{router: r}", f"{{router: r, {handler}}}").replace(
        "{name: l,", f"{{name: l, {reload}"
    )
    found = resolve(config)
    assert [one.more.reload for one in found.hubs[0].limiters] == seconds
    assert [str(one) for one in found.warnings if "10ms" in service] == (
        ["f:3:84: 'limiter.refreshInterval': 0.01 s is less than 1 s, which counts, as in GOST"]
        if "10ms" in service
        else []
    )


ROWS = "limits: ['$ 1MB', '$$ 2MB', '10.0.0.0/8 3MB']"


@pytest.mark.parametrize(
    ("scope", "keys"),
    [("service", ["$"]), ("conn", ["$$", "10.0.0.0/8"]), ("''", ["$", "$$", "10.0.0.0/8"])],
)
def test_of_a_scope_these_rows_count(scope: str, keys: list[str]) -> None:
    words = f"limiter: l, metadata: {{limiter.scope: {scope}}},"
    config = text("http://h/", words, "").partition("limiters:")[0] + f"limiters: [{{name: l, {ROWS}}}]\n"
    assert [row.key for row in resolve(config).hubs[0].limits.services] == keys


@pytest.mark.parametrize(
    ("metadata", "limiter", "said"),
    [
        ("limiter.scope: conm", ROWS, "'conm' is no scope of a service, and GOST would limit nothing; did you mean 'conn'?"),
        ("limiter.scope: client", ROWS, "hosts have the limiter of the handler"),
        ("limiter.scope: conn", "limits: ['$ 1MB']", "limiter l has no row of scope conn: it would limit nothing"),
        ("limiter.scope: service", "limits: ['$$ 1MB']", 'write a row for "$", which is the service as a whole'),
        ("limiter.refreshInterval: -1s", "plugin: {type: http, addr: 'http://h/'}", "a duration below zero"),
    ],
)  # fmt: skip
def test_a_scope_or_an_interval_that_is_wrong(metadata: str, limiter: str, said: str) -> None:
    config = text("http://h/", f"limiter: l, metadata: {{{metadata}}},", "").partition("limiters:")[0]
    found = problems(f"{config}limiters: [{{name: l, {limiter}}}]\n")
    assert any(said in one for one in found), found


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("limiter: l, metadata: {limiter.refreshInterval: 5s},", "'limiter.refreshInterval' is for the plugin of a limiter, and here is none"),
        ("metadata: {limiter.scope: conn},", "'limiter.scope' has no effect: the service names no limiter"),
    ],
)  # fmt: skip
def test_a_scope_or_an_interval_without_effect_is_warned_of(service: str, said: str) -> None:
    config = text("http://h/", service, "").partition("limiters:")[0] + f"limiters: [{{name: l, {ROWS}}}]\n"
    assert [one for one in resolve(config).warnings if said in str(one)]


def test_a_client_has_no_use_for_them() -> None:
    config = """
services:
- {name: c, metadata: {limiter.scope: conn}, handler: {type: tun, chain: c}, forwarder: {nodes: [{addr: host-1}]},
   listener: {type: tun, metadata: {net: 10.0.0.1/24}}}
chains: [{name: c, hops: [{nodes: [{addr: '127.0.0.1:1', connector: {type: router}, dialer: {type: tcp}}]}]}]
"""
    (warning,) = [str(one) for one in resolve(config).warnings if "limiter" in str(one)]
    assert warning.endswith("metadata key 'limiter.scope' is for a limiter, and those are a hub's")


def test_the_settings_of_a_plugin() -> None:
    found = resolve(
        text("http://h/x").replace("token: tok", "token: tok}, reload: 5s, x: {y: z").split(", x:")[0] + "}\n"
    )
    service, handler = found.hubs[0].limiters
    assert (service.name, service.adds_to) == ("limiter l", "services")
    assert (handler.name, handler.adds_to) == ("limiter l of hosts", "hosts")
    assert service.plugin == PluginSettings("http://h/x", "tok")
    assert service.more.reload == 5.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("type: http", "type: htp", "unknown plugin type 'htp'; did you mean 'http'?"),
        ("'http://h/'", "''", "not the address of a http plugin: ''"),
        ("limiters:", "climiters: [{name: c, plugin: {addr: 'h:1'}}]\nlimiters:", None),
    ],
)
def test_what_is_wrong(old: str, new: str, said: str | None) -> None:
    config = text("http://h/").replace(old, new)
    if said is None:
        config = config.replace("limiter: l, handler", "climiter: c, handler")
        said = (
            "climiter c: GOST asks no plugin here, and limits nothing; write limits, or name a file, redis or"
        )
    found = problems(config)
    assert any(said in one for one in found), found


def test_the_plugin_of_a_limiter_that_nobody_names_is_checked_too() -> None:
    more = "- {name: m, plugin: {addr: nonsense}}\n"
    assert any(
        "not the address of a grpc plugin: 'nonsense'" in one for one in problems(text("http://h/") + more)
    )


def test_rows_beside_a_plugin_are_warned_of() -> None:
    (warning,) = [
        one
        for one in resolve(
            text("http://h/").replace("- {name: l,", "- {name: l, limits: ['$ 1MB'],")
        ).warnings
        if "plugin" in one.message
    ]
    assert str(warning).endswith("only its plugin is asked, its own rows and sources are not, as in GOST")


def test_nothing_is_held_here() -> None:
    with running(text("http://127.0.0.1:1/")) as (hub,):
        (live, _) = hub.tables.asked_limits(hub.settings)
        assert isinstance(live, AskedLimits)
        assert (live.total, live.feed.untried) == (0, False)
