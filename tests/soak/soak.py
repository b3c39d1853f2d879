"""The soak: hours of mixed traffic, reloads, reconnects and kills, after which everything must add up.

    .venv/bin/python tests/soak/soak.py --minutes 60        what `make soak MINUTES=60` runs
    .venv/bin/python tests/soak/soak.py --hungry            what wants memory, a minute each (tests/soak/hungry.py)

In the topology of the end-to-end tests with four hosts in two namespaces of one hub (tcp, wss, and a GOST
where there is one), until the time is up:

    always      two checksummed TCP transfers end to end, one each way; UDP numbered packets; pings
    now and then  the hub reloads (a route comes and goes), a client is killed -9 or stopped and started
again,
                a connection that says nonsense, a receiver that stops reading for a while

At the end, and it fails otherwise: no byte of any transfer was wrong; memory and descriptors of the hub are
flat (slope by least squares over the second half); every UDP packet that did not arrive has a drop counter,
or a client that was down, to explain it; nobody left a traceback.

Exit status: 0 all of it holds, 1 something does not (each said), 2 it cannot run here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.soak import hungry
from tests.support.load import transfer
from tests.support.netns import Namespace, Process, Topology, connect, in_namespace
from tests.support.program import GOST, start_client, start_gost, start_hub, stopped

SAMPLE_SECONDS = 5.0
HUB = """\
services:
- name: plain
  addr: ":8443"
  handler: {type: router, metadata: {router: r, domain: all}}
  listener: {type: tcp}
- name: secure
  addr: ":8444"
  handler: {type: router, metadata: {router: r, domain: all}}
  listener: {type: wss}
routers:
- name: r
  acl: [{action: allow}]
  routes:
  - {dst: 10.50.0.1, gateway: host-1}
  - {dst: 10.50.0.2, gateway: host-2}
  - {dst: 10.50.0.3, gateway: host-3}
  - {dst: 10.50.0.4, gateway: host-4}
