"""Every kind of object of GOST's web API: added, read, replaced, deleted; and kept while another object names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lib import api_change, config_read
from lib.api_config import KINDS
from tests.support.api import Api, process

TEXT = """\
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
api: {addr: 'unix:///tmp/e-PORT.sock', auth: {username: admin, password: p}}
"""
LOGIN = "admin:p"
NAMESPACE = "e87f56dd-fd57-4921-9ab8-a0847662daae"


def hub(address: str) -> dict[str, Any]:
    return {
        "addr": address,
        "handler": {"type": "router", "metadata": {"router": "r"}},
        "listener": {"type": "tcp"},
    }


def node(address: str) -> dict[str, Any]:
    return {"name": "n", "addr": address, "connector": {"type": "router"}, "dialer": {"type": "tcp"}}


def plugin(address: str) -> dict[str, Any]:
    return {"plugin": {"type": "http", "addr": f"http://{address}"}}


BODIES: dict[str, list[dict[str, Any]]] = {
    "services": [hub("127.0.0.1:0"), hub("127.0.0.2:0")],
    "chains": [{"hops": [{"name": "h", "nodes": [node(f"127.0.0.{number}:1")]}]} for number in (1, 2)],
    "hops": [{"nodes": [node(f"127.0.0.{number}:1")]} for number in (1, 2)],
    "authers": [{"auths": [{"username": name, "password": "p"}]} for name in ("ada", "eve")],
    "admissions": [{"matchers": [f"192.0.2.{number}"]} for number in (1, 2)],
    "observers": [plugin("127.0.0.1:1"), plugin("127.0.0.2:1")],
    "ingresses": [{"rules": [{"hostname": name, "endpoint": NAMESPACE}]} for name in ("h-1", "h-2")],
    "sds": [plugin("127.0.0.1:1"), plugin("127.0.0.2:1")],
    "limiters": [{"limits": [f"$ {size}MB"]} for size in (1, 2)],
    "climiters": [{"limits": [f"$ {count}"]} for count in (11, 22)],
    "rlimiters": [{"limits": [f"$ {count}"]} for count in (11, 22)],
    "routers": [{"routes": [{"dst": f"10.{number}.0.0/16", "gateway": "g"}]} for number in (1, 2)],
    "hosts": [{"mappings": [{"ip": f"192.0.2.{number}", "hostname": "hub"}]} for number in (1, 2)],
}
"""Kind -> two objects of it."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with process(tmp_path_factory.mktemp("config") / "gost.yml", TEXT) as made:
        yield made


def ask(api: Api, method: str, path: str, body: object = None) -> tuple[int, Any]:
    answer = api.ask(method, f"/config/{path}", body, login=LOGIN)
    return answer.status, answer.json


def told(body: Any) -> Any:
    """An object as it is shown: no password."""
    return json.loads(json.dumps(body).replace('"password": "p"', '"password": "***"'))


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_comes_is_replaced_and_goes(api: Api, kind: str) -> None:
    """A replacement takes its name from the path, whatever its body says, as in GOST."""
    noun, (first, second) = KINDS[kind].noun, BODIES[kind]
    count = ask(api, "GET", kind)[1]["data"]["count"]
    assert ask(api, "POST", kind, {"name": "t", **first}) == (200, {"msg": "OK"})
    assert ask(api, "POST", kind, {"name": "t", **first}) == (
        400,
        {"code": 40002, "msg": f"{noun} t already exists"},
    )
    assert ask(api, "POST", kind, first) == (400, {"code": 40001, "msg": f"{noun} name is required"})
    listed = ask(api, "GET", kind)[1]["data"]
    assert listed["count"] == len(listed["list"]) == count + 1
    assert told({"name": "t", **first}).items() <= listed["list"][-1].items()
    assert ask(api, "PUT", f"{kind}/t", {"name": "other", **second}) == (200, {"msg": "OK"})
    assert told({"name": "t", **second}).items() <= ask(api, "GET", f"{kind}/t")[1]["data"].items()
    assert ask(api, "GET", f"{kind}/other") == (200, {"data": None})
    whole = api.ask("GET", "/config", login=LOGIN).json[kind][-1]
    assert told(second).items() <= whole.items()
    missing = (400, {"code": 40004, "msg": f"{noun} other not found"})
    assert ask(api, "PUT", f"{kind}/other", second) == missing
    assert ask(api, "DELETE", f"{kind}/other") == missing
    assert ask(api, "DELETE", f"{kind}/t") == (200, {"msg": "OK"})
    assert ask(api, "GET", f"{kind}/t") == (200, {"data": None})
    assert ask(api, "GET", kind)[1]["data"]["count"] == count


@pytest.mark.parametrize("kind", ["bypasses", "resolvers", "recorders"])
def test_kinds_of_gost_that_no_tunnel_has(api: Api, kind: str) -> None:
    """GOST's answers where it has none of them; and who makes one is told why that is refused."""
    noun = {"bypasses": "bypass"}.get(kind, kind[:-1])
    assert ask(api, "GET", kind) == (200, {"data": {"count": 0, "list": None}})
    assert ask(api, "GET", f"{kind}/x") == (200, {"data": None})
    missing = (400, {"code": 40004, "msg": f"{noun} x not found"})
    assert ask(api, "PUT", f"{kind}/x", {"name": "x"}) == ask(api, "DELETE", f"{kind}/x") == missing
    status, said = ask(api, "POST", kind, {"name": "x"})
    assert (status, said["code"]) == (400, 40001)
    assert said["msg"].startswith(f"{kind!r} is for what ")
    assert api.ask("GET", f"/config/{kind}").status == 401


NAMED = """\
services:
- name: s
  climiter: c
  rlimiter: e
  limiter: l
  admissions: [a, b]
  observer: o
  handler: {type: router, authers: [u], limiter: m, observer: p, metadata: {router: r, ingress: i, sd: d}}
- {name: t, handler: {type: tun, chain: way}, listener: {type: tun, metadata: {tun.router: q, auther: none}}}
chains: [{name: way, hops: [{name: first}, {name: h, hosts: names, nodes: [{name: n, addr: 'x:1'}]}]}]
hops: [{name: first, nodes: [{name: n, addr: 'x:1', hosts: more}]}]
metrics: {addr: ':1', auther: v}
api: {addr: ':2', auther: w}
"""


@pytest.mark.parametrize(
    ("kind", "name", "user"),
    [
        ("chains", "way", "service t"),
        ("hops", "first", "chain way"),
        ("hosts", "names", "chain way"),
        ("hosts", "more", "hop first"),
        ("authers", "u", "service s"),
        ("authers", "v", "metrics"),
        ("authers", "w", "api"),
        ("admissions", "a", "service s"),
        ("admissions", "b", "service s"),
        ("observers", "o", "service s"),
        ("observers", "p", "service s"),
        ("ingresses", "i", "service s"),
        ("sds", "d", "service s"),
        ("limiters", "l", "service s"),
        ("limiters", "m", "service s"),
        ("climiters", "c", "service s"),
        ("rlimiters", "e", "service s"),
        ("routers", "r", "service s"),
        ("routers", "q", "service t"),
    ],
)
def test_who_names_an_object_is_known_and_nothing_else_of_that_name(kind: str, name: str, user: str) -> None:
    config = config_read.read([("f", NAMED)])
    assert api_change.referrers(config, KINDS[kind], name) == [user]
    assert api_change.referrers(config, KINDS[kind], f"{name}x") == []
    others = [one for one in KINDS.values() if one.key != kind]
    assert not [one.key for one in others if api_change.referrers(config, one, name)]
