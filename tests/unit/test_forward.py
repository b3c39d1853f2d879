"""Forwarding: what goes out to whom for what came in, from GOST's recorded cases to arbitrary bytes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import capture_watch, forward, forward_frame, framing, namespace, packet_offload, wire_control
from lib.capture_taps import Capture, Choice, Taps
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.plugin_cache import MAX_WAITING, RETRY_SECONDS
from lib.route_plugin_cache import PluginCache
from lib.route_table import Route, RouteTable
from tests.support import packets as p
from tests.support.routes import Nobody, entry, to

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "hub_forwarding.json").read_text())
ONE, TWO = b"1" * 16, b"2" * 16
MTU = 1420
TABLE = [
    ("192.168.123.1/32", "host-1"),
    ("192.168.123.2/32", "host-2"),
    ("192.168.123.3/32", "host-3"),
    ("192.168.100.0/24", "host-1"),
    ("192.168.200.0/24", "host-2"),
    ("fd00:123::1/128", "host-1"),
    ("fd00:123::2/128", "host-2"),
]
H1, H2, H3, NOWHERE = "192.168.123.1", "192.168.123.2", "192.168.123.3", "172.31.0.1"
S1, S2 = "fd00:123::1", "fd00:123::2"


def table(*routes: tuple[str, str]) -> RouteTable:
    return RouteTable(entry(prefix, gateway) for prefix, gateway in routes or TABLE)


class Net:
    """A hub without sockets: ports by (namespace, host), and what each was sent."""

    def __init__(self, domain: Domain | None = None, taps: Taps | None = None) -> None:
        """With taps whatever passes is watched."""
        self.taps = taps
        self.domain = domain or Domain({ONE: table(), TWO: table()})
        self.now = 1000.0
        self.sent: dict[Attachment, bytes] = {}
        self.controls: list[bytes] = []
        self.slices: list[int] = []
        """Lengths of the slices of the last scan, by target and order."""
        self._tails: dict[Attachment, bytes] = {}

    def join(self, host: str, key: bytes = ONE, offloads: int | None = None, mtu: int = MTU) -> Attachment:
        """A GOST peer, or with `offloads` one of our own kind that has said HELLO."""
        attachment = Attachment(self.domain.namespace(key), host, "test")
        attachment.mtu = framing.GOST_CLIENT_MAX
        if offloads is not None:
            attachment.is_tunrouter, attachment.offloads, attachment.mtu = True, offloads, mtu
        self.domain.enter(attachment, 0.0)
        return attachment

    def feed(self, attachment: Attachment, data: bytes) -> None:
        """What a session does with bytes it received."""
        buffer, view, start, end = p.received(self._tails.pop(attachment, b"") + data)
        out = forward_frame.Output()
        if self.taps is not None:
            stop = capture_watch.scan(attachment, buffer, view, start, end, self.now, out, self.taps)
        else:
            stop = forward.scan(attachment, buffer, view, start, end, self.now, out)
        assert start <= stop <= end
        self._tails[attachment] = bytes(view[stop:end])
        self.slices = [len(piece) for run in out.runs.values() for piece in run]
        for target, run in out.runs.items():
            self.sent[target] = self.sent.get(target, b"") + b"".join(map(bytes, run))
        self.controls += out.controls

    def send(self, attachment: Attachment, *contents: bytes) -> None:
        self.feed(attachment, p.stream(contents))

    def tail(self, attachment: Attachment) -> bytes:
        return self._tails.get(attachment, b"")

    def got(self, attachment: Attachment) -> list[bytes]:
        """The frame contents a port was sent since the last call."""
        return p.contents(self.sent.pop(attachment, b""))


@pytest.fixture(params=[False, True], ids=["plain", "watched"])
def net(request: pytest.FixtureRequest) -> Net:
    """Whether anybody looks must not make a difference."""
    taps = Taps()
    taps.add(Capture(Choice(), lambda: None))
    return Net(taps=taps if request.param else None)


def drops(attachment: Attachment) -> dict[Reason, int]:
    return dict(attachment.traffic.drops)


# --- as GOST forwards, by name ---------------------------------------------------------------------

SAME_AS_GOST = {
    "ipv4", "ipv4_subnet", "ipv6", "to_itself", "ttl_1_is_forwarded", "two_frames_in_one_write", "still_alive",
}  # fmt: skip
DROPPED_AS_BY_GOST = {
    "first_nibble_0": Reason.NOT_IP,
    "first_nibble_5": Reason.NOT_IP,
    "first_nibble_15": Reason.NOT_IP,
    "shorter_than_header": Reason.TRUNCATED,
}
DIFFERENT_ON_PURPOSE = {
    "ipv4_wrong_source_is_forwarded": Reason.WRONG_SOURCE,
    "total_length_lies": Reason.TRUNCATED,
    "length_0": Reason.EMPTY_FRAME,
}


def recorded(names: Collection[str]) -> pytest.MarkDecorator:
    cases = [case for case in RECORDED if case["name"] in names]
    assert len(cases) == len(names)
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in cases])


def play(net: Net, case: Mapping[str, Any]) -> tuple[Attachment, str, str, str]:
    """Host-1's port, and what host-2, host-2 of the other namespace and host-1 received, in hex."""
    one, two, other = net.join("host-1"), net.join("host-2"), net.join("host-2", TWO)
    net.feed(one, bytes.fromhex(case["sent_by_host_1"]))
    return one, *(net.sent.get(attachment, b"").hex() for attachment in (two, other, one))  # type: ignore[return-value]


def recorded_answer(case: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        case["received_by_host_2"],
        case["received_by_host_2_of_other_namespace"],
        case["received_by_host_1"],
    )


def test_every_recorded_case_is_tested() -> None:
    names = {case["name"] for case in RECORDED}
    assert names == {
        *SAME_AS_GOST,
        *DROPPED_AS_BY_GOST,
        *DIFFERENT_ON_PURPOSE,
        "no_route",
        "longer_than_4096",
    }


@recorded(SAME_AS_GOST)
def test_forwards_as_gost_does(net: Net, case: dict[str, Any]) -> None:
    one, *received = play(net, case)
    assert tuple(received) == recorded_answer(case)
    assert not one.traffic.drops


