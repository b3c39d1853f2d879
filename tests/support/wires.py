"""Wires with delay, loss and a rate between network namespaces: the topology of netns as users have it.

Knows: tests/bench/wire.c, how it is built, the short notation of a wire.
Refuses to know: what is sent over them.

Each of the two hosts has a wire to the hub. A wire is written as its rates in Mbit/s and what is wrong with it:

    20              20 Mbit/s both ways          200+1%         1 % of the packets lost each way
    5/50            5 up, 50 down                200+1%+noudp   and UDP does not pass
    100-5-100       100, then 5, then 100, a third of a run each
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import (
    HOST_1,
    HOST_2,
    HUB_TO_HOST_1,
    HUB_TO_HOST_2,
    ROOT,
    Namespace,
    Process,
    Topology,
)

SOURCE = ROOT / "tests" / "bench" / "wire.c"
DELAY, QUEUE = 10.0, 50.0
"""Milliseconds: one way, and how long a packet may wait for its turn. A ping between the hosts takes 40."""

_WIRE = re.compile(
    r"(?P<rates>\d+(?:\.\d+)?(?:[/-]\d+(?:\.\d+)?)*)(?:\+(?P<loss>\d+(?:\.\d+)?)%)?(?P<noudp>\+noudp)?"
)


@dataclass(frozen=True, slots=True)
class Wire:
    """What a wire does to packets; rates in Mbit/s, 0 is no limit."""

    name: str
    up: float
    """From a host to the hub."""
    down: float
    loss: float = 0.0
    """Percent, each way."""
    udp: bool = True
    """Whether it passes."""
    later: tuple[float, ...] = ()
    """The rates that it has afterwards, both ways."""

    @property
    def far(self) -> Wire:
        """The wire of the other host: even, and never the narrow one of the two."""
        rate = max(self.up, self.down)
        return Wire(self.name, rate, rate, self.loss, self.udp, self.later)


def wire_of(text: str) -> Wire:
    """Read the short notation. Raises ValueError that names the text when it is none."""
    found = _WIRE.fullmatch(text)
    rates = re.split("[/-]", found["rates"]) if found else []
    if found is None or ("/" in text and ("-" in text or len(rates) != 2)):
        raise ValueError(f"no wire is written {text!r}: write 20, 5/50, 200+1%, 200+1%+noudp or 100-5-100")
    loss, udp = float(found["loss"] or 0), not found["noudp"]
    first = float(rates[0])
    if "/" in text:
        return Wire(text, first, float(rates[1]), loss, udp)
    return Wire(text, first, first, loss, udp, tuple(map(float, rates[1:])))


def no_wire() -> str:
    """Why there can be none here; empty when there can."""
    return "" if shutil.which("cc") else "no C compiler (cc)"


def build(directory: Path) -> Path:
    """Compile the program into a directory, unless it is there; returns its path."""
    program = directory / "wire"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCE)], check=True, capture_output=True)
    return program


class LaidWire:
    """A wire that carries packets; it ends with the namespace that runs it, or when it is closed."""

    def __init__(
        self, program: Path, wire: Wire, hub: Namespace, device: str, host: Namespace, seed: int
    ) -> None:
        reading, self._orders = (
            os.pipe()
        )  # it ends when this end of the pipe is gone, however that came about
        words = (hub.name, device, host.name, "uplink", f"delay={DELAY}", f"queue={QUEUE}", f"seed={seed}")
        try:
            self.process: Process = hub.popen(str(program), *words, *_rate(wire), stdin=reading)
        finally:
            os.close(reading)
        self.process.wait_line("ready")

    def set_rate(self, mbit: float) -> None:
        """Give it another rate, both ways; returns when it has it."""
        before = self.process.line_count()
        os.write(self._orders, f"rate={mbit}/{mbit}\n".encode())
        self.process.wait_line("now ", after=before)

    def close(self) -> None:
        """Take it down."""
        os.close(self._orders)
        self.process.wait()


def _rate(wire: Wire) -> tuple[str, ...]:
    udp = "on" if wire.udp else "off"
    return (f"rate={wire.down}/{wire.up}", f"loss={wire.loss}", f"udp={udp}")


class WireTopology(Topology):
    """The hub and the two hosts, joined by wires instead of veth pairs; names and addresses are the same.

    `program` is the built wire. Both wires lose different packets, and the same ones in every run.
    """

    def __init__(self, logs: Path, program: Path, wire: Wire) -> None:
        super().__init__(logs)
        self._program = program
        self.wire = wire
        self.wires: list[LaidWire] = []

    def join(self, building: ExitStack) -> None:
        ends = (
            (self.wire, "to-host-1", HUB_TO_HOST_1, self.host_1, HOST_1),
            (self.wire.far, "to-host-2", HUB_TO_HOST_2, self.host_2, HOST_2),
        )
        for seed, (wire, device, hub_address, host, address) in enumerate(ends, 1):
            laid = LaidWire(self._program, wire, self.hub, device, host, seed)
            building.callback(laid.close)
            self.wires.append(laid)
            for namespace, name, own in ((self.hub, device, hub_address), (host, "uplink", address)):
                namespace.ip("link", "set", name, "addrgenmode", "none")
                namespace.ip("addr", "add", f"{own}/24", "dev", name)
                namespace.ip("link", "set", name, "up")

    def set_rate(self, mbit: float) -> None:
        """Give both wires another rate, both ways."""
        for laid in self.wires:
            laid.set_rate(mbit)
