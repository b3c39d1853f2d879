"""Dialling a name that has several addresses, by Happy Eyeballs (RFC 8305), within one deadline.

Knows: in which order addresses are tried and when the next one is, and which one was good the last time.
Refuses to know: how a name is looked up (stream_resolve), what is said over a connection.

    0 ms      the first address: the one that was good the last time, else the first that the look-up gave
    250 ms    the next one, of the other address family; earlier if one that was tried has failed
    ...       the first that connects is used, and the others are closed

An address that has failed is tried again each second for as long as another one says nothing. So a hub that
is away for a moment is found again as soon as it is back, also where its other address is dead.

One greenlet tries each address. Only the caller watches the clock, so its deadline is no address's failure.
"""

from __future__ import annotations

import errno
import math
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Protocol

import gevent
from gevent import socket as gsocket
from gevent.queue import Empty, SimpleQueue

from lib import stream_interface, stream_resolve, wire_proxy
from lib.bounded_dict import BoundedDict
from lib.settings_dial import PLAIN_DIAL, DialSettings
from lib.stream_bounded import PIECES, BoundedSocket, Bounds, Pieces
from lib.stream_deadline import to_its_end, within
from lib.stream_netns import made_in
from lib.stream_options import made
from lib.stream_resolve import Address
from lib.stream_tcp import format_peer

NEXT_AFTER = 0.25
"""Seconds until the next address is tried (RFC 8305, section 5: Connection Attempt Delay)."""
AGAIN_AFTER = 1.0
"""Seconds until an address that has failed is tried again, while another one is waited for."""
LOOK_UP_SECONDS = 3.0
"""Seconds for a look-up where addresses are known that it gave before; half of what is left at most."""
MAX_NAMES = 256
"""Names whose good and bad addresses are remembered."""
MAX_TOLD = 4
"""Addresses in a message."""


@dataclass(slots=True)
class _Known:
    """What is remembered of one name and port, by socket address."""

    good: object = None
    """The one that connected the last time."""
    bad: list[object] = field(default_factory=list)
    """Those that connected and were of no use; the oldest first."""
    connected: bool = False
    """Whether the last dial led to a connection."""
    found: list[Address] = field(default_factory=list)
    """The addresses that the last look-up gave which gave any."""


class Ways(Protocol):
    """How addresses and names are reached. A client's own tunnel may be in the way (client_around)."""

    def use(self, how: DialSettings) -> None:
        """What is asked for next is for a connection with these settings: one of several interfaces."""

    def device_for(self, address: str) -> str | None:
        """The network device to bind a socket to an IP address to; None where the kernel chooses."""

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        """As stream_resolve.look_up."""


class _Plain:
    """The kernel's ways."""

    def use(self, how: DialSettings) -> None:
        pass

    def device_for(self, address: str) -> str | None:
        return None

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        return stream_resolve.look_up(host, port, seconds)


PLAIN: Ways = _Plain()

_known: BoundedDict[tuple[str, int], _Known] = BoundedDict(MAX_NAMES)


def dial(
    host: str,
    port: int,
    bounds: Bounds,
    ways: Ways = PLAIN,
    pieces: Pieces = PIECES,
    patience: float = math.inf,
    how: DialSettings = PLAIN_DIAL,
    mptcp: bool = False,
) -> BoundedSocket:
    """Connect to host and port; returns the socket, with these bounds. The name is looked up each time.

    `how` says what the kernel and the name servers are not asked for. Of several interfaces each is tried
    for `bounds.turn` seconds, the last one for all that is left. With `mptcp` it is a socket of MPTCP where
    the kernel has that.

    Where that gives nothing (in LOOK_UP_SECONDS or half the time), the addresses are tried that it gave the
    last time. All of it takes at most `patience` seconds, where the bounds do not end before. A socket is
    bound to the device that `ways` gives for its address. Raises OSError, and as `ways` does.
    """
    bounds.waits_for = f"the name {host} was not looked up"
    with within(
        patience, lambda: TimeoutError(errno.ETIMEDOUT, f"not over within {patience:g} s: {bounds.waits_for}")
    ):
        known = _given(host, port, how) or _look_up(host, port, bounds.remaining(), ways)
        found = known.found
        targets = {address[4] for address in found}
        known.bad = [target for target in known.bad if target in targets]
        known.connected = False

        def run(one: DialSettings) -> tuple[Address, BoundedSocket]:
            def connect(address: Address) -> BoundedSocket:
                return _connect(address, bounds, ways, pieces, one, mptcp)

            return _Race(connect, in_order(found, known.good, known.bad), bounds).run(host)

        winner, sock = stream_interface.by_any(how, ways, found, bounds.turn, run) if how.others else run(how)
        if how.proxy_protocol:
            sock.sendall(_header(how.proxy_protocol, sock))
    known.good, known.connected, bounds.waits_for = winner[4], True, ""
    return sock


