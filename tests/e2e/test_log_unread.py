"""A log that nobody reads: packets pass, lines come once somebody reads, and SIGTERM ends the process."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.netns import HUB_TO_HOST_1, HUB_TO_HOST_2, ROOT, Namespace, Topology
from tests.support.program import OVERLAY_1, TUNROUTER, example, host, pings, reach, start_client, wait_for

Write = Callable[[str, str], str]


class Unread:
    """A pipe, FIFO or terminal for output that takes no more; `open` is where the output goes."""

    def __init__(self, stack: ExitStack, kind: str, path: Path) -> None:
        if kind == "terminal":
            self.reading, self.open = pty.openpty()
            os.write(self.reading, b"\x13")  # Ctrl-S
        elif kind == "pipe":
            self.reading, self.open = os.pipe()
        else:
            os.mkfifo(path)
            self.reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            self.open = os.open(path, os.O_WRONLY)
        for end in (self.reading, self.open):
            stack.callback(os.close, end)
        if kind != "terminal":
            os.set_blocking(self.open, False)
            size = 1 << 16
            while size:  # until not one more byte is taken
                try:
                    os.write(self.open, b"." * size)
                except BlockingIOError:
                    size //= 2
            os.set_blocking(self.open, True)
        os.set_blocking(self.reading, False)
        self.text = b""

    def has(self, text: bytes) -> bool:
        """Read what there is; whether the text has come by now."""
        try:
            self.text += os.read(self.reading, 1 << 20)
        except BlockingIOError:
            pass
        return text in self.text


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, namespace: Namespace, stderr: int, *arguments: str) -> subprocess.Popen[bytes]:
    """Start tunrouter with this standard error."""
    argv = ("ip", "netns", "exec", namespace.name, *TUNROUTER, *arguments)
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    stack.callback(process.wait, 10)
    stack.callback(process.kill)
    return process


@pytest.mark.parametrize("kind", ["pipe", "terminal", "file"])
def test_nobody_reads_the_log(
    topology: Topology, write: Write, stack: ExitStack, tmp_path: Path, kind: str
) -> None:
    """A pipe of a log driver that hangs, a terminal after Ctrl-S, a log file that takes nothing: a FIFO."""
    of_hub, of_client = Unread(stack, kind, tmp_path / "hub"), Unread(stack, kind, tmp_path / "client")
    config = example("server.yml")
    if kind == "file":
        config += f"log: {{output: {tmp_path / 'hub'}}}\n"
        os.mkfifo(tmp_path / "rows")  # a table on the same disk
        hangs = f"  - {{name: hangs, file: {{path: {tmp_path / 'rows'}}}}}\n"
        config = config.replace("routers:\n", f"routers:\n{hangs}")
        assert hangs in config
    hub = start(stack, topology.hub, of_hub.open, "-D", "-C", write("hub.yml", config))
    client = start(stack, topology.host_1, of_client.open, "-D", *host(1, HUB_TO_HOST_1))
    start_client(topology.host_2, *host(2, HUB_TO_HOST_2))
    reach(topology.host_2, OVERLAY_1)
    for number in (signal.SIGUSR1, signal.SIGHUP):
        hub.send_signal(number)
        client.send_signal(number)
    assert pings(topology.host_2, OVERLAY_1) == 5
    if kind == "terminal":
        os.write(of_hub.reading, b"\x11")  # Ctrl-Q
    wait_for(lambda: of_hub.has(b"nothing is different"))
    told = of_hub.text[of_hub.text.index(b"listening on") :]
    assert told.index(b"is host host-1") < told.index(b"nothing is different")
    for process in (client, hub):
        process.terminate()
        assert process.wait(8) == 0
    wait_for(lambda: of_hub.has(b"left"))
    assert not of_client.has(b"connected to"), "nobody has read it"
