"""The differences between two settings of one service, as text for the log of a reload.

Knows: that of tables, ingresses and authers only the names are compared, as their own changes are reported by
themselves; that passwords are never shown.
Refuses to know: what a difference leads to (service, hub, client).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lib.settings import ClientSettings, DeviceSettings, HubSettings

MAX_SHOWN = 100
"""Characters of a change; of a longer one only the field's name is shown."""
MAX_ROUTES = 8
"""Routes of a device that is shown."""
_NAMED = ("default_table", "ingress", "authers", "admissions", "limiters")
_HIDDEN = ("password", "nodes", "limits", "hooks", "enrol", "hops", "observe")
"""Fields with secrets, and those that are always longer."""


def differences(old: HubSettings | ClientSettings, new: HubSettings | ClientSettings) -> list[str]:
    """A text for each field that differs: `read timeout 0.0 -> 5.0`."""
    texts = []
    for field in fields(old):
        if getattr(old, field.name) is getattr(new, field.name) or _is_loaded(field.name, old, new):
            continue
        before, after = (_shown(field.name, getattr(settings, field.name)) for settings in (old, new))
        if before != after:
            is_hidden = field.name in _HIDDEN or _is_long(before) or _is_long(after)
            change = "" if is_hidden else f" {before} -> {after}"
            texts.append(field.name.replace("_", " ") + (change if len(change) <= MAX_SHOWN else ""))
    return texts


def _is_loaded(name: str, old: HubSettings | ClientSettings, new: HubSettings | ClientSettings) -> bool:
    """Whether nodes differ only because those in use come from sources too."""
    if name != "nodes" or isinstance(old, HubSettings) or isinstance(new, HubSettings):
        return False
    return bool(old.hops) and old.hops == new.hops


def _shown(name: str, value: Any) -> Any:
    if name == "maps":
        return ", ".join(map(str, value)) or "none"
    if name not in _NAMED:
        return value
    if isinstance(value, tuple):
        return tuple(named.name for named in value)
    return value.name if value is not None else None


def _is_long(value: Any) -> bool:
    """Whether a value is surely too long to be shown: the text of 50,000 routes takes a tenth of a second."""
    return len(value.routes if isinstance(value, DeviceSettings) else ()) > MAX_ROUTES
