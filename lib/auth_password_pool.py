"""Thread pool that checks hashed passwords off the packet path, and a cache of those that were right.

Knows: that one check takes some 40 ms and 16 MB, and must not hold up packets.
Refuses to know: the hash function (auth_passwords), whose password it is (auth_logins).
"""

from __future__ import annotations

import hashlib
import os

from gevent.threadpool import ThreadPool

from lib import auth_passwords
from lib.bounded_dict import BoundedDict

AT_ONCE = 2
"""Checks at the same time: more would need more memory and not be faster."""
MAX_KNOWN = 65536
"""Right passwords remembered: a thousand clients that reconnect would otherwise need some 40 s of checks."""

_key = os.urandom(32)
_known: BoundedDict[bytes, None] = BoundedDict(MAX_KNOWN)
_pool: list[ThreadPool] = []


def matches(stored: str, password: str) -> bool:
    """Whether a password is the stored one, as auth_passwords.matches; only the calling greenlet waits."""
    if not auth_passwords.is_hashed(stored):
        return auth_passwords.matches(stored, password)
    # a keyed digest is remembered, never the password; the key is random and is gone when the process ends
    mark = hashlib.blake2b(f"{stored}\0{password}".encode("utf-8", "surrogateescape"), key=_key).digest()
    if mark in _known:
        return True
    if not _pool:
        _pool.append(ThreadPool(AT_ONCE))
    right: bool = _pool[0].apply(auth_passwords.matches, (stored, password))
    if right:
        _known.remember(mark, None)
    return right
