"""Policy tests: by the tables of a configuration, as `explain` decides, with every way in which one can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib import cli_main, config_read, config_resolve, ctl_explain, service_policy, service_reload
from lib.errors import ConfigError, Problem
from lib.hub_tables import Tables
from lib.route_live import LiveRoutes
from lib.service_policy import Outcome, Rows, outcomes, rows_of_all, rows_of_files, rows_of_running
from lib.settings import Hop, Settings

NS = "e87f56dd-fd57-4921-9ab8-a0847662daae"
HUB = """services:
- {name: hub, addr: ':8443', handler: {type: router, metadata: {router: r%s}}, listener: {type: tcp}}
routers:
- name: r
  acl:
  - {action: deny, from: 192.168.100.0/24, to: 192.168.200.9}
  - {action: allow, protocol: tcp, port: "22"}
  - {action: allow, protocol: icmp}
  routes:
  - {dst: 192.168.123.1, gateway: host-1}
  - {dst: 192.168.100.0/24, gateway: host-1}
  - {dst: 192.168.100.0/25, gateway: host-3}
  - {dst: 192.168.200.0/24, gateway: host-2}
  - {dst: 'fd00:2::/64', gateway: host-2}
  - {dst: 'fd00:1::1', gateway: host-1}
- {name: NS, routes: [{dst: 10.0.0.0/8, gateway: host-1}, {dst: 10.2.0.0/16, gateway: host-2}]}
""".replace("NS", NS)


def settings(*tests: str, metadata: str = "", text: str = HUB) -> Settings:
    """The settings of the hub with these tests, YAML without braces. Raises ConfigError."""
    written = "".join(f"- {{{test}}}\n" for test in tests)
    text = text.replace("%s", metadata) + f"tests:\n{written}"
    return config_resolve.resolve(config_read.read([("f", text)]))


def outcome(test: str, metadata: str = "") -> Outcome:
    (found,) = outcomes(settings(test, metadata=metadata), rows_of_all)
    return found


@pytest.mark.parametrize(
    ("test", "holds"),
    [("to: 10.9.0.1, expect: allow", True), ("to: 10.9.0.1, port: udp/53, expect: deny", True),
     ("to: 10.9.0.1, port: udp/53, expect: allow", False)],
)  # fmt: skip
def test_the_hub_s_own_address_is_judged_by_the_access_list_too(test: str, holds: bool) -> None:
    text = HUB.replace("- name: r\n", "- name: r\n  address: 10.9.0.1/24\n  dnsDomain: tun.test\n", 1)
    (found,) = outcomes(settings(f"from: host-1, {test}", text=text), rows_of_all)
    assert found.holds == holds
    assert holds or "no rule: deny" in found.failure


@pytest.mark.parametrize(
    "test",
    [
        "from: host-1, to: 192.168.200.7, expect: allow",
        "from: host-1, to: 192.168.200.7, port: tcp/22, expect: allow",
        "from: host-1, to: 192.168.200.7, port: TCP/22, expect: ALLOW",
        "from: host-1, to: 192.168.200.7, port: tcp/80, expect: deny",
        "from: host-1, to: 192.168.200.7, port: udp/22, expect: deny",
        "from: host-1, to: 10.9.9.9, expect: deny",
        "from: host-1, to: 224.0.0.1, expect: deny",
        "from: host-1, to: 'fd00:2::9', port: tcp/22, expect: allow",
        "from: host-2, to: 192.168.200.7, source: 192.168.123.1, expect: deny",
        f"from: host-1, to: 10.2.3.4, ns: {NS}, expect: allow",
        f"from: host-2, to: 10.1.3.4, ns: {NS}, service: hub, expect: allow",
        f"from: host-1, to: 192.168.200.7, ns: {NS}, port: tcp/22, expect: allow",
        "from: host-1, to: 192.168.200.9, source: 192.168.123.1, expect: allow",
        "from: host-1, to: 192.168.200.9, source: 192.168.100.200, expect: deny",
    ],
)
def test_one_that_holds(test: str) -> None:
    assert outcome(test).holds


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            "from: host-1, to: 192.168.200.7, port: tcp/22, expect: deny",
            "it expects deny, but the packet from 192.168.123.1 goes to host-2, if it is there (TCP: rule 2",
        ),
        (
            "from: host-1, to: 192.168.200.7, port: tcp/80, expect: allow",
            "host-1 to 192.168.200.7 tcp/80: it expects allow, but the packet from 192.168.123.1 is dropped: denied",
        ),
        (
            "from: host-1, to: 172.16.0.1, expect: allow",
            "a route `dst: 172.16.0.1, gateway: HOST` would help",
        ),
        # From one of the host's addresses it passes, from another one it does not: neither word is right.
        ("from: host-1, to: 192.168.200.9, expect: allow", "but the packet from 192.168.100.255 is dropped"),
        ("from: host-1, to: 192.168.200.9, expect: deny", "but the packet from 192.168.123.1 goes to host-2"),
        (
            "from: hots-1, to: 192.168.200.7, expect: deny",
            "no IPv4 route leads to host 'hots-1'; did you mean 'host-1'",
        ),
        ("from: host-3, to: 'fd00:2::9', expect: deny", "no IPv6 route leads to host 'host-3'"),
    ],
    ids=str,
)
def test_one_that_fails_says_why_and_where(test: str, said: str) -> None:
    found = outcome(test)
    assert found.failure
    assert said in str(found.problem)
    assert str(found.problem).startswith(
        f"f:{HUB.count(chr(10)) + 2}:{test.index('expect: ') + 12}: policy test "
    )


def test_a_host_that_no_route_names_is_judged_where_sources_are_not_checked() -> None:
    test = "from: guest, to: 192.168.200.7, port: tcp/22, expect: allow"
    assert "no IPv4 route leads to host 'guest'" in outcome(test).failure
    assert outcome(test, ", sourceCheck: off").holds


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("from: host-1, to: 10.0.0.1", "a test without 'expect'; write expect: allow or deny"),
        ("from: host-1, to: 10.0.0.1, expect: alow", "'expect': 'alow' is unknown; did you mean 'allow'?"),
        ("to: 10.0.0.1, expect: deny", "a test without 'from'"),
        ("from: 10.0.0.2, to: 10.0.0.1, expect: deny", "'from': 10.0.0.2 is an address"),
        ("from: host-1, expect: deny", "a test without 'to'"),
        ("from: host-1, to: 10.0.0.0/8, expect: deny", "'to': '10.0.0.0/8' is no IP address"),
        ("from: host-1, to: 10.0.0.1, source: 'fd00::1', expect: deny", "two versions of IP"),
        ("from: host-1, to: 10.0.0.1, port: 22, expect: deny", "'port': '22' is no protocol and port"),
        ("from: host-1, to: 10.0.0.1, port: tcp/65536, expect: deny", "'port': 'tcp/65536' is no"),
        ("from: host-1, to: 10.0.0.1, ns: x, expect: deny", "'ns': not a UUID"),
        ("from: host-1, to: 10.0.0.1, service: hubb, expect: deny", "there is no hub 'hubb'; did you mean 'hub'?"),
        ("form: host-1, to: 10.0.0.1, expect: deny", "unknown key 'form'"),
    ],
)  # fmt: skip
def test_one_that_cannot_be_meant(test: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(test)
    assert said in str(raised.value)
    assert str(raised.value).startswith(f"f:{HUB.count(chr(10)) + 2}:")


def test_which_hub_is_meant_where_there_are_several() -> None:
    more = "- {name: b, addr: ':1', handler: {type: router, metadata: {router: r%s}}, listener: {type: tcp}}\nrouters:"
    text = HUB.replace("routers:", more)
    test = "from: host-1, to: 192.168.200.7, expect: allow"
    with pytest.raises(ConfigError, match=r"which hub is this test about.*one of hub, b"):
        settings(test, text=text)
    for found in (
        settings(f"{test}, service: b", text=text),
        settings(test, text=text, metadata=", domain: d"),
    ):
        assert [one.holds for one in outcomes(found, rows_of_all)] == [True]
    with pytest.raises(ConfigError, match="a test, but no hub"):
        config_resolve.resolve(config_read.read([("f", f"tests: [{{{test}}}]\nservices: []")]))


# --- where rows come from -------------------------------------------------------------------------


def sourced(path: Path, more: str = "") -> str:
    return f"""services:
