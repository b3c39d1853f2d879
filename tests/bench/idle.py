"""Wake-ups of a hub whose clients are idle: `.venv/bin/python tests/bench/idle.py`

    --clients N      sessions, all of them of one client process (500)
    --seconds S      how long they are counted (30)
    --tree DIR       the checkout whose hub and clients run (this one)
    --channel WORD   auto: each session has a datagram channel, which rests; stream: it has none (stream)
    --no-lanes       for a checkout that does not know `channel` and `lanes`

A wake-up is a voluntary context switch of the hub's process (/proc/PID/status): it had nothing more to do, and
slept. Each client has a device, a session over TLS with two lanes, and its keepalive, all with the defaults.

Knows: how to have many real clients at once. Refuses to know: what wakes the hub (strace -f -e epoll_wait says).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.memory import allow_descriptors
from tests.bench.quiet import cpu_seconds
from tests.support.netns import HOST_1, HUB_TO_HOST_1, ROOT, Namespace, Process, connect

PORT = 8443
PATIENCE = 120.0
"""Seconds within which all sessions have to be there."""
SETTLE_SECONDS = 75.0
"""After the last one: until then channels are tried, their path MTU is looked for, and they come to rest."""


def hub_config(more: dict[str, str]) -> str:
    service = {
        "name": "hub", "addr": f":{PORT}", "listener": {"type": "tls"},
        "handler": {"type": "router", "metadata": {"router": "r", **more}}, "climiter": "many", "rlimiter": "many",
    }  # fmt: skip
    many = [{"name": "many", "limits": ["$ 60000"]}]  # all clients have one address
    routers = [{"name": "r", "routes": []}]
    return json.dumps({"services": [service], "routers": routers, "climiters": many, "rlimiters": many})


def client_config(count: int, more: dict[str, str]) -> str:
    def service(number: int) -> dict[str, Any]:
        address = f"10.{5 + (number >> 8)}.{number & 255}.1/32"
        return {
            "name": f"client-{number}", "handler": {"type": "tun", "chain": "to-hub", "metadata": more},
            "listener": {"type": "tun", "metadata": {"name": f"idle{number}", "net": address}},
            "forwarder": {"nodes": [{"name": "target", "addr": f"host-{number}"}]},
        }  # fmt: skip

    node = {
        "name": "hub", "addr": f"{HUB_TO_HOST_1}:{PORT}",
        "connector": {"type": "router"}, "dialer": {"type": "tls"},
    }  # fmt: skip
    chain = {"name": "to-hub", "hops": [{"name": "hop", "nodes": [node]}]}
    return json.dumps({"services": [service(number) for number in range(count)], "chains": [chain]})


def wakes(pid: int) -> int:
    """Voluntary context switches of a process so far."""
    found = re.search(
        r"^voluntary_ctxt_switches:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    assert found
    return int(found[1])


def measure(
    work: Path, count: int, seconds: float, tree: Path, more: dict[str, str], lanes: int
) -> dict[str, float]:
    """Wake-ups and CPU milliseconds of the hub, each second."""
    allow_descriptors(8 * count + 200)
    (work / "hub.json").write_text(hub_config(more))
    (work / "clients.json").write_text(client_config(count, more))
    with Namespace("idle-hub", work) as hub_side, Namespace("idle-clients", work) as client_side:
        connect(hub_side, "to-clients", f"{HUB_TO_HOST_1}/24", client_side, "uplink", f"{HOST_1}/24")
        hub = _start(hub_side, work, tree, "hub")
        hub.wait_line("listening on")
        clients = _start(client_side, work, tree, "clients")
        _wait_connected(hub_side, count * lanes)
        time.sleep(SETTLE_SECONDS if more.get("channel") == "auto" else 10.0)
        pid = hub.pid
        before, cpu = wakes(pid), cpu_seconds(pid)
        time.sleep(seconds)
        figures = {
            "wakes": (wakes(pid) - before) / seconds,
            "cpu_ms": (cpu_seconds(pid) - cpu) * 1e3 / seconds,
            "connections": _connections(hub_side),
        }
        clients.stop(timeout=60.0)
        hub.stop(timeout=60.0)
    return figures


def _start(namespace: Namespace, work: Path, tree: Path, name: str) -> Process:
    words = (sys.executable, "tunrouter.py", "-C", str(work / f"{name}.json"), "--control", "none")
    return namespace.popen(*words, cwd=tree)


def _connections(namespace: Namespace) -> int:
    return len(namespace.run("ss", "-Htn", "state", "established", "sport", "=", f":{PORT}").splitlines())


def _wait_connected(namespace: Namespace, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := _connections(namespace)) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {found} connections have come")
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--channel", choices=("auto", "stream"), default="stream")
    parser.add_argument("--no-lanes", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("this needs root, for network namespaces", file=sys.stderr)
        return 2
    lanes = 1 if arguments.no_lanes else 2
    more = {} if arguments.no_lanes else {"channel": arguments.channel}
    with tempfile.TemporaryDirectory(prefix="tunrouter-idle-") as work:
        found = measure(
            Path(work), arguments.clients, arguments.seconds, arguments.tree.resolve(), more, lanes
        )
    print(
        f"{found['connections']} connections, hub: {found['wakes']:.1f} wake-ups and "
        f"{found['cpu_ms']:.1f} ms of CPU each second"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
