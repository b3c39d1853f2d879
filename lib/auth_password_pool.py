"""Checking hashed passwords beside the packets: in a thread, and each right one only once.

Knows: that a check takes some 40 ms and 16 MB, and must not hold up anybody.
Refuses to know: the hash (auth_passwords), whose it is (auth_logins).
"""

from __future__ import annotations

import hashlib
import os

from gevent.threadpool import ThreadPool

from lib import auth_passwords
from lib.bounded_dict import BoundedDict

AT_ONCE = 2
"""Checks at a time: more would only take memory from each other."""
MAX_KNOWN = 65536
"""Right answers remembered, so that a thousand clients that come back do not take a minute."""

_key = os.urandom(32)
_known: BoundedDict[bytes, None] = BoundedDict(MAX_KNOWN)
_pool: list[ThreadPool] = []


def matches(stored: str, password: str) -> bool:
    """As passwords.matches, for greenlets."""
    if not auth_passwords.is_hashed(stored):
        return auth_passwords.matches(stored, password)
    # of what is remembered nobody can tell the password: it is keyed, and the key is gone with us
    mark = hashlib.blake2b(f"{stored}\0{password}".encode("utf-8", "surrogateescape"), key=_key).digest()
    if mark in _known:
        return True
    if not _pool:
        _pool.append(ThreadPool(AT_ONCE))
    right: bool = _pool[0].apply(auth_passwords.matches, (stored, password))
    if right:
        _known.remember(mark, None)
    return right
