"""A link between two workers: every frame and claim comes, in its order, also where the other end is slow."""

from __future__ import annotations

import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import gevent.socket
import pytest

from lib import framing, session_cost, worker_channel, worker_link, worker_wire
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.session_cost import Cost
from lib.session_window import LEAST, LEAST_SENT, MOST_SECONDS
from lib.worker_link import BUFFER_BYTES, WorkerLink
from lib.worker_wire import Claim, Message, WindowEnd
from tests.support.packets import udp

SPACE = bytes(range(16))


class End:
    """One end, with what it has received."""

    def __init__(self, descriptor: int) -> None:
        self.frames: list[tuple[bytes, bytes]] = []
        self.seen: list[str] = []
        self.drops = Traffic()
        self.turns: Counter[int] = Counter()
        """Turns by passes of the event loop."""
        self.work, self.are_of_use = 0.0, True
        """Seconds of processor time that all taken together needs, and whether its frames are passed on."""
        self.by_flow = False
        self.takes: list[tuple[int, int]] = []
        """(number of the hub, frames) of each that was taken."""
        sock = gevent.socket.socket(fileno=descriptor)
        self.link = WorkerLink("worker 2", sock, self._receiver, self._told, self.drops)
        self._hub = 0
        self.error = ""
        self.hearing: Callable[[], object] = lambda: None
        """What is done where something is heard beside frames."""
        self.reading = gevent.spawn(self._run)

    def _run(self) -> None:
        try:
            self.link.run()
        except OSError as error:
            self.error = str(error)

    has_rest = False

    def _receiver(self, hub: int) -> End:
        self._hub = hub
        return self

    def take(
        self,
        namespace: bytes,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        cost: Cost | None = None,
    ) -> int:
        until = time.thread_time() + self.work
        while self.work and time.thread_time() < until:
            pass
        ends = list(framing.split(view[start:end]))
        if not ends or ends[-1] != end - start:
            raise ProtocolError("no whole frames")
        for begin, after in zip([0, *ends], ends, strict=False):
            self.frames.append((namespace, bytes(view[start + begin : start + after])))
        self.seen += ["frame"] * len(ends)
        self.takes.append((self._hub, len(ends)))
        return len(ends)

    def send(self, cost: Cost | None = None, /) -> None:
        self.turns[gevent.get_hub().loop.iteration] += 1
        if cost is not None and self.are_of_use:
            cost.forward(100, 0, 0)

    def go_on(self, cost: Cost | None = None, /) -> None:
        raise AssertionError("nothing is left")

    def _told(self, message: Message) -> None:
        assert isinstance(message, Claim)
        self.seen.append(message.host)
        self.hearing()


@contextmanager
def linked() -> Iterator[tuple[End, End]]:
    ends = [End(descriptor) for descriptor in worker_channel.stream_pair()]
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            end.reading.kill()
            end.link.close()


def frame(number: int, size: int = 100, port: int = 9) -> bytes:
    content = number.to_bytes(4, "big").ljust(size, b".")
    return framing.encode(udp("10.0.0.1", "10.0.0.2", content, ports=(port, 5)))


def come(host: str) -> bytes:
    return worker_wire.encode(Claim(worker_wire.COME, SPACE, host, 1))


def wait(end: End, count: int) -> None:
    with gevent.Timeout(30):
        while len(end.seen) < count:
            gevent.sleep(0.001)


def test_frames_and_claims_come_in_their_order() -> None:
    with linked() as (one, other):
        one.link.tell([come("host-1")])
        one.link.send(SPACE, [frame(1), frame(2)])
        one.link.tell([come("host-2"), come("host-3")])
        other.link.send(SPACE, [frame(3)])
        wait(other, 5)
        wait(one, 1)
        assert other.seen == ["host-1", "frame", "frame", "host-2", "host-3"]
        assert other.frames == [(SPACE, frame(1)), (SPACE, frame(2))]
        assert one.frames == [(SPACE, frame(3))]


def test_what_has_come_stays_where_others_receive_while_something_is_heard() -> None:
    """Of all links in a process: a claim by which very many flows are decided anew lets others have their turns."""
    with linked() as (one, other), linked() as (three, four):

        def hearing() -> None:
            three.link.send(SPACE, [frame(99, 1000)])
            wait(four, 1)

        other.hearing = hearing
        one.link.tell([come("host-1"), come("host-2")])
        one.link.send(SPACE, [frame(1), frame(2)])
        wait(other, 4)
        assert other.seen == ["host-1", "host-2", "frame", "frame"]
        assert other.frames == [(SPACE, frame(1)), (SPACE, frame(2))]
        assert four.frames[0] == (SPACE, frame(99, 1000))


