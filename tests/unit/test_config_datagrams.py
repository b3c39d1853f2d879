"""The keys of the datagram channel: what they mean with each transport, and where they cannot hold."""

from __future__ import annotations

import pytest

from lib import config_from_urls, config_read, config_resolve
from lib.errors import ConfigError
from lib.settings import ClientSettings, HubSettings
from lib.settings_transport import has_datagrams

HUB = (
    "services: [{name: s, addr: ':1', handler: {type: router, metadata: {router: r, %s}}, listener: {%s}}]\n"
    "routers: [{name: r, routes: [{dst: 10.0.0.0/8, gateway: g}]}]\n"
)
CLIENT = (
    "services: [{name: s, handler: {type: tun, metadata: {%s}}, listener: {type: tun},"
    " forwarder: {nodes: [{addr: h}]}}]\n"
    "chains: [{name: c, hops: [{name: h, nodes: [{name: n, addr: 'hub:8443', connector: {type: router},"
    " dialer: {%s}}]}]}]\n"
)
PROXY = "chains: [{name: c, hops: [{name: p, nodes: [{name: p, addr: 'p:1', connector: {type: socks5}, dialer: {type: tcp}}]}, {name: h"


def hub(keys: str, listener: str) -> HubSettings:
    return config_resolve.resolve(config_read.read([("f", HUB % (keys, listener))])).hubs[0]


def client(keys: str, dialer: str, proxy: bool = False) -> ClientSettings:
    text = CLIENT % (keys, dialer)
    text = text.replace("chains: [{name: c, hops: [{name: h", PROXY) if proxy else text
    return config_resolve.resolve(config_read.read([("f", text)])).clients[0]


@pytest.mark.parametrize(
    ("kind", "channel", "on"),
    [
        *(("tcp", "auto", False), ("ws", "auto", False), ("tls", "auto", True), ("wss", "auto", True)),
        *(("tcp", "datagram", True), ("ws", "Datagram", True), ("tls", "datagram", True)),
        *(("tls", "stream", False), ("wss", "STREAM", False), ("tcp", "stream", False)),
    ],
)
def test_where_there_is_a_channel(kind: str, channel: str, on: bool) -> None:
    settings = hub(f"channel: {channel}", f"type: {kind}")
    assert settings.channel == channel.lower()
    assert has_datagrams(settings.channel, settings.transport) is on
    far = client(f"channel: {channel}", f"type: {kind}")
    assert far.nodes[0].has_datagrams(far.channel) is on


def test_without_keys_it_is_auto() -> None:
    settings = hub("", "type: tls")
    assert (settings.channel, settings.datagram, settings.dscp) == ("auto", "", False)
    far = client("", "type: tls")
    assert (far.channel, far.dscp) == ("auto", False)


def test_past_a_proxy_only_where_somebody_asks_for_it() -> None:
    for channel, on in (("auto", False), ("datagram", True)):
        far = client(f"channel: {channel}", "type: tls", proxy=True)
        assert len(far.nodes[0].proxies) == 1
        assert far.nodes[0].has_datagrams(far.channel) is on


def test_with_reuseport_another_process_might_get_them() -> None:
    settings = hub("", "type: tls, metadata: {reuseport: true}")
    assert not has_datagrams(settings.channel, settings.transport)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        *(
            ("tunnel.example:8443", "tunnel.example:8443"),
            ("':4443'", ":4443"),
            ("'[2001:db8::1]:1'", "[2001:db8::1]:1"),
        ),
        ("192.0.2.1:65535", "192.0.2.1:65535"),
    ],
)
def test_where_clients_send_datagrams(text: str, where: str) -> None:
    assert hub(f"datagram: {text}", "type: tls").datagram == where


def test_urls_have_the_keys_too() -> None:
    url = "router+tls://:8443?channel=datagram&datagram=t.example:1&dscp=on"
    (settings,) = config_resolve.resolve(config_from_urls.read([url], [])).hubs
    assert (settings.channel, settings.datagram, settings.dscp) == ("datagram", "t.example:1", True)
    url = "tun:///host-1?net=10.0.0.1/24&channel=stream"
    (far,) = config_resolve.resolve(config_from_urls.read([url], ["router+tls://hub:1"])).clients
    assert far.channel == "stream"


@pytest.mark.parametrize(
    ("keys", "listener", "expected"),
    [
        ("channel: udp", "type: tls", "'channel': 'udp' is not auto, stream or datagram"),
        ("channel: [auto]", "type: tls", "'channel' wants one value"),
        ("datagram: tunnel.example", "type: tls", "'datagram': 'tunnel.example' has no port"),
        ("datagram: ':0'", "type: tls", "'datagram': port 0 is none that a client could send to"),
        ("datagram: ':1'", "type: tcp", "'datagram' has no effect: there are no datagrams over tcp"),
        ("dscp: on", "type: ws", "'dscp' has no effect: there are no datagrams over ws"),
        (
            "dscp: on, channel: stream",
            "type: tls",
            "'dscp' has no effect: there are no datagrams with channel: stream",
        ),
        ("dscp: maybe", "type: tls", "'dscp'"),
        ("dscp: on", "type: tls, metadata: {reuseport: on}", "there are no datagrams with 'reuseport'"),
        ("channel: datagram", "type: tls, metadata: {reuseport: on}", "'channel: datagram' with 'reuseport'"),
    ],
)
def test_a_hub_whose_keys_cannot_hold(keys: str, listener: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hub(keys, listener)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "dialer", "proxy", "expected"),
    [
        ("channel: quic", "type: tls", False, "'channel': 'quic' is not auto, stream or datagram"),
        ("dscp: on", "type: tcp", False, "there are no datagrams over tcp"),
        ("dscp: on", "type: tls", True, "there are no datagrams past a proxy, unless they are asked for"),
        ("datagram: 'h:1'", "type: tls", False, "unknown metadata key 'datagram'"),
    ],
)
def test_a_client_whose_keys_cannot_hold(keys: str, dialer: str, proxy: bool, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client(keys, dialer, proxy)
    assert expected in str(caught.value)


def test_keys_in_the_clear_are_warned_of() -> None:
    text = HUB % ("channel: datagram", "type: tcp")
    (warning,) = config_resolve.resolve(config_read.read([("f", text)])).warnings
    assert "'channel: datagram' over tcp: datagrams have keys that go in the clear" in str(warning)
    text = CLIENT % ("channel: datagram", "type: ws")
    (warning,) = config_resolve.resolve(config_read.read([("f", text)])).warnings
    assert "over ws: datagrams have keys that go in the clear" in str(warning)
