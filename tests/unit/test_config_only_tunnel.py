"""--only-tunnel: of a GOST file with other services the routing tunnel's part runs, and the rest is named.

tests/data/mixed holds 16 files as GOST's documentation has them, each with a hub or a client among the rest.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib import cli_main, config_from_urls, config_only_tunnel, config_read, config_resolve
from lib.config_schema import Config
from lib.config_section import section_fields
from lib.errors import ConfigError
from lib.settings import Settings
from tests.support.tls import Authority

MIXED = Path(__file__).parents[1] / "data" / "mixed"
FILES = sorted(path.name for path in MIXED.iterdir())

TUNNEL = {
    "api_and_metrics.yml": {"hub"},
    "chains.yml": {"host"},
    "dns.yml": {"home"},
    "forwards.yml": {"host-1"},
    "observers.yml": {"hub"},
    "plain_services.yml": {"hub"},
    "plugins.yml": {"hub"},
    "proxies.yml": {"sites"},
    "redirect.yml": {"router-1"},
    "relay.yml": {"branch"},
    "reverse_tunnel.yml": {"hub"},
    "shadowsocks.yml": {"hub"},
    "site.json": {"hub", "own"},
    "sniffing.yml": {"hub"},
    "transports.yml": {"hub"},
    "tun_and_tap.yml": {"client"},
}
"""File -> its services that belong to a routing tunnel."""


def only_tunnel(*texts: str) -> Settings:
    read = config_read.read([("f", "".join(texts))])
    return config_resolve.resolve(config_only_tunnel.only_tunnel(read))


def refused(*texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        only_tunnel(*texts)
    return [str(problem) for problem in caught.value.problems]


def left(settings: Settings) -> list[str]:
    return [notice.message for notice in settings.notices if config_only_tunnel.is_left(notice)]


def changed(name: str, old: str, new: str) -> str:
    text = (MIXED / name).read_text()
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.mark.parametrize("name", FILES)
def test_a_mixed_file_of_gost_runs_its_tunnel_and_names_what_it_leaves(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(MIXED / name)
    monkeypatch.chdir(tmp_path)  # one of them names its certificate and key in the working directory
    pair = Authority(tmp_path).issue("hub")
    (tmp_path / "cert.pem").write_bytes(Path(pair.cert).read_bytes())
    (tmp_path / "key.pem").write_bytes(Path(pair.key).read_bytes())
    assert cli_main.main(["check", "--only-tunnel", "--json", "-C", path]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {service["name"] for service in told["services"]} == TUNNEL[name]
    every = {service.name for service in config_read.read([(path, Path(path).read_text())]).services}
    lines = [
        notice["message"] for notice in told["notices"] if notice["message"].startswith("left to GOST: ")
    ]
    assert all(notice["line"] for notice in told["notices"])
    services = [line for line in lines if line.startswith("left to GOST: service ")]
    assert {line.split()[4] for line in services} == every - TUNNEL[name]
    assert len(services) == len(every - TUNNEL[name])
    assert not [warning for warning in told["warnings"] if "means nothing" in warning["message"]]


@pytest.mark.parametrize("name", FILES)
def test_without_the_option_a_mixed_file_is_refused_and_the_option_is_named(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_main.main(["check", "-C", str(MIXED / name)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    wrong_handlers = [line for line in errors if "no part of a routing tunnel" in line]
    assert all("--only-tunnel" in line for line in wrong_handlers)
    assert any("--only-tunnel" in line for line in errors)


def test_the_api_and_other_lookers_on_are_left_and_the_metrics_are_not() -> None:
    settings = only_tunnel((MIXED / "api_and_metrics.yml").read_text())
    assert left(settings)[-3:] == [
        "left to GOST: api: it starts GOST's web API; --api ADDR starts tunrouter's",
        "left to GOST: profiling: it profiles GOST",
        "left to GOST: loggers: tunrouter has one log",
    ]
    assert settings.metrics is not None
    assert [auther.name for auther in settings.authers] == ["readers"]
    assert not [warning for warning in settings.warnings if "profiling" in warning.message]


KEPT_BADLY = [
    ("proxies.yml", "router: sites", "router: site", "there is no router 'site'; did you mean 'sites'?"),
    ("proxies.yml", "gateway: site-1", "gatewy: site-1", "unknown key 'gatewy' in a route section"),
    (
        "proxies.yml",
        "name: sites\n    addr",
        "name: sites\n    admission: ofice\n    addr",
        "no admission 'ofice'",
    ),
    (
        "proxies.yml",
        "name: sites\n    addr",
        "name: sites\n    limiter: peopl\n    addr",
        "no limiter 'peopl'",
    ),
    (
        "proxies.yml",
        "name: sites\n    addr",
        "name: sites\n    climiter: peple\n    addr",
        "no climiter 'peple'",
    ),
    ("proxies.yml", "type: router", "type: router\n      authers: [people, bosses]", "no auther 'bosses'"),
    ("proxies.yml", "type: router", "type: ruter", "unknown handler type 'ruter'; did you mean 'router'?"),
    ("relay.yml", "chain: network}", "chain: networks}", "there is no chain 'networks'"),
    ("relay.yml", "chain: network}", "chain: head-office}", "connector type relay does not reach a router"),
    ("relay.yml", "type: tun, chain: network", "type: tun", "names no chain, and there is more than one"),
    ("relay.yml", "addr: branch-1", "addr: 'branch-1:x:y'}, {addr: branch-1", "has a port"),
    ("chains.yml", "{name: exit}, {name: hubs}", "{name: exit}, {name: hub}", "hop 'hub' has no nodes"),
    (
        "observers.yml",
        "handler: {type: router,",
        "handler: {type: router, observer: snik,",
        "no observer 'snik'",
    ),
    ("reverse_tunnel.yml", "auther: hosts", "auther: host", "there is no auther 'host'"),
    ("reverse_tunnel.yml", "ingress: hosts", "ingress: hots", "there is no ingress 'hots'"),
    ("api_and_metrics.yml", "auther: readers", "auther: reader", "there is no auther 'reader'"),
    ("plain_services.yml", "handler: {type: router, metadata", "handlr: {type: router, metadata", "'handlr'"),
    ("plain_services.yml", "handler: {type: router,", "handler: {", "has no handler type"),
]


@pytest.mark.parametrize(("name", "old", "new", "expected"), KEPT_BADLY)
def test_what_the_tunnel_names_is_checked_as_strictly_as_ever(
    name: str, old: str, new: str, expected: str
) -> None:
    assert any(expected in problem for problem in refused(changed(name, old, new)))


LEFT_BADLY = [
    ("proxies.yml", "type: socks5\n", "type: socks5\n      nonsense: 1\n"),
    ("proxies.yml", "auther: people\n", "auther: nobody\n"),
    ("proxies.yml", "username: anna, password: one", "usrname: anna"),
    ("relay.yml", "chain: head-office, retries: 2", "chain: nowhere, retries: two"),
    ("relay.yml", "dialer: {type: quic}", "dialer: {type: made-up, tpye: 1}"),
    ("dns.yml", "listener: {type: dns, metadata: {mode: udp}}", "listener: [dns]"),
    ("api_and_metrics.yml", "accesslog: true", "accesslog: perhaps, more: 1"),
    ("reverse_tunnel.yml", 'plugin: {addr: "127.0.0.1:8001"}', "plugin: {type: soap, addr: ''}"),
]


@pytest.mark.parametrize(("name", "old", "new"), LEFT_BADLY)
def test_a_mistake_in_what_is_left_to_gost_stops_no_tunnel(name: str, old: str, new: str) -> None:
    settings = only_tunnel(changed(name, old, new))
    names = [*(hub.name for hub in settings.hubs), *(client.name for client in settings.clients)]
    assert set(names) == TUNNEL[name]


def test_a_text_that_a_left_service_shares_with_a_kept_one_by_an_alias_is_checked() -> None:
    shared = """
