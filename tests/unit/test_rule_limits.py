"""Limiters whose rows come from a file, Redis or a URL: in force at once, and the last good ones stay."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from lib import cli_main, config_read, config_resolve
from lib.settings_limits import CountLimit, Rate, RateLimit
from lib.settings_sources import FileSource, HttpSource, RedisSource
from tests.support.hubs import running
from tests.unit.test_config_resolve import problems, resolve

CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  limiter: t
  climiter: c
  rlimiter: c2
  handler: {type: router, limiter: h, metadata: {router: r}}
  listener: {type: tcp}
limiters:
- {name: t, limits: ["$ 1MB"], file: {path: DIR/t}}
- {name: h, file: {path: DIR/h}}
climiters: [{name: c, limits: ["$ 100"], file: {path: DIR/c}}]
rlimiters: [{name: c2, file: {path: DIR/r}}]
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
"""
ROWS = {
    "t": "# comment\n10.0.0.0/8 2MB 1MB  # more\n\n",
    "h": "host-1 100KB\n$$ 1MB\n",
    "c": "$$ 5\n192.0.2.0/24 7\n",
    "r": "$$ 9\n",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in ROWS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def config(files: Path) -> str:
    return CONFIG.replace("DIR", str(files))


def test_rows_of_files_are_in_force_and_changes_at_once(files: Path) -> None:
    with running(config(files)) as (hub,):
        hub.tables.rules_changed = lambda: list(map(gevent.spawn, [hub.recheck]))  # type: ignore[assignment]
        hub.tables.start()
        assert hub.tables.wait_loaded(5)
        hub.recheck()
        limits = hub.gate.settings
        mega = float(1 << 20)
        assert limits.services == (
            RateLimit("$", Rate(mega), Rate(mega)),
            RateLimit("10.0.0.0/8", Rate(2 * mega), Rate(mega)),
        )
        assert [row.key for row in limits.hosts] == ["host host-1", "$$"]
        assert limits.connections == (
            CountLimit("$", 100),
            CountLimit("$$", 5),
            CountLimit("192.0.2.0/24", 7),
        )
        assert limits.handshakes == (CountLimit("$$", 9),)
        (files / "c").write_text("$$ 6\nnonsense\n")
        with gevent.Timeout(5):
            while hub.gate.settings.connections != (CountLimit("$", 100), CountLimit("$$", 6)):
                gevent.sleep(0.01)
        (files / "c").write_text("nonsense\n")
        with gevent.Timeout(5):
            while not any(state.error for _, live in hub.tables.all() for _, state in live.feed.states()):
                gevent.sleep(0.01)
        assert hub.gate.settings.connections[1:] == (CountLimit("$$", 6),), "what is no table changes nothing"
        assert {key for key, _ in hub.tables.all()} >= {
            ("limiter", "limiter t"),
            ("limiter", "limiter h of hosts"),
            ("limiter", "climiter c"),
            ("limiter", "rlimiter c2"),
        }


def test_a_reload_takes_a_limiter_away(files: Path) -> None:
    with running(config(files)) as (hub,):
        hub.tables.start()
        assert hub.tables.wait_loaded(5)
        hub.recheck()
        assert [row.key for row in hub.gate.settings.connections] == ["$", "$$", "192.0.2.0/24"]
        without = config(files).replace(f", file: {{path: {files}/c}}", "")
        new = config_resolve.resolve(config_read.read([("f", without)]))
        hub.tables.apply(new)
        hub.apply(new.hubs[0], hub.domain)
        assert [row.key for row in hub.gate.settings.connections] == ["$"]


SOURCES = """
services: [{name: s, addr: ':1', climiter: c, handler: {type: router, metadata: {router: r}}}]
routers: [{name: r, routes: [{net: 10.0.0.0/8, gateway: host-1}]}]
climiters: [{name: c, reload: 10s, SOURCE}]
"""


def test_sources_as_gost_has_them() -> None:
    text = SOURCES.replace(
        "SOURCE", "file: {path: f}, redis: {addr: h, key: k, password: p}, http: {url: 'http://h/'}"
    )
    (limiter,) = resolve(text).hubs[0].limiters
    assert (limiter.name, limiter.adds_to, limiter.more.reload) == ("climiter c", "connections", 10.0)
    assert limiter.more.sources == (
        FileSource("f"),
        RedisSource("h:6379", password="p", key="k", type="set"),
        HttpSource("http://h/"),
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("redis: {addr: h, type: hash}", "redis type 'hash' cannot hold this"),
        ("http: {url: ftp://h}", "not the address of an HTTP source"),
        ("plugin: {addr: 'h:1'}", "climiter c: GOST asks no plugin here, and limits nothing; write limits"),
    ],
)
def test_what_is_wrong_in_a_source(source: str, said: str) -> None:
    assert said in problems(SOURCES.replace("SOURCE", source))[0]


def test_check_reads_the_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "t").write_text("10.0.0.0/8 2\n")
    path = files / "f.yml"
    path.write_text(config(files))
    assert cli_main.main(["check", "-C", str(path), "--control", "none"]) == 0
    assert f"{files}/t:1:1: '2' is no size: write its unit" in "".join(capsys.readouterr())
