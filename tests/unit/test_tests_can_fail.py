"""A test that cannot fail is not a test: what can be seen of that in the source of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.weak_tests import ORIGINS, findings

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / "tests").as_posix())
def test_nothing_here_is_weak(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    assert findings(path.read_text(encoding="utf-8"), name) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("assert True", "assert on a constant: True"),
        ("assert 1, 'why'", "assert on a constant: 1"),
        ("assert 'text'", "assert on a constant: 'text'"),
        ("assert ()", "assert on a constant: ()"),
        ("assert not False", "assert on a constant: False"),
        ("assert (x == 1, 'why')", "assert on what is never empty"),
        ("assert [x]", "assert on what is never empty"),
        ("assert f'{x} y'", "assert on what is never empty"),
        ("assert lambda: x", "assert on what is never empty"),
        ("def test_a():\n text = f'-C{x}'\n assert text", "assert on text, which is never empty"),
        ("def test_a():\n pair = x, y\n assert pair", "assert on pair, which is never empty"),
        ("assert x or True", "assert on a constant: True"),
        ("assert x and y and 1", "assert on a constant: 1"),
        ("assert 1 == 1", "assert on constants compared with each other"),
        ("assert -1 < 2 <= 3", "assert on constants compared with each other"),
        ("assert 'a' in ('a', 'b')", "assert on constants compared with each other"),
        ("assert x.y == x.y", "assert on something compared with itself"),
        ("assert not (x or (y, 'z'))", "assert on what is never empty"),
        ("@pytest.mark.parametrize('a', [])\ndef test_a(a): ...", "parametrize over nothing"),
        ("@pytest.mark.parametrize('a', argvalues={})\ndef test_a(a): ...", "parametrize over nothing"),
        ("st.text(st.characters())", "characters() draws lone surrogates"),
        ("st.text(st.characters(exclude_characters='x'))", "characters() draws lone surrogates"),
        ("def test_a():\n try: f()\n except E as e: assert e", "assert in an except branch"),
        ("def test_a():\n try:\n  f()\n except E as e: assert e\n else: g()", "assert in an except branch"),
    ],
)
def test_what_is_weak_is_found(source: str, why: str) -> None:
    (found,) = findings(source)
    assert why in found


@pytest.mark.parametrize(
    "source",
    [
        "assert x",
        "assert x == 1",
        "assert f(x) == f(x)",
        "assert x == [1, 2] or y",
        "assert not x",
        "assert [*x]",
        "assert {**x}",
        "assert f'{x}{y}'",
        "def test_a():\n x = f'{y}'\n assert x",
        "def test_a():\n x = [1]\n x = g()\n assert x",
        "def test_a():\n x = [1]\n for x in y: assert x",
        "@pytest.mark.parametrize('a', [1])\ndef test_a(a): ...",
        "@pytest.mark.parametrize('a', FOUND)\ndef test_a(a): ...",
        "st.characters(codec='utf-8')",
        "st.characters(exclude_categories=['Cs'])",
        "def test_a():\n try: f()\n except E as e: assert e\n else: assert x",
        "def test_a():\n try:\n  f()\n  pytest.fail('why')\n except E as e: assert e",
        "@given(st.text())\ndef test_a(x):\n try: f(x)\n except E as e: assert e",
    ],
)
def test_what_is_not_weak_is_let_be(source: str) -> None:
    assert findings(source) == []


def test_only_one_file_may_draw_any_character() -> None:
    assert findings("st.characters()", ORIGINS) == []
    assert findings("st.characters()", "tests/unit/test_x.py") != []