services:
  - {name: s, addr: ':1', handler: {type: socks5}, listener: &l {type: tcp, nonsense: 1}, bypass: b}
  - {name: h, addr: ':2', handler: {type: router, metadata: {router: r}}, listener: *l, bypass: b}
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
"""
    assert ["unknown key 'nonsense'" in problem for problem in refused(shared)] == [True]
    kept = only_tunnel(shared.replace(", nonsense: 1", ""))
    assert [warning.where.line for warning in kept.warnings] == [4]  # not the one of line 3, which was left


HUB = "services: [{name: h, addr: ':1', handler: {type: router, metadata: {router: R}}, listener: {type: tcp}}]\n"


def test_routers_stay_with_a_hub_under_any_spelling_of_their_namespace() -> None:
    routers = "routers: [{name: E87F56DDFD5749219AB8A0847662DAAE, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
    settings = only_tunnel(HUB.replace("R}", "e87f56dd-fd57-4921-9ab8-a0847662daae}"), routers)
    assert settings.hubs[0].default_table is settings.tables[0]
    assert not left(settings)


def test_a_file_without_a_tunnel_is_an_error_that_says_what_would_be_one() -> None:
    wrong = refused("services: [{name: s, addr: ':1', handler: {type: http}, listener: {type: tcp}}]\n")
    assert wrong == [
        (
            "f:1:11: no service of a routing tunnel is here; "
            "tunrouter has the handlers router (a hub) and tun with a host name (a client)"
        )
    ]


def test_services_of_the_command_line_are_told_apart_too() -> None:
    listens = ["socks5://:1080", "tun:///host-1?net=10.0.0.1/24", "tun://:8421?net=10.1.0.1/24"]
    read = config_from_urls.read(listens, ["router://hub:8443"], api=":18080")
    settings = config_resolve.resolve(config_only_tunnel.only_tunnel(read))
    assert [client.name for client in settings.clients] == ["service-1"]
    assert left(settings) == [
        "left to GOST: service service-0 (handler socks5)",
        "left to GOST: service service-2 (a tun device over UDP, without a hub)",
        "left to GOST: api: it starts GOST's web API; --api ADDR starts tunrouter's",
    ]


def test_a_wrong_url_is_an_error_with_the_option_too() -> None:
    read = config_from_urls.read(["sock5://:1080", "router://:1"])
    with pytest.raises(ConfigError, match="unknown scheme 'sock5'"):
        config_resolve.resolve(config_only_tunnel.only_tunnel(read))


def test_explain_names_what_was_left_beside_the_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", "--only-tunnel", "-C", str(MIXED / "proxies.yml"), "--from", "site-1", "10.2.0.1"]
    assert cli_main.main(words) == 0
    told = capsys.readouterr()
    assert "site-2" in told.out
    assert "left to GOST" not in told.out
    assert "note: " in told.err
    assert "left to GOST: service socks (handler socks5)" in told.err


def test_the_printed_configuration_is_the_tunnel_s_and_runs_by_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli_main.main(["-C", str(MIXED / "proxies.yml"), "--only-tunnel", "-O", "yaml"]) == 0
    alone = tmp_path / "tunnel.yml"
    alone.write_text(capsys.readouterr().out)
    assert cli_main.main(["check", "-C", str(alone)]) == 0
    assert "socks" not in alone.read_text()


def test_an_error_hides_no_warning(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "hub.yml"
    path.write_text(
        HUB.replace("type: tcp}", "type: tcp, chain: x}, bypass: b") + "routers: [{name: R}, {name: R}]\n"
    )
    for words in (["check", "-C", str(path)], ["-C", str(path)]):
        assert cli_main.main(words) == 2
        kinds = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
        assert kinds == ["warning", "warning", "error"]
    assert cli_main.main(["check", "--json", "-C", str(path)]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (len(told["problems"]), len(told["warnings"])) == (1, 2)


def test_every_list_of_a_configuration_is_looked_through() -> None:
    """A new one is left out where nothing of the tunnel names it; until it has its line here it is kept."""
    lists = {
        field.name for field in section_fields(Config) if isinstance(getattr(Config(), field.name), list)
    }
    assert lists == {"services", *config_only_tunnel._SECTIONS, "tests", "notify", "namespaces"}, (
        "ours are kept"
    )


def test_what_a_configuration_has_beside_lists_is_kept() -> None:
    more = "user: nobody\nrecorder: 1MB\nlog: {level: warn}\nmetrics: {addr: '127.0.0.1:1'}\ntls: {certFile: x}\n"
    settings = only_tunnel(HUB.replace("tcp", "tls"), "routers: [{name: R}]\n", more)
    assert (settings.user, settings.recorder, settings.log_level) == ("nobody", 1 << 20, "warn")
    assert settings.metrics is not None
    assert settings.hubs[0].transport.tls.cert_file == "x"
