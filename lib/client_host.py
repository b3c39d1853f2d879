"""Host names of clients that have several: which one a client takes, each time its device is made.

Knows: that GOST chooses once for each device, by the forwarder's selector, and that a host name never fails;
that for `hash` it takes the device's address.
Refuses to know: strategies (client_selector), random numbers (they come in), who asks for a device.

A reload that leaves the names as they are lets a client keep the one it has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

from lib.bounded_dict import BoundedDict
from lib.client_selector import Selector
from lib.settings import ClientSettings

MAX_SERVICES = 1000
"""Services whose names are remembered."""


@dataclass(slots=True)
class _Names:
    """The names of one service, and the one that it has."""

    settings: ClientSettings
    selector: Selector
    host: str = ""
    """Empty where the next one is to be chosen."""


class HostNames:
    """The host names of all clients of a process."""

    def __init__(self) -> None:
        self._services: BoundedDict[str, _Names] = BoundedDict(MAX_SERVICES)

    def choose(self, settings: ClientSettings, dice: float) -> ClientSettings:
        """The settings of a client with the host name that it has from now on; dice is in [0, 1)."""
        if not settings.hosts:
            return settings
        names = self._services.get(settings.name)
        if names is None or not _same(names.settings, settings):
            names = _Names(settings, _selector(settings))
            self._services.renew(settings.name, names)
        if not names.host:
            names.host = settings.hosts[_pick(names, dice)].name
        return replace(settings, host=names.host)

    def device_gone(self, service: str) -> None:
        """Choose the next name when the client's device is made anew: somebody has removed it."""
        if (names := self._services.get(service)) is not None:
            names.host = ""


def _pick(names: _Names, dice: float) -> int:
    """The number of the name that is next."""
    settings = names.settings
    every = range(len(settings.hosts))
    if settings.host_strategy != "hash":
        return names.selector.pick(every, dice)
    first = [number for number in every if not settings.hosts[number].choice.backup] or every
    return first[crc32(_hashed(settings).encode()) % len(first)]


def _hashed(settings: ClientSettings) -> str:
    """What GOST hashes: the first address of the device; empty for other strategies."""
    addresses = settings.device.addresses if settings.host_strategy == "hash" else ()
    return str(addresses[0].ip) if addresses else ""


def _same(one: ClientSettings, other: ClientSettings) -> bool:
    had, has = ((it.hosts, it.host_strategy, _hashed(it)) for it in (one, other))
    return had == has


def _selector(settings: ClientSettings) -> Selector:
    return Selector(len(settings.hosts), settings.host_strategy, own=[one.choice for one in settings.hosts])
