"""Way of a client around its own tunnel: to its hubs, to a proxy before them, and to name servers.

Knows: which addresses a client's routes cover, how long each host route is wanted, and what the log says.
Refuses to know: how a way is found and set (netlink_host_routes), which hub is dialled when
(client_reconnect).
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import gevent

from lib import stream_dial, stream_resolve
from lib.client_killswitch import Killswitch
from lib.errors import HostError, ProtocolError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.netlink_host_routes import HostRoutes, Way
from lib.netlink_own_routes import PROTOCOL
from lib.settings import ClientSettings, DeviceSettings, NodeSettings, ProxySettings
from lib.settings_dial import PLAIN_DIAL, DialSettings
from lib.stream_deadline import to_its_end
from lib.stream_name_servers import name_servers
from lib.stream_resolve import Address

AHEAD_SECONDS = 3.0
"""Seconds for which the start waits for name servers."""
NAME_SERVERS = "name servers"
"""The purpose of host routes to these (HostRoutes.way)."""

_RP_FILTER = "/proc/sys/net/ipv4/conf/{}/rp_filter"
_REACHED = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})
_STRICT = 1  # Documentation/networking/ip-sysctl.rst, rp_filter


class Owner(Protocol):
    """What is used of the client."""

    settings: ClientSettings

    @property
    def device_name(self) -> str:
        """The name of the tunnel's device in the kernel."""

    @property
    def device_settings(self) -> DeviceSettings:
        """What is to be on the tunnel's device now."""

    @property
    def session(self) -> object:
        """The session with the hub; None where there is none."""


