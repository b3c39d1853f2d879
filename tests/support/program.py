"""Starts the program under test, and a real GOST, in network namespaces, as a user would.

Knows: command lines, the example files, the lines that tell that a program is ready.
Refuses to know: what a test wants to see.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import echo, forkserver
from tests.support.netns import ROOT, Namespace, Process

BINARY = os.environ.get("TUNROUTER_BIN", "")
"""An executable to test instead of this checkout."""

TUNROUTER = (str(Path(BINARY).resolve()),) if BINARY else (sys.executable, str(ROOT / "tunrouter.py"))
EXAMPLES = ROOT / "packaging" / "examples"
GOST = os.path.abspath(found) if (found := shutil.which(os.environ.get("GOST_BIN") or "gost")) else ""
"""A real GOST v3: GOST_BIN, or else the `gost` of PATH; empty where there is none."""
NO_GOST = "no real GOST: there is none in PATH, and GOST_BIN names none"
if not GOST and os.environ.get("GOST_BIN"):
    NO_GOST = f"no real GOST: GOST_BIN={os.environ['GOST_BIN']} is no executable"

NAMESPACE_1 = "e87f56dd-fd57-4921-9ab8-a0847662daae"
NAMESPACE_2 = "ef502590-c5f4-437e-a81f-fe4083505075"
"""The namespaces of the example files."""

OVERLAY_1 = "192.168.123.1"
OVERLAY_2 = "192.168.123.2"
"""Where host-1 and host-2 are in the overlay of the example files."""

COPIES = False
"""Whether start and its kin start copies of a loaded process (forkserver): in tests/e2e, unless a test says no."""

needs_gost = pytest.mark.skipif(not GOST, reason=NO_GOST)

_DROPPED = re.compile(r"dropped (\d+) (\S+) namespace=(\S+) session=(\S+)")


def example(name: str, hub: str = "") -> str:
    """The text of an example file, server_ip replaced by the hub's address."""
    return (EXAMPLES / name).read_text().replace("server_ip", hub)


def unlimited(text: str) -> str:
    """A hub's example without its default limits: for tests in which one address is a crowd."""
    assert text.count("    handler:\n      type: router\n") == 1
    many = "name: many, limits: [$ 60000]"
    named = text.replace("    handler:\n", "    climiter: many\n    rlimiter: many\n    handler:\n", 1)
    return f"{named}climiters: [{{{many}}}]\nrlimiters: [{{{many}}}]\n"


def client_example(name: str, number: int, hub: str) -> str:
    """client.yml (or namespaces-client.yml) for host-1 or, as its README says, for host-2."""
    text = example(name, hub)
    if number == 1:
        return text
    for here, there in ((OVERLAY_1, OVERLAY_2), ("192.168.200.0", "192.168.100.0"), ("host-1", "host-2")):
        assert here in text
        text = text.replace(here, there)
    return text


def host(number: int, hub: str, namespace: str = "", extra: str = "") -> tuple[str, ...]:
    """The command line of a client, as in commands.txt; extra goes to the -L URL (`&key=value`)."""
    router_id = f"?router.id={namespace}" if namespace else ""
    listen = f"tun:///host-{number}?net=192.168.123.{number}/24{extra}"
    return ("-L", listen, "-F", f"router://{hub}:8443{router_id}")


