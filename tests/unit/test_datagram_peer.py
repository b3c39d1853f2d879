"""Two ends of a datagram channel over a network that loses, moves and blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from lib import datagram_ciphers, datagram_wire, framing
from lib.datagram_keyring import MOST_KEYS
from lib.datagram_keys import GRACE_SECONDS, REJECT_SECONDS, RENEW_SECONDS, Cipher
from lib.datagram_peer import (
    KEEPALIVE_SECONDS,
    PROBE_SECONDS,
    REST_SECONDS,
    USED_SECONDS,
    Peer,
)
from lib.datagram_quality import OfStream
from lib.datagram_table import Arrived, Place, Table
from lib.wire_control import Datagrams

HUB, CLIENT, ELSEWHERE = "hub", "client", "elsewhere"
PACKET = framing.encode(b"\x45" + bytes(99))
LARGE = framing.encode(b"\x45" + bytes(1999))


@dataclass
class End:
    """One end: its peer, and what it has sent."""

    net: Net
    name: str
    place: Place
    table: Table[Peer] = field(default_factory=Table)
    sent: list[tuple[Place, bytes]] = field(default_factory=list)
    got: list[bytes] = field(default_factory=list)
    told: list[Datagrams] = field(default_factory=list)
    drawn: int = 0

    def __post_init__(self) -> None:
        self.peer = Peer(self, self.table, self.name == HUB, port=8443 * (self.name == HUB))

    def draw(self, size: int) -> bytes:
        self.drawn += 1
        return (self.name + str(self.drawn)).encode().rjust(size, b".")[-size:]

    def seal_with(self, key: bytes) -> Cipher:
        return datagram_ciphers.make(1, key)

    def open_with(self, key: bytes) -> Cipher:
        return datagram_ciphers.make(1, key)

    def headers(self, place: Place) -> int:
        return 28

    def stream(self) -> OfStream:
        return self.net.stream

    def tell(self, given: Datagrams) -> None:
        self.told.append(given)
        self.net.control.append((self, given))

    def send(self, place: Place, datagrams: Sequence[bytes]) -> tuple[int, int]:
        if self.net.refuses:
            return 0, 0
        self.sent += [(place, datagram) for datagram in datagrams]
        self.net.flying += [(self, place, datagram) for datagram in datagrams]
        return len(datagrams), 0

    def receive(self, burst: Sequence[tuple[Place, bytes]]) -> None:
        for peer, arrived in self.table.sort(burst).items():
            self.got += peer.open(arrived, self.net.now)


class Net:
    """A hub, a client, the stream between them (`control`), and a network for datagrams."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.refuses = False
        self.stream = OfStream()
        self.control: list[tuple[End, Datagrams]] = []
        self.flying: list[tuple[End, Place, bytes]] = []
        self.passes: Callable[[End, bytes], bool] = lambda end, datagram: len(datagram) <= 1472
        self.hub, self.client = End(self, HUB, HUB), End(self, CLIENT, CLIENT)

    def other(self, end: End) -> End:
        return self.client if end is self.hub else self.hub

    def begin(self) -> None:
        """As after HELLO: the client gives a key, gets one, and sends PROBE."""
        self.client.peer.give(self.now)
        self.settle()

    def settle(self, seconds: float = 0.0) -> None:
        """Let everything arrive that is on the way, and what that brings."""
        for _ in range(100):
            if not self.control and not self.flying:
                return
            control, self.control = self.control, []
            for end, given in control:
                other = self.other(end)
                if given.port:
                    other.peer.place = HUB
                other.peer.given(given, self.now)
            flying, self.flying = self.flying, []
            self.now += seconds
            for end, place, datagram in flying:
                other = self.other(end)
                if self.passes(end, datagram) and place == other.place:
                    other.receive([(end.place, datagram)])
        raise AssertionError("it never comes to rest")

    def table_strangers(self) -> int:
        """Datagrams that were nobody's for the hub."""
        return self.hub.table.strangers

    def beat(self, seconds: int) -> None:
        """Let time pass, with a beat a second."""
        for _ in range(seconds):
            self.now += 1
            for end in (self.hub, self.client):
                end.peer.beat(self.now)
            self.settle()

    def tick(self) -> None:
        for one in (self.hub, self.client):
            one.peer.tick(self.now)
        self.settle()

    def traffic(self, seconds: float, end: End | None = None, step: float = 0.02) -> list[bool]:
        """Offer packets for a while, as a session's sender does; which of them went by datagrams."""
        went = []
        for number in range(round(seconds / step)):
            self.now += step
            if not number % max(1, round(PROBE_SECONDS / step)):
                self.tick()
            for one in (end,) if end is not None else (self.hub, self.client):
                up = one.peer.is_up(self.now)
                went.append(up and not one.peer.send(PACKET, self.now))
                if not up:
                    one.peer.wake(self.now)
            self.settle()
        return went


