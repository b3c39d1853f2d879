"""The hubs of all workers as the web API asks for them: one list, one page of a host, nothing counted twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import gevent
import gevent.socket
import pytest

from lib import api_status, capture_records, framing, worker_ask, worker_channel, worker_hubs, worker_watch
from lib.api_flows import Flows, merged
from lib.api_hosts import COLUMNS
from lib.api_live import Live
from lib.api_request import Refused
from lib.api_shared import Shared
from lib.api_x_hosts import HostPages
from lib.capture_fate import FORWARDED, Fate
from lib.capture_service import Tapping
from lib.capture_taps import Capture, Choice, Taps
from lib.ctl_server import Answers, Handlers, Relayed
from lib.forward_drop_reasons import Reason
from lib.observe_stats import Stats
from lib.worker_channel import Channel
from lib.worker_control import Control
from lib.worker_hubs import WorkerHubs, WorkerLook, WorkersLook
from lib.worker_state import Worker
from lib.worker_told import PASSED_ON, Told
from tests.support import packets
from tests.support.api_hubs import NOBODY, FakeHub, get, no_lists
from tests.unit.test_api_x import refused

KEY = ("service hub", NOBODY, "a")


class World:
    """Two workers, each with a hub of its own, and the hubs of all."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.hubs: dict[int, FakeHub] = {}
        self.taps: dict[int, Taps] = {}
        self.is_late: set[int] = set()
        self.greenlets: list[Any] = []
        self._ends: dict[int, Channel] = {}
        self._serving: dict[int, Any] = {}
        self.crew = SimpleNamespace(
            workers=self.workers,
            ready=lambda: iter([one for one in self.workers.values() if one.ready]),
        )
        self.made = WorkerHubs(cast(Any, self.crew), {}, {})
        self.live = Live(self.made)
        self.pages = HostPages(self.live, self.made, Shared())

    def add(self, number: int) -> FakeHub:
        ours, theirs = worker_channel.pair(gevent.socket.socket)
        self.workers[number] = Worker(number, Channel(ours), 1, -1, 0.0, 0.0, ready=True)
        hub = self.hubs[number] = FakeHub()
        taps = self.taps[number] = Taps()
        parts: Any = SimpleNamespace(
            hubs={"hub": hub}, clients={}, tables=no_lists(), taps=taps, since={"hub": 1.0}
        )
        told = Told(parts)

        def reply(request: Any) -> Any:
            if number in self.is_late:
                gevent.sleep(60)
            return told.reply(request)

        self._ends[number] = Channel(theirs)
        self.answer(number, {"api": reply, **Tapping(taps).handlers()})
        return hub

    def answer(self, number: int, handlers: Handlers) -> None:
        """Let a worker answer by these from now on."""
        answers, channel = Answers(handlers), self._ends[number]
        if number in self._serving:
            self._serving[number].kill()

        def serve() -> None:
            while found := channel.receive():
                (descriptor,) = found[1]
                self.greenlets.append(gevent.spawn(answers.serve, gevent.socket.socket(fileno=descriptor)))

        self._serving[number] = gevent.spawn(serve)
        self.greenlets.append(self._serving[number])

    def rows(self) -> list[dict[str, Any]]:
        self.live._looked_at = float("-inf")
        whole = json.loads(self.live.whole(""))
        return [dict(zip(COLUMNS, row, strict=True)) for row in whole["rows"]]

    def close(self) -> None:
        gevent.killall(self.greenlets)
        for worker in self.workers.values():
            worker.channel.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("lib.api_x_hosts.FLOW_SECONDS", 0.001)
    monkeypatch.setattr("lib.ctl_session.session_row", lambda session, *_: {"peer": session.attachment.peer})
    made = World()
    made.add(1)
    made.add(2)
    yield made
    made.close()


def test_one_list_with_sums(world: World) -> None:
    one, other = world.hubs[1].connect("a"), world.hubs[2].connect("a")
    world.hubs[2].connect("b")
    one.attachment.drop(Reason.DENIED, 3)
    other.attachment.drop(Reason.DENIED, 4)
    other.sender.queued = 1000
    assert [(row["host"], row["state"], row["drops"], row["queue"]) for row in world.rows()] == [
        ("a", "up", 7, 1000),
        ("b", "up", 0, 0),
    ]
    world.hubs[1].leave(one)
    world.hubs[2].leave(other)
    assert [row["state"] for row in world.rows()] == ["away", "up"]


def test_who_was_here_before_is_away(world: World) -> None:
    world.hubs[2].leave(world.hubs[2].connect("a"))
    world.live._look(keep=1)
    assert [(host.host, host.state) for host in world.live.hosts.by_id.values()] == [("a", "away")]


