"""Nodes of a hop from a file, Redis or a URL: as in GOST, and the last good ones stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from lib import cli_main, settings_diff
from lib.client_backoff import LOST, Backoff
from lib.client_hop import LiveHops
from lib.errors import ConfigError
from lib.settings import ClientSettings, NodeSettings
from lib.settings_dial import PLAIN_DIAL, DialSettings, HopChoice
from lib.settings_sources import FileSource, HttpSource, PluginSettings, RedisSource
from tests.support.http_plugin import replying
from tests.unit.test_config_resolve import CLIENT, problems, resolve

CHAIN = """
chains: [{name: c, hops: [{name: h, %s}]}]
"""
NODE = "{name: n, addr: 'hub:8443', connector: {type: router}, dialer: {type: tcp}}"


def node(addr: str, **more: object) -> dict[str, object]:
    return {"name": addr, "addr": addr, "connector": {"type": "router"}, "dialer": {"type": "tcp"}, **more}


def client(hop: str, hosts: str = "") -> ClientSettings:
    return resolve(CLIENT % "{}", CHAIN % hop, hosts).clients[0]


def test_sources_as_gost_has_them() -> None:
    one = client(
        f"nodes: [{NODE}], reload: 10s, file: {{path: f}}, redis: {{addr: r}}, http: {{url: 'http://h/'}}"
    )
    (hop,) = one.hops
    assert hop.more.reload == 10.0
    assert hop.more.sources == (
        FileSource("f"),
        RedisSource("r:6379", type="string"),
        HttpSource("http://h/"),
    )
    assert hop.inline == one.nodes
    assert client(f"nodes: [{NODE}]").hops == ()


def test_a_hop_may_have_no_node_of_its_own() -> None:
    (nobody,) = client("file: {path: f}").nodes
    assert (nobody.host, nobody.port) == ("(no node of hop h is known yet)", 0)


def test_a_hop_that_is_named_may_have_sources() -> None:
    text = "chains: [{name: c, hops: [{name: h}]}]\nhops: [{name: h, file: {path: f}}]\n"
    assert len(resolve(CLIENT % "{}", text).clients[0].hops) == 1


@pytest.mark.parametrize(
    ("hop", "said"),
    [
        ("redis: {addr: r, type: set}", "redis type 'set' cannot hold this"),
        ("plugin: {addr: 'h'}", "not the address of a grpc plugin: 'h'"),
        ("plugin: {type: x, addr: 'h:1'}", "unknown plugin type 'x'"),
        ("reload: 1s", "hop 'h' has no nodes"),
    ],
)
def test_what_is_wrong(hop: str, said: str) -> None:
    found = problems(CLIENT % "{}", CHAIN % hop)
    assert any(said in one for one in found), found


class Live:
    """A hop whose nodes come from a file."""

    def __init__(self, path: Path, hop: str = "", hosts: str = "") -> None:
        self.path = path
        self.changes = 0
        self.hop = LiveHops(client(f"{hop}file: {{path: {path}}}", hosts), self.changed)

    def changed(self) -> None:
        self.changes += 1

    def write(self, *nodes: object) -> None:
        self.path.write_text(json.dumps(nodes))

    def wait(self, *hosts: str) -> tuple[NodeSettings, ...]:
        """Wait until these are the nodes."""
        with gevent.Timeout(5):
            while [one.host for one in self.hop.nodes] != list(hosts):
                gevent.sleep(0.01)
        return self.hop.nodes

    def error(self) -> str:
        """Wait until the source has failed; returns why."""
        (state,) = self.hop._hops[0].feed._states.values()
        with gevent.Timeout(5):
            while not state.error:
                gevent.sleep(0.01)
        return state.error


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path / "nodes.json", f"nodes: [{NODE}], ")
    yield made
    made.hop.stop()


def test_nodes_of_a_file_follow_those_of_the_configuration_and_its_changes(live: Live) -> None:
    live.write(node("a:1", metadata={"backup": True}), node("b:2"))
    live.hop.start()
    live.hop.wait()
    found = live.wait("hub", "a", "b")
    assert (found[1].port, found[1].choice.backup) == (1, True)
    live.write(node("b:2"))
    live.wait("hub", "b")
    changes = live.changes
    live.write()
    live.wait("hub")
    assert live.changes == changes + 1


BAD = [
    ("{", "Expecting property name"),
    ('{"nodes": []}', "it is no JSON list of nodes"),
    (json.dumps([node("h:1", connector={"type": "http"})]), "connector type http does not reach a router"),
    (json.dumps([{"adr": "h:1", **node("h:1")}]), "unknown key 'adr'"),
    ("[" * 100_000, "nested too deeply"),
    (json.dumps([node("a:1")] * 1001), "it has 1,001 nodes, more than 1000"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[row[1][:20] for row in BAD])
def test_what_is_no_list_of_nodes_changes_nothing(live: Live, text: str, said: str) -> None:
    live.write(node("a:1"))
    live.hop.start()
    live.wait("hub", "a")
    live.path.write_text(text)
    assert said in live.error()
    live.wait("hub", "a")


def test_what_stands_around_the_nodes_counts_for_them(tmp_path: Path) -> None:
    """The hop's own keys, its hosts, and the proxies before it."""
    around = "interface: eth7, hosts: names, metadata: {netns: blue}, "
    made = Live(tmp_path / "n", around, "hosts: [{name: names, mappings: [{hostname: a, ip: 192.0.2.7}]}]")
    made.write(node("a:1", interface="eth8"))
    made.hop.start()
    (one,) = made.wait("a")
    assert (one.dial.device, one.dial.addresses, one.dial.netns) == ("eth8", ("192.0.2.7",), "blue")
    made.hop.stop()