class Around:
    """The ways around one client's tunnel. Without any route that covers a hub it does nothing."""

    def __init__(self, client: Owner, routes: HostRoutes, killswitch: Killswitch | None = None) -> None:
        """Nothing is set before the first dialling."""
        self._client, self._routes, self._killswitch = client, routes, killswitch or Killswitch()
        self._wanted: dict[str, set[str]] = {}
        """Node -> the addresses that its last dialling has tried."""
        self._dialling: list[Dialling] = []
        """Those that are under way."""
        self._asking = 0
        """How many look-ups are under way that need the host routes to name servers."""
        self._used: dict[str, DialSettings] = {}
        """Node -> how its last dialling was made, by that of several interfaces which was tried last."""
        self._told: dict[str, Way] = {}
        self._is_closed = False
        self.inside: frozenset[str] = frozenset()
        """Name servers within the tunnel, for a domain of its hub: there is no way around to them."""

    @property
    def _name(self) -> str:
        return self._client.settings.name

    @property
    def _device(self) -> str:
        """The name of the tunnel's device; empty where it is in another network namespace."""
        return "" if self._client.settings.device.netns else self._client.device_name

    def begin(self) -> None:
        """Remove what killed processes have left behind. Raises HostError without netlink."""
        self._routes.join(self._name, self._device)

    @property
    def host_routes(self) -> int:
        """The protocol of the host routes (rtm_protocol); 0 while there are none."""
        return PROTOCOL if self._routes.any else 0

    def put_back(self) -> list[str]:
        """Set again the host routes that were lost; returns them as text. Raises HostError."""
        return self._routes.put_back()

    def close(self) -> None:
        """Remove the host routes; none is set from now on, also by what dials still."""
        self._is_closed = True
        with suppress(HostError):  # without netlink; the next tunrouter with clients removes them
            to_its_end(self._routes.leave, self._name)

    @contextmanager
    def dialling(self, node: NodeSettings) -> Iterator[Dialling]:
        """Dial a node in the block; afterwards only the host routes to addresses tried in it are left."""
        dialling, served = Dialling(self, node.first, self.used(node)), False
        self._dialling.append(dialling)
        try:
            yield dialling
            served = True
        except (OSError, ProtocolError) as error:  # whoever refuses has been reached
            served = not isinstance(error, OSError) or error.errno in _REACHED
            raise
        finally:
            self._dialling.remove(dialling)
            self._routes.tried(self._name, dialling.tried, served)
            nodes = {one.name for one in self._client.settings.nodes}
            self._wanted[node.name] = dialling.tried
            self._wanted = {name: tried for name, tried in self._wanted.items() if name in nodes}
            self._used[node.name] = dialling.how
            self._used = {name: how for name, how in self._used.items() if name in nodes}
            self._keep(self._addresses())
            self._told = {address: way for address, way in self._told.items() if address in self._addresses()}

    @contextmanager
    def dialling_again(self, node: NodeSettings) -> Iterator[Again]:
        """Dial, in the block, an address that there is a connection to, by the same way: no route changes."""
        yield Again(self, self.used(node))

    def used(self, node: NodeSettings) -> DialSettings:
        """How a node, or the proxy before it, was dialled the last time: by which of several interfaces."""
        how = node.first.dial
        used = self._used.get(node.name, how)
        return used if used in how.in_turn() else next(how.in_turn())

    @property
    def addresses(self) -> set[str]:
        """The addresses of hubs, or of proxies before them, that were dialled last."""
        return self._addresses()

    def _addresses(self) -> set[str]:
        return set().union(*self._wanted.values(), *(one.tried for one in self._dialling))

    def prepare(self, device: DeviceSettings) -> None:
        """Set the host routes that a reload makes necessary, before it sets the routes of `device`.

        A session whose hub was not covered is bound to no device, unless its node names one.
        """
        dials = {node.name: self.used(node) for node in self._client.settings.nodes}
        for name, addresses in self._wanted.items():
            how = dials.get(name, PLAIN_DIAL)
            for address in addresses:
                if how.netns:
                    continue
                if covers(device, address) and not covers(self._client.device_settings, address):
                    with suppress(OSError, HostError):  # the next dialling says why
                        to_its_end(self._routes.way, address, self._name, True, "", how.device, how.mark)

    def device_for(self, address: str, how: DialSettings = PLAIN_DIAL) -> str | None:
        """The device that a socket to an IP address is to be bound to; None where any is right.

        Sets the host route that the device's routes make necessary; `how` may name the device, and a
        mark that the kernel's rules look at. Raises OSError where there is no way.
        """
        plain, _, zone = address.partition("%")
        if zone:
            return zone
        if how.netns:  # there are no routes of ours there
            return how.device or None
        way = self._way(plain, how=how)
        if way is None:
            return how.device or None
        if self._told.get(plain) != way:
            self._told[plain] = way
            self._say(plain, way)
        return way.device

    def device_now(self, address: str) -> str:
        """The device of the way around the tunnel to an address; empty where there is none."""
        way = self._told.get(address)
        return way.device if way is not None else ""

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        """As stream_resolve.look_up. Without a session the name servers are asked around the tunnel as well.

        While there is a session they may be within the tunnel; without one nobody there can reply. Then a
        killswitch may keep them from being asked: that is an OSError.
        """
        if self._client.session or is_address(host):
            return stream_resolve.look_up(host, port, seconds)
        with self._killswitch.asking(self._name, host, port):
            return self._ask(host, port, seconds)

    def _ask(self, host: str, port: int, seconds: float) -> list[Address]:
        servers = [one for one in name_servers() if one not in self.inside]
        self._asking += 1
        try:
            for server in servers:
                with suppress(OSError):
                    to_its_end(self._way, server, NAME_SERVERS)
            return stream_resolve.look_up(host, port, seconds)
        finally:
            self._asking -= 1
            if servers and not self._asking:
                self._keep((), NAME_SERVERS)

    def let_out(self, first: NodeSettings | ProxySettings, address: str) -> None:
        """Let connections to this address out of a killswitch. Raises OSError."""
        if not first.dial.netns:
            self._killswitch.let_out(self._name, first.host, first.port, address)

    def let_datagrams_out(self, node: NodeSettings, address: str, port: int) -> None:
        """Let datagrams of the session with a node out of a killswitch. Raises OSError."""
        first = node.first
        if not first.dial.netns:
            self._killswitch.let_datagrams_out(self._name, first.host, first.port, address, port)

    def learn(self, first: NodeSettings | ProxySettings, found: Iterable[Address]) -> None:
        """A name has these addresses now: a killswitch lets connections out to them alone. Raises OSError."""
        if not first.dial.netns:
            addresses = [str(address[4][0]) for address in found]
            self._killswitch.learn(self._name, first.host, first.port, addresses)

    def _keep(self, addresses: Collection[str], purpose: str = "") -> None:
        """Give up all host routes but those to `addresses`, also where the caller is killed meanwhile."""
        with suppress(HostError):  # without netlink; the next call removes them
            to_its_end(self._routes.keep, self._name, addresses, purpose)

    def _way(self, address: str, purpose: str = "", how: DialSettings = PLAIN_DIAL) -> Way | None:
        if self._is_closed:
            raise OSError(errno.ECANCELED, f"service {self._name} has ended")
        covered = covers(self._client.device_settings, address)
        try:
            self._routes.join(self._name, self._device)
            return self._routes.way(address, self._name, covered, purpose, how.device, how.mark)
        except HostError as error:
            raise OSError(errno.EHOSTUNREACH, str(error)) from None

    def _say(self, address: str, way: Way) -> None:
        name = self._name
        if not way.refused:
            text = "service %s: the way to %s is around the tunnel: %s"
            say(Entry.AROUND, text, name, address, way.route, service=name, address=address, route=way.route)
        elif _drops_replies(way.device, address):
            text = "service %s: no route %s: %s; with rp_filter=1 on %s the kernel drops the hub's replies"
            route, reason = way.route, way.refused
            say(
                Entry.NOT_AROUND, text, name, route, reason, way.device, fold=name, habit=OUTAGE,
                service=name, address=address, route=route, reason=reason,
            )  # fmt: skip