def test_a_page_of_a_host_is_of_all_its_sessions(world: World) -> None:
    for number in (1, 2):
        session = world.hubs[number].connect("a")
        session.attachment.drop(Reason.DENIED, 2 * number)
        session.attachment.drop(Reason.NO_ROUTE, 10)
        world.hubs[number].warnings = [(NOBODY, "a", "two machines")]
    world.rows()
    page = json.loads(get(world.pages.host, arguments={"id": "1"}).body)
    assert len(page["sessions"]) == 2
    assert [(row["reason"], row["count"]) for row in page["drops"]] == [("no-route", 20), ("denied", 6)]
    assert {"code": "conflict", "text": "two machines"}.items() <= page["problems"][0].items()
    assert [(row["host"], row["sessions"]) for row in world.made.gateways("")] == [("a", 2)]
    assert get(world.pages.drain, arguments={"id": "1"}).body == {"sessions": 2}
    assert get(world.pages.kick, arguments={"id": "1"}).body == {"sessions": 2}
    for hub in world.hubs.values():
        hub.leave(next(iter(hub.sessions.values())))
    assert refused(world.pages.kick, None, {"id": "1"}) == (409, "host a is not connected")


def test_one_that_does_not_answer_has_lost_no_host(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_hubs, "SECONDS", 0.2)
    for number in (1, 2):
        world.hubs[number].connect(f"host-{number}")
    assert [row["state"] for row in world.rows()] == ["up", "up"]
    world.is_late.add(2)
    assert [row["state"] for row in world.rows()] == ["up", "up"]
    for ask in (lambda: world.made.about(KEY), lambda: world.made.kick(KEY, "x")):
        with pytest.raises(Refused) as late:
            ask()
        assert late.value.status == 503
    world.workers.pop(2).channel.close()  # it has ended
    assert [row["state"] for row in world.rows()] == ["up", "away"]
    assert world.made.about(KEY).sessions == []
    world.workers.pop(1).channel.close()
    with pytest.raises(Refused) as nobody:
        world.made.about(KEY)
    assert nobody.value.status == 503


@pytest.mark.parametrize(
    "reply",
    [
        *({}, {"here": 1, "opened": []}, {"here": [], "opened": [["d", "xx", "h", 1]]}),
        *({"here": [[["d", "00", "h"], {}]], "opened": []}, {"here": [["d", "00", "h"]], "opened": []}),
    ],
)
def test_what_is_no_look_costs_one_worker_only(
    world: World, reply: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.hubs[1].connect("a")
    monkeypatch.setattr(
        "lib.worker_told.Told._look", lambda told: reply if told._hubs._taps is world.taps[2] else ours(told)
    )
    assert [row["host"] for row in world.rows()] == ["a"]


ours: Callable[[Told], Any] = Told._look


def test_words_of_a_worker_are_told(world: World) -> None:
    with pytest.raises(ValueError, match="no IP address"):
        world.made._one(world.workers[1], {"do": "api", "what": "explain", "with": [QUERY, False]})
    with pytest.raises(ValueError, match="is no cursor"):
        world.made.routes({"after": "x"}, "", 1, False)
    with pytest.raises(ValueError, match="not a proper request"):
        world.made._one(world.workers[1], {"do": "api", "what": "nothing", "with": []})


QUERY = {"from": "a", "to": "x", "ns": "00000000-0000-0000-0000-000000000000"}


def test_a_reply_that_never_ends_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_ask, "MOST_SECONDS", 0.2)

    def trickle(sock: Any) -> None:
        while True:
            sock.sendall(b" ")
            gevent.sleep(0.01)

    world.answer(1, {"api": lambda request: Relayed(trickle)})
    with gevent.Timeout(5):
        assert worker_ask.one(world.workers[1], {"do": "api"}) is None


