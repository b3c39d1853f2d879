"""Taps: what they keep, what bounds it, and that being watched changes nothing about forwarding."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib import capture_fate as fates
from lib import capture_records, capture_watch, forward_explain, ids
from lib.capture_fate import Fate
from lib.capture_filter import parse
from lib.capture_taps import OVERHEAD, SNAP, Capture, Choice, Recorder, Taps, Trace
from lib.client_downlink import Downlink
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.log_pace import Pace
from lib.packet_offload import HEADER_SIZE
from tests.support import packets as p
from tests.unit.test_forward import H1, H2, H3, NOWHERE, ONE, Net

WENT = Fate("forwarded", "00" * 16, "host-1", "host-2", "session x")


def seen(data: bytes) -> list[tuple[Fate, bytes]]:
    """(fate, content) of every frame in a capture's records."""
    return [
        (fates.decode(record.label), content)
        for record in capture_records.Reader().feed(data)
        for _, content in capture_records.contents(record)
    ]


class Watched(Net):
    """The hub without sockets, and what a capture of everything has seen of it."""

    def __init__(self) -> None:
        self.capture = Capture(Choice(), lambda: None)
        self.watching = Taps(lambda: 7)
        self.watching.add(self.capture)
        super().__init__(taps=self.watching)

    def saw(self) -> list[tuple[str, bytes]]:
        return [(fate.sentence(), content) for fate, content in seen(self.capture.pop(1 << 30))]


@pytest.fixture
def net() -> Watched:
    return Watched()


def test_every_frame_once_with_what_became_of_it_in_order(net: Watched) -> None:
    one, _, _ = net.join("host-1"), net.join("host-2"), net.join("host-3")
    to_2, to_3 = p.udp(H1, H2), p.udp(H1, H3)
    nowhere, group = p.udp(H1, NOWHERE), p.udp(H1, "224.0.0.1")
    net.send(one, to_2, to_2, nowhere, to_3, b"\x99unk", to_2, group, b"", to_3)
    went_2, went_3 = (f"from host-1, to host-{n}, session test" for n in (2, 3))
    expected = [
        (went_2, to_2),
        (went_2, to_2),
        (f"from host-1, dropped: no-route, {Reason.NO_ROUTE.doc}, its sender was told (ICMP)", nowhere),
        (went_3, to_3),
        (f"from host-1, dropped: not-ip, {Reason.NOT_IP.doc}", b"\x99unk"),
        (went_2, to_2),
        (f"from host-1, dropped: multicast, {Reason.MULTICAST.doc}", group),
        (f"from host-1, dropped: empty-frame, {Reason.EMPTY_FRAME.doc}", b""),
        (went_3, to_3),
    ]
    assert [
        (words.replace(f", namespace {ids.format_uuid(ONE)}", ""), content) for words, content in net.saw()
    ] == expected


def test_control_frames_and_marks_are_no_packets(net: Watched) -> None:
    one = net.join("host-1", offloads=0)
    net.send(one, b"\xf0\x02", b"GOST" + bytes(16))
    assert net.saw() == []
    assert net.controls == [b"\xf0\x02"]


def test_a_superpacket_is_one_record_also_where_it_is_cut_up(net: Watched) -> None:
    one, two = net.join("host-1", offloads=0x6F), net.join("host-2")
    content = p.superpacket(p.tcp(H1, H2, bytes(5000), partial=True), 1000)
    net.send(one, content)
    ((words, whole),) = net.saw()
    assert words.startswith("from host-1, to host-2, session test")
    assert whole[10:] == content[10:]
    assert len(net.got(two)) == 5


def test_too_big_says_for_whom(net: Watched) -> None:
    one = net.join("host-1", offloads=0, mtu=9000)
    net.join("host-2", offloads=0, mtu=1000)
    net.send(one, p.udp(H1, H2, bytes(1200), fragment=p.DONT_FRAGMENT))
    ((words, _),) = net.saw()
    assert words.startswith("from host-1, dropped on its way to host-2, session test: too-big, larger")
    assert "its sender was told" in words


