"""Filter of a request of the control socket by host name and namespace, and words for a wrong hub.

Knows: the fields `host` and `ns` of a request, and what is said where `service` names no hub.
Refuses to know: which requests have them, and rows (ctl_status, ctl_drops, ctl_health).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lib import ids
from lib.did_you_mean import did_you_mean
from lib.humanize import listed
from lib.namespace_titles import named, namespace_named, title_of

MAX_HUBS = 10
"""Hubs that are listed where one has to be named."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which hosts are wanted."""

    host: str = ""
    """A host name; empty for all."""
    namespace: bytes | None = None
    """A namespace; None for all."""

    def __bool__(self) -> bool:
        return bool(self.host) or self.namespace is not None

    def fits(self, host: str, namespace: bytes) -> bool:
        """Whether a host of that name in that namespace is wanted."""
        return self.host in ("", host) and self.namespace in (None, namespace)

    def words(self) -> dict[str, str]:
        """The filter as a reply says it: {"host": name, "ns": UUID, "title": text}, each empty for all."""
        uuid = "" if self.namespace is None else ids.format_uuid(self.namespace)
        return {"host": self.host, "ns": uuid, "title": title_of(self.namespace or b"")}

    def text(self) -> str:
        """The filter in words: `host-1 in Shop Berlin (UUID)`."""
        return " in ".join(filter(None, (self.host, "" if self.namespace is None else named(self.namespace))))


def read(request: Mapping[str, Any]) -> Filter:
    """The filter in a request's "host" and "ns", which may both be missing. Raises ValueError."""
    host, namespace = (str(request.get(key) or "") for key in ("host", "ns"))
    return Filter(host, namespace_named(namespace) if namespace else None)


def which_hub(name: str, hubs: Collection[str]) -> str:
    """What to say to somebody who has named no hub where there are several, or one that is not there."""
    if not hubs:
        return "there is no hub here, only clients"
    several = listed(list(hubs), MAX_HUBS)
    if not name:
        return f"name one with --service: {several}"
    hint = did_you_mean(name, hubs) or f"--service can be {several}"
    return f"there is no hub {name[:64]!r}; {hint}"
