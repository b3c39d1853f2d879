"""One dear host behind a link: it pays for its frames, and its link and all others behind it go on.

Nothing here depends on how quick the machine is: a judged frame is made to take so much processor time, and
what is compared with it is this thread's own (session_cost).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from lib import cluster_receive, forward, framing
from lib.capture_fate import Fate
from lib.cluster_costs import HostCosts
from lib.forward_decide import decide
from lib.forward_drop_reasons import Reason
from lib.forward_enter import MOST_LOOKED, enter_run
from lib.namespace import Attachment
from lib.packet import Buffer, Packet
from lib.service_turn import Turn
from lib.session_cost import BURST_SECONDS, EXACT_TURNS, Cost
from tests.support import packets as p
from tests.support.routes import table
from tests.unit.test_cluster_hosts import NAMESPACE, OTHER, World, frame, ports

JUDGED_SECONDS = 0.0004
"""Processor time that each frame of the dear host takes which goes nowhere."""
GOOD, DEAR, NOWHERE = "10.0.0.2", "10.0.0.3", "10.0.9.9"
HERE = "10.0.0.1"
ROUTES = table((f"{HERE}/32", "host-1"), (f"{GOOD}/32", "host-2"), (f"{DEAR}/32", "host-3"))


@dataclass
class Share:
    """The share of all that is expensive (service_scheduling.Share): whether it is free, and who had it."""

    free: bool = False
    had: list[object] = field(default_factory=list)

    def try_enter(self, key: object) -> bool:
        if self.free:
            self.had.append(key)
        return self.free

    def leave(self, seconds: float) -> None:
        self.had.append(seconds)


@dataclass
class Seen:
    """A tap that keeps what it sees."""

    frames: list[bytes] = field(default_factory=list)

    def take(self, when: int, fate: Fate, view: Buffer, begin: int, end: int) -> None:
        self.frames.append(bytes(view[begin:end]))


class Link:
    """The link with hub-2, at which host-2 and host-3 are: its turns, each timed exactly where that is due."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.here = world.join("host-1")
        self.here.namespace.replace_tables(ROUTES, ROUTES, True)
        world.at("hub-2", "host-2")
        world.at("hub-2", "host-3")
        self.receiver = world.hosts.receiver("hub-2")
        self.cost, self._turn = Cost(), Turn()
        self.cost.admit("link")
        self.drops = world.hosts.counts("hub-2").drops

    def turn(self, *envelopes: bytes, namespace: bytes = NAMESPACE) -> None:
        """These have come in one receive."""
        self._turn.begin(self.cost)
        self.cost.begin(min(self.cost.size - 1, sum(map(len, envelopes))))
        kept = [bytearray(one + bytes(framing.SLACK)) for one in envelopes]
        for data in kept:
            self.receiver.take(namespace, data, memoryview(data), 0, len(data) - framing.SLACK, self.cost)
        self.receiver.send(self.cost)
        self._turn.end(self.cost)
        while self.receiver.has_rest:
            self._turn.begin(self.cost)
            self.cost.begin(0)
            self.receiver.go_on(self.cost)
            self._turn.end(self.cost)

    def became_dear(self) -> None:
        """The dear host floods until it is known as one."""
        turns = 0
        while not self.drops[Reason.LINK_SHARE]:
            assert turns < 100
            self.turn(flood(8))
            turns += 1

    @property
    def came(self) -> list[int]:
        """The source ports of all packets that have come to the host here."""
        return ports(b"".join(self.here.sender.frames))  # type: ignore[attr-defined]


def flood(count: int, to: str = NOWHERE) -> bytes:
    return frame(DEAR, to) * count


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Share:
    made = Share()
    monkeypatch.setattr(cluster_receive, "SHARE", made)
    return made


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch, share: Share) -> Link:
    def dearly(attachment: Attachment, packet: Packet, *rest: Any) -> Any:
        verdict = decide(attachment, packet, *rest)
        until = time.thread_time() + JUDGED_SECONDS * isinstance(verdict, Reason)
        while time.thread_time() < until:
            pass
        return verdict

    monkeypatch.setattr(forward, "decide", dearly)
    monkeypatch.setattr("lib.cluster_costs.FORGIVEN", 0.0)  # however long the test takes
    return Link(World())


