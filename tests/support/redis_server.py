"""A real Redis in a namespace, on its loopback.

Knows: redis-server and redis-cli. Refuses to know: what a test keeps in it.
"""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.support.netns import Namespace, Process

PORT = 6380
needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed (Debian: redis-server)"
)


class Redis:
    """One server without anything kept on disk."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.addr = f"127.0.0.1:{PORT}"
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, empty, and wait until it serves."""
        bound = ("--bind", "127.0.0.1", "127.0.0.2")  # two, so that it can be cut off from one hub alone
        options = ("--port", str(PORT), *bound, "--save", "", "--appendonly", "no")
        self._process = self.namespace.popen("redis-server", *options, cwd="/")
        self._process.wait_line("Ready to accept connections")

    def stop(self) -> None:
        """Kill it."""
        assert self._process is not None
        self._process.stop(signal.SIGKILL)

    def do(self, *command: str) -> str:
        """One command: do("HSET", "routes", "10.0.0.0/8", "host-1")."""
        return self.namespace.run("redis-cli", "-p", str(PORT), *command)
