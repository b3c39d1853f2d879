"""Datagrams of a client's session: its UDP socket to the hub, and the greenlet that reads it.

Knows: when there is a channel, the way that its datagrams take, where the hub takes them.
Refuses to know: keys and addresses (datagram_peer), what becomes of frames (client_session), which way leads
around the tunnel (client_around).
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import gevent

from lib import client_around, datagram_ciphers, datagram_open, service_supervisor
from lib.client_around import Around
from lib.datagram_channel import Channel
from lib.datagram_peer import Peer
from lib.datagram_socket import Address, DatagramSocket
from lib.datagram_table import Table
from lib.log_dedup import RETRIED
from lib.log_events import Entry
from lib.log_setup import say
from lib.session_lane_sender import LaneSender
from lib.settings import ClientSettings, DeviceSettings, NodeSettings
from lib.wire_control import Datagrams, Feature, Hello

RESOLVE_SECONDS = 10.0
"""How long the name of the hub's address for datagrams is looked up."""


class Owner(Protocol):
    """What is used of the client."""

    settings: ClientSettings
    around: Around

    @property
    def device_settings(self) -> DeviceSettings:
        """The device's settings, with what a hub has told."""


class Session(Protocol):
    """What is used of the session (client_session)."""

    node: NodeSettings
    sender: LaneSender
    control: Any

    def greet(self) -> None:
        """Send HELLO; a hub that has one already takes what is new in it."""

    def deliver(self, frames: list[bytes]) -> None:
        """Write the packets of frames to the device."""


class ClientDatagrams:
    """The datagram channel of one session, or what may become one."""

    def __init__(self, client: Owner, session: Session) -> None:
        self._client, self._session = client, session
        self.channel: Channel | None = None
        self._where = 0, ""
        self._offered = 0
        """The cipher that the last HELLO said."""
        self._task: gevent.Greenlet | None = None
        """Opens the socket and reads it."""

    @property
    def cipher(self) -> int:
        """Our cipher; 0 where there is to be no channel."""
        return 0 if self._unwanted else datagram_ciphers.fastest()

    def offer(self) -> int:
        """Our cipher, which HELLO says now; 0 where there is to be no channel."""
        self._offered = self.cipher
        return self._offered

    @property
    def why_none(self) -> str:
        """Why there is no channel, in a few words for `status`; empty where there is one, and for GOST."""
        if self.channel is not None or not self._session.control.features:
            return ""
        return self._unwanted or "the hub has none"

    @property
    def _unwanted(self) -> str:
        return self._session.node.why_no_datagrams(self._client.settings.channel)

    def meet(self, hello: Hello) -> None:
        """The hub has said HELLO: give it a key where both sides can have a channel."""
        can = hello.features & Feature.DATAGRAMS and datagram_ciphers.is_known(hello.cipher)
        if can and self.cipher and self.channel is None:
            session, mtu = self._session, self._client.device_settings.mtu
            channel = Channel(session.control, session.sender, hello.cipher, Table[Peer](), False, mtu)
            self.channel, channel.choice.dscp = channel, self._client.settings.dscp
            channel.peer.give(time.monotonic())

    def given(self, message: Datagrams) -> None:
        """The hub has given a key, or takes no datagrams any more."""
        channel = self.channel
        if channel is None:
            return
        where = message.port, message.host
        if message.key and message.port and (where != self._where or channel.broken):
            self._where, channel.broken = where, ""
            self._end()
            channel.peer.given(message, time.monotonic())
            self._task = gevent.spawn(self._run, channel, *where)
        else:
            channel.peer.given(message, time.monotonic())

    def beat(self, now: float) -> None:
        """Do what is due."""
        if self.cipher and not self._offered and self._session.control.features:  # as after a reload
            self._session.greet()
        if self.channel is None:
            return
        if not self.cipher:  # a reload has switched it off
            self._end()
            self.channel.peer.refuse()
            self.channel.stop()
            self.channel, self._offered, self._where = None, 0, (0, "")
            return
        self.channel.choice.dscp = self._client.settings.dscp
        self.channel.peer.beat(now)

    def stop(self) -> None:
        """The session has ended."""
        self._end()
        if self.channel is not None:
            self.channel.stop()

    def _end(self) -> None:
        if self._task is not None:
            self._task.kill(block=False)
            self._task = None
        if self.channel is not None:
            self.channel.socket = None

    def _run(self, channel: Channel, port: int, host: str) -> None:
        """Open the socket and read it, until the session ends."""
        try:
            self._read(channel, *self._open(port, host))
        except (OSError, ValueError) as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the session goes on
            service_supervisor.note(error)
            why = f"an error of this program: {type(error).__name__}"
        channel.broken = why
        name, peer = self._client.settings.name, self._session.sender.stream.peer
        say(
            Entry.NO_CHANNEL, "service %s: the session with %s has no datagrams: %s", name, peer, why,
            fold=name, habit=RETRIED, service=name, host=self._client.settings.host, peer=peer, reason=why,
        )  # fmt: skip

    def _open(self, port: int, host: str) -> tuple[DatagramSocket, Address]:
        """A socket and the hub's address. Raises OSError, ValueError."""
        client, node = self._client, self._session.node
        how = client.around.used(node)
        if not host and node.proxies:
            raise OSError(
                "its stream goes through a proxy, and the hub does not say where it takes datagrams"
            )
        address = host or self._session.sender.stream.far_address
        if host and not client_around.is_address(host):
            found = client.around.look_up(host, port, RESOLVE_SECONDS)
            address = str(found[0][4][0])
        if how.netns:  # there are no routes of ours there
            return datagram_open.toward(address, port, None, how)
        if host and client_around.covers(client.device_settings, address.partition("%")[0]):
            raise OSError(f"the tunnel's own routes cover {address}, where the hub takes datagrams")
        client.around.let_datagrams_out(node, address, port)
        with client.around.dialling_again(node) as again:
            return datagram_open.toward(address, port, again.device_for(address), how)

    def _read(self, channel: Channel, sock: DatagramSocket, place: Address) -> None:
        """Send PROBE, and deliver what comes."""
        try:
            channel.socket, peer = sock, channel.peer
            peer.place = place
            self._session.sender.use_channel(channel)
            peer.begin(time.monotonic())
            while True:
                burst = sock.recv_burst()
                channel.received += len(burst)
                now = time.monotonic()
                for one, arrived in peer.table.sort(burst).items():
                    if frames := one.open(arrived, now):
                        channel.follow()
                        self._session.deliver(frames)
        finally:
            if channel.socket is sock:
                channel.socket = None
            sock.close()
