"""A way is cut without a word: of a client and one of its two hubs, or of two hubs, in both directions or in one.

Where one direction is cut the end that is not reached hears nothing, and what it says arrives; the other end hears
everything.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_active import Active, active, states
from tests.e2e.test_active_cut import CHAIN, EVERY, USED, begin, meet, rules
from tests.e2e.test_cluster import REDIS, SECRET
from tests.support import numbered
from tests.support.netns import Topology
from tests.support.program import OVERLAY_1, OVERLAY_2, pings, program_pid, run, wait_for
from tests.support.redis_server import needs_redis

__all__ = ["active"]

pytestmark = [pytest.mark.usefixtures("no_traceback"), needs_redis]

CLIENTS = [
    ("tcp", "there", "home"),
    ("tls with datagrams", "back", "home"),
    ("tls with workers", "back", "home"),
    ("tcp", "back", "home"),
    ("tls", "back", "third"),
    ("tls with datagrams", "there", "third"),
    ("tls with workers", "there", "third"),
]
LINKS = [
    ("tcp with datagrams", "from it"),
    ("tcp", "to the hub of two"),
    ("tcp", "from it"),
    ("tcp with datagrams", "to the hub of two"),
]
PAIRS = [("tcp", "second"), ("tls with workers", "third"), ("tcp with datagrams", "third")]
if os.environ.get("FAULTS_SHORT"):
    CLIENTS, LINKS, PAIRS = CLIENTS[:3], LINKS[:2], PAIRS[:2]


class Hubs(Active):
    """Three hubs and clients over `kind`: tcp or tls, and with datagrams and workers where the name says so."""

    kind = "tcp"

    def hub_words(
        self, number: int, known_by: str = f'secret: "{SECRET}"', more: str = "", redis: str = REDIS
    ) -> tuple[str, ...]:
        channel = ", channel: auto" if "datagrams" in self.kind else ""
        words = super().hub_words(number, known_by + channel, more, redis)
        file = Path(words[1])
        text = file.read_text().replace("listener: {type: tcp}", f"listener: {{type: {self.kind[:3]}}}")
        file.write_text(("workers: 2\n" if "workers" in self.kind else "") + text)
        return words

    def words(self, number: int, *hubs: int) -> tuple[str, ...]:
        words = super().words(number, *hubs)
        if self.kind.startswith("tls"):
            channel = "auto" if "datagrams" in self.kind else "stream"
            words = (
                words[0],
                f"{words[1]}&channel={channel}",
                *(w.replace("router:", "router+tls:") for w in words[2:]),
            )
        return words


@pytest.fixture
def started(topology: Topology, write: Callable[[str, str], str], tmp_path: Path) -> Callable[[str], Hubs]:
    """Start two hubs of a kind."""

    def start(kind: str) -> Hubs:
        made = Hubs(topology, write, tmp_path)
        made.kind = kind
        for number in (1, 2):
            made.start_hub(number)
        return made

    return start


def silent(control: str) -> list[tuple[str, float]]:
    """The sessions that a process calls silent, of a hub or of a client, and for how long."""
    status, said = run("status", "--json", "--control", control)
    assert status == 0, said
    found = json.loads(said)
    rows = [
        *found["sessions"],
        *({"host": one["host"], **path} for one in found["clients"] for path in one["paths"]),
    ]
    many = [(row["host"], row["silent_s"]) for row in rows if row["silent_s"] is not None]
    assert bool(many) == any("silent" in row["problems"] for row in (*found["sessions"], *found["clients"]))
    return many


@pytest.mark.parametrize(("kind", "way", "other"), CLIENTS)
def test_one_direction_of_a_client_and_one_of_its_two_hubs(
    started: Callable[[str], Hubs], kind: str, way: str, other: str
) -> None:
    """Flows go by the other hub in about a second, in both directions, and once the cut ends all is as before."""
    active = started(kind)
    topology = active.topology
    control, home = meet(active, other)
    with ExitStack() as stack:
        flows = begin(stack, topology, 8)
        with rules(topology, home, "drop", (way,)):
            numbered.wait(flows, 150)
            gaps = [flow.longest_gap for flow in flows]
            assert sorted(states(control)) == ["all flows", "silent"]
            wait_for(lambda: silent(active.control(home)))
            host, seconds = silent(active.control(home))[0]
            assert (host, 0 < seconds < 60) == ("host-1", True)
            _, page = run("status", "--control", active.control(home))
            assert re.search(r"host-1 .*silent for \d", page), page
            ((_, seconds),) = silent(control)
            assert 0 < seconds < 60
            _, page = run("status", "--control", control)
            assert re.search(r"host-1 by hub \S+: silent for \d", page), page
        wait_for(lambda: sorted(states(control)) == sorted(USED), 60)
        wait_for(lambda: not silent(active.control(home)) and not silent(control))
        numbered.wait(flows, 50)
        for flow in flows:
            flow.end()
    assert max(gaps[:-1]) < 1.5, "0.4 to 0.8 s"
    assert gaps[-1] < 2.5, "a connection within the tunnel is tried again after 0.2, 0.6 and 1.4 s"
    assert flows[-1].numbers == list(range(flows[-1].sent)), "of a connection everything arrives"
    assert all(len(set(flow.numbers)) == len(flow.numbers) for flow in flows), "nothing twice"


def connections(active: Active, sender: int, receiver: int) -> list[tuple[int, int]]:
    """The ports, the sender's first, of the links between two hubs, whichever has dialled."""
    found: dict[int, set[tuple[int, int]]] = {}
    for line in active.topology.hub.run("ss", "-Htnp", "state", "established").splitlines():
        _, _, near, far, *rest = line.split()
        if (owner := re.search(r"pid=(\d+)", " ".join(rest))) is not None:
            ports = int(near.rpartition(":")[2]), int(far.rpartition(":")[2])
            found.setdefault(int(owner[1]), set()).add(ports)
    ends = []
    for number in (sender, receiver):
        pids = family(program_pid(active.hubs[number]))
        ends.append({ports for pid in pids for ports in found.get(pid, ())})
    return [(near, far) for near, far in ends[0] if (far, near) in ends[1]]


