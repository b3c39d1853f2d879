"""Path MTU discovery of a datagram channel, over a simulated path that changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from lib.datagram_mtu import (
    AT_ONCE,
    BASE,
    GRAIN,
    IPV4_HEADERS,
    IPV6_HEADERS,
    MAX_PROBES,
    RAISE_SECONDS,
    PathMtu,
    State,
)

RTT = 0.04
STEP = 0.01


@dataclass
class Path:
    """A path with an MTU and a round-trip time, and the far end that answers what has passed."""

    search: PathMtu
    mtu: int = 1500
    loss: float = 0.0
    now: float = 100.0
    uses: bool = True
    """Whether datagrams of the largest size are sent all the time."""
    sent: int = 0
    longest_round: int = 0
    lost_data: float = 0.0
    """When a datagram that was sent did not pass the last time."""
    _on_the_way: list[tuple[float, int]] = field(default_factory=list)
    _dice: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, until: Callable[[], bool], seconds: float = 30.0) -> float:
        """Let time pass until that is so; returns the seconds. Fails where it never is."""
        begin = self.now
        while not until():
            assert self.now - begin < seconds, (self.search.state, self.search.mtu)
            self.step()
        return self.now - begin

    def step(self) -> None:
        search = self.search
        for at, number in [one for one in self._on_the_way if one[0] <= self.now]:
            self._on_the_way.remove((at, number))
            search.answered(number, self.now)
        if self.uses and search.size:
            search.sent(search.size)
            if search.mtu > self.mtu:
                self.lost_data = self.now
        probes = search.due(self.now)
        self.sent += len(probes)
        self.longest_round = max(self.longest_round, len(probes))
        for number, size in probes:
            assert size + search.headers <= max(search.most, BASE)
            if size + search.headers <= self.mtu and self._dice.random() >= self.loss:
                self._on_the_way.append((self.now + RTT, number))
        self.now += STEP


def confirmed(path: Path) -> bool:
    return path.search.state is State.CONFIRMED


@pytest.mark.parametrize("headers", [IPV4_HEADERS, IPV6_HEADERS])
@pytest.mark.parametrize("loss", [0.0, 0.02])
@pytest.mark.parametrize(
    ("mtu", "most"),
    [
        *((1500, 1500), (1492, 1500), (1420, 1500), (1280, 1500), (1281, 1500), (1499, 1500), (1333, 1500)),
        *((9000, 9000), (1500, 9000), (8937, 9000), (1500, 1474), (1500, 1280), (1500, 1000)),
    ],
)
def test_the_search_finds_the_path_mtu(mtu: int, most: int, loss: float, headers: int) -> None:
    path = Path(PathMtu(headers, most, RTT), mtu, loss)
    path.run(lambda: path.search.mtu > 0, 2 * RTT + loss * 50)
    path.run(lambda: confirmed(path))
    best = min(mtu, max(most, BASE))
    assert best - GRAIN < path.search.mtu <= best
    assert path.search.size == path.search.mtu - headers
    assert path.longest_round <= AT_ONCE


def test_the_usual_path_is_known_after_two_round_trips() -> None:
    path = Path(PathMtu(rtt=RTT))
    assert path.run(lambda: path.search.mtu == 1500) <= 2 * (RTT + 2 * STEP)


def test_nothing_is_sent_before_the_base_has_passed() -> None:
    path = Path(PathMtu(rtt=RTT), mtu=BASE - 1)
    path.run(lambda: path.search.state is State.NONE)
    assert (path.search.size, path.sent) == (0, MAX_PROBES)
    path.step()
    assert path.sent == MAX_PROBES
    path.search.begin()  # when it is time for another try
    path.mtu = 1400
    path.run(lambda: confirmed(path))
    assert path.search.mtu == 1400


@pytest.mark.parametrize(("before", "after"), [(1500, 1400), (1492, 1280), (1420, 1300)])
def test_a_path_that_shrinks_is_noticed_within_about_a_second(before: int, after: int) -> None:
    path = Path(PathMtu(rtt=RTT), before)
    path.run(lambda: confirmed(path))
    for _ in range(200):
        path.step()
    path.mtu, since = after, path.now
    path.run(lambda: path.search.mtu <= after)
    path.run(lambda: confirmed(path))
    assert path.lost_data - since <= 1.5
    assert after - GRAIN < path.search.mtu <= after


def test_a_path_that_grows_is_used_after_ten_minutes() -> None:
    path = Path(PathMtu(rtt=RTT), 1400)
    path.run(lambda: confirmed(path))
    path.mtu = 1500
    took = path.run(lambda: path.search.mtu == 1500, 2 * RAISE_SECONDS)
    assert RAISE_SECONDS - 1 <= took <= RAISE_SECONDS + 5


def test_what_is_not_used_is_not_probed() -> None:
    path = Path(PathMtu(rtt=RTT))
    path.run(lambda: confirmed(path))
    path.uses = False
    for _ in range(100):
        path.step()
    before = path.sent
    path.now += 10 * RAISE_SECONDS
    path.search.sent(100)  # small ones confirm nothing
    path.step()
    assert path.sent == before


def test_a_size_that_this_host_refuses_is_not_tried_again() -> None:
    path = Path(PathMtu(rtt=RTT, most=9000), 9000)
    path.run(lambda: confirmed(path))
    path.search.refused(4001 - IPV4_HEADERS)
    assert path.search.size == 0  # until the base has passed
    path.mtu = 4000
    path.run(lambda: confirmed(path))
    assert path.search.mtu == 4000
    path.search.refused(BASE - IPV4_HEADERS)  # nobody would believe that
    path.search.refused(5000)  # no news
    assert path.search.mtu == 4000


def test_one_lost_probe_is_no_hole() -> None:
    path = Path(PathMtu(rtt=RTT), 1500, loss=0.1)
    path.run(lambda: confirmed(path))
    lows = 0
    for _ in range(3000):
        path.step()
        lows += path.search.mtu < 1500
    assert lows < 300


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    search = PathMtu()
    ((number, size),) = search.due(1.0)
    search.answered(number + 1, 1.1)
    assert (search.state, search.mtu) == (State.BASE, 0)
    search.answered(number, 1.1)
    search.answered(number, 1.1)
    assert (search.state, search.mtu, search.size) == (State.SEARCH, BASE, size)
