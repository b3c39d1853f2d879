"""What fuzzing has found, and what it starts from: each input goes through its target again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, CRASHERS, TARGETS, seeds

FOUND = [(path.parent.name, path) for where in (CORPUS, CRASHERS) for path in sorted(where.glob("*/*"))]
SEEDS = [(name, seed) for name, found in seeds().items() for seed in found]


def test_every_target_has_seeds() -> None:
    assert set(seeds()) == set(TARGETS)


@pytest.mark.parametrize(("name", "seed"), SEEDS, ids=[name for name, _ in SEEDS])
def test_a_seed_whole_and_cut_anywhere(name: str, seed: bytes) -> None:
    for end in range(0, len(seed) + 1, max(1, len(seed) // 50)):
        TARGETS[name](seed[:end])


@pytest.mark.parametrize("name", sorted({name for name, _ in FOUND}))
def test_what_was_found_before(name: str) -> None:
    for target, path in FOUND:
        if target == name:
            TARGETS[name](Path(path).read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)
