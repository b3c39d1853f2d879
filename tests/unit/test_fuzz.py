"""What fuzzing has found, and what it starts from: each input goes through its target again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import CORPUS, CRASHERS, TARGETS, in_time, seeds

SIZE = 1 << 16

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


@pytest.mark.parametrize("name", TARGETS)
def test_time_goes_by_the_size(name: str) -> None:
    """Each seed again and again in 64 KB, whole and with its first byte once: a quadratic decoder takes too long."""
    for seed in seeds()[name]:
        if seed:
            in_time(TARGETS[name], seed * (SIZE // len(seed)))
            in_time(TARGETS[name], seed[:1] + seed[1:] * (SIZE // len(seed)))


def test_a_quadratic_target_is_found() -> None:
    def quadratic(data: bytes) -> None:
        for end in range(0, len(data), 8):
            for _ in data[:end]:
                pass

    in_time(quadratic, bytes(1000))
    with pytest.raises(AssertionError, match=r"quadratic: .* for 65536 bytes"):
        in_time(quadratic, bytes(SIZE))
