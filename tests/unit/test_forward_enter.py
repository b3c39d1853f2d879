"""Packets to hosts at other hubs, and from there: which way they go, whose they are, and that none goes in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import forward, forward_enter, packet_offload
from lib.forward_drop_reasons import Reason
from lib.forward_explain import explain
from lib.forward_frame import Output
from lib.namespace import Attachment, Namespace
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.plugin_cache import Unresolved
from lib.route_gateways import Gateway
from lib.route_table import RouteTable
from tests.support import packets as p
from tests.support.routes import entry, table

KEY = b"k" * 16
HUB, OTHER = "192.0.2.1:8420", "192.0.2.2:8420"
ROUTES = table(
    ("10.0.0.1/32", "here"), ("10.0.0.2/32", "there"), ("10.0.0.3/32", "lost"), ("10.0.1.0/24", "here"),
    ("10.0.1.0/24", "there"), ("10.0.2.0/24", "there"), ("10.0.2.0/24", "here"),
)  # fmt: skip


@dataclass
class Sent:
    """A sender that keeps what it was given."""

    frames: list[bytes] = field(default_factory=list)
    queued: int = 0

    def send(self, buffers: Sequence[Buffer], /) -> None:
        self.frames += map(bytes, buffers)

    def close(self, because: str, /) -> None: ...

    def is_alive(self, seconds: float, /) -> bool:
        return True


@dataclass
class Registry:
    """A registry that knows what a test says (namespace_domain.Registry and namespace_elsewhere.Elsewhere)."""

    hosts: dict[str, Gateway[Attachment]] = field(default_factory=dict)
    state: Unresolved | None = None
    seconds: float = float("inf")
    table: None = None
    parked: list[tuple[str, Attachment, bytes]] = field(default_factory=list)
    here: list[str] = field(default_factory=list)

    def elsewhere(self, namespace: Namespace) -> Registry:
        return self

    def entered(self, attachment: Attachment) -> None:
        self.here.append(attachment.host)

    def cluster_of(self, namespace: bytes) -> bytes:
        return b""

    def has_other_session(self, attachment: Attachment) -> bool:
        return False

    def withdraw(self, attachment: Attachment) -> None: ...

    def met(self, attachment: Attachment) -> None: ...

    def are_elsewhere(self, attachments: Iterable[Attachment]) -> bool:
        return True

    def came(self, attachment: Attachment, flow: bytes) -> None: ...

    def left(self, attachment: Attachment) -> None:
        self.here.remove(attachment.host)

    def gateway(self, host: str, now: float) -> Gateway[Attachment] | Unresolved | None:
        return self.hosts.get(host, self.state)

    def at(self, host: str, hub: str, now: float) -> Attachment | Unresolved | None:
        gateway = self.hosts.get(host)
        found = [one for one in gateway.attachments if one.peer == hub] if gateway else []
        return found[0] if found else self.state

    def known(self, host: str) -> Gateway[Attachment] | None:
        return self.hosts.get(host)

    def find(self, host: str) -> None: ...

    def park(self, host: str, attachment: Attachment, frame: bytes) -> bool:
        self.parked.append((host, attachment, frame))
        return len(self.parked) < 3


@dataclass
class World:
    """A namespace with one host here, `here`, and one at another hub, `there`."""

    mtu: int = 1500
    offloads: int = 0
    source_check: bool = True
    registry: Registry = field(default_factory=Registry)
    sent: dict[str, Sent] = field(default_factory=dict)
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        self.domain = Domain({KEY: ROUTES}, source_check=self.source_check)
        self.domain.use_registry(self.registry)
        self.here = self.join("here")
        self.space = self.here.namespace
        self.there = self.far("there", HUB)
        self.stranger = Attachment(self.space, "", HUB, by="link", is_tunrouter=bool(self.offloads))

    def join(self, host: str) -> Attachment:
        attachment = Attachment(self.domain.namespace(KEY), host, "test", mtu=self.mtu)
        return self._known(attachment, lambda: self.domain.enter(attachment, 0.0))

    def far(self, host: str, hub: str) -> Attachment:
        attachment = Attachment(self.space, host, hub, mtu=self.mtu, by="link", offloads=self.offloads)
        attachment.is_tunrouter = bool(self.offloads)
        gateway = self.registry.hosts.setdefault(host, Gateway(host))
        return self._known(attachment, lambda: gateway.attachments.append(attachment))

    def _known(self, attachment: Attachment, enter: object) -> Attachment:
        attachment.sender = self.sent[attachment.host] = Sent()
        attachment.again = lambda frames: self.scan(attachment, frames)
        enter()  # type: ignore[operator]
        return attachment

    def scan(self, attachment: Attachment, frames: bytes, now: float = 0.0) -> None:
        data = bytearray(frames + bytes(64))
        forward.scan(attachment, data, memoryview(data), 0, len(frames), now, self.output)
        for target, run in self.output.runs.items():
            target.sender.send(run)
        self.output.runs.clear()
        self.output.icmp_errors = 0

    def enter(self, *contents: bytes) -> None:
        forward_enter.enter(self.stranger, [p.frame(content) for content in contents], 0.0)

    def took(self, host: str) -> bytes:
        return b"".join(self.sent[host].frames)


PING = p.udp("10.0.0.1", "10.0.0.2")
BACK = p.udp("10.0.0.2", "10.0.0.1")


def test_a_packet_goes_to_the_hub_of_a_host_that_is_not_here() -> None:
    world = World()
    world.scan(world.here, p.frame(PING))
    assert world.took("there") == p.frame(PING)
    assert world.there.traffic.sent_packets == 1


def test_a_session_here_comes_first_and_tiers_count_across_hubs() -> None:
    world = World()
    world.join("third")
    for net, wanted in (("10.0.1.9", "here"), ("10.0.2.9", "there")):
        world.scan(world.here, p.frame(p.udp("10.0.0.1", net)))
        assert world.took(wanted), "the gateway written first"
    world.there.live = False
    del world.registry.hosts["there"]
    world.scan(world.here, p.frame(p.udp("10.0.0.1", "10.0.2.9")))
    assert len(world.sent["here"].frames) == 2, "its stand-in"


@pytest.mark.parametrize("falls", [True, False])
def test_a_host_that_a_route_falls_through_to_may_send_as_those_behind_it(falls: bool) -> None:
    world = World()
    routes = (
        entry("10.0.0.1/32", "here"),
        entry("10.4.1.0/24", "lost", fall_through=falls),
        entry("10.4.0.0/16", "there"),
    )
    world.space.table = RouteTable(routes)
    packet = p.udp("10.4.1.7", "10.0.0.1")
    world.enter(packet)
    assert world.took("here") == (p.frame(packet) if falls else b"")
    assert world.stranger.traffic.drops == ({} if falls else {Reason.FOREIGN_SOURCE: 1})


def test_what_is_too_big_for_the_way_is_cut_or_refused() -> None:
    world = World(mtu=1000)
    frame = p.frame(p.udp("10.0.0.1", "10.0.0.2", bytes(2000)))
    world.scan(world.here, frame)
    assert len(world.sent["there"].frames) == 1
    assert len(world.took("there")) > 2000, "fragments"
    world.scan(world.here, p.frame(p.udp("10.0.0.1", "10.0.0.2", bytes(1400), fragment=p.DONT_FRAGMENT)))
    assert world.here.traffic.drops == {Reason.TOO_BIG: 1}
    assert world.took("here"), "an ICMP error"


def test_a_superpacket_goes_as_it_is_where_the_way_takes_it() -> None:
    world = World(offloads=packet_offload.ALL)
    world.here.is_tunrouter = True
    frame = p.frame(p.superpacket(p.tcp("10.0.0.1", "10.0.0.2", bytes(4000), partial=True), 1000))
    world.scan(world.here, frame)
    assert world.took("there") == frame
    assert world.there.traffic.sent_packets == 4


@pytest.mark.parametrize(
    ("state", "reason"),
    [(None, Reason.NO_SESSION), (Unresolved.FAILED, Reason.SD_FAILED), (Unresolved.ASKING, None)],
)
def test_where_it_is_not_known_where_a_host_is(state: Unresolved | None, reason: Reason | None) -> None:
    world = World()
    world.registry.state = state
    frame = p.frame(p.udp("10.0.0.1", "10.0.0.3"))
    world.scan(world.here, frame)
    if reason is None:
        assert world.registry.parked == [("lost", world.here, frame)]
        assert not world.here.traffic.drops
        world.scan(world.here, frame)
        world.scan(world.here, frame)
        assert world.here.traffic.drops == {Reason.RESOLVE_QUEUE: 1}
        return
    assert world.here.traffic.drops == {reason: 1}


def test_an_answer_that_counts_for_a_while_bounds_the_memory_of_flows() -> None:
    world = World()
    world.registry.seconds = 2.0
    world.scan(world.here, p.frame(PING), 10.0)
    assert world.here.fresh_until == 12.0
    world.scan(world.here, p.frame(p.udp("10.0.0.1", "10.0.1.9")), 11.0)
    assert world.here.fresh_until == 12.0, "a host here needs no answer"


def test_a_packet_from_another_hub_goes_to_a_session_here() -> None:
    world = World()
    world.enter(BACK, BACK)
    assert world.took("here") == p.frame(BACK) * 2
    assert world.there.traffic.received_packets == 2


def test_a_superpacket_from_another_hub_is_read() -> None:
    world = World(offloads=packet_offload.ALL)
    together = p.superpacket(p.tcp("10.0.0.2", "10.0.0.1", bytes(4000), partial=True), 1000)
    world.enter(together)
    assert len(p.contents(world.took("here"))) == 4, "cut: it takes none"
    gost = World()
    gost.enter(together)
    assert gost.stranger.traffic.drops == {Reason.NOT_IP: 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(p.udp("10.0.0.1", "10.0.0.1"), Reason.FOREIGN_SOURCE, id="of a host that is here"),
        pytest.param(p.udp("10.0.0.3", "10.0.0.1"), Reason.FOREIGN_SOURCE, id="of a host that is at no hub"),
        pytest.param(p.udp("10.9.9.9", "10.0.0.1"), Reason.FOREIGN_SOURCE, id="of no host"),
        pytest.param(b"", Reason.EMPTY_FRAME, id="nothing"),
        pytest.param(b"\xf0junk", Reason.NOT_IP, id="a control frame"),
        pytest.param(BACK + b"x", Reason.LENGTH_LIES, id="too long"),
    ],
)
@pytest.mark.parametrize("source_check", [True, False])
def test_a_packet_of_nobody_at_that_hub_is_dropped(
    content: bytes, reason: Reason, source_check: bool
) -> None:
    world = World(source_check=source_check)
    world.enter(content)
    assert world.stranger.traffic.drops == {reason: 1}
    assert not world.took("here")


def test_a_packet_from_the_wrong_hub_is_dropped() -> None:
    world = World()
    world.stranger.peer = OTHER
    world.enter(BACK)
    assert world.stranger.traffic.drops == {Reason.FOREIGN_SOURCE: 1}


def test_nothing_that_came_from_a_hub_is_passed_on_to_one() -> None:
    world = World()
    third = world.far("lost", OTHER)
    world.enter(p.udp("10.0.0.2", "10.0.0.3"))
    assert not third.traffic.sent_packets
    assert world.there.traffic.drops == {Reason.NO_SESSION: 1}
    world.registry.state = Unresolved.ASKING
    world.enter(p.udp("10.0.0.2", "10.0.0.3"))
    assert world.there.traffic.drops == {Reason.NO_SESSION: 2}
    assert not world.registry.parked


def test_an_error_about_it_goes_back_to_where_it_came_from() -> None:
    world = World()
    world.enter(p.udp("10.0.0.2", "10.9.9.9"))
    assert world.there.traffic.drops == {Reason.NO_ROUTE: 1}
    assert world.took("there")[2 + 9] == p.ICMP


def test_a_router_behind_a_host_there_says_its_errors_here() -> None:
    world = World()
    error = p.icmp("203.0.113.9", "10.0.0.1", 3, PING)
    world.enter(error)
    assert world.took("here") == p.frame(error)
    world.enter(p.icmp("203.0.113.9", "10.0.0.1", 3, p.udp("10.0.0.1", "10.0.0.3")))
    assert world.stranger.traffic.drops == {Reason.FOREIGN_SOURCE: 1}
    for _ in range(20):
        world.enter(error)
    assert world.there.traffic.drops[Reason.ERROR_RATE], "as many as of a router behind a host here"


def test_a_packet_waits_while_nobody_knows_whose_it_is() -> None:
    world = World()
    world.registry.state = Unresolved.ASKING
    world.enter(p.udp("10.0.0.3", "10.0.0.1"))
    assert world.registry.parked == [("lost", world.stranger, p.frame(p.udp("10.0.0.3", "10.0.0.1")))]
    world.registry.state = Unresolved.FAILED
    world.enter(p.udp("10.0.0.3", "10.0.0.1"))
    assert world.stranger.traffic.drops == {Reason.SD_FAILED: 1}


def test_the_registry_is_told_who_is_here() -> None:
    world = World()
    other = world.join("other")
    assert world.registry.here == ["here", "other"]
    world.domain.leave(other)
    assert world.registry.here == ["here"]
    late = Registry()
    world.domain.use_registry(late)
    assert late.here == ["here"]
    world.domain.use_registry(None)
    assert world.space.elsewhere is None


@pytest.mark.parametrize("is_known", [True, False])
def test_explain_says_by_which_hub(is_known: bool) -> None:
    world = World()
    if not is_known:
        world.registry.hosts.clear()
    found = explain(world.here, p.packed("10.0.0.1"), p.packed("10.0.0.2"), 0.0)
    lines = dict(found.lines)
    if is_known:
        assert lines["verdict"] == f"goes to there by hub at {HUB}, link"
        assert lines["gateway there"] == (
            f"no live session here; by hub at {HUB}, link, single packets up to 1500 bytes"
        )
    else:
        assert lines["gateway there"] == "no live session"
        assert found.verdict is Reason.NO_SESSION


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_whatever_comes_is_counted(contents: list[bytes]) -> None:
    world = World()
    world.enter(*contents)
    assert world.stranger.traffic.dropped == len(contents)
    assert not world.took("here")


def test_entry_is_used() -> None:
    """A table whose route leads to several hosts: any of them may be the sender."""
    both = RouteTable(
        [entry("10.0.0.1/32", "here"), entry("10.7.0.0/16", "here"), entry("10.7.0.0/16", "there")]
    )
    world = World()
    world.domain.replace_tables({KEY: both}, RouteTable(()), 1.0, True)
    world.enter(p.udp("10.7.0.1", "10.0.0.1"))
    assert world.took("here")


# --- frames as they lie, by a link ----------------------------------------------------------------------


def parts_of(world: World, *contents: bytes) -> list[list[tuple[str, int, int]]]:
    """What is forwarded of a run in each go: (sender, begin, end)."""
    frames = p.stream(contents)
    buf, at, found = bytearray(frames + bytes(64)), 0, list[list[tuple[str, int, int]]]()

    def forward(sender: Attachment, begin: int, end: int) -> int:
        found[-1].append((sender.host, begin, end))
        return end

    while at < len(frames):
        found.append([])
        stop, _ = forward_enter.enter_run(world.stranger, buf, at, len(frames), 0.0, {}, forward)
        assert stop > at, "it goes on"
        at = stop
    return found


def test_a_run_whose_sender_changes_with_each_frame_is_forwarded_in_parts() -> None:
    """No client can make one, but another hub can: each change costs as much as a run."""
    world = World()
    world.far("lost", HUB)
    contents = [p.udp(f"10.0.0.{2 + number % 2}", "10.0.0.1", bytes([number])) for number in range(100)]
    found = parts_of(world, *contents)
    assert max(map(len, found)) <= forward_enter.MOST_RUNS + 1
    spans = [one for part in found for one in part]
    assert [host for host, _, _ in spans] == ["there", "lost"] * 50
    assert [begin for _, begin, _ in spans[1:]] == [end for _, _, end in spans[:-1]], "all, once each"
    assert not world.stranger.traffic.drops


def test_a_frame_of_nobody_between_them_is_counted_once() -> None:
    world = World()
    world.far("lost", HUB)
    contents = [p.udp(f"10.0.0.{2 + number % 3}", "10.0.0.1", bytes([number])) for number in range(99)]
    found = parts_of(world, *contents)
    assert sum(map(len, found)) == 66
    assert world.stranger.traffic.drops == {Reason.FOREIGN_SOURCE: 33}


def test_a_long_run_of_tiny_frames_is_looked_at_in_parts() -> None:
    world = World()
    count = 2 * forward_enter.MOST_LOOKED + 5
    found = parts_of(world, *[BACK] * count)
    size = len(p.frame(BACK))
    assert [[(end - begin) // size for _, begin, end in part] for part in found] == [[1024], [1024], [5]]
