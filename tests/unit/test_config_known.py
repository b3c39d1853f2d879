"""A change by the web API makes anew what is another one, and what names it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib import config_hub, config_resolve
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


def test_another_limiter_is_another_one_for_all_hubs(api: Api) -> None:
    before = hubs(api)
    put(api, "/config/limiters/l", {"limits": ["host-1 2MB"]})
    assert same(api, before) == set()
    assert hubs(api)["a"].limits.hosts[0].into.bytes == 2 << 20


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
