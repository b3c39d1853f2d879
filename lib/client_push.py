"""What a client sets of the settings that its hub tells it, from the first message to the removal.

Knows: from which hub settings are taken, when they are looked at again, what the log says of them.
Refuses to know: what is taken of them (push_accept), how a device is changed (client_upkeep), the message.

The reader of a session only notes what has come, and a greenlet of its own sets it: netlink takes time.
What was set stays while there is no session, and until a hub says something else. It goes with the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Protocol

from gevent.event import Event

from lib import netlink_networks, push_accept, push_settings
from lib.addresses import host_of, is_address, without_zone
from lib.client_around import Around, covers
from lib.client_names import Names, Wanted, objection
from lib.errors import HostError
from lib.log_events import Entry
from lib.log_setup import say
from lib.prefixes import Prefix
from lib.push_accept import Accepted, Local, Refusal
from lib.push_settings import Pushed
from lib.session_control import SessionControl
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.stream_name_servers import name_servers
from lib.stream_netns import inside
from lib.wire_control import Feature, Hello

LOOK_SECONDS = 2.0
"""How often is looked whether this host has come into a network that what was set lies over."""
LOOKS_AWAY = 2
"""After so many looks without a session names fail at once. A hub that starts anew is back before that."""
SHOWN = 4
"""Addresses or routes that a line of the log names."""


class Session(Protocol):
    """What is used of a session (client_session.ClientSession)."""

    node: NodeSettings
    peer: str
    control: SessionControl

    def greet(self) -> None:
        """Say HELLO again: the device is another one now."""


class Owner(Protocol):
    """What is used of the client."""

    settings: ClientSettings
    around: Around

    @property
    def netns(self) -> str:
        """The path of the device's network namespace; empty for the process's own."""

    @property
    def device_name(self) -> str:
        """The device's name in the kernel."""

    @property
    def device_settings(self) -> DeviceSettings:
        """What is to be on the device now."""

    @property
    def session(self) -> Session | None:
        """The session with the hub; None where there is none."""

    def tell_maps(self) -> None:
        """Warn where the hub's routes do not fit the prefix maps of this host."""


