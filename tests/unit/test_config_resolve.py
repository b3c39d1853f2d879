"""What configurations mean: the user's example files, every refusal with its place, warnings, notices."""

from __future__ import annotations

import hashlib
import json
import re
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import config_from_urls, config_read, config_resolve
from lib.config_gost_keys import CHAIN_KEYS, CLIENT_KEYS, HUB_KEYS
from lib.config_schema import Config
from lib.errors import ConfigError
from lib.ids import NO_NAMESPACE, parse_uuid
from lib.settings import ClientSettings, Hop, HubSettings, LoginRow, Settings
from lib.settings_sources import FileSource, HttpSource, RedisSource, Sentinel, SourceSettings
from tests.support import texts
from tests.support.routes import entry

ROOT = Path(__file__).parent.parent.parent
NS1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"
NS2 = "ef502590-c5f4-437e-a81f-fe4083505075"

HUB = "services: [{name: s, addr: ':1', handler: {type: router, metadata: %s}, listener: {type: tcp}}]\n"
TABLE = "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
CHAIN = """
chains: [{name: c, hops: [{name: h, nodes: [
  {name: n, addr: 'hub:8443', connector: {type: router}, dialer: {type: tcp}}]}]}]
"""
CLIENT = """
services: [{name: s, handler: {type: tun}, listener: {type: tun, metadata: %s}, forwarder: {nodes: [{addr: h}]}}]
"""


