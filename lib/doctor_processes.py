"""Processes that `tunrouter doctor` looks for: the one that runs here, and others that do the same work.

Knows: which process a command line means, with which arguments it was started, what another GOST or tunrouter
has in common with it. Refuses to know: control sockets (ctl_find, ctl_client), why that is bad (doctor_host).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lib import cli_config, ctl_client, ctl_find
from lib.addresses import join_host_port
from lib.cli_flags import normalise
from lib.doctor_facts import Other
from lib.errors import ConfigError, HostError
from lib.settings import Settings

SECONDS = 2.0
"""How long each process may take to reply."""
MOST = 8
"""Processes that are looked at where none is named."""
_PROC = Path("/proc")
_PROGRAMS = re.compile(r"(?:^|/)(gost|tunrouter)(?:\.py)?$")


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs here."""

    pid: int
    path: str
    """Of its control socket."""
    status: Mapping[str, Any]
    """Its reply to `status`."""
    files: tuple[str, ...]
    """Its -C files."""

    @property
    def clients(self) -> list[Mapping[str, Any]]:
        """The rows of its clients."""
        return list(self.status["clients"])


def running(control: str | None, files: Sequence[str]) -> list[Running]:
    """The processes that are meant: by --control, by their files, or all that run here, MOST at most.

    Those in our network namespace come before all others: of these nothing could be looked at.
    Raises HostError where the named one does not reply.
    """
    if control == "none":
        return []
    if control:
        return [_asked(control, ctl_client.ask(control, {"do": "hello"}, SECONDS))]
    found = [one for one in ctl_find.own(SECONDS) if one.hello is not None]
    found = found or [one for one in ctl_find.of_others() if one.hello is not None]
    wanted = set(map(os.path.abspath, files))
    if wanted:
        found = [one for one in found if one.hello is not None and wanted & set(one.hello["files"])]
    here = [one for one in found if one.hello is not None and _is_in_our_network(one.hello)]
    asked = []
    for one in (here or found)[:MOST]:
        with suppress(HostError):
            asked.append(_asked(one.path, one.hello or {}))
    return asked


def _is_in_our_network(hello: Mapping[str, Any]) -> bool:
    """Whether a process is in our network namespace; True where that is not known."""
    with suppress(OSError, KeyError):
        return os.readlink(_PROC / str(hello["pid"]) / "ns" / "net") == os.readlink(_PROC / "self/ns/net")
    return True


def _asked(path: str, hello: Mapping[str, Any]) -> Running:
    with ctl_client.understood(path):
        status = ctl_client.ask(path, {"do": "status"}, SECONDS)
        list(status["clients"])
        return Running(int(hello["pid"]), path, status, tuple(hello["files"]))


def command_line(pid: int) -> tuple[list[str], str]:
    """(the arguments of a tunrouter process, its working directory); ([], "") where they cannot be read."""
    try:
        words = _words(pid)
        place = os.readlink(_PROC / str(pid) / "cwd")
    except OSError:
        return [], ""
    at = next((at for at, word in enumerate(words[:3]) if _PROGRAMS.search(word)), None)
    return ([], "") if at is None else (normalise(words[at + 1 :]), place)


def environment(pid: int) -> dict[str, str]:
    """The variables that a process was started with; empty where they cannot be read."""
    try:
        data = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(one).partition("=") for one in data.split(b"\0") if b"=" in one)
    return {name: value for name, _, value in pairs}


def _words(pid: int) -> list[str]:
    data = (_PROC / str(pid) / "cmdline").read_bytes()
    return [os.fsdecode(word) for word in data.removesuffix(b"\0").split(b"\0")]


# --- others -------------------------------------------------------------------------------------


def others(settings: Settings, ours: Running | None) -> tuple[Other, ...]:
    """Other processes of this network namespace that have a client, a device or a port of ours."""
    own = {os.getpid(), *([ours.pid] if ours else [])}
    known = own | {_parent(pid) for pid in own}  # an executable's bootloader is the parent of the program
    found = []
    for pid, name in _programs():
        if pid in known or _parent(pid) in own:
            continue
        theirs = _settings_of(pid)
        common = _common(settings, theirs) if theirs is not None else []
        if common:
            found.append(Other(pid, name, "; ".join(common)))
    pids = {other.pid for other in found}  # of an executable's two processes the bootloader is told
    return tuple(other for other in found if _parent(other.pid) not in pids)


def _common(ours: Settings, theirs: Settings) -> list[str]:
    """What two processes both have, in words."""
    hubs = {(client.host, node.host, node.port) for client in ours.clients for node in client.nodes}
    both = {(client.host, node.host, node.port) for client in theirs.clients for node in client.nodes} & hubs
    found = [f"it is host {host} at {join_host_port(hub, port)} too" for host, hub, port in sorted(both)]
    ports = {hub.port for hub in ours.hubs} & {hub.port for hub in theirs.hubs}
    found += [f"it is to listen on port {port} too" for port in sorted(ports)]
    devices = {client.device.name for client in ours.clients if client.device.name}
    shared = devices & {client.device.name for client in theirs.clients}
    return found + [f"its device is {name} too" for name in sorted(shared)]


def _programs() -> Iterator[tuple[int, str]]:
    """(pid, name) of each gost and tunrouter in our network namespace."""
    here = os.readlink("/proc/self/ns/net")
    for entry in os.listdir(_PROC):
        if not entry.isdecimal():
            continue
        with suppress(OSError):
            found = next(filter(None, map(_PROGRAMS.search, _words(int(entry))[:3])), None)
            if found and os.readlink(_PROC / entry / "ns" / "net") == here:
                yield int(entry), found[1]


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return -1


def _settings_of(pid: int) -> Settings | None:
    """The settings of another process, by its command line; None where they cannot be known."""
    words, place = command_line(pid)
    if not place or COMMANDS.intersection(words):
        return None
    arguments: dict[str, Any] = {"-L": [], "-F": [], "-C": []} | dict.fromkeys(
        ("-D", "--api", "--metrics", "--only-tunnel", "--control", "--user", "--trace", "-R")
    )
    for flag, value in pairwise(words):
        if flag == "-C":
            arguments[flag].append(os.path.join(place, value))
        elif flag in ("-L", "-F"):
            arguments[flag].append(value)
    if not arguments["-C"] and not arguments["-L"]:
        return None
    try:
        return cli_config.settings(arguments | {"--only-tunnel": True})
    except ConfigError:
        return None


COMMANDS = frozenset({"status", "top", "health", "drops", "routes", "check", "lint", "explain", "doctor"})
"""Commands of processes that only look."""


def names(rows: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The devices of running clients."""
    return frozenset(str(row["device"]) for row in rows if row["device"])
