"""Sources that the main process reads for all workers: real channels, real HTTP; each worker's tables are in a greenlet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from gevent.server import StreamServer

from lib import log_setup, worker_channel, worker_run
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.route_live import LiveRoutes
from lib.settings import AutherSettings, HubSettings, Settings, TableSettings
from lib.settings_sources import FileSource, HttpSource, Source, SourceSettings
from lib.source_given import Given
from lib.source_origin import Asked, identity
from lib.source_read import Reading
from lib.worker_channel import Channel
from lib.worker_crew import Crew
from lib.worker_sources import Sources
from lib.worker_state import Worker

ONE, TWO = b"10.1.0.0/16 host-1\n", b"10.1.0.0/16 host-1\n10.2.0.0/16 host-2\n"
PAGE = b"<!doctype html>\n<h1>Log in</h1>\n"


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come about"
        gevent.sleep(0.005)


def held() -> int:
    """How many files in memory this process has open."""
    paths = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum("memfd:tunrouter" in os.readlink(path) for path in paths if os.path.lexists(path))


class Web:
    """An HTTP server that says what it was told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.says, self.asked = ONE, 0
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.source = HttpSource(f"http://127.0.0.1:{self._server.server_port}/rows")

    def _serve(self, sock: Any, _: object) -> None:
        sock.recv(65536)
        self.asked += 1
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        sock.sendall(head % len(self.says) + self.says)

    def stop(self) -> None:
        self._server.stop()


class Away:
    """A worker: its tables, which get readings by its channel."""

    def __init__(self, channel: Channel, settings: Settings) -> None:
        self.channel, self.given = channel, Given()
        self.messages: list[dict[str, Any]] = []
        self.may_say = Event()
        """Cleared where the worker is to keep what a reading was worth to itself for now."""
        self.may_say.set()
        self.given.judge = self._judge
        self.tables = Tables(settings, self.given)
        self.tables.start()
        self._acts: dict[str, Callable[..., None]] = {"reading": self.given.take, "forget": self.given.forget}
        self._reader = gevent.spawn(self._read)

    def _judge(self, outcome: dict[str, object]) -> None:
        self.may_say.wait()
        self.channel.send({"did": "judged", **outcome})

    def _read(self) -> None:
        while found := self.channel.receive():
            message, files = found
            self.messages.append(message)
            self._acts[message["do"]](message, *files)

    @property
    def routes(self) -> LiveRoutes:
        ((_, live),) = self.tables.routers()
        assert isinstance(live, LiveRoutes)
        return live

    @property
    def rows(self) -> int:
        return self.routes.total

    @property
    def error(self) -> str:
        ((_, state),) = self.routes.feed.states()
        return state.error

    def stop(self) -> None:
        self.tables.stop()
        self._reader.kill()
        self.channel.close()


class Main:
    """A main process with workers."""

    def __init__(self, settings: Settings, own: Settings | None = None, workers: int = 2) -> None:
        own = own or Settings()
        self.settings, self.crew = settings, Crew(None, workers, 16, lambda number: ({}, ()))  # type: ignore[arg-type]
        given = Given()
        self.tables = Tables(own, given)
        self.sources = Sources(settings, own, self.crew, given)
        self.away: dict[int, Away] = {}
        self._hearing: list[Any] = []
        for number in range(1, workers + 1):
            self.make(number)
        self.sources.start()
        self.tables.start()

    def make(self, number: int) -> Away:
        if (before := self.away.pop(number, None)) is not None:
            before.stop()
            wait_for(lambda: number not in self.crew.workers)
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        worker = Worker(number, Channel(ours), 1, -1, 0.0, 0.0, ready=True)
        self.away[number] = Away(Channel(theirs), self.settings)
        for greet in self.crew.begun:
            greet(worker)
        self.crew.workers[number] = worker
        self._hearing.append(gevent.spawn(self._hear, worker))
        return self.away[number]

    def _hear(self, worker: Worker) -> None:
        while found := worker.channel.receive():
            self.crew.heard["judged"](worker, found[0])
        for told in self.crew.gone:
            told(worker)
        self.crew.workers.pop(worker.number, None)
        worker.channel.close()

    def all_apply(self, settings: Settings) -> None:
        """All workers use other settings, at the same time: a reading is judged once each of them has looked at it."""
        applying = [gevent.spawn(one.tables.apply, settings) for one in self.away.values()]
        gevent.joinall(applying, raise_error=True)

    def rows(self) -> list[int]:
        return [one.rows for one in self.away.values()]

    def wait(self, *rows: int) -> None:
        wait_for(lambda: self.rows() == list(rows))

    def error(self) -> str:
        ((_, _, feed),) = self.sources.all()
        ((_, state),) = feed.states()
        return state.error

    def stop(self) -> None:
        self.sources.stop()
        self.tables.stop()
        for one in self.away.values():
            one.stop()
        gevent.killall(self._hearing)
        for worker in list(self.crew.workers.values()):
            worker.channel.close()


