"""What the web API asks of hubs and their sessions, wherever those are: in this process, or in its workers.

Knows: the questions, and what is in a reply. Refuses to know: who replies (api_own, worker_hubs), HTTP, who
may ask (the handlers).

This is the only way from the web API to sessions. What is asked is texts and numbers, and so are the replies,
so that another process can reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from lib.api_hosts import Sample
from lib.capture_taps import Tap

FAILED, RUNNING, READY = "failed", "running", "ready"
"""GOST's states of a service."""

Row = dict[str, Any]
Key = tuple[str, bytes, str]
"""A host: the services among which its sessions may move, its namespace (16 bytes), its name."""


class Seen(NamedTuple):
    """A host that is connected."""

    sample: Sample
    prefixes: list[str | int]
    """Some of its prefixes, then how many more there are."""


class Look(Protocol):
    """All hosts at one moment."""

    def here(self) -> Mapping[Key, Seen]:
        """Those that are connected."""

    def opened(self, key: Key) -> int:
        """How many sessions a host has had; -1 where that is not counted for it alone."""

    def met(self) -> Iterable[Key]:
        """Those that have been connected."""

    def enrolled(self) -> Mapping[Key, float]:
        """Those that are enrolled, with when they were seen last (seconds since 1970; 0 for never)."""


class About(NamedTuple):
    """The sessions of one host."""

    sessions: list[Row]
    """As `status` has them."""
    drops: list[Row]
    """By reason, of all sessions together, the most first."""
    warnings: list[str]
    """What is wrong with its name, and who else uses it."""
    prefixes: list[str]


class Running(NamedTuple):
    """What a service of the configuration is doing."""

    since: float
    """Seconds since 1970; 0 for never."""
    state: str
    """FAILED, RUNNING or READY; empty where there is no such service."""
    listening: str
    """The address or the device, empty where there is none."""
    stats: Mapping[str, int] | None
    """GOST's figures, where they are wanted."""


class Watching(Tap, Protocol):
    """A tap that is told how much it was not shown."""

    def missed(self, count: int) -> None:
        """So many packets that fit were not shown, as there were too many."""


class Hubs(Protocol):
    """The hubs of one configuration. Each call raises ValueError and Refused for what cannot be told."""

    def look(self) -> Look:
        """Look at all hosts."""

    def about(self, key: Key) -> About:
        """The sessions of a host."""

    def flows(self, key: Key, seconds: float) -> list[Row]:
        """What a host sends and gets for so long, the flows that carry most first."""

    def kick(self, key: Key, why: str) -> int | None:
        """End the sessions of a host; returns how many those are, None where it is not connected."""

    def drain(self, key: Key) -> int | None:
        """Let a host get another session first; returns as kick."""

    def status(self) -> Mapping[str, object]:
        """As the control socket's `status`."""

    def sessions(self, host: str, ns: str) -> Iterable[Row | None]:
        """The sessions of `status`, of a host or a namespace or all."""

    def cluster(self) -> Mapping[str, Any]:
        """The hubs of the cluster that this one is in (ctl_cluster.view). Raises ValueError without one."""

    def drops(self, ns: str, own_only: bool) -> Mapping[str, Any]:
        """As the control socket's `drops`; with `own_only` of hubs alone."""

    def explain(self, query: Mapping[str, str], own_only: bool) -> Mapping[str, object]:
        """As the control socket's `explain`; with `own_only` without the tables of all namespaces."""

    def routes(self, query: Mapping[str, str], ns: str, most: int, own_only: bool) -> Mapping[str, object]:
        """A page of routes, `most` at most: of the query's "q", "after" and "service"."""

    def gateways(self, ns: str) -> list[Row]:
        """The hosts that carry packets."""

    def enrolled(self, ns: str) -> Mapping[str, object]:
        """Who is enrolled, and who is invited."""

    def invite(self, asked: Mapping[str, Any]) -> Row:
        """Make an invitation. Raises OSError and HostError where it cannot be written."""

    def revoke(self, asked: Mapping[str, Any]) -> Row:
        """Take a login away. Raises OSError and HostError where that cannot be written."""

    def service(self, name: str) -> Running:
        """What a service is doing."""

    def watch(self, tap: Watching, host: str, ns: str, expression: str) -> Callable[[], None]:
        """Show packets to a tap, perhaps more than those of a host, a namespace and a filter expression.

        Returns what ends that.
        """