def family(pid: int) -> set[int]:
    """A process, and all that come from it: with workers, one has the links."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(family(int(child)) for child in children))


def why(active: Active, number: int, other: int) -> str:
    """Why a hub does not reach another one, as it says; empty where it does."""
    rows = active.status(number)["hubs"]
    found: str = next(row["error"] for row in rows if row["name"] == f"hub-{other}")
    return found


@contextmanager
def cut_link(active: Active, sender: int, receiver: int, both_ways: bool = False) -> Iterator[None]:
    """Drop what a hub sends to another one; no new link comes about meanwhile, as a handshake needs both ways."""
    hub, link = active.topology.hub, {number: 7000 + number for number in (sender, receiver)}
    words = [f"tcp dport {{ {link[sender]}, {link[receiver]} }} tcp flags & (syn | ack) == syn"]
    for here, there in [(sender, receiver), (receiver, sender)][: 1 + both_ways]:
        links = connections(active, here, there)
        assert links
        words += [f"tcp sport {near} tcp dport {far}" for near, far in links]
        words.append(f"udp sport {link[here]} udp dport {link[there]}")
    hub.run("nft", CHAIN.removesuffix("add rule ip cut wire "))
    for one in words:
        hub.run("nft", f"add rule ip cut wire {one} drop")
    try:
        yield
    finally:
        hub.run("nft", "delete table ip cut")


@pytest.mark.parametrize(("kind", "way"), LINKS)
def test_one_direction_of_a_link(started: Callable[[str], Hubs], kind: str, way: str) -> None:
    """What a third hub sends to a client with two hubs goes by the other one; where the way is there again, by both."""
    active = started(kind)
    topology = active.topology
    control, home = meet(active, "third")
    assert sorted(states(control)) == sorted(USED)
    ends = (3, home) if way == "to the hub of two" else (home, 3)

    with ExitStack() as stack:
        one, two = topology.host_1, topology.host_2
        there = stack.enter_context(numbered.udp(one, two, OVERLAY_1, OVERLAY_2, 7001, EVERY))
        back = [
            stack.enter_context(numbered.udp(two, one, OVERLAY_2, OVERLAY_1, number, EVERY))
            for number in range(7011, 7019)  # by a hash they are spread over both hubs
        ]
        numbered.wait([there, *back], 25)  # that hub is heard
        with cut_link(active, *ends):
            numbered.wait(back, 100)
            gaps = [flow.longest_gap for flow in (there, *back)]
            assert why(active, 3, home) == "nothing that is sent to it is acknowledged"
        wait_for(lambda: why(active, 3, home) == "", 15)
        numbered.wait([there, *back], 50)
        for flow in (there, *back):
            flow.end()
    assert max(gaps) < 1.5, "0.7 s"
    assert all(len(set(flow.numbers)) == len(flow.numbers) for flow in (there, *back)), "nothing twice"
    assert pings(topology.host_1, OVERLAY_2) == 5


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_two_hubs_that_do_not_reach_each_other(started: Callable[[str], Hubs], kind: str, other: str) -> None:
    """host-1's new flows go by one hub, which has lost the way to host-2's: its other hub is, or reaches, that one."""
    active = started(kind)
    topology = active.topology
    control, home = meet(active, other)
    far = 3 if other == "third" else 3 - home
    with ExitStack() as stack:
        flows = begin(stack, topology, 8)
        with cut_link(active, home, far, both_ways=True):
            numbered.wait(flows, 150)
            gaps = [flow.longest_gap for flow in flows]
            new = stack.enter_context(
                numbered.udp(topology.host_1, topology.host_2, OVERLAY_1, OVERLAY_2, 7002)
            )
            new.wait(50)
            assert len(new.lost) <= 10, "it was told of this address before, and a flow begins elsewhere"
            assert states(control) == USED, "nothing else moves"
        wait_for(lambda: not why(active, home, far) and not why(active, far, home), 15)
        numbered.wait([*flows, new], 50)
        for flow in (*flows, new):
            flow.end()
    assert max(gaps[:-1]) < 1.5, "0.6 s"
    assert gaps[-1] < 2.5, "a connection within the tunnel is tried again after 0.2, 0.6 and 1.4 s"
    assert flows[-1].numbers == list(range(flows[-1].sent)), "of a connection everything arrives"
    assert all(len(set(flow.numbers)) == len(flow.numbers) for flow in (*flows, new)), "nothing twice"


@pytest.mark.parametrize("other", ["third", "home"])
def test_both_directions_of_a_client_and_one_of_its_two_hubs(active: Active, other: str) -> None:
    """Each end moves what it sends. When the way is there again, it is used again, and flows stay where they are."""
    topology = active.topology
    control, home = meet(active, other)
    with ExitStack() as stack:
        flows = begin(stack, topology, 8)
        with rules(topology, home, "drop"):
            numbered.wait(flows, 150)
            gaps = [flow.longest_gap for flow in flows]
            assert sorted(states(control)) == ["all flows", "silent"]
            lines = active.hubs[home].line_count()
        wait_for(lambda: sorted(states(control)) == sorted(USED), 60)
        active.hubs[home].wait_line("reached here again", timeout=60, after=lines)
        numbered.wait(flows, 50)
        for flow in flows:
            flow.end()
    assert max(gaps) < 1.5, "0.5 s; a connection within the tunnel is tried again after 0.2, 0.6 and 1.4 s"
    assert flows[-1].numbers == list(range(flows[-1].sent)), "of a connection everything arrives"
    assert all(len(set(flow.numbers)) == len(flow.numbers) for flow in flows), "nothing twice"


def test_a_hub_that_is_silent_as_a_whole_costs_a_flow_little_more(active: Active) -> None:
    """Its machine has no power any more: its kernel says nothing either, to nobody."""
    topology = active.topology
    control, home = meet(active, "third")
    with ExitStack() as stack:
        flows = begin(stack, topology, 8)
        with rules(topology, home, "drop"):
            active.hubs[home].send(signal.SIGSTOP)
            numbered.wait(flows, 150)
            gaps = [flow.longest_gap for flow in flows]
            assert sorted(states(control)) == ["all flows", "silent"]
            active.hubs[home].send(signal.SIGCONT)
    assert max(gaps) < 2.5