def resolve(*texts: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", "".join(texts))]))


def problems(*texts: str) -> list[str]:
    return refusals(config_read.read([("f", "".join(texts))]))


def refusals(read: Config) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_resolve.resolve(read)
    return [str(problem) for problem in caught.value.problems]


def warnings(settings: Settings) -> list[str]:
    return [str(warning) for warning in settings.warnings]


def hub(metadata: str, *more: str) -> HubSettings:
    return resolve(HUB % metadata, *more).hubs[0]


def client(metadata: str) -> ClientSettings:
    return resolve(CLIENT % metadata, CHAIN).clients[0]


# --- the user's files, letter for letter


def example(name: str) -> Settings:
    text = (ROOT / "packaging" / "examples" / name).read_text().replace("server_ip", "192.0.2.1")
    return config_resolve.resolve(config_read.read([(name, text)]))


USERS_FILES = {
    "client.yml": "756a88cf0dffa0ecfba118cf27aea876befd07c1bd11ea3529c39cd7fd8de826",
    "ingress-server.yml": "473905b1db21cc6d67e3d0115bf57e168e88b24f4b307bb103db83fe7a7cc7dc",
    "namespaces-client.yml": "ad2d8d6a6cb096d9da12ffd7566e2c98d3177b39f164a1b9d83fbc4f938f65c9",
    "namespaces-server.yml": "c245f6ac06ed00e724e58a24f6f206f1bf845d8cbb42c0738795521ebbfab196",
    "server.yml": "8a5a24f527db6d3d8358db5167663eb947aa6be7e0c2cc0287d1c5da7c299eb3",
}
"""SHA-256 of the files as GOST's users have them: they must work unchanged, so nobody may mend them here."""


@pytest.mark.parametrize("name", USERS_FILES)
def test_the_users_files_stay_letter_for_letter(name: str) -> None:
    content = (ROOT / "packaging" / "examples" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == USERS_FILES[name]


def test_server_yml() -> None:
    settings = example("server.yml")
    (server,) = settings.hubs
    assert (server.name, server.host, server.port, server.source_check) == ("service-0", "", 8443, True)
    assert server.default_table is not None
    assert server.default_table.routes == (
        entry("192.168.123.1/32", "host-1"),
        entry("192.168.100.0/24", "host-1"),
        entry("192.168.123.2/32", "host-2"),
        entry("192.168.200.0/24", "host-2"),
    )
    assert (settings.warnings, settings.notices) == ((), ())


@pytest.mark.parametrize(
    ("name", "namespace"), [("client.yml", NO_NAMESPACE), ("namespaces-client.yml", parse_uuid(NS1))]
)
def test_client_files_name_no_chain_and_the_only_one_is_used(name: str, namespace: bytes) -> None:
    settings = example(name)
    (host,) = settings.clients
    assert host.host == "host-1"
    assert host.device.addresses == (ip_interface("192.168.123.1/24"),)
    assert host.device.routes == ((ip_network("192.168.200.0/24"), ""),)
    assert host.device.mtu == 1420
    assert [(n.host, n.port, n.namespace) for n in host.nodes] == [("192.0.2.1", 8443, namespace)]
    assert [str(notice) for notice in settings.notices] == [
        f"{name}:4:5: service service-0 names no chain: chain-0, the only one, is used"
    ]


def test_namespaces_server_yml() -> None:
    settings = example("namespaces-server.yml")
    assert [table.namespace for table in settings.tables] == [parse_uuid(NS1), parse_uuid(NS2), None]
    (server,) = settings.hubs
    assert server.default_table is settings.tables[2]
    assert server.default_table.plugin is not None
    assert server.default_table.plugin.url == "http://127.0.0.1:8000"
    assert settings.warnings == ()


def test_ingress_server_yml_warns_of_each_gateway_shut_out() -> None:
    settings = example("ingress-server.yml")
    assert settings.hubs[0].ingress is not None
    assert settings.hubs[0].ingress.rules[0] == ("host-1-ns1", NS1)
    assert [warning.split(": its")[0] for warning in warnings(settings)] == [
        f"ingress-server.yml:{line}:18: service service-0: ingress ingress-0 shuts gateway {host} out of namespace {ns}"
        for line, host, ns in (
            (28, "host-1", NS1),
            (32, "host-2", NS1),
            (38, "host-1", NS2),
            (42, "host-2", NS2),
        )
    ]


@pytest.mark.parametrize(
    ("forward", "namespace"),
    [
        ("router://server_ip:8443", NO_NAMESPACE),
        (f"router://server_ip:8443?router.id={NS1}", parse_uuid(NS1)),
    ],
)
def test_the_example_command_lines(forward: str, namespace: bytes) -> None:
    settings = config_resolve.resolve(
        config_from_urls.read(["tun:///host-1?net=192.168.123.1/24"], [forward])
    )
    (host,) = settings.clients
    assert (host.host, host.nodes[0].host, host.nodes[0].namespace) == ("host-1", "server_ip", namespace)
    assert (settings.warnings, settings.notices) == ((), ())


# --- command lines of a routing tunnel that GOST recorded: what ours makes of each

RECORDED = json.loads((ROOT / "tests" / "data" / "command_lines.json").read_text())
REFUSED = {
    3: "there is no router 'router-0'",
    4: "there is no router 'router-0'",
    5: "there is no router 'r'",
    6: "mtls is GOST's tls with multiplexing inside; write tls, which is what a routing tunnel wants",
    11: "unknown metadata key 'w'",
    12: "service service-0 has no host name",
    16: "a handler of type auto is no part of a routing tunnel",
    17: "unknown scheme",
    18: "unknown scheme",
    19: "no services: nothing to do",
}


@pytest.mark.parametrize("index", range(len(RECORDED)), ids=lambda i: f"{i}: {' '.join(RECORDED[i]['argv'])}")
def test_recorded_command_line(index: int) -> None:
    argv = RECORDED[index]["argv"]
    pairs = list(zip(argv[::2], argv[1::2], strict=False))
    read = config_from_urls.read([v for k, v in pairs if k == "-L"], [v for k, v in pairs if k == "-F"])
    if index in REFUSED:
        assert any(REFUSED[index] in problem for problem in refusals(read))
    else:
        config_resolve.resolve(read)


def test_hub_and_client_in_one_process() -> None:
    settings = resolve(
        """
services:
- {name: hub, addr: "127.0.0.1:8443", handler: {type: router, metadata: {router: r}}, listener: {type: tcp}}
- {name: a, handler: {type: tun, chain: c}, listener: {type: tun}, forwarder: {nodes: [{addr: a}]}}
- {name: b, handler: {type: tun, chain: c}, listener: {type: tun}, forwarder: {nodes: [{addr: 10.0.0.9}]}}
""",
        TABLE,
        CHAIN,
    )
    assert [h.name for h in settings.hubs] == ["hub"]
    assert [c.host for c in settings.clients] == ["a", "10.0.0.9"]


# --- a hub's metadata


def test_a_hub_without_a_listener_listens_on_tcp_as_gost_does() -> None:
    (hub,) = resolve("services: [{name: s, addr: ':1', handler: {type: router}}]\n" + TABLE).hubs
    assert (hub.host, hub.port) == ("", 1)


def test_hub_metadata() -> None:
    got = hub(
        "{router: r, sourceCheck: off, superpackets: no, domain: d, handshakeTimeout: 3, readTimeout: 1m,"
        " router.cache: true, router.cache.expiration: 500ms}",
        TABLE,
    )
    assert (got.source_check, got.superpackets, got.domain) == (False, False, "d")
    assert (got.handshake_timeout, got.read_timeout, got.cache_seconds) == (3.0, 60.0, 0.5)


def test_router_cache_off_keeps_no_answer() -> None:
    assert hub("{router: r, router.cache: false}", TABLE).cache_seconds == 0.0


def test_a_default_table_is_found_by_any_spelling_of_its_uuid() -> None:
    table = f"routers: [{{name: {NS1.upper().replace('-', '')}, routes: []}}]"
    got = hub(f"{{router: {NS1}}}", table).default_table
    assert got is not None
    assert got.namespace == parse_uuid(NS1)


def test_router_with_http_plugin() -> None:
    table = """
routers: [{name: r, plugin: {type: http, addr: "h:80/x", token: t, timeout: 5s, tls: {secure: true, serverName: n}}}]
"""
    got = hub("{router: r}", table).default_table
    assert got is not None
    assert got.plugin is not None
    plugin = got.plugin
    assert (plugin.url, plugin.token, plugin.timeout) == ("http://h:80/x", "t", 5.0)
    assert (plugin.verify, plugin.server_name) == (True, "n")


def test_a_plugin_with_a_tls_section_but_not_secure_does_not_verify_as_in_gost() -> None:
    settings = resolve(
        HUB % "{router: r}", "routers: [{name: r, plugin: {type: http, addr: 'https://h', tls: {}}}]"
    )
    assert settings.tables[0].plugin is not None
    assert settings.tables[0].plugin.verify is False
    assert "accepts any certificate" in warnings(settings)[0]


# --- routes


def test_net_is_an_older_spelling_of_dst_and_host_bits_are_cleared() -> None:
    table = "routers: [{name: r, routes: [{net: 192.168.1.5/24, gateway: a}, {dst: 'fd00::1', gateway: b}]}]"
    got = hub("{router: r}", table).default_table
    assert got is not None
    assert got.routes == (
        entry("192.168.1.0/24", "a"),
        entry("fd00::1/128", "b"),
    )


def test_a_gateway_that_is_an_address_is_told_of() -> None:
    table = "routers:\n- {name: r, routes: [{dst: 10.0.0.0/8, gateway: 10.1.1.1}]}\n"
    assert warnings(resolve(HUB % "{router: r}", table))[0].startswith(
        "f:3:49: the gateway 10.1.1.1 is an IP address: GOST would also set a kernel route"
    )


def test_first_match_surprises_are_told_of() -> None:
    table = "routers:\n- {name: r, routes: [{dst: 10.0.0.0/8, gateway: a}, {dst: 10.1.0.0/16, gateway: b}]}\n"
    assert warnings(resolve(HUB % "{router: r}", table)) == [
        "f:3:81: router r: 10.1.0.0/16 goes to b, the longest prefix; GOST takes the first match, 10.0.0.0/8 to a"
    ]


def test_many_first_match_surprises_are_summed_up() -> None:
    routes = ["{dst: 10.0.0.0/8, gateway: a}"] + [f"{{dst: 10.{n}.0.0/16, gateway: b}}" for n in range(30)]
    table = f"routers: [{{name: r, routes: [{', '.join(routes)}]}}]"
    told = warnings(resolve(HUB % "{router: r}", table))
    assert len(told) == 11
    assert "20 more routes" in told[-1]


# --- a client's device and nodes


def test_device_metadata() -> None:
    got = client(
        "{net: ['10.0.0.1/24', 'fd00::1/64'], tun.name: tun7, name: other, mtu: 1400, peer: 10.0.0.2, gw: 10.0.0.9,"
        " route: '10.1.0.0/16, 10.2.0.0/16', routes: [10.3.0.0/16, 'fd01::/64 fd00::9', 10.4.0.0/16 10.0.0.8]}"
    ).device
    assert got.addresses == (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))
    assert (got.name, got.mtu, got.peer) == ("tun7", 1400, "10.0.0.2")
    assert got.routes == (
        (ip_network("10.1.0.0/16"), "10.0.0.9"),
        (ip_network("10.2.0.0/16"), "10.0.0.9"),
        (ip_network("10.3.0.0/16"), "10.0.0.9"),
        (ip_network("fd01::/64"), "fd00::9"),
        (ip_network("10.4.0.0/16"), "10.0.0.8"),
    )


def test_nodes_selector_and_login() -> None:
    forward = "router://u:p@h1:8443,h2:8443?strategy=fifo&maxFails=3&failTimeout=7&connectTimeout=2"
    settings = config_resolve.resolve(config_from_urls.read(["tun:///h?superpackets=off"], [forward]))
    (got,) = settings.clients
    assert [(n.host, n.username, n.password, n.connect_timeout) for n in got.nodes] == [
        ("h1", "u", "p", 2.0),
        ("h2", "u", "p", 2.0),
    ]
    assert (got.strategy, got.max_fails, got.fail_timeout, got.superpackets) == ("fifo", 3, 7.0, False)
    assert warnings(settings) == ["-F 1: the login goes over the network in the clear: the dialer is tcp"]


def test_a_hop_may_be_named() -> None:
    chain = """
chains: [{name: c, hops: [{name: h}]}]
hops: [{name: h, nodes: [{name: n, addr: 'hub:8443', connector: {type: router}, dialer: {type: tcp}}]}]
"""
    assert resolve(CLIENT % "{}", chain).clients[0].nodes[0].host == "hub"
    misspelt = chain.replace("hops: [{name: h}]", "hops: [{name: hh}]")
    assert "hop 'hh' has no nodes; did you mean 'h'?" in problems(CLIENT % "{}", misspelt)[0]


# --- problems


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("{router: rr}", "f:1:77: there is no router 'rr'; did you mean 'r'?"),
        ("{ingress: i}", "f:1:78: there is no ingress 'i'"),
        (
            "{routter: r}",
            "f:1:69: unknown metadata key 'routter' for a service with handler router; did you mean 'router'?",
        ),
        (
            "{mtu: 1400}",
            (
                "f:1:69: unknown metadata key 'mtu' for a service with handler router; it belongs to the "
                "listener metadata of a service with handler tun"
            ),
        ),
        ("{readTimeout: 5x}", "f:1:82: 'readTimeout': not a duration: '5x' (write 10s, 1m30s or 500ms)"),
        ("{readTimeout: -5s}", "f:1:82: 'readTimeout': a duration below zero: '-5s'"),
        ("{handshakeTimeout: 0}", "f:1:87: 'handshakeTimeout': there must be a deadline"),
        ("{sourceCheck: maybe}", "f:1:82: 'sourceCheck': neither on nor off: 'maybe' (write true or false)"),
        ("{router: [r]}", "f:1:77: 'router' wants one value"),
    ],
)
def test_hub_metadata_that_is_wrong(metadata: str, expected: str) -> None:
    assert problems(HUB % metadata, TABLE) == [expected]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (
            "addr: '8443', handler: {type: router}, listener: {type: tcp}",
            "'addr': '8443' has no port; did you mean ':8443'?",
        ),
        ("addr: ':x', handler: {type: router}, listener: {type: tcp}", "'addr': not a port number: 'x'"),
        (
            "addr: '::1:8443', handler: {type: router}, listener: {type: tcp}",
            "an IPv6 address goes in brackets",
        ),
        ("addr: ':1', handler: {type: router}, listener: {type: tun}", "does not work over listener tun"),
        (
            "addr: ':1', handler: {type: router}, listener: {type: quic}",
            "a listener of type quic carries no session here; write tls",
        ),
        (
            "addr: ':1', handler: {type: router}, listener: {}",
            "a listener without a type; write type: tcp",
        ),
        ("addr: ':1', handler: {type: ruter}", "unknown handler type 'ruter'; did you mean 'router'?"),
        ("addr: ':1', handler: {type: socks5}", "a handler of type socks5 is no part of a routing tunnel"),
        ("addr: ':1'", "service s has no handler type"),
        (
            "addr: ':1', handler: {type: router, auther: u}, listener: {type: tcp}",
            "there is no auther 'u'",
        ),
        (
            "addr: ':1', handler: {type: router, authers: [team]}, listener: {type: tcp}",
            "there is no auther 'team'; did you mean 'teams'?",
        ),
        (
            "addr: ':1', handler: {type: router, auth: {password: p}}, listener: {type: tcp}",
            "a login without a username",
        ),
        (
            "addr: ':1', handler: {type: router, auth: {file: x}}, listener: {type: tcp}",
            "'file' is for a client's login",
        ),
        (
            "limiter: x, addr: ':1', handler: {type: router}, listener: {type: tcp}",
            "there is no limiter 'x'",
        ),
    ],
)
def test_hub_that_is_wrong(service: str, expected: str) -> None:
    text = f"services: [{{name: s, {service}}}]\nauthers: [{{name: teams}}]\n"
    assert any(expected in problem for problem in problems(text, TABLE))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("{net: 10.0.0.1}", "'net': 10.0.0.1 needs the length of its prefix, such as 10.0.0.1/24"),
        ("{net: '10.0.0.1/24,x'}", "'net': not a CIDR: 'x'"),
        ("{net: {a: b}}", "'net' wants a list of texts"),
        ("{mtu: 100}", "'mtu': 100 is not within 576 to 65521"),
        ("{mtu: 65522}", "'mtu': 65522 is not within 576 to 65521"),
        ("{mtu: 1279, net: 'fd00::1/64'}", "'mtu': IPv6 needs at least 1280, not 1279"),
        ("{mtu: x}", "'mtu': not a whole number: 'x'"),
        ("{name: a/b}", "no device can have the name 'a/b'"),
        ("{name: sixteen-letters-}", "no device can have the name"),
        ("{route: 10.0.0.0/33}", "route: "),
        ("{routes: [10.0.0.0/8 a b]}", "'routes' wants `CIDR gateway`"),
        ("{route: 10.0.0.0/8, gw: 'fd00::1'}", "10.0.0.0/8 cannot go through fd00::1"),
        ("{route: 10.0.0.0/8, routes: [10.0.0.0/8 1.1.1.1]}", "10.0.0.0/8 has a gateway already"),
        ("{peer: x}", "'peer': not an IP address: 'x'"),
        ("{dns: '1.1.1.1, x'}", "'dns': not an IP address: 'x'"),
        (
            "{dns: '1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,1.1.1.8,1.1.1.9'}",
            "more than 8 name servers",
        ),
        ("{router: r}", "metadata key 'router' is not supported yet"),
        ("{router.id: x}", "unknown metadata key 'router.id' for a service with handler tun"),
    ],
)
def test_device_that_is_wrong(metadata: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(CLIENT % metadata, CHAIN))


