"""Parser for the lines of a route source (file, Redis, URL), in the format of GOST's files.

    dst gateway [metric=N] [fallThrough]        blanks or tabs between, # starts a comment

Knows: how a line is read, a million of them in seconds; what is wrong with one that cannot be.
Refuses to know: where the text comes from (source_read), which table it is for (route_loader).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_pton

from lib.ids import is_host_name
from lib.prefixes import network
from lib.settings import Hop, RouteEntry
from lib.source_bad_lines import BadLines

PIECE = 1 << 14
"""Bytes of text that are split into lines at a time."""

_LENGTHS = {str(length): length for length in range(129)}


class BadLine(ValueError):
    """A line that is not a route. Its text says why."""


def pieces(text: bytes, size: int = PIECE) -> Iterator[list[bytes]]:
    """The lines of a text in lists of about `size` bytes, since to split 30 MB at once takes too long."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + size)
        end = len(text) if end < 0 else end
        yield text[start:end].split(b"\n")
        start = end + 1


class RouteLines:
    """Parses lines. It caches parsed hops, because a million routes have only a few different ones."""

    def __init__(self) -> None:
        self._hops: dict[bytes, Hop] = {}
        self.widened, self.first_widened = 0, ""
        """Destinations with host bits: how many were read, and the first. Each is a whole network."""

    def read(self, line: bytes) -> RouteEntry | None:
        """The route in a line; None for an empty line or a comment. Raises BadLine."""
        words = line.split(None, 1)
        if not words or words[0][0] == 35:  # "#"
            return None
        if len(words) == 1 or b"#" in words[0]:
            raise BadLine("a route without a gateway")
        prefix, length, cleared = _prefix(words[0])
        if cleared:
            self.widened += 1
            self.first_widened = self.first_widened or words[0].decode()
        hop = self._hops.get(words[1])
        if hop is None:
            hop = self._hops[words[1]] = _hop(words[1])
        return RouteEntry(prefix, length, hop)


def _prefix(word: bytes) -> tuple[bytes, int, bool]:
    """(packed, length, whether bits beyond the length were cleared, as GOST does) of an address or CIDR."""
    text = word.decode("latin-1")
    address, slash, bits = text.partition("/")
    try:
        packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):  # ValueError: a NUL in it
        raise BadLine(f"not an address or CIDR: {text[:64]!r}") from None
    if not slash:
        return packed, 8 * len(packed), False
    length = _LENGTHS.get(bits, 129)
    rest = 8 * len(packed) - length
    if rest < 0:
        raise BadLine(f"not a prefix length: {text[:64]!r}")
    cleared = network(packed, length) if rest else packed
    return cleared, length, cleared != packed


def _hop(rest: bytes) -> Hop:
    """The hop in what follows the destination: a gateway, maybe options, maybe a comment. Raises BadLine."""
    words = rest.partition(b"#")[0].decode("utf-8", "surrogateescape").split()
    if not words:
        raise BadLine("a route without a gateway")
    gateway, *more = words
    if not is_host_name(gateway):
        raise BadLine(f"no host can go by this name: {gateway[:64]!r}")
    metric, falls = None, False
    for word in more:
        key, _, value = word.lower().partition("=")
        if key == "metric" and value.isascii() and value.isdigit() and len(value) < 10:
            metric = int(value)
        elif word.lower() == "fallthrough":
            falls = True
        else:
            raise BadLine(f"after the gateway: {word[:64]!r} (there may be metric=N and fallThrough)")
    return Hop(gateway, metric, falls)


def all_rows(
    entries: Iterable[RouteEntry], texts: dict[int, tuple[str, bytes]], bad: BadLines
) -> Iterator[tuple[int, RouteEntry | None]]:
    """(rank, row) of all inline rows and sources in their order; row None for a line that holds no route."""
    for entry in entries:
        yield 0, entry
    for rank, (name, text) in sorted(texts.items()):
        lines = RouteLines()
        number = 0
        for piece in pieces(text):
            for line in piece:
                number += 1
                try:
                    yield rank, lines.read(line)
                except BadLine as wrong:
                    bad.add(name, number, wrong)
                    yield rank, None
        bad.note_widened(name, lines.widened, lines.first_widened)
