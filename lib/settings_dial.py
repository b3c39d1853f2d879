"""Settings of a connection to a node: through which device, from which address, with which mark, to where.

Knows: what a configuration may say instead of the kernel and the name servers.
Refuses to know: how it is said (config_dial), how a socket is told (stream_dial).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DialSettings:
    """What is decided about a connection; empty fields are left to the kernel and to the name servers."""

    device: str = ""
    """The network device that the socket is bound to (SO_BINDTODEVICE)."""
    source: str = ""
    """The address of this host that the connection comes from."""
    mark: int = 0
    """The mark of its packets (SO_MARK), by which rules and firewalls know them."""
    proxy_protocol: int = 0
    """The version of the PROXY header that is sent first, 1 or 2; 0 for none."""
    addresses: tuple[str, ...] = ()
    """The addresses of the name, which is then not looked up."""


PLAIN_DIAL = DialSettings()