@recorded(DROPPED_AS_BY_GOST)
def test_drops_as_gost_does(net: Net, case: dict[str, Any]) -> None:
    one, *received = play(net, case)
    assert tuple(received) == recorded_answer(case) == ("", "", "")
    assert drops(one) == {DROPPED_AS_BY_GOST[case["name"]]: 1}


@recorded(DIFFERENT_ON_PURPOSE)
def test_differs_on_purpose_dropped_and_counted(net: Net, case: dict[str, Any]) -> None:
    one, *received = play(net, case)
    assert received == ["", "", ""]
    assert drops(one) == {DIFFERENT_ON_PURPOSE[case["name"]]: 1}
    assert recorded_answer(case)[0] or case["hub_process_ended"], "GOST forwards it, or ends on it"


@recorded({"longer_than_4096"})
def test_differs_on_purpose_nothing_is_truncated(net: Net, case: dict[str, Any]) -> None:
    _, received, *others = play(net, case)
    assert received == case["sent_by_host_1"] != case["received_by_host_2"]
    assert others == ["", ""]


@recorded({"no_route"})
def test_differs_on_purpose_no_route_is_answered(net: Net, case: dict[str, Any]) -> None:
    one, *received = play(net, case)
    assert received[:2] == ["", ""]
    (answer,) = p.contents(bytes.fromhex(received[2]))
    assert_unreachable(answer, H1, NOWHERE, 0)
    assert drops(one) == {Reason.NO_ROUTE: 1}


def assert_unreachable(answer: bytes, to: str, about: str, code: int) -> None:
    p.assert_right(answer)
    assert p.ends_of(answer) == (about, to)
    assert answer[20:22] == bytes([3, code])


# --- splits ----------------------------------------------------------------------------------------

MIXED = [
    p.udp(H1, H2, b"one"),
    p.tcp(H1, H2, b"two"),
    b"",
    p.icmp(H1, H2),
    p.udp(H1, NOWHERE),
    b"\x55" * 7,
    p.udp(S1, S2),
    p.udp(H1, H2, b"one"),
    wire_control.encode_hello(wire_control.Hello()),
    p.partial(p.udp(H1, H2, b"partial", partial=True)),
    p.superpacket(p.tcp(H1, H2, bytes(3000), partial=True), 1000),
    p.udp(H1, H2, b"last"),
]


@pytest.mark.parametrize("step", [1, 2, 3, 29, 1000])
def test_splits_do_not_matter(net: Net, step: int) -> None:
    data = p.stream(MIXED)
    whole = Net()
    mine, theirs = ((n.join("host-1", offloads=packet_offload.ALL), n.join("host-2")) for n in (net, whole))
    whole.feed(theirs[0], data)
    for at in range(0, len(data), step):
        net.feed(mine[0], data[at : at + step])
    assert [net.sent[attachment] for attachment in mine] == [whole.sent[attachment] for attachment in theirs]
    assert (net.controls, mine[0].traffic) == (whole.controls, theirs[0].traffic)
    assert net.tail(mine[0]) == b""
    assert len(net.got(mine[1])) == 10


def test_a_frame_is_not_touched_before_it_is_whole(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    data = p.frame(p.udp(H1, H2))
    net.feed(one, data[:-1])
    assert (net.tail(one), net.sent, one.traffic.received_packets) == (data[:-1], {}, 0)
    net.feed(one, data[-1:])
    assert net.sent == {two: data}


# --- any bytes -------------------------------------------------------------------------------------

any_frames = st.lists(
    st.one_of(
        st.sampled_from(MIXED),
        st.binary(max_size=80),
        st.builds(lambda a, b: p.ip(a, b, 17, b"p" * 12), st.sampled_from([H1, H2, H3]), st.sampled_from([H1, H2, H3, NOWHERE])),
        st.builds(lambda h, c: h + c[10:], st.binary(min_size=10, max_size=10), st.sampled_from(MIXED[-3:-1])),
        st.builds(lambda c, at, v: c[:at] + bytes([v]) + c[at + 1 :], st.sampled_from(MIXED), st.integers(0, 60), st.integers(0, 255)),
    ),
    max_size=10,
).map(p.stream)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(any_frames, st.binary(max_size=300)), st.booleans(), st.booleans())
def test_any_bytes_stay_in_their_namespace_and_come_out_whole(data: bytes, told: bool, checked: bool) -> None:
    net = Net(Domain({ONE: table(), TWO: table()}, source_check=checked))
    one = net.join("host-1", offloads=packet_offload.ALL if told else None)
    inside = [one, net.join("host-2"), net.join("host-3", offloads=packet_offload.ALL)]
    outside = [net.join(host, TWO) for host in ("host-1", "host-2", "host-3")]
    net.feed(one, data)
    assert set(net.sent).isdisjoint(outside)
    tail = net.tail(one)
    assert len(tail) < 2 or len(tail) < 2 + int.from_bytes(tail[:2])
    for attachment in inside:
        for content in net.got(attachment):
            assert 0 < len(content) <= attachment.mtu or attachment.offloads
            assert content[0] >> 4 in ((0, 4, 6) if attachment.offloads else (4, 6))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, n) for n in (1, 2, 2, 5)]), max_size=60))
def test_two_namespaces_with_the_same_addresses_never_meet(moves: list[tuple[int, int, int, int]]) -> None:
    net = Net()
    hosts, keys = ("host-1", "host-2", "host-3"), (ONE, TWO)
    attachments = {(k, h): net.join(hosts[h], keys[k], packet_offload.ALL) for k in (0, 1) for h in range(3)}
    addresses = (H1, H2, H3)
    wanted: dict[Attachment, list[bytes]] = {attachment: [] for attachment in attachments.values()}
    for number, (key, source, destination, kind) in enumerate(moves):
        ends, tag = (addresses[source], addresses[destination]), b"%d %d" % (key, number)
        content = (
            p.udp(*ends, tag),
            p.tcp(*ends, tag.ljust(8)),
            p.icmp(*ends, payload=tag),
            p.ip(*ends, p.UDP, tag.ljust(16), fragment=p.MORE_FRAGMENTS),
            p.partial(p.udp(*ends, tag, partial=True)),
            p.superpacket(p.tcp(*ends, tag * 100, partial=True), 100),
        )[kind]
        net.send(attachments[key, source], content)
        wanted[attachments[key, destination]].append(content)
    assert {attachment: net.got(attachment) for attachment in wanted} == wanted


# --- runs and order --------------------------------------------------------------------------------


