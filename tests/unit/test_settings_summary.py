"""What a configuration means in words, and the same for machines."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path

from lib import config_from_urls, config_read, config_resolve, settings_summary
from lib.errors import Position, Problem
from lib.settings import Settings

NS1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"
TEXT = f"""
services:
- name: hub
  addr: :8443
  handler: {{type: router, auther: team, metadata: {{router: rest, ingress: doors}}}}
  listener: {{type: tcp}}
- name: host
  handler: {{type: tun, chain: c}}
  listener: {{type: tun, metadata: {{net: 10.0.0.1/24}}}}
  forwarder: {{nodes: [{{name: n, addr: host-1}}]}}
chains: [{{name: c, hops: [{{name: h, nodes: [{{name: n, addr: 'x:1', connector: {{type: router}}, dialer: {{type: tcp}}}}]}}]}}]
authers: [{{name: team, redis: {{addr: h}}}}]
ingresses: [{{name: doors, rules: [{{hostname: a, endpoint: {NS1}}}, {{hostname: b, endpoint: {NS1}}}]}}]
routers:
- name: {NS1}
  file: {{path: /x/routes}}
  routes:
  - {{dst: 10.1.0.0/16, gateway: a}}
  - {{dst: 10.1.0.0/16, gateway: b, metric: 5}}
  - {{dst: 10.2.0.0/16, gateway: c, metric: 5}}
  - {{dst: 10.2.0.0/16, gateway: a, metric: 5}}
- name: rest
  plugin: {{addr: 'p:1'}}
"""


def settings() -> Settings:
    return config_resolve.resolve(config_read.read([("f", TEXT)]))


DEFAULTS = (
    "    limits on connections: 4,096 in all, 256 of each address (IPv6: of each /64)",
    "    limits on handshakes a second: 64 of each address (IPv6: of each /64)",
)


def without_memory(settings: Settings) -> list[str]:
    """The words up to those on memory."""
    return list(takewhile(lambda line: not line.startswith("memory:"), settings_summary.words(settings)))


def test_words() -> None:
    assert without_memory(settings()) == [
        "ok: service hub is a hub on :8443 over tcp, in the clear",
        "    logins: team",
        "    which host may use which namespace: ingress doors says",
        *DEFAULTS,
        "    source check: on",
        f"    namespace {NS1}:",
        "        10.1.0.0/16 goes to a, then b",
        "        10.2.0.0/16 goes to c or a",
        "        further routes: file /x/routes",
        "        further routes: plugin grpc://p:1",
        "        a, b reach each other",
        "        shut out by the ingress: c",
        "    clients that name no namespace:",
        "        further routes: plugin grpc://p:1",
        "ok: service host is host host-1 behind x:1 over tcp",
    ]


def test_words_for_a_guarded_hub() -> None:
    text = """
services:
- name: hub
  addr: :8443
  limiter: l
  climiter: c
  handler: {type: router, limiter: l2, auther: team, metadata: {router: r, certHosts: true}}
  listener: {type: wss, tls: {certFile: c.pem, keyFile: k.pem, caFile: ca.pem}}
- name: host
  handler: {type: tun, chain: c}
  listener: {type: tun}
  forwarder: {nodes: [{name: n, addr: host-1}]}
chains:
- name: c
  hops:
  - {name: p, nodes: [{name: p, addr: 'proxy:1080', connector: {type: socks5}}]}
  - {name: h, nodes: [{name: n, addr: 'x:1', connector: {type: router}, dialer: {type: wss, tls: {secure: true}}}]}
