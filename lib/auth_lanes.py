"""Fair queue of slow login checks (a hash in a thread, a plugin's reply), with a lane for each address.

Knows: the order of the checks. There is a lane for each address (limits.stranger), and one for each login
that was right from its address lately. Logins that were right go first, one check of each at a time;
addresses take turns. However many logins are guessed from one address, a login from another waits for one of
those checks.
Refuses to know: what is checked (auth_password_pool, rule_live).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from gevent.event import AsyncResult

MAX_WAITING, MAX_OF_ONE = 1024, 64
"""Most checks that wait, in all and of one address: 64 hashes take some two seconds."""
MAX_LATELY = 65536
"""Most logins (with their address) that are remembered as right."""

Login = tuple[str, str]
"""User name and address."""


class Busy(OSError):
    """Too many checks wait, so this one is not made: it is not known whether the login is right."""


class Lanes:
    """The checks that run, at most `at_once`, and those that wait for their turn."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._first: OrderedDict[Hashable, deque[AsyncResult]] = OrderedDict()
        self._others: OrderedDict[Hashable, deque[AsyncResult]] = OrderedDict()
        self._lately: OrderedDict[Login, None] = OrderedDict()
        self.waiting = 0

    @contextmanager
    def turn(self, login: Login) -> Iterator[None]:
        """Wait for a turn, which lasts as long as the block. Raises Busy where too many wait already."""
        self.enter(login)
        try:
            yield
        finally:
            self.leave()

    def enter(self, login: Login) -> None:
        """Wait for a turn, which leave() ends. Raises Busy where too many wait already."""
        if self._free:
            self._free -= 1
            return
        waiter = AsyncResult()
        self._put(waiter, login)
        try:
            waiter.get()
        except BaseException:  # killed, or too late: a turn that nobody takes goes to the next one
            if not waiter.ready():
                self._remove(waiter)
            elif waiter.successful():
                self.leave()
            raise

    def leave(self) -> None:
        """End a turn, and let the next waiting check begin."""
        waiter = self._next()
        if waiter is None:
            self._free += 1
        else:
            waiter.set(True)

    def judged(self, login: Login, right: bool) -> None:
        """Note the result of a check: a login that was right goes first the next time."""
        self._lately.pop(login, None)
        if right:
            if len(self._lately) >= MAX_LATELY:
                self._lately.popitem(last=False)
            self._lately[login] = None

    def _put(self, waiter: AsyncResult, login: Login) -> None:
        address = login[1]
        if login in self._lately and login not in self._first:
            self._first[login] = deque((waiter,))
        else:
            length = len(self._others.get(address, ()))
            if length >= MAX_OF_ONE:
                raise Busy(f"{MAX_OF_ONE} logins from {address or 'there'} wait to be checked")
            if self.waiting >= MAX_WAITING and not self._make_room(length + 1):
                raise Busy(f"{MAX_WAITING} logins wait to be checked")
            self._others.setdefault(address, deque()).append(waiter)
        self.waiting += 1

    def _make_room(self, length: int) -> bool:
        """Refuse (Busy) the newest check of the longest lane, if that is longer than `length`."""
        longest = max(self._others, key=lambda address: len(self._others[address]), default=None)
        if longest is None or len(self._others[longest]) <= length:
            return False
        self._others[longest].pop().set_exception(Busy(f"{MAX_WAITING} logins wait to be checked"))
        self.waiting -= 1
        return True

    def _next(self) -> AsyncResult | None:
        for lanes in (self._first, self._others):
            if lanes:
                key, lane = lanes.popitem(last=False)
                waiter = lane.popleft()
                if lane:
                    lanes[key] = lane
                self.waiting -= 1
                return waiter
        return None

    def _remove(self, waiter: AsyncResult) -> None:
        for lanes in (self._first, self._others):
            for key, lane in lanes.items():
                if waiter in lane:
                    lane.remove(waiter)
                    if not lane:
                        del lanes[key]
                    self.waiting -= 1
                    return
