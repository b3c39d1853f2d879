"""Policy tests (`tests:`): run by the tables of a configuration, before it is used or while it is.

Knows: which rows and plugins a test depends on, where they are had from, what is said of a test that fails.
Refuses to know: the decision on a packet (forward_explain has it made by forward_decide, as for `explain`),
and what follows from a failure (cli_check, cli_test, service_reload, service_policy_watch).

A test asks about a packet of one host, as if every host were connected. It is asked for one address of each
prefix that leads to the host, unless it names the source. Tables are not loaded for that: of a table with a
million rows only those that hold one of the addresses are taken (route_select).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from lib import ctl_explain, source_read
from lib.config_findings import at_once
from lib.did_you_mean import did_you_mean
from lib.errors import ConfigError, Problem
from lib.forward_drop_reasons import Reason
from lib.hub_tables import Tables
from lib.log_events import Entry
from lib.log_setup import say_problem
from lib.namespace_domain import Domain, Router
from lib.plugin_client import RouterPlugin
from lib.prefixes import Prefix, covers
from lib.route_live import LiveRoutes
from lib.route_select import Selection, Texts, select, small_table
from lib.settings import Hop, HubSettings, Settings, TableSettings
from lib.settings_policy import PolicyTest
from lib.settings_sources import FileSource

Step = Callable[[], None]

CACHE_SECONDS = 60.0
"""How long a plugin's reply counts within a run."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table's sources, as far as they can be had."""

    texts: Texts
    unread: str = ""
    """Why some of them could not be had; empty where all were."""
    leases: Mapping[Prefix, Hop] = field(default_factory=dict)
    """The addresses of its pool that hosts have."""
    running: bool = False
    """Whether all is there that only a running hub knows: leases, and routes to enrolled hosts."""


RowsOf = Callable[[TableSettings], Rows]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test."""

    test: PolicyTest
    failure: str = ""
    """What is wrong, where the test fails."""
    unjudged: str = ""
    """Why it could not be judged, where it was not."""
    hint: str = ""

    @property
    def holds(self) -> bool:
        """Whether the test was judged, and what it expects is so."""
        return not self.failure and not self.unjudged

    @property
    def problem(self) -> Problem:
        """What is wrong, with its place."""
        said = self.failure or f"not judged: {self.unjudged}"
        return Problem(self.test.where, f"policy test {self.test}: {said}", self.hint)


# --- where rows come from -------------------------------------------------------------------------


def rows_of_files(table: TableSettings) -> Rows:
    """The rows that are in files: `check` connects to nothing."""
    if table.plugin:
        return Rows({}, f"router {table.name} asks a plugin; `tunrouter test` does")
    far = [source for source in table.more.sources if not isinstance(source, FileSource)]
    if far:
        return Rows({}, f"{source_read.describe(far[0])} is not read; `tunrouter test` reads it")
    return rows_of_all(table)


def rows_of_all(table: TableSettings) -> Rows:
    """The rows of all sources, read now."""
    texts: dict[int, tuple[str, bytes]] = {}
    for rank, source in enumerate(table.more.sources, 1):
        try:
            texts[rank] = source_read.describe(source), source_read.read(source).text
        except source_read.SourceError as error:
            return Rows(texts, str(error))
    return Rows(texts)


def rows_of_running(tables: Tables) -> RowsOf:
    """The rows by which a running process routes, and for sources that are new to it what they hold now."""
    running = {name: live for name, live in tables.routers() if isinstance(live, LiveRoutes)}

    def rows(table: TableSettings) -> Rows:
        live = running.get(table.name)
        if live is None or live.settings.more.sources != table.more.sources:
            return rows_of_all(table)
        texts = live.texts()
        missing = [s for rank, s in enumerate(table.more.sources, 1) if rank not in texts]
        why = f"{source_read.describe(missing[0])} has never been read" if missing else ""
        return Rows(texts, why, live.leased, running=True)

    return rows


# --- the tests ------------------------------------------------------------------------------------


def outcomes(settings: Settings, rows_of: RowsOf, step: Step = at_once) -> list[Outcome]:
    """Run all tests of the settings, with a `step` after little pieces of work."""
    if not settings.tests:
        return []
    run = _Run(settings, rows_of, step)
    try:
        return [run.outcome(test) for test in settings.tests]
    finally:
        run.close()


