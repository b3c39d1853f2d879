"""Numbers of the processes that set host routes in a network namespace, and the devices of their tunnels.

Knows: how processes that know nothing of each other see which of them live. Each holds names of abstract Unix
sockets: such a name exists once in a network namespace, as routes do, and ends with its process.
Refuses to know: what the numbers are for (netlink_host_routes).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

NUMBERS = 250
"""Processes of one network namespace that are told apart."""

_NAME = "\0tunrouter/host-routes/%d"
_DEVICE = "\0tunrouter/host-routes/%d/device/%d"


@dataclass(slots=True)
class Tunnel:
    """The device of a tunnel of this process."""

    name: str
    index: int
    """Its number, which stays when it is renamed; 0 where there is none of this name."""
    shown: socket.socket | None
    """The name that shows other processes that it is a tunnel; None where it could not be taken."""

    def close(self) -> None:
        """Show it no longer."""
        if self.shown is not None:
            self.shown.close()


def take_number() -> tuple[int, socket.socket | None]:
    """The lowest number that no process here holds, and what holds it; the last of all is not held."""
    for number in range(1, NUMBERS + 1):
        name = hold(_NAME % number)
        if name is not None:
            return number, name
    return NUMBERS + 1, None


def is_free(number: int) -> bool:
    """Whether a number is one of ours that no living process holds."""
    return 0 < number <= NUMBERS and not is_held(_NAME % number)


def show_device(number: int, name: str, index: int) -> Tunnel:
    """Show that a device is a tunnel of the process with this number, until it is closed."""
    return Tunnel(name, index, hold(_DEVICE % (number, index)) if index else None)


def has_device(number: int, device: int) -> bool:
    """Whether a device is a tunnel of the living process with this number."""
    return is_held(_DEVICE % (number, device))


def hold(text: str) -> socket.socket | None:
    """Hold an abstract name until the socket is closed; None where somebody else does."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(text)
    except OSError:
        name.close()
        return None
    return name


def is_held(text: str) -> bool:
    """Whether a process here holds an abstract name."""
    name = hold(text)
    if name is not None:
        name.close()
    return name is None