@pytest.fixture
def net() -> Net:
    net = Net()
    net.begin()
    return net


def up(net: Net) -> tuple[bool, bool]:
    return net.hub.peer.is_up(net.now), net.client.peer.is_up(net.now)


def test_it_comes_up_by_itself(net: Net) -> None:
    assert up(net) == (True, True)
    assert net.hub.peer.place == CLIENT
    assert [net.hub.peer.size, net.client.peer.size] == [1472, 1472]
    assert len(net.client.told) == len(net.hub.told) == 1
    assert net.hub.told[0].port == 8443


def test_frames_go_both_ways_and_large_ones_do_not(net: Net) -> None:
    for end in (net.hub, net.client):
        rest = end.peer.send(PACKET * 30 + LARGE + PACKET, net.now)
        assert [bytes(one) for one in rest] == [LARGE]
        net.settle()
        assert b"".join(net.other(end).got) == PACKET * 31
    assert max(len(datagram) for _, datagram in net.hub.sent) == 1472 or net.hub.peer.size == 1472


def test_a_path_that_is_small_is_found(net: Net) -> None:
    other = Net()
    other.passes = lambda end, datagram: len(datagram) <= 1320
    other.begin()
    other.traffic(20)
    assert 1300 <= other.hub.peer.size <= 1320
    assert 1300 <= other.client.peer.size <= 1320


def test_blocked_the_stream_carries_all_within_a_second(net: Net) -> None:
    assert all(net.traffic(2)[10:])
    net.passes = lambda end, datagram: False
    went = net.traffic(1.0)
    assert went[0]
    assert not any(went[-6:])
    assert not any(net.traffic(10))
    net.passes = lambda end, datagram: True
    net.traffic(20)
    assert up(net) == (True, True), "tried again now and then"


@pytest.mark.parametrize("way", [HUB, CLIENT])
def test_blocked_in_one_direction_that_one_uses_the_stream(net: Net, way: str) -> None:
    net.traffic(1)
    net.passes = lambda end, datagram: end.name != way
    net.traffic(2)
    blocked = net.hub if way == HUB else net.client
    assert not blocked.peer.is_up(net.now)


def test_lossy_is_no_reason_to_leave(net: Net) -> None:
    count = [0]

    def passes(end: End, datagram: bytes) -> bool:
        count[0] += 1
        return bool(count[0] % 20)

    net.passes = passes
    went = net.traffic(60)
    assert sum(went) > 0.98 * len(went)
    assert 0.01 < net.hub.peer.quality.loss < 0.1
    assert 0.01 < net.client.peer.quality.loss < 0.1


def test_a_long_way_is_no_reason_to_leave(net: Net) -> None:
    other = Net()
    other.client.peer.give(other.now)
    other.settle(0.4)
    for _ in range(20):
        other.client.peer.send(PACKET, other.now)
        other.client.peer.tick(other.now)
        other.settle(0.4)
        assert other.client.peer.is_up(other.now)
    assert 0.7 < other.client.peer.quality.rtt < 0.9


