"""Tests that cannot fail, found in their source.

Knows: what an assert, a parametrize or a strategy looks like that says nothing.
Refuses to know: what a test ought to say; and what only a run can tell (an empty list that some function returns).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

ORIGINS = "tests/support/texts.py"
"""The one file that may draw any character; others take from it what can come from where."""


def findings(source: str, path: str = "") -> list[str]:
    """What is weak in the source of one test file, each as `line: why`, in the order of the lines."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and (why := _always(node.test)):
            found.append((node.lineno, f"assert {why}"))
        elif isinstance(node, ast.Call):
            found += ((node.lineno, why) for why in _call(node, path))
        elif isinstance(node, Function):
            found += _of_a_name(node)
            if node.name.startswith("test_"):
                found += _only_in_except(node)
    return [f"{line}: {why}" for line, why in sorted(found)]


def _always(test: ast.expr) -> str:
    """Why an expression has the same truth whatever the program does; empty where it may have either."""
    if is_literal(test):
        return f"on a constant: {ast.unparse(test)}"
    if isinstance(test, ast.Tuple | ast.List | ast.Set | ast.Dict | ast.JoinedStr | ast.Lambda):
        return "on what is never empty" if _holds_something(test) else ""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _always(test.operand)
    if isinstance(test, ast.BoolOp):
        return next(filter(None, map(_always, test.values)), "")
    if isinstance(test, ast.Compare):
        sides = [test.left, *test.comparators]
        if all(map(is_literal, sides)):
            return "on constants compared with each other"
        if len({ast.dump(side) for side in sides}) == 1 and not _calls(test):
            return "on something compared with itself"
    return ""


def _holds_something(display: ast.Tuple | ast.List | ast.Set | ast.Dict | ast.JoinedStr | ast.Lambda) -> bool:
    """False for what may be empty all the same: nothing in it but `*x`, `**x` or `{x}`."""
    match display:
        case ast.Lambda():
            return True
        case ast.Dict():
            return any(key is not None for key in display.keys)
        case ast.JoinedStr():
            return any(isinstance(part, ast.Constant) for part in display.values)
        case _:
            return any(not isinstance(item, ast.Starred) for item in display.elts)


def _of_a_name(function: Function) -> Iterator[tuple[int, str]]:
    """Asserts on nothing but a name, whose one value in this function is never empty."""
    values: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            values.setdefault(node.id, []).append(None)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id].append(node.value)
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Name):
            match values.get(node.test.id):
                case [None, ast.expr() as value] if _always(value):
                    yield node.lineno, f"assert on {node.test.id}, which is never empty"


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is written out: a constant, or a display of constants."""
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _calls(node: ast.expr) -> bool:
    return any(isinstance(inner, ast.Call | ast.Await) for inner in ast.walk(node))


def _call(call: ast.Call, path: str) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "parametrize":
        values = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "argvalues")]
        if any(is_literal(value) and not ast.literal_eval(value) for value in values):
            yield "parametrize over nothing"
    if name == "characters" and path != ORIGINS and not _keeps_surrogates_out(call):
        yield f"characters() draws lone surrogates: {ORIGINS} has what can come from where"


def _keeps_surrogates_out(call: ast.Call) -> bool:
    words = {word.arg: ast.unparse(word.value) for word in call.keywords}
    return (
        "codec" in words
        or "categories" in words
        or any(f"'{kind}'" in words.get("exclude_categories", "") for kind in ("C", "Cs"))
    )


def _only_in_except(test: Function) -> Iterator[tuple[int, str]]:
    """Asserts in an except branch that a test passes by when nothing is raised.

    A hypothesis test may have them: it draws both what raises and what does not.
    """
    if any("given" in ast.unparse(decorator) for decorator in test.decorator_list):
        return
    for node in ast.walk(test):
        if isinstance(node, ast.Try) and not any(map(_judges, [*node.body[-1:], *node.orelse])):
            for handler in node.handlers:
                if any(isinstance(inner, ast.Assert) for inner in ast.walk(handler)):
                    yield handler.lineno, "assert in an except branch that may never be reached"


def _judges(statement: ast.stmt) -> bool:
    """Whether a statement ends or fails the test: it asserts, raises, returns, or calls pytest.fail."""
    return any(
        isinstance(node, ast.Assert | ast.Raise | ast.Return)
        or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("fail"))
        for node in ast.walk(statement)
    )
