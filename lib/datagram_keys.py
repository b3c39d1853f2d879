"""Keys of a datagram channel: one seals the datagrams that are sent, another opens those that come.

Knows: nonces, counters and the replay window of a key, and when it is too old or used up.
Refuses to know: ciphers (datagram_ciphers), randomness and clocks (they come in), which peer it is
(datagram_peer).

                 gets a key        is replaced                       ends
    who opens    makes it          120 s old and in use, or half     10 s after the first datagram with its
                                   of its counters have come         successor, or 190 s old
    who seals    is told it        when the next one comes           180 s old, or no counter is left

So a key of which nobody hears any more is not used for ever, and what is on the way at a change is read.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

from lib.datagram_window import Window
from lib.datagram_wire import HEADER_SIZE, MAX_COUNTER, header, label_of
from lib.packet import Buffer

RENEW_SECONDS, RENEW_COUNTER = 120.0, 1 << 31
"""From which age, and which counter, on a key that is in use is replaced."""
REJECT_SECONDS = 180.0
"""The age from which nothing is sealed with a key (as in WireGuard)."""
GRACE_SECONDS = 10.0
"""How long a key opens after its successor has been used; it does as long as this past REJECT_SECONDS."""

_COUNTER = struct.Struct("!I").pack


class Cipher(Protocol):
    """An AEAD cipher with its key, as those of `cryptography`; `decrypt` raises where a tag is wrong."""

    def encrypt(self, nonce: bytes, data: Buffer, start: bytes, /) -> bytes:
        """The encrypted data and the tag."""

    def decrypt(self, nonce: bytes, data: Buffer, start: bytes, /) -> bytes:
        """What was encrypted."""


class SealKey:
    """A key that the far end has given, for what is sent to it."""

    __slots__ = ("_cipher", "_label", "_salt", "counter", "since")

    def __init__(self, cipher: Cipher, index: bytes, salt: bytes, now: float) -> None:
        self._cipher, self._label, self._salt = cipher, label_of(index), salt
        self.counter = 0
        """That of the next datagram."""
        self.since = now

    def lasts(self, count: int, now: float) -> bool:
        """Whether so many datagrams more may be sealed with it."""
        return self.counter + count <= MAX_COUNTER + 1 and now - self.since < REJECT_SECONDS

    def seal(self, plains: Sequence[Buffer]) -> list[bytes]:
        """The datagrams with these; `lasts` has said that they may be sealed."""
        label, salt, encrypt = self._label, self._salt, self._cipher.encrypt
        sealed = []
        for counter, plain in enumerate(plains, self.counter):
            start = header(label, counter)
            sealed.append(start + encrypt(salt + _COUNTER(counter), plain, start))
        self.counter += len(sealed)
        return sealed


class OpenKey:
    """A key that was given to the far end, for what it sends."""

    __slots__ = ("_cipher", "_salt", "_window", "label", "received", "since", "until")

    def __init__(self, cipher: Cipher, index: bytes, salt: bytes, now: float) -> None:
        self._cipher, self._salt, self._window = cipher, salt, Window()
        self.label = label_of(index)
        self.since, self.until = now, now + REJECT_SECONDS + GRACE_SECONDS
        """When it was made, and from when on it opens nothing."""
        self.received = 0
        """Datagrams that were opened with it."""

    @property
    def expected(self) -> int:
        """How many datagrams have been sealed with it, as far as is known here: at least so many."""
        return self._window.top + 1

    def open(self, counter: int, datagram: Buffer) -> bytes | None:
        """What was encrypted in a datagram with this counter; None where it is forged or has come before."""
        if not self._window.is_new(counter):
            return None
        start = datagram[:HEADER_SIZE]
        try:
            plain = self._cipher.decrypt(self._salt + _COUNTER(counter), datagram[HEADER_SIZE:], bytes(start))
        except Exception:  # noqa: BLE001  InvalidTag, which is a class of cryptography's: not imported here
            return None
        self._window.take(counter)
        self.received += 1
        return plain

    def is_due(self, now: float) -> bool:
        """Whether it should be replaced, if it is in use."""
        return now - self.since >= RENEW_SECONDS or self.expected > RENEW_COUNTER