- {{name: hub, addr: ':0', handler: {{type: router, metadata: {{router: r}}}}, listener: {{type: tcp}}}}
routers: [{{name: r, file: {{path: {path}}}{more}}}]
"""


GOOD = b"10.1.0.0/16 host-1\n10.2.0.0/16 host-2\n"
TEST = "from: host-1, to: 10.2.0.1, expect: allow"


def test_rows_of_a_file_count(tmp_path: Path) -> None:
    path = tmp_path / "routes"
    path.write_bytes(GOOD)
    found = settings(TEST, text=sourced(path))
    assert [one.holds for one in outcomes(found, rows_of_files)] == [True]
    path.unlink()
    (missing,) = outcomes(found, rows_of_files)
    assert not missing.holds
    assert f"{path}: No such file" in missing.unjudged


@pytest.mark.parametrize(
    "more", ["redis: {addr: '127.0.0.1:1', key: k}", "plugin: {type: http, addr: '127.0.0.1:1'}"]
)
def test_check_connects_to_nothing(tmp_path: Path, more: str) -> None:
    path = tmp_path / "routes"
    path.write_bytes(GOOD)
    found = settings(TEST, text=sourced(path, f", {more}"))
    (quiet,) = outcomes(found, rows_of_files)
    assert "`tunrouter test`" in quiet.unjudged
    (asked,) = outcomes(settings(f"{TEST}, source: 10.1.0.1", text=sourced(path, f", {more}")), rows_of_all)
    assert "127.0.0.1" in asked.unjudged or "plugin gives no reply" in asked.unjudged


def test_a_plugin_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.support.routes import to

    class Plugin:
        acl = None

        def __init__(self, _: object) -> None:
            self.asked: list[bytes] = []

        def route(self, address: bytes, namespace: bytes) -> Any:
            from lib.route_table import Route

            return Route(address, 32, to("host-1" if address[1] == 1 else "host-2"))

        def close(self) -> None:
            pass

    monkeypatch.setattr(service_policy, "RouterPlugin", Plugin)
    text = sourced(tmp_path / "none", ", plugin: {type: http, addr: '127.0.0.1:1'}").replace(
        f"file: {{path: {tmp_path}/none}}, ", ""
    )
    (free, named, other) = outcomes(
        settings(TEST, f"{TEST}, source: 10.1.0.9", f"{TEST}, source: 10.2.0.9", text=text), rows_of_all
    )
    assert "write source: and an address" in str(free.problem)
    assert named.holds
    assert "wrong-source" in other.failure


def test_a_running_hub_s_rows_count_and_those_of_a_source_that_is_new_to_it(tmp_path: Path) -> None:
    path, other = tmp_path / "routes", tmp_path / "other"
    path.write_bytes(GOOD)
    other.write_bytes(GOOD.replace(b"host-2", b"host-3"))
    old = settings(TEST, text=sourced(path))
    tables = Tables(old)
    try:
        tables.start()
        assert tables.wait_loaded(5)
        path.write_bytes(b"")
        assert [one.holds for one in outcomes(old, rows_of_running(tables))] == [True], "its last good rows"
        elsewhere = settings("from: host-3, to: 10.1.0.1, expect: allow", text=sourced(other))
        assert [one.holds for one in outcomes(elsewhere, rows_of_running(tables))] == [True]
    finally:
        tables.stop()


def test_a_running_hub_whose_source_was_never_read_has_no_judgement(tmp_path: Path) -> None:
    found = settings(TEST, text=sourced(tmp_path / "none"))
    tables = Tables(found)
    try:
        live = dict(tables.routers())["r"]
        assert isinstance(live, LiveRoutes)
        (one,) = outcomes(found, rows_of_running(tables))
        assert "has never been read" in one.unjudged
    finally:
        tables.stop()


POOLED = """services:
- {name: hub, addr: ':0', handler: {type: router, metadata: {router: r%s}}, listener: {type: tcp}}
routers:
- {name: r, pool: 10.20.0.0/16, hosts: {host-2: 10.20.0.2}, routes: [{dst: 10.1.0.0/16, gateway: host-1}]}
"""
LEASED = {(bytes((10, 20, 0, 7)), 32): Hop("host-7")}


@pytest.mark.parametrize(
    ("test", "unjudged", "running"),
    [
        ("from: host-7, to: 10.1.0.1, expect: allow", "which address host-7 has of the pool", True),
        ("from: host-1, to: 10.20.0.7, expect: allow", "which host has 10.20.0.7 of the pool", True),
        ("from: host-7, source: 10.20.0.7, to: 10.1.0.1, expect: allow", "which host has 10.20.0.7", True),
        ("from: host-8, source: 10.20.0.7, to: 10.1.0.1, expect: deny", "which host has 10.20.0.7", True),
        ("from: host-2, to: 10.1.0.1, expect: allow", "", True),
        ("from: host-1, to: 10.20.0.2, expect: allow", "", True),
        ("from: host-9, to: 10.1.0.1, expect: allow", "which address host-9 has of the pool", False),
    ],
)
def test_only_a_running_hub_knows_who_has_which_address_of_a_pool(
    test: str, unjudged: str, running: bool
) -> None:
    found = settings(test, text=POOLED)
    (read,) = outcomes(found, rows_of_files)
    assert unjudged in read.unjudged
    assert read.holds is not bool(unjudged)
    tables = Tables(found)
    try:
        live = dict(tables.routers())["r"]
        assert isinstance(live, LiveRoutes)
        live.lend(LEASED)
        (asked,) = outcomes(found, rows_of_running(tables))
        assert asked.holds is running
        assert not asked.unjudged
    finally:
        tables.stop()


def test_only_a_running_hub_knows_who_is_enrolled(tmp_path: Path) -> None:
    tests = (
        "from: host-9, to: 10.1.0.1, expect: allow",
        "from: host-1, to: 10.9.0.1, expect: allow",
        "from: host-1, to: 10.9.0.1, expect: deny",
        "from: host-2, to: 10.1.0.1, expect: allow",
    )
    found = settings(
        *tests, text=POOLED.replace(", pool: 10.20.0.0/16", ""), metadata=f", enrol: {tmp_path}/hosts"
    )
    said = [outcome.unjudged for outcome in outcomes(found, rows_of_files)]
    gone = "no route leads to 10.9.0.1 here, but an enrolled host may have it"
    assert said == ["host-9 may be an enrolled host", gone, gone, ""]
    tables = Tables(found)
    try:
        live = dict(tables.routers())["r"]
        assert isinstance(live, LiveRoutes)
        live.route_enrolled(b"10.9.0.0/16 host-9\n")
        holds = [outcome.holds for outcome in outcomes(found, rows_of_running(tables))]
        assert holds == [True, True, False, True]
    finally:
        tables.stop()


# --- reload, start, commands ----------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged by the modules here."""
    lines: list[str] = []

    def say(entry: object, text: str, *values: object, **fields: object) -> None:
        lines.append(text % values)

    def say_problem(event: object, problem: Problem) -> None:
        lines.append(str(problem))

    monkeypatch.setattr(service_reload, "say", say)
    monkeypatch.setattr(service_policy, "say_problem", say_problem)
    return lines