@pytest.mark.parametrize("text", ["'10.0.0.53, fd00::53, 10.0.0.53'", "[10.0.0.53, 'fd00::53']"])
def test_name_servers_of_a_client(text: str) -> None:
    (client,) = resolve(CLIENT % f"{{dns: {text}}}", CHAIN).clients
    assert (client.dns, client.names_by) == (("10.0.0.53", "fd00::53"), "auto")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("namesBy=hosts-file", "'namesBy': 'hosts-file' is not one of auto, resolved, stub, hosts, off"),
        ("namesBy=off&dns=10.0.0.53", "'dns' with namesBy: off"),
        ("namesBy=hosts&dns=10.0.0.53", "'dns' with namesBy: hosts"),
    ],
)
def test_a_way_of_names_that_is_wrong(more: str, expected: str) -> None:
    read = config_from_urls.read([f"tun:///host-1?net=10.9.0.1/24&{more}"], ["router://h:1"])
    assert any(expected in problem for problem in refusals(read))


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        ("'h:80'", "'h:80' has a port: that means a UDP peer in GOST, not a host on a router"),
        ("'[::1]:80'", "has a port: that means a UDP peer"),
        ("''", "an empty host name"),
        ('"a\\tb"', "a control character in the host name"),
        ("x" * 256, "a host name of more than 255 bytes"),
    ],
)
def test_host_name_that_is_wrong(addr: str, expected: str) -> None:
    text = (CLIENT % "{}").replace("addr: h}", f"addr: {addr}}}")
    assert any(expected in problem for problem in problems(text, CHAIN))


