"""Network namespaces for tests, and programs that run in them.

Knows: iproute2's `ip netns`, the topology every end-to-end test uses, how to wait for a line of a
program's log, how to leave nothing behind. Refuses to know: tunrouter.

    host-1 namespace                hub namespace                  host-2 namespace
    [uplink 10.77.1.2/24]---[to-host-1 10.77.1.1/24]
                            [to-host-2 10.77.2.1/24]---[uplink 10.77.2.2/24]

Names are tr-PID-N-ROLE, so that runs side by side do not meet. Whatever still runs in a namespace is
killed when its `with` block ends.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import select
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
"""The project: programs run from here, so `tunrouter.py` and `lib` are found."""

HUB_TO_HOST_1 = "10.77.1.1"
HUB_TO_HOST_2 = "10.77.2.1"
HOST_1 = "10.77.1.2"
HOST_2 = "10.77.2.2"

HAS_IPV6 = Path("/proc/sys/net/ipv6").exists()
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


class Process:
    """A program under test. Its output, stdout and stderr in one, is kept in `log` as it comes."""

    def __init__(self, argv: Sequence[str], log: Path, **options: Any) -> None:
        """Start it. `options` are those of subprocess.Popen; `launch` is what starts it instead of that."""
        self.argv = tuple(argv)
        self.log = log
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        options.setdefault("cwd", ROOT)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("env", os.environ | {"PYTHONUNBUFFERED": "1"})
        launch = options.pop("launch", subprocess.Popen)
        self._popen: subprocess.Popen[bytes] = launch(
            self.argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        self.pid: int = self._popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def text(self) -> str:
        """Everything it has said so far."""
        with self._changed:
            return "".join(self._lines)

    def wait_line(self, pattern: str, timeout: float = 30.0, after: int = 0) -> re.Match[str]:
        """Wait for a line that matches the regular expression, among those from number `after` on.

        Raises AssertionError with its output so far, when it ends without or the time is up.
        """
        compiled = re.compile(pattern)
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._find(compiled, after), timeout)
            if found := self._find(compiled, after):
                return found
            why = "ended" if self._ended else f"took over {timeout} s"
        raise AssertionError(f"{self._about()}: {why} without {pattern!r}\n{self.text()}")

    def line_count(self) -> int:
        """How many lines it has said: as `after` of wait_line, to wait for a new one."""
        with self._changed:
            return len(self._lines)

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end and its last output; returns the exit status.

        Raises AssertionError with its output when the time is up.
        """
        if self._popen.poll() is None:
            process = os.pidfd_open(
                self.pid
            )  # nobody but _popen waits for it, so the number is still its own
            try:
                has_ended = _ends(process, timeout)  # Popen.wait would look once in 50 ms
            finally:
                os.close(process)
            if not has_ended:
                raise AssertionError(f"{self._about()}: still runs after {timeout} s\n{self.text()}")
        status = self._popen.wait()
        self._reader.join(1.0)  # longer only if a child of its own holds the pipe
        return status

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Signal and wait; returns the exit status."""
        self.send(number)
        return self.wait(timeout)

    def _find(self, pattern: re.Pattern[str], after: int) -> re.Match[str] | None:
        return next(filter(None, map(pattern.search, self._lines[after:])), None)

    def _about(self) -> str:
        return f"{' '.join(self.argv)[:200]} (log {self.log})"

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self.log.open("ab") as kept:
            for line in self._popen.stdout:
                kept.write(line)
                kept.flush()
                with self._changed:
                    self._lines.append(line.decode(errors="replace"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Namespace:
    """A network namespace with its loopback up, from `with` to its end.

    `logs` is the directory for the output of its programs.
    """

    def __init__(self, role: str, logs: Path) -> None:
        self.name = f"tr-{os.getpid()}-{next(_numbers)}-{role}"
        self.role = role
        self.logs = logs
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        _ip("netns", "add", self.name)
        _batch(self, "link set lo up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.kill_all()
        finally:
            _ip("netns", "del", self.name)

    def run(self, *argv: str, check: bool = True, timeout: float = 30.0) -> str:
        """Run a program to its end; returns what it said.

        Raises AssertionError with that if it fails (unless `check` is off) or takes too long.
        """
        return _run(("ip", "netns", "exec", self.name, *argv), check, timeout)

    def ip(self, *arguments: str) -> list[Any]:
        """`ip -j -d ARGUMENTS` here, decoded; an empty list where it says nothing."""
        return json.loads(_ip("-n", self.name, "-j", "-d", *arguments) or "[]") or []

    def devices(self) -> set[str]:
        """Names of its network devices."""
        return {link["ifname"] for link in self.ip("link", "show")}

    def pids(self) -> list[int]:
        """Everything that runs here, whoever started it."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def popen(self, *argv: str, **options: Any) -> Process:
        """Start a program here, in the project's directory; `ip netns exec` becomes it, pid and all."""
        log = self.logs / f"{self.role}-{len(self._started)}-{Path(argv[0]).name}.log"
        process = Process(("ip", "netns", "exec", self.name, *argv), log, **options)
        self._started.append(process)
        return process

    def kill_all(self, timeout: float = 10.0) -> None:
        """Kill -9 everything that runs here, whoever started it, and wait until it is gone."""
        for process in self._started:
            process.send(signal.SIGKILL)  # perhaps not in the namespace yet
            process.wait(timeout)
        while pids := self.pids():
            for pid in pids:
                _kill(pid, timeout)


