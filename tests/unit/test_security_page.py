"""SECURITY.md names the test that holds each promise: all of them exist, and no section goes without."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")
SHORT = re.compile(r"`(test_\w+)`")
SHORT_FILE = "tests/unit/test_acl_connections.py"
"""Where the names without a file are."""
PROMISES = (
    "Who may want what",
    "Who may be whom",
    "What may be sent",
    "Privileges",
    "Defaults, and why",
    "Memory",
)


@cache
def functions_of(file: str) -> frozenset[str]:
    """The test functions of a file; none where there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(
        node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def missing(text: str) -> list[str]:
    """What a text names and is not there."""
    named = [(file, name) for file, name in NAMED.findall(text)]
    named += [(SHORT_FILE, name) for name in SHORT.findall(text)]
    return [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or (name and name not in functions_of(file))
    ]


def test_every_test_that_it_names_exists() -> None:
    assert len(NAMED.findall(PAGE)) > 100
    assert missing(PAGE) == []


@pytest.mark.parametrize(
    "text",
    [
        "[tests/unit/test_nowhere.py]",
        "[tests/unit/test_hub.py::test_nothing]",
        "[tests/unit/test_acl.py,\n  tests/unit/test_hub.py::knock]",
        "(`test_nothing`)",
    ],
)
def test_a_wrong_name_is_found(text: str) -> None:
    assert len(missing(text)) == 1


@pytest.mark.parametrize("title", PROMISES)
def test_no_section_of_promises_names_none(title: str) -> None:
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert NAMED.search(section)


def test_each_bullet_about_who_wants_what_names_one() -> None:
    section = PAGE.partition("\n## Who may want what\n")[2].partition("\n## ")[0]
    bullets = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    assert len(bullets) > 20
    assert not [text for text in bullets if not NAMED.search(text) and "below)" not in text]
