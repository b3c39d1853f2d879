"""Messages of hubs: what was encoded comes out again, everything else is refused; what a signature is over."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import cluster_wire, framing, wire_fields
from lib.cluster_seal import Proof, SharedSeal, key_for, to_sign
from lib.cluster_wire import SIGNED, Kind, Message, added, decode, encode, summed
from lib.errors import ProtocolError

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
BYE = message(Kind.BYE, beat=9, clock=8, steady=7)
ALL = (HUB, JOIN, SILENT, LEAVE, BYE)


def whole(one: Message) -> bytes:
    return encode(one) + (b"signature" if one.kind in SIGNED else b"")


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.kind.name)
def test_a_message_comes_out_as_it_was(one: Message) -> None:
    assert decode(whole(one)) == (one, b"signature" if one.kind in SIGNED else b"")


@given(NAME, NUMBER, NUMBER, NAME, NUMBER)
def test_any_join_comes_out_as_it_was(name: str, epoch: int, sequence: int, host: str, since: int) -> None:
    one = Message(Kind.JOIN, name, epoch, sequence, namespace=bytes(16), host=host, since=since)
    assert decode(encode(one)) == (one, b"")


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.kind.name)
def test_a_message_that_is_cut_off_is_refused(one: Message) -> None:
    data = encode(one)
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(data[:end])
    with pytest.raises(ProtocolError):
        decode(data if one.kind in SIGNED else data + b"x")


def test_every_bit_of_a_message_counts() -> None:
    seal, data = SharedSeal(b"s" * 32, "key"), encode(HUB)
    signature = seal.sign(data)
    assert seal.check("hub-1", data, signature) is Proof.GOOD
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        assert seal.check("hub-1", bytes(changed), signature) is Proof.BAD


@pytest.mark.parametrize(
    "other",
    [SharedSeal(b"t" * 32, "key"), SharedSeal(b"s" * 32, "kez"), SharedSeal(b"s" * 32, "")],
    ids=["another secret", "another key in Redis", "no key"],
)
def test_a_signature_of_elsewhere_is_bad(other: SharedSeal) -> None:
    assert SharedSeal(b"s" * 32, "key").check("hub-1", b"data", other.sign(b"data")) is Proof.BAD


@given(st.text(max_size=9), st.binary(max_size=9), st.text(max_size=9), st.binary(max_size=9))
def test_what_is_signed_for_one_registry_is_nothing_in_another(
    one: str, data: bytes, other: str, more: bytes
) -> None:
    assert (to_sign(one, data) == to_sign(other, more)) == ((one, data) == (other, more))


@given(st.binary(max_size=1700))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for begin in (b"", bytes([2, 1 + len(data) % 4]) + struct.pack("!H", max(0, len(data) - 9))):
        try:
            assert decode(begin + data)[0].name
        except ProtocolError:
            pass


def bye(fields: list[tuple[int, bytes]], version: int = 2, kind: int = 4) -> bytes:
    body = wire_fields.encode(fields)
    return struct.pack("!BBH", version, kind, len(body)) + body + b"signature"


GOOD = {1: b"h", 2: bytes(8), 3: bytes(8), 4: bytes(8), 5: bytes(8), 15: bytes(8), 16: bytes(32)}
WRONG = {
    "another version": bye([*GOOD.items()], version=1),
    "an unknown kind": bye([*GOOD.items()], kind=9),
    "a number of four bytes": bye([*(GOOD | {2: bytes(4)}).items()]),
    "no name": bye([*(GOOD | {1: b""}).items()]),
    "a name that is no text": bye([*(GOOD | {1: b"\xff"}).items()]),
    "a field is missing": bye([*GOOD.items()][1:]),
    "a short digest": bye([*(GOOD | {16: bytes(31)}).items()]),
    "a field is cut off": bytes([2, 4, 0, 3, 1, 0, 9, 0]),
}


def test_a_good_one() -> None:
    """So that the test below can fail."""
    assert decode(bye([*GOOD.items()]))[0].name == "h"


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused(what: str) -> None:
    with pytest.raises(ProtocolError):
        decode(WRONG[what])


def test_keys_for_two_purposes_are_two() -> None:
    assert len({key_for(b"s" * 32, "registry"), key_for(b"s" * 32, "authority"), b"s" * 32}) == 3


def test_a_sum_forgets_what_is_taken_away_in_any_order() -> None:
    one, two = encode(JOIN), encode(SILENT)
    both = added(added(0, one), two)
    assert both == added(added(0, two), one) != added(0, one)
    assert added(both, two, -1) == added(0, one)
    assert added(added(0, one), one, -1) == 0
    assert added(0, one, -1) != 0
    assert len({summed(0), summed(both), summed(added(0, one))}) == 3
    assert added(0, one).bit_length() > 2000, "no two lists have the same one by design"


def test_news_are_what_was_published_as_one() -> None:
    data = cluster_wire.news([b"a", b"bc"], lambda digest: b"head" + digest)
    changes, head, digest = cluster_wire.opened(data)
    assert (changes, head) == ([b"a", b"bc"], b"head" + digest)
    assert cluster_wire.opened(framing.encode(b"alone")) == ([], b"alone", cluster_wire.NO_CHANGES)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\5ab", framing.encode(b"a") + b"x", bytes(1 << 17)],
    ids=lambda data: str(len(data)),
)
def test_what_is_no_news(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        cluster_wire.opened(data)
