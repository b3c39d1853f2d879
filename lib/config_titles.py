"""`title` of a router and of one of `namespaces`, checked: what people call a namespace.

Knows: that a title belongs to one namespace and a namespace has one title, that a router without a UUID for
a name is no namespace.
Refuses to know: what a title may look like (namespace_titles), where it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from lib import namespace_titles
from lib.config_findings import Findings
from lib.config_schema import Config
from lib.errors import Position
from lib.ids import format_uuid, parse_uuid


def titles(config: Config, found: Findings) -> tuple[namespace_titles.Title, ...]:
    """The titles of a configuration, in its order. Each wrong one is a problem in `found`."""
    known: dict[bytes, tuple[str, Position]] = {}
    taken: dict[str, tuple[bytes, Position]] = {}
    for namespace, title, where in found.each(_written(config, found)):
        if why := namespace_titles.fault(title):
            found.error(where, f"'title': {title[:64]!r} cannot be a title: {why}")
            continue
        other, place = known.setdefault(namespace, (title, where))
        if other != title:
            text = f"'title': namespace {format_uuid(namespace)} has the title {other!r} already"
            found.error(where, text, f"see {place}")
            continue
        owner, place = taken.setdefault(namespace_titles.folded(title), (namespace, where))
        if owner != namespace:
            text = f"'title': {title!r} is the title of namespace {format_uuid(owner)} already"
            found.error(where, text, f"see {place}")
    return tuple((namespace, title) for namespace, (title, _) in known.items())


def _written(config: Config, found: Findings) -> Iterator[tuple[bytes, str, Position]]:
    for router in config.routers:
        if "title" not in router.at and not router.title:
            continue
        try:
            yield parse_uuid(router.name), router.title, router.where("title")
        except ValueError:
            text = f"router {router.name[:64]}: 'title' is for a router whose name is a namespace's UUID"
            hint = "write namespaces: [{id: UUID, title: TEXT}] at the top level"
            found.error(router.where("title"), text, hint)
    for one in config.namespaces:
        try:
            yield parse_uuid(one.id), one.title, one.where("title")
        except ValueError:
            found.error(one.where("id"), f"'id' of one of the namespaces: not a UUID: {one.id[:64]!r}")
