"""Configured ingresses, authers and bindings at run time: their rows with their sources, or their plugin.

Knows: rows of sources, plugins, that nobody is let in while the rules are not known.
Refuses to know: how and when sources are read (source_read, source_feed), what a rule means (ingress,
auth_logins, auth_bindings).

New rows are built into a new object, and one assignment puts it in place. So a client is checked by the old
rules or the new ones, never by a mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import fields
from functools import partial
from typing import Any, Generic, TypeVar

from gevent.lock import BoundedSemaphore

from lib import auth_lanes, auth_password_pool, rule_parse, service_release, source_text
from lib.auth_admission import Login, stays
from lib.auth_bindings import Bindings
from lib.auth_logins import EVERYTHING, Grant, Logins
from lib.errors import PluginError, Problem
from lib.humanize import plain
from lib.ids import NO_NAMESPACE
from lib.ingress import Ingress, endpoint_namespace
from lib.limits import stranger
from lib.log_events import Entry
from lib.log_setup import say
from lib.plugin_client import AdmissionPlugin, AutherPlugin, IngressPlugin
from lib.route_live import APPLY_SECONDS
from lib.service_scheduling import equal_in_steps, in_steps
from lib.settings import (
    AdmissionSettings,
    AutherSettings,
    BindingSettings,
    IngressSettings,
    LimiterSettings,
    LoginRow,
)
from lib.settings_sources import PluginSettings
from lib.source_bad_lines import BadLines
from lib.source_feed import Feed
from lib.source_origin import Origin
from lib.source_read import Reading, describe

ASKED_AT_ONCE, ASKED_OF_ONE = 16, 12
"""Questions to a plugin at a time, as many as it has connections (plugin_http), and those about clients of
one address: the other places are for clients from elsewhere, however slow the plugin is."""
Rows = tuple[rule_parse.Row, ...]
Wanted = IngressSettings | AutherSettings | AdmissionSettings | BindingSettings | LimiterSettings
Asked = IngressSettings | AutherSettings | AdmissionSettings
Reply = TypeVar("Reply")
Table = TypeVar("Table", bound=Sized)
Plugin = TypeVar("Plugin", IngressPlugin, AutherPlugin, AdmissionPlugin)


class Unavailable(OSError):
    """The rules are not known at present: a source has not been read yet, or a plugin fails."""


def _rest(settings: Wanted) -> list[object]:
    """The settings without the rows, which may be very many."""
    names = (field.name for field in fields(settings))
    return [getattr(settings, name) for name in names if name not in ("rules", "logins", "matchers")]


class LiveRules(Generic[Table]):
    """What ingresses, authers and bindings have in common: rows of the configuration and of sources."""

    kind = ""
    reader: rule_parse.Reader
    plugin: IngressPlugin | AutherPlugin | AdmissionPlugin | None = None
    """Asked instead, where there is one."""

    def __init__(self, settings: Wanted, origin: Origin, changed: Callable[[], None]) -> None:
        self.settings = settings
        self._origin, self._changed = origin, changed
        self._lanes = auth_lanes.Lanes(ASKED_AT_ONCE, ASKED_OF_ONE)
        self._replacing = BoundedSemaphore(1)  # of a reload and a source, the later one has all rows
        self._texts: dict[int, Rows] = {}
        self._servers: dict[int, str | None] = {}
        """Rank of a source -> the run of the Redis from which its last good rows are."""
        self._told: dict[int, frozenset[Problem]] = {}
        """Rank of a source -> what was wrong with its rows, and has been logged."""
        self.total = 0
        """Number of rows in use."""
        self.feed = self._feed()
        self._table = self._build(iter(()))
        """All rows in use, as they are asked."""
        self._replace()

    @property
    def label(self) -> str:
        """Its name in the log."""
        return f"{self.kind} {self.settings.name}"

    def _inline(self) -> Rows:
        raise NotImplementedError

    def _build(self, rows: Iterator[Any]) -> Table:
        """A table of these rows; of rows with the same key it has only one."""
        raise NotImplementedError

    @property
    def unread(self) -> str:
        """Why a rule that is not known may be there; empty if every source that counts has been read once."""
        if self.plugin is not None:
            return ""
        for rank, (source, state) in enumerate(self.feed.states(), 1):
            if rank not in self._texts:
                return f"{self.label}: {state.error or f'{describe(source)}: it has not been read yet'}"
        return ""

    def _check(self) -> None:
        """Raise Unavailable until the sources have been read once."""
        if self.settings.more.sources and not self._texts and not self.feed.loaded:
            raise Unavailable(f"{self.label}: its sources have not been read yet")

    def _ask(
        self,
        whose: auth_lanes.Login,
        has_gone: Callable[[], bool],
        question: Callable[[], Reply],
        is_right: Callable[[Reply], bool],
    ) -> Reply:
        """Ask the plugin when it is the turn of this client's address. Raises Unavailable, as Lanes.enter."""
        try:
            with self._lanes.turn(whose, has_gone):
                reply = question()
        except PluginError as error:
            raise Unavailable(f"{self.label}: {error}") from error
        self._lanes.judged(whose, is_right(reply))
        return reply

    def _feed(self) -> Feed:
        return Feed(self.label, self.settings.more, self._origin, self._put, with_server=True)

    def _put(self, rank: int, reading: Reading, name: str) -> int:
        rows: list[rule_parse.Row] = []
        bad: list[Problem] = []
        unread, lines = BadLines(), dict[str, int]()
        for row in in_steps(rule_parse.rows(reading.text, name, self.reader, unread, lines)):
            if isinstance(row, Problem):
                bad.append(row)
            else:
                rows.append(row)
        last = self._servers.get(rank) if self._texts.get(rank) else None
        problem = bad[0].message if bad and not rows else ""
        source_text.check_rules(
            *(reading.text, reading.is_whole, reading.server, bool(rows), bool(self._texts.get(rank))),
            *(last, problem),
        )
        self._servers[rank] = reading.server
        told, self._told[rank] = self._told.get(rank, frozenset()), frozenset(bad)
        for wrong in bad:
            if wrong not in told:  # else the same as at the last reading
                say(
                    Entry.BAD_ROW,
                    "%s: %s",
                    self.label,
                    wrong,
                    fold=self.label,
                    table=self.label,
                    reason=wrong,
                )
        before = self._texts
        self._texts = {**before, rank: tuple(rows)}
        service_release.later([before.get(rank), lines])
        if rank not in before or not equal_in_steps(before[rank], self._texts[rank]):
            try:
                total = self._replace()
            except BaseException:
                self._texts = before  # so that the next reading is news again
                raise
            words = "%s: %s with %s", self.label, plain(total, "row"), name
            say(Entry.RULES_LOADED, *words, table=self.label, source=name, rows=total)
            self._changed()
        return unread.count

    def _replace(self) -> int:
        """Put all rows into use, while packets are forwarded; returns how many there are."""
        with self._replacing:
            texts = [self._inline(), *(self._texts[rank] for rank in sorted(self._texts))]
            table = self._build(in_steps(row for rows in texts for row in rows))
            service_release.later([self._table])
            self._table, self.total = table, len(table)
            return self.total

    def _apply(self, settings: Wanted) -> list[str]:
        old, rows = self.settings, self._inline()
        self.settings = settings
        if _rest(settings) == _rest(old) and equal_in_steps(self._inline(), rows):
            return []
        if settings.more != old.more:
            self.feed.stop()
            before = self.feed
            service_release.later([self._texts])
            self._texts = {
                rank: rows
                for rank, rows in self._texts.items()
                if old.more.sources[rank - 1 : rank] == settings.more.sources[rank - 1 : rank]
            }
            self._told = {rank: told for rank, told in self._told.items() if rank in self._texts}
            self.feed = self._feed()
            self.feed.inherit(before)
            self.feed.start()
            self.feed.wait(APPLY_SECONDS)
        return [f"{self.label}: {plain(self._replace(), 'row')} now"]

    def stop(self) -> None:
        """Stop reading sources."""
        self.feed.stop()


