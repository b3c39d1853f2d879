"""Passes of the event loop: one long turn in each, and little waste; who waits for whom, and in which order."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Hashable

import gevent
import pytest

from lib import service_turn
from lib.service_passes import MOST_WASTE_SECONDS, WASTE_SECONDS, Passes, Waste
from lib.session_cost import ACCIDENT_SECONDS, EXACT_TURNS, SHORT, WORTH, Cost
from lib.stream_tcp import Stream

HEAVY, TURNS, MANY = 8, 20, 32


def heavy(stream: Stream, name: int, log: list[str]) -> None:
    """Receive much, forward it, and need more than a short turn's time for it each time."""
    view = memoryview(bytearray(1 << 18))
    while stream.receive_into(view):
        log.append(f"heavy {name}")
        assert stream.cost is not None
        stream.cost.forward(1000, 1 << 20, 0)
        until = time.thread_time() + 2 * SHORT * WORTH["tcp"].turn
        while time.thread_time() < until:
            pass


def session(sock: socket.socket, address: str = "address") -> Stream:
    stream, cost = Stream(sock, "peer"), Cost()
    stream.count(cost, address)
    cost.admit("tcp")
    stream.count(cost, stream)
    return stream


@pytest.fixture
def pairs() -> list[tuple[socket.socket, socket.socket]]:
    """Connected TCP sockets: ours, the peer's."""
    return connected(HEAVY + 1)


def connected(count: int) -> list[tuple[socket.socket, socket.socket]]:
    made = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(count):
            near = socket.create_connection(listener.getsockname())
            made.append((listener.accept()[0], near))
    return made


