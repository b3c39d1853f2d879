"""What is different between two settings of one thing, in words.

Knows: that tables, ingresses and authers inside are told elsewhere, by their own names, and that a password
is not shown.
Refuses to know: what a difference leads to (service, hub, client).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lib.settings import ClientSettings, HubSettings

MAX_SHOWN = 100
"""Letters of a change that are still shown."""
_NAMED = ("default_table", "ingress", "authers")
_SECRET = ("password", "nodes")


def differences(old: HubSettings | ClientSettings, new: HubSettings | ClientSettings) -> list[str]:
    """One text a field that differs: `read_timeout 0.0 -> 5.0`."""
    texts = []
    for field in fields(old):
        before, after = (_shown(field.name, getattr(settings, field.name)) for settings in (old, new))
        if before != after:
            change = f" {before} -> {after}"
            hidden = field.name in _SECRET or len(change) > MAX_SHOWN
            texts.append(field.name.replace("_", " ") + ("" if hidden else change))
    return texts


def _shown(name: str, value: Any) -> Any:
    if name not in _NAMED:
        return value
    if isinstance(value, tuple):
        return tuple(named.name for named in value)
    return value.name if value is not None else None
