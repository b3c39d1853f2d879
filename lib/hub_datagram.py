"""Datagrams of a hub's sessions: the settings of their UDP socket, and the channel of a session.

Knows: when there is a socket, which sessions have a channel.
Refuses to know: how it is read, and what waits (datagram_port), keys and addresses (datagram_peer), what
becomes of frames (hub_session).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Protocol

from lib import datagram_ciphers, datagram_port
from lib.addresses import host_port, join_host_port
from lib.datagram_port import Port
from lib.datagram_turns import PortChannel
from lib.forward_drop_reasons import Reason
from lib.limits import Meter, stranger
from lib.namespace import Attachment
from lib.session_cost import Cost
from lib.session_lane_sender import LaneSender
from lib.settings import HubSettings
from lib.settings_transport import has_datagrams, why_no_datagrams
from lib.stream_layer import AnyStream


class Session(Protocol):
    """What is used of a session (hub_session)."""

    attachment: Attachment
    sender: LaneSender
    control: Any
    channel: HubChannel | None

    def greet(self) -> None:
        """Send HELLO; a client that has one already takes what is new in it."""

    @property
    def stream(self) -> AnyStream:
        """The stream of its first lane."""

    @property
    def meter(self) -> Meter | None:
        """The rate limits of what comes from its client; None for none."""

    def scan_copy(self, frames: bytes, cost: Cost | None) -> int:
        """Forward frames in a turn that counts in this account; returns how many bytes were whole frames."""


class HubDatagrams(Port):
    """The socket of one hub, and the channels of its sessions."""

    def __init__(self) -> None:
        super().__init__()
        self._why = ""
        """Why there is no socket, in a few words for `status`."""
        self._port, self._host = 0, ""
        self._dscp = False

    def open(self, settings: HubSettings, listener: Any) -> None:
        """Listen beside a listening socket, where the settings want that. A busy port is one warning."""
        self.close()
        self._dscp = settings.dscp
        self._why = why_no_datagrams(settings.channel, settings.transport)
        datagram_port.found_free(settings.name)
        if self._why:
            return
        number = listener.getsockname()[1]
        try:
            self.listen(listener, f"service {settings.name}", settings.netns)
        except OSError as error:
            self._why = "no UDP port"
            self.tell_busy(settings, number, error)
            return
        datagram_ciphers.fastest()  # takes a tenth of a second once: no session shall pay for that
        self._host, self._port = host_port(settings.datagram) if settings.datagram else ("", 0)
        self._port = self._port or number
        assert self.socket is not None
        for channel in self.channels:
            channel.reopen(self.socket, self._port, self._host)
        self.start()

    def tell_busy(self, settings: HubSettings, number: int, error: OSError) -> None:
        """Say once that the UDP port of this number cannot be had."""
        who, where = f"service {settings.name}", join_host_port(settings.host, number)
        datagram_port.tell_busy(settings.name, who, "sessions", where, error)

    def why_none(self, session: Session) -> str:
        """Why a session has no channel, in a few words for `status`; empty where it has one, and for GOST."""
        if (session.channel is not None and self.socket is not None) or not session.control.features:
            return ""
        return self._why or "the client has none"

    def apply(
        self, old: HubSettings, new: HubSettings, listener: Any, moved: bool, sessions: Iterable[Session]
    ) -> None:
        """Take the settings of a reload; `moved`: the listener is another one. `sessions` are all of them."""
        is_same = old.datagram == new.datagram and has_datagrams(old.channel, old.transport) == has_datagrams(
            new.channel, new.transport
        )
        if moved or not is_same:
            self.open(new, listener)
            for session in sessions:
                if self.socket is not None and session.channel is None and session.control.cipher:
                    session.greet()
        self._dscp = new.dscp
        for channel in self.channels:
            channel.choice.dscp = new.dscp

    def meet(self, session: Session) -> int:
        """A client has said HELLO: make a channel where both sides can. Returns our cipher; 0 for none."""
        cipher = session.control.cipher
        if self.socket is None or not datagram_ciphers.is_known(cipher):
            return 0
        if session.channel is not None:  # it has said HELLO again
            return datagram_ciphers.fastest()
        session.channel = HubChannel(self, session, cipher, self._port, self._host)
        session.channel.choice.dscp = self._dscp
        session.sender.use_channel(session.channel)
        session.attachment.by_datagrams = session.channel.would_take
        return datagram_ciphers.fastest()


class HubChannel(PortChannel):
    """The channel of one session of a hub."""

    __slots__ = ("_session",)

    def __init__(self, hub: HubDatagrams, session: Session, cipher: int, port: int, host: str) -> None:
        self._session = session
        mtu = session.attachment.mtu
        super().__init__(hub, session.control, session.sender, cipher, True, mtu, port, host)

    @property
    def cost(self) -> Cost | None:
        """The account of its stream."""
        return self._session.stream.cost

    @property
    def meter(self) -> Meter | None:
        """The rate limits of what comes from its client; None for none."""
        return self._session.meter

    @property
    def share(self) -> Hashable:
        """The client's address."""
        return stranger(self._session.attachment.peer)

    @property
    def packets(self) -> int:
        """How many packets have come from the client."""
        return self._session.attachment.traffic.received_packets

    def drop(self, reason: Reason, count: int = 1) -> None:
        """Count drops of the session."""
        self._session.attachment.drop(reason, count)

    def scan(self, frames: bytes, cost: Cost) -> int:
        """Forward frames for a turn's time; returns how many bytes of whole frames were."""
        return self._session.scan_copy(frames, cost)