@pytest.mark.parametrize("host", ["10.0.0.9", "fd00::9", "bücher"])
def test_host_name_that_is_right(host: str) -> None:
    assert resolve((CLIENT % "{}").replace("addr: h}", f"addr: '{host}'}}"), CHAIN).clients[0].host == host


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("type: tun}", "type: tun, chain: cc}", "there is no chain 'cc'; did you mean 'c'?"),
        ("hub:8443", "hub", "'addr': 'hub' has no port"),
        ("hub:8443", ":8443", "names no host to dial"),
        ("hub:8443", "hub:0", "names no port to dial"),
        (
            "hub:8443",
            "hub..example:8443",
            "'addr': not a host name: 'hub..example' has nothing before or between",
        ),
        ("hub:8443", f"{'ü' * 60}:8443", "has a label that is empty or longer than 63 bytes: 'üü"),
        ("type: router", "type: relay", "connector type relay does not reach a router"),
        ("type: router", "type: ruter", "unknown connector type 'ruter'; did you mean 'router'?"),
        ("type: router", "type: router, metadata: {router.id: x}", "'router.id': not a UUID: 'x'"),
        (
            "type: router",
            "type: router, metadata: {routerid: x}",
            "unknown metadata key 'routerid' for a node",
        ),
        ("type: router", "type: router, auth: {file: x}", "${file:x} cannot be read here"),
        ("type: router", "auth: {}", "a node without a connector type"),
        ("type: tcp", "type: mwss", "mwss is GOST's wss with multiplexing inside; write wss, which is what"),
        ("type: tcp", "type: tpc", "unknown dialer type 'tpc'; did you mean 'tcp'?"),
        (
            "{name: h,",
            "{name: h, selector: {strategy: fiffo},",
            "unknown strategy 'fiffo'; did you mean 'fifo'?",
        ),
        ("{name: h,", "{name: h, plugin: {addr: x},", "not the address of a grpc plugin: 'x'"),
        ("hops: [", "hops: [{name: x, nodes: []},", "hop x has no nodes"),
        ("chains: [", "chains: [{name: d},", "names no chain, and there is more than one; write chain: d"),
        ("chains:", "routers: []\nhops:", "names no chain, and there is none; write -F"),
        ("addr: h}", "addr: h}, {addr: 'i:1'}", "'i:1' has a port: that means a UDP peer in GOST"),
        (
            "addr: h}",
            "addr: h, metadata: {backp: true}}, {addr: i}",
            "unknown metadata key 'backp' for a target of a forwarder; did you mean 'backup'?",
        ),
        ("addr: h}", "addr: h, metadata: {weight: 0}}, {addr: i}", "'weight': 0 is not within 1 to"),
        (
            "handler: {type: tun}",
            "handler: {type: tun, metadata: {acceptRoutes: forse}}",
            "'acceptRoutes': 'forse' is unknown; did you mean 'force'?",
        ),
        ("forwarder: {nodes", "forwarder: {nods", "unknown key 'nods' in a forwarder section"),
        ("addr: h}", "adr: h}", "unknown key 'adr' in a forward node section; did you mean 'addr'?"),
        (
            "forwarder: {",
            "forwarder: {selector: {strategy: rund}, ",
            "unknown strategy 'rund'; did you mean 'round'?",
        ),
        (
            "forwarder: {nodes: [{addr: h}]}",
            "addr: ':1'",
            "a tun service with an address is GOST's UDP tunnel",
        ),
    ],
)
def test_client_that_is_wrong(old: str, new: str, expected: str) -> None:
    text = (CLIENT % "{}" + CHAIN).replace(old, new)
    assert any(expected in problem for problem in problems(text))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("{name: r, routes: [{dst: 10.0.0.0/33, gateway: g}]}", "'dst': "),
        ("{name: r, routes: [{gateway: g}]}", "a route without a destination"),
        ("{name: r, routes: [{dst: 1.1.1.1}]}", "a route without a gateway"),
        (
            "{name: r, routes: [{dst: 1.1.1.1, net: 2.2.2.2, gateway: g}]}",
            "dst or net (its older spelling), not both",
        ),
        ('{name: r, routes: [{dst: 1.1.1.1, gateway: "a\\nb"}]}', "no host can go by this name: 'a\\nb'"),
        ("{name: r}, {name: r}", "two of the routers have the name 'r'; see f:2:18"),
        (f"{{name: {NS1}}}, {{name: {NS1.upper()}}}", "two of the routers have the name"),
        ("{routes: []}", "one of the routers has no name"),
        ("{name: r, plugin: {addr: x}}", "not the address of a grpc plugin: 'x'; as in 127.0.0.1:8000"),
        ("{name: r, plugin: {addr: 'http://x:1'}}", "a URL needs type: http"),
        ("{name: r, plugin: {type: htp, addr: x}}", "unknown plugin type 'htp'; did you mean 'http'?"),
        ("{name: r, plugin: {type: http, addr: 'ftp://x'}}", "not the address of a http plugin"),
        ("{name: r, plugin: {type: http}}", "not the address of a http plugin"),
        ("{name: r, plugin: {type: http, addr: x, timeout: -1s}}", "a timeout below zero"),
        ("{name: r, reload: -5s}", "'reload': a duration below zero"),
        ("{name: r, file: {}}", "a file source without a path"),
        ("{name: r, redis: {addr: 'x:99999'}}", "'addr': not a port number"),
        ("{name: r, redis: {addr: x, type: lst}}", "redis type 'lst' cannot hold this; did you mean 'list'?"),
        ("{name: r, redis: {addr: x, db: -1}}", "'db': -1 is below zero"),
        ("{name: r, http: {url: x}}", "not the address of an HTTP source: 'x'"),
        (
            "{name: r, http: {url: 'http://a..b/x'}}",
            "f:2:33: 'url': 'http://a..b/x': not a host name: 'a..b'",
        ),
        ("{name: r, http: {url: 'http://x:99999/'}}", "Port out of range"),
        ("{name: r, redis: {addr: a..b}}", "'addr': not a host name: 'a..b'"),
        ("{name: r, plugin: {addr: 'a..b:1'}}", "not the address of a grpc plugin: 'a..b:1'"),
        (
            "{name: r, plugin: {type: http, addr: 'http://a..b'}}",
            "not the address of a http plugin: 'http://a..b'",
        ),
        (
            "{name: r, plugin: {addr: 'x:1', tls: {serverName: a..b}}}",
            "'serverName': not a host name: 'a..b'",
        ),
        ("{name: r, http: {url: 'http://x', timeout: -1s}}", "a timeout below zero"),
        ("{name: r, compat: first_match}", "'compat': 'first_match' is unknown; did you mean 'first-match'?"),
        ("{name: r, compat: gost}", "there is first-match, GOST's order"),
        ("{name: r, holdDown: -1s}", "'holdDown': a duration below zero"),
        ("{name: r, routes: [{dst: 1.1.1.1, gateway: g, metric: -1}]}", "'metric': -1 is not within 0 to"),
        ("{name: r, routes: [{dst: 1.1.1.1, gateway: g, falThrough: on}]}", "did you mean 'fallThrough'?"),
    ],
)
def test_table_that_is_wrong(table: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(HUB % "{}", f"routers: [{table}]"))


