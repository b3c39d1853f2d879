"""A change by the web API makes anew what is another one, and what names it, and nothing else."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib import config_hub, config_resolve, service_release
from lib.config_schema import Config, Service
from lib.errors import ConfigError
from lib.hub import Hub
from lib.settings import HubSettings
from tests.support.api import Api, free_port, process
from tests.support.opcodes import counted

TEXT = """\
services:
- {name: a, addr: '127.0.0.1:PORT', handler: {type: router, limiter: l, metadata: {router: r}}, listener: {type: tcp}}
- {name: b, addr: '127.0.0.2:PORT', handler: {type: router, auther: x, metadata: {router: s}}, listener: {type: tcp}}
- {name: c, addr: '127.0.0.3:PORT', handler: {type: router, metadata: {router: s}}, listener: {type: tcp},
   metadata: {preUp: ["/bin/true ${env:WHO}"]}}
routers:
- {name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}
- {name: s, routes: [{dst: 10.0.0.0/8, gateway: g}]}
authers: [{name: x, auths: [{username: u, password: p}]}]
limiters: [{name: l, limits: ["host-1 1MB"]}]
api: {addr: 'unix:///tmp/e-PORT.sock', auth: {username: u, password: p}}
"""
ROUTES = {"routes": [{"dst": "10.0.0.0/8", "gateway": "other"}]}


@pytest.fixture(autouse=True)
def all_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier changes have replaced is not taken apart while instructions are counted."""
    monkeypatch.setattr(service_release, "_waiting", deque())
    monkeypatch.setattr(service_release, "later", lambda replaced: None)


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("WHO", "me")
    with process(tmp_path / "gost.yml", TEXT) as made:
        yield made


def hubs(api: Api) -> dict[str, HubSettings]:
    return {hub.name: hub for hub in api.parts.settings.hubs}


def put(api: Api, path: str, body: object) -> None:
    answer = api.ask("PUT", path, body, login="u:p")
    assert answer.status == 200, answer.body


def _given(config: Config, _: Config) -> Config:
    return config


def same(api: Api, before: dict[str, HubSettings]) -> set[str]:
    """The hubs whose settings are the same objects, which run by these."""
    now = hubs(api)
    assert all(api.parts.hubs[name].settings is now[name] for name in now)
    return {name for name in now if now[name] is before.get(name)}


def test_another_service_leaves_all_others_as_they_are(api: Api) -> None:
    before = hubs(api)
    body = {
        **api.ask("GET", "/config/services/a", login="u:p").json["data"],
        "addr": f"127.0.0.1:{free_port()}",
    }
    put(api, "/config/services/a", body)
    assert same(api, before) == {"b"}, "c has a reference"
    assert hubs(api)["a"].port != before["a"].port


def test_another_router_is_another_one_for_those_that_name_it(api: Api) -> None:
    before = hubs(api)
    put(api, "/config/routers/s", ROUTES)
    assert same(api, before) == {"a"}
    for name in ("b", "c"):
        table = hubs(api)[name].default_table
        assert table is not None
        assert table.routes[0].hop.gateway == "other"


def test_another_auther_is_another_one_for_those_that_name_it(api: Api) -> None:
    before = hubs(api)
    put(api, "/config/authers/x", {"auths": [{"username": "v", "password": "q"}]})
    assert same(api, before) == {"a"}
    assert hubs(api)["b"].authers[0].logins[0].username == "v"


def test_another_limiter_is_another_one_for_those_that_name_it(api: Api) -> None:
    before = hubs(api)
    put(api, "/config/limiters/l", {"limits": ["host-1 2MB"]})
    assert same(api, before) == {"b"}
    assert hubs(api)["a"].limits.hosts[0].into.bytes == 2 << 20
    assert api.parts.hubs["a"].gate.settings.hosts[0].into.bytes == 2 << 20


def test_what_a_hub_names_is_looked_for_each_time(api: Api) -> None:
    """A hub whose own section is the same has lost its auther all the same, and is not let in without."""
    config = api.changes.config
    for kind, name in (("authers", "x"), ("routers", "s")):
        without = copy(config)
        setattr(without, kind, [one for one in getattr(config, kind) if one.name != name])
        with pytest.raises(ConfigError, match=f"there is no {kind[:-1]} '{name}'"):
            api.changes.apply(partial(_given, without))
    assert same(api, hubs(api)) == {"a", "b", "c"}


def test_a_mistake_forgets_nothing_that_is_right(api: Api) -> None:
    before = hubs(api)
    wrong = api.ask("PUT", "/config/routers/s", {"routes": [{"dst": "x", "gateway": "g"}]}, login="u:p")
    assert wrong.status == 500
    put(api, "/config/routers/r", ROUTES)
    assert "b" in same(api, before)


