"""Channels with sockets of their own: nobody else's datagrams take their room, and nobody gets two."""

from __future__ import annotations

import sys
import time
from collections import Counter

import gevent
import pytest
from gevent import socket

from lib import datagram_own, datagram_port, datagram_wire, framing, service_turn
from lib.datagram_own import MOST_FORGED, OwnSocket
from lib.datagram_port import Port
from lib.datagram_socket import Address
from lib.datagram_turns import OWN_SECONDS, STRANGER_SECONDS, PortChannel
from lib.forward_drop_reasons import Reason
from lib.hub import Hub
from lib.hub_datagram import HubChannel
from lib.service_scheduling import Share
from lib.service_turn import Turn
from lib.session_cost import BURST_SECONDS, EXACT_TURNS, TURN_SECONDS, Cost
from tests.support import packets as p
from tests.support.hubs import running
from tests.unit.test_hub_datagram import CONFIG, A, B, Client, hub, session_of, two, udp, until

__all__ = ["hub", "two"]
SO_MEMINFO = 55  # asm-generic/socket.h; the first number is what of a socket's datagrams is held


def own_of(hub: Hub, host: str) -> OwnSocket | None:
    channel = session_of(hub, host).channel
    assert channel is not None
    return channel._own


def send(client: Client, *packets: bytes) -> None:
    client.peer.send(p.stream(packets), time.monotonic())


def begin(hub: Hub, client: Client, host: str) -> None:
    """Let it have a channel by which all goes at once."""
    client.begin()
    channel = session_of(hub, host).channel
    assert channel is not None
    until(lambda: channel.peer.is_up(time.monotonic()))
    channel._was_up = True
    channel.choice.begin(-100.0)


def begin_long(client: Client) -> None:
    """Wait until packets of 1,328 bytes go by the channel: on a slow machine the path MTU is still looked for."""

    def are_taken() -> bool:
        client.works()
        client.peer.tick(time.monotonic())
        return client.peer.mtu.mtu > 1400

    until(are_taken)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port's socket is not read once somebody is to pay for strangers: for ever."""

    class Asleep(Share):
        def charge(self, key: object, seconds: float) -> None:
            gevent.sleep(1000.0)

    monkeypatch.setattr(datagram_port, "SHARE", Asleep())


def flood(client: Client, count: int) -> socket.socket:
    """Datagrams of a stranger."""
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(count):
        stranger.sendto(b"\x54" * 60, client.peer.place)
        if not number % 64:
            gevent.sleep(0.0005)
    return stranger


def test_each_far_end_that_has_proven_its_address_has_a_socket(hub: Hub, two: tuple[Client, Client]) -> None:
    owners = [session_of(hub, host).channel for host in ("host-1", "host-2")]
    assert set(hub.datagrams._owners) == set(owners)
    one, other = two
    for sender, receiver, host, packet in (
        (one, other, "host-1", p.udp(A, B, b"x")),
        (other, one, "host-2", p.udp(B, A, b"x")),
    ):
        own = own_of(hub, host)
        assert own is not None
        assert own.address.far[1] == sender.udp.getsockname()[1]
        send(sender, packet)
        assert receiver.receive() == framing.encode(packet)


def test_it_goes_with_the_session(hub: Hub, two: tuple[Client, Client]) -> None:
    own = own_of(hub, "host-1")
    assert own is not None
    two[0].close()
    until(lambda: len(hub.datagrams._owners) == 1)
    assert own._reader.dead
    assert own._sock.sock.fileno() < 0


def test_the_port_is_opened_anew_by_a_reload(hub: Hub, two: tuple[Client, Client]) -> None:
    """The sockets of sessions have the same port: where one is still open, it is a busy one."""
    settings = hub.settings
    hub.datagrams.open(settings, hub._server.socket)
    assert not hub.datagrams.why_none(session_of(hub, "host-1"))
    assert not hub.datagrams._owners