def test_decisions_are_told_once_a_flow(net: Watched) -> None:
    one, _ = net.join("host-1"), net.join("host-2")
    told: list[str] = []
    net.watching.tell_decisions(
        lambda attachment, packet, verdict: told.append(
            forward_explain.in_one_line(attachment, packet, verdict, 0)
        )
    )
    net.send(one, p.tcp(H1, H2), p.tcp(H1, H2), p.tcp(H3, H2), p.tcp(H1, H3), p.tcp(H1, "224.0.0.9"))
    inside = f" in {ids.format_uuid(ONE)}"
    assert [line.replace(inside, "") for line in told] == [
        f"host-1 tcp {H1}:4000 > {H2}:5000: to host-2 by {H2}/32 (inline), session test",
        f"host-1 tcp {H3}:4000 > {H2}:5000: dropped: wrong-source, the source leads back to host-3",
        f"host-1 tcp {H1}:4000 > {H3}:5000: dropped: no-session, none lives of host-3",
        f"host-1 tcp {H1}:4000 > 224.0.0.9:5000: dropped: multicast",
    ]
    net.watching.tell_decisions(None)
    net.watching.remove(net.capture)
    assert not net.watching.on


# --- what each of them keeps ---------------------------------------------------------------------


def test_a_capture_that_nobody_takes_from_loses_and_counts() -> None:
    woken: list[int] = []
    capture = Capture(Choice(), lambda: woken.append(1), limit=250)
    run = p.stream([p.udp(H1, H2)] * 3)
    for _ in range(3):
        capture.take(0, WENT, run, 0, len(run))
    assert (capture.fitted, capture.lost, len(woken)) == (9, 6, 1)
    assert len(seen(capture.pop(1))) == 3
    capture.take(0, WENT, run, 0, len(run))
    assert (capture.fitted, capture.lost, len(seen(capture.pop(1)))) == (12, 6, 3)
    assert capture.pop(1) == b""


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        (Choice(), 3),
        (Choice(test=parse("tcp")), 1),
        (Choice(test=parse("icmp")), 0),
        (Choice(host="host-2"), 3),
        (Choice(host="host-3"), 0),
        (Choice(namespace="00" * 16, test=parse("udp")), 2),
        (Choice(namespace="11" * 16), 0),
    ],
)
def test_only_what_fits_is_kept(choice: Choice, count: int) -> None:
    capture = Capture(choice, lambda: None)
    run = p.stream([p.udp(H1, H2), p.tcp(H1, H2), p.udp(H1, H2)])
    capture.take(0, WENT, run, 0, len(run))
    assert (capture.fitted, len(seen(capture.pop(1)))) == (count, count)


