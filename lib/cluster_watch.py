"""The entrypoints and the cluster of a process: which there are, and what a reload makes of them.

Knows: that services of one domain have one entrypoint, and that one whose settings differ is made anew.
Refuses to know: what an entrypoint does (cluster_entrypoint), and a hub in a cluster (cluster_member).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from lib.capture_taps import Taps
from lib.cluster_member import ClusterMember
from lib.errors import HostError
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say
from lib.settings_registry import ClusterSettings

if TYPE_CHECKING:
    from lib.cluster_entrypoint import Entrypoint

Wanted = dict[int, Hub]
"""id() of a domain -> the first hub of it that has an entrypoint."""


class ClusterWatch:
    """The entrypoints of a process, and its place in a cluster."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._started = False
        self.entrypoints: list[Entrypoint] = []
        self._member = ClusterMember()

    def open(self, hubs: Collection[Hub], cluster: ClusterSettings | None = None) -> None:
        """Open the entrypoints of these hubs, and the port for links of a cluster. Raises HostError.

        Nothing is read or told before start().
        """
        for hub in _wanted(hubs).values():
            self._open(hub)
        self._member.open(cluster, _by_name(hubs))

    def start(self) -> None:
        """Begin to pass packets to other hubs; returns once it is known who is there (cluster_known)."""
        self._started = True
        for one in self.entrypoints:
            one.start()
        self._member.start()
        self._member.wait_known()

    def give_to(self, user: int) -> None:
        """Make a user the owner of the UDP port of links."""
        self._member.give_to(user)

    def drain(self) -> None:
        """The hubs end: their clients move to others."""
        self._member.drain()

    def leave(self) -> None:
        """The clients have moved: other hubs send nothing here any more, once this returns."""
        self._member.leave()

    def stop(self) -> None:
        """Pass nothing to other hubs any more."""
        self._member.stop()
        while self.entrypoints:
            self.entrypoints.pop().stop()

    def apply(self, hubs: Collection[Hub], cluster: ClusterSettings | None = None) -> list[str]:
        """Have the entrypoints that these hubs want, and this cluster; returns a line for each change."""
        lines = []
        wanted = _wanted(hubs)
        for one in list(self.entrypoints):
            hub = wanted.get(id(one.domain))
            if hub is not None and hub.settings.entrypoint == one.entry:
                one.follow(hub.settings)
                del wanted[id(one.domain)]
                continue
            self.entrypoints.remove(one)
            one.stop()  # its port may be the new one's
            if hub is None:
                lines.append(f"service {one.settings.name}: entrypoint {one.entry.address}: removed")
        for hub in wanted.values():
            try:
                self._open(hub)
            except HostError as error:
                text = "reload: service %s: %s; it passes nothing to other hubs until the next reload"
                say(
                    Entry.RELOAD_FAILED,
                    text,
                    hub.settings.name,
                    error,
                    service=hub.settings.name,
                    reason=error,
                )
                continue
            lines.append(f"service {hub.settings.name}: entrypoint {self.entrypoints[-1].entry.address}")
        return lines + self._member.apply(cluster, _by_name(hubs))

    def _open(self, hub: Hub) -> None:
        from lib.cluster_entrypoint import Entrypoint  # only hubs with an entrypoint pay for it

        settings = hub.settings.entrypoint
        assert settings is not None
        one = Entrypoint(hub.settings, settings, hub.domain, self._taps)
        self.entrypoints.append(one)
        if self._started:
            one.start()


def _by_name(hubs: Iterable[Hub]) -> dict[str, Hub]:
    return {hub.settings.name: hub for hub in hubs}


def _wanted(hubs: Iterable[Hub]) -> Wanted:
    found: Wanted = {}
    for hub in hubs:
        if hub.settings.entrypoint is not None:
            found.setdefault(id(hub.domain), hub)
    return found