def test_a_dear_host_is_dropped_and_its_link_is_not_expensive(link: Link) -> None:
    link.became_dear()
    for number in range(50):
        link.turn(flood(20), frame(GOOD, number=number))
        assert not link.cost.expensive
    assert link.cost.debt < BURST_SECONDS
    assert link.came == [1000 + number for number in range(50)], "in their order, none lost"
    assert link.drops[Reason.LINK_SHARE] >= 50 * 20
    assert link.drops[Reason.NO_ROUTE] * JUDGED_SECONDS < 4 * BURST_SECONDS, "so little was judged"


def test_runs_of_a_worker_have_to_come_flow_by_flow_only_while_somebody_may_be_dear(link: Link) -> None:
    link.turn(flood(3))
    assert not link.receiver.by_flow, "to owe a little is nothing"
    link.became_dear()
    assert link.receiver.by_flow


@pytest.mark.parametrize("small", [frame(GOOD), framing.encode(p.ip(GOOD, HERE, 99, b""))])
def test_a_long_run_of_small_frames_is_taken_in_turns(link: Link, small: bytes) -> None:
    """Between workers all that a session has sent in a turn may come as one (worker_link)."""
    count = framing.RECEIVE // len(small)
    data = bytearray(small * count + bytes(framing.SLACK))
    before, turns = 0, 0
    link.receiver.take(NAMESPACE, data, memoryview(data), 0, count * len(small), link.cost)
    while True:
        link.receiver.send(link.cost)
        now = len(b"".join(link.here.sender.frames)) // len(small)  # type: ignore[attr-defined]
        assert now - before <= 2 * MOST_LOOKED, "what is known of its flow costs a third of a look"
        before, turns = now, turns + 1
        if not link.receiver.has_rest:
            break
        link.receiver.go_on(link.cost)
    assert before == count
    assert turns >= count / (2 * MOST_LOOKED)


