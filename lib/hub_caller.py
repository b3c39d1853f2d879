"""Far end of one connection to a hub: under which address it is counted, limited and logged.

Knows: that a trusted proxy's connection is somebody else's, who is known once the proxy has named them.
Refuses to know: how a proxy says so (stream_websocket, stream_proxied), which addresses are trusted and what
a header means (hub_proxies), limits (limits).

    enter ---- named (where a trusted proxy names a client) ---- admitted ---- leave
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from lib import hub_proxies, stream_proxied
from lib.addresses import host_of
from lib.auth_admission import stays
from lib.errors import ProtocolError
from lib.forward_drop_reasons import Refusal
from lib.hub_proxies import client_of, is_trusted
from lib.hub_tables import Tables
from lib.limits import Gate, Visit, stranger
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say
from lib.metrics_ledger import Book, Ledger
from lib.session_cost import Cost
from lib.settings import HubSettings
from lib.stream_tcp import Stream

_WITH_HEADERS = ("ws", "wss")
"""Transports over which a trusted proxy names its client in an HTTP header."""


class Owner(Protocol):
    """What a caller uses of its hub."""

    settings: HubSettings
    gate: Gate
    tables: Tables
    by_address: Ledger[str]
    unnamed: int
    """How often a trusted proxy has named no client."""


class Caller:
    """The far end of a connection, from the accept to the connection's end."""

    def __init__(self, hub: Owner, peer: str) -> None:
        """`peer` is the address:port of the TCP connection."""
        self.peer = peer
        self.stream: Stream | None = None
        """The connection's stream, once there is one; it is told the client's address."""
        self._hub = hub
        self._visit = Visit(host_of(peer))
        self._book: Book | None = None
        self.is_lane = False
        """Whether it has joined a session, in which it is counted."""
        self._is_own = False
        """Whether a proxy has said that it is the proxy's own connection (a health check)."""

    def is_number(self, number: int) -> None:
        """What the connection is called in the process that has accepted it."""
        self._visit.number = number

    def enter(self) -> tuple[Refusal, str] | None:
        """Count the connection. Returns None, or why it is refused; else `leave` must follow. Never waits."""
        address = self._visit.address
        is_proxy = is_trusted(address, self._hub.settings.trusted_proxies)
        if not is_proxy:
            self._open(address)
        refusal = self._hub.gate.enter(self._visit, time.monotonic())
        if refusal is not None:
            self._close()
            return refusal, refusal.doc
        why = "" if is_proxy else self._why_not_listed()
        if not why:
            return None
        self.leave()
        return Refusal.ADMISSION, why

    def _why_not_listed(self) -> str:
        """Why a list does not let this address connect; "" where all do. Plugins are asked later."""
        try:
            return self._hub.tables.refusal(self._hub.settings, [self.peer])
        except OSError as error:
            return f"nobody is let in: {error}"

    def unwrapped(self, stream: Stream) -> Stream:
        """The stream, without the PROXY header that a trusted proxy sends before everything else.

        The client is known then, unless a trusted proxy will name it in an HTTP header, and the admissions of
        the hub have let it in. Raises ProtocolError where there is no header, or the client may not come in
        now; OSError.
        """
        settings, trusted = self._hub.settings, self._hub.settings.trusted_proxies
        if settings.proxy_protocol and is_trusted(self._visit.address, trusted):
            header = stream_proxied.read_header(stream)
            self._is_own = header.is_local
            found = hub_proxies.named(header.source)
            if found.peer:
                self.named(found.peer)
            elif not header.is_local:
                self._is_unnamed(found.wrong, "a PROXY header")
        if not (settings.transport.kind in _WITH_HEADERS and is_trusted(self._visit.address, trusted)):
            self._judge()
        return stream

    def read_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Take the client's address out of an HTTP request's headers, if a trusted proxy has sent them.

        Raises ProtocolError where the client has more connections or handshakes than it may, or an admission
        does not let it in.
        """
        settings = self._hub.settings
        trusted, wanted = settings.trusted_proxies, settings.address_header
        if not is_trusted(self._visit.address, trusted):
            return
        name = wanted.lower().encode()
        values = [value.decode("latin-1") for key, value in headers if key.lower() == name]
        found = client_of(values, wanted, trusted)
        if found.wrong:
            self._is_unnamed(found.wrong, wanted)
        else:
            self.named(found.peer)
        self._judge()

    def _judge(self) -> None:
        """Raise ProtocolError where an admission of the hub does not let this address connect."""
        settings, stream = self._hub.settings, self.stream
        for live in self._hub.tables.admissions(settings):
            try:
                admits = live.admits(self.peer, settings.name, stream.has_closed if stream else stays)
            except OSError as error:
                raise ProtocolError(f"nobody is let in: {error}", Refusal.ADMISSION) from error
            if not admits:
                raise ProtocolError(live.refuses(self.peer), Refusal.ADMISSION)

    def named(self, peer: str) -> None:
        """The client's address:port is known. Raises ProtocolError where it may not come in now."""
        address = host_of(peer)
        self.peer = peer
        if self.stream is not None:
            self.stream.rename(peer, stranger(peer))
        self._open(address)
        refusal = self._hub.gate.rename(self._visit, address, time.monotonic())
        if refusal is not None:
            raise ProtocolError(refusal.doc, refusal)

    def admitted(self) -> None:
        """The client is let in: a session begins."""
        self._hub.gate.settle(self._visit)

    def check_owes(self) -> None:
        """Raise ProtocolError where there was room only for a lane, and it is none of a session here."""
        owes = self._visit.owes
        if owes is not None:
            raise ProtocolError(owes.doc, owes)

    def joined(self, address: str) -> None:
        """The connection is a lane of a session whose client comes from `address`; raises as check_owes."""
        refusal = self._hub.gate.join(self._visit, address, time.monotonic())
        if refusal is not None:
            raise ProtocolError(refusal.doc, refusal)
        self._hub.gate.settle(self._visit)
        self._close()
        self.is_lane = True

    def leave(self) -> None:
        """The connection has ended."""
        self._hub.gate.leave(self._visit)
        if not self.is_lane:
            self._close()

    @property
    def is_own(self) -> bool:
        """Whether a trusted proxy has said that the connection is its own, as health checks are."""
        return self._is_own

    def is_check(self, cost: Cost) -> bool:
        """Whether a connection that has ended was a trusted proxy's health check: it says so, or nothing."""
        trusted = self._hub.settings.trusted_proxies
        if self._is_own:
            return not cost.admitted
        return not (cost.admitted or cost.heard) and is_trusted(self._visit.address, trusted)

    def _is_unnamed(self, why: str, header: str) -> None:
        name = self._hub.settings.name
        self._hub.unnamed += 1
        say(
            Entry.CLIENT_UNNAMED,
            "service %s: proxy %s names no client in %s: %s; so the proxy's address counts as the client's",
            *(name, self.peer, header, why),
            fold=name,
            by=stranger(self.peer),
            habit=OUTAGE,
            service=name,
            peer=self.peer,
            reason=why,
        )

    def _open(self, address: str) -> None:
        self._book = self._hub.by_address.book(address)
        self._book.opened += 1
        self._book.in_flight += 1

    def _close(self) -> None:
        if self._book is None:  # a trusted proxy that has named nobody
            self._open(self._visit.address)
        assert self._book is not None
        self._book.in_flight -= 1