def router(*sources: Source) -> Settings:
    return Settings(tables=(TableSettings("r", more=SourceSettings(sources)),))


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.stop()
    log_setup.finish()


@pytest.fixture
def begin() -> Iterator[Callable[..., Main]]:
    made: list[Main] = []

    def main(*arguments: Any, **more: Any) -> Main:
        made.append(Main(*arguments, **more))
        return made[-1]

    yield main
    for one in made:
        one.stop()
    gevent.sleep(0)
    assert held() == 0, "every file in memory is closed"


def test_a_source_is_read_once_for_all(web: Web, begin: Callable[..., Main]) -> None:
    main = begin(router(web.source), workers=3)
    main.wait(1, 1, 1)
    assert web.asked == 1
    web.says = TWO
    main.sources.refresh()
    main.wait(2, 2, 2)
    assert web.asked == 2
    assert main.make(2).routes.feed.wait(60), "one that is made later"
    assert sorted(main.rows()) == [2, 2, 2]
    assert web.asked == 2
    ((_, state),) = main.away[2].routes.feed.states()
    assert state.read_at
    assert not main.away[2].routes.feed.reads


def test_the_same_text_goes_nowhere(web: Web, begin: Callable[..., Main]) -> None:
    main = begin(router(web.source))
    main.wait(1, 1)
    before = [len(one.messages) for one in main.away.values()]
    for number in (2, 3):
        main.sources.refresh()
        wait_for(lambda number=number: web.asked == number and main.sources.loaded)  # type: ignore[misc]
    assert [len(one.messages) for one in main.away.values()] == before == [1, 1]


def test_what_is_no_table_is_a_failure_and_the_last_good_rows_stay(
    web: Web, begin: Callable[..., Main]
) -> None:
    main = begin(router(web.source))
    main.wait(1, 1)
    web.says = PAGE
    main.sources.refresh()
    wait_for(lambda: all("HTML page" in one.error for one in main.away.values()))
    assert main.rows() == [1, 1]
    wait_for(lambda: main.error() == main.away[1].error)
    later = main.make(2)
    wait_for(lambda: later.error)
    assert (later.rows, later.error) == (1, main.error()), "its last good rows, and that it fails"
    web.says = TWO
    main.sources.refresh()
    main.wait(2, 2)
    wait_for(lambda: not any([main.error(), *(one.error for one in main.away.values())]))


def test_a_source_that_cannot_be_read_is_told_of(web: Web, begin: Callable[..., Main]) -> None:
    web.stop()
    main = begin(router(web.source))
    wait_for(lambda: all("refused" in one.error for one in main.away.values()))
    later = main.make(2)
    wait_for(lambda: later.error)
    assert later.routes.feed.wait(60)
    assert later.error == main.error()


def test_a_source_that_is_back_with_the_same_text_is_told_of(web: Web, begin: Callable[..., Main]) -> None:
    main = begin(router(web.source))
    main.wait(1, 1)
    web.says = b""
    main.sources.refresh()
    wait_for(lambda: all("no rows any more" in one.error for one in main.away.values()))
    web.says = ONE
    main.sources.refresh()
    wait_for(lambda: not any(one.error for one in main.away.values()))
    assert main.rows() == [1, 1]


