"""Names of the hub's domain on a client: its name server is asked for that domain alone.

Knows: by which way programs here look up names, and that each way leaves all other names as they were; what
of a hub's words about names is believed; resolvectl(1).
Refuses to know: from which hub settings are taken at all (client_push), who answers (dns_answers).

    by         set                                                  goes
    resolved   the device's name server, for `~tun.example` alone   with the device, else at the next start
    stub       a name server of ours, first in resolv.conf          at the end, else at the next start
    hosts      the names themselves, in the hosts file              at the end, else at the next start

Other names are never asked of the hub.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from gevent import socket

from lib import client_names_files, netlink_left, netlink_watch, service_command, service_environment
from lib.client_names_files import HOSTS, RESOLV_CONF
from lib.errors import HostError
from lib.prefixes import Prefix
from lib.settings_names import BY_AUTO, BY_HOSTS, BY_OFF, BY_RESOLVED, BY_STUB

if TYPE_CHECKING:
    from lib.client_hosts import HostsFile
    from lib.client_stub import Stub

PROGRAM = "resolvectl"
SECONDS = 5.0
"""How long the program may take."""
NSSWITCH = "/etc/nsswitch.conf"
SOCKET = "/run/systemd/resolve/io.systemd.Resolve"
"""Where systemd-resolved listens, since systemd 246."""
_OF_RESOLVED = ("127.0.0.53", "127.0.0.54")
_ELSE = "; let a resolver of yours forward that domain there"


class Wanted(NamedTuple):
    """Names that are to be found by servers within a tunnel."""

    servers: tuple[str, ...] = ()
    domain: str = ""
    """Empty for all names: servers of the client's own configuration (`dns`)."""
    prefixes: tuple[Prefix, ...] = ()
    """What lies behind the tunnel: the names of such addresses."""
    is_reached: Callable[[], bool] | None = None
    """Whether there is a tunnel to the servers now; None where that is not known."""

    def __str__(self) -> str:
        return f"names{f' of {self.domain}' if self.domain else ''} are asked of {', '.join(self.servers)}"


def objection(dns: Sequence[str], domain: str, hubs: Iterable[str]) -> str:
    """Why a domain is not set; empty where it can be.

    `dns` are those of its name servers that the tunnel leads to, `hubs` the hosts that this client dials.
    """
    if "." not in domain:
        return f"the domain {domain}, of one word, could hide all names below it that others have"
    inside = next((hub for hub in hubs if f".{hub.lower().rstrip('.')}".endswith(f".{domain}")), "")
    if inside:
        return (
            f"the domain {domain}: the hub's own name {inside} is in it, and must be found without the tunnel"
        )
    return "" if dns else f"the domain {domain}: none of its name servers is reached through the tunnel"


class Names:
    """What is set for one client."""

    def __init__(self, owner: str) -> None:
        """`owner` is the name of the client's service."""
        self._owner = owner
        self.by = ""
        """The way by which names are found; empty while nothing is set."""

    def follow(self, device: str, wanted: Wanted, by: str) -> tuple[str, str]:
        """Let names be found as wanted; returns (what was done, why it could not be).

        `by` is the way (settings_names). Without servers, what was set is taken back.
        """
        ways = _ways(by) if wanted.servers else []
        ways.sort(key=lambda way: way != self.by)  # what works stays
        if self.by and self.by not in ways:
            self._take_back(device)
        if not ways:
            return "", ""
        reasons = []
        for way in ways:
            self.by = way  # at once: close() takes back what is half set when this is broken off
            why = _WAYS[way][0](self._owner, device, wanted)
            if not why:
                return f"{wanted}{_how(way)}", ""
            self._take_back(device)
            reasons.append(why)
        return "", f"{_not(wanted)}: {'; '.join(reasons)}{_ELSE * bool(wanted.domain)}"

    def close(self, device: str, stays: bool) -> None:
        """Take back what was set; what goes with a device only where that stays."""
        if self.by and (stays or self.by != BY_RESOLVED):
            self._take_back(device)

    def _take_back(self, device: str) -> None:
        if self.by:
            _WAYS[self.by][1](self._owner, device)
            self.by = ""  # not before: where this is broken off, close() does it again


def mend_device(device: str) -> None:
    """Take back what a killed process has told systemd-resolved of a device that has outlived it."""
    _unset_resolved("", device)


