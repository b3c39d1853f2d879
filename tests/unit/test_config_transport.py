"""What listeners and dialers mean: types, TLS sections, WebSocket metadata, proxies."""

from __future__ import annotations

import pytest

from lib import config_from_urls, config_read, config_resolve
from lib.errors import ConfigError
from lib.settings import ProxySettings, Settings
from lib.settings_transport import TlsSettings

PIN = "ab" * 32
HUB = "services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r}}, listener: {%s}}]\n"
TABLE = "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
CLIENT = (
    "services: [{name: s, handler: {type: tun}, listener: {type: tun}, forwarder: {nodes: [{addr: h}]}}]\n"
)
CHAIN = "chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: 'hub:8443', connector: {type: router}, dialer: {%s}}]}]}]\n"


def resolve(*texts: str) -> Settings:
    return config_resolve.resolve(config_read.read([("f", "".join(texts))]))


def hub(listener: str, *more: str) -> Settings:
    return resolve(HUB % listener, TABLE, *more)


def dialled(dialer: str) -> Settings:
    return resolve(CLIENT, CHAIN % dialer)


def problems(*texts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(*texts)
    return str(caught.value)


def line(*forwards: str) -> Settings:
    return config_resolve.resolve(config_from_urls.read(["tun:///host-1?net=10.0.0.1/24"], list(forwards)))


@pytest.mark.parametrize("kind", ["tcp", "tls", "ws", "wss"])
def test_types(kind: str) -> None:
    assert hub(f"type: {kind}").hubs[0].transport.kind == kind
    assert dialled(f"type: {kind}").clients[0].nodes[0].transport.kind == kind


def test_a_hub_with_all_of_tls() -> None:
    text = (
        "type: tls, tls: {certFile: c, keyFile: k, caFile: a, validity: 24h, commonName: n, organization: o,"
        " rejectUnknownSNI: true, serverNames: [x, y], options: {minVersion: VersionTLS12,"
        " maxVersion: VersionTLS13, alpn: [http/1.1], cipherSuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}"
    )
    assert hub(text).hubs[0].transport.tls == TlsSettings(
        cert_file="c", key_file="k", ca_file="a", min_version="1.2", max_version="1.3",
        ciphers=("ECDHE-RSA-AES128-GCM-SHA256",), alpn=("http/1.1",), common_name="n", organization="o",
        validity=86400.0, server_names=("x", "y"), reject_unknown_sni=True,
    )  # fmt: skip


def test_the_file_s_own_certificate_is_the_default() -> None:
    own = "tls: {certFile: top.pem, keyFile: top.key}\n"
    assert hub("type: tls", own).hubs[0].transport.tls.cert_file == "top.pem"
    assert hub("type: wss, tls: {certFile: c, keyFile: k}", own).hubs[0].transport.tls.cert_file == "c"


def test_a_client_s_tls() -> None:
    (client,) = line(f"router+tls://u:p@h:1?secure=true&serverName=n&ca=a.pem&pin=sha256:{PIN}").clients
    (node,) = client.nodes
    assert (node.transport.tls.verify, node.transport.tls.server_name) == (True, "n")
    assert (node.transport.tls.ca_file, node.transport.tls.pin.hex()) == ("a.pem", PIN)


def test_what_is_told_of_trust_and_of_logins() -> None:
    unchecked = "-F 1: the hub's certificate is not checked"
    assert [str(w).partition(":")[0] for w in line("router+tls://h:1").warnings] == ["-F 1"]
    assert str(line("router+tls://h:1").warnings[0]).startswith(unchecked)
    for query in ("secure=true", "ca=x", f"pin=sha256:{PIN}"):
        assert line(f"router+wss://u:p@h:1?{query}").warnings == ()
    assert "in the clear: the dialer is ws" in str(line("router+ws://u:p@h:1").warnings[0])
    hub = (
        "services: [{name: s, addr: '%s:1', handler: {type: router, auth: {username: u, password: p},"
        " metadata: {router: r}}, listener: {type: ws}}]\n"
    )
    told = resolve(hub % "", TABLE)
    assert "logins come over the network in the clear" in str(told.warnings[0])
    for behind_a_proxy in ("127.0.0.1", "[::1]", "localhost"):
        assert resolve(hub % behind_a_proxy, TABLE).warnings == ()


def test_websockets() -> None:
    transport = dialled(
        "type: ws, metadata: {path: tunnel, host: front.test, keepalive: true, ttl: 5s, header: {X-A: b c}}"
    ).clients[0].nodes[0].transport  # fmt: skip
    assert (transport.path, transport.host, transport.keepalive) == ("/tunnel", "front.test", 5.0)
    assert transport.headers == (("X-A", "b c"),)
    assert dialled("type: ws").clients[0].nodes[0].transport.path == "/ws"
    assert hub("type: wss, metadata: {ws.path: /x}").hubs[0].transport.path == "/x"


def test_tcp_options() -> None:
    transport = hub("type: tls, metadata: {keepalive.idle: 30s, keepalive.count: 3, reuseport: true}")
    assert transport.hubs[0].transport.tcp_keepalive == (30, 15, 3)
    assert transport.hubs[0].transport.reuse_port


@pytest.mark.parametrize(
    ("query", "congestion"),
    [("", "auto"), ("congestion=auto", "auto"), ("congestion=system", "system"), ("congestion=BBR", "bbr")],
)
def test_congestion_control(query: str, congestion: str) -> None:
    """In a URL it goes to every layer. Behind a proxy it is that of the connection to the proxy."""
    (client,) = line("socks5://a:1", f"router+wss://h:4?{query}").clients
    assert client.nodes[0].transport.congestion == congestion
    url = f"router+tls://:8443?{query}"
    assert config_resolve.resolve(config_from_urls.read([url], [])).hubs[0].transport.congestion == congestion
    metadata = f"metadata: {{{query.replace('=', ': ')}}}"
    assert hub(f"type: ws, {metadata}").hubs[0].transport.congestion == congestion
    assert dialled(f"type: tls, {metadata}").clients[0].nodes[0].transport.congestion == congestion


@pytest.mark.parametrize(("query", "mptcp"), [("", False), ("mptcp=true", True), ("mptcp=off", False)])
def test_mptcp(query: str, mptcp: bool) -> None:
    """A listener's is GOST's key. Behind a proxy it is for the connection to the proxy."""
    (client,) = line("http://a:1", f"router+tls://h:4?{query}").clients
    assert client.nodes[0].transport.mptcp == mptcp
    url = f"router+ws://:8443?{query}"
    assert config_resolve.resolve(config_from_urls.read([url], [])).hubs[0].transport.mptcp == mptcp


def test_mptcp_of_a_client_s_own_listener_is_warned_of() -> None:
    text = CLIENT.replace("listener: {type: tun}", "listener: {type: tun, metadata: {mptcp: true}}")
    found = resolve(text, CHAIN % "type: tcp")
    assert "'mptcp' is for TCP, and read in the metadata of the hub's dialer" in "".join(
        map(str, found.warnings)
    )


def test_ways_through_proxies() -> None:
    (client,) = line("socks5://u:p@a:1,b:2", "http://c:3", "router+wss://h:4,i:5?secure=true").clients
    last = ProxySettings("http", "c", 3)
    first = (ProxySettings("socks5", "a", 1, "u", "p"), ProxySettings("socks5", "b", 2, "u", "p"))
    assert [(node.host, node.proxies) for node in client.nodes] == [
        (host, (proxy, last)) for host in ("h", "i") for proxy in first
    ]
    assert "u" in repr(first[0])
    assert "p='" not in repr(first[0]).replace("http='", "")


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        ("type: tls, tls: {keyFile: k}", "a key without its certificate"),
        ("type: tls, tls: {options: {minVersion: VersionTLS11}}", "TLS before 1.2 is not spoken here"),
        ("type: tls, tls: {options: {minVersion: TLS13}}", "unknown TLS version 'TLS13'; VersionTLS12 or"),
        ("type: tls, tls: {options: {minVersion: VersionTLS13, maxVersion: VersionTLS12}}", "'maxVersion' is below"),
        ("type: tls, tls: {options: {cipherSuites: [TLS_RSA_WITH_RC4_128_SHA]}}", "no cipher that can be chosen"),
        ("type: tls, tls: {validity: -1h}", "'validity': a duration below zero"),
        ("type: ws, metadata: {path: 'a b'}", "is no path of a URL"),
        ("type: ws, metadata: {header: x}", "'header' wants names and values"),
        ("type: ws, metadata: {header: {'a b': x}}", "no HTTP header: 'a b'"),
        ("type: ws, metadata: {header: {a: [x]}}", "header 'a' wants one text"),
        ("type: tcp, metadata: {keepalive.count: 200}", "at most 127 probes"),
        ("type: tcp, metadata: {congestion: bbr cubic}", "'congestion': 'bbr cubic' is no congestion control"),
        ("type: tls, metadata: {congestion: [bbr]}", "'congestion' wants one value"),
        ("type: mtls", "mtls is GOST's tls with multiplexing inside"),
    ],
)  # fmt: skip
def test_a_listener_that_is_wrong(listener: str, expected: str) -> None:
    assert expected in problems(HUB % listener, TABLE)


