"""Clients that a trusted proxy names at a worker: the main process counts them by their own address.

    worker -> main   named   {"connection", "address"}: the proxy of this connection has named its client
    main -> worker   named   {"connection", "refusal"}: it may stay, or why it is refused
    worker -> main   named   without an address: nobody waits any more for its proxy to name it

Knows: that a connection has one number for both processes (worker_handover), how long a worker waits.
Refuses to know: how a proxy names its client (hub_caller), what is counted (limits).

The connection itself is counted under the proxy's address, which has no limits, when it is accepted. So a
worker asks once for each, in its handshake, and the limits by address hold for all workers together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib.forward_drop_reasons import Refusal
from lib.limits import Visit
from lib.worker_asking import Asking
from lib.worker_crew import Crew
from lib.worker_front import Guest
from lib.worker_state import Worker

SECONDS = 5.0
"""How long a worker waits for a reply; without one the client is refused, as if there were no worker."""
_REFUSALS = {refusal.value: refusal for refusal in Refusal}

Message = Mapping[str, Any]


class NamedClients:
    """The main process's side."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        crew.heard["named"] = self._heard

    def _heard(self, worker: Worker, message: Message) -> None:
        number, address = message["connection"], message["address"]
        guest = worker.giver.holder(number) if worker.giver is not None else None
        refusal = None
        if isinstance(guest, Guest):  # else it has ended meanwhile
            refusal = guest.named(address)
        if address:
            word = refusal.value if refusal is not None else ""
            self._crew.tell(worker, {"do": "named", "connection": number, "refusal": word})


class AskedCounts:
    """A worker's side."""

    def __init__(self, send: Callable[[dict[str, object]], None]) -> None:
        """`send` sends the main process a message; it does not raise where that has ended."""
        self._send = send
        self._asking = Asking()

    def hear(self, message: Message) -> None:
        """Take a reply."""
        self._asking.hear(message["connection"], message["refusal"])

    def named(self, visit: Visit, address: str) -> Refusal | None:
        """Have a connection counted there (limits.Gate.elsewhere)."""
        message: dict[str, object] = {"did": "named", "connection": visit.number, "address": address}
        if not address:
            self._send(message)
            return None
        with self._asking.about(visit.number) as waiting:
            self._send(message)
            if not waiting.wait(SECONDS) and not waiting.ready():
                return Refusal.NO_WORKER
        return _REFUSALS.get(waiting.value)
