"""What the web API does not change without a login: commands, files, other programs' addresses, logins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lib import api_guard
from lib.api_request import Refused
from tests.support.api import Api, process

SERVICE: dict[str, Any] = {
    "name": "s",
    "addr": "127.0.0.1:8443",
    "handler": {"type": "router", "auther": "a", "metadata": {"router": "r", "path": "/ws"}},
    "listener": {"type": "wss", "tls": {"certFile": "c", "keyFile": "k"}},
}

HANDLER = SERVICE["handler"]


def handler(**more: Any) -> dict[str, Any]:
    return {**HANDLER, "metadata": {**HANDLER["metadata"], **more}}


def changed(**more: Any) -> dict[str, Any]:
    return {**SERVICE, **more}


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("services", SERVICE, changed(addr=":1")),
        ("services", SERVICE, changed(handler={**HANDLER, "metadata": {"router": "r", "ws.path": "/x"}})),
        ("services", SERVICE, changed(handler=handler(**{"router.cache": "off"}))),
        ("services", SERVICE, changed(listener={**SERVICE["listener"], "metadata": {"path": "/x"}})),
        ("routers", {"name": "r"}, {"name": "r", "routes": [{"dst": "10.0.0.0/8", "gateway": "g"}]}),
        ("routers", {"name": "r"}, {"name": "r", "hosts": {"router": "10.0.0.1", "domain": "10.0.0.2"}}),
        ("limiters", {}, {"name": "l", "limits": ["$ 1MB"]}),
    ],
)
def test_a_change_that_needs_no_login(kind: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    api_guard.check(kind, old, new)


@pytest.mark.parametrize(
    ("kind", "old", "new", "why"),
    [
        ("services", SERVICE, changed(metadata={"postUp": ["/bin/sh x"]}), "metadata.postup.0, a command"),
        ("services", SERVICE, changed(metadata={"PreDown": "x"}), "a command"),
        ("services", SERVICE, changed(listener={"type": "wss"}), "who is let in"),
        (
            "services",
            SERVICE,
            changed(handler={"type": "router", "metadata": {"router": "r"}}),
            "handler.auther",
        ),
        (
            "services",
            SERVICE,
            changed(listener={**SERVICE["listener"], "type": "tcp"}),
            "listener.type, a lo",
        ),
        ("services", SERVICE, changed(handler={**HANDLER, "type": "tun"}), "handler.type, a login"),
        ("services", {}, {"name": "o", "addr": ":9000", "handler": {"type": "router"}}, "handler.type"),
        ("services", SERVICE, changed(handler=handler(router="other")), "metadata.router, a login"),
        ("services", SERVICE, changed(handler=handler(domain="X")), "metadata.domain, a login"),
        ("services", SERVICE, changed(handler=handler(certHosts="off")), "metadata.certhosts, a login"),
        (
            "services",
            SERVICE,
            changed(handler=handler(**{"trustedProxies.Header": "X"})),
            "trustedproxies.header, a login",
        ),
        ("services", SERVICE, changed(metadata={"proxyProtocol": 1}), "proxyprotocol, a login"),
        ("services", SERVICE, {}, "who is let in"),
        ("services", {}, {"handler": {"metadata": {"enrol": "/etc/passwd"}}}, "a file"),
        ("services", SERVICE, changed(metadata={"netns": "/tmp/fifo"}), "metadata.netns, a file"),
        ("services", {}, {"addr": "${file:/etc/shadow}"}, "addr, a file"),
        ("services", {}, {"addr": "${env:HOME}"}, "addr"),
        ("routers", {}, {"file": {"path": "/etc/shadow"}}, "file.path, a file"),
        ("routers", {}, {"plugin": {"addr": "127.0.0.1:1"}}, "plugin.addr, the address of another program"),
        ("routers", {}, {"redis": {"addr": "127.0.0.1:1"}}, "another program"),
        ("limiters", {}, {"http": {"url": "http://127.0.0.1/"}}, "another program"),
        ("routers", {"auth": {"password": "x"}}, {"auth": {"password": "y"}}, "auth.password, a login"),
        ("chains", {}, {"hops": [{"nodes": [{"addr": "127.0.0.1:1"}]}]}, "chains, where a client goes"),
        ("chains", {"hops": [{"name": "h"}]}, {"hops": [{"name": "mine"}, {"name": "h"}]}, "chains, where"),
        ("hops", {}, {"file": {"path": "/x"}}, "hops, where a client goes, with its login"),
        ("hosts", {}, {"mappings": [{"ip": "127.0.0.1", "hostname": "hub"}]}, "hosts, where a client goes"),
        ("authers", {}, {"name": "a"}, "authers, a login"),
        ("authers", {"name": "a"}, {}, "authers"),
        ("ingresses", {"name": "i"}, {"name": "i", "rules": []}, "who is let in"),
    ],
)
def test_a_change_that_needs_a_login(kind: str, old: dict[str, Any], new: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match="without a login the API does not change") as raised:
        api_guard.check(kind, old, new)
    assert raised.value.status == 403
    assert why in raised.value.message
    assert "give the api section an auth" in raised.value.message


@pytest.fixture(scope="module")
def open_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API without a login."""
    text = """\
services: [{name: s, addr: '127.0.0.1:PORT', handler: {type: router, metadata: {router: r}}, listener: {type: tcp},
  metadata: {postUp: [/bin/true]}}]
routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]
chains: [{name: c, hops: [{name: h, hosts: m, nodes: [{name: n, addr: '127.0.0.1:1',
  connector: {type: router, auth: {username: u, password: p}}, dialer: {type: tls, tls: {secure: true}}}]}]}]
hosts: [{name: m, mappings: [{ip: 127.0.0.1, hostname: hub}]}]
api: {addr: 'unix:///tmp/e-PORT.sock'}
"""
    with process(tmp_path_factory.mktemp("config") / "c.yml", text) as made:
        yield made


