"""Which feature needs what: every row of the table, by a configuration that uses it and by one that does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lib import config_read, config_resolve, settings_needs
from lib.settings import Settings
from lib.settings_needs import FEATURES, NET_ADMIN, NET_BIND_SERVICE, SYS_ADMIN, Rights

HUB = """\
services:
- name: hub
  addr: ":{port}"
  handler: {{type: router, metadata: {{router: r{handler}}}}}
  listener: {{type: tls}}
{service}
routers: [{{name: r{table}}}]
{more}
"""
CLIENT = """\
services:
- name: host
  handler: {{type: tun, chain: c, metadata: {{{handler}}}}}
  listener: {{type: tun, metadata: {{{listener}}}}}
  forwarder: {{nodes: [{{addr: host-1}}]}}
chains:
- name: c
  hops:
  - nodes: [{{addr: "192.0.2.1:8443", connector: {{type: router}}, dialer: {{type: tls, metadata: {{pin: "sha256:{zeros}"}}}}{node}}}]
"""
CLUSTER = (
    "sds: [{name: sd0, redis: {addr: redis.example}}]\n"
    f"cluster: {{name: hub-1, link: {{listen: ':444', address: 'hub-1.example:444', secret: {'s' * 32}}}}}"
)
NET = "net: 10.0.0.1/24"


def settings(text: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", text)]))


def hub(**parts: Any) -> Settings:
    every = {"port": 8443, "handler": "", "service": "", "table": "", "more": ""} | parts
    return settings(HUB.format(**every))


def client(**parts: Any) -> Settings:
    every = {"handler": "", "listener": NET, "node": "", "zeros": "0" * 64} | parts
    return settings(CLIENT.format(**every))


def rights(
    capabilities: frozenset[str] = frozenset(),
    refused: str = "it is read-only",
    enters: bool = False,
    names: bool = False,
) -> Rights:
    """What a process may that may nothing, but for what is said."""
    return Rights("nobody", capabilities, lambda path: refused, enters, names)


ALL = rights(frozenset({NET_ADMIN, NET_BIND_SERVICE, SYS_ADMIN}), "", True, True)

ROWS = [
    ("a TUN device", client(), {"nobody has no CAP_NET_ADMIN", "/dev/net/tun: it is read-only"}),
    ("'so_mark'", client(node=", metadata: {so_mark: 7}"), {"nobody has no CAP_NET_ADMIN"}),
    (
        *("'netns' of a node", client(node=", netns: blue")),
        {"nobody has no CAP_SYS_ADMIN", "nobody may enter no other network namespace"},
    ),
    (
        *("'netns' of a service", hub(service="  metadata: {netns: blue}")),
        {"nobody has no CAP_SYS_ADMIN", "nobody may enter no other network namespace"},
    ),
    (
        *("'nat'", client(handler="nat: true", listener="net: 'fd00::1/64'")),
        {"nobody has no CAP_NET_ADMIN", "/proc/sys/net/ipv6/conf/all/forwarding: it is read-only"},
    ),
    ("'killswitch'", client(handler="killswitch: true"), {"nobody has no CAP_NET_ADMIN"}),
    ("'map'", client(handler="map: {10.71.0.0/24: 192.168.1.0/24}"), {"nobody has no CAP_NET_ADMIN"}),
    ("a port below 1024", hub(port=443), {"nobody has no CAP_NET_BIND_SERVICE"}),
    ("a port below 1024", hub(more="metrics: {addr: ':80'}"), {"nobody has no CAP_NET_BIND_SERVICE"}),
    (
        *("a port below 1024", hub(more="api: {addr: '127.0.0.1:81'}")),
        {"nobody has no CAP_NET_BIND_SERVICE"},
    ),
    ("a port below 1024", hub(handler=", sd: sd0", more=CLUSTER), {"nobody has no CAP_NET_BIND_SERVICE"}),
    ("'enrol'", hub(handler=", enrol: /srv/hosts"), {"nobody cannot write to /srv/hosts: it is read-only"}),
    ("'pool'", hub(table=", pool: 10.9.0.0/24"), {"nobody cannot write to /var/lib/tunrouter: it is read-only"}),
    ("the log", hub(more="log: {output: /srv/log}"), {"nobody cannot write to /srv/log: it is read-only"}),
    (
        *("'auditLog'", hub(more="api: {addr: '127.0.0.1:1', auditLog: /srv/audit}")),
        {"nobody cannot write to /srv/audit: it is read-only"},
    ),
    ("names of the hub's domain", client(listener=""), {"systemd-resolved takes none from nobody"}),
    ("names without systemd-resolved", client(listener=""), {"nobody cannot write to /etc/resolv.conf: it is read-only"}),
    (
        *("'namesBy': stub", client(listener="", handler="namesBy: stub")),
        {"nobody has no CAP_NET_BIND_SERVICE", "nobody cannot write to /etc/resolv.conf: it is read-only"},
    ),
    ("'namesBy': hosts", client(listener="", handler="namesBy: hosts"), {"nobody cannot write to /etc/hosts: it is read-only"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "used", "lacks"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row(name: str, used: Settings, lacks: set[str]) -> None:
    found = [one for one in settings_needs.missing(used, rights()) if one.feature.name == name]
    assert len(found) == len(lacks)
    assert all(any(words in one.why for one in found) for words in lacks), found
    assert not list(settings_needs.missing(used, ALL)), "who may everything lacks nothing"
    plain = hub() if used.clients else client()
    assert name not in {one.feature.name for one in settings_needs.missing(plain, rights())}


def test_a_client_whose_device_is_elsewhere() -> None:
    used = settings(
        CLIENT.format(handler="", listener=NET, node="", zeros="0" * 64).replace(
            "- name: host\n", "- name: host\n  metadata: {netns: blue}\n", 1
        )
    )
    found = {one.why for one in settings_needs.missing(used, rights()) if one.feature.key == "netns"}
    assert found == {"nobody has no CAP_SYS_ADMIN", "nobody may enter no other network namespace"}


def test_every_row_is_tried_here() -> None:
    assert list(dict.fromkeys(row[0] for row in ROWS)) == [feature.name for feature in FEATURES]


def test_a_port_that_this_host_gives_to_everybody() -> None:
    free = replace(rights(), first_free_port=443)
    assert not list(settings_needs.missing(hub(port=443), free))
    (one,) = settings_needs.missing(hub(port=442), free)
    assert one.why == "nobody has no CAP_NET_BIND_SERVICE"
    stub = {one.why for one in settings_needs.missing(client(listener="", handler="namesBy: stub"), free)}
    assert "nobody has no CAP_NET_BIND_SERVICE" in stub


def test_a_hub_alone_needs_nothing() -> None:
    assert not list(settings_needs.missing(hub(), rights()))


@pytest.mark.parametrize(
    ("used", "kept"),
    [
        (hub(), set()),
        (hub(port=443), {NET_BIND_SERVICE}),
        (hub(more="metrics: {addr: ':80'}"), {NET_BIND_SERVICE}),
        (hub(handler=", sd: sd0", more=CLUSTER), {NET_BIND_SERVICE}),
        (client(), {NET_ADMIN}),
        (client(node=", netns: blue"), {NET_ADMIN}),
        (hub(service="  metadata: {netns: blue}"), set()),
    ],
    ids=[
        "hub",
        "low port",
        "low port of metrics",
        "low port for links",
        "client",
        "client elsewhere",
        "hub elsewhere",
    ],
)
def test_what_is_kept_when_the_user_changes(used: Settings, kept: set[str]) -> None:
    assert settings_needs.kept(used) == kept
