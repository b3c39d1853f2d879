"""Random hostile streams as recipes in JSON: a recipe makes the same stream each time.

Knows: the ingredients (frame kinds, sizes, layers, reads or not) and how a recipe becomes an attack; how one
changes a little. Refuses to know: how bad it is (hunt).
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from lib import push_settings, wire_control, wire_fields, wire_relay
from tests.hostile import channel, peer, streams
from tests.hostile.attacks import ALL, LISTED, Attack, Attacker
from tests.support import packets as p

Dice = random.Random
VARIANTS = 400
"""Frames of each kind that a recipe draws from."""


def _udp(number: int, target: str, dice: Dice, size: int = 1, identity: int = 7, fragment: int = 0) -> bytes:
    ports = dice.randrange(1, 65536), dice.randrange(1, 65536)
    return p.udp(
        streams.address_of(number), target, bytes(size), ports=ports, identity=identity, fragment=fragment
    )


def _tcp_super(number: int, dice: Dice) -> bytes:
    packet = p.tcp(
        streams.address_of(number), streams.SINK, bytes(dice.randrange(100, 65000)), partial=True,
        ports=(dice.randrange(1, 65536), 9),
    )  # fmt: skip
    return p.superpacket(packet, dice.choice((28, 100, 536, 1300)))


def _udp_super(number: int, dice: Dice) -> bytes:
    segment = dice.choice((1, 8, 100, 500))
    packet = p.udp(
        streams.address_of(number), streams.SINK, bytes(segment * dice.randrange(2, 129)), partial=True,
        ports=(dice.randrange(1, 65536), 9),
    )  # fmt: skip
    return p.superpacket(packet, segment)


def _icmp_error(number: int, dice: Dice) -> bytes:
    quoted = p.udp(streams.INNOCENT, streams.address_of(number), bytes(dice.randrange(8, 500)))
    return p.icmp(streams.address_of(number), streams.INNOCENT, dice.choice((3, 11)), quoted)


def _extended(number: int, dice: Dice) -> bytes:
    options = streams.destination_options(8 * dice.randrange(2, 257))
    return p.ip(streams.address_6_of(number), streams.SINK_6, 60, options + bytes(dice.randrange(0, 100)))


def _bad_headers(number: int, dice: Dice) -> bytes:
    packet = _udp(number, streams.SINK, dice, 100)
    fields = struct.pack(
        "<BBHHHH", dice.choice((0, 1)), dice.randrange(256), *dice.choices(range(65536), k=4)
    )
    return fields + packet


def _control(kind: int, fields: dict[int, bytes]) -> bytes:
    return bytes([wire_control.MARK, kind]) + wire_fields.encode(fields.items())


INGREDIENTS: dict[str, Callable[[int, Dice], bytes]] = {
    "junk": lambda number, dice: b"\xee" + dice.randbytes(dice.choice((0, 0, 1, 20, 1000))),
    "empty": lambda number, dice: b"",
    "gost-keepalive": lambda number, dice: b"GOST" + bytes(16),
    "ping": lambda number, dice: wire_control.encode_ping(dice.randbytes(8)),
    "pong": lambda number, dice: wire_control.encode_pong(dice.randbytes(8)),
    "hello": lambda number, dice: streams.hello(number),
    "drain": lambda number, dice: wire_control.encode_drain(),
    "unknown-control": lambda number, dice: bytes([0xF0, dice.randrange(5, 256)]) + bytes(dice.randrange(50)),
    "many-fields": lambda number, dice: b"\xf0\1" + b"\x63\0\0" * dice.randrange(1, 2000),
    "bad-control": lambda number, dice: b"\xf0\1\1\0\x10short",
    "settings": lambda number, dice: _control(8, {dice.choice((2, 3, 4)): bytes(dice.choice((1, 2048, 65000)))}),
    "settings-reply": lambda number, dice: wire_control.encode_settings(push_settings.numbered(dice.randrange(9))),
    "lane": lambda number, dice: wire_control.encode_lane(wire_control.Lane()),
    "switch": lambda number, dice: wire_control.encode_switch(),
    "advice": lambda number, dice: _control(5, {1: dice.randbytes(4), 2: dice.randbytes(dice.choice((0, 255, 60000)))}),
    "datagram-key": lambda number, dice: wire_control.encode_datagrams(wire_control.Datagrams(dice.randbytes(3), dice.randbytes(32), bytes(8), 1)),
    "datagram-refusal": lambda number, dice: wire_control.encode_datagrams(wire_control.Datagrams()),
    "wrong-source": lambda number, dice: p.udp("192.168.99.9", streams.INNOCENT, b"x", ports=(dice.randrange(1, 9999), 9)),
    "denied": lambda number, dice: _udp(number, streams.INNOCENT, dice),
    "nowhere": lambda number, dice: _udp(number, f"{streams.NOWHERE}.{dice.randrange(256)}.{dice.randrange(256)}", dice),
    "multicast": lambda number, dice: _udp(number, f"224.0.0.{dice.randrange(256)}", dice),
    "new-flow": lambda number, dice: _udp(number, streams.SINK, dice, dice.choice((1, 1, 100, 1300))),
    "same-flow": lambda number, dice: p.udp(streams.address_of(number), streams.SINK, bytes(dice.choice((1, 100, 1300)))),
    "too-big": lambda number, dice: _udp(number, streams.INNOCENT, dice, dice.choice((1480, 9000, 60000)), fragment=p.DONT_FRAGMENT),
    "first-fragment": lambda number, dice: _udp(number, streams.SINK, dice, 16, identity=dice.randrange(65536), fragment=p.MORE_FRAGMENTS),
    "later-fragment": lambda number, dice: p.ip(streams.address_of(number), streams.SINK, 17, bytes(8), identity=dice.randrange(65536), fragment=dice.randrange(1, 8000)),
    "truncated": lambda number, dice: _udp(number, streams.SINK, dice, 100)[: dice.randrange(1, 40)],
    "ip-options": lambda number, dice: p.ip(streams.address_of(number), streams.SINK, 17, bytes(12), options=bytes(4 * dice.randrange(1, 11))),
    "icmp-error": _icmp_error,
    "echo": lambda number, dice: p.icmp(streams.address_of(number), streams.INNOCENT, 8, dice.randbytes(8)),
    "extension-headers": _extended,
    "tcp-superpacket": _tcp_super,
    "udp-superpacket": _udp_super,
    "bad-virtio": _bad_headers,
    "long-headers": lambda number, dice: streams.extended_superpacket(number, 8 * dice.randrange(2, 2000), dice.choice((28, 100, 1000))),
}  # fmt: skip
"""A frame's content, by its name in a recipe."""

