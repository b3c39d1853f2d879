"""Datagrams at a hub, over loopback: the way of their packets, what they cost, what is dropped."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import socket

from lib import (
    datagram_choice,
    datagram_ciphers,
    datagram_port,
    datagram_turns,
    datagram_wire,
    framing,
    hub_turn,
    service_turn,
    wire_control,
    wire_relay,
)
from lib.datagram_choice import FOLLOW_SECONDS, HOLD_SECONDS, PAUSE_SECONDS
from lib.datagram_keys import Cipher
from lib.datagram_peer import Peer
from lib.datagram_quality import OfStream
from lib.datagram_socket import Address, Run
from lib.datagram_table import Arrived, Place, Table
from lib.datagram_turns import LEAST_WAIT_BYTES
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.hub_datagram import HubChannel, HubDatagrams
from lib.hub_session import HubSession
from lib.limits import Bucket, Meter
from lib.service_scheduling import Share
from lib.session_cost import ACCIDENT_SECONDS, BURST_SECONDS, TURN_SECONDS, WORTH, Cost
from lib.wire_control import Datagrams, Feature, Hello
from lib.wire_relay import Request
from tests.support import packets as p
from tests.support.hubs import running

CONFIG = """\
services:
- name: s
  addr: 127.0.0.1:0
  handler: {type: router, metadata: {router: r, channel: %s, lanes: 1}}
  listener: {type: tcp}
routers: [{name: r, routes: [{net: 10.0.0.1/32, gateway: host-1}, {net: 10.0.0.2/32, gateway: host-2}]}]
"""
SECONDS = 30.0
A, B = "10.0.0.1", "10.0.0.2"


class Client:
    """A client of a hub: its stream, its UDP socket, and the far end of its channel."""

    def __init__(
        self,
        hub: Hub,
        host: str,
        features: int = Feature.DATAGRAMS | Feature.KEEPALIVE,
        at: tuple[str, int] | None = None,
        source: str = "",
    ) -> None:
        """`at` is where to connect to, where the hub listens on all addresses; `source` is its own address."""
        there = at or hub._server.socket.getsockname()[:2]
        self.sock = socket.create_connection(there, SECONDS, (source, 0) if source else None)
        self.sock.settimeout(SECONDS)
        self.udp = socket.socket(self.sock.family, socket.SOCK_DGRAM)
        self.udp.settimeout(SECONDS)
        self.sock.sendall(wire_relay.encode_request(Request(host, "10.0.0.9")))
        self._data = b""
        while not (found := wire_relay.decode_response(self._data)):
            self._data += self.sock.recv(4096)
        self._data = self._data[found[1] :]
        self.table: Table[Peer] = Table()
        self.peer = Peer(self, self.table, False)
        cipher = datagram_ciphers.fastest() if features & Feature.DATAGRAMS else 0
        self.write(
            wire_control.encode_hello(Hello(os.urandom(16), 0, 1420, features=features, cipher=cipher))
        )
        hello = wire_control.decode(self.read())
        assert isinstance(hello, Hello)
        self.hello = hello

    def write(self, *contents: bytes) -> None:
        self.sock.sendall(p.stream(contents))

    def read(self) -> bytes:
        """The content of the next frame of the stream; pings of the hub, which come on a slow machine, are answered."""
        while True:
            while not framing.is_whole(self._data):
                data = self.sock.recv(65536)
                assert data, "the hub has closed"
                self._data += data
            size = 2 + int.from_bytes(self._data[:2], "big")
            content, self._data = self._data[2:size], self._data[size:]
            said = wire_control.decode(content) if content[:1] == bytes([wire_control.MARK]) else None
            if not isinstance(said, wire_control.Ping):
                return content
            self.write(wire_control.encode_pong(said.token))

    def begin(self) -> None:
        """Exchange keys, and let both ends be sure of each other."""
        self.peer.give(time.monotonic())
        given = wire_control.decode(self.read())
        assert isinstance(given, Datagrams)
        host, _, *others = self.sock.getpeername()
        self.peer.place = (host, given.port, *others)
        self.peer.given(given, time.monotonic())
        until(self.works)

    def works(self) -> bool:
        self.receive(0.02)
        return self.peer.is_up(time.monotonic())

    def receive(self, seconds: float = SECONDS) -> bytes:
        """Take the datagrams that come within a time, or up to the first ones with frames; returns these."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.udp.settimeout(left)
            try:
                datagram, place = self.udp.recvfrom(65536)
            except TimeoutError:
                break
            for arrived in self.table.sort([(place, datagram)]).values():
                if frames := self.peer.open(arrived, time.monotonic()):
                    return b"".join(frames)
        return b""

    # what the peer needs of the world

    def draw(self, size: int) -> bytes:
        return os.urandom(size)

    def seal_with(self, key: bytes) -> Cipher:
        return datagram_ciphers.make(datagram_ciphers.fastest(), key)

    open_with = seal_with

    def tell(self, given: Datagrams) -> None:
        self.write(wire_control.encode_datagrams(given))

    def headers(self, place: Place) -> int:
        return 28

    def stream(self) -> OfStream:
        return OfStream()

    def send(self, place: Place, datagrams: Sequence[bytes]) -> tuple[int, int]:
        for datagram in datagrams:
            self.udp.sendto(datagram, place)
        return len(datagrams), 0

    def close(self) -> None:
        self.sock.close()
        self.udp.close()