def mend() -> None:
    """Take away what killed processes have left in files. What cannot be, stays."""
    from lib import client_hosts, client_stub

    for mend_one in (client_stub.mend, client_hosts.mend):
        with suppress(OSError):
            mend_one()


def _not(wanted: Wanted) -> str:
    return str(wanted).replace(" are asked ", " are not asked ", 1)


def _how(way: str) -> str:
    return {
        BY_RESOLVED: ", by systemd-resolved",
        BY_STUB: f", by way of {_stub().address}, which is in {RESOLV_CONF} now" if way == BY_STUB else "",
        BY_HOSTS: f", and kept in {HOSTS}",
    }.get(way, "")


def _ways(by: str) -> list[str]:
    """The ways to try, the best one first."""
    if by == BY_AUTO:
        return [BY_RESOLVED, BY_STUB] if _resolved_is_asked() else [BY_STUB]
    return [] if by == BY_OFF else [by]


# --- systemd-resolved


def _resolved_is_asked() -> bool:
    """Whether programs here ask systemd-resolved for names, and it is the one of this network namespace."""
    if service_command.find(PROGRAM) is None or not _is_of_this_network():
        return False
    from lib import dns_resolv_conf

    with suppress(OSError):
        text = dns_resolv_conf.plain(client_names_files.read(RESOLV_CONF) or "")
        if any(one in _OF_RESOLVED for one in dns_resolv_conf.servers(text, "").addresses):
            return True
    with suppress(OSError):
        lines = (client_names_files.read(NSSWITCH) or "").splitlines()
        return any(words[0] == "hosts:" and "resolve" in words for words in map(str.split, lines) if words)
    return False


def _is_of_this_network() -> bool:
    """Whether the systemd-resolved that runs is in this network namespace; True where that is not known."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(SOCKET)
        found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        process = struct.unpack("3i", found)[0]
        return os.stat(f"/proc/{process}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
    return True


def _set_resolved(_: str, device: str, wanted: Wanted) -> str:
    _note(device, True)
    steps: list[tuple[str, ...]] = [("dns", device, *wanted.servers)]
    if wanted.domain:
        steps += [("domain", device, f"~{wanted.domain}"), ("default-route", device, "no")]
    return next((why for words in steps if (why := _run(*words))), "")


def _unset_resolved(_: str, device: str) -> None:
    if not _run("revert", device):
        _note(device, False)


def _note(device: str, has_names: bool) -> None:
    """Note it on a device that outlives this process, for the next start."""
    with suppress(HostError):  # without the right to, as where the device is another user's
        netlink_left.note_names(netlink_watch.index_of(device), has_names)


def _run(*words: str) -> str:
    """Run the program; returns what went wrong, or ""."""
    outcome = service_command.run((PROGRAM, *words), service_environment.whole(os.environ), SECONDS)
    if outcome.is_missing:
        return f"there is no systemd-resolved here ({PROGRAM})"
    return f"{PROGRAM} {words[0]}: {outcome.said or outcome.failure}" if outcome.failure else ""


# --- the server on loopback


@cache
def _stub() -> Stub:
    """The server of this process."""
    from lib.client_stub import Stub  # with a library for DNS, which only such clients need

    return Stub()


def _set_stub(owner: str, _: str, wanted: Wanted) -> str:
    from lib.dns_forward import Zone

    return _stub().set(owner, Zone(*wanted))


def _unset_stub(owner: str, _: str) -> None:
    _stub().remove(owner)


# --- the hosts file


@cache
def _hosts() -> HostsFile:
    """The hosts file, for all clients of this process."""
    from lib.client_hosts import HostsFile

    return HostsFile()


def _set_hosts(owner: str, _: str, wanted: Wanted) -> str:
    from lib.dns_forward import Zone

    return _hosts().set(owner, Zone(*wanted))


def _unset_hosts(owner: str, _: str) -> None:
    _hosts().remove(owner)


_WAYS: dict[str, tuple[Callable[[str, str, Wanted], str], Callable[[str, str], None]]] = {
    BY_RESOLVED: (_set_resolved, _unset_resolved),
    BY_STUB: (_set_stub, _unset_stub),
    BY_HOSTS: (_set_hosts, _unset_hosts),
}
"""Way -> (sets what is wanted and returns why not, takes it back, also what is half set)."""