def test_how_far_to_go_is_heard_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes often where a worker is slow. What else is said is copied out first, which ends a turn."""
    monkeypatch.setattr(worker_link, "TURN_SECONDS", 10.0)  # however late a busy machine is
    with linked() as (one, other):
        one.link.send(SPACE, [frame(1)])
        one.link.tell([worker_wire.encode(WindowEnd(1 << 40))])
        one.link.send(SPACE, [frame(2)])
        wait(other, 2)
        assert other.frames == [(SPACE, frame(1)), (SPACE, frame(2))]
        assert sum(other.turns.values()) == 1, "all of it in one turn"


def test_a_run_is_taken_as_one_and_by_flow_where_that_is_asked_for() -> None:
    with linked() as (one, other):
        run = [frame(1, port=1) + frame(2, port=1), frame(3, port=2)]
        one.link.send(SPACE, run)
        wait(other, 3)
        other.by_flow = True
        one.link.send(SPACE, run, 4095)
        wait(other, 6)
        other.by_flow = False
        one.link.send_flows(SPACE, run, 7)
        wait(other, 9)
        assert other.takes == [(0, 3), (4095, 2), (4095, 1), (7, 2), (7, 1)]
        assert other.frames == 3 * [
            (SPACE, one) for one in (frame(1, port=1), frame(2, port=1), frame(3, port=2))
        ]


@pytest.mark.usefixtures("no_codel")
@pytest.mark.parametrize("by_flow", [False, True])
@pytest.mark.parametrize("most", [LEAST, 1000, 1 << 18])
def test_runs_come_whole_however_much_is_read_at_once(
    by_flow: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said between them does, too; a run may be read in very many parts, or many of them as one."""
    monkeypatch.setattr(session_cost, "MOST", most)
    monkeypatch.setattr(session_cost, "LEAST", most)
    chance = random.Random(most)
    with linked() as (one, other):
        other.link._cost.size, other.by_flow = most, by_flow
        sent: list[tuple[bytes, bytes]] = []
        for number in range(60):
            space = bytes([number]) * 16
            sizes = [chance.choice([0, 3, 40, 1400, 60_000]) for _ in range(chance.randrange(1, 9))]
            frames = [frame(number, size, chance.randrange(5)) for size in sizes]
            one.link.send(space, [b"".join(frames[:3]), *frames[3:]])
            one.link.tell([come(f"host-{number}")])
            sent += ((space, one) for one in frames)
            wait(other, len(sent) + number + 1)
        assert other.frames == sent
        assert not one.drops.dropped


def test_a_run_of_very_many_pieces_is_written_at_once() -> None:
    with linked() as (one, other):
        sent = [frame(number, 4) for number in range(3000)]
        one.link.send(SPACE, sent)
        assert one.link._writer is None
        wait(other, 3000)
        assert [found for _, found in other.frames] == sent
        assert len(other.takes) < 100


def test_a_run_that_is_too_long_goes_by_flow() -> None:
    with linked() as (one, other):
        sent = [frame(number, 60_000) for number in range(20)]
        one.link.send(SPACE, sent)
        wait(other, 20)
        assert [found for _, found in other.frames] == sent


@pytest.mark.usefixtures("no_codel")
def test_more_than_the_kernel_takes_waits_and_comes_whole() -> None:
    with linked() as (one, other):
        sent = [frame(number, 1000) for number in range(500)]
        for start in range(0, len(sent), 50):
            one.link.send(SPACE, sent[start : start + 50])
        one.link.tell([come("host-9")])
        wait(other, 501)
        assert [found for _, found in other.frames] == sent
        assert not one.drops.dropped