def test_a_reload_says_nothing_of_nodes_that_sources_gave() -> None:
    configured = client(f"nodes: [{NODE}], file: {{path: f}}")
    running = replace(configured, nodes=(*configured.nodes, NodeSettings("x", "x", 1)))
    assert settings_diff.differences(running, configured) == []
    other = client(f"nodes: [{NODE}], file: {{path: g}}")
    assert "hops" in settings_diff.differences(running, other)


def test_no_secret_of_the_hop_is_shown() -> None:
    secret = NODE.replace("type: router", "type: router, auth: {username: u, password: s3cret}")
    assert "s3cret" not in repr(client(f"nodes: [{secret}], file: {{path: f}}"))


def test_check_reads_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n").write_text(json.dumps([{"adr": "h:1", **node("h:1")}]))
    path = tmp_path / "f.yml"
    path.write_text(CLIENT % "{}" + CHAIN % f"nodes: [{NODE}], file: {{path: {tmp_path}/n}}")
    cli_main.main(["check", "-C", str(path), "--control", "none"])
    assert f"{tmp_path}/n: unknown key 'adr'" in "".join(capsys.readouterr())


def test_a_wrong_node_is_no_error_of_ours() -> None:
    with pytest.raises(ConfigError):
        resolve(CLIENT % "{}", CHAIN % "nodes: [{name: n, addr: 'h'}]")


def test_retries_are_tries_at_once() -> None:
    settings = resolve(
        (CLIENT % "{}").replace("type: tun}", "type: tun, retries: 3}", 1), CHAIN % f"nodes: [{NODE}]"
    )
    assert settings.clients[0].retries == 3
    assert not settings.warnings
    backoff = Backoff()
    delays = [backoff.next(LOST, 1, 0, 0.99, settings.clients[0].retries) for _ in range(12)]
    assert [delay < 0.3 for delay in delays] == ([True] * 3 + [False]) * 3, "four tries, each time"
    many = Backoff()
    delays = [many.next(LOST, 3, 0, 0.99, 1) for _ in range(8)]
    assert [delay < 0.3 for delay in delays] == [*[True] * 3, False, True, False, True, False]
    plain = Backoff()
    assert [plain.next(LOST, 1, 0, 0.99) < 0.3 for _ in range(4)] == [True, False, False, False]
    wrong = problems(
        (CLIENT % "{}").replace("type: tun}", "type: tun, retries: -1}", 1), CHAIN % f"nodes: [{NODE}]"
    )
    assert wrong[0].endswith("'retries': -1 is not within 0 to 100")


# --- proxies

PROXY = "{name: p, addr: 'p0:1', connector: {type: socks5, auth: {username: u, password: s3cret}}, dialer: {type: tcp}}"


def proxy(addr: str, **more: object) -> dict[str, object]:
    return {"name": addr, "addr": addr, "connector": {"type": "http"}, "dialer": {"type": "tcp"}, **more}


