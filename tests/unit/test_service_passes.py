"""Long turns, of which each pass of the event loop has one: who waits for whom, and in which order."""

from __future__ import annotations

import socket
import time
from collections import Counter

import gevent
import pytest

from lib.service_scheduling import Passes
from lib.session_cost import SHORT, WORTH, Cost
from lib.stream_tcp import Stream

HEAVY, TURNS = 8, 20


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


def session(sock: socket.socket) -> Stream:
    stream, cost = Stream(sock, "peer"), Cost()
    cost.admit("tcp")
    stream.count(cost, "key")
    return stream


@pytest.fixture
def pairs() -> list[tuple[socket.socket, socket.socket]]:
    """Connected TCP sockets: ours, the peer's."""
    made = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(HEAVY + 1):
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
            passes.enter(loop)
            log.append((name, loop.iteration))

    gevent.joinall([gevent.spawn(work, name) for name in range(4)], timeout=10, raise_error=True)
    assert [name for name, _ in log] == [0, *[0, 1, 2, 3] * 4, 1, 2, 3], "the first one asks again at once"
    assert len({iteration for _, iteration in log}) == len(log), "never two in one pass"


def test_who_is_killed_while_it_waits_holds_nobody_up() -> None:
    passes, loop = Passes(), gevent.get_hub().loop
    gevent.sleep(1e-9)
    passes.enter(loop)
    waiting = [gevent.spawn(passes.enter, loop) for _ in range(3)]
    gevent.sleep(0)
    waiting[0].kill()
    waiting[2].kill()
    with gevent.Timeout(5):
        waiting[1].get()
        passes.enter(loop)
        passes.enter(loop)
