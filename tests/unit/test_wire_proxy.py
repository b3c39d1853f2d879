"""PROXY headers: both versions, byte by byte, whatever comes, and as we write them."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_pton

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.wire_proxy import MAX_HEADER, MAX_LINE, MAX_REST, SIGNATURE, Header, encode, parse

V4 = inet_pton(AF_INET, "192.0.2.1") + inet_pton(AF_INET, "198.51.100.9") + struct.pack(">HH", 56324, 8443)
V6 = inet_pton(AF_INET6, "2001:db8::1") + inet_pton(AF_INET6, "::2") + struct.pack(">HH", 1, 2)
TLVS = b"\x03\x00\x04\x00\x00\x00\x00\x20\x00\x01\xff"
UNIX = bytes(216)


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(rest)) + rest


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 8443\r\n", ("192.0.2.1", 56324), False),
    (b"PROXY TCP6 2001:DB8::1 ::2 0 65535\r\n", ("2001:db8::1", 0), False),
    (b"PROXY UNKNOWN\r\n", None, True),
    (b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n", None, True),
    (binary(0x21, 0x11, V4), ("192.0.2.1", 56324), False),
    (binary(0x21, 0x11, V4 + TLVS), ("192.0.2.1", 56324), False),
    (binary(0x21, 0x21, V6), ("2001:db8::1", 1), False),
    (binary(0x21, 0x12, bytes(12)), ("0.0.0.0", 0), False),  # what GOST's client sends
    (binary(0x20, 0x00, b""), None, True),
    (binary(0x20, 0x11, V4), None, True),
    (binary(0x21, 0x00, TLVS), None, False),
    (binary(0x21, 0x31, UNIX), None, False),
    (binary(0x21, 0x11, V4 + bytes(MAX_REST - 12)), ("192.0.2.1", 56324), False),
]


@pytest.mark.parametrize(("data", "source", "is_local"), GOOD, ids=[repr(row[0][:24]) for row in GOOD])
def test_a_header_byte_by_byte_and_with_what_follows(
    data: bytes, source: tuple[str, int] | None, is_local: bool
) -> None:
    for end in range(len(data)):
        assert parse(data[:end]) is None
    for more in (b"", b"\x16", b"\x16\x03\x01 and so on", data):
        assert parse(data + more) == Header(source, is_local, len(data))


BAD = [
    (b"\x16\x03\x01", "does not begin with one"),
    (b"GET / HTTP/1.1\r\n", "does not begin with one"),
    (b"proxy tcp4", "does not begin with one"),
    (b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "a line that does not parse"),
    (b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "a line that does not parse"),
    (b"PROXY \r\n", "a line that does not parse"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "a line that does not parse"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", "a line that does not parse"),
    (b"PROXY TCP4 ::1 5.6.7.8 1 2\r\n", "an address"),
    (b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "an address"),
    (b"PROXY TCP4 \xff 5.6.7.8 1 2\r\n", "an address"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", "an address"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", "an address"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 \xb2 2\r\n", "an address"),
    (b"PROXY UNKNOWN " + b"x" * MAX_LINE, "more than 107 bytes"),
    (binary(0x11, 0x11, V4), "version and command 0x11"),
    (binary(0x22, 0x11, V4), "version and command 0x22"),
    (binary(0x21, 0x11, V4[:11]), "cut off"),
    (binary(0x21, 0x21, V4), "cut off"),
    (binary(0x21, 0x41, V4), "an unknown family of addresses: 4"),
    (binary(0x21, 0x11, V4 + bytes(MAX_REST)), "more than 4096 bytes"),
]


@pytest.mark.parametrize(("data", "why"), BAD, ids=[repr(row[0][:40]) for row in BAD])
def test_what_is_none_is_known_soon(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why) as caught:
        list(map(parse, (data[:end] for end in range(len(data) + 1))))
    assert caught.value.refusal is Refusal.PROXY_HEADER


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", SIGNATURE, SIGNATURE + b"\x21\x11", b"PROXY ", b"PROXY TCP4 "]),
)
def test_any_bytes_are_a_header_or_none_or_need_more_up_to_a_bound(data: bytes, start: bytes) -> None:
    whole = start + data
    try:
        found = parse(whole)
    except ProtocolError:
        return
    if found is not None:
        assert found.size <= len(whole)
        assert parse(whole[: found.size]) == found
        assert parse(whole[: found.size - 1]) is None
        return
    try:
        more = parse(whole + bytes(MAX_HEADER))
    except ProtocolError:
        return
    assert more is not None, "nothing waits for ever"


@given(
    st.sampled_from([1, 2]),
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
        st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
    ),
    st.integers(0, 65535),
)
def test_what_we_write_is_read(version: int, ends: tuple[object, object], port: int) -> None:
    source, destination = (str(end) for end in ends)
    data = encode(version, (source, port), (destination, 8443))
    found = parse(data + b"x")
    assert found is not None
    assert (found.is_local, found.size) == (False, len(data))
    assert found.source is not None
    assert (ip_address(found.source[0]), found.source[1]) == (ip_address(source), port)
    assert version == 2 or len(data) <= MAX_LINE