def test_the_api_asks_for_a_login_only_where_it_matters(open_api: Api) -> None:
    router = {"routes": [{"dst": "10.1.0.0/16", "gateway": "g"}]}
    assert open_api.ask("PUT", "/config/routers/r", router).status == 200
    service = open_api.ask("GET", "/config/services/s").json["data"]
    assert open_api.ask("PUT", "/config/services/s", service).status == 200  # with its hidden hook
    for path, body in (
        ("/config/routers/r", {**router, "file": {"path": "/etc/shadow"}}),
        ("/config/services/s", {**service, "metadata": {"postUp": ["/bin/touch /tmp/x"]}}),
        ("/config/services/s", {**service, "listener": {"type": "ws"}}),
    ):
        said = open_api.ask("PUT", path, body)
        assert said.status == 403
        assert "without a login" in said.json["msg"]
    assert open_api.ask("DELETE", "/config/services/s").status == 403
    chain = open_api.ask("GET", "/config/chains/c").json["data"]
    node = chain["hops"][0]["nodes"][0]
    assert node["connector"]["auth"]["password"] == "***"
    node |= {"addr": "127.0.0.1:9999", "dialer": {"type": "tcp"}}
    assert open_api.ask("PUT", "/config/chains/c", chain).status == 403
    mapped = {"mappings": [{"ip": "127.0.0.2", "hostname": "hub"}]}
    assert open_api.ask("PUT", "/config/hosts/m", mapped).status == 403
    other = {"name": "o", "addr": "127.0.0.1:1", "handler": service["handler"], "listener": {"type": "tcp"}}
    assert open_api.ask("POST", "/config/services", other).status == 403
    assert open_api.ask("POST", "/config/authers", {"name": "x"}).status == 403


def test_a_big_object_is_checked_in_steps() -> None:
    router = {"name": "r", "routes": [{"dst": f"10.0.{n}.0/24", "gateway": "g"} for n in range(100)]}
    steps: list[int] = []
    api_guard.check("routers", router, router, "a tenant", lambda: steps.append(1))
    assert len(steps) > 600
