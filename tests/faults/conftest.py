"""The table of faults: filled by the tests, written into RELIABILITY.md by `make faults`.

With FAULTS_TABLE=add the rows of the tests that ran are put in, and all others stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import more_hosts, no_traceback
from tests.support.marked import put_between
from tests.support.netns import ROOT

__all__ = ["more_hosts", "no_traceback", "note", "short"]

RELIABILITY = ROOT / "RELIABILITY.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
HEAD = "| fault | who notices | how fast | what is lost |\n|---|---|---|---|\n"
_ROWS: dict[str, str] = {}

Note = Callable[[str, str, str, str], None]


@pytest.fixture
def note() -> Note:
    """Add a row: the fault, who notices, how fast, what is lost."""

    def add(fault: str, who: str, fast: str, lost: str) -> None:
        _ROWS[fault] = f"| {fault} | {who} | {fast} | {lost} |\n"

    return add


@pytest.fixture
def short() -> bool:
    """Whether this is the short form that CI runs."""
    return bool(os.environ.get("FAULTS_SHORT"))


@pytest.fixture(scope="session", autouse=True)
def table() -> Iterator[None]:
    """Write what has been noted, where all of it has run."""
    yield
    if (how := os.environ.get("FAULTS_TABLE")) and _ROWS:
        write_table(RELIABILITY, adds=how == "add")


def write_table(path: Path, adds: bool = False) -> None:
    """Write all rows; where it `adds`, those of the same names are replaced, and others stay."""
    rows = {}
    if adds:
        table = path.read_text().partition(BEGIN)[2].partition(END)[0]
        rows = {line.split(" | ")[0][2:]: f"{line}\n" for line in table.splitlines()[3:]}
    put_between(path, BEGIN, END, f"\n{HEAD}{''.join((rows | _ROWS).values())}")
