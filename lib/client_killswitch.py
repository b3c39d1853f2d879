"""Killswitch of this host: everything beside the tunnels of some clients is shut, whatever becomes of us.

Knows: whose tunnels and hubs the table lets out, when the table is replaced, and when it goes: with a clean
end, never with a crash. What an ended run has left is taken over, so that there is no gap.
Refuses to know: the rules (netfilter_killswitch), how they are loaded (netfilter_table), when a hub is
dialled (client_around).

    start        everything is shut, before a device is made; the hubs that the ended run knew are let out
    a look-up    only while no address of a hub is known, its name servers are let out for some seconds
    a session    names are looked up through the tunnel; what is found replaces what was known
    SIGTERM      the table goes, after the devices
    kill -9      the table stays: the next start takes it over, or `tunrouter unlock` removes it
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gevent.lock import RLock

from lib import netfilter_table, netlink_owners, service_command, stream_dial
from lib.addresses import is_address
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.netfilter_killswitch import TABLE, Way, known, label, read, rules
from lib.settings import ClientSettings
from lib.stream_name_servers import name_servers

ASK_SECONDS = 5
"""Seconds after which the kernel shuts the way to name servers by itself."""
_HELD = "\0tunrouter/killswitch"


class Kept(NamedTuple):
    """A killswitch that is set."""

    tunnels: list[str]
    ways: list[Way]


@dataclass(frozen=True, slots=True)
class _Member:
    """A client that wants a killswitch."""

    device: str = ""
    """Empty until its device is there."""
    ways: dict[tuple[str, str], tuple[Way, ...]] = field(default_factory=dict)
    """(name of a hub, protocol) -> the ways there."""


class Killswitch:
    """The killswitch of one process, for all its clients that want one."""

    def __init__(self) -> None:
        """Nothing is shut before the first client wants it."""
        self._members: dict[str, _Member] = {}
        self._name: socket.socket | None = None
        self._kept = Kept([], [])
        """What an ended run has left."""
        self._stays = False
        """Whether the table stays where this start fails."""
        self._asking = 0
        """How many look-ups are under way for which name servers are let out."""
        self._loaded = ""
        self._lock = RLock()

    @property
    def any(self) -> bool:
        """Whether a client has one."""
        return bool(self._members)

    def table_of(self, service: str) -> str:
        """The name of the table, which all clients share; empty where this one wants no killswitch."""
        return TABLE.name if service in self._members else ""

    def admit(self, clients: Iterable[ClientSettings]) -> None:
        """Shut everything for those clients that want it, and let their hubs out, before these are dialled.

        May be called again with other settings of the same. Raises HostError; then nothing is different.
        """
        wanted = [client for client in clients if client.killswitch]
        if not wanted:
            return
        with self._lock:
            self._take()
            members = {client.name: self._member(client) for client in wanted}
            self._change({**self._members, **members})

    def _take(self) -> None:
        """Hold the killswitch of this network namespace, and read what is kept there. Raises HostError."""
        if self._name is not None:
            return
        name = netlink_owners.hold(_HELD)
        if name is None:
            raise HostError(
                "killswitch: another tunrouter has one in this network namespace; write the clients that "
                "want one into one configuration"
            )
        try:
            kept = look()
        except BaseException:
            name.close()
            raise
        self._name, self._stays = name, kept is not None
        self._kept = kept or self._kept
        if kept is not None:
            text = "a killswitch that an ended run has left is taken over: %s"
            say(Entry.KILLSWITCH_TAKEN, text, described(kept), what=described(kept))

    def _member(self, client: ClientSettings) -> _Member:
        """A client with the ways to its nodes that are known without a look-up."""
        had = self._members.get(client.name, _Member())
        ways: dict[tuple[str, str], tuple[Way, ...]] = {}
        names = set()
        for first in (node.first for node in client.nodes if not node.first.dial.netns):
            name = label(first.host, first.port)
            names.add(name)
            addresses = list(first.dial.addresses)
            if not addresses and is_address(first.host.partition("%")[0]):
                addresses = [first.host]
            if not addresses and (name, "tcp") not in had.ways:
                addresses = known(self._kept.ways, name, first.port)
                stream_dial.remember(first.host, first.port, addresses)
            if addresses:
                ways[name, "tcp"] = tuple(_ways(name, addresses, "tcp", first.port))
        if client.hops:  # their sources may have more nodes than the settings
            names |= {name for name, _ in had.ways}
        return replace(had, ways={key: had.ways[key] for key in had.ways if key[0] in names} | ways)

    def set_device(self, service: str, device: str) -> None:
        """Let out what goes into the device of a client, in place of the one it had. Raises HostError."""
        with self._lock:
            member = self._members.get(service)
            if member is not None and member.device != device:
                self._change({**self._members, service: replace(member, device=device)})

    def learn(self, service: str, host: str, port: int, addresses: Iterable[str]) -> None:
        """A hub's name has these addresses now, and no others. Raises OSError."""
        self._know(service, label(host, port), "tcp", port, list(addresses))

    def let_out(self, service: str, host: str, port: int, address: str) -> None:
        """Let out connections to an address of a hub, beside those that are known. Raises OSError."""
        member, name = self._members.get(service), label(host, port)
        if member is not None:
            had = [way.address for way in member.ways.get((name, "tcp"), ())]
            self._know(service, name, "tcp", port, [*had, address])

    def let_datagrams_out(self, service: str, host: str, port: int, address: str, to_port: int) -> None:
        """Let out datagrams of the session with a hub, where it takes them now. Raises OSError."""
        self._know(service, label(host, port), "udp", to_port, [address])

    def _know(self, service: str, name: str, protocol: str, port: int, addresses: Sequence[str]) -> None:
        ways = tuple(dict.fromkeys(_ways(name, addresses, protocol, port)))
        with self._lock:
            member = self._members.get(service)
            if member is None or member.ways.get((name, protocol)) == ways:
                return
            changed = replace(member, ways={**member.ways, (name, protocol): ways})
            try:
                self._change({**self._members, service: changed})
            except HostError as error:
                raise OSError(errno.EPERM, f"killswitch: {error}") from None

    @contextmanager
    def asking(self, service: str, host: str, port: int) -> Iterator[None]:
        """Look up the name of a hub in the block. Raises OSError where that is shut.

        Once an address is known, no name server is asked beside the tunnel: stream_dial has that address.
        """
        member = self._members.get(service)
        if member is None:
            yield
            return
        if member.ways.get((label(host, port), "tcp")):
            raise OSError(errno.EPERM, "killswitch: no name is looked up beside the tunnel")
        self._open(1)
        try:
            yield
        finally:
            self._open(-1)

    def _open(self, more: int) -> None:
        with self._lock:
            self._asking += more
            with suppress(HostError):  # the kernel shuts it by itself
                self._load(self._members)

    def drop(self, gone: Collection[str]) -> None:
        """These clients are gone, or want none; with the last one the table goes. Raises HostError."""
        with self._lock:
            if not gone or self._members.keys().isdisjoint(gone):
                return
            left = {name: member for name, member in self._members.items() if name not in gone}
            if left:
                self._change(left)
            else:
                self._remove()

    def settle(self, clients: Iterable[ClientSettings]) -> None:
        """These clients run. From now on only a clean end takes the table away. Raises HostError."""
        self._stays = True
        wanted = {client.name for client in clients if client.killswitch}
        self.drop([name for name in self._members if name not in wanted])

    def close(self, clean: bool) -> None:
        """This process ends. Raises HostError where the table has to go and cannot."""
        with self._lock:
            if self._name is None:
                return
            if clean or not self._stays:
                self._remove()
            else:
                text = "killswitch: nothing leaves this host: tunrouter unlock, or start tunrouter again"
                say(Entry.KILLSWITCH_STAYS, text)
            self._let_go()

    def put_back(self) -> list[str]:
        """Load the table again where somebody has removed it; returns it then. Raises HostError."""
        with self._lock:
            if not self._members or TABLE in netfilter_table.tables():
                return []
            self._loaded = ""
            self._load(self._members)
            return [TABLE.name]

    def _change(self, members: dict[str, _Member]) -> None:
        """Have the table for these members. Raises HostError; then they are as before."""
        self._load(members)
        is_first, self._members = not self._members, members
        if is_first:
            text = "killswitch: nothing leaves this host beside the tunnel of %s"
            names = ", ".join(members)
            say(Entry.KILLSWITCH_SET, text, names, service=names)

    def _load(self, members: dict[str, _Member]) -> None:
        ways = [way for member in members.values() for some in member.ways.values() for way in some]
        servers = name_servers() if self._asking > 0 else []
        try:
            text = rules([one.device for one in members.values() if one.device], ways, servers, ASK_SECONDS)
        except ValueError as wrong:
            raise HostError(f"killswitch: {wrong}") from None
        if text != self._loaded or servers:
            self._loaded = ""  # whoever kills us meanwhile leaves open which one it is
            netfilter_table.load(TABLE, text)
            self._loaded = text

    def _remove(self) -> None:
        netfilter_table.delete(TABLE)
        self._members, self._loaded = {}, ""
        say(Entry.KILLSWITCH_GONE, "killswitch: it is gone: everything leaves this host as before")
        self._let_go()

    def _let_go(self) -> None:
        if self._name is not None:
            self._name.close()
            self._name = None


