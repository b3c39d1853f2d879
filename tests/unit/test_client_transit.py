"""Packets that the host's own kernel drops after they were written to the device: found and counted."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from lib import framing, packet_offload, wire_control
from lib.client_transit import ASK_BURST, BELIEVED_SECONDS, RECENT_SECONDS, Transit, verdict
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason

NEAR, LAN, FAR = "10.0.0.1", "192.168.5.7", "10.9.0.1"


def packet(destination: str, source: str = FAR) -> bytes:
    ends = ip_address(source).packed + ip_address(destination).packed
    return b"\x45" + bytes(11) + ends if len(ends) == 8 else b"\x60" + bytes(7) + ends


def frames(*contents: bytes) -> tuple[memoryview, int]:
    """A buffer of frames with its slack, and where they end."""
    data = b"".join(map(framing.encode, contents))
    return memoryview(bytearray(data) + bytes(framing.SLACK)), len(data)


class Kernel:
    """A kernel that drops what goes to some addresses."""

    def __init__(self, **dropped: Reason) -> None:
        self.dropped = {ip_address(LAN).packed: Reason.NOT_FORWARDED}
        self.asked = 0
        self.now = 100.0
        self.traffic = Traffic()
        self.transit = Transit(self.ask, self.traffic, lambda: self.now)

    def ask(self, source: bytes, destination: bytes) -> Reason | None:
        self.asked += 1
        return self.dropped.get(destination)

    def receive(self, *contents: bytes) -> int:
        """Look at some frames; returns how many packets are counted so far."""
        view, end = frames(*contents)
        self.transit.look(view, 0, end)
        return self.traffic.drops[Reason.NOT_FORWARDED]


@pytest.mark.parametrize(
    ("version", "code", "is_local", "forwards", "filters", "reason"),
    [
        (4, 0, True, False, False, None),
        (4, 0, False, True, True, None),
        (4, errno.EHOSTUNREACH, False, False, False, Reason.NOT_FORWARDED),
        (4, errno.EHOSTUNREACH, False, True, False, None),
        (4, errno.ENETUNREACH, False, True, True, None),
        (4, errno.EINVAL, False, True, True, Reason.REVERSE_PATH),
        (4, errno.EXDEV, False, False, True, Reason.REVERSE_PATH),
        (4, errno.EINVAL, False, True, False, None),
        (6, 0, False, False, False, Reason.NOT_FORWARDED),
        (6, 0, False, True, False, None),
        (6, 0, True, False, False, None),
        (6, errno.ENETUNREACH, False, False, False, None),
    ],
)
def test_what_the_kernels_answer_means(
    version: int, code: int, is_local: bool, forwards: bool, filters: bool, reason: Reason | None
) -> None:
    assert verdict(version, code, is_local, forwards, filters) is reason


def test_every_packet_behind_a_dropped_one_is_counted() -> None:
    kernel = Kernel()
    assert kernel.receive(packet(LAN), packet(NEAR), packet(LAN), packet(LAN)) == 3
    assert kernel.receive(packet(NEAR), packet(NEAR)) == 3
    assert kernel.traffic.take_news() == [(Reason.NOT_FORWARDED, f"{FAR} to {LAN}")]
    assert kernel.traffic.last[Reason.NOT_FORWARDED].head == packet(LAN)
    (line,) = kernel.transit.warnings(kernel.now)
    assert f"{FAR} to {LAN}" in line
    assert kernel.transit.warnings(kernel.now + RECENT_SECONDS) == []


def test_all_formats_are_read() -> None:
    kernel = Kernel()
    kernel.dropped[ip_address("fd88::7").packed] = Reason.NOT_FORWARDED
    header = bytes(packet_offload.HEADER_SIZE)
    assert kernel.receive(header + packet(LAN)) == 1
    assert kernel.receive(packet("fd88::7", "fd77::2")) == 2
    assert kernel.receive(header + packet("fd88::7", "fd77::2")) == 3


@pytest.mark.parametrize(
    "content",
    [b"\x45", packet(LAN)[:-1], bytes(5), bytes(10), bytes(10) + packet(LAN)[:-1], b"\x20" * 60,
     bytes([wire_control.MARK, 2]), packet("fd88::7", "fd77::2")[:-1]],
)  # fmt: skip
def test_what_is_no_whole_packet_is_left_alone(content: bytes) -> None:
    kernel = Kernel()
    assert kernel.receive(content) == 0
    assert not kernel.asked


def test_a_frame_that_is_cut_off_is_left_alone() -> None:
    view, end = frames(packet(LAN), packet(LAN))
    kernel = Kernel()
    for cut in range(end):
        kernel.transit.look(view, 0, cut)
    assert kernel.traffic.drops[Reason.NOT_FORWARDED] == end - len(packet(LAN)) - 2


def test_a_flood_of_strangers_does_not_make_us_ask() -> None:
    kernel = Kernel()
    for number in range(500):
        view, end = frames(packet(f"172.16.{number >> 8}.{number & 255}"))
        kernel.transit.look(view, 0, end)
    assert kernel.asked <= ASK_BURST + 2
    kernel.now += 1
    assert kernel.receive(packet(LAN)) == 1


@pytest.mark.parametrize(
    ("prefix", "stuck", "warns"),
    [
        (("192.168.5.0", 24), ("192.168.5.90", "192.168.5.102"), True),
        (("192.168.5.0", 24), ("192.168.5.102",), True),
        (("192.168.5.0", 24), (), False),
        (("10.0.0.0", 24), ("10.0.0.90", "10.0.0.102"), False),
        (("10.0.0.9", 32), ("10.0.0.9",), False),
        (("10.0.0.0", 8), ("10.90.90.90",), True),
        (("0.0.0.0", 0), ("90.90.90.90",), True),
        (("fd88::", 64), ("fd88::5a5a:5a5a:5a5a:5a5a",), False),
    ],
    ids=[
        "behind",
        "one of two is the host's",
        "forwards",
        "the tunnel's own",
        "own",
        "wider",
        "all",
        "no IPv6",
    ],
)
def test_a_hub_that_tells_what_is_behind(
    prefix: tuple[str, int], stuck: tuple[str, ...], warns: bool
) -> None:
    kernel = Kernel()
    kernel.dropped = {ip_address(address).packed: Reason.NOT_FORWARDED for address in stuck}
    own = ip_address("10.0.0.0").packed, 24
    transit = Transit(kernel.ask, kernel.traffic, lambda: 0.0, lambda: [own])
    transit.gateways = ((ip_address(prefix[0]).packed, prefix[1]),)
    assert bool(transit.warnings(0.0)) is warns


def test_a_setting_that_somebody_changed_is_seen() -> None:
    kernel = Kernel()
    assert kernel.receive(packet(LAN)) == 1
    assert kernel.transit.warnings(kernel.now)
    kernel.dropped.clear()
    assert kernel.transit.warnings(kernel.now) == [], "at once, not after RECENT_SECONDS"
    kernel.now += BELIEVED_SECONDS + 1
    kernel.asked = 0
    assert kernel.receive(packet(LAN)) == 1
    assert kernel.asked == 1
