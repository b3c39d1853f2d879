"""The replay window: every counter once, in any order within 8,192 of the newest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.datagram_window import SIZE, Window


class Slow:
    """What a window is to do, as a set."""

    def __init__(self) -> None:
        self.top, self.taken = -1, set[int]()

    def take(self, counter: int) -> bool:
        if counter in self.taken or counter <= self.top - SIZE:
            return False
        self.taken.add(counter)
        self.top = max(self.top, counter)
        return True


@pytest.mark.parametrize(
    ("before", "counter", "taken"),
    [
        pytest.param([], 0, True, id="the first"),
        pytest.param([0], 0, False, id="the first again"),
        pytest.param([5], 4, True, id="one before"),
        pytest.param([5, 4], 4, False, id="and again"),
        pytest.param([SIZE], 1, True, id="the oldest in the window"),
        pytest.param([SIZE], 0, False, id="the newest that is too old"),
        pytest.param([0, SIZE], 0, False, id="too old and taken"),
        pytest.param([7, 7 + 2 * SIZE], 7 + SIZE + 1, True, id="a place in the ring that was used before"),
        pytest.param([3, 1 << 31], (1 << 31) - SIZE + 1, True, id="after a long jump"),
        pytest.param([0xFFFFFFFF], 0xFFFFFFFF, False, id="the last there is"),
    ],
)
def test_what_is_taken(before: list[int], counter: int, taken: bool) -> None:
    window = Window()
    for one in before:
        assert window.take(one)
    assert window.is_new(counter) == taken
    assert window.take(counter) == taken
    assert not window.is_new(counter)
    assert window.top == max([*before, *([counter] if taken else [])])


near = st.integers(0, 40) | st.integers(SIZE - 20, SIZE + 20) | st.integers(2 * SIZE - 20, 2 * SIZE + 20)
counters = st.lists(near | st.integers(0, 0xFFFFFFFF) | st.integers(0, 5 * SIZE), max_size=60)


@given(counters)
def test_as_a_set_would(order: list[int]) -> None:
    window, slow = Window(), Slow()
    for counter in order:
        assert window.is_new(counter) == (counter not in slow.taken and counter > slow.top - SIZE)
        assert window.take(counter) == slow.take(counter)
        assert window.top == slow.top


@given(st.integers(0, 1 << 30), st.integers(1, SIZE))
def test_any_order_within_the_window_loses_nothing(seed: int, spread: int) -> None:
    chance = random.Random(seed)
    order = sorted(range(1000), key=lambda counter: counter + chance.uniform(0, spread))
    window = Window()
    assert all(window.take(counter) for counter in order)
    assert not any(window.take(counter) for counter in order)