def test_a_new_address_is_followed_once_it_is_proved(net: Net) -> None:
    net.traffic(1)
    net.client.place = ELSEWHERE
    net.now += 0.3
    net.client.peer.send(PACKET, net.now)
    net.hub.sent.clear()
    flying, net.flying = net.flying, []
    net.hub.receive([(ELSEWHERE, flying[0][2])])
    assert net.hub.got[-1] == PACKET, "what comes from there is taken at once"
    assert net.hub.peer.place == ELSEWHERE
    assert not net.hub.peer.is_up(net.now), "but nothing more is sent there"
    assert sum(len(datagram) for _, datagram in net.hub.sent) <= 3 * len(flying[0][2])
    net.flying += flying[1:]
    net.settle()
    assert net.hub.peer.is_up(net.now)


def test_an_old_datagram_moves_nothing(net: Net) -> None:
    net.client.peer.send(PACKET, net.now)
    net.client.peer.send(PACKET, net.now)
    first, second = [datagram for _, datagram in net.client.sent[-2:]]
    net.flying.clear()
    net.hub.receive([(CLIENT, second)])
    net.hub.sent.clear()
    net.hub.receive([(ELSEWHERE, first), (ELSEWHERE, second)])
    assert net.hub.peer.place == CLIENT
    assert not net.hub.sent, "a replay, and a late one from elsewhere"
    assert net.table_strangers() == 1


def test_a_victim_gets_no_more_than_three_times(net: Net) -> None:
    """An authentic datagram that somebody sends on from a false address, again and again."""
    net.traffic(1)
    net.hub.sent.clear()
    size = 0
    for _ in range(200):
        net.now += 0.25
        net.client.peer.send(PACKET, net.now)
        net.client.peer.tick(net.now)
        for _, _, datagram in net.flying:
            size += len(datagram)
            net.hub.receive([("victim", datagram)])
        net.flying.clear()
        net.hub.peer.wake(net.now)
        net.hub.peer.beat(net.now)
        to_victim = [len(datagram) for place, datagram in net.hub.sent if place == "victim"]
        assert sum(to_victim) <= 3 * size
        assert not net.hub.peer.is_up(net.now)
    assert to_victim
    net.client.peer.send(PACKET, net.now)
    net.settle()
    assert net.hub.peer.place == CLIENT, "the next datagram of the client's own brings it back"


def test_a_client_takes_nothing_from_elsewhere(net: Net) -> None:
    net.hub.peer.send(PACKET, net.now)
    datagram = net.hub.sent[-1][1]
    net.client.receive([(ELSEWHERE, datagram)])
    assert not net.client.got
    net.client.receive([(HUB, datagram)])
    assert net.client.got == [PACKET]


def test_strangers_get_no_answer(net: Net) -> None:
    net.hub.sent.clear()
    good = net.client.sent[0][1]
    label = good[:4]
    for datagram in (b"", b"\0", good[:24], b"\x54\0\0\0" + good[4:], label + bytes(40), bytes(1400), good):
        net.hub.receive([(ELSEWHERE, datagram)])
    assert not net.hub.sent
    assert not net.hub.told[1:]
    assert net.hub.peer.place == CLIENT
    assert net.table_strangers() == 7


def test_keys_are_renewed_under_traffic_without_a_loss(net: Net) -> None:
    assert all(net.traffic(1)[4:])
    net.hub.got.clear()
    net.client.got.clear()
    for _ in range(400):
        assert all(net.traffic(1, step=0.25))
        net.beat(1)
    assert len(net.client.told) == len(net.hub.told) == pytest.approx(800 / RENEW_SECONDS, abs=1.5)
    assert net.hub.got == net.client.got == [PACKET] * 1600
    assert len(net.hub.table.entries) <= MOST_KEYS


def test_an_old_key_is_taken_for_ten_seconds_more(net: Net) -> None:
    net.client.peer.send(PACKET * 2, net.now)
    late = [datagram for _, _, datagram in net.flying]
    net.flying.clear()
    net.hub.peer.give(net.now)
    net.settle()
    net.client.peer.send(PACKET, net.now)
    net.settle()
    net.hub.got.clear()
    net.beat(int(GRACE_SECONDS) - 1)
    net.hub.receive([(CLIENT, late[0])])
    assert net.hub.got == [PACKET * 2]
    net.beat(2)
    assert len(net.hub.table.entries) == 1


