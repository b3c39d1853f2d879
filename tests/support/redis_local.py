"""Real Redis or Valkey servers and Sentinels on this machine's loopback, for tests that need no namespace.

Knows: their options, and how to wait until one serves. Refuses to know: what a test keeps there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.program import killed_after

NO_VALKEY = "valkey-server is not in PATH"
ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=why))
    for name, why in (
        ("redis-server", "redis-server is not installed (Debian: redis-server)"),
        ("valkey-server", NO_VALKEY),
    )
]
"""What serves as a Redis: a test with this as its parameter runs with each of them."""


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(
    directory: Path, *options: str, engine: str = "redis-server", env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A server with these options, that keeps nothing on disk; killed at the end. `env` is added to ours."""
    command = (engine, *options, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with _started(command, directory, "Ready to accept connections", env) as server:
        yield server


@contextmanager
def sentinel(
    directory: Path, port: int, master: str, master_port: int, *lines: str, engine: str = "redis-server"
) -> Iterator[subprocess.Popen[str]]:
    """A Sentinel that alone decides on a failover, half a second after its master has gone."""
    file = directory / f"sentinel-{port}.conf"
    about = (
        *(f"port {port}", "bind 127.0.0.1", f"sentinel monitor {master} 127.0.0.1 {master_port} 1"),
        *(f"sentinel down-after-milliseconds {master} 500", f"sentinel failover-timeout {master} 2000"),
        *lines,
    )
    file.write_text("\n".join(about) + "\n")
    with _started((engine, str(file), "--sentinel"), directory, r"+monitor master") as server:
        yield server


@contextmanager
def _started(
    command: Sequence[str], directory: Path, ready: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    whole = {**os.environ, **(env or {})}
    with killed_after(
        subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True, env=whole)
    ) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if ready in line:
                break
        else:
            raise AssertionError("".join(said))
        reader = threading.Thread(target=server.stdout.read, daemon=True)  # or it would stand still one day
        reader.start()
        try:
            yield server
        finally:
            server.kill()
            server.wait()
            reader.join(10)
