"""Frames on their way through the cluster's process: a worker's to a hub, and a hub's to workers.

Knows: that frames of a hub have to be whole, and may be for several hosts; that what is sent in a turn goes
on in as few runs as there are receivers; what is left for later because it takes long.
Refuses to know: where frames go (worker_relay), how they come (worker_link, cluster_link).
"""

from __future__ import annotations

from collections.abc import Callable

from lib.cluster_receive import LEAST_FRAME, Unhurried
from lib.counters import Traffic
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Reason
from lib.namespace import Attachment
from lib.packet import Buffer
from lib.packet_offload import HEADER_SIZE, count_packets
from lib.session_cost import Cost
from lib.worker_link import WorkerLink

MOST_RUNS = 16
"""Destinations in an envelope of a hub that are looked up at once. An honest one is of one flow."""


class ToHub:
    """What takes the frames of a worker that are for one hub."""

    has_rest = by_flow = False

    def __init__(self, send: Callable[[bytes, list[memoryview]], None]) -> None:
        """`send` passes a run of whole frames of a namespace on."""
        self._send = send
        self._runs: dict[bytes, list[memoryview]] = {}
        self._frames = self._bytes = 0

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
        """As cluster_link.Receiver.take."""
        self._runs.setdefault(namespace, []).append(view[start:end])
        packets = count_packets(view[start:end])
        self._frames += packets
        self._bytes += end - start
        return packets

    def send(self, cost: Cost | None = None, /) -> None:
        """As cluster_link.Receiver.send."""
        try:
            for namespace, run in self._runs.items():
                self._send(namespace, run)
        finally:  # of a buffer that is received into next
            self._runs.clear()
        if cost is not None and self._frames:
            cost.forward(self._frames, self._bytes, 0)
        self._frames = self._bytes = 0

    def go_on(self, cost: Cost | None = None, /) -> None:
        """Nothing is ever left."""


class FromHub(Unhurried):
    """What takes the frames of one hub, which go on to workers."""

    def __init__(
        self,
        sender: Callable[[bytes], Attachment],
        find: Callable[[Attachment, bytearray, int, int], tuple[WorkerLink | None, bool]],
        send: Callable[[WorkerLink, bytes, list[memoryview]], None],
        grants: Callable[[bytes], bool],
        traffic: Traffic,
        tell: Callable[[Attachment], None],
    ) -> None:
        """`sender` gives what stands for that hub in a namespace, `find` the worker for whole frames (None
        where they wait or are lost), and whether it has their receiver; `send` sends a run to one.

        `grants` says whether that hub may send packets of a namespace; what it may not counts in `traffic`.
        `tell` logs what is dropped for the first time.
        """
        super().__init__()
        self._sender, self._find, self._send, self._grants = sender, find, send, grants
        self._traffic, self._tell = traffic, tell
        self._last: Attachment | None = None
        """What stands for the hub in the namespace of the last frames."""
        self._runs: dict[tuple[WorkerLink, bytes], list[memoryview]] = {}
        self._frames = self._bytes = 0
        """Of this turn, with a receiver."""
        self._skipped = [0, 0, 0]
        """Runs, frames and bytes of this turn that were dropped unseen."""

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
        """As cluster_link.Receiver.take."""
        if self._rest:  # these must not overtake them
            self._rest.append((namespace, bytes(view[start:end])))
            return count_packets(view[start:end])
        sender = self._last = self._sender(namespace)
        if not self._grants(namespace):
            packets = count_packets(view[start:end])
            self._traffic.drop(Reason.UNTRUSTED, packets)
            frames = min(packets, (end - start) // LEAST_FRAME)  # a superpacket costs no more than a packet
            self._skipped = [
                had + more for had, more in zip(self._skipped, (1, frames, end - start), strict=True)
            ]
            return packets
        at = begin = start
        runs = 0
        destination = b""
        while at < end:
            after = at + 2 + (data[at] << 8 | data[at + 1])
            if after > end:
                raise ProtocolError("frames in an envelope are cut off")
            found = _destination(data, at + 2, after)
            if at > begin and found != destination:
                self._pass_on(sender, data, view, begin, at)
                begin, runs = at, runs + 1
                if runs == MOST_RUNS:
                    self._rest.append((namespace, bytes(view[begin:end])))
                    return count_packets(view[start:end])
            destination, at = found, after
        if at > begin:
            self._pass_on(sender, data, view, begin, at)
        return count_packets(view[start:end])

    def _pass_on(self, sender: Attachment, data: bytearray, view: memoryview, start: int, end: int) -> None:
        link, is_there = self._find(sender, data, start, end)
        if link is not None:
            self._runs.setdefault((link, sender.namespace.id), []).append(view[start:end])
        if is_there:
            self._frames += count_packets(view[start:end])
            self._bytes += end - start

    def send(self, cost: Cost | None = None, /) -> None:
        """As cluster_link.Receiver.send. What has no receiver is worth nothing, as in a hub."""
        try:
            for (link, namespace), run in self._runs.items():
                self._send(link, namespace, run)
        finally:  # of a buffer that is received into next
            self._runs.clear()
        if self._traffic.news and self._last is not None:
            self._tell(self._last)
        if cost is not None:
            if self._frames:
                cost.forward(self._frames, self._bytes, 0)
            if self._skipped[1]:
                cost.skip(*self._skipped)
        self._frames = self._bytes = 0
        self._skipped = [0, 0, 0]


def _destination(data: Buffer, start: int, end: int) -> bytes:
    """The destination of a frame content that is a usual packet, else b""."""
    if data[start] < 0x10 and end - start > HEADER_SIZE:
        start += HEADER_SIZE
    version = data[start] >> 4 if start < end else 0
    if version == 4:
        return bytes(data[start + 16 : start + 20])
    return bytes(data[start + 24 : start + 40]) if version == 6 else b""
