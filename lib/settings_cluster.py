"""Settings of what a hub has to do with other hubs: an sd, and GOST's entrypoint for datagrams.

Knows: GOST's keys `sds`, `sd`, `entrypoint`, `sd.cache.expiration` and `sd.renewInterval`, and ours.
Refuses to know: how other hubs are asked for (cluster_entrypoint).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.prefixes import PrefixSet
from lib.settings_sources import PluginSettings

DEFAULT_CACHE, DEFAULT_RENEW = 1.0, 15.0
"""Seconds that an answer of the sd counts, and between two renewals of a session there; GOST's."""


@dataclass(frozen=True, slots=True)
class SdSettings:
    """A service discovery (sd): a plugin that is told which hosts are here, and asked where others are."""

    name: str
    plugin: PluginSettings


@dataclass(frozen=True, slots=True)
class RegistrySd:
    """An sd that is a Redis: the registry of a cluster (settings_registry)."""


@dataclass(frozen=True, slots=True)
class EntrypointSettings:
    """The entrypoint of a hub: the UDP port at which other hubs reach the hosts that are here."""

    sd: SdSettings
    host: str
    """Address to listen on; empty means every address, IPv4 and IPv6."""
    port: int
    address: str
    """host:port at which other hubs reach it, as the sd is told."""
    allow: PrefixSet = field(default_factory=PrefixSet)
    """Addresses of other hubs; empty for all that the sd names."""
    cache: float = DEFAULT_CACHE
    renew: float = DEFAULT_RENEW
    netns: str = ""
    """The network namespace that it listens in; empty for the process's own."""