def test_a_run_is_taken_at_once_where_the_other_end_is_busy() -> None:
    with linked() as (one, other):
        other.reading.kill()
        bound = int(Path("/proc/sys/net/core/wmem_max").read_text())
        most = BUFFER_BYTES if os.geteuid() == 0 else min(bound, BUFFER_BYTES)
        size = one.link._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert size >= 2 * most, "the kernel doubles it, as its own overhead counts"
        for port in range(9 * most // BUFFER_BYTES):
            one.link.send(SPACE, [frame(number, 1000, port) for number in range(100)])
        assert one.link._writer is None, "no second process has to be waited for"


def test_a_claim_is_never_lost_where_frames_are() -> None:
    with linked() as (one, other):
        other.reading.kill()  # it stands still
        for port in range(9000):
            one.link.send(SPACE, [frame(0, 1000, port)])
        one.link.tell([come("host-7")])
        assert one.drops.dropped, "what waits is bounded"
        other.reading = gevent.spawn(other.link.run)
        with gevent.Timeout(5):
            while "host-7" not in other.seen:
                gevent.sleep(0.001)
        assert other.seen.count("host-7") == 1


def test_turns_are_bounded_and_what_comes_to_nothing_costs_the_link() -> None:
    with linked() as (one, other):
        other.work, other.by_flow = 0.0005, True
        for other.are_of_use in (True, False):
            other.turns.clear()
            before = len(other.seen)
            one.link.send(SPACE, [frame(number, port=number) for number in range(200)])
            wait(other, before + 200)
            assert max(other.turns.values()) == 1, "others are served between two turns"
            assert len(other.turns) > 20
            assert other.link._cost.expensive != other.are_of_use


def test_what_is_sent_by_a_closed_link_is_counted_and_ends_nothing() -> None:
    """To wait for a closed socket would end the whole process (libev)."""
    with linked() as (one, other):
        one.link.send(SPACE, [frame(1)])
        wait(other, 1)
        one.reading.kill()
        one.link._allowed.upto = 1  # so that the next frames have to wait
        one.link.close()
        one.link.send(SPACE, [frame(2), frame(3)])
        with gevent.Timeout(5):
            while one.link._writer is not None:
                gevent.sleep(0.001)
        assert one.drops.drops == {Reason.SESSION_GONE: 2}


def test_the_end_of_one_is_the_end_of_both() -> None:
    with linked() as (one, other):
        one.reading.kill()
        one.link._sock.shutdown(socket.SHUT_RDWR)
        other.reading.join(5)
        assert other.reading.dead
        assert not other.error
        other.link.send(SPACE, [frame(1)])  # to nobody, and nothing is raised


@pytest.mark.parametrize(
    "content",
    [
        *(b"\x45....", b"\xe1\x00" + bytes(30), b"\xd0\x07" + bytes(30), b"\xd0"),
        *(b"\xd0\x0a", worker_wire.head(SPACE, 1)[2:-1], worker_wire.head(SPACE, 1)[2:] + b"\x00"),
        *(worker_wire.head(SPACE, 0)[2:], worker_wire.head(SPACE, worker_wire.MAX_RUN + 1)[2:]),
    ],
)
def test_what_belongs_on_no_link_ends_it(content: bytes) -> None:
    with linked() as (one, other):
        one.link._sock.send(framing.encode(content))
        other.reading.join(5)
        assert other.error


@pytest.mark.parametrize("by_flow", [False, True])
@pytest.mark.parametrize("frames", [frame(1)[:-1], frame(1) + frame(2)[:1], frame(1) + frame(2)[:-1]])
def test_a_run_whose_frames_are_cut_off_ends_it(frames: bytes, by_flow: bool) -> None:
    """Though what follows would complete them."""
    with linked() as (one, other):
        other.by_flow = by_flow
        one.link._sock.send(worker_wire.head(SPACE, len(frames)) + frames)
        one.link.send(SPACE, [frame(3)])
        other.reading.join(5)
        assert other.error
        assert (SPACE, frame(3)) not in other.frames


def test_a_worker_that_reads_slowly_has_little_on_its_way() -> None:
    with linked() as (one, other):
        other.work = 0.0005
        one.link.send(SPACE, [frame(0, 200)])
        wait(other, 1)
        with gevent.Timeout(10):
            while not one.link._allowed.upto:  # before it has heard of a window it sends as much as it likes
                gevent.sleep(0.001)
        sent = [frame(number, 200) for number in range(800)]
        began, on_the_way = time.monotonic(), list[int]()
        for start in range(0, len(sent), 10):
            for run in sent[start : start + 10]:
                one.link.send(SPACE, [run])
            gevent.sleep(0)
        with gevent.Timeout(10):  # it is one flow, of which CoDel drops some
            while len(other.seen) + one.drops.dropped <= len(sent):
                gevent.sleep(0.001)
                on_the_way.append(one.link._written - other.link._received)
        spent = time.monotonic() - began
        bound = 6 * max(LEAST, int(other.link._received / spent * MOST_SECONDS)) + LEAST_SENT
        assert sorted(on_the_way)[len(on_the_way) * 3 // 4] < bound
        came = [found for _, found in other.frames[1:]]
        assert came == [one for one in sent if one in set(came)], "in their order"
        assert set(one.drops.drops) <= {Reason.QUEUE_CODEL, Reason.QUEUE_TIME}


def test_two_workers_that_read_slowly_do_not_wait_for_each_other() -> None:
    with linked() as ends:
        for end in ends:
            end.work = 0.0005
            end.link.send(SPACE, [frame(0, 200)])
        for end in ends:
            wait(end, 1)
        for number in range(400):
            for end in ends:
                end.link.send(SPACE, [frame(number, 200)])
        for end, far in (ends, ends[::-1]):
            with gevent.Timeout(10):
                while len(end.seen) + far.drops.dropped <= 400:
                    gevent.sleep(0.001)
