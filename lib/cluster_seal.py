"""Signatures of messages in a registry: what proves whose a message is, and what that hub may claim.

Knows: what a signature is over; the shared secret of a cluster, by which all hubs trust each other in full.
Refuses to know: keys of single hubs (cluster_trust), what is signed (cluster_wire).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import Enum
from typing import Protocol


class Proof(Enum):
    """What a signature has shown."""

    GOOD = "it is that hub's"
    BAD = "it is not that hub's"
    UNREAD = "the hub's certificate has not been read yet"
    STRANGER = "nobody trusts that hub"


class Seal(Protocol):
    """How one hub signs, and how it knows and trusts others."""

    @property
    def certificate(self) -> bytes:
        """What others know this hub's signatures by, DER; empty where a secret is enough."""

    def sign(self, data: bytes) -> bytes:
        """A signature of this hub."""

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        """Whether a signature is that of a hub; also of this one."""

    def grants(self, name: str, namespace: bytes) -> bool:
        """Whether a hub may claim hosts of a namespace, and send packets of them."""

    def learn(self, name: str, certificate: bytes) -> bool:
        """Take a hub's certificate (DER) as it stands in the registry; False where it is not that hub's."""


class SharedSeal:
    """The seal of all hubs that have one secret."""

    certificate = b""

    def __init__(self, secret: bytes, where: str) -> None:
        """`where` is the registry's key in Redis."""
        self._key, self._where = key_for(secret, "registry"), where

    def sign(self, data: bytes) -> bytes:
        """An HMAC, 32 bytes."""
        return hmac.digest(self._key, to_sign(self._where, data), hashlib.sha256)

    def check(self, name: str, data: bytes, signature: bytes) -> Proof:
        """Whoever has the secret is every hub."""
        return Proof.GOOD if hmac.compare_digest(self.sign(data), signature) else Proof.BAD

    def grants(self, name: str, namespace: bytes) -> bool:
        """Returns True: whoever has the secret may claim everything."""
        return True

    def learn(self, name: str, certificate: bytes) -> bool:
        """Returns False: nobody has a certificate of its own."""
        return False


def to_sign(where: str, data: bytes) -> bytes:
    """What a signature of a message is over: what was copied from another registry is not believed."""
    key = where.encode("utf-8", "surrogateescape")
    return b"".join((b"tunrouter cluster registry", struct.pack("!I", len(key)), key, data))


def key_for(secret: bytes, purpose: str) -> bytes:
    """The key for one purpose, made of a cluster's secret: 32 bytes, which do not give the secret away."""
    return hmac.digest(secret, b"tunrouter cluster: " + purpose.encode(), hashlib.sha256)