def test_where_one_cannot_use_it_the_source_fails(
    web: Web, begin: Callable[..., Main], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = begin(router(web.source))
    main.wait(1, 1)

    def put(rank: int, reading: Reading, name: str) -> None:
        raise MemoryError("no room")

    feed = main.away[2].routes.feed
    monkeypatch.setattr(feed, "_put", put)
    web.says = TWO
    main.sources.refresh()
    wait_for(lambda: "MemoryError: no room" in main.error())
    monkeypatch.undo()
    main.sources.refresh()
    main.wait(2, 2)
    wait_for(lambda: not main.error())


def test_one_that_dies_meanwhile_is_not_waited_for(web: Web, begin: Callable[..., Main]) -> None:
    main = begin(router(web.source))
    main.wait(1, 1)
    wait_for(lambda: main.sources.loaded)  # it has said what the first one is worth
    main.away[2].may_say.clear()
    web.says = TWO
    main.sources.refresh()
    main.wait(2, 2)
    assert not main.sources.loaded, "it is waited for"
    third = main.make(3)
    wait_for(lambda: third.rows == 2)
    assert not main.sources.loaded
    main.away.pop(2).stop()
    wait_for(lambda: main.sources.loaded)
    assert main.error() == ""
    assert main.make(2).routes.feed.wait(60)
    assert main.rows() == [2, 2, 2]


def test_without_a_worker_nothing_counts(web: Web, begin: Callable[..., Main]) -> None:
    main = begin(router(web.source), workers=0)
    wait_for(lambda: "no worker is there" in main.error())
    later = main.make(1)
    wait_for(lambda: later.rows == 1, 20)


def test_other_sources_after_a_reload(web: Web, begin: Callable[..., Main], tmp_path: Any) -> None:
    path = tmp_path / "routes"
    path.write_bytes(b"10.9.0.0/16 host-9\n")
    main = begin(router(web.source))
    main.wait(1, 1)
    new = router(FileSource(str(path)), web.source)
    main.sources.apply(new, Settings())
    main.all_apply(new)
    main.sources.leave(new)
    assert main.rows() == [2, 2]
    other = tmp_path / "other"
    other.write_bytes(b"10.9.0.0/16 host-9\n10.8.0.0/16 host-8\n")
    other.rename(path)  # so that nobody reads a half of it
    main.wait(3, 3)
    newest = router(FileSource(str(path)))
    main.sources.apply(newest, Settings())
    main.all_apply(newest)
    main.sources.leave(newest)
    assert main.rows() == [2, 2]
    wait_for(lambda: all(one.messages[-1]["do"] == "forget" for one in main.away.values()))
    assert [one.messages[-1]["rank"] for one in main.away.values()] == [2, 2]
    assert web.asked == 2, "once for each place in the list"


def test_a_reload_while_a_reading_is_looked_at_loses_nothing(
    web: Web, begin: Callable[..., Main], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = begin(router(web.source))
    main.wait(1, 1)
    looking = Event()

    def put(rank: int, reading: Reading, name: str) -> None:
        looking.set()
        Event().wait()

    monkeypatch.setattr(main.away[1].routes.feed, "_put", put)
    web.says = TWO
    main.sources.refresh()
    assert looking.wait(60)
    more = SourceSettings((web.source,), reload=3600.0)
    main.away[1].tables.apply(Settings(tables=(TableSettings("r", more=more),)))
    wait_for(lambda: main.away[1].rows == 2)  # the new feed looks at it
    wait_for(lambda: main.sources.loaded)
    assert (main.error(), main.rows(), web.asked) == ("", [2, 2], 2)


def test_logins_of_this_process_are_one_more_receiver(web: Web, begin: Callable[..., Main]) -> None:
    web.says = b"user pass\n"
    auther = AutherSettings("a", more=SourceSettings((web.source,)))
    hub = HubSettings("hub", "127.0.0.1", 0, authers=(auther,))
    main = begin(Settings(hubs=(hub,), authers=(auther,)), Settings(authers=(auther,)))
    everywhere = [main.tables, *(one.tables for one in main.away.values())]
    wait_for(lambda: all(tables.logins("a").total == 1 for tables in everywhere))
    wait_for(lambda: main.sources.loaded)
    assert web.asked == 1


def test_a_failure_is_logged_by_the_process_that_reads() -> None:
    assert {Entry.SOURCE_FAILED, Entry.SOURCE_RECOVERED} <= set(worker_run._SAID_BY_MAIN)


def test_a_newer_reading_takes_the_place_of_one_that_is_looked_at() -> None:
    """Older ones are not used, whatever comes late, and no file is left open."""
    given, found, may_go = Given(), list[bytes](), Event()
    judged: list[dict[str, object]] = []
    given.judge = judged.append
    source = FileSource("/nowhere")
    asked = Asked("router r", 1, source, False)
    about = {
        "table": "router r",
        "rank": 1,
        "source": identity(source),
        "error": "",
        "server": None,
        "is_whole": True,
    }

    def put(reading: Reading) -> int:
        found.append(reading.text)
        may_go.wait()
        return 7

    told = lambda: None  # noqa: E731
    given.take({**about, "number": 2}, worker_channel.held(b"two"))
    looking = gevent.spawn(given.read, asked, told, put)
    wait_for(lambda: found == [b"two"])
    given.take({**about, "number": 3}, worker_channel.held(b"three"))
    given.take({**about, "number": 1}, worker_channel.held(b"one"))
    may_go.set()
    assert looking.get(timeout=10) == 7
    assert given.read(asked, told, put) == 7
    assert found == [b"two", b"three"]
    assert [(one["number"], one["bad"], one["error"]) for one in judged] == [(2, 7, ""), (3, 7, "")]
    assert given.read(asked, told, put) == 7, "a feed that begins again gets what is there"
    assert found[-1] == b"three"
    given.forget(about)
    assert held() == 0


def test_a_descriptor_that_was_lost_is_told_of() -> None:
    given, judged = Given(), list[dict[str, object]]()
    given.judge = judged.append
    about = {"table": "router r", "rank": 1, "source": "", "error": "", "server": None, "is_whole": True}
    given.take({**about, "number": 4})
    assert [(one["number"], one["error"]) for one in judged] == [(4, "there was no descriptor left for it")]
