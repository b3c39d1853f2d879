"""Addresses as people write them: host and port, together and apart."""

from __future__ import annotations

import pytest

from lib.addresses import host_of, host_port, join_host_port
from lib.stream_tcp import format_peer

CASES = [
    ("hub.test", 8443, "hub.test:8443"),
    ("192.0.2.1", 0, "192.0.2.1:0"),
    ("2001:db8::1", 65535, "[2001:db8::1]:65535"),
    ("::", 8443, "[::]:8443"),
    ("", 8443, ":8443"),
]


@pytest.mark.parametrize(("host", "port", "text"), CASES)
def test_together_and_apart(host: str, port: int, text: str) -> None:
    assert join_host_port(host, port) == text
    assert host_port(text) == (host, port)
    assert host_of(text) == host


@pytest.mark.parametrize(
    ("address", "peer", "host"),
    [
        (("192.0.2.1", 41234), "192.0.2.1:41234", "192.0.2.1"),
        (("::ffff:192.0.2.1", 41234, 0, 0), "192.0.2.1:41234", "192.0.2.1"),
        (("2001:db8::1", 41234, 0, 0), "[2001:db8::1]:41234", "2001:db8::1"),
        (("fe80::1%eth0", 41234, 0, 2), "[fe80::1%eth0]:41234", "fe80::1%eth0"),
    ],
)
def test_a_peer(address: tuple[object, ...], peer: str, host: str) -> None:
    assert format_peer(address) == peer
    assert host_of(peer) == host
