"""One live session for a host name at all workers (`onDuplicate: refuse`), let in one at a time.

    worker -> main   name   {"number", "namespace", "host"}: a client wants this name
    main -> worker   name   {"namespace", "host", "reply"} to all others: have you a live session of it?
    main -> worker   named-so   {"number", "status", "said"}: it may be let in, or why not
    worker -> main   free   {"number"}: it is let in, or is not

Knows: that from the first question until the session is there no other worker is answered about that name, so
of two clients one wins; that who does not answer may have a session.
Refuses to know: when a session is alive (hub_names), what else lets a client in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gevent.pool import Group

from lib.hub_names import PROBE_SECONDS, live_owner
from lib.namespace_domain import Domain
from lib.wire_relay import Status
from lib.worker_asking import Asking
from lib.worker_crew import Crew
from lib.worker_state import CLUSTER_NUMBER, Worker, name_of

ANSWER_SECONDS = PROBE_SECONDS + 2.0
"""How long another worker may take: it asks a silent session for a sign of life."""
SECONDS = ANSWER_SECONDS + 2.0
"""How long a worker waits for the main process."""

Message = Mapping[str, Any]
Name = tuple[str, str]
"""(namespace in hex, host)."""


class KeptNames:
    """The main process's side."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._taken: set[Name] = set()
        """The names of clients that are being let in."""
        self._by: dict[tuple[Worker, int], Name] = {}
        """The same by who asks, and by which number."""
        self._asking = Group()
        self._asked = 0
        crew.heard["name"] = self._heard
        crew.heard["free"] = self._freed
        crew.gone.append(self._gone)

    def stop(self) -> None:
        """Answer nobody any more."""
        self._asking.kill(block=False)

    def _heard(self, worker: Worker, message: Message) -> None:
        name, number = (message["namespace"], message["host"]), message["number"]
        if name in self._taken:
            why = "another one is just being let in by this host name (onDuplicate: refuse)"
            self._answer(worker, number, Status.FORBIDDEN, why)
            return
        self._taken.add(name)
        self._by[worker, number] = name
        self._asking.spawn(self._ask, worker, number, name)  # meanwhile it is heard of other names

    def _ask(self, worker: Worker, number: int, name: Name) -> None:
        self._asked += 1
        reply = f"name {self._asked}"
        others = [
            one for one in self._crew.workers.values() if one is not worker and one.number != CLUSTER_NUMBER
        ]
        question = {"do": "name", "namespace": name[0], "host": name[1], "reply": reply}
        found = self._crew.ask_all(question, reply, seconds=ANSWER_SECONDS, of=others)
        owner = ""
        for other in others:
            said = found.get(other.number)
            other.replies.pop(reply, None)
            if said is not None:
                owner = owner or said["owner"]
            elif self._crew.workers.get(other.number) is other:  # else it has ended, with all sessions
                why = f"{name_of(other.number)} does not say whether it has this host name"
                self._answer(worker, number, Status.SERVICE_UNAVAILABLE, why)
                return
        self._answer(worker, number, Status.OK, owner)

    def _answer(self, worker: Worker, number: int, status: Status, said: str) -> None:
        message = {"do": "named-so", "number": number, "status": int(status), "said": said}
        self._crew.tell(worker, message)

    def _freed(self, worker: Worker, message: Message) -> None:
        self._free(worker, message["number"])

    def _gone(self, worker: Worker) -> None:
        for other, number in list(self._by):
            if other is worker:
                self._free(worker, number)

    def _free(self, worker: Worker, number: int) -> None:
        name = self._by.pop((worker, number), None)
        if name is not None:
            self._taken.discard(name)


class AskedNames:
    """A worker's side."""

    def __init__(self, send: Callable[[dict[str, object]], None]) -> None:
        """`send` sends the main process a message; it does not raise where that has ended."""
        self._send = send
        self._numbers = 0
        self._asking = Asking()

    def hear(self, message: Message) -> None:
        """Take a reply."""
        self._asking.hear(message["number"], (Status(message["status"]), message["said"]))

    @contextmanager
    def claim(self, namespace: bytes, host: str) -> Iterator[tuple[Status, str]]:
        """Have a name at all workers (namespace_domain.Domain.claim); waits."""
        self._numbers += 1
        number = self._numbers
        try:
            with self._asking.about(number) as waiting:
                self._send({"did": "name", "number": number, "namespace": namespace.hex(), "host": host})
                late = Status.SERVICE_UNAVAILABLE, "the main process does not answer"
                waiting.wait(SECONDS)
                yield waiting.value if waiting.ready() else late
        finally:
            self._send({"did": "free", "number": number})

    def look(self, domain: Domain, message: Message) -> None:
        """Another worker's client wants a name: say whether a live session here has it."""
        owner = live_owner(domain, bytes.fromhex(message["namespace"]), message["host"])
        self._send({"did": message["reply"], "owner": owner})
