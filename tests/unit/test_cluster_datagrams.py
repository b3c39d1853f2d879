"""Datagrams between hubs over loopback: what goes by them, what a far hub may send, where there are none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from lib import (
    cluster_datagram,
    cluster_envelopes,
    cluster_frames,
    cluster_link,
    datagram_choice,
    datagram_wire,
    framing,
    stream_resolve,
    wire_control,
)
from lib.addresses import host_port
from lib.cluster_link import Link
from lib.datagram_channel import Channel
from lib.datagram_choice import FOLLOW_SECONDS, Choice, cut
from lib.datagram_socket import Address, DatagramSocket, Sent
from lib.datagram_table import Table
from lib.errors import HostError
from lib.forward_drop_reasons import Reason
from lib.session_cost import BURST_SECONDS, Cost
from lib.session_lane_sender import LaneSender
from lib.settings_transport import AUTO, STREAM
from lib.stream_resolve import numeric
from tests.support import packets as p
from tests.unit.test_cluster_links import NAMESPACE, Hub, wait_for

A, B = "10.0.0.1", "10.0.0.2"
ROOM = 1448
OLD = 1000.0
"""When no flow can be one of before any more."""


def udp(number: int = 0, size: int = 100, port: int = 5000) -> bytes:
    return p.udp(A, B, number.to_bytes(4, "big") + bytes(size), ports=(port, 53))


def tcp(number: int = 0, size: int = 100) -> bytes:
    return p.tcp(A, B, number.to_bytes(4, "big") + bytes(size), ports=(5000, 22))


def ping(number: int = 0) -> bytes:
    return p.icmp(A, B, payload=number.to_bytes(4, "big") + bytes(60))


def superpacket(size: int = 30_000, gso_size: int = 1000) -> bytes:
    return p.superpacket(p.udp(A, B, random.Random(size).randbytes(size), ports=(5000, 53)), gso_size)


def envelope(*contents: bytes, namespace: bytes = NAMESPACE) -> bytes:
    frames = p.stream(contents)
    return cluster_frames.head(namespace, 7, len(frames)) + frames


# --- envelopes and the choice


@pytest.mark.parametrize("wrap", [bytes, p.headed], ids=["plain", "headed"])
def test_of_an_envelope_its_first_frame_says_what_it_is(wrap: Callable[[bytes], bytes]) -> None:
    goes = [envelope(wrap(udp())), envelope(wrap(ping())), envelope(wrap(udp()), wrap(udp(1)))]
    goes += [envelope(wrap(p.udp("fd00::1", "fd00::2", b"1"))), envelope(wrap(p.icmp("fd00::1", "fd00::2")))]
    nested = envelope(envelope(udp())[2:])
    ours = framing.encode(wire_control.encode_ping(bytes(8)))
    stays = [envelope(wrap(tcp())), envelope(b""), envelope(b"\x45"), envelope(), nested, ours]
    for one in goes:
        assert Choice().apart([one], OLD, ROOM, 0.0) == ([one], [])
        assert Choice().is_for([one])
        assert Choice().foretell(one, OLD, ROOM, 0.0)
    for one in stays:
        assert Choice().apart([one], OLD, ROOM, 0.0) == ([], [one])
        assert not Choice().is_for([one])
    run = b"".join(one for pair in zip(goes, stays, strict=False) for one in pair)
    by_datagram, by_stream = Choice().apart([run], OLD, ROOM, 0.0)
    assert b"".join(by_datagram) == b"".join(goes)
    assert b"".join(by_stream) == b"".join(stays[: len(goes)])


def test_an_envelope_fits_if_each_of_its_frames_does() -> None:
    long = envelope(*(udp(number, 1000) for number in range(30)))
    assert Choice().apart([long], OLD, ROOM, 0.0) == ([long], [])
    for frame in (udp(1, 1500), p.headed(udp(1, 1500)), superpacket(gso_size=1460)):
        unfit = envelope(udp(), frame)
        assert Choice().apart([unfit], OLD, ROOM, 0.0) == ([], [unfit])
        assert list(cut(unfit, ROOM)) == []
    choice = Choice()
    choice.apart([envelope(udp(1, 1500))], OLD, ROOM, 0.0)
    assert choice.apart([envelope(udp())], OLD + 1, ROOM, 0.0)[0] == [], "its flow has had one too long"


@given(
    st.lists(st.sampled_from(["small", "large", "headed", "super"]), min_size=1, max_size=40),
    st.integers(1250, 9000),
)
def test_what_is_cut_has_the_same_packets_in_their_order(kinds: list[str], room: int) -> None:
    made: dict[str, Callable[[int], bytes]] = {
        "small": lambda number: udp(number),
        "large": lambda number: udp(number, 1150),
        "headed": lambda number: p.headed(udp(number, 600)),
        "super": lambda number: superpacket(5000 + number),
    }
    contents = [made[kind](number) for number, kind in enumerate(kinds)]
    pieces = list(cut(envelope(*contents), room))
    found: list[bytes] = []
    for piece in pieces:
        assert len(piece) <= room
        assert framing.split(piece) == [len(piece)]
        assert cluster_frames.namespace_of(piece, 2, len(piece)) == NAMESPACE
        found += p.contents(piece[cluster_frames.BEGIN :])
    assert _payloads(found) == _payloads(contents)


def _payloads(contents: Sequence[bytes]) -> bytes:
    """What all of them carry, whatever they are cut into."""
    packets = [one[10:] if one[0] <= 2 else one for one in contents]
    return b"".join(p.payload_of(one) for one in packets)


def test_flows_of_udp_and_icmp_are_apart_and_the_others_are_not_copied() -> None:
    run = bytearray(p.stream([tcp(), udp(1), udp(2), tcp(1), ping()]))
    out, prompt, packets = cluster_envelopes.enclose_apart(NAMESPACE, [run], Choice().is_for_first)
    assert packets == 5
    assert b"".join(out) == b"".join(
        cluster_envelopes.enclose(NAMESPACE, [p.stream([tcp()]), p.stream([tcp(1)])])[0]
    )
    assert all(isinstance(frames, memoryview) and frames.obj is run for frames in out[1::2])
    assert [p.contents(bytes(one[cluster_frames.BEGIN :])) for one in prompt] == [[udp(1), udp(2)], [ping()]]


@pytest.mark.parametrize("mtu", [1420, 9000, 65_535])
def test_no_probe_is_longer_than_a_datagram_may_be(mtu: int) -> None:
    """A client that had said an MTU of 65,535 made its hub send one of 65,579 bytes, which failed each time."""
    nobody: Any = None
    path = Channel(nobody, nobody, 1, Table(), True, mtu).peer.mtu
    now = 0.0
    while probes := path.due(now):
        for probe in probes:
            datagram_wire.encode_probe(bytes(8), probe.size)
            path.answered(probe.number, now)
        now += 0.1
    assert path.mtu == path.most
    assert path.size >= min(mtu + 2, datagram_wire.MAX_DATAGRAM)


# --- links


@pytest.fixture
def hubs() -> Iterator[tuple[Hub, Hub]]:
    yield from pair(Hub("hub-1", channel=AUTO), Hub("hub-2", channel=AUTO))


def pair(one: Hub, two: Hub) -> Iterator[tuple[Hub, Hub]]:
    one.knows(two)
    two.knows(one)
    yield one, two
    one.links.stop()
    two.links.stop()


def link_of(hub: Hub) -> Link:
    (link,) = hub.links.all
    return link


def state(hub: Hub) -> str:
    channel = link_of(hub).channel
    return channel.figures(time.monotonic()).state if channel is not None else "none"


def begin(one: Hub, two: Hub) -> None:
    """Let one dial the other, and use the link until both ways are good."""
    one.came.clear()
    two.came.clear()
    one.send("hub-2", ping())
    wait_for(lambda: two.came)
    sent = 1

    def are_good() -> bool:
        nonlocal sent
        one.send("hub-2", ping())
        two.send("hub-1", ping())
        sent += 1
        return state(one) == state(two) == "good"

    wait_for(are_good)
    wait_for(lambda: (len(two.came), len(one.came)) == (sent, sent - 1))
    one.came.clear()
    two.came.clear()


def contents(came: list[tuple[str, bytes, bytes]]) -> list[bytes]:
    return [frame[2:] for _, _, frame in came]


def counts(hub: Hub) -> tuple[int, int]:
    channel = link_of(hub).channel
    assert channel is not None
    return channel.sent, channel.received


@pytest.mark.usefixtures("no_codel")
def test_pings_and_udp_go_by_datagrams_and_tcp_by_the_stream(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    begin(one, two)
    for hub, other in ((one, two), (two, one)):
        goes = [
            content for number in range(50) for content in (ping(number), udp(number, port=7000 + number))
        ]
        before = counts(hub)[0]
        for content in goes:
            hub.send(other.name, content)
        wait_for(lambda other=other: len(other.came) == 100)
        assert sorted(contents(other.came)) == sorted(goes), "they are flows of their own"
        assert {(name, namespace) for name, namespace, _ in other.came} == {(hub.name, NAMESPACE)}
        assert counts(hub)[0] - before >= 50
        other.came.clear()
        sent, written = counts(hub)[0], link_of(hub).stream.written
        for number in range(100):
            hub.send(other.name, tcp(number, 1000))
        wait_for(lambda other=other: len(other.came) == 100)
        assert contents(other.came) == [tcp(number, 1000) for number in range(100)]
        assert link_of(hub).stream.written - written > 100_000
        assert counts(hub)[0] - sent < 20, "TCP goes by the stream"
        other.came.clear()
        for content, by_datagram in ((ping(), True), (tcp(), False)):
            frame = framing.encode(content)
            assert hub.links.would_take(other.name, NAMESPACE, frame) is by_datagram
        assert not hub.links.would_take("nobody", NAMESPACE, framing.encode(ping()))
    assert len(one.links.all) == 1
    assert one.drops() == two.drops() == one.counted.drops == two.counted.drops == {}


def test_a_flow_that_goes_on_while_the_channel_becomes_good_is_not_reordered(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram_choice, "PAUSE_SECONDS", 0.2)  # a busy machine makes longer ones than 2 ms
    one, two = hubs
    until, number = time.monotonic() + FOLLOW_SECONDS + 1.5, 0

    def has_moved() -> bool:
        return bool(two.links.all) and counts(two)[1] > 100

    while time.monotonic() < until or (not has_moved() and time.monotonic() < until + 30):
        one.send("hub-2", udp(number))
        number += 1
        gevent.sleep(0.001)
    wait_for(lambda: len(two.came) == number)
    assert contents(two.came) == [udp(one) for one in range(number)]
    assert has_moved(), "to datagrams"


def test_a_long_envelope_and_a_superpacket_go_in_several_datagrams(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    begin(one, two)
    wait_for(lambda: link_of(one).channel.peer.mtu.mtu > 8000)  # type: ignore[union-attr]
    run = [udp(number, 1000, 9000) for number in range(40)]
    one.links.send("hub-2", one.host, [p.stream(run), p.stream([superpacket(50_000, 1200)])])
    wait_for(lambda: sum(len(one) for one in contents(two.came)) > 90_000)
    assert _payloads(contents(two.came)) == _payloads([*run, superpacket(50_000, 1200)])
    gevent.sleep(0.01)
    before = counts(one)[0]
    one.links.send("hub-2", one.host, [p.stream([superpacket(50_000, 1200)])])
    wait_for(lambda: counts(one)[0] - before >= 6)


def test_a_far_hub_of_the_release_before_has_none_and_goes_on(hubs: tuple[Hub, Hub]) -> None:
    one, _ = hubs
    old = Hub("hub-0")
    try:
        one.knows(old)
        old.knows(one)
        one.send("hub-0", ping())
        wait_for(lambda: old.came)
        old.send("hub-1", udp())
        wait_for(lambda: one.came)
        for hub, why in ((one, "the far hub has none"), (old, f"channel: {STREAM}")):
            assert link_of(hub).channel is None
            assert link_of(hub).why_no_channel == why
        hello = link_of(old).control
        assert hello.features & wire_control.Feature.DATAGRAMS
        assert not link_of(one).control.features & wire_control.Feature.DATAGRAMS
    finally:
        old.links.stop()


def hub_without_its_port() -> tuple[socket.socket, Hub]:
    """A hub, and what has its UDP port. Of TCP that port is free: connections of other tests have some, too."""
    for _ in range(20):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind(("127.0.0.1", 0))
        try:
            return other, Hub("hub-1", channel=AUTO, where=other.getsockname())
        except HostError:
            other.close()
    raise AssertionError("no port is free")


def test_a_busy_port_is_one_warning_and_links_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other, one = hub_without_its_port()
    with other:
        two = Hub("hub-2", channel=AUTO)
        lines = [record.getMessage() for record in caplog.records if "UDP" in record.getMessage()]
        assert len(lines) == 1
        assert "cannot listen on UDP 127.0.0.1:" in lines[0]
        assert "links have only their streams" in lines[0]
        for first, then in pair(one, two):
            first.send("hub-2", ping())
            wait_for(lambda then=then: then.came)
            assert link_of(first).why_no_channel == "no UDP port"
            assert link_of(then).why_no_channel == "the far hub has none"


def test_another_address_for_datagrams_is_used() -> None:
    """As where a NAT stands in front of the hub that is dialled: here a relay of one datagram at a time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        port = relay.getsockname()[1]
        one, two = Hub("hub-1", channel=AUTO), Hub("hub-2", channel=AUTO, datagram=f"localhost:{port}")
        ends = {host_port(hub.links.address): hub for hub in (one, two)}
        passed: list[int] = []

        def pass_on() -> None:
            while True:
                data, place = relay.recvfrom(65536)
                passed.append(len(data))
                relay.sendto(data, next(end for end in ends if end != place))

        passing = gevent.spawn(pass_on)
        for first, then in pair(one, two):
            begin(first, then)
            before = len(passed)
            for number in range(20):
                first.send("hub-2", ping(number))
            wait_for(lambda then=then: len(then.came) == 20)
            assert len(passed) - before >= 20
        passing.kill()


