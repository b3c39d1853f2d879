"""What a Redis refuses, in words that say what was expected."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lib import source_read
from lib.settings_sources import RedisSource, Sentinel
from lib.source_read import SourceError

WRONGTYPE = "-WRONGTYPE Operation against a key holding the wrong kind of value"


@contextmanager
def redis(**replies: str) -> Iterator[str]:
    """A Redis that has a reply for each command; gives its address."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as asked:
            while line := asked.readline():
                words = [asked.readline() and asked.readline().strip() for _ in range(int(line[1:]))]
                connection.sendall(
                    replies.get(words[0].decode(), "-ERR unknown command").encode("latin-1") + b"\r\n"
                )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    ("wanted", "replies", "told"),
    [
        ("hash", {"TYPE": "+set"}, "the key is a set, and a hash is expected: write `type: set`"),
        ("set", {"TYPE": "+hash"}, "the key is a hash, and a set is expected: write `type: hash`"),
        ("list", {"TYPE": "+hash"}, "the key is a hash, and a list is expected: write `type: hash`"),
        ("hash", {"TYPE": "+string"}, "the key is a string, and a hash is expected, as made by HSET"),
        ("set", {"TYPE": "+zset"}, "the key is a zset, and a set is expected, as made by SADD"),
        ("list", {"TYPE": "+stream"}, "the key is a stream, and a list is expected, as made by RPUSH"),
        ("hash", {"TYPE": "-NOPERM no"}, "the key is of another type, and a hash is expected, as made by HSET"),
        ("hash", {"TYPE": ":7"}, "the key is of another type, and a hash is expected, as made by HSET"),
        (
            "hash",
            {"HSCAN": "-MOVED 3999 192.0.2.9:6381"},
            "the key is kept by another node of the cluster, 192.0.2.9:6381: write that as addr",
        ),
        ("hash", {"HSCAN": "-NOAUTH Authentication required."}, "Authentication required."),
    ],
)  # fmt: skip
def test_a_key_that_redis_does_not_give_names_what_was_expected(
    wanted: str, replies: dict[str, str], told: str
) -> None:
    asked = {"HSCAN": WRONGTYPE, "SSCAN": WRONGTYPE, "LRANGE": WRONGTYPE, **replies}
    with redis(**asked) as address, pytest.raises(SourceError) as raised:
        source_read.read(RedisSource(address, key="gost", type=wanted))
    assert str(raised.value) == f"redis://{address}/0/gost: {told}"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("*-1", "knows no master 'm'"),
        ("$-1", "knows no master 'm'"),
        (":7", "no proper reply"),
        ("*1\r\n$1\r\na", "no proper reply"),
        ("*2\r\n$1\r\na\r\n$5\r\n65536", "no proper reply"),
        ("*2\r\n$1\r\na\r\n$2\r\n-1", "no proper reply"),
        ("*2\r\n$0\r\n\r\n$1\r\n7", "no proper reply"),
        ("*2\r\n$1\r\n\xff\r\n$1\r\n7", "codec can't decode"),
        ("-NOAUTH Authentication required.", "Authentication required."),
    ],
)
def test_a_sentinel_that_names_nothing_is_told_of(reply: str, why: str) -> None:
    with redis(SENTINEL=reply) as address, pytest.raises(SourceError, match=f"sentinel {address}.*{why}"):
        source_read.read(RedisSource("", sentinel=Sentinel((address,), "m")))