def test_everything_wrong_is_reported_at_once_in_order() -> None:
    text = """services:
- {name: a, addr: ":1", handler: {type: router, metadata: {router: rooter}}, listener: {type: tcp}, adr: x}
- {name: a, addr: "1.1.1.1:1", handler: {type: router}, listener: {type: tcp}}
routers:
- {name: router, reload: 5x, routes: [{dst: 1.2.3.4/33, gateway: g}]}
log: {level: wran}
"""
    assert [problem.split("; ")[0] for problem in problems(text)] == [
        "f:2:68: there is no router 'rooter'",
        "f:2:101: unknown key 'adr' in a service section",
        "f:3:10: two of the services have the name 'a'",
        "f:3:19: service a would listen where service a does already: 1.1.1.1:1",
        "f:5:26: 'reload': not a duration: '5x' (write 10s, 1m30s or 500ms)",
        "f:5:45: 'dst': '1.2.3.4/33' does not appear to be an IPv4 or IPv6 network",
        "f:6:14: unknown log level 'wran'",
    ]


def test_what_could_not_be_read_is_not_complained_of_twice() -> None:
    assert problems(
        "services: [{name: s, addr: [x], handler: {type: router}, listener: {type: tcp}}]\n", TABLE
    ) == ["f:1:28: 'addr' wants one value, not a list"]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (":1", ":1", True),
        (":1", "127.0.0.1:1", True),
        ("[::]:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        (":1", ":2", False),
        (":0", ":0", False),
    ],
)
def test_overlapping_listeners(first: str, second: str, clash: bool) -> None:
    read = config_from_urls.read([f"router://{first}", f"router://{second}"])
    if clash:
        assert "would listen where" in refusals(read)[0]
    else:
        assert len(config_resolve.resolve(read).hubs) == 2


