"""Tokens of lanes: good once, for ten seconds, one a session; and how many lanes are expected from where."""

from __future__ import annotations

from lib.session_lane_tokens import TOKEN_SECONDS, LaneTokens

ONE, TWO = b"1" * 16, b"2" * 16


def test_a_token_is_good_once() -> None:
    tokens: LaneTokens[str] = LaneTokens()
    tokens.give("a", "192.0.2.1", ONE, 0.0)
    assert tokens.take(TWO, 1.0) is None
    assert tokens.take(ONE, 1.0) == "a"
    assert tokens.take(ONE, 1.0) is None


def test_a_token_is_good_for_a_time() -> None:
    tokens: LaneTokens[str] = LaneTokens()
    tokens.give("a", "192.0.2.1", ONE, 0.0)
    tokens.give("b", "192.0.2.1", TWO, 1.0)
    assert tokens.take(ONE, TOKEN_SECONDS) is None
    assert tokens.take(TWO, TOKEN_SECONDS) == "b"


def test_a_session_has_one_token() -> None:
    tokens: LaneTokens[str] = LaneTokens()
    tokens.give("a", "192.0.2.1", ONE, 0.0)
    tokens.give("a", "192.0.2.1", TWO, 0.0)
    assert tokens.take(ONE, 0.0) is None
    tokens.forget("a")
    assert tokens.take(TWO, 0.0) is None


def test_expected_lanes_by_address() -> None:
    tokens: LaneTokens[str] = LaneTokens()
    tokens.give("a", "192.0.2.1", ONE, 0.0)
    tokens.give("b", "192.0.2.2", TWO, 0.0)
    assert [tokens.expected(address, 1.0) for address in ("192.0.2.1", "192.0.2.3", "")] == [1, 0, 2]
    tokens.take(ONE, 1.0)
    assert [tokens.expected(address, 1.0) for address in ("192.0.2.1", "")] == [0, 1]
    assert tokens.expected("", TOKEN_SECONDS) == 0
