"""One end of a session's datagram channel: keys, the far end's address, whether it is good to send by.

Knows: which probes are due, when a far end has moved, when the stream has to carry all.
Refuses to know: sockets, clocks, randomness and control frames (they are its `Outside`), which packets go by
datagrams (datagram_choice), the layout of a datagram (datagram_wire).

    asleep ──── packets ────► PROBE, they go by the stream ──── ACK ────► up: they go by datagrams
       ▲                            ▲                                       │
       └──── REST_SECONDS without ──┴── PROBEs are not answered ────────────┤
             an ACK                                                         │
                          the far end has a new address: PROBE there, ◄─────┘
                          and the stream until its ACK

Nothing here has a timer. What is due is looked at when ACKs come, by `tick` while packets go either way, and
by `beat`, at which the session looks at its keepalive too. A channel that is asleep sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lib import datagram_wire
from lib.datagram_keyring import KeyRing
from lib.datagram_keys import Cipher, OpenKey, SealKey
from lib.datagram_mtu import PathMtu, State
from lib.datagram_quality import OfStream, Quality
from lib.datagram_table import Arrived, Place, Table
from lib.datagram_trust import Trust
from lib.datagram_wire import Ack, Probe
from lib.packet import Buffer
from lib.wire_control import KEY_SIZE, SALT_SIZE, Datagrams

PROBE_SECONDS, BUSY_SECONDS = 0.2, 2.0
"""How often PROBE is sent while packets go either way, and for how long after the last one."""
REST_SECONDS = BUSY_SECONDS + 1.0
"""Without an ACK for so long, packets go by the stream first: a NAT may have forgotten us, a link be down."""
KEEPALIVE_SECONDS, USED_SECONDS = 15.0, 60.0
"""How often a client sends PROBE, and for how long after the last packet."""
SHRUNK_SECONDS = 30.0  # much loss is taken for a path MTU that has shrunk at most once in this time
MOST_PROBES, STALE_SECONDS = 64, 5.0
"""PROBEs whose ACK is waited for, and for how long one may come."""
AMPLIFIED = 3
"""So many times the bytes that came from an address are sent there until it is known to be the far end's."""


class Outside(Protocol):
    """What a channel needs of the world."""

    def draw(self, size: int) -> bytes:
        """So many random bytes."""

    def seal_with(self, key: bytes) -> Cipher:
        """Our own cipher with a key."""

    def open_with(self, key: bytes) -> Cipher:
        """The far end's cipher with a key."""

    def tell(self, given: Datagrams) -> None:
        """Send a DATAGRAMS by the stream."""

    def headers(self, place: Place) -> int:
        """Bytes of IP and UDP headers of what is sent to an address."""

    def stream(self) -> OfStream:
        """What is known of the stream, with which the channel is compared."""

    def send(self, place: Place, datagrams: Sequence[bytes]) -> tuple[int, int]:
        """Send them; returns (how many have gone, size of one too long for this host's device or 0)."""


@dataclass(slots=True)
class _Out:
    """A PROBE that is not answered yet."""

    at: float
    place: Place
    number: int = 0
    """That of PathMtu, where it looks for the path MTU; else 0."""


