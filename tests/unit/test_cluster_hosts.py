"""Hosts at other hubs as forwarding sees them: who gets a packet, whose it is, and what a move ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from lib import (
    cluster_silence,
    cluster_unreached,
    cluster_wire,
    forward,
    framing,
    hub_drain,
    ids,
    packet_offload,
    wire_control,
)
from lib.capture_taps import Taps
from lib.cluster_claims import Claims, Clocks
from lib.cluster_envelopes import fitting
from lib.cluster_hosts import LINK, Hosts
from lib.cluster_registry import Registry
from lib.cluster_seal import SharedSeal
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.forward_frame import Output
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.service_scheduling import Pauses
from lib.service_supervisor import Task
from lib.session_silence import QUIET_SECONDS, Flight
from lib.settings_memory import LEAST_FAR_FLOWS
from lib.wire_unreached import COUNTS_SECONDS, MAX_UNREACHED, Unreached
from tests.support import packets as p
from tests.support.routes import table

SEAL = SharedSeal(b"k" * 32, "key")
NAMESPACE, OTHER = b"N" * 16, b"M" * 16
CLOCK = 1_700_000_000_000
NOW = Clocks(CLOCK, 0)
ROUTES = table(
    ("10.0.0.1/32", "host-1"), ("10.0.0.2/32", "host-2"), ("10.0.3.0/24", "host-2"), ("10.0.3.0/24", "host-3")
)


class Sent:
    """The sender of a session here: what it was given, and why it was closed."""

    queued = 0

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed = ""

    def send(self, buffers: Sequence[Buffer], /) -> None:
        self.frames.append(b"".join(map(bytes, buffers)))

    def close(self, because: str, /) -> None:
        self.closed = because

    def is_alive(self, seconds: float, /) -> bool:
        return True


class World:
    """A hub, hub-1, and two others, of which it hears."""

    def __init__(self) -> None:
        self.registry = Registry("hub-1", 1, SEAL)
        self.own = Claims("hub-1", "", 1, SEAL.sign)
        self.others = {name: Claims(name, f"{name}:1", 1, SEAL.sign) for name in ("hub-2", "hub-3")}
        self.domain = Domain({NAMESPACE: ROUTES})
        self.owner: Any = SimpleNamespace(
            settings=SimpleNamespace(name="hub"),
            failed_plugins=set(),
            taps=Taps(),
            output=Output(),
            pauses=Pauses(),
        )
        self.touched = 0
        self.denied: set[tuple[str, bytes]] = set()
        self.hosts = Hosts(
            self.registry,
            self.own,
            self.domain,
            self.owner,
            self._touch,
            lambda hub, namespace: (hub, namespace) not in self.denied,
        )
        self.linked: list[tuple[str, str, bytes]] = []
        self.hosts.send = self._send
        self.domain.use_registry(self.hosts)
        for name in self.others:
            self.say(name)

    def _touch(self) -> None:
        self.touched += 1

    def _send(self, hub: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        self.linked.append((hub, attachment.host, b"".join(map(bytes, buffers))))

    def say(self, name: str) -> None:
        self.registry.hear(self.others[name].next_batch(NOW).published, 0.0, CLOCK)
        self.hosts.changed(self.registry.places.take_changed())

    def at(
        self, name: str, host: str, since: int = 5, instance: bytes = b"", namespace: bytes = NAMESPACE
    ) -> None:
        self.others[name].join((namespace, host), since, instance)
        self.say(name)

    def gone(self, name: str, host: str) -> None:
        self.others[name].leave((NAMESPACE, host))
        self.say(name)

    def join(self, host: str, instance: bytes = b"", namespace: bytes = NAMESPACE) -> Attachment:
        made = Attachment(self.domain.namespace(namespace), host, "192.0.2.7:1", mtu=1500, instance=instance)
        made.sender = Sent()
        self.domain.enter(made, 0.0)
        return made

    def sends(self, attachment: Attachment, destination: str, port: int = 1, source: str = "10.0.0.1") -> str:
        """Where a packet goes: the hub that it is sent to, "here", or the reason for which it is dropped."""
        frame = framing.encode(p.udp(source, destination, ports=(port, 9)))
        data = bytearray(frame + bytes(framing.SLACK))
        output, before = Output(), dict(attachment.traffic.drops)
        forward.scan(attachment, data, memoryview(data), 0, len(frame), 0.0, output)
        if attachment.traffic.drops != before:  # an ICMP error goes back
            drops = attachment.traffic.drops.items()
            return str(next(why.value for why, count in drops if count != before.get(why, 0)))
        for target in output.runs:
            return target.peer if target.by else "here"
        raise AssertionError("neither sent nor dropped")


@pytest.fixture
def world() -> World:
    return World()


def test_a_host_at_another_hub_gets_its_packets_by_the_link(world: World) -> None:
    one = world.join("host-1")
    assert world.sends(one, "10.0.0.2") == Reason.NO_SESSION.value
    world.at("hub-2", "host-2")
    assert world.sends(one, "10.0.0.2") == "hub-2"
    assert world.sends(one, "10.0.0.2") == "hub-2", "by the memory of flows too"
    far = world.hosts.attachment(one.namespace, "host-2", "hub-2")
    far.sender.send([b"x"])
    assert world.linked == [("hub-2", "host-2", b"x")]
    assert (far.by, far.peer) == (LINK, "hub-2")
    world.gone("hub-2", "host-2")
    assert world.sends(one, "10.0.0.2") == Reason.NO_SESSION.value
    assert not far.live


def test_a_host_of_another_namespace_is_nobody_s(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2", namespace=OTHER)
    assert world.sends(one, "10.0.0.2") == Reason.NO_SESSION.value


def test_a_host_that_is_here_is_preferred_and_takes_its_flows_over(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    assert world.sends(one, "10.0.0.2") == "hub-2"
    two = world.join("host-2")
    assert world.sends(one, "10.0.0.2") == "here"
    world.domain.leave(two)
    assert world.sends(one, "10.0.0.2") == "hub-2"


def test_a_host_at_two_hubs_is_where_its_session_is_newest(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2", since=5)
    assert world.sends(one, "10.0.0.2") == "hub-2"
    world.at("hub-3", "host-2", since=6)
    assert world.sends(one, "10.0.0.2") == "hub-3", "a flow that was known follows"
    world.gone("hub-3", "host-2")
    assert world.sends(one, "10.0.0.2") == "hub-2"


def test_flows_of_a_shared_route_find_gateways_at_other_hubs(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    assert {world.sends(one, "10.0.3.9", port) for port in range(20)} == {"hub-2"}
    world.at("hub-3", "host-3")
    assert world.sends(one, "10.0.3.9", 99) in ("hub-2", "hub-3")
    world.gone("hub-2", "host-2")
    assert {world.sends(one, "10.0.3.9", port) for port in range(20)} == {"hub-3"}


def test_a_session_that_its_client_has_left_behind_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_drain, "RELEASED_SECONDS", 0.0)
    world.join("host-1")
    old, other = world.join("host-2", b"i" * 16), world.join("host-2", b"j" * 16)
    later = 2 * CLOCK  # than now, whenever that is
    world.at("hub-2", "host-2", since=later, instance=b"k" * 16)
    assert old.sender.closed == "", "another client of the same name"  # type: ignore[attr-defined]
    world.at("hub-2", "host-2", since=1, instance=b"i" * 16)
    assert old.sender.closed == "", "it is older"  # type: ignore[attr-defined]
    world.at("hub-2", "host-2", since=later, instance=b"i" * 16)
    assert not old.live
    gevent.sleep(0.01)
    assert "replaced by a new session of the same client at hub hub-2" in old.sender.closed  # type: ignore[attr-defined]
    assert other.sender.closed == ""  # type: ignore[attr-defined]


def test_what_was_sent_to_a_session_before_all_knew_that_its_client_has_moved_still_arrives(
    world: World,
) -> None:
    """Hosts here follow at once; what comes by a link is passed on to nobody else, so only the old session can take it."""
    one, old = world.join("host-1"), world.join("host-2", b"i" * 16)
    world.at("hub-3", "host-3")
    assert world.sends(one, "10.0.0.2") == "here"
    world.at("hub-2", "host-2", since=2 * CLOCK, instance=b"i" * 16)
    assert old.sender.closed == ""  # type: ignore[attr-defined]
    assert world.sends(one, "10.0.0.2") == "hub-2"
    assert come(world, "hub-3", NAMESPACE, frame("10.0.3.1", "10.0.0.2")) == 1
    assert len(old.sender.frames) == 1  # type: ignore[attr-defined]
    world.domain.leave(old)
    come(world, "hub-3", NAMESPACE, frame("10.0.3.1", "10.0.0.2"))
    assert world.hosts.counts("hub-3").drops[Reason.NO_SESSION] == 1


def test_a_session_that_came_back_gets_what_comes_by_links_rather_than_one_that_is_released(
    world: World,
) -> None:
    old = world.join("host-2", b"i" * 16)
    world.at("hub-3", "host-3")
    old.namespace.release(old)
    new = world.join("host-2", b"i" * 16)
    come(world, "hub-3", NAMESPACE, frame("10.0.3.1", "10.0.0.2"))
    assert (len(old.sender.frames), len(new.sender.frames)) == (0, 1)  # type: ignore[attr-defined]
    world.domain.leave(old)
    assert world.domain.namespaces[NAMESPACE].sessions_of("host-2") == [new]


def test_others_hear_that_a_host_which_was_asked_to_move_is_here_no_more(world: World) -> None:
    """Its session may still end later; a newer one here stays told."""
    old = world.join("host-2", b"i" * 16)
    world.own.next_batch(NOW)
    assert len(world.own) == 1
    old.namespace.release(old)
    world.hosts.withdraw(old)
    world.own.next_batch(NOW)
    assert len(world.own) == 0
    world.join("host-2", b"i" * 16)
    world.domain.leave(old)
    world.own.next_batch(NOW)
    assert (len(world.own), world.hosts.sessions) == (1, 1)


def come(world: World, hub: str, namespace: bytes, *frames: bytes) -> int:
    """Frames come by the link with a hub, as one envelope; returns how many packets they are said to be."""
    receiver, run = world.hosts.receiver(hub), b"".join(frames)
    data = bytearray(b"before" + run + bytes(framing.SLACK))
    try:
        packets = receiver.take(namespace, data, memoryview(data), 6, 6 + len(run))
    finally:
        receiver.send()
        data[:] = bytes(len(data))  # the next receive
    while receiver.has_rest:
        receiver.go_on()
    return packets


def frame(source: str, destination: str = "10.0.0.1", number: int = 0) -> bytes:
    return framing.encode(p.udp(source, destination, ports=(1000 + number, 9)))


def test_what_comes_by_a_link_goes_to_a_session_here(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    come(world, "hub-2", NAMESPACE, frame("10.0.0.2"))
    assert len(one.sender.frames) == 1  # type: ignore[attr-defined]
    assert world.hosts.traffic["hub-2"].dropped == 0
    assert world.linked == []


WRONG = {
    "a host that is at another hub": ("hub-3", "10.0.0.2", "10.0.0.1", NAMESPACE, Reason.FOREIGN_SOURCE),
    "a host that is here": ("hub-2", "10.0.0.1", "10.0.0.1", NAMESPACE, Reason.FOREIGN_SOURCE),
    "an address of nobody": ("hub-2", "10.9.9.9", "10.0.0.1", NAMESPACE, Reason.FOREIGN_SOURCE),
    "for a host at a third hub": ("hub-2", "10.0.0.2", "10.0.3.9", NAMESPACE, Reason.NO_SESSION),
    "back to where it came from": ("hub-2", "10.0.0.2", "10.0.0.2", NAMESPACE, Reason.NO_SESSION),
    "a namespace that is not here": ("hub-2", "10.0.0.2", "10.0.0.1", OTHER, Reason.NO_NAMESPACE),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_comes_by_a_link_and_is_not_right_goes_nowhere(world: World, what: str) -> None:
    hub, source, destination, namespace, reason = WRONG[what]
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    world.at("hub-3", "host-3")
    come(world, hub, namespace, frame(source, destination))
    assert dict(world.hosts.traffic[hub].drops) == {reason: 1}
    assert one.sender.frames == []  # type: ignore[attr-defined]
    assert [frame for name, _, frame in world.linked if name != hub] == [], "errors go back, and nothing on"


def test_frames_of_several_hosts_come_as_one_run_in_their_order(world: World) -> None:
    """Also with those in between that are nobody's, or no packets; nothing is a copy of the receive buffer."""
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    world.at("hub-2", "host-3")
    good = [
        frame("10.0.0.2", number=0),
        frame("10.0.3.1", number=1),
        frame("10.0.3.1", number=2),
        framing.encode(packet_offload.NO_OFFLOAD + p.udp("10.0.0.2", "10.0.0.1", ports=(1003, 9))),
    ]
    bad = [frame("10.9.9.9"), framing.encode(b"\xf0\x02\x00"), framing.encode(b"\x45short"), bytes(2)]
    run = [good[0], bad[0], good[1], bad[1], good[2], bad[2], good[3], bad[3]]
    assert come(world, "hub-2", NAMESPACE, *run) == 8
    (sent,) = one.sender.frames  # type: ignore[attr-defined]
    assert ports(sent) == [1000, 1001, 1002, 1003]
    assert world.hosts.traffic["hub-2"].dropped == 4
    assert not world.owner.output.runs
    assert not world.owner.output.controls


def ports(run: bytes) -> list[int]:
    """The source port of each packet."""
    return [int.from_bytes(one[20:22], "big") for one in p.contents(run)]


def test_whose_a_source_is_counts_until_the_registry_or_a_table_says_otherwise(world: World) -> None:
    """It is looked up once for many turns."""
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    receiver, drops = world.hosts.receiver("hub-2"), world.hosts.counts("hub-2").drops

    def come_again() -> None:
        data = bytearray(frame("10.0.0.2") + bytes(framing.SLACK))
        receiver.take(NAMESPACE, data, memoryview(data), 0, len(data) - framing.SLACK)
        receiver.send()

    for _ in range(3):
        come_again()
    assert (len(one.sender.frames), drops) == (3, {})  # type: ignore[attr-defined]
    world.at("hub-3", "host-2", since=9)
    world.gone("hub-2", "host-2")
    come_again()
    assert drops == {Reason.FOREIGN_SOURCE: 1}
    world.at("hub-2", "host-2", since=10)
    come_again()
    assert len(one.sender.frames) == 4  # type: ignore[attr-defined]
    other = table(("10.0.0.1/32", "host-1"), ("10.0.0.2/32", "host-3"))
    one.namespace.replace_tables(other, other, True)
    come_again()
    assert drops == {Reason.FOREIGN_SOURCE: 2}
    world.domain.leave(one)
    world.domain.namespaces.pop(NAMESPACE, None)
    come_again()
    assert drops == {Reason.FOREIGN_SOURCE: 2, Reason.NO_NAMESPACE: 1}


def test_frames_that_are_cut_off_end_the_link_and_leave_nothing_behind(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    with pytest.raises(ProtocolError):
        come(world, "hub-2", NAMESPACE, frame("10.0.0.2"), frame("10.0.0.2")[:-1])
    assert not world.owner.output.runs
    assert b"".join(one.sender.frames) in (b"", frame("10.0.0.2"))  # type: ignore[attr-defined]


def test_what_takes_long_goes_on_later_in_its_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources of nobody are looked up one by one: the frames behind them wait, and so do later envelopes."""
    monkeypatch.setattr("lib.forward_enter.MOST_ASKED", 3)
    monkeypatch.setattr("lib.hub_turn.JUDGED", 2)
    monkeypatch.setattr("lib.hub_turn.TURN_SECONDS", 0.0)
    turns = 0
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    run = [
        part for number in range(12) for part in (frame(f"10.9.9.{number}"), frame("10.0.0.2", number=number))
    ]
    receiver = world.hosts.receiver("hub-2")
    for part in (run[:12], run[12:]):
        data = bytearray(b"".join(part) + bytes(framing.SLACK))
        receiver.take(NAMESPACE, data, memoryview(data), 0, len(data) - framing.SLACK)
    receiver.send()
    while receiver.has_rest:
        receiver.go_on()
        turns += 1
    came = ports(b"".join(one.sender.frames))  # type: ignore[attr-defined]
    assert came == [1000 + number for number in range(12)]
    assert world.hosts.traffic["hub-2"].drops == {Reason.FOREIGN_SOURCE: 12}
    assert turns >= 4


def test_packets_of_a_namespace_that_a_hub_is_not_granted_are_dropped(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    world.denied.add(("hub-2", NAMESPACE))
    come(world, "hub-2", NAMESPACE, frame("10.0.0.2"))
    assert dict(world.hosts.traffic["hub-2"].drops) == {Reason.UNTRUSTED: 1}
    assert one.sender.frames == []  # type: ignore[attr-defined]
    assert world.linked == [], "nor is anything sent back"


def test_after_our_clock_was_set_all_are_told_since_when_hosts_are_here(world: World) -> None:
    world.join("host-1")
    world.join("host-2")
    world.own.next_batch(NOW)
    for ahead in (1000.0, 1000.2, 999.8):
        world.hosts.look_at_clock(ahead)
        assert not world.own.is_pending, "a clock that runs on time"
    world.hosts.look_at_clock(4600.0)
    assert len(world.own.next_batch(NOW).sets) == 3
    world.hosts.look_at_clock(4600.1)
    assert not world.own.is_pending


def test_the_cluster_is_told_of_sessions_and_of_what_clients_say_later(world: World) -> None:
    one = world.join("host-1")
    again = world.join("host-1")
    assert world.own.is_pending
    batch = world.own.next_batch(NOW)
    assert len(batch.sets) == 2
    one.instance = b"i" * 16
    world.hosts.met(one)
    assert len(world.own.next_batch(NOW).sets) == 1, "the newest session is another one"
    again.instance = b"i" * 16
    world.hosts.met(again)
    assert len(world.own.next_batch(NOW).sets) == 2
    world.domain.leave(again)
    world.own.next_batch(NOW)
    assert len(world.own) == 1
    world.domain.leave(one)
    batch = world.own.next_batch(NOW)
    assert (len(batch.deletes), len(world.own)) == (1, 0)
    assert world.touched == 5


def test_hosts_that_nobody_asks_for_any_more_make_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.cluster_hosts.MAX_HOSTS", 2)
    space = world.join("host-1").namespace
    first = world.hosts.attachment(space, "host-2", "hub-2")
    world.hosts.attachment(space, "host-3", "hub-2")
    assert first.live
    world.hosts.attachment(space, "host-4", "hub-2")
    assert not first.live


def test_flows_to_a_host_at_another_hub_are_bounded_and_go_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.cluster_hosts.FAR_FLOWS", 0)
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    for port in range(1, 3 * LEAST_FAR_FLOWS):
        assert world.sends(one, "10.0.0.2", port) == "hub-2"
    elsewhere: Any = one.namespace.elsewhere
    assert len(elsewhere.gateways["host-2"].flows) == LEAST_FAR_FLOWS
    world.gone("hub-2", "host-2")
    assert not elsewhere.gateways


def test_the_largest_packet_for_a_host_at_another_hub_fits_into_an_envelope(world: World) -> None:
    far = world.hosts.attachment(world.join("host-1").namespace, "host-2", "hub-2")
    frame = framing.encode(bytes(packet_offload.HEADER_SIZE + far.mtu))
    assert fitting(frame) == [frame]


def test_without_the_cluster_nobody_is_elsewhere(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2")
    assert world.sends(one, "10.0.0.2") == "hub-2"
    world.domain.use_registry(None)
    world.hosts.stop()
    assert world.sends(one, "10.0.0.2", 7) == Reason.NO_SESSION.value


def test_a_host_that_is_at_many_hubs_counts_for_each(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.cluster_hosts.MAX_HOSTS", 4)
    space = world.join("host-1").namespace
    made = [world.hosts.attachment(space, f"host-{n}", f"hub-{hub}") for n in (2, 3, 4) for hub in (1, 2)]
    assert [one.live for one in made] == [False, False, True, True, True, True]
    world.hosts.stop()
    assert not any(one.live for one in made)
    assert world.hosts._count == 0


def test_counts_of_hubs_that_are_gone_are_added_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.cluster_hosts.MAX_COUNTED", 8)
    kept = world.hosts.counts("hub-2")
    for number in range(100):
        world.hosts.counts(f"gone-{number}").drop(Reason.NO_LINK)
    assert len(world.hosts.traffic) <= 8
    assert sum(counts.dropped for counts in world.hosts.traffic.values()) == 100
    assert world.hosts.counts("hub-2") is kept


def test_frames_from_other_hubs_that_wait_have_a_bound(world: World) -> None:
    far = world.hosts.attachment(world.join("host-1").namespace, "host-2", "hub-2")
    assert far.budget is world.hosts._stranger("hub-2", far.namespace).budget is world.hosts.budget


def test_a_hub_with_very_many_hosts_that_goes_holds_up_nobody(world: World) -> None:
    """Others get their turn in between."""
    turns = 0

    def others() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.0005)
            turns += 1

    spawned = gevent.spawn(others)
    world.join("host-1")
    world.hosts.changed([(NAMESPACE, f"host-{number}") for number in range(30_000)])
    spawned.kill()
    assert turns > 5


# --- a client that keeps sessions with several hubs

BESIDE = [ids.instance_of(b"c" * 15, number) for number in (1, 2)]


def test_a_client_with_two_sessions_is_reached_by_both_and_neither_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_drain, "RELEASED_SECONDS", 0.0)
    one = world.join("host-1")
    own = world.join("host-2", BESIDE[0])
    world.at("hub-2", "host-2", since=2 * CLOCK, instance=BESIDE[1])
    assert own.sender.closed == ""  # type: ignore[attr-defined]
    assert world.sends(one, "10.0.0.2") == "here", "by its own session first"
    world.at("hub-3", "host-2", since=3 * CLOCK, instance=BESIDE[0])
    assert not own.live, "that number has another session now"
    gevent.sleep(0.01)
    assert "replaced" in own.sender.closed  # type: ignore[attr-defined]


def test_flows_are_spread_over_its_hubs_and_stay_there(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    ports = range(1, 33)
    assert {world.sends(one, "10.0.0.2", port) for port in ports} == {"hub-2"}
    world.at("hub-3", "host-2", since=6)
    assert world.sends(one, "10.0.0.2", 1) == "hub-2", "its client has not said yet who it is"
    world.at("hub-3", "host-2", since=6, instance=BESIDE[1])
    assert {world.sends(one, "10.0.0.2", port) for port in ports} == {"hub-2"}, "they stay"
    new = {port: world.sends(one, "10.0.0.2", port) for port in range(100, 132)}
    assert {*new.values()} == {"hub-2", "hub-3"}
    world.gone("hub-2", "host-2")
    assert {world.sends(one, "10.0.0.2", port) for port in (*ports, *new)} == {"hub-3"}
    world.at("hub-2", "host-2", since=7, instance=BESIDE[0])
    assert {world.sends(one, "10.0.0.2", port) for port in (*ports, *new)} == {"hub-3"}


def test_a_session_of_the_same_number_elsewhere_is_not_beside_it(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    world.at("hub-3", "host-2", since=6, instance=BESIDE[0])
    assert {world.sends(one, "10.0.0.2", port) for port in range(32)} == {"hub-3"}
    world.at("hub-2", "host-2", since=7, instance=b"x" * 16)
    assert {world.sends(one, "10.0.0.2", port) for port in range(32)} == {"hub-2"}, "another client's"


@pytest.mark.parametrize("hub", ["hub-2", "hub-3"])
def test_replies_go_back_by_the_hub_that_a_flow_came_by(world: World, hub: str) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    world.at("hub-3", "host-2", since=6, instance=BESIDE[1])
    for port in range(1, 9):
        came = framing.encode(p.udp("10.0.0.2", "10.0.0.1", ports=(9, port)))
        come(world, hub, NAMESPACE, came)
    assert {world.sends(one, "10.0.0.2", port) for port in range(1, 9)} == {hub}


@pytest.mark.parametrize("kind", [p.udp, p.tcp])
def test_replies_follow_a_flow_that_comes_by_another_hub_and_back(
    world: World, kind: Callable[..., bytes]
) -> None:
    """Its client has found out that one of its hubs is silent, before anybody else has."""
    one = world.join("host-1")
    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    world.at("hub-3", "host-2", since=6, instance=BESIDE[1])
    came = framing.encode(kind("10.0.0.2", "10.0.0.1", ports=(9, 1)))
    reply = framing.encode(kind("10.0.0.1", "10.0.0.2", ports=(1, 9)))
    for hub in ("hub-2", "hub-3", "hub-2"):
        come(world, hub, NAMESPACE, came)
        data, output = bytearray(reply + bytes(framing.SLACK)), Output()
        forward.scan(one, data, memoryview(data), 0, len(reply), 0.0, output)
        assert [target.peer for target in output.runs] == [hub]


def test_a_hub_that_no_link_reaches_is_passed_over_where_there_is_another(world: World) -> None:
    one = world.join("host-1")
    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    world.at("hub-2", "host-3", since=5)
    world.at("hub-3", "host-2", since=6, instance=BESIDE[1])
    assert {world.sends(one, "10.0.0.2", port) for port in range(32)} == {"hub-2", "hub-3"}
    world.hosts.unreachable("hub-2", True)
    assert {world.sends(one, "10.0.0.2", port) for port in range(32)} == {"hub-3"}
    far = world.hosts.attachment(one.namespace, "host-3", "hub-2")
    world.hosts.unreachable("hub-3", True)
    assert {world.sends(one, "10.0.0.2", port) for port in range(32)} <= {"hub-2", "hub-3"}, (
        "better than none"
    )
    world.hosts.unreachable("hub-3", False)
    world.hosts.unreachable("hub-2", False)
    assert {world.sends(one, "10.0.0.2", port) for port in range(100, 132)} == {"hub-2", "hub-3"}
    assert far.live, "what is only there is sent there"


def test_a_session_whose_client_was_asked_to_move_is_not_ended_by_the_newer_one(world: World) -> None:
    old = world.join("host-2", b"i" * 16)
    old.is_moving = True
    world.at("hub-2", "host-2", since=2 * CLOCK, instance=b"i" * 16)
    assert old.live
    assert world.hosts.has_other_session(old)


@pytest.mark.parametrize(
    ("own", "other", "since", "has"),
    [
        (b"i" * 16, b"i" * 16, 2 * CLOCK, True),
        (b"i" * 16, b"i" * 16, 1, False),  # it came from there
        (b"i" * 16, b"j" * 16, 2 * CLOCK, False),  # another client of the same name
        (b"i" * 16, b"", 2 * CLOCK, False),  # nobody knows whose it is
        (b"", b"", 2 * CLOCK, False),
        (BESIDE[0], BESIDE[1], 1, True),  # it has had it for longer
    ],
)
def test_which_sessions_elsewhere_are_ones_that_a_client_has_moved_to(
    world: World, own: bytes, other: bytes, since: int, has: bool
) -> None:
    session = world.join("host-2", own)
    assert not world.hosts.has_other_session(session)
    world.at("hub-2", "host-2", since=since, instance=other)
    assert world.hosts.has_other_session(session) is has


def test_another_client_of_the_same_name_replaces_one_that_moves_once_it_has_had_time_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_drain, "MOVE_SECONDS", 0.5)
    world.hosts.replaces = lambda session, hub: True
    old = world.join("host-2", b"i" * 16)
    old.is_moving = True
    world.at("hub-2", "host-2", since=2 * CLOCK, instance=b"j" * 16)
    assert old.sender.closed == ""  # type: ignore[attr-defined]
    with gevent.Timeout(30):
        while not old.sender.closed:  # type: ignore[attr-defined]
            gevent.sleep(0.01)
    assert "of the same host name at hub hub-2" in old.sender.closed  # type: ignore[attr-defined]


def test_a_registry_that_a_reload_has_made_counts_sessions_that_are_released(world: World) -> None:
    """Or it would have one too few when they end."""
    old, new = world.join("host-2", b"i" * 16), world.join("host-2", b"i" * 16)
    old.namespace.release(old)
    world.domain.use_registry(None)
    again = World()
    again.domain = world.domain
    world.domain.use_registry(again.hosts)
    assert again.hosts.sessions == 2
    again.own.next_batch(NOW)
    world.domain.leave(old)
    assert (again.hosts.sessions, again.own.is_pending) == (1, False), "the newer one was told"
    world.domain.leave(new)
    assert again.hosts.sessions == 0


def test_a_hub_that_ends_keeps_sessions_whose_clients_move(world: World) -> None:
    old = world.join("host-2", b"i" * 16)
    world.hosts.keeps = True
    world.at("hub-2", "host-2", since=2 * CLOCK, instance=b"i" * 16)
    assert old.sender.closed == ""  # type: ignore[attr-defined]


def test_a_session_that_is_silent_is_told_of_and_left_aside_while_its_client_has_another_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flows go by the other hub and stay there; what comes by that one is not sent back to it."""
    one, two = world.join("host-1"), world.join("host-2", instance=BESIDE[0])
    place, touched = (NAMESPACE, "host-2"), world.touched
    silent: set[Attachment] = set()
    monkeypatch.setattr(world.hosts._silences, "is_silent", silent.__contains__)

    def takes_flows() -> bool:
        return two.live

    def says(is_silent: bool) -> bytes:
        silent.clear()
        silent.update([two] if is_silent else [])
        world.hosts._heard_or_not(two)
        batch = world.own.next_batch(NOW)
        return cluster_wire.decode(batch.changes[-1])[0].instance

    assert says(True) == ids.silent(BESIDE[0])
    assert world.touched > touched
    assert takes_flows(), "there is no other way"
    world.at("hub-2", "host-2", since=2, instance=ids.silent(BESIDE[1]))
    assert takes_flows(), "nor now"
    world.at("hub-2", "host-2", since=2, instance=BESIDE[1])
    assert not takes_flows()
    assert two.is_here
    assert world.sends(one, "10.0.0.2") == "hub-2"
    far = world.hosts.attachment(one.namespace, "host-1", "hub-3")
    assert world.sends(far, "10.0.0.2") == "here", "a packet by one link goes by no other"
    assert says(False) == BESIDE[0]
    assert takes_flows()
    assert world.sends(one, "10.0.0.2") == "hub-2", "the flow stays"
    assert world.sends(one, "10.0.0.2", port=2) == "here"
    says(True)
    assert not takes_flows()
    world.hosts.unreachable("hub-2", True)
    assert takes_flows()
    world.hosts.unreachable("hub-2", False)
    assert not takes_flows()
    world.gone("hub-2", "host-2")
    assert takes_flows()
    assert world.registry.where(place) == []


def test_a_hub_that_does_not_reach_a_host_is_passed_over_while_another_one_does(world: World) -> None:
    one, ports = world.join("host-1"), iter(range(1, 1000))

    def found() -> set[str]:
        return {world.sends(one, "10.0.0.2", port=next(ports)) for _ in range(20)}

    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    world.at("hub-3", "host-2", since=6, instance=ids.silent(BESIDE[1]))
    assert found() == {"hub-2"}
    world.at("hub-2", "host-2", since=5, instance=ids.silent(BESIDE[0]))
    assert found() == {"hub-2", "hub-3"}, "nobody does"
    world.at("hub-2", "host-2", since=5, instance=b"x" * 16)
    assert found() == {"hub-3"}, "the other one is no session of this client"
    world.at("hub-3", "host-2", since=6, instance=BESIDE[1])
    world.at("hub-2", "host-2", since=5, instance=ids.silent(BESIDE[0]))
    assert found() == {"hub-3"}


def test_a_session_that_was_silent_is_used_again_when_the_cluster_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = world.join("host-2", instance=BESIDE[0])
    world.at("hub-2", "host-2", since=2, instance=BESIDE[1])
    monkeypatch.setattr(cluster_silence, "say", lambda *words, **fields: None)
    monkeypatch.setattr(Task, "_keep_running", lambda task: None)
    monkeypatch.setattr(world.hosts._silences, "_flight", lambda attachment: Flight(True, 1, 9.0, 0.001))
    two.traffic.sent_packets += 1
    for now in (1.0, 1.1 + QUIET_SECONDS):
        world.hosts._silences.look(now)
    assert not two.live
    world.hosts.stop()
    assert two.live


def told(session: Attachment) -> list[Unreached]:
    """What a session here was told, and nothing more from now on."""
    sender: Any = session.sender
    frames, sender.frames = sender.frames, []
    found = [wire_control.decode(frame[2:]) for frame in frames]
    assert all(isinstance(one, Unreached) for one in found)
    return found  # type: ignore[return-value]


def pass_on(world: World, session: Attachment, destination: str, port: int = 1) -> None:
    """A session sends a packet, and the hub sends it where it is to go."""
    frame = framing.encode(p.udp("10.0.0.1", destination, ports=(port, 9)))
    data, output = bytearray(frame + bytes(framing.SLACK)), Output()
    forward.scan(session, data, memoryview(data), 0, len(frame), 0.0, output)
    for target, buffers in output.runs.items():
        target.sender.send(buffers)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=100.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(cluster_unreached, "time", made)
    return made


def joined(world: World, instance: bytes = BESIDE[0]) -> Attachment:
    """A session of host-1 here, whose client has another one and wants to know what this hub does not reach."""
    made = world.join("host-1", instance)
    made.takes_unreached = True
    return made


def lose_host_2(world: World) -> None:
    """host-2 is at a hub that no link reaches any more."""
    world.at("hub-2", "host-2")
    world.hosts.unreachable("hub-2", True)


TWO, THREE = (Unreached((bytes([10, 0, 0, 2]),)), Unreached((bytes([10, 0, 3, 9]),)))


def test_a_client_is_told_where_no_link_leads(world: World, clock: SimpleNamespace) -> None:
    one = joined(world)
    world.at("hub-2", "host-2")
    pass_on(world, one, "10.0.0.2")
    assert told(one) == []
    world.hosts.unreachable("hub-2", True)
    pass_on(world, one, "10.0.0.2")
    assert told(one) == [TWO]
    clock.now += 0.5
    pass_on(world, one, "10.0.0.2", 2)
    assert told(one) == [], "it knows"
    clock.now += 0.5
    pass_on(world, one, "10.0.0.2", 2)
    assert told(one) == [TWO], "it seems to have forgotten"
    assert len(world.linked) == 4, "and all is sent there: the link may be there again"
    clock.now += 0.1
    pass_on(world, one, "10.0.3.9")
    assert told(one) == [Unreached(TWO.addresses + THREE.addresses)]
    world.hosts.unreachable("hub-2", False)
    assert told(one) == [Unreached()]
    pass_on(world, one, "10.0.0.2", 3)
    assert told(one) == []


@pytest.mark.parametrize("comes", ["here", "to another hub", "its hub is gone"])
def test_a_client_is_told_when_a_host_is_elsewhere(world: World, clock: SimpleNamespace, comes: str) -> None:
    one = joined(world)
    lose_host_2(world)
    pass_on(world, one, "10.0.0.2")
    clock.now += 0.1
    pass_on(world, one, "10.0.3.9")
    assert told(one) == [TWO, Unreached(TWO.addresses + THREE.addresses)]
    if comes == "here":
        world.join("host-2")
        assert told(one) == [Unreached()]
    elif comes == "to another hub":
        world.at("hub-3", "host-2", since=9)
        assert told(one) == [Unreached()]
    else:
        world.gone("hub-2", "host-2")
        world.hosts.unreachable("hub-2", False)
        assert told(one) == [], "nothing is reached that was not"
    world.domain.leave(one)
    world.hosts.unreachable("hub-2", False)
    assert told(one) == [], "its session has ended"


def test_what_was_said_long_ago_is_not_said_again_with_something_else(
    world: World, clock: SimpleNamespace
) -> None:
    one = joined(world)
    lose_host_2(world)
    pass_on(world, one, "10.0.0.2")
    clock.now += COUNTS_SECONDS
    pass_on(world, one, "10.0.3.9")
    assert told(one) == [TWO, THREE]


def test_an_address_with_another_gateway_that_is_reached_is_no_address_that_is_not(
    world: World, clock: SimpleNamespace
) -> None:
    """Another flow to it may go there, and a hub beside this one may think of each flow otherwise."""
    one = joined(world)
    world.join("host-3")
    lose_host_2(world)
    for port in range(16):
        clock.now += 0.1
        pass_on(world, one, "10.0.3.9", port)
    assert told(one) == []
    assert {hub for hub, _, _ in world.linked} == {"hub-2"}, "some have gone there"


def test_only_who_has_sent_a_packet_is_told(world: World, clock: SimpleNamespace) -> None:
    one, other = joined(world), joined(world, BESIDE[1])
    lose_host_2(world)
    pass_on(world, one, "10.0.0.2")
    assert (told(one), told(other)) == ([TWO], [])


def test_no_more_sessions_are_told_than_there_is_room_for(
    world: World, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_unreached, "MAX_TOLD", 1)
    one, other = joined(world), joined(world, BESIDE[1])
    lose_host_2(world)
    for _ in range(3):
        pass_on(world, one, "10.0.0.2")
        pass_on(world, other, "10.0.0.2", 2)
    assert (told(one), told(other)) == ([TWO], [])
    clock.now += COUNTS_SECONDS
    pass_on(world, other, "10.0.0.2", 2)
    assert told(other) == [TWO], "there is room again"


def test_who_has_another_hub_or_does_not_want_to_know_is_told_nothing(
    world: World, clock: SimpleNamespace
) -> None:
    one, three = world.join("host-1", BESIDE[0]), world.join("host-3", BESIDE[1])
    three.takes_unreached = True
    world.at("hub-2", "host-2", since=5, instance=BESIDE[0])
    world.hosts.unreachable("hub-2", True)
    pass_on(world, one, "10.0.0.2")
    assert told(one) == told(three) == [], "it is no client with several hubs, or an older one"
    one.takes_unreached = True
    world.at("hub-3", "host-2", since=6, instance=BESIDE[1])
    pass_on(world, one, "10.0.0.2")
    assert told(one) == []


def test_a_client_that_tries_everything_is_told_at_a_bounded_rate_and_size(
    world: World, clock: SimpleNamespace
) -> None:
    one = joined(world)
    lose_host_2(world)
    for number in range(250):
        clock.now += 0.001
        pass_on(world, one, f"10.0.3.{number}")
    found = told(one)
    assert 5 <= len(found) <= 14
    for number in range(250):
        clock.now += 0.1
        pass_on(world, one, f"10.0.3.{number}")
    last = told(one)[-1].addresses
    assert (len(last), last[-1]) == (MAX_UNREACHED, bytes([10, 0, 3, 249]))
