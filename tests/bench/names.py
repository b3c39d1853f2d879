"""DNS answers of a hub through the tunnel, alone and beside full traffic between two other hosts.

    .venv/bin/python tests/bench/names.py [--rate 5200] [--seconds 8] [--tls] [--json]     as root

Three hosts in network namespaces: host-1 sends to host-2 as fast as TCP can (iperf3, four streams), and host-3
asks the hub's address over UDP, at a steady rate, without waiting for answers (an open loop: a late answer
delays no question). Its questions are those of a resolver: A and AAAA of hosts, PTR, and names that do not exist.
The bar is 5,000 answers/s, of which 99 in 100 come within 5 ms.

How late anything is beside full traffic depends on the machine: the processors are shared by whoever sends, whoever
receives, and all programs between them. So host-3 pings the hub's address too, by the same way: beside the traffic
alone, before it asks, and while it asks. What answers are later than those pings is what they cost.

ping takes the time from the kernel at which a reply came to its host (SO_TIMESTAMP), and so it is done here: how
late the asker itself gets a processor is no lateness of the answer. `seen p99` counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import socket
import struct
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnslib import DNSRecord

from tests.support.netns import Namespace, Process, Topology, connect
from tests.support.program import start_client, start_hub

HUB, DOMAIN = "10.20.0.254", "tun.example"
UNDERLAY = "10.78.3.1", "10.78.3.2"
BAR_RATE, BAR_P99_MS = 5000, 5.0
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_TIMESPEC = struct.Struct("@qq")
LATE_SECONDS = 1.0
"""An answer that has not come so long after the last question is lost."""
NEW_SECONDS = 0.004
"""Between two questions that are asked for the first time; the bar is for what resolvers ask again and again."""
HOSTS = 60
PINGS_A_SECOND = 100
_TRIP = re.compile(r"time=([0-9.]+)")
TEXT = """
services:
- {{name: hub, addr: ":8443", handler: {{type: router, metadata: {{router: r}}}}, listener: {{type: {kind}}}}}
routers:
- name: r
  address: {hub}/24
  dnsDomain: {domain}
  routes: [{routes}]
"""


def questions() -> list[bytes]:
    """Questions without their numbers, in the order in which they are asked."""
    asked: list[tuple[str, str]] = []
    for number in range(1, HOSTS + 1):
        name = f"host-{number}.{DOMAIN}"
        asked += [(name, "A"), (name, "AAAA"), (f"{number}.0.20.10.in-addr.arpa", "PTR")]
        asked += [(f"none-{number}.{DOMAIN}", "A")] * (number % 5 == 0)
    return [bytes(DNSRecord.question(name, kind).pack())[2:] for name, kind in asked]


def ask(server: str, rate: float, seconds: float) -> dict[str, float]:
    """Ask at a steady rate; what came of it. Runs in the asker's namespace."""
    texts, sent_at, taken, seen = questions(), [0.0] * 65536, list[float](), list[float]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        asking.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        asking.connect((server, 53))
        asking.setblocking(False)
        for text in texts:  # a hub makes 500 answers a second that nobody has asked for before
            asking.send(b"\0\0" + text)
            time.sleep(NEW_SECONDS)
            with suppress(BlockingIOError):
                asking.recv(2048)
        while select.select([asking], [], [], 0.2)[0]:  # what came late is none of those below
            asking.recv(2048)
        began, sent = time.time(), 0
        total, end = int(rate * seconds), began + seconds + LATE_SECONDS
        while (now := time.time()) < end and len(taken) < total:
            due = min(total, int((now - began) * rate))
            while sent < due:
                number = sent & 0xFFFF
                sent_at[number] = time.time()
                asking.send(number.to_bytes(2, "big") + texts[sent % len(texts)])
                sent += 1
            wait = (began + (sent + 1) / rate - time.time()) if sent < total else 0.05
            select.select([asking], [], [], max(0.0, min(wait, 0.05)))
            try:
                while True:
                    answer, notes, _, _ = asking.recvmsg(2048, 64)
                    number = int.from_bytes(answer[:2], "big")
                    whole, rest = _TIMESPEC.unpack(notes[0][2])
                    taken.append(whole + rest / 1e9 - sent_at[number])
                    seen.append(time.time() - sent_at[number])
            except BlockingIOError:
                pass
    return {
        "rate": len(taken) / seconds,
        "lost": 100 * (1 - len(taken) / max(1, total)),
        **parts(taken),
        "seen p99": parts(seen)["p99"],
    }


