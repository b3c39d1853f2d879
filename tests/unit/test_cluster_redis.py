"""Registry in a Redis: what a Redis, or whoever may publish there, can send to a hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from gevent.server import StreamServer

from lib import cluster_redis, framing
from lib.cluster_claims import BATCH, HEADER, Claims
from lib.cluster_redis import PUBLISHED_BYTES, RedisRegistry, milliseconds
from lib.cluster_registry import Outcome, Registry
from lib.cluster_wire import MAX_NAME, Kind, decode, key_for
from lib.settings_sources import RedisSource

KEY = key_for(b"k" * 32, "registry")
NAMESPACE = b"N" * 16


class Hub:
    """hub-1, and what its registry has noticed."""

    def __init__(self, addr: str = "127.0.0.1:1", epoch: int = 7) -> None:
        self.registry = Registry("hub-1", epoch, KEY)
        self.claims = Claims("hub-1", "hub-1:1", epoch, KEY)
        self.changes = 0
        self.epochs: list[int] = []
        self.redis: Any = RedisRegistry(
            RedisSource(addr), self.registry, self.claims, KEY, self._changed, self.epochs.append
        )

    def _changed(self) -> None:
        self.changes += 1


def test_the_largest_batch_of_a_hub_is_heard() -> None:
    hub, other = Hub(), Claims("h" * 63, "a" * 255, 1, KEY)
    hub.redis._hear(other.next_batch(milliseconds()).published)
    for number in range(BATCH):
        other.join((NAMESPACE, f"{number:0{MAX_NAME}}"), 5, b"i" * 16)
    published = other.next_batch(milliseconds()).published
    assert len(published) <= PUBLISHED_BYTES
    hub.redis._hear(published)
    assert dict(hub.registry.outcomes) == {Outcome.TAKEN: BATCH + 2}
    assert (hub.registry.size, hub.changes) == (BATCH, 2)


@pytest.mark.parametrize(
    "data", [bytes(1 << 20), b"\x04\x00" * (1 << 19)], ids=["empty frames", "large ones"]
)
def test_what_is_longer_than_any_batch_is_one_message_that_is_none(data: bytes) -> None:
    hub = Hub()
    hub.redis._hear(data)
    assert dict(hub.registry.outcomes) == {Outcome.FOREIGN: 1}


@pytest.fixture
def liar() -> Iterator[str]:
    """The address of a server that replies to everything with a number that is none."""

    def serve(sock: Any, _: object) -> None:
        while sock.recv(4096):
            sock.sendall(b":x\r\n")

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    yield f"127.0.0.1:{server.server_port}"
    server.stop()


def test_a_reply_that_is_none_is_an_error_of_the_redis(liar: str) -> None:
    redis = Hub(liar).redis
    with pytest.raises(OSError, match=f"redis://{liar}"), redis._open() as connection:
        redis._ask(connection, [("PING",)])


def test_a_list_that_cannot_be_used_is_read_ever_more_seldom_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    class Clock:
        def monotonic(self) -> float:
            return now

    @contextmanager
    def opened() -> Iterator[None]:
        yield

    hub, wanted = Hub(), ["hub-2"]
    reads: list[tuple[str, float]] = []
    monkeypatch.setattr(cluster_redis, "time", Clock())
    monkeypatch.setattr(hub.registry, "wanted", lambda: list(wanted))
    monkeypatch.setattr(hub.redis, "_open", opened)

    def read(_: object, name: str) -> bool:
        reads.append((name, now))
        return name != "hub-2"

    monkeypatch.setattr(hub.redis, "_read_list", read)
    for step in range(200):  # a look each half second, as _keep_reading does
        now = step / 2
        assert not hub.redis._read_wanted()
    times = [at for _, at in reads]
    assert times[:4] == [0.0, 0.5, 1.0, 1.5], "an emptied Redis is whole again within a moment"
    assert len(times) < 20
    assert max(after - before for before, after in pairwise(times)) <= 10.5
    wanted, reads = ["hub-2", "hub-3"], []
    assert not hub.redis._read_wanted()
    assert [name for name, _ in reads] == ["hub-3"]
    wanted = ["hub-3"]
    assert hub.redis._read_wanted()
    wanted, reads = ["hub-2"], []
    assert not hub.redis._read_wanted()
    assert reads, "it was not wanted meanwhile: what was is forgotten"


def test_a_hub_that_ends_and_begins_anew_by_a_clock_set_back_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others know its last epoch, and that it is over: the next one has to be larger."""
    done: list[tuple[object, ...]] = []

    @contextmanager
    def opened(_: object) -> Iterator[None]:
        yield

    def transact(_: object, connection: object, commands: list[tuple[object, ...]]) -> list[object]:
        done.extend(commands)
        return []

    monkeypatch.setattr(RedisRegistry, "_open", opened)
    monkeypatch.setattr(RedisRegistry, "_transact", transact)
    Hub(epoch=7).redis.stop()
    assert [command[0] for command in done] == ["DEL", "HSET", "PEXPIRE", "PUBLISH"]
    (_, _, field, header), last = done[1], done[-1][2]
    assert (field, framing.encode(header)) == (HEADER, last)  # type: ignore[arg-type]
    assert decode(header, KEY).kind is Kind.BYE  # type: ignore[arg-type]
    later = Hub(epoch=3)
    monkeypatch.setattr(RedisRegistry, "_ask", lambda *_: [header])
    later.redis._begin_later(None, "key")
    assert later.epochs == [8]
