"""Bodies are read in pieces, and what comes of it is what JSON's own parser makes of the whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import api_json
from lib.api_json import Beyond, parsed
from tests.support.opcodes import counted, longest_step

ROUTES = [{"dst": f"10.{n >> 8}.{n & 255}.0/24", "gateway": f"g{n}"} for n in range(3000)]
TWICE = ("twice",)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


def distinct(keys: dict[str, Any]) -> bool:
    return len({key.lower() for key in keys}) == len(keys)


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner).filter(distinct), max_leaves=20
)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_json, "PIECE", 8)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_was_written_is_read(value: Any, indent: int | None, is_ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    found = parsed(text.encode())
    assert found == value
    assert json.dumps(found, indent=indent, ensure_ascii=is_ascii) == text


def outcome(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except json.JSONDecodeError as wrong:
        return "wrong", wrong.msg, wrong.pos
    except ValueError:
        return TWICE


@given(st.text(alphabet='{}[]",:1.-e tru\\n', max_size=40))
def test_a_mistake_is_told_as_by_json_at_its_place(text: str) -> None:
    wanted = outcome(lambda text: json.loads(text, object_pairs_hook=api_json._distinct), text)
    found = outcome(lambda text: parsed(text.encode()), text)
    if found == TWICE:  # it is seen before what is wrong behind it
        assert wanted == TWICE or wanted[0] == "wrong"
    else:
        assert found == (wanted if text.strip() else None)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b'["' + b"x" * 60 + b'"]', "longer in one text than 50 letters", id="text"),
        pytest.param(b"[" + b"1" * 60 + b"]", "longer in one number than 50 digits", id="number"),
        pytest.param(json.dumps(dict.fromkeys(map(str, range(60)))).encode(), "longer in one object than 50 keys", id="keys"),
        pytest.param(b"[" + b"[]," * 70 + b"0]", "longer than 130 values", id="values"),
        pytest.param(b"[" * 60 + b"]" * 60, "nested deeper than 40", id="depth"),
        pytest.param(b"[" * 100_000, "longer than 130 values", id="great depth"),
    ],
)  # fmt: skip
def test_everything_is_bounded(body: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_json, "MAX_TEXT", 50)
    monkeypatch.setattr(api_json, "MAX_DIGITS", 50)
    monkeypatch.setattr(api_json, "MAX_KEYS", 50)
    monkeypatch.setattr(api_json, "MAX_VALUES", 130)
    with pytest.raises(Beyond, match=why):
        parsed(body)


@pytest.mark.parametrize("body", [b"\xff", b"NaN", b"[1, Infinity]", b'{"a": 1, "b": {"A": 1, "a": 2}}'])
def test_what_is_no_json_of_ours(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"decode|is no JSON|twice"):
        parsed(body)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"routes": ROUTES}).encode(),
        json.dumps({"routes": ROUTES}, indent=4).encode(),
        b" " * 100_000 + b"1" + b" " * 100_000,
        json.dumps(dict.fromkeys(f"k{n}" for n in range(9000))).encode(),
    ],
    ids=["rows", "indented rows", "blanks", "keys"],
)
def test_no_step_is_long(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither here nor in C: JSON's parser never sees more than a piece."""
    monkeypatch.setattr(api_json, "PIECE", 1 << 13)
    seen: list[int] = []

    def scan(text: str, at: int) -> Any:
        seen.append(len(text) - at)
        return scanner(text, at)

    scanner = api_json._scan
    monkeypatch.setattr(api_json, "_scan", scan)
    assert longest_step(lambda step: parsed(body, step)) < 30_000
    assert max(seen) <= api_json.PIECE


def test_twice_as_many_rows_take_twice_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_json, "PIECE", 1 << 13)
    bodies = [json.dumps({"routes": ROUTES[:count]}).encode() for count in (1000, 2000)]
    few, many = (counted(partial(parsed, body)) for body in bodies)
    assert many < 2.1 * few


def test_what_is_of_no_more_use_is_emptied_in_steps() -> None:
    steps: list[None] = []
    routes: list[Any] = [{"dst": ["x", "y"]} for _ in range(100)]
    first, body = routes[0], {"routes": routes}
    api_json.release(body, lambda: steps.append(None))
    assert (first, routes, body) == ({}, [], {})
    assert len(steps) > 300
