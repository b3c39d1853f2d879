"""No secret, and no second line, in whatever others put into a text."""

from __future__ import annotations

import pytest
from hypothesis import given

from lib import log_redact
from tests.support import texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://one:s3cret@h/x: refused", "http://***@h/x: refused"),
        ("http://s3cret@h/x", "http://***@h/x"),
        ("router+wss://a:s3c@ret@h:1", "router+wss://***@h:1"),
        ("redis://:s3cret@h/0 and socks5://u:s3cret@p:1", "redis://***@h/0 and socks5://***@p:1"),
        ("http://h/x?token=s3cret&dst=1.2.3.4", "http://h/x?token=***&dst=1.2.3.4"),
        ("/x?a=1&api_key=s3cret failed", "/x?a=1&api_key=*** failed"),
        ("http://h/?access_token=s3:cret: refused", "http://h/?access_token=***: refused"),
        ("{'Authorization': 'Bearer s3cret-1'}", "{'Authorization': '***'}"),
        ("Authorization: Basic dXNlcjpzM2NyZXQ=", "Authorization: ***"),
        ("bearer abc.d3f/g", "bearer ***"),
        ("http://h:8443/a@b", "http://h:8443/a@b"),
        ("a basic rule, the bearer of news", "a basic rule, the bearer of news"),
        ("unauthorized: wrong login", "unauthorized: wrong login"),
        ("host-1@10.0.0.1:1 no-route", "host-1@10.0.0.1:1 no-route"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert log_redact.secrets(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümlauts and 日本", "plain, with ümlauts and 日本"),
        ("two\nlines\r", "two\\x0alines\\x0d"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x85\u2028\u202e\udcff", "\\x85\\u2028\\u202e\\udcff"),
    ],
)
def test_control_characters_are_shown_as_such(text: str, shown: str) -> None:
    assert log_redact.one_line(text) == shown


@given(texts.from_json())
def test_one_line_is_one_line_that_can_be_written(text: str) -> None:
    shown = log_redact.one_line(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()