def _header(version: int, sock: BoundedSocket) -> bytes:
    """The PROXY header of a connection: its own two ends, as nobody stands behind us. Raises OSError."""
    near, far = (
        (str(name[0]).partition("%")[0], int(name[1])) for name in (sock.getsockname(), sock.getpeername())
    )
    return wire_proxy.encode(version, near, far)


def _given(host: str, port: int, how: DialSettings) -> _Known | None:
    """What is known of a name whose addresses are in the settings; None where they are not."""
    if not how.addresses:
        return None
    known = _known.get((host, port)) or _Known()
    known.found = list(_numeric(how.addresses, port))
    _known.renew((host, port), known)
    return known


def _numeric(texts: Iterable[str], port: int) -> Iterator[Address]:
    """The addresses of texts, without those whose %device is not there. Raises OSError where all are so."""
    missing: OSError | None = None
    found = False
    for text in texts:
        try:
            stream_resolve.check_device(text)
            yield from stream_resolve.numeric(text, port)
            found = True
        except OSError as error:
            missing = error
    if missing is not None and not found:
        raise missing


def remember(host: str, port: int, addresses: Iterable[str]) -> None:
    """Note what the addresses of a name were, for as long as no look-up gives any; known ones stay."""
    known = _known.get((host, port)) or _Known()
    if not known.found:
        known.found = [one for text in addresses for one in stream_resolve.numeric(text, port)]
        _known.renew((host, port), known)


def look_ahead(host: str, port: int, seconds: float) -> list[str]:
    """Look up a name before it can be dialled, so that its addresses are remembered; where that fails, []."""
    with suppress(OSError):
        return [str(address[4][0]) for address in _look_up(host, port, seconds, PLAIN).found]
    return []


def _look_up(host: str, port: int, seconds: float, ways: Ways) -> _Known:
    """What is known of a name after one more look-up. Raises OSError where no look-up has given anything."""
    known = _known.get((host, port)) or _Known()
    patience = min(seconds / 2, LOOK_UP_SECONDS) if known.found else seconds
    try:
        known.found = ways.look_up(host, port, patience) or known.found
    except OSError:
        if not known.found:
            raise
    _known.renew((host, port), known)
    return known


def distrust(host: str, port: int) -> None:
    """Try the address of the last connection after all others from now on, since nothing useful came of it.

    Where the last dial led to no connection, this does nothing: the address that was good stays the first.
    """
    known = _known.get((host, port))
    if known is not None and known.good is not None and known.connected:
        known.bad = [*(address for address in known.bad if address != known.good), known.good]
        known.good = None


@contextmanager
def in_use(host: str, port: int) -> Iterator[None]:
    """Run a block that uses a connection to this name; where it fails, `distrust` the address."""
    try:
        yield
    except BaseException:
        distrust(host, port)
        raise


def in_order(found: Iterable[Address], good: object = None, bad: Iterable[object] = ()) -> list[Address]:
    """The addresses of a look-up in the order in which they are tried (RFC 8305, section 4).

    Families take turns, beginning with that of the first address, as the look-up has sorted them by RFC 6724.
    The `good` socket address comes before all, `bad` ones come last, in their own order.
    """
    found = list(dict.fromkeys(found))  # /etc/hosts may name one twice
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    turns = [address for address in chain(*zip_longest(first, others)) if address is not None]
    late = list(bad)
    rank = {address: index for index, address in enumerate(late, 1)}
    return sorted(turns, key=lambda address: -1 if address[4] == good else rank.get(address[4], 0))


