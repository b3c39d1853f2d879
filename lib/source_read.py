"""Reader of a source's rows from a file, a Redis key or a URL, as one text of lines in UTF-8.

Knows: how each kind of source is fetched, how long that may take, how many bytes it may have, on the wire and
decoded; whether all of them have come.
Refuses to know: what the lines mean (route_parse, rule_parse), when to read again (source_feed).
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from io import RawIOBase
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lib import log_redact
from lib.addresses import join_host_port
from lib.service_scheduling import breathe
from lib.service_threads import aside
from lib.settings_sources import FileSource, HttpSource, RedisSource, Source
from lib.source_redis import redis_connection, redis_in_use
from lib.stream_bounded import Bounds, failing_as
from lib.stream_http import HttpWay, is_framed
from lib.text_encoding import utf8_pieces

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MAX_BYTES = 256 << 20
PIECE = 1 << 20
DECODED = 1 << 16
"""Bytes of an HTTP body that are decoded at a time, however few they were on the wire."""
_EITHER = 32 + zlib.MAX_WBITS
"""zlib's argument for gzip (RFC 1952) and for what HTTP calls deflate (RFC 1950)."""
REDIS_BATCH = 500
MAX_REPLY = 1 << 20
"""Bytes of one reply of Redis: a batch of rows that are 2 KB long each."""
MAX_PAGE = 1 << 14
"""Values of one reply. Redis gives what it keeps in one piece whole: 512 rows, unless set up otherwise."""
MAX_ROWS = 2_000_000
"""Rows of one Redis key."""
ROWS_AT_ONCE = 250
"""Rows put together before packets have their turn, a fraction of a millisecond."""
EMPTY_PAGES = 1000
"""How often Redis may go on without a row; a hash that has shrunk has empty places."""
TOTAL = 300.0
"""Seconds a whole source may take; an HTTP source's own timeout is for each piece."""


class SourceError(OSError):
    """A source could not be read. Its text says which source, and why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read from a source."""

    text: bytes
    """Its lines, the last one with its end too."""
    server: str | None = None
    """Which run of a Redis this is from, another one after each restart. "" where that is not known, None
    where there is no Redis."""
    is_whole: bool = True
    """Whether the reply said where it ends, so that nothing can be missing."""


def describe(source: Source) -> str:
    """A source's name in messages, without its secrets."""
    if isinstance(source, FileSource):
        return source.path
    if isinstance(source, RedisSource):
        return source.name
    return log_redact.secrets(source.url)


def read(source: Source, with_server: bool = False) -> Reading:
    """Read a source, 256 MB at most. Other greenlets run meanwhile.

    `with_server` asks a Redis which run of it this is (INFO). Raises SourceError.
    """
    name = describe(source)
    try:
        with failing_as(lambda why: SourceError(f"{name}: {log_redact.secrets(why)}"), OSError):
            if isinstance(source, FileSource):
                return Reading(_file(source))
            if isinstance(source, RedisSource):
                return _redis(source, with_server)
            return _http(source)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from error


def _file(source: FileSource) -> bytes:
    with aside(source.path, open, source.path, "rb", 0) as file:
        return _joined(source, utf8_pieces(iter(lambda: aside(source.path, _piece, file), b"")))


def _piece(file: RawIOBase) -> bytes:
    """The next PIECE bytes, or what is left."""
    data = b""
    while len(data) < PIECE and (more := file.read(PIECE - len(data))):
        data = data + more if data else more
    return data


def check_disk(source: Source) -> None:
    """Raise SourceError where the disk of a file does not answer; the file need not be there."""
    if isinstance(source, FileSource):
        try:
            aside(source.path, os.path.exists, source.path)
        except TimeoutError as error:
            raise SourceError(f"{source.path}: {error.strerror}") from None


def _joined(source: Source, pieces: Iterator[bytes]) -> bytes:
    """Join pieces to one text that ends in a line feed; lets other greenlets run after each piece."""
    text, size = [b""], 0
    for piece in pieces:
        text.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise SourceError(f"{describe(source)}: more than {MAX_BYTES >> 20} MB")
        breathe()
    if not text[-1].endswith(b"\n"):
        text.append(b"\n")  # here, where it costs no copy
    return b"".join(text)


