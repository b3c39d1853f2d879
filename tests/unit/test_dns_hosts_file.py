"""hosts(5) with and without the block of a process of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.dns_hosts_file import numbers, put, remove

NAMES = [("10.20.0.7", "host-1.tun.example"), ("fd20::7", "host-1.tun.example")]


@pytest.mark.parametrize("text", ["127.0.0.1 localhost\n", "127.0.0.1 localhost", "", None, "\n\n", "a\r\n"])
def test_without_the_block_the_file_is_what_it_was(text: str | None) -> None:
    changed = put(text, 1, NAMES)
    assert changed.startswith(text or "")
    assert [line for line in changed.splitlines() if "host-1" in line] == [" ".join(pair) for pair in NAMES]
    assert numbers(changed) == [1]
    assert put(changed, 1, NAMES) == changed
    assert remove(put(changed, 1, NAMES[:1]), 1) == text
    assert remove(put(changed, 1, []), 1) == text


def test_two_processes_have_a_block_each() -> None:
    text = "127.0.0.1 localhost\n"
    both = put(put(text, 1, NAMES), 12, NAMES[:1])
    assert numbers(both) == [1, 12]
    for first, second in ((1, 12), (12, 1)):
        left = remove(both, first)
        assert left is not None
        assert numbers(left) == [second]
        assert remove(left, second) == text


def test_what_others_add_stays() -> None:
    text = put("127.0.0.1 localhost", 1, NAMES) + "192.0.2.1 later\n"
    assert remove(text, 1) == "127.0.0.1 localhost\n192.0.2.1 later\n"
    assert remove(put(None, 1, NAMES) + "192.0.2.1 later\n", 1) == "192.0.2.1 later\n"


def test_a_block_whose_end_somebody_has_cut_loses_its_mark_only() -> None:
    cut = put("127.0.0.1 localhost\n", 1, NAMES).replace("# tunrouter: end names 1\n", "192.0.2.1 theirs\n")
    left = remove(cut, 1)
    assert left is not None
    assert numbers(left) == []
    assert "192.0.2.1 theirs" in left


@given(st.text(alphabet="1.a #\n", max_size=60))
def test_any_text_comes_back(text: str) -> None:
    assert remove(put(text, 3, NAMES), 3) == text
