"""Where a host dials a hub, and by what it knows it: a pin, or the name where a proxy shows its own certificate."""

from __future__ import annotations

from typing import Any

import pytest

from lib.enrol_address import HubAddress, hub_address
from lib.prefixes import PrefixSet
from lib.settings import HubSettings
from lib.settings_transport import TransportSettings

PROXIES = PrefixSet([(bytes([127, 0, 0, 0]), 8)])


def hub(kind: str = "tls", host: str = "", **more: Any) -> HubSettings:
    return HubSettings("s", host, 8443, transport=TransportSettings(kind), **more)


@pytest.mark.parametrize(
    ("text", "service", "expected"),
    [
        ("hub.example:8444", hub(), HubAddress("tls", "hub.example", 8444, "", False)),
        ("hub.example", hub(), HubAddress("tls", "hub.example", 8443, "", False)),
        ("[2001:db8::1]", hub(), HubAddress("tls", "2001:db8::1", 8443, "", False)),
        ("", hub(), HubAddress("tls", "192.0.2.7", 8443, "", False)),
        ("", hub(host="10.0.0.1"), HubAddress("tls", "10.0.0.1", 8443, "", False)),
        ("", hub(host="2001:db8::1"), HubAddress("tls", "2001:db8::1", 8443, "", False)),
        ("hub.example", hub("wss"), HubAddress("wss", "hub.example", 8443, "/ws", False)),
        ("hub.example/way", hub("wss"), HubAddress("wss", "hub.example", 8443, "/way", False)),
        ("wss://hub.example", hub("ws"), HubAddress("wss", "hub.example", 443, "/ws", True)),
        ("wss://hub.example:444/way", hub("tcp"), HubAddress("wss", "hub.example", 444, "/way", True)),
        ("TLS://hub.example", hub("tcp"), HubAddress("tls", "hub.example", 443, "", True)),
        ("tls://hub.example", hub(), HubAddress("tls", "hub.example", 443, "", True)),
        ("hub.example", hub("ws", trusted_proxies=PROXIES), HubAddress("wss", "hub.example", 8443, "/ws", True)),
        ("hub.example", hub("wss", trusted_proxies=PROXIES), HubAddress("wss", "hub.example", 8443, "/ws", True)),
    ],
)  # fmt: skip
def test_what_an_address_means(text: str, service: HubSettings, expected: HubAddress) -> None:
    assert hub_address(text, service, "192.0.2.7") == expected


@pytest.mark.parametrize(
    ("text", "service", "words"),
    [
        ("hub.example", hub("tcp"), "service s has no TLS, so a host could not tell it from another one"),
        ("hub.example", hub("ws"), "name the proxy with TLS before it: --address wss://NAME"),
        ("ws://hub.example", hub(), "'ws' is neither tls nor wss"),
        ("hub.example/way", hub(), "'/way' is no path here"),
        ("wss://hub.example/a b", hub("ws"), "is no path here"),
        ("hub.example:x", hub(), "not a port number"),
        ("hub..example", hub(), "not a host name"),
        ("hub.example:0", hub(), "names no host, or no port"),
        ("", hub(), "by which address do hosts reach this hub? say it: --address NAME:PORT"),
        ("fe80::1", hub(), "an IPv6 address goes in brackets"),
    ],
)
def test_what_is_no_address(text: str, service: HubSettings, words: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as raised:
        hub_address(text, service, "")
    assert words in str(raised.value)
