"""The list in a real Redis: two hubs change it at once and none is lost; what is wrong with a Redis is said."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from lib import enrol_book
from lib.enrol_book import Book, Invitation
from lib.enrol_redis import RedisStore
from lib.settings_sources import RedisSource
from lib.wire_enrol import Answer, Ask
from tests.support.program import killed_after

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed (Debian: redis-server)"
)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis on a unix machine's loopback, without anything kept on disk."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("redis")
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    command = ("redis-server", *options)
    with killed_after(subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True)) as server:
        assert server.stdout is not None
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield f"127.0.0.1:{port}"


def store(redis: str, key: str) -> RedisStore:
    return RedisStore(RedisSource(redis, key=key))


def test_a_change_is_seen(redis: str) -> None:
    one, two = store(redis, "seen"), store(redis, "seen")
    assert (one.read(), one.stamp(), two.stamp()) == (b"", None, None)
    assert one.change(lambda old: old + b"one") == b"one"
    assert two.stamp() == b"1"
    assert two.change(lambda old: None) == b"one"
    assert one.stamp() == b"1", "nothing was written"
    assert two.change(lambda old: old + b"two") == b"onetwo"
    assert (one.stamp(), one.read()) == (b"2", b"onetwo")
    one.close()
    assert one.stamp() == b"2", "by another connection"
    one.close()
    two.close()


def test_changes_of_several_hubs_are_all_kept(redis: str) -> None:
    def count(old: bytes) -> bytes:
        return b"%d" % (int(old or b"0") + 1)

    def work() -> None:
        one = store(redis, "counter")
        for _ in range(10):
            one.change(count)

    gevent.joinall([gevent.spawn(work) for _ in range(5)], timeout=30, raise_error=True)
    assert store(redis, "counter").read() == b"50"


def test_two_joins_at_once_and_one_wins(redis: str) -> None:
    secret = b"s" * 16
    invitation = Invitation(b"i" * 8, enrol_book.hashed(secret), "host-7", bytes(16), 0.0, 100.0)
    store(redis, "race").change(
        lambda old: enrol_book.dump(enrol_book.invited(Book(b"b" * 8), invitation, 0.0))
    )
    answers: list[Answer] = []

    def join(number: int) -> None:
        found: list[Answer] = []

        def edit(old: bytes) -> bytes:
            ask = Ask(b"b" * 8, b"i" * 8, secret, bytes([number]) * 32)
            book, answer, _ = enrol_book.joined(enrol_book.parse(old), ask, 1.0)
            found[:] = [answer]
            return enrol_book.dump(book)

        store(redis, "race").change(edit)
        answers.extend(found)

    gevent.joinall([gevent.spawn(join, number) for number in range(6)], timeout=30, raise_error=True)
    assert sorted(answers) == [Answer.WELCOME, *[Answer.USED] * 5]


def test_what_is_wrong_is_said_with_the_name_of_the_redis(redis: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OSError, match=f"redis://{nobody}/0/k: .*refused"):
        store(nobody, "k").read()
    with pytest.raises(OSError, match=r"refused"):
        store(nobody, "k").stamp()
    one = store(redis, "refusing")

    def refuses(old: bytes) -> bytes:
        raise ValueError("no such host")

    with pytest.raises(ValueError, match="no such host"):
        one.change(refuses)
    subprocess.run(
        ("redis-cli", "-p", redis.partition(":")[2], "set", "text", "x"), check=True, capture_output=True
    )
    with pytest.raises(OSError, match=f"redis://{redis}/0/text: .*WRONGTYPE"):
        store(redis, "text").read()