@pytest.fixture
def parts() -> Iterator[Any]:
    """Of a process that runs by the configuration without tests."""
    old = settings()
    tables = Tables(old)
    nothing = SimpleNamespace(of=lambda *_: None, keep_only=list, record=lambda _: [])
    hub = SimpleNamespace(settings=old.hubs[0], apply=lambda *_: [], unchecked=0, domain=None)
    hub.use, hub.recheck = partial(setattr, hub, "settings"), list
    yield SimpleNamespace(
        settings=old,
        hubs={"hub": hub},
        clients={},
        tables=tables,
        tapping=nothing,
        domains=nothing,
        notify=SimpleNamespace(apply=lambda _: []),
        api=None,
        observe=SimpleNamespace(apply=list),
        cluster=SimpleNamespace(apply=lambda hubs, settings: []),
        shared=None,
        remove_clients=list,
    )
    tables.stop()


def test_a_reload_with_a_failing_test_changes_nothing(parts: Any, said: list[str]) -> None:
    before = parts.settings
    failing = settings("from: host-1, to: 192.168.200.7, expect: deny")
    service_reload.reload(parts, lambda step: failing)
    assert parts.settings is before
    assert said[0].startswith("reload: f:")
    assert "it expects deny" in said[0]
    assert said[1] == "reload: nothing was changed: the last good configuration stays in use"


