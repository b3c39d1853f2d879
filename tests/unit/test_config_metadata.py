"""A metadata key counts in one layer: elsewhere it is a copy, as GOST's -O writes it, or an error with its place."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lib import config_from_urls, config_read, config_resolve
from lib.config_gost_keys import CHAIN_KEYS, CLIENT_KEYS, HUB_KEYS, Key
from lib.config_own_key import OwnKey
from lib.config_own_keys import KEYS
from lib.errors import ConfigError
from lib.settings import Settings
from tests.support.own_keys import PLACES
from tests.unit.test_config_resolve import RECORDED, REFUSED, ROOT
from tests.unit.test_own_keys import WHOLE, cluster_for, join_cluster

Tree = dict[str, Any]
LAYERS = {
    "hub": ("service", "handler", "listener"),
    "client": ("service", "handler", "listener"),
    "way": ("hop", "node", "connector", "dialer"),
}
KEYS_OF = {"hub": HUB_KEYS, "client": CLIENT_KEYS, "way": CHAIN_KEYS}
NS = "e87f56dd-fd57-4921-9ab8-a0847662daae"
_DEVICE = {
    "net": "10.9.0.1/24",
    "peer": "10.9.0.2",
    "mtu": 1400,
    "gw": "10.9.0.3",
    "route": "10.8.0.0/16",
    "routes": "10.8.0.0/16",
}
VALUES = {
    **{row.key: next(iter(yaml.safe_load(f"{{{row.example}}}").values())) for row in KEYS},
    **_DEVICE,
    **{f"tun.{key}": value for key, value in _DEVICE.items()},
    "labels": "site:berlin",
    "router.id": NS,
    "router": "r",
    "header": {"X-A": "b"},
    "ws.header": {"X-A": "b"},
    "interface": "lo",
    "dns": "10.0.0.1",
    "tun.dns": "10.0.0.1",
    "ingress": "i",
    "sd": "sd0",
    "entrypoint": "10.0.0.2:8420",
    "limiter.scope": "conn",
    "proxyProtocol": "0",  # more wants trustedProxies
}


def whole(cluster: Tree | None = None) -> Tree:
    """A configuration in which every section that may have metadata has some, still empty."""
    config: Tree = {**copy.deepcopy(WHOLE), "ingresses": [{"name": "i"}]}
    if cluster is not None:
        join_cluster(config, cluster)
    hop = config["chains"][0]["hops"][0]
    node = hop["nodes"][0]
    for service in config["services"]:
        for section in (service, service["handler"], service["listener"]):
            section.setdefault("metadata", {})
    for section in (hop, node, node["connector"], node["dialer"]):
        section.setdefault("metadata", {})
    return config


def layer(config: Tree, owner: str, name: str) -> Tree:
    hop = config["chains"][0]["hops"][0]
    node = hop["nodes"][0]
    service = config["services"][0 if owner == "hub" else 1]
    inside = node if owner == "way" else service
    sections = {"hop": hop, "node": node, "service": service, **inside}
    found: Tree = sections[name]["metadata"]
    return found


def resolved(config: Tree) -> Settings:
    return config_resolve.resolve(config_read.read([("f", json.dumps(config))]))


def meaning(config: Tree) -> Settings:
    """The settings without what was said about them."""
    return replace(resolved(config), warnings=(), notices=())


def errors(config: Tree) -> list[str]:
    try:
        resolved(config)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


CASES = [
    (owner, key, name)
    for owner, keys in KEYS_OF.items()
    for key in keys.values()
    for name in LAYERS[owner]
    if key.works and name not in (key.layer, key.also)
]


def named(case: object) -> str:
    return case.name if isinstance(case, Key) else str(case)


@pytest.mark.parametrize(("owner", "key", "name"), CASES, ids=named)
def test_a_key_that_stands_only_where_nobody_reads_it(owner: str, key: Key, name: str) -> None:
    config = whole()
    for one in ("sd", "entrypoint") if key.name in ("sd", "entrypoint") else (key.name,):
        layer(config, owner, key.layer).pop(one, None)  # neither of these two may be there alone
    layer(config, owner, name)[key.name] = VALUES.get(key.name, "1")
    belongs = " or ".join(filter(None, (key.layer, key.also)))
    (told,) = errors(config)
    assert told.startswith("f:1:")
    assert told.endswith(f": {key.name!r} has no effect in {name} metadata; it belongs to {belongs} metadata")


@pytest.mark.parametrize(("owner", "key", "name"), CASES, ids=named)
def test_a_copy_beside_the_key_that_counts_as_gost_writes_it(owner: str, key: Key, name: str) -> None:
    config = whole()
    value = VALUES.get(key.name, "1")
    layer(config, owner, key.layer)[key.name] = value
    alone = meaning(config)
    layer(config, owner, name)[key.name] = value
    both = resolved(config)
    assert replace(both, warnings=(), notices=()) == alone
    assert not [warning for warning in both.warnings if "counts" in str(warning)]


def test_a_copy_of_gost_s_that_says_something_else_is_told_of() -> None:
    """GOST runs such a file: -L with `path=` and `listener.path=` makes it, and who edits what -O wrote."""
    config = whole()
    layer(config, "way", "connector")["router.id"] = "e87f56dd-fd57-4921-9ab8-a0847662daae"
    layer(config, "way", "hop")["router.id"] = "ef502590-c5f4-437e-a81f-fe4083505075"
    (told,) = (str(one) for one in resolved(config).warnings if "router.id" in str(one))
    assert told.endswith(
        "'router.id' is another one in connector metadata, and that one counts; delete the one in hop metadata"
    )


@pytest.mark.parametrize(
    ("owner", "reader", "other", "key", "value", "counter"),
    [
        ("hub", "handler", "listener", "certHosts", "off", "on"),
        ("hub", "handler", "service", "sourceCheck", "off", "on"),
        ("hub", "handler", "service", "onDuplicate", "share", "refuse"),
        ("way", "dialer", "node", "pin", f"sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"),
    ],
)
def test_a_copy_of_ours_that_says_something_else_is_an_error(
    owner: str, reader: str, other: str, key: str, value: str, counter: str
) -> None:
    config = whole()
    layer(config, owner, reader)[key] = value
    layer(config, owner, other)[key] = counter
    (told,) = errors(config)
    assert (
        f"{key!r} is another one in {reader} metadata, and that one counts; delete the one in {other}" in told
    )


# --- every key of ours in every place


def sections(tree: object, path: str = "") -> Iterator[tuple[str, Tree]]:
    """(path, section) of every mapping in a configuration."""
    if isinstance(tree, dict):
        yield path, tree
        for key, value in tree.items():
            yield from sections(value, f"{path}/{key}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from sections(value, f"{path}/{index}")


_HUB, _CLIENT, _NODE = "/services/0", "/services/1", "/chains/0/hops/0/nodes/0"
_WHERE = {
    "(top)": "",
    "authers": "/authers/0",
    "authers.auths": "/authers/0/auths/0",
    "routers": "/routers/0",
    "routers.routes": "/routers/0/routes/0",
    "hops.redis": "/routers/0/redis",
    "hops.redis.sentinel": "/routers/0/redis/sentinel",
    "routers.acl": "/routers/0/acl/0",
    "tests": "/tests/0",
    "notify": "/notify/0",
    "namespaces": "/namespaces/0",
    "sds": "/sds/1",
    "cluster": "/cluster",
    "cluster.link": "/cluster/link",
    "cluster.link.tls": "/cluster/link/tls",
    "cluster.trust": "/cluster/trust/0",
    "api": "/api",
    "api.users": "/api/users/0",
    "hub": f"{_HUB}/handler/metadata",
    "client": f"{_CLIENT}/handler/metadata",
    "way": f"{_NODE}/dialer/metadata",
}


@pytest.mark.parametrize("row", KEYS, ids=lambda row: f"{row.place}-{row.key}")
def test_a_key_of_ours_has_an_effect_or_is_an_error_wherever_it_stands(row: OwnKey) -> None:
    right = {_WHERE[place] for place in PLACES[row.place]}
    cluster = cluster_for(PLACES[row.place], {row.key})
    if row.place == "metadata of a listener or a dialer":
        right = {f"{_HUB}/listener/metadata", _WHERE["way"]}
    elif (row.place, row.key) == ("router", "title"):
        right = {"/routers/1"}  # the one that is named by a UUID
    elif row.place == "metadata of a service":
        right = {f"{_HUB}/metadata", f"{_CLIENT}/metadata"}
    before = meaning(whole(cluster))
    silent = []
    for path, section in sections(whole(cluster)):
        if path not in right and (
            row.key in section or row.key in ("name", "redis")
        ):  # GOST has such a key there
            continue
        if row.key == "tls" and path.endswith(("/listener", "/plugin")):  # of each of them, in GOST
            continue
        config = whole(cluster)
        if (row.place, row.key, path) == ("trust of a cluster", "certFile", "/cluster/trust/0"):
            del config["cluster"]["trust"][0]["pin"]
        dict(sections(config))[path].update(yaml.safe_load(f"{{{row.example}}}"))
        if path in right and row.key == "workers":  # beside nearly everything (test_config_workers)
            assert any("does not hold across workers yet" in one for one in errors(config))
        elif path in right:
            assert meaning(config) != before, path
        elif not errors(config) and meaning(config) == before:
            told = [str(one) for one in resolved(config).warnings]
            silent += [path] if not any(repr(row.key) in one for one in told) else []
    assert not silent


@pytest.mark.parametrize(
    ("path", "key", "hint"),
    [
        (f"{_HUB}/handler", "certHosts: on", "it belongs to the handler metadata of a service with handler router"),
        (f"{_HUB}/handler", "router: r", "it belongs to the handler metadata of a service with handler router"),
        (f"{_HUB}/listener", "caFile: x", "write caFile in the section tls of the listener"),
        (_HUB, "sourceCheck: off", "it belongs to the handler metadata of a service with handler router"),
        (f"{_NODE}/dialer", f"pin: sha256:{'ab' * 32}", "it belongs to the dialer metadata of the hub's node in a chain"),
        (f"{_NODE}/dialer", "secure: true", "write secure in the section tls of the node's dialer"),
        ("/chains/0/hops/0", "auth: {username: u}", "write auth: {username: …, password: …} in the node's connector"),
        (f"{_HUB}/handler", "acl: []", "it belongs to a router"),
        ("/routers/0", "bindings: {}", "it belongs to an auther"),
        (f"{_HUB}/handler/metadata", "holdDown: 1s", "it belongs to a router"),
        ("/services/0", "user: nobody", "it belongs to the top level of the file"),
    ],
)  # fmt: skip
def test_an_error_says_where_the_key_belongs(path: str, key: str, hint: str) -> None:
    config = whole()
    dict(sections(config))[path].update(yaml.safe_load(f"{{{key}}}"))
    (told,) = errors(config)
    assert told.endswith(f"; {hint}")


EXAMPLES = sorted((ROOT / "packaging" / "examples").glob("*.yml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_a_key_of_an_example_moved_to_another_layer_is_never_silently_lost(file: Any) -> None:
    text = re.sub(r"\$\{[^}]*\}", "secret", file.read_text().replace("server_ip", "192.0.2.1"))
    before = meaning(yaml.safe_load(text))
    moves = 0
    places = {path for path, _ in sections(yaml.safe_load(text)) if path.endswith("/metadata")}
    for path in sorted(places):
        owner = path.removesuffix("/metadata").removesuffix("/handler").removesuffix("/listener")
        owner = owner.removesuffix("/connector").removesuffix("/dialer")
        for key in dict(sections(yaml.safe_load(text)))[path]:
            for other in ("", "/handler", "/listener", "/connector", "/dialer"):
                config = yaml.safe_load(text)
                found = dict(sections(config))
                if f"{owner}{other}" not in found or f"{owner}{other}/metadata" == path:
                    continue
                value = found[path].pop(key)
                found[f"{owner}{other}"].setdefault("metadata", {})[key] = value
                moves += 1
                assert errors(config) or meaning(config) == before, (path, key, other)
    assert moves


# --- what only a URL has


APART = ("api", "metrics", "log")
"""What other options of a command line become, -api and the like."""


def login(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("where", ["hop", "node", "connector", "dialer"])
@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("secure", "true", "secure in the section tls of the node's dialer"),
        ("caFile", "ca.pem", "caFile in the section tls of the node's dialer"),
        ("ca", "ca.pem", "caFile in the section tls of the node's dialer"),
        ("tls.certFile", "c.pem", "certFile in the section tls of the node's dialer"),
        ("serverName", "hub", "serverName in the section tls of the node's dialer"),
        ("auth", login("u:p"), "auth: {username: …, password: …} in the node's connector"),
        ("secure", "", "secure in the section tls of the node's dialer"),
    ],
)
def test_what_only_a_url_has_is_an_error_in_a_file_that_says_what_to_write(
    where: str, key: str, value: str, instead: str
) -> None:
    config = whole()
    config["chains"][0]["hops"][0]["nodes"][0]["dialer"]["tls"] = {}
    layer(config, "way", where)[key] = value
    (told,) = errors(config)
    assert told.endswith(f": {key!r} has no effect in {where} metadata, in GOST neither; write {instead}")


def test_of_a_hub_and_of_a_client_too() -> None:
    for owner in ("hub", "client"):
        for where in LAYERS[owner]:
            for key, value in (("climiter", 10), ("rlimiter", 10), ("limiter.in", "1MB"), ("limiter.conn.out", "1MB"),
                               ("caFile", "x"), ("auth", login("u:p"))):  # fmt: skip
                config = whole()
                layer(config, owner, where)[key] = value
                (told,) = errors(config)
                assert f"{key!r} has no effect in {where} metadata, in GOST neither; write " in told


def test_as_a_left_over_of_what_the_sections_say_it_is_right() -> None:
    config = whole()
    node = config["chains"][0]["hops"][0]["nodes"][0]
    node["dialer"]["tls"] = {"secure": True, "caFile": "ca.pem", "serverName": "hub"}
    node["connector"]["auth"] = {"username": "u", "password": "p:q"}
    before = meaning(config)
    layer(config, "way", "hop").update(secure="1", ca="ca.pem", serverName="hub", auth=login("u:p:q"))
    assert meaning(config) == before
    layer(config, "way", "hop").update(secure="false")
    (told,) = errors(config)
    assert "'secure' has no effect in hop metadata" in told


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [("limiter.in", "1MB", True), ("limiter.out", "2MB", True), ("limiter.in", "2MB", False),
     ("limiter.conn.in", "3MB", True), ("limiter.conn.out", "3MB", False), ("climiter", "10", True),
     ("climiter", "11", False), ("rlimiter", "5", False)],
)  # fmt: skip
def test_a_limit_of_a_url_is_a_left_over_of_the_service_s_limiter(key: str, value: str, right: bool) -> None:
    config = whole()
    config["services"][0] |= {"limiter": "l", "climiter": "c"}
    config["limiters"] = [{"name": "l", "limits": ["$ 1MB 2MB", "$$ 3MB "]}]
    config["climiters"] = [{"name": "c", "limits": ["$ 10"]}]
    layer(config, "hub", "service")[key] = value
    assert bool(errors(config)) is not right


@pytest.mark.parametrize("index", [i for i in range(len(RECORDED)) if i not in REFUSED], ids=lambda i: " ".join(RECORDED[i]["argv"]))  # fmt: skip
def test_what_gost_s_o_has_written_means_what_its_command_line_means(index: int) -> None:
    argv = RECORDED[index]["argv"]
    pairs = list(zip(argv[::2], argv[1::2], strict=False))
    read = config_from_urls.read([v for k, v in pairs if k == "-L"], [v for k, v in pairs if k == "-F"])
    by_urls = config_resolve.resolve(read)
    config = {key: RECORDED[index]["config"][key] for key in RECORDED[index]["config"] if key not in APART}
    assert meaning(config) == replace(by_urls, warnings=(), notices=())


# --- sections that GOST has for something else


@pytest.mark.parametrize(
    ("path", "key", "hint"),
    [
        (f"{_HUB}/handler", "tls", "write it in the listener"),
        (f"{_NODE}/connector", "tls", "write it in the dialer; what is sent to a proxy is not encrypted"),
        (_NODE, "tls", "write it in the dialer of this node"),
        (_NODE, "auth", "write it in the connector of this node"),
        (f"{_CLIENT}/forwarder/nodes/0", "tls", "write it in the dialer of the hub's node"),
    ],
)
def test_tls_and_a_login_where_nobody_reads_them(path: str, key: str, hint: str) -> None:
    config = whole()
    dict(sections(config))[path][key] = {"secure": True} if key == "tls" else {"username": "u"}
    (told,) = errors(config)
    assert f"{key!r} in a " in told
    assert told.endswith(f" section has no effect, in GOST neither; {hint}")


def test_a_parameter_that_is_in_every_layer_is_told_of_once() -> None:
    with pytest.raises(ConfigError) as refused:
        config_resolve.resolve(
            config_from_urls.read(["tun:///h?secure=true"], ["router+tls://hub:1?secure=1"])
        )
    (told,) = refused.value.problems
    assert "'secure' has no effect in handler metadata, in GOST neither; write secure in" in str(told)


@pytest.mark.parametrize(
    ("listen", "hint"),
    [("router+tls://:1?ca=x", "write cert=… and key=…"), ("tun:///h?caFile=x", "it belongs to -F")],
)
def test_a_ca_that_asks_nobody_for_a_certificate(listen: str, hint: str) -> None:
    read = config_from_urls.read([listen], ["router+tls://hub:1?secure=true"])
    told = [str(one) for one in config_resolve.resolve(read).warnings]
    assert any("no client is asked for a certificate" in one and hint in one for one in told)


@pytest.mark.parametrize("kind", ["tcp", "ws"])
def test_a_pin_without_tls_is_an_error(kind: str) -> None:
    config = whole()
    dialer = config["chains"][0]["hops"][0]["nodes"][0]["dialer"]
    dialer |= {"type": kind, "tls": {}, "metadata": {"pin": f"sha256:{'ab' * 32}"}}
    (told,) = errors(config)
    assert told.endswith(f"'pin' checks nothing: a dialer of type {kind} has no TLS; write tls, or wss")


@pytest.mark.parametrize("key", ["path", "header", "host", "ws.path", "keepalive", "ttl"])
def test_what_is_for_websocket_is_told_of_over_tcp(key: str) -> None:
    config = whole()
    layer(config, "way", "dialer")[key] = VALUES.get(key, "1")
    told = [str(one) for one in resolved(config).warnings]
    assert any(f"{key!r} has no effect: a dialer of type tls speaks no WebSocket" in one for one in told)
