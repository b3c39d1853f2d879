"""The first moments of a process: signals that come before it can obey them, and what its caller has left it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lib import service_environment
from tests.support import program
from tests.support.netns import HUB_TO_HOST_1, Process, Topology
from tests.support.program import TUNROUTER, program_pid, reach, wait_for
from tests.support.tls import Authority

Write = Callable[[str, str], str]

HUB = "services: [{{name: s, addr: '127.0.0.1:{port}', handler: {{type: router, metadata: {{router: r}}}}}}]\nrouters: [{{name: r}}]\n"
HOSTILE = {
    "GEVENT_LOOP": "nonsense",
    "GEVENT_RESOLVER": "nonsense",
    "GEVENT_THREADPOOL": "nonsense",
    "GEVENT_MONITOR_THREAD_ENABLE": "true",
    "LIBEV_FLAGS": "1048576",
    "PURE_PYTHON": "1",
    "OPENSSL_CONF": "/etc/passwd",
    "SSLKEYLOGFILE": "/nonexistent/keys",
    "OPENSSL_MODULES": "/nonexistent",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "nonsense",
    "ZOPE_INTERFACE_STRICT_IRO": "1",
    "RES_OPTIONS": "nonsense",
    "LOCALDOMAIN": "nonsense",
    "HOSTALIASES": "/nonexistent",
    "http_proxy": "http://127.0.0.1:1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "ALL_PROXY": "nonsense://",
}
"""Variables that change or break a library."""
TO_THE_EXECUTABLE = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONPATH": "/nonexistent",
    "PYTHONWARNINGS": "error",
    "PYTHONDEVMODE": "1",
    "PYTHONMALLOC": "nonsense",
    "PYTHONIOENCODING": "nonsense",
    "PYTHONOPTIMIZE": "2",
    "PYTHONVERBOSE": "2",
    "MALLOC_PERTURB_": "85",
    "MALLOC_CHECK_": "3",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "LD_BIND_NOW": "1",
    "LC_ALL": "ja_JP.eucJP",
    "LANG": "nonsense",
    "LOCPATH": "/nonexistent",
    "GCONV_PATH": "/nonexistent",
    "PYINSTALLER_STRICT_UNPACK_MODE": "1",
    "_PYI_PARENT_PROCESS_LEVEL": "1",
    "_PYI_SPLASH_IPC": "1",
    "_PYI_APPLICATION_HOME_DIR": "/tmp/_MEI00000001abcdef",
}
"""What Python, glibc or the bootloader read before our first line: only the executable can keep that out."""


def holds_signals(pid: int) -> bool:
    """Whether a process has got so far that it holds SIGHUP back."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGHUP - 1) & 1)
    return False


class Slow:
    """A hub whose configuration is a pipe: it is not read before we write it."""

    def __init__(self, directory: Path) -> None:
        self.pipe = directory / "hub.yml"
        os.mkfifo(self.pipe)
        self.process = Process((*TUNROUTER, "--control", "none", "-C", str(self.pipe)), directory / "hub.log")
        wait_for(lambda: holds_signals(self.process.pid))
        self._writer = -1

    def waits(self) -> bool:
        """Whether it waits for its configuration."""
        if self._writer < 0:
            try:
                self._writer = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody has opened the other end
                return False
        return True

    def configure(self, text: str) -> None:
        """Let it have its configuration; a reload reads it from the file that is there then."""
        os.write(self._writer, text.encode())
        kept = self.pipe.with_name("kept")
        kept.write_text(text)
        kept.rename(self.pipe)
        os.close(self._writer)


def test_a_reload_and_a_question_in_the_first_moments_are_obeyed_later(tmp_path: Path) -> None:
    hub = Slow(tmp_path)
    until = time.monotonic() + 20
    while not hub.waits():  # while it unpacks, while Python starts, while modules are imported
        assert hub.process.returncode is None, hub.process.text()
        assert time.monotonic() < until
        for number in (signal.SIGHUP, signal.SIGUSR1):
            hub.process.send(number)
        time.sleep(0.005)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        hub.process.send(number)
    hub.configure(HUB.format(port=18441))
    hub.process.wait_line("listening on")
    hub.process.wait_line("dropped nothing")
    hub.process.wait_line("reload: nothing is different")
    assert hub.process.stop() == 0
    assert "Traceback" not in hub.process.text()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "while it reads its configuration"])
def test_ctrl_c_in_the_first_moments_says_nothing(tmp_path: Path, late: bool) -> None:
    hub = Slow(tmp_path)
    if late:
        wait_for(hub.waits)
    hub.process.send(signal.SIGINT)
    assert hub.process.wait() == -signal.SIGINT
    assert hub.process.text() == ""


@pytest.mark.parametrize("how", ["SIGTERM is blocked", "SIGCHLD is ignored"])
def test_what_a_caller_has_done_to_signals_does_not_matter(tmp_path: Path, how: str) -> None:
    prepare = {
        "SIGTERM is blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))",
        "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    }
    config = tmp_path / "hub.yml"
    config.write_text(HUB.format(port=18442))
    start = f"import os, signal, sys; {prepare[how]}; os.execv(sys.argv[1], sys.argv[1:])"
    hub = Process(
        (sys.executable, "-c", start, *TUNROUTER, "--control", "none", "-C", str(config)),
        tmp_path / "hub.log",
    )
    hub.wait_line("listening on")
    assert hub.stop() == 0, hub.text()


def test_variables_of_the_caller_change_nothing(topology: Topology, write: Write, tmp_path: Path) -> None:
    """A hub and a client over TLS, plugins' libraries loaded, with an environment in which each would break."""
    own = Authority(tmp_path).issue("hub.test")
    environ = os.environ | HOSTILE | (TO_THE_EXECUTABLE if program.BINARY else {}) | {"SITE_2": "secret"}
    text = (
        f"services: [{{name: s, addr: ':8443', handler: {{type: router, metadata: {{router: r}}, "
        f"auth: {{username: one, password: '${{env:SITE_2}}'}}}}, "
        f"listener: {{type: tls, tls: {{certFile: {own.cert}, keyFile: {own.key}}}}}}}]\n"
        "routers: [{name: r, routes: [{net: 10.9.0.1/32, gateway: host-1}]}]\n"
        "ingresses: [{name: unused, plugin: {addr: '127.0.0.1:1'}}]\n"
    )
    hub = topology.hub.popen(*TUNROUTER, "-C", write("hub.yml", text), env=environ)
    hub.wait_line("listening on")
    client = topology.host_1.popen(
        *(*TUNROUTER, "-L", "tun:///host-1?net=10.9.0.1/24"),
        *("-F", f"router+tls://one:secret@{HUB_TO_HOST_1}:8443"),
        env=environ,
    )
    client.wait_line("connected to")
    reach(topology.host_1, "10.9.0.1")
    if program.BINARY:
        named = {name for names, _ in service_environment.READ for name in names}
        held = Path(f"/proc/{program_pid(hub)}/environ").read_bytes().decode().split("\0")
        others = {entry.partition("=")[0] for entry in held if entry} - named
        aside = {name for name in others if name.startswith(service_environment.SET_ASIDE)}
        assert {f"{service_environment.SET_ASIDE}{name}" for name in (*HOSTILE, *TO_THE_EXECUTABLE)} <= aside
        assert all(name.startswith("_PYI_") or name == "LD_LIBRARY_PATH" for name in others - aside)
    assert client.stop() == 0
    assert hub.stop() == 0
    for process in (client, hub):
        assert "Traceback" not in process.text()
