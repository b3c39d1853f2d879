"""Thread pool for checks of hashed passwords off the packet path, and a cache of right passwords.

Knows: that one check takes some 40 ms and 16 MB, and must not hold up packets.
Refuses to know: the hash function (auth_passwords), whose password it is (auth_logins), the order of the
checks (auth_lanes).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from gevent import monkey
from gevent.threadpool import ThreadPool

from lib import auth_passwords, service_heap
from lib.auth_admission import stays
from lib.auth_lanes import Lanes, Login
from lib.bounded_dict import BoundedDict

NICER, LOWEST = 5, 19
"""How much higher the nice value of a checking thread is than the process's: where both want one core, the
check gets a quarter of it. Linux has a nice value for each thread. It must not be much higher: at its end a
check holds the interpreter's lock for a moment, and packets wait until it has had a core for that. The
second is the highest there is."""
AT_ONCE = 2 if len(os.sched_getaffinity(0)) > 2 else 1
"""Checks at the same time: more would need more memory and not be faster. Two that share a core would hold up
each other, and packets with them, when one of them needs the interpreter's lock."""
MAX_KNOWN = 65536
"""Right passwords remembered: a thousand clients that reconnect would otherwise need some 40 s of checks."""

_thread_id = monkey.get_original("_thread", "get_native_id")


class Checks:
    """The password checks of a process."""

    def __init__(self) -> None:
        self.lanes = Lanes(AT_ONCE)
        self._pool: ThreadPool | None = None
        # The cache holds keyed hashes. The key dies with the process, so nobody can find the passwords.
        self._key = os.urandom(32)
        self._known: BoundedDict[bytes, None] = BoundedDict(MAX_KNOWN)

    def matches(
        self,
        stored: str | None,
        password: str,
        dearest: str = "",
        login: Login = ("", ""),
        has_gone: Callable[[], bool] = stays,
        *,
        others: tuple[str | None, ...] = (),
    ) -> bool:
        """As auth_passwords.matches; a hash is checked in a thread while other greenlets run.

        `login` (user name, address) says in which lane the check waits, `has_gone` whether its client has
        gone by then. Raises as Lanes.enter. A password that is remembered as right does not wait. A name that
        nobody has is never remembered, so it takes as long as a wrong password.
        """
        if not any(auth_passwords.takes_a_while(one, dearest) for one in (stored, *others)):
            return auth_passwords.matches(stored, password, dearest, others=others)
        told_apart = repr((stored, *others, password))  # whatever characters a password has
        mark = hashlib.blake2b(told_apart.encode(), key=self._key).digest()
        if stored is not None and mark in self._known:
            return True
        check = partial(_behind_packets, auth_passwords.matches, stored, password, dearest, others=others)
        self.lanes.enter(login, has_gone)
        right = self._in_a_thread(check, login)
        self.lanes.judged(login, right)
        if right:
            self._known.remember(mark, None)
        return right

    def _in_a_thread(self, check: Callable[[], bool], login: Login) -> bool:
        """Check in a thread, and end the turn when that is over."""
        try:
            if self._pool is None:
                service_heap.return_large_blocks()  # a check needs one
                self._pool = ThreadPool(AT_ONCE)
            result = self._pool.spawn(check)
        except BaseException:
            self.lanes.leave(login)
            raise
        result.rawlink(
            lambda _: self.lanes.leave(login)
        )  # not at the end here: if this greenlet is killed, the thread goes on
        right: bool = result.get()
        return right


def _behind_packets(check: Callable[..., bool], *arguments: object, **others: object) -> bool:
    """Check in this thread, which from now on gets little of a core that packets need (setpriority(2))."""
    with suppress(OSError):  # a sandbox may refuse it
        own = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, _thread_id(), min(LOWEST, own + NICER))
    return check(*arguments, **others)


CHECKS = Checks()
