"""TUN device of a client: packets that it sends are read for the hub, packets for it are written.

Knows: the loop that reads the device, what is counted where the device refuses a packet, its offloads.
Refuses to know: which hub there is a session with (client_reconnect), how frames are made from packets and
checked (client_uplink, client_downlink).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol

import gevent

from lib import (
    capture_watch,
    client_names,
    client_uplink,
    framing,
    netfilter_conntrack,
    netfilter_map,
    netlink,
    netlink_adopt,
    netlink_input,
    netlink_watch,
    packet_offload,
    stream_netns,
    tun,
)
from lib.capture_taps import Taps
from lib.client_downlink import Downlink
from lib.client_session import ClientSession
from lib.client_transit import Transit
from lib.client_upkeep import Upkeep
from lib.client_uplink import Batch, Uplink
from lib.counters import Traffic
from lib.errors import HostError
from lib.forward_drop_reasons import Reason
from lib.ids import NO_NAMESPACE
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.netfilter_keep import KeptTable
from lib.netfilter_names import Table
from lib.packet import Buffer
from lib.packet_text import head, head_of_frame
from lib.prefixes import Prefix, packed
from lib.service_slice import TIME_SLICE
from lib.settings import ClientSettings, DeviceSettings
from lib.settings_map import PrefixMap, to_inside
from lib.stream_netns import inside, made_here
from lib.tun import TunDevice


class Sender(Protocol):
    """What a device uses of the sender of a session, or of several (client_paths)."""

    def send(self, buffers: Sequence[Buffer], /) -> None:
        """Send whole frames; never waits."""

    def wait_while_fast(self) -> None:
        """Wait while what was sent waits for a fast peer."""


class Owner(Protocol):
    """What a device uses of its client."""

    settings: ClientSettings
    traffic: Traffic
    taps: Taps
    batch: Batch

    @property
    def session(self) -> ClientSession | None:
        """The session that packets are sent on; None where there is none."""

    @property
    def sender(self) -> Sender | None:
        """What is sent by: that session, or several; None where packets are dropped."""

    def parts(self, frames: memoryview) -> list[tuple[ClientSession | None, Sequence[Buffer]]]:
        """Whole frames with the session that each goes by."""

    def tell_news(self) -> None:
        """Log the reasons for drops that occurred for the first time."""


class ClientDevice:
    """The open device of one client."""

    def __init__(self, client: Owner, gone: Callable[[str], None]) -> None:
        """Open and configure the device; raises HostError where that fails.

        `gone` is called with its name if somebody removes the device while it is in use.
        """
        self._client, self._gone = client, gone
        self._maps: tuple[PrefixMap, ...] = ()
        """What the kernel translates."""
        settings = client.settings
        try:
            self._netns = stream_netns.Held(settings.device.netns)
        except OSError as error:
            raise HostError(f"service {settings.name}: {error.strerror or error}") from None
        self._found: netlink_adopt.Found | None = None
        try:
            with inside(self._netns.path):
                self._found = netlink_adopt.find(settings.device.name) if settings.device.name else None
                if self._found is not None and self._found.has_names:
                    client_names.mend_device(settings.device.name)
                self._device = device = self._open(settings.device.name)
            capabilities = self._made()
        except BaseException:
            self._netns.close()
            raise
        self.offloads = capabilities if settings.superpackets else 0
        """The offload bits that the device can do (packet_offload)."""
        if settings.superpackets and device.refusal:
            text = "service %s: device %s: the kernel refuses superpackets (%s): packets go one by one"
            say(
                Entry.NO_SUPERPACKETS, text, settings.name, device.name, device.refusal, fold="superpackets",
                habit=OUTAGE, service=settings.name, device=device.name, reason=device.refusal,
            )  # fmt: skip
        self._file = io.FileIO(device.fd, "r+b", closefd=False)
        self.up = Uplink(self._file, device.has_header, client.traffic, self._write_packet, lost=self._lost)
        self.down = Downlink(
            self._file.write, self._refused, client.traffic, device.has_header, settings.device.mtu,
            merges=bool(self.offloads), clock=time.monotonic,
        )  # fmt: skip
        self.transit = Transit(self._kernel_drops, client.traffic, time.monotonic, self._networks)
        self._readable = gevent.get_hub().loop.io(device.fd, 1)

    @property
    def name(self) -> str:
        """The device's name in the kernel, also where the configuration has none."""
        return self._device.name

    def _open(self, name: str) -> TunDevice:
        found = self._found
        if found is None:
            return made_here(lambda: tun.open_tun(name))
        netlink_adopt.prepare(found, name)
        try:
            return made_here(lambda: tun.open_tun(name, found.state))
        except HostError:
            netlink_adopt.restore(self._client.settings.device, found, name)
            raise

    def _made(self) -> int:
        """Set the new device up; returns the offload bits that it can do. Raises HostError, without it."""
        settings = self._client.settings
        try:
            with inside(self._netns.path):
                capabilities = self._configure()
                self.upkeep = Upkeep(settings.name, self._device, settings.device, self._netns.path)
            self._table = KeptTable(settings.name, Table("map", self._device.name))
            self.translate(settings.maps)
        except BaseException:  # also where the end of the process breaks a reload off
            self._leave(settings.device)
            raise
        return capabilities

    @property
    def netns(self) -> str:
        """The path of its network namespace while it is there; empty for the process's own."""
        return self._netns.path

    def _configure(self) -> int:
        """Set what is configured; returns the offload bits that the device can do. Raises HostError."""
        device, settings = self._device, self._client.settings.device
        if self._found is not None:
            return netlink_adopt.configure(settings, self._found, device.name, device.capabilities)
        netlink.configure(settings, device.name, device.capabilities)
        return device.capabilities

    @property
    def removable(self) -> int:
        """The device's number, where it can be removed before close(); 0 where it stays or has gone."""
        if self.netns:
            return 0  # those that go together are in one namespace
        name = self._device.kernel_name()
        try:
            here = bool(name) and netlink_watch.index_of(name) == self.upkeep.index
        except HostError:  # it is in another network namespace
            return 0
        return self.upkeep.index if here and not self._device.persists else 0

    @property
    def stays(self) -> bool:
        """Whether the device was there before, and stays when it is closed."""
        return self._found is not None

    def close(self) -> None:
        """Remove the device. One that was there before stays, as it was found.

        May be called again, as after a call that was broken off.
        """
        self._readable.close()
        with suppress(HostError):  # the next start deletes it
            self._table.close()
        changed, self._maps = self._maps, ()
        self._forget(changed)
        self._leave(self.upkeep.wanted)
        self._netns.close()

    def translate(self, maps: Sequence[PrefixMap]) -> None:
        """Let the kernel translate between these prefixes, and no others. Raises HostError.

        Connections that there are follow at once, also those that an ended run has translated otherwise.
        """
        name = self._client.settings.name
        try:
            self._table.load(netfilter_map.rules(self.upkeep.index, maps))
        except HostError as error:
            raise HostError(f"service {name}: map: {error}") from None
        changed, self._maps = {*self._maps} ^ {*maps}, tuple(maps)
        self._forget(changed)

    def _forget(self, changed: Collection[PrefixMap]) -> None:
        """Let the kernel forget the connections that changed maps concern; what fails is logged."""
        if not changed:
            return
        routes = [packed(network) for network, _ in self.upkeep.wanted.routes]
        name = self._client.settings.name
        try:
            netfilter_conntrack.forget(changed, [*self._networks(), *routes])
        except HostError as error:
            text = "service %s: map: connections that there are keep the addresses that they have: %s"
            say(Entry.MAP_KEPT, text, name, error, service=name, reason=error)

    def _leave(self, settings: DeviceSettings) -> None:
        if self._device.fd >= 0 and not self._device.exists:
            self._found = None  # somebody has removed it
        with inside(self.netns):
            made_here(self._device.close)
            if self._found is not None:
                netlink_adopt.restore(settings, self._found, self._device.name)
                self._found = None

    def follow(self, settings: DeviceSettings) -> list[str]:
        """Change the device to what a hub tells; returns a line for each change. Raises HostError."""
        lines = self.upkeep.follow(settings)
        self.down.mtu = settings.mtu
        return lines

    def use_offloads(self, bits: int, limit: int) -> None:
        """Set the device's offloads to what a hub takes: `bits`, and contents of up to `limit` bytes."""
        self.up.offloads, self.up.limit = bits, limit
        try:
            self._device.set_offload(bits)
        except HostError:  # removed this moment, before the reader has seen it
            self._gone(self.name)

    # ------------------------------------------------------------ device -> hub

    def read(self) -> None:
        """Read packets and send them to the hub, until the device is gone."""
        client, up, hub = self._client, self.up, gevent.get_hub()
        buf, view = client.batch.data, client.batch.view  # of all clients: nothing waits from here to send()
        while True:
            hub.wait(self._readable)
            try:
                end = client_uplink.read_batch(up, buf, view)
            except OSError as error:
                if tun.is_gone(error.errno):
                    self._gone(self.name)
                    return
                client.traffic.drop(Reason.DEVICE_REFUSED)
                continue
            TIME_SLICE.passed(end)
            sender = client.sender
            if client.taps.on and end:
                for session, parts in client.parts(view[:end]):
                    reason = None if sender is not None else Reason.NO_SESSION
                    for part in parts:
                        self._tell_sent(memoryview(part), reason, session)
            if sender is None:
                packets = packet_offload.count_packets(view[:end])
                first = head_of_frame(view) if end else b""
                client.traffic.drop(Reason.NO_SESSION, packets, "", first, time.monotonic())
            elif end:
                sender.send([view[:end]])
            if client.traffic.news:
                client.tell_news()
            if sender is not None:
                sender.wait_while_fast()

    def _tell_sent(
        self,
        frames: memoryview,
        reason: Reason | None,
        session: ClientSession | None,
        answered: bool = False,
    ) -> None:
        """Show the taps what came from the device: forwarded to the hub, or dropped for `reason`."""
        client = self._client
        namespace, peer = (
            (session.node.namespace, session.peer) if session is not None else (NO_NAMESPACE, "")
        )
        fate = capture_watch.leaving(namespace, client.settings.host, peer, reason, answered)
        channel = session.channel if session is not None and reason is None else None
        capture_watch.left(client.taps, fate, frames, channel.would_take if channel is not None else None)

    def _lost(self, reason: Reason, content: bytes, answered: bool) -> None:
        """Show the taps a packet from the device that client_uplink dropped."""
        if self._client.taps.on:
            session = self._client.session
            self._tell_sent(memoryview(framing.encode(content)), reason, session, answered)

    # ------------------------------------------------------------ hub -> device

    def _networks(self) -> list[Prefix]:
        return [packed(address.network) for address in self.upkeep.wanted.addresses]

    def _kernel_drops(self, source: bytes, destination: bytes) -> Reason | None:
        destination = to_inside(self._client.settings.maps, destination)
        with inside(self.netns):
            return netlink_input.dropped(self.name, self.upkeep.index, source, destination)

    def _refused(self, error: OSError, packet: bytes) -> None:
        if tun.is_gone(error.errno):
            raise error
        self._client.traffic.drop(Reason.DEVICE_REFUSED, 1, "", packet, time.monotonic())
        self.down.dropped = Reason.DEVICE_REFUSED

    def _write_packet(self, packet: bytes) -> None:
        header = packet_offload.NO_OFFLOAD if self._device.has_header else b""
        try:
            self._file.write(header + packet)
        except OSError as error:
            self._refused(error, head(packet, 0, len(packet)))
