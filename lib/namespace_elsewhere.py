"""Hosts of a namespace that have sessions at other hubs: what forwarding asks about them.

Knows: what forwarding asks of whoever knows where hosts are (a registry), and that it never waits for that.
Refuses to know: how that is found out, and by what frames go to another hub (cluster_directory, and others).

    a packet for host H    no session here: Elsewhere.gateway(H)     its attachment takes the frames
    a packet from hub X    its source is host H's: Elsewhere.at(H, X)     as if that attachment had sent it

A host at another hub is an Attachment like any other, whose `by` says how it is reached. So it has flows,
limits and counters, what is too big for it is cut, and errors go back to it. No gateway of a namespace
(route_gateways) holds it, so nothing that came from another hub can be passed on to one.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from lib.namespace_commons import SharedTable
from lib.plugin_cache import Unresolved
from lib.route_gateways import Gateway, Session

A = TypeVar("A", bound=Session)


class Elsewhere(Protocol[A]):
    """The hosts of one namespace that have sessions at other hubs."""

    @property
    def seconds(self) -> float:
        """How long a flow may go where it was said, before it is asked for again; infinite where changes are
        told at once, by ending attachments (`live`) and by Namespace.outdate."""

    @property
    def table(self) -> SharedTable | None:
        """What is remembered of hosts in this namespace; None where that has a bound for all namespaces."""

    def gateway(self, host: str, now: float) -> Gateway[A] | Unresolved | None:
        """A host with an attachment for each hub that it is at; None where it is at none.

        Unresolved where nobody knows that now. `now` is in seconds of a steady clock. Never waits.
        """

    def at(self, host: str, hub: str, now: float) -> A | Unresolved | None:
        """The attachment of a host at one hub, which is named as in its `peer`; None where it is not there.

        Unresolved where nobody knows that now. Never waits.
        """

    def came(self, attachment: A, flow: bytes) -> None:
        """A new flow, by its key, came from a host at another hub, as this attachment."""

    def known(self, host: str) -> Gateway[A] | None:
        """A host at other hubs, as far as that is known already. Nothing is asked."""

    def find(self, host: str) -> None:
        """Find out where a host is, and wait for that: for those who explain, never for packets."""

    def park(self, host: str, attachment: A, frame: bytes) -> bool:
        """Let a frame of an attachment wait until it is known where a host is; False where it cannot."""