def _given(new: Settings, step: object) -> Settings:
    return new


def test_a_reload_that_does_not_make_a_failing_test_fail_is_done(
    parts: Any, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source has broken it: the reload may be what mends something else. One that is new is refused."""
    routes = tmp_path / "routes.txt"
    routes.write_text("192.168.210.0/24 host-2\n")
    text = HUB.replace("- name: r\n", f"- name: r\n  file: {{path: {routes}}}\n", 1)
    broken = "from: host-1, to: 192.168.210.7, expect: allow"
    first = settings(broken, text=text)
    monkeypatch.setattr(service_policy, "rows_of_running", lambda tables: rows_of_all)
    service_reload.reload(parts, lambda step: first)
    assert parts.settings is first, "it holds"
    routes.write_text("# none\n")
    more = settings(broken, metadata=", superpackets: off", text=text)
    del said[:]
    service_reload.reload(parts, lambda step: more)
    assert parts.settings is more
    assert f"policy test {first.tests[0]}: it expects allow, but the packet" in said[0]
    assert "(as before this reload, which is done all the same)" in said[0]
    for tests in ((broken, FAILS), (broken.replace("210.7", "210.8"),)):
        del said[:]
        reread = partial(_given, settings(*tests, text=text))
        service_reload.reload(parts, reread)
        assert parts.settings is more, "a test that is new"
        assert said[-1] == "reload: nothing was changed: the last good configuration stays in use"
        assert sum(line.startswith("reload: f:") for line in said) == 1, "only that one is a problem"
    both = settings(broken, HOLDS, text=text)
    service_reload.reload(parts, lambda step: both)
    worse = settings(
        broken,
        HOLDS,
        text=text.replace("192.168.200.0/24, gateway: host-2", "192.168.201.0/24, gateway: host-2"),
    )
    service_reload.reload(parts, lambda step: worse)
    assert parts.settings is both, "another test has held until now"


def test_a_reload_whose_tests_hold_or_cannot_be_judged_is_done(
    parts: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = settings("from: host-1, to: 192.168.200.7, expect: allow")
    service_reload.reload(parts, lambda step: right)
    assert parts.settings is right
    assert said[-1] == "reload: nothing is different", "but for the tests"
    monkeypatch.setattr(service_policy, "rows_of_running", lambda tables: lambda table: Rows({}, "an outage"))
    other = settings("from: host-1, to: 192.168.200.7, expect: allow", metadata=", superpackets: off")
    del said[:]
    service_reload.reload(parts, lambda step: other)
    assert parts.settings is other
    assert "not judged: an outage" in said[0]


def written(tmp_path: Path, *tests: str) -> str:
    path = tmp_path / "hub.yml"
    path.write_text(HUB.replace("%s", "") + "tests:\n" + "".join(f"- {{{test}}}\n" for test in tests))
    return str(path)


HOLDS, FAILS = (f"from: host-1, to: 192.168.200.7, expect: {word}" for word in ("allow", "deny"))


def test_check_runs_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["check", "-C", written(tmp_path, HOLDS)]) == 0
    assert "ok: 1 policy test holds" in capsys.readouterr().out
    path = written(tmp_path, HOLDS, FAILS)
    assert cli_main.main(["check", "-C", path]) == 2
    shown = capsys.readouterr()
    assert (
        f"error: {path}:{HUB.count(chr(10)) + 3}:45: policy test host-1 to 192.168.200.7: it expects"
        in shown.err
    )
    assert "holds" not in shown.out
    assert cli_main.main(["check", "--json", "-C", path]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [problem["line"] for problem in found["problems"]] == [HUB.count("\n") + 3]


def test_the_command_test_runs_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tested(*tests: str, flags: tuple[str, ...] = ()) -> tuple[int, str]:
        status = cli_main.main(["test", "-C", written(tmp_path, *tests), *flags])
        return status, capsys.readouterr().out

    assert tested(HOLDS) == (0, "ok: host-1 to 192.168.200.7: allow\nthe policy test holds\n")
    status, text = tested(HOLDS, FAILS)
    assert status == 1
    assert text.splitlines()[1].startswith(f"{tmp_path}/hub.yml:")
    assert text.endswith("1 policy test of 2 failed\n")
    assert tested()[0] == 1, "a file without tests is perhaps the wrong file"
    away = (
        "from: host-9, to: 10.1.0.1, expect: allow"  # which address it has of the pool, a running hub knows
    )
    path = written(tmp_path, HOLDS, away)
    pooled = Path(path).read_text().replace("- name: r\n", "- name: r\n  pool: 10.20.0.0/16\n", 1)
    Path(path).write_text(pooled)
    assert cli_main.main(["test", "-C", path]) == 1
    assert capsys.readouterr().out.endswith("1 policy test of 2 cannot be judged here\n")
    Path(path).write_text(pooled + f"- {{{FAILS}}}\n")
    assert cli_main.main(["test", "-C", path]) == 1
    assert capsys.readouterr().out.endswith("1 policy test of 3 failed, and 1 cannot be judged here\n")
    status, text = tested(FAILS, HOLDS, flags=("--json",))
    assert [one["outcome"] for one in json.loads(text)["tests"]] == ["fails", "holds"]
    assert not json.loads(text)["ok"]


def test_both_commands_and_explain_have_one_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """If `explain` changed its mind, so would every test."""
    monkeypatch.setattr(ctl_explain, "explain", lambda *_: (_ for _ in ()).throw(RuntimeError("asked")))
    with pytest.raises(RuntimeError, match="asked"):
        outcome(HOLDS)
