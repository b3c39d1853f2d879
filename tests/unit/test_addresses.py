"""Addresses as people write them: host and port, together and apart."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lib.addresses import host_of, host_port, join_host_port, without_zone
from lib.stream_tcp import format_peer

CASES = [
    ("hub.test", 8443, "hub.test:8443"),
    ("192.0.2.1", 0, "192.0.2.1:0"),
    ("2001:db8::1", 65535, "[2001:db8::1]:65535"),
    ("::", 8443, "[::]:8443"),
    ("", 8443, ":8443"),
    ("fe80::1%eth0", 8443, "[fe80::1%eth0]:8443"),
    ("fe80::1%2", 8443, "[fe80::1%2]:8443"),
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
        (("fe80::1", 41234, 0, 1), "[fe80::1%lo]:41234", "fe80::1%lo"),
        (("fe80::1", 41234, 0, 1 << 30), f"[fe80::1%{1 << 30}]:41234", f"fe80::1%{1 << 30}"),
    ],
)
def test_a_peer(address: tuple[object, ...], peer: str, host: str) -> None:
    assert format_peer(address) == peer
    assert host_of(peer) == host


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[fe80::1]:1", "may be behind any network device: write \\[fe80::1%eth0\\]"),
        ("[2001:db8::1%eth0]:1", "only a link-local address"),
        ("[192.0.2.1%eth0]:1", "only a link-local address"),
        ("[fe80::1%]:1", "not the name of a network device: ''"),
        ("[fe80::1%a b]:1", "not the name of a network device"),
        ("[fe80::1%a%b]:1", "not the name of a network device"),
        ("[fe80::1%sixteen-letters.]:1", "not the name of a network device"),
        ("fe80::1%eth0:1", "an IPv6 address goes in brackets"),
        ("[fe80::1%eth0]", "has no port"),
    ],
)
def test_what_is_no_address_of_a_device(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        host_port(text)


@pytest.mark.parametrize(
    ("host", "seen"),
    [("fe80::1%eth0", "fe80::1"), ("2001:db8::1", "2001:db8::1"), ("hub.test", "hub.test"), ("a%b", "a%b")],
)
def test_what_other_machines_see_of_a_host(host: str, seen: str) -> None:
    """In the name that TLS asks for, and in HTTP's Host."""
    assert without_zone(host) == seen


NO_ADDRESSES = {
    "addresses": "join_host_port itself",
    "cli_completion": "zsh's name:description",
    "config_references": "${kind:name}",
    "config_sources": "a host in brackets, or one without colons, gets Redis's port",
    "errors": "file:line:column",
    "service_supervisor": "file:line",
}
"""Modules that put a colon between two values which are no host and port."""


def test_a_host_and_a_port_are_put_together_in_one_place() -> None:
    """f"{host}:{port}" has no brackets around an IPv6 address; join_host_port has."""
    found = set()
    for path in sorted((Path(__file__).parents[2] / "lib").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                kinds = [part.value if isinstance(part, ast.Constant) else 0 for part in node.values]
                if any(kinds[at : at + 3] == [0, ":", 0] for at in range(len(kinds))):
                    found.add(path.stem)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "%s:%d" not in node.value, path.stem
    assert found <= NO_ADDRESSES.keys()
