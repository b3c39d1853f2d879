"""What a reload would change, told before it: everything that differs, and no secret."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from lib import config_read, config_resolve, config_secrets, settings_changes, settings_diff
from lib.settings_changes import changes
from tests.support.configs import checked
from tests.support.opcodes import longest_step

FILE = """
services:
- name: hub
  addr: :8443
  admission: those
  limiter: slow
  handler: {type: router, auther: users, metadata: {router: r, keepalive: 20s, ingress: i}}
  listener: {type: tcp}
admissions:
- {name: those, matchers: [192.0.2.1], file: {path: /some/list}}
limiters:
- {name: slow, limits: [$$ 9MB], file: {path: /some/limits}}
ingresses:
- {name: i, rules: [{hostname: h, endpoint: e87f56dd-fd57-4921-9ab8-a0847662daae}]}
authers:
- name: users
  auths: [{username: ada, password: very-secret}]
routers:
- name: r
  routes: [{dst: 10.0.0.0/24, gateway: a}, {dst: 10.0.1.0/24, gateway: b}]
log: {level: info}
"""


def settings(text: str) -> Any:
    return config_resolve.resolve(checked(config_read.read([("f", text)])), config_secrets.read)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("x", "x", []),
        ("level: info", "level: debug", [("", "changed", ["log level: info -> debug"])]),
        ("very-secret", "other-secret", [("", "changed", ["auther users: its rows differ"])]),
        ("matchers: [192.0.2.1]", "matchers: [192.0.2.9]", [("", "changed", ["admission those: its rows differ"])]),
        ("/some/list", "/other/list", [("", "changed", ["admission those: its rows differ"])]),
        ("/some/limits", "/other/limits", [("", "changed", ["limiter slow: its rows differ"])]),
        ("hostname: h", "hostname: g", [("", "changed", ["ingress i: its rows differ"])]),
        ("  admission: those\n", "", [("hub", "changed", ["admissions those -> none"]), ("", "changed", ["admission those: removed"])]),
        ("gateway: a", "gateway: c", [("", "changed", ["router r: routes +1 -1"])]),
        ("10.0.1.0/24, gateway: b", "10.0.1.0/24, gateway: b}, {dst: 10.0.2.0/24, gateway: b", [("", "changed", ["router r: routes +1 -0"])]),
        ("name: hub", "name: other", [("hub", "removed", []), ("other", "added", [])]),
        ("addr: :8443", "addr: :8444", [("hub", "changed", ["port 8443 -> 8444"])]),
    ],
    ids=str,
)  # fmt: skip
def test_what_differs_is_told(old: str, new: str, told: list[Any]) -> None:
    before, after = settings(FILE), settings(FILE.replace(old, new))
    found = changes(before, after)
    assert [tuple(one) for one in found] == told
    assert "secret" not in str(found)


def test_what_is_compared_by_name_in_a_service_is_compared_as_a_whole_apart() -> None:
    """Or a reload would change what nobody was shown: so it was with admissions."""
    assert {*settings_changes.NAMED, "default_table"} == set(settings_diff._NAMED)


def test_tables_and_authers_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = settings(FILE)
    without = replace(whole, tables=())
    assert changes(whole, without)[0].lines == ["router r: removed"]
    assert changes(without, whole)[0].lines == ["router r: added, with 2 routes of its own"]
    monkeypatch.setattr(settings_changes, "COMPARED", 1)
    (table,) = whole.tables
    fewer = replace(whole, tables=(replace(table, routes=table.routes[:1]),))
    assert changes(whole, fewer)[0].lines == ["router r: 2 routes -> 1"]
    turned = replace(whole, tables=(replace(table, routes=table.routes[::-1]),))
    monkeypatch.setattr(settings_changes, "COMPARED", 9)
    assert changes(whole, turned)[0].lines == ["router r: its routes are in another order"]
    assert changes(whole, replace(whole, tables=(replace(table, mtu=1400),)))[0].lines == [
        "router r: mtu differs"
    ]


def test_long_tables_are_compared_in_steps() -> None:
    """And a table that says the same is no change, whoever has read it."""
    routes = "".join(f", {{dst: 10.{n >> 8}.{n & 255}.0/24, gateway: a}}" for n in range(300, 3300))
    text = FILE.replace(", {dst: 10.0.1", f"{routes}, {{dst: 10.0.1")
    before, after = settings(text), settings(text)
    other = settings(text.replace("gateway: b", "gateway: c"))
    assert changes(before, after) == []
    assert changes(before, other)[0].lines == ["router r: routes +1 -1"]
    for new in (after, other):
        assert longest_step(partial(changes, before, new)) < 2000