def test_a_run_of_one_flow_is_one_slice(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, p.udp(H1, H2))
    net.send(one, *[p.udp(H1, H2, bytes([n])) for n in range(10)])
    assert net.slices == [10 * 31]
    assert len(net.got(two)) == 11


def test_a_run_may_hold_several_flows_of_one_port(net: Net) -> None:
    one = net.join("host-1")
    net.join("host-2")
    flows = [p.udp(H1, H2, b"x", ports=(4000, n)) for n in range(5)]
    net.send(one, *flows)
    net.send(one, *flows)
    assert net.slices == [5 * 31]


def test_runs_of_two_targets_are_slices_in_order(net: Net) -> None:
    one, two, three = net.join("host-1"), net.join("host-2"), net.join("host-3")
    mix = [p.udp(H1, to, bytes([n])) for n, to in enumerate([H2, H2, H3, H2, H3, H3, H2])]
    net.send(one, *mix)
    net.sent.clear()
    net.send(one, *mix)
    assert net.slices == [62, 31, 31, 31, 62]
    assert net.got(two) == [mix[n] for n in (0, 1, 3, 6)]
    assert net.got(three) == [mix[n] for n in (2, 4, 5)]


@pytest.mark.parametrize("own_kind", [False, True])
def test_order_is_kept_when_some_frames_take_the_slow_path(net: Net, own_kind: bool) -> None:
    one = net.join("host-1", offloads=packet_offload.ALL)
    two = net.join("host-2", offloads=packet_offload.ALL if own_kind else None)
    net.send(one, p.udp(H1, H2, b"the flow is known now"))
    net.got(two)
    net.send(
        one,
        p.udp(H1, H2, b"0"),
        p.udp(H1, H2, b"1"),
        p.icmp(H1, H2, payload=b"2"),
        p.udp(H1, H2, b"3"),
        b"",
        p.udp(H1, H2, b"4"),
        p.partial(p.udp(H1, H2, b"5", partial=True)),
        p.superpacket(p.udp(H1, H2, b"6" * 20, partial=True), 10),
        p.udp(H1, H2, b"7"),
        p.udp(H1, NOWHERE, b"-"),
        p.ip(H1, H2, p.UDP, b"8" * 16, fragment=p.MORE_FRAGMENTS),
        p.udp(H1, H2, b"9"),
    )
    seen = [bytes([content[-1]]) for content in net.got(two)]
    assert b"".join(seen) == (b"0123456789" if own_kind else b"01234566789")


# --- superpackets ----------------------------------------------------------------------------------

SUPER = {
    "TSO4": (p.superpacket(p.tcp(H1, H2, bytes(range(250)) * 200, partial=True), 1380), packet_offload.TSO4),
    "TSO6": (p.superpacket(p.tcp(S1, S2, bytes(range(250)) * 200, partial=True), 1360), packet_offload.TSO6),
    "USO4": (p.superpacket(p.udp(H1, H2, bytes(range(250)) * 200, partial=True), 1300), packet_offload.USO4),
    "USO6": (p.superpacket(p.udp(S1, S2, bytes(range(250)) * 200, partial=True), 1300), packet_offload.USO6),
    "partial TCP": (p.partial(p.tcp(H1, H2, bytes(range(250)), partial=True)), packet_offload.CSUM),
    "partial UDP": (p.partial(p.udp(H1, H2, bytes(range(250)), partial=True)), packet_offload.CSUM),
    "partial UDP over IPv6": (p.partial(p.udp(S1, S2, bytes(range(250)), partial=True)), packet_offload.CSUM),
}
each_super = pytest.mark.parametrize(("content", "bit"), SUPER.values(), ids=SUPER)


def assert_segments(packets: list[bytes], content: bytes) -> None:
    for packet in packets:
        p.assert_right(packet)
        assert len(packet) <= MTU
    assert b"".join(map(p.payload_of, packets)) == p.payload_of(content[10:])


@each_super
def test_who_takes_superpackets_gets_the_same_bytes(net: Net, content: bytes, bit: int) -> None:
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.CSUM | bit),
    )
    net.send(one, content, content)
    assert net.got(two) == [content, content]


@each_super
def test_gost_gets_segments(net: Net, content: bytes, bit: int) -> None:
    one, two = net.join("host-1", offloads=packet_offload.ALL), net.join("host-2")
    for _ in range(2):  # of an unknown flow, of a known one
        net.send(one, content)
        assert_segments(net.got(two), content)


@pytest.mark.parametrize(("content", "bit"), list(SUPER.values())[:4], ids=list(SUPER)[:4])
def test_who_lacks_the_bit_gets_segments(net: Net, content: bytes, bit: int) -> None:
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.ALL & ~bit),
    )
    net.send(one, content)
    packets = net.got(two)
    assert len(packets) > 30
    assert_segments(packets, content)


def test_a_header_with_nothing_in_it_is_taken_off_for_gost(net: Net) -> None:
    one, two, three = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2"),
        net.join("host-3", offloads=1),
    )
    packets = [p.udp(H1, to) for to in (H2, H2, H3, H3)]
    net.send(one, *map(p.headed, packets))
    assert net.got(two) == packets[:2]
    assert net.got(three) == list(map(p.headed, packets[2:]))


KNOWN = {
    "TCP": p.tcp(H1, H2, bytes(40)),
    "UDP": p.udp(H1, H2, bytes(40)),
    "TCP, headed": p.headed(p.tcp(H1, H2, bytes(40))),
    "UDP, headed": p.headed(p.udp(H1, H2, bytes(40))),
    "ping": p.icmp(H1, H2, payload=bytes(40)),
    "ping, headed": p.headed(p.icmp(H1, H2, payload=bytes(40))),
    "superpacket": p.superpacket(p.tcp(H1, H2, bytes(500), partial=True), 100),
}


@pytest.mark.parametrize("content", KNOWN.values(), ids=KNOWN)
def test_one_byte_of_a_known_flows_frame_is_anything(net: Net, content: bytes) -> None:
    """Whatever it is, the frame goes somewhere or is counted as dropped."""
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.ALL),
    )
    for at in range(60):
        for value in range(256):
            if value % 16 == 0:
                net.send(one, p.tcp(H1, H2, bytes(40)), p.udp(H1, H2, bytes(40)), p.icmp(H1, H2))
                assert len(net.got(two)) == 3
            before = sum(one.traffic.drops.values())
            net.send(one, content[:at] + bytes([value]) + content[at + 1 :])
            assert net.sent or net.controls or sum(one.traffic.drops.values()) > before
            net.sent.clear()
            net.controls.clear()


