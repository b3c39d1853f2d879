"""The hosts of a process as pages see them: looked at once a tick, however many pages are open.

Knows: how often hosts are looked at, and how pages are told; a page that does not read is cut off.
Refuses to know: what is read of each session (api_own), what a problem is (api_hosts), what differs
(api_board), HTTP and logins.

    every 10 s    a look, for the curves of the last hour
    every 2 s     while pages are open: a look, one difference for each scope, whose bytes all pages get
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from lib import api_history, ids
from lib.api_board import KEPT, TICK_SECONDS, Board
from lib.api_history import History
from lib.api_hosts import AWAY, Hosts, Row
from lib.api_hubs import Hubs, Key, Look
from lib.api_request import Refused
from lib.namespace_titles import title_of_uuid
from lib.service_scheduling import breathe
from lib.service_supervisor import Task

MAX_PAGES = 64
"""Streams of hosts that are open at once."""
MAX_QUEUED = KEPT
"""Ticks that wait for a page; then it is cut off, and comes again. They are those that are kept anyway."""
MAX_BOARDS = 64
IDLE_SECONDS = 60.0
"""After so long without a page the list of a scope is forgotten."""
SLICE = 64
"""Hosts after which packets get their turn."""
_RESET = b"event: reset\ndata: {}\n\n"
_BYE = b'event: bye\ndata: {"reason": "%s"}\n\n'


class _Page:
    """One open page: what waits for it."""

    def __init__(self, gone: Callable[[], bool]) -> None:
        self.gone = gone
        self.waiting: deque[bytes] = deque()
        self.ready = Event()
        self.greenlet = gevent.getcurrent()


class Live:
    """All hosts, the boards of the scopes that are looked at, and the pages."""

    def __init__(self, hubs: Hubs) -> None:
        """Nothing is looked at before start()."""
        self.hosts = Hosts(ids.format_uuid)
        self._hubs = hubs
        self._boards: dict[str, Board] = {}
        self._pages: dict[str, set[_Page]] = {}
        self._rows: list[Row] = []
        self._looked_at = float("-inf")
        self._enrolled: set[Key] = set()
        self._is_first = True
        self._one = BoundedSemaphore(1)
        self._ended = False
        self._task = Task("the web API looks at hosts", self._run, vital=False)

    def start(self) -> None:
        """Begin to look."""
        self._task.start()

    def stop(self) -> None:
        """Look no more, and end all pages."""
        self._ended = True
        self._task.kill(block=False)
        for page in [page for pages in self._pages.values() for page in pages]:
            page.ready.set()

    def _run(self) -> None:
        step = -1
        while True:
            now = time.monotonic()
            gevent.sleep(TICK_SECONDS - now % TICK_SECONDS)
            now = time.monotonic()
            this = int(now // api_history.STEP_SECONDS)
            if self._pages or this != step:
                self._look(keep=this if this != step else None)
                step = this
            for ns in list(self._pages):
                self._tell(ns)
            for ns, board in list(self._boards.items()):
                if ns not in self._pages and now - board.used_at > IDLE_SECONDS:
                    del self._boards[ns]

    # --- pages

    def whole(self, ns: str) -> bytes:
        """The list of hosts of a namespace (its UUID), or of all (""), as JSON; at most a tick old."""
        board = self._board(ns)
        if ns not in self._pages:
            self._look_if_old()
        if board.looked_at != self._looked_at:
            if ns in self._pages:
                self._tell(ns)
            else:
                board.advance(self._rows, self.hosts.left_out, time.time())
                board.looked_at = self._looked_at
        return board.whole(time.time())

    def follow(
        self, ns: str, since: int, valid: Callable[[], bool], gone: Callable[[], bool] = lambda: False
    ) -> Iterator[bytes]:
        """The events of a page, from the difference after `since` on. Raises Refused: there is no room.

        `gone` says whether the page has been closed; without it that is noticed at the next ticks.
        """
        self._board(ns)
        if self._is_full():
            self._forget_gone()
        if self._is_full():
            raise Refused(429, f"{MAX_PAGES} pages are open already: close one")
        return self._events(ns, since, valid, gone)

    def _is_full(self) -> bool:
        return sum(map(len, self._pages.values())) >= MAX_PAGES

    def _forget_gone(self) -> None:
        """Make room: who has closed a page, or loads it again, keeps its place until something is sent."""
        for ns, pages in list(self._pages.items()):
            for page in [page for page in pages if page.gone()]:
                self._close(ns, page)
                page.greenlet.kill(block=False)

    def _events(
        self, ns: str, since: int, valid: Callable[[], bool], gone: Callable[[], bool]
    ) -> Iterator[bytes]:
        past = self._board(ns).since(since)
        if past is None:
            yield _RESET
            return
        page = _Page(gone)
        self._pages.setdefault(ns, set()).add(page)
        try:
            yield b": \n\n"
            yield from past
            while True:
                page.ready.wait()
                page.ready.clear()
                if self._ended or not valid():
                    yield _BYE % (b"the hub ends" if self._ended else b"the login has ended")
                    return
                while page.waiting:  # one by one: all pages are sent the same bytes
                    yield page.waiting.popleft()
        finally:
            self._close(ns, page)

    def _close(self, ns: str, page: _Page) -> None:
        pages = self._pages.get(ns, set())
        pages.discard(page)
        if not pages:
            self._pages.pop(ns, None)

    def _tell(self, ns: str) -> None:
        """Tell the pages of a scope what differs: one computation, the same bytes for all."""
        board = self._board(ns)
        event = board.advance(self._rows, self.hosts.left_out, time.time())
        board.looked_at = self._looked_at
        for page in list(self._pages.get(ns, ())):
            if len(page.waiting) >= MAX_QUEUED:
                self._close(ns, page)
                page.greenlet.kill(block=False)  # it waits in a send that its reader does not take
                continue
            page.waiting.append(event)
            page.ready.set()

    def _board(self, ns: str) -> Board:
        board = self._boards.get(ns)
        if board is None:
            if len(self._boards) >= MAX_BOARDS:
                idle = [name for name in self._boards if name not in self._pages]
                if not idle:
                    raise Refused(429, f"{MAX_BOARDS} namespaces are being looked at already")
                del self._boards[min(idle, key=lambda name: self._boards[name].used_at)]
            # The time makes sure that no number of a run before this one is taken for one of this run.
            board = self._boards[ns] = Board(ns, title_of_uuid, int(time.time()))
        board.used_at = time.monotonic()
        return board

    # --- looks

    def _look(self, keep: int | None = None) -> None:
        """Look at every host; `keep` is the step of the curves that is due now, where one is."""
        with self._one:
            self._look_now(keep)

    def _look_if_old(self) -> None:
        with self._one:  # who has waited for the look of another one sees that
            if time.monotonic() - self._looked_at >= TICK_SECONDS:
                self._look_now()

    def _look_now(self, keep: int | None = None) -> None:
        look, now, wall = self._hubs.look(), time.monotonic(), time.time()
        if keep is not None:
            self._look_for_absent(look, now, wall)
        self.hosts.left_out = 0
        here = look.here()
        rows: list[Row] = []
        for number, (key, seen) in enumerate(here.items(), 1):
            host = self.hosts.get(*key)
            if host is not None:
                host.prefixes = seen.prefixes
                host.take(seen.sample, look.opened(key), now, wall)
            if not number % SLICE:
                breathe()
        for number, (key, host) in enumerate(list(self.hosts.by_key.items()), 1):
            if key not in here:
                host.take(None, look.opened(key), now, wall)
            if keep is not None and (host.state != AWAY or host.history is not None):
                host.history = host.history or History()
                host.history.put(keep, host.figures())
            rows.append(host.row(now))
            if not number % SLICE:
                breathe()
        self._rows, self._looked_at = rows, now

    def _look_for_absent(self, look: Look, now: float, wall: float) -> None:
        """Hosts that are enrolled, or were here before anybody looked, are there too."""
        for key in look.met() if self._is_first else ():
            self._absent(key, 0.0, now, wall)
        enrolled = look.enrolled()
        for key, seen in enrolled.items():
            self._absent(key, seen, now, wall)
        self._is_first = False
        for key in self._enrolled - enrolled.keys():  # revoked
            gone = self.hosts.by_key.get(key)
            if gone is not None and gone.state == AWAY:
                self.hosts.forget(gone)
        self._enrolled = set(enrolled)

    def _absent(self, key: Key, since: float, now: float, wall: float) -> None:
        if key not in self.hosts.by_key and (host := self.hosts.get(*key)) is not None:
            host.take(None, -1, now, since or wall)
