"""Judgement of a hub's clients by its rules: of new ones, and again of sessions when rules have changed.

Knows: that a plugin's yes still holds, and that guesses of others must not hold up the end of a session.
Refuses to know: which sessions there are (hub), what a rule means (rule_live).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from lib import rule_rates
from lib.auth_admission import Auther, HostRules, Login, admit, stays
from lib.auth_lanes import OF_SESSION
from lib.auth_logins import Grant
from lib.enrol_live import Enrolment
from lib.hub_tables import Tables
from lib.limits import Gate
from lib.rule_live import LiveLogins
from lib.rule_rates import Asked as Rate
from lib.settings import HubSettings
from lib.stream_layer import AnyStream
from lib.wire_relay import JOIN, Request, Status


@dataclass(slots=True)
class Vouchers:
    """What plugins have said of a client when it was let in."""

    authers: set[str] = field(default_factory=set)
    """Names of the authers whose plugin has let its login in."""
    rates: tuple[Rate, ...] = ()
    """How fast it may be, by the plugins of limiters."""


class Asked:
    """An auther that is asked about a new client's login; whose plugin has said yes is noted."""

    def __init__(self, logins: LiveLogins, name: str, vouchers: Vouchers) -> None:
        """Adds `name`, which is the auther's, to `vouchers` where its plugin lets the login in."""
        self._logins, self._name, self._vouchers = logins, name, vouchers

    def grant(self, login: Login) -> Grant | None:
        """As LiveLogins.grant."""
        by_plugin = self._logins.plugin is not None
        grant = self._logins.grant(login)
        if by_plugin and grant is not None:
            self._vouchers.authers.add(self._name)
        return grant


class Believed:
    """An auther whose plugin is not asked again about a login that it has let in. Its bindings count."""

    def __init__(self, logins: LiveLogins, vouched: bool) -> None:
        """`vouched` says whether its plugin has let this login in: another auther of the hub may have."""
        self._logins, self._vouched = logins, vouched

    def grant(self, login: Login) -> Grant | None:
        """What the login may use now; None where it is wrong now. Raises as LiveLogins.grant.

        A name without a row needs no hash: who has a session cannot tell from the time which names exist.
        """
        if self._logins.plugin is not None:
            return self._logins.granted(login) if self._vouched else None
        if not self._logins.has(login.username):
            return None
        return self._logins.grant(replace(login, client=f"{OF_SESSION}:0"))


class WithEnrolled:
    """An ingress, with a rule more for each enrolled host: it belongs to the namespace it was invited to."""

    def __init__(self, rules: HostRules, enrolled: Enrolment) -> None:
        self._rules, self._enrolled = rules, enrolled

    def admits(
        self, host: str, namespace: bytes, service: str, client: str, has_gone: Callable[[], bool] = stays
    ) -> bool:
        """As LiveIngress.admits."""
        if self._enrolled.book is not None and self._enrolled.admits(host, namespace):
            return True  # whatever the ingress says, or does not know yet
        if self._rules.admits(host, namespace, service, client, has_gone):
            return True
        return self._enrolled.admits(host, namespace)


class Limited(Protocol):
    """What is used of a hub and its sessions to limit them."""

    settings: HubSettings
    tables: Tables
    gate: Gate

    @property
    def sessions(self) -> Mapping[Any, Any]:
        """Its sessions, each with a method `limit`."""


def use_limits(hub: Limited) -> None:
    """Limit a hub's clients as its settings and the sources of its limiters say now, where that is new."""
    limits, trusted = hub.tables.limits(hub.settings), hub.settings.trusted_proxies
    if (limits, trusted) != (hub.gate.settings, hub.gate.trusted):
        hub.gate.settings, hub.gate.trusted = limits, trusted
        for session in list(hub.sessions.values()):
            session.limit()


def judge(
    hub: HubSettings,
    tables: Tables,
    request: Request,
    stream: AnyStream,
    vouchers: Vouchers,
    asked: bool = True,
) -> tuple[Status, str]:
    """(status, why) for a request. With asked=False no plugin is asked: what it has said before counts.

    `vouchers` are what plugins have said; with asked=True that is written there. With
    asked=False it is judged to its end also where the client has gone: whoever rechecks all sessions goes on.
    """
    try:
        if why := tables.refusal(hub, [stream.peer]):
            return Status.FORBIDDEN, why
    except OSError as error:
        return Status.SERVICE_UNAVAILABLE, str(error)
    logins = {auther.name: tables.logins(auther.name) for auther in hub.authers}
    authers = tuple(
        Asked(live, name, vouchers) if asked else Believed(live, name in vouchers.authers)
        for name, live in logins.items()
    )
    enrolled = tables.enrolled.of(hub.enrol) if hub.enrol is not None else None
    ingress = tables.ingress(hub.ingress.name) if hub.ingress else None
    rules = ingress if ingress and (asked or not ingress.plugin) else None
    unread = "", ""
    if asked:  # a session goes by what is known: what was never read has not let it in
        unread = (
            next(filter(None, (live.unread for live in logins.values())), ""),
            rules.unread if rules else "",
        )
    checks: tuple[Auther, ...] = (*authers, enrolled) if enrolled is not None else authers
    where = WithEnrolled(rules, enrolled) if rules is not None and enrolled is not None else rules
    status, why = admit(
        *(request, hub.name, stream.peer, checks, where, stream.certificate, hub.cert_hosts),
        *(unread, stream.has_closed if asked else stays),
    )
    if status == Status.OK and asked and request.command != JOIN:
        try:
            limiters = tables.asked_limits(hub)
            vouchers.rates = rule_rates.ask(limiters, hub.name, request, stream.peer, stream.has_closed)
        except OSError as error:
            return Status.SERVICE_UNAVAILABLE, str(error)
    return status, why
