"""Bodies of requests to the web API, and its answers as JSON in pieces."""

from __future__ import annotations

import json
import time

import pytest

from lib.api_request import INVALID, NOT_FOUND, SAVE_FAILED, Refused, Request, encoded, pieces


def test_a_body() -> None:
    assert Request("POST", "/", read=lambda: b' {"a": [1, "\\u00e4"]} ').json() == {"a": [1, "ä"]}
    assert Request("POST", "/").json() is None


@pytest.mark.parametrize(
    "body", [b"{bad", b'{"a": 1, "a": 2}', b'{"a": {"name": 1, "Name": 2}}', b"NaN", b"\xff"]
)
def test_what_is_no_json_or_has_a_key_twice(body: bytes) -> None:
    """GOST takes what it could read of such a body."""
    with pytest.raises(Refused, match="the body is not JSON") as raised:
        Request("POST", "/", read=lambda: body).json()
    assert (raised.value.code, raised.value.status) == (INVALID, 400)


def test_a_key_that_stands_there_twice_among_very_many_is_found_at_once() -> None:
    pairs = [*((str(number), 0) for number in range(60_000)), ("a", 0), ("A", 0)]
    body = b"{%s}" % b",".join(b'"%s":%d' % (name.encode(), value) for name, value in pairs)
    began = time.process_time()
    with pytest.raises(Refused, match="the key 'a' stands there twice"):
        Request("POST", "/", read=lambda: body).json()
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 100_000, "the body is nested deeper than 40"),
        (b'"%s"' % (b"x" * 600_000), "the body is longer in one text than 524288 letters"),
    ],
)
def test_a_body_beyond_the_bounds_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why) as raised:
        Request("POST", "/", read=lambda: body).json()
    assert raised.value.code == INVALID


def test_errors_have_gost_s_codes_and_statuses() -> None:
    assert Refused(NOT_FOUND, "x").reply().body == {"code": 40004, "msg": "x"}
    assert Refused(NOT_FOUND, "x").status == 400
    assert Refused(SAVE_FAILED, "x").status == 500
    assert Refused(401, "x").status == 401


def test_no_text_becomes_markup() -> None:
    """A browser that took JSON for a page would find no tag in it: Go writes it in the same way."""
    written = encoded({"host": "<img src=x onerror=alert(1)>&\u2028"})
    assert not set(b"<>&") & set(written)
    assert json.loads(written) == {"host": "<img src=x onerror=alert(1)>&\u2028"}


def test_half_a_character_is_written_all_the_same() -> None:
    assert json.loads(encoded("\udc80")) == "\udc80"


@pytest.mark.parametrize("count", [0, 1, 16, 17, 100])
def test_rows_are_written_while_they_are_made(count: int) -> None:
    rows = ({"name": f"r{number}"} for number in range(count))
    made = list(pieces({"data": {"count": count, "list": rows}}))
    assert json.loads(b"".join(made)) == {
        "data": {"count": count, "list": [{"name": f"r{number}"} for number in range(count)]}
    }
    assert max(map(len, made)) < 400


def test_a_row_that_takes_a_while_ends_a_piece() -> None:
    made = list(pieces({"list": iter([None, 1, None, 2])}))
    assert b"" in made
    assert json.loads(b"".join(made)) == {"list": [1, 2]}
    assert json.loads(b"".join(pieces({}))) == {}
