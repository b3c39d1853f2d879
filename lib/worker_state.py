"""A worker, or the cluster's process, as the main process knows it.

Knows: what is kept of each. Refuses to know: when one is made or ends (worker_crew), what it does
(worker_process, worker_cluster).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gevent.event import AsyncResult

from lib.worker_channel import Channel
from lib.worker_handover import Giver
from lib.worker_links import CLUSTER

CLUSTER_NUMBER = 0
"""The number of the cluster's process; workers begin with 1."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker."""

    number: int
    channel: Channel
    pid: int
    process: int
    """A descriptor of the process (pidfd_open(2)), by which no other one can be meant."""
    since: float
    heard_at: float
    giver: Giver | None = None
    """The connections that it has; None for the cluster's process, which gets none."""
    ready: bool = False
    """Whether it can be asked, and is linked with all others."""
    knows: bool = False
    """Whether it knows which hosts those have: then it takes connections."""
    ending: bool = False
    """Whether it has been told to end."""
    outdated: bool = False
    """Whether it has been told to end so that another one, with other settings, takes its place."""
    sessions: list[int] = field(default_factory=list)
    """How many each hub has."""
    fault: str = ""
    replies: dict[str, AsyncResult] = field(default_factory=dict)
    """What it has been asked and has not said yet, by the name of the reply."""

    @property
    def name(self) -> str:
        """What it is called in replies and in the log."""
        return name_of(self.number)

    def connections(self) -> int:
        """How many connections it has now."""
        if self.giver is None:
            return 0
        self.giver.settle()
        return len(self.giver)


def name_of(number: int) -> str:
    """What a process of this number is called in replies and in the log."""
    return CLUSTER if number == CLUSTER_NUMBER else f"worker {number}"
