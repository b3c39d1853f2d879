"""`tunrouter demo`: a hub and two hosts in network namespaces, started from the example files and measured.

Knows: the order of the steps, which program runs in which namespace, and that everything is removed at the
end.
Refuses to know: how the network is made (demo_net) and measured (demo_probe).

The hub and the hosts run this same program, with packaging/examples/server.yml and client.yml. The demo
asks them for their status on their control sockets. Their files, sockets and logs are in a temporary
directory. All of it is removed at the end, also after Ctrl-C, SIGTERM and failures. After kill -9 only the
directory stays, because each program ends when the demo ends.

With `keep` a process in the background keeps everything running. It removes everything when it is told to
end.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess
from gevent.monkey import get_original

from lib import ctl_client, demo_net, demo_probe, demo_table, service_environment
from lib.demo_net import HOSTS, Host, Namespace
from lib.errors import ConfigError, HostError, Position, Problem
from lib.tun import open_tun

PICTURE = """\
tunrouter demo: two hosts behind a hub, in network namespaces of their own

    host-1 192.168.123.1 ------- hub ------- 192.168.123.2 host-2
    LAN    192.168.100.0/24                  192.168.200.0/24 LAN
"""
ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 20.0
END_SECONDS = 5.0
PINGS = 10
REFRESH = 0.5

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KEPT = b"k"

# gevent's own close waits for a turn of its loop, and a pipe that is still open has no end.
_close = get_original("os", "close")
_waitpid = get_original("os", "waitpid")


Status = Mapping[str, Any]
"""What `tunrouter status --json` prints."""


@dataclass(frozen=True, slots=True)
class Program:
    """A tunrouter that runs in a namespace. Its process is the leader of a process group of its own."""

    name: str
    process: Any
    log: Path
    control: str
    """The path of its control socket, a relative one: an absolute path may be too long for a socket."""

    def status(self) -> Status:
        """Its status, as `tunrouter status --json` prints it. Raises HostError while it does not reply."""
        return ctl_client.ask(self.control, {"do": "status"})

    def failure(self, what: str) -> HostError:
        """An error that says how it ended, or `what` is wrong with it, and the last lines of its log."""
        status = self.process.poll()
        why = what if status is None else f"ended with status {status}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return HostError("\n    ".join([f"the program of {self.name} {why}; it said:", *lines[-10:]]))


def run(keep: bool, seconds: float) -> int:
    """Run the demo, with its live table for `seconds`; returns the exit status.

    With `keep` everything goes on running in the background. Raises HostError where this host does not allow
    the demo or no packet passes through the tunnel, and ConfigError where `seconds` is not above zero.
    """
    if not seconds > 0:
        raise ConfigError([Problem(Position("--seconds"), "must be more than 0")])
    return _in_background(seconds) if keep else _perform(seconds, None)


def _in_background(seconds: float) -> int:
    """Run the demo in a new process, which goes on running when this one ends; returns the exit status."""
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        _close(ready)
        os.setsid()
        return _perform(seconds, tell)
    _close(tell)
    try:
        return 0 if os.read(ready, 1) == _KEPT else _status(pid)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        _status(pid)
        raise


def _status(pid: int) -> int:
    _, status = _waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _perform(seconds: float, tell: int | None) -> int:
    """Run the whole demo. `tell` is the pipe on which to say that it is kept; with None it ends at once."""
    _end_on_signals()
    print(PICTURE, flush=True)
    in_user_namespace = demo_net.gain_rights()
    try:
        with tempfile.TemporaryDirectory(prefix="tunrouter-demo-") as directory, ExitStack() as stack:
            os.chdir(directory)
            try:
                _tell_story(stack, Path(directory), seconds, tell, in_user_namespace)
            finally:
                _ignore_signals()  # what is left to do is soon done, and all of it must be
    finally:
        _step("end", "removed everything: programs, namespaces, files")
    return 0


def _end_on_signals() -> None:
    """Let the first signal raise KeyboardInterrupt in this greenlet, whichever one runs when it comes."""
    here, loop = gevent.getcurrent(), gevent.get_hub().loop

    def end(*_: object) -> None:
        _ignore_signals()
        if gevent.getcurrent() is here:
            raise KeyboardInterrupt
        loop.run_callback_threadsafe(here.throw, KeyboardInterrupt)

    for number in _SIGNALS:
        signal.signal(number, end)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _no_signals() -> Iterator[None]:
    """Hold signals back until the block ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _tell_story(
    stack: ExitStack, directory: Path, seconds: float, tell: int | None, in_user_namespace: bool
) -> None:
    namespaces = demo_net.build(stack)
    _try_tun(namespaces["hub"], in_user_namespace)
    _step("namespaces", "hub, host-1 and host-2, joined by veth pairs")
    names = {} if tell is None or in_user_namespace else _publish(namespaces, stack)
    programs = _start(stack, directory, namespaces)
    _ping(namespaces)
    _load(namespaces, programs, seconds)
    if tell is not None:
        _keep(programs, names, tell)