def test_headers_of_a_peer_that_has_not_said_hello_are_no_packets(net: Net) -> None:
    one = net.join("host-1")
    net.join("host-2")
    net.send(one, *(content for content, _ in SUPER.values()))
    assert not net.sent
    assert drops(one) == {Reason.NOT_IP: len(SUPER)}


TCP_SUPER = p.tcp(H1, H2, bytes(6000), partial=True)
TRUE = p.superpacket(TCP_SUPER, 1000)


@pytest.mark.parametrize(
    ("forged", "true"),
    [
        pytest.param(p.virtio(1, 1, 40, 1000, 20, 2), TRUE[:10], id="csum_offset: the port"),
        pytest.param(p.virtio(1, 1, 40, 1000, 0, 12), TRUE[:10], id="csum_start: the source"),
        pytest.param(p.virtio(1, 1, 9, 1000, 20, 16), TRUE[:10], id="hdr_len"),
        pytest.param(p.virtio(3, 1, 40, 1000, 20, 16), TRUE[:10], id="flags"),
        pytest.param(p.virtio(2, 0, 40, 1000, 20, 16), p.NO_OFFLOAD, id="nothing that counts"),
        pytest.param(p.virtio(1, 1, 40, 1, 20, 16), None, id="gso_size 1"),
        pytest.param(p.virtio(1, 4, 40, 1000, 20, 16), None, id="TSO6 of IPv4"),
        pytest.param(p.virtio(0, 1, 40, 1000, 20, 16), None, id="no NEEDS_CSUM"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_forged_headers_are_rebuilt_or_dropped(
    net: Net, forged: bytes, true: bytes | None, known: bool
) -> None:
    one = net.join("host-1", offloads=packet_offload.ALL)
    two = net.join("host-2", offloads=packet_offload.ALL, mtu=9000)
    if known:
        net.send(one, p.tcp(H1, H2))
        net.got(two)
    net.send(one, forged + TCP_SUPER)
    assert net.got(two) == ([true + TCP_SUPER] if true else [])
    assert drops(one) == ({} if true else {Reason.BAD_OFFLOAD: 1})


numbers = st.sampled_from((0, 1, 2, 6, 16, 20, 27, 28, 40, 44, 52, 100, 1000, 1380, 1400, 65535))
claims = st.builds(
    p.virtio,
    st.sampled_from((0, 1, 1, 1, 2, 3)),
    st.sampled_from((0, 1, 1, 4, 5, 0x81, 0x80)),
    *[numbers] * 4,
)
half_done = st.one_of(
    st.builds(lambda n: p.udp(H1, H2, bytes(n), partial=True), st.integers(0, 3000)),
    st.builds(lambda n: p.tcp(H1, H2, bytes(n), partial=True), st.integers(0, 3000)),
    st.builds(lambda n: p.tcp(H1, H2, bytes(n), options=b"\1" * 12, partial=True), st.integers(0, 3000)),
    st.builds(
        lambda n: p.tcp(H1, H2, bytes(n), partial=True, fragment=p.MORE_FRAGMENTS), st.integers(0, 3000)
    ),
    st.builds(
        lambda kind, n, fragment: p.ip(H1, H2, 1, bytes([kind]) + bytes(n), fragment=fragment),
        *(
            st.sampled_from((0, 3, 8)),
            st.integers(0, 3000),
            st.sampled_from((0, 0, p.DONT_FRAGMENT, 0x2000, 9)),
        ),
    ),
)
usual = st.sampled_from(
    [(1, 0, 0, 0, 20, 16), (1, 0, 0, 0, 20, 6), (1, 1, 40, 1000, 20, 16), (1, 1, 52, 1000, 20, 16)]
)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(claims, usual.map(lambda fields: p.virtio(*fields)), st.just(p.NO_OFFLOAD), st.just(b"")),
    half_done,
    st.sampled_from((0, 1, 3, 0x6F)),
)
def test_a_known_flow_is_treated_as_an_unknown_one(claim: bytes, packet: bytes, offloads: int) -> None:
    seen = []
    for known in (False, True):
        net = Net()
        one, two = net.join("host-1", offloads=packet_offload.ALL), net.join("host-2", offloads=offloads)
        if known:
            net.send(one, p.tcp(H1, H2), p.udp(H1, H2), p.icmp(H1, H2))
            net.got(two)
        before = one.traffic.received_packets, two.traffic.sent_packets
        net.send(one, claim + packet)
        counts = one.traffic.received_packets - before[0], two.traffic.sent_packets - before[1]
        seen.append((net.got(two), net.got(one), drops(one), counts))
    assert seen[0] == seen[1]


def test_pings_between_two_hosts_are_judged_once(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[bytes] = []
    real = forward._judge

    def judge(attachment: Attachment, buf: bytearray, start: int, end: int, *more: Any) -> Attachment | None:
        judged.append(bytes(buf[start:end]))
        return real(attachment, buf, start, end, *more)

    monkeypatch.setattr(forward, "_judge", judge)
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.ALL),
    )
    request, other = p.icmp(H1, H2, identifier=3), p.icmp(H1, H2, 0, b"reply")
    part = p.ip(H1, H2, 1, request[20:], fragment=p.MORE_FRAGMENTS)
    udp, sctp = p.udp(H1, H2), p.ip(H1, H2, 132, bytes(40))
    contents = [request, other, p.headed(request), request, part, p.headed(part), udp, udp, sctp, sctp]
    net.send(one, *contents)
    assert net.got(two) == contents
    assert judged == [request, part, p.headed(part), udp, sctp, sctp]


# --- too big ---------------------------------------------------------------------------------------


def oversized(kind: str, size: int, fragment: int = p.DONT_FRAGMENT) -> bytes:
    """A frame content whose single packet, or whose segments, are `size` bytes long."""
    if kind == "plain":
        return p.udp(H1, H2, bytes(size - 28), fragment=fragment)
    if kind == "headed":
        return p.headed(p.udp(H1, H2, bytes(size - 28), fragment=fragment))
    if kind == "IPv6":
        return p.udp(S1, S2, bytes(size - 48))
    return p.superpacket(p.tcp(H1, H2, bytes(60000), partial=True, fragment=fragment), size - 40)


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        *((kind, False) for kind in ("plain", "headed", "superpacket", "IPv6")),
        *((kind, True) for kind in ("plain", "headed", "superpacket", "IPv6")),
    ],
)
def test_too_big_is_answered_and_counted(net: Net, kind: str, known: bool) -> None:
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.ALL),
    )
    if known:
        net.send(one, p.udp(H1, H2), p.tcp(H1, H2), p.udp(S1, S2))
        net.got(two)
    net.send(one, oversized(kind, MTU + 1))
    assert net.got(two) == []
    segments = -(-60000 // (MTU + 1 - 40)) if kind == "superpacket" else 1
    assert drops(one) == {Reason.TOO_BIG: segments}
    (answer,) = net.got(one)
    p.assert_right(answer)
    assert p.ends_of(answer) == ((S2, S1) if kind == "IPv6" else (H2, H1))
    at, kinds, width = (40, bytes([2, 0]), 4) if kind == "IPv6" else (20, bytes([3, 4]), 2)
    assert answer[at : at + 2] == kinds
    assert int.from_bytes(answer[at + 8 - width : at + 8]) == MTU


@pytest.mark.parametrize("kind", ["plain", "headed", "superpacket", "IPv6"])
def test_exactly_the_mtu_passes(net: Net, kind: str) -> None:
    one, two = (
        net.join("host-1", offloads=packet_offload.ALL),
        net.join("host-2", offloads=packet_offload.ALL),
    )
    content = oversized(kind, MTU)
    net.send(one, content, content)
    assert net.got(two) == [content, content]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", ["plain", "headed", "superpacket"])
def test_too_big_without_dont_fragment_goes_in_fragments(net: Net, kind: str, known: bool) -> None:
    """From a device with mtu=9000 to one with mtu=1420, as of `ping -M dont -s 3000`."""
    one = net.join("host-1", offloads=packet_offload.ALL, mtu=9000)
    two = net.join("host-2", offloads=packet_offload.ALL)
    if known:
        net.send(one, p.udp(H1, H2), p.tcp(H1, H2))
        net.got(two)
    before = one.traffic.received_packets, two.traffic.sent_packets
    content, small = oversized(kind, 3000, 0), p.udp(H1, H2)
    net.send(one, small, content, small)
    first, *parts, last = net.got(two)
    assert (first, last) == (small, small), "in order"
    whole = packet_offload.packets(content) if kind == "superpacket" else [p.udp(H1, H2, bytes(2972))]
    assert [p.joined(parts[n * 3 : n * 3 + 3]) for n in range(len(whole))] == whole
    assert max(map(len, parts)) <= MTU
    assert not drops(one)
    assert one.traffic.received_packets - before[0] == len(whole) + 2
    assert two.traffic.sent_packets - before[1] == len(parts) + 2
    assert not net.sent, "its sender is told nothing"


def test_fragments_count_as_work_of_a_scan(net: Net) -> None:
    """So a turn that makes many of them ends as early as one that cuts superpackets up."""
    one = net.join("host-1", offloads=packet_offload.ALL, mtu=9000)
    two = net.join("host-2", offloads=packet_offload.ALL, mtu=576)
    frame = p.frame(p.udp(H1, H2, bytes(8972)))
    buffer, view, start, end = p.received(frame * 10)
    out = forward_frame.Output()
    each = 1 + 17 // forward.CUT_ALIKE
    assert forward.scan(one, buffer, view, start, end, net.now, out, 3 * each) == start + 3 * len(frame)
    assert (out.frames, out.cut) == (3, 3 * 17)
    assert len(p.contents(b"".join(map(bytes, out.runs[two])))) == 3 * 17


def test_what_would_become_too_many_fragments_is_dropped(net: Net) -> None:
    one = net.join("host-1", offloads=packet_offload.ALL, mtu=65525)
    net.join("host-2", offloads=packet_offload.ALL, mtu=68)
    net.send(one, p.udp(H1, H2, bytes(65000)))
    assert not net.sent
    assert drops(one) == {Reason.TOO_BIG: 1}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("size", "passes"), [(framing.GOST_CLIENT_MAX, True), (framing.GOST_CLIENT_MAX + 1, False)]
)
def test_a_gost_client_gets_nothing_it_would_end_on(net: Net, size: int, passes: bool, known: bool) -> None:
    one, two = net.join("host-1", offloads=packet_offload.ALL), net.join("host-2")
    if known:
        net.send(one, p.udp(H1, H2))
        net.got(two)
    for kind in ("plain", "headed", "superpacket"):
        net.send(one, oversized(kind, size))
        got = net.got(two)
        assert bool(got) == passes
        net.send(one, oversized(kind, size, 0))
        cut = net.got(two)
        assert cut, "without DF it comes, in fragments if need be"
        assert all(len(content) <= framing.GOST_CLIENT_MAX for content in got + cut)


