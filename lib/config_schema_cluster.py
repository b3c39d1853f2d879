"""The `cluster` section of a configuration: this process as one hub of several.

Knows: its keys, none of which is GOST's. Refuses to know: what they mean (config_cluster).
"""

from __future__ import annotations

from lib.config_section import Section, words


class ClusterLink(Section):
    """How other hubs of the cluster reach this one, and by what they know each other."""

    listen: str = ""
    address: str = ""
    secret: str = ""


class Cluster(Section):
    """What this hub is called among the others, and its links to them; a section of tunrouter's own."""

    not_yet = words("trust")
    name: str = ""
    link: ClusterLink | None = None
