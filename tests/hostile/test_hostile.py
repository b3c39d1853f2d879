"""Tests of what hostile peers cost others: each attack over each transport, by one and by sixteen at once.

    make hostile                                   all of them, some 40 minutes; writes the table
    make hostile ARGS="-k junk-and-tcp"            some of them
    HOSTILE_SHORT=1 pytest tests/hostile           one for each transport, as .ci/run does
    HOSTILE_RUNS=1, HOSTILE_SECONDS=1              fewer runs than three of each, shorter ones than 2 s
                                                   (where the first two of three meet every bar, so does the
                                                   median, and there is no third)
    HOSTILE_BOUND_MB=400                           where `tunrouter check` prints no bound

Not part of `make test`: it judges speed, and takes long.
"""

from __future__ import annotations

import math
import os

import pytest

from tests.hostile.arena import (
    ENOUGH_MS,
    JOIN_SECONDS,
    NORMAL_SECONDS,
    Case,
    Run,
    judged,
    memory_bound_mb,
    one_at_a_time,
)
from tests.hostile.attacks import ATTACKS, BY_NAME, MOST, SHORT, Attack
from tests.hostile.conftest import Arenas, Note

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs a core for the hub and one for the others"),
]

RUNS = int(os.environ.get("HOSTILE_RUNS", "3"))
ATTACK_SECONDS = float(os.environ.get("HOSTILE_SECONDS", "2"))
BOUND_MB = float(os.environ.get("HOSTILE_BOUND_MB", "0")) or None


def cases() -> list[object]:
    if os.environ.get("HOSTILE_SHORT"):
        found = [(BY_NAME[name], kind, MOST) for kind, name in SHORT.items()]
    else:
        found = [
            (attack, kind, count) for attack in ATTACKS for kind in attack.kinds for count in attack.counts
        ]
    return [
        pytest.param(attack, kind, count, id=f"{attack.name.replace(' ', '-')}-{kind}-{count}")
        for attack, kind, count in found
    ]


@pytest.mark.parametrize(("attack", "kind", "count"), cases())
def test_others_hardly_notice(attack: Attack, kind: str, count: int, arenas: Arenas, note: Note) -> None:
    runs = list[Run]()
    arena = arenas.of(attack, kind)
    bound = memory_bound_mb(arena.config, BOUND_MB)
    with one_at_a_time():
        arena.undisturbed()  # an attack ends once all is normal again, so once is enough
        while not enough(runs, count, bound):
            runs.append(arena.attacked(attack, count, ATTACK_SECONDS))
    if runs[-1].normal_after == math.inf:
        arenas.close()  # the next one shall not suffer for it
    assert not judged(arena.hub), judged(arena.hub)
    assert arena.hub.returncode is None
    case = Case(attack.name, kind, count, tuple(runs))
    note(case)
    assert not wrong(case, bound), f"{'; '.join(wrong(case, bound))}\n{runs}"


def enough(runs: list[Run], count: int, bound: float | None) -> bool:
    """Whether another run can change nothing: the median is decided, or the hub is beyond help."""
    if runs and runs[-1].normal_after == math.inf:
        return True  # that is no noise, and the hub may take minutes
    decided = len(runs) == RUNS - 1 and all(not wrong(Case("", "", count, (run,)), bound) for run in runs)
    return len(runs) == RUNS or (RUNS > 2 and decided)


def wrong(case: Case, bound: float | None) -> list[str]:
    """Each bar that a case misses, in words."""
    bars = (
        ("the longest ping, ms", case.longest_ms, ENOUGH_MS[case.count]),
        ("pings lost", case.lost, 0),
        ("seconds until it was normal again", case.normal_after, NORMAL_SECONDS),
        ("seconds that a newcomer waited", case.join_seconds, JOIN_SECONDS),
        ("MB of the hub", case.memory_mb, math.inf if bound is None else bound),
    )
    return [f"{what}: {value:.4g}, {most:g} at most" for what, value, most in bars if value > most]
