"""A module's name says its group, its first line says what it is, and ARCHITECTURE.md has both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import modules_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", modules_table.modules())
def test_a_module_s_name_begins_with_its_group(module: str) -> None:
    assert modules_table.group(module) is not None, (
        f"lib/{module}.py: name it group_what, with a group of GROUPS in tests/support/modules_table.py"
    )


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("cli_top", "cli"),
        ("hub", "hub"),
        ("acl", "acl"),
        ("counter_rates", ""),
        ("cli", None),  # a group without a main module
        ("watching", None),
        ("hubs", None),
        ("counter_sums", None),
    ],
)
def test_the_group_of_a_name(module: str, expected: str | None) -> None:
    assert modules_table.group(module) == expected


@pytest.mark.parametrize("name", modules_table.GROUPS)
def test_a_group_has_several_modules(name: str) -> None:
    """A group that lost its last module would stand in ARCHITECTURE.md above nothing."""
    assert sum(modules_table.group(module) == name for module in modules_table.modules()) > 1


@pytest.mark.parametrize("module", modules_table.modules())
def test_a_module_begins_with_a_sentence_about_it(module: str) -> None:
    line = modules_table.first_line(module)
    assert line.endswith("."), f"lib/{module}.py: the docstring's first line is one whole sentence"


def test_the_table_of_modules_is_that_of_the_code() -> None:
    assert modules_table.in_page() == modules_table.table(), (
        "run: .venv/bin/python -m tests.support.modules_table"
    )


def test_the_changes_that_newcomers_looked_for_lead_to_modules_that_exist() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("| change | module |")[2].partition("\n\n")[0]
    found = re.findall(r"\| `(\w+)` \|", table)
    assert len(found) == 30
    assert set(found) <= set(modules_table.modules())
