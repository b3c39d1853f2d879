"""The client: a TUN device, and a session with a hub that is made again whenever it ends.

Knows: the life of a client, from its device to its last reconnect.
Refuses to know: how frames are read from and written to the device (uplink, downlink).

Two greenlets: one reads the device for as long as the process lives (while there is no hub it
drops what it reads), the other keeps the session and reads the hub.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import gevent

from lib import __version__, control, downlink, framing, handshake, ids, netlink, offload, tun, uplink
from lib.backoff import Backoff
from lib.downlink import Downlink
from lib.drops import Reason
from lib.endpoint import dial
from lib.errors import HostError, ProtocolError
from lib.framing import ReceiveBuffer
from lib.layered import AnyStream
from lib.logs import log
from lib.relay import Request, Response, Status
from lib.selector import Selector
from lib.session import Link
from lib.settings import ClientSettings, NodeSettings
from lib.stats import Traffic
from lib.uplink import Uplink

RETRY = (0.25, 15.0)
"""First and longest delay, seconds, after a hub could not be reached or went away."""
RETRY_REFUSED = (2.0, 300.0)
"""The same after a hub said no: somebody has to change something."""
STEADY_SECONDS = 10.0
"""A session that lived this long was a success: the next delay is the first one again."""
QUEUE_BYTES = 1 << 20


class Refused(ProtocolError):
    """The hub answered, with a status that is not OK."""


class Client:
    """One host of the tunnel."""

    def __init__(
        self,
        settings: ClientSettings,
        buffer: ReceiveBuffer,
        device_gone: Callable[[str], None],
    ) -> None:
        """Make and configure the device; raises HostError where that fails.

        device_gone is called with its name if somebody removes the device while it is in use.
        """
        self.settings = settings
        self.traffic = Traffic()
        self.link: Link | None = None
        self._node: NodeSettings | None = None
        """The hub there is a session with, or one is being made."""
        self._buffer = buffer
        self._device = device = tun.open_tun(settings.device.name)
        try:
            netlink.configure(settings.device, device.name, device.capabilities)
        except HostError:
            device.close()
            raise
        self._offloads = device.capabilities if settings.superpackets else 0
        hello = control.Hello(os.urandom(16), self._offloads, settings.device.mtu, f"tunrouter {__version__}")
        self._hello = framing.encode(control.encode_hello(hello))
        self._file = io.FileIO(device.fd, "r+b", closefd=False)
        self._up = Uplink(self._file, device.has_header, self.traffic, self._write_packet)
        self._down = Downlink(
            self._file.write, self._refused, self.traffic, device.has_header, settings.device.mtu
        )
        self._readable = gevent.get_hub().loop.io(device.fd, 1)
        self._greenlets: list[gevent.Greenlet] = []
        self._device_gone = device_gone

    def start(self) -> None:
        """Begin to read the device and to dial."""
        log.info(
            "service %s: host %s, device %s, %s", self.settings.name, self.settings.host,
            self._device.name, ", ".join(map(str, self.settings.device.addresses)) or "no address",
        )  # fmt: skip
        self._greenlets = [gevent.spawn(self._read_device), gevent.spawn(self._keep_connected)]

    def stop(self) -> None:
        """End the session and remove the device."""
        gevent.killall(self._greenlets)
        self._readable.close()
        self._device.close()

    def apply(self, settings: ClientSettings) -> list[str] | None:
        """Go on by other settings; returns a line for each thing that is different.

        The device stays, with other addresses and routes where they differ; the session stays where the
        hub would not see a difference. None where a new client has to be made. Raises HostError.
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
        if new.host != old.host or self._node not in new.nodes or source_moved:
            lines.append("connects anew")
            if self.link is not None:
                self.link.close("the configuration has changed")
        return lines

    # ------------------------------------------------------------ device -> hub

    def _read_device(self) -> None:
        buf = bytearray(uplink.BUFFER_SIZE)
        view = memoryview(buf)
        up, hub = self._up, gevent.get_hub()
        while True:
            hub.wait(self._readable)
            try:
                end = uplink.read_batch(up, buf, view)
            except OSError as error:
                if tun.is_gone(error.errno):
                    self._device_gone(self._device.name)
                    return
                self.traffic.drop(Reason.DEVICE_REFUSED)
                continue
            if self.traffic.news:
                self._tell_news()
            link = self.link
            if link is None:
                self.traffic.drop(Reason.NO_SESSION, offload.count_packets(view[:end]))
            elif end:
                link.send([view[:end]])
                link.wait_drained()

    def _tell_news(self) -> None:
        """Log each reason for drops once."""
        for reason, detail in self.traffic.take_news():
            what = f" {detail}" if detail else ""
            log.warning(
                "service %s: packets are dropped: %s%s: %s",
                self.settings.name,
                reason.value,
                what,
                reason.doc,
            )

    # ------------------------------------------------------------ hub -> device

    def _refused(self, error: OSError) -> None:
        if tun.is_gone(error.errno):
            raise error
        self.traffic.drop(Reason.DEVICE_REFUSED)

    def _write_packet(self, packet: bytes) -> None:
        header = offload.NO_OFFLOAD if self._device.has_header else b""
        try:
            self._file.write(header + packet)
        except OSError as error:
            self._refused(error)

    # ------------------------------------------------------------ the session

    def _keep_connected(self) -> None:
        """Dial, live, and dial again, for ever."""
        settings, selector = self.settings, _selector(self.settings)
        lost, refused = Backoff(*RETRY), Backoff(*RETRY_REFUSED)
        said: dict[int, str] = {}
        while True:
            if settings.nodes != self.settings.nodes or _choice(settings) != _choice(self.settings):
                selector = _selector(self.settings)
                said.clear()
            settings = self.settings
            chosen = selector.choose(time.monotonic(), random.random())
            self._node = node = settings.nodes[chosen]
            started = time.monotonic()
            backoff, why = lost, "closed by the hub"
            try:
                self._session(node)
            except Refused as error:
                backoff, why = refused, str(error)
            except ProtocolError as error:
                why = str(error)
            except OSError as error:
                why = error.strerror or str(error)
            ended = time.monotonic()
            if ended - started > STEADY_SECONDS:
                lost.reset()
                refused.reset()
                selector.succeeded(chosen)
                said.clear()
            else:
                selector.failed(chosen, ended)
            if said.get(chosen) != why:
                log.warning(
                    "service %s: hub %s:%d: %s; trying again", settings.name, node.host, node.port, why
                )
                said[chosen] = why
            gevent.sleep(backoff.next(random.random()))

    def _session(self, node: NodeSettings) -> None:
        """One connection, from dialling to its end. Raises OSError, ProtocolError."""
        stream = dial(node, self._way_out)
        try:
            response, rest = handshake.ask(stream, self._request(node), node.connect_timeout)
            if response.status != Status.OK:
                raise Refused(_refusal(response.status))
            self._live(stream, response, rest)
        finally:
            stream.close()

    def _way_out(self, address: str) -> str | None:
        """The network device to reach a hub through, where our own routes would lead into the tunnel."""
        device = self.settings.device
        hub = ip_address(address.partition("%")[0])
        networks = [prefix for prefix, _ in device.routes] + [a.network for a in device.addresses]
        if not any(hub in network for network in networks):
            return None
        return netlink.way_around(address, self._device.name)

    def _request(self, node: NodeSettings) -> Request:
        addresses = self.settings.device.addresses
        source = str(addresses[0].ip) if addresses else ""
        login = (node.username, node.password) if node.username or node.password else None
        return Request(self.settings.host, source, node.namespace, login)

    def _live(self, stream: AnyStream, response: Response, tail: bytes) -> None:
        """Use an admitted session until it ends."""
        link = Link(stream, self.traffic, QUEUE_BYTES, float("inf"))
        log.info("service %s: connected to %s as %s", self.settings.name, stream.peer, self.settings.host)
        self._use_offloads(0, framing.GOST_HUB_MAX)
        if ids.hub_version(response.tunnel_id):
            link.send([self._hello])
        self.link = link
        try:
            self._receive(stream, tail)
        finally:
            self.link = None
            link.ended()

    def _receive(self, stream: AnyStream, tail: bytes) -> None:
        buffer, down = self._buffer, self._down
        size = 0
        while True:
            end = framing.HEADROOM + size
            stop = downlink.deliver(down, buffer.data, buffer.view, buffer.join(tail), end)
            tail = bytes(buffer.view[stop:end])
            for content in down.take_controls():
                self._control(content)
            if self.traffic.news:
                self._tell_news()
            size = stream.receive_into(buffer.landing)
            if not size:
                return

    def _control(self, content: bytes) -> None:
        try:
            hello = control.decode(content)
        except ProtocolError:
            self.traffic.drop(Reason.BAD_CONTROL)
            return
        if hello is not None:
            self._use_offloads(hello.offloads & self._offloads, framing.MAX_CONTENT)
            log.debug(
                "service %s: hub is %s, offloads %#x", self.settings.name, hello.software, hello.offloads
            )

    def _use_offloads(self, bits: int, limit: int) -> None:
        """Let the kernel hand over what the hub takes, and nothing else."""
        self._up.offloads, self._up.limit = bits, limit
        self._device.set_offload(bits)


def _choice(settings: ClientSettings) -> tuple[str, int, float]:
    """How a node is chosen."""
    return settings.strategy, settings.max_fails, settings.fail_timeout


def _selector(settings: ClientSettings) -> Selector:
    return Selector(len(settings.nodes), *_choice(settings))


def _refusal(status: int) -> str:
    known = status in Status.__members__.values()
    return f"refused: {Status(status).name.lower().replace('_', ' ') if known else f'status {status}'}"
