"""Client of a hub: a TUN device, and a session that is made again whenever it ends.

Knows: the life of a client, from its device to its last reconnect, and moves from one hub to another.
Refuses to know: how a hub is reached (client_dial), what a session does (client_session), how frames are read
from and written to the device (client_uplink, client_downlink).

One greenlet reads the device for as long as the process lives (without a session it drops what it reads),
one dials and keeps a session, and each session has one that reads from the hub.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from zlib import crc32

import gevent

from lib import capture_watch, client_dial, client_uplink, framing, netlink, packet_offload, tun
from lib.addresses import join_host_port
from lib.capture_taps import Taps
from lib.client_backoff import Backoff
from lib.client_dial import Refused
from lib.client_downlink import Downlink
from lib.client_selector import Selector
from lib.client_session import ClientSession
from lib.client_uplink import Uplink
from lib.counter_rates import Rates
from lib.counters import Traffic
from lib.errors import HostError, ProtocolError
from lib.forward_drop_reasons import Reason
from lib.framing import ReceiveBuffer
from lib.ids import NO_NAMESPACE
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.packet_text import head, head_of_frame
from lib.service_supervisor import Task, keep
from lib.session_sender import SessionSender
from lib.settings import ClientSettings

RETRY = (0.25, 15.0)
"""First and longest delay, in seconds, after a hub could not be reached or a session ended."""
RETRY_REFUSED = (2.0, 300.0)
"""The same after a hub refused us: a configuration has to be changed first, so there is no hurry."""
STEADY_SECONDS = 10.0
"""A session that lived this long was a success: the next delay is the first one again."""


class Client:
    """One host of the tunnel: a service with handler tun."""

    def __init__(
        self,
        settings: ClientSettings,
        buffer: ReceiveBuffer,
        device_gone: Callable[[str], None],
        taps: Taps | None = None,
    ) -> None:
        """Make and configure the device; raises HostError where that fails.

        device_gone is called with its name if somebody removes the device while it is in use.
        """
        self.settings = settings
        self.taps = taps or Taps()
        self.traffic = Traffic()
        self.sessions_made = 0
        self.failures: Counter[str] = Counter()
        """Node -> how often a session with it failed, or ended within STEADY_SECONDS."""
        self.rates = Rates(time.monotonic())
        self.sender: SessionSender | None = None
        self.session: ClientSession | None = None
        self._selector = _selector(settings)
        self._chosen = 0
        """The index of the node that there is a session with, or that is being dialled."""
        self._reader = gevent.Greenlet()
        """Reads from the hub: ClientSession.run of the present session."""
        self._beside: list[Task] = []
        self._moving: list[ClientSession] = []
        self.buffer = buffer
        self._device = device = tun.open_tun(settings.device.name)
        try:
            netlink.configure(settings.device, device.name, device.capabilities)
        except HostError:
            device.close()
            raise
        self.offloads = device.capabilities if settings.superpackets else 0
        self.instance = os.urandom(16)
        self._file = io.FileIO(device.fd, "r+b", closefd=False)
        self.up = Uplink(self._file, device.has_header, self.traffic, self._write_packet, lost=self._lost)
        self.down = Downlink(
            self._file.write, self._refused, self.traffic, device.has_header, settings.device.mtu,
            clock=time.monotonic,
        )  # fmt: skip
        self._readable = gevent.get_hub().loop.io(device.fd, 1)
        self._tasks: list[Task] = []
        self._device_gone = device_gone

    @property
    def device_name(self) -> str:
        """The device's name in the kernel, also where the configuration has none."""
        return self._device.name

    def start(self) -> None:
        """Begin to read the device and to dial."""
        name, host, device = self.settings.name, self.settings.host, self._device.name
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
            keep(f"service {name}: the device is read", self._read_device),
            keep(f"service {name}: a hub is dialled", self._keep_connected),
        ]

    def stop(self) -> None:
        """End the session and remove the device."""
        for task in (*self._tasks, *self._beside):
            task.kill()
        self._reader.kill()
        self._readable.close()
        self._device.close()

    def fault(self) -> str:
        """Which greenlet has ended that must not end, in words; empty if all is well."""
        what = ("the device is not read any more", "nobody dials any more")
        ended = (text for text, greenlet in zip(what, self._tasks, strict=False) if greenlet.dead)
        return next(ended, "")

    def apply(self, settings: ClientSettings) -> list[str] | None:
        """Take the settings of a reload; returns a line for each change, None where a new client is needed.

        The device stays and gets other addresses and routes where they differ. The session stays where its
        handshake would be the same. Raises HostError.
        """
        old, new = self.settings, settings
        like_old = replace(new.device, addresses=old.device.addresses, routes=old.device.routes)
        if like_old != old.device or new.superpackets != old.superpackets:
            return None
        lines = []
        if new.device != old.device:
            lines = netlink.reconfigure(old.device, new.device, self._device.name)
        self.settings = new
        source_moved = new.device.addresses[:1] != old.device.addresses[:1]  # it is in the handshake
        node = old.nodes[self._chosen]
        if new.host != old.host or node not in new.nodes or source_moved:
            lines.append("connects anew")
            if self.sender is not None:
                self.sender.close("the configuration has changed")
        return lines

    # ------------------------------------------------------------ device -> hub

    def _read_device(self) -> None:
        buf = bytearray(client_uplink.BUFFER_SIZE)
        view = memoryview(buf)
        up, hub = self.up, gevent.get_hub()
        while True:
            hub.wait(self._readable)
            try:
                end = client_uplink.read_batch(up, buf, view)
            except OSError as error:
                if tun.is_gone(error.errno):
                    self._device_gone(self._device.name)
                    return
                self.traffic.drop(Reason.DEVICE_REFUSED)
                continue
            if self.traffic.news:
                self.tell_news()
            sender = self.sender
            if self.taps.on and end:
                self._tell_sent(view[:end], None if sender is not None else Reason.NO_SESSION)
            if sender is None:
                packets = packet_offload.count_packets(view[:end])
                first = head_of_frame(view) if end else b""
                self.traffic.drop(Reason.NO_SESSION, packets, "", first, time.monotonic())
            elif end:
                sender.send([view[:end]])
                sender.wait_drained()

    def _tell_sent(self, frames: memoryview, reason: Reason | None, answered: bool = False) -> None:
        """Show the taps what came from the device: forwarded to the hub, or dropped for `reason`."""
        session = self.session
        namespace, peer = (
            (session.node.namespace, session.peer) if session is not None else (NO_NAMESPACE, "")
        )
        fate = capture_watch.leaving(namespace, self.settings.host, peer, reason, answered)
        capture_watch.sent(self.taps, fate, frames)

    def _lost(self, reason: Reason, content: bytes, answered: bool) -> None:
        """Show the taps a packet from the device that client_uplink dropped."""
        if self.taps.on:
            self._tell_sent(memoryview(framing.encode(content)), reason, answered)

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

    # ------------------------------------------------------------ hub -> device

    def _refused(self, error: OSError, packet: bytes) -> None:
        if tun.is_gone(error.errno):
            raise error
        self.traffic.drop(Reason.DEVICE_REFUSED, 1, "", packet, time.monotonic())
        self.down.dropped = Reason.DEVICE_REFUSED

    def _write_packet(self, packet: bytes) -> None:
        header = packet_offload.NO_OFFLOAD if self._device.has_header else b""
        try:
            self._file.write(header + packet)
        except OSError as error:
            self._refused(error, head(packet, 0, len(packet)))

    # ------------------------------------------------------------ the session

    def _keep_connected(self) -> None:
        """Choose a node, have a session with it until that ends, wait, and begin again; never returns."""
        settings = self.settings
        lost, refused = Backoff(*RETRY), Backoff(*RETRY_REFUSED)
        tried: set[tuple[str, str]] = set()
        """The keys under which failures were logged since the last session (log_dedup)."""
        while True:
            if settings.nodes != self.settings.nodes or _choice(settings) != _choice(self.settings):
                self._selector = _selector(self.settings)
                self._settle(tried)
            settings = self.settings
            self._chosen = chosen = self._selector.choose(time.monotonic(), random.random())
            started = time.monotonic()
            backoff, why, kind = lost, "", "ended"
            try:
                why = self._follow(self._open(chosen))
            except Refused as error:
                backoff, why, kind = refused, str(error), str(error)
            except ProtocolError as error:
                why, kind = str(error), error.refusal.value
            except OSError as error:
                why, kind = error.strerror or str(error), f"{type(error).__name__} {error.errno}"
            ended, chosen = time.monotonic(), self._chosen  # another node, where the session has moved
            if ended - started > STEADY_SECONDS:
                lost.reset()
                refused.reset()
                self._selector.succeeded(chosen)
                self._settle(tried)
            else:
                self._selector.failed(chosen, ended)
            node = settings.nodes[min(chosen, len(settings.nodes) - 1)]
            if ended - started <= STEADY_SECONDS:
                self.failures[node.name] += 1
            tried.add(self._say_again(settings.name, join_host_port(node.host, node.port), why, kind))
            gevent.sleep(backoff.next(random.random()))

    @staticmethod
    def _say_again(name: str, hub: str, why: str, kind: str) -> tuple[str, str]:
        """Log that there is no session; returns the key that log_dedup counts by, without the hub's words."""
        fold, text, of = f"{name} {kind}", "service %s: hub %s: %s; trying again", (name, hub, why)
        say(Entry.RECONNECTING, text, *of, fold=fold, by=hub, habit=OUTAGE, service=name, hub=hub, reason=why)
        return fold, hub

    def _settle(self, tried: set[tuple[str, str]]) -> None:
        """Let the next failure be logged in full again (log_dedup)."""
        for fold, hub in tried:
            settle(Entry.RECONNECTING, fold, hub)
        tried.clear()

    def _open(self, chosen: int) -> ClientSession:
        """Dial a node and be admitted. Raises OSError, ProtocolError, Refused."""
        node = self.settings.nodes[chosen]
        return ClientSession(self, node, *client_dial.let_in(self.settings, node, self._device.name))

    def _follow(self, session: ClientSession) -> str:
        """Use a session, and each that takes its place; returns why the last one ended."""
        self._take(session)
        try:
            while True:
                reader = self._reader
                why: str = reader.get()
                if reader is self._reader:
                    return why
        finally:
            self.session = self.sender = None
            self._reader.kill()
            self._leave_alone()

    def _take(self, session: ClientSession) -> None:
        """Send on a session from now on; the one before is still read until it ends."""
        name, host = self.settings.name, self.settings.host
        text = "service %s: connected to %s as %s"
        say(Entry.CONNECTED, text, name, session.peer, host, service=name, host=host, hub=session.peer)
        self.session = session
        self.sessions_made += 1
        session.begin()
        self.sender = session.sender
        self._reader = gevent.spawn(session.run)
        self._leave_alone()
        name = f"service {self.settings.name}"
        self._beside = [keep(f"{name}: the session is looked after", self._beat, session)]
        if self._selector.has_home:
            task = Task(f"{name}: a better hub is tried", self._go_home, session, may_end=True)
            self._beside.append(task.start())

    def _leave_alone(self) -> None:
        """Look no more after the session there was; perhaps it is one of these tasks that says so."""
        for task in self._beside:
            task.kill(block=False)
        self._beside = []

    def _beat(self, session: ClientSession) -> None:
        """Sample counters and check the keepalive of a session at each tick."""
        while True:
            gevent.sleep(session.control.liveness.tick)
            now = time.monotonic()
            self.rates.sample(self.traffic, now)
            session.beat(now)

    def _go_home(self, session: ClientSession) -> None:
        """Move back to a preferred node (strategies fifo and hash), once that can be reached again."""
        while self._selector.has_home:
            gevent.sleep(self._selector.fail_timeout * (1 + random.random() / 4))
            better = self._selector.better(self._chosen, time.monotonic())
            if better and self._move(session, better):
                return

    def leave(self, session: ClientSession) -> None:
        """The hub is about to end (DRAIN): move to another node first, where there is one."""
        if session is self.session and session not in self._moving:
            self._moving.append(session)
            gevent.spawn(self._leave, session)

    def _leave(self, session: ClientSession) -> None:
        try:
            name = self.settings.name
            text = "service %s: %s is about to end"
            say(Entry.HUB_DRAINS, text, name, session.peer, fold=name, service=name, hub=session.peer)
            if not self._move(session, self._selector.others(self._chosen, time.monotonic())):
                session.decline()
        finally:
            self._moving.remove(session)

    def _move(self, session: ClientSession, nodes: Sequence[int]) -> bool:
        """Get a session with one of these nodes, then give up this one; False where no node admits us."""
        for chosen in nodes:
            try:
                new = self._open(chosen)
            except (OSError, ProtocolError) as error:
                self._selector.failed(chosen, time.monotonic())
                name = self.settings.name
                text = "service %s: not moved: %s"
                say(Entry.NOT_MOVED, text, name, error, fold=name, service=name, reason=error)
                continue
            if session is not self.session:  # it has ended meanwhile, and another one is being made
                new.close()
                return True
            self._chosen = chosen
            self._take(new)
            session.give_up(f"moved to {new.peer}")
            return True
        return False

    def use_offloads(self, session: ClientSession, bits: int, limit: int) -> None:
        """Set the device's offloads to what the hub takes: `bits`, and contents of up to `limit` bytes."""
        if session is self.session or self.session is None:
            self.up.offloads, self.up.limit = bits, limit
            try:
                self._device.set_offload(bits)
            except HostError:  # removed this moment, before the reader has seen it
                self._device_gone(self._device.name)


def _choice(settings: ClientSettings) -> tuple[str, int, float]:
    """The settings that a Selector is made of."""
    return settings.strategy, settings.max_fails, settings.fail_timeout


def _selector(settings: ClientSettings) -> Selector:
    count, name = len(settings.nodes), settings.host.encode("utf-8", "surrogateescape")
    first = crc32(name) % count if settings.strategy == "hash" else 0
    return Selector(count, *_choice(settings), first=first)
