"""Warnings of `tunrouter check` about source files: missing, bad lines, routes that GOST orders otherwise.

Knows: how files of routes, rules and logins are read. Refuses to know: Redis, HTTP and plugins, because a
check connects to nothing; and how the rows are used (hub_tables).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from lib import (
    auth_addresses,
    config_limits,
    config_nodes,
    config_resolve,
    rule_parse,
    source_text,
    text_encoding,
)
from lib.config_schema import Config, File
from lib.config_section import walk
from lib.errors import ConfigError, Position, Problem
from lib.humanize import listed
from lib.route_first_match import differences
from lib.route_parse import BadLine, RouteLines
from lib.settings import AutherSettings, HopSettings, RouteEntry, Settings, TableSettings
from lib.settings_sources import FileSource, SourceSettings
from lib.source_bad_lines import MAX_REPORTED, BadLines

MAX_SURPRISES = 10
"""Routes of a table that are told of because GOST's order differs."""


Places = dict[str, Position]
"""Path of a file -> where the configuration names it."""


def warnings(settings: Settings, config: Config) -> Iterator[Problem]:
    """A warning for everything that is odd about the files that `settings` names.

    `config` is what the settings were resolved from; it has the places where it names the files.
    """
    places = {one.path: one.where("path") for one in walk(config) if isinstance(one, File)}
    for table in settings.tables:
        yield from _table(table, places)
    rules = [(hub.ingress.more, rule_parse.ingress_row) for hub in settings.hubs if hub.ingress is not None]
    admitted = [(one.more, auth_addresses.row) for hub in settings.hubs for one in hub.admissions]
    authers = [*(auther for hub in settings.hubs for auther in hub.authers), *settings.authers]
    logins = [(auther.more, rule_parse.auther_row) for auther in authers]
    bindings = [(auther.bindings.more, rule_parse.binding_row) for auther in authers if auther.bindings]
    limits = dict.fromkeys((one.more, one.adds_to) for hub in settings.hubs for one in hub.limiters)
    limits_of = [(more, config_limits.source_row(adds_to)) for more, adds_to in limits]
    for more, read in (*dict.fromkeys([*rules, *admitted, *logins, *bindings]), *limits_of):
        for path, text in _texts(more, places):
            if isinstance(text, Problem):
                yield text
            else:
                yield from (row for row in rule_parse.rows(text, path, read) if isinstance(row, Problem))
    for auther in dict.fromkeys(authers):
        yield from _bound(auther, places)
    for hop in dict.fromkeys(hop for client in settings.clients for hop in client.hops):
        yield from _nodes(hop, places)


def _nodes(hop: HopSettings, places: Places) -> Iterator[Problem]:
    for source in hop.more.sources:
        if not isinstance(source, FileSource):
            continue
        where = places.get(source.path, Position(source.path))
        try:
            with open(source.path, "rb") as file:
                config = config_nodes.with_nodes(hop, file.read(), source.path)
            if config_nodes.has_nodes(hop, config):
                config_resolve.resolve(config)
        except OSError as error:
            yield Problem(where, f"{source.path}: {error.strerror or error}")
        except ValueError as wrong:
            yield Problem(Position(source.path), str(wrong))
        except ConfigError as error:
            yield from (Problem(Position(source.path), one.message, one.hint) for one in error.problems)


def _bound(auther: AutherSettings, places: Places) -> Iterator[Problem]:
    """Logins without a binding, and bindings without a login, where all of both are in files."""
    bindings = auther.bindings
    if bindings is None or auther.plugin:
        return
    names = _names(auther.more, rule_parse.auther_row, places)
    bound = _names(bindings.more, rule_parse.binding_row, places)
    if names is None or bound is None:
        return
    where = Position(next(source.path for source in bindings.more.sources if isinstance(source, FileSource)))
    inline = {row.username: bool(row.hosts or row.namespaces) for row in auther.logins}
    missing = [
        name for name in dict.fromkeys([*inline, *names]) if name not in bound and not inline.get(name)
    ]
    yield from _listed(where, f"auther {auther.name}: no binding, and so not let in", missing)
    strangers = [name for name in bound if name not in inline and name not in names]
    yield from _listed(where, f"auther {auther.name}: a binding, but no login", strangers)


def _names(more: SourceSettings, read: rule_parse.Reader, places: Places) -> dict[str, None] | None:
    """The user names in the files of an auther or its bindings; None where not all of them can be known."""
    if not all(isinstance(source, FileSource) for source in more.sources):
        return None
    names: dict[str, None] = {}
    for path, text in _texts(more, places):
        if isinstance(text, Problem):
            return None
        names |= {row[0]: None for row in rule_parse.rows(text, path, read) if not isinstance(row, Problem)}
    return names


def _listed(where: Position, what: str, names: Sequence[str]) -> Iterator[Problem]:
    if names:
        yield Problem(where, f"{what}: {listed([repr(name[:64]) for name in names], MAX_REPORTED)}")


def _texts(more: SourceSettings, places: Places) -> Iterator[tuple[str, bytes | Problem]]:
    for source in more.sources:
        if isinstance(source, FileSource):
            try:
                with open(source.path, "rb") as file:
                    text = text_encoding.utf8(file.read())
            except OSError as error:
                where = places.get(source.path, Position(source.path))
                yield source.path, Problem(where, f"{source.path}: {error.strerror or error}")
                continue
            except UnicodeDecodeError as error:
                yield source.path, Problem(Position(source.path), str(error))
                continue
            other = source_text.instead(text)
            yield (
                source.path,
                Problem(Position(source.path), f"it is {other}, not a table") if other else text,
            )


def _table(table: TableSettings, named: Places) -> Iterator[Problem]:
    entries: list[RouteEntry] = list(table.routes)
    places: dict[int, Position] = {}
    for path, text in _texts(table.more, named):
        if isinstance(text, Problem):
            yield text
            continue
        bad = BadLines()
        lines = RouteLines()
        for number, line in enumerate(text.split(b"\n"), 1):
            try:
                entry = lines.read(line)
            except BadLine as wrong:
                bad.add(path, number, wrong)
                continue
            if entry is not None:
                entries.append(entry)
                places[id(entry)] = Position(path, number, 1)
        bad.note_widened(path, lines.widened, lines.first_widened)
        yield from bad.problems()
    if places and not table.first_match:
        # between two inline rows config_tables has warned already
        surprises = ((first, longest) for first, longest in differences(entries) if id(longest) in places)
        for first, longest in islice(surprises, MAX_SURPRISES):
            where = places[id(longest)]
            text_of = f"router {table.name}: {longest} goes to {longest.hop.gateway}, the longest prefix"
            yield Problem(where, f"{text_of}; GOST takes the first match, {first} to {first.hop.gateway}")