@pytest.mark.parametrize("said", [b"[" * 200_000 + b"\n", b"no JSON\n", b"x" * 5000])
def test_a_reply_has_a_bound_and_is_one(world: World, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is none, nested without end, or without an end."""
    monkeypatch.setattr(worker_ask, "MAX_REPLY", 1 << 20 if said.endswith(b"\n") else 1000)

    def reply(request: Any) -> Relayed:
        return Relayed(lambda sock: sock.sendall(said))

    world.answer(1, {"api": reply})
    with gevent.Timeout(5):  # half of what one may be silent for
        assert worker_ask.one(world.workers[1], {"do": "api"}) is None


def test_a_service_is_ready_while_any_worker_serves_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lib.observe_stats.of_client", lambda hub: Stats(total_conns=2)
    )  # a FakeHub is no Hub
    settings = SimpleNamespace(observe=SimpleNamespace(enable_stats=True))
    front = SimpleNamespace(settings=settings, listens=True, address=("192.0.2.1", 8443), since=5.0)
    made = WorkerHubs(cast(Any, world.crew), cast(Any, {"hub": front}), {})
    told = api_status.status(made, "hub")
    assert {"createTime": 5, "state": "ready", "stats": Stats(4).fields()}.items() <= told.items()
    assert [row["msg"].partition(" is ")[2] for row in cast(Any, told["events"])] == [
        *("running", "ready", "listening on 192.0.2.1:8443")
    ]
    assert api_status.status(made, "other") == {"createTime": 0, "state": "failed", "events": []}
    for worker in world.workers.values():
        worker.ready = False
    settings.observe.enable_stats = False
    told = api_status.status(made, "hub")
    assert (told["state"], "stats" in told) == ("failed", False)


# --- packets

CONTENT = framing.encode(packets.udp("10.0.0.1", "10.0.0.2", b"x" * 8, ports=(4000, 53)))
HERE = Fate(FORWARDED, NOBODY.hex(), "a", "b", "session 10.0.0.1:5")
ON = Fate(FORWARDED, NOBODY.hex(), "a", "b", f"hub worker 2{PASSED_ON}")


def show(taps: Taps, fate: Fate) -> None:
    taps.saw(fate, CONTENT, 0, len(CONTENT))


def taken(capture: Capture, count: int) -> list[Fate]:
    data = b""
    with gevent.Timeout(10):
        while capture.fitted < count:
            gevent.sleep(0.01)
    while more := capture.pop(1 << 20):
        data += more
    return [Fate(*record.label.decode().split("\0")) for record in capture_records.Reader().feed(data)]


def wait_on(*some: Taps) -> None:
    with gevent.Timeout(10):
        while not all(taps.on for taps in some):
            gevent.sleep(0.01)


def test_a_packet_that_crosses_workers_is_shown_once_also_of_one_that_is_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_watch, "LOOK_SECONDS", 0.02)
    capture = Capture(Choice(), lambda: None)
    end = world.made.watch(capture, "", "", "udp")
    wait_on(*world.taps.values())
    show(world.taps[1], ON)
    show(world.taps[2], HERE)
    assert [fate[:5] for fate in taken(capture, 1)] == [HERE[:5]]
    world.workers.pop(1).channel.close()
    world.add(3)
    wait_on(world.taps[3])
    show(world.taps[3], HERE)
    assert len(taken(capture, 2)) == 1
    end()
    with gevent.Timeout(10):
        while any(world.taps[number].on for number in (2, 3)):
            gevent.sleep(0.01)


def test_what_a_worker_has_lost_is_told() -> None:
    capture = Capture(Choice(), lambda: None)
    watch: Any = worker_watch.Watch.__new__(worker_watch.Watch)
    watch._tap = capture
    ours, theirs = gevent.socket.socketpair()
    for lost in (3, 3, 5):
        theirs.sendall(capture_records.counts(1, 9, lost))
    theirs.close()
    watch._read(ours)
    assert (capture.fitted, capture.lost) == (5, 5)


def test_one_that_has_no_room_is_no_silent_gap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.capture_service.MAX_LISTENERS", 0)
    with pytest.raises(ValueError, match="captures and traces run already"):
        world.made.watch(Capture(Choice(), lambda: None), "", "", "")


def test_flows_are_those_of_all_and_none_twice() -> None:
    rows = []
    for fates in ((ON, HERE), (HERE,)):
        flows = Flows("a", NOBODY.hex(), PASSED_ON)
        for fate in fates:
            flows.take(1, fate, CONTENT, 0, len(CONTENT))
        rows.append(flows.rows(1.0))
    (row,) = merged(rows)
    assert (row["src"], row["dir"], row["bytes_s"]) == ("10.0.0.1", "in", 2 * (len(CONTENT) - 2))


def test_who_is_enrolled_is_so_at_all_workers() -> None:
    one, two = ("service hub", bytes(16), "a"), ("service hub", bytes(16), "b")
    looks = [WorkerLook({}, {}, {one: 5.0, two: 7.0}), WorkerLook({}, {}, {one: 6.0})]
    assert WorkersLook(looks).enrolled() == {one: 6.0, two: 7.0}


def test_revoke_returns_once_all_have_looked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2, 3):
        world.add(number)
    crew, sources = cast(Any, world.crew), cast(Any, None)
    control = Control(crew, {}, cast(Any, None), sources, lambda: (), "").handlers()["revoke"]
    did: list[str] = []
    is_listed = True

    def revoke(request: Any) -> dict[str, object]:
        nonlocal is_listed
        did.append("revoke")
        is_listed = False
        return {"hosts": 1, "sessions": 1, "notes": ["one"]}

    def look(number: int) -> Any:
        def said(request: Any) -> dict[str, object]:
            assert request["host"] == "host-7"
            did.append("look")
            return {"sessions": number if is_listed else 0}

        return said

    world.answer(1, {"revoke": revoke})
    world.answer(2, {"look": look(2)})
    world.answer(3, {"look": look(3)})
    wanted = {"do": "revoke", "host": "host-7"}
    assert control(wanted) == {"hosts": 1, "sessions": 6, "notes": ["one"]}
    assert did == ["look", "look", "revoke", "look", "look"]

    def fails(request: Any) -> dict[str, object]:
        raise ValueError("the list cannot be read")

    world.answer(3, {"look": fails})
    is_listed = True
    found: Any = control(wanted)
    assert (found["sessions"], found["notes"][1:]) == (3, ["worker 3: the list cannot be read"])
    world.answer(1, {"revoke": fails})
    with pytest.raises(ValueError, match="the list cannot be read"):
        control(wanted)
