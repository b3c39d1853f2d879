"""Answers as JSON in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lib.ctl_encode import ROWS, pieces


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, ROWS + 1, 1000])
def test_rows_that_are_made_meanwhile(count: int) -> None:
    def rows() -> Iterator[dict[str, int] | None]:
        for number in range(count):
            yield {"n": number}
            yield None

    text = b"".join(pieces({"ok": True, "rows": rows(), "after": [1, 2]}))
    assert text.count(b"\n") == 1
    assert text.endswith(b"}\n")
    assert json.loads(text) == {"ok": True, "rows": [{"n": n} for n in range(count)], "after": [1, 2]}
    assert text.count(b"\r") == (count + 1 if count else 0)


def test_a_piece_holds_few_rows() -> None:
    found = list(pieces({"rows": iter([{"n": 1}] * 1000)}))
    assert max(piece.count(b"\r") for piece in found) <= ROWS + 1


def test_text_never_holds_a_raw_return() -> None:
    text = b"".join(pieces({"rows": iter([{"name": "a\r\nb\N{SNOWMAN}"}])}))
    assert text.replace(b"\r", b"\n") == b'{"rows": [\n{"name": "a\\r\\nb\\u2603"}\n]}\n'


def test_nothing() -> None:
    assert b"".join(pieces({})) == b"{}\n"