@dataclass(slots=True, eq=False)
class Peer:
    """Our end of one channel. `now` is in seconds of a steady clock everywhere."""

    outside: Outside
    table: Table[Peer]
    is_hub: bool
    port: int = 0
    """Of a hub: the port that its keys name; and the host, where it is not that of the stream."""
    host: str = ""
    mtu: PathMtu = field(default_factory=PathMtu)
    place: Place | None = None
    """Where to send; of a client the hub's address, of a hub the client's last one."""
    quality: Quality = field(default_factory=Quality)
    trust: Trust = field(init=False)
    """Whether it may be used, and when it is tried again where not."""
    _good: Place | None = None
    """The last address from which a PROBE was answered."""
    _allowed: int = 0
    """Bytes that may still be sent to an address from which none was."""
    _own: KeyRing[Peer] = field(init=False)
    """The keys that we have given and still take."""
    _seal: SealKey | None = None
    _is_refused: bool = False
    """Whether the far end takes nothing any more."""
    _probes: dict[bytes, _Out] = field(default_factory=dict)
    """By token, the oldest first. Those that look for the path MTU say nothing by their silence."""
    _probed_at: float = -math.inf
    _acked_at: float = -math.inf
    _used_at: float = -math.inf
    _tries: int = 0  # to wake it, that were not answered
    _shrunk_at: float = -math.inf
    """When the search for the path MTU began anew because much was lost."""

    def __post_init__(self) -> None:
        self.trust = Trust(lambda: self.outside.draw(1)[0] / 255)
        self._own = KeyRing(self, self.table)

    @property
    def proven(self) -> Place | None:
        """The far end's address, if a PROBE that was sent there has been answered; else None."""
        return self.place if self.place == self._good else None

    # --- keys

    @property
    def size(self) -> int:
        """Bytes of the largest datagram that is known to pass; 0 while none is."""
        return self.mtu.size

    def give(self, now: float) -> None:
        """Give the far end a new key, for what it sends to us."""
        index = self.table.new_index(self.outside.draw)
        key, salt = self.outside.draw(KEY_SIZE), self.outside.draw(SALT_SIZE)
        self._own.add(OpenKey(self.outside.open_with(key), index, salt, now))
        self.outside.tell(Datagrams(index, key, salt, self.port, self.host))

    def given(self, message: Datagrams, now: float) -> None:
        """The far end has given a key, or takes nothing any more. A client's `place` is set before."""
        if not message.key:
            self._seal, self._is_refused = None, True
            return
        cipher = self.outside.seal_with(message.key)
        self._seal = SealKey(cipher, message.index, message.salt, now)
        if self._own.is_due(now) or self._is_refused:  # perhaps it has forgotten the key that it had
            self.give(now)
        self._is_refused = False
        if not self.is_up(now):  # of a client: it may be that the hub cannot reach us
            if self.trust.may_try(now):
                self._try(now)
            else:
                self._probe(now)

    def refuse(self) -> None:
        """Take nothing any more, and tell the far end."""
        self._own.clear()
        self.outside.tell(Datagrams())

    def stop(self) -> None:
        """The session has ended."""
        self._own.clear()
        self._seal = None

    # --- what comes

    def open(self, arrived: Sequence[Arrived], now: float) -> list[bytes]:
        """Open datagrams; returns the runs of frames that were in them. Messages are acted upon."""
        frames = []
        for key, counter, place, datagram in arrived:
            if place != self.place and not self.is_hub:
                continue
            plain = key.open(counter, datagram) if self._own.takes(key) else None
            if plain is None:
                self.table.strangers += 1
                continue
            if key is not self._own.newest:
                self._own.heard(key, now)
            if place != self.place or place != self._good:
                self._see(place, key, counter, len(datagram), now)
            if plain[:1] != b"\xf1":
                frames.append(plain)
            else:
                self._heed(datagram_wire.decode(plain), place, now)
        if frames:
            self._used_at = now
        return frames

    def _see(self, place: Place, key: OpenKey, counter: int, size: int, now: float) -> None:
        """An authentic datagram has come from an address that is not known to be the far end's."""
        if place == self.place:
            self._allowed += AMPLIFIED * size
            if now - self._probed_at >= PROBE_SECONDS:
                self._probe(now)
        elif key is self._own.newest and counter == key.expected - 1:  # the newest of all
            self.place, self._allowed = place, AMPLIFIED * size
            if place != self._good:
                self.begin(now)

    def begin(self, now: float) -> None:
        """The far end has another address: see whether it answers, and what passes there."""
        self._acked_at = -math.inf
        self.quality.forget()
        self.trust.again()
        if self.place is not None:
            self.mtu.headers = self.outside.headers(self.place)
        self.mtu.begin()
        self._try(now)

    def _heed(self, message: Probe | Ack | None, place: Place, now: float) -> None:
        """Act on a message."""
        if isinstance(message, Probe):
            self._emit(place, datagram_wire.encode_ack(Ack(message.token, *self._own.counts())), now)
        elif isinstance(message, Ack):
            out = self._probes.get(message.token)
            if out is not None and out.place == place:
                self._answered(message, out, now)

    def _answered(self, ack: Ack, out: _Out, now: float) -> None:
        """A PROBE has been answered."""
        del self._probes[ack.token]
        if out.place == self.place:
            self._good = self.place
            if self._tries and not self.is_hub:
                self._used_at = now  # keeps the way open for what the hub has
            self._acked_at, self._tries = now, 0
            self.trust.worked(now)
        # Long datagrams that were lost while the MTU was looked for say nothing of the way.
        self.quality.answered(ack.token, ack.expected, ack.received, now, self.mtu.state is not State.SEARCH)
        if self.quality.rtt:
            self.mtu.rtt = self.quality.rtt
        for token, other in list(self._probes.items()):
            if other.at <= out.at and not (other.number and now - other.at < STALE_SECONDS):
                del self._probes[token]
        if out.number:
            self.mtu.answered(out.number, now)
        if why := self.quality.complaint(self.outside.stream()):
            self._complain(why, now)
        self._search(now)

    def _complain(self, why: str, now: float) -> None:
        """The stream is better. Perhaps only long datagrams are lost: then it is so again, or not at all."""
        if now - self._shrunk_at > SHRUNK_SECONDS and self.mtu.fall():
            self._shrunk_at = now
            self.quality.forget()
        else:
            self._give_up(why, now)

    def _give_up(self, why: str, now: float) -> None:
        """Leave all to the stream, until it is time for another try."""
        self.trust.failed(why, now)
        self._acked_at = -math.inf
        self._probes.clear()
        self.quality.forget()

    # --- what is sent

    def state(self, now: float) -> str:
        """What it is good for, in a word: "good", "rest" (nothing has gone for a while), "bad" or "tried"."""
        if self.is_up(now):
            return "good"
        return "rest" if self.trust.works else "bad" if self.trust.why else "tried"

    def is_up(self, now: float) -> bool:
        """Whether packets may go by the channel."""
        if self._seal is None or now - self._acked_at >= REST_SECONDS or self.place != self._good:
            return False
        if not self.mtu.size or not self.trust.works or not self._seal.lasts(1, now):
            return False
        if not self.quality.is_silent(now):
            return True
        self._give_up("datagrams are not answered any more", now)
        return False

    def send(self, frames: Buffer, now: float) -> list[Buffer]:
        """Send whole frames by the channel, which is up; returns those that are too long for it."""
        seal = self._seal
        rest: list[Buffer] = []
        plains: list[Buffer] = []
        assert seal is not None
        for fits, piece in datagram_wire.bundles(frames, self.mtu.size):
            (plains if fits else rest).append(piece)
        if not seal.lasts(len(plains), now):
            return [frames]
        self._used_at = now
        if plains:
            sealed = seal.seal(plains)
            gone, too_long = self._out(sealed)
            if not (gone or too_long):  # as a firewall of this host does
                self._give_up("this host's network takes no datagrams", now)
            if not gone:
                return [frames]
            self.mtu.sent(max(map(len, sealed)))
        return rest

    def tick(self, now: float) -> bool:
        """Do what is due while packets go; to be called each PROBE_SECONDS until it returns False."""
        if now - self._used_at >= BUSY_SECONDS or self._seal is None:
            return False
        if self.is_up(now):
            self._probe(now)
        self._search(now)
        return True

    def wake(self, now: float) -> None:
        """There are packets for the channel, and it is not up: try to change that, now and then."""
        if self.trust.works and now - self._acked_at < REST_SECONDS:
            return  # the path MTU is looked for
        if not self.trust.may_try(now):
            return
        self._used_at = now
        self._tries += 1
        # A hub's PROBE may not get through a NAT that has forgotten us: a key lets the client send one. And
        # where either host was asleep, the two do not agree how old their keys are: a key brings a new one.
        if self._own.is_due(now) or self._tries > 1:
            self.give(now)
        self._try(now)

    def _try(self, now: float) -> None:
        self.trust.tries(now)
        if not self.mtu.size:
            self.mtu.begin()
        self._search(now)
        self._probe(now)

    def beat(self, now: float) -> None:
        """Do what is due; to be called about once a second."""
        self._own.expire(now)
        if now - self._used_at < USED_SECONDS:
            if len(self._own) and self._own.is_due(now):
                self.give(now)
            if not self.is_hub and now - self._probed_at >= KEEPALIVE_SECONDS:
                self._probe(now)
        if self._seal is not None:
            self._search(now)

    def _probe(self, now: float) -> None:
        """Send a PROBE of the least size."""
        self._probed_at = now
        self._ask(datagram_wire.LEAST_PROBE, 0, now)

    def _search(self, now: float) -> None:
        """Send the PROBEs that the search for the path MTU wants; to a far end that has answered a small one.

        They are large, and a hub that is not honest may have named any address.
        """
        if self.place is not None and self.place == self._good:
            for probe in self.mtu.due(now):
                self._ask(probe.size, probe.number, now)
        if self.mtu.state is State.NONE and self.trust.works:
            self._give_up("datagrams of 1,280 bytes do not pass", now)

    def _ask(self, size: int, number: int, now: float) -> None:
        if self.place is None:
            return
        token = self.outside.draw(datagram_wire.TOKEN_SIZE)
        if self._emit(self.place, datagram_wire.encode_probe(token, size), now):
            self._probes[token] = _Out(now, self.place, number)
            if size <= self.mtu.size or not self.mtu.size:  # that a longer one is lost says nothing
                self.quality.probed(token, now)
            if len(self._probes) > MOST_PROBES:
                del self._probes[next(iter(self._probes))]

    def _emit(self, place: Place, message: bytes, now: float) -> bool:
        """Send a message, where its place may be sent so much; returns whether it was."""
        if self._seal is None or not self._seal.lasts(1, now):
            return False
        if self.is_hub and place == self.place and place != self._good:
            size = len(message) + datagram_wire.OVERHEAD
            if self._allowed < size:
                return False
            self._allowed -= size
        self._out(self._seal.seal((message,)), place)
        return True

    def _out(self, datagrams: list[bytes], place: Place | None = None) -> tuple[int, int]:
        gone, too_long = self.outside.send(place or self.place, datagrams)
        if too_long:
            self.mtu.refused(too_long)
        return gone, too_long