def program_pid(process: Process) -> int:
    """The process that is the program: an executable's bootloader comes before it, and has it as its child."""
    if not BINARY:
        return process.pid
    (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(pid)


@contextmanager
def killed_after(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A program that is killed where it still runs in the end: a test that fails does not wait for it for ever."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """Let the program itself stand still meanwhile, as Ctrl-Z would: an executable's bootloader cannot pass SIGSTOP on."""
    pid = program_pid(process)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def start(namespace: Namespace, *arguments: str) -> Process:
    """Start tunrouter; nothing is awaited."""
    return namespace.popen(*TUNROUTER, *arguments, **_launch())


def _launch() -> dict[str, type[forkserver.Copy]]:
    """How netns.Process shall start the program."""
    return {"launch": forkserver.Copy} if COPIES and not BINARY else {}


def start_hub(namespace: Namespace, *arguments: str) -> Process:
    """Start tunrouter and wait until it listens."""
    process = start(namespace, *arguments)
    process.wait_line("listening on")
    return process


def start_client(namespace: Namespace, *arguments: str) -> Process:
    """Start tunrouter and wait until a hub has let it in."""
    process = start(namespace, *arguments)
    process.wait_line("connected to")
    return process


def start_gost(namespace: Namespace, *arguments: str) -> Process:
    """Start GOST and wait until its service runs (a client's session comes later: see reach)."""
    process = namespace.popen(GOST, *arguments)
    process.wait_line("listening on")
    return process


def start_plugin(namespace: Namespace, **script: object) -> Process:
    """Start a router plugin (tests.support.http_router says what a script holds) and wait until it serves."""
    plugin = namespace.popen(sys.executable, "-m", "tests.support.http_router", json.dumps(script))
    plugin.wait_line("plugin ready")
    return plugin


def run(*arguments: str, namespace: Namespace | None = None, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run tunrouter to its end, perhaps wrapped in another program; (exit status, all output)."""
    argv, launch = (*before, *TUNROUTER, *arguments), {} if before else _launch()
    if namespace is not None:
        process = namespace.popen(*argv, **launch)
    else:
        process = Process(argv, Path(os.devnull), **launch)
    return process.wait(20), process.text()


def reach(namespace: Namespace, address: str, seconds: float = 20.0) -> None:
    """Ping until a reply comes, by which a tunnel is known to be up."""
    until = time.monotonic() + seconds
    while True:
        started = time.monotonic()
        left = str(max(1, round(until - started)))
        said = namespace.run(
            "ping", "-c1", "-i0.05", f"-w{left}", address, check=False
        )  # up to the first reply
        if re.search(r" [1-9]\d* received", said):
            return
        assert time.monotonic() < until, f"{address} is not reached from {namespace.role}\n{said}"
        time.sleep(max(0.0, started + 0.1 - time.monotonic()))  # no device or route yet: ping ends at once


def wait_for(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Look again and again until something is true that nothing announces. Raises AssertionError if it stays false."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


def pings(namespace: Namespace, address: str, count: int = 5, *options: str) -> int:
    """Send so many pings, ten a second; returns how many were answered.

    With options it is ping(8), which waits for one interval more after the last one (or for two round trips): a
    shorter interval would take a reply that a busy machine delays for lost.
    """
    if not options:
        return echo.answered(namespace.name, address, count)
    said = namespace.run("ping", "-c", str(count), "-i0.1", "-W2", *options, address, check=False)
    found = re.search(r"(\d+) received", said)
    assert found, said
    return int(found[1])


def drops(
    process: Process, enough: Callable[[dict[tuple[str, str, str], int]], bool], seconds: float = 30.0
) -> None:
    """Ask for the counters with SIGUSR1 until `enough` of {(namespace, session, reason): count}.

    session is the host's name, "(ended)" for those that are over.
    """
    until = time.monotonic() + seconds
    while True:
        before = process.line_count()
        process.send(signal.SIGUSR1)
        process.wait_line(r"dropped (\d|nothing)", after=before)
        time.sleep(0.05)  # the lines come one by one; a miss costs one more turn
        lines = process.text().splitlines()[before:]
        counts: dict[tuple[str, str, str], int] = {}
        for found in filter(None, map(_DROPPED.search, lines)):
            key = (found[3], found[4].partition("@")[0], found[2])
            counts[key] = counts.get(key, 0) + int(found[1])
        if enough(counts):
            return
        assert time.monotonic() < until, f"drops are {counts}"


def total(counts: dict[tuple[str, str, str], int], reason: str) -> int:
    """The sum for one reason over all sessions."""
    return sum(count for (_, _, why), count in counts.items() if why == reason)
