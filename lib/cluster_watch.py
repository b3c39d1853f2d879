"""The entrypoints of a process: which there are, and what a reload makes of them.

Knows: that services of one domain have one entrypoint, and that one whose settings differ is made anew.
Refuses to know: what an entrypoint does (cluster_entrypoint).
"""

from __future__ import annotations

from collections.abc import Iterable

from lib.capture_taps import Taps
from lib.cluster_entrypoint import Entrypoint
from lib.errors import HostError
from lib.hub import Hub
from lib.log_events import Entry
from lib.log_setup import say

Wanted = dict[int, Hub]
"""id() of a domain -> the first hub of it that has an entrypoint."""


class ClusterWatch:
    """The entrypoints of a process."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._started = False
        self.entrypoints: list[Entrypoint] = []

    def open(self, hubs: Iterable[Hub]) -> None:
        """Open the entrypoints of these hubs; nothing is read before start(). Raises HostError."""
        for hub in _wanted(hubs).values():
            self._open(hub)

    def start(self) -> None:
        """Begin to pass packets to other hubs."""
        self._started = True
        for one in self.entrypoints:
            one.start()

    def stop(self) -> None:
        """Pass nothing to other hubs any more."""
        while self.entrypoints:
            self.entrypoints.pop().stop()

    def apply(self, hubs: Iterable[Hub]) -> list[str]:
        """Have the entrypoints that these hubs want; returns a line for each change."""
        lines = []
        wanted = _wanted(hubs)
        for one in list(self.entrypoints):
            hub = wanted.get(id(one.domain))
            if hub is not None and hub.settings.entrypoint == one.entry:
                one.settings = hub.settings
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
        return lines

    def _open(self, hub: Hub) -> None:
        settings = hub.settings.entrypoint
        assert settings is not None
        one = Entrypoint(hub.settings, settings, hub.domain, self._taps)
        self.entrypoints.append(one)
        if self._started:
            one.start()


def _wanted(hubs: Iterable[Hub]) -> Wanted:
    found: Wanted = {}
    for hub in hubs:
        if hub.settings.entrypoint is not None:
            found.setdefault(id(hub.domain), hub)
    return found
