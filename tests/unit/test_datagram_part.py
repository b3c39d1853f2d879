"""The program that gives datagrams to workers, against what it is to choose; and indexes of a part."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import datagram_part, datagram_wire
from lib.datagram_part import WHOLE, Part
from lib.datagram_table import Table
from lib.datagram_wire import label_of
from lib.wire_control import INDEX_SIZE

COUNTS = st.integers(2, 64)
INDEXES = st.binary(min_size=INDEX_SIZE, max_size=INDEX_SIZE)


def run(program: bytes, datagram: bytes) -> int:
    """What classic BPF does with a datagram, as filter.rst of Linux says: the instructions that may be here."""
    accumulator = 0
    for code, yes, no, value in struct.iter_unpack("=HBBI", program):
        assert (yes, no) == (0, 0), "there is no jump"
        if code == 0x20:  # ldw [k]: what lies beyond the end ends the program, with 0
            if value + 4 > len(datagram):
                return 0
            accumulator = int.from_bytes(datagram[value : value + 4], "big")
        elif code == 0x94:  # mod #k
            accumulator %= value
        else:
            assert code == 0x16, f"{code:#x} is no instruction of ours"  # ret a
            return accumulator
    raise AssertionError("a program ends with ret")


@given(INDEXES, COUNTS, st.integers(0, 2**32 - 1))
def test_the_label_says_which_socket(index: bytes, count: int, counter: int) -> None:
    datagram = datagram_wire.header(label_of(index), counter) + bytes(17)
    assert run(datagram_part.program(count), datagram) == datagram_wire.look(datagram)[0] % count


@given(st.binary(max_size=64), COUNTS)
def test_whatever_comes_there_is_a_socket_for_it(datagram: bytes, count: int) -> None:
    chosen = run(datagram_part.program(count), datagram)
    assert 0 <= chosen < count
    if len(datagram) < 4:
        assert chosen == 0


@given(INDEXES, COUNTS, st.data())
def test_an_index_is_of_its_part_and_near_the_one_that_was_drawn(
    drawn: bytes, count: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, count - 1))
    index = Part(number, count).index(drawn)
    assert len(index) == INDEX_SIZE
    assert label_of(index) % count == number
    assert abs(label_of(index) - label_of(drawn)) < count


@pytest.mark.parametrize("drawn", [b"\0\0\0", b"\xff\xff\xff", b"\0\0\1"])
@pytest.mark.parametrize("count", [2, 3, 64])
def test_at_both_ends(drawn: bytes, count: int) -> None:
    for number in range(count):
        index = Part(number, count).index(drawn)
        assert label_of(index) % count == number
        assert label_of(index) >> 24 == datagram_wire.TYPE


def test_without_parts_it_is_the_one_that_was_drawn() -> None:
    assert WHOLE.index(b"\x12\x34\x56") == b"\x12\x34\x56"


def test_an_index_that_a_key_has_is_not_given_again() -> None:
    table: Table[int] = Table(part=Part(1, 2))
    taken = Part(1, 2).index(b"\0\0\5")
    table.entries[label_of(taken)] = 1, None  # type: ignore[assignment]
    draws = iter([b"\0\0\5", b"\0\0\5", b"\0\7\7"])
    index = table.new_index(lambda size: next(draws))
    assert index == Part(1, 2).index(b"\0\7\7")
    assert next(draws, None) is None