def test_whose_frames_of_a_known_flow_are_is_not_looked_up_again(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.turn(frame(GOOD, number=1))
    looked: list[int] = []

    def looking(stranger: Attachment, data: bytearray, start: int, *rest: Any) -> tuple[int, int]:
        looked.append(start)
        return enter_run(stranger, data, start, *rest)

    monkeypatch.setattr(cluster_receive, "enter_run", looking)
    known, new = frame(GOOD, number=1), frame(GOOD, number=2)
    link.turn(known * 3)
    assert not looked
    link.turn(known * 2 + new + known + frame("10.9.9.9", number=3) + frame(DEAR, number=4))
    assert looked == [2 * len(known)], "from the first one on that is of no known flow"
    assert link.came == [1001] * 6 + [1002, 1001, 1004], "in their order"
    assert link.drops == {Reason.FOREIGN_SOURCE: 1}
    data = bytearray(known * 2 + new + bytes(framing.SLACK))
    assert link.receiver.take(NAMESPACE, data, memoryview(data), 0, len(data) - framing.SLACK) == 3


@pytest.mark.parametrize("then", ["nobody", "moved"])
def test_a_known_flow_of_a_source_that_is_nobodys_there_any_more_is_dropped(link: Link, then: str) -> None:
    link.turn(frame(GOOD, number=1))
    if then == "moved":  # its host is at no other hub any more
        link.world.gone("hub-2", "host-2")
    else:
        link.here.namespace.replace_tables(table((f"{HERE}/32", "host-1")), table(), True)
    link.turn(frame(GOOD, number=1))
    assert link.came == [1001]
    assert sum(link.drops.values()) == 1


def test_flows_of_the_dear_host_that_are_known_go_on_and_new_ones_have_to_wait(
    link: Link, share: Share
) -> None:
    link.turn(frame(DEAR, HERE, number=1))
    link.became_dear()
    before = link.drops[Reason.LINK_SHARE]
    link.turn(frame(DEAR, HERE, number=1) * 3, frame(DEAR, HERE, number=2))
    assert link.came == [1001] * 4
    assert link.drops[Reason.LINK_SHARE] == before + 1
    share.free = True
    link.turn(frame(DEAR, HERE, number=2))
    assert link.came == [1001] * 4 + [1002]
    assert share.had[0] == (NAMESPACE, "host-3")


def test_while_the_share_is_free_a_dear_host_has_turns_of_it_which_it_pays_for(
    link: Link, share: Share
) -> None:
    link.became_dear()
    share.free, judged = True, link.drops[Reason.NO_ROUTE]
    for _ in range(EXACT_TURNS + 4):  # timed exactly in turns that are not, too
        link.turn(flood(2))
    assert link.drops[Reason.NO_ROUTE] == judged + 2 * (EXACT_TURNS + 4)
    seconds = [one for one in share.had if isinstance(one, float)]
    assert min(seconds) >= JUDGED_SECONDS
    assert not link.cost.expensive


def test_a_frame_that_ends_badly_gives_the_share_back(
    link: Link, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.became_dear()
    share.free = True

    def fails(*_: object) -> Any:
        raise RuntimeError("judged wrongly")

    monkeypatch.setattr(forward, "decide", fails)
    with pytest.raises(RuntimeError):
        link.turn(flood(1))
    assert share.had[0] == (NAMESPACE, "host-3")
    assert isinstance(share.had[1], float)


def test_where_accounts_have_no_room_the_link_pays(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostCosts, "charge", lambda *_: False)
    for _ in range(40):
        link.turn(flood(8))
    assert link.cost.expensive
    assert not link.drops[Reason.LINK_SHARE]


def test_a_link_that_forwards_is_timed_as_a_whole_only(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts cost a superpacket nothing, once the first turns of a link are over."""
    link.turn(frame(GOOD) * 10)
    link.cost.exact = (
        0  # as it is after EXACT_TURNS of these, unless another process takes our core meanwhile
    )
    monkeypatch.setattr("lib.cluster_receive.Receiver._timed", None)
    link.turn(frame(GOOD) * 10)
    assert len(link.came) == 20


def test_whoever_looks_on_sees_known_flows_of_a_dear_host_and_nothing_is_judged_for_that(link: Link) -> None:
    seen = Seen()
    link.turn(frame(DEAR, HERE, number=1))
    link.became_dear()
    judged = link.drops[Reason.NO_ROUTE]
    link.world.owner.taps.add(seen)
    link.turn(frame(DEAR, HERE, number=1) + flood(5))
    assert seen.frames == [frame(DEAR, HERE, number=1)]
    assert link.drops[Reason.NO_ROUTE] == judged


def test_errors_that_a_hub_says_about_a_host_are_not_that_hosts_cost(link: Link) -> None:
    """They are of hosts that packets went to: somebody else may have made the hub say them, very many times."""
    quoted = p.udp(HERE, GOOD, b"x", ports=(9, 9))
    error = framing.encode(p.icmp("192.0.0.8", HERE, 3, quoted))
    for number in range(60):
        link.turn(error * 20, frame(GOOD, number=number))
    assert link.came[-1] == 1059
    assert [port for port in link.came if port >= 1000] == [1000 + number for number in range(60)]
    assert link.cost.debt < BURST_SECONDS
    assert link.drops[Reason.LINK_SHARE], "beyond what is worth while"


def test_what_a_host_that_has_left_has_on_its_way_is_not_its_links_cost(link: Link) -> None:
    """It is looked up once in a turn; packets that may be errors of routers are looked at one by one."""
    link.world.gone("hub-2", "host-3")
    for number in range(30):
        link.turn(flood(200), frame(GOOD, number=number))
    assert link.drops[Reason.FOREIGN_SOURCE] == 30 * 200
    assert link.cost.debt < BURST_SECONDS
    assert len(link.came) == 30
    link.world.at("hub-2", "host-3", since=9)
    link.turn(frame(DEAR, HERE, number=1))
    assert link.came[-1] == 1001, "and is one of its hosts again"


def test_packets_that_nothing_is_looked_up_for_do_not_make_a_link_expensive(link: Link) -> None:
    """Of a namespace without a host here, or that the far hub is not granted: one of its clients may send them."""
    link.world.denied.add(("hub-2", NAMESPACE))
    for namespace, reason in ((OTHER, Reason.NO_NAMESPACE), (NAMESPACE, Reason.UNTRUSTED)):
        for _ in range(300):
            link.turn(flood(50), namespace=namespace)
        assert link.drops[reason] == 15_000
    assert link.cost.debt < BURST_SECONDS