"""
EXTRA = "  - {dst: 10.51.0.0/16, gateway: host-3}\n"


@dataclass
class Report:
    """What has happened so far."""

    transfers: int = 0
    transfer_bytes: int = 0
    udp_sent: int = 0
    udp_received: int = 0
    events: dict[str, int] = field(default_factory=dict)
    samples: list[tuple[float, float, int]] = field(default_factory=list)
    """(seconds, hub's resident MB, its descriptors)."""
    problems: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        self.events[what] = self.events.get(what, 0) + 1


class Soak:
    """The network, its programs and what is done to them."""

    def __init__(self, work: Path, stack: ExitStack) -> None:
        self.work = work
        self.report = Report()
        self.dice = random.Random(os.getpid())
        self.topology = stack.enter_context(Topology(work))
        self.hosts = [self.topology.host_1, self.topology.host_2]
        for number in (3, 4):
            made = stack.enter_context(Namespace(f"host-{number}", work))
            connect(
                *(self.topology.hub, f"to-host-{number}", f"10.77.{number}.1/24"),
                *(made, "uplink", f"10.77.{number}.2/24"),
            )
            self.hosts.append(made)
        self.config = work / "hub.yml"
        self.config.write_text(HUB)
        self.hub = start_hub(self.topology.hub, "-C", str(self.config), "--control", str(work / "hub.sock"))
        self.clients = {number: self.client(number) for number in (1, 2, 3, 4)}
        self.ended = threading.Event()

    def client(self, number: int) -> Process:
        """host-1 and host-2 are left alone; host-3 is ours over wss, host-4 a GOST where there is one."""
        hub = f"10.77.{number}.1"
        listen = f"tun:///host-{number}?net=10.50.0.{number}/24"
        namespace = self.hosts[number - 1]
        if number == 4 and GOST:
            return start_gost(namespace, "-L", listen, "-F", f"router://{hub}:8443")
        forward = f"router+wss://{hub}:8444" if number == 3 else f"router://{hub}:8443"
        return start_client(namespace, "-L", listen, "-F", forward)

    # --- always

    def transfers(self, one: int, two: int) -> None:
        """Checksummed transfers between two hosts that are left alone, one after the other."""
        while not self.ended.is_set():
            for sender, receiver in ((one, two), (two, one)):
                try:
                    transfer(self.hosts[sender - 1], self.hosts[receiver - 1], f"10.50.0.{receiver}", 32)
                    self.report.transfers += 1
                    self.report.transfer_bytes += 32 << 20
                except AssertionError as wrong:
                    self.report.problems.append(f"transfer: {wrong}")
                    self.ended.wait(1.0)  # the machine has other things to do as well
                except OSError as error:
                    self.report.problems.append(f"transfer: {error}")

    def udp(self, one: int, two: int) -> None:
        """Numbered packets, 200 a second, counted at the other end."""
        with in_namespace(self.hosts[two - 1].name):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            receiver.bind((f"10.50.0.{two}", 7001))
        with in_namespace(self.hosts[one - 1].name):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with receiver, sender:
            while not self.ended.wait(0.005):
                sender.sendto(bytes(100), (f"10.50.0.{two}", 7001))
                self.report.udp_sent += 1
                while select.select([receiver], [], [], 0)[0]:
                    receiver.recv(200)
                    self.report.udp_received += 1
            while select.select([receiver], [], [], 2.0)[0]:
                receiver.recv(200)
                self.report.udp_received += 1

    def noise(self) -> None:
        """Traffic to hosts that come and go; what becomes of it does not matter."""
        with in_namespace(self.hosts[0].name):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            while not self.ended.wait(0.002):
                for number in (3, 4):
                    try:
                        sender.sendto(bytes(1000), (f"10.50.0.{number}", 7002))
                    except OSError:
                        pass

    def sample(self) -> None:
        """The hub's memory and descriptors."""
        started = time.monotonic()
        while not self.ended.wait(SAMPLE_SECONDS):
            pid = self.hub.pid
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
            self.report.samples.append((time.monotonic() - started, pages * 4096 / 1e6, descriptors))

    # --- now and then

    def disturb(self, until: float) -> None:
        """One thing after the other until the time is up."""
        doings: list[Callable[[], None]] = [self.reload, self.restart, self.kill, self.nonsense, self.deaf]
        while time.monotonic() < until:
            doing = self.dice.choice(doings)
            doing()
            self.report.count(doing.__name__)
            time.sleep(self.dice.uniform(0.5, 4.0))

    def reload(self) -> None:
        text = HUB if EXTRA in self.config.read_text() else HUB + EXTRA
        self.config.write_text(text)
        after = self.hub.line_count()
        self.hub.send(signal.SIGHUP)
        self.hub.wait_line("reload: (done|nothing)", after=after, timeout=30)

    def restart(self, number: int = signal.SIGTERM) -> None:
        which = self.dice.choice((3, 4))
        self.clients[which].send(number)
        self.clients[which].wait(20)
        time.sleep(self.dice.uniform(0, 1.0))
        self.clients[which] = self.client(which)

    def kill(self) -> None:
        self.restart(signal.SIGKILL)

    def nonsense(self) -> None:
        for _ in range(20):
            with in_namespace(self.hosts[2].name):
                sock = socket.socket()
            with sock:
                sock.settimeout(5)
                try:
                    sock.connect(("10.77.3.1", self.dice.choice((8443, 8444))))
                    sock.sendall(self.dice.randbytes(self.dice.randrange(1, 400)))
                    if self.dice.random() < 0.5:
                        sock.recv(100)
                except OSError:
                    pass

    def deaf(self) -> None:
        """host-3 stops reading for a while."""
        with stopped(self.clients[3]):
            time.sleep(self.dice.uniform(0.5, 3.0))

    # --- at the end

    def drops(self) -> dict[str, int]:
        """The hub's drops by session and reason."""
        before = self.hub.line_count()
        self.hub.send(signal.SIGUSR1)
        self.hub.wait_line(r"dropped (\d|nothing)", after=before, timeout=20)
        time.sleep(1.0)
        found: dict[str, int] = {}
        for count, reason, session in re.findall(
            r"dropped (\d+) (\S+) namespace=\S+ session=([^@ ]+)",
            "".join(self.hub.text().splitlines(True)[before:]),
        ):
            found[f"{session} {reason}"] = found.get(f"{session} {reason}", 0) + int(count)
        return found


def slope(samples: list[tuple[float, float]]) -> float:
    """Units an hour, by least squares."""
    if len(samples) < 3:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


def judge(soak: Soak, minutes: float) -> Iterator[str]:
    """What does not hold."""
    report = soak.report
    yield from report.problems[:20]
    half = [sample for sample in report.samples if sample[0] > minutes * 30]
    # in a short run warming up still shows: so much may the second half bring in all
    grown = slope([(at, mb) for at, mb, _ in half]) * minutes / 120
    if grown > 8.0:
        yield f"the hub's memory grows: {grown:.1f} MB in the second half"
    files = slope([(at, count) for at, _, count in half]) * minutes / 120
    if abs(files) > 12:
        yield f"the hub's descriptors grow: {files:.1f} in the second half"
    lost = report.udp_sent - report.udp_received
    explained = sum(count for key, count in soak.drops().items() if key.startswith(("host-1 ", "host-2 ")))
    if lost > explained:
        yield f"{lost} UDP packets lost, of which only {explained} are explained by drop counters"
    if not report.transfers:
        yield "no transfer came to its end"
    for log in soak.work.glob("*.log"):
        if "Traceback" in log.read_text(errors="replace"):
            yield f"a traceback in {log.name}: {log.read_text(errors='replace')[-3000:]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--report", metavar="FILE", help="write what was counted as JSON")
    parser.add_argument("--hungry", action="store_true", help="instead: what wants the hub's memory")
    parser.add_argument("--seconds", type=float, default=60.0, help="with --hungry: for each")
    parser.add_argument("--bound-mb", type=float, help="with --hungry: where `tunrouter check` says no bound")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the soak needs root, for network namespaces", file=sys.stderr)
        return 2
    if arguments.hungry:
        return hungry.run(arguments.seconds, arguments.bound_mb)
    with tempfile.TemporaryDirectory(prefix="tunrouter-soak-") as work, ExitStack() as stack:
        soak = Soak(Path(work), stack)
        threads = [
            threading.Thread(target=target, args=args)
            for target, args in (
                (soak.transfers, (1, 2)), (soak.udp, (1, 2)), (soak.noise, ()), (soak.sample, ())
            )
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        try:
            soak.disturb(time.monotonic() + arguments.minutes * 60)
        finally:
            soak.ended.set()
            for thread in threads:
                thread.join()
        problems = list(judge(soak, arguments.minutes))
        report = soak.report
        first, last = report.samples[0], report.samples[-1]
        result = {
            "minutes": arguments.minutes,
            "transfers": report.transfers,
            "gigabytes": round(report.transfer_bytes / 1e9, 1),
            "udp": {"sent": report.udp_sent, "received": report.udp_received},
            "events": report.events,
            "memory_mb": {"first": round(first[1], 1), "last": round(last[1], 1)},
            "memory_mb_by_minute": [round(mb, 1) for _, mb, _ in report.samples[:: int(60 / SAMPLE_SECONDS)]],
            "descriptors": {"first": first[2], "last": last[2]},
            "drops": soak.drops(),
            "problems": problems,
        }
        print(json.dumps(result, indent=2))
        if arguments.report:
            Path(arguments.report).write_text(json.dumps(result, indent=2) + "\n")
        return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