def test_a_channel_that_is_not_used_sends_nothing(net: Net) -> None:
    net.traffic(1)
    net.beat(int(USED_SECONDS) + 1)
    sent = len(net.client.sent), len(net.hub.sent)
    assert len(net.client.sent) >= USED_SECONDS / KEEPALIVE_SECONDS, "it kept NATs' bindings until now"
    net.beat(1000)
    assert (len(net.client.sent), len(net.hub.sent)) == sent
    assert len(net.client.told) == len(net.hub.told) == 1
    assert not net.hub.table.entries, "nothing is known of keys that are too old"
    assert up(net) == (False, False)


@pytest.mark.parametrize("who", [HUB, CLIENT])
@pytest.mark.parametrize("seconds", [int(REST_SECONDS) + 1, 100, 1000])
@pytest.mark.parametrize("forgotten", [False, True])
def test_it_wakes_when_either_side_has_packets(net: Net, who: str, seconds: int, forgotten: bool) -> None:
    net.traffic(1)
    net.passes = lambda end, datagram: False
    net.beat(seconds)
    net.passes = lambda end, datagram: True
    if forgotten:
        net.client.place = ELSEWHERE  # a NAT gives it another port

        def passes(end: End, datagram: bytes) -> bool:
            asked = any(place == HUB for _, place, _ in [(None, p, d) for p, d in net.client.sent[count:]])
            return end is net.client or asked

        count = len(net.client.sent)
        net.passes = passes
    end = net.hub if who == HUB else net.client
    went = net.traffic(8, end, step=0.1)
    assert not went[0]
    assert went[-1]
    assert net.other(end).got[-1] == PACKET


def test_nothing_is_sealed_with_a_key_that_is_too_old(net: Net) -> None:
    net.client.peer.send(PACKET, net.now)
    net.now += REJECT_SECONDS
    assert not net.client.peer.is_up(net.now)
    sent = len(net.client.sent)
    net.client.peer.wake(net.now)
    assert len(net.client.sent) == sent


def test_who_takes_nothing_any_more_says_so(net: Net) -> None:
    net.hub.peer.refuse()
    net.settle()
    assert not net.client.peer.is_up(net.now)
    assert not net.hub.table.entries
    net.client.peer.beat(net.now)
    net.client.peer.wake(net.now)
    net.hub.peer.give(net.now)
    net.settle()
    assert net.client.peer.is_up(net.now)


def test_a_datagram_that_has_waited_until_its_key_was_taken_back_is_nobodys(net: Net) -> None:
    """It waited in the turn of another session; it ended the greenlet that reads all datagrams."""
    net.client.peer.send(PACKET, net.now)
    net.hub.peer.give(net.now)
    net.control.clear()
    (sorted_before,) = net.hub.table.sort([(CLIENT, net.client.sent[-1][1])]).values()
    for _ in range(MOST_KEYS):
        net.hub.peer.give(net.now)
    before = net.table_strangers()
    assert net.hub.peer.open(sorted_before, net.now) == []
    net.hub.peer.stop()
    assert net.hub.peer.open(sorted_before, net.now) == []
    assert net.table_strangers() == before + 2


def test_only_a_small_datagram_goes_to_who_has_not_answered() -> None:
    """A hub may name any address, and a client shall not send long datagrams to a victim."""
    net = Net()
    net.passes = lambda end, datagram: False
    net.begin()
    net.traffic(100, net.client, step=0.1)
    assert len(net.client.sent) > 2
    assert {len(datagram) for _, datagram in net.client.sent} == {datagram_wire.LEAST_PROBE}


