"""Workers that share a pool by their main process: real channels; a worker dies, and the main process says nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest

from lib import log_setup, push_leases, push_sharing, worker_channel, worker_pools
from lib.push_leases import Leases
from lib.push_sharing import Sharing
from lib.worker_channel import Channel
from lib.worker_crew import Crew
from lib.worker_pools import NAME, AskedLists, KeptLists, Unsealed
from lib.worker_state import Worker
from tests.support.registry_nodes import wait_for
from tests.unit.test_push_sharing import Hub, Router

QUICK: dict[str, object] = {
    "LOOK_SECONDS": 0.05,
    "BACK_SECONDS": (0.05, 0.1),
    "QUIET_SECONDS": 0.2,
    "AGAIN_SECONDS": 0.1,
    "HOLD_SECONDS": 30.0,
}


def soon(true: Callable[[], object]) -> None:
    wait_for(true, 30.0)


def held() -> int:
    """How many files in memory this process has open."""
    paths = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum("memfd:tunrouter" in os.readlink(path) for path in paths if os.path.lexists(path))


class Away(Hub):
    """A worker with a pool: its hosts come and are told as those of a hub."""

    def __init__(self, main: Main, channel: Channel, pool: str) -> None:
        self._channel = channel
        self.router = Router(main.directory, pool, "", "r")
        self.leases = Leases(self.router)  # type: ignore[arg-type]
        self.lists = AskedLists(channel.send)
        self.sharing = Sharing(
            *(self.lists, Unsealed(), NAME, lambda: [self.leases]),
            *(lambda: main.is_here, lambda: main.is_whole),
            settle_seconds=0.0,
        )
        self.leases.share = self.sharing.of(self.leases)
        self.hosts: set[str] = set()
        self.rung = 0
        self._reader = gevent.spawn(self._read)
        self.sharing.start()

    def _read(self) -> None:
        while found := self._channel.receive():
            message, files = found
            if message["do"] == "pool":
                self.lists.hear(message, *files)
            else:
                self.rung += 1
                self.sharing.ring()

    def die(self) -> None:
        self.sharing._task.kill()
        self._reader.kill()
        self._channel.close()


class Main:
    """A main process with workers."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.is_whole = directory, True
        self.crew = Crew(None, 2, 16, lambda number: ({}, ()))  # type: ignore[arg-type]
        self.lists = KeptLists(self.crew)
        self.away: dict[int, Away] = {}
        self.is_silent = False
        self._hearing: list[Any] = []

    def make(self, number: int, pool: str = "10.20.0.0/24") -> Away:
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        worker = self.crew.workers[number] = Worker(number, Channel(ours), 1, -1, 0.0, 0.0, ready=True)
        self._hearing.append(gevent.spawn(self._hear, worker))
        made = self.away[number] = Away(self, Channel(theirs), pool)
        return made

    def _hear(self, worker: Worker) -> None:
        while found := worker.channel.receive():
            message, files = found
            if self.is_silent:
                for file in files:
                    worker_channel.shut(file)
            else:
                self.crew.heard["pool"](worker, message, *files)
        if self.crew.workers.get(worker.number) is worker:
            del self.crew.workers[worker.number]
        worker.channel.close()

    def is_here(self, host: str) -> bool:
        return any(host in one.hosts for one in self.away.values())

    def kill(self, number: int) -> None:
        worker = self.crew.workers[number]
        self.away.pop(number).die()
        wait_for(lambda: self.crew.workers.get(number) is not worker)

    def close(self) -> None:
        for number in list(self.away):
            self.kill(number)
        gevent.killall(self._hearing)
        self.lists.stop()


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    for name, value in QUICK.items():
        monkeypatch.setattr(push_sharing, name, value)
    monkeypatch.setattr(push_leases, "state_directory", lambda: tmp_path)
    made = Main(tmp_path)
    yield made
    made.close()
    assert held() == 0
    log_setup.finish()


