"""UNREACHED: addresses of either version, at most so many, and what is no address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import wire_control, wire_fields, wire_unreached
from lib.errors import ProtocolError
from lib.wire_control import MARK, Type
from lib.wire_unreached import MAX_UNREACHED, Field, Unreached

IPV4, IPV6 = b"\x0a\0\0\x02", b"\xfd" + bytes(14) + b"\2"


def read(fields: bytes) -> object:
    return wire_control.decode(bytes([MARK, Type.UNREACHED]) + fields)


@pytest.mark.parametrize("addresses", [(), (IPV4,), (IPV6,), (IPV4, b"\x0a\0\0\3", IPV6)])
def test_what_is_told_is_read(addresses: tuple[bytes, ...]) -> None:
    assert read(wire_unreached.encode(Unreached(addresses))) == Unreached(addresses)


def test_the_bytes_on_the_wire() -> None:
    assert wire_unreached.encode(Unreached()) == b""
    assert wire_unreached.encode(Unreached((IPV6, IPV4))) == b"\1\0\4" + IPV4 + b"\2\0\x10" + IPV6


def test_no_more_are_told_or_read_than_the_most() -> None:
    many = tuple(number.to_bytes(4, "big") for number in range(100))
    assert read(wire_unreached.encode(Unreached(many))) == Unreached(many[:MAX_UNREACHED])
    fields = wire_fields.encode([(Field.IPV4, b"".join(many)), (Field.IPV6, IPV6)])
    assert read(fields) == Unreached(many[:MAX_UNREACHED])


@pytest.mark.parametrize(("kind", "data"), [(Field.IPV4, IPV4[:3]), (Field.IPV6, IPV6 + b"x")])
def test_a_part_of_an_address_is_an_error(kind: Field, data: bytes) -> None:
    with pytest.raises(ProtocolError, match="part of an address"):
        read(wire_fields.encode([(kind, data)]))


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_are_an_error(data: bytes) -> None:
    try:
        found = read(data)
    except ProtocolError:
        return
    assert isinstance(found, Unreached)
    assert all(len(one) in (4, 16) for one in found.addresses)