def test_a_short_turn_waits_for_one_long_turn_at_most(
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    log = list[str]()
    streams = [session(near) for near, _ in pairs]
    *senders, light_sender = [far for _, far in pairs]
    for far in senders:
        far.setblocking(False)
    view, light = memoryview(bytearray(1 << 16)), streams[-1]
    greenlets = [gevent.spawn(heavy, stream, name, log) for name, stream in enumerate(streams[:-1])]

    def keep_full() -> None:
        while True:
            for far in senders:
                try:
                    far.send(bytes(1 << 16))
                except BlockingIOError:
                    pass
            gevent.sleep(1e-9)

    greenlets.append(gevent.spawn(keep_full))
    waited = []
    for _ in range(TURNS):
        while len(log) % (HEAVY + 3) != 1:  # in the middle of their turns
            gevent.sleep(1e-9)
        assert light.cost is not None
        light.cost.exact = EXACT_TURNS  # timed by the processor's own clock, whoever else needs the core
        before = len(log)
        light_sender.send(b"ping")
        with gevent.Timeout(5):
            assert light.receive_into(view) == 4
        light.end_turn()
        waited.append(len(log) - before)
        gevent.sleep(1e-9)
        log.append("light")
    gevent.killall(greenlets)
    for stream in streams:
        stream.close()
    assert max(waited) <= 1, f"{waited}"
    turns = Counter(log)
    shares = [turns[f"heavy {name}"] for name in range(HEAVY)]
    assert min(shares) >= max(shares) - 3, f"equal shares: {shares}"


def test_one_long_turn_in_each_pass_in_the_order_of_asking() -> None:
    passes, loop, log = Passes(), gevent.get_hub().loop, list[tuple[int, int]]()

    def work(name: int) -> None:
        for _ in range(5):
            passes.enter(loop, name)
            log.append((name, loop.iteration))

    gevent.joinall([gevent.spawn(work, name) for name in range(4)], timeout=10, raise_error=True)
    assert [name for name, _ in log] == [0, *[0, 1, 2, 3] * 4, 1, 2, 3], "the first one asks again at once"
    assert len({iteration for _, iteration in log}) == len(log), "never two in one pass"


def test_who_is_killed_while_it_waits_holds_nobody_up() -> None:
    passes, loop = Passes(), gevent.get_hub().loop
    gevent.sleep(1e-9)
    passes.enter(loop, "first")
    waiting = [gevent.spawn(passes.enter, loop, key) for key in "aab"]
    gevent.sleep(0)
    waiting[0].kill()
    waiting[2].kill()
    with gevent.Timeout(5):
        waiting[1].get()
        passes.enter(loop, "a")
        passes.enter(loop, "a")


def test_a_long_turn_by_accident_waits_for_one_of_each_address_that_wastes_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ping whose last turn was long, since its packet had to wait for a cache, is behind no crowd."""
    passes, loop, log = Passes(), gevent.get_hub().loop, list[str]()
    monkeypatch.setattr(service_turn, "PASSES", passes)

    def wait(name: str, debt: float) -> None:
        turn, cost = service_turn.Turn(), Cost()
        cost.admit("tcp")
        turn.origin, cost.debt, cost.long = name, debt, True
        turn.wait(cost, loop, turn)
        log.append(name)

    names = ["crowd"] * 20 + ["others"] * 20
    waiting = [gevent.spawn(wait, name, 2 * ACCIDENT_SECONDS) for name in names]
    waiting += [gevent.spawn(wait, "honest", ACCIDENT_SECONDS / 2) for _ in range(2)]
    gevent.joinall(waiting, timeout=5, raise_error=True)
    assert log[:5] == ["crowd", "crowd", "others", "honest", "honest"]
    assert len(log) == len(waiting)


def test_the_first_turns_of_many_sessions_come_in_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows before it what a turn will cost. While there is junk of one address, others go on."""
    waste, loop, log = Waste(), gevent.get_hub().loop, list[tuple[str, int]]()
    monkeypatch.setattr(service_turn, "WASTE", waste)
    pairs = connected(MANY + 2)
    streams = [session(near, "crowd") for near, _ in pairs[:MANY]]
    streams += [session(near, name) for (near, _), name in zip(pairs[MANY:], ("known", "new"), strict=True)]
    for stream in streams:
        assert stream.cost is not None
        stream.cost.exact = 0 if stream is streams[MANY] else EXACT_TURNS

    def read(stream: Stream, name: str, seconds: float) -> None:
        view = memoryview(bytearray(1 << 16))
        assert stream.receive_into(view) == 4
        log.append((name, loop.iteration))
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass
        stream.end_turn()

    seconds = WASTE_SECONDS / 3
    crowd = [gevent.spawn(read, stream, "crowd", seconds) for stream in streams[:MANY]]
    others = [
        gevent.spawn(read, stream, name, 0.0)
        for stream, name in zip(streams[MANY:], ("known", "new"), strict=True)
    ]
    gevent.sleep(1e-9)  # all of them wait for their sockets
    for _, far in pairs:
        far.send(b"junk")
    gevent.joinall([*crowd, *others], timeout=20, raise_error=True)
    for stream in streams:
        stream.close()
    passes = Counter(number for name, number in log if name == "crowd")
    assert len(log) == MANY + 2
    assert max(passes.values()) <= 4, passes
    places = {name: place for place, (name, _) in enumerate(log) if name != "crowd"}
    assert places["known"] <= MANY / 2, "it waits for no pass of its own, as it wastes nothing"
    assert places["new"] <= MANY / 2, "addresses take turns, so it waits for one session of the crowd"


def ask(waste: Waste, key: Hashable, is_known: bool, log: list[tuple[Hashable, int]], seconds: float) -> None:
    """A turn as service_turn has it, which wastes so many seconds."""
    loop = gevent.get_hub().loop
    if waste.is_over:
        waste.enter(loop, key, is_known)
    log.append((key, loop.iteration))
    waste.add(loop, seconds)


def test_a_pass_wastes_so_much_and_addresses_take_turns() -> None:
    waste, log = Waste(), list[tuple[Hashable, int]]()
    each = WASTE_SECONDS / 2
    turns = [gevent.spawn(ask, waste, key, False, log, each) for key in "aaaaaaaabb"]
    gevent.joinall(turns, timeout=5, raise_error=True)
    assert "".join(str(key) for key, _ in log) == "aaababaaaa"
    assert set(Counter(number for _, number in log).values()) == {2}
    gevent.sleep(1e-9)
    ask(waste, "later", False, log, 0.0)
    assert not waste.is_over, "nobody has to ask any more"


def test_who_has_wasted_nothing_lately_waits_only_where_very_much_was_wasted() -> None:
    waste, log = Waste(), list[tuple[Hashable, int]]()
    gevent.sleep(1e-9)  # a pass has just begun
    ask(waste, "junk", False, log, WASTE_SECONDS)
    waits = gevent.spawn(ask, waste, "new", False, log, 0.0)
    gevent.sleep(0)
    ask(waste, "known", True, log, MOST_WASTE_SECONDS)
    late = gevent.spawn(ask, waste, "late", True, log, 0.0)
    gevent.joinall([waits, late], timeout=5, raise_error=True)
    assert [key for key, _ in log] == ["junk", "known", "new", "late"]
    assert log[1][1] == log[0][1] < log[2][1]


def test_who_is_killed_while_it_waits_for_waste_to_end_holds_nobody_up() -> None:
    waste, log = Waste(), list[tuple[Hashable, int]]()
    ask(waste, "junk", False, log, WASTE_SECONDS)
    waiting = [gevent.spawn(ask, waste, "a", False, log, 0.0) for _ in range(3)]
    gevent.sleep(0)
    waiting[0].kill()
    waiting[2].kill()
    with gevent.Timeout(5):
        waiting[1].get()
    assert [key for key, _ in log] == ["junk", "a"]
