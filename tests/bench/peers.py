"""The programs that the benchmarks compare (peers), and how each is started in the topology.

Knows: ours in its variants, as checkout and as executable, GOST, WireGuard, the floor, kernel forwarding;
why one cannot run here.
Refuses to know: what is measured (measure) and what is expected (bars).

    host-1: 10.88.0.2 ---- hub: port 8443 ---- host-2: 10.88.0.3        overlay 10.88.0.0/24, MTU 1420

A start function starts the three programs and returns them by place; it waits for nothing but what the
next program needs. GOST is GOST_BIN, or the `gost` of PATH; the floor is floor.c beside this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import wireguard
from tests.support.netns import HOST_2, HUB_TO_HOST_1, HUB_TO_HOST_2, ROOT, Namespace, Process, Topology
from tests.support.program import GOST, NO_GOST

FLOOR = Path(__file__).with_name("floor.c")
OVERLAY = {"host-1": "10.88.0.2", "host-2": "10.88.0.3"}
OF_HUB = "10.88.0.1"
"""The address of a hub that has one."""
RUNS = ("tcp1", "tcp4", "udp", "udp70", "ping_idle", "ping_load")
"""What can be measured (measure.RUNS), in the order in which it is."""

BINARY = Path(os.environ.get("TUNROUTER_BINARY", ROOT / "build" / "dist" / "tunrouter"))
"""The executable that is compared with this checkout."""

Command = tuple[str, ...]
Programs = dict[str, Process]
"""By place: hub, host-1, host-2."""

_GOST_ENVIRONMENT = {"env": os.environ | {"GOST_LOGGER_LEVEL": "error"}}


@dataclass(frozen=True, slots=True)
class Peer:
    """One program, or combination of programs, that carries packets from host-1 to host-2."""

    name: str
    about: str
    start: Callable[[Topology, Path], Programs]
    """Start it; the path is a directory of its own for files it needs."""
    missing: Callable[[], str]
    """Why it cannot run here; empty when it can."""
    ours: bool = False
    """Whether its failure is the project's failure."""
    target: str = OVERLAY["host-2"]
    runs: tuple[str, ...] = RUNS
    quick_runs: tuple[str, ...] = ("tcp1",)
    patience: float = 20.0
    """Seconds until it must pass packets."""


@dataclass(slots=True)
class Running:
    """A peer that carries packets."""

    peer: Peer
    topology: Topology
    programs: Programs


def all_peers(parent: Path | None = None) -> list[Peer]:
    """Every peer; `parent` is another checkout of tunrouter to compare with."""
    peers = [
        Peer("tunrouter", "ours at all three places", _tunrouter(), _nothing, ours=True, quick_runs=RUNS),
        Peer(
            "tunrouter_off",
            "ours, superpackets off at all three places",
            _tunrouter(superpackets=False),
            _nothing,
            ours=True,
        ),
        Peer(
            "tunrouter_gost", "our hub between two GOST clients", _our_hub_their_clients, _no_gost, ours=True
        ),
        Peer(
            "tunrouter_tls",
            "ours over TLS: UDP and ICMP by datagrams",
            _tunrouter(transport="tls"),
            _nothing,
            ours=True,
            runs=("tcp1", "udp", "udp70", "ping_idle"),
        ),
        Peer(
            "tunrouter_wss",
            "ours over WebSocket and TLS",
            _tunrouter(transport="wss"),
            _nothing,
            ours=True,
            runs=("tcp1",),
        ),
        Peer(
            "tunrouter_guarded",
            "ours with limits, 100 access rules and keepalive",
            _tunrouter(guarded=True),
            _nothing,
            ours=True,
            runs=("tcp1", "udp"),
        ),
        Peer(
            "tunrouter_hop",
            "ours, the hub with an address (a hop that bounds MSS) and policy tests",
            _tunrouter(hop=True),
            _nothing,
            ours=True,
            runs=("tcp1", "tcp4", "udp"),
        ),
        Peer("gost", "GOST at all three places", _start_gost, _no_gost),
        Peer(
            "wireguard",
            "wireguard-go at all three places: encrypted, over UDP",
            _start_wireguard,
            wireguard.missing,
        ),
        Peer("floor", "floor.c: our system calls in C, no checks", _start_floor, _no_floor),
        Peer("kernel", "kernel forwarding, no tunnel", _start_kernel, _nothing, target=HOST_2),
        Peer(
            "tunrouter_100k",
            "ours, 100,000 other routes in the table",
            _tunrouter(other_routes=100_000),
            _nothing,
            ours=True,
            runs=("tcp1", "udp"),
            quick_runs=(),
            patience=180.0,
        ),
        *_executables(),
    ]
    if parent is not None:
        peers += _parents(parent)
    return peers


