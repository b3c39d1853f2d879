"""Client of a hub: a TUN device, and a session, or several, made again whenever one ends.

Knows: the life of a client, from its device to its last session, and what a reload changes.
Refuses to know: how the device is read and written (client_device), how many sessions there are and which is
used (client_paths), which hub is dialled and when again (client_reconnect), what one does (client_session).

One greenlet reads the device for as long as the process lives (without a session it drops what it reads),
one dials and keeps a session, and each session has one that reads from the hub.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lib.capture_taps import Taps
from lib.client_around import Around
from lib.client_device import ClientDevice
from lib.client_downlink import Downlink
from lib.client_exit import Exits
from lib.client_hop import LiveHops
from lib.client_host import HostNames
from lib.client_paths import Path, Paths
from lib.client_push import Push
from lib.client_session import ClientSession
from lib.client_transit import Transit
from lib.client_tries import Away
from lib.client_uplink import Batch
from lib.counter_rates import Rates
from lib.counters import Traffic
from lib.framing import ReceiveBuffer
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.netlink_host_routes import HostRoutes
from lib.packet import Buffer
from lib.prefixes import Prefix
from lib.service_supervisor import Task, keep
from lib.session_lane_sender import LaneSender
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.settings_map import misrouted, texts
from lib.wire_control import MAX_PREFIXES


class Client:
    """One host of the tunnel: a service with handler tun."""

    def __init__(
        self,
        settings: ClientSettings,
        buffer: ReceiveBuffer,
        device_gone: Callable[[str], None],
        taps: Taps | None = None,
        host_routes: HostRoutes | None = None,
        batch: Batch | None = None,
        exits: Exits | None = None,
        names: HostNames | None = None,
    ) -> None:
        """Make and configure the device; raises HostError where that fails.

        `buffer`, `batch` and `names` are shared with the other clients. device_gone is called with its name
        if somebody removes the device while it is in use.
        """
        self._names = names or HostNames()
        self.settings = settings = self._names.choose(settings, random.random())
        self.taps = taps or Taps()
        self.traffic = Traffic()
        self.rates = Rates(time.monotonic())
        self.buffer, self.batch = buffer, batch or Batch()
        self.instance = os.urandom(16)
        self._device = ClientDevice(self, device_gone)
        self._exits = exits or Exits()
        self.around = Around(self, host_routes or HostRoutes(), self._exits.killswitch)
        try:
            self._exits.opened(settings, self.device_name, settings.device)
        except BaseException:
            self._device.close()
            raise
        self._device.upkeep.around, self._device.upkeep.renamed = self.around, self._follow_exits
        self.push = Push(self, self._follow)
        self._paths = Paths(self)
        self._hops = self._hops_of(settings)
        self._tasks: list[Task] = []
        self._told_of_maps: list[str] = []

    @property
    def device_name(self) -> str:
        """The device's name in the kernel, also where the configuration has none."""
        return self._device.name

    @property
    def netns(self) -> str:
        """The path of the device's network namespace; empty for the process's own."""
        return self._device.netns

    @property
    def device_settings(self) -> DeviceSettings:
        """What is to be on the device: what is configured, and what was taken from the hub."""
        return self._device.upkeep.wanted

    def differences(self) -> list[str]:
        """Where the device differs from the configuration at this moment, a line each."""
        return self._device.upkeep.differences()

    def _follow(self, wanted: DeviceSettings) -> list[str]:
        """Change the device to what a hub tells; returns a line for each change. Raises HostError."""
        lines = self._device.follow(wanted)
        self._follow_exits()
        return lines

    def _follow_exits(self) -> None:
        self._exits.follow(self.settings, self.device_name, self.device_settings)

    @property
    def offloads(self) -> int:
        """The offload bits that the device can do (packet_offload)."""
        return self._device.offloads

    @property
    def down(self) -> Downlink:
        """What writes frames from the hub to the device."""
        return self._device.down

    @property
    def transit(self) -> Transit:
        """What is known of packets that the kernel drops after they were written to the device."""
        return self._device.transit

    @property
    def session(self) -> ClientSession | None:
        """The session with the hub, of several the one that new flows take; None where there is none."""
        return self._paths.session

    @property
    def paths(self) -> list[Path]:
        """All sessions, the one that new flows take first, with what goes by each."""
        return self._paths.sessions

    @property
    def node(self) -> NodeSettings:
        """The hub that there is a session with, or the first one that is dialled for one."""
        return self.session.node if self.session is not None else self.settings.nodes[0]

    @property
    def away(self) -> Away:
        """What is known while there is no session: the hub, the last reason, the next try."""
        return self._paths.first.away

    @property
    def aways(self) -> list[Away]:
        """The same of each session that is missing, where there are several."""
        return [one.away for one in self._paths.all if one.session is None]

    @property
    def sender(self) -> LaneSender | Paths | None:
        """What is sent by: the session, or several; None where there is none, or none yet."""
        return self._paths.sender

    def parts(self, frames: memoryview) -> list[tuple[ClientSession | None, Sequence[Buffer]]]:
        """Whole frames with the session that each goes by, for those who look on."""
        return self._paths.parts([frames])

    @property
    def sessions_made(self) -> int:
        """How many sessions there have been."""
        return sum(one.sessions_made for one in self._paths.all)

    @property
    def failures(self) -> Counter[str]:
        """Node -> how often a session with it failed, or soon ended."""
        return sum((one.failures for one in self._paths.all), Counter())

    def start(self) -> None:
        """Begin to read the device and to dial. Raises HostError without netlink."""
        self.around.begin()
        name, host, device = self.settings.name, self.settings.host, self.device_name
        addresses = ", ".join(map(str, self.settings.device.addresses))
        say(
            Entry.DEVICE_READY,
            "service %s: host %s, device %s, %s",
            *(name, host, device, addresses or "no address"),
            service=name,
            host=host,
            device=device,
            addresses=addresses,
        )
        self._tasks = [
            keep(f"service {name}: the device is read", self._device.read),
            keep(f"service {name}: a hub is dialled", self._keep_connected),
            keep(f"service {name}: the device is kept as configured", self._device.upkeep.run),
            keep(f"service {name}: what the hub tells is set", self.push.run),
        ]

    def _keep_connected(self) -> None:
        if self._hops is not None:
            self._hops.wait()
        self._paths.run()

    def _hops_of(self, settings: ClientSettings) -> LiveHops | None:
        """The sources of a client's nodes, which are read from now on; None where it has none."""
        if not settings.hops:
            return None
        hops = LiveHops(settings, self._use_nodes)
        hops.start()
        return hops

    def ask_hops(self) -> None:
        """Ask the plugins of its hops, before each dial, whom to dial. Raises OSError without a reply."""
        if self._hops is not None and self._hops.ask():
            self.settings = replace(self.settings, nodes=self._hops.nodes)

    def _use_nodes(self) -> None:
        """The sources have other nodes: dial among these from now on; a session with one of them stays."""
        if self._hops is not None:
            self.settings = replace(self.settings, nodes=self._hops.nodes)
            self._paths.choose_among(self.settings)
            why = "its hub is not among the nodes of its hop any more"
            if not self._paths.keep_nodes(why):
                self._paths.connect_anew(why)

    @property
    def removable(self) -> int:
        """The device's number, where it can be removed between halt() and close(); 0 where not."""
        return self._device.removable

    def halt(self, wait: bool = True) -> None:
        """End the session; nobody reads the device any more. Without `wait`, that has only been asked for."""
        if self._hops is not None:
            self._hops.stop()
        for task in self._tasks:
            task.kill(block=wait)
        self._paths.stop(wait)

    def close(self) -> None:
        """Remove the device and the host routes around it, after halt(). May be called again."""
        self.push.close(self._device.stays)
        self._device.close()
        self.around.close()

    def fault(self) -> str:
        """Which greenlet has ended that must not end, in words; empty if all is well."""
        what = (
            *("the device is not read any more", "nobody dials any more", "nobody looks after the device"),
            "what the hub tells is not set any more",
        )
        ended = (text for text, greenlet in zip(what, self._tasks, strict=False) if greenlet.dead)
        return next(ended, what[1] if self._paths.fault() else "")

    def apply(self, settings: ClientSettings) -> list[str] | None:
        """Take the settings of a reload; returns a line for each change, None where a new client is needed.

        The device stays and gets other addresses and routes where they differ. The session stays where its
        handshake would be the same. Raises HostError.
        """
        settings = self._names.choose(settings, random.random())
        old, new = self.settings, self._with_nodes(settings)
        like_old = replace(new.device, addresses=old.device.addresses, routes=old.device.routes)
        if like_old != old.device or new.superpackets != old.superpackets:
            return None
        self._device.translate(new.maps)
        device = self.push.merged(new.device)
        self.around.prepare(device)
        lines = self._device.upkeep.apply(device)
        self.settings = new
        self._exits.opened(new, self.device_name, device)
        self.push.again()
        self.tell_maps()
        self._paths.choose_among(new)
        self._paths.follow(new)
        is_other = new.device.addresses[:1] != old.device.addresses[:1]  # it is in the handshake
        is_other = is_other or (new.accept is None) != (old.accept is None)  # it is in HELLO
        is_other = is_other or new.host != old.host
        why = "the configuration has changed"
        if not self._paths.keep_nodes(why) or is_other:
            lines.append("connects anew")
            self._paths.connect_anew(why, is_other)
        return lines

    def _with_nodes(self, settings: ClientSettings) -> ClientSettings:
        """The settings of a reload, with the nodes that sources give; these are read again."""
        if settings.hops != self.settings.hops:
            if self._hops is not None:
                self._hops.stop()
            self._hops = self._hops_of(settings)
            if self._hops is not None:
                self._hops.wait()
        elif self._hops is not None:
            self._hops.refresh()
        return replace(settings, nodes=self._hops.nodes) if self._hops is not None else settings

    def tell_gateway(self, session: ClientSession, prefixes: tuple[Prefix, ...] | None) -> None:
        """Warn where the hub routes prefixes to this host and its kernel would not forward them.

        None: what it routes there is not known yet, and nothing is known to be forwarded. Of several sessions
        the one that new flows take counts.
        """
        if self.session not in (None, session):
            return
        if prefixes is None:
            self.transit.gateways = ()
            return
        if prefixes == self.transit.gateways:
            return  # a hub may say it again and again
        self.transit.gateways = prefixes
        self.tell_maps()
        name, host = self.settings.name, self.settings.host
        for line in self.transit.not_forwarding():
            say(
                Entry.NOT_FORWARDING, "service %s: %s", name, line, fold=name, habit=OUTAGE,
                service=name, host=host, reason=line,
            )  # fmt: skip

    @property
    def shown_as(self) -> dict[str, str]:
        """Prefixes that others see -> the networks behind this host, as text."""
        return texts(self.settings.maps)

    @property
    def exit_tables(self) -> dict[str, str]:
        """The tables of nftables that are set for it, by purpose: `nat` and `killswitch`; "" for none."""
        return self._exits.tables_of(self.settings.name)

    def map_advice(self) -> list[str]:
        """A line for each prefix map that the hub's routes to this host do not fit."""
        maps = self.settings.maps
        if not maps or self.session is None:
            return []
        mine, some = self.push.mine, self.transit.gateways
        if mine is not None:
            return list(misrouted(maps, mine, is_all=True))
        return list(misrouted(maps, some, is_all=0 < len(some) < MAX_PREFIXES))

    def tell_maps(self) -> None:
        """Warn of prefix maps that the hub's routes do not fit, of each once while that lasts."""
        lines, name = self.map_advice(), self.settings.name
        for line in lines:
            if line not in self._told_of_maps:
                say(
                    Entry.MAP_NOT_ROUTED, "service %s: map: %s", name, line, fold=name, habit=OUTAGE,
                    service=name, host=self.settings.host, reason=line,
                )  # fmt: skip
        self._told_of_maps = lines

    def tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time."""
        for reason, detail in self.traffic.take_news():
            what = f" {detail}" if detail else ""
            say(
                Entry.DROPS,
                "service %s: packets are dropped: %s%s: %s",
                *(self.settings.name, reason.value, what, reason.doc),
                fold=f"{self.settings.name} {reason.value}",
                service=self.settings.name,
                host=self.settings.host,
                peer=self.session.peer if self.session else "",
                reason=reason.value,
                detail=detail,
            )

    def use_offloads(self) -> None:
        """Set the device's offloads to what every hub takes to which packets are sent."""
        self._device.use_offloads(*self._paths.takes)

    def met(self, session: ClientSession) -> None:
        """A session's hub has said HELLO."""
        self._paths.met(session)

    def leave(self, session: ClientSession, hold: bool) -> None:
        """The session's hub asks for another session in place of it (DRAIN): move, to another node first."""
        self._paths.leave(session, hold)

    def unreached(self, session: ClientSession, addresses: tuple[bytes, ...]) -> None:
        """A session's hub has a way to all addresses now but these (packed): packets to them go by others."""
        self._paths.unreached(session, addresses)
