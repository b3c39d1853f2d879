"""Benchmark of status and metrics of a hub with a thousand clients: time of a reply, delay of packets.

    .venv/bin/python tests/bench/seeing.py [metrics|status|…] [--clients N] [--rounds N]      as root

Knows: a hub with a thousand silent sessions, two hosts that ping each other meanwhile, ways to ask (ASKS).
Refuses to know: what must be reached (bars: under 0.3 s, no packet delayed for more than 20 ms).

A round is half a second of pings with one question in the middle, and as many without: a ping's time on a
busy machine means something only beside those of the same seconds.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.measure import Figures
from tests.bench.memory import allow_descriptors, client
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Namespace, Topology, in_namespace
from tests.support.packets import frame, udp
from tests.support.program import OVERLAY_2, TUNROUTER, example, host, reach, start_client, start_hub

CLIENTS = 1000
ROUNDS = 10
PINGS = 100
GAP_SECONDS = 0.005

Ask = Callable[[Topology, str], int]
"""Asks a hub in this topology, with this control socket, and returns the size of the answer."""


def command(*words: str) -> Ask:
    """Ask as a user does: `tunrouter WORDS --control PATH`."""

    def ask(topology: Topology, control: str) -> int:
        done = subprocess.run(
            (*TUNROUTER, *words, "--control", control), stdout=subprocess.PIPE, check=True, timeout=30
        )
        return len(done.stdout)

    return ask


def question(what: str) -> Ask:
    """Ask as that program does, without its start: one line to the control socket."""

    def ask(topology: Topology, control: str) -> int:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(control)
            sock.sendall(json.dumps({"do": what}).encode() + b"\n")
            size = 0
            while received := sock.recv(1 << 16):
                size += len(received)
                if received.endswith(b"\n"):
                    break
        return size

    return ask


METRICS = ("127.0.0.1", 9100)


def scrape(topology: Topology, control: str) -> int:
    """As Prometheus does."""
    with in_namespace(topology.hub.name):
        sock = socket.create_connection(METRICS, timeout=30)
    with sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        size = 0
        while received := sock.recv(1 << 16):
            size += len(received)
    return size


ASKS: dict[str, tuple[Ask, tuple[str, ...]]] = {
    "metrics": (scrape, ("--metrics", "{}:{}".format(*METRICS))),
    "status": (question("status"), ()),
    "drops": (question("drops"), ()),
    "status-command": (command("status"), ()),
}
"""Name -> how to ask, and what the hub needs on its command line for it."""


def measure(ask: Ask, work: Path, clients: int = CLIENTS, rounds: int = ROUNDS, *more: str) -> Figures:
    """Seconds of an answer and ms of the longest ping, medians and worst; `more` is for the hub's arguments.

    "quiet" are the pings while nobody asks.
    """
    allow_descriptors(clients + 200)
    control = str(work / "hub.sock")
    seconds: list[float] = []
    asked: list[float] = []
    quiet: list[float] = []
    with Topology(work) as topology, ExitStack() as opened:
        config = work / "hub.yml"
        config.write_text(example("server.yml"))
        start_hub(topology.hub, "-C", str(config), "--control", control, *more)
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
        with in_namespace(topology.hub.name):
            for number in range(clients):
                sock = opened.enter_context(client(f"c{number}"))
                # each has lost a packet, so that there is something to tell of it
                sock.sendall(frame(udp("10.1.2.3", "10.1.2.4", b"x" * 32)))
        reach(topology.host_1, OVERLAY_2)
        time.sleep(1)  # a thousand handshakes have to be over
        size = 0
        for _ in range(rounds):
            quiet.append(_longest(topology.host_1, lambda: None))

            def once() -> None:
                nonlocal size
                began = time.monotonic()
                size = ask(topology, control)
                seconds.append(time.monotonic() - began)

            asked.append(_longest(topology.host_1, once))
    return {
        "bytes": size,
        "seconds": median(seconds),
        "seconds_least": min(seconds),
        "seconds_most": max(seconds),
        "ping_ms": median(asked),
        "ping_ms_most": max(asked),
        "quiet_ms": median(quiet),
        "quiet_ms_most": max(quiet),
    }


def _longest(where: Namespace, meanwhile: Callable[[], None]) -> float:
    """Milliseconds of the longest of half a second's pings; one that is lost is an error."""
    pings = where.popen("ping", "-c", str(PINGS), "-i", str(GAP_SECONDS), "-W", "5", OVERLAY_2)
    pings.wait_line("icmp_seq=20")
    meanwhile()
    pings.wait(30)
    times = [float(text) for text in re.findall(r"time=([0-9.]+)", pings.text())]
    lost = PINGS - len(times) - 1  # for the last one ping hardly waits
    assert lost <= 0, f"{lost} pings are lost\n{pings.text()[-500:]}"
    return max(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ask", nargs="*", help=", ".join(ASKS))
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    words = parser.parse_args()
    for name in words.ask or ASKS:
        with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as work:
            ask, more = ASKS[name]
            figures = measure(ask, Path(work), words.clients, words.rounds, *more)
        print(name, json.dumps({key: round(value, 4) for key, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
