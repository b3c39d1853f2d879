"""What is held, what is forgotten, and in which order; and that forgetting takes no longer with more entries."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.bounded_dict import BoundedDict, forget_oldest


def test_the_one_remembered_first_goes_first() -> None:
    known: BoundedDict[str, int] = BoundedDict(2)
    for key in "aba":
        known.remember(key, ord(key))
    known.remember("c", 3)
    assert list(known.items()) == [("b", 98), ("c", 3)]


def test_who_is_renewed_stays() -> None:
    known: BoundedDict[str, int] = BoundedDict(2)
    for key in "aba":
        known.renew(key, ord(key))
    known.renew("c", 3)
    assert list(known.items()) == [("a", 97), ("c", 3)]


def test_a_copy_is_one_of_its_own() -> None:
    known: BoundedDict[str, int] = BoundedDict(2)
    known.remember("a", 1)
    other = known.copy()
    other.remember("b", 2)
    other.remember("c", 3)
    assert (list(known), list(other)) == (["a"], ["b", "c"])


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())), st.integers(1, 6))
def test_against_a_list(steps: list[tuple[int, bool]], most: int) -> None:
    known: BoundedDict[int, int] = BoundedDict(most)
    order: list[int] = []
    for number, (key, renewed) in enumerate(steps):
        (known.renew if renewed else known.remember)(key, number)
        if key in order and renewed:
            order.remove(key)
        if key not in order:
            order.append(key)
        order = order[-most:]
        assert list(known) == order
        assert known[key] == number


@pytest.mark.parametrize("most", [1024, 65536])
def test_to_forget_one_takes_no_look_at_the_others(most: int) -> None:
    known: BoundedDict[int, None] = BoundedDict(most)
    for key in range(most):
        known.remember(key, None)
    began = time.thread_time()
    for key in range(most, most + 20_000):
        known.remember(key, None)
    assert (time.thread_time() - began) / 20_000 < 5e-6  # seconds; 0.3e-6 here, 28e-6 with a plain dict
    assert len(known) == most


def test_a_sixteenth_of_a_plain_dict_goes_the_oldest_first() -> None:
    known = dict.fromkeys(range(100))
    forget_oldest(known)
    assert list(known) == list(range(7, 100))
    known = {1: None}
    forget_oldest(known)
    assert not known