def _parents(checkout: Path) -> list[Peer]:
    """Another checkout of tunrouter, set up as ours are: plain, over TLS, over WebSocket, guarded."""
    program, about = our_program(checkout), f"ours from {checkout.name}"

    def missing() -> str:
        return _no_checkout(checkout)

    return [
        Peer("parent", about, _tunrouter(program=program), missing),
        Peer(
            "parent_tls",
            f"{about}, over TLS",
            _tunrouter(program=program, transport="tls"),
            missing,
            runs=("tcp1",),
        ),
        Peer(
            "parent_wss",
            f"{about}, over wss",
            _tunrouter(program=program, transport="wss"),
            missing,
            runs=("tcp1",),
        ),
        Peer(
            "parent_guarded",
            f"{about}, guarded",
            _tunrouter(program=program, guarded=True),
            missing,
            runs=("tcp1", "udp"),
        ),
    ]


def no_binary() -> str:
    """Why the executable cannot be measured; empty when it can."""
    return "" if os.access(BINARY, os.X_OK) else "no executable: make binary, or set TUNROUTER_BINARY"


def _executables() -> list[Peer]:
    """The same in one file: what is measured of the checkout is measured of it."""
    program = (str(BINARY),)

    def peer(
        name: str, about: str, start: Callable[[Topology, Path], Programs], runs: tuple[str, ...]
    ) -> Peer:
        return Peer(
            name, f"the executable {about}", start, no_binary, ours=True, runs=runs, quick_runs=runs[:1]
        )

    return [
        peer("binary", "at all three places", _tunrouter(program=program), RUNS),
        peer("binary_tls", "over TLS", _tunrouter(transport="tls", program=program), ("tcp1",)),
        peer("binary_wss", "over WebSocket and TLS", _tunrouter(transport="wss", program=program), ("tcp1",)),
        peer("binary_guarded", "with limits", _tunrouter(guarded=True, program=program), ("tcp1", "udp")),
    ]


def hub_yaml(
    superpackets: bool = True,
    other_routes: int = 0,
    transport: str = "tcp",
    guarded: bool = False,
    hop: bool = False,
) -> str:
    """A hub's configuration; GOST reads it as well as long as superpackets are on and it is no hop."""
    text = "".join(_hub_lines(superpackets, other_routes, transport, guarded))
    if not hop:
        return text
    own = text.replace("- name: router-0\n", f"- name: router-0\n  address: {OF_HUB}/24\n")
    one, two = OVERLAY
    tests = (
        f"- {{from: {one}, to: {OVERLAY[two]}, port: tcp/{port}, expect: allow}}\n" for port in range(1, 101)
    )
    return own + "tests:\n" + "".join(tests)


def our_program(root: Path = ROOT) -> Command:
    """The command that is tunrouter."""
    return (sys.executable, str(root / "tunrouter.py"))


def start_gost_hub(namespace: Namespace, work: Path) -> Process:
    """GOST's own hub with the same table."""
    config = work / "gost-hub.yml"
    config.write_text(hub_yaml())
    return namespace.popen(GOST, "-C", str(config), **_GOST_ENVIRONMENT)


def start_our_hub(namespace: Namespace, work: Path, text: str, program: Command = ()) -> Process:
    """Our hub; returns once it listens (100,000 routes take a while)."""
    config = work / "hub.yml"
    config.write_text(text)
    hub = namespace.popen(*(program or our_program()), "-C", str(config))
    hub.wait_line("listening", timeout=180.0)
    return hub


def _nothing() -> str:
    return ""


def _no_gost() -> str:
    return "" if GOST else NO_GOST


def _no_floor() -> str:
    return "" if shutil.which("cc") else "no C compiler (cc)"


def _no_checkout(root: Path) -> str:
    return "" if (root / "tunrouter.py").exists() else f"no tunrouter.py in {root}"


