"""Registry in a Redis: what a Redis, or whoever may publish there, can send to a hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from gevent.server import StreamServer

from lib import cluster_redis_lists, framing
from lib.cluster_claims import BATCH, CERTIFICATE, HEADER, Claims, field_of
from lib.cluster_redis import LOOK_BEATS, PUBLISHED_BYTES, RedisRegistry, clocks
from lib.cluster_redis_talk import Talk
from lib.cluster_registry import Outcome, Registry
from lib.cluster_seal import SharedSeal
from lib.cluster_wire import MAX_NAME, Kind, decode
from lib.settings_sources import RedisSource

SEAL = SharedSeal(b"k" * 32, "key")
NAMESPACE = b"N" * 16


class Hub:
    """hub-1, and what its registry has noticed."""

    def __init__(self, addr: str = "127.0.0.1:1", epoch: int = 7) -> None:
        self.registry = Registry("hub-1", epoch, SEAL)
        self.claims = Claims("hub-1", "hub-1:1", epoch, SEAL.sign)
        self.changes = 0
        self.epochs: list[int] = []
        self.redis: Any = RedisRegistry(
            RedisSource(addr), self.registry, self.claims, SEAL, self._changed, self.epochs.append
        )

    def _changed(self) -> None:
        self.changes += 1


def test_the_largest_batch_of_a_hub_is_heard() -> None:
    hub, other = Hub(), Claims("h" * 63, "a" * 255, 1, SEAL.sign)
    hub.redis._hear(other.next_batch(clocks()).published)
    for number in range(BATCH):
        other.join((NAMESPACE, f"{number:0{MAX_NAME}}"), 5, b"i" * 16)
    published = other.next_batch(clocks()).published
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
    with pytest.raises(OSError, match=f"redis://{liar}"), redis._talk.open() as connection:
        redis._talk.ask(connection, [("PING",)])


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
    monkeypatch.setattr(cluster_redis_lists, "time", Clock())
    lists = hub.redis._lists
    monkeypatch.setattr(hub.registry, "wanted", lambda: list(wanted))
    monkeypatch.setattr(hub.redis._talk, "open", opened)

    def read(_: object, name: str) -> bool:
        reads.append((name, now))
        return name != "hub-2"

    monkeypatch.setattr(lists, "_read_list", read)
    for step in range(200):  # a look each half second, as _keep_reading does
        now = step / 2
        assert not lists._read_wanted()
    times = [at for _, at in reads]
    assert times[:4] == [0.0, 0.5, 1.0, 1.5], "an emptied Redis is whole again within a moment"
    assert len(times) < 20
    assert max(after - before for before, after in pairwise(times)) <= 10.5
    wanted, reads = ["hub-2", "hub-3"], []
    assert not lists._read_wanted()
    assert [name for name, _ in reads] == ["hub-3"]
    wanted = ["hub-3"]
    assert lists._read_wanted()
    wanted, reads = ["hub-2"], []
    assert not lists._read_wanted()
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

    monkeypatch.setattr(Talk, "open", opened)
    monkeypatch.setattr(Talk, "transact", transact)
    Hub(epoch=7).redis.stop()
    assert [command[0] for command in done] == ["DEL", "HSET", "PEXPIRE", "PUBLISH"]
    (_, _, field, header), last = done[1], done[-1][2]
    assert (field, framing.encode(header)) == (HEADER, last)  # type: ignore[arg-type]
    assert decode(header)[0].kind is Kind.BYE  # type: ignore[arg-type]
    later = Hub(epoch=3)
    monkeypatch.setattr(Talk, "ask", lambda *_: [header])
    later.redis._begin_later(None, "key")
    assert later.epochs == [8]


class Played:
    """A Redis that has one list."""

    def __init__(self, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hub = hub
        self.fields: dict[bytes, bytes] = {}
        self.written = 0
        monkeypatch.setattr(Talk, "transact", lambda talk, connection, commands: self.transact(commands))
        monkeypatch.setattr(Talk, "ask", lambda talk, connection, commands: self.ask(commands))

    def transact(self, commands: list[tuple[Any, ...]]) -> list[object]:
        for command in commands:
            if command[0] == "DEL":
                self.fields.clear()
                self.written += 1
            elif command[0] == "HSET":
                self.fields |= dict(zip(command[2::2], command[3::2], strict=True))
            elif command[0] == "HDEL":
                for name in command[2:]:
                    self.fields.pop(name, None)
        return [len(self.fields)] * len(commands)

    def ask(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        ((command, *_),) = commands
        if command == "HSCAN":
            return [[b"0", [one for pair in self.fields.items() for one in pair]]]
        return [self.fields.get(HEADER)]

    def beat(self, beats: int = 1) -> None:
        for _ in range(beats):
            self.hub.redis._write_batch(None)
        self.hub.redis._look_through(None)


def changed_entry(fields: dict[bytes, bytes]) -> None:
    """The number of entries stays."""
    fields[field_of((NAMESPACE, "host-1"))] = b"forged"


def other_entry(fields: dict[bytes, bytes]) -> None:
    del fields[field_of((NAMESPACE, "host-1"))]
    fields[field_of((NAMESPACE, "host-9"))] = b"forged"


def no_entry(fields: dict[bytes, bytes]) -> None:
    del fields[field_of((NAMESPACE, "host-1"))]


@pytest.mark.parametrize("tamper", [changed_entry, other_entry, no_entry], ids=lambda one: one.__name__)
def test_what_somebody_changes_in_our_list_is_noticed_and_mended(
    tamper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    played = Played(hub, monkeypatch)
    hub.redis._write_whole(None)
    for number in range(3):
        hub.claims.join((NAMESPACE, f"host-{number}"), 5, b"")
    played.beat()
    assert (played.written, len(played.fields)) == (1, 4), "all is well"
    good = dict(hub.claims.whole())
    tamper(played.fields)
    played.beat(LOOK_BEATS)
    assert played.written == 2
    played.fields.pop(HEADER)
    assert played.fields == good


def test_our_certificate_stands_in_our_list_and_a_new_one_replaces_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = Hub()
    played = Played(hub, monkeypatch)
    monkeypatch.setattr(SEAL, "certificate", b"one", raising=False)
    hub.redis._write_whole(None)
    played.beat()
    assert (played.fields[CERTIFICATE], played.written) == (b"one", 1)
    monkeypatch.setattr(SEAL, "certificate", b"two")
    played.beat()
    assert (played.fields[CERTIFICATE], played.written) == (b"two", 2)
    played.beat()
    assert played.written == 2
