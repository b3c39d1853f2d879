"""What a hub with two workers costs beside one process: processor time a GB and a TLS handshake, by process.

    .venv/bin/python tests/bench/workers.py [across] [apart] [handshakes] [--seconds 4] [--handshakes 2000] [--rounds 2]

across: one TCP transfer between two hosts of one namespace, at different workers. apart: two transfers at once, each
in a namespace of its own, whose hosts are at one worker. handshakes: TLS connections one after the other, which say
nothing more. As root; the machine should do nothing else.

The time is the scheduler's, in nanoseconds (/proc/PID/task/TID/schedstat), as handshakes take less than a tick. With
workers the processes are in the order of their pids: the main process, the one that forks, the workers. On few cores
the load takes a part of them, and so Gbit/s say less than the cost does.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology
from tests.support.program import reach, start_client, start_hub

HUB = """\
workers: {workers}
services:
- name: hub
  addr: ":8443"
  climiter: many
  rlimiter: many
  handler: {{type: router, metadata: {{router: r, lanes: 1, channel: stream}}}}
  listener: {{type: tls}}
climiters: [{{name: many, limits: ["$ 60000"]}}]
rlimiters: [{{name: many, limits: ["$ 60000"]}}]
routers:
- name: r
  routes:
  - {{dst: 192.168.123.1/32, gateway: host-1}}
  - {{dst: 192.168.123.2/32, gateway: host-2}}
  - {{dst: 192.168.123.3/32, gateway: host-3}}
  - {{dst: 192.168.123.4/32, gateway: host-4}}
"""
SPACES = "e87f56dd-fd57-4921-9ab8-a0847662daae", "ef502590-c5f4-437e-a81f-fe4083505075"
CONNECT = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for _ in range(int(sys.argv[2])):
    with context.wrap_socket(socket.create_connection((sys.argv[1], 8443))):
        pass
"""

Times = dict[int, float]
"""Seconds of processor time by process."""
Cost = tuple[float, Times]
"""(CPU seconds of all processes for one unit, those of each)."""


def used(namespace: Namespace) -> Times:
    """What the hub's processes have used."""
    return {
        pid: sum(int(one.read_text().split()[0]) for one in Path(f"/proc/{pid}/task").glob("*/schedstat"))
        / 1e9
        for pid in namespace.pids()
    }


def since(namespace: Namespace, before: Times, units: float) -> Cost:
    """The cost of each unit since then."""
    each = {pid: (now - before.get(pid, 0.0)) / units for pid, now in sorted(used(namespace).items())}
    return sum(each.values()), each


@contextmanager
def hub(workers: int) -> Iterator[Topology]:
    """A hub in its namespace."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        with Topology(here) as topology:
            (here / "hub.yml").write_text(HUB.format(workers=workers))
            start_hub(topology.hub, "-C", str(here / "hub.yml"), "--control", str(here / "hub.sock"))
            yield topology


def transferred(topology: Topology, addresses: tuple[str, ...], seconds: float) -> Cost:
    """The cost of each GB that host-1 sends to these addresses of host-2, all at once."""
    listening = [topology.host_2.popen("iperf3", "-s", "-1", "-B", one, "--forceflush") for one in addresses]
    for server in listening:
        server.wait_line("Server listening")
    before = used(topology.hub)
    sending = [topology.host_1.popen("iperf3", "-c", one, "-t", str(seconds), "--json") for one in addresses]
    for client in sending:
        client.wait(seconds + 20)
    taken = sum(json.loads(client.text())["end"]["sum_received"]["bytes"] for client in sending)
    print(f"  {taken * 8 / seconds / 1e9:.2f} Gbit/s")
    return since(topology.hub, before, taken / 1e9)


def across(workers: int, chosen: argparse.Namespace) -> Cost:
    """Two hosts of one namespace, which are at different workers, as each has the fewest connections in turn."""
    with hub(workers) as topology:
        for number, where, address in (
            (1, topology.host_1, HUB_TO_HOST_1),
            (2, topology.host_2, HUB_TO_HOST_2),
        ):
            listen = f"tun:///host-{number}?net=192.168.123.{number}/24"
            start_client(where, "-L", listen, "-F", f"router+tls://{address}:8443")
        reach(topology.host_1, "192.168.123.2")
        return transferred(topology, ("192.168.123.2",), chosen.seconds)


def apart(workers: int, chosen: argparse.Namespace) -> Cost:
    """Two namespaces; the hosts of each are at one worker, as they come in this order."""
    with hub(workers) as topology:
        for number, where, address in (
            (1, topology.host_1, HUB_TO_HOST_1),
            (3, topology.host_1, HUB_TO_HOST_1),
            (2, topology.host_2, HUB_TO_HOST_2),
            (4, topology.host_2, HUB_TO_HOST_2),
        ):
            other = number + 1 if number % 2 else number - 1
            net = f"net=192.168.123.{number}/32&route=192.168.123.{other}/32"
            space = SPACES[number > 2]
            way = f"router+tls://{address}:8443?router.id={space}"
            start_client(where, "-L", f"tun:///host-{number}?{net}", "-F", way)
        for address in ("192.168.123.2", "192.168.123.4"):
            reach(topology.host_1, address)
        return transferred(topology, ("192.168.123.2", "192.168.123.4"), chosen.seconds)


def handshakes(workers: int, chosen: argparse.Namespace) -> Cost:
    """TLS handshakes, one after the other; the cost of a thousand."""
    with hub(workers) as topology:
        before = used(topology.hub)
        words = (sys.executable, "-c", CONNECT, HUB_TO_HOST_1, str(chosen.handshakes))
        topology.host_1.run(*words, timeout=120)
        return since(topology.hub, before, chosen.handshakes / 1000)


MODES: dict[str, tuple[Callable[[int, argparse.Namespace], Cost], str]] = {
    "across": (across, "CPU s a GB"),
    "apart": (apart, "CPU s a GB"),
    "handshakes": (handshakes, "CPU ms a handshake"),
}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modes", nargs="*", default=list(MODES), help=", ".join(MODES))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--handshakes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    for mode in chosen.modes:
        measure, unit = MODES[mode]
        for _ in range(chosen.rounds):
            sums: list[float] = []
            for workers in (1, 2):
                cost, each = measure(workers, chosen)
                sums.append(cost)
                parts = ", ".join(f"{one:.3f}" for one in each.values())
                print(f"{mode}, workers {workers}: {cost:.3f} {unit} ({parts})", flush=True)
            print(f"{mode}: {sums[1] / sums[0]:.2f} x", flush=True)


if __name__ == "__main__":
    main()
