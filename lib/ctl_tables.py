"""Rows of the control socket's `status` about tables: their sources and plugins, and how these do.

Knows: the fields of these rows and their units. Refuses to know: the rest of the reply (ctl_status).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lib import cluster_running, observe_services
from lib.ctl_routes import source_name
from lib.enrol_live import Enrolment
from lib.hub_tables import Key, Tables
from lib.plugin_client import Plugin
from lib.settings_sources import FileSource, HttpSource, RedisSource, Source
from lib.source_feed import Feed, SourceState

Row = dict[str, object]
_KINDS = {FileSource: "file", RedisSource: "redis", HttpSource: "http"}


def rows(tables: Tables, now: float) -> Iterator[Row]:
    """A row for each table, each list of enrolled hosts, each observer and each sd in use."""
    for (kind, name), live in tables.all():
        sources = _sources(live.feed, now) if live.feed.reads else ()
        yield _row(kind, name, live.total, live.plugin, now, sources)
    for enrolled in tables.enrolled.all():
        yield _enrolled(enrolled, now)
    for observer in observe_services.running():
        yield _row("observer", observer.settings.name, observer.waiting, observer.plugin, now)
    for one in cluster_running.entrypoints():
        yield _row("sd", one.entry.sd.name, one.registration.known, one.sd.plugin, now)


def read_here(feeds: Iterable[tuple[Key, str, Feed]], now: float) -> Iterator[Row]:
    """A row for each table whose sources this process reads for others, which have its rows."""
    for (kind, name), _, feed in feeds:
        yield _row(kind, name, 0, None, now, _sources(feed, now))


def _row(
    kind: str, name: str, count: int, plugin: Plugin | None, now: float, sources: Sequence[Row] = ()
) -> Row:
    return {
        "kind": kind,
        "name": name,
        "rows": count,
        "plugin": _plugin(plugin, now),
        "sources": list(sources),
    }


def _enrolled(live: Enrolment, now: float) -> Row:
    """The row of a list of enrolled hosts."""
    return {
        "kind": "enrolled",
        "name": "hosts",
        "rows": len(live.book.hosts) if live.book is not None else 0,
        "plugin": None,
        "sources": [_source(live.source, live.state, now)],
    }


def _sources(feed: Feed, now: float) -> list[Row]:
    return [_source(source, state, now) for source, state in feed.states()]


def _source(source: Source, state: SourceState, now: float) -> Row:
    return {
        "kind": _KINDS[type(source)],
        "name": source_name(source),
        "read_s": _since(state.read_at, now),
        "error": state.error,
        "failing_s": _since(state.failing_since, now),
        "bad_rows": state.bad_rows,
    }


def _plugin(plugin: Plugin | None, now: float) -> Row | None:
    if plugin is None:
        return None
    return {"url": plugin.url, "answered_s": _since(plugin.replied_at, now), "error": plugin.error}


def _since(at: float, now: float) -> float | None:
    return round(now - at, 1) if at else None
