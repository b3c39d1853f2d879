"""An sd as a hub uses it: asked at which hubs a host is, with every answer checked.

Knows: which addresses of an answer are entrypoints that frames may be sent to, how a failing sd is told of.
Refuses to know: what becomes of an answer (cluster_directory), how a plugin is asked (plugin_client), who is
told of sessions (cluster_registration).

An sd may lie. All that it can say is where frames go, and only to addresses that somebody could have as an
entrypoint; with `entrypoint.allow` only to those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from lib import stream_resolve
from lib.addresses import host_port, is_address, join_host_port, without_zone
from lib.bounded_dict import BoundedDict
from lib.cluster_registration import name_of
from lib.errors import PluginError
from lib.log_dedup import OUTAGE
from lib.log_events import Entry
from lib.log_setup import say, settle
from lib.plugin_client import SdPlugin, SdService
from lib.settings_cluster import EntrypointSettings

MAX_HUBS_OF_HOST = 8
"""Hubs that a host is taken to be at; of more the first ones."""
NAME_SECONDS, MAX_NAMES = 30.0, 256
"""How long the address of a name counts that an sd has said, and how many are remembered."""
MAX_NAME = 255
"""Bytes of a host name that fit into GOST's request."""


class Sd:
    """The sd of one entrypoint."""

    def __init__(self, service: str, settings: EntrypointSettings, node: str) -> None:
        """`service` is the name of the hub service, `node` the hub's own id there."""
        self.plugin = SdPlugin(settings.sd.plugin)
        self._service, self._settings, self._node = service, settings, node
        self._names: BoundedDict[str, tuple[float, str]] = BoundedDict(MAX_NAMES)
        """Name -> (until when, the address)."""

    def hubs(self, namespace: bytes, host: str, fits: Callable[[str, int], object]) -> list[str]:
        """The other hubs that a host is at, each as the address:port of its entrypoint. Waits.

        `fits` raises OSError for an address that cannot be sent to. Raises PluginError.
        """
        if len(host.encode("utf-8", "surrogateescape")) > MAX_NAME:
            return []
        try:
            found = self.plugin.get(name_of(namespace, host))
        except PluginError as error:
            self.heard(error)
            raise
        self.heard(None)
        return self._addresses(found, fits)

    def heard(self, error: PluginError | None) -> None:
        """Log that the sd fails, or that it replies again."""
        name = self._settings.sd.name
        if error is None:
            settle(Entry.SD_FAILED, name)
            return
        text = "service %s: sd %s: %s; hosts at other hubs are where they were, as far as that is known"
        say(
            Entry.SD_FAILED, text, self._service, name, error, fold=name, habit=OUTAGE,
            service=self._service, sd=name, reason=error,
        )  # fmt: skip

    def _addresses(self, found: Iterable[SdService], fits: Callable[[str, int], object]) -> list[str]:
        hubs: dict[str, None] = {}
        for one in found:
            if (
                one.node == self._node
                or one.network not in ("", "udp")
                or one.address == self._settings.address
            ):
                continue
            try:
                address = self._address(one.address, fits)
            except (OSError, ValueError) as error:
                self._refuse(one, str(error))
                continue
            if address != self._settings.address:  # of our own, before we were started anew
                hubs[address] = None
        return list(hubs)[:MAX_HUBS_OF_HOST]

    def _address(self, text: str, fits: Callable[[str, int], object]) -> str:
        """An entrypoint as address:port. Raises ValueError and OSError where nobody can have it."""
        host, port = host_port(text)
        if not host or not port:
            raise ValueError(f"{text[:64]!r} is no address and port that anything could be sent to")
        if not is_address(without_zone(host)):
            host = self._resolved(host, port)
        bare = without_zone(host)
        found = ip_address(bare)
        found = getattr(found, "ipv4_mapped", None) or found
        host = str(found) + host[len(bare) :]  # as the kernel writes it: who sends from there is known by it
        if found.is_unspecified or found.is_multicast or host == "255.255.255.255":
            raise ValueError(f"{text[:64]!r} is not the address of one hub")
        allow = self._settings.allow
        if len(allow) and not allow.holds(found.packed):
            raise ValueError(f"{text[:64]!r} is not in entrypoint.allow")
        fits(host, port)
        return join_host_port(host, port)

    def _resolved(self, name: str, port: int) -> str:
        now = time.monotonic()
        known = self._names.get(name)
        if known is not None and now < known[0]:
            return known[1]
        found = stream_resolve.look_up(name, port, self._settings.sd.plugin.timeout)
        if not found:
            raise OSError(f"{name[:64]!r} has no address")
        address = str(found[0][4][0])
        self._names.renew(name, (now + NAME_SECONDS, address))
        return address

    def _refuse(self, one: SdService, why: str) -> None:
        text = "service %s: sd %s: %s is nowhere where it could be reached: %s"
        say(
            Entry.SD_REFUSED, text, self._service, self._settings.sd.name, one.name[:300], why,
            fold=self._settings.sd.name, habit=OUTAGE, service=self._service, sd=self._settings.sd.name,
            host=one.name[:300], reason=why,
        )  # fmt: skip
