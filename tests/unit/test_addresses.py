"""Addresses as people write them: host and port, together and apart."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.addresses import (
    dns_name,
    host_of,
    host_port,
    is_address,
    join_host_port,
    url_host,
    widened,
    without_zone,
)
from lib.stream_tcp import format_peer
from tests.support.lib_trees import lib_trees

CASES = [
    ("hub.test", 8443, "hub.test:8443"),
    ("192.0.2.1", 0, "192.0.2.1:0"),
    ("2001:db8::1", 65535, "[2001:db8::1]:65535"),
    ("::", 8443, "[::]:8443"),
    ("", 8443, ":8443"),
    ("fe80::1%eth0", 8443, "[fe80::1%eth0]:8443"),
    ("fe80::1%2", 8443, "[fe80::1%2]:8443"),
]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.168.100.1/24", "192.168.100.0/24"),
        ("fd00::1/64", "fd00::/64"),
        ("10.0.0.1/0", "0.0.0.0/0"),
        ("192.168.100.0/24", ""),
        ("192.168.100.1/32", ""),
        ("192.168.100.1", ""),
        ("FD00:0::/64", ""),
    ],
)
def test_a_prefix_that_stands_for_more_than_was_written(text: str, network: str) -> None:
    assert widened(text) == network


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
        ("[fe80::1%eth0]", "has no port$"),
        ("8443", "'8443' has no port; did you mean ':8443'\\?"),
        ("123456", "has no port$"),
        ("http://192.0.2.1:1", "is a URL"),
        ("tcp://:8443", "is a URL"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
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
    "enrol_address": "a host in brackets, or one without colons, gets the hub's port",
    "errors": "file:line:column",
    "push_shared_redis": "a key of Redis",
    "service_supervisor": "file:line",
}
"""Modules that put a colon between two values which are no host and port."""


def test_a_host_and_a_port_are_put_together_in_one_place() -> None:
    """f"{host}:{port}" has no brackets around an IPv6 address; join_host_port has."""
    found = set()
    for path, tree in lib_trees("}:", ":{", '":"', "%s:%d"):
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                kinds = [part.value if isinstance(part, ast.Constant) else 0 for part in node.values]
                if any(kinds[at : at + 3] == [0, ":", 0] for at in range(len(kinds))):
                    found.add(path.stem)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "%s:%d" not in node.value, path.stem
    assert found <= NO_ADDRESSES.keys()


NAMES = [
    ("hub.example", "hub.example"),
    ("hub.example.", "hub.example."),
    ("höst.example", "xn--hst-sna.example"),
    ("日本", "xn--wgv71a"),
    ("a\u3002b", "a.b"),
    ("x_y", "x_y"),
    ("*.corp", "*.corp"),
    ("a." * 126 + "a", "a." * 126 + "a"),
    ("a." * 126 + "a.", "a." * 126 + "a."),
    ("a" * 63, "a" * 63),
    ("192.0.2.1", "192.0.2.1"),
    ("2001:db8::1", "2001:db8::1"),
    ("fe80::1%eth0", "fe80::1%eth0"),
]


@pytest.mark.parametrize(("host", "name"), NAMES)
def test_a_name_as_dns_carries_it(host: str, name: str) -> None:
    assert dns_name(host) == name


WRONG_NAMES = {
    "": "not a host name",
    ".": "nothing before or between",
    "hub..example": "'hub..example' has nothing before or between its dots",
    ".hub": "nothing before or between",
    "hub...": "nothing before or between",
    "a" * 64: "longer than 63 bytes",
    "ü" * 60: "longer than 63 bytes",
    "\xad": "empty or longer than 63 bytes",
    "a." * 127 + "a": "longer than 253 bytes",
    "ü." * 100 + "a": "longer than 253 bytes",
    "a" * 100_000: "longer than 253 bytes",
    "\ufdd0": "no IDNA name",
    "a b": "not a host name",
    "a\nb": "not a host name",
    "a\udc80": "not a host name",
    "[::1]": "not a host name",
}


@pytest.mark.parametrize("host", WRONG_NAMES)
def test_a_name_that_cannot_be_looked_up(host: str) -> None:
    with pytest.raises(ValueError, match=WRONG_NAMES[host]):
        dns_name(host)


@given(st.text(max_size=300))
def test_what_is_a_name_can_be_encoded_by_everybody(host: str) -> None:
    """Python's look-up and its TLS do this, in the middle of dialling."""
    try:
        name = dns_name(host)
    except ValueError:
        return
    if not is_address(without_zone(host)):
        assert host.encode("idna").decode() == name
        assert name.isascii()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://hub.example/x?y", "hub.example"),
        ("https://u:p@HÖST:8443", "xn--hst-sna"),
        ("http://[2001:db8::1]:80/", "2001:db8::1"),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert url_host(url) == host


@pytest.mark.parametrize(
    "url", ["http://a..b/", "http://:80/", "http://a:0/", "http://a:99999/", "http://[x]/", "x"]
)
def test_a_url_whose_host_cannot_be_reached(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|[Pp]ort|address"):
        url_host(url)
