"""Packets from the tunnel that the host's own kernel drops: forwarding is off, or its reverse path filter.

Knows: which packets are looked at, how long the kernel's verdict on a source and a destination is believed,
how they are counted.
Refuses to know: how the kernel is asked (netlink_input), what is written to the device (client_downlink).

The kernel drops them without a word to anybody, and a hub of any make takes them for delivered. Only the
first packet of each receive is looked at, for a receive may bring thousands. Where the kernel drops that
one, the others are looked at too. So the count is a lower bound.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from lib import framing, packet_icmp, packet_offload
from lib.bounded_dict import BoundedDict
from lib.counters import Traffic
from lib.forward_drop_reasons import Reason
from lib.packet import format_address
from lib.packet_text import head_of_frame
from lib.prefixes import Prefix, covers, text
from lib.settings import Interface

BELIEVED_SECONDS = 5.0
"""The kernel is asked again after so many seconds: somebody may have changed a setting meanwhile."""
ASK_SECONDS, ASK_BURST = 0.05, 20
"""The kernel is asked once in so many seconds, however many strangers send; some times more at once."""
PAIRS = 1024
"""Pairs of source and destination whose verdicts are kept."""
RECENT_SECONDS = 60.0
"""Status warns of what happened within so many seconds."""

_RP_FILTER = frozenset({errno.EINVAL, errno.EXDEV})
"""What kernels say where the reverse path filter drops a packet (EXDEV in older ones)."""


def verdict(version: int, code: int, is_local: bool, forwards: bool, filters: bool) -> Reason | None:
    """Why the kernel drops a packet that comes in from the device; None where it does not, or says so itself.

    `code` is the errno of its route look-up, 0 for a route; `is_local` whether that leads to the host itself;
    `forwards` and `filters` whether the host forwards, and has a reverse path filter, on this device. The
    look-up for IPv6 takes no notice of forwarding.
    """
    if version == 6:
        return Reason.NOT_FORWARDED if not code and not is_local and not forwards else None
    if code == errno.EHOSTUNREACH and not forwards:
        return Reason.NOT_FORWARDED
    return Reason.REVERSE_PATH if code in _RP_FILTER and filters else None


class Transit:
    """What is known of the packets that arrive from the hub."""

    def __init__(
        self,
        ask: Callable[[bytes, bytes], Reason | None],
        traffic: Traffic,
        clock: Callable[[], float],
        networks: Callable[[], Sequence[Prefix]] = tuple,
    ) -> None:
        """`ask` asks the kernel about a packed source and destination; `clock` is monotonic, in seconds;
        `networks` are those of the device's addresses, which the tunnel itself serves.
        """
        self._ask, self._traffic, self._clock, self._networks = ask, traffic, clock, networks
        self._known: BoundedDict[bytes, tuple[Reason | None, float]] = BoundedDict(PAIRS)
        """Source and destination -> (why the kernel drops such packets, until when that is believed)"""
        self._paid = float("-inf")
        """Each question pays for ASK_SECONDS: until this time all of them have paid."""
        self.gateways: tuple[Prefix, ...] = ()
        """Prefixes for which this host is a gateway, as its hub has said; a GOST hub says nothing."""
        self._last: dict[Reason, tuple[float, bytes]] = {}
        """Reason -> (when it was last met, source and destination)"""

    def look(self, view: memoryview, pos: int, end: int) -> None:
        """Look at the frames in view[pos:end] and count those that are dropped; the last one may be cut off.

        The 64 bytes after the end must be readable (framing.SLACK).
        """
        pair = _pair(view, pos, end)
        if pair is None:
            return
        now = self._clock()
        known = self._known.get(pair)
        if known is None or known[1] < now:
            known = self._learn(pair, now, known)
        if known is not None and known[0] is not None:
            self._count(view[pos:end], now)

    def takes_dummies(self, addresses: Sequence[Interface]) -> bool:
        """Whether an ICMP error from a dummy address reaches this host; a strict rp_filter would drop it.

        `addresses` are those of the device.
        """
        own = next((one.ip.packed for one in addresses if one.version == 4), None)
        return own is not None and self._ask(packet_icmp.DUMMY_IPV4, own) is None

    def warnings(self, now: float) -> list[str]:
        """What has been dropped lately and would be dropped now, a line for each reason.

        The kernel is asked again, so that a warning ends with its cause.
        """
        lines = self.not_forwarding()
        for reason, (at, pair) in self._last.items():
            half = len(pair) // 2
            if now - at < RECENT_SECONDS and self._ask(pair[:half], pair[half:]) is reason:
                lines.append(f"{reason.value} {_text(pair)}: {reason.doc}: {reason.remedy}")
        return lines

    def not_forwarding(self) -> list[str]:
        """A line for each prefix for which this host is a gateway, but its kernel does not forward."""
        remedy = Reason.NOT_FORWARDED.remedy
        return [
            f"the hub routes {text(*prefix)} to this host, which does not forward: {remedy}"
            for prefix in self.stuck()
        ]

    def stuck(self) -> list[Prefix]:
        """The prefixes for which this host is a gateway, but its kernel does not forward."""
        networks = self._networks()
        return [
            prefix
            for prefix in self.gateways
            if not any(covers(*own, prefix[0]) and own[1] <= prefix[1] for own in networks)
            and self._is_stuck(prefix, networks)
        ]

    def _is_stuck(self, prefix: Prefix, networks: Sequence[Prefix]) -> bool:
        """Whether the kernel would drop a packet from the tunnel to some address within a prefix.

        The first addresses are left out: one of them is often the host itself.
        """
        address, _ = prefix
        source = next((_within(own, 0x33) for own in networks if len(own[0]) == len(address)), None)
        if source is None:
            return False
        found = {self._ask(source, _within(prefix, pattern)) for pattern in (0x5A, 0x66)}
        return Reason.NOT_FORWARDED in found

    def _learn(
        self, pair: bytes, now: float, known: tuple[Reason | None, float] | None
    ) -> tuple[Reason | None, float] | None:
        if self._paid - now > ASK_BURST * ASK_SECONDS:
            return known
        self._paid = max(self._paid, now) + ASK_SECONDS
        half = len(pair) // 2
        known = self._ask(pair[:half], pair[half:]), now + BELIEVED_SECONDS
        self._known.renew(pair, known)
        return known

    def _count(self, frames: memoryview, now: float) -> None:
        at = 0
        for end in framing.split(frames):
            pair = _pair(frames, at, end)
            reason, _ = self._known.get(pair, (None, 0.0)) if pair is not None else (None, 0.0)
            if pair is not None and reason is not None:
                frame = frames[at:end]
                packets = packet_offload.count_packets(frame)
                self._traffic.drop(reason, packets, _text(pair), head_of_frame(frame), now)
                self._last[reason] = now, pair
            at = end


def _pair(view: memoryview, pos: int, end: int) -> bytes | None:
    """Source and destination of the packet in the frame at `pos`; None where it is no whole header of one."""
    start = pos + 2
    if start >= end:
        return None
    if view[start] >> 4 == 0:
        start += packet_offload.HEADER_SIZE
        if start >= end:
            return None
    version = view[start] >> 4
    if version == 4 and start + 20 <= end:
        return bytes(view[start + 12 : start + 20])
    if version == 6 and start + 40 <= end:
        return bytes(view[start + 8 : start + 40])
    return None


def _within(prefix: Prefix, pattern: int) -> bytes:
    """An address of a prefix: each byte has the bits of `pattern` where they are the host's."""
    address, length = prefix
    spare = 8 * len(address) - length
    host = int.from_bytes(bytes([pattern]) * len(address), "big") & (1 << spare) - 1
    number = int.from_bytes(address, "big") | host
    return number.to_bytes(len(address), "big")


def _text(pair: bytes) -> str:
    half = len(pair) // 2
    return f"{format_address(pair[:half])} to {format_address(pair[half:])}"
