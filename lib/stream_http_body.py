"""HTTP reply whose body is whole: what was cut on the way is an error (RFC 9112, 6 and 7.1).

Knows: which headers say where a body ends, and how a chunked one ends. Python's http.client takes some bodies
that were cut for whole ones.
Refuses to know: how the bytes come (stream_http), and what they mean.

Only stream_http imports this, and late, as http.client takes time to load.
"""

from __future__ import annotations

import re
from email.message import Message
from http.client import HTTPException, HTTPResponse, IncompleteRead, LineTooLong

MAX_LINE = 1 << 16
"""Bytes of a line of a chunked body: the size of a chunk, a trailer."""
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(;.*)?\r?\n", re.DOTALL)
_LENGTHS = re.compile(r"(\d+)(\s*,\s*\1)*", re.ASCII)
PLAIN = "have its server send the text as it is, chunked or with a Content-Length"
_CODINGS = ("chunked", "identity")


def _framing_error(headers: Message) -> str:
    """What is wrong with the headers that say where a body ends; "" where nothing is (RFC 9112, 6.3).

    http.client reads such a body until the connection ends.
    """
    coding, length = headers.get("Transfer-Encoding", "identity"), headers.get("Content-Length", "0")
    if coding.strip().lower() not in _CODINGS:
        return f"Transfer-Encoding {coding[:64]!r} is not supported; {PLAIN}"
    return "" if _LENGTHS.fullmatch(length.strip()) else f"not a Content-Length: {length[:64]!r}"


class WholeResponse(HTTPResponse):
    """A reply of http.client whose body is never shorter than it was sent.

    http.client takes the end of the connection for the end of the trailers, so that a chunked body cut there
    counts as a whole one, and a line that is cut for a whole one: `0` of `0a3` is the last chunk.
    """

    def begin(self) -> None:
        """Read the head. Raises HTTPException for one that does not say clearly where the body ends."""
        super().begin()
        wrong = _framing_error(self.headers)
        if wrong:
            raise HTTPException(wrong)

    def _read_next_chunk_size(self) -> int:
        line = self._line()
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise HTTPException(f"not the size of a chunk: {line[:64]!r}")
        return int(size[1], 16)

    def _read_and_discard_trailer(self) -> None:
        while self._line().strip(b"\r\n"):
            pass

    def _line(self) -> bytes:
        line: bytes = self.fp.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise IncompleteRead(b"") if len(line) < MAX_LINE else LineTooLong("chunked body")
        return line
