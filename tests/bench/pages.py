"""Benchmark of a hub whose web page is open: CPU time of the hub, and pings of others, with no page, one and 50.

    .venv/bin/python tests/bench/pages.py [--hosts 1000] [--pages 1,50] [--seconds 10] [--rounds 2] [--chromium]     as root

Knows: a real hub with a thousand sessions that all send, so that each row of the list is different at each tick;
readers that ask for what the page asks for, in its order, and take the events; one real Chromium.
Refuses to know: what must be reached (bars: 3 % of a core and 20 ms with one page, three times that with 50).

The hosts are sockets of one process, the readers of another one (`--play`, `--read`). Phases take turns: none, 1,
50, 50, 1, none, …; what a page costs is the hub's CPU time with it, less that of the same seconds without any.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib import page_files
from lib.wire_control import Feature
from lib.wire_relay import Request
from tests.bench.memory import allow_descriptors
from tests.bench.push_hosts import Host
from tests.bench.quiet import cpu_seconds
from tests.support.chromium import CHROMIUM, Chromium
from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, Process, Topology
from tests.support.packets import frame, udp
from tests.support.program import OVERLAY_2, example, host, reach, start_client, start_hub, unlimited
from tests.support.sessions import joined

HOSTS = 1000
API = ("127.0.0.1", 18080)
GAP_SECONDS = 0.01
"""Between two pings."""
STEPS = 100
"""Parts of a second in which the hosts take turns; each sends one packet a second."""


# --- the hosts, in a process of their own ----------------------------------------------------------


def play(count: int) -> None:
    """Be so many hosts until standard input ends; "joined" is said once all are there."""
    poll = select.epoll()
    poll.register(0, select.EPOLLIN)
    hosts: dict[int, Host] = {}
    for number in range(count):
        request = Request(f"played-{number}", address_of(number))
        sock, rest = joined(("127.0.0.1", 8443), request, Feature.KEEPALIVE)
        hosts[sock.fileno()] = Host(sock, bytearray(rest))
        poll.register(sock.fileno(), select.EPOLLIN)
    print("joined", flush=True)
    order, chance, turn, following = [*hosts.values()], random.Random(1), 0, time.monotonic()
    while True:
        for descriptor, _ in poll.poll(max(0.0, following - time.monotonic())):
            if not descriptor:
                return
            hosts[descriptor].receive()
        if time.monotonic() < following:
            continue
        following += 1 / STEPS
        turn += 1
        for number in range(turn % STEPS, count, STEPS):
            other = (number + turn) % count
            payload = bytes(chance.randrange(20, 1200))
            order[number].socket.sendall(frame(udp(address_of(number), address_of(other), payload)))


def address_of(number: int) -> str:
    """Of a host in the tunnel."""
    return f"10.1.{number >> 8}.{number & 255}"


# --- the readers, in a process of their own --------------------------------------------------------


@dataclass
class Reader:
    """One page without a browser: what it asks for first, and then its stream."""

    view: str
    ticks: int = 0
    received: int = 0
    host: int = 0
    """A number from the list, for the view of one host."""

    def run(self) -> None:
        """Load the page, and follow the hosts until the hub ends it."""
        connection = http.client.HTTPConnection(*API, timeout=30)
        files = ("/", *(f"/page/{name}" for name in _files()))
        for path in (*files, "/x/me"):
            self._get(connection, path)
        listed = json.loads(self._get(connection, "/x/hosts", packed=False))
        self.host = listed["rows"][0][0]
        threading.Thread(target=self._poll, daemon=True).start()
        connection.request("GET", f"/x/events?since={listed['seq']}", headers={"Accept": "text/event-stream"})
        reply = connection.getresponse()
        assert reply.status == 200, (reply.status, reply.read())
        while part := reply.read1(1 << 16):
            self.received += len(part)
            self.ticks += part.count(b"event: hosts")

    def _get(self, connection: http.client.HTTPConnection, path: str, packed: bool = True) -> bytes:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"} if packed else {})
        reply = connection.getresponse()
        body = reply.read()
        assert reply.status == 200, (path, reply.status, body)
        self.received += len(body)
        return body

    def _poll(self) -> None:
        """What the view asks for again and again, as its file in packaging/page says."""
        paths = {
            "host": (f"/x/hosts/{self.host}", f"/x/hosts/{self.host}/curves"),
            "drops": ("/x/drops",),
        }.get(self.view, ())
        connection = http.client.HTTPConnection(*API, timeout=30)
        while paths:
            for path in paths:
                self._get(connection, path)
            time.sleep(5)


def _files() -> Iterator[str]:
    top = page_files.folder()
    for file in sorted([*top.glob("*.js"), *top.glob("*.css"), *top.glob("*.svg")]):
        if not file.name.startswith("view_") or file.name == "view_hosts.js":
            yield file.name
    yield "uplot/uPlot.min.css"


def read(count: int, view: str) -> None:
    """Be so many pages until standard input ends; "open" is said once each has had a tick."""
    readers = [Reader(view) for _ in range(count)]
    for reader in readers:
        threading.Thread(target=reader.run, daemon=True).start()
    while not all(reader.ticks for reader in readers):
        time.sleep(0.1)
    print("open", flush=True)
    sys.stdin.read()
    print(json.dumps({"ticks": min(reader.ticks for reader in readers)}), flush=True)


# --- what is measured ------------------------------------------------------------------------------


@dataclass
class Seen:
    """One phase."""

    share: float
    """CPU time of the hub, as a share of a core."""
    longest: float
    """Milliseconds of the longest ping, and of one in a hundred."""
    p99: float


def measure(
    hosts: int, pages: list[int], seconds: float, rounds: int, view: str, chromium: bool
) -> dict[str, float]:
    """Shares of a core and milliseconds, medians of the rounds, by number of pages."""
    allow_descriptors(hosts + 400)
    seen: dict[str, list[Seen]] = {}
    with tempfile.TemporaryDirectory(prefix="tunrouter-bench-") as directory, ExitStack() as stack:
        work = Path(directory)
        topology = stack.enter_context(Topology(work))
        hub = _start_hub(topology, work, hosts)
        start_client(topology.host_1, *host(1, HUB_TO_HOST_1))
        start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
        stack.enter_context(_helper(topology, "--play", str(hosts), ready="joined", seconds=120))
        reach(topology.host_1, OVERLAY_2)
        time.sleep(3)  # a thousand handshakes have to be over
        kinds: dict[str, Callable[[], AbstractContextManager[object]]] = {"none": ExitStack}
        for count in pages:
            kinds[str(count)] = partial(_helper, topology, "--read", str(count), "--view", view)
        if chromium and CHROMIUM:
            kinds["chromium"] = partial(_browser, topology, work)
        for turn in range(rounds):  # there and back, so that what drifts counts for all
            for name, opened in list(kinds.items())[:: -1 if turn % 2 else 1]:
                with opened():
                    time.sleep(1)
                    seen.setdefault(name, []).append(_phase(topology, hub, seconds))
                print(name, seen[name][-1], flush=True)
    base = median(one.share for one in seen["none"])
    found: dict[str, float] = {"without": base}
    for name, phases in seen.items():
        if name != "none":
            costs = [one.share - none.share for one, none in zip(phases, seen["none"], strict=True)]
            found[f"{name}_cpu"] = median(costs)
        found[f"{name}_ping_ms"] = median(one.longest for one in phases)
        found[f"{name}_ping_p99_ms"] = median(one.p99 for one in phases)
    return found


def _start_hub(topology: Topology, work: Path, hosts: int) -> Process:
    routes = "".join(
        f"      - {{dst: {address_of(number)}, gateway: played-{number}}}\n" for number in range(hosts)
    )
    text = unlimited(example("server.yml")).replace("    routes:\n", f"    routes:\n{routes}", 1)
    config = work / "hub.yml"
    config.write_text(f"{text}api: {{addr: '{API[0]}:{API[1]}'}}\n")
    return start_hub(topology.hub, "-C", str(config))


@contextmanager
def _helper(topology: Topology, *words: str, ready: str = "open", seconds: float = 60.0) -> Iterator[None]:
    """This program once more, as hosts or readers."""
    reading, order = os.pipe()
    try:
        process = topology.hub.popen(sys.executable, __file__, *words, stdin=reading)
    finally:
        os.close(reading)
    try:
        process.wait_line(f"^{ready}", timeout=seconds)
        yield
    finally:
        os.close(order)
        process.wait(30)


@contextmanager
def _browser(topology: Topology, work: Path) -> Iterator[None]:
    # It is on a machine of its own elsewhere: here it gets the CPU time that is left.
    browser = Chromium(work / "profile", ("nice", "-n", "19", "ip", "netns", "exec", topology.hub.name))
    try:
        tab = browser.open(f"http://{API[0]}:{API[1]}/#/hosts")
        tab.wait("document.getElementById('live').textContent === 'live'")
        yield
    finally:
        browser.close()


def _phase(topology: Topology, hub: Process, seconds: float) -> Seen:
    count = round(seconds / GAP_SECONDS)
    pings = topology.host_1.popen("ping", "-c", str(count), "-i", str(GAP_SECONDS), "-W", "5", OVERLAY_2)
    began, spent = time.monotonic(), cpu_seconds(hub.pid)
    pings.wait(seconds * 3 + 30)
    share = (cpu_seconds(hub.pid) - spent) / (time.monotonic() - began)
    times = sorted(float(text) for text in re.findall(r"time=([0-9.]+)", pings.text()))
    assert len(times) >= count - 2, f"{count - len(times)} pings are lost"
    return Seen(round(share, 4), times[-1], times[int(len(times) * 0.99)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--pages", default="1,50")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--view", default="hosts", choices=("hosts", "host", "drops"))
    parser.add_argument("--chromium", action="store_true")
    parser.add_argument("--play", type=int)
    parser.add_argument("--read", type=int)
    words = parser.parse_args()
    if words.play is not None:
        play(words.play)
    elif words.read is not None:
        read(words.read, words.view)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` is left
        pages = [int(text) for text in words.pages.split(",")]
        figures = measure(words.hosts, pages, words.seconds, words.rounds, words.view, words.chromium)
        print(json.dumps({key: round(value, 4) for key, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
