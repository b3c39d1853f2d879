"""What the program does all day, in a small: Python is compiled for what this does (gcc's -fprofile-use).

It imports nothing of lib: the root that Python is built in is kept while its recipe stays the same, and lib
changes every day. Nothing in it depends on a clock or on chance: the same counts make the same Python.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

PLAIN = struct.Struct("!HBxHxxHxB2x12s").unpack_from
ROW = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)/(\d+)\s+(\S+)(?:\s+(\w+)=(\d+))?")
FRAMES = 2000


class Reason(Enum):
    """Why a packet went nowhere."""

    NO_ROUTE = "no-route"
    NOT_IP = "not-ip"


@dataclass(slots=True)
class Traffic:
    """Counts."""

    packets: int = 0
    bytes: int = 0
    drops: dict[Reason, int] = field(default_factory=dict)


class Port:
    """Where packets come from and go to."""

    __slots__ = ("flows", "live", "mtu", "traffic")

    def __init__(self) -> None:
        self.flows: dict[bytes, Port] = {}
        self.live = True
        self.mtu = 1500
        self.traffic = Traffic()

    def drop(self, reason: Reason, count: int = 1) -> None:
        """Count a packet that goes nowhere."""
        self.traffic.drops[reason] = self.traffic.drops.get(reason, 0) + count


PORTS = [Port() for _ in range(4)]
Runs = dict[Port, list[memoryview]]


def scan(port: Port, buf: bytearray, view: memoryview, end: int, out: Runs) -> int:
    """Frames by the port they go to."""
    known = port.flows.get
    target: Port | None = None
    pos = begin = frames = 0
    while True:
        size, first, total, fragment, protocol, flow = PLAIN(buf, pos)
        after = pos + 2 + size
        if after > end:
            break
        hop = None
        if (
            first == 0x45
            and 28 <= total == size
            and (protocol == 17 or protocol == 6)
            and not fragment & 0x3FFF
        ):
            hop = known(flow)
            if hop is not None and size > hop.mtu:
                hop = None
        unusual = hop is None or not hop.live
        if unusual or hop is not target:
            hand_over(out, target, view[begin:pos])
            begin = pos
            target = judge(port, buf, pos + 2, flow) if unusual else hop
        frames += 1
        pos = after
    hand_over(out, target, view[begin:pos])
    port.traffic.packets += frames
    return pos


def hand_over(out: Runs, target: Port | None, run: memoryview) -> None:
    """A run of frames for one port."""
    if target is None or not run:
        return
    target.traffic.bytes += len(run)
    runs = out.get(target)
    if runs is None:
        out[target] = [run]
    else:
        runs.append(run)


def judge(port: Port, buf: bytearray, at: int, flow: bytes) -> Port | None:
    """A frame of a flow that nobody knows yet."""
    try:
        if buf[at] >> 4 != 4:
            raise ValueError(buf[at])
    except ValueError:
        port.drop(Reason.NOT_IP)
        return None
    address = int.from_bytes(flow[4:8], "big")
    for length in range(32, 8, -8):
        if (address >> (32 - length)) & 7 == 3:
            return port.flows.setdefault(flow, PORTS[address & 3])
    port.drop(Reason.NO_ROUTE)
    return None


def frame(number: int) -> bytes:
    """A frame of 64 bytes of UDP."""
    to = bytes((10, number & 7, number >> 8 & 255, number & 255))
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 92, number, 0, 64, 17, 0, bytes((10, 0, 0, 1)), to)
    content = header + struct.pack("!HHHH", number & 0x7FFF, 9, 72, 0) + bytes(64)
    return len(content).to_bytes(2, "big") + content


def forwarding() -> None:
    """Frames in, runs by port, queues, frames out."""
    data = b"".join(frame(n * 7919 % 64) for n in range(FRAMES))
    buf = bytearray(data + bytes(64))
    view, port = memoryview(buf), Port()
    for _ in range(150):
        out: Runs = {}
        scan(port, buf, view, len(data), out)
        queue = deque(bytes(run) for runs in out.values() for run in runs)
        joined = b"".join(queue)
        at = 0
        while at < len(joined):
            at += 2 + (joined[at] << 8 | joined[at + 1])


def texts() -> None:
    """Tables read, answers written."""
    rows = [f"10.{n >> 8 & 255}.{n & 255}.0/24 host-{n % 100} metric={n % 7}" for n in range(3000)]
    for _ in range(6):
        table: dict[tuple[int, int], list[tuple[str, str]]] = {}
        for row in rows:
            found = ROW.match(row)
            assert found is not None
            key = int.from_bytes(bytes(map(int, found.groups()[:4])), "big"), int(found[5])
            table.setdefault(key, []).append((row.split()[1], found[8]))
        said = json.dumps(
            [
                {
                    "prefix": f"{address:x}/{length}",
                    "gateways": [{"host": h, "metric": int(m)} for h, m in to],
                }
                for (address, length), to in sorted(table.items())
            ]
        )
        lines = [
            f"{one['prefix'].ljust(20)}  {', '.join(to['host'] for to in one['gateways']).rjust(12)}".rstrip()
            for one in json.loads(said)
        ]
        zlib.decompress(zlib.compress("\n".join(lines).encode()))


def sums() -> None:
    """Checksums."""
    for n in range(1500):
        data = bytes((n + i) & 255 for i in range(200))
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)


def numbers(count: int) -> Iterator[int]:
    """Some numbers."""
    yield from range(count)


def lives() -> None:
    """Small objects that come and go."""
    store: OrderedDict[int, Traffic] = OrderedDict()
    for n in range(3000):
        store[n] = Traffic(n, n)
        if len(store) > 500:
            store.popitem(last=False)
        one = replace(store[n], packets=n + 1)
        sum((one.packets, *numbers(20)))
        sorted(range(30), key=lambda value: -value)
        try:
            store[-1]
        except KeyError as error:
            str(error)


if __name__ == "__main__":
    for _ in range(2):
        forwarding()
        texts()
        sums()
        lives()
