"""The `cluster` section of a configuration: this process as one hub of several.

Knows: its keys, none of which is GOST's. Refuses to know: what they mean (config_cluster).
"""

from __future__ import annotations

from lib.config_section import Section, Texts


class LinkTls(Section):
    """The certificate of this hub, by which others know it."""

    cert_file: str = ""
    key_file: str = ""


class ClusterLink(Section):
    """How other hubs of the cluster reach this one, and by what they know each other."""

    listen: str = ""
    address: str = ""
    secret: str = ""
    tls: LinkTls | None = None
    channel: str = ""
    datagram: str = ""


class Trust(Section):
    """Another hub: what it is known by, and the namespaces whose hosts it may claim."""

    hub: str = ""
    pin: Texts = []
    cert_file: str = ""
    namespaces: Texts = []


class Cluster(Section):
    """What this hub is called among the others, and its links to them; a section of tunrouter's own."""

    name: str = ""
    link: ClusterLink | None = None
    trust: list[Trust] = []
