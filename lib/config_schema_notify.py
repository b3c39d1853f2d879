"""The `notify` section of a configuration: who is told about hosts that come and go.

Knows: its keys, none of which is GOST's. Refuses to know: what they mean (config_notify).
"""

from __future__ import annotations

from lib.config_section import Metadata, Section
from lib.go_values import Duration


class Notify(Section):
    """A command or a URL that is told about hosts; a section of tunrouter's own."""

    name: str = ""
    command: str = ""
    url: str = ""
    headers: Metadata = {}
    events: list[str] = []
    hosts: list[str] = []
    grace: Duration | None = None
    timeout: Duration | None = None
    retries: int | None = None
    queue: int | None = None
