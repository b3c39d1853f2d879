"""Messages of hubs: what was signed comes out again, everything else is refused."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cluster_wire, wire_fields
from lib.cluster_wire import Kind, Message, added, decode, encode, key_for
from lib.errors import ProtocolError

KEY = key_for(b"s" * 32, "registry")
NUMBER = st.integers(0, cluster_wire.MOST)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def message(kind: Kind, **more: object) -> Message:
    return Message(kind, "hub-1", 7, 3, **more)  # type: ignore[arg-type]


HUB = message(
    Kind.HUB, beat=9, clock=1_700_000_000_000, address="hub-1.example:8444", count=2, sum=b"\7" * 32
)
JOIN = message(Kind.JOIN, namespace=b"n" * 16, host="host-1", since=5, instance=b"i" * 16)
SILENT = message(Kind.JOIN, namespace=b"n" * 16, host="höst", since=5)
LEAVE = message(Kind.LEAVE, namespace=b"n" * 16, host="host-1")
BYE = message(Kind.BYE)
ALL = (HUB, JOIN, SILENT, LEAVE, BYE)


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.kind.name)
def test_a_message_comes_out_as_it_was(one: Message) -> None:
    assert decode(encode(one, KEY), KEY) == one


@given(NAME, NUMBER, NUMBER, NAME, NUMBER)
def test_any_join_comes_out_as_it_was(name: str, epoch: int, sequence: int, host: str, since: int) -> None:
    one = Message(Kind.JOIN, name, epoch, sequence, namespace=bytes(16), host=host, since=since)
    assert decode(encode(one, KEY), KEY) == one


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.kind.name)
def test_a_message_of_another_secret_is_refused(one: Message) -> None:
    with pytest.raises(ProtocolError, match="not signed"):
        decode(encode(one, key_for(b"t" * 32, "registry")), KEY)


def test_every_bit_of_a_message_counts() -> None:
    data = encode(JOIN, KEY)
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(ProtocolError):
            decode(bytes(changed), KEY)


@given(st.binary(max_size=1100))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data, KEY)


def signed(body: bytes) -> bytes:
    return body + hmac.digest(KEY, body, hashlib.sha256)


@given(st.binary(min_size=2, max_size=300))
def test_a_hub_that_signs_nonsense_raises_nothing_else(body: bytes) -> None:
    for data in (signed(body), signed(bytes([1, body[0] % 6]) + body[1:])):
        try:
            assert decode(data, KEY).name
        except ProtocolError:
            pass


WRONG = {
    "another version": bytes([2, 4]) + encode(BYE, KEY)[2:-32],
    "an unknown kind": bytes([1, 9]) + encode(BYE, KEY)[2:-32],
    "a number of four bytes": bytes([1, 4]) + wire_fields.encode([(1, b"h"), (2, bytes(4)), (3, bytes(8))]),
    "no name": bytes([1, 4]) + wire_fields.encode([(1, b""), (2, bytes(8)), (3, bytes(8))]),
    "a name that is no text": bytes([1, 4])
    + wire_fields.encode([(1, b"\xff"), (2, bytes(8)), (3, bytes(8))]),
    "a field is missing": bytes([1, 4]) + wire_fields.encode([(1, b"h"), (2, bytes(8))]),
    "a field is cut off": bytes([1, 4, 1, 0, 9, 0]),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_signed_and_wrong_is_refused(what: str) -> None:
    with pytest.raises(ProtocolError):
        decode(signed(WRONG[what]), KEY)


def test_keys_for_two_purposes_are_two() -> None:
    assert len({key_for(b"s" * 32, "registry"), key_for(b"s" * 32, "authority"), b"s" * 32}) == 3


def test_a_sum_forgets_what_is_taken_away_in_any_order() -> None:
    one, two = encode(JOIN, KEY), encode(SILENT, KEY)
    zero = bytes(32)
    both = added(added(zero, one), two)
    assert both == added(added(zero, two), one) != added(zero, one)
    assert added(both, two, -1) == added(zero, one)
    assert added(added(zero, one), one, -1) == zero
    assert added(zero, one, -1) != zero


def test_messages_that_were_published_as_one() -> None:
    frames = b"".join(len(data).to_bytes(2, "big") + data for data in (b"a", b"bc", b""))
    assert list(cluster_wire.split(frames + b"\0\5ab")) == [b"a", b"bc", b""]
