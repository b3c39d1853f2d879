"""Benchmark of a hub's memory: alone, and with a thousand idle clients.

Knows: how to be a thousand silent GOST clients at once (a handshake on a bare socket each).
Refuses to know: packets: none are sent.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lib.wire_relay import Request
from tests.bench.measure import Figures
from tests.bench.peers import (
    BINARY,
    hub_yaml,
    no_binary,
    start_gost_hub,
    start_our_hub,
    wait_listening,
)
from tests.bench.quiet import resident_mb
from tests.support.netns import Namespace, in_namespace
from tests.support.program import GOST
from tests.support.sessions import joined

CLIENTS = 1000


def measure(work: Path, clients: int = CLIENTS) -> Figures:
    """Resident MB of an idle hub, and KB for each idle client; the executable's and GOST's hub too where there is one."""
    allow_descriptors(clients + 200)
    with Namespace("memory", work) as namespace:
        with _killed(namespace):
            hub = start_our_hub(namespace, work, hub_yaml())
            figures = _measure(namespace, hub.pid, clients, "")
        if not no_binary():
            with _killed(namespace):
                hub = start_our_hub(namespace, work, hub_yaml(), (str(BINARY),))
                figures |= _measure(namespace, hub.pid, clients, "binary_")
        if GOST:
            with _killed(namespace):
                hub = start_gost_hub(namespace, work)
                wait_listening(namespace, 8443)
                figures |= _measure(namespace, hub.pid, clients, "gost_")
    return figures


def _measure(namespace: Namespace, pid: int, clients: int, prefix: str) -> Figures:
    idle = resident_mb(pid)
    with ExitStack() as opened:
        with in_namespace(namespace.name):
            for number in range(clients):
                opened.enter_context(client(f"c{number}"))
        full = resident_mb(pid)
    return {f"{prefix}idle_mb": idle, f"{prefix}kb_per_client": (full - idle) * 1e3 / clients}


def client(host: str) -> socket.socket:
    """A session with the hub under this name. Raises AssertionError when the hub says no."""
    return joined(("127.0.0.1", 8443), Request(host, "10.88.0.9"))[0]


@contextmanager
def _killed(namespace: Namespace) -> Iterator[None]:
    try:
        yield
    finally:
        namespace.kill_all()


def allow_descriptors(wanted: int) -> None:
    """For this process and, as its children, the hubs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
