"""Settings of a node about itself: how it is dialled, and how it is chosen among several.

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
    netns: str = ""
    """The network namespace that the connection is made in: a name or a path; empty for our own."""
    addresses: tuple[str, ...] = ()
    """The addresses of the name, which is then not looked up."""


PLAIN_DIAL = DialSettings()


@dataclass(frozen=True, slots=True)
class ChoiceSettings:
    """How a node is chosen among the nodes of its hop."""

    weight: int = 1
    """How often it is chosen, compared with others (strategy rand)."""
    backup: bool = False
    """Whether it is for when all others have failed."""
    max_fails: int = 0
    """As in ClientSettings, for this node alone; 0: as there."""
    fail_timeout: float = 0.0
    """The same, in seconds."""


PLAIN_CHOICE = ChoiceSettings()
