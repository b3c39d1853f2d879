"""Benchmark of pings beside a download on a slow link, to the same host; ours and GOST's.

Knows: tbf on the hub's device to host-2, one iperf3 stream, pings 20 a second.
Refuses to know: what must be reached (bars).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Process, Topology
from tests.support.program import GOST, OVERLAY_2, example, host, reach, start_client, start_gost, start_hub

RATE = 100e6
TBF = ("tc", "qdisc", "add", "dev", "to-host-2", "root", "tbf")
SHAPE = ("rate", "100mbit", "burst", "32kb", "latency", "50ms")

Start = Callable[..., Process]


def measure(seconds: float) -> dict[str, float]:
    """Milliseconds over the idle ping at p99 while the link is full, and the share of it the stream gets."""
    figures = _measured(start_hub, start_client, seconds, "")
    if GOST:
        figures |= _measured(start_gost, start_gost, seconds, "gost_")
    return figures


def _measured(hub: Start, client: Start, seconds: float, prefix: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as work, Topology(Path(work)) as topology:
        config = Path(work) / "hub.yml"
        config.write_text(example("server.yml"))
        hub(topology.hub, "-C", str(config))
        client(topology.host_1, *host(1, HUB_TO_HOST_1))
        client(topology.host_2, *host(2, HUB_TO_HOST_2))
        reach(topology.host_1, OVERLAY_2)
        topology.hub.run(*TBF, *SHAPE)
        idle = ping_times(topology.host_1, OVERLAY_2, 40)
        rate, busy = _filled(topology, seconds)
    return {
        f"{prefix}ping_over_idle": busy[int(len(busy) * 0.99) - 1] - idle[len(idle) // 2],
        f"{prefix}stream_share": rate / RATE,
    }


def _filled(topology: Topology, seconds: float) -> tuple[float, list[float]]:
    """(bits a second of the stream, pings meanwhile)."""
    server = topology.host_2.popen("iperf3", "-s", "-1", "--forceflush")
    server.wait_line("Server listening")
    stream = topology.host_1.popen("iperf3", "-c", OVERLAY_2, "-t", str(seconds + 3), "-O", "2", "-J")
    time.sleep(2.5)  # the stream has found its rate
    busy = ping_times(topology.host_1, OVERLAY_2, int(seconds * 20))
    stream.wait(seconds + 30)
    return json.loads(stream.text())["end"]["sum_received"]["bits_per_second"], busy


def ping_times(namespace: Namespace, address: str, count: int) -> list[float]:
    """Milliseconds of pings, 20 a second, sorted."""
    options = ("-c", str(count), "-i", "0.05", "-W", "2")
    said = namespace.run("ping", *options, address, check=False, timeout=120)
    return sorted(
        float(line.partition("time=")[2].split()[0]) for line in said.splitlines() if "time=" in line
    )


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)))
