"""Our own keys in the guide and the manual: every key is there, with its type, an example that works, its default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Set
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lib import cli_manpage, config_read, config_resolve
from lib.config_gost_keys import HUB_KEYS
from lib.config_own_key import OwnKey
from lib.config_own_keys import KEYS
from lib.errors import ConfigError
from lib.settings import Settings
from tests.support import own_keys
from tests.support.own_keys import GOST, PLACES, bounds, choices, literal_default, ours, works

WHOLE: dict[str, Any] = {
    "services": [
        {
            "name": "hub",
            "addr": ":8443",
            "handler": {
                "type": "router",
                "auther": "a",
                "metadata": {"router": "r", "sd": "sd0", "entrypoint": "10.0.0.1:8420"},
            },
            "listener": {"type": "tls", "tls": {"caFile": "ca.pem"}, "metadata": {}},
        },
        {
            "name": "client",
            "handler": {"type": "tun", "metadata": {}},
            "listener": {"type": "tun"},
            "forwarder": {"nodes": [{"addr": "host-1"}]},
        },
    ],
    "authers": [{"name": "a", "auths": [{"username": "u", "password": "p"}]}],
    "api": {
        "addr": "127.0.0.1:18080",
        "auth": {"username": "u", "password": "p"},
        "users": [{"username": "v", "password": "p"}],
    },
    "notify": [{"url": "http://127.0.0.1/"}],
    "sds": [
        {"name": "sd0", "plugin": {"type": "http", "addr": "http://127.0.0.1:1"}},
    ],
    "tests": [{"from": "host-9", "to": "10.2.0.9", "expect": "deny"}],
    "routers": [
        {
            "name": "r",
            "acl": [{"action": "allow"}],
            "address": "10.20.0.254/16",
            "dnsDomain": "other.example.com",
            "redis": {"sentinel": {"addrs": "h", "master": "m"}},
            "routes": [{"dst": "10.0.0.0/8", "gateway": "host-1"}],
        },
        {"name": "00000000-0000-0000-0000-000000000001"},
    ],
    "namespaces": [{"id": "00000000-0000-0000-0000-000000000002", "title": "Bolt"}],
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
CLUSTER = {
    "name": "hub-1",
    "link": {"listen": ":8444", "address": "hub-1.example:8444", "secret": 4 * "secret-s"},
}
TRUSTING = {
    "name": "hub-1",
    "link": {"listen": ":8444", "address": "hub-1.example:8444", "tls": {"certFile": "c.pem"}},
    "trust": [{"hub": "hub-2", "pin": f"sha256:{64 * 'a'}"}],
}
OF_CLUSTER = ("sds", "cluster", "cluster.link", "cluster.link.tls", "cluster.trust")
"""Places whose keys count in a cluster, in which a hub has a Redis for its sd."""
LAYERS = {key.name: key.layer for key in HUB_KEYS.values()}
CASES = [(row, place) for row in KEYS for place in PLACES[row.place]]


def section(config: dict[str, Any], place: str, key: str) -> dict[str, Any]:
    """The part of a configuration in which a key of a place stands."""
    hub, client = config["services"]
    node = config["chains"][0]["hops"][0]["nodes"][0]
    found: dict[str, Any] = {
        "(top)": config,
        "authers": config["authers"][0],
        "notify": config["notify"][0],
        "sds": config["sds"][-1],
        "hops.redis": config["routers"][0]["redis"],
        "hops.redis.sentinel": config["routers"][0]["redis"]["sentinel"],
        "cluster": config.get("cluster", {}),
        "cluster.link": config.get("cluster", {}).get("link", {}),
        "cluster.link.tls": config.get("cluster", {}).get("link", {}).get("tls", {}),
        "cluster.trust": next(iter(config.get("cluster", {}).get("trust", [])), {}),
        "api": config["api"],
        "api.users": config["api"]["users"][0],
        "authers.auths": config["authers"][0]["auths"][0],
        "routers": config["routers"][key == "title"],  # only a namespace's router has one
        "namespaces": config["namespaces"][0],
        "routers.routes": config["routers"][0]["routes"][0],
        "routers.acl": config["routers"][0]["acl"][0],
        "tests": config["tests"][0],
        "hub": layer(hub, key),
        "client": layer(client, key),
        "way": node["dialer"]["metadata"],
    }[place]
    return found


def layer(service: dict[str, Any], key: str) -> dict[str, Any]:
    """The metadata of the layer that reads a key."""
    name = LAYERS.get(key, "handler")
    found: dict[str, Any] = (service if name == "service" else service[name]).setdefault("metadata", {})
    return found


def cluster_for(places: Iterable[str], keys: Set[str]) -> dict[str, Any] | None:
    """The cluster in which keys in these places count: by a secret, or by certificates; None without one."""
    if "cluster" not in keys and not {*places} & {*OF_CLUSTER}:
        return None
    is_trusting = {*places} & {"cluster.link.tls", "cluster.trust"} or {"trust", "tls"} & keys
    return TRUSTING if is_trusting else CLUSTER


def join_cluster(config: dict[str, Any], cluster: dict[str, Any]) -> None:
    """Let the hub of a whole configuration be in a cluster."""
    config["services"][0]["handler"]["metadata"] = {"router": "r", "sd": "s"}
    config["sds"].append({"name": "s", "redis": {"addr": "127.0.0.1"}})
    config["cluster"] = json.loads(json.dumps(cluster))


def leave_out_what_workers_refuse(config: dict[str, Any]) -> None:
    """Let a whole configuration be one in which all holds across workers."""
    del (
        config["services"][1],
        config["notify"],
        config["sds"],
        config["routers"][0]["dnsDomain"],
    )
    config["services"][0]["handler"]["metadata"] = {"router": "r"}


def settings(place: str = "(top)", text: str = "") -> Settings:
    """What the whole configuration means with these keys (YAML) in one place. Raises ConfigError."""
    config = json.loads(json.dumps(WHOLE))
    added = yaml.safe_load(f"{{{text}}}")
    cluster = cluster_for((place,), added.keys())
    if cluster is not None:
        join_cluster(config, cluster)
        if place == "cluster.trust" and "certFile" in added:
            del config["cluster"]["trust"][0]["pin"]
    for key, value in added.items():
        section(config, place, key)[key] = value
    if str(added.get("workers", 1)) != "1":
        leave_out_what_workers_refuse(config)
    found = config_resolve.resolve(config_read.read([("f", json.dumps(config))]))
    return replace(found, warnings=(), notices=())


def name(case: tuple[OwnKey, str]) -> str:
    return f"{case[1]}-{case[0].key}"


def test_every_key_of_ours_is_in_the_table_and_no_other() -> None:
    table = [(place, row.key) for row, place in CASES]
    assert len(table) == len(set(table))
    assert set(table) == ours(), "the table is in lib/config_own_keys.py and config_own_metadata.py"


@pytest.mark.parametrize("place", GOST)
def test_gost_s_keys_work(place: str) -> None:
    """A key that is listed as GOST's and has gone would hide one of ours that gets its name."""
    assert set(GOST[place].split()) <= works()[place]