def test_a_reference_is_read_again_at_each_change(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hubs(api)["c"].hooks
    monkeypatch.setenv("WHO", "you")
    put(api, "/config/routers/r", ROUTES)
    assert hubs(api)["c"].hooks != before


def test_what_a_warning_said_is_said_once(api: Api) -> None:
    before = api.parts.settings.warnings
    put(api, "/config/routers/r", ROUTES)
    assert set(before) == set(api.parts.settings.warnings)


def test_another_router_costs_those_that_name_it_next_to_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of services may have one table: none is read again, and no session of theirs is judged."""
    read: list[str] = []
    checked: list[str] = []
    make, recheck = config_hub.hub, Hub.recheck

    def noted(service: Service, *more: Any) -> HubSettings | None:
        read.append(service.name)
        return make(service, *more)

    def judged(hub: Hub) -> list[str]:
        checked.append(hub.settings.name)
        return recheck(hub)

    monkeypatch.setattr(config_resolve, "hub", noted)
    monkeypatch.setattr(Hub, "recheck", judged)
    for gateway in ("one", "two"):
        put(api, "/config/routers/r", {"routes": [{"dst": "10.0.0.0/8", "gateway": gateway}]})
        table = api.parts.hubs["a"].settings.default_table
        assert table is not None
        assert table.routes[0].hop.gateway == gateway
        assert api.parts.hubs["a"].identities.settings is api.parts.hubs["a"].settings
    assert "a" not in read
    assert not {"a", "b"} & set(checked)
    put(api, "/config/authers/x", {"auths": [{"username": "v", "password": "q"}]})
    assert set(read) == {"c"}, "which has a reference"
    assert set(checked) == {"b", "c"}, "the logins of one are others"


SHARED = """\
admissions: [{name: m, matchers: [192.0.2.1]}]
observers: [{name: o, plugin: {type: http, addr: 'http://127.0.0.1:9/'}}]
limiters: [{name: l, limits: ["$$ 1MB"]}]
climiters: [{name: c, limits: ["$ 50"]}]
rlimiters: [{name: h, limits: ["$ 50"]}]
authers: [{name: x, auths: [{username: u, password: p}]}]
ingresses: [{name: i, rules: [{hostname: h, endpoint: e87f56dd-fd57-4921-9ab8-100000000001}]}]
routers: [{name: r}]
log: {level: error}
api: {addr: 'unix:///tmp/k-PORT.sock', auth: {username: u, password: p}}
"""
SHARER = """\
- name: s%d
  addr: '127.0.0.1:0'
  admission: m
  observer: o
  limiter: l
  climiter: c
  rlimiter: h
  handler: {type: router, limiter: l, auther: x, observer: o, metadata: {router: r, ingress: i}}
  listener: {type: tcp}
"""
CHANGES: dict[str, tuple[object, object]] = {
    "/config/routers/r": (ROUTES, {"routes": []}),
    "/config/admissions/m": ({"matchers": ["192.0.2.2"]}, {"matchers": ["192.0.2.3"]}),
    "/config/limiters/l": ({"limits": ["$$ 2MB"]}, {"limits": ["$$ 3MB"]}),
    "/config/climiters/c": ({"limits": ["$ 60"]}, {"limits": ["$ 70"]}),
    "/config/rlimiters/h": ({"limits": ["$ 60"]}, {"limits": ["$ 70"]}),
    "/config/authers/x": (
        {"auths": [{"username": "u", "password": "q"}]},
        {"auths": [{"username": "u", "password": "r"}]},
    ),
    "/config/ingresses/i": (
        {"rules": [{"hostname": "i", "endpoint": "e87f56dd-fd57-4921-9ab8-100000000001"}]},
        {"rules": []},
    ),
    "/config/observers/o": (
        {"plugin": {"type": "http", "addr": "http://127.0.0.1:8/"}},
        {"plugin": {"type": "http", "addr": "http://127.0.0.1:7/"}},
    ),
}
"""What services name -> two changes of it."""


OF_HUB = {
    "routers": "default_table",
    "ingresses": "ingress",
    "authers": "authers",
    "admissions": "admissions",
    "observers": "observe",
    "limiters": "limits",
    "climiters": "limits",
    "rlimiters": "limits",
}
"""Kind of a section -> the field of a hub's settings."""
FIELDS = dataclasses.fields(HubSettings)


def sharers(count: int) -> str:
    return "services:\n" + "".join(SHARER % number for number in range(count)) + SHARED


@pytest.mark.parametrize("path", CHANGES)
def test_what_many_services_name_is_swapped_in_place(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of the services is read again, and none of the listeners is touched; all of them have it."""

    def touched(*more: object) -> None:
        raise AssertionError("a service was made anew")

    with process(tmp_path / "a.yml", sharers(3)) as api:
        before = hubs(api)
        monkeypatch.setattr(config_resolve, "hub", touched)
        monkeypatch.setattr(Hub, "apply", touched)
        for change in CHANGES[path]:
            put(api, path, change)
        now = hubs(api)
        assert same(api, before) == set()
        for name, hub in now.items():
            values = [(one.name, getattr(hub, one.name), getattr(before[name], one.name)) for one in FIELDS]
            assert [field for field, new, old in values if new is not old] == [OF_HUB[path.split("/")[2]]]
            assert api.parts.hubs[name].gate.settings == hub.limits


@pytest.mark.parametrize("path", CHANGES)
def test_twice_as_many_services_name_what_is_changed(path: str, tmp_path: Path) -> None:
    """Each of them costs some 10,000 instructions at most."""

    def cost(count: int) -> int:
        with process(tmp_path / f"{count}.yml", sharers(count)) as api:
            found = 0
            for change in CHANGES[path]:
                found = counted(partial(api.ask, "PUT", path, change, login="u:p"))
            return found

    few, many = cost(10), cost(30)
    assert (many - few) / 20 < 25_000


def test_a_limiter_is_told_of_once_and_as_it_is_now(tmp_path: Path) -> None:
    """A warning about a limiter is no service's: it goes with the limiter."""
    with process(tmp_path / "a.yml", sharers(3)) as api:
        put(api, "/config/limiters/l", {"limits": ["$$ 1KB"]})
        slow = [one for one in api.parts.settings.warnings if "may look dead" in one.message]
        assert len(slow) == 1
        put(api, "/config/routers/r", ROUTES)
        assert slow == [one for one in api.parts.settings.warnings if "may look dead" in one.message]
        put(api, "/config/limiters/l", {"limits": ["$$ 1MB"]})
        assert "may look dead" not in str(api.parts.settings.warnings)
        wrong = api.ask("PUT", "/config/limiters/l", {"limits": ["$$ 1 parrot"]}, login="u:p")
        assert wrong.status == 500
        put(api, "/config/routers/r", {"routes": []})


@pytest.mark.parametrize("kind", OF_HUB)
def test_what_a_service_names_has_to_be_there(kind: str, tmp_path: Path) -> None:
    with process(tmp_path / "a.yml", sharers(2)) as api:
        before = hubs(api)
        without = copy(api.changes.config)
        setattr(without, kind, [])
        with pytest.raises(ConfigError, match=f"there is no {kind.removesuffix('s').removesuffix('e')}"):
            api.changes.apply(partial(_given, without))
        assert same(api, before) == set(before)


def test_a_key_that_repeats_a_limiter_is_looked_at_again(tmp_path: Path) -> None:
    """GOST's -O leaves the parameters of a URL in metadata: one that differs from the limiter has no effect."""
    text = sharers(2).replace("  handler:", "  metadata: {climiter: '50'}\n  handler:", 1)
    with process(tmp_path / "a.yml", text) as api:
        other = api.ask("PUT", "/config/climiters/c", {"limits": ["$ 60"]}, login="u:p")
        assert (other.status, "no effect in service metadata" in other.json["msg"]) == (500, True)
        put(api, "/config/climiters/c", {"limits": ["$ 50", "$$ 5"]})
        assert {len(hub.limits.connections) for hub in hubs(api).values()} == {2}


def test_twice_as_many_services_name_a_router_that_is_changed(tmp_path: Path) -> None:
    """Each of them costs some 2,000 instructions; it took 15,700 once."""

    def cost(count: int) -> int:
        hub = "- {name: s%d, addr: '127.0.0.1:0', handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}"
        text = "services:\n" + "\n".join(hub % number for number in range(count))
        text += "\nrouters: [{name: r}]\nlog: {level: error}\napi: {addr: 'unix:///tmp/k-PORT.sock'}\n"
        with process(tmp_path / f"{count}.yml", text) as api:
            for gateway in ("fills caches", "g"):
                body = {"routes": [{"dst": "10.0.0.0/8", "gateway": gateway.split()[0]}]}
                found = counted(partial(api.ask, "PUT", "/config/routers/r", body))
            return found

    few, many = cost(10), cost(30)
    assert (many - few) / 20 < 3000


def test_a_look_at_what_a_reload_would_change_forgets_nothing(api: Api) -> None:
    before = hubs(api)
    assert api.ask("GET", "/x/config/difference", login="u:p").status == 200
    put(api, "/config/routers/r", ROUTES)
    assert "b" in same(api, before)


def test_a_hub_without_a_router_is_warned_of_as_the_namespaces_are_now(tmp_path: Path) -> None:
    hub = "services: [{name: a, addr: '127.0.0.1:0', handler: {type: router}, listener: {type: tcp}}]\n"
    body = {"name": "e87f56dd-fd57-4921-9ab8-100000000001", "routes": [{"dst": "10.0.0.0/8", "gateway": "g"}]}
    with process(tmp_path / "a.yml", hub + "api: {addr: 'unix:///tmp/k-PORT.sock'}\n") as api:
        assert "no packet can pass" in str(api.parts.settings.warnings)
        assert api.ask("POST", "/config/routers", body).status == 200
        assert "no packet can pass" not in str(api.parts.settings.warnings)
        assert api.ask("DELETE", f"/config/routers/{body['name']}").status == 200
        assert "no packet can pass" in str(api.parts.settings.warnings)