class Push:
    """The settings that one client has from its hub."""

    def __init__(self, client: Owner, follow: Callable[[DeviceSettings], list[str]]) -> None:
        """`follow` changes the device; it returns a line for each change, and raises HostError."""
        self._client, self._follow = client, follow
        self.taken = Accepted()
        """What is set now."""
        self._pushed: tuple[Session, Pushed] | None = None
        """What was told last, and in which session."""
        self._changed = Event()
        self.names = Names(client.settings.name)
        self._wanted, self._by = Wanted(), client.settings.names_by
        """Which names were to be found how, the last time. systemd-resolved lists these name servers with all
        others; but they are within the tunnel, so that a route of the tunnel may hold them."""
        self._why = ""
        """Why the hub's domain is not set, as it was said last."""
        self._looks_away = 0
        """Looks since the last one at which there was a session."""

    @property
    def lines(self) -> list[str]:
        """A line for each reason why something is not set that the hub has told."""
        return push_accept.summed_up(self.taken.refused)

    @property
    def mine(self) -> tuple[Prefix, ...] | None:
        """All prefixes that the hub of the session routes to this host; None where it has not told all."""
        if self._pushed is None or self._pushed[0] is not self._client.session or self._pushed[1].left_out:
            return None
        return self._pushed[1].mine

    def wants(self, session: Session) -> bool:
        """Whether settings are taken from the hub of this session."""
        return self._client.settings.accept is not None and session.node.transport.is_verified

    def asks(self, session: Session) -> bool:
        """Whether this session's hub is to tell them: of several hubs the one that new flows go by."""
        return self.wants(session) and self._client.session in (None, session)

    def met(self, session: Session, hello: Hello) -> None:
        """Say so where a hub would tell this client its settings, and nobody knows whose hub it is."""
        if self._client.settings.accept is None or not hello.features & Feature.SETTINGS:
            return
        if session.node.transport.is_verified:
            return
        reason = (
            "nothing that it tells this host is set, for nobody has verified it: "
            f"the node {session.node.name} wants pin (sha256:…), caFile or secure: true, over tls or wss"
        )
        self._say_refused(session.peer, reason)

    def told(self, session: Session, pushed: Pushed) -> None:
        """Note what the hub says; it is set soon."""
        if not self.wants(session):
            return
        last = self._pushed
        if last is None or last[0] is not session or last[1].serial <= pushed.serial:
            self._pushed = session, pushed
            self._changed.set()
        session.control.push(push_settings.numbered(pushed.serial))

    def again(self) -> None:
        """Look at what was told again, as the client's own settings are others now."""
        self._changed.set()

    def run(self) -> None:
        """Set what the hub tells, whenever that changes, or the networks of this host; never returns."""
        while True:
            if self._pushed is None:
                self._follow_names("", self._client.device_settings)
            self._changed.wait(LOOK_SECONDS if self._pushed is not None else None)
            self._changed.clear()
            self._looks_away = 0 if self._client.session is not None else self._looks_away + 1
            if self._pushed is not None:
                self._set(*self._pushed)
                self._client.tell_maps()

    def is_reached(self) -> bool:
        """Whether what is sent into the tunnel comes to a hub, or will in a moment."""
        return self._client.session is not None or self._looks_away < LOOKS_AWAY

    def merged(self, device: DeviceSettings) -> DeviceSettings:
        """The configured settings of a device, with what was taken from the hub."""
        addresses = tuple(ip_interface((one, 8 * len(one))) for one in self.taken.addresses)
        own = {prefix for prefix, _ in device.routes}
        routes = (ip_network(route) for route in self.taken.routes)
        return replace(
            device,
            addresses=(*device.addresses, *addresses),
            routes=(*device.routes, *((route, "") for route in routes if route not in own)),
            mtu=self.taken.mtu or device.mtu,
        )

    def _set(self, session: Session, pushed: Pushed) -> None:
        client, before = self._client, self.taken
        how = client.settings.accept
        try:
            taken = push_accept.accept(pushed, how, self._local(session)) if how is not None else Accepted()
        except HostError as error:  # without netlink: what is set stays
            self._say_refused(session.peer, str(error))
            return
        if taken == before:
            self._follow_names(session.peer, client.device_settings)
            return
        self.taken = taken
        device = self.merged(client.settings.device)
        had = client.device_settings
        if device != had:
            client.around.prepare(device)
            try:
                lines = self._follow(device)
            except HostError as error:
                lines = [str(error)]
            self._say_taken(session.peer, lines)
            if (device.mtu, device.addresses) != (had.mtu, had.addresses) and client.session is session:
                session.greet()
        self._follow_names(session.peer, device)
        self._say_refusals(session.peer, taken.refused, before.refused)

    def _follow_names(self, hub: str, device: DeviceSettings) -> None:
        """Let names be found as the hub says, or the client's own settings; without a hub, as these say."""
        wanted = self._wanted_names(hub, device)
        by = self._client.settings.names_by
        if (wanted, by) == (self._wanted, self._by):
            return
        self._wanted, self._by = wanted, by
        self._client.around.inside = frozenset(one for one in wanted.servers if covers(device, one))
        done, why = self.names.follow(self._client.device_name, wanted, by)
        if why:
            self._say_refused(hub, why)
        elif done:
            self._say_taken(hub, [done])

    def _wanted_names(self, hub: str, device: DeviceSettings) -> Wanted:
        """Which names are to be found by servers that are told here or configured."""
        own, domain = self._client.settings.dns, self.taken.domain
        versions = {address.version for address in device.addresses}
        dns = tuple(
            str(one)
            for one in map(ip_address, self.taken.dns)
            if one.version in versions and covers(device, str(one))
        )
        nodes = self._client.settings.nodes
        hubs = [host for node in nodes for host in (node.host, node.first.host)]
        why = objection(dns, domain, hubs) if domain else ""
        if domain and own:
            why = f"the domain {domain}: this client has name servers of its own (dns)"
        if self._client.netns and (domain or own):
            why = f"{'names of ' + domain if domain else 'dns'}: the device is in another network namespace"
            own = ()
        if why and why != self._why:
            self._say_refused(hub, f"not set: {why}")
        self._why = why
        if own or why or not domain:
            return Wanted(own)
        addresses = ((one, 8 * len(one)) for one in self.taken.addresses)
        return Wanted(dns, domain, (*addresses, *self.taken.routes), self.is_reached)

    def close(self, stays: bool) -> None:
        """Take back what would stay: of the device only where that stays."""
        self._wanted = Wanted()
        self.names.close(self._client.device_name, stays)

    def _local(self, session: Session) -> Local:
        """What there is around this host. Raises HostError without netlink."""
        hubs = {*self._client.around.addresses, host_of(session.peer)}
        hubs |= {node.first.host for node in self._client.settings.nodes}
        return Local(
            tuple(_packed(hubs)),
            tuple(_packed(one for one in name_servers() if one not in self._wanted.servers)),
            self._networks(),
        )

    def _networks(self) -> tuple[push_accept.LocalNetwork, ...]:
        """The networks of the other devices where the tunnel's is. Raises HostError."""
        with inside(self._client.netns):
            return netlink_networks.connected(self._client.device_name)

    def _say_taken(self, hub: str, lines: list[str]) -> None:
        settings = self._client.settings
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        what = ", ".join(lines[:SHOWN]) + more
        if what:
            say(
                Entry.SETTINGS_TAKEN,
                "service %s: %s: %s",
                *(settings.name, _who(hub), what),
                fold=self._client.settings.name,
                service=settings.name,
                host=settings.host,
                hub=hub,
                what=what,
            )

    def _say_refusals(self, hub: str, refused: Iterable[Refusal], before: Iterable[Refusal]) -> None:
        known = set(push_accept.summed_up(before))
        for line in push_accept.summed_up(refused):
            if line not in known:
                self._say_refused(hub, f"not set: {line}")

    def _say_refused(self, hub: str, reason: str) -> None:
        settings = self._client.settings
        say(
            Entry.SETTINGS_REFUSED,
            "service %s: %s: %s",
            *(settings.name, _who(hub), reason),
            fold=self._client.settings.name,
            service=settings.name,
            host=settings.host,
            hub=hub,
            reason=reason,
        )


def _who(hub: str) -> str:
    """Who has said what is set, for the log."""
    return f"hub {hub}" if hub else "its own settings"


def _packed(hosts: Iterable[str]) -> list[bytes]:
    """The addresses among these hosts, packed, in a stable order."""
    bare = {without_zone(host) for host in hosts}
    return sorted(ip_address(host).packed for host in bare if is_address(host))
