"""The differences between two settings of one service, as text for the log of a reload.

Knows: that of tables, ingresses and authers only the names are compared, as their own changes are reported by
themselves; that passwords are never shown.
Refuses to know: what a difference leads to (service, hub, client).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from itertools import compress
from operator import attrgetter, is_not
from typing import Any

from lib.settings import ClientSettings, DeviceSettings, HubSettings

MAX_SHOWN = 100
"""Characters of a change; of a longer one only the field's name is shown."""
MAX_ROUTES = 8
"""Routes of a device that is shown."""
_NAMED = ("default_table", "ingress", "authers", "admissions", "limiters")
_APART = (*_NAMED, "limits", "observe")
"""Fields that say nothing of a hub's listener, nor of what its clients are told."""
_HIDDEN = ("password", "nodes", "limits", "hooks", "enrol", "hops", "observe", "entrypoint")
"""Fields with secrets, and those that are always longer."""


def differences(
    old: HubSettings | ClientSettings, new: HubSettings | ClientSettings, names: list[str] | None = None
) -> list[str]:
    """A text for each field that differs: `read timeout 0.0 -> 5.0`. `names`: the fields, if known."""
    texts = []
    for name in others(old, new) if names is None else names:
        if _is_loaded(name, old, new) or _is_chosen(name, old, new):
            continue
        before, after = (_shown(name, getattr(settings, name)) for settings in (old, new))
        if before != after:
            is_hidden = name in _HIDDEN or _is_long(before) or _is_long(after)
            change = "" if is_hidden else f" {before} -> {after}"
            texts.append(name.replace("_", " ") + (change if len(change) <= MAX_SHOWN else ""))
    return texts


def others(old: HubSettings | ClientSettings, new: HubSettings | ClientSettings) -> list[str]:
    """The fields whose values are not the very same objects: all others are surely equal."""
    cls: type = type(old)
    names, values = _values(cls)
    return list(compress(names, map(is_not, values(old), values(new))))


@cache
def _values(cls: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The names of a class's fields, and what gets their values."""
    names = tuple(field.name for field in fields(cls))
    return names, attrgetter(*names)


def only_named(old: HubSettings, new: HubSettings) -> list[str] | None:
    """The fields that differ, if all are about what the service names; None where the service itself differs.

    A table of another name is another namespace, so then the service itself differs.
    """
    found = others(old, new)
    before, after = (_shown("default_table", one.default_table) for one in (old, new))
    return found if before == after and all(name in _APART for name in found) else None


def _is_loaded(name: str, old: HubSettings | ClientSettings, new: HubSettings | ClientSettings) -> bool:
    """Whether nodes differ only because those in use come from sources too."""
    if name != "nodes" or isinstance(old, HubSettings) or isinstance(new, HubSettings):
        return False
    return bool(old.hops) and old.hops == new.hops


def _is_chosen(name: str, old: HubSettings | ClientSettings, new: HubSettings | ClientSettings) -> bool:
    """Whether a host name differs only because it is chosen among several, which are the same."""
    if name != "host" or isinstance(old, HubSettings) or isinstance(new, HubSettings):
        return False
    return bool(old.hosts) and (old.hosts, old.host_strategy) == (new.hosts, new.host_strategy)


def _shown(name: str, value: Any) -> Any:
    if name in ("maps", "dns"):
        return ", ".join(map(str, value)) or "none"
    if name == "hosts":
        return ", ".join(one.name for one in value) or "none"
    if name not in _NAMED:
        return value
    if isinstance(value, tuple):
        return ", ".join(named.name for named in value) or "none"
    return value.name if value is not None else None


def _is_long(value: Any) -> bool:
    """Whether a value is surely too long to be shown: the text of 50,000 routes takes a tenth of a second."""
    return len(value.routes if isinstance(value, DeviceSettings) else ()) > MAX_ROUTES
