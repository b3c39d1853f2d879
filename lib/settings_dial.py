"""Settings of a node about itself: how it is dialled, and how it is chosen among several.

Knows: what a configuration may say instead of the kernel and the name servers.
Refuses to know: how it is said (config_dial), how a socket is told (stream_dial).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

NETNS_NAMES = "/run/netns"
"""Where `ip netns add` puts names; /var/run is a link to /run."""


class Interface(NamedTuple):
    """A device or an address to dial from; with both empty the kernel chooses."""

    device: str = ""
    source: str = ""
    strict: bool = False
    """Whether nothing else is tried where it leads to no connection (`eth0!`)."""


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
    strict: bool = False
    """As in Interface, for `device` or `source`; where there are no others it means nothing."""
    others: tuple[Interface, ...] = ()
    """What is tried in place of `device` or `source`, in turn, where these lead to no connection."""

    def in_turn(self) -> Iterator[DialSettings]:
        """The settings for each interface, in the order in which they are tried."""
        yield replace(self, others=()) if self.others else self
        for one in self.others:
            yield replace(self, device=one.device, source=one.source, strict=one.strict, others=())


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


@dataclass(frozen=True, slots=True)
class HopChoice:
    """How one of the nodes of a hop is chosen (`selector`)."""

    strategy: str = "round"
    """fifo (the first that works), round (in turn), rand or hash."""
    max_fails: int = 1
    """Failures in a row after which a node is passed over for `fail_timeout` seconds."""
    fail_timeout: float = 10.0


def netns_path(name: str) -> str:
    """The file of a network namespace that is named as in GOST: by a path, or as for `ip netns exec`."""
    return name if name.startswith("/") else f"{NETNS_NAMES}/{name}"
