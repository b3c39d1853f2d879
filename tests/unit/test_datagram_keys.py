"""Keys of datagrams: what is opened, what is not, and when a key is too old."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import datagram_ciphers, datagram_wire
from lib.datagram_keys import GRACE_SECONDS, REJECT_SECONDS, RENEW_COUNTER, RENEW_SECONDS, OpenKey, SealKey
from lib.packet import Buffer
from lib.wire_control import Cipher

INDEX, KEY, SALT = b"\x01\x02\x03", bytes(range(32)), b"saltsalt"


def pair(cipher: int = Cipher.AES_GCM, now: float = 0.0) -> tuple[SealKey, OpenKey]:
    return (
        SealKey(datagram_ciphers.make(cipher, KEY), INDEX, SALT, now),
        OpenKey(datagram_ciphers.make(cipher, KEY), INDEX, SALT, now),
    )


def opened(key: OpenKey, datagram: bytes) -> bytes | None:
    label, counter = datagram_wire.look(datagram)
    assert label == key.label
    return key.open(counter, datagram)


@pytest.mark.parametrize("cipher", list(Cipher))
def test_what_is_sealed_is_opened_once(cipher: Cipher) -> None:
    seal, key = pair(cipher)
    plains: list[Buffer] = [b"a", b"bc" * 700, memoryview(b"d")]
    sealed = seal.seal(plains)
    assert [len(one) for one in sealed] == [len(plain) + datagram_wire.OVERHEAD for plain in plains]
    assert [opened(key, one) for one in reversed(sealed)] == [b"d", b"bc" * 700, b"a"]
    assert [opened(key, one) for one in sealed] == [None] * 3, "each is taken once"
    assert (key.received, key.expected) == (3, 3)
    assert (seal.counter, opened(key, seal.seal([b"e"])[0])) == (3, b"e")


def test_nothing_of_two_datagrams_is_the_same() -> None:
    one, other = pair()[0].seal([b"same" * 9] * 2)
    assert one[datagram_wire.HEADER_SIZE :] != other[datagram_wire.HEADER_SIZE :]


def test_every_changed_byte_is_noticed() -> None:
    seal, key = pair()
    good = seal.seal([b"a packet"])[0]
    for at in range(4, len(good)):  # the label before leads to another key, or to none
        for bit in (1, 128):
            forged = bytearray(good)
            forged[at] ^= bit
            assert opened(key, bytes(forged)) is None
    for size in range(datagram_wire.OVERHEAD + 1, len(good)):
        assert opened(key, good[:size]) is None
    assert opened(key, good + b"\0") is None
    assert opened(key, good) == b"a packet", "what was forged takes no place in the window"


def test_a_key_with_another_label_opens_nothing() -> None:
    seal, _ = pair()
    other = OpenKey(datagram_ciphers.make(Cipher.AES_GCM, KEY), b"\x01\x02\x04", SALT, 0.0)
    good = seal.seal([b"a packet"])[0]
    moved = datagram_wire.header(other.label, 0) + good[datagram_wire.HEADER_SIZE :]
    assert opened(other, moved) is None, "the header is authenticated too"


@given(st.binary(max_size=80))
def test_any_bytes_are_opened_to_nothing(rest: bytes) -> None:
    _, key = pair()
    datagram = datagram_wire.header(key.label, 7) + rest
    assert key.open(7, datagram) is None
    assert key.received == 0


@given(st.permutations(range(40)), st.lists(st.integers(0, 39), max_size=10), st.sets(st.integers(0, 39)))
def test_reordered_replayed_and_lost(order: list[int], again: list[int], lost: set[int]) -> None:
    seal, key = pair()
    sealed = seal.seal([bytes([number]) for number in range(40)])
    came = [number for number in order if number not in lost]
    assert [opened(key, sealed[number]) for number in came] == [bytes([number]) for number in came]
    assert all(opened(key, sealed[number]) is None for number in again if number not in lost)
    assert key.received == len(came)
    assert key.expected == max(came, default=-1) + 1


def test_how_long_a_key_lasts() -> None:
    seal, key = pair(now=50.0)
    assert seal.lasts(1, 50.0 + REJECT_SECONDS - 0.1)
    assert not seal.lasts(1, 50.0 + REJECT_SECONDS)
    assert not key.is_due(50.0 + RENEW_SECONDS - 0.1)
    assert key.is_due(50.0 + RENEW_SECONDS)
    assert key.until == 50.0 + REJECT_SECONDS + GRACE_SECONDS


def test_counters_end() -> None:
    seal, key = pair()
    seal.counter = datagram_wire.MAX_COUNTER - 1
    assert seal.lasts(2, 0.0)
    assert not seal.lasts(3, 0.0)
    first, last = seal.seal([b"a", b"b"])
    assert (opened(key, first), opened(key, last)) == (b"a", b"b")
    assert not seal.lasts(1, 0.0)
    assert key.expected > RENEW_COUNTER
    assert key.is_due(0.0)


def test_the_faster_cipher_is_one_that_is_known() -> None:
    assert datagram_ciphers.is_known(datagram_ciphers.fastest())
    assert datagram_ciphers.fastest() is datagram_ciphers.fastest()
    assert not datagram_ciphers.is_known(0)
    assert not datagram_ciphers.is_known(3)