limiters: [{name: l, limits: ['$ 1MB']}, {name: l2, limits: ['host-1 1MB']}]
climiters: [{name: c, limits: ['$$ 5']}]
authers: [{name: team, auths: [{username: u, password: p, hosts: [host-1]}]}]
routers: [{name: r, acl: [{action: allow, to: host-1}], routes: [{dst: 10.0.0.1, gateway: host-1}]}]
"""
    assert without_memory(config_resolve.resolve(config_read.read([("f", text)]))) == [
        "ok: service hub is a hub on :8443 over wss, certificate c.pem, clients need one of ca.pem",
        "    logins: team",
        "    which host may use which namespace: no ingress: every host may use any",
        "    1 logins are bound to host names or namespaces",
        "    a client may only go by a name that its certificate has",
        "    limits on traffic: $, host-1",
        "    limits on connections: 5 of each address",
        "    limits on handshakes a second: 64 of each address (IPv6: of each /64)",
        "    source check: on",
        "    clients that name no namespace:",
        "        10.0.0.1/32 goes to host-1",
        "        allow to host-1",
        "        everything else is denied; replies to what is allowed are allowed",
        "ok: service host is host host-1 behind x:1 over wss through socks5://proxy:1080",
    ]


def test_json() -> None:
    whole = json.loads(settings_summary.as_json(settings()))
    assert whole["ok"] is True
    assert [service["role"] for service in whole["services"]] == ["hub", "client"]
    first, second = whole["namespaces"]
    assert first["routes"][1] == {"dst": "10.2.0.0/16", "gateways": [["c", "a"]]}
    assert (first["hosts"], first["shutOut"]) == (["a", "b"], ["c"])
    assert second["elsewhere"] == ["plugin grpc://p:1"]
    assert any("shuts gateway c out" in warning["message"] for warning in whole["warnings"])


def test_json_of_what_is_wrong() -> None:
    whole = json.loads(settings_summary.as_json(None, [Problem(Position("f", 3, 4), "wrong", "right")]))
    problem = {"file": "f", "line": 3, "column": 4, "message": "wrong", "hint": "right"}
    assert whole == {"ok": False, "problems": [problem], "warnings": [], "notices": []}


def test_many_routes_are_counted() -> None:
    rows = "".join(f"  - {{dst: 10.9.{n}.0/24, gateway: a}}\n" for n in range(settings_summary.MAX_SHOWN))
    text = TEXT.replace("  - {dst: 10.1.0.0/16, gateway: a}\n", rows + "  - {dst: 10.1.0.0/16, gateway: a}\n")
    lines = list(settings_summary.words(config_resolve.resolve(config_read.read([("f", text)]))))
    assert "        and 2 more routes" in lines


def test_the_sample_with_everything_is_right() -> None:
    path = Path(__file__).parents[2] / "packaging" / "examples" / "sources-server.yml"
    lines = list(
        settings_summary.words(config_resolve.resolve(config_read.read([(path.name, path.read_text())])))
    )
    assert "        192.168.200.0/24 goes to host-2, then host-3" in lines
    assert "        10.0.0.0/8 goes to host-2 or host-3" in lines
    assert "        further routes: redis 127.0.0.1:6379 routes" in lines


def test_words_for_who_looks_on() -> None:
    text = """
    services: [{name: hub, addr: ':8443', handler: {type: router, metadata: {router: r}}}]
    routers: [{name: r}]
    log: {output: /var/log/t.log, format: json, rotation: {maxSize: 5, maxBackups: 3, maxAge: 9, compress: true}}
    metrics: {addr: '127.0.0.1:9000', auth: {username: u, password: s3cret}}
    """
    words = without_memory(config_resolve.resolve(config_read.read([("f", text)])))
    assert words[-3:] == [
        "log: info and above, as json, to /var/log/t.log",
        "    rotated at 5 MB, 3 old files kept, for 9 days, compressed",
        "metrics: on 127.0.0.1:9000/metrics for logins of auther 'auth of metrics'",
    ]
    assert "s3cret" not in "".join(words)


def test_ipv6_addresses_are_in_brackets() -> None:
    hub = config_from_urls.read(["router+tls://[::1]:8443"], [])
    way = ["socks5://[2001:db8::2]:1080", "router://[2001:db8::1]:8443"]
    client = config_from_urls.read(["tun:///host-1?net=10.0.0.1/24"], way)
    hub_settings, client_settings = map(config_resolve.resolve, (hub, client))
    assert next(settings_summary.words(hub_settings)).startswith(
        "ok: service service-0 is a hub on [::1]:8443 over tls"
    )
    assert json.loads(settings_summary.as_json(hub_settings))["services"][0]["listens"] == "[::1]:8443"
    behind = "[2001:db8::1]:8443 over tcp through socks5://[2001:db8::2]:1080"
    first = next(settings_summary.words(client_settings))
    assert first == f"ok: service service-0 is host host-1 behind {behind}"
    assert json.loads(settings_summary.as_json(client_settings))["services"][0]["hubs"] == [behind]
