"""The `redis` section of a configuration: where a Redis is, how it is reached, and a key there.

Knows: GOST's keys, and ours for TLS and Sentinels. Refuses to know: what they mean (config_sources).
"""

from __future__ import annotations

from lib.config_schema_tls import Tls
from lib.config_section import Section, Texts


class Sentinel(Section):
    """The Sentinels of a Redis; a section of tunrouter's own."""

    addrs: Texts = []
    master: str = ""
    username: str = ""
    password: str = ""


class Redis(Section):
    """A source: a Redis key; tls and sentinel are keys of tunrouter's own."""

    addr: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    key: str = ""
    type: str = ""
    tls: Tls | None = None
    sentinel: Sentinel | None = None
