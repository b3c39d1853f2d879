"""What a reload would change: the differences between the settings in use and those that files give now.

Knows: services, tables and logins that come, go and differ. Refuses to know: how a change is made
(service_reload), what differs in one service (settings_diff), secrets: of those only names are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from lib.humanize import counted
from lib.settings import ClientSettings, HubSettings, Settings, TableSettings
from lib.settings_diff import differences

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
COMPARED = 20_000
"""Routes of the biggest table whose added and removed ones are counted."""
_BY_ITSELF = ("hubs", "clients", "tables", "authers", "files", "warnings", "notices")
_PLAIN = (str, int, bool)


class Change(NamedTuple):
    """What differs in one thing."""

    service: str
    """The name of a service; empty for what belongs to the whole process."""
    kind: str
    lines: list[str]


def lines(found: Iterable[Change]) -> list[str]:
    """A line for each change, for a log."""
    return [
        (f"service {one.service}: " if one.service else "") + ("; ".join(one.lines) or one.kind)
        for one in found
    ]


def changes(old: Settings, new: Settings) -> list[Change]:
    """All differences; none where a reload would change nothing."""
    found: list[Change] = []
    for before, after in ((old.hubs, new.hubs), (old.clients, new.clients)):
        found += _services({one.name: one for one in before}, {one.name: one for one in after})
    told = _tables({one.name: one for one in old.tables}, {one.name: one for one in new.tables})
    told += _named(_used(old), _used(new))
    for field in fields(Settings):
        had, wanted = getattr(old, field.name), getattr(new, field.name)
        if field.name not in _BY_ITSELF and had != wanted:
            is_plain = isinstance(had, _PLAIN) and isinstance(wanted, _PLAIN) and field.name != "trace"
            name = field.name.replace("_", " ")
            told.append(f"{name}: {had or 'none'} -> {wanted or 'none'}" if is_plain else f"{name} differs")
    return [*found, *([Change("", CHANGED, told)] if told else [])]


def _services(
    old: Mapping[str, HubSettings | ClientSettings], new: Mapping[str, HubSettings | ClientSettings]
) -> Iterable[Change]:
    for name in old.keys() - new.keys():
        yield Change(name, REMOVED, [])
    for name, one in new.items():
        if name not in old:
            yield Change(name, ADDED, [])
        elif told := differences(old[name], one):
            yield Change(name, CHANGED, told)


def _tables(old: Mapping[str, TableSettings], new: Mapping[str, TableSettings]) -> list[str]:
    told = [f"router {name}: removed" for name in old.keys() - new.keys()]
    for name, table in new.items():
        before = old.get(name)
        if before is None:
            told.append(f"router {name}: added, with {counted(len(table.routes), 'route')} of its own")
        elif before != table:
            told.append(f"router {name}: {_routes(before, table)}")
    return told


def _routes(old: TableSettings, new: TableSettings) -> str:
    if old.routes == new.routes:
        others = [
            field.name.replace("_", " ")
            for field in fields(new)
            if getattr(old, field.name) != getattr(new, field.name)
        ]
        return f"{', '.join(others)} {'differs' if len(others) == 1 else 'differ'}"
    if max(len(old.routes), len(new.routes)) > COMPARED:
        return f"{counted(len(old.routes), 'route')} -> {len(new.routes):,}"
    before, after = set(old.routes), set(new.routes)
    added, removed = len(after - before), len(before - after)
    return f"routes +{added} -{removed}" if added or removed else "its routes are in another order"


def _used(settings: Settings) -> dict[str, Any]:
    """Authers, ingresses and limiters by what they are called."""
    found: dict[str, Any] = {f"auther {one.name}": one for one in settings.authers}
    for hub in settings.hubs:
        found |= {f"auther {one.name}": one for one in hub.authers}
        found |= {f"limiter {one.name}": one for one in hub.limiters}
        found |= {f"ingress {hub.ingress.name}": hub.ingress} if hub.ingress is not None else {}
    return found


def _named(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    told = [f"{name}: removed" for name in old.keys() - new.keys()]
    told += [f"{name}: added" for name in new.keys() - old.keys()]
    return told + [f"{name}: its rows differ" for name in old.keys() & new.keys() if old[name] != new[name]]
