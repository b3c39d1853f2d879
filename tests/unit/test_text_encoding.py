"""The same text, however an editor or a shell saved it."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import text_encoding

TEXT = "10.0.0.0/8 höst\r\n"


def saved(text: str) -> dict[str, bytes]:
    """The text as editors and shells save it, by the name of the encoding."""
    return {
        "UTF-8": text.encode(),
        "UTF-8 with a mark": codecs.BOM_UTF8 + text.encode(),
        "UTF-16 little with a mark": codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        "UTF-16 big with a mark": codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        "UTF-16 little": text.encode("utf-16-le"),
        "UTF-16 big": text.encode("utf-16-be"),
        "UTF-32 little with a mark": codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
        "UTF-32 big with a mark": codecs.BOM_UTF32_BE + text.encode("utf-32-be"),
        "UTF-32 little": text.encode("utf-32-le"),
        "UTF-32 big": text.encode("utf-32-be"),
    }


@pytest.mark.parametrize("how", saved(TEXT))
def test_a_text_means_the_same_however_it_was_saved(how: str) -> None:
    data = saved(TEXT)[how]
    assert text_encoding.utf8(data) == TEXT.encode()
    for size in (4, 5, 7, 100):
        pieces = [data[n : n + size] for n in range(0, len(data), size)]
        assert b"".join(text_encoding.utf8_pieces(pieces)) == TEXT.encode()


@given(st.binary())
def test_any_bytes_that_are_no_other_encoding_stay_as_they_are(data: bytes) -> None:
    if text_encoding.of(data[:4]) == ("utf-8", 0):
        assert text_encoding.utf8(data) == data
        assert b"".join(text_encoding.utf8_pieces([data])) == data


@pytest.mark.parametrize("data", [b"\xff\xfea", b"\xff\xfe\x00\xd8", b"\x00\x00\xfe\xff\x00\x00"])
def test_what_is_cut_is_an_error(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        text_encoding.utf8(data)
    with pytest.raises(UnicodeDecodeError):
        list(text_encoding.utf8_pieces([data]))


def test_without_a_mark_a_secret_is_bytes() -> None:
    assert text_encoding.utf8(b"p\0w\0", guess=False) == b"p\0w\0"
    assert text_encoding.utf8(codecs.BOM_UTF8 + b"pw", guess=False) == b"pw"