def test_a_session_that_ends_in_its_own_turn_ends_its_reader(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    own, take = own_of(hub, "host-1"), HubChannel.take_own
    assert own is not None

    first = session_of(hub, "host-1").channel

    def stop(self: HubChannel, *words: object) -> int:
        if self is first:  # the other one may have got a PROBE
            self.stop()
        return take(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(HubChannel, "take_own", stop)
    send(two[0], udp(1))
    until(lambda: own._reader.dead)
    assert own._reader.successful(), own._reader.exception
    assert own_of(hub, "host-1") is None, "nor has it another one"
    assert len(hub.datagrams._owners) == 1


def test_datagrams_of_strangers_that_come_meanwhile_are_not_the_sessions(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    one, other = two
    own, handle = own_of(hub, "host-1"), HubChannel.handle

    def late(self: HubChannel, *words: object) -> int:
        forged = handle(self, *words)  # type: ignore[arg-type]
        hub.datagrams.table.strangers += 10 * MOST_FORGED  # it gave way to others
        return forged

    monkeypatch.setattr(HubChannel, "handle", late)
    for number in range(3):
        send(one, udp(number))
        assert other.receive()
    assert own_of(hub, "host-1") is own


def test_the_port_closes_and_leaves_none(hub: Hub, two: tuple[Client, Client]) -> None:
    every = [own_of(hub, host) for host in ("host-1", "host-2")]
    hub.datagrams.close()
    assert not hub.datagrams._owners
    until(lambda: all(own is not None and own._sock.sock.fileno() < 0 for own in every))


@pytest.mark.usefixtures("deaf")
def test_strangers_take_no_room_of_a_session(hub: Hub, two: tuple[Client, Client]) -> None:
    one, other = two
    with flood(one, 3000):
        send(one, udp(1))
        assert other.receive() == framing.encode(udp(1)), "though the port's socket is not read any more"


def test_what_one_session_has_no_room_for_is_its_own_and_counted(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    one, other = two
    begin_long(one)
    share, first = Share(), session_of(hub, "host-1")
    monkeypatch.setattr(service_turn, "SHARE", share)
    assert first.stream.cost is not None
    first.stream.cost.debt, first.stream.cost.expensive = 1.0, True
    share.leave(1.5)  # it is read again once that is over
    before = first.attachment.traffic.received_packets
    count = 4 * datagram_own.RECEIVE_BUFFER // 1400
    for number in range(count):
        send(one, p.udp(A, B, bytes([number % 256]) * 1300))
    send(other, p.udp(B, A, b"hello"))
    assert one.receive() == framing.encode(p.udp(B, A, b"hello"))
    drops = first.attachment.traffic.drops
    until(lambda: first.attachment.traffic.received_packets > before)

    def is_told() -> bool:
        send(one, udp(1))  # the kernel tells of what was lost with the next one for which it has room
        return first.attachment.traffic.received_packets - before + drops[Reason.DATAGRAM_QUEUE] > count

    until(is_told)
    assert drops[Reason.DATAGRAM_QUEUE]
    assert not session_of(hub, "host-2").attachment.traffic.drops


def test_the_kernel_holds_little_of_a_session_that_is_expensive(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    """All such sockets full would be more than the kernel holds of all datagrams of a small host."""
    one, _ = two
    begin_long(one)
    own, share, cost = own_of(hub, "host-1"), Share(), session_of(hub, "host-1").stream.cost
    assert own is not None
    assert cost is not None
    monkeypatch.setattr(service_turn, "SHARE", share)
    kernels = own._sock.sock
    before = kernels.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    cost.debt, cost.expensive = 1.0, True
    share.leave(1.5)
    send(one, udp(1))
    until(lambda: share._rota)
    for number in range(4 * datagram_own.RECEIVE_BUFFER // 1400):
        send(one, p.udp(A, B, bytes([number % 256]) * 1300))
    held = int.from_bytes(kernels.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4), sys.byteorder)
    assert 0 < held < 3 * datagram_own.LITTLE_UNREAD
    cost.debt, cost.expensive = 0.0, False

    def is_as_before() -> bool:
        send(one, udp(1))
        size = kernels.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return bool(size == before)

    until(is_as_before)


def test_who_forges_the_address_as_well_gets_to_the_share_of_strangers(
    hub: Hub, two: tuple[Client, Client]
) -> None:
    one, other = two
    (label,) = [
        label
        for label, (peer, _) in hub.datagrams.table.entries.items()
        if peer.outside is session_of(hub, "host-1").channel
    ]
    for number in range(2 * MOST_FORGED):  # from the client's own socket, as if somebody had forged that
        one.udp.sendto(datagram_wire.header(label, 1 << 20) + bytes(60), one.peer.place)
        if not number % 32:
            gevent.sleep(0.001)
    until(lambda: own_of(hub, "host-1") is None)
    send(one, udp(1))
    assert other.receive() == framing.encode(udp(1)), "by the port's socket"
    send(one, udp(2))
    assert other.receive() == framing.encode(udp(2))
    assert own_of(hub, "host-1") is None
    assert own_of(hub, "host-2") is not None
    first = session_of(hub, "host-1").channel
    assert first is not None
    assert 0 < first._again_at - time.monotonic() <= OWN_SECONDS
    first._again_at = 0.0  # that time has passed
    send(one, udp(3))
    assert other.receive() == framing.encode(udp(3))
    assert own_of(hub, "host-1"), "a few hundred packets of somebody do not take it away for good"


def test_a_few_datagrams_that_come_twice_are_no_forgeries(hub: Hub, two: tuple[Client, Client]) -> None:
    one, other = two
    assert one.peer._seal is not None
    own = own_of(hub, "host-1")
    for number in range(2 * MOST_FORGED):
        (sealed,) = one.peer._seal.seal((framing.encode(udp(number % 256)),))
        for _ in range(2):
            one.udp.sendto(sealed, one.peer.place)
        assert other.receive()
    assert own_of(hub, "host-1") is own


def test_errors_of_the_network_cost_the_session_nothing(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    """Whoever knows both addresses may send ICMP errors about them from anywhere, and each wakes the reader."""
    monkeypatch.setattr(datagram_own, "MOST_FORGED", 20)
    one, other = two
    own, cost = own_of(hub, "host-1"), session_of(hub, "host-1").stream.cost
    assert own is not None
    turns, end = list[Cost](), Cost.end

    def ended(self: Cost, seconds: float, now: float) -> None:
        turns.append(self)
        end(self, seconds, now)

    monkeypatch.setattr(Cost, "end", ended)
    one.udp.close()

    def is_given_up() -> bool:
        assert hub.datagrams.socket is not None
        hub.datagrams.socket.send_burst(own.address, [bytes(40)])  # nobody is there any more
        return own_of(hub, "host-1") is None

    until(is_given_up)
    assert cost not in turns
    one.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    send(one, udp(3))
    assert other.receive() == framing.encode(udp(3))


def test_what_is_owed_for_forgeries_is_paid_though_nothing_comes_to_the_port(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    """It added up for hours; then the next datagram at the port let everybody's login wait for as long."""
    owed = list[float]()

    class Noted(Share):
        def owe(self, seconds: float) -> None:
            owed.append(seconds)

    monkeypatch.setattr(datagram_port, "SHARE", Noted())
    one, _ = two
    assert one.peer._seal is not None
    for _ in range(int(2 * BURST_SECONDS / STRANGER_SECONDS / 16)):
        for good in one.peer._seal.seal([framing.encode(udp(1))] * 16):
            one.udp.sendto(good, one.peer.place)
            one.udp.sendto(b"\x54" * 60, one.peer.place)
        gevent.sleep(0.0005)
    until(lambda: owed)
    assert owed[0] > BURST_SECONDS
    assert hub.datagrams._debt < BURST_SECONDS


def test_to_open_it_counts_in_the_turn_of_who_gets_it(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    """Whoever moves again and again has it opened again and again."""
    came, own, begin_turn, end_turn = list[str](), Port.own, Turn.begin, Turn.end

    def began(self: Turn, cost: Cost) -> None:
        came.append("begin")
        begin_turn(self, cost)

    def ended(self: Turn, cost: Cost) -> float:
        came.append("end")
        return end_turn(self, cost)

    def opened(self: Port, channel: PortChannel, address: Address) -> OwnSocket | None:
        came.append("open")
        return own(self, channel, address)

    monkeypatch.setattr(Turn, "begin", began)
    monkeypatch.setattr(Turn, "end", ended)
    monkeypatch.setattr(Port, "own", opened)
    one = Client(hub, "host-1")
    begin(hub, one, "host-1")
    until(lambda: own_of(hub, "host-1"))
    at = came.index("open")
    assert came[at - 1 : at + 2] == ["begin", "open", "end"]
    one.close()


def test_turns_of_many_sessions_come_in_many_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a socket, and all of these may be ready in one pass: 64 sessions made it 60 to 160 ms long."""
    count, passes, loop = 16, list[int](), gevent.get_hub().loop
    routes = ", ".join(f"{{net: 10.0.1.{number}/32, gateway: many-{number}}}" for number in range(count))

    def work(self: HubChannel, frames: bytes, cost: Cost) -> int:
        passes.append(loop.iteration)
        until = time.thread_time() + 1.2 * TURN_SECONDS
        while time.thread_time() < until:
            pass
        return min(len(frames), 102)  # one of both at a time

    with running((CONFIG % "datagram").replace("routes: [", f"routes: [{routes}, ")) as (made,):
        clients = [Client(made, f"many-{number}") for number in range(count)]
        for number, client in enumerate(clients):
            begin(made, client, f"many-{number}")
        until(lambda: len(made.datagrams._owners) == count)
        gevent.sleep(0.01)
        monkeypatch.setattr(HubChannel, "scan", work)
        for number, client in enumerate(clients):
            cost = session_of(made, f"many-{number}").stream.cost
            assert cost is not None
            cost.exact = EXACT_TURNS
            client.peer.send(p.stream([bytes(100)] * 2), time.monotonic())
        until(lambda: len(passes) == 2 * count)
        for client in clients:
            client.close()
    assert max(Counter(passes).values()) <= 3


def test_a_client_that_moves_gets_another_one(hub: Hub, two: tuple[Client, Client]) -> None:
    one, other = two
    before = own_of(hub, "host-1")
    assert before is not None
    one.udp.close()
    one.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    send(one, udp(3))
    assert other.receive() == framing.encode(udp(3))
    until(lambda: one.works() and own_of(hub, "host-1") not in (None, before))
    after = own_of(hub, "host-1")
    assert after is not None
    assert after.address.far[1] == one.udp.getsockname()[1]
    until(lambda: before._sock.sock.fileno() < 0)


def test_no_more_than_a_bound_have_one_and_who_rests_gives_it_up(
    monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    monkeypatch.setattr(datagram_port, "MOST_OWN", 1)
    one, other = Client(hub, "host-1"), Client(hub, "host-2")
    begin(hub, one, "host-1")
    assert own_of(hub, "host-1")
    begin(hub, other, "host-2")
    send(other, p.udp(B, A, b"x"))
    assert one.receive() == framing.encode(p.udp(B, A, b"x")), "by the port's socket"
    assert own_of(hub, "host-2") is None
    first = session_of(hub, "host-1").channel
    assert first is not None
    first.peer._acked_at = -1000.0  # it has not been used for long
    hub.datagrams._look_at = 0.0

    def has_one() -> bool:
        send(other, p.udp(B, A, b"y"))
        return bool(other.works() and own_of(hub, "host-2"))

    until(has_one)
    assert own_of(hub, "host-1") is None
    for client in (one, other):
        client.close()


def test_no_address_has_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may open 256 sessions had them, and all others had the port's socket, and its floods."""
    monkeypatch.setattr(datagram_port, "MOST_OWN", 4)
    routes = ", ".join(f"{{net: 10.0.1.{number}/32, gateway: many-{number}}}" for number in range(8))
    with running((CONFIG % "datagram").replace("routes: [", f"routes: [{routes}, ")) as (made,):

        def who() -> list[str]:
            hosts = [
                one.attachment.host for one in made.sessions.values() if one.channel in made.datagrams._owners
            ]
            return sorted(host.partition("-")[0] for host in hosts)

        many = [Client(made, f"many-{number}") for number in range(6)]
        for number, client in enumerate(many):
            begin(made, client, f"many-{number}")
        assert who() == ["many"] * 4
        others = [Client(made, f"host-{number}", source="127.0.0.9") for number in (1, 2)]
        for number, client in enumerate(others, 1):
            begin(made, client, f"host-{number}")
            until(lambda: own_of(made, f"host-{number}"))  # noqa: B023
        assert who() == ["host"] * 2 + ["many"] * 2
        for number, client in enumerate(many):
            send(client, p.udp(f"10.0.1.{number}", A, b"x"))
            assert others[0].receive() == framing.encode(p.udp(f"10.0.1.{number}", A, b"x"))
        assert who() == ["host"] * 2 + ["many"] * 2, "they do not take them back"
        for client in (*many, *others):
            client.close()
        until(lambda: not made.sessions)
        assert not made.datagrams._owners
        assert not made.datagrams._counts


def test_what_came_before_the_socket_was_connected_reaches_whom_it_is_for(
    hub: Hub, two: tuple[Client, Client]
) -> None:
    """The kernel gives a bound socket what it would give any other one of that port."""
    one, other = two
    first, second = (session_of(hub, host) for host in ("host-1", "host-2"))
    assert one.peer._seal is not None
    assert first.channel is not None
    assert second.channel is not None
    assert second.stream.cost is not None
    (sealed,) = one.peer._seal.seal((framing.encode(udp(9)),))
    turn = service_turn.Turn()
    turn.begin(second.stream.cost)
    burst = [(first.channel.peer.place, sealed)]
    assert second.channel.take_own(burst, second.stream.cost, turn) == -1
    assert other.receive() == framing.encode(udp(9))


def test_where_descriptors_are_scarce_the_ports_socket_is_used(
    monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    one, other = Client(hub, "host-1"), Client(hub, "host-2")
    monkeypatch.setattr("resource.getrlimit", lambda _: (8, 8))
    for client, host in ((one, "host-1"), (other, "host-2")):
        begin(hub, client, host)
    send(one, udp(1))
    assert other.receive() == framing.encode(udp(1))
    assert own_of(hub, "host-1") is None
    for client in (one, other):
        client.close()


def test_an_error_in_a_turn_costs_the_socket_and_not_the_session(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, two: tuple[Client, Client]
) -> None:
    one, other = two
    take, failed, first = HubChannel.take_own, list[int](), session_of(hub, "host-1").channel

    def fail_once(self: HubChannel, *words: object) -> int:
        if failed or self is not first:  # the other one may have got a PROBE
            return take(self, *words)  # type: ignore[arg-type]
        failed.append(1)
        raise RuntimeError("a fault")

    monkeypatch.setattr(HubChannel, "take_own", fail_once)
    send(one, udp(1))
    until(lambda: failed and own_of(hub, "host-1") is None)
    send(one, udp(2))
    assert other.receive() == framing.encode(udp(2))


@pytest.mark.parametrize("option", [0, socket.SO_REUSEADDR])
def test_nobody_else_may_have_the_port_for_it(hub: Hub, two: tuple[Client, Client], option: int) -> None:
    """Two sockets that say SO_REUSEADDR have one port whoever has made them, and the newer one gets all."""
    assert hub.datagrams.socket is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        if option:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(hub.datagrams.socket.sock.getsockname())


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0", ":0", "'[::1]:0'"])
def test_whatever_address_the_hub_listens_on(address: str) -> None:
    text = (CONFIG % "datagram").replace("127.0.0.1:0", address)
    with running(text) as (made,):
        port = made._server.socket.getsockname()[1]
        far = "::1" if "::1" in address else "127.0.0.1"
        one = Client(made, "host-1", at=(far, port))
        one.begin()
        until(lambda: one.works() and own_of(made, "host-1"))
        one.close()