def test_a_far_hub_that_names_ever_new_places_has_one_looked_up_at_a_time(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hubs
    begin(one, two)
    names: list[str] = []

    may_end = Event()

    def look_up(name: str, port: int, seconds: float) -> Any:
        names.append(name)
        may_end.wait()
        return numeric("127.0.0.1", port)

    monkeypatch.setattr(stream_resolve, "look_up", look_up)
    monkeypatch.setattr(cluster_datagram, "AGAIN_SECONDS", 0.2)
    far, near = link_of(two).channel, link_of(one).channel
    assert far is not None
    assert near is not None
    for number in range(50):
        far.peer.host = f"hub-2-{number}"
        far.peer.give(time.monotonic())
        gevent.sleep(0.002)
    wait_for(lambda: near._where[1] == "hub-2-49")
    assert len(names) == 1
    may_end.set()
    wait_for(lambda: names and names[-1] == "hub-2-49")
    assert len(names) <= 3
    begin(one, two)


def test_hubs_that_listen_on_all_addresses_reach_each_other() -> None:
    """Of both IP versions: IPv4 addresses are mapped there, and a reply comes from the address that was asked."""
    one, two = Hub("hub-1", channel=AUTO, where=("", 0)), Hub("hub-2", channel=AUTO, where=("", 0))
    for first, then in pair(one, two):
        for hub, host in ((one, "127.0.0.5"), (two, "::1")):
            for other in (one, two):
                other.addresses[hub.name] = f"[{host}]" if ":" in host else host
                other.addresses[hub.name] += f":{host_port(hub.links.address)[1]}"
        begin(first, then)
        assert "::1" in str(link_of(first).channel.peer.place)  # type: ignore[union-attr]
        link_of(first).close("test")
        wait_for(lambda: not one.links.all and not two.links.all)
        then.send("hub-1", ping())
        wait_for(lambda first=first: first.came)
        wait_for(lambda: state(one) == state(two) == "good")
        assert "127.0.0.5" in str(link_of(then).channel.peer.place)  # type: ignore[union-attr]


def test_an_address_that_the_socket_cannot_send_to_is_told() -> None:
    one, two = Hub("hub-1", channel=AUTO), Hub("hub-2", channel=AUTO, where=("::1", 0))
    for first, then in pair(one, two):
        first.send("hub-2", ping())
        wait_for(lambda then=then: then.came)
        wait_for(lambda first=first: link_of(first).channel.broken)  # type: ignore[union-attr]
        figures = link_of(first).channel.figures(time.monotonic())  # type: ignore[union-attr]
        assert figures.state == "bad"
        assert "another IP version" in figures.why
        first.send("hub-2", ping(1))
        wait_for(lambda then=then: len(then.came) == 2)


@pytest.mark.parametrize(
    "plain",
    [
        framing.encode(wire_control.encode_drain()),
        framing.encode(ping()),
        framing.encode(bytes([cluster_frames.MARK]) + bytes(5)),
        bytes(2),
    ],
    ids=["control", "packet", "short", "empty"],
)
def test_a_hub_that_sends_anything_but_envelopes_by_datagrams_loses_its_link(
    hubs: tuple[Hub, Hub], plain: bytes
) -> None:
    one, two = hubs
    begin(one, two)
    channel, link = link_of(one).channel, link_of(two)
    assert channel is not None
    assert channel.peer.send(envelope(ping(3)) + plain, time.monotonic()) == []
    wait_for(lambda: not two.links.all)
    assert contents(two.came) == [ping(3)]
    assert link.sender.closed_because == "by datagrams: no proper envelope"
    one.send("hub-2", ping(4))
    wait_for(lambda: len(two.came) == 2)


def test_strangers_cost_a_look_up_and_get_no_answer(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    begin(one, two)
    port = two.links.datagrams
    before, links = port.table.strangers, list(two.links.all)
    labels = list(port.table.entries)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        for label in (*labels, 0x54000001, 0):
            for counter in range(50):
                sock.sendto(datagram_wire.header(label, counter) + bytes(60), host_port(two.links.address))
        wait_for(lambda: port.table.strangers - before >= 50 * (len(labels) + 2))
        with pytest.raises(TimeoutError):
            sock.recv(1)
    one.send("hub-2", ping(1))
    wait_for(lambda: two.came)
    assert (state(one), list(two.links.all)) == ("good", links)


def test_what_a_drained_link_has_on_its_way_arrives(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that is replaced while numbered datagrams go both ways, as when a hub is upgraded, loses none.

    They take longer than the stream does.
    """
    one, two = hubs
    sends = DatagramSocket.send_burst

    def send_late(self: DatagramSocket, address: Address, datagrams: Sequence[bytes]) -> Sent:
        gevent.spawn_later(0.03, sends, self, address, list(datagrams))
        return Sent(len(datagrams))

    monkeypatch.setattr(DatagramSocket, "send_burst", send_late)
    begin(one, two)
    for number in range(1200):
        one.send("hub-2", ping(number))
        two.send("hub-1", udp(number))
        if number in (200, 900):
            hub, far = (one, "hub-2") if number == 200 else (two, "hub-1")
            link = hub.links.link_with(far)
            assert link is not None
            link.drain()
        gevent.sleep(0.001)
    wait_for(lambda: len(one.came) == len(two.came) == 1200)
    assert sorted(contents(two.came)) == sorted(ping(number) for number in range(1200))
    assert sorted(contents(one.came)) == sorted(udp(number) for number in range(1200))
    # A control frame that still waits at the end of a link is counted as a packet.
    assert {*one.counted.drops, *two.counted.drops} <= {Reason.SESSION_GONE}
    wait_for(lambda: len(one.links.all) == len(two.links.all) == 1)
    assert len(one.links.datagrams.channels) == 1
    assert len(one.links.datagrams.table.entries) <= 3


def test_what_is_held_back_goes_by_the_stream_where_a_link_is_drained(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    begin(one, two)
    link, now = link_of(one), time.monotonic()
    assert link.channel is not None
    link.channel.choice._hold(1, envelope(udp(5)), now, 60.0)
    link.drain()
    wait_for(lambda: two.came)
    assert contents(two.came) == [udp(5)]
    assert time.monotonic() - now < 30


def test_a_link_that_costs_too_much_waits_for_nothing_and_is_counted(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.datagram_port.MOST_OWN", 0)  # what comes by a socket of its own is read later
    one, two = hubs
    begin(one, two)
    cost = link_of(two).stream.cost
    assert cost is not None
    cost.debt, cost.expensive = 10 * BURST_SECONDS, True
    monkeypatch.setattr("lib.service_turn.Turn.try_enter", lambda *words: False)
    for number in range(20):
        one.send("hub-2", ping(number))
    wait_for(lambda: two.counted.drops.get(Reason.DATAGRAM_SHARE, 0) >= 20)
    assert two.came == []


def silence(sender: LaneSender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it neither ask nor reply."""
    for name in ("reply", "probe"):
        says = getattr(LaneSender, name)
        monkeypatch.setattr(
            LaneSender, name, lambda self, frame, says=says: None if self is sender else says(self, frame)
        )


def test_a_stream_that_is_dead_ends_the_link_though_datagrams_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where TCP alone is blocked: keys, and all TCP of hosts, go by the stream."""
    monkeypatch.setattr(cluster_link, "DEAD_SECONDS", 1.0)
    one, two = Hub("hub-1", channel=AUTO), Hub("hub-2", channel=AUTO)
    for first, then in pair(one, two):
        begin(first, then)
        link = link_of(first)
        assert link.channel is not None
        silence(link_of(then).sender, monkeypatch)
        until, before = time.monotonic() + 20.0, link.channel.received
        while link in first.links.all and time.monotonic() < until:
            then.send("hub-1", ping())
            gevent.sleep(0.02)
        assert "nothing heard" in link.sender.closed_because
        assert link.channel.received - before > 3


class Slow:
    """A receiver that leaves each envelope for later (cluster_receive), as where decisions take long."""

    def __init__(self, name: str, came: list[tuple[str, bytes, bytes]]) -> None:
        self._name, self._came = name, came
        self._rest: list[tuple[bytes, bytes]] = []

    @property
    def has_rest(self) -> bool:
        return bool(self._rest)

    def take(
        self, namespace: bytes, data: bytearray, view: memoryview, start: int, end: int, cost: Cost | None = None, /
    ) -> int:  # fmt: skip
        self._rest.append((namespace, bytes(view[start:end])))
        return 1

    def send(self, cost: Cost | None = None, /) -> None: ...

    def go_on(self, cost: Cost | None = None, /) -> None:
        if self._rest:
            self._came.append((self._name, *self._rest.pop(0)))


def make_dear(cost: Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each turn of this account make it expensive."""
    begin = Cost.begin

    def begin_dear(self: Cost, size: int) -> None:
        begin(self, size)
        if self is cost:
            self.debt = 10 * BURST_SECONDS

    monkeypatch.setattr(Cost, "begin", begin_dear)


@pytest.mark.parametrize("expensive", [False, True])
def test_what_takes_long_is_gone_on_with(monkeypatch: pytest.MonkeyPatch, expensive: bool) -> None:
    """By whoever reads datagrams; where the link has become expensive, in turns of the share."""
    monkeypatch.setattr(Hub, "_receiver", lambda hub, name: Slow(name, hub.came))
    for one, two in pair(Hub("hub-1", channel=AUTO), Hub("hub-2", channel=AUTO)):
        begin(one, two)
        cost = link_of(two).stream.cost
        assert cost is not None
        if expensive:
            make_dear(cost, monkeypatch)
        for number in range(20):
            one.send("hub-2", ping(number))
            gevent.sleep(0.002)
        wait_for(lambda two=two: len(two.came) == 20)
        assert contents(two.came) == [ping(number) for number in range(20)]
        assert counts(two)[1] >= 20


def test_what_datagrams_leave_for_later_does_not_keep_the_stream_from_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A receiver that is never done: control frames are acted upon all the same."""

    class Endless(Slow):
        has_rest = True

    monkeypatch.setattr(Hub, "_receiver", lambda hub, name: Endless(name, hub.came))
    for one, two in pair(Hub("hub-1", channel=AUTO), Hub("hub-2", channel=AUTO)):
        one.send("hub-2", tcp())
        wait_for(lambda one=one, two=two: one.links.link_with("hub-2") and two.links.link_with("hub-1"))

        def is_answered(one: Hub = one) -> bool:
            link_of(one).control.ask(time.monotonic())
            return bool(link_of(one).control.liveness.rtt)

        wait_for(is_answered)
