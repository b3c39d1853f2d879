"""WireGuard as a peer of the benchmarks: wireguard-go, a program like the others, at all three places.

Knows: where a wireguard-go may be had, its control socket (the cross-platform UAPI), keys.
Refuses to know: what is measured.

Its hub is a hub of the same kind: one device, the kernel forwards between its peers. What differs is said
where figures are shown: it encrypts, over UDP; the plain rows of the others do not.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, ROOT, Process, Topology

MODULE = "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"
"""What is built where a Go compiler and its module proxy are at hand: newer than most packages."""
BUILT = ROOT / "build" / "peers" / "wireguard"
PORT = 51820
MTU = "1420"

_ENVIRONMENT = os.environ | {"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1"}


@cache
def program() -> str:
    """The path of a wireguard-go: WIREGUARD_GO, one built before, one built now, one installed; or ""."""
    if path := os.environ.get("WIREGUARD_GO"):
        return path if os.access(path, os.X_OK) else ""
    if not BUILT.exists() and shutil.which("go"):
        _build()
    return str(BUILT) if BUILT.exists() else shutil.which("wireguard-go") or ""


def missing() -> str:
    """Why it cannot run here; empty when it can."""
    return "" if program() else "no wireguard-go: set WIREGUARD_GO, or install Debian's, or a Go compiler"


@cache
def version() -> str:
    """What it calls itself; "" when there is none."""
    if not program():
        return ""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True).stdout
    return said.partition("\n")[0]


def start(topology: Topology, overlay: dict[str, str], hub_address: str) -> dict[str, Process]:
    """Start the three and configure them; returns them by place."""
    places = {"hub": topology.hub, "host-1": topology.host_1, "host-2": topology.host_2}
    keys = {place: X25519PrivateKey.generate() for place in places}
    peers = {
        "hub": [_peer(keys[host], [f"{address}/32"]) for host, address in overlay.items()],
        "host-1": [_peer(keys["hub"], ["10.88.0.0/24"], f"{HUB_TO_HOST_1}:{PORT}")],
        "host-2": [_peer(keys["hub"], ["10.88.0.0/24"], f"{HUB_TO_HOST_2}:{PORT}")],
    }
    programs = {}
    for place, namespace in places.items():
        device = f"wg{os.getpid()}{place[-1]}"  # its socket is named after it, for the whole machine
        listen = f"listen_port={PORT}\n" if place == "hub" else ""
        text = f"private_key={keys[place].private_bytes_raw().hex()}\n{listen}" + "".join(peers[place])
        programs[place] = namespace.popen(program(), "-f", device, env=_ENVIRONMENT)
        _configure(Path(f"/var/run/wireguard/{device}.sock"), text, programs[place])
        address = hub_address if place == "hub" else overlay[place]
        namespace.ip("address", "add", f"{address}/24", "dev", device)
        namespace.ip("link", "set", device, "up", "mtu", MTU)
    topology.hub.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    return programs


def _build() -> None:
    """`go install`, everything under build/; a failure is told by nothing being there."""
    work = BUILT.parent
    work.mkdir(parents=True, exist_ok=True)
    places = {"GOBIN": str(work), "GOPATH": str(work / "go"), "GOCACHE": str(work / "go-cache")}
    environment = os.environ | places | {"GOFLAGS": "-modcacherw"}
    try:
        subprocess.run(["go", "install", MODULE], env=environment, capture_output=True, timeout=300)
    except subprocess.TimeoutExpired:
        return


def _peer(key: X25519PrivateKey, allowed: list[str], endpoint: str = "") -> str:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    lines = [f"public_key={public}"]
    if endpoint:
        # the hub knows where a host is only once that has spoken
        lines += [f"endpoint={endpoint}", "persistent_keepalive_interval=5"]
    return "\n".join([*lines, *(f"allowed_ip={prefix}" for prefix in allowed), ""])


def _configure(path: Path, text: str, process: Process) -> None:
    """Set it through its socket as soon as that is there. Raises AssertionError when it refuses."""
    until = time.monotonic() + 5
    with socket.socket(socket.AF_UNIX) as control:
        while control.connect_ex(str(path)):
            assert process.returncode is None, process.text()
            assert time.monotonic() < until, f"no {path} within 5 s"
            time.sleep(0.02)
        control.sendall(f"set=1\n{text}\n".encode())
        answer = control.recv(4096).decode()
    assert answer.startswith("errno=0\n"), f"wireguard-go refuses its configuration: {answer}"
