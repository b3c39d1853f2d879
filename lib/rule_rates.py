"""Rates of sessions that the plugins of limiters say: asked before a client is let in, and again and again.

    scope     whose rate it is, and who is asked about it                       limiter of
    service   all sessions of a hub's service together                          the service
    conn      one session; `src` is its client's address:port                   the service
    client    all sessions of a host together; `client` is host@namespace       the handler

Knows: that a client whose rates cannot be asked is not let in, and that the last rates of a session stay
while the plugin fails (GOST lets it in without a limit).
Refuses to know: how a plugin is asked (plugin_client), what a rate does (limits), whose a session is (hub).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

from gevent.event import Event

from lib import ids
from lib.auth_admission import stays
from lib.auth_lanes import Lanes
from lib.errors import PluginError
from lib.limits import stranger
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.plugin_client import LimiterPlugin
from lib.rule_live import ASKED_AT_ONCE, ASKED_OF_ONE, Unavailable
from lib.service_supervisor import Task
from lib.settings import LimiterSettings
from lib.settings_limits import CONN, SERVICE, Rate, RateLimit
from lib.settings_sources import NO_SOURCES
from lib.source_feed import Feed
from lib.source_origin import Origin
from lib.wire_relay import Request

REFRESH_SECONDS = 30.0
"""How often rates are asked again, where neither limiter.refreshInterval nor `reload` says it."""


class Question(NamedTuple):
    """What a plugin is asked."""

    service: str
    scope: str
    network: str
    client: str = ""
    src: str = ""

    @property
    def fields(self) -> dict[str, object]:
        """The fields of the request, by name."""
        return {
            "service": self.service,
            "scope": self.scope,
            "network": self.network,
            "client": self.client,
            "src": self.src,
        }

    @property
    def subject(self) -> Question:
        """Whose rate it is: that of a host is the same from wherever it comes."""
        return self._replace(src="") if self.scope == "client" else self


class Asked:
    """A rate that a plugin has said, of one session or of several that share it."""

    __slots__ = ("__weakref__", "at", "limit", "limiter", "question")

    def __init__(self, limiter: AskedLimits, question: Question, limit: RateLimit) -> None:
        self.limiter, self.question, self.limit = limiter, question, limit
        self.at = time.monotonic()

    @property
    def key(self) -> tuple[str, ...]:
        """What sessions that share its buckets have in common."""
        return (self.limiter.settings.name, *self.question.subject)


class Rated(Protocol):
    """Where a client's rates are kept."""

    rates: tuple[Asked, ...]


class AskedLimits:
    """A limiter whose rates are asked for from a plugin."""

    total = 0
    """Rows held here: none, as the plugin has them."""

    def __init__(self, settings: LimiterSettings, origin: Origin) -> None:
        assert settings.plugin is not None
        self.settings = settings
        self.plugin = LimiterPlugin(settings.plugin)
        self.feed = Feed(self.label, NO_SOURCES, origin, lambda rank, reading, name: None)
        self._lanes = Lanes(ASKED_AT_ONCE, ASKED_OF_ONE)
        self._live: WeakValueDictionary[Question, Asked] = WeakValueDictionary()
        """The rates of the sessions that there are."""
        self._again, self._failing = Event(), False
        self._refreshing = Task(f"{self.label}: rates are asked again", self._keep_asking)

    @property
    def label(self) -> str:
        """Its name in the log, which has the kind of the limiter."""
        return self.settings.name

    def apply(self, settings: LimiterSettings) -> list[str]:
        """Take other settings; returns what that changed, a line, or none."""
        old, self.settings = self.settings, settings
        if settings.plugin == old.plugin or settings.plugin is None:
            return []
        self.plugin.close()
        self.plugin = LimiterPlugin(settings.plugin)
        self._again.set()
        return [f"{self.label}: another plugin is asked"]

    def stop(self) -> None:
        """Ask no more, and close the plugin's connections."""
        self._refreshing.kill(block=False)
        self.plugin.close()

    def ask(
        self, service: str, request: Request, peer: str, has_gone: Callable[[], bool] = stays
    ) -> list[Asked]:
        """The rates of a client (`peer` is its address:port) at a hub's service.

        Raises Unavailable, and as Lanes.enter.
        """
        self._refreshing.start()
        found = []
        whose = request.host, stranger(peer)
        for question in self._questions(service, request, peer):
            known = self._live.get(question.subject)
            if known is None:
                try:
                    with self._lanes.turn(whose, has_gone):
                        limit = self._limit(question)
                except PluginError as error:
                    raise Unavailable(f"{self.label}: {error}") from error
                self._lanes.judged(whose, True)
                known = self._live.setdefault(question.subject, Asked(self, question, limit))
            found.append(known)
        return found

    def _questions(self, service: str, request: Request, peer: str) -> list[Question]:
        if self.settings.adds_to == "hosts":
            client = f"{request.host}@{ids.format_uuid(request.namespace)}"
            return [Question(service, "client", "ip", client, peer)]
        every = Question(service, SERVICE, "tcp"), Question(service, CONN, "tcp", "", peer)
        return [one for one in every if self.settings.scope in ("", one.scope)]

    def _limit(self, question: Question) -> RateLimit:
        """Ask the plugin. Raises PluginError."""
        into, out = self.plugin.limit(question.fields)
        return RateLimit("", Rate(into), Rate(out))

    def _keep_asking(self) -> None:
        while True:
            self._again.wait(self.settings.more.reload or REFRESH_SECONDS)
            self._again.clear()
            self.refresh()

    def refresh(self) -> None:
        """Ask again about all that are here. While the plugin fails, what it has said before stays."""
        for asked in list(self._live.values()):
            try:
                asked.limit, asked.at = self._limit(asked.question), time.monotonic()
            except PluginError as error:
                self._failing = True
                text = "%s: %s; the last rates of those that are here stay, and nobody else is let in"
                say(
                    Entry.SOURCE_FAILED, text, self.label, error, fold=self.label, habit=OUTAGE,
                    table=self.label, source=self.plugin.url, reason=str(error),
                )  # fmt: skip
                return
        if self._failing:
            self._failing = False
            settle(Entry.SOURCE_FAILED, self.label)
            words = "%s: its plugin replies again", self.label
            say(Entry.SOURCE_RECOVERED, *words, table=self.label, source=self.plugin.url)


def ask(
    limiters: Sequence[AskedLimits],
    service: str,
    request: Request,
    peer: str,
    has_gone: Callable[[], bool] = stays,
) -> tuple[Asked, ...]:
    """The rates of a client by all these limiters. Raises as AskedLimits.ask."""
    return tuple(one for limiter in limiters for one in limiter.ask(service, request, peer, has_gone))


def renew(limiters: Sequence[AskedLimits], service: str, request: Request, peer: str, rated: Rated) -> str:
    """Ask for a session's rates where a reload has given its service other limiters.

    Returns why it cannot stay, as its rates are not known; "" where it can.
    """
    if {one.limiter for one in rated.rates} != set(limiters):
        try:
            rated.rates = ask(limiters, service, request, peer)
        except OSError as error:
            return str(error)
    return ""
