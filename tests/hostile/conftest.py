"""Table of measured attacks: filled by the tests, written into RELIABILITY.md by `make hostile`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile.arena import PATIENCE, Arena, Case
from tests.hostile.attacks import ALL, ATTACKS, Attack
from tests.support.marked import between, put_between
from tests.support.netns import ROOT

RELIABILITY = ROOT / "RELIABILITY.md"
BEGIN, END = "<!-- hostile -->", "<!-- /hostile -->"
HEAD = (
    "| what they send | tcp | tls | ws | wss | normal again after, s | newcomer, s | hub, MB |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
_CASES: list[Case] = []

Note = Callable[[Case], None]


@pytest.fixture
def note() -> Note:
    """Add a case to the table; and say so, for all of them take long."""

    def add(case: Case) -> None:
        _CASES.append(case)
        print(f"\n{case}", flush=True)

    return add


class Arenas:
    """The arena that stands: the same one for one attacker and for sixteen, anew for another attack or transport."""

    def __init__(self, place: pytest.TempPathFactory) -> None:
        self._place = place
        self._standing: tuple[tuple[str, str], Arena] | None = None

    def of(self, attack: Attack, kind: str) -> Arena:
        wanted = attack.name, kind
        if self._standing is None or self._standing[0] != wanted:
            self.close()
            arena = Arena(self._place.mktemp("arena"), kind, attack.hub)
            arena.__enter__()
            self._standing = wanted, arena
        return self._standing[1]

    def close(self) -> None:
        """End the hub and all around it, if there is one."""
        if self._standing is not None:
            self._standing[1].__exit__(None, None, None)
            self._standing = None


@pytest.fixture(scope="session")
def arenas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arenas]:
    found = Arenas(tmp_path_factory)
    yield found
    found.close()


@pytest.fixture(scope="session", autouse=True)
def table() -> Iterator[None]:
    """Write what has been noted, and print it."""
    yield
    if _CASES:
        print("\n" + HEAD + rows(_CASES))
        if os.environ.get("HOSTILE_TABLE"):
            write_table(RELIABILITY, _CASES)


def rows(cases: list[Case]) -> str:
    """A line for each attack; by transport the longest ping with one attacker and with 16, in ms."""
    made = []
    for attack in ATTACKS:
        own = [case for case in cases if case.attack == attack.name]
        if not own:
            continue
        cells = [_longest(own, kind) for kind in ALL]
        cells.append(_most([case.normal_after for case in own], ".1f", f"over {PATIENCE:g}"))
        cells.append(_most([case.join_seconds for case in own], ".2f", "not admitted"))
        cells.append(f"{max(case.memory_mb for case in own):.0f}")
        made.append(f"| {attack.name} | {' | '.join(cells)} |\n")
    return "".join(made)


def _most(figures: list[float], form: str, beyond: str) -> str:
    most = max(figures)
    return beyond if most == math.inf else format(most, form)


def _longest(cases: list[Case], kind: str) -> str:
    found = {case.count: f"{case.longest_ms:.0f}" for case in cases if case.kind == kind}
    counts = next(attack.counts for attack in ATTACKS if attack.name == cases[0].attack)
    return " · ".join(found.get(count, "?") for count in counts) if found else ""


def write_table(path: Path, cases: list[Case]) -> None:
    """Put the rows of these cases into the table; rows of attacks that were not tried this time stay."""
    every = between(path, BEGIN, END) + rows(cases)
    found = {_title(row): row for row in every.splitlines(keepends=True)}
    body = "".join(found[attack.name] for attack in ATTACKS if attack.name in found)
    put_between(path, BEGIN, END, f"\n{HEAD}{body}")


def _title(row: str) -> str:
    return row.strip("| \n").partition(" |")[0]
