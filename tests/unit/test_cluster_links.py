"""Links between hubs over loopback: who is let in, one a pair, what waits, what is dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import gevent
import pytest
from gevent import socket, ssl

from lib import cluster_links, framing, wire_control
from lib.addresses import host_port
from lib.cluster_identity import LinkIdentity
from lib.cluster_link import Receiver
from lib.cluster_links import Links
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment, Namespace
from lib.route_table import RouteTable
from lib.session_cost import Cost
from lib.settings_transport import STREAM

SECRET, OTHER = b"s" * 32, b"o" * 32
NAMESPACE = b"N" * 16


class Taken:
    """What takes the frames of one hub (cluster_receive): they are kept."""

    has_rest = False

    def __init__(self, name: str, came: list[tuple[str, bytes, bytes]]) -> None:
        self._name, self._came = name, came

    def take(
        self,
        namespace: bytes,
        data: bytearray,
        view: memoryview,
        start: int,
        end: int,
        cost: Cost | None = None,
        /,
    ) -> int:
        begin = start
        for after in framing.split(view[start:end]):
            self._came.append((self._name, namespace, bytes(view[begin : start + after])))
            begin = start + after
        return 1

    def send(self, cost: Cost | None = None, /) -> None: ...

    def go_on(self, cost: Cost | None = None, /) -> None: ...


class Hub:
    """One end: its links, and all that has come by them."""

    def __init__(
        self,
        name: str,
        secret: bytes = SECRET,
        channel: str = STREAM,
        datagram: str = "",
        where: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.name = name
        self.addresses: dict[str, str] = {}
        self.came: list[tuple[str, bytes, bytes]] = []
        self.alive: list[str] = []
        self.counted = Traffic()
        identity = LinkIdentity(name, secret)
        self.links = Links(
            name,
            identity,
            where,
            bytes(16),
            self._address_of,
            self._receiver,
            lambda name: self.counted,
            channel,
            datagram,
        )
        self.links.alive = self.alive.append
        self.links.start()
        self.host = Attachment(Namespace(NAMESPACE, RouteTable(()), RouteTable(())), "host-1", "")

    def _address_of(self, name: str) -> str:
        return self.addresses.get(name, "")

    def _receiver(self, name: str) -> Receiver:
        return Taken(name, self.came)

    def send(self, name: str, content: bytes) -> None:
        self.links.send(name, self.host, [framing.encode(content)])

    def knows(self, *others: Hub) -> None:
        for other in others:
            self.addresses[other.name] = other.links.address

    def drops(self) -> dict[Reason, int]:
        return dict(self.host.traffic.drops)


def packet(number: int) -> bytes:
    return bytes([0x45, 0]) + number.to_bytes(2, "big") + bytes(30)


@pytest.fixture
def hubs() -> Iterator[tuple[Hub, Hub]]:
    one, two = Hub("hub-1"), Hub("hub-2")
    one.knows(two)
    two.knows(one)
    yield one, two
    one.links.stop()
    two.links.stop()


def wait_for(true: object, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until, "it did not come about"
        gevent.sleep(0.01)


def test_the_first_frames_wait_for_the_link_and_it_is_used_both_ways(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    for number in range(3):
        one.send("hub-2", packet(number))
    wait_for(lambda: len(two.came) == 3)
    assert two.came == [("hub-1", NAMESPACE, framing.encode(packet(number))) for number in range(3)]
    two.send("hub-1", packet(9))
    wait_for(lambda: one.came)
    assert one.came == [("hub-2", NAMESPACE, framing.encode(packet(9)))]
    assert len(one.links.all) == len(two.links.all) == 1
    assert one.drops() == two.drops() == {}
    wait_for(lambda: "hub-2" in one.alive and "hub-1" in two.alive)


def test_two_that_dial_at_once_end_up_with_one_link_and_lose_nothing(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    for number in range(50):
        one.send("hub-2", packet(number))
        two.send("hub-1", packet(number))
        if number % 10 == 0:
            gevent.sleep(0.01)
    wait_for(lambda: len(one.came) == len(two.came) == 50)
    wait_for(lambda: len(one.links.all) == len(two.links.all) == 1)
    for hub in hubs:
        (link,) = hub.links.all
        assert link.is_dialled == (hub is one), "that of the smaller name stays"
        assert {frame for _, _, frame in hub.came} == {framing.encode(packet(number)) for number in range(50)}


def test_an_idle_link_is_closed_without_a_loss_and_made_again(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hubs
    one.send("hub-2", packet(0))
    wait_for(lambda: two.came)
    monkeypatch.setattr(cluster_links, "IDLE_SECONDS", 0.0)
    wait_for(lambda: not one.links.all and not two.links.all)
    monkeypatch.undo()
    one.send("hub-2", packet(1))
    wait_for(lambda: len(two.came) == 2)


def test_the_end_of_a_link_is_not_that_of_the_dial_for_the_next_one(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    one.send("hub-2", packet(0))
    wait_for(lambda: two.came)
    (link,), peer = one.links.all, one.links._peers["hub-2"]
    peer.link, peer.is_dialling = None, True  # it has drained, and the next one is dialled
    link.close("it is over")
    wait_for(lambda: not one.links._dialling)
    assert peer.is_dialling


@pytest.mark.parametrize(("listens", "why"), [(True, "before it was ready"), (False, "refused")])
def test_a_hub_that_cannot_be_reached_costs_the_frames_and_is_tried_later(
    hubs: tuple[Hub, Hub], listens: bool, why: str
) -> None:
    one, _ = hubs
    stranger = Hub("hub-9", OTHER)
    one.knows(stranger)
    try:
        if not listens:
            stranger.links.stop()
        one.send("hub-9", packet(0))
        wait_for(lambda: one.drops())
        assert one.drops() == {Reason.NO_LINK: 1}
        assert one.links.failed("hub-9")
        one.send("hub-9", packet(1))
        assert one.drops() == {Reason.NO_LINK: 2}, "at once, as it has just failed"
        assert stranger.came == []
        assert not one.links.all
    finally:
        stranger.links.stop()


def test_a_hub_that_is_another_one_gets_nothing(hubs: tuple[Hub, Hub]) -> None:
    """Whoever writes hub-2's address into the entry of hub-3 gets no packet for hub-3."""
    one, two = hubs
    one.addresses["hub-3"] = two.links.address
    one.send("hub-3", packet(0))
    wait_for(lambda: one.drops())
    assert "is hub 'hub-2'" in one.links.failed("hub-3")
    assert two.came == []


