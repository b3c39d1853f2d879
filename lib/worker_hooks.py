"""Hooks of the hubs of a process with workers: the main process runs them, once for all workers.

Knows: that a service of workers is there with its listening socket, and serves with that.
Refuses to know: how and in which order commands run (service_hooks), when hubs come and go (worker_service).
"""

from __future__ import annotations

from collections.abc import Mapping

from lib.service_hooks import HookRunner, Place, place
from lib.stream_tcp import format_peer
from lib.worker_front import Front


class FrontHooks:
    """Runs what hubs want to be run when they come and go."""

    def __init__(self, fronts: Mapping[str, Front]) -> None:
        self._fronts = fronts
        self._addresses: dict[str, str] = {}
        """Where each has listened: asked for its postDown, no socket is there any more."""
        self._runner = HookRunner()

    def opened(self, front: Front) -> None:
        """It listens, and accepts nothing yet: run its preUp. Raises HostError where one fails."""
        self._addresses[front.settings.name] = format_peer(front.address)
        self._runner.opened(self._place(front))

    def serve(self) -> None:
        """All of them accept: run their postUp, which nobody waits for."""
        for front in self._fronts.values():
            self._runner.serves(self._place(front))

    def end(self) -> None:
        """They are about to end: wait for the preDown of those that had begun, by the settings of now."""
        self._runner.ends([self._place(self._fronts[name]) for name in self._runner.serving()])

    def gone(self) -> None:
        """They have ended, workers and all: wait for their postDown."""
        self._runner.gone(self._runner.rest())

    def _place(self, front: Front) -> Place:
        return place(front.settings, self._addresses[front.settings.name])