def _try_tun(namespace: Namespace, in_user_namespace: bool) -> None:
    """Open a TUN device once, before any program does, for a clear message where that is not allowed."""
    try:
        with demo_net.inside(namespace):
            open_tun().close()
    except HostError as error:
        hint = "; or let every user open it: sudo chmod 666 /dev/net/tun" if in_user_namespace else ""
        raise HostError(f"{error}{hint}") from None


def _publish(namespaces: Mapping[str, Namespace], stack: ExitStack) -> dict[str, str]:
    return {name: demo_net.publish(namespace, stack) for name, namespace in namespaces.items()}


def _step(what: str, result: str) -> None:
    print(f"  ok  {what:<12}{result}", flush=True)


# ------------------------------------------------------------ the programs


def _start(stack: ExitStack, directory: Path, namespaces: Mapping[str, Namespace]) -> dict[str, Program]:
    """Start the hub, then each host; returns once each host has a session with the hub."""
    examples = Path(getattr(sys, "_MEIPASS", ROOT)) / "packaging" / "examples"
    shutil.copy(examples / "server.yml", directory)
    client = (examples / "client.yml").read_text(encoding="utf-8")
    hub = _program(stack, namespaces["hub"], directory / "server.yml")
    line = _wait_for(hub, _listening)
    _step("hub", f"tunrouter -C server.yml: {line}")
    programs = {"hub": hub}
    for host in HOSTS:
        config = directory / f"{host.name}.yml"
        config.write_text(_client_config(client, host), encoding="utf-8")
        programs[host.name] = _program(stack, namespaces[host.name], config)
    for host in HOSTS:
        line = _wait_for(programs[host.name], _connected)
        _wait_for(hub, partial(_session_of, host.name))
        _step(host.name, f"tunrouter -C {host.name}.yml: {line}")
    return programs


def _client_config(example: str, host: Host) -> str:
    """client.yml for one host: with the hub's address, and for host-2 its own name, address and route."""
    first, second = HOSTS
    text = example.replace("server_ip", host.hub)
    if host == second:
        text = text.replace(f"{first.overlay}/24", f"{second.overlay}/24").replace(first.name, second.name)
        text = text.replace(_lan(second), _lan(first))
    return text


def _lan(host: Host) -> str:
    return host.lan.rpartition(".")[0] + ".0/24"


def _program(stack: ExitStack, namespace: Namespace, config: Path) -> Program:
    log, control = config.with_name(f"{namespace.name}.log"), f"{namespace.name}.sock"
    program = (
        [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, str(ROOT / "tunrouter.py")]
    )
    whole = service_environment.whole(os.environ)
    environ = {name: value for name, value in whole.items() if not name.startswith("GOST_")}
    with log.open("wb") as output, _no_signals():  # never between its start and the note to end it
        process = subprocess.Popen(
            [*program, "-C", str(config), "--control", control], cwd=config.parent, env=environ,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=demo_net.entrance(namespace),
        )  # fmt: skip
        stack.callback(_end, process)
    return Program(namespace.name, process, log, control)


def _wait_for(program: Program, look: Callable[[Status], str]) -> str:
    """Ask a program for its status until `look` finds a text in it; returns that text.

    Raises HostError, with the last lines of the program's log, where that does not happen in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            found = look(program.status())
        except HostError:  # it has no control socket yet, or no more
            found = ""
        if found:
            return found
        if program.process.poll() is not None or time.monotonic() > deadline:
            raise program.failure("does not get ready")
        gevent.sleep(0.02)


def _listening(status: Status) -> str:
    """Where the hub listens. A process replies only once its ports are open: nothing else is checked."""
    return "".join(f"listening on {hub['listen']}" for hub in status["hubs"])


def _connected(status: Status) -> str:
    return "".join(f"connected to {row['hub']} as {row['host']}" for row in status["clients"] if row["hub"])


def _session_of(host: str, status: Status) -> str:
    return next((row["peer"] for row in status["sessions"] if row["host"] == host), "")


def _end(process: Any) -> None:
    """End a program and every process that it started: by SIGTERM, and by SIGKILL where that does not do."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(END_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