class Topology:
    """The hub and the two hosts of the picture above, from `with` to its end."""

    def __init__(self, logs: Path) -> None:
        self.hub = Namespace("hub", logs)
        self.host_1 = Namespace("host-1", logs)
        self.host_2 = Namespace("host-2", logs)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as building:  # unwinds if a step fails
            for namespace in (self.hub, self.host_1, self.host_2):
                building.enter_context(namespace)
            self.join(building)
            self._stack = building.pop_all()
        return self

    def join(self, building: ExitStack) -> None:
        """Join the hosts to the hub; `building` gets what must be undone."""
        connect(self.hub, "to-host-1", f"{HUB_TO_HOST_1}/24", self.host_1, "uplink", f"{HOST_1}/24")
        connect(self.hub, "to-host-2", f"{HUB_TO_HOST_2}/24", self.host_2, "uplink", f"{HOST_2}/24")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def connect(
    left: Namespace,
    left_device: str,
    left_address: str,
    right: Namespace,
    right_device: str,
    right_address: str,
) -> None:
    """Join two namespaces by a veth pair; addresses as 10.77.1.1/24. IPv6 stays quiet on it."""
    _batch(
        left,
        f"link add {left_device} type veth peer name {right_device} netns {right.name}",
        *_up(left_device, left_address),
    )
    _batch(right, *_up(right_device, right_address))


def _up(device: str, address: str) -> Iterator[str]:
    """Commands that give a device its address, and set it up."""
    if HAS_IPV6:
        yield f"link set {device} addrgenmode none"
    yield f"addr add {address} dev {device}"
    yield f"link set {device} up"


@contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """Run the block in a network namespace, this thread only: what it opens belongs there for good.

    Sockets and TUN devices opened inside may be used outside. No greenlet may be switched inside.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _kill(pid: int, timeout: float) -> None:
    """Kill -9 and wait for the end, by a descriptor: the number may be somebody else's by then."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        assert _ends(process, timeout), f"process {pid} survives kill -9"
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def _ends(process: int, timeout: float) -> bool:
    """Wait until the process of a pidfd has ended; False when the time is up before."""
    ended = select.poll()
    ended.register(process, select.POLLIN)
    return bool(ended.poll(timeout * 1000))


def _ip(*arguments: str) -> str:
    return _run(("ip", *arguments), True, 30.0)


def _batch(namespace: Namespace, *commands: str) -> None:
    """Commands of ip(8) in a namespace, all of them in one process."""
    _run(("ip", "-n", namespace.name, "-batch", "-"), True, 30.0, "\n".join(commands))


def _run(argv: Sequence[str], check: bool, timeout: float, said: str | None = None) -> str:
    try:
        stdin = subprocess.DEVNULL if said is None else None
        done = subprocess.run(
            argv, cwd=ROOT, stdin=stdin, input=said, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{' '.join(argv)}: over {timeout} s\n{late.stdout!r}{late.stderr!r}") from None
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
