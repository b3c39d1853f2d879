"""What a reload would change: the differences between the settings in use and those that files give now.

Knows: services, tables and logins that come, go and differ. Refuses to know: how a change is made
(service_reload), what differs in one service (settings_diff), secrets: of those only names are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from lib.humanize import counted
from lib.settings import ClientSettings, HubSettings, RouteEntry, Settings, TableSettings
from lib.settings_diff import differences

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
AT_ONCE = 1000
"""Rows that are compared in one step."""
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


def changes(old: Settings, new: Settings, step: Callable[[], None] = lambda: None) -> list[Change]:
    """All differences; none where a reload would change nothing.

    `step` is called after each little piece of work.
    """
    found: list[Change] = []
    for before, after in ((old.hubs, new.hubs), (old.clients, new.clients)):
        found += _services({one.name: one for one in before}, {one.name: one for one in after}, step)
    told = _tables({one.name: one for one in old.tables}, {one.name: one for one in new.tables}, step)
    told += _named(_used(old, step), _used(new, step), step)
    for field in fields(Settings):
        had, wanted = getattr(old, field.name), getattr(new, field.name)
        if field.name not in _BY_ITSELF and had != wanted:
            is_plain = isinstance(had, _PLAIN) and isinstance(wanted, _PLAIN) and field.name != "trace"
            name = field.name.replace("_", " ")
            told.append(f"{name}: {had or 'none'} -> {wanted or 'none'}" if is_plain else f"{name} differs")
    return [*found, *([Change("", CHANGED, told)] if told else [])]


def _services(
    old: Mapping[str, HubSettings | ClientSettings],
    new: Mapping[str, HubSettings | ClientSettings],
    step: Callable[[], None],
) -> Iterable[Change]:
    for name in old.keys() - new.keys():
        yield Change(name, REMOVED, [])
    for name, one in new.items():
        if name not in old:
            yield Change(name, ADDED, [])
        elif old[name] is not one and (told := differences(old[name], one)):
            yield Change(name, CHANGED, told)
        step()


def _tables(
    old: Mapping[str, TableSettings], new: Mapping[str, TableSettings], step: Callable[[], None]
) -> list[str]:
    told = [f"router {name}: removed" for name in old.keys() - new.keys()]
    for name, table in new.items():
        before = old.get(name)
        if before is None:
            told.append(f"router {name}: added, with {counted(len(table.routes), 'route')} of its own")
        elif others := _others(before, table, step):
            told.append(f"router {name}: {_table(before, table, others, step)}")
        step()
    return told


def _others(old: Any, new: Any, step: Callable[[], None]) -> list[str]:
    """The fields of settings that differ."""
    if old is new or type(old) is not type(new):
        return [] if old is new else ["type"]
    pairs = ((field.name, getattr(old, field.name), getattr(new, field.name)) for field in fields(new))
    return [name for name, one, other in pairs if not _equal(one, other, step)]


def _equal(one: Any, other: Any, step: Callable[[], None]) -> bool:
    """Whether two values are equal. Two long tuples are compared in steps."""
    if one is other or not (isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other)):
        return bool(one == other)
    for start in range(0, len(one), AT_ONCE):
        if one[start : start + AT_ONCE] != other[start : start + AT_ONCE]:
            return False
        step()
    return True


def _table(old: TableSettings, new: TableSettings, others: list[str], step: Callable[[], None]) -> str:
    if "routes" not in others:
        names = ", ".join(name.replace("_", " ") for name in others)
        return f"{names} {'differs' if len(others) == 1 else 'differ'}"
    if max(len(old.routes), len(new.routes)) > COMPARED:
        return f"{counted(len(old.routes), 'route')} -> {len(new.routes):,}"
    before, after = _set(old.routes, step), _set(new.routes, step)
    added, removed = (_missing(*pair, step) for pair in ((before, new.routes), (after, old.routes)))
    return f"routes +{added} -{removed}" if added or removed else "its routes are in another order"


def _set(rows: Iterable[RouteEntry], step: Callable[[], None]) -> set[RouteEntry]:
    found = set()
    for row in rows:
        found.add(row)
        step()
    return found


def _missing(there: set[RouteEntry], rows: Iterable[RouteEntry], step: Callable[[], None]) -> int:
    """How many of these rows, each counted once, are not there."""
    seen = set()
    for row in rows:
        if row not in there:
            seen.add(row)
        step()
    return len(seen)


_Used = dict[tuple[str, str], Any]
"""(word, name) -> the settings of an auther, an ingress, an admission or a limiter."""
NAMED = {"authers": "auther", "admissions": "admission", "limiters": "", "ingress": "ingress"}
"""Field of a hub of which settings_diff compares only the names -> the word before a name.

A limiter's name has its kind in it: `climiter many`. Tables are compared apart."""


def _used(settings: Settings, step: Callable[[], None]) -> _Used:
    found: _Used = {("auther", one.name): one for one in settings.authers}
    for hub in settings.hubs:
        for field, kind in NAMED.items():
            value = getattr(hub, field)
            for one in value if isinstance(value, tuple) else [value] if value is not None else ():
                found[kind, one.name] = one
        step()
    return found


def _named(old: _Used, new: _Used, step: Callable[[], None]) -> list[str]:
    told = [f"{_title(key)}: removed" for key in old.keys() - new.keys()]
    told += [f"{_title(key)}: added" for key in new.keys() - old.keys()]
    both = (key for key in old.keys() & new.keys() if _others(old[key], new[key], step))
    return told + [f"{_title(key)}: its rows differ" for key in both]


def _title(key: tuple[str, str]) -> str:
    return " ".join(key).strip()