class _Race:
    """The tries to connect to the addresses of one name."""

    def __init__(
        self, connect: Callable[[Address], BoundedSocket], addresses: list[Address], bounds: Bounds
    ) -> None:
        self._connect, self._bounds = connect, bounds
        self._left = addresses[::-1]
        self._again: dict[Address, float] = {}
        """Those that have failed -> when to try them again."""
        self._running: dict[Address, gevent.Greenlet] = {}
        self._failed: dict[Address, Exception] = {}
        self._ended: SimpleQueue[tuple[Address, BoundedSocket | Exception]] = SimpleQueue()
        self._over = False

    def run(self, host: str) -> tuple[Address, BoundedSocket]:
        """The first that connects, with its socket. Raises the error of all, TimeoutError at the deadline."""
        next_at = 0.0
        try:
            while self._left or self._running:
                now = time.monotonic()
                if self._left and (now >= next_at or not self._running):
                    self._begin(self._left.pop())
                    next_at = now + NEXT_AFTER
                for address in [one for one, again_at in self._again.items() if now >= again_at]:
                    self._begin(address)
                self._note()
                wakes = min((next_at if self._left else math.inf, *self._again.values()))
                patience = min(self._bounds.remaining(), max(0.0, wakes - now))
                try:
                    address, result = self._ended.get(timeout=patience if patience < math.inf else None)
                except Empty:
                    continue
                del self._running[address]
                if isinstance(result, BoundedSocket):
                    return address, result
                self._failed[address] = result
                self._again[address] = time.monotonic() + AGAIN_AFTER
                next_at = 0.0  # at once
            raise self._error(host)
        finally:
            self._end()

    def _begin(self, address: Address) -> None:
        self._again.pop(address, None)
        self._running[address] = gevent.spawn(self._try, address)

    def _note(self) -> None:
        """Say what is waited for."""
        waiting = [one for one in self._running if one not in self._failed]
        silent = ", ".join(format_peer(one[4]) for one in waiting[:MAX_TOLD])
        self._bounds.waits_for = "; ".join(
            (*([f"no reply from {silent}"] if silent else []), *self._reasons())
        )

    def _try(self, address: Address) -> None:
        result: BoundedSocket | Exception
        try:
            result = self._connect(address)
        except Exception as error:  # noqa: BLE001  whatever it is, run() decides
            result = error
        if self._over and isinstance(result, BoundedSocket):
            result.close()
        else:
            self._ended.put((address, result))

    def _end(self) -> None:
        """End the tries that are still under way, and close what connected too late."""
        self._over = True
        for greenlet in self._running.values():
            greenlet.kill(block=False)
        while not self._ended.empty():
            _, result = self._ended.get()
            if isinstance(result, BoundedSocket):
                result.close()

    def _error(self, host: str) -> Exception:
        errors = list(self._failed.values())
        if not errors:
            return OSError(errno.EHOSTUNREACH, f"{host} has no address")
        if len(errors) == 1:
            return errors[0]
        number = next((error.errno for error in errors[::-1] if isinstance(error, OSError)), None)
        return OSError(number or errno.EHOSTUNREACH, "; ".join(self._reasons()))

    def _reasons(self) -> list[str]:
        """Why addresses have failed, in words; those of the same reason together."""
        by: dict[str, list[str]] = {}
        for address, error in self._failed.items():
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            by.setdefault(why, []).append(format_peer(address[4]))
        return [f"{', '.join(of[:MAX_TOLD])}: {why}" for why, of in by.items()]


def _connect(
    address: Address, bounds: Bounds, ways: Ways, pieces: Pieces, how: DialSettings, mptcp: bool
) -> BoundedSocket:
    family, kind, proto, _, target = address
    sock = made_in(
        how.netns,
        lambda: made(lambda protocol: BoundedSocket(family, kind, protocol, bounds, pieces), proto, mptcp),
    )
    try:
        scoped = family == socket.AF_INET6 and target[3]  # its %zone is the device already
        device = None if scoped else to_its_end(ways.device_for, target[0])
        stream_interface.bind(sock, how, device)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gsocket.socket.settimeout(sock, None)
        sock.connect(target)
        return sock
    except BaseException:
        sock.close()
        raise


def own_address() -> str:
    """The address that this machine sends from to the rest of the world; empty where no route leads there."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with gsocket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((target, 9))  # nothing is sent: the kernel only looks for a route
                return str(sock.getsockname()[0])
        except OSError:
            continue
    return ""