def _hub_lines(superpackets: bool, other_routes: int, transport: str, guarded: bool) -> Iterator[str]:
    switch = "" if superpackets else ", superpackets: off"
    yield "services:\n- name: service-0\n  addr: :8443\n"
    limits = "limiter: hosts, " if guarded else ""
    yield "  climiter: all\n  rlimiter: all\n" if guarded else ""
    yield f"  handler: {{type: router, {limits}metadata: {{router: router-0{switch}}}}}\n  listener: {{type: {transport}}}\n"
    yield "routers:\n- name: router-0\n"
    if guarded:
        yield "  acl:\n"
        yield from (f"  - {{action: deny, protocol: tcp, port: {port}}}\n" for port in range(1, 100))
        yield "  - {action: allow}\n"
    yield "  routes:\n"
    for n in range(other_routes):
        dst = f"{100 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24"
        yield f"  - {{dst: {dst}, gateway: host-9}}\n"
    for host, address in OVERLAY.items():
        yield f"  - {{dst: {address}, gateway: {host}}}\n"
    if guarded:
        yield "limiters: [{name: hosts, limits: ['$$ 100GB 100GB 90000000pps', '$ 100GB']}]\n"
        yield "climiters: [{name: all, limits: ['$ 1000', '$$ 100']}]\n"
        yield "rlimiters: [{name: all, limits: ['$$ 100']}]\n"


def _clients(topology: Topology) -> tuple[tuple[str, Namespace, str], ...]:
    return (("host-1", topology.host_1, HUB_TO_HOST_1), ("host-2", topology.host_2, HUB_TO_HOST_2))


def _client_arguments(host: str, hub: str, parameters: str = "", transport: str = "tcp") -> tuple[str, ...]:
    service = f"tun:///{host}?net={OVERLAY[host]}/24&name=tun0{parameters}"
    return ("-L", service, "-F", f"router+{transport}://{hub}:8443")


def _tunrouter(
    superpackets: bool = True,
    other_routes: int = 0,
    program: Command = (),
    transport: str = "tcp",
    guarded: bool = False,
    hop: bool = False,
) -> Callable[[Topology, Path], Programs]:
    def start(topology: Topology, work: Path) -> Programs:
        text = hub_yaml(superpackets, other_routes, transport, guarded, hop)
        programs = {"hub": start_our_hub(topology.hub, work, text, program)}
        parameters = "" if superpackets else "&superpackets=off"
        for host, namespace, hub in _clients(topology):
            arguments = _client_arguments(host, hub, parameters, transport)
            programs[host] = namespace.popen(*(program or our_program()), *arguments)
        return programs

    return start


def _gost_clients(topology: Topology) -> Programs:
    return {
        host: namespace.popen(GOST, *_client_arguments(host, hub), **_GOST_ENVIRONMENT)
        for host, namespace, hub in _clients(topology)
    }


def _our_hub_their_clients(topology: Topology, work: Path) -> Programs:
    return {"hub": start_our_hub(topology.hub, work, hub_yaml()), **_gost_clients(topology)}


def _start_gost(topology: Topology, work: Path) -> Programs:
    hub = start_gost_hub(topology.hub, work)
    wait_listening(topology.hub, 8443)
    return {"hub": hub, **_gost_clients(topology)}


def _start_wireguard(topology: Topology, work: Path) -> Programs:
    return wireguard.start(topology, OVERLAY, "10.88.0.1")


def _start_floor(topology: Topology, work: Path) -> Programs:
    program = str(work / "floor")
    subprocess.run(["cc", "-O2", "-w", "-o", program, FLOOR], check=True)
    programs = {"hub": topology.hub.popen(program, "hub")}
    wait_listening(topology.hub, 8443)
    for host, namespace, hub in _clients(topology):
        programs[host] = namespace.popen(program, "client", hub, OVERLAY[host])
    return programs


def _start_kernel(topology: Topology, work: Path) -> Programs:
    topology.hub.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for namespace, gateway in ((topology.host_1, HUB_TO_HOST_1), (topology.host_2, HUB_TO_HOST_2)):
        namespace.ip("route", "add", "default", "via", gateway)
    return {}


def wait_listening(namespace: Namespace, port: int, tries: int = 200) -> None:
    """Wait until something listens on a TCP port there. Raises AssertionError when nothing does."""
    for _ in range(tries):
        if namespace.run("ss", "-ltnH", f"sport = :{port}").strip():
            return
    raise AssertionError(f"nothing listens on port {port} in {namespace.name}")
