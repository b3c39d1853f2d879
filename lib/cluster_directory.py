"""Where the hosts of one namespace are, as an sd says: what is known of each, and for how long.

Knows: the hubs that a host is at, one attachment for each; that a host which is not where it was said to be
is asked for again.
Refuses to know: how an sd is asked (cluster_entrypoint), how frames get to a hub (it is given attachments).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lib.namespace import Attachment, Namespace
from lib.namespace_commons import SharedTable
from lib.plugin_cache import ReplyCache, Unresolved
from lib.route_gateways import Gateway
from lib.settings_memory import FAR_HOST

AGAIN_SECONDS = 0.25
"""An answer that a packet from another hub contradicts counts for so long: the host has just moved there."""

Waited = list[tuple[Attachment, bytes]]


class Directory:
    """The hosts of one namespace at other hubs (namespace_elsewhere.Elsewhere)."""

    def __init__(
        self,
        namespace: Namespace,
        seconds: float,
        most: int,
        make: Callable[[Namespace, str, str], Attachment],
        ask: Callable[[Directory], None],
        find: Callable[[Directory, str], None],
    ) -> None:
        """`most` hosts are remembered, also those of which nobody knows; past that the oldest goes.

        `make` makes the attachment of a host at a hub. `ask` has those hosts asked for that are wanted, and
        does not wait; `find` asks for a host at once, and waits.
        """
        self.namespace = namespace
        self._make, self._ask, self._find = make, ask, find
        self._known: ReplyCache[str, Gateway[Attachment], Attachment] = ReplyCache(
            seconds, most=most, price=FAR_HOST
        )

    @property
    def seconds(self) -> float:
        """How long an answer counts."""
        return self._known.seconds

    @property
    def table(self) -> SharedTable:
        """What is known."""
        return self._known.table

    def gateway(self, host: str, now: float) -> Gateway[Attachment] | Unresolved | None:
        """A host with an attachment for each hub that it is at; None where it is at none."""
        found = self._known.lookup(host, now)
        if self._known.wanted:
            self._ask(self)
        return found

    def at(self, host: str, hub: str, now: float) -> Attachment | Unresolved | None:
        """The attachment of a host at one hub; None where it is not there."""
        found = self.gateway(host, now)
        if isinstance(found, Unresolved):
            return found
        for attachment in found.attachments if found is not None else ():
            if attachment.peer == hub:
                return attachment
        if self._known.age(host, now) < AGAIN_SECONDS:
            return None
        self._known.ask(host, now)
        self._ask(self)
        return Unresolved.ASKING if self._known.is_asked(host) else None

    def came(self, attachment: Attachment, flow: bytes) -> None:
        """Do nothing: flows are spread over all hubs that an sd names."""

    def known(self, host: str) -> Gateway[Attachment] | None:
        """A host at other hubs, as far as that is known already."""
        return self._known.known(host)

    def find(self, host: str) -> None:
        """Ask where a host is, and wait for the answer."""
        self._find(self, host)

    def park(self, host: str, attachment: Attachment, frame: bytes) -> bool:
        """Let a frame wait for the answer about a host; False where too many wait, or none is due."""
        return self._known.park(host, attachment, frame)

    def wanted(self) -> Iterator[str]:
        """The hosts to ask for; each is yielded once."""
        return self._known.take_wanted()

    def learn(self, host: str, hubs: Iterable[str], now: float) -> Waited:
        """Keep an answer: the hubs that a host is at. Returns the frames that waited for it, and whose.

        Flows stay with the hubs that they have, as long as the host is still there.
        """
        known = self._known.known(host)
        had = {one.peer: one for one in known.attachments if one.live} if known is not None else {}
        attachments = [had.pop(hub) if hub in had else self._make(self.namespace, host, hub) for hub in hubs]
        is_new = known is None or any(one not in known.attachments for one in attachments)
        for gone in had.values():
            _end(gone)
        if not attachments:
            return self._known.store(host, None, now)
        gateway = known or Gateway(host)
        gateway.bound_flows(min(one.max_flows for one in attachments))
        gateway.attachments = attachments
        if is_new:
            self.namespace.outdate()
        return self._known.store(host, gateway, now)

    def fail(self, host: str, now: float) -> Waited:
        """Note that there was no answer. What was known before goes on."""
        return self._known.fail(host, now, goes_on=True)

    def forget(self, host: str) -> None:
        """A host has a session here now: nothing goes to it elsewhere."""
        known = self._known.forget(host)
        for attachment in known.attachments if known is not None else ():
            _end(attachment)

    def end(self) -> None:
        """There are no other hubs any more."""
        for host, _ in self._known.replies():
            self.forget(host)

    def __len__(self) -> int:
        """Hosts that are remembered, also those of which nobody knows."""
        return len(self._known)


def _end(attachment: Attachment) -> None:
    attachment.live = False
    attachment.forget()
