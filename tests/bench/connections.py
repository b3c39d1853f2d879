"""Memory that each connection of a hub costs, by how far it has got: `.venv/bin/python tests/bench/connections.py`

    --count N     connections of each kind (500)
    --json FILE   the figures as JSON as well
    --write       the table into SECURITY.md, between its markers
    --worst       instead: sessions that send superpackets to each other, read nothing, and leave a frame unfinished;
                  the most KB that each has held, its part of `queueMemory` (16 MB here) among them

Prints the table of SECURITY.md. Each step has a hub of its own in a network namespace, into which N connections
of each transport come, one transport after the other, and then say nothing. KB (1,000 bytes) are what the hub's
resident memory has grown by, divided by N. All stay to the end, so that none gets the memory of another. The
kernel's memory for the sockets is not in it.

Knows: how to stop at each step of a connection. Refuses to know: packets, none are sent (memory.py has those).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.memory import allow_descriptors
from tests.bench.quiet import resident_mb
from tests.hostile import peer, streams
from tests.support import packets as p
from tests.support.marked import between, put_between
from tests.support.netns import ROOT, Namespace, in_namespace
from tests.support.program import TUNROUTER, program_pid

HERE = "127.0.0.1"
WARM = 20
"""Connections that come and go before: what the first ones load for good is nobody's share."""


def connected(kind: str, number: int) -> peer.Socket:
    """The handshake has not begun."""
    return peer.connect(kind, HERE)


def half_greeted(kind: str, number: int) -> peer.Socket:
    """TLS: a ClientHello, answered, and nothing more."""
    sock = peer.connect(kind, HERE)
    sock.sendall(peer.client_hello())
    sock.recv(1 << 16)
    return sock


def half_upgraded(kind: str, number: int) -> peer.Socket:
    """The layers below, and an upgrade that stops in its headers."""
    sock: peer.Socket = peer.connect(kind, HERE)
    if peer.is_encrypted(kind):
        sock = peer.trust().wrap_socket(sock)
    sock.sendall(streams.HEADERS[:4096])
    return sock


def opened(kind: str, number: int) -> peer.Socket:
    """All layers are there, the login has not begun."""
    return peer.opened(kind, HERE)


def admitted(kind: str, number: int) -> peer.Socket:
    """A session, idle, as a GOST client's."""
    return peer.session(kind, HERE, f"host-{number}")


def greeted(kind: str, number: int) -> peer.Socket:
    """A session that has said HELLO."""
    return peer.session(kind, HERE, f"host-{number}", greets=number % 256)


STEPS: dict[str, tuple[Callable[[str, int], peer.Socket], tuple[str, ...]]] = {
    "connected, says nothing": (connected, ("tcp", "tls", "ws", "wss")),
    "in the middle of the TLS handshake": (half_greeted, ("tls", "wss")),
    "in the middle of the upgrade": (half_upgraded, ("ws", "wss")),
    "before the login": (opened, ("tls", "ws", "wss")),
    "session, idle": (admitted, ("tcp", "tls", "ws", "wss")),
    "session of a tunrouter, idle": (greeted, ("tcp", "tls", "ws", "wss")),
}
KINDS = tuple(peer.PORTS)
PAGE = ROOT / "SECURITY.md"
BEGIN, END = "<!-- connections: written by tests/bench/connections.py -->", "<!-- /connections -->"


def config() -> str:
    """A hub that lets everybody come and stay."""
    services = [
        {"name": kind, "addr": f"{HERE}:{port}", "listener": {"type": kind},
         "handler": {"type": "router", "metadata": {"router": "r", "domain": "all", "handshakeTimeout": "10m"}}}
        for kind, port in peer.PORTS.items()
    ]  # fmt: skip
    return json.dumps({"services": services, "routers": [{"name": "r", "routes": []}]})