def parts(seconds: list[float]) -> dict[str, float]:
    """How long something took, in ms: the median, and what few exceeded."""
    ordered = sorted(seconds)

    def part(share: float) -> float:
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")

    return {name: part(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))}


def _asked(host: Namespace, rate: float, seconds: float) -> dict[str, float]:
    words = (sys.executable, __file__, "--ask", HUB, "--rate", str(rate), "--seconds", str(seconds))
    found: dict[str, float] = json.loads(host.run(*words, timeout=seconds + 20))
    return found


def _ping(host: Namespace, seconds: float) -> Process:
    """Begin to ping the hub."""
    count = str(int(seconds * PINGS_A_SECOND))
    return host.popen("ping", "-n", "-c", count, "-i", str(1 / PINGS_A_SECOND), "-W", "2", HUB)


def _pinged(pings: Process) -> dict[str, float]:
    """How long those took, once all have come back."""
    pings.wait(60)
    return parts([float(ms) / 1000 for ms in _TRIP.findall(pings.text())])


def measure(rate: float, seconds: float, kind: str) -> dict[str, dict[str, Any]]:
    """What came of the questions and pings, alone and beside traffic."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        logs = Path(directory)
        topology = stack.enter_context(Topology(logs))
        third = stack.enter_context(Namespace("host-3", logs))
        connect(topology.hub, "to-host-3", f"{UNDERLAY[0]}/24", third, "uplink", f"{UNDERLAY[1]}/24")
        routes = ", ".join(f"{{dst: 10.20.0.{n}, gateway: host-{n}}}" for n in range(1, HOSTS + 1))
        config = logs / "hub.yml"
        config.write_text(TEXT.format(kind=kind, hub=HUB, domain=DOMAIN, routes=routes))
        hub = start_hub(topology.hub, "-C", str(config))
        addresses = {row["local"] for link in topology.hub.ip("addr") for row in link["addr_info"]}
        for number, host in enumerate((topology.host_1, topology.host_2, third), 1):
            gateway = next(one for one in addresses if one.startswith(_network(host)))
            url = f"router+{kind}://{gateway}:8443"
            start_client(host, "-L", f"tun:///host-{number}?net=10.20.0.{number}/24", "-F", url)
        server = topology.host_2.popen("iperf3", "-s", "-1", "--forceflush")
        server.wait_line("Server listening")
        results: dict[str, dict[str, Any]] = {"alone": _asked(third, rate, seconds / 2)}
        traffic = topology.host_1.popen(
            *("iperf3", "-c", "10.20.0.2", "-P", "4", "-t", str(int(2 * seconds) + 4), "-J")
        )
        time.sleep(2)  # slow start is over; there is no event to wait for
        results["ping"] = _pinged(_ping(third, seconds))
        pings = _ping(third, seconds)
        results["beside"] = _asked(third, rate, seconds)
        results["ping while asked"] = _pinged(pings)
        traffic.wait(seconds + 30)
        results["beside"]["gbit"] = json.loads(traffic.text())["end"]["sum_received"]["bits_per_second"] / 1e9
        hub.stop()
        return results


def _network(host: Namespace) -> str:
    """The beginning of the addresses of a host's uplink: a /24."""
    rows = host.ip("addr", "show", "uplink")[0]["addr_info"]
    address: str = next(row["local"] for row in rows if row["family"] == "inet")
    return address.rpartition(".")[0] + "."


def main() -> int:
    """Measure and print; the status is 1 where a bar is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=float, default=5200)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--tls", action="store_true")
    options.add_argument("--json", action="store_true")
    options.add_argument("--ask", default="")
    chosen = options.parse_args()
    if chosen.ask:
        print(json.dumps(ask(chosen.ask, chosen.rate, chosen.seconds)))
        return 0
    if os.geteuid():
        sys.exit("names.py: needs root, for network namespaces and TUN devices")
    results = measure(chosen.rate, chosen.seconds, "tls" if chosen.tls else "tcp")
    if chosen.json:
        print(json.dumps(results))
    for name, row in results.items() if not chosen.json else ():
        print(f"{name:16}", "  ".join(f"{key} {value:.2f}" for key, value in row.items()))
    beside = results["beside"]
    return int(beside["rate"] < BAR_RATE or beside["p99"] > BAR_P99_MS)


if __name__ == "__main__":
    sys.exit(main())