# --- what is never routed, and what is answered ----------------------------------------------------


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        (H1, "224.0.0.1", Reason.MULTICAST),
        (H1, "239.255.255.255", Reason.MULTICAST),
        (H1, "255.255.255.255", Reason.MULTICAST),
        (H1, "127.0.0.1", Reason.LINK_LOCAL),
        (H1, "0.0.0.0", Reason.LINK_LOCAL),
        (S1, "ff02::1", Reason.MULTICAST),
        (S1, "::1", Reason.LINK_LOCAL),
        (S1, "::", Reason.LINK_LOCAL),
    ],
)
def test_only_unicast_is_routed(source: str, destination: str, reason: Reason) -> None:
    net = Net(Domain({ONE: table(("0.0.0.0/0", "host-1"), ("::/0", "host-1"))}))
    one = net.join("host-1")
    for _ in range(2):
        net.send(one, p.udp(source, destination))
    assert not net.sent, "neither forwarded nor answered"
    assert drops(one) == {reason: 2}


@pytest.mark.parametrize(("source", "destination"), [(H1, "169.254.1.1"), (S1, "fe80::1"), (S1, "febf::1")])
def test_link_local_without_a_route_is_not_answered(net: Net, source: str, destination: str) -> None:
    one = net.join("host-1")
    for _ in range(2):
        net.send(one, p.udp(source, destination))
    assert not net.sent, "neither forwarded nor answered"
    assert drops(one) == {Reason.LINK_LOCAL: 2}


