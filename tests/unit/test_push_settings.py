"""SETTINGS as bytes: by hand, there and back, and every malformed one refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import push_settings, wire_control, wire_fields
from lib.errors import ProtocolError
from lib.prefixes import Prefix, network
from lib.push_settings import MAX_ROUTES, Field, Pushed


def decoded(fields: bytes) -> Pushed:
    found = wire_control.decode(wire_control.encode_settings(fields))
    assert isinstance(found, Pushed)
    return found


def prefixes(size: int) -> st.SearchStrategy[Prefix]:
    address, length = st.binary(min_size=size, max_size=size), st.integers(0, 8 * size)
    return st.builds(lambda one, bits: (network(one, bits), bits), address, length)


def test_the_bytes_of_one_that_was_written_by_hand() -> None:
    routes = ((bytes([10, 20, 0, 0]), 16), (bytes(4), 0), (bytes.fromhex("20010db8").ljust(16, b"\0"), 32))
    shared = push_settings.shared(
        routes, left_out=3, mtu=1380, dns=[bytes([10, 20, 0, 1])], domain="vpn.test"
    )
    content = wire_control.encode_settings(
        push_settings.numbered(5) + push_settings.fields([bytes([10, 20, 0, 7])], {1}) + shared
    )
    assert content == bytes.fromhex(
        "f008"
        "090004 00000005"  # serial
        "010005 04 0a140007"  # addresses
        "020002 0001"  # own
        "030004 10 0a14 00"  # routes of IPv4
        "040005 20 20010db8"
        "050004 00000003"  # left out
        "060004 00000564"
        "070005 04 0a140001"  # name servers
        "080008 76706e2e74657374"
    )
    assert wire_control.decode(content) == Pushed(
        (bytes([10, 20, 0, 7]),), routes, frozenset({1}), 3, 1380, (bytes([10, 20, 0, 1]),), "vpn.test", 5
    )
    assert decoded(shared).others == routes
    assert wire_control.decode(content).others == (routes[0], routes[2])  # type: ignore[union-attr]


@given(
    st.lists(prefixes(4), max_size=40, unique=True),
    st.lists(prefixes(16), max_size=40, unique=True),
    st.sets(st.integers(0, 79)),
    st.lists(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), max_size=16),
    st.integers(0, (1 << 32) - 1),
)
def test_there_and_back(
    four: list[Prefix], six: list[Prefix], own: set[int], addresses: list[bytes], serial: int
) -> None:
    own = {number for number in own if number < len(four) + len(six)}
    fields = push_settings.numbered(serial) + push_settings.fields(addresses, own)
    fields += push_settings.shared((*four, *six))
    assert decoded(fields) == Pushed(tuple(addresses), (*four, *six), frozenset(own), serial=serial)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        found = decoded(data)
    except ProtocolError:
        return
    assert len(found.routes) <= MAX_ROUTES
    assert all(network(prefix, length) == prefix for prefix, length in found.routes)
    assert max(found.own, default=-1) < len(found.routes)
    assert found.domain == found.domain.lower()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Field.ADDRESSES, bytes([5, 1, 2, 3, 4, 5])),
        (Field.ADDRESSES, bytes([4, 10, 20])),
        (Field.OWN, b"\0"),
        (Field.ROUTES4, bytes([33, 1, 2, 3, 4, 5])),
        (Field.ROUTES4, bytes([24, 10, 20])),
        (Field.ROUTES6, bytes([129]) + bytes(17)),
        (Field.DNS, bytes([16, 1])),
        (Field.ROUTES4, b"\0" * (MAX_ROUTES + 1)),
    ],
)
def test_what_is_no_settings(kind: Field, data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(wire_fields.encode([(kind, data)]))


@pytest.mark.parametrize(
    ("data", "domain"),
    [
        (b"Vpn.Example.", "vpn.example"),
        (b"a_b.c-d", "a_b.c-d"),
        (b"a..b", ""),
        (b"a b", ""),
        ("höst".encode(), ""),
        (b"x" * 64, ""),
        (b"", ""),
    ],
)
def test_a_domain_is_one_of_dns_or_none(data: bytes, domain: str) -> None:
    assert decoded(wire_fields.encode([(Field.DOMAIN, data)])).domain == domain


def test_the_longest_message_fits_a_frame() -> None:
    routes = [(number.to_bytes(16, "big"), 128) for number in range(MAX_ROUTES)]
    shared = push_settings.shared(routes, 1 << 31, 1420, [bytes(16)] * 9, "x" * 300)
    fields = push_settings.numbered(1) + push_settings.fields([bytes(16)] * 20, range(MAX_ROUTES)) + shared
    assert len(wire_control.encode_settings(fields)) < 40_000
    assert len(decoded(fields).others) == 0
    with pytest.raises(ValueError, match="more than 2048"):
        push_settings.shared([*routes, (bytes(16), 0)])


def test_a_version_to_come_may_say_more() -> None:
    assert decoded(wire_fields.encode([(200, b"new"), (Field.MTU, b"\0\0\5\x64")])).mtu == 1380


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(Field.ROUTES4, b"\0" * 65_000)], id="routes"),
        pytest.param(
            [(Field.ROUTES4, b"\0" * MAX_ROUTES), (Field.ROUTES6, b"\0" * 60_000)], id="of both versions"
        ),
        pytest.param([(Field.OWN, bytes(60_000))], id="numbers"),
        pytest.param([(100, b"")] * 20_000, id="fields"),
    ],
)
def test_no_more_of_a_message_is_read_than_it_may_have(
    fields: list[tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may send it to a hub: 65,000 prefixes would take 0.1 s of everybody's time."""
    read = []

    def noting(address: bytes, length: int) -> bytes:
        read.append(length)
        return network(address, length)

    monkeypatch.setattr(push_settings, "network", noting)
    with pytest.raises(ProtocolError, match="more"):
        decoded(wire_fields.encode(fields))
    assert len(read) <= MAX_ROUTES + 1


def test_addresses_beyond_the_bound_are_not_read() -> None:
    data = b"\4\x0a\0\0\1" * 16 + b"\5 is no address"
    assert len(decoded(wire_fields.encode([(Field.ADDRESSES, data)])).addresses) == 16
