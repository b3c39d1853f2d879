"""TLS hellos: which versions of TLS a client offers, and which one a server has chosen (RFC 8446, 4.1).

    record      type 22 | version 2 | length 2 | a piece of the handshake         (RFC 8446, 5.1)
    handshake   type 1 or 2 | length 3 | legacy_version 2 | random 32 | session id 1+n | …
    …           ClientHello: cipher suites 2+n | compression methods 1+n | extensions 2+n
                ServerHello: cipher suite 2 | compression method 1 | extensions 2+n
    extension   type 2 | length 2 | content; supported_versions is type 43

Knows: as much of these messages as a sentence about a version mismatch needs.
Refuses to know: cryptography (OpenSSL reads the messages itself), and who is told (stream_tls).
"""

from __future__ import annotations

from collections.abc import Iterable

HELLO_BYTES = 1 << 13
"""Bytes of a connection's beginning that are enough: a hello with post-quantum keys has some 2,000."""
TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 = 0x0301, 0x0302, 0x0303, 0x0304
_NAMES = {TLS_1_0: "1.0", TLS_1_1: "1.1", TLS_1_2: "1.2", TLS_1_3: "1.3"}
_HANDSHAKE, _CLIENT_HELLO, _SERVER_HELLO, _SUPPORTED_VERSIONS = 22, 1, 2, 43
_RANDOM = 32


def versions_offered(data: bytes) -> tuple[int, ...]:
    """The versions in a ClientHello that `data` begins with, in ascending order, of those that have a name.

    A client without supported_versions offers every version up to its legacy_version (RFC 8446, 4.2.1). Empty
    where this is no ClientHello, or not a whole one.
    """
    try:
        hello = _Reader(_message(data, _CLIENT_HELLO))
        newest = hello.number(2)
        hello.take(_RANDOM)
        for length_size in (1, 2, 1):  # session id, cipher suites, compression methods
            hello.take(hello.number(length_size))
        content = _extension(hello, _SUPPORTED_VERSIONS)
    except _ShortError:
        return ()
    if not content:
        return tuple(version for version in _NAMES if version <= newest)
    offered = {int.from_bytes(content[at : at + 2]) for at in range(1, len(content), 2)}
    return tuple(version for version in _NAMES if version in offered)  # without GREASE (RFC 8701) and drafts


def version_chosen(data: bytes) -> int:
    """The version in a ServerHello that `data` begins with; 0 where it is none, or not a whole one."""
    try:
        hello = _Reader(_message(data, _SERVER_HELLO))
        legacy = hello.number(2)
        hello.take(_RANDOM)
        hello.take(hello.number(1))  # session id
        hello.take(3)  # cipher suite, compression method
        content = _extension(hello, _SUPPORTED_VERSIONS)
    except _ShortError:
        return 0
    return int.from_bytes(content) if len(content) == 2 else legacy


def names(versions: Iterable[int]) -> str:
    """Versions as people write them: `1.2`, `1.2 to 1.3`, `up to 1.2`; "none that is known here" for none."""
    known = [_NAMES[version] for version in _NAMES if version in set(versions)]
    if len(known) < 2:
        return known[0] if known else "none that is known here"
    # of a client without supported_versions the oldest one is not known
    return f"up to {known[-1]}" if known[0] == _NAMES[TLS_1_0] else f"{known[0]} to {known[-1]}"


class _ShortError(Exception):
    """There are fewer bytes than the message says."""


class _Reader:
    """Reads fields one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises _ShortError."""
        end = self._at + size
        if end > len(self._data):
            raise _ShortError
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        """The next `size` bytes as an integer. Raises _ShortError."""
        return int.from_bytes(self.take(size))

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)


def _message(data: bytes, kind: int) -> bytes:
    """The body of the handshake message that `data` begins with, out of its records. Raises _ShortError."""
    records, body = _Reader(data), b""
    while len(body) < 4 or len(body) < 4 + int.from_bytes(body[1:4]):
        if records.number(1) != _HANDSHAKE:
            raise _ShortError
        records.take(2)
        body += records.take(records.number(2))
    if body[0] != kind:
        raise _ShortError
    return body[4 : 4 + int.from_bytes(body[1:4])]


def _extension(hello: _Reader, wanted: int) -> bytes:
    """The content of an extension; b"" where a hello has none of this type. Raises _ShortError."""
    if hello.is_done:
        return b""  # before TLS 1.2 there need be no extensions at all
    extensions = _Reader(hello.take(hello.number(2)))
    while not extensions.is_done:
        kind, content = extensions.number(2), extensions.take(extensions.number(2))
        if kind == wanted:
            return content
    return b""
