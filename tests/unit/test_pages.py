"""The papers say what is so: tests they name exist, links lead somewhere, tables agree with the code."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from tests.bench import publish
from tests.support import keys_table
from tests.support.netns import ROOT
from tests.support.page import DOCS, blocks, markers

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((ROOT / "tests" / "bench").glob("*.md"))]
NAMED_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
MOST_README_LINES = 240

every_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


@every_page
def test_the_tests_it_names_exist(page: Path) -> None:
    named = NAMED_TEST.findall(page.read_text(encoding="utf-8"))
    missing = [f"{file}::{name}" for file, name in named if not _exists(file, name)]
    assert not missing


def _exists(file: str, name: str) -> bool:
    return (ROOT / file).is_file() and name in functions(ROOT / file)


def test_every_row_about_gost_names_a_test() -> None:
    text = keys_table.PAGE.read_text(encoding="utf-8").partition("## Every key")[0]
    for heading in ("What works unchanged", "What differs, and why"):
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert len(rows) > 10, heading
        assert not [row for row in rows if not NAMED_TEST.search(row)]


def test_the_table_of_keys_is_that_of_the_code() -> None:
    assert keys_table.in_page() == keys_table.table(), "run: .venv/bin/python -m tests.support.keys_table"


def test_the_readme_s_figures_are_those_of_the_run_that_is_kept() -> None:
    whole = json.loads(publish.FIGURES.read_text())
    assert publish.in_readme() == publish.table(whole), "run: tests/bench/publish.py build/bench.json"


@every_page
def test_its_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for found in LINK.findall(text):
        target, _, anchor = next(filter(None, found)).partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


@every_page
def test_no_marked_block_is_overlooked(page: Path) -> None:
    """A marker that is spelt wrong would be a block that nobody runs."""
    assert markers(page) == len(blocks(page))


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES
