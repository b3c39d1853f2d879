"""Workers of a hub in a cluster, in one process: what the cluster's process tells them, and which way packets go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest

from lib import framing, worker_channel, worker_links, worker_relay
from lib.capture_taps import Taps
from lib.cluster_claims import Claims, Clocks
from lib.cluster_registry import Outcome, Registry
from lib.cluster_seal import SharedSeal
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.forward_explain import explain
from lib.forward_frame import Output
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.packet import Buffer
from lib.packet_offload import count_packets
from lib.service_scheduling import Pauses
from lib.session_cost import Cost
from lib.worker_links import BY_CLUSTER, CLUSTER, WorkerLinks
from lib.worker_relay import Relay
from lib.worker_relay_frames import MOST_RUNS
from tests.support import packets as p
from tests.support.routes import table
from tests.unit.test_cluster_hosts import Sent

SEAL = SharedSeal(b"k" * 32, "key")
NAMESPACE, OTHER = b"N" * 16, b"M" * 16
CLOCK = 1_700_000_000_000
NOW = Clocks(CLOCK, 0)
ROUTES = table(
    *((f"10.0.0.{number}/32", f"host-{number}") for number in range(1, 10)),
    *(("10.0.20.0/24", "host-1"), ("10.0.20.0/24", "host-2")),
)
HERE, THERE, FAR = "10.0.0.1", "10.0.0.2", "10.0.0.3"
"""host-1 at worker 1, host-2 at worker 2, host-3 at hub-2."""


def owner(domain: Domain) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(name="hub", on_duplicate="share"),
        failed_plugins=set(),
        taps=Taps(),
        output=Output(),
        pauses=Pauses(),
        domain=domain,
        sessions={},
    )


class OneWorker:
    """A worker: its hub, and its links."""

    def __init__(self, name: str) -> None:
        self.domain = Domain({NAMESPACE: ROUTES})
        self.owner = owner(self.domain)
        self.links = WorkerLinks(name, {"hub": self.owner})
        self.links.start()

    def join(self, host: str, instance: bytes = b"", namespace: bytes = NAMESPACE) -> Attachment:
        made = Attachment(self.domain.namespace(namespace), host, "192.0.2.7:1", mtu=1500, instance=instance)
        made.sender = Sent()
        self.domain.enter(made, time.monotonic())
        return made

    def sends(self, attachment: Attachment, destination: str, source: str = HERE, port: int = 1) -> None:
        data = framing.encode(p.udp(source, destination, ports=(port, 9)))
        far = attachment.again
        assert far is None
        from lib.hub_far_host import FarHost

        FarHost(self.owner, attachment).forward(data)
        attachment.again = None


class World:
    """hub-1 with two workers and the cluster's process, and hub-2, of which it hears."""

    def __init__(self) -> None:
        self.links: list[Any] = []
        self.registry = Registry("hub-1", 1, SEAL)
        self.own = Claims("hub-1", "", 1, SEAL.sign)
        self.others = {name: Claims(name, f"{name}:1", 1, SEAL.sign) for name in ("hub-2", "hub-3")}
        self.workers = {name: OneWorker(name) for name in ("worker 1", "worker 2")}
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.granted = True
        self.begin()
        self.link("worker 1", "worker 2")

    def begin(self) -> None:
        """Make the cluster's process, and link all workers with it."""
        self.relay = Relay(owner(Domain({NAMESPACE: ROUTES})))
        self.relay.send = self._send
        self.relay.use(self.registry, self.own, lambda: None, lambda hub, namespace: self.granted)
        self.relay.start()
        for name in self.workers:
            ours, theirs = worker_channel.stream_pair()
            self.relay.add(name, gevent.socket.socket(fileno=ours))
            self.workers[name].links.add(CLUSTER, gevent.socket.socket(fileno=theirs))
        wait(
            lambda: (
                self.relay.has_heard_all and all(CLUSTER in one.links.links for one in self.workers.values())
            )
        )

    def end(self) -> None:
        """The cluster's process dies."""
        self.relay.stop()
        for link in list(self.relay.links.values()):
            link._sock.shutdown(2)
        wait(lambda: not any(CLUSTER in one.links.links for one in self.workers.values()))

    def link(self, one: str, other: str) -> None:
        ours, theirs = worker_channel.stream_pair()
        self.workers[one].links.add(other, gevent.socket.socket(fileno=ours))
        self.workers[other].links.add(one, gevent.socket.socket(fileno=theirs))
        wait(lambda: other in self.workers[one].links.links)

    def _send(self, hub: str, attachment: Attachment, buffers: Sequence[Buffer]) -> None:
        self.sent.append((hub, attachment.namespace.id, b"".join(map(bytes, buffers))))

    def say(self, name: str) -> None:
        self.registry.hear(self.others[name].next_batch(NOW).published, 0.0, CLOCK)
        self.relay.changed(self.registry.places.take_changed())
        self.relay.look()

    def at(
        self, hub: str, host: str, instance: bytes = b"", namespace: bytes = NAMESPACE, since: int = 5
    ) -> None:
        """A host is at a hub, and all workers know it."""
        self.others[hub].join((namespace, host), since, instance)
        self.say(hub)
        wait(lambda: all(hub in self.known(name, host, namespace) for name in self.workers))

    def gone(self, hub: str, host: str) -> None:
        self.others[hub].leave((NAMESPACE, host))
        self.say(hub)

    def known(self, worker: str, host: str, namespace: bytes = NAMESPACE) -> list[str]:
        return [one.name for one in self.workers[worker].links.others.where((namespace, host))]

    def comes(self, hub: str, frames: bytes, namespace: bytes = NAMESPACE) -> Cost:
        """Frames come by the link with a hub; what they have cost it."""
        receiver, cost = self.relay.receiver(hub), Cost()
        cost.admit("link")
        cost.begin(len(frames))
        data = bytearray(frames + bytes(framing.SLACK))
        receiver.take(namespace, data, memoryview(data), 0, len(frames), cost)
        receiver.send(cost)
        while receiver.has_rest:
            receiver.go_on(cost)
        receiver.go_on(cost)  # the link's datagrams have turns of their own, which may find nothing left
        return cost


def wait(is_so: Callable[[], object]) -> None:
    with gevent.Timeout(5):
        while not is_so():
            gevent.sleep(0.001)


def got(attachment: Attachment) -> bytes:
    sender: Any = attachment.sender
    return b"".join(sender.frames)


def udp(source: str, destination: str, port: int = 1) -> bytes:
    return framing.encode(p.udp(source, destination, ports=(port, 9)))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()
    for worker in made.workers.values():
        worker.links.stop()
        for link in list(worker.links.links.values()):
            link._sock.shutdown(2)
    gevent.sleep(0.01)
    assert worker_links.running == []


def announced(world: World) -> dict[str, tuple[int, bytes]]:
    return {host: claim for (_, host), claim in world.relay._announced.items()}


def test_a_hub_with_workers_has_one_list(world: World) -> None:
    one = world.workers["worker 1"].join("host-1")
    world.workers["worker 2"].join("host-2", b"i" * 16)
    wait(lambda: set(announced(world)) == {"host-1", "host-2"})
    wait(lambda: world.relay.sessions == 2)
    assert announced(world)["host-2"][1] == b"i" * 16
    world.workers["worker 1"].domain.leave(one)
    wait(lambda: set(announced(world)) == {"host-2"})
    wait(lambda: world.relay.sessions == 1)


def test_of_a_host_in_two_workers_the_newest_session_is_told(world: World) -> None:
    old = world.workers["worker 1"].join("host-1", b"a" * 16)
    wait(lambda: "host-1" in announced(world))
    gevent.sleep(0.005)
    new = world.workers["worker 2"].join("host-1", b"b" * 16)
    wait(lambda: announced(world)["host-1"][1] == b"b" * 16)
    world.workers["worker 2"].domain.leave(new)
    wait(lambda: announced(world)["host-1"][1] == b"a" * 16)
    assert old.live


def test_a_worker_s_packet_goes_to_the_hub_that_has_the_host(world: World) -> None:
    one = world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    world.workers["worker 1"].sends(one, FAR)
    wait(lambda: world.sent)
    assert world.sent == [("hub-2", NAMESPACE, udp(HERE, FAR))]
    route = " ".join(text for _, text in explain(one, p.packed(HERE), p.packed(FAR), 0.0).lines)
    assert f"goes to host-3 by hub at hub-2, {BY_CLUSTER}" in route
    world.gone("hub-2", "host-3")
    wait(lambda: not world.known("worker 1", "host-3"))
    world.workers["worker 1"].sends(one, FAR)
    assert one.traffic.drops[Reason.NO_SESSION] == 1


def test_a_hub_s_packet_goes_to_the_worker_that_has_the_host(world: World) -> None:
    one, two = world.workers["worker 1"].join("host-1"), world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    wait(lambda: len(announced(world)) == 2)
    cost = world.comes("hub-2", udp(FAR, THERE) + udp(FAR, HERE) + udp(FAR, THERE, 2))
    wait(lambda: got(one) and len(got(two)) >= 2 * len(udp(FAR, THERE)))  # it may come in two pieces
    assert got(one) == udp(FAR, HERE)
    assert got(two) == udp(FAR, THERE) + udp(FAR, THERE, 2)
    assert not world.sent
    assert cost._worth > 0


def test_what_came_by_a_link_is_passed_to_no_hub(world: World) -> None:
    """Neither by the cluster's process nor by a worker, whatever the tables say."""
    world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    world.at("hub-3", "host-4")
    world.comes("hub-2", udp(FAR, "10.0.0.4"))
    wait(lambda: drops(world).get(Reason.NO_SESSION))
    assert not [frames for hub, _, frames in world.sent if hub == "hub-3"]


def test_nor_to_another_worker(world: World) -> None:
    """The worker that gets it passes it on to nobody: host-2 has left worker 1 since, and is at worker 2."""
    world.workers["worker 1"].join("host-1")
    two = world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    wait(lambda: len(announced(world)) == 2)
    link = world.relay.links["worker 1"]
    link.send(NAMESPACE, [udp(FAR, THERE)], world.relay._number("hub-2"))
    wait(lambda: drops(world).get(Reason.NO_SESSION))
    assert got(two) == b""


def drops(world: World) -> dict[Reason, int]:
    """What workers have dropped of what came from other hubs."""
    found: dict[Reason, int] = {}
    for worker in world.workers.values():
        for name, traffic in worker.links.hosts.traffic.items():
            for reason, count in traffic.drops.items() if name.startswith("hub") else ():
                found[reason] = found.get(reason, 0) + count
    return found


def test_a_forged_source_is_dropped_by_the_worker(world: World) -> None:
    one = world.workers["worker 1"].join("host-1")
    world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    wait(lambda: len(announced(world)) == 2)
    world.comes("hub-2", udp(THERE, HERE))
    world.comes("hub-3", udp(FAR, HERE))
    wait(lambda: drops(world).get(Reason.FOREIGN_SOURCE) == 2)
    assert got(one) == b""


def test_packets_of_nobody_cost_their_own_link(world: World) -> None:
    """Once all hosts are known they come no further than the process that has the link."""
    one = world.workers["worker 1"].join("host-1")
    world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    world.at("hub-3", "host-4")
    wait(lambda: len(announced(world)) == 2)
    world.relay.is_whole = lambda: True
    for source in (THERE, "10.0.0.4", "10.9.9.9"):
        assert world.comes("hub-2", udp(source, HERE))._worth == 0
    assert world.relay.counts("hub-2").drops == {Reason.FOREIGN_SOURCE: 3}
    error = framing.encode(p.icmp("10.9.9.9", HERE, 3, p.udp(HERE, FAR)))
    world.comes("hub-2", error + udp(FAR, HERE))
    wait(lambda: udp(FAR, HERE) in got(one))
    assert not drops(world)
    assert error in got(one), "a router behind a host may say what has become of a packet"


def test_a_hub_that_is_not_trusted_sends_nothing(world: World) -> None:
    one = world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    world.granted = False
    world.comes("hub-2", udp(FAR, HERE))
    assert world.relay.counts("hub-2").drops == {Reason.UNTRUSTED: 1}
    gevent.sleep(0.01)
    assert got(one) == b""


def test_a_host_of_another_namespace_is_nobody_s(world: World) -> None:
    one = world.workers["worker 1"].join("host-1", namespace=NAMESPACE)
    world.at("hub-2", "host-3", namespace=OTHER)
    world.comes("hub-2", udp(FAR, HERE), OTHER)
    wait(lambda: drops(world).get(Reason.NO_NAMESPACE))
    world.comes("hub-2", udp(FAR, HERE))
    wait(lambda: drops(world).get(Reason.FOREIGN_SOURCE))
    assert got(one) == b""


@pytest.mark.parametrize(
    "frames", [udp(FAR, HERE)[:-1], udp(FAR, HERE) + b"\x00", udp(FAR, HERE) + b"\x10\x00x"]
)
def test_frames_that_are_not_whole_end_the_link_with_their_hub_alone(world: World, frames: bytes) -> None:
    world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    with pytest.raises(ProtocolError):
        world.comes("hub-2", frames)
    gevent.sleep(0.01)
    assert set(world.relay.links) == {"worker 1", "worker 2"}


def test_many_destinations_in_one_envelope_take_turns_and_all_come(world: World) -> None:
    one, two = world.workers["worker 1"].join("host-1"), world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    wait(lambda: len(announced(world)) == 2)
    frames = b"".join(udp(FAR, (HERE, THERE)[n % 2], n) for n in range(4 * MOST_RUNS))
    world.comes("hub-2", frames)
    wait(lambda: count_packets(got(one)) + count_packets(got(two)) == 4 * MOST_RUNS)


def test_a_hub_s_packets_that_have_no_receiver_are_worth_nothing(world: World) -> None:
    world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    assert world.comes("hub-2", udp(FAR, "10.9.9.9"))._worth == 0
    wait(lambda: drops(world).get(Reason.NO_ROUTE))


def test_a_session_that_was_left_behind_still_gets_what_is_on_the_way(world: World) -> None:
    """As in a hub: other hubs have sent it before they knew."""
    worker = world.workers["worker 2"]
    two = worker.join("host-2")
    world.at("hub-2", "host-3")
    wait(lambda: "host-2" in announced(world))
    two.namespace.release(two)
    worker.links.hosts.withdraw(two)
    wait(lambda: "host-2" not in announced(world))
    world.comes("hub-2", udp(FAR, THERE))
    wait(lambda: got(two))
    assert got(two) == udp(FAR, THERE)


def test_a_host_at_another_worker_goes_before_the_same_one_at_another_hub(world: World) -> None:
    one = world.workers["worker 1"].join("host-1")
    two = world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-2", since=2 * CLOCK)
    wait(lambda: len(announced(world)) == 2)
    world.workers["worker 1"].sends(one, THERE)
    wait(lambda: got(two))
    assert not world.sent


def test_a_client_that_moves_to_another_hub_has_no_session_here_any_more(world: World) -> None:
    one = world.workers["worker 1"].join("host-1")
    two = world.workers["worker 2"].join("host-2", b"i" * 16)
    wait(lambda: len(announced(world)) == 2)
    world.at("hub-2", "host-2", b"i" * 16, since=2 * CLOCK)
    wait(lambda: not two.live)
    wait(lambda: set(world.known("worker 1", "host-2")) == {"hub-2", "worker 2"})
    world.workers["worker 1"].sends(one, THERE)
    wait(lambda: world.sent)
    assert world.sent[0][0] == "hub-2", "at once, and not when the old session ends"
    world.workers["worker 2"].sends(two, HERE, THERE)
    wait(lambda: one.sender.frames)  # type: ignore[attr-defined]  # its client may still send by that
    world.workers["worker 2"].domain.leave(two)
    wait(lambda: world.known("worker 1", "host-2") == ["hub-2"])


def test_a_worker_that_ends_takes_its_hosts_with_it(world: World) -> None:
    world.workers["worker 1"].join("host-1")
    world.workers["worker 2"].join("host-2")
    wait(lambda: len(announced(world)) == 2)
    for link in list(world.workers["worker 2"].links.links.values()):
        link._sock.shutdown(2)
    wait(lambda: set(announced(world)) == {"host-1"})


def test_the_end_of_the_cluster_s_process_ends_nothing_else(world: World) -> None:
    one, two = world.workers["worker 1"].join("host-1"), world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    world.at("hub-2", "host-4")
    wait(lambda: len(announced(world)) == 2)
    world.end()
    assert world.known("worker 1", "host-3") == ["hub-2"], "what is known goes on"
    world.workers["worker 1"].sends(one, FAR)
    assert world.workers["worker 1"].links.hosts.counts("hub-2").drops == {Reason.NO_LINK: 1}
    world.workers["worker 1"].sends(one, THERE)
    wait(lambda: got(two))
    world.gone("hub-2", "host-4")
    world.begin()
    wait(lambda: len(announced(world)) == 2)
    world.workers["worker 1"].sends(one, FAR, port=7)
    wait(lambda: world.sent)
    assert world.sent[-1] == ("hub-2", NAMESPACE, udp(HERE, FAR, 7))
    assert world.known("worker 1", "host-4") == ["hub-2"], "nobody has said that all was told"
    world.relay.is_whole = lambda: True
    wait(lambda: all(link in world.relay._told for link in world.relay.links.values()))
    world.relay.look()
    wait(lambda: not world.known("worker 1", "host-4") and not world.known("worker 2", "host-4"))
    assert world.known("worker 2", "host-3") == ["hub-2"]


def test_a_packet_that_comes_before_the_registry_has_told_of_its_hub_again(world: World) -> None:
    """The hub dials a new cluster's process at once; workers know its hosts still."""
    one = world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    world.end()
    world.registry = Registry("hub-1", 1, SEAL)
    world.begin()
    wait(lambda: "host-1" in announced(world))
    world.relay.unreachable("hub-2", False)  # it has dialled
    wait(lambda: "hub-2" in world.workers["worker 1"].links._numbers)
    world.workers["worker 1"].sends(one, FAR)
    wait(lambda: world.sent)
    world.comes("hub-2", udp(FAR, HERE))
    wait(lambda: got(one))


def test_a_worker_that_comes_meanwhile_knows_the_hub_by_its_number_too(world: World) -> None:
    """A hub has its number as soon as it has dialled; its hosts are told by that number later."""
    world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    world.end()
    world.registry, before = Registry("hub-1", 1, SEAL), world.registry
    world.begin()
    world.comes("hub-2", udp(FAR, HERE))
    world.workers["worker 3"] = three = OneWorker("worker 3")
    ours, theirs = worker_channel.stream_pair()
    world.relay.add("worker 3", gevent.socket.socket(fileno=ours))
    three.links.add(CLUSTER, gevent.socket.socket(fileno=theirs))
    wait(lambda: any(link.name == "worker 3" for link in world.relay._told))
    world.registry.hubs["hub-2"] = hub = before.hubs["hub-2"]
    world.registry.places.hubs, world.registry.places._names = world.registry.hubs, before.places._names
    assert hub.live
    world.relay.changed([(NAMESPACE, "host-3")])
    wait(lambda: world.known("worker 3", "host-3") == ["hub-2"])


def test_a_worker_s_second_link_begins_anew_though_the_end_of_the_first_was_not_read(world: World) -> None:
    world.workers["worker 2"].join("host-2")
    wait(lambda: "host-2" in announced(world))
    world.workers["worker 2"] = OneWorker("worker 2")
    ours, theirs = worker_channel.stream_pair()
    world.relay.add("worker 2", gevent.socket.socket(fileno=ours))
    world.workers["worker 2"].links.add(CLUSTER, gevent.socket.socket(fileno=theirs))
    wait(lambda: "host-2" not in announced(world))
    worker_links.running.pop(1)


def test_workers_learn_which_hubs_live_and_which_are_lost(world: World) -> None:
    links = world.workers["worker 1"].links
    world.say("hub-2")
    wait(lambda: "hub-2" in links.others.hubs)
    assert links.hosts.are_elsewhere([world.workers["worker 1"].join("host-9")]), "nobody drains"
    links.drain()
    assert not links.hosts.are_elsewhere(links.owner.domain.namespaces[NAMESPACE].attachments())
    world.relay.unreachable("hub-2", True)
    wait(lambda: "hub-2" in links.hosts.lost)
    world.relay.unreachable("hub-2", False)
    wait(lambda: "hub-2" not in links.hosts.lost)
    world.registry.hear(_framed(world.others["hub-2"].bye(NOW)), 0.0, CLOCK)
    world.relay.look()
    wait(lambda: "hub-2" not in links.others.hubs)
    assert links.hosts.are_elsewhere(links.owner.domain.namespaces[NAMESPACE].attachments()), "no other hub"


def _framed(message: bytes) -> bytes:
    return framing.encode(message)


def test_what_clients_are_told_of_the_cluster(world: World) -> None:
    world.relay.marks = lambda: {b"": b"c" * 16, OTHER: b""}
    world.relay.look()
    domain = world.workers["worker 1"].domain
    wait(lambda: domain.cluster(NAMESPACE) == b"c" * 16)
    wait(lambda: domain.cluster(OTHER) == b"")


def test_numbers_of_hubs_that_are_gone_are_used_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_relay, "MAX_HUB", 2)
    assert [world.relay._number(name) for name in ("hub-8", "hub-9", "hub-8")] == [1, 2, 1]
    world.say("hub-2")
    assert world.relay._number("hub-2") == 1
    assert world.relay._number("hub-9") == 2
    assert world.relay._number("hub-8") == 2, "hub-2 is there and keeps its own"
    assert "hub-9" not in world.relay._numbers


def test_a_namespace_goes_some_time_after_its_last_host(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = world.workers["worker 1"].join("host-1", namespace=OTHER)
    world.at("hub-2", "host-3", namespace=OTHER)
    wait(lambda: "host-1" in announced(world))
    world.comes("hub-2", udp(FAR, HERE), OTHER)
    assert OTHER in world.relay.domain.namespaces
    world.relay.look()
    world.workers["worker 1"].domain.leave(one)
    wait(lambda: not announced(world))
    monkeypatch.setattr(world.relay._way_in, "_empty", {OTHER: 0.0})
    world.relay.look()
    assert OTHER not in world.relay.domain.namespaces
    assert set(world.registry.outcomes) <= {Outcome.TAKEN}


def test_who_is_away_is_known_once_all_others_have_told(world: World) -> None:
    links = world.workers["worker 1"].links
    assert links.is_whole() is False, "those of the last run may be on their way back"
    links._whole_at = 0.0
    links._expected = frozenset({"worker 2", CLUSTER})
    wait(lambda: links._whole == {"worker 2"})
    assert not links.is_whole(), "the cluster's process has not told all"
    world.relay.is_whole = lambda: True
    world.relay.look()
    wait(links.is_whole)
    world.workers["worker 2"].join("host-2")
    world.at("hub-2", "host-3")
    world.workers["worker 1"].join("host-1")
    wait(lambda: world.known("worker 1", "host-2"))
    is_here = links.present()
    assert [is_here(f"host-{number}") for number in (1, 2, 3, 4)] == [True, True, True, False]
    world.end()
    assert not links.is_whole()
    assert links._whole_at > time.monotonic() + worker_links.BACK_SECONDS / 2
    world.begin()


def add(world: World, name: str) -> OneWorker:
    """One worker more, linked with worker 1 and the cluster's process."""
    made = world.workers[name] = OneWorker(name)
    ours, theirs = worker_channel.stream_pair()
    world.relay.add(name, gevent.socket.socket(fileno=ours))
    made.links.add(CLUSTER, gevent.socket.socket(fileno=theirs))
    world.link(name, "worker 1")
    return made


def test_a_new_worker_waits_until_other_hubs_were_looked_at(world: World) -> None:
    world.workers["worker 1"].join("host-1")
    world.at("hub-2", "host-3")
    new = add(world, "worker 3")
    waiting = gevent.spawn(new.links.wait_known, ["worker 1", CLUSTER], 60.0)
    wait(lambda: world.known("worker 3", "host-1") and world.known("worker 3", "host-3"))
    gevent.sleep(0.01)
    assert not waiting.ready(), "there may be more"
    world.others["hub-2"].join((NAMESPACE, "host-4"), 5, b"")
    world.say("hub-2")
    world.relay.known()
    waiting.get(timeout=5)
    assert world.known("worker 3", "host-4") == ["hub-2"], "it was told before"


def test_and_until_it_was_told_of_all_hosts(world: World) -> None:
    """Those are so many that they are told in many steps; those of the worker beside it wait in its socket."""
    for number in range(300):
        world.workers["worker 1"].join(f"near-{number}")
    for first in range(0, 3000, 60):
        for number in range(first, first + 60):
            world.others["hub-2"].join((NAMESPACE, f"far-{number}"), 5, b"")
        world.say("hub-2")
    world.relay.known()
    new = add(world, "worker 3")
    new.links.wait_known(["worker 1", CLUSTER], 60.0)
    known = new.links.others.hubs
    assert len(known["hub-2"].claims) == 3000
    assert len(known["worker 1"].claims) == 300


def test_a_worker_that_ends_is_not_waited_for_and_the_cluster_s_process_has_a_bound(world: World) -> None:
    new = add(world, "worker 3")
    ours, theirs = worker_channel.stream_pair()
    new.links.add("worker 9", gevent.socket.socket(fileno=ours))
    waiting = gevent.spawn(new.links.wait_known, ["worker 1", "worker 9"], 60.0)
    gevent.sleep(0.01)
    assert not waiting.ready()
    worker_channel.shut(theirs)
    waiting.get(timeout=5)
    began = time.monotonic()
    new.links.wait_known([CLUSTER], 0.05)
    assert time.monotonic() - began >= 0.05