def test_services_of_one_domain_have_the_same_rules() -> None:
    same = ["router://:1?domain=d&sourceCheck=off", "router://:2?domain=d&sourceCheck=off"]
    assert len(config_resolve.resolve(config_from_urls.read(same)).hubs) == 2
    assert "share domain 'd'" in refusals(config_from_urls.read([same[0], "router://:2?domain=d"]))[0]


def test_one_device_name_for_two_services() -> None:
    read = config_from_urls.read(["tun:///a?name=tun9", "tun:///b?name=tun9"], ["router://h:1"])
    assert refusals(read) == ["-L 2: two services have a device named 'tun9'"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("16MB", 16 << 20), ("64kb", 64 << 10), ("1.5MiB", 3 << 19), ("off", 0), ("0", 0), ("", 0)],
)
def test_recorder(text: str, size: int) -> None:
    assert resolve(HUB % "{}" + f"recorder: '{text}'\n").recorder == size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recorder: 16", "f:2:11: recorder: '16' is no size; write it as 16MB"),
        ("recorder: 1KB", "f:2:11: recorder: 1KB is not between 64KB and 1GB"),
        ("recorder: 2GB", "f:2:11: recorder: 2GB is not between 64KB and 1GB"),
        ("recorder: [1MB]", "f:2:11: 'recorder' wants one value, not a list"),
        ("recoder: 1MB", "f:2:1: unknown key 'recoder' in the configuration; did you mean 'recorder'?"),
    ],
)
def test_recorder_that_is_wrong(text: str, expected: str) -> None:
    assert problems(HUB % "{}" + text) == [expected]


def test_gosts_recorders_are_something_else() -> None:
    settings = resolve(HUB % "{}" + "recorders: [{name: r}]")
    assert settings.recorder == 0
    told = warnings(settings)[0]
    assert (
        "'recorders' in the configuration is for what names recorders, which is not supported yet: " in told
    )


