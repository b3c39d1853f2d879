"""Datagrams of a hub's UDP port, written by hand for attacks: a channel of a session, strangers, forgeries.

Knows: how a session gets a channel, how datagrams are sealed and sent as fast as the kernel takes them.
Refuses to know: lib's own channels and sockets (they are what is attacked), what the frames are.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib import datagram_ciphers, datagram_wire, packet_offload, wire_control
from lib.datagram_keys import OpenKey, SealKey
from lib.datagram_wire import Ack, Probe
from lib.wire_control import Cipher, Datagrams, Feature
from tests.hostile import peer

if TYPE_CHECKING:
    from tests.hostile.attacks import Attacker

SIZE = 1280
"""Bytes of a datagram with frames: such ones pass on every wire."""
PROBES, PROBE_SECONDS = 5, 0.2
"""How often the hub is asked, and how long for its own PROBE is waited each time."""
MANY, OPENING_SECONDS, PAUSE = 64, 12.0, 0.02
"""Channels of one attacker, the seconds in which they are opened, and those before another try."""
BURST, BURST_SECONDS = 12, 0.5
"""Datagrams of a channel at once, and the seconds between two such bursts."""
AT_ONCE = 32
"""Datagrams between two looks at the session and the clock."""
_SOL_UDP, _UDP_SEGMENT = 17, 103  # linux/udp.h


@dataclass
class Channel:
    """A session whose hub takes datagrams."""

    stream: peer.Socket
    udp: socket.socket
    given: Datagrams
    """The hub's key, for what is sent to it."""
    key: SealKey = field(init=False)

    def __post_init__(self) -> None:
        cipher = datagram_ciphers.make(Cipher.AES_GCM, self.given.key)
        self.key = SealKey(cipher, self.given.index, self.given.salt, 0.0)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        peer.abort(self.stream)
        self.udp.close()

    def has_ended(self) -> bool:
        """Whether the hub has ended the session; what it says otherwise is thrown away."""
        return _is_closed(self.stream)

    def send(self, plains: Sequence[bytes]) -> int:
        """Send one datagram for each; returns how many bytes."""
        sealed = self.key.seal(plains)
        for datagram in sealed:
            self.udp.send(datagram)
        return sum(map(len, sealed))


def port(me: Attacker) -> socket.socket:
    """A UDP socket for the hub's port."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((me.source, 0))
    udp.connect((me.hub, peer.PORTS[me.kind]))
    return udp


def opened(me: Attacker, host: str = "") -> Channel:
    """A session with a channel whose address the hub knows. Raises OSError."""
    stream = me.session(host=host)
    try:
        features = Feature.DATAGRAMS | Feature.KEEPALIVE
        mine = wire_control.Hello(
            bytes(15) + bytes([me.number]),
            packet_offload.ALL,
            1420,
            "hostile",
            features,
            cipher=Cipher.AES_GCM,
        )
        key = Datagrams(os.urandom(3), os.urandom(32), os.urandom(8))
        peer.say(stream, me.kind, wire_control.encode_hello(mine))
        cipher = peer.message(stream, me.kind, wire_control.Hello).cipher
        opens = OpenKey(datagram_ciphers.make(cipher, key.key), key.index, key.salt, 0.0)
        peer.say(stream, me.kind, wire_control.encode_datagrams(key))
        made = Channel(stream, port(me), peer.message(stream, me.kind, Datagrams))
    except BaseException:
        peer.abort(stream)
        raise
    stream.setblocking(False)
    _answer(made, opens)
    made.udp.setblocking(True)
    return made


def _answer(channel: Channel, opens: OpenKey) -> None:
    """Prove our address: ask the hub, and answer what it asks."""
    channel.udp.settimeout(PROBE_SECONDS)
    for _ in range(PROBES):
        channel.send([datagram_wire.encode_probe(bytes(8))])
        try:
            while True:
                datagram = channel.udp.recv(1 << 16)
                message = datagram_wire.decode(opens.open(datagram_wire.look(datagram)[1], datagram) or b"")
                if isinstance(message, Probe):
                    channel.send([datagram_wire.encode_ack(Ack(message.token, 1, 1))])
                    return
        except TimeoutError:
            pass


def _is_closed(sock: peer.Socket) -> bool:
    while True:
        try:
            if not sock.recv(1 << 16):
                return True
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True


def pieces(blob: bytes) -> list[bytes]:
    """Whole frames, as many in each piece as a datagram holds."""
    return [bytes(piece) for fits, piece in datagram_wire.bundles(blob, SIZE) if fits]


# --- what attackers do --------------------------------------------------------------------------------


def flood(me: Attacker) -> None:
    """Send the stream by datagrams, in place of the session's own stream; nothing where none of it fits."""
    every = pieces(me.blob)
    if every:
        me.again(lambda: _until_ended(me, _rounds(every)))


