"""What is a table, and what only came in its place."""

from __future__ import annotations

import gzip
import time

import pytest

from lib import source_text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"\r\n  <html lang=de><head>", "an HTML page"),
        (b"<HEAD><TITLE>302</TITLE>", "an HTML page"),
        (b'<?xml version="1.0"?>', "XML"),
        (b"<!-- login -->", "XML"),
        (b'{"error": "unauthorized"}', "JSON"),
        (b'[{"dst": "10.0.0.0/8"}]', "JSON"),
        (b"[]\n", "JSON"),
        (b"{\n", "JSON"),
        (gzip.compress(b"10.0.0.0/8 a", mtime=0), "compressed"),
        (b"PK\3\4rest", "compressed"),
        (b"10.0.0.0/8 host-1\n", ""),
        (b"# <html>\nuser pass\n", ""),
        (b"<user> pass\n", ""),
        (b"{user} pass\n", ""),
        (b"[user] pass\n", ""),
        (b"htmlless pass\n", ""),
        (b"", ""),
        (b" \n\n", ""),
    ],
)
def test_what_came_instead_of_a_table(text: bytes, what: str) -> None:
    assert source_text.instead(text) == what


@pytest.mark.parametrize(
    ("text", "is_marked"),
    [
        (b"# tunrouter: empty\n", True),
        (b"# tunrouter: empty", True),
        (b"\n# nothing here\n\t#tunrouter:empty  \r\n\n", True),
        (b"# tunrouter: x\n# tunrouter: empty\n", True),
        (b"# tunrouter: emptyish\n", False),
        (b"# not tunrouter: empty\n", False),
        (b"tunrouter: empty\n", False),
        (b"# empty\n", False),
        (b"", False),
    ],
)
def test_a_table_that_says_that_it_is_empty(text: bytes, is_marked: bool) -> None:
    assert source_text.is_marked_empty(text) == is_marked


def test_a_text_that_says_it_nearly_a_million_times_takes_no_time() -> None:
    for text in (b"#" + b" tunrouter:" * 1_000_000, b"# tunrouter:\n" * 1_000_000):
        began = time.process_time()
        assert not source_text.is_marked_empty(text)
        assert time.process_time() - began < 2.0