def refuse(settings: Settings, old: Settings, tables: Tables, step: Step) -> None:
    """Raise ConfigError with the tests that a change from the old settings to these makes fail.

    Called before a process with these tables uses the settings. A test that fails by the old settings as
    well is only logged: a source has broken it, and the change does not make that worse. A new test that
    fails is an error, as whoever has written it wants to know. One that cannot be judged is only logged, for
    an outage of a plugin must not forbid every change.
    """
    rows_of = rows_of_running(tables)
    found = outcomes(settings, rows_of, step)
    for outcome in found:
        if outcome.unjudged:
            say_problem(Entry.CONFIG_WARNING, outcome.problem)
    failing = [outcome for outcome in found if outcome.failure]
    known = _failing_of(old, [outcome.test for outcome in failing], rows_of, step)
    if worse := [outcome.problem for outcome in failing if outcome.test not in known]:
        raise ConfigError(worse)
    for outcome in failing:
        problem = outcome.problem
        message = f"{problem.message} (as before this reload, which is done all the same)"
        say_problem(Entry.CONFIG_WARNING, replace(problem, message=message))


def _failing_of(
    settings: Settings, tests: Sequence[PolicyTest], rows_of: RowsOf, step: Step
) -> frozenset[PolicyTest]:
    """Those of the tests that the settings have too, and that fail by them."""
    both = tuple(test for test in settings.tests if test in tests)
    found = outcomes(replace(settings, tests=both), rows_of, step)
    return frozenset(outcome.test for outcome in found if outcome.failure)


def problems(
    settings: Settings, rows_of: RowsOf, step: Step = at_once
) -> tuple[list[Problem], list[Problem]]:
    """(failing tests, tests that could not be judged) of the settings, each with its place."""
    found = outcomes(settings, rows_of, step)
    failing = [outcome.problem for outcome in found if outcome.failure]
    return failing, [outcome.problem for outcome in found if outcome.unjudged]


@dataclass(slots=True)
class _Known:
    """A table as the tests see it."""

    settings: TableSettings
    rows: Rows
    selection: Selection = field(default_factory=Selection)
    router: Router | None = None


class _Run:
    """One run of all tests: the small tables that they need, made once."""

    def __init__(self, settings: Settings, rows_of: RowsOf, step: Step) -> None:
        self._hubs = {hub.name: hub for hub in settings.hubs}
        self._own = {table.namespace: table for table in settings.tables if table.namespace is not None}
        self._step = step
        self._plugins: list[RouterPlugin] = []
        tables: dict[str, TableSettings] = {}
        for test in settings.tests:
            tables |= {table.name: table for table in self._tables_of(test)}
        self._known = {name: _Known(table, rows_of(table)) for name, table in tables.items()}
        self._select(settings.tests)

    def close(self) -> None:
        """Close the connections to plugins."""
        for plugin in self._plugins:
            plugin.close()

    def _hub(self, test: PolicyTest) -> HubSettings:
        """The hub that a test is about; without a name any of them, as all have the same tables then."""
        return self._hubs[test.service] if test.service else next(iter(self._hubs.values()))

    def _tables_of(self, test: PolicyTest) -> list[TableSettings]:
        """The tables that decide: the namespace's own one, and the hub's default one."""
        both = (self._own.get(test.namespace), self._hub(test).default_table)
        return [table for table in both if table is not None]

    def _select(self, tests: Sequence[PolicyTest]) -> None:
        """Take the rows that the tests need out of each table.

        Sources are not known before the prefixes of the hosts are, so the rows are gone through twice.
        """
        hosts = {test.host for test in tests if not test.source}
        addresses = {_packed(text) for test in tests for text in (test.to, test.source) if text}
        self._look_through(addresses, hosts)
        found = {
            one
            for known in self._known.values()
            for prefixes in known.selection.prefixes.values()
            for prefix in prefixes
            for one in _addresses_in(prefix)
        }
        if found - addresses:
            self._look_through(addresses | found, hosts)
        for known in self._known.values():
            if known.settings.plugin:
                plugin = RouterPlugin(known.settings.plugin)
                empty = small_table(known.settings, Selection())
                plugin.acl, plugin.own = empty.acl, empty.own
                self._plugins.append(plugin)
                known.router = plugin
            else:
                known.router = small_table(known.settings, known.selection)

    def _look_through(self, addresses: set[bytes], hosts: set[str]) -> None:
        for known in self._known.values():
            entries = known.settings.routes
            rows = known.rows
            known.selection = select(entries, rows.texts, addresses, hosts, self._step, rows.leases)

    def outcome(self, test: PolicyTest) -> Outcome:
        """What becomes of a test."""
        used = [self._known[table.name] for table in self._tables_of(test)]
        unread = next((known.rows.unread for known in used if known.rows.unread), "")
        if unread:
            return Outcome(test, unjudged=unread)
        at_run_time = self._at_run_time(test, used)
        if at_run_time:
            return Outcome(test, unjudged=at_run_time)
        domain = self._domain(test)
        sources = [test.source] if test.source else list(self._sources(test, domain))
        if not sources and domain.source_check:
            return _without_source(test, used)
        for source in sources or [""]:
            self._step()
            outcome = _asked(test, domain, source)
            if not outcome.holds:
                return outcome
        return Outcome(test)

    def _at_run_time(self, test: PolicyTest, used: Sequence[_Known]) -> str:
        """Why only a running hub can judge a test: who has which address is known there alone; else empty."""
        if all(known.rows.running for known in used):
            return ""
        given = [_packed(text) for text in (test.to, test.source) if text]
        rows = [entry for known in used for _, entry in known.selection.rows]
        for one in given:
            is_named = any(entry.prefix == one for entry in rows)
            if not is_named and any(covers(*prefix, one) for known in used for prefix in known.settings.pool):
                return f"only a running hub knows which host has {ip_address(one)} of the pool"
        enrols = self._hub(test).enrol is not None
        if enrols and not any(covers(entry.prefix, entry.length, given[0]) for entry in rows):
            return f"no route leads to {test.to} here, but an enrolled host may have it"
        size = len(given[0])
        if test.source or any((test.host, size) in known.selection.prefixes for known in used):
            return ""
        if any(len(prefix) == size for known in used for prefix, _ in known.settings.pool):
            return f"only a running hub knows which address {test.host} has of the pool"
        return f"{test.host} may be an enrolled host" if enrols else ""

    def _domain(self, test: PolicyTest) -> Domain:
        """The namespaces of a test's hub, with the tables that decide on the test."""
        hub, own = self._hub(test), self._own.get(test.namespace)
        tables = {test.namespace: _router(self._known[own.name])} if own is not None else {}
        found = Domain(tables, plugin_cache_seconds=CACHE_SECONDS, source_check=hub.source_check)
        if hub.default_table is not None:
            found.default = _router(self._known[hub.default_table.name])
        return found

    def _sources(self, test: PolicyTest, domain: Domain) -> Iterator[str]:
        """One address of each prefix that leads to the test's host, unless longer ones lead elsewhere."""
        size, now = len(_packed(test.to)), 0.0
        namespace = domain.namespace(test.namespace)
        for table in self._tables_of(test):
            prefixes = self._known[table.name].selection.prefixes.get((test.host, size), {})
            for prefix in prefixes:
                for one in _addresses_in(prefix):
                    found = namespace.route_to(one, now)
                    if isinstance(found, tuple) and namespace.leads_to(one, test.host, *found):
                        yield str(ip_address(one))
                        break


