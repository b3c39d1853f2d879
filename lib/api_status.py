"""The `status` of a service in GOST's shape: since when it is there, its state, and what has happened.

Knows: GOST's states and the words of its events. Refuses to know: requests (api_routes), our own status of
sessions (ctl_status).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lib.api_hubs import FAILED, READY, Hubs
from lib.api_request import encoded


def status(hubs: Hubs, name: str) -> dict[str, object]:
    """The status of a service of the configuration, by its name.

    A service that this host does not allow has failed.
    """
    one = hubs.service(name)
    since = int(one.since)
    if not one.state:
        return {"createTime": since, "state": FAILED, "events": []}
    words = ["is running", *(["is ready"] if one.state == READY else [])]
    words += [f"is listening on {one.listening}"] if one.listening else []
    events = [{"time": since, "msg": f"service {name} {word}"} for word in words]
    stats = {"stats": one.stats} if one.stats is not None else {}
    return {"createTime": since, "state": one.state, "events": events, **stats}


class States:
    """The statuses of services at one moment, as JSON: for one answer, and for its entity tag.

    As bytes, since dicts of a thousand services would be looked at by the garbage collector in one long step.
    """

    def __init__(self, hubs: Hubs, names: Iterable[str], step: Callable[[], None]) -> None:
        """`step` is called after each of them."""
        self._known: dict[str, bytes] = {}
        for name in names:
            self._known[name] = encoded(status(hubs, name))
            step()

    def of(self, name: str) -> bytes | None:
        """The status of one service; None where it is none of these."""
        return self._known.get(name)

    def all(self) -> Iterable[bytes]:
        """All of them."""
        return self._known.values()
