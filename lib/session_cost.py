"""CPU time account of one connection: how much is read from it next, and whether it is expensive.

Knows: how long a turn may be, and how much time a forwarded packet is worth.
Refuses to know: clocks (times come in), sockets (stream_tcp), and when an expensive connection has its turn
(service_scheduling).

A turn begins when bytes have been received and ends when their reader waits again. All of it counts,
whichever layer needed it: decrypting, unmasking, parsing, judging, sending on.

    begin(size)  ...  forward(frames, bytes, cut, new)  ...  end(seconds)    -> `size` of the next, `debt`

What the hub replies itself, to pings and about names, counts as forwarded: it is bounded for each session.
Time beyond what the forwarded frames are worth is a debt, and a debt fades slowly. A turn that brought a part
of a frame is settled when the frame is forwarded. So a stream of packets never becomes expensive, however
fast it is, or however slow, nor do very many new connections; junk, control frames and denied packets do, and
so do superpackets of next to nothing that have to be cut up.

A turn that is not short is one of the long ones, of which there is one in each pass of the event loop
(service_passes). So whoever has little to say waits for one of them at most, not for all. Where turns that
began as short ones have forwarded nothing, the time that they took is bounded in each pass as well.

A steady clock is cheap to read, but it goes on while another process has our core. The clock of our own CPU
time is exact, but costs ten times as much to read. So a turn is timed by the first clock, and the turns after
a long one, or after one beyond its worth, by the second. Only what the second shows becomes a debt.
"""

from __future__ import annotations

from dataclasses import dataclass

TURN_SECONDS = 0.001
"""Seconds that a turn should take at most. The number of bytes of the next turn is chosen by it."""
HALF_TURN_SECONDS = TURN_SECONDS / 2
"""Seconds of it that a layer may take for decoding; the rest is for what becomes of the bytes."""
SHORT = 2
"""A turn that has read all there was is short up to so many times what it is worth without packets."""
LEAST, FIRST, MOST = 256, 2048, 1 << 18
"""Bytes of a turn: the least, those of a connection that is new, and the most."""
CUT_SECONDS = 1.5e-6
"""Processor time that a segment is worth which was cut from a superpacket, for a receiver that takes none."""
FLOW_SECONDS = 50e-6
"""What the first packet of a flow is worth beside, if it is passed on: a decision by all tables, and a place
in its receiver's queue. With thousands of new connections a second honest traffic needs 25 µs on average, and
up to 60 µs where other processes have emptied the caches."""
REPLY_SECONDS, MADE_SECONDS = 60e-6, 300e-6
"""Processor time that a reply of the hub itself is worth (pings, names) beyond a frame, and an answer about
names beyond that where it had to be made. They need 15 and 200 µs. A session may have 11,000 of the first and
500 of the second in each second (Attachment.pings, dns_zone). What it asks beyond that is worth nothing."""
BURST_SECONDS = 0.005
"""Seconds of debt that make nothing expensive: the first packets of all need so much, or a reconnect."""
LINK_BURSTS = 4
"""A link of many hosts may owe so many times that, until it is known which of them it is for."""
ACCIDENT_SECONDS = BURST_SECONDS / 10
"""Seconds of debt that say nothing: whose packets come rarely has cold caches."""
FORGIVEN = 0.01
"""Seconds of debt that fade in a second."""
SKIPPED_RUN_SECONDS, SKIPPED_SECONDS = 20e-6, 2e-6
"""What a run of frames is worth that is dropped unseen, since its host costs too much (cluster_costs), and
each frame of it beside: to find out whose they are. They need 7 and 0.7 µs."""
PART = 512
"""Bytes of a turn, at least, that may be a part of a frame: over a slow wire its segments come one by one."""
MOST_PARTS = (1 << 16) + 1
"""Bytes of the longest frame, with its length: so many may come in parts."""
RIVAL_SECONDS = 0.1
"""Two lanes of a session share one place among long turns while the other one had such a turn so lately."""
EXACT_TURNS = 16
"""Turns timed exactly after one that took long."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Seconds of processor time that forwarded packets are worth: more than any honest traffic needs."""

    turn: float
    """Of a turn that has read all there was: system calls, the switch of greenlets, what each layer needs.
    Honest traffic needs 70, 150, 150 and 200 µs over tcp, tls, ws and wss."""
    frame: float
    """Of each frame. Honest traffic of many small packets in a turn needs 2 µs, over tls 4, by a link 6."""
    message: float
    """Of each WebSocket message, and of no more of them than there are frames. Honest traffic needs 20 µs."""
    byte: float
    """Of each byte of the frames, since a superpacket costs by its length. Honest traffic needs 1 ns, over
    tls 3 ns, wss 7 ns."""