def test_a_client_whose_clock_stood_still_is_heard_again(net: Net) -> None:
    """A suspended host: its key is young for it, and the hub has forgotten it."""
    net.traffic(1)
    net.hub.peer.beat(net.now + 1000)
    assert not net.hub.table.entries
    went = net.traffic(25, net.client)
    assert went[-1]
    assert net.hub.got[-1] == PACKET


def test_indexes_are_never_given_twice(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    (label,) = net.hub.table.entries
    drawn = iter([label.to_bytes(4, "big")[1:], b"new", bytes(32), bytes(8)])
    monkeypatch.setattr(net.hub, "draw", lambda size: next(drawn))
    net.hub.peer.give(net.now)
    assert set(net.hub.table.entries) == {label, datagram_wire.label_of(b"new")}


def test_a_client_that_asks_for_keys_again_and_again_gets_one(net: Net) -> None:
    for _ in range(50):
        net.client.peer.give(net.now)
        net.settle()
    assert len(net.hub.told) == 1
    assert len(net.client.table.entries) == MOST_KEYS


def test_counts_of_an_ack(net: Net) -> None:
    arrived: list[Arrived] = []
    assert net.hub.peer.open(arrived, net.now) == []
    net.passes = lambda end, datagram: len(datagram) < 300 and end is net.client
    net.client.peer.send(PACKET, net.now)
    net.client.peer.send(PACKET * 9, net.now)
    net.client.peer.send(PACKET, net.now)
    net.settle()
    net.passes = lambda end, datagram: True
    net.now += 1
    net.client.peer.send(PACKET, net.now)
    net.client.peer.tick(net.now)
    net.settle()
    assert 0 < net.client.peer.quality.loss < 0.2
    assert net.hub.peer.quality.loss < 0.2


# --- quality -----------------------------------------------------------------------------------------


def test_shaped_the_stream_carries_all_within_a_second(net: Net) -> None:
    """Small messages pass, and a third of the packets."""
    assert all(net.traffic(2, net.client, step=0.01)[10:])

    def passes(end: End, datagram: bytes) -> bool:
        return end is net.hub or len(datagram) < 100 or round(net.now * 100) % 3 == 0

    net.passes = passes
    went = net.traffic(1.0, net.client, step=0.01)
    assert went[0]
    assert not any(went[-5:])
    assert not any(net.traffic(2.0, net.client, step=0.01))
    assert "lost" in net.client.peer.trust.why
    assert net.hub.peer.is_up(net.now) or net.hub.peer.trust.why == "", "the other way is as good as before"
    net.passes = lambda end, datagram: True
    net.traffic(30, net.client)
    assert net.client.peer.is_up(net.now), "tried again now and then"
    assert net.client.peer.trust.why == ""


def test_where_datagrams_take_much_longer_the_stream_carries_all(net: Net) -> None:
    net.stream = OfStream(rtt=0.04)
    for _ in range(20):
        net.client.peer.send(PACKET, net.now)
        net.client.peer.tick(net.now)
        net.settle(0.3)
    assert not net.client.peer.is_up(net.now)
    assert "datagrams take" in net.client.peer.trust.why
    net.stream = OfStream(rtt=0.6)
    net.now += 60
    for _ in range(20):
        if not net.client.peer.is_up(net.now):
            net.client.peer.wake(net.now)
        else:
            net.client.peer.send(PACKET, net.now)
        net.settle(0.3)
    assert net.client.peer.is_up(net.now)


def test_an_answer_to_what_nobody_tried_brings_nothing_back(net: Net) -> None:
    net.client.peer._give_up("much was lost", net.now)
    net.client.peer._probe(net.now)
    net.settle()
    assert not net.client.peer.is_up(net.now)
    net.traffic(30, net.client)
    assert net.client.peer.is_up(net.now)


def test_what_this_host_refuses_goes_by_the_stream(net: Net) -> None:
    assert net.client.peer.send(PACKET, net.now) == []
    net.refuses = True
    assert net.client.peer.send(PACKET, net.now) == [PACKET]
    assert not net.client.peer.is_up(net.now)
    net.refuses = False
    net.traffic(30)
    assert up(net) == (True, True)
