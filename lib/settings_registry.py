"""Settings of a cluster: hubs that know of each other's hosts by a registry, and pass packets over links.

Knows: what this hub is called there, where its links come in, where the registry is.
Refuses to know: how hosts are told (cluster_claims), GOST's sd and entrypoint (settings_cluster).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lib.settings_sources import RedisSource
from lib.settings_transport import STREAM


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """Another hub, by what it is known, and what it may claim."""

    hub: str
    pins: tuple[bytes, ...] = ()
    """SHA-256 of its certificate, 32 bytes; several while it changes."""
    cert_file: str = ""
    """A file with its certificate."""
    namespaces: frozenset[bytes] | None = frozenset()
    """Those whose hosts it may claim; None for all."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What this process is in a cluster."""

    name: str
    """The name of this hub, another one than that of any other hub."""
    registry: RedisSource
    """Where all hubs of the cluster tell of their hosts; its key is the beginning of all keys there."""
    services: tuple[str, ...]
    """The hub services that share their hosts with the cluster: all of one domain."""
    host: str
    """Address that links are accepted on; empty means every address, IPv4 and IPv6."""
    port: int
    address: str
    """host:port at which other hubs dial it."""
    secret: str = field(default="", repr=False)
    """Whoever has it is a hub of the cluster; empty where each hub has a certificate."""
    cert_file: str = ""
    """The certificate by which other hubs know this one; empty where there is a secret."""
    key_file: str = ""
    channel: str = STREAM
    """Whether links have datagrams beside their stream: AUTO, STREAM or DATAGRAM (settings_transport)."""
    datagram: str = ""
    """host:port at which other hubs reach the UDP port; empty for the address of the link and our port."""
    trust: tuple[TrustSettings, ...] = ()