# ------------------------------------------------------------ what is shown


def _ping(namespaces: Mapping[str, Namespace]) -> None:
    """Ping the hosts and their LANs, and print the results. Raises HostError where no reply comes back."""
    first, second = HOSTS
    for source, address, what in (
        (first, second.overlay, second.name),
        (first, second.lan, f"{second.name}'s LAN"),
        (second, first.lan, f"{first.name}'s LAN"),
    ):
        times = demo_probe.ping(namespaces[source.name], address, PINGS, 0.02)
        if not times:
            raise HostError(f"no reply from {address} ({what}) to {source.name}")
        _step("ping", f"{source.name} -> {address} ({what}): {len(times)} of {PINGS}, {_median(times)}")


def _median(times: list[float]) -> str:
    return f"median {statistics.median(times) * 1000:.2f} ms" if times else "no reply"


def _load(namespaces: Mapping[str, Namespace], programs: Mapping[str, Program], seconds: float) -> None:
    """Run a TCP load from host-1 into host-2's LAN; meanwhile ping, and show the live table."""
    first, second = HOSTS
    with ExitStack() as stack:
        load = demo_probe.Load(namespaces[first.name], namespaces[second.name], second.lan, stack)
        times: list[float] = []
        pinging = gevent.spawn(demo_probe.keep_pinging, namespaces[first.name], second.overlay, 0.1, times)
        stack.callback(pinging.kill)
        print(f"\n  one TCP stream, host-1 -> {second.lan}, for {seconds:g} s\n", flush=True)
        _show_table(programs, seconds)
        rate, received = load.rate(), load.received
    if not received:
        raise HostError(f"no TCP data came through from {first.name} to {second.lan}")
    print()
    _step("throughput", f"{rate / 1e9:.2f} Gbit/s, {received / 1e9:.2f} GB arrived")
    _step("ping", f"meanwhile, host-1 -> {second.overlay}: {len(times)} replies, {_median(times)}")


def _show_table(programs: Mapping[str, Program], seconds: float) -> None:
    in_place = sys.stdout.isatty()
    table = demo_table.Table(in_place)
    refresh = REFRESH if in_place else 1.0
    before, then = _clients(programs), time.monotonic()
    until = then + seconds
    while then < until:
        gevent.sleep(min(refresh, until - then))
        after, now = _clients(programs), time.monotonic()
        table.show(
            [table.row(host, before[host.name], after[host.name], now - then, time.time()) for host in HOSTS]
        )
        before, then = after, now


def _clients(programs: Mapping[str, Program]) -> dict[str, Status]:
    """Host name -> the client's row in its program's status. Raises HostError where a program has ended."""
    return {host.name: _client(programs[host.name]) for host in HOSTS}


def _client(program: Program) -> Status:
    try:
        client: Status = program.status()["clients"][0]
        return client
    except HostError:
        raise program.failure("does not reply") from None


# ------------------------------------------------------------ keeping it


def _keep(programs: Mapping[str, Program], names: Mapping[str, str], tell: int) -> None:
    """Print commands to try, tell the waiting process that the demo is kept, and wait for a signal."""
    first, second = HOSTS

    def enter(name: str) -> str:
        if names:
            return f"ip netns exec {names[name]}"
        return f"nsenter --preserve-credentials -U -n -t {programs[name].process.pid}"

    hub = programs["hub"]
    print("\n  It goes on in the background. Commands to play with:\n")
    for command in (
        f"{enter(first.name)} ping {second.overlay}",
        f"{enter(second.name)} ping {first.lan}",
        f"{enter('hub')} ss -tn",
        f"tunrouter status --control {hub.log.parent}/{hub.control}",
        f"tail -f {hub.log.parent}/*.log",
        f"kill -USR1 {hub.process.pid}    # the hub logs what it dropped",
        f"kill {os.getpid()}    # ends it all and removes everything",
    ):
        print(f"    {command}")
    sys.stdout.flush()
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    os.write(tell, _KEPT)
    while True:
        gevent.sleep(3600)
