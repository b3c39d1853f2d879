"""Ciphers of datagrams: those of `cryptography`, and which of them this machine does faster.

Knows: how long each takes here, measured at the first question.
Refuses to know: keys and when they change (datagram_keys).
"""

from __future__ import annotations

import time
from functools import cache

from lib import datagram_keys
from lib.wire_control import KEY_SIZE, Cipher

ROUNDS, TRIED_BYTES = 20, 1400
"""How often each cipher is tried, and with how many bytes: some 50 µs in all."""


def make(cipher: int, key: bytes) -> datagram_keys.Cipher:
    """A cipher that is known, with a key (32 bytes)."""
    from cryptography.hazmat.primitives.ciphers import aead  # 4 MB that only channels need

    if cipher == Cipher.CHACHA20_POLY1305:
        return aead.ChaCha20Poly1305(key)
    assert cipher == Cipher.AES_GCM
    return aead.AESGCM(key)


def is_known(cipher: int) -> bool:
    """Whether there is such a cipher here."""
    return cipher in list(Cipher)


@cache
def fastest() -> Cipher:
    """The cipher that takes this machine the least time: AES where the processor has it."""
    return min(Cipher, key=_seconds)


def _seconds(cipher: Cipher) -> float:
    """The least time that it took to encrypt one datagram."""
    made, data = make(cipher, bytes(KEY_SIZE)), bytes(TRIED_BYTES)
    least = float("inf")
    for number in range(ROUNDS):
        nonce = number.to_bytes(12, "big")
        began = time.perf_counter()
        made.encrypt(nonce, data, b"")
        least = min(least, time.perf_counter() - began)
    return least