def test_hosts_at_two_workers_get_one_address_each(main: Main) -> None:
    workers = [main.make(1), main.make(2)]
    joining = [gevent.spawn(workers[n % 2].join, f"host-{n}") for n in range(60)]
    gevent.joinall(joining, timeout=30, raise_error=True)
    found = {f"host-{n}": one.value for n, one in enumerate(joining)}
    assert len(set(found.values())) == 60
    assert "" not in found.values()
    soon(lambda: workers[0].known == found == workers[1].known)
    assert workers[1].join("host-0") == found["host-0"], "the same host at another worker"


def test_a_worker_that_dies_leaves_its_hosts_their_addresses(main: Main) -> None:
    first, second = main.make(1), main.make(2)
    one, two = first.join("host-1"), second.join("host-2")
    main.kill(1)
    assert second.join("host-1") == one
    third = main.make(1)
    assert third.join("host-2") == two, "its successor knows all"
    assert third.join("host-3") not in (one, two)


def test_an_address_is_taken_back_only_from_who_is_known_to_be_away(main: Main) -> None:
    """A /30 has two addresses."""
    first, second = main.make(1, "10.20.0.0/30"), main.make(2, "10.20.0.0/30")
    one, two = first.join("host-1"), second.join("host-2")
    assert {one, two} == {"10.20.0.1", "10.20.0.2"}
    main.is_whole = False
    main.kill(1)
    waiting = gevent.spawn(second.join, "host-3")
    soon(lambda: "host-3" in second.leases.share._wants)  # type: ignore[union-attr]
    gevent.sleep(0.5)
    assert not waiting.ready(), "host-1 may be on its way back"
    main.is_whole = True
    assert waiting.get(timeout=30) == one
    third = main.make(1, "10.20.0.0/30")
    assert third.join("host-1") == "", "no two hosts have one address"


def test_without_a_reply_of_the_main_process_new_hosts_get_none(
    main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pools, "SECONDS", 0.2)
    first = main.make(1)
    one = first.join("host-1")
    soon(lambda: first.sharing.lost == "")
    main.is_silent = True
    soon(lambda: first.sharing.lost or first.leases.share.lost)  # type: ignore[union-attr]
    assert first.join("host-1") == one
    assert first.join("host-2") == ""
    main.is_silent = False
    soon(lambda: "host-2" in first.known)
    assert first.told("host-2") == first.known["host-2"]


def test_all_are_told_of_a_change(main: Main) -> None:
    first, second = main.make(1), main.make(2)
    first.join("host-1")
    soon(lambda: "host-1" in second.known)
    assert second.rung


def test_what_was_read_before_another_change_is_not_written(main: Main) -> None:
    first, second = main.make(1).lists, main.make(2).lists
    for one in main.away.values():
        one.sharing._task.kill()
    seen: list[bytes] = []

    def edit(text: bytes) -> bytes:
        seen.append(text)
        if len(seen) == 1:
            second.change(None, "x", lambda text: b"second")
        return text + b" first"

    stamp = first.change(None, "x", edit)
    assert seen == [b"", b"second"]
    assert first.stamp(None, "x") == stamp == second.changes(None)
    found: list[bytes] = []
    assert second.change(None, "x", lambda text: found.append(text)) == stamp
    assert found == [b"second first"]


def test_a_list_has_bounds(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = main.make(1).lists
    main.away[1].sharing._task.kill()
    monkeypatch.setattr(worker_pools, "MAX_BYTES", 10)
    monkeypatch.setattr(worker_pools, "MAX_LISTS", 1)
    lists.change(None, "x", lambda text: b"ten bytes.")
    for router, text in (("x", b"eleven byte"), ("y", b"a second")):
        with pytest.raises(OSError, match="the time"):
            lists.change(None, router, lambda old, text=text: text)  # type: ignore[misc]
    found: list[bytes] = []
    lists.change(None, "x", lambda text: found.append(text))
    assert found == [b"ten bytes."]


def test_what_is_given_stays_for_the_next_run(main: Main) -> None:
    first = main.make(1)
    one = first.join("host-1")
    first.leases.stop()
    main.kill(1)
    main.lists.stop()  # all of it has ended
    again = main.make(1)
    assert again.join("host-1") == one
    assert again.join("host-2") != one