class AskedRules(LiveRules[Table], Generic[Plugin, Table]):
    """Rules for which a plugin may answer."""

    settings: Asked
    plugin: Plugin | None = None

    def __init__(self, settings: Asked, origin: Origin, changed: Callable[[], None]) -> None:
        if settings.plugin:
            self.plugin = self._reach(settings.plugin)
        super().__init__(settings, origin, changed)

    def _reach(self, settings: PluginSettings) -> Plugin:
        """The plugin of these settings."""
        raise NotImplementedError

    def apply(self, settings: Asked) -> list[str]:
        """Take other settings; returns what that changed, a line, or none."""
        if settings.plugin and settings.plugin != self.settings.plugin:
            self.plugin = self._reach(settings.plugin)
        lines = self._apply(settings)
        if not settings.plugin:
            self.plugin = None  # from here on the rows count, which are all in place now
        return lines


class LiveIngress(AskedRules[IngressPlugin, Ingress]):
    """An ingress: which host may join which namespace."""

    kind = "ingress"
    reader = staticmethod(rule_parse.ingress_row)

    def _reach(self, settings: PluginSettings) -> IngressPlugin:
        return IngressPlugin(settings)

    def admits(
        self,
        host: str,
        namespace: bytes,
        service: str,
        client: str,
        has_gone: Callable[[], bool] = stays,
    ) -> bool:
        """Whether a host may join a namespace (16 bytes), at a hub service of that name, from address:port.

        Raises Unavailable where that is not known, Busy where too many wait; the client must be refused then.
        Raises ProtocolError where the client has gone meanwhile.
        """
        plugin = self.plugin
        if plugin is None:
            self._check()
            return self._table.admits(host, namespace)
        if not host:
            return False

        def fits(endpoint: str) -> bool:
            return namespace == (endpoint_namespace(endpoint) if endpoint else NO_NAMESPACE)

        whose = host, stranger(client)
        return fits(self._ask(whose, has_gone, lambda: plugin.endpoint(host, service), fits))

    def _inline(self) -> Rows:
        assert isinstance(self.settings, IngressSettings)
        return self.settings.rules

    def _build(self, rows: Iterator[Any]) -> Ingress:
        return Ingress(rows)