@given(st.lists(st.lists(st.integers(1, 2000), min_size=1, max_size=4), max_size=60), st.integers(3000, 9000))
def test_the_recorder_keeps_the_last_and_no_more_than_it_may(runs: list[list[int]], size: int) -> None:
    recorder = Recorder(size)
    sent = []
    for number, sizes in enumerate(runs):
        contents = [bytes([69, number % 256]) * (n // 2) + b"x" * (n % 2) for n in sizes]
        run = p.stream(contents)
        recorder.take(number, WENT, run, 0, len(run))
        sent += [(number, len(content), content[:SNAP]) for content in contents]
    kept = [
        (record.when, n, content)
        for record in map(capture_records.decode, recorder.kept())
        for n, content in capture_records.contents(record)
    ]
    assert kept == sent[len(sent) - len(kept) :]
    assert recorder.used == sum(len(raw) + OVERHEAD for raw in recorder.kept()) <= size
    assert all(sys.getsizeof(raw) + 8 <= len(raw) + OVERHEAD for raw in recorder.kept())
    recorder.resize(1000)
    assert recorder.used <= 1000


def test_a_trace_says_some_lines_a_second_and_counts_the_rest() -> None:
    lines: list[str] = []
    now = [0.0]
    trace = Trace(Choice(test=parse("tcp")), Pace(lines.append, "packet", 3), lambda: now[0])
    run = p.stream([p.tcp(H1, H2, bytes(20), flags=0x12), p.udp(H1, H2)] * 5)
    trace.take(0, WENT, run, 0, len(run))
    assert lines == [f"host-1 tcp {H1}:4000 > {H2}:5000 [S.] 60 B: to host-2, session x"] * 3
    now[0] = 1.5
    trace.take(0, WENT, run, 0, 2 + 60)
    assert lines[3:] == ["… 2 more packets fit, in the last second", lines[0]]
    trace.pace.sweep(9.0)
    assert len(lines) == 5


def test_a_trace_names_the_namespace_of_a_host() -> None:
    lines: list[str] = []
    trace = Trace(Choice(), Pace(lines.append, "packet", 9), lambda: 0.0)
    run = p.stream([p.udp(H1, H2)])
    for fate in (WENT._replace(namespace="e87f56ddfd5749219ab8a0847662daae"), WENT._replace(host="")):
        trace.take(0, fate, run, 0, len(run))
    named, nameless = lines
    assert named.startswith("host-1 in e87f56dd-fd57-4921-9ab8-a0847662daae udp ")
    assert nameless.startswith("udp ")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (p.udp(H1, H2, b"12"), f"udp {H1}:4000 > {H2}:5000 30 B"),
        (p.icmp(H1, H2), f"icmp {H1} > {H2} echo 32 B"),
        (p.tcp("fd00::1", "fd00::2", b"", flags=4), "tcp [fd00::1]:4000 > [fd00::2]:5000 [R] 60 B"),
        (p.ip(H1, H2, 47, b"abc"), f"gre {H1} > {H2} 23 B"),
        (p.ip(H1, H2, 200, b""), f"protocol 200 {H1} > {H2} 20 B"),
        (p.ip(H1, H2, 17, bytes(8), fragment=5), f"udp fragment {H1} > {H2} 28 B"),
        (p.superpacket(p.tcp(H1, H2, bytes(2500), partial=True), 1000), f"tcp {H1}:4000 > {H2}:5000 [.] 2540 B in 3 packets"),
        (b"junk", "no packet: 6a 75 6e 6b, 4 B"),
        (b"", "no packet: empty, 0 B"),
    ],
)  # fmt: skip
def test_packets_in_a_line(content: bytes, line: str) -> None:
    assert fates.summary(content, 0, len(content)) == line


BEGINNINGS = [
    p.tcp(H1, H2)[:40],
    p.udp(H1, H2)[:28],
    p.headed(p.udp(H1, H2))[:38],
    p.udp("fd00::1", "fd00::2")[:48],
]


@given(
    st.binary(max_size=120) | st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=80))
)
@example(p.udp(H1, H2))
@example(p.superpacket(p.tcp(H1, H2, bytes(2500), partial=True), 1000))
@example(b"\x45" + bytes(30))
def test_any_bytes_have_a_line_that_tells_their_size(content: bytes) -> None:
    line = fates.summary(content, 0, len(content))
    found = re.fullmatch(r"(no packet: (?:empty|[0-9a-f ]+),|\S.* > .*) (\d+) B(?: in (\d+) packets)?", line)
    assert found, line
    header = len(content) - int(found[2])
    assert header in (0, HEADER_SIZE)
    if found[1].startswith("no packet"):
        assert (header, found[3]) == (0, None)
    if found[3]:
        assert header
        assert int(found[3]) > 1
    assert line.isascii()
    assert line.isprintable()


# --- the ways of a client ------------------------------------------------------------------------


def test_a_client_tells_what_was_written_and_what_was_not() -> None:
    written: list[bytes] = []
    capture = Capture(Choice(), lambda: None)
    taps = Taps()
    taps.add(capture)
    traffic = Traffic()

    def write(data: memoryview) -> None:
        if data[-1] == 7:
            raise OSError(5, "no")
        written.append(bytes(data))

    def refused(error: OSError, packet: bytes) -> None:
        down.dropped = Reason.DEVICE_REFUSED

    down = Downlink(write, refused, traffic, True, 1420)
    good, bad = p.udp(H1, H2, b"good"), p.udp(H1, H2, b"bad\x07")
    contents = [good, b"\xf0\x02", b"\x99unk", bad, good]
    data, view, start, end = p.received(p.stream(contents) + b"\0")
    fate = capture_watch.arriving(bytes(16), "host-2", "tun0")
    assert capture_watch.deliver(down, data, view, start, end, taps, fate) == end - 1
    assert [(fate.words(), content) for fate, content in seen(capture.pop(1 << 20))] == [
        ("to host-2, device tun0", good),
        (f"dropped on its way to host-2, device tun0: not-ip, {Reason.NOT_IP.doc}", b"\x99unk"),
        (f"dropped on its way to host-2, device tun0: device-refused, {Reason.DEVICE_REFUSED.doc}", bad),
        ("to host-2, device tun0", good),
    ]
    assert written == [bytes(10) + good] * 2
    assert down.take_controls() == [b"\xf0\x02"]


