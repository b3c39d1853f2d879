"""A session's sending half over real TCP: never waits, never tears a frame, loses nothing uncounted."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
import pytest

from lib import wire_control
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet import Buffer
from lib.session_sender import FAST, SessionSender
from tests.support import packets as p
from tests.support.streams import SECONDS, read_until, stream_pair

BUFFER = 4096
ENDLESS = float("inf")
pytestmark = pytest.mark.usefixtures("no_codel")
A, B = "10.0.0.1", "10.0.0.2"


class Session:
    """A link with small kernel buffers and its far end."""

    def __init__(self, limits: tuple[int, float], stream: Any, far: Any) -> None:
        self.traffic = Traffic()
        self.stream, self.far = stream, far
        self.sender = SessionSender(stream, self.traffic, *limits)
        self.is_tunrouter: Counter[Reason] = Counter()
        self.sender.tell_losses(self._lost)
        self._number = 0

    def _lost(self, reason: Reason, frames: bytes) -> None:
        self.is_tunrouter[reason] += len(p.contents(frames))

    def frames(self, count: int, size: int = 1000) -> bytes:
        """Frames that carry a number of their own."""
        first, self._number = self._number, self._number + count
        return p.stream(p.udp(A, B, n.to_bytes(4).ljust(size, b".")) for n in range(first, first + count))

    def fill(self, size: int = 1000) -> None:
        """Send until the kernel takes no more, so that something is left for the writer."""
        while self.sender.writer is None:
            self.sender.send([self.frames(1, size)])
        gevent.sleep(0)  # the writer begins to wait

    def arrived(self) -> list[int]:
        """The numbers of the frames that came, all of them whole, to the end of the stream."""
        return [int.from_bytes(packet[28:32]) for packet in p.contents(read_until(self.far, 1 << 30))]

    def finish(self) -> list[int]:
        """Let the far end read everything, then end; returns what came."""
        reader = gevent.spawn(self.arrived)
        with gevent.Timeout(SECONDS):
            self.sender.wait_drained()
        self.sender.close("test")
        return list(reader.get(timeout=SECONDS))

    @property
    def sent(self) -> int:
        return self._number


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    limits = getattr(request, "param", (1 << 20, ENDLESS))
    with stream_pair(BUFFER) as ends:
        made = Session(limits, *ends)
        yield made
        made.sender.ended()
        assert made.is_tunrouter == made.traffic.drops, "who looks is told of each frame that is counted"


def limits(max_bytes: int, max_seconds: float) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("session", [pytest.param((max_bytes, max_seconds), id="")], indirect=True)


# --- direct ----------------------------------------------------------------------------------------


def test_a_peer_that_reads_is_sent_to_directly(session: Session) -> None:
    data = session.frames(2)
    session.sender.send([data])
    assert session.sender.writer is None
    assert session.sender.queued == 0
    assert read_until(session.far, len(data)) == data


def test_what_is_sent_by_a_closed_stream_is_counted_and_ends_nothing(session: Session) -> None:
    """A run that is too long to go past the queue. To wait for a closed socket would end the whole process (libev)."""
    session.sender.ended()
    session.stream.close()
    session.sender.send([session.frames(300)])
    with gevent.Timeout(SECONDS):
        session.sender.wait_drained()
    assert session.traffic.drops == {Reason.SESSION_GONE: 300}


def test_several_buffers_go_in_order(session: Session) -> None:
    data: list[Buffer] = [
        session.frames(1, 10),
        bytearray(session.frames(1, 10)),
        memoryview(session.frames(1, 10)),
    ]
    session.sender.send(data)
    assert read_until(session.far, 3 * 40) == b"".join(data)


def test_more_buffers_than_one_system_call_takes(session: Session) -> None:
    data = [session.frames(1, 4) for _ in range(1500)]
    session.sender.rate = FAST  # so all of them go straight to the socket
    session.sender._adapt()
    session.sender.send(data)
    assert session.finish() == list(range(1500))


def test_what_is_sent_may_be_overwritten_at_once(session: Session) -> None:
    data = bytearray(session.frames(64))
    wanted = bytes(data)
    session.sender.send([memoryview(data)[:1032], memoryview(data)[1032:]])
    assert session.sender.writer is not None, "more than the kernel takes"
    queued = bytearray(session.frames(1))
    wanted += bytes(queued)
    session.sender.send([queued])
    data[:] = bytes(len(data))
    queued[:] = bytes(len(queued))
    assert read_until(session.far, len(wanted)) == wanted


# --- queued ----------------------------------------------------------------------------------------


def test_a_peer_that_does_not_read_costs_the_sender_no_time(session: Session) -> None:
    session.fill()
    with gevent.Timeout(SECONDS):
        session.sender.send([session.frames(10)])
    assert session.sender.queued == 10 * 1030
    assert session.finish() == list(range(session.sent))
    assert session.sender.queued == 0
    assert not session.traffic.drops


def test_after_the_queue_is_drained_sends_are_direct_again(session: Session) -> None:
    session.fill()
    session.sender.send([session.frames(3)])
    reader = gevent.spawn(read_until, session.far, session.sent * 1030)
    session.sender.wait_drained()
    reader.join(SECONDS)
    assert session.sender.writer is None
    data = session.frames(1)
    session.sender.send([data])
    assert session.sender.writer is None
    assert read_until(session.far, len(data)) == data


@limits(5 * 1030, ENDLESS)
def test_the_queue_is_bounded_in_bytes(session: Session) -> None:
    session.fill()
    before = session.sent
    for _ in range(8):
        session.sender.send([session.frames(1)])
    assert session.sender.queued == 5 * 1030
    assert session.traffic.drops == {Reason.QUEUE_FULL: 3}
    assert session.finish() == [*range(before), *range(before + 3, before + 8)]  # what waited longest is lost


@limits(1 << 20, 0.0)
def test_the_queue_is_bounded_in_time(session: Session) -> None:
    """No time at all is allowed here, so whatever waits is late; what was partly out is not."""
    session.fill()
    before = session.sent
    session.sender.send([session.frames(3)])
    assert session.finish() == list(range(before)), "what had begun to go out went out"
    assert session.traffic.drops == {Reason.QUEUE_TIME: 3}


@pytest.mark.parametrize(
    "session", [(20_000, ENDLESS), (1 << 20, 0.002)], indirect=True, ids=["bytes", "time"]
)
@pytest.mark.parametrize("seed", range(4))
def test_frames_are_never_torn(session: Session, seed: int) -> None:
    dice = random.Random(seed)

    def read_slowly() -> list[int]:
        data = b""
        while got := session.far.recv(dice.randint(1, 5000)):
            data += got
            gevent.sleep(dice.choice((0, 0, 0.001)))
        return [int.from_bytes(packet[28:32]) for packet in p.contents(data)]

    reader = gevent.spawn(read_slowly)
    for _ in range(150):
        session.sender.send(
            [session.frames(dice.randint(1, 4), dice.choice((4, 100, 1392, 3000))) for _ in range(2)]
        )
        gevent.sleep(dice.choice((0, 0, 0.001)))
    with gevent.Timeout(SECONDS):
        session.sender.wait_drained()
    session.sender.close("test")
    arrived = reader.get(timeout=SECONDS)
    assert arrived == sorted(set(arrived)), "in order, each once"
    assert len(arrived) + sum(session.traffic.drops.values()) == session.sent
    assert arrived, "something came"


# --- waiting ---------------------------------------------------------------------------------------


def test_waiting_ends_when_nothing_is_queued(session: Session) -> None:
    session.fill()
    session.sender.send([session.frames(5)])
    waiter = gevent.spawn(session.sender.wait_drained)
    gevent.sleep(0)
    assert not waiter.ready()
    reader = gevent.spawn(read_until, session.far, session.sent * 1030)
    waiter.get(timeout=SECONDS)
    assert len(reader.get(timeout=SECONDS)) == session.sent * 1030


def test_with_nothing_queued_nobody_waits(session: Session) -> None:
    with gevent.Timeout(SECONDS):
        session.sender.wait_drained()
    session.sender.send([session.frames(1)])
    with gevent.Timeout(SECONDS):
        session.sender.wait_drained()


# --- memory ---


def test_what_the_writer_holds_is_in_the_budget(session: Session) -> None:
    budget = session.sender.budget
    assert budget.used == 0
    session.sender.send([session.frames(64)])
    gevent.sleep(0)  # the writer takes it from the queue
    assert budget.used >= len(session.sender._run) > 60_000
    session.finish()
    assert budget.used == 0
    assert not budget.stuck


def test_who_does_not_read_is_ended_once_nothing_else_gives_room(session: Session) -> None:
    session.sender.send([session.frames(64)])
    gevent.sleep(0)  # the writer takes it from the queue
    session.sender.send([session.frames(10)])
    budget = session.sender.budget
    budget.limit = budget.used + 1000
    session.sender.send([session.frames(5)])
    assert session.traffic.drops[Reason.QUEUE_MEMORY], "first what can be dropped"
    assert not session.sender.closed_because
    budget.limit = 1000
    budget.relieve(0.0)
    assert "has not read" in session.sender.closed_because
    assert budget.used == 0
    gevent.sleep(0)
    with gevent.Timeout(SECONDS):
        session.sender.wait_drained()
    came = len(read_until(session.far, 1 << 30)) // 1030
    assert came + sum(session.traffic.drops.values()) == session.sent


def test_a_reply_waits_for_no_other(session: Session) -> None:
    pong = p.frame(wire_control.encode_pong(bytes(8)))
    session.fill()
    for _ in range(100):
        session.sender.reply(pong)
    assert session.sender.queued == len(pong)


@limits(1 << 20, 0.01)
def test_what_is_stale_leaves_though_nobody_sends_or_reads(session: Session) -> None:
    session.fill()
    session.sender.send([session.frames(20)])
    later = time.monotonic() + 1
    while session.sender.expire(later):
        pass
    assert session.sender.queued == 0
    assert session.traffic.drops[Reason.QUEUE_TIME] == 20


# --- the end ---------------------------------------------------------------------------------------


def test_what_waits_at_the_end_is_counted(session: Session) -> None:
    session.fill()
    session.sender.send([session.frames(7)])
    session.sender.ended()
    assert session.sender.queued == 0
    assert session.traffic.drops[Reason.SESSION_GONE] >= 7


def test_what_the_writer_held_at_the_end_is_counted_too(session: Session) -> None:
    session.sender.send([session.frames(64)])
    session.sender.send([session.frames(1)])
    gevent.sleep(0)
    session.sender.ended()
    session.sender.close("test")
    came = len(read_until(session.far, 1 << 30)) // 1030
    assert session.traffic.drops[Reason.SESSION_GONE] == 65 - came > 1


def test_the_end_wakes_who_waits(session: Session) -> None:
    session.fill()
    waiter = gevent.spawn(session.sender.wait_drained)
    gevent.sleep(0)
    session.sender.ended()
    waiter.get(timeout=SECONDS)


def test_an_end_before_the_writer_has_begun_leaves_nobody_waiting(session: Session) -> None:
    session.sender.send([session.frames(64)])
    session.sender.ended()
    with gevent.Timeout(SECONDS):
        session.sender.wait_drained()


@pytest.mark.parametrize("queued", [False, True], ids=["direct", "queued"])
def test_a_peer_that_goes_ends_the_session(session: Session, queued: bool) -> None:
    if queued:
        session.fill()
        session.sender.send([session.frames(5)])
    session.far.close()
    landing = memoryview(bytearray(100))
    with gevent.Timeout(SECONDS):
        with suppress(ConnectionResetError):
            assert session.stream.receive_into(landing) == 0
        for _ in range(3):  # the first send may still be taken by the kernel
            session.sender.send([session.frames(1)])
            gevent.sleep(0)
        session.sender.wait_drained()
        session.sender.ended()
    assert session.sender.queued == 0


def test_closing_says_why_and_the_reader_sees_the_end(session: Session) -> None:
    session.sender.close("replaced")
    assert session.sender.closed_because == "replaced"
    with gevent.Timeout(SECONDS):
        assert session.stream.receive_into(memoryview(bytearray(10))) == 0
        assert session.far.recv(10) == b""


def test_what_is_sent_after_the_end_is_counted(session: Session) -> None:
    session.sender.close("test")
    session.sender.send([session.frames(3)])
    session.sender.ended()
    assert session.traffic.drops == {Reason.SESSION_GONE: 3}


def test_the_kernel_says_whether_the_wire_waits_for_more(session: Session) -> None:
    """Where it does not, what has been taken in a time says what the wire takes in it."""
    assert session.stream.trip().unsent == 0
    session.fill()
    assert session.stream.trip().unsent > 0, "the far end does not read"
    read_until(session.far, session.sent * 1030)
    session.sender.wait_drained()
    with gevent.Timeout(SECONDS):
        while session.stream.trip().unsent:
            gevent.sleep(0.001)