class LiveLogins(AskedRules[AutherPlugin, Logins]):
    """An auther: who may log in."""

    kind = "auther"
    reader = staticmethod(rule_parse.auther_row)

    def __init__(
        self,
        settings: AutherSettings,
        origin: Origin,
        changed: Callable[[], None],
        bindings: Callable[[], LiveBindings | None] = lambda: None,
    ) -> None:
        """`bindings` gives those of this auther, None where it has none."""
        self.bindings = bindings
        super().__init__(settings, origin, changed)

    def _reach(self, settings: PluginSettings) -> AutherPlugin:
        return AutherPlugin(settings)

    def grant(self, login: Login) -> Grant | None:
        """The hosts and namespaces that a login may use; None where the login is wrong.

        Raises Unavailable where that is not known; the client must be refused then. Raises as Lanes.enter.
        """
        own = self._own(login)
        return self._bound(login, own) if own is not None else None

    @property
    def unread(self) -> str:
        """Why a login that is not known, or its binding, may be there all the same."""
        bindings = self.bindings()
        return super().unread or (bindings.unread if bindings is not None else "")

    @property
    def rows(self) -> object:
        """The rows in use: another object after each change of them."""
        return self._table

    def has(self, username: str) -> bool:
        """Whether a row has this user name. Raises Unavailable where the rows are not known."""
        self._check()
        return username in self._table

    def granted(self, login: Login) -> Grant:
        """What a login may use that the plugin has let in."""
        return self._bound(login, EVERYTHING)

    def may_use(self, host: str, namespace: bytes) -> str:
        """Who may use a host name in a namespace by a login of this auther, in words; "" for nobody.

        Raises Unavailable where that is not known.
        """
        if self.unread:
            raise Unavailable(self.unread)
        bindings = self.bindings()
        if bindings is None and self.plugin is not None:
            return f"any login that the plugin of {self.label} lets in"
        names = bindings.usernames() if bindings is not None and self.plugin is not None else ()
        for name, own in (*((name, EVERYTHING) for name in names), *self._table.grants()):
            grant = bindings.grant(name, own) if bindings is not None else own
            if grant.allows(host, namespace):
                return f"the login {name[:64]!r} of {self.label}"
        return ""

    def _bound(self, login: Login, own: Grant) -> Grant:
        bindings = self.bindings()
        if bindings is None and isinstance(self.settings, AutherSettings) and self.settings.bindings:
            raise Unavailable(f"{self.label}: its bindings are not there yet")
        return bindings.grant(login.username, own) if bindings is not None else own

    def _own(self, login: Login) -> Grant | None:
        """What a login may use by the row that has its password, or by the plugin; None where it is wrong."""
        whose, plugin = (login.username, stranger(login.client)), self.plugin
        if plugin is None:
            self._check()
            matches = partial(auth_password_pool.CHECKS.matches, login=whose, has_gone=login.has_gone)
            return self._table.grant(login.username, login.password, matches)
        right = self._ask(whose, login.has_gone, lambda: plugin.authenticate(login), bool)
        return EVERYTHING if right else None

    def _inline(self) -> Rows:
        assert isinstance(self.settings, AutherSettings)
        return self.settings.logins

    def _build(self, rows: Iterator[Any]) -> Logins:
        return Logins(LoginRow(*row) for row in rows)


class LiveBindings(LiveRules[Bindings]):
    """The bindings of an auther's logins: which hosts and namespaces each of them may use."""

    kind = "bindings"
    reader = staticmethod(rule_parse.binding_row)

    def usernames(self) -> Iterator[str]:
        """Every user name with a row."""
        return self._table.usernames()

    def grant(self, username: str, own: Grant) -> Grant:
        """What a right login may use; `own` is what stands beside its password.

        Raises Unavailable where that is not known; the client must be refused then.
        """
        self._check()
        return self._table.grant(username, own)

    def apply(self, settings: BindingSettings) -> list[str]:
        """Take other settings; returns what that changed, a line, or none."""
        return self._apply(settings)

    def _inline(self) -> Rows:
        return ()

    def _build(self, rows: Iterator[Any]) -> Bindings:
        return Bindings(rows)