# --- Redis ---------------------------------------------------------------------------------------


def _redis(source: RedisSource, with_server: bool) -> Reading:
    import redis  # 104 ms, 7 MB: only those who have a Redis pay for it

    bounds = Bounds(TOTAL, MAX_REPLY)
    connection = redis_connection(source, bounds)

    def ask(*command: object) -> Any:
        bounds.grant(MAX_REPLY)
        connection.send_command(*command)
        return connection.read_response()

    try:  # a connection for each reading: nothing to mend when the server has been away
        with redis_in_use(connection):
            text = _joined(source, _REDIS[source.type](ask, source.key))
            return Reading(text, _run_of(ask) if with_server else "")
    except (redis.RedisError, UnicodeError) as error:
        why = f"not read within {TOTAL:g} s" if bounds.late else _why(error, ask, source)
        raise SourceError(f"{describe(source)}: {why}") from error
    finally:
        connection.disconnect()


def _why(error: Exception, ask: Ask, source: RedisSource) -> str:
    """A refusal by Redis in words that say what was expected; any other error in its own words."""
    import redis

    if isinstance(error, redis.exceptions.MovedError):  # redis-py leaves the word MOVED out
        node = join_host_port(error.host, int(error.port))
        return f"the key is kept by another node of the cluster, {node}: write that as addr"
    if not isinstance(error, redis.ResponseError) or not str(error).startswith("WRONGTYPE"):
        return str(error)
    try:
        reply = ask("TYPE", source.key)
    except redis.RedisError:
        reply = b""
    kind = reply.decode("ascii", "replace") if isinstance(reply, bytes) else ""
    if kind in _REDIS and (kind == "string") == (source.type == "string"):
        return f"the key is a {kind}, and a {source.type} is expected: write `type: {kind}`"
    found = f"the key is a {kind[:32]}" if kind else "the key is of another type"
    return f"{found}, and a {source.type} is expected, as made by {_MADE_BY[source.type]}"


def _run_of(ask: Ask) -> str:
    """The run_id of the server; "" where it has none, or where this user may not ask for it."""
    import redis

    try:
        reply = ask("INFO", "server")
    except redis.ResponseError:
        return ""
    found = re.search(rb"^run_id:(\w+)", reply, re.MULTILINE) if isinstance(reply, bytes) else None
    return found[1].decode() if found else ""


Ask = Callable[..., Any]
Pair = tuple[bytes, bytes]
"""A field and its value; of a set, a member and nothing."""


def _hash(ask: Ask, key: str) -> Iterator[bytes]:
    return _lines(field + b" " + value for field, value in _ordered(_scanned(ask, "HSCAN", key, 2)))


def _set(ask: Ask, key: str) -> Iterator[bytes]:
    return _lines(member for member, _ in _ordered(_scanned(ask, "SSCAN", key, 1)))


def _list(ask: Ask, key: str) -> Iterator[bytes]:
    start = 0
    while batch := _texts(ask("LRANGE", key, start, start + REDIS_BATCH - 1)):
        start += REDIS_BATCH
        _check_rows(start)
        yield from _lines(batch)


def _string(ask: Ask, key: str) -> Iterator[bytes]:
    value = ask("GET", key)
    if not isinstance(value, bytes):
        raise SourceError(f"redis: there is no key {key!r}") if value is None else _nonsense(value)
    yield value


_REDIS = {"hash": _hash, "set": _set, "list": _list, "string": _string}
_MADE_BY = {"hash": "HSET", "set": "SADD", "list": "RPUSH", "string": "SET"}


def _scanned(ask: Ask, command: str, key: str, width: int) -> list[list[Pair]]:
    """Every page of a scan, each in order: all of them in order at once would hold up the packets."""
    pages: list[list[Pair]] = []
    cursor, rows, empty = b"0", 0, 0
    while True:
        reply = ask(command, key, cursor, "COUNT", REDIS_BATCH)
        if not isinstance(reply, list) or len(reply) != 2:
            raise _nonsense(reply)
        (cursor,), texts = _texts(reply[:1]), _texts(reply[1])
        if len(texts) % width:
            raise _nonsense(reply)
        if texts:
            pages.append(sorted(zip(texts[::2], texts[1::2], strict=True) if width == 2 else _alone(texts)))
        rows, empty = rows + len(texts) // width, empty + (not texts)
        _check_rows(rows)
        if cursor == b"0":
            return pages
        if empty > EMPTY_PAGES + rows or not cursor.isdigit():
            raise SourceError(f"redis: {command} does not come to an end")
        breathe()


