"""A change by the web API makes anew what is another one, and what names it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.settings import HubSettings
from tests.support.api import Api, free_port, process

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


def test_another_auther_is_another_one_for_all_hubs(api: Api) -> None:
    before = hubs(api)
    put(api, "/config/authers/x", {"auths": [{"username": "v", "password": "q"}]})
    assert same(api, before) == set()
    assert hubs(api)["b"].authers[0].logins[0].username == "v"


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