def test_whose_kernel_lets_it_in_is_not_told_that_the_address_itself_speaks(net: Net) -> None:
    one = net.join("host-1")
    one.takes_dummies = True  # as its HELLO says; nobody knows of a GOST client
    net.send(one, p.udp(H1, H2))
    (answer,) = net.got(one)
    p.assert_right(answer)
    assert p.ends_of(answer) == ("192.0.0.8", H1)


def test_no_session_is_answered(net: Net) -> None:
    one = net.join("host-1")
    net.send(one, p.udp(H1, H2))
    (answer,) = net.got(one)
    assert_unreachable(answer, H1, H2, 1)
    net.send(one, p.udp(S1, S2))
    (answer,) = net.got(one)
    p.assert_right(answer)
    assert answer[40:42] == bytes([1, 3])
    assert drops(one) == {Reason.NO_SESSION: 2}


def test_icmp_errors_are_limited_in_rate(net: Net) -> None:
    one = net.join("host-1")
    for _ in range(200):
        net.send(one, p.udp(H1, NOWHERE))
    assert len(net.got(one)) == namespace.ICMP_ERROR_BURST
    net.now += 10 / namespace.ICMP_ERRORS_PER_SECOND
    for _ in range(200):
        net.send(one, p.udp(H1, NOWHERE))
    assert len(net.got(one)) == 10
    assert drops(one) == {Reason.NO_ROUTE: 400}


@pytest.mark.parametrize(
    "packets",
    [
        pytest.param([p.udp(H1, NOWHERE)] * 20, id="no route"),
        pytest.param(
            [p.udp(H1, NOWHERE), p.udp(H1, H2, bytes(9001), fragment=p.DONT_FRAGMENT)] * 10,
            id="whatever the reasons",
        ),
    ],
)
def test_a_turn_brings_one_icmp_error(net: Net, packets: list[bytes]) -> None:
    one = net.join("host-1")
    net.join("host-2", mtu=1400, offloads=0)
    net.send(one, *packets)
    assert len(net.got(one)) == 1
    assert sum(drops(one).values()) == 20


def test_a_scan_stops_after_so_many_frames_that_are_judged(net: Net) -> None:
    """A session looks at the clock between scans; known flows do not count."""
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, p.udp(H1, H2))
    known = p.stream([p.udp(H1, H2)] * 5)
    junk = p.stream([b"\xee"] * 10)
    buffer, view, start, end = p.received(known + junk + known)
    out = forward_frame.Output()
    stop = forward.scan(one, buffer, view, start, end, net.now, out, 4)
    assert stop - start == len(known) + 4 * 3
    stop = forward.scan(one, buffer, view, stop, end, net.now, out, 6)
    assert stop == end
    assert sum(map(len, out.runs[two])) == 2 * len(known)


def test_no_answer_to_an_icmp_error(net: Net) -> None:
    one = net.join("host-1")
    net.send(one, p.icmp(H1, NOWHERE, kind=3))
    assert not net.sent
    assert drops(one) == {Reason.NO_ROUTE: 1}


# --- several sessions of one host ------------------------------------------------------------------


def flow(number: int) -> bytes:
    return p.udp(H1, H2, ports=(1000 + number, 2000))


def where(net: Net, one: Attachment, attachments: list[Attachment], count: int = 40) -> list[Attachment]:
    """Which of the ports gets each of so many flows."""
    found = []
    for number in range(count):
        net.send(one, flow(number))
        found += [attachment for attachment in attachments if net.got(attachment)]
    assert len(found) == count
    return found


def test_new_flows_spread_and_stay_while_others_join(net: Net) -> None:
    one = net.join("host-1")
    twos = [net.join("host-2") for _ in range(2)]
    first = where(net, one, twos)
    assert {first.count(attachment) for attachment in twos} == {20}
    twos += [net.join("host-2") for _ in range(2)]
    assert where(net, one, twos) == first
    later = where(net, one, twos, 80)
    assert later[:40] == first
    assert {later[40:].count(attachment) for attachment in twos} == {10}


def test_flows_move_only_when_their_session_dies(net: Net) -> None:
    one = net.join("host-1")
    twos = [net.join("host-2") for _ in range(3)]
    before = where(net, one, twos)
    net.domain.leave(twos[1])
    after = where(net, one, twos)
    assert twos[1] not in after
    assert all(a is b for a, b in zip(before, after, strict=True) if a is not twos[1])
    assert {after.count(attachment) > before.count(attachment) for attachment in (twos[0], twos[2])} == {True}
    net.domain.leave(twos[0])
    net.domain.leave(twos[2])
    net.send(one, flow(0))
    assert drops(one) == {Reason.NO_SESSION: 1}


def test_a_flow_comes_from_whichever_session_and_goes_to_the_same(net: Net) -> None:
    ones = [net.join("host-1") for _ in range(2)]
    twos = [net.join("host-2") for _ in range(2)]
    assert where(net, ones[0], twos) == where(net, ones[1], twos)


def test_fragments_of_one_pair_stay_together(net: Net) -> None:
    one = net.join("host-1")
    twos = [net.join("host-2") for _ in range(3)]
    first = p.ip(H1, H2, p.UDP, p.udp(H1, H2)[20:], fragment=p.MORE_FRAGMENTS)
    rest = p.ip(H1, H2, p.UDP, b"r" * 16, fragment=2)
    looks_like_a_flow = p.ip(H1, H2, p.UDP, p.udp(H1, H2)[20:], fragment=2)
    net.send(one, p.udp(H1, H2))
    (of_the_flow,) = (attachment for attachment in twos if net.got(attachment))
    net.send(one, first, rest, first, rest, looks_like_a_flow)
    assert sorted(len(net.got(attachment)) for attachment in twos) == [0, 0, 5]
    net.send(one, rest)
    assert net.got(of_the_flow) == [], "fragments have no ports, whatever their bytes say"


def test_a_change_of_tables_counts_from_the_next_frame(net: Net) -> None:
    one, two, three = net.join("host-1"), net.join("host-2"), net.join("host-3")
    net.send(one, p.udp(H1, H2), p.udp(H1, H2))
    space = one.namespace
    space.table = table((f"{H1}/32", "host-1"), (f"{H2}/32", "host-3"))
    space.table.changes = 1
    net.send(one, p.udp(H1, H2), p.udp(H1, H2))
    assert (len(net.got(two)), len(net.got(three))) == (2, 2)


