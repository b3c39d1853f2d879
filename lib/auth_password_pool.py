"""Checking hashed passwords beside the packets: in threads, in fair turns, and each right one only once.

Knows: that a check takes some 40 ms and 16 MB, and must not hold up anybody.
Refuses to know: the hash (auth_passwords), whose it is (auth_logins), whose turn it is (auth_lanes).
"""

from __future__ import annotations

import hashlib
import os

from gevent.threadpool import ThreadPool

from lib import auth_passwords
from lib.auth_lanes import Lanes, Login

AT_ONCE = 2
"""Checks at a time: more would only take memory from each other."""
MAX_KNOWN = 65536
"""Right answers remembered, so that a thousand clients that come back do not take a minute."""


class Checks:
    """The checks of a process."""

    def __init__(self) -> None:
        self.lanes = Lanes(AT_ONCE)
        self._pool: ThreadPool | None = None
        # of what is remembered nobody can tell the password: it is keyed, and the key is gone with us
        self._key = os.urandom(32)
        self._known: dict[bytes, None] = {}

    def matches(self, stored: str | None, password: str, dearest: str = "", login: Login = ("", "")) -> bool:
        """As auth_passwords.matches, for greenlets; login says whose turn it takes. Raises Busy.

        What is remembered as right does not wait. A name that nobody has is never remembered, so it takes as
        long as a wrong password does.
        """
        if not auth_passwords.takes_a_while(stored, dearest):
            return auth_passwords.matches(stored, password, dearest)
        text = f"{stored}\0{password}".encode("utf-8", "surrogateescape")
        mark = hashlib.blake2b(text, key=self._key).digest()
        if stored is not None and mark in self._known:
            return True
        right = self._in_a_thread(stored, password, dearest, login)
        self.lanes.judged(login, right)
        if right:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[mark] = None
        return right

    def _in_a_thread(self, stored: str | None, password: str, dearest: str, login: Login) -> bool:
        self.lanes.enter(login)
        try:
            self._pool = self._pool or ThreadPool(AT_ONCE)
            result = self._pool.spawn(auth_passwords.matches, stored, password, dearest)
        except BaseException:
            self.lanes.leave()
            raise
        result.rawlink(lambda _: self.lanes.leave())  # whoever waits may be killed: the thread goes on
        right: bool = result.get()
        return right


CHECKS = Checks()