def test_proxies_come_from_sources_too_and_each_makes_a_way_to_each_hub(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    hops = f"nodes: [{PROXY}], file: {{path: {two}}}, interface: eth5, selector: {{strategy: fifo}}}}, "
    hops += f"{{name: i, file: {{path: {one}}}"
    settings = client(hops)
    assert [hop.number for hop in settings.hops] == [0, 1]
    assert settings.before == (HopChoice("fifo"),)
    assert "s3cret" not in repr(settings.hops)
    two.write_text(json.dumps([proxy("p1:1", metadata={"weight": 1}), proxy("p2:1")]))
    one.write_text(json.dumps([node("h0:1"), node("h1:1", interface="eth9")]))
    live = LiveHops(settings, lambda: None)
    live.start()
    with gevent.Timeout(5):
        while len(live.nodes) < 6:
            gevent.sleep(0.01)
    assert [(way.proxies[0].host, way.host) for way in live.nodes] == [
        (f"p{number}", hub) for hub in ("h0", "h1") for number in range(3)
    ]
    assert live.nodes[1].proxies[0].dial == DialSettings("eth5"), "what stands around it counts"
    assert {way.dial for way in live.nodes} == {PLAIN_DIAL}, "the hub is dialled by the proxy"
    two.write_text(json.dumps([proxy(f"q{number}:1") for number in range(500)]))
    one.write_text(json.dumps([node(f"h{number}:1") for number in range(500)]))
    with gevent.Timeout(5):
        while not any(state.error for hop in live._hops for _, state in hop.feed.states()):
            gevent.sleep(0.01)
    (error,) = [state.error for hop in live._hops for _, state in hop.feed.states() if state.error]
    assert "ways to a hub, more than 4,096" in error
    live.stop()


def test_a_hub_in_the_place_of_a_proxy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text(json.dumps([node("h:1")]))
    hops = LiveHops(client(f"file: {{path: {path}}}}}, {{name: i, nodes: [{NODE}]"), lambda: None)
    hops.start()
    hops.wait()
    (state,) = (state for _, state in hops._hops[0].feed.states())
    assert "a node of type 'router' before the hub's" in state.error
    assert hops.nodes[0].host == "(no node of hop h is known yet)"
    hops.stop()


# --- plugins


def asked(url: str, more: str = "") -> LiveHops:
    return LiveHops(client(f"plugin: {{type: http, addr: '{url}', timeout: 2s}}{more}"), lambda: None)


def test_a_plugin_is_asked_for_a_node_at_each_dial() -> None:
    with replying(node("a:1")) as plugin:
        hops = asked(plugin.url)
        assert hops.nodes[0].port == 0, "nobody is known before"
        assert hops.ask()
        assert [(one.host, one.port) for one in hops.nodes] == [("a", 1)]
        plugin.reply = node("b:2", connector={"type": "router", "auth": {"username": "u", "password": "p"}})
        hops.ask()
        assert [(one.host, one.username) for one in hops.nodes] == [("b", "u")]
        assert plugin.asked[0] == {
            "network": "ip", "addr": "h", "host": "h", "path": "", "client": "", "src": "",
        }  # fmt: skip
        hops.stop()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (500, "status 500"),
        ({}, "it names no node"),
        (node("h"), "'addr': 'h' has no port"),
        (node("h:1", connector={"type": "http"}), "connector type http does not reach a router"),
        (node("h:1", nonsense=1), "unknown key 'nonsense'"),
        ([node("h:1")], "no proper reply"),
        (b"[" * 60000, "no proper reply"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_without_a_node_nobody_is_dialled_not_even_the_last_one(reply: object, said: str) -> None:
    """GOST leaves the hop out then, and dials past it."""
    with replying(node("a:1")) as plugin:
        hops = asked(plugin.url)
        hops.ask()
        plugin.reply = reply
        with pytest.raises(OSError, match="hop h of s: its plugin: ") as caught:
            hops.ask()
        assert said in str(caught.value)
        assert hops.nodes[0].port == 0
        hops.stop()


def test_a_plugin_may_name_proxies_and_the_hub_is_then_dialled_by_them() -> None:
    with replying(proxy("p:3128")) as plugin:
        hops = asked(plugin.url, f"}}, {{name: i, nodes: [{NODE}]")
        hops.ask()
        (way,) = hops.nodes
        assert (way.host, way.proxies[0].kind, way.proxies[0].port) == ("hub", "http", 3128)
        plugin.reply = 500
        with pytest.raises(OSError, match="status 500"):
            hops.ask()
        assert hops.nodes[0].port == 0, "the hub is not dialled past the proxy"
        hops.stop()


def test_own_nodes_beside_a_plugin_are_warned_of() -> None:
    found = resolve(CLIENT % "{}", CHAIN % f"nodes: [{NODE}], plugin: {{addr: 'h:1'}}")
    assert any("hop h: only its plugin is asked" in one.message for one in found.warnings)
    (hop,) = found.clients[0].hops
    assert (hop.inline, hop.plugin) == ((), PluginSettings("grpc://h:1"))


@pytest.mark.parametrize(
    ("hop", "said"),
    [
        ("plugin: {addr: 'h:1'}, selector: {strategy: fifo}", "'selector' beside a plugin has no effect"),
        ("plugin: {addr: 'h:1'}, reload: 3s", "'reload' beside a plugin has no effect"),
        (f"nodes: [{NODE}], reload: 3s", "'reload' without file, redis or http: there is nothing to read"),
    ],
)
def test_what_has_no_effect_in_a_hop_is_warned_of(hop: str, said: str) -> None:
    found = resolve(CLIENT % "{}", CHAIN % hop).warnings
    assert [one.where.line for one in found if said in one.message] == [4]
