"""The line of an invitation: there and back, short enough, and clear words for one that was cut or mistyped."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import enrol_token
from lib.enrol_token import PREFIX, Token

TOKEN = Token(
    *("hub.example", 8443, b"s" * 8, b"i" * 8, b"x" * 16, 1_900_000_000, "host-7"),
    pin=bytes(range(32)),
)


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        replace(TOKEN, pin=b""),
        replace(TOKEN, kind="wss", path="/ws"),
        replace(TOKEN, kind="wss", path="", namespace=bytes(range(16))),
        replace(TOKEN, address="2001:db8::1", host="höst"),
    ],
    ids=["pinned", "by name", "websocket", "namespace", "other letters"],
)
def test_there_and_back(token: Token) -> None:
    line = enrol_token.encode(token)
    assert enrol_token.decode(line) == token
    assert enrol_token.decode(f"  {line[:40]}\r\n {line[40:]}\n") == token, "a terminal has wrapped it"
    assert line.isascii()
    assert set(line) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), (
        "no shell quotes"
    )


def test_a_line_is_short_and_shows_no_secret_in_logs() -> None:
    assert len(enrol_token.encode(TOKEN)) < 150
    assert "xxxx" not in repr(TOKEN)


def test_the_secret_has_128_bits() -> None:
    assert 8 * len(TOKEN.secret) == 128
    with pytest.raises(ValueError, match="cut off"):
        enrol_token.decode(enrol_token.encode(TOKEN)[:-1])


LINE = enrol_token.encode(TOKEN)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "there is no line"),
        ("   \n", "there is no line"),
        ("hub.example:8443", f"begin with {PREFIX}"),
        (LINE[:60], "cut off or mistyped"),
        (LINE.replace(LINE[30], "A" if LINE[30] != "A" else "B", 1), "cut off or mistyped"),
        (LINE + "!", "cut off or mistyped"),
        (PREFIX + "A" * 5000, "cut off or mistyped"),
        (PREFIX, "cut off or mistyped"),
        (PREFIX + base64.urlsafe_b64encode(b"\x02" + bytes(80)).decode().rstrip("="), "of version 2"),
    ],
)
def test_what_is_said_of_a_wrong_line(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        enrol_token.decode(line)


def sealed(data: bytes) -> str:
    data += hashlib.sha256(data).digest()[:4]
    return PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(st.binary(max_size=300))
def test_no_line_is_an_error_of_another_kind(data: bytes) -> None:
    """Also those whose check is right, which only a malicious hub makes."""
    for line in (sealed(b"\x01" + data), PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")):
        try:
            token = enrol_token.decode(line)
        except ValueError:
            continue
        assert enrol_token.is_invitable(token.host)
        assert token.port
        assert not token.path or enrol_token.is_path(token.path)


@given(st.text(max_size=300))
def test_any_text_is_a_line_or_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        enrol_token.decode(text)


@pytest.mark.parametrize("host", ["host-7", "a", "höst", "a.b", "x" * 255])
def test_names_that_can_be_invited(host: str) -> None:
    assert enrol_token.is_invitable(host)


@pytest.mark.parametrize(
    "host", ["", "a b", "a\n", "a\tb", "#x", "a#b", ".corp", "*.corp", "*", "x" * 256, "\x1b[m"]
)
def test_names_that_cannot(host: str) -> None:
    """They would be something else in a row of routes, or in a login."""
    assert not enrol_token.is_invitable(host)