class Dialling:
    """One dialling of a node: remembers the addresses that it tried."""

    def __init__(self, around: Around, first: NodeSettings | ProxySettings, how: DialSettings) -> None:
        self._around, self._first, self.how = around, first, how
        self.tried: set[str] = set()

    def use(self, how: DialSettings) -> None:
        """Another one of several interfaces is tried."""
        self.how = how

    def device_for(self, address: str) -> str | None:
        """Around.device_for. A killswitch lets connections out to the address."""
        self.tried.add(address)
        self._around.let_out(self._first, address)
        return self._around.device_for(address, self.how)

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        """Around.look_up. A killswitch lets connections out to what is found, and nowhere else."""
        found = self._around.look_up(host, port, seconds)
        self._around.learn(self._first, found)
        return found


class Again:
    """Another connection by the ways that there are."""

    def __init__(self, around: Around, how: DialSettings) -> None:
        self._around, self._how = around, how

    def use(self, how: DialSettings) -> None:
        """Several interfaces: the one that was used is the only one here."""

    def device_for(self, address: str) -> str | None:
        """The device of the way that Around.device_for has found last."""
        plain, _, zone = address.partition("%")
        return zone or self._around.device_now(plain) or self._how.device or None

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        """Around.look_up."""
        return self._around.look_up(host, port, seconds)


def is_address(host: str) -> bool:
    """Whether a host is an IP address, which nobody needs to look up."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def look_ahead(clients: Iterable[ClientSettings], killswitch: Killswitch) -> None:
    """Look up the hubs of clients with routes, before those are set: they may cover the name servers.

    A killswitch lets the names be looked up whose addresses nobody knows. Takes AHEAD_SECONDS at most, for
    all together.
    """
    if shutil.which("getent") is None:  # a look-up in a thread may outlast its deadline (stream_resolve)
        return
    names = {
        (client.name, node.first.host, node.first.port)
        for client in clients
        if client.device.routes or client.killswitch
        for node in client.nodes
        if not node.first.dial.addresses and not is_address(node.first.host)
    }
    gevent.joinall([gevent.spawn(_look_ahead, killswitch, *name) for name in names])


def _look_ahead(killswitch: Killswitch, service: str, host: str, port: int) -> None:
    with suppress(OSError), killswitch.asking(service, host, port):
        addresses = stream_dial.look_ahead(host, port, AHEAD_SECONDS)
        if addresses:
            killswitch.learn(service, host, port, addresses)


def covers(device: DeviceSettings, address: str) -> bool:
    """Whether the routes or networks of a device's settings cover an IP address here.

    Those of a device in another network namespace cover nothing that is dialled from this one.
    """
    if device.netns:
        return False
    target = ip_address(address)
    networks = [prefix for prefix, _ in device.routes] + [own.network for own in device.addresses]
    return any(target in network for network in networks)


def _drops_replies(device: str, address: str) -> bool:
    """Whether the kernel checks the reverse path strictly on a device; only IPv4 has this check."""
    if ip_address(address).version == 6:
        return False
    try:
        return max(int(Path(_RP_FILTER.format(name)).read_text()) for name in ("all", device)) == _STRICT
    except (OSError, ValueError):
        return False
