"""The guide's table of our own keys: every key is there, its example works, its default is the one in force."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lib import config_read, config_resolve
from lib.settings import Settings
from tests.support.own_keys import GOST, PLACES, Row, ours, rows, works

WHOLE: dict[str, Any] = {
    "services": [
        {
            "name": "hub",
            "addr": ":8443",
            "handler": {"type": "router", "auther": "a", "metadata": {"router": "r"}},
            "listener": {"type": "tls", "tls": {"caFile": "ca.pem"}},
        },
        {
            "name": "client",
            "handler": {"type": "tun", "metadata": {}},
            "listener": {"type": "tun"},
            "forwarder": {"nodes": [{"addr": "host-1"}]},
        },
    ],
    "authers": [{"name": "a", "auths": [{"username": "u", "password": "p"}]}],
    "routers": [
        {
            "name": "r",
            "acl": [{"action": "allow"}],
            "routes": [{"dst": "10.0.0.0/8", "gateway": "host-1"}],
        }
    ],
    "chains": [
        {
            "name": "c",
            "hops": [
                {
                    "name": "h",
                    "nodes": [
                        {
                            "name": "n",
                            "addr": "hub:8443",
                            "connector": {"type": "router"},
                            "dialer": {"type": "tls", "tls": {"secure": True}, "metadata": {}},
                        }
                    ],
                }
            ],
        }
    ],
}
ROWS = rows()
CASES = [(row, place) for row in ROWS for place in PLACES[row.place]]


def section(config: dict[str, Any], place: str) -> dict[str, Any]:
    """The part of a configuration in which a place's keys stand."""
    hub, client = config["services"]
    node = config["chains"][0]["hops"][0]["nodes"][0]
    found: dict[str, Any] = {
        "(top)": config,
        "authers": config["authers"][0],
        "authers.auths": config["authers"][0]["auths"][0],
        "routers": config["routers"][0],
        "routers.routes": config["routers"][0]["routes"][0],
        "routers.acl": config["routers"][0]["acl"][0],
        "hub": hub["handler"]["metadata"],
        "client": client["handler"]["metadata"],
        "way": node["dialer"]["metadata"],
    }[place]
    return found


def settings(place: str = "(top)", text: str = "") -> Settings:
    """What the whole configuration means with these keys (YAML) in one place. Raises ConfigError."""
    config = json.loads(json.dumps(WHOLE))
    section(config, place).update(yaml.safe_load(f"{{{text}}}"))
    found = config_resolve.resolve(config_read.read([("f", json.dumps(config))]))
    return replace(found, warnings=(), notices=())


def name(case: tuple[Row, str]) -> str:
    return f"{case[1]}-{case[0].key}"


def test_every_key_of_ours_is_in_the_table_and_no_other() -> None:
    table = [(place, row.key) for row, place in CASES]
    assert len(table) == len(set(table))
    assert set(table) == ours(), "the table is in packaging/docs/guide.md"


@pytest.mark.parametrize("place", GOST)
def test_gost_s_keys_work(place: str) -> None:
    """A key that is listed as GOST's and has gone would hide one of ours that gets its name."""
    assert set(GOST[place].split()) <= works()[place]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.place}-{row.key}")
def test_a_row_is_whole(row: Row) -> None:
    assert all((row.kind, row.default, row.about))
    assert row.key in yaml.safe_load(f"{{{row.example}}}")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_an_example_works_and_makes_a_difference(case: tuple[Row, str]) -> None:
    row, place = case
    assert settings(place, row.example) != settings()


@pytest.mark.parametrize("case", [case for case in CASES if case[0].literal_default], ids=name)
def test_a_default_is_what_holds_without_the_key(case: tuple[Row, str]) -> None:
    row, place = case
    assert settings(place, f"{row.key}: {row.literal_default}") == settings()