WORTH = {
    "tcp": Worth(110e-6, 11e-6, 0.0, 10e-9),
    "tls": Worth(190e-6, 15e-6, 0.0, 20e-9),
    "ws": Worth(190e-6, 15e-6, 60e-6, 20e-9),
    "wss": Worth(260e-6, 15e-6, 60e-6, 30e-9),
    "link": Worth(190e-6, 20e-6, 0.0, 20e-9),
}


MORE_SECONDS = 60e-6
"""What a turn is worth where more was there than it could read, or where it forwards the rest of what came
earlier: many short turns are our own choice then."""


def run_worth(frames: int, size: int, cut: int, new: int, replies: int, made: int) -> float:
    """What a run of frames by a link is worth, all of one host: seconds of processor time, as of a turn.

    For Cost.forward's and Cost.reply's figures of that run alone. Where nothing was forwarded it is nothing.
    """
    if not frames:
        return 0.0
    of = WORTH["link"]
    seconds = MORE_SECONDS + of.frame * frames + of.byte * size + CUT_SECONDS * cut
    return seconds + FLOW_SECONDS * min(new, frames) + REPLY_SECONDS * replies + MADE_SECONDS * made


@dataclass(slots=True)
class Cost:
    """The account of one connection, which is not yet let in when it begins."""

    admitted: bool = False
    """Whether it is let in. Before that each turn is expensive, as nothing is forwarded yet."""
    is_of_many: bool = False
    """Whether it carries packets of many hosts: a link. While it wastes no time its long turns wait for no
    others; its window stays as it is, and what came before its end is read."""
    size: int = FIRST
    """Bytes to read in the next turn, at most."""
    debt: float = 0.0
    expensive: bool = True
    """Whether its turns are taken from the share that all expensive connections have together."""
    long: bool = False
    """Whether its last turn was not a short one, so that it has its next one in a pass without others."""
    over: float = 0.0
    """Seconds of its last turn beyond what its forwarded frames are worth (parts of frames: nothing)."""
    exact: int = EXACT_TURNS
    """Turns that are still to be timed by the processor's own clock."""
    spent: float = 0.0
    """Seconds of all turns of a link."""
    messages: int = 0
    """WebSocket messages that were decoded in this turn (stream_layer counts them)."""
    _parts: int = 0
    """Bytes of parts of a frame since the last turn that forwarded one."""
    _parts_seconds: float = 0.0
    """What their turns took; it becomes debt if no frame is forwarded that they can be parts of."""
    _prices: Worth = WORTH["tcp"]
    _worth: float = 0.0
    _read: int = 0
    _seen_at: float = 0.0
    beside: Cost | None = None
    """That of the other lane of its session; None where there is one lane."""
    _own_at: float = 0.0
    """When its own last turn ended; `_seen_at` is that of any lane."""

    @property
    def patience(self) -> float:
        """Seconds of a steady clock after which a turn ends: more where they may be another process's."""
        return TURN_SECONDS if self.exact else 4 * TURN_SECONDS

    @property
    def wastes(self) -> bool:
        """Whether its last turns have taken more time for nothing than an accident would."""
        return self.debt > ACCIDENT_SECONDS

    @property
    def keeps_little(self) -> bool:
        """Whether little of what the peer has sent shall lie unread in the kernel."""
        return self.expensive and self.admitted and not self.is_of_many

    @property
    def heard(self) -> bool:
        """Whether a byte has come, of a connection that is not let in yet."""
        return self._read > 0

    def admit(self, transport: str) -> None:
        """Note that the connection is a session now ("tcp", "tls", "ws" or "wss"), or a "link" between hubs.

        What its handshakes cost was paid from the share, so it begins without a debt.
        """
        self.admitted, self.expensive, self._prices, self.debt = True, False, WORTH[transport], 0.0
        self.is_of_many = transport == "link"

    def join(self, other: Cost) -> None:
        """Have one debt together with another connection from now on: both are lanes of one session."""
        self.beside, other.beside = other, self
        self.debt, self.expensive, self._seen_at = other.debt, other.expensive, other._seen_at

    def part(self) -> None:
        """This connection has ended; the other lane goes on alone."""
        other, self.beside = self.beside, None
        if other is not None:
            other.beside = None

    @property
    def has_rival(self) -> bool:
        """Whether the other lane of the session has had a long turn lately."""
        beside = self.beside
        return beside is not None and beside.long and beside._seen_at - beside._own_at < RIVAL_SECONDS

    def begin(self, size: int) -> None:
        """Begin a turn, with `size` bytes just received."""
        self._read, self._worth, self.messages = size, 0.0, 0

    def forward(self, frames: int, size: int, cut: int, new: int = 0) -> None:
        """Note that the turn has passed on `frames` of `size` bytes, some of them cut into `cut` segments.

        For `new` frames it had to decide first where they go: flows begin so.
        """
        if frames:
            of = self._prices
            self._worth += of.turn if 0 < self._read < self.size else MORE_SECONDS
            self._worth += of.frame * frames + of.byte * size + CUT_SECONDS * cut
            if self.messages or new:
                self._worth += of.message * min(self.messages, frames) + FLOW_SECONDS * min(new, frames)

    def reply(self, replies: int, made: int) -> None:
        """Note how many of the frames passed on are replies of the hub, and how many had to be made."""
        self._worth += REPLY_SECONDS * replies + MADE_SECONDS * made

    def skip(self, runs: int, frames: int, size: int) -> None:
        """Note that the turn has dropped `frames` of `size` bytes in so many runs without a look at them."""
        of = self._prices
        seconds = SKIPPED_RUN_SECONDS * runs + SKIPPED_SECONDS * frames + of.byte * size
        if not self._worth:  # forward() has not counted what the turn itself needs
            seconds += of.turn if 0 < self._read < self.size else MORE_SECONDS
        self._worth += seconds

    def spare(self, seconds: float) -> None:
        """Note that so much of the turn was work for somebody else, who is charged for it."""
        self._worth += seconds

    def end(self, seconds: float, now: float) -> None:
        """End a turn that took `seconds`; `now` is in seconds of any steady clock."""
        is_full, known = self._read >= self.size, self.exact > 0
        self.over = seconds - self._worth
        if self.is_of_many:  # of a long one that is not timed exactly another process may have had most
            self.spent += seconds if known else min(seconds, TURN_SECONDS)
        self.long = is_full or seconds > SHORT * self._prices.turn
        if seconds > TURN_SECONDS:
            self.exact = EXACT_TURNS
            if not known:
                return  # it may be that another process had the core
            self._shrink(seconds)
        else:
            if self.exact:
                self.exact -= 1
            if is_full and 2 * seconds <= TURN_SECONDS:
                self.size = min(MOST, 2 * self.size)
        over = self._unworthy(seconds) if self._parts or not self._worth else self.over
        if over > 0 and not known:  # likewise: the next turns will show it
            self.exact, over = EXACT_TURNS, 0.0
        if self.debt or over > 0:
            faded = (now - self._seen_at) * FORGIVEN
            self.debt = max(0.0, self.debt - faded) + max(0.0, over)
            most = LINK_BURSTS * BURST_SECONDS if self.is_of_many else BURST_SECONDS
            self.expensive = not self.admitted or self.debt > most
        self._seen_at = now
        if self.beside is not None:
            self._own_at = now
            beside = self.beside
            beside.debt, beside.expensive, beside._seen_at = self.debt, self.expensive, now

    def _unworthy(self, seconds: float) -> float:
        """Seconds of a turn beyond its worth. Parts of a frame are worth a turn each once it is forwarded."""
        over = seconds - self._worth
        if self._worth:
            self._parts, self._parts_seconds = 0, 0.0
        elif self._read >= PART and self._parts + self._read <= MOST_PARTS:
            spared = min(seconds, self._prices.turn)
            self._parts += self._read
            self._parts_seconds += spared
            self.exact = max(self.exact, 1)  # the turn that settles them has to be known
            over -= spared
        elif self._parts:
            over += self._parts_seconds
            self._parts, self._parts_seconds = 0, 0.0
        return over

    def _shrink(self, seconds: float) -> None:
        self.size = max(LEAST, int(min(self.size, self._read or LEAST) * TURN_SECONDS / seconds))