def _alone(texts: list[bytes]) -> Iterator[Pair]:
    return ((text, b"") for text in texts)


def _texts(found: Any) -> list[bytes]:
    """A reply of Redis as a list of texts. Raises where it is none, or where it is too long to be honest."""
    if not isinstance(found, list) or len(found) > MAX_PAGE:
        raise _nonsense(found)
    for text in found:
        if not isinstance(text, bytes):
            raise _nonsense(text)
    return found


def _ordered(pages: list[list[Pair]]) -> Iterator[Pair]:
    """All rows in an order that stays; of equal fields, which a scan may give twice, the last one."""
    before: Pair | None = None
    for pair in merge(*pages, key=itemgetter(0)):
        if before is not None and before[0] != pair[0]:
            yield before
        before = pair
    if before is not None:
        yield before


def _check_rows(rows: int) -> None:
    if rows > MAX_ROWS:
        raise SourceError(f"redis: more than {MAX_ROWS} rows")


def _nonsense(reply: object) -> Exception:
    what = f"{len(reply)} values" if isinstance(reply, list) else repr(reply)[:80]
    return SourceError(f"redis: no proper reply: {what}")


def _lines(members: Iterable[bytes]) -> Iterator[bytes]:
    """The members of a Redis key as lines. A line feed within a member becomes NUL, so the row is bad."""
    batch: list[bytes] = []
    for member in members:
        batch.append(member.replace(b"\n", b"\0") + b"\n")
        if len(batch) == ROWS_AT_ONCE:
            yield b"".join(batch)
            batch.clear()
    yield b"".join(batch)


# --- HTTP ----------------------------------------------------------------------------------------


def _http(source: HttpSource) -> Reading:
    import urllib3  # 53 ms

    way = HttpWay(source.url, source.timeout)
    try:
        with way.ask(
            method="GET", url=source.url, headers=_login(source.url), seconds=TOTAL, size=MAX_BYTES
        ) as response:
            if response.status != 200:  # a redirect too: who may say what is in a table is configured
                raise SourceError(f"{describe(source)}: status {response.status}")
            text = _joined(source, utf8_pieces(_body(source, response)))
            return Reading(text, is_whole=is_framed(response))
    except urllib3.exceptions.HTTPError as error:
        late = f"not read within {TOTAL:g} s" if way.bounds.late else ""
        raise SourceError(f"{describe(source)}: {late or log_redact.secrets(str(error))}") from error
    finally:
        way.close()


def _body(source: HttpSource, response: BaseHTTPResponse) -> Iterator[bytes]:
    """The body without its Content-Encoding. Raises SourceError where that is unknown, or the text is cut."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    pieces = iter(lambda: response.read(DECODED, decode_content=False), b"")
    if encoding in ("", "identity"):
        yield from pieces
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        what = f"{describe(source)}: its Content-Encoding {encoding[:64]!r} is not supported"
        raise SourceError(f"{what}; have its server send gzip, deflate or plain text")
    # urllib3 decodes too, but it takes a text that is cut for a whole one.
    decoder = zlib.decompressobj(_EITHER)
    for packed in pieces:
        while packed:
            yield decoder.decompress(packed, DECODED)
            packed = decoder.unconsumed_tail
            if decoder.eof and decoder.unused_data.startswith(b"\x1f\x8b"):  # gzip texts one behind the other
                packed, decoder = decoder.unused_data, zlib.decompressobj(_EITHER)
    while not decoder.eof and (rest := decoder.decompress(decoder.unconsumed_tail, DECODED)):
        yield rest
    if not decoder.eof:
        raise SourceError(f"{describe(source)}: its {encoding} text is cut")


def _login(url: str) -> dict[str, str]:
    """The Authorization header for the USER:PASS@ of a URL; none where the URL has no login."""
    import urllib3

    auth = urllib3.util.parse_url(url).auth
    return urllib3.make_headers(basic_auth=unquote(auth)) if auth else {}