def test_nothing_to_do() -> None:
    assert refusals(config_from_urls.read([], ["router://h:1"])) == [
        "command line: no services: nothing to do; write -L URL, or services: in a file"
    ]


# --- warnings


@pytest.mark.parametrize("key", ["keepalive", "tun.keepalive", "ttl", "token", "p2p", "passphrase"])
def test_what_is_for_udp_peers_costs_one_warning(key: str) -> None:
    settings = config_resolve.resolve(config_from_urls.read([f"tun:///h?{key}=1"], ["router://h:1"]))
    assert warnings(settings) == [
        f"-L 1: metadata key '{key}' is for GOST's UDP peers and without effect on a router"
    ]


def test_buffer_size_means_nothing_here() -> None:
    settings = resolve(HUB % "{router: r, router.bufferSize: 9000}", TABLE)
    assert warnings(settings) == [
        "f:1:80: metadata key 'router.bufferSize' means nothing here: packets of any size pass"
    ]


def test_a_hub_without_any_table_passes_nothing() -> None:
    assert warnings(resolve(HUB % "{}")) == ["f:1:12: service s has no router: no packet can pass"]


def test_tls_over_plain_tcp_is_told_of() -> None:
    text = CLIENT % "{}" + CHAIN.replace("type: tcp", "type: tcp, tls: {secure: true}")
    assert "nothing is encrypted" in warnings(resolve(text))[0]


def test_log_settings() -> None:
    settings = resolve(HUB % "{router: r}", TABLE, "log: {level: WARN, format: json, output: stdout}")
    assert (settings.log_level, settings.log_format, settings.log_output) == ("warn", "json", "stdout")


# --- anything at all

_VALUES = st.one_of(
    texts.from_json(), st.sampled_from(["1", "off", "10s", "10.0.0.1/24", "fd00::/64 fd00::1", ":", NS1])
)
_KEYS = st.sampled_from(sorted({**HUB_KEYS, **CLIENT_KEYS, **CHAIN_KEYS}))
_METADATA = st.dictionaries(_KEYS, st.one_of(_VALUES, st.lists(_VALUES), st.none()), max_size=6)


@given(_METADATA, _METADATA, _VALUES, st.sampled_from(["router", "tun"]))
def test_any_metadata_is_settings_or_a_config_error(
    handler: dict[str, object], listener: dict[str, object], addr: str, kind: str
) -> None:
    service = {
        "name": "s",
        "addr": addr if kind == "router" else "",
        "handler": {"type": kind, "metadata": handler},
        "listener": {"type": "tun" if kind == "tun" else "tcp", "metadata": listener},
        "forwarder": {"nodes": [{"addr": addr}]},
    }
    node = {"addr": addr, "connector": {"type": "router", "metadata": handler}, "dialer": {"type": "tcp"}}
    chain = {"name": "c", "hops": [{"name": "h", "nodes": [node]}]}
    routes = [{"dst": addr, "gateway": addr}]
    text = json.dumps(
        {"services": [service], "chains": [chain], "routers": [{"name": addr, "routes": routes}]}
    )
    try:
        config_resolve.resolve(config_read.read([("f", text)]))
    except ConfigError as error:
        assert error.problems


# --- sources, plugins, logins --------------------------------------------------------------------


def hub_of(*texts: str) -> HubSettings:
    (hub,) = config_resolve.resolve(config_read.read([("f", "".join(texts))])).hubs
    return hub


def test_sources_in_the_order_they_are_merged() -> None:
    table = """routers:
- name: r
  reload: 30s
  http: {url: 'http://h/routes', timeout: 3s}
  redis: {addr: 'h:1', db: 2, username: u, password: p, key: k, type: set}
  file: {path: /etc/routes}
"""
    more = hub_of(HUB % "{router: r}", table).default_table
    assert more is not None
    redis = RedisSource("h:1", 2, "u", "p", "k", "set")
    sources = (FileSource("/etc/routes"), redis, HttpSource("http://h/routes", 3.0))
    assert more.more == SourceSettings(sources, 30.0)


def test_what_a_redis_source_leaves_out() -> None:
    table = hub_of(HUB % "{router: r}", "routers: [{name: r, redis: {addr: h}}]").default_table
    assert table is not None
    assert table.more.sources == (RedisSource("h:6379", 0, "", "", "gost", "hash"),)


@pytest.mark.parametrize(
    ("plugin", "url", "verify"),
    [
        ("{addr: '127.0.0.1:9000'}", "grpc://127.0.0.1:9000", True),
        ("{type: grpc, addr: '[::1]:9000'}", "grpc://[::1]:9000", True),
        ("{addr: 'h:1', tls: {}}", "grpcs://h:1", False),
        ("{addr: 'h:1', tls: {secure: true}}", "grpcs://h:1", True),
        ("{type: HTTP, addr: 'h:1/x'}", "http://h:1/x", True),
    ],
)
def test_plugins(plugin: str, url: str, verify: bool) -> None:
    for name in ("r", NS1):
        settings = hub_of(HUB % f"{{router: {name}}}", f"routers: [{{name: {name}, plugin: {plugin}}}]")
        assert settings.default_table is not None
        asked = settings.default_table.plugin
        assert asked is not None
        assert (asked.url, asked.verify) == (url, verify)