def look() -> Kept | None:
    """The killswitch that is set in this network namespace; None where there is none. Raises HostError."""
    if TABLE not in netfilter_table.tables():
        return None
    return Kept(*read(netfilter_table.listed(TABLE)))


def is_held() -> bool:
    """Whether a process has the killswitch of this network namespace."""
    return netlink_owners.is_held(_HELD)


def unlock() -> Kept | None:
    """Remove the killswitch that an ended run has left; returns it, None where there is none.

    Raises HostError where a process has it, or there is no nft.
    """
    if service_command.find(netfilter_table.PROGRAM) is None:
        raise HostError("nft(8) is not here, which sets and removes it; install the package nftables")
    name = netlink_owners.hold(_HELD)
    if name is None:
        raise HostError(
            "a running tunrouter has the killswitch: end it, and it takes that away; or take killswitch out "
            "of its configuration, and reload"
        )
    with name:
        kept = look()
        if kept is not None:
            netfilter_table.delete(TABLE)
    return kept


def described(kept: Kept) -> str:
    """What a killswitch lets out, in words."""
    tunnels = ", ".join(kept.tunnels) or "no tunnel"
    ways = sorted({f"{way.protocol} {way.address} port {way.port}" for way in kept.ways})
    return f"it lets out {tunnels}, and {', '.join(ways) or 'no hub'}"


def _ways(name: str, addresses: Iterable[Any], protocol: str, port: int) -> list[Way]:
    return [Way(name, str(address).partition("%")[0], protocol, port) for address in addresses]
