"""Settings of names: the domain below which a router's hosts are, and the way by which a client finds them.

Knows: their shape. Refuses to know: how they are written (config_names), who asks for them (dns_answers).
"""

from __future__ import annotations

from dataclasses import dataclass

BY_AUTO, BY_RESOLVED, BY_STUB, BY_HOSTS, BY_OFF = "auto", "resolved", "stub", "hosts", "off"
"""Ways by which a client lets names be asked of its hub (`namesBy`): the best one that there is; by
systemd-resolved; by a name server of its own on loopback; by lines of the hosts file; not at all."""
WAYS = BY_AUTO, BY_RESOLVED, BY_STUB, BY_HOSTS, BY_OFF


@dataclass(frozen=True, slots=True)
class NamesSettings:
    """The names of one router."""

    domain: str
    """In lower case, without a dot at either end; at least two labels (`dnsDomain`)."""
    devices: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """(name below the domain in lower case, its packed addresses), of `names`."""