def test_rows_of_our_own() -> None:
    table = """routers:
- name: r
  compat: first-match
  holdDown: 1500ms
  routes:
  - {dst: 10.0.0.0/8, gateway: a, metric: 0}
  - {dst: 10.0.0.0/8, gateway: b, fallThrough: true}
"""
    settings = hub_of(HUB % "{router: r}", table).default_table
    assert settings is not None
    assert (settings.first_match, settings.hold_down) == (True, 1.5)
    assert [row.hop for row in settings.routes] == [Hop("a", 0), Hop("b", None, True)]


AUTHERS = """authers:
- {name: one, auths: [{username: u, password: p}]}
- {name: two, redis: {addr: h}}
"""


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        ("auther: one", ["one"]),
        ("authers: [two, one]", ["two", "one"]),
        ("auther: one, authers: [one, two]", ["one", "two"]),
        ("auther: one, auth: {username: x, password: y}", ["one"]),
        ("auth: {username: x, password: y}", ["auth of service s"]),
        ("type: router", []),
    ],
)
def test_who_may_log_in(handler: str, names: list[str]) -> None:
    service = "services: [{name: s, addr: ':1', handler: {%s}, listener: {type: tcp}}]\n"
    handler = handler if "type" in handler else f"type: router, {handler}"
    settings = hub_of(service % handler, AUTHERS)
    assert [auther.name for auther in settings.authers] == names
    for auther in settings.authers:
        expected = {"one": (LoginRow("u", "p"),), "two": ()}.get(auther.name, (LoginRow("x", "y"),))
        assert auther.logins == expected
        assert "'p'" not in repr(auther)


def test_an_ingress_holds_no_list_in_redis() -> None:
    text = "ingresses: [{name: i, redis: {addr: h, type: list}}]"
    assert any(
        "redis type 'list' cannot hold this" in problem
        for problem in problems(HUB % "{router: r}", TABLE, text)
    )


def test_a_redis_over_tls_by_sentinels() -> None:
    sentinel = "{addrs: [s1, '[::1]:7'], master: m, username: u, password: p}"
    found = hub_of(
        HUB % "{router: r}",
        f"routers: [{{name: r, redis: {{tls: {{secure: true, caFile: ca.pem}}, sentinel: {sentinel}}}}}]",
    ).default_table
    assert found is not None
    (source,) = found.more.sources
    assert isinstance(source, RedisSource)
    assert source.sentinel == Sentinel(("s1:26379", "[::1]:7"), "m", "u", "p")
    assert (source.addr, source.name) == ("", "rediss://m@s1:26379,[::1]:7/0/gost")
    assert source.tls is not None
    assert (source.tls.verify, source.tls.ca_file) == (True, "ca.pem")
    assert "password" not in repr(source.sentinel)


@pytest.mark.parametrize(
    ("redis", "message"),
    [
        ("{addr: h, sentinel: {addrs: a, master: m}}", "'addr' and 'sentinel'.*leave addr out"),
        ("{sentinel: {addrs: a}}", "without addrs or master.*write sentinel"),
        ("{sentinel: {master: m}}", "without addrs or master"),
        ("{sentinel: {addrs: 'a b', master: m}}", "'addrs': "),
        (f"{{sentinel: {{addrs: '{','.join(17 * 'a')}', master: m}}}}", "17 Sentinels, 16 at most"),
        ("{addr: h, sentinels: {addrs: a}}", "unknown key 'sentinels'.*sentinel"),
        ("{addr: 'rediss://h'}", "'addr': .*tls: {secure: true}"),
    ],
)
def test_what_is_wrong_with_a_redis(redis: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        hub_of(HUB % "{router: r}", f"routers: [{{name: r, redis: {redis}}}]")
    told = "\n".join(map(str, raised.value.problems))
    assert re.search(message, told), told


def with_hubs(active: str, hubs: str) -> Settings:
    """A client with a node for each hub of a comma list, and `active`."""
    nodes = ", ".join(f"{{name: n{n}, addr: '{hub}'}}" for n, hub in enumerate(hubs.split(",")))
    services = f"""services: [{{name: s, handler: {{type: tun, chain: c, metadata: {{active: {active}}}}},
      listener: {{type: tun}}, forwarder: {{nodes: [{{addr: h}}]}}}}]"""
    chains = f"chains: [{{name: c, hops: [{{name: h, nodes: [{nodes}]}}]}}]"
    text = f"{services}\n{chains}\n"
    return resolve(text.replace("'}", "', connector: {type: router}, dialer: {type: tcp}}"))


ONE_HUB = "'active': 2, and there is one hub alone"


@pytest.mark.parametrize(
    ("value", "hubs", "said"),
    [
        ("1", "a:1", []),
        ("2", "a:1,b:1", []),
        ("2", "a:1", [ONE_HUB]),
        ("2", "a:1,a:1", [ONE_HUB]),
    ],
)
def test_sessions_with_several_hubs_at_once(value: str, hubs: str, said: list[str]) -> None:
    found = with_hubs(value, hubs)
    assert [one.active for one in found.clients] == [int(value)]
    told = [str(one) for one in found.warnings if "active" in str(one)]
    assert [ONE_HUB for one in told if ONE_HUB in one] == said
    assert len(told) == len(said)


@pytest.mark.parametrize(
    ("value", "said"),
    [("3", "'active': 3 is not 1 or 2"), ("0", "'active': 0 is not 1 or 2"), ("both", "both")],
)
def test_no_other_number_of_sessions(value: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_hubs(value, "a:1,b:1")
    assert said in str(error.value)
