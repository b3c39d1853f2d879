"""Fair queue of slow checks of clients (a hash in a thread, a plugin's reply), with a lane for each address.

Knows: the order of the checks. There is a lane for each address (limits.stranger), and one for each login or
host name that was right from its address lately. Those that were right go first, one check of each at a time;
addresses take turns. However much is guessed from one address, a client of another waits for one of those
checks, or for none where an address may not have all places. The check of a client that has gone is not made.
Refuses to know: what is checked (auth_password_pool, rule_live).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from gevent.event import AsyncResult

from lib.auth_admission import stays
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal

MAX_WAITING, MAX_OF_ONE = 1024, 64
"""Most checks that wait, in all and of one address: 64 hashes take some two seconds."""
MAX_LATELY = 65536
"""Most logins (with their address) that are remembered as right."""

OF_SESSION = "session"
"""The address of checks of sessions that are there already (rule_recheck); no client has it.

They go first and are never refused: else guesses from many addresses could keep a session whose login is
gone. There is one of them at a time.
"""

Login = tuple[str, str]
"""What is checked, a user name or a host name, and the address that it comes from."""

Key = TypeVar("Key", Login, str)


class Busy(OSError):
    """Too many checks wait, so this one is not made: it is not known whether the login is right."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A check that waits for its turn."""

    has_gone: Callable[[], bool]
    """Whether its client has closed the connection."""
    turn: AsyncResult = field(default_factory=AsyncResult)
    """None where it is this one's turn, else why there will be none.

    It is no set_exception(): the exception would hold the frame that waits, and the frame this. Hundreds of
    refused clients at once then were garbage that only a full collection finds, which takes 0.1 s.
    """


class Lanes:
    """The checks that run, at most `at_once`, and those that wait for their turn."""

    def __init__(self, at_once: int, of_one: int = 0) -> None:
        """`of_one` is how many checks of one address run at the same time; 0 for all of them."""
        self._free, self._of_one = at_once, of_one or at_once
        self._running: Counter[str] = Counter()
        self._first: OrderedDict[Login, deque[_Waiter]] = OrderedDict()
        self._others: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._lately: OrderedDict[Login, None] = OrderedDict()
        self.waiting = 0

    @contextmanager
    def turn(self, login: Login, has_gone: Callable[[], bool] = stays) -> Iterator[None]:
        """Wait for a turn, which lasts as long as the block. Raises as enter()."""
        self.enter(login, has_gone)
        try:
            yield
        finally:
            self.leave(login)

    def enter(self, login: Login, has_gone: Callable[[], bool] = stays) -> None:
        """Wait for a turn, which leave() ends. Raises Busy where too many wait already.

        Raises ProtocolError where the client has gone by then (`has_gone`): guesses that nobody waits for any
        more would take the turns of those who do.
        """
        if self._free and self._running[login[1]] < self._of_one:
            self._take(login[1])
            return
        waiter = _Waiter(has_gone)
        self._put(waiter, login)
        try:
            refused = waiter.turn.get()
        except BaseException:  # killed, or too late: a turn that nobody takes goes to the next one
            if not waiter.turn.ready():
                self._remove(waiter)
            elif waiter.turn.value is None:
                self.leave(login)
            raise
        try:
            if refused is not None:
                raise refused
        finally:
            del refused, waiter

    def leave(self, login: Login) -> None:
        """End a turn that enter() gave to `login`, and let the next waiting check begin."""
        address = login[1]
        self._free += 1
        self._running[address] -= 1
        if not self._running[address]:
            del self._running[address]
        while self._free and (found := self._next()) is not None:
            whose, waiter = found
            if waiter.has_gone():
                waiter.turn.set(ProtocolError("it has closed while it waited to be checked", Refusal.CUT_OFF))
                continue
            self._take(whose)
            waiter.turn.set(None)

    def _take(self, address: str) -> None:
        self._free -= 1
        self._running[address] += 1

    def judged(self, login: Login, right: bool) -> None:
        """Note the result of a check: a login that was right goes first the next time."""
        self._lately.pop(login, None)
        if right and login[1] != OF_SESSION:
            if len(self._lately) >= MAX_LATELY:
                self._lately.popitem(last=False)
            self._lately[login] = None

    def _put(self, waiter: _Waiter, login: Login) -> None:
        address = login[1]
        if address == OF_SESSION or (login in self._lately and login not in self._first):
            self._first.setdefault(login, deque()).append(waiter)
        else:
            length = len(self._others.get(address, ()))
            if length >= MAX_OF_ONE:
                raise Busy(f"{MAX_OF_ONE} clients from {address or 'there'} wait to be checked")
            if self.waiting >= MAX_WAITING and not self._make_room(length + 1):
                raise Busy(f"{MAX_WAITING} clients wait to be checked")
            self._others.setdefault(address, deque()).append(waiter)
        self.waiting += 1

    def _make_room(self, length: int) -> bool:
        """Refuse (Busy) the newest check of the longest lane, if that is longer than `length`."""
        longest = max(self._others, key=lambda address: len(self._others[address]), default=None)
        if longest is None or len(self._others[longest]) <= length:
            return False
        self._others[longest].pop().turn.set(Busy(f"{MAX_WAITING} clients wait to be checked"))
        self.waiting -= 1
        return True

    def _next(self) -> tuple[str, _Waiter] | None:
        """The check whose turn it is, with its address: of an address that may have one more."""
        for login in self._first:
            if self._running[login[1]] < self._of_one:
                return login[1], self._pop(self._first, login)
        for address in self._others:
            if self._running[address] < self._of_one:
                return address, self._pop(self._others, address)
        return None

    def _pop(self, lanes: OrderedDict[Key, deque[_Waiter]], key: Key) -> _Waiter:
        lane = lanes.pop(key)
        waiter = lane.popleft()
        if lane:
            lanes[key] = lane  # the last one now
        self.waiting -= 1
        return waiter

    def _remove(self, waiter: _Waiter) -> None:
        _remove(self._first, waiter)
        _remove(self._others, waiter)
        self.waiting -= 1


def _remove(lanes: OrderedDict[Key, deque[_Waiter]], waiter: _Waiter) -> None:
    for key, lane in lanes.items():
        if waiter in lane:
            lane.remove(waiter)
            if not lane:
                del lanes[key]
            return
