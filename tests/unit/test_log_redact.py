"""No secret in whatever others put into a text."""

from __future__ import annotations

import pytest

from lib import log_redact


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
