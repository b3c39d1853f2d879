"""How tests are run (tests/conftest.py): inputs drawn alike in every run, and what is said at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DRAWING = """
from hypothesis import given, settings
from hypothesis import strategies as st

@settings(max_examples=20)
@given(st.integers())
def test_drawn(number):
    print("drew", number)
"""

BESIDE_GOST = """
import pytest
from tests.support.program import needs_gost

@needs_gost
def test_one(): ...

@pytest.mark.parametrize("other", [1, pytest.param(2, marks=needs_gost)])
def test_two(other): ...

@pytest.mark.skip(reason="something else")
def test_three(): ...
"""


def run(path: Path, text: str, *arguments: str, **environment: str) -> str:
    """What pytest says of a file with this text, run as those of the repository are."""
    file = path / "test_made.py"
    file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command.append(f"--basetemp={path / 'base'}")  # else it would clear up what is of the run that this is in
    done = subprocess.run(
        [*command, f"--rootdir={ROOT}", "-c", str(ROOT / "pyproject.toml"), *arguments, str(file)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def drawn(path: Path, *arguments: str) -> list[str]:
    numbers = re.findall(r"drew (-?\d+)\n", run(path, DRAWING, "-s", *arguments))
    assert len(numbers) >= 20
    return numbers


def test_inputs_are_the_same_in_every_run(tmp_path: Path) -> None:
    assert drawn(tmp_path) == drawn(tmp_path)


def test_inputs_are_others_where_that_is_asked_for_and_come_back_by_their_seed(tmp_path: Path) -> None:
    random = "--hypothesis-profile=random"
    one, other = (drawn(tmp_path, random, f"--hypothesis-seed={seed}") for seed in (1, 2))
    assert one != other
    assert drawn(tmp_path, random, "--hypothesis-seed=1") == one


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_the_last_line_says_how_many_were_skipped_for_want_of_gost(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    said = run(tmp_path, BESIDE_GOST, *workers, PATH="", GOST_BIN="")
    assert "1 passed, 3 skipped" in said.splitlines()[-2]
    assert said.splitlines()[-1] == (
        "2 tests were skipped for want of a real GOST v3: put gost into PATH, or set GOST_BIN"
    )


def test_a_gost_bin_that_is_none_is_told_of(tmp_path: Path) -> None:
    said = run(tmp_path, BESIDE_GOST, GOST_BIN=f"{tmp_path}/gost")
    assert f"no real GOST: GOST_BIN={tmp_path}/gost is no executable" in said
    assert "2 tests were skipped for want" in said.splitlines()[-1]


@pytest.mark.parametrize("where", ["PATH", "GOST_BIN"])
def test_nothing_is_said_where_gost_is(tmp_path: Path, where: str) -> None:
    gost = tmp_path / "gost"
    gost.write_text("#!/bin/sh\n")
    gost.chmod(0o755)
    given = (
        {"PATH": str(tmp_path), "GOST_BIN": ""} if where == "PATH" else {"PATH": "", "GOST_BIN": str(gost)}
    )
    said = run(tmp_path, BESIDE_GOST, **given)
    assert "3 passed, 1 skipped" in said.splitlines()[-1]
    assert "GOST" not in said
