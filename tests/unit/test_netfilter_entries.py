"""Entries of connection tracking: read from the kernel's bytes, and which of them a changed map concerns."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import netlink_messages
from lib.netfilter_entries import Entry, concerns, deleted, listed, read
from lib.netlink_messages import attribute, attributes
from lib.settings_map import PrefixMap
from tests.support.routes import packed

MAPS = (
    PrefixMap((packed("10.71.0.0"), 24), (packed("192.168.1.0"), 24)),
    PrefixMap((packed("fd71::"), 64), (packed("fd00:1::"), 64)),
)
TUNNEL = [(packed("10.72.0.0"), 24), (packed("10.20.0.0"), 24), (packed("fd72::"), 64)]
NUMBER = 0x12345678


def one(source: str, destination: str) -> bytes:
    """A tuple of addresses and UDP ports, as in linux/netfilter/nfnetlink_conntrack.h."""
    first = 1 if "." in source else 3
    ends = attribute(first, packed(source)) + attribute(first + 1, packed(destination))
    ports = attribute(1, b"\x11") + attribute(2, b"\x0f\xa0") + attribute(3, b"\x13\x88")
    return attribute(1 | 0x8000, ends) + attribute(2 | 0x8000, ports)


def body(original: tuple[str, str], reply: tuple[str, str], zone: bytes = b"") -> bytes:
    """The body of a message about an entry."""
    parts = attribute(1 | 0x8000, one(*original)) + attribute(2 | 0x8000, one(*reply))
    parts += attribute(3, struct.pack("!I", 0x198)) + attribute(12, struct.pack("!I", NUMBER))
    return b"\x02\0\0\0" + parts + (attribute(18, zone) if zone else b"")


def test_an_entry_is_read_and_named_for_its_deletion() -> None:
    original, reply = ("192.168.1.5", "10.72.0.5"), ("10.72.0.5", "10.71.0.5")
    entry = read(body(original, reply, b"\0\7"))
    assert entry is not None
    assert entry[:3] == (packed("192.168.1.5"), packed("10.72.0.5"), packed("10.71.0.5"))
    (request,) = netlink_messages.messages(deleted(entry))
    assert (request.type, request.body[:4]) == (1 << 8 | 2, b"\x02\0\0\0")
    found = attributes(request.body, 4)
    assert found == {1: one(*original), 12: struct.pack("!I", NUMBER), 18: b"\0\7"}, "not a later one like it"
    six = read(body(("fd00:1::5", "fd72::5"), ("fd72::5", "fd71::5")))
    assert six is not None
    assert deleted(six)[16] == 10


@pytest.mark.parametrize(("version", "family"), [(4, 2), (6, 10)])
def test_all_of_a_version_are_asked_for(version: int, family: int) -> None:
    (request,) = netlink_messages.messages(listed(version))
    assert (request.type, request.flags, request.body) == (1 << 8 | 1, 0x301, bytes([family, 0, 0, 0]))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_none(data: bytes) -> None:
    entry = read(data)
    assert entry is None or isinstance(entry, Entry)


@pytest.mark.parametrize(
    ("source", "destination", "reply_to", "expected"),
    [
        pytest.param("10.72.0.9", "10.71.0.5", "10.72.0.9", True, id="from the tunnel"),
        pytest.param("192.168.1.5", "10.72.0.5", "10.71.0.5", True, id="into it, translated"),
        pytest.param("192.168.1.5", "10.72.0.5", "192.168.1.5", True, id="into it, from before the map"),
        pytest.param("192.168.1.5", "8.8.8.8", "192.0.2.7", False, id="masqueraded beside the tunnel"),
        pytest.param("192.168.1.5", "192.168.1.1", "192.168.1.5", False, id="within the site"),
        pytest.param("192.168.1.5", "10.72.0.5", "10.20.0.1", False, id="masqueraded by somebody else"),
        pytest.param("10.72.0.9", "192.168.2.5", "10.72.0.9", False, id="another network here"),
        pytest.param("fd72::9", "fd71::5", "fd72::9", True, id="IPv6"),
        pytest.param("fd00:1::5", "fd00:2::5", "fd00:1::5", False, id="IPv6 beside the tunnel"),
    ],
)
def test_which_entries_a_map_concerns(source: str, destination: str, reply_to: str, expected: bool) -> None:
    entry = Entry(packed(source), packed(destination), packed(reply_to), b"")
    assert concerns(entry, MAPS, TUNNEL) is expected
    assert not concerns(entry, (), TUNNEL)