def test_a_flow_comes_back_to_the_preferred_gateway(net: Net) -> None:
    net = Net(Domain({ONE: table((f"{H1}/32", "host-1"), (f"{H2}/32", "host-2"), (f"{H2}/32", "host-3"))}))
    one, three = net.join("host-1"), net.join("host-3")
    net.send(one, p.udp(H1, H2), p.udp(H1, H2))
    assert len(net.got(three)) == 2
    two = net.join("host-2")
    net.send(one, p.udp(H1, H2), p.udp(H1, H2))
    assert (len(net.got(two)), len(net.got(three))) == (2, 0)


def test_too_many_flows_are_forgotten_not_refused(net: Net) -> None:
    one = net.join("host-1")
    twos = [net.join("host-2") for _ in range(2)]
    net.send(one, flow(0))
    (mine,) = (attachment for attachment in twos if net.got(attachment))
    for number in range(1, namespace.MAX_FLOWS + 10):
        net.send(one, flow(number))
        assert len(one.udp_flows) <= namespace.MAX_FLOWS
    assert sum(len(net.got(attachment)) for attachment in twos) == namespace.MAX_FLOWS + 9
    net.send(one, flow(0))
    assert net.got(mine), "the gateway remembers the flow still"


def test_where_there_are_too_many_flows_most_of_them_are_known_still(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    one.share_flows(100)
    for number in range(1000):
        net.send(one, flow(number))
        assert len(one.udp_flows) <= 100
        assert number < 100 or len(one.udp_flows) > 90
    assert len(net.got(two)) == 1000


# --- source check ----------------------------------------------------------------------------------


def test_a_wrong_source_is_dropped_and_the_first_one_told(net: Net) -> None:
    one = net.join("host-1")
    net.join("host-2")
    net.send(one, p.udp("8.8.8.8", H2), p.udp(H2, H2), p.udp("9.9.9.9", H2), p.udp(S2, S2))
    assert not net.sent
    assert drops(one) == {Reason.WRONG_SOURCE: 4}
    assert one.traffic.take_news() == [(Reason.WRONG_SOURCE, f"8.8.8.8 to {H2}")]


def test_the_source_check_goes_by_host_not_by_session(net: Net) -> None:
    ones = [net.join("host-1") for _ in range(2)]
    two = net.join("host-2")
    for one in ones:
        net.send(one, p.udp(H1, H2), p.udp("192.168.100.77", H2))
    assert len(net.got(two)) == 4


def test_any_gateway_of_the_longest_match_is_a_right_source(net: Net) -> None:
    net = Net(Domain({ONE: table(("10.0.0.0/8", "host-3"), ("10.0.0.0/24", "host-2"), ("10.0.0.0/24", "host-1"), (f"{H2}/32", "host-2"))}))  # fmt: skip
    one, two, three = net.join("host-1"), net.join("host-2"), net.join("host-3")
    net.send(one, p.udp("10.0.0.1", H2))
    net.send(three, p.udp("10.0.0.1", H2), p.udp("10.1.0.1", H2))
    assert len(net.got(two)) == 2
    assert drops(three) == {Reason.WRONG_SOURCE: 1}


def test_without_source_check_any_source_passes() -> None:
    net = Net(Domain({ONE: table()}, source_check=False))
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, p.udp("8.8.8.8", H2), p.udp(H2, H2))
    assert len(net.got(two)) == 2
    assert not one.traffic.drops


# --- a plugin as the default table -----------------------------------------------------------------


@pytest.fixture
def asking() -> Net:
    return Net(Domain({}, Nobody()))


def answers_of(attachment: Attachment) -> PluginCache[Attachment]:
    assert isinstance(attachment.namespace.default, PluginCache)
    return attachment.namespace.default


def answer(net: Net, attachment: Attachment, address: str, gateway: str | None) -> None:
    """The plugin answers; what waited is fed in again as a hub does."""
    route = Route(p.packed(address), 32, to(gateway)) if gateway else None
    for sender, parked in answers_of(attachment).store(p.packed(address), route, net.now):
        net.feed(sender, parked)


def wanted(attachment: Attachment) -> list[bytes]:
    return sorted(answers_of(attachment).take_wanted())


def test_packets_wait_for_the_plugin_and_go_in_order(asking: Net) -> None:
    one, two = asking.join("host-1"), asking.join("host-2")
    sent = [p.udp(H1, H2, bytes([n])) for n in range(5)]
    asking.send(one, *sent)
    assert wanted(one) == [p.packed(H1)], "the source first, and asked once"
    answer(asking, one, H1, "host-1")
    assert wanted(one) == [p.packed(H2)]
    assert not asking.sent
    answer(asking, one, H2, "host-2")
    assert asking.got(two) == sent
    asking.send(one, *sent)
    assert (asking.got(two), wanted(one)) == (sent, [])


def test_no_more_wait_than_there_is_room(asking: Net) -> None:
    one = asking.join("host-1")
    asking.send(one, *[p.udp(H1, H2)] * (MAX_WAITING + 3))
    assert drops(one) == {Reason.RESOLVE_QUEUE: 3}
    assert not asking.sent


def test_a_failed_plugin_drops_and_is_asked_again_later(asking: Net) -> None:
    one = asking.join("host-1")
    asking.send(one, p.udp(H1, H2))
    assert wanted(one) == [p.packed(H1)]
    for sender, parked in answers_of(one).fail(p.packed(H1), asking.now):
        asking.feed(sender, parked)
    assert drops(one) == {Reason.ROUTER_FAILED: 1}
    assert wanted(one) == []
    asking.now += RETRY_SECONDS
    asking.send(one, p.udp(H1, H2))
    assert wanted(one) == [p.packed(H1)]
    assert drops(one) == {Reason.ROUTER_FAILED: 1}


def test_a_stale_answer_serves_while_a_fresh_one_is_fetched(asking: Net) -> None:
    one, two, three = (asking.join(f"host-{n}") for n in (1, 2, 3))
    asking.send(one, p.udp(H1, H2))
    answer(asking, one, H1, "host-1")
    answer(asking, one, H2, "host-2")
    wanted(one)
    asking.got(two)
    asking.now += 5
    asking.send(one, p.udp(H1, H2))
    assert len(asking.got(two)) == 1
    assert wanted(one) == sorted(map(p.packed, (H1, H2)))
    answer(asking, one, H1, "host-1")
    answer(asking, one, H2, "host-3")
    asking.now += 1.01  # what was decided on the stale answer is remembered no longer than a fresh one
    asking.send(one, p.udp(H1, H2))
    assert len(asking.got(three)) == 1


