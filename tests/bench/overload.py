"""Benchmark of a hub that is offered three times what it can carry; ours and GOST's.

    .venv/bin/python tests/bench/overload.py [SECONDS]       as root

Knows: UDP of 200 bytes from host-1 to host-2, as much as arrives and then three times that; pings between two other
hosts of the same hub. Refuses to know: what must be reached (bars).

The sender has its own share of the machine: on few cores it takes from the hub what it needs itself. So what was
really offered is a figure, too.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.measure import PORT, quantile, received_packets
from tests.bench.peers import wait_listening
from tests.bench.shaped import Start, ping_times
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, connect
from tests.support.program import GOST, OVERLAY_2, reach, start_client, start_gost, start_hub

SIZE = 200
FIRST = 5_000
"""Packets a second that any hub carries; from there on the offer doubles."""
OTHERS = {3: "10.77.3", 4: "10.77.4"}


def measure(seconds: float, first: int = FIRST) -> dict[str, float]:
    """`carried` thousand packets a second at best, `offered` and `received` of three times that, their `of_best`, and
    the other hosts' pings over their idle median (ms)."""
    figures = _measured(start_hub, start_client, seconds, first, "")
    if GOST:
        figures |= _measured(start_gost, start_gost, seconds, first, "gost_")
    return figures


def _measured(hub: Start, client: Start, seconds: float, first: int, prefix: str) -> dict[str, float]:
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunrouter-bench-")))
        topology = stack.enter_context(Topology(work))
        hosts = {1: (topology.host_1, HUB_TO_HOST_1), 2: (topology.host_2, HUB_TO_HOST_2)}
        for number, network in OTHERS.items():
            other = stack.enter_context(Namespace(f"host-{number}", work))
            connect(
                *(topology.hub, f"to-host-{number}", f"{network}.1/24"), *(other, "uplink", f"{network}.2/24")
            )
            hosts[number] = (other, f"{network}.1")
        config = work / "hub.yml"
        config.write_text(_hub_yaml(hosts))
        hub(topology.hub, "-C", str(config))
        for number, (namespace, address) in hosts.items():
            device = f"tun:///host-{number}?net=192.168.123.{number}/24"
            client(namespace, "-L", device, "-F", f"router://{address}:8443")
        reach(topology.host_1, OVERLAY_2)
        reach(hosts[3][0], "192.168.123.4")
        return {
            f"{prefix}{name}": value
            for name, value in _overloaded(topology, hosts[3][0], seconds, first).items()
        }


def _hub_yaml(hosts: dict[int, tuple[Namespace, str]]) -> str:
    routes = "".join(f"  - {{dst: 192.168.123.{number}/32, gateway: host-{number}}}\n" for number in hosts)
    return (
        "services:\n- name: service-0\n  addr: :8443\n"
        "  handler: {type: router, metadata: {router: router-0}}\n  listener: {type: tcp}\n"
        f"routers:\n- name: router-0\n  routes:\n{routes}"
    )


def _overloaded(topology: Topology, other: Namespace, seconds: float, offered: int) -> dict[str, float]:
    idle = ping_times(other, "192.168.123.4", 40)
    best = 0.0
    while True:
        received = _flood(topology, seconds, offered)[1]
        best = max(best, received)
        if received < 0.9 * offered:
            break
        offered *= 2
    pings = other.popen("ping", "-i", "0.05", "-W", "2", "192.168.123.4")
    pings.wait_line("bytes from")
    sent, received = _flood(topology, seconds, int(3 * best))
    pings.stop(signal.SIGINT)
    times = [float(text) for text in re.findall(r"time=([0-9.]+)", pings.text())]
    middle = quantile(idle, 0.5)
    return {
        "carried": best / 1e3,
        "offered": sent / 1e3,
        "received": received / 1e3,
        "of_best": received / max(best, received),
        "ping_over_idle": quantile(times, 0.5) - middle,
        "ping_over_idle_p99": quantile(times, 0.99) - middle,
    }


def _flood(topology: Topology, seconds: float, rate: int) -> tuple[float, float]:
    """(sent, received) packets a second."""
    server = topology.host_2.popen("iperf3", "-s", "-1", "-J")
    wait_listening(topology.host_2, PORT)
    options = ("-u", "-l", str(SIZE), "-b", str(rate * SIZE * 8), "-t", f"{seconds:g}", "-J")
    said = json.loads(topology.host_1.run("iperf3", "-c", OVERLAY_2, *options, timeout=seconds + 30))
    server.wait(10)
    report = json.loads(server.text())
    return said["end"]["sum"]["packets"] / seconds, received_packets(report)[0] / seconds


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)))
