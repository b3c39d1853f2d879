"""Hubs and sessions as far as the web API looks at them, without sockets."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from lib.api_own import OwnHubs
from lib.api_request import Reply, Request, Who
from lib.capture_taps import Taps
from lib.hub_identity import Verdict
from lib.metrics_ledger import Ledger
from lib.namespace import Attachment
from lib.namespace_domain import Domain
from lib.namespace_prefixes import PrefixesOfHosts
from lib.route_table import RouteTable

NOBODY = bytes(16)


class FakeHub:
    """A hub without a socket."""

    def __init__(self, name: str = "hub", domain: str = "", table: RouteTable | None = None) -> None:
        self.settings = SimpleNamespace(name=name, domain=domain, enrol=None, host="", port=8443)
        self.domain = Domain({}, table if table is not None else RouteTable())
        self.sessions: dict[Attachment, Any] = {}
        self.by_host: Ledger[tuple[bytes, str]] = Ledger()
        self.warnings: list[tuple[bytes, str, str]] = []
        self.identities = SimpleNamespace(warnings=lambda sessions, now: iter(self.warnings))
        self.prefixes = PrefixesOfHosts()
        self.refused: dict[Any, int] = {}
        self.turned_away: dict[Any, Any] = {}

    def connect(self, host: str, namespace: bytes = NOBODY, now: float = 0.0) -> Any:
        """A session that is there from now on."""
        place = Attachment(self.domain.namespace(namespace), host, "192.0.2.1:4711")
        self.domain.enter(place, now)
        self.by_host.book((namespace, host)).opened += 1
        ended: list[str] = []
        session: Any = SimpleNamespace(
            hub=self,
            attachment=place,
            request=SimpleNamespace(source="10.0.0.1"),
            control=SimpleNamespace(software="tunrouter 1.2", liveness=SimpleNamespace(rtt=0.0123)),
            sender=SimpleNamespace(queued=0, silent_at=0.0, waits=lambda now: 0.0, close=ended.append),
            ended=ended,
            channel=None,
            awaited=False,
            verdict=Verdict(),
            domain=self.domain,
            tell_drain=lambda: setattr(session, "awaited", True),
            tell_switch=lambda: None,
        )
        self.sessions[place] = session
        return session

    def leave(self, session: Any) -> None:
        """A session ends."""
        self.domain.leave(session.attachment)
        del self.sessions[session.attachment]


def own_hubs(*hubs: Any, tables: Any = None, taps: Taps | None = None) -> OwnHubs:
    """Hubs as the web API asks for them, by their names."""
    named = {hub.settings.name: hub for hub in hubs}
    return OwnHubs(named, {}, tables or no_lists(), taps or Taps(), {})


def no_lists() -> Any:
    """Tables without sources or lists of enrolled hosts."""
    return SimpleNamespace(enrolled=SimpleNamespace(of=lambda source: None), routers=list)


def get(
    handle: Callable[[Request], Reply], who: Any = None, arguments: Any = None, **query: Any
) -> Any:  # a body may be anything
    """The reply of a handler."""
    return handle(Request("GET", "/x", arguments=arguments or {}, query=query, who=who or Who()))