def until(true: Callable[[], object]) -> None:
    with gevent.Timeout(SECONDS):
        while not true():
            gevent.sleep(0.005)


@pytest.fixture
def one_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """No channel gets a socket of its own: all have that of the port."""
    monkeypatch.setattr(datagram_port, "MOST_OWN", 0)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(CONFIG % "datagram") as (made,):
        yield made


@pytest.fixture
def two(hub: Hub) -> Iterator[tuple[Client, Client]]:
    """host-1 and host-2, which both have a channel."""
    clients = Client(hub, "host-1"), Client(hub, "host-2")
    for client in clients:
        client.begin()
    for host in ("host-1", "host-2"):
        channel = session_of(hub, host).channel
        assert channel is not None
        until(lambda: channel.peer.is_up(time.monotonic()))  # noqa: B023
        channel._was_up = True
        channel.choice.begin(-100.0)  # no flow may have packets on the stream any more
    yield clients
    for client in clients:
        client.close()


def session_of(hub: Hub, host: str) -> HubSession:
    (session,) = [one for one in hub.sessions.values() if one.attachment.host == host]
    return session


def udp(number: int) -> bytes:
    return p.udp(A, B, bytes([number]) * 100)


def test_a_packet_goes_from_one_channel_to_the_other(hub: Hub, two: tuple[Client, Client]) -> None:
    one, other = two
    first, second = session_of(hub, "host-1").attachment.traffic, session_of(hub, "host-2").attachment.traffic
    before = first.received_packets, first.received_bytes, second.sent_packets, second.sent_bytes
    run = p.stream(map(udp, range(5)))
    assert not one.peer.send(run, time.monotonic())
    assert other.receive() == run
    after = first.received_packets, first.received_bytes, second.sent_packets, second.sent_bytes
    assert [now - then for now, then in zip(after, before, strict=True)] == [5, len(run)] * 2


def test_the_same_checks_as_by_the_stream(hub: Hub, two: tuple[Client, Client]) -> None:
    one, other = two
    forged = framing.encode(p.udp("10.0.0.2", "10.0.0.2", b"from another's address"))
    nowhere = framing.encode(p.udp(A, "10.9.9.9", b"to nobody"))
    one.peer.send(forged + nowhere + framing.encode(b"\x99junk") + framing.encode(udp(1)), time.monotonic())
    assert other.receive() == framing.encode(udp(1))
    drops = session_of(hub, "host-1").attachment.traffic.drops
    assert {reason.value for reason in drops} == {"wrong-source", "no-route", "not-ip"}, drops


