"""The names in ARCHITECTURE.md, in its prose and its diagrams, are names of lib/; so are its and others' paths."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support import modules_table
from tests.support.netns import ROOT

PAGE = ROOT / "ARCHITECTURE.md"
FOREIGN = frozenset({"unpack_from", "gc.freeze", "queue_bytes"})
"""Names of Python's own, and a field of HubSettings."""

_DIAGRAM = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`([A-Za-z_][\w.]*)(?:\(\))?`")
_NAME = re.compile(r"(?<![\w/.-])(?:[A-Za-z]\w*(?:\.\w+)+|[a-z]+_\w+|[A-Z][a-z]+(?:[A-Z][a-z]+)+)(?![\w/])")
"""In a diagram: what has a dot or an underscore in it, or is in CamelCase."""
_PATH = re.compile(r"(?<![\w/.-])(?:lib|tests|packaging)/[\w/.-]*\w")
_PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "packaging").rglob("*.md"), *(ROOT / "tests" / "bench").glob("*.md")]
)


@cache
def _defined() -> dict[str, frozenset[str]]:
    """Module or class -> the names that are defined anywhere in it; "" -> all of them."""
    found: dict[str, set[str]] = {"": set()}
    for module in modules_table.modules():
        found[""].add(module)
        tree = ast.parse((modules_table.LIB / f"{module}.py").read_text(encoding="utf-8"))
        left: list[tuple[ast.AST, tuple[str, ...]]] = [(tree, ("", module))]
        while left:
            node, around = left.pop()
            if isinstance(node, ast.ClassDef):
                around = (*around, node.name)
            if name := _name(node):
                for where in around:
                    found.setdefault(where, set()).add(name)
            left += [(child, around) for child in ast.iter_child_nodes(node)]
    return {where: frozenset(names) for where, names in found.items()}


def _name(node: ast.AST) -> str:
    """The name that a node defines; empty where it defines none."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
        return node.id if isinstance(node, ast.Name) else node.attr
    return ""


def _exists(name: str) -> bool:
    """Whether each part of a dotted name is defined in the part before it.

    A first part that is neither a module nor a class is a variable. Nothing is known about what it holds, so
    the next part only has to be defined somewhere.
    """
    first, *rest = name.split(".")
    if first not in _defined()[""]:
        return False
    for part in rest:
        if part not in _defined().get(first, _defined()[""]):
            return False
        first = part
    return True


def _of(text: str) -> set[str]:
    """The names in the text of a page that must exist in lib/."""
    diagrams = _DIAGRAM.findall(text)
    prose = (
        _DIAGRAM.sub("", text).partition("<!-- modules:")[0] + text.partition("<!-- end of modules -->")[2]
    )
    quoted = {name for name in _QUOTED.findall(prose) if _NAME.fullmatch(name)}
    return quoted | {name for diagram in diagrams for name in _NAME.findall(diagram)}


def test_every_name_of_the_page_is_one_of_the_code() -> None:
    names = _of(PAGE.read_text(encoding="utf-8"))
    assert len(names) > 50
    keys = {"keepalive.timeout", "tunrouter.py"}
    assert not sorted(name for name in names - FOREIGN - keys if not _exists(name))


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("forward.scan", True),
        ("stream_tcp.Stream.receive_into", True),
        ("Namespace.lost", True),
        ("taps.on", True),
        ("capture_watch.scan", True),
        ("watching.scan", False),
        ("capture_watch.receive_into", False),
        ("Stream.scan", False),
        ("route_lines", False),
        ("taps.onward", False),
    ],
)
def test_the_check_tells_what_exists(name: str, there: bool) -> None:
    assert _of(f"```\n {name} --> x\n```\n") == {name}
    assert _of(f"It is `{name}`.\n") == {name}
    assert _exists(name) is there


@pytest.mark.parametrize("page", _PAGES, ids=[str(page.relative_to(ROOT)) for page in _PAGES])
def test_every_path_on_a_page_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [
        path
        for path in _PATH.findall(text)
        if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()
    ]
    assert not missing