def measure(work: Path, count: int, only: str = "") -> dict[str, dict[str, float]]:
    """{step: {transport: KB of one connection}}, for every step, or for one."""
    allow_descriptors(count * len(KINDS) + 200)
    path = work / "hub.yml"
    path.write_text(config())
    figures: dict[str, dict[str, float]] = {}
    for step, (come, kinds) in STEPS.items():
        if only not in ("", step):
            continue
        with Namespace("connections", work) as namespace:
            hub = namespace.popen(*TUNROUTER, "-C", str(path))
            hub.wait_line(f"service {KINDS[-1]}: listening on")
            pid = program_pid(hub)
            with in_namespace(namespace.name), ExitStack() as stack:
                for number, kind in enumerate(kinds):
                    for warm in range(WARM):
                        come(kind, -1 - warm).close()  # of a name that none has who stays
                    before = settled(pid)
                    for own in range(number * count, (number + 1) * count):
                        stack.enter_context(come(kind, own))
                    figures.setdefault(step, {})[kind] = (settled(pid) - before) * 1e3 / count
    return figures


def overlay(number: int) -> str:
    return f"10.7.{number >> 8}.{number & 255}"


def flood(number: int, count: int, kind: str) -> bytes:
    """40 superpackets for the next session, and one that lacks its last byte."""
    packet = p.tcp(overlay(number), overlay((number + 1) % count), bytes(60_000), partial=True)
    frame = p.frame(p.superpacket(packet, 1400))
    data = frame * 40 + frame[:-1]
    return streams.ws_messages(data) if peer.is_websocket(kind) else data


def worst(work: Path, count: int, seconds: float = 20.0) -> dict[str, float]:
    """{transport: the most KB of one session}, while all of them send and none reads."""
    allow_descriptors(count + 200)
    path = work / "hub.yml"
    made = json.loads(config())
    made["routers"][0]["routes"] = [{"net": f"{overlay(n)}/32", "gateway": f"host-{n}"} for n in range(count)]
    for service in made["services"]:
        service["handler"]["metadata"]["queueMemory"] = "16MB"
    path.write_text(json.dumps(made))
    figures = {}
    for kind in KINDS:
        with Namespace("connections", work) as namespace:
            hub = namespace.popen(*TUNROUTER, "-C", str(path))
            hub.wait_line(f"service {KINDS[-1]}: listening on")
            pid = program_pid(hub)
            with in_namespace(namespace.name), ExitStack() as stack:
                for number in range(WARM):
                    greeted(kind, number).close()
                before = most = settled(pid)
                socks = [stack.enter_context(greeted(kind, number)) for number in range(count)]
                left = [flood(number, count, kind) for number in range(count)]
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    for number, sock in enumerate(socks):
                        sock.setblocking(False)
                        try:
                            left[number] = left[number][sock.send(left[number]) :]
                        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                            pass
                    most = max(most, resident_mb(pid))
                figures[kind] = (most - before) * 1e3 / count
    return figures


def settled(pid: int) -> float:
    """Resident MB once it has stopped changing."""
    last, now = -1.0, resident_mb(pid)
    while last != now:
        time.sleep(0.3)
        last, now = now, resident_mb(pid)
    return now


def table(figures: dict[str, dict[str, float]]) -> str:
    """Markdown, a line for each step."""
    lines = [f"| KB of a connection | {' | '.join(KINDS)} |", "|---|" + "---|" * len(KINDS)]
    for step, by_kind in figures.items():
        cells = [f"{by_kind[kind]:.0f}" if kind in by_kind else "" for kind in KINDS]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def written() -> dict[str, dict[str, float]]:
    """The figures in SECURITY.md."""
    rows = between(PAGE, BEGIN, END).strip().splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {
        step: {kind: float(figure) for kind, figure in zip(KINDS, figures, strict=True) if figure}
        for step, *figures in cells
    }


def write(made: str) -> None:
    put_between(PAGE, BEGIN, END, f"\n{made}\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worst", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("this needs root, for network namespaces", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    socket.setdefaulttimeout(30)
    with tempfile.TemporaryDirectory(prefix="tunrouter-connections-") as work:
        if arguments.worst:
            print("\n".join(f"{kind} {kb:.0f} KB" for kind, kb in worst(Path(work), arguments.count).items()))
            return 0
        figures = measure(Path(work), arguments.count)
    print(table(figures))
    if arguments.write:
        write(table(figures))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