def test_too_much_that_waits_is_dropped_oldest_first(hubs: tuple[Hub, Hub]) -> None:
    one, two = hubs
    big = bytes([0x45]) + bytes(60_000)
    for _ in range(8):
        one.send("hub-2", big)
    assert one.drops() == {Reason.NO_LINK: 4}
    wait_for(lambda: len(two.came) == 4)


def dialled(hub: Hub, made: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(host_port(hub.links.address), timeout=5)
    return made.wrap_socket(sock)


def refused(hub: Hub, made: ssl.SSLContext) -> bool:
    """Whether a connection ends without a byte from the hub's program."""
    try:
        with dialled(hub, made) as tls:
            tls.sendall(framing.encode(b"\xe0" + bytes(19)))
            return not tls.recv(100)
    except OSError:
        return True


def no_certificate() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def another_secret() -> ssl.SSLContext:
    made = LinkIdentity("hub-2", OTHER).client
    made.verify_mode = ssl.CERT_NONE  # it would take anybody
    return made


def tls_1_2() -> ssl.SSLContext:
    made = LinkIdentity("hub-2", SECRET).client
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    return made


def its_own_name() -> ssl.SSLContext:
    return LinkIdentity("hub-1", SECRET).client


@pytest.mark.parametrize(
    "who", [no_certificate, another_secret, tls_1_2, its_own_name], ids=lambda one: one.__name__
)
def test_who_has_not_the_secret_gets_no_link(hubs: tuple[Hub, Hub], who: object) -> None:
    one, _ = hubs
    assert refused(one, who())  # type: ignore[operator]
    assert one.came == []
    wait_for(lambda: not one.links.all)


def test_who_has_the_secret_gets_one(hubs: tuple[Hub, Hub]) -> None:
    """So that the test above can fail."""
    one, _ = hubs
    with dialled(one, LinkIdentity("hub-2", SECRET).client) as tls:
        assert tls.recv(100)[2] == 0xF0, "HELLO"


@pytest.mark.parametrize(
    "data",
    [
        framing.encode(b"\xe0" + bytes(19)),
        framing.encode(b"\x45" + bytes(30)),
        bytes(2),
        b"GET / HTTP/1.1\r\n\r\n" * 4000,
    ],
    ids=["an envelope before HELLO", "a packet", "an empty frame", "something else"],
)
def test_what_belongs_on_no_link_ends_it(hubs: tuple[Hub, Hub], data: bytes) -> None:
    one, _ = hubs
    with dialled(one, LinkIdentity("hub-2", SECRET).client) as tls:
        with suppress(OSError):
            tls.sendall(data)
            while tls.recv(1000):
                pass
    wait_for(lambda: not one.links.all)
    assert one.came == []


def test_what_stands_behind_hello_stays_where_others_receive_while_it_is_heard(hubs: tuple[Hub, Hub]) -> None:
    """All links receive into one buffer, and flows that are decided anew let others have their turns."""
    one, two = hubs
    two.send("hub-1", packet(1))
    wait_for(lambda: one.came)
    large = packet(2) + bytes(2000)

    def decide_anew(name: str, is_it: bool) -> None:
        two.send("hub-1", large)
        wait_for(lambda: len(one.came) == 2)

    one.links.unreachable = decide_anew
    with dialled(one, LinkIdentity("hub-3", SECRET).client) as tls:
        envelopes = (b"\xe0\0\0\0" + NAMESPACE + framing.encode(packet(number)) for number in (3, 4))
        tls.sendall(tls.recv(1000) + b"".join(map(framing.encode, envelopes)))
        wait_for(lambda: len(one.came) == 4)
    assert one.came == [
        (f"hub-{hub}", NAMESPACE, framing.encode(content))
        for content, hub in ((packet(1), 2), (large, 2), (packet(3), 3), (packet(4), 3))
    ]


def test_a_far_hub_that_says_nothing_is_dead(hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.cluster_link.GREET_SECONDS", 0.5)
    one, _ = hubs
    with dialled(one, LinkIdentity("hub-2", SECRET).client) as tls:
        wait_for(lambda: one.links.all)
        tls.recv(1000)
        wait_for(lambda: not one.links.all)


# --- what strangers and other hubs may hold ----------------------------------------------------------


def test_strangers_who_hold_connections_keep_no_hub_out(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hubs
    monkeypatch.setattr(one.links._strangers, "_most", 4)
    where = host_port(one.links.address)
    silent = [socket.create_connection(where, timeout=5) for _ in range(20)]
    wait_for(lambda: len(one.links._strangers) == 4)
    two.send("hub-1", packet(1))
    wait_for(lambda: one.came)
    assert len(one.links._strangers) < 4 or len(one.links.all) == 1
    for sock in silent[:15]:
        assert sock.recv(1) == b"", "the oldest have gone"
    for sock in silent:
        sock.close()


def test_a_link_that_stands_is_no_stranger_s_place(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = hubs
    two.send("hub-1", packet(1))
    wait_for(lambda: one.came)
    monkeypatch.setattr(one.links._strangers, "_most", 1)
    (link,) = one.links.all
    for _ in range(5):
        socket.create_connection(host_port(one.links.address), timeout=5).close()
    two.send("hub-1", packet(2))
    wait_for(lambda: len(one.came) == 2)
    assert list(one.links.all) == [link]


def test_one_hub_has_few_links(hubs: tuple[Hub, Hub]) -> None:
    one, _ = hubs
    made = LinkIdentity("hub-2", SECRET).client
    links = [dialled(one, made) for _ in range(cluster_links.LINKS_OF_ONE)]
    assert all(tls.recv(100) for tls in links)
    assert refused(one, made)
    assert len(one.links.all) == cluster_links.LINKS_OF_ONE
    for tls in links:
        tls.close()


def test_what_waits_for_all_links_together_is_bounded(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_links, "ALL_WAITING", 100_000)
    monkeypatch.setattr(cluster_links, "DIAL_SECONDS", 0.5)
    one, _ = hubs
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and says nothing
        for number in range(10):
            one.addresses[f"hub-{10 + number}"] = f"127.0.0.1:{deaf.getsockname()[1]}"
            one.send(f"hub-{10 + number}", bytes([0x45]) + bytes(30_000))
        assert one.links._waiting <= 100_000
        assert one.drops() == {Reason.NO_LINK: 7}
        wait_for(lambda: one.drops() == {Reason.NO_LINK: 10})
    assert one.links._waiting == 0


def test_hubs_of_which_nothing_is_left_are_forgotten(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_links, "MAX_PEERS", 5)
    one, two = hubs
    one.send("hub-2", packet(1))
    wait_for(lambda: two.came)
    for number in range(20):
        one.send(f"unknown-{number}", packet(number))
        wait_for(lambda number=number: one.links.failed(f"unknown-{number}"))
    assert len(one.links._peers) <= 5
    assert one.links.link_with("hub-2") is not None


def test_a_hub_that_leaves_again_and_again_is_waited_for_once(
    hubs: tuple[Hub, Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[object] = []
    monkeypatch.setattr("lib.cluster_link.Link._leave", lambda link: left.append(link))
    one, _ = hubs
    with dialled(one, LinkIdentity("hub-2", SECRET).client) as tls:
        hello = wire_control.Hello(bytes(16), 0, 0, "x", 0)
        drain = framing.encode(wire_control.encode_drain())
        tls.sendall(framing.encode(wire_control.encode_hello(hello)))
        wait_for(lambda: one.links.all and next(iter(one.links.all)).is_ready)
        (link,) = one.links.all
        for number in range(5):  # of those that come at once only one counts anyway
            tls.sendall(drain)
            wait_for(lambda number=number: link.traffic.received_packets == 2 + number)
        wait_for(lambda: left)
    assert left == [link]