def test_what_has_no_channel_gets_it_by_the_stream(hub: Hub, two: tuple[Client, Client]) -> None:
    old = Client(hub, "host-2", Feature.KEEPALIVE)
    for one in two[1:]:
        one.close()
    until(lambda: len(hub.sessions) == 2)
    assert old.hello.features & Feature.DATAGRAMS == old.hello.cipher == 0
    two[0].peer.send(framing.encode(udp(7)), time.monotonic())
    assert old.read() == udp(7)
    old.close()


def test_a_call_that_began_before_the_channel_gets_to_it_and_is_not_reordered(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram_choice, "PAUSE_SECONDS", 0.2)  # a busy machine makes longer ones than 2 ms
    one, other = two
    channel = session_of(hub, "host-2").channel
    assert channel is not None
    came: list[tuple[str, int]] = []

    def note(way: str, content: bytes) -> None:
        if content[0] == 0x45:
            came.append((way, int.from_bytes(p.payload_of(content), "big")))

    def read_stream() -> None:
        while True:
            note("stream", other.read())

    def read_datagrams() -> None:
        while True:
            for content in p.contents(other.receive()):
                note("datagram", content)

    readers = gevent.spawn(read_stream), gevent.spawn(read_datagrams)
    channel.choice.begin(time.monotonic())
    end, sent = time.monotonic() + FOLLOW_SECONDS + 2 * HOLD_SECONDS, 0
    while time.monotonic() < end:  # it does not pause for as long as PAUSE_SECONDS
        one.write(p.udp(A, B, sent.to_bytes(100, "big")))
        sent += 1
        gevent.sleep(PAUSE_SECONDS / 4)
    until(lambda: len(came) >= sent)
    gevent.killall(readers)
    assert [number for _, number in came] == list(range(sent))
    ways = [way for way, _ in came]
    assert ways == sorted(ways, reverse=True), "it changes its way once"
    assert (ways[0], ways[-1]) == ("stream", "datagram")


def test_without_a_channel_nothing_is_offered() -> None:
    with running(CONFIG % "auto") as (hub,):  # tcp is not encrypted
        client = Client(hub, "host-1")
        assert client.hello.features & Feature.DATAGRAMS == client.hello.cipher == 0
        client.close()


def test_a_session_that_ends_leaves_nothing(hub: Hub, two: tuple[Client, Client]) -> None:
    assert len(hub.datagrams.table.entries) == 2
    two[0].close()
    until(lambda: len(hub.sessions) == 1)
    assert len(hub.datagrams.table.entries) == len(hub.datagrams.channels) == 1


def test_what_is_above_a_rate_limit_is_dropped(hub: Hub, two: tuple[Client, Client]) -> None:
    one, other = two
    session = session_of(hub, "host-1")
    bucket = Bucket(1000.0, 1000.0, at=time.monotonic())
    session.meter = Meter([bucket], [])
    now = time.monotonic()
    one.peer.send(p.stream(map(udp, range(9))), now)
    assert other.receive()
    assert bucket.tokens < 0, "they are taken from the limit, with the bytes on the wire"
    one.peer.send(framing.encode(udp(10)), now)
    until(lambda: session.attachment.traffic.drops[Reason.DATAGRAM_LIMITED])
    session.meter = None
    one.peer.send(framing.encode(udp(11)), now)
    assert other.receive() == framing.encode(udp(11))


