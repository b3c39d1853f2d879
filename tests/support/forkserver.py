"""Starts of the program under test as copies of a process that has loaded all its modules.

To load them costs two thirds of a start, half a second of CPU, and an end-to-end test has three starts. So one
process for each worker of pytest loads them, and forks for each start; the copy enters the network namespace as
`ip netns exec` does, and runs tunrouter.py from its first line. What is not the same: its command line in /proc,
that its modules are there before the first line runs, and that it ends with the tests. Tests of these first
moments start the program itself (the fixture `real_starts`), as do all tests of an executable.

Knows: how a copy is made, and how its end is learned.
Refuses to know: what is started (program), what it says (netns.Process).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_BIND, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x1000, 0x4000, 0x80000, 2


# --- in the process of the tests -------------------------------------------------------------------


class Copy:
    """A running copy, with what netns.Process uses of subprocess.Popen."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], **options: Any) -> None:
        """argv is `ip netns exec NAME python tunrouter.py …`, or without a namespace from `python` on.

        Other options of Popen have no effect.
        """
        namespace, program = (argv[3], argv[5:]) if argv[0] == "ip" else ("", argv[1:])
        assert program[0] == str(ROOT / "tunrouter.py"), argv
        reader, writer = os.pipe()
        request = {"namespace": namespace, "argv": program, "environ": dict(env)}
        try:
            self.pid = int(_server().ask(request, writer))
        finally:
            os.close(writer)
        self.stdout = os.fdopen(reader, "rb")
        self._process = os.pidfd_open(self.pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self._status is None:
            ended = select.poll()
            ended.register(self._process, select.POLLIN)
            if ended.poll(0):
                self.wait()
        return self._status

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        if self._status is None:
            select.select([self._process], [], [])
            self._status = int(_server().ask({"ended": self.pid}))
            os.close(self._process)
        return self._status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)


class _Server:
    """The process that is copied, as the tests see it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel, self._lock = ours, threading.Lock()
        with theirs:
            argv = (sys.executable, "-u", "-m", "tests.support.forkserver", str(theirs.fileno()))
            subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def ask(self, request: dict[str, Any], *descriptors: int) -> Any:
        with self._lock:
            socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
            reply = self._channel.recv(4096)
        assert reply, "the process that is copied has ended"
        return json.loads(reply)


@cache
def _server() -> _Server:
    return _Server()


# --- in the process that is copied -----------------------------------------------------------------


def _serve(channel: socket.socket) -> None:
    """Answer requests until the tests end, and kill what is left then. SystemExit comes from a copy."""
    from gevent.monkey import get_original

    fork, waitpid = get_original("os", ("fork", "waitpid"))
    copies: set[int] = set()
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 1)
        if not data:
            break
        request = json.loads(data)
        if pid := request.get("ended"):
            copies.discard(pid)
            reply = os.waitstatus_to_exitcode(waitpid(pid, 0)[1])
        else:
            reply = fork()
            if not reply:
                channel.close()
                _become(request, descriptors[0])
            copies.add(reply)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(json.dumps(reply).encode())
    for pid in copies:
        os.kill(pid, signal.SIGKILL)


def _become(request: dict[str, Any], output: int) -> None:
    """Run tunrouter.py; raises SystemExit."""
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    if request["namespace"]:
        _enter(request["namespace"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = request["argv"]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _enter(name: str) -> None:
    """Enter a network namespace, with its own /sys and its files of /etc/netns, as `ip netns exec` does."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(function: str, *arguments: Any) -> None:
        if getattr(libc, function)(*arguments):
            number = ctypes.get_errno()
            raise OSError(number, f"{function}{arguments}: {os.strerror(number)}")

    namespace = os.open(f"/run/netns/{name}", os.O_RDONLY)
    call("setns", namespace, _CLONE_NEWNET)
    os.close(namespace)
    call("unshare", _CLONE_NEWNS)
    call("mount", b"", b"/", b"none", _MS_SLAVE | _MS_REC, None)
    call("umount2", b"/sys", _MNT_DETACH)
    call("mount", name.encode(), b"/sys", b"sysfs", 0, None)
    own = Path("/etc/netns", name)
    for file in own.iterdir() if own.exists() else ():
        call("mount", bytes(file), bytes(Path("/etc", file.name)), b"none", _MS_BIND, None)


def _load() -> None:
    """Load what tunrouter.py and a service load, and leave nothing behind that only one process can have."""
    from lib import service_environment

    documented = {name for names, _ in service_environment.READ for name in names}
    for name in set(os.environ) - documented:
        del os.environ[name]  # as the program does before it loads libraries

    from gevent import monkey

    monkey.patch_all()

    from gevent._hub_local import get_hub_if_exists

    from lib import service_preload

    needed = service_preload.NEEDED
    several = needed["any process"] + needed["a client"] + needed["a certificate"]
    for module in ("lib.cli_main", "lib.service", *several):  # urllib3 opens a socket when it is loaded
        importlib.import_module(module)
    assert get_hub_if_exists() is None, "an event loop cannot be copied"
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _channel = socket.socket(fileno=int(sys.argv[1]))
    _load()
    _serve(_channel)