@pytest.mark.parametrize("row", KEYS, ids=lambda row: f"{row.place}-{row.key}")
def test_a_row_is_whole(row: OwnKey) -> None:
    assert all((row.kind, row.default, row.about))
    assert row.about[0].isupper()
    assert row.about.endswith(".")
    assert "|" not in f"{row.kind}{row.default}{row.example}{row.about}", "a cell of the guide's table"
    assert row.key in yaml.safe_load(f"{{{row.example}}}")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_an_example_works_and_makes_a_difference(case: tuple[OwnKey, str]) -> None:
    row, place = case
    assert settings(place, row.example) != settings(place)


@pytest.mark.parametrize("case", [case for case in CASES if literal_default(case[0])], ids=name)
def test_a_default_is_what_holds_without_the_key(case: tuple[OwnKey, str]) -> None:
    row, place = case
    assert settings(place, f"{row.key}: {literal_default(row)}") == settings(place)


def refused(place: str, row: OwnKey, value: str) -> bool:
    """Whether a value is an error, with what else stands in the key's example (a port wants a protocol)."""
    others = yaml.safe_load(f"{{{row.example}}}") | {row.key: yaml.safe_load(value)}
    try:
        settings(place, json.dumps(others)[1:-1])
    except ConfigError:
        return True
    return False


TYPED = {"switch": "maybe", "duration": "soon", "size": "much", "integer": "few", "`": "nonsense"}
"""How a type begins -> a value that is none of it."""


@pytest.mark.parametrize("case", CASES, ids=name)
def test_a_type_is_that_of_the_schema(case: tuple[OwnKey, str]) -> None:
    """By the section's field, where it has one, and by what is accepted."""
    row, place = case
    found = own_keys.type_of(place, row.key)
    assert found is None or own_keys.is_said(row.kind, found), f"{row.kind}: {found}"
    wrong = next((value for word, value in TYPED.items() if row.kind.startswith(word)), None)
    if wrong is not None and not row.kind.startswith(("`file`", "`sha256:`")):
        assert refused(place, row, wrong)
    for value in choices(row):
        assert not refused(place, row, value), value


@pytest.mark.parametrize("case", [case for case in CASES if bounds(case[0])], ids=name)
def test_bounds_are_those_in_force(case: tuple[OwnKey, str]) -> None:
    row, place = case
    limits = bounds(row)
    assert limits is not None
    for value in limits:
        assert not refused(place, row, value), value
    number = re.match(r"\d+", limits[1])
    assert number is not None
    assert refused(place, row, f"{int(number[0]) + 1}{limits[1][number.end() :]}")


def test_the_guide_s_table_is_that_of_the_code() -> None:
    assert own_keys.in_page() == own_keys.table(), "run: .venv/bin/python -m tests.support.keys_table"


def test_the_manual_has_every_key_of_ours() -> None:
    page = cli_manpage.page("1", "2026-01-01")
    keys = page.partition(".SH CONFIGURATION")[2].partition("\n.SH ")[0]
    for row in KEYS:
        assert f"\n.B {row.key}\n" in keys, row.key