@pytest.mark.usefixtures("one_socket")
def test_a_session_that_costs_too_much_is_heard_within_the_share(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    share = Share()
    monkeypatch.setattr(service_turn, "SHARE", share)
    session = session_of(hub, "host-1")
    assert session.stream.cost is not None
    session.stream.cost.debt, session.stream.cost.expensive = 1.0, True
    one.peer.send(framing.encode(udp(1)), time.monotonic())
    assert other.receive() == framing.encode(udp(1)), "while nobody else needs it"
    share.leave(1000.0)
    one.peer.send(framing.encode(udp(2)), time.monotonic())
    until(lambda: session.attachment.traffic.drops[Reason.DATAGRAM_SHARE])


def test_datagrams_count_in_the_account_of_the_stream(hub: Hub, two: tuple[Client, Client]) -> None:
    session = session_of(hub, "host-1")
    cost = session.stream.cost
    assert cost is not None
    junk = p.stream([b"\x99"] * 600)
    for _ in range(2000):
        two[0].peer.send(junk, time.monotonic())
        gevent.sleep(0)
        if cost.debt:
            break
    assert cost.debt > 0


@pytest.mark.usefixtures("one_socket")
def test_who_sends_more_than_there_is_time_for_delays_no_other(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    first = session_of(hub, "host-1").attachment
    handled = []
    arrived = HubChannel.arrived

    def note(self: HubChannel, some: Sequence[Arrived]) -> None:
        arrived(self, some)
        if self is session_of(hub, "host-2").channel:
            handled.append(first.traffic.received_packets)

    monkeypatch.setattr(HubChannel, "arrived", note)
    before, now = first.traffic.received_packets, time.monotonic()
    for number in range(1000):  # nothing is read meanwhile
        one.peer.send(framing.encode(udp(number % 256)), now)
    other.peer.send(framing.encode(p.udp(B, A, b"hello")), now)
    until(lambda: handled)
    assert handled[0] - before < 700, "it had its turn between theirs"
    until(lambda: first.traffic.received_packets - before == 1000)
    assert not first.traffic.drops[Reason.DATAGRAM_QUEUE]


def test_short_turns_of_many_sessions_come_in_many_passes() -> None:
    """All of them together would be as long as the longest turn that anybody could have."""
    datagrams, loop, passes = HubDatagrams(), gevent.get_hub().loop, list[int]()

    class Busy:
        def take_turn(self) -> bool:
            until = time.monotonic() + 0.6 * TURN_SECONDS
            while time.monotonic() < until:
                pass
            passes.append(loop.iteration)
            return False

    class Quiet:
        def recv_runs(self, waits: bool, *_: int) -> list[Run]:
            if waits:
                raise gevent.GreenletExit
            return []

    datagrams._waiting = {Busy(): None for _ in range(20)}  # type: ignore[misc]
    with gevent.Timeout(5):
        gevent.spawn(datagrams._read, Quiet()).get()
    assert len(passes) == 20
    assert max(Counter(passes).values()) <= 2


@pytest.mark.usefixtures("one_socket")
def test_what_waits_for_a_turn_has_a_bound(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram_port, "WAIT_BYTES", 4)
    first = session_of(hub, "host-1")
    traffic, now = first.attachment.traffic, time.monotonic()
    before = traffic.received_packets
    datagrams = 2 * LEAST_WAIT_BYTES // len(udp(0))
    for number in range(datagrams):
        two[0].peer.send(framing.encode(udp(number % 256)), now)
    until(lambda: traffic.received_packets - before + traffic.drops[Reason.DATAGRAM_QUEUE] >= datagrams)
    assert traffic.received_packets - before > LEAST_WAIT_BYTES / 2 / len(udp(0))
    assert traffic.drops[Reason.DATAGRAM_QUEUE]
    assert first.channel is not None
    assert (len(first.channel._waiting.runs), first.channel._waiting.size) == (0, 0)


@pytest.mark.usefixtures("one_socket")
def test_tiny_datagrams_that_wait_count_with_all_that_they_take(hub: Hub, two: tuple[Client, Client]) -> None:
    """1 MB of them was 12 MB of memory."""
    channel = session_of(hub, "host-1").channel
    assert channel is not None
    (label,) = [label for label, (peer, _) in hub.datagrams.table.entries.items() if peer is channel.peer]
    here = channel.peer.place
    assert isinstance(here, Address)
    host, port = here.far
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):  # each has objects of its own, as the kernel's have
        address = Address((f" {host}"[1:], port), bytes(bytearray(here.near)))
        hub.datagrams._put(Run(address, datagram_wire.header(label, number) + bytes(17), 25))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0 < held < 1.2 * channel._waiting.size
    assert channel._waiting.size <= datagram_port.WAIT_BYTES // 4


def test_forged_datagrams_push_out_no_honest_ones(hub: Hub, two: tuple[Client, Client]) -> None:
    """Whoever sees the index of a session fills only the queue of what comes from other addresses."""
    one, other = two
    first = session_of(hub, "host-1")
    channel, traffic = first.channel, first.attachment.traffic
    assert channel is not None
    (label,) = [label for label, (peer, _) in hub.datagrams.table.entries.items() if peer is channel.peer]
    strange = Address(("127.0.0.1", 9))
    here = channel.peer.place
    assert isinstance(here, Address)
    sealed = one.peer._seal
    assert sealed is not None
    strangers = hub.datagrams.table.strangers
    for number in range(2000):
        hub.datagrams._put(Run(strange, datagram_wire.header(label, number) + bytes(1388), 1400))
    assert hub.datagrams.table.strangers - strangers > 1900, "nobody can make their sender wait"
    before = traffic.received_packets
    (honest,) = sealed.seal((framing.encode(udp(1)),))
    hub.datagrams._put(Run(here, honest, len(honest)))
    assert not traffic.drops[Reason.DATAGRAM_QUEUE]
    assert channel.take_turn(), "some of those of strangers have to wait"
    assert traffic.received_packets == before + 1, "it does not wait behind them"
    while channel.take_turn():
        pass
    assert other.receive() == framing.encode(udp(1))


def test_a_client_that_has_moved_waits_in_no_line_of_strangers_for_long(
    hub: Hub, two: tuple[Client, Client]
) -> None:
    one, other = two
    channel = session_of(hub, "host-1").channel
    assert channel is not None
    before = channel.peer.place
    one.udp.close()
    one.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.peer.send(framing.encode(udp(3)), time.monotonic())
    assert other.receive() == framing.encode(udp(3))
    assert isinstance(channel.peer.place, Address)
    assert channel.peer.place != before
    channel.put(Run(channel.peer.place, b"x", 1), 0)
    assert not channel._unproven.runs, "its new address is known"


def test_datagrams_are_worth_what_they_forward_whichever_lane_was_read_before(
    hub: Hub, two: tuple[Client, Client]
) -> None:
    """The second lane has an account of its own: what datagrams cost and what they are worth is in the first."""
    session = session_of(hub, "host-1")
    other = Cost(admitted=True)
    session._reader = SimpleNamespace(stream=SimpleNamespace(cost=other))  # type: ignore[assignment]
    cost = session.stream.cost
    assert cost is not None
    two[0].peer.send(p.stream(map(udp, range(5))), time.monotonic())
    assert two[1].receive()
    assert cost._worth >= 5 * WORTH["tcp"].frame
    assert other._worth == 0


def test_forged_datagrams_cost_the_session_nothing(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees a datagram knows its index: that was enough to make a session an expensive one."""
    owed: list[float] = []
    monkeypatch.setattr(hub.datagrams, "owe", owed.append)
    session, (one, other) = session_of(hub, "host-1"), two
    cost, channel = session.stream.cost, session.channel
    assert cost is not None
    assert channel is not None
    bucket = Bucket(1e6, 1e6, at=time.monotonic())
    session.meter = Meter([bucket], [])
    cost.exact, received = 1 << 20, channel.received
    (label,) = [label for label, (peer, _) in hub.datagrams.table.entries.items() if peer is channel.peer]
    forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before = hub.datagrams.table.strangers
    for number in range(2000):
        forger.sendto(datagram_wire.header(label, number) + bytes(1400), one.peer.place)
        if not number % 16:
            gevent.sleep(0.001)
    until(lambda: hub.datagrams.table.strangers - before > 1000)
    forger.close()
    assert sum(owed) > 1000 * datagram_turns.STRANGER_SECONDS / 5
    assert not cost.expensive
    assert cost.debt < BURST_SECONDS / 2
    assert channel.received == received
    assert bucket.tokens > 0.99e6
    one.peer.send(framing.encode(udp(1)), time.monotonic())
    assert other.receive() == framing.encode(udp(1))


def test_an_error_in_the_datagrams_of_one_session_is_no_others(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    channel = session_of(hub, "host-1").channel
    assert channel is not None
    failed: list[bool] = []

    def fail(*arguments: object) -> None:
        failed.append(True)
        raise ValueError("a fault of ours")

    opened = HubChannel._open
    monkeypatch.setattr(
        HubChannel, "_open", lambda self, *rest: fail() if self is channel else opened(self, *rest)
    )
    one.peer.send(framing.encode(udp(1)), time.monotonic())
    until(lambda: failed)
    other.peer.send(framing.encode(p.udp(B, A, b"on")), time.monotonic())
    monkeypatch.undo()
    assert one.receive() == framing.encode(p.udp(B, A, b"on"))


class Work:
    """A clock of CPU time on which work always takes as long: all that a turn with a packet is worth over tcp."""

    TURN, SCAN, FRAME, OPEN = 80e-6, 25e-6, 5e-6, 10e-6
    """Seconds of a turn, of a look at what it has brought, of each frame in that, and to open a datagram."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.debts: dict[int, float] = {}
        """By the id of an account: the largest debt that it has had."""
        scan, opens, end = hub_turn.scan, HubChannel._open, Cost.end

        def scan_played(*words: Any) -> int:
            view, start, stop = words[4], words[5], scan(*words)
            self.seconds += self.SCAN + self.FRAME * len(framing.split(view[start:stop]))
            return stop

        def open_played(channel: HubChannel, arrived: Sequence[Arrived], *rest: Any) -> tuple[bytes, int]:
            self.seconds += self.OPEN * len(arrived)
            return opens(channel, arrived, *rest)

        def end_noted(cost: Cost, seconds: float, now: float) -> None:
            end(cost, seconds, now)
            self.debts[id(cost)] = max(self.debts.get(id(cost), 0.0), cost.debt)

        monkeypatch.setattr(Cost, "end", end_noted)
        monkeypatch.setattr(hub_turn, "scan", scan_played)
        monkeypatch.setattr(HubChannel, "_open", open_played)
        monkeypatch.setattr(
            service_turn, "time", SimpleNamespace(thread_time=self.read, monotonic=time.monotonic)
        )

    def read(self) -> float:
        """The clock is read twice in a turn."""
        self.seconds += self.TURN / 2
        return self.seconds


@pytest.mark.parametrize("most_own", [0, datagram_port.MOST_OWN])
def test_honest_sessions_lose_nothing_to_the_share(monkeypatch: pytest.MonkeyPatch, most_own: int) -> None:
    """A call in each session, from its first moment on, while the share is used up by another one's junk.

    A session that is taken for an expensive one waits for longer than this test, and loses its datagrams.
    """
    count, packets, share = 12, 100, Share()
    routes = ", ".join(f"{{net: 10.0.1.{number}/32, gateway: host-{number}}}" for number in range(3, count))
    work = Work(monkeypatch)
    monkeypatch.setattr(service_turn, "SHARE", share)
    monkeypatch.setattr(datagram_port, "MOST_OWN", most_own)

    def talk(number: int) -> None:
        client = clients[number]
        client.begin()
        there = f"10.0.1.{3 + (number - 2) % (count - 3)}"
        for _ in range(packets):
            frame = framing.encode(p.udp(f"10.0.1.{number}", there, bytes(200)))
            client.peer.send(frame, time.monotonic())
            client.receive(0.002)

    with running((CONFIG % "datagram").replace("routes: [", f"routes: [{routes}, ")) as (hub,):
        junk, clients = Client(hub, "host-1"), {n: Client(hub, f"host-{n}") for n in range(3, count)}
        junk.begin()
        raging = session_of(hub, "host-1")
        assert raging.stream.cost is not None
        raging.stream.cost.debt, raging.stream.cost.expensive = 1.0, True
        share.leave(1000.0)
        junk.peer.send(p.stream([b"\x99"] * 600), time.monotonic())
        if not most_own:
            until(lambda: raging.attachment.traffic.drops[Reason.DATAGRAM_SHARE])
        gevent.joinall([gevent.spawn(talk, number) for number in clients], timeout=30, raise_error=True)
        sessions = [session_of(hub, f"host-{number}") for number in clients]
        until(lambda: all(one.attachment.traffic.received_packets >= packets for one in sessions))
        assert [one.attachment.traffic.drops[Reason.DATAGRAM_SHARE] for one in sessions] == [0] * (count - 3)
        assert max(work.debts[id(one.stream.cost)] for one in sessions) < ACCIDENT_SECONDS
        for client in (junk, *clients.values()):
            client.close()


def test_what_is_left_of_datagrams_that_cost_too_much_waits_for_nothing(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 datagrams may hold 1 MB of junk, for which those of all other sessions would wait."""
    session = session_of(hub, "host-1")
    cost, channel = session.stream.cost, session.channel
    assert cost is not None
    assert channel is not None
    scanned: list[int] = []

    def scan_copy(frames: bytes, cost: Cost | None = None) -> int:
        scanned.append(len(frames))
        assert cost is not None
        cost.debt, cost.expensive = 1.0, len(scanned) > 2
        return 3

    monkeypatch.setattr(session, "scan_copy", scan_copy)
    monkeypatch.setattr(Cost, "end", lambda self, seconds, now: None)
    junk = p.stream([b"\x99"] * 400)
    two[0].peer.send(junk, time.monotonic())
    until(lambda: session.attachment.traffic.drops[Reason.DATAGRAM_SHARE])
    assert scanned == [len(junk), len(junk) - 3, len(junk) - 6]
    assert session.attachment.traffic.drops[Reason.DATAGRAM_SHARE] == 1


def test_strangers_do_not_get_much_more_than_a_turn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round may bring 16,000 of their datagrams."""
    charged: list[int] = []
    datagrams = HubDatagrams()

    class Noted(Share):
        def charge(self, key: object, seconds: float) -> None:
            charged.append(datagrams.table.strangers)

    class Full:
        def recv_runs(self, waits: bool, receives: int, most: int) -> list[Run]:
            if charged:
                raise EOFError
            place = Address(("192.0.2.1", 1))
            return [Run(place, b"\x54" * 40 * 64, 40) for _ in range(receives)]

    monkeypatch.setattr(datagram_port, "SHARE", Noted())
    with pytest.raises(EOFError):
        datagrams._read(Full())  # type: ignore[arg-type]
    least = BURST_SECONDS / datagram_turns.STRANGER_SECONDS
    assert charged[-1] > datagram_port.RECEIVES * 64 - least
    assert all(after - before <= least + 64 for before, after in zip([0, *charged], charged, strict=False))


def test_a_flood_of_strangers_takes_its_turns_in_the_share(
    hub: Hub, two: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[float] = []

    class Noted(Share):
        def charge(self, key: object, seconds: float) -> None:
            charged.append(seconds)

    monkeypatch.setattr(datagram_port, "SHARE", Noted())
    count = int(2 * BURST_SECONDS / datagram_turns.STRANGER_SECONDS)
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before = hub.datagrams.table.strangers
    for number in range(count):
        stranger.sendto(b"\x54" * 60, two[0].peer.place)
        if not number % 64:
            gevent.sleep(0.001)
    until(lambda: charged)
    assert charged[0] > BURST_SECONDS
    assert hub.datagrams.table.strangers - before > count / 3
    stranger.settimeout(0.05)
    with pytest.raises(TimeoutError):
        stranger.recv(100)
    stranger.close()
