"""Texts that hypothesis draws, by where a text comes from.

Knows: which characters each origin can bring.
Refuses to know: what becomes of them.

`st.text()` draws what UTF-8 can say, and so no surrogates. But bytes that are not UTF-8 become lone surrogates
(U+DC80 to U+DCFF, PEP 383) where names come from the wire, a file or the command line, and JSON can spell any
surrogate (`"\\ud800"`). A strategy that draws more than its origin can bring finds what is no fault; one that
draws less does not find what is.
"""

from __future__ import annotations

from hypothesis import strategies as st


def from_bytes(most: int = 60, without: str = "") -> st.SearchStrategy[str]:
    """What `bytes.decode("utf-8", "surrogateescape")` can give for up to so many bytes, and nothing else.

    `without`: characters that its place cannot hold.
    """
    decoded = st.binary(max_size=most) | st.text(max_size=most // 4).map(str.encode)
    left_out = str.maketrans("", "", without)
    return decoded.map(lambda raw: decode(raw).translate(left_out)).map(_settled)


def from_json(most: int = 60) -> st.SearchStrategy[str]:
    """What a JSON text can give: any code point, lone surrogates of every kind among them."""
    return st.text(st.characters(), max_size=most)


def decode(raw: bytes) -> str:
    """Bytes as names are read from the wire (lib.wire_relay)."""
    return raw.decode("utf-8", "surrogateescape")


def _settled(text: str) -> str:
    """The same once more through bytes: what was left out may have stood between two halves of a character."""
    return decode(text.encode("utf-8", "surrogateescape"))