def open_many(me: Attacker) -> None:
    """Sessions with channels, as many as MANY."""
    patience = time.monotonic() + OPENING_SECONDS
    while len(me.channels) < MANY and time.monotonic() < patience:
        try:
            me.channels.append(opened(me, f"{me.host}-{len(me.channels)}"))
        except OSError:
            time.sleep(PAUSE)


def bursts(me: Attacker) -> None:
    """The stream by all of these at the same moment, again once the hub has forgiven the last time."""
    sealed_size = max(map(len, pieces(me.blob))) + datagram_wire.OVERHEAD
    same = [one for one in pieces(me.blob) if len(one) + datagram_wire.OVERHEAD == sealed_size][:BURST]
    for one in me.channels:
        one.udp.setsockopt(_SOL_UDP, _UDP_SEGMENT, sealed_size)
    while not me.over:
        ready = [(one.udp, b"".join(one.key.seal(same))) for one in me.channels if not one.has_ended()]
        for udp, datagrams in ready:
            me.sent += udp.send(datagrams)
        time.sleep(BURST_SECONDS)


def probe(me: Attacker) -> None:
    """PROBE again and again: each wants a reply."""
    asked = datagram_wire.encode_probe(b"hostile!")
    me.again(lambda: _until_ended(me, _rounds([asked])))


def _rounds(every: Sequence[bytes]) -> Iterator[list[bytes]]:
    at = 0
    while True:
        yield [every[(at + n) % len(every)] for n in range(AT_ONCE)]
        at += AT_ONCE


def _until_ended(me: Attacker, rounds: Iterator[list[bytes]]) -> None:
    with opened(me) as channel:
        while not me.over and not channel.has_ended():
            me.sent += channel.send(next(rounds))


def strangers(me: Attacker) -> None:
    """Datagrams that are nobody's, as many as one call may send."""
    me.again(lambda: _flood_port(me, lambda: datagram_wire.header(datagram_wire.TYPE << 24 | 0xABCDEF, 1)))


def forge(me: Attacker) -> None:
    """Datagrams with the index of a session of ours, not authentic, from that session's address."""

    def once() -> None:
        with opened(me) as channel:
            label = datagram_wire.label_of(channel.given.index)
            _flood_port(me, lambda: datagram_wire.header(label, 1 << 20), channel)

    me.again(once)


def replay(me: Attacker) -> None:
    """One authentic datagram again and again."""

    def once() -> None:
        with opened(me) as channel:
            (sealed,) = channel.key.seal([datagram_wire.encode_probe(bytes(8))])
            while not me.over and not channel.has_ended():
                for _ in range(AT_ONCE):
                    me.sent += channel.udp.send(sealed)

    me.again(once)


def _flood_port(me: Attacker, head: Callable[[], bytes], channel: Channel | None = None) -> None:
    """Send short datagrams with a header until the time is up, 64 in a call."""
    udp = port(me) if channel is None else channel.udp
    one = head() + bytes(56)
    udp.setsockopt(_SOL_UDP, _UDP_SEGMENT, len(one))
    data = one * 64
    while not me.over and (channel is None or not channel.has_ended()):
        me.sent += udp.send(data)