def _router(known: _Known) -> Router:
    assert known.router is not None  # _select has made it
    return known.router


def _packed(text: str) -> bytes:
    return ip_address(text).packed


def _addresses_in(prefix: Prefix) -> tuple[bytes, ...]:
    """Addresses of a prefix to try: a usual one of a host, the first one, and the last one."""
    first, length = prefix
    number, spare = int.from_bytes(first, "big"), 8 * len(first) - length
    numbers = (number + (1 if spare > 1 else 0), number, number + (1 << spare) - 1)
    return tuple(dict.fromkeys(one.to_bytes(len(first), "big") for one in numbers))


def _without_source(test: PolicyTest, used: Sequence[_Known]) -> Outcome:
    """The outcome of a test for whose host no address is known that it may send from."""
    if any(known.settings.plugin for known in used):
        hint = "write source: and an address of the host"
        return Outcome(test, unjudged="only a plugin knows which addresses lead to the host", hint=hint)
    names = {name: None for known in used for name in known.selection.names}
    version = 4 if "." in test.to else 6
    hint = did_you_mean(test.host, names) if test.host not in names else ""
    return Outcome(test, failure=f"no IPv{version} route leads to host {test.host!r}", hint=hint)


def _asked(test: PolicyTest, domain: Domain, source: str) -> Outcome:
    """What becomes of a test's packet from a source, an address as text; "" for any."""
    request = {"from": test.host, "to": test.to, "source": source, "port": test.port}
    question = ctl_explain.read_question(domain, {**request, "ns": test.namespace.hex()})
    ctl_explain.connect_everybody(question.attachment.namespace)
    explanation = ctl_explain.explanation(question, sessions=False)
    if isinstance(explanation.verdict, bytes) or explanation.verdict is Reason.ROUTER_FAILED:
        return Outcome(test, unjudged="a router plugin gives no reply")
    if explanation.delivered == test.allow:
        return Outcome(test)
    verdict = next(text for what, text in explanation.lines if what == "verdict")
    rule = next((text for what, text in explanation.lines if what == "access list"), "")
    decided = f" ({rule.partition('; it has decided')[0]})" if rule else ""
    sender = f" from {source}" if source and not test.source else ""
    fate = f"is {verdict}" if verdict.startswith("dropped") else verdict
    return Outcome(test, failure=f"it expects {test.expected}, but the packet{sender} {fate}{decided}")
