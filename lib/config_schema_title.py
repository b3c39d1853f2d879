"""The `namespaces` section of a configuration: which namespace has which title.

Knows: its keys, none of which is GOST's. Refuses to know: what a title may be (config_titles).
"""

from __future__ import annotations

from lib.config_section import Section


class NamedNamespace(Section):
    """A namespace and what people call it; a section of tunrouter's own."""

    id: str = ""
    title: str = ""
