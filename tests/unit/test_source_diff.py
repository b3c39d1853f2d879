"""Line differences: always an edit script, and a short one where little has changed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import source_diff
from lib.source_diff import difference
from tests.support.routes import drain

LINES = st.lists(st.sampled_from([b"", b"a", b"b", b"cc", b"a longer line that says nothing"]), max_size=20)


def join(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def left_out(lines: list[bytes], some: list[bytes]) -> list[list[bytes]]:
    """All the ways to leave some lines out of others, in order."""
    states: set[tuple[int, tuple[bytes, ...]]] = {(0, ())}
    for line in lines:
        after = set()
        for taken, kept in states:
            after.add((taken, (*kept, line)))
            if taken < len(some) and some[taken] == line:
                after.add((taken + 1, kept))
        states = after
    return [list(kept) for taken, kept in states if taken == len(some)]


@given(LINES, LINES, st.sampled_from([(2, 8), (64, 256)]), st.sampled_from([(4, 40), (1 << 11, 1 << 14)]))
def test_without_what_is_gone_and_come_both_are_the_same(
    old: list[bytes], new: list[bytes], stretch: tuple[int, int], windows: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_diff, "STRETCH", stretch)
        patch.setattr(source_diff, "WINDOWS", (*windows, 1 << 20))
        found = drain(difference(join(old), join(new), 1000))
    assert found is not None
    gone, come = found
    kept = Counter(old) - Counter(gone)
    assert kept == Counter(new) - Counter(come)
    if len(gone) < 6 and len(come) < 6:  # else there are too many ways
        assert any(way in left_out(new, come) for way in left_out(old, gone))


@pytest.mark.parametrize("ended", [True, False])
def test_few_edits_of_many_lines_are_found_as_they_are(ended: bool) -> None:
    rng = random.Random(1)
    old = [b"10.%d.%d.0/24 host-%d" % (n >> 8, n & 255, n % 100) for n in range(50000)]
    new = list(old)
    places = sorted(rng.sample(range(50000), 300), reverse=True)
    replaced, deleted, inserted = places[::3], places[1::3], places[2::3]
    for place in places:
        if place in replaced:
            new[place] += b"x"
        elif place in deleted:
            del new[place]
        else:
            new.insert(place, b"new %d" % place)
    text = join(new) if ended else join(new).rstrip(b"\n")
    gone, come = drain(difference(join(old), text, 1000)) or ([], [])
    assert sorted(gone) == sorted(old[n] for n in replaced + deleted)
    assert sorted(come) == sorted([old[n] + b"x" for n in replaced] + [b"new %d" % n for n in inserted])


@pytest.mark.parametrize(
    ("old", "new", "script"),
    [
        pytest.param(b"", b"", ([], []), id="nothing"),
        pytest.param(b"", b"a\nb", ([], [b"a", b"b"]), id="all has come"),
        pytest.param(b"a\nb\n", b"", ([b"a", b"b"], []), id="all is gone"),
        pytest.param(b"a\nb", b"a\nb\n", ([], []), id="only the end of the last line"),
        pytest.param(b"a\nb\nc\n", b"a\nc\nb\n", ([b"b"], [b"b"]), id="a line that moved has gone and come"),
    ],
)
def test_scripts(old: bytes, new: bytes, script: tuple[list[bytes], list[bytes]]) -> None:
    found = drain(difference(old, new, 1000))
    assert found is not None
    assert list(map(sorted, found)) == list(map(sorted, script))


def test_too_much_is_none() -> None:
    old, new = (join([b"%c%d" % (letter, n) for n in range(100)]) for letter in b"ab")
    assert drain(difference(old, new, 100)) is None
    assert drain(difference(old, new, 1000)) is not None