def test_what_goes_by_datagrams_is_told_apart(net: Watched) -> None:
    one, two = net.join("host-1"), net.join("host-2")
    two.by_datagrams = lambda frame: p.contents(bytes(frame))[0][9] == p.UDP
    udp, tcp = p.udp(H1, H2), p.tcp(H1, H2)
    net.send(one, udp, udp, tcp, udp, tcp)
    by, not_by = "session test by datagrams", "session test"
    found = [(fate.way, content) for fate, content in seen(net.capture.pop(1 << 30))]
    assert found == [(by, udp), (by, udp), (not_by, tcp), (by, udp), (not_by, tcp)]
    capture, taps = Capture(Choice(), lambda: None), Taps()
    taps.add(capture)
    fate = capture_watch.leaving(bytes(16), "host-1", "x")
    capture_watch.left(taps, fate, p.stream([tcp, udp, tcp]), two.by_datagrams)
    capture_watch.left(taps, fate, p.stream([udp]), None)
    assert [one.way for one, _ in seen(capture.pop(1 << 20))] == [
        *("session x", "session x by datagrams", "session x", "session x"),
    ]


def test_messages_in_a_queue_are_no_packets() -> None:
    capture = Capture(Choice(), lambda: None)
    taps = Taps()
    taps.add(capture)
    packets = [p.udp(H1, H2), p.tcp(H1, H2)]
    frames = p.stream([b"\xf0\x02", packets[0], b"\xf0\x04", packets[1], b"\xf0\x02"])
    capture_watch.lost(taps, bytes(16), "host-2", "session x", Reason.QUEUE_FULL, frames)
    told = seen(capture.pop(1 << 20))
    assert [content for _, content in told] == packets
    assert {fate.words() for fate, _ in told} == {
        f"dropped on its way to host-2, session x: queue-full, {Reason.QUEUE_FULL.doc}"
    }


# --- watched or not --------------------------------------------------------------------------------

CONTENTS = [
    p.udp(H1, H2), p.tcp(H1, H2), p.udp(H1, H3), p.icmp(H1, H2), p.udp(H1, NOWHERE), p.udp(H3, H2), p.headed(p.udp(H1, H2)),
    p.superpacket(p.tcp(H1, H2, bytes(3000), partial=True), 1000), p.superpacket(p.tcp(H1, H3, bytes(3000), partial=True), 1000),
    p.partial(p.udp(H1, H2, partial=True)), b"", b"\xf0\x02", b"GOST" + bytes(16), b"\x99", bytes(30), p.udp(H1, H2, bytes(1500)),
]  # fmt: skip


@given(st.lists(st.sampled_from(CONTENTS) | st.binary(max_size=60), max_size=25), st.booleans())
def test_watched_or_not_forwarding_is_the_same(contents: list[bytes], told: bool) -> None:
    nets = Net(), Watched()
    for net in nets:
        one = net.join("host-1", offloads=0x6F if told else None)
        others = [net.join("host-2", offloads=0x6F), net.join("host-3")]
        net.send(one, *contents)
        net.send(one, *contents)
        net.attachments = [one, *others]  # type: ignore[attr-defined]
    (plain, watched), attachments = nets, [net.attachments for net in nets]  # type: ignore[attr-defined]
    assert [attachment.traffic for attachment in attachments[0]] == [
        attachment.traffic for attachment in attachments[1]
    ]
    assert [plain.got(attachment) for attachment in attachments[0]] == [
        watched.got(attachment) for attachment in attachments[1]
    ]
    assert plain.controls == watched.controls
    traffic = attachments[1][0].traffic
    fates = watched.saw()
    kinds = {
        words.split("dropped")[1].split(": ")[1].split(",")[0] for words, _ in fates if "dropped" in words
    }
    assert kinds == {reason.value for reason in traffic.drops}
    packets = [c for c in contents if c[:1] != b"\xf0" and not (len(c) == 20 and c[:4] == b"GOST")]
    assert len(fates) == 2 * len(packets)