def test_a_changed_answer_counts_at_once(asking: Net) -> None:
    one, two, three = (asking.join(f"host-{n}") for n in (1, 2, 3))
    asking.send(one, p.udp(H1, H2))
    answer(asking, one, H1, "host-1")
    answer(asking, one, H2, "host-2")
    asking.now += 5
    asking.send(one, p.udp(H1, H2))  # on the stale answer, which is also asked for again
    answer(asking, one, H1, "host-1")
    answer(asking, one, H2, "host-3")
    asking.got(two)
    asking.send(one, p.udp(H1, H2))
    assert (len(asking.got(two)), len(asking.got(three))) == (0, 1)


def test_sources_are_checked_by_the_plugin_too(asking: Net) -> None:
    one, two = asking.join("host-1"), asking.join("host-2")
    asking.send(one, p.udp("8.8.8.8", H2), p.udp(H1, H2))
    answer(asking, one, "8.8.8.8", "host-2")
    answer(asking, one, H1, None)
    assert not asking.sent
    assert drops(one) == {Reason.WRONG_SOURCE: 2}
    assert asking.got(two) == []


def test_no_route_from_the_plugin_is_answered(asking: Net) -> None:
    one = asking.join("host-1")
    asking.send(one, p.udp(H1, NOWHERE))
    answer(asking, one, H1, "host-1")
    answer(asking, one, NOWHERE, None)
    (unreachable,) = asking.got(one)
    assert_unreachable(unreachable, H1, NOWHERE, 0)


def test_the_named_table_goes_before_the_plugin() -> None:
    net = Net(Domain({ONE: table()}, Nobody()))
    one, two = net.join("host-1"), net.join("host-2")
    net.send(one, p.udp(H1, H2))
    assert len(net.got(two)) == 1
    net.send(one, p.udp(H1, NOWHERE))
    assert wanted(one) == [p.packed(NOWHERE)]


def test_answers_of_one_namespace_are_nothing_to_another(asking: Net) -> None:
    ones = [asking.join("host-1", key) for key in (ONE, TWO)]
    twos = [asking.join("host-2", key) for key in (ONE, TWO)]
    asking.send(ones[0], p.udp(H1, H2))
    for address, host in ((H1, "host-1"), (H2, "host-2")):
        answer(asking, ones[0], address, host)
    asking.got(twos[0])
    asking.send(ones[1], p.udp(H1, H2))
    assert not asking.sent
    assert wanted(ones[1]) == [p.packed(H1)]


def test_a_packet_that_waited_is_received_once(asking: Net) -> None:
    one = asking.join("host-1")
    asking.send(one, p.udp(H1, H2))
    answer(asking, one, H1, "host-1")
    answer(asking, one, H2, "host-1")
    assert one.traffic.received_packets == 1


# --- control frames and keepalives -----------------------------------------------------------------


def test_control_frames_are_for_the_session(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    hello = wire_control.encode_hello(wire_control.Hello(b"i" * 16))
    net.send(one, p.udp(H1, H2, b"1"), hello, p.udp(H1, H2, b"2"))
    assert net.controls == [hello]
    assert len(net.got(two)) == 2
    assert not one.traffic.drops


def test_gosts_keepalive_is_passed_over(net: Net) -> None:
    one = net.join("host-1")
    net.send(one, b"GOST" + bytes(16))
    assert not net.sent
    assert not one.traffic.drops


# --- counters --------------------------------------------------------------------------------------


def test_what_passes_is_counted_on_both_sides(net: Net) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    contents = [p.udp(H1, H2, b"1"), p.icmp(H1, H2), p.udp(H1, H2, b"2")]
    net.send(one, *contents)
    net.send(one, *contents)
    size = 2 * len(p.stream(contents))
    assert (one.traffic.received_packets, one.traffic.received_bytes) == (6, size)
    assert (two.traffic.sent_packets, two.traffic.sent_bytes) == (6, size)
    assert (one.traffic.sent_packets, two.traffic.received_packets) == (0, 0)


def test_an_unfinished_frame_is_not_counted_yet(net: Net) -> None:
    one = net.join("host-1")
    net.feed(one, p.frame(p.udp(H1, H2))[:20])
    assert (one.traffic.received_packets, one.traffic.received_bytes) == (0, 0)


@pytest.mark.parametrize("own_kind", [False, True])
def test_superpackets_count_as_their_segments(net: Net, own_kind: bool) -> None:
    one = net.join("host-1", offloads=packet_offload.ALL)
    two = net.join("host-2", offloads=packet_offload.ALL if own_kind else None)
    net.send(one, TRUE)
    net.send(one, TRUE, TRUE)
    assert one.traffic.received_packets == 18
    assert two.traffic.sent_packets == 18


def test_a_superpacket_whose_session_died_counts_once(net: Net) -> None:
    one = net.join("host-1", offloads=packet_offload.ALL)
    two, three = (net.join("host-2", offloads=packet_offload.ALL) for _ in range(2))
    net.send(one, TRUE)
    (mine,) = (attachment for attachment in (two, three) if net.got(attachment))
    net.domain.leave(mine)
    net.send(one, TRUE)
    assert one.traffic.received_packets == 12
    assert (mine.traffic.sent_packets, two.traffic.sent_packets + three.traffic.sent_packets) == (6, 12)


def test_a_dropped_superpacket_counts_as_its_segments(net: Net) -> None:
    one = net.join("host-1", offloads=packet_offload.ALL)
    net.send(one, TRUE)
    assert drops(one) == {Reason.NO_SESSION: 6}


def test_a_packet_that_begins_a_flow_counts_as_one_that_does(net: Net) -> None:
    """What it costs to find its receiver is not its sender's debt (session_cost); what goes nowhere is."""
    one, _ = net.join("host-1"), net.join("host-2")
    frames = p.stream(
        p.udp(H1, to, b"a", ports=(4000, port)) for to, port in ((H2, 1), (H2, 1), (H2, 2), ("10.9.9.9", 3))
    )
    out = forward_frame.Output()
    buffer, view, start, end = p.received(frames)
    forward.scan(one, buffer, view, start, end, net.now, out)
    assert (out.frames, out.new) == (3, 2)