SPICES: dict[str, Callable[[Dice], bytes]] = {
    "ping": lambda dice: streams.ws_frame(bytes(dice.randrange(126)), streams.PING),
    "pong": lambda dice: streams.ws_frame(bytes(dice.randrange(126)), streams.PONG),
    "empty": lambda dice: streams.ws_frame(b""),
    "split": lambda dice: streams.ws_frame(b"", final=False) + streams.ws_frame(b"", streams.CONTINUATION),
}
"""WebSocket frames between those that carry the stream."""


@dataclass(frozen=True)
class Recipe:
    """What one attacker of this kind sends."""

    seed: int
    kind: str
    logs_in: bool = True
    greets: bool = False
    reads: bool = True
    weights: dict[str, int] | None = None
    """By ingredient."""
    message: int = 1 << 16
    """Bytes of a WebSocket message."""
    record: int = 0
    """Bytes of a TLS record; 0 as many as fit."""
    piece: int = 1 << 20
    """The most that one send takes."""
    spices: tuple[str, ...] = ()
    connections: int = 1
    attackers: int = 1
    datagrams: bool = False
    """Whether frames go by a channel of UDP, where the transport has one."""

    @property
    def by_datagrams(self) -> bool:
        return self.datagrams and self.logs_in and peer.is_encrypted(self.kind)

    def encode(self) -> str:
        """One line of JSON, which `decode` reads."""
        return json.dumps(asdict(self))

    def blob(self, number: int) -> bytes:
        """The stream of attacker `number`."""
        dice = Dice(self.seed)
        weights = self.weights or {"junk": 1}
        pool = [
            INGREDIENTS[name](number, dice)
            for name, weight in weights.items()
            for _ in range(VARIANTS * weight // sum(weights.values()) + 1)
        ]
        data = streams.shuffled(pool, dice)
        if self.by_datagrams or not peer.is_websocket(self.kind):
            return data
        messages: list[bytes] = []
        for at in range(0, len(data), self.message):
            if len(messages) > streams.BLOB // 16:  # one byte a message is long enough
                break
            messages.append(streams.ws_frame(data[at : at + self.message]))
            messages += [SPICES[name](dice) for name in self.spices]
        return b"".join(messages)

    def attack(self) -> Attack:
        """What tests.hostile.attacker does with it."""
        return Attack(
            self.encode(), self.blob, self._run, kinds=(self.kind,), hub=LISTED, sink=True, framed=False
        )

    def _run(self, me: Attacker) -> None:
        if self.by_datagrams:
            channel.flood(me)
        me.again(lambda: self._records(me) if self.record and peer.is_encrypted(me.kind) else self._once(me))

    def _once(self, me: Attacker) -> None:
        with ExitStack() as stack:
            held = [
                stack.enter_context(
                    me.session(self.greets, f"{me.host}-{n}" if n else "") if self.logs_in else me.open()
                )
                for n in range(self.connections)
            ]
            me.sent += peer.pump(held, me.blob, me.until, self.reads, self.piece)

    def _records(self, me: Attacker) -> None:
        with peer.connect(me.kind, me.hub, me.source) as sock:
            records = peer.Records(sock)
            me.connections += 1
            request = wire_relay.encode_request(wire_relay.Request(me.host))
            if peer.is_websocket(me.kind):
                records.ask(streams.UPGRADE, b"\r\n\r\n")
                request = streams.ws_frame(request)
            if self.logs_in:
                records.ask(request)
            at = 0
            while not me.over:
                part = me.blob[at : at + 1000 * self.record]
                records.send(part, self.record)
                me.sent += len(part)
                at = (at + len(part)) % len(me.blob)


def decode(text: str) -> Recipe:
    """The recipe of a line of JSON."""
    found = json.loads(text)
    found["spices"] = tuple(found["spices"])
    return Recipe(**found)


def draw(seed: int) -> Recipe:
    """A recipe of these dice."""
    dice = Dice(seed)
    names = dice.sample(sorted(INGREDIENTS), dice.choice((1, 1, 1, 2, 3, 8)))
    return Recipe(
        seed, dice.choice(ALL), dice.random() < 0.85, dice.random() < 0.6, dice.random() < 0.7,
        {name: dice.randrange(1, 10) for name in names},
        dice.choice((1, 3, 16, 1000, 16384, 1 << 16, 1 << 16)), dice.choice((0, 0, 0, 1, 16, 1000)),
        dice.choice((1, 100, 1400, 1 << 16, 1 << 20, 1 << 20)),
        tuple(sorted(dice.sample(sorted(SPICES), dice.choice((0, 0, 0, 1, 2))))),
        dice.choice((1, 1, 1, 4, 32)), dice.choice((1, 1, 2, 4)), dice.random() < 0.4,
    )  # fmt: skip


def changed(recipe: Recipe, seed: int) -> Recipe:
    """The same with something else in one or two places."""
    dice, other = Dice(seed), draw(seed)
    fields = dice.sample(
        ("kind", "greets", "reads", "weights", "message", "record", "piece", "spices", "connections", "attackers",
         "datagrams"),
        dice.choice((1, 1, 2)),
    )  # fmt: skip
    made = replace(recipe, seed=seed, **{name: getattr(other, name) for name in fields})
    if "weights" in fields and recipe.weights and other.weights:
        kept = {name: weight for name, weight in recipe.weights.items() if dice.random() < 0.7}
        made = replace(made, weights=kept | dict(list(other.weights.items())[:1]))
    return made