@pytest.mark.parametrize(
    ("forwards", "expected"),
    [
        ((f"router+tls://h:1?pin={PIN}",), "'pin': not sha256: and 64 hex digits"),
        (("router+tls://h:1?pin=sha256:abc",), "'pin': not sha256: and 64 hex digits"),
        (("ss://p:1", "router://h:1"), "a node of type 'ss' before the hub's; there can be socks5"),
        (("router://p:1", "router://h:1"), "a node of type 'router' before the hub's"),
        (("socks5+tls://p:1", "router://h:1"), "a proxy is reached over tcp, not 'tls'"),
        (("socks5://p", "router://h:1"), "'addr'"),
        (
            ("router://hub..example:8443",),
            "-F 1: 'addr': not a host name: 'hub..example' has nothing before or",
        ),
        (("router+tls://.hub:1",), "-F 1: 'addr': not a host name: '.hub' has nothing before"),
        ((f"router://{'a' * 64}.b:1",), "has a label that is empty or longer than 63 bytes: 'aaa"),
        ((f"router://{'a.' * 127}a:1",), "is longer than 253 bytes"),
        (("router://a\ufdd0b:1",), "is no IDNA name"),
        (("socks5://p..q:1", "router://h:1"), "-F 1: 'addr': not a host name: 'p..q'"),
        (("http://p..q:1", "router://h:1"), "-F 1: 'addr': not a host name: 'p..q'"),
        (("router+tls://h:1?serverName=a..b",), "-F 1: 'serverName': not a host name: 'a..b'"),
        (("router+wss://h:1?host=a..b",), "-F 1: 'host': not a host name: 'a..b'"),
        (("router+ws://h:1?ws.host=a%0ab",), "-F 1: 'host': not a host name: 'a\\nb'"),
        (("router+ws://h:1?host=a:x",), "-F 1: 'host': not a port number: 'x'"),
        (("socks5://%C3%B6:x@p:1", "router://h:1"), "a login that socks5 cannot carry"),
        (("http://%E6%97%A5:x@p:1", "router://h:1"), "a login that http cannot carry"),
        (("http://a%3Ab:x@p:1", "router://h:1"), "a user name for an http proxy with a colon"),
    ],
)
def test_a_way_that_is_wrong(forwards: tuple[str, ...], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        line(*forwards)
    assert expected in str(caught.value)


def test_a_name_that_is_no_ascii_goes_out_as_dns_has_it() -> None:
    """And a Host header of GOST's files is the client's Host: two of them are none that HTTP allows."""
    (client,) = line("router+wss://h:1?host=h%C3%B6st.example:444").clients
    assert client.nodes[0].transport.host == "xn--hst-sna.example:444"
    settings = dialled("type: ws, metadata: {header: {hOST: front.example, X: y}}")
    transport = settings.clients[0].nodes[0].transport
    assert (transport.host, transport.headers) == ("front.example", (("X", "y"),))
    wrong = problems(CLIENT, CHAIN % "type: ws, metadata: {header: {Host: a..b}}")
    assert "header 'Host': not a host name: 'a..b'" in wrong
    assert wrong.startswith("f:2:"), "with its place"


@pytest.mark.parametrize(
    ("metadata", "pings", "tcp"),
    [
        ("keepalive: true", 15.0, None),
        ("keepalive: true, ttl: 7s", 7.0, None),
        ("ws.keepalive: true, keepalive.interval: 30s", 30.0, (15, 30, 9)),
        ("tcp.keepalive.idle: 20s, tcp.keepalive.interval: 5s, tcp.keepalive.count: 3", 0.0, (20, 5, 3)),
        ("keepalive: true, ttl: 7s, keepalive.idle: 20s", 7.0, (20, 15, 9)),
    ],
)
def test_pings_and_tcp_s_own_keepalive_of_a_ws_dialer(
    metadata: str, pings: float, tcp: tuple[int, int, int] | None
) -> None:
    settings = dialled(f"type: ws, metadata: {{{metadata}}}")
    transport = settings.clients[0].nodes[0].transport
    assert (transport.keepalive, transport.tcp_keepalive) == (pings, tcp)
