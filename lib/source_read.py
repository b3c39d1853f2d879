"""Reads the rows of a source from a file, a Redis key or a URL, as one text of lines.

Knows: how each is fetched, how long that may take, how much it may be.
Refuses to know: what the lines mean (route_parse, rule_parse), when to read again (source_feed).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import gevent

from lib import log_redact
from lib.addresses import host_port
from lib.service_scheduling import breathe
from lib.settings import FileSource, HttpSource, RedisSource, Source

MAX_BYTES = 256 << 20
PIECE = 1 << 20
REDIS_TIMEOUT = 10.0
REDIS_BATCH = 10_000
HTTP_TOTAL = 300.0
"""Seconds a whole answer may take; the source's timeout is for each piece."""


class SourceError(OSError):
    """A source could not be read. Its text says which source, and why."""


def describe(source: Source) -> str:
    """A source's name in messages, without its secrets."""
    if isinstance(source, FileSource):
        return source.path
    if isinstance(source, RedisSource):
        return f"redis://{source.addr}/{source.db}/{source.key}"
    return log_redact.secrets(source.url)


def read(source: Source) -> bytes:
    """Read a source; returns its lines as one text (256 MB at most). Other greenlets run meanwhile.

    Raises SourceError.
    """
    try:
        if isinstance(source, FileSource):
            return _file(source)
        if isinstance(source, RedisSource):
            return _redis(source)
        return _http(source)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{describe(source)}: {error.strerror or error}") from error


def _file(source: FileSource) -> bytes:
    with open(source.path, "rb") as file:
        return _joined(source, iter(lambda: file.read(PIECE), b""))


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


def _redis(source: RedisSource) -> bytes:
    import redis  # 104 ms, 7 MB: only those who have a Redis pay for it

    host, port = host_port(source.addr)
    client = redis.Redis(
        host=host,
        port=port,
        db=source.db,
        username=source.username or None,
        password=source.password or None,
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
    )
    try:
        # made anew for each reading: nothing to mend when the server has been away
        with client:
            return _joined(source, _REDIS[source.type](client, source.key))
    except (redis.RedisError, UnicodeError) as error:
        raise SourceError(f"{describe(source)}: {error}") from error


def _hash(client: Any, key: str) -> Iterator[bytes]:
    pairs = dict(client.hscan_iter(key, count=REDIS_BATCH))
    return _lines(field + b" " + pairs[field] for field in sorted(pairs))


def _set(client: Any, key: str) -> Iterator[bytes]:
    return _lines(sorted(set(client.sscan_iter(key, count=REDIS_BATCH))))  # in an order that stays


def _list(client: Any, key: str) -> Iterator[bytes]:
    start = 0
    while batch := client.lrange(key, start, start + REDIS_BATCH - 1):
        yield from _lines(batch)
        start += REDIS_BATCH


_REDIS = {"hash": _hash, "set": _set, "list": _list}


def _lines(members: Any) -> Iterator[bytes]:
    """The members of a Redis key as lines. A line feed within a member becomes NUL, so the row is bad."""
    batch: list[bytes] = []
    for member in members:
        batch.append(member.replace(b"\n", b"\0") + b"\n")
        if len(batch) == 1000:
            yield b"".join(batch)
            batch.clear()
    yield b"".join(batch)


# --- HTTP ----------------------------------------------------------------------------------------


def _http(source: HttpSource) -> bytes:
    import urllib3  # 53 ms

    late = SourceError(f"{describe(source)}: not read within {HTTP_TOTAL:g} s")
    with gevent.Timeout(HTTP_TOTAL, late), urllib3.PoolManager(retries=False, timeout=source.timeout) as pool:
        try:
            with pool.request(
                "GET", source.url, preload_content=False, headers=_login(source.url)
            ) as response:
                if response.status != 200:
                    raise SourceError(f"{describe(source)}: status {response.status}")
                return _joined(source, response.stream(PIECE))
        except urllib3.exceptions.HTTPError as error:
            raise SourceError(f"{describe(source)}: {log_redact.secrets(str(error))}") from error


def _login(url: str) -> dict[str, str]:
    """The Authorization header for the USER:PASS@ of a URL; none where the URL has no login."""
    import urllib3

    auth = urllib3.util.parse_url(url).auth
    return urllib3.make_headers(basic_auth=unquote(auth)) if auth else {}
