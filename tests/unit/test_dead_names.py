"""Every function, class and constant of lib/ is used by the program: one that only tests use is dead too.

vulture (`make check`) finds unused methods, fields and variables, but it takes a name for used wherever the same
name stands: `load` of one module because of `json.load`. Here a name counts as used where its own module uses it
outside its own body, or where another file imports it or asks the module for it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    *sorted(path for path in (ROOT / "lib").glob("*.py") if path.stem != "__init__"),
    *sorted((ROOT / "packaging").glob("*.py")),
    *(ROOT / "tunrouter.py", ROOT / "packaging" / "tunrouter.spec"),
)

Used = set[tuple[str, str]]
"""(module of lib, name)"""


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, and those below its ifs and tries."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try):
            yield from _statements([*statement.body, *statement.orelse])
        else:
            yield statement


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement gives to what it makes."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        nodes = [node for target in targets for node in ast.walk(target)]
        return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return set()


def _used_at_home(module: str, tree: ast.Module) -> Used:
    used: Used = set()
    for statement in _statements(tree.body):
        nodes = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        names = {node.id for node in nodes if isinstance(node.ctx, ast.Load)}
        used |= {(module, name) for name in names - _defined(statement)}
    return used


def _used_of_others(tree: ast.Module) -> Used:
    used: Used = set()
    modules: dict[str, str] = {}
    """What a module of lib is called here."""
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lib."):
            used |= {(node.module.removeprefix("lib."), alias.name) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            used.add((modules[node.value.id], node.attr))
    return used


def dead(sources: dict[str, str]) -> list[str]:
    """Names that none of these files uses, by text; a file whose name begins with `lib/` defines some."""
    trees = {name: ast.parse(text) for name, text in sources.items()}
    used = set().union(*map(_used_of_others, trees.values()))
    homes = {name[4:-3]: tree for name, tree in trees.items() if name.startswith("lib/")}
    for module, tree in homes.items():
        used |= _used_at_home(module, tree)
    return [
        f"{module}.{name}"
        for module, tree in homes.items()
        for statement in _statements(tree.body)
        for name in sorted(_defined(statement))
        if (module, name) not in used
    ]


def test_the_program_uses_every_name_of_lib() -> None:
    sources = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PROGRAM}
    assert not dead(sources), (
        "nothing but perhaps a test uses these: remove them, or move them to tests/support"
    )


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        pytest.param(
            "def load(): pass", "import json\njson.load(f)", ["a.load"], id="a name that others have"
        ),
        pytest.param("def walk(): walk()", "", ["a.walk"], id="only by itself"),
        pytest.param("A = B = 1\nC: int = B", "", ["a.A", "a.C"], id="constants"),
        pytest.param("A, (B, C) = x\nprint(B)", "", ["a.A", "a.C"], id="taken apart"),
        pytest.param("class A:\n    def m(self) -> A: ...", "", ["a.A"], id="a class"),
        pytest.param("if x:\n    A = 1\nelse:\n    B = 1", "", ["a.A", "a.B"], id="below an if"),
        pytest.param("def f(): pass", "from lib.b import f", ["a.f"], id="of another module"),
        pytest.param("def f(): pass", "from lib.a import f", [], id="imported"),
        pytest.param("def f(): pass", "from lib import a\na.f()", [], id="asked for"),
        pytest.param("def f(): pass", "from lib import a as m\ndef g(): m.f()", [], id="by another name"),
        pytest.param("def f(): pass", "def g():\n    from lib import a\n    a.f()", [], id="imported late"),
        pytest.param("A = 1\ndef f(): return A\nf()", "", [], id="at home"),
    ],
)
def test_the_search_finds(text: str, other: str, expected: list[str]) -> None:
    assert dead({"lib/a.py": text, "tunrouter.py": other}) == expected
