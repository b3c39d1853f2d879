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
        "    a device that the kernel names, net 10.0.0.1/24, MTU 1420",
        "    routes into the tunnel: none",
        "    in the clear: whoever is on the way can read and change what is sent",
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
        "    UDP and ICMP go by datagrams where they pass: UDP port 8443",
        "    logins: team",
        "    which host may use which namespace: no ingress: every host may use any",
        "    1 login is bound to host names or namespaces",
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
        "    a device that the kernel names, no net: it has no address of its own, MTU 1420",
        "    routes into the tunnel: none",
        "    what the hub tells is set: addresses, routes (auto), MTU",
        "    encrypted; the hub's certificate is checked by the system's authorities and its name",
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
    assert settings_summary.words(hub_settings)[0].startswith(
        "ok: service service-0 is a hub on [::1]:8443 over tls"
    )
    assert json.loads(settings_summary.as_json(hub_settings))["services"][0]["listens"] == "[::1]:8443"
    behind = "[2001:db8::1]:8443 over tcp through socks5://[2001:db8::2]:1080"
    first = settings_summary.words(client_settings)[0]
    assert first == f"ok: service service-0 is host host-1 behind {behind}"
    assert json.loads(settings_summary.as_json(client_settings))["services"][0]["hubs"] == [behind]


def client_words(url: str, *ways: str) -> list[str]:
    config = config_from_urls.read([url], ways)
    return without_memory(config_resolve.resolve(config))


def test_a_client_says_what_it_sets_up_and_what_is_not_safe() -> None:
    url = "tun:///host-1?name=vpn0&net=10.0.0.1/24,fd00::1/64&mtu=1400&gw=10.0.0.254&route=10.0.0.0/8&routes=fd01::/64"
    url = url.replace("&gw=10.0.0.254", "").replace("&routes=fd01::/64", "")
    words = client_words(url, f"router+wss://a:1,b:2?router.id={NS1}&pin=sha256:{'ab' * 32}")
    assert words == [
        "ok: service service-0 is host host-1 behind a:1 over wss, b:2 over wss",
        "    device vpn0, net 10.0.0.1/24, fd00::1/64, MTU 1400",
        "    routes into the tunnel: 10.0.0.0/8",
        f"    namespace: {NS1}",
        f"    encrypted; only the hub's certificate sha256:{'ab' * 32} is taken",
    ]
    routed = client_words(
        "tun:///h?net=10.0.0.1/24&gw=10.0.0.254&route=10.0.0.0/8,10.9.0.0/16", "router+tls://x:1"
    )
    assert routed[2] == "    routes into the tunnel: 10.0.0.0/8 via 10.0.0.254, 10.9.0.0/16 via 10.0.0.254"
    assert routed[3].endswith("is not checked: whoever is on the way can be the hub")
    told = client_words("tun:///h?acceptRoutes=10.0.0.0/8,fd00::/8&mtu=1300", "router+tls://a:1?secure=true")
    assert told[3] == "    what the hub tells is set: addresses, routes (10.0.0.0/8, fd00::/8)"
    told = client_words("tun:///h", "router+tls://a:1")
    assert told[3] == (
        "    what the hub tells is set: addresses, routes (auto), MTU; "
        "nothing of a hub that is not verified (pin, caFile, secure)"
    )


def test_a_client_for_machines() -> None:
    config = config_from_urls.read(
        ["tun:///h?net=10.0.0.1/24&route=10.0.0.0/8&mtu=1300"], ["router+ws://x:1"]
    )
    service = json.loads(settings_summary.as_json(config_resolve.resolve(config)))["services"][0]
    assert (service["net"], service["mtu"], service["inTheClear"]) == (["10.0.0.1/24"], 1300, True)
    assert (service["routes"], service["transports"]) == ([{"dst": "10.0.0.0/8", "gateway": None}], ["ws"])


def tenants(count: int) -> Settings:
    """A hub with tables of so many tenants, and as many hubs and clients beside it."""
    lines = ["services:", "- {name: hub, addr: ':1', handler: {type: router}, listener: {type: tcp}}"]
    lines += [
        f"- {{name: hub-{n}, addr: ':{n + 2}', handler: {{type: router}}, listener: {{type: tcp}}}}"
        for n in range(count)
    ]
    lines.append("routers:")
    for n in range(count):
        lines.append(f"- name: {n:08x}-0000-0000-0000-000000000000")
        rows = (f"{{dst: 10.{n}.{i}.0/24, gateway: host-{n}-{i}}}" for i in range(8))
        lines.append(f"  routes: [{', '.join(rows)}]")
    return config_resolve.resolve(config_read.read([("f", "\n".join(lines))]))


def test_many_tenants_are_a_page_and_all_of_them_on_request() -> None:
    settings = tenants(40)
    page, whole = settings_summary.words(settings), settings_summary.words(settings, everything=True)
    assert len(page) <= settings_summary.PAGE < len(whole)
    assert "    40 namespaces with 320 routes to 320 hosts" in page
    assert "    and 39 more namespaces; --all shows them" in page
    assert "ok: and 38 more hubs; --all shows them" in page
    assert sum("goes to host-39-7" in line for line in whole) == 41
    assert page[-10].startswith("memory: at most ")
    assert page[-1].endswith(" more parts")


def test_all_is_all() -> None:
    rows = "".join(f"  - {{dst: 10.9.{n}.0/24, gateway: a}}\n" for n in range(settings_summary.MAX_SHOWN))
    text = TEXT.replace("  - {dst: 10.1.0.0/16, gateway: a}\n", rows + "  - {dst: 10.1.0.0/16, gateway: a}\n")
    whole = settings_summary.words(config_resolve.resolve(config_read.read([("f", text)])), everything=True)
    assert sum(line.startswith("        10.9.") for line in whole) == settings_summary.MAX_SHOWN
    assert not [line for line in whole if " more " in line]


def test_one_client_is_no_plural() -> None:
    told = settings_summary.words(settings())
    assert [line.endswith(" MB 1 client") for line in told].count(True) == 1


def test_the_hub_s_own_addresses() -> None:
    """A namespace's own table comes first, and the default one adds the version that is missing there."""
    own = TEXT.replace(f"- name: {NS1}\n", f"- name: {NS1}\n  address: 10.1.0.1/16\n")
    own = own.replace("- name: rest\n", "- name: rest\n  address: [10.9.0.1/16, 'fd00::1/64']\n")
    found = config_resolve.resolve(config_read.read([("f", own)]))
    said = [line.strip() for line in settings_summary.words(found) if "the hub itself" in line]
    assert said == [
        "the hub itself is 10.1.0.1 and fd00::1, a hop for what it passes on",
        "the hub itself is 10.9.0.1 and fd00::1, a hop for what it passes on",
    ]
    namespaces = json.loads(settings_summary.as_json(found))["namespaces"]
    assert [one["address"] for one in namespaces] == [["10.1.0.1", "fd00::1"], ["10.9.0.1", "fd00::1"]]
